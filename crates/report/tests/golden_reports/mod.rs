//! Handmade reports, one for each way a diagnosis can end.

use sysak_base::Va;
use sysak_report::{
    CacheTotals, Census, Class, ContentSymbol, Coverage, Elsewhere, Finding, FindingVerdict, Group,
    Holder, HolderKind, KernelMemory, Method, Omitted, Ownerless, Place, Reader, Reason, Report,
    Scope, Skipped, Stage, Target, TargetKind, Timings, Tool, Trace, TraceEnd, UserMemory, Verdict,
};

mod classes;
mod dump;
mod inspect;
mod memgraph;
mod watched;

pub use classes::classes;
pub use dump::{filtered, holes};
pub use inspect::{addr, addresses, cache, crash_dump, no_refs, object, poor_dump, refs};
pub use memgraph::{dump_graph, graph, stopped_graph};
pub use watched::{ended_leak, explained, refused, suspected, thinned, trace_only, traced};

const MIB: u64 = 1 << 20;

pub(super) fn frame() -> Report {
    Report {
        tool: Tool { name: "sysak".into(), version: "0.1.0".into() },
        target: Target {
            kind: TargetKind::Live,
            reader: Reader::Bpf,
            kernel_release: "6.12.9-amd64".into(),
            arch: "x86_64".into(),
            page_size: 4096,
            hostname: Some("web-17".into()),
            uptime_s: Some(70_000_000),
            torn: false,
        },
        method: Method { looks: 1, similarity_percent: 65, ..Method::default() },
        census: census(),
        coverage: Coverage {
            slabs_total: Some(12_345),
            slabs_walked: 12_344,
            objects_walked: 141_973,
            objects_unreachable: Some(12),
            bytes_scanned: 310 * MIB,
            skipped: Vec::new(),
            pages: None,
            books: Vec::new(),
        },
        timings: Timings {
            total_s: Some(1.234),
            census_s: Some(0.2),
            walk_s: Some(0.31),
            reach_s: Some(0.5),
            hidden_s: None,
            similarity_s: Some(0.12),
            explain_s: Some(0.35),
            trace_s: None,
        },
        ..Report::default()
    }
}

pub(super) fn census() -> Census {
    Census {
        total_bytes: Some(2048 * MIB),
        free_bytes: Some(1200 * MIB),
        reserved_bytes: Some(40 * MIB),
        unaccounted_bytes: Some(0),
        user: UserMemory {
            anon_bytes: Some(300 * MIB),
            file_bytes: Some(200 * MIB),
            shmem_bytes: Some(8 * MIB),
            hugetlb_bytes: Some(0),
            unevictable_bytes: None,
        },
        kernel: KernelMemory {
            slab_reclaimable_bytes: Some(40 * MIB),
            slab_unreclaimable_bytes: Some(60 * MIB),
            page_table_bytes: Some(10 * MIB),
            image_bytes: Some(30 * MIB),
            page_alloc_bytes: Some(160 * MIB),
            ..KernelMemory::default()
        },
        page_alloc_owners: Vec::new(),
    }
}

fn content(offset: u64, path: &[&str], symbol: &str, objects: u64) -> ContentSymbol {
    ContentSymbol {
        offset,
        path: path.iter().map(|step| (*step).into()).collect(),
        symbol: symbol.into(),
        objects,
        objects_sampled: Some(1000),
    }
}

fn lost(cache: &str, size: u64, objects: u64) -> Finding {
    Finding {
        verdict: FindingVerdict::Leak,
        cache: Some(cache.into()),
        object_size_bytes: Some(size),
        reclaimable: Some(false),
        total_objects: Some(objects + 5376),
        slab_bytes: Some((objects + 5376) * size),
        allocated_objects: Some(objects + 4321),
        allocated_bytes: Some((objects + 4321) * size),
        unreachable_objects: Some(objects),
        unreachable_bytes: Some(objects * size),
        similar_objects: Some(objects - 2),
        sample_object: Some(Va(0xffff_8880_0360_5e00).into()),
        ..Finding::default()
    }
}

fn held(cache: &str, reclaimable: bool, live: u64, total: u64, size: u64) -> Finding {
    Finding {
        cache: Some(cache.into()),
        object_size_bytes: Some(size),
        reclaimable: Some(reclaimable),
        total_objects: Some(total),
        slab_bytes: Some(total * size),
        allocated_objects: Some(live),
        allocated_bytes: Some(live * size),
        unreachable_objects: Some(0),
        unreachable_bytes: Some(0),
        ..Finding::default()
    }
}

/// Two caches leak, the second one only through the first; a third is merely big.
pub fn leak() -> Report {
    let mut first = lost("kmalloc-32", 32, 30_000);
    first.aliases = vec!["own_cache".into(), "other_cache".into()];
    first.content_symbols = vec![
        content(8, &[], "sysaktest_ops [sysaktest_bulk]", 1000),
        content(0, &["kmalloc-256+0x8"], "inotify_fsnotify_ops", 990),
    ];
    first.groups = vec![
        Group {
            objects: 29_998,
            unreachable: 29_998,
            sample_object: first.sample_object,
            content_symbols: Vec::new(),
        },
        Group { objects: 2100, unreachable: 0, ..Group::default() },
    ];
    let mut second = lost("kmalloc-96", 96, 2_000);
    second.lost_through = Some("kmalloc-32".into());
    let mut report = frame();
    report.verdict = Verdict::Leak;
    report.method.looks = 2;
    report.method.settle_s = Some(5);
    report.findings = vec![first, second, held("dentry", true, 58_012, 60_000, 192)];
    report.coverage.objects_unreachable = Some(32_012);
    let address = Va(0xffff_8880_0360_5e80).into();
    report.coverage.skipped = vec![
        Skipped { what: Omitted::Slabs { count: 1 }, why: Reason::Changed },
        Skipped { what: Omitted::Cache { address }, why: Reason::Implausible },
    ];
    report
}

/// The biggest caches, and the totals of all.
pub fn no_leak() -> Report {
    let mut dentry = held("dentry", true, 58_012, 60_000, 192);
    dentry.content_symbols = vec![
        content(96, &[], "ext4_dentry_ops", 940),
        content(104, &["ext4_inode_cache+0x20"], "ext4_dir_inode_operations", 700),
        content(112, &[], "ext4_dentry_ops", 600),
    ];
    let mut sparse = held("kmalloc-512", false, 900, 9_000, 512);
    sparse.unreachable_objects = Some(7);
    let mut report = frame();
    report.verdict = Verdict::NoLeak;
    report.counters = memgraph::counters();
    report.ownerless = Some(Ownerless { bytes: 70 * MIB, pinned_bytes: 0 });
    report.findings = vec![dentry, sparse, held("task_struct", false, 170, 180, 9_000)];
    report.findings[2].reclaimable = None;
    report.findings.push(user_memory());
    let totals = |name: &str, size, total: u64, live| CacheTotals {
        name: name.into(),
        aliases: Vec::new(),
        object_size_bytes: size,
        slabs: total * size / 4096,
        objects_total: total,
        objects_live: live,
        bytes: total * size,
        reclaimable: name == "dentry",
    };
    report.caches = vec![totals("kmalloc-8", 8, 512, 400), totals("dentry", 192, 60_000, 58_012)];
    report
}

fn user_memory() -> Finding {
    let holder = |path: &[&str], mib, kind| Holder {
        path: path.iter().map(|step| Place::parse(step)).collect(),
        objects: 1,
        bytes: mib * MIB,
        retained_bytes: None,
        kind,
    };
    let unread = &["collector (2203)", "pipes+sockets"];
    Finding {
        class: Class::User,
        allocated_bytes: Some(700 * MIB),
        holders: vec![
            holder(&["java (1402)"], 180, HolderKind::Process),
            holder(unread, 37, HolderKind::Process),
            holder(&["/dev/shm"], 7, HolderKind::File),
        ],
        ..Finding::default()
    }
}

/// `-n CACHE` on a dump.
pub fn only_cache() -> Report {
    let mut report = no_leak();
    report.caches.clear();
    report.target.kind = TargetKind::Vmcore;
    report.target.reader = Reader::Elf;
    report.target.hostname = None;
    report.target.uptime_s = None;
    report.method.only_cache = Some("kmalloc-512".into());
    report.scope = Some(Scope {
        class: Class::Slab,
        cache: Some("kmalloc-512".into()),
        objects: 900,
        objects_unreachable: Some(7),
        elsewhere: Vec::new(),
    });
    report.findings = vec![report.findings.remove(1)];
    report.findings[0].sample_object = Some(Va(0xffff_8880_0411_1200).into());
    report.findings[0].similar_objects = Some(512);
    report
}

/// `-t page` on a machine whose slabs leak.
pub fn only_pages() -> Report {
    let mut report = no_leak();
    report.caches.clear();
    report.findings.clear();
    let elsewhere = |cache: &str, unreachable_objects, unreachable_bytes| Elsewhere {
        class: Class::Slab,
        cache: Some(cache.into()),
        unreachable_objects,
        unreachable_bytes,
    };
    report.scope = Some(Scope {
        class: Class::Page,
        cache: None,
        objects: 1312,
        objects_unreachable: Some(3),
        elsewhere: vec![
            elsewhere("kmalloc-256", 200_000, 51_200_000),
            elsewhere("kmalloc-32", 30_000, 960_000),
        ],
    });
    report
}

/// Ctrl-C while allocations were watched: what memory looked like before is known.
pub fn stopped_watching() -> Report {
    let mut report = no_leak();
    report.caches.clear();
    report.interrupted = Some(Stage::Collect);
    let ended = TraceEnd::Interrupted;
    report.trace = Some(Trace { ended, collect_s: 3.0, events: 90_000, ..Trace::default() });
    report.coverage.skipped =
        vec![Skipped { what: Omitted::OpenFilesOf { count: 41 }, why: Reason::Interrupted }];
    report
}

/// Ctrl-C while slabs were walked.
pub fn stopped() -> Report {
    let mut report = frame();
    report.interrupted = Some(Stage::Walk);
    report.coverage.slabs_walked = 4_000;
    report.coverage.objects_unreachable = None;
    report.coverage.bytes_scanned = 0;
    report.timings.reach_s = None;
    report.timings.similarity_s = None;
    report
}

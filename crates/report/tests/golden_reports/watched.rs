//! Reports of machines that were watched for a while.

use sysak_base::Va;
use sysak_report::{
    CountKind, Explanation, Finding, FindingVerdict, Function, Hex, ObjectType, Process, Reader,
    Refusal, RefusalKind, Report, Stack, Trace, TraceEnd, Trend, TypeReason, TypeReasonKind,
    Verdict,
};

use super::{MIB, frame, held, lost};

fn function(name: &str, offset: u64, size: u64, counts: [u64; 3]) -> Function {
    Function {
        name: name.into(),
        offset: Some(Hex(offset)),
        size: Some(Hex(size)),
        outstanding: Some(counts[0]),
        marked: Some(counts[1]),
        unreachable: Some(counts[2]),
        ..Function::default()
    }
}

fn process(comm: &str, pid: u32, outstanding: u64) -> Process {
    Process { pid, comm: comm.into(), outstanding }
}

fn strings<T: From<&'static str>>(all: &[&'static str]) -> Vec<T> {
    all.iter().map(|one| T::from(one)).collect()
}

fn watched(cache: &str) -> Trace {
    Trace {
        collect_s: 14.0,
        drain_s: 6.2,
        events: 1_204_311,
        recorded: 15_870,
        outstanding: 99,
        caches: vec![cache.into()],
        overhead_percent: Some(0.42),
        ended: TraceEnd::Conclusive,
        ..Trace::default()
    }
}

/// The contract's example: a function that goes on losing what is lost already.
pub fn traced() -> Report {
    let mut found = lost("kmalloc-64", 64, 593_975);
    found.similar_objects = Some(593_975);
    found.sample_object = Some(Va(0xffff_8800_3605_e000).into());
    found.growth_bytes_per_s = Some(260.0);
    found.object_type = Some(ObjectType {
        name: "struct fsnotify_event_private_data".into(),
        confidence: 0.97,
        candidates: strings(&["struct fsnotify_event_private_data", "struct dcookie_struct"]),
        confidences: vec![0.97, 0.02],
        module: None,
        size_bytes: Some(32),
        reasons: vec![
            TypeReason {
                offset: 0,
                field: "group".into(),
                kind: TypeReasonKind::Object,
                leads_to: Some("struct fsnotify_group".into()),
            },
            TypeReason {
                offset: 8,
                field: "event_list".into(),
                kind: TypeReasonKind::Unlinked,
                leads_to: None,
            },
        ],
    });
    let mut guilty = function("bond_vminfo_add", 0x7c, 0x200, [66, 62, 62]);
    guilty.module = Some("bonding".into());
    guilty.call_site = Some("kmemdup+0x2a/0x60".into());
    guilty.processes = vec![process("kworker/u8:2", 1204, 60), process("ip", 30_871, 6)];
    guilty.stack = strings(&[
        "kmemdup+0x2a/0x60",
        "bond_vminfo_add+0x7c/0x200 [bonding]",
        "bond_mii_monitor+0x1c0/0x8f0 [bonding]",
        "process_one_work+0x174/0x330",
    ]);
    guilty.stacks = vec![
        Stack { frames: guilty.stack.clone(), outstanding: 60 },
        Stack {
            frames: strings(&[
                "kmemdup+0x2a/0x60",
                "bond_vminfo_add+0x7c/0x200 [bonding]",
                "bond_enslave+0x5d4/0x1460 [bonding]",
            ]),
            outstanding: 6,
        },
    ];
    let mut bind = function("inet_bind_bucket_create", 0x21, 0x70, [33, 0, 0]);
    bind.processes = vec![process("nginx", 812, 33)];
    bind.stack = strings(&["inet_bind_bucket_create+0x21/0x70", "inet_csk_get_port+0x2f1/0x780"]);
    found.functions = vec![guilty, bind];
    let mut report = frame();
    report.verdict = Verdict::Leak;
    report.target.reader = Reader::Kcore;
    report.method.looks = 2;
    report.method.settle_s = Some(20);
    report.timings.total_s = Some(23.0);
    report.timings.trace_s = Some(20.2);
    report.trace = Some(watched("kmalloc-64"));
    report.trend = Some(Trend {
        watched_s: 20.2,
        unreclaimable_bytes_per_s: Some(612.0),
        leak_bytes_per_s: Some(240.0),
        available_bytes: Some(1400 * MIB),
        full_in_s: Some(1400.0 * MIB as f64 / 612.0),
    });
    report.findings = vec![found];
    report
}

/// Nothing was lost in numbers before; watching alone proves it. The kernel itself does it.
pub fn trace_only() -> Report {
    let mut found = lost("skbuff_head_cache", 256, 28);
    found.similar_objects = None;
    found.sample_object = None;
    let mut guilty = function("crypto_report", 0xd4, 0x1b0, [31, 0, 28]);
    guilty.marked = None;
    guilty.call_site = Some("__alloc_skb+0x14e/0x1b0".into());
    found.functions = vec![guilty];
    let mut report = traced();
    report.findings = vec![found];
    report.trace = Some(Trace { caches: Vec::new(), ..watched("") });
    report.trend =
        Some(Trend { watched_s: 20.2, leak_bytes_per_s: Some(512.0), ..Trend::default() });
    report
}

/// A leak from the past: nobody goes on losing.
pub fn ended_leak() -> Report {
    let mut report = traced();
    let mut bind = report.findings[0].functions.remove(1);
    bind.processes.clear();
    report.findings[0].functions = vec![bind];
    report.findings[0].growth_bytes_per_s = Some(0.0);
    report.trace = Some(Trace {
        ended: TraceEnd::TimeLimit,
        wait_more_s: Some(175.0),
        ..watched("kmalloc-64")
    });
    report.trend = Some(Trend { watched_s: 20.2, ..Trend::default() });
    report
}

/// A list that only grows: everything in it can be reached.
pub fn suspected() -> Report {
    let mut found = held("kmalloc-128", false, 60_000, 60_512, 128);
    found.verdict = FindingVerdict::Suspected;
    found.growth_bytes_per_s = Some(64_000.0);
    found.similar_objects = Some(51_200);
    found.sample_object = Some(Va(0xffff_8880_0411_1200).into());
    let mut grows = function("egress_map_add", 0x5e, 0x120, [9_800, 9_800, 0]);
    grows.module = Some("vlanx".into());
    found.functions = vec![grows, function("kernfs_fop_open", 0xba, 0x390, [3, 0, 0])];
    let mut report = frame();
    report.verdict = Verdict::Suspected;
    report.trace =
        Some(Trace { collect_s: 180.0, ended: TraceEnd::TimeLimit, ..watched("kmalloc-128") });
    report.trend = Some(Trend {
        watched_s: 186.0,
        unreclaimable_bytes_per_s: Some(66_000.0),
        leak_bytes_per_s: None,
        available_bytes: Some(1400 * MIB),
        full_in_s: Some(1400.0 * MIB as f64 / 66_000.0),
    });
    report.findings = vec![found, held("dentry", true, 58_012, 60_000, 192)];
    report
}

/// A program keeps many eventfds: it grows, and programs hold it.
pub fn explained() -> Report {
    let grew = |cache: &str, live, size, who: Function| Finding {
        growth_bytes_per_s: Some(size as f64 * 2_000.0),
        explained_by: Some(Explanation { count: CountKind::Files, grew_by: 40_000 }),
        functions: vec![who],
        ..held(cache, false, live, live + 400, size)
    };
    let mut eventfd = function("do_eventfd", 0x4c, 0x160, [39_980, 0, 0]);
    eventfd.processes = vec![process("eventfd-hoard", 4711, 39_980)];
    let mut file = function("alloc_empty_file", 0x4a, 0x120, [40_020, 0, 0]);
    file.processes = vec![process("eventfd-hoard", 4711, 39_980), process("sshd", 602, 40)];
    let mut report = frame();
    report.verdict = Verdict::NoLeak;
    report.findings = vec![
        grew("filp", 90_000, 232, file),
        grew("kmalloc-64", 70_000, 64, eventfd),
        held("dentry", true, 58_012, 60_000, 192),
    ];
    report.trace = Some(Trace {
        caches: vec!["filp".into(), "kmalloc-64".into()],
        ended: TraceEnd::Conclusive,
        ..watched("")
    });
    report.trend = Some(Trend {
        watched_s: 20.2,
        unreclaimable_bytes_per_s: Some(592_000.0),
        available_bytes: Some(1400 * MIB),
        full_in_s: Some(2_480.0),
        ..Trend::default()
    });
    report
}

/// So busy a machine that the tracer had to leave things out.
pub fn thinned() -> Report {
    let mut report = traced();
    let found = &mut report.findings[0];
    found.functions.truncate(1);
    found.functions[0].unreachable = Some(0);
    found.functions[0].processes.clear();
    report.trace = Some(Trace {
        collect_s: 12.0,
        drain_s: 0.0,
        lost_records: 1_311,
        one_in: 8,
        stacks_thinned: true,
        overhead_percent: Some(4.9),
        ended: TraceEnd::Interrupted,
        wait_more_s: Some(170.0),
        ..watched("kmalloc-64")
    });
    report.trend = None;
    report
}

/// Watching was wanted and could not be had.
pub fn refused() -> Report {
    let mut report = super::no_leak();
    report.caches.clear();
    let kind = RefusalKind::NeedsPrivilege;
    let refusal = Refusal { kind, detail: Some("CAP_SYS_ADMIN".into()) };
    report.trace = Some(Trace { refusal: Some(refusal), ..Trace::default() });
    report
}

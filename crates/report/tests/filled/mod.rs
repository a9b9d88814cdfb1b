//! Models with every field filled: secrets and what may be told are unlike each other and all else.

use std::cell::RefCell;

use sysak_base::Va;
use sysak_report::{
    Address, AreaCaller, Book, CacheTotals, CachedFile, Census, CgroupMemory, Class, ContentSymbol,
    Contents, CountKind, Counted, CountedKind, Counter, CounterName, Coverage, CrashDump,
    DeletedFile, Dump, DumpCommand, DumpFile, DumpPages, DyingCgroups, Elsewhere, Evidence,
    EvidenceKind, Explanation, Finding, FindingVerdict, Function, FunctionSource, GivenAway, Group,
    Hex, HiddenReference, HiddenShape, Holder, HolderKind, Hole, HoleOwner, HugePool,
    InspectedCache, Inspection, KernelMemory, LockedMemory, LogLine, MemGraph, Method, ObjectState,
    ObjectType, Omitted, Outside, Ownerless, PageAllocOwner, PageNumber, PageOwner, PageUse,
    PercpuUse, Place, Plain, Process, ProcessHolders, ProcessMemory, Reader, Reason, RefPlace,
    ReferenceTaker, Refs, Refusal, RefusalKind, Report, SCHEMA_VERSION, Scope, SharedKind,
    SharedMemory, Skipped, Spot, SpotKind, Stack, Stage, Step, Subject, Symbolic, Target,
    TargetKind, Timings, TmpfsMount, Tool, Trace, TraceEnd, Trend, TypeReason, TypeReasonKind,
    UnreadData, UserHolders, UserMemory, Verdict, Word, WordKind,
};

/// Big enough to be told.
const BYTES: u64 = 64 << 20;

/// What must go and what must stay.
#[derive(Default)]
pub struct Marks {
    pub secrets: RefCell<Vec<String>>,
    pub kept: RefCell<Vec<String>>,
}

impl Marks {
    fn secret(&self, what: &str) -> String {
        let mut all = self.secrets.borrow_mut();
        let mark = format!("{what}-s{:03}", all.len());
        all.push(mark.clone());
        mark
    }

    fn kept<T: From<String>>(&self, what: &str) -> T {
        let mut all = self.kept.borrow_mut();
        let mark = format!("{what}_k{:03}", all.len());
        all.push(mark.clone());
        mark.into()
    }

    fn number(&self) -> u64 {
        0xffff_8880_7700_0000 + self.secrets.borrow().len() as u64 * 0x1111
    }

    fn address(&self) -> Option<Address> {
        let at = Address(Va(self.number()));
        self.secrets.borrow_mut().push(at.to_string());
        Some(at)
    }

    fn contents(&self) -> Contents {
        let word = Contents(self.number());
        self.secrets.borrow_mut().push(word.to_string());
        word
    }

    fn page(&self) -> PageNumber {
        let page = PageNumber(70_000_007 + self.secrets.borrow().len() as u64 * 11);
        self.secrets.borrow_mut().push(page.to_string());
        page
    }

    /// A symbol, and an address where there was none.
    fn frames(&self) -> Vec<Symbolic> {
        let address = self.address().unwrap().to_string();
        vec![self.kept("frame"), address.into()]
    }

    fn process(&self) -> Place {
        Place::Process { comm: self.secret("comm"), pid: 812 }
    }
}

pub fn report(m: &Marks) -> Report {
    Report {
        schema_version: SCHEMA_VERSION,
        tool: tool(m),
        target: target(m),
        verdict: Verdict::Leak,
        summary: String::new(),
        notice: String::new(),
        reason: Some(m.secret("reason")),
        interrupted: Some(Stage::Similarity),
        redacted: false,
        method: Method {
            looks: 2,
            settle_s: Some(5),
            similarity_percent: 65,
            only_cache: Some(m.kept("only_cache")),
        },
        scope: Some(Scope {
            class: Class::Slab,
            cache: Some(m.kept("scope")),
            objects: 7,
            objects_unreachable: Some(0),
            elsewhere: vec![Elsewhere {
                class: Class::Slab,
                cache: Some(m.kept("elsewhere")),
                unreachable_objects: 7,
                unreachable_bytes: BYTES,
            }],
        }),
        census: census(),
        counters: vec![Counter {
            name: CounterName::SUnreclaim,
            kernel_says_bytes: 9,
            found_bytes: 1,
        }],
        ownerless: Some(Ownerless { bytes: 9, pinned_bytes: 1 }),
        findings: vec![
            finding(m, Class::Slab, FindingVerdict::Leak),
            finding(m, Class::Slab, FindingVerdict::Held),
            finding(m, Class::User, FindingVerdict::Held),
        ],
        trace: Some(Trace {
            collect_s: 14.0,
            drain_s: 6.0,
            events: 9,
            recorded: 8,
            outstanding: 7,
            lost_records: 6,
            caches: vec![m.kept("traced")],
            one_in: 2,
            stacks_thinned: true,
            overhead_percent: Some(0.4),
            ended: TraceEnd::Conclusive,
            wait_more_s: Some(9.0),
            refused: None,
            refusal: Some(Refusal {
                kind: RefusalKind::Forbidden,
                detail: Some(format!("refused at {}", m.address().unwrap()).into()),
            }),
        }),
        trend: Some(Trend {
            watched_s: 20.0,
            unreclaimable_bytes_per_s: Some(6e5),
            leak_bytes_per_s: Some(2e5),
            available_bytes: Some(BYTES),
            full_in_s: Some(900.0),
        }),
        coverage: coverage(m),
        timings: timings(),
        caches: vec![totals(m)],
        lang: None,
    }
}

pub fn graph(m: &Marks) -> MemGraph {
    MemGraph {
        schema_version: SCHEMA_VERSION,
        tool: tool(m),
        target: target(m),
        summary: String::new(),
        interrupted: Some(Stage::Walk),
        redacted: false,
        census: census(),
        counters: vec![Counter {
            name: CounterName::SUnreclaim,
            kernel_says_bytes: 9,
            found_bytes: 1,
        }],
        ownerless: Some(Ownerless { bytes: 9, pinned_bytes: 1 }),
        caches: vec![totals(m)],
        vmalloc_callers: vec![AreaCaller {
            function: m.kept("caller"),
            module: Some(m.kept("module")),
            areas: 3,
            bytes: BYTES,
        }],
        percpu_use: Some(PercpuUse { allocated_bytes: 1, fragmented_bytes: BYTES, empty_bytes: 2 }),
        holders: Some(holders(m)),
        coverage: coverage(m),
        timings: timings(),
        lang: None,
    }
}

pub fn inspection(m: &Marks, subject: Subject) -> Inspection {
    Inspection {
        schema_version: SCHEMA_VERSION,
        tool: tool(m),
        target: target(m),
        interrupted: Some(Stage::Reach),
        redacted: false,
        subject,
        timings: timings(),
    }
}

pub fn addr(m: &Marks) -> Subject {
    Subject::Addr(Spot { kind: SpotKind::Stack, ..spot(m, Place::Named(m.secret("thread"))) })
}

pub fn object(m: &Marks) -> Subject {
    let next = dump(m, Vec::new());
    Subject::Object(dump(m, vec![next]))
}

pub fn refs(m: &Marks) -> Subject {
    Subject::Refs(Refs {
        spot: spot(m, Place::Kernel(m.kept("cache"))),
        references: Some(3),
        places: places(m)
            .into_iter()
            .map(|name| RefPlace { name, references: 1, example: m.address(), unreachable: true })
            .collect(),
        ways: vec![vec![
            Step { name: m.process(), address: m.address() },
            Step { name: Place::Kernel(m.kept("kmalloc")), address: m.address() },
        ]],
    })
}

pub fn cache(m: &Marks) -> Subject {
    let finding = finding(m, Class::Slab, FindingVerdict::Held);
    Subject::Cache(Box::new(InspectedCache { slabs: 9, finding }))
}

pub fn crash_dump(m: &Marks) -> Subject {
    Subject::Dump(Box::new(CrashDump {
        file: DumpFile { packed_with: Some(m.kept("gzip")), ..DumpFile::default() },
        panic: Some(m.secret("panic")),
        oops: Some(m.secret("oops")),
        log: vec![LogLine { time_ns: 1, text: m.secret("log") }],
        commands: vec![DumpCommand {
            name: m.kept("command"),
            works: false,
            reason: Some(m.secret("file")),
        }],
        ..CrashDump::default()
    }))
}

/// A place of each kind that has a name.
fn places(m: &Marks) -> Vec<Place> {
    let kept = || m.kept::<Symbolic>("symbol");
    vec![
        Place::Kernel(kept()),
        Place::Free(kept()),
        Place::Module(m.kept("module")),
        Place::Timer(kept()),
        Place::DelayedWork(kept()),
        m.process(),
        Place::StackOf { comm: m.secret("thread"), pid: 7 },
        Place::StructPageOf(m.page()),
        Place::Cgroup { path: m.secret("/cgroup"), removed: true },
        Place::Cgroup { path: m.secret("/cgroup"), removed: false },
        Place::Cgroups { count: 77, removed: true },
        Place::Family { objects: 30, cache: m.kept("family") },
        Place::Itself(Hex(0x10)),
        Place::Unread,
        Place::File(m.secret("/file")),
        Place::DeletedFile(m.secret("/deleted")),
        Place::BlockDevice(m.secret("device")),
        Place::Inode(1234),
        Place::Named(m.secret("named")),
    ]
}

fn dump(m: &Marks, leads_to: Vec<Dump>) -> Dump {
    let word = |kind, meaning: Option<Place>| Word {
        offset: Hex(8),
        value: m.contents(),
        count: 1,
        kind,
        meaning,
        field: Some(m.kept("field")),
    };
    Dump {
        spot: spot(m, Place::Kernel(m.kept("cache"))),
        object_type: Some(object_type(m)),
        words: vec![
            word(WordKind::Zero, None),
            word(WordKind::Text, Some(Place::Named(m.secret("text")))),
            word(WordKind::Number, Some(Place::Named(m.secret("number")))),
            word(WordKind::Error, Some(Place::Named(m.secret("error")))),
            word(WordKind::Symbol, Some(Place::Kernel(m.kept("symbol")))),
            word(WordKind::Object, Some(Place::Kernel(m.kept("object")))),
            word(WordKind::Address, Some(Place::StructPageOf(m.page()))),
            word(WordKind::Poison, Some(Place::Kernel(m.kept("poison")))),
        ],
        cut: true,
        leads_to,
    }
}

fn spot(m: &Marks, name: Place) -> Spot {
    Spot {
        address: m.address(),
        kind: SpotKind::SlabObject,
        name: Some(name),
        module: Some(m.kept("module")),
        pid: Some(812),
        start: m.address(),
        offset: Some(Hex(0x10)),
        size_bytes: Some(64),
        state: Some(ObjectState::Reachable),
        pfn: Some(m.page()),
        page_owner: Some(PageUse::Slab),
    }
}

fn finding(m: &Marks, class: Class, verdict: FindingVerdict) -> Finding {
    let content = || ContentSymbol {
        offset: 8,
        path: vec![m.kept("passed")],
        symbol: m.kept("content"),
        objects: 9,
        objects_sampled: Some(10),
    };
    let holder = |place: Place| Holder {
        path: vec![place, Place::Kernel(m.kept("step"))],
        objects: 40,
        bytes: BYTES,
        retained_bytes: Some(BYTES),
        kind: HolderKind::Process,
    };
    Finding {
        class,
        verdict,
        cache: Some(m.kept("cache")),
        aliases: vec![m.kept("alias")],
        cache_destroyed: true,
        object_size_bytes: Some(64),
        reclaimable: Some(false),
        total_objects: Some(100),
        slab_bytes: Some(BYTES),
        allocated_objects: Some(90),
        allocated_bytes: Some(BYTES),
        unreachable_objects: Some(50),
        unreachable_bytes: Some(BYTES / 2),
        lost_through: Some(m.kept("through")),
        similar_objects: Some(80),
        sample_object: m.address(),
        groups: vec![group(m, content()), group(m, content())],
        growth_bytes_per_s: Some(9.0),
        explained_by: Some(Explanation { count: CountKind::Files, grew_by: 9 }),
        functions: vec![function(m, FunctionSource::Traced), function(m, FunctionSource::Static)],
        call_sites: Some(9),
        counted: Some(Counted {
            kind: CountedKind::Cred,
            takers: Some(vec![ReferenceTaker {
                module: m.kept("takers_module"),
                function: m.kept("taker"),
                calls: m.kept("taken_by"),
            }]),
        }),
        object_type: Some(object_type(m)),
        given_away: vec![GivenAway {
            to: Outside::Hypervisor,
            module: m.kept("giving_module"),
            function: m.kept("giver"),
            calls: m.kept("given_by"),
        }],
        content_symbols: vec![content()],
        holders: places(m).into_iter().map(holder).collect(),
        holders_sampled: Some(20),
        moved_suspects: Some(9),
        hidden_references: Some(vec![HiddenReference {
            shape: HiddenShape::PhysicalAddress,
            objects: 2048,
            by_chance: 3,
            holder: Place::Module(m.kept("ring")),
        }]),
        evidence: vec![Evidence { kind: EvidenceKind::Size, text: m.secret("evidence") }],
        advice: vec![m.secret("advice")],
    }
}

fn group(m: &Marks, content: ContentSymbol) -> Group {
    Group { objects: 9, unreachable: 8, sample_object: m.address(), content_symbols: vec![content] }
}

fn function(m: &Marks, source: FunctionSource) -> Function {
    Function {
        name: m.kept("function"),
        offset: Some(Hex(0x7c)),
        size: Some(Hex(0x200)),
        module: Some(m.kept("module")),
        call_site: Some(m.kept("site")),
        source,
        allocated: Some(70),
        outstanding: Some(66),
        marked: Some(62),
        unreachable: Some(60),
        unreachable_bytes: Some(BYTES),
        grew_bytes: Some(BYTES),
        stack: m.frames(),
        stacks: vec![Stack { frames: m.frames(), outstanding: 60 }],
        processes: vec![Process { pid: 812, comm: m.secret("comm"), outstanding: 33 }],
        asked_bytes: Some(64),
        linked: Some(true),
    }
}

fn object_type(m: &Marks) -> ObjectType {
    ObjectType {
        name: m.kept("struct"),
        confidence: 0.9,
        candidates: vec![m.kept("candidate")],
        confidences: vec![0.9],
        module: Some(m.kept("module")),
        size_bytes: Some(64),
        reasons: vec![TypeReason {
            offset: 8,
            field: m.kept("field"),
            kind: TypeReasonKind::Symbol,
            leads_to: Some(m.address().unwrap().to_string().into()),
        }],
    }
}

fn holders(m: &Marks) -> UserHolders {
    let comm = || m.secret("comm");
    let cached = || CachedFile {
        path: Place::File(m.secret("/cached")),
        system: m.kept("system"),
        device: m.secret("device"),
        bytes: BYTES,
    };
    UserHolders {
        processes: ProcessHolders {
            count: 1,
            anon_bytes: BYTES,
            top: vec![ProcessMemory {
                pid: 1,
                comm: comm(),
                anon_bytes: BYTES,
                swap_bytes: BYTES,
                hugetlb_bytes: BYTES,
            }],
        },
        unread_bytes: BYTES,
        unread: vec![UnreadData {
            pid: 1,
            comm: comm(),
            bytes: BYTES,
            pipes: 1,
            pipe_bytes: BYTES,
            sockets: 1,
            socket_bytes: BYTES,
        }],
        locked: vec![LockedMemory { pid: 1, comm: comm(), bytes: BYTES }],
        tmpfs: vec![TmpfsMount {
            mount: m.secret("/mount"),
            used_bytes: BYTES,
            limit_bytes: Some(BYTES),
            pid: Some(1),
            comm: comm(),
            open_bytes: BYTES,
        }],
        shared: vec![SharedMemory {
            kind: SharedKind::Memfd,
            name: m.secret("memfd"),
            bytes: BYTES,
            pid: Some(1),
            comm: comm(),
        }],
        cached_files: vec![cached()],
        huge_pools: vec![HugePool {
            page_bytes: 2 << 20,
            pages: 32,
            free_pages: 30,
            reserved_pages: 4,
        }],
        deleted_files: vec![DeletedFile {
            path: m.secret("/deleted"),
            bytes: BYTES,
            in_memory: true,
            pid: 1,
            comm: comm(),
            processes: 3,
        }],
        cgroups: vec![CgroupMemory {
            path: m.secret("/cgroup"),
            bytes: BYTES,
            file_bytes: Some(BYTES),
        }],
        dying_cgroups: Some(900),
        dying: Some(DyingCgroups {
            bytes: BYTES,
            anon_bytes: BYTES,
            file_bytes: BYTES,
            shmem_bytes: BYTES,
            files: vec![cached()],
        }),
    }
}

fn tool(m: &Marks) -> Tool {
    Tool { name: m.kept("tool"), version: m.kept("version") }
}

fn target(m: &Marks) -> Target {
    Target {
        kind: TargetKind::Live,
        reader: Reader::Kcore,
        kernel_release: m.kept("release"),
        arch: m.kept("arch"),
        page_size: 4096,
        hostname: Some(m.secret("host")),
        uptime_s: Some(70_000),
        torn: true,
    }
}

fn census() -> Census {
    let some = Some(BYTES);
    Census {
        total_bytes: Some(17 * BYTES),
        free_bytes: some,
        reserved_bytes: some,
        unaccounted_bytes: some,
        user: UserMemory {
            anon_bytes: some,
            file_bytes: some,
            shmem_bytes: some,
            hugetlb_bytes: some,
            unevictable_bytes: some,
        },
        kernel: KernelMemory {
            slab_reclaimable_bytes: some,
            slab_unreclaimable_bytes: some,
            vmalloc_bytes: some,
            percpu_bytes: some,
            page_table_bytes: some,
            kernel_stack_bytes: some,
            image_bytes: some,
            vmemmap_bytes: some,
            page_alloc_bytes: some,
        },
        page_alloc_owners: vec![PageAllocOwner { owner: PageOwner::Balloon, bytes: BYTES }],
    }
}

fn coverage(m: &Marks) -> Coverage {
    let address = || m.address().unwrap();
    Coverage {
        slabs_total: Some(9),
        slabs_walked: 8,
        objects_walked: 7,
        objects_unreachable: Some(6),
        bytes_scanned: BYTES,
        skipped: vec![Skipped {
            what: Omitted::Cache { address: address() },
            why: Reason::ListCircle { at: address() },
        }],
        pages: Some(DumpPages {
            present_bytes: BYTES,
            zero_bytes: 1,
            excluded_bytes: 2,
            absent_bytes: 3,
            lost_bytes: 4,
            holes_bytes: 5,
            holes: vec![Hole { owner: HoleOwner::Slab, bytes: 5 }],
        }),
        books: vec![Book {
            class: Class::Slab,
            found: true,
            total_bytes: BYTES,
            unjudged_bytes: 4096,
            closed: true,
        }],
    }
}

fn timings() -> Timings {
    Timings {
        total_s: Some(9.0),
        census_s: Some(1.0),
        walk_s: Some(1.0),
        reach_s: Some(1.0),
        similarity_s: Some(1.0),
        hidden_s: Some(1.0),
        explain_s: Some(1.0),
        trace_s: Some(1.0),
    }
}

fn totals(m: &Marks) -> CacheTotals {
    CacheTotals {
        name: m.kept::<Plain>("cache"),
        aliases: vec![m.kept("alias")],
        object_size_bytes: 64,
        slabs: 9,
        objects_total: 100,
        objects_live: 90,
        bytes: BYTES,
        reclaimable: true,
    }
}

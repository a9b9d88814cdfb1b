//! What `sysak inspect` shows.

use sysak_base::Va;
use sysak_report::{
    Class, ContentSymbol, Contents, CrashDump, Dump, DumpCommand, DumpFile, DumpFormat, DumpPages,
    DumpPart, Finding, Group, Hex, Holder, HolderKind, InspectedCache, Inspection, LogLine,
    ObjectState, ObjectType, PackedPages, Packing, PageNumber, PageUse, Place, Reader, RefPlace,
    Refs, Spot, SpotKind, Step, Subject, Target, TargetKind, Timings, Tool, TypeReason,
    TypeReasonKind, Word, WordKind,
};

fn document(subject: Subject) -> Inspection {
    Inspection {
        tool: Tool { name: "sysak".into(), version: "0.1.0".into() },
        target: Target {
            kind: TargetKind::Vmcore,
            reader: Reader::Elf,
            kernel_release: "6.12.43+deb12-amd64".into(),
            arch: "x86_64".into(),
            page_size: 4096,
            hostname: Some("web-17".into()),
            uptime_s: Some(4_000_000),
            torn: false,
        },
        subject,
        timings: Timings { total_s: Some(0.41), ..Timings::default() },
        ..Inspection::default()
    }
}

fn flow(offset: u64) -> Spot {
    let start = Va(0xffff_8880_0412_4440);
    Spot {
        address: Some(start.at(offset).into()),
        kind: SpotKind::SlabObject,
        name: Some(Place::kernel("kmalloc-64")),
        start: Some(start.into()),
        offset: Some(Hex(offset)),
        size_bytes: Some(64),
        state: Some(ObjectState::Reachable),
        pfn: Some(PageNumber(0x4124)),
        page_owner: Some(PageUse::Slab),
        ..Spot::default()
    }
}

/// An address in the middle of an object.
pub fn addr() -> Inspection {
    document(Subject::Addr(flow(0x10)))
}

/// Addresses of every kind.
pub fn addresses() -> Vec<Inspection> {
    let at =
        |address: u64, kind| Spot { address: Some(Va(address).into()), kind, ..Spot::default() };
    let spots = [
        Spot {
            name: Some(Place::kernel("flow_ops")),
            module: Some("bonding".into()),
            offset: Some(Hex(8)),
            ..at(0xffff_ffff_c040_1008, SpotKind::Module)
        },
        Spot {
            name: Some(Place::Named("dnsmasq".into())),
            pid: Some(812),
            pfn: Some(PageNumber(77)),
            page_owner: Some(PageUse::Kernel),
            ..at(0xffff_c900_0012_3e80, SpotKind::Stack)
        },
        Spot {
            name: Some(Place::kernel("flow_table_create")),
            module: Some("bonding".into()),
            start: Some(Va(0xffff_c900_0200_0000).into()),
            offset: Some(Hex(0x1000)),
            size_bytes: Some(1 << 20),
            state: Some(ObjectState::Unreachable),
            ..at(0xffff_c900_0200_1000, SpotKind::VmallocArea)
        },
        Spot {
            pfn: Some(PageNumber(1234)),
            page_owner: Some(PageUse::File),
            ..at(0xffff_8880_004d_2000, SpotKind::Page)
        },
        at(0x1234, SpotKind::Unknown),
    ];
    spots.into_iter().map(|spot| document(Subject::Addr(spot))).collect()
}

/// An object's words, and an object behind them.
pub fn object() -> Inspection {
    let word = |offset, value, kind, meaning: Option<&str>| Word {
        offset: Hex(offset),
        value: Contents(value),
        count: 1,
        kind,
        meaning: meaning.map(Place::kernel),
        field: None,
    };
    let behind = Spot { name: Some(Place::kernel("kmalloc-32")), size_bytes: Some(32), ..flow(0) };
    let said = |word: Word, what: &str| Word { meaning: Some(Place::Named(what.into())), ..word };
    let named = |word: Word, field: &str| Word { field: Some(field.into()), ..word };
    let dump = Dump {
        spot: flow(0),
        object_type: Some(ObjectType {
            name: "struct flow_rule_info".into(),
            confidence: 0.82,
            module: Some("bonding".into()),
            reasons: vec![TypeReason {
                offset: 0,
                field: "ops".into(),
                kind: TypeReasonKind::Symbol,
                leads_to: Some("flow_ops [bonding]".into()),
            }],
            ..ObjectType::default()
        }),
        words: vec![
            named(
                word(0, 0xffff_ffff_c040_1000, WordKind::Symbol, Some("flow_ops [bonding]")),
                "ops",
            ),
            named(
                word(8, 0xdead_0000_0000_0100, WordKind::Poison, Some("LIST_POISON1")),
                "list.next",
            ),
            word(16, 0xdead_0000_0000_0122, WordKind::Poison, Some("LIST_POISON2")),
            word(24, 0xffff_8880_0512_0020, WordKind::Object, Some("kmalloc-32+0x0")),
            said(word(32, 0x3_0000_0001, WordKind::Number, None), "1, 3"),
            said(word(40, 0x3068_7465, WordKind::Text, None), "eth0"),
            Word { count: 2, ..word(48, 0, WordKind::Zero, None) },
        ],
        leads_to: vec![Dump {
            spot: behind,
            words: vec![said(word(0, 0xffff_ffff_ffff_fff4, WordKind::Error, None), "-12")],
            cut: true,
            ..Dump::default()
        }],
        ..Dump::default()
    };
    document(Subject::Object(dump))
}

/// What points at an object.
pub fn refs() -> Inspection {
    let step = |name: &str, at| Step { name: Place::parse(name), address: Some(Va(at).into()) };
    document(Subject::Refs(Refs {
        spot: flow(0),
        references: Some(3),
        places: vec![
            RefPlace {
                name: Place::kernel("kmalloc-64+0x8"),
                references: 2,
                example: Some(Va(0xffff_8880_0412_4488).into()),
                unreachable: false,
            },
            RefPlace {
                name: Place::kernel("kmalloc-128+0x40"),
                references: 1,
                example: Some(Va(0xffff_8880_0900_0040).into()),
                unreachable: true,
            },
        ],
        ways: vec![
            vec![
                step("flow_table [bonding]", 0xffff_ffff_c040_2000),
                step("30 linked objects of kmalloc-64", 0xffff_8880_0412_4480),
            ],
            vec![
                step("dnsmasq (812)", 0xffff_8880_0800_0018),
                step("kmalloc-64+0x8", 0xffff_8880_0412_4488),
            ],
        ],
    }))
}

/// What nothing points at.
pub fn no_refs() -> Inspection {
    let spot = Spot { state: Some(ObjectState::Unreachable), ..flow(0) };
    document(Subject::Refs(Refs { spot, references: Some(0), ..Refs::default() }))
}

/// A slab cache.
pub fn cache() -> Inspection {
    let holder = |path: &[&str], objects, kind| Holder {
        path: path.iter().map(|step| Place::parse(step)).collect(),
        objects,
        bytes: objects * 64,
        retained_bytes: (kind == HolderKind::Module).then_some(objects * 96),
        kind,
    };
    let content = ContentSymbol {
        offset: 0,
        path: Vec::new(),
        symbol: "flow_ops [bonding]".into(),
        objects: 1000,
        objects_sampled: Some(1000),
    };
    let group = |objects, unreachable, at| Group {
        objects,
        unreachable,
        sample_object: Some(Va(at).into()),
        content_symbols: Vec::new(),
    };
    let finding = Finding {
        class: Class::Slab,
        cache: Some("kmalloc-64".into()),
        object_size_bytes: Some(64),
        total_objects: Some(600_064),
        slab_bytes: Some(38_404_096),
        allocated_objects: Some(600_000),
        allocated_bytes: Some(38_400_000),
        unreachable_objects: Some(12),
        unreachable_bytes: Some(768),
        groups: vec![
            group(590_000, 12, 0xffff_8880_0412_4440),
            group(10_000, 0, 0xffff_8880_0512_0040),
        ],
        content_symbols: vec![content],
        holders: vec![
            holder(&["flow_table [bonding]", "vmalloc"], 590_000, HolderKind::Module),
            holder(&["dnsmasq (812)", "kmalloc-1k+0x18"], 7_000, HolderKind::Process),
        ],
        ..Finding::default()
    };
    let finding = Finding { holders_sampled: Some(598_211), ..finding };
    let seen = InspectedCache { slabs: 9_376, finding };
    document(Subject::Cache(Box::new(seen)))
}

/// A dump that a distribution's kdump wrote, of a kernel that panicked.
pub fn crash_dump() -> Inspection {
    let packed = [(Packing::Lzo, 120_034), (Packing::Raw, 3017), (Packing::Unknown, 2)];
    let works = |name: &str| DumpCommand { name: name.into(), works: true, reason: None };
    let lines = [
        (1_234_567_890, "sysrq: Trigger a crash"),
        (1_234_999_999, "Kernel panic - not syncing: sysrq\ttriggered \u{1b}[31mcrash"),
        (100_001_000_000_000, "---[ end Kernel panic ]---"),
    ];
    let mut seen = document(Subject::Dump(Box::new(CrashDump {
        file: DumpFile {
            format: DumpFormat::Kdump,
            version: Some(6),
            flattened: true,
            files: 1,
            packed_with: None,
            bytes: 190 << 20,
            written_s: Some(1_764_457_199),
            filter_level: Some(31),
            pages: DumpPages {
                present_bytes: 480 << 20,
                zero_bytes: 3 << 30,
                excluded_bytes: 12 << 30,
                absent_bytes: 1 << 30,
                ..DumpPages::default()
            },
            packed: packed.map(|(packing, pages)| PackedPages { packing, pages }).into(),
        },
        crashed_s: Some(1_764_457_141),
        cpus: Some(8),
        panic: Some("Kernel panic - not syncing: sysrq triggered crash".to_owned()),
        oops: None,
        log: lines.map(|(time_ns, text)| LogLine { time_ns, text: text.to_owned() }).into(),
        missing: Vec::new(),
        symbols: Some(189_201),
        types: Some(120_345),
        commands: ["memleak", "memgraph", "inspect"].map(works).into(),
    })));
    seen.target.reader = Reader::Kdump;
    seen
}

/// A hypervisor's dump in which no kernel was found.
pub fn poor_dump() -> Inspection {
    let reason = Some("vm.dump has no VMCOREINFO".to_owned());
    let mut seen = document(Subject::Dump(Box::new(CrashDump {
        file: DumpFile {
            format: DumpFormat::Lime,
            files: 2,
            packed_with: Some("gzip".into()),
            bytes: 1 << 30,
            pages: DumpPages {
                present_bytes: 2 << 30,
                lost_bytes: 1 << 29,
                ..DumpPages::default()
            },
            ..DumpFile::default()
        },
        missing: vec![DumpPart::Kernel, DumpPart::Registers, DumpPart::Log],
        oops: Some("BUG: unable to handle page fault for address: 0000000000000010".to_owned()),
        commands: vec![DumpCommand { name: "memleak".into(), works: false, reason }],
        ..CrashDump::default()
    })));
    seen.target.kernel_release = "".into();
    seen
}

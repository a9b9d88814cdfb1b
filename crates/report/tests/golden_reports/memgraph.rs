//! Handmade memory graphs; every figure and name is invented.

use sysak_report::{
    AreaCaller, CacheTotals, CachedFile, Census, CgroupMemory, Counter, CounterName, Coverage,
    DeletedFile, DyingCgroups, HugePool, LockedMemory, MemGraph, Omitted, Ownerless,
    PageAllocOwner, PageOwner, PercpuUse, Place, ProcessHolders, ProcessMemory, Reader, Reason,
    SharedKind, SharedMemory, Skipped, Stage, Target, TargetKind, Timings, TmpfsMount, UnreadData,
    UserHolders,
};

use super::{MIB, census, filtered, frame};

/// A live machine on which every section has something to say.
pub fn graph() -> MemGraph {
    let frame = frame();
    MemGraph {
        tool: frame.tool,
        target: frame.target,
        census: all_leaves(),
        counters: counters(),
        ownerless: Some(Ownerless { bytes: 84 * MIB, pinned_bytes: 80 * MIB }),
        caches: caches(),
        vmalloc_callers: vec![
            AreaCaller {
                function: "htab_map_alloc".into(),
                module: None,
                areas: 9,
                bytes: 12 * MIB,
            },
            AreaCaller {
                function: "ring_create".into(),
                module: Some("nicx".into()),
                areas: 4,
                bytes: 4 * MIB,
            },
        ],
        percpu_use: Some(PercpuUse {
            allocated_bytes: 3 * MIB,
            fragmented_bytes: 5 * MIB,
            empty_bytes: MIB / 2,
        }),
        holders: Some(holders()),
        coverage: Coverage {
            skipped: vec![Skipped {
                what: Omitted::OpenFilesOf { count: 12_000 },
                why: Reason::TooMany,
            }],
            ..frame.coverage
        },
        timings: Timings {
            total_s: Some(0.612),
            reach_s: None,
            similarity_s: None,
            ..frame.timings
        },
        ..MemGraph::default()
    }
}

/// One counter that is too high, and one that is too low.
pub fn counters() -> Vec<Counter> {
    vec![
        Counter {
            name: CounterName::SUnreclaim,
            kernel_says_bytes: 1020 * MIB,
            found_bytes: 220 * MIB,
        },
        Counter { name: CounterName::Shmem, kernel_says_bytes: 12 * MIB, found_bytes: 70 * MIB },
    ]
}

/// A dump, of whose leaves some are not told apart.
pub fn dump_graph() -> MemGraph {
    let graph = graph();
    MemGraph {
        target: Target {
            kind: TargetKind::Vmcore,
            reader: Reader::Elf,
            hostname: None,
            uptime_s: None,
            torn: false,
            ..graph.target
        },
        census: census(),
        // The symbols of some dumps do not tell the pools of huge pages, nor the groups.
        holders: Some(UserHolders {
            huge_pools: Vec::new(),
            dying_cgroups: None,
            dying: None,
            ..holders()
        }),
        coverage: Coverage { pages: filtered().coverage.pages, ..Coverage::default() },
        ..graph
    }
}

/// Ctrl-C during the census.
pub fn stopped_graph() -> MemGraph {
    MemGraph {
        interrupted: Some(Stage::Census),
        census: Census::default(),
        caches: Vec::new(),
        holders: None,
        coverage: Coverage::default(),
        timings: Timings { total_s: Some(0.21), ..Timings::default() },
        ..graph()
    }
}

/// The census once every leaf is known.
fn all_leaves() -> Census {
    let mut census = census();
    census.user.hugetlb_bytes = Some(64 * MIB);
    census.user.unevictable_bytes = Some(0);
    let kernel = &mut census.kernel;
    kernel.vmalloc_bytes = Some(21 * MIB);
    kernel.percpu_bytes = Some(9 * MIB);
    kernel.kernel_stack_bytes = Some(6 * MIB);
    kernel.vmemmap_bytes = Some(32 * MIB);
    kernel.page_alloc_bytes = Some(28 * MIB);
    census.page_alloc_owners = vec![
        PageAllocOwner { owner: PageOwner::PagePool, bytes: 16 * MIB },
        PageAllocOwner { owner: PageOwner::Compressed, bytes: 4 * MIB },
    ];
    census
}

fn caches() -> Vec<CacheTotals> {
    let cache = |name: &str, size, total: u64, live, reclaimable| CacheTotals {
        name: name.into(),
        object_size_bytes: size,
        slabs: total * size / 4096,
        objects_total: total,
        objects_live: live,
        bytes: total * size,
        reclaimable,
        ..CacheTotals::default()
    };
    vec![
        cache("ext4_inode_cache", 1184, 18_000, 17_210, true),
        cache("dentry", 192, 60_000, 58_012, true),
        cache("kmalloc-512", 512, 9000, 900, false),
    ]
}

fn holders() -> UserHolders {
    let process = |pid, comm: &str, anon, swap| ProcessMemory {
        pid,
        comm: comm.into(),
        anon_bytes: anon * MIB,
        swap_bytes: swap * MIB,
        hugetlb_bytes: 0,
    };
    let deleted = |path: &str, mib, in_memory, processes| DeletedFile {
        path: path.into(),
        bytes: mib * MIB,
        in_memory,
        pid: 1402,
        comm: "java".into(),
        processes,
    };
    let cgroup = |path: &str, mib, file: Option<u64>| CgroupMemory {
        path: path.into(),
        bytes: mib * MIB,
        file_bytes: file.map(|mib| mib * MIB),
    };
    let cached = |path: &str, mib| CachedFile {
        path: Place::File(path.into()),
        system: "ext4".into(),
        device: "sda1".into(),
        bytes: mib * MIB,
    };
    UserHolders {
        processes: ProcessHolders {
            count: 134,
            anon_bytes: 301 * MIB,
            top: vec![process(1402, "java", 180, 96), process(811, "postgres\x1b[2J", 64, 0)],
        },
        tmpfs: vec![
            TmpfsMount {
                mount: "/dev/shm".into(),
                used_bytes: 7 * MIB,
                limit_bytes: Some(1024 * MIB),
                pid: Some(1402),
                comm: "java".into(),
                open_bytes: 5 * MIB,
            },
            TmpfsMount { mount: "/run".into(), used_bytes: 4096, ..TmpfsMount::default() },
        ],
        huge_pools: vec![HugePool {
            page_bytes: 2 * MIB,
            pages: 32,
            free_pages: 30,
            reserved_pages: 4,
        }],
        unread: vec![UnreadData {
            pid: 2203,
            comm: "collector".into(),
            bytes: 37 * MIB,
            pipes: 32,
            pipe_bytes: 32 * MIB,
            sockets: 9,
            socket_bytes: 5 * MIB,
        }],
        unread_bytes: 37 * MIB,
        locked: vec![LockedMemory { pid: 811, comm: "postgres".into(), bytes: 16 * MIB }],
        shared: vec![
            SharedMemory {
                kind: SharedKind::Sysv,
                name: "SYSV0052e2c1".into(),
                bytes: 8 * MIB,
                pid: Some(811),
                comm: "postgres".into(),
            },
            SharedMemory {
                kind: SharedKind::Unmounted,
                name: "i915".into(),
                bytes: 2 * MIB,
                ..SharedMemory::default()
            },
        ],
        cached_files: vec![cached("/var/lib/app/data.db", 96), cached("8:1", 12)],
        deleted_files: vec![
            deleted("/dev/shm/ring", 5, true, 3),
            deleted("/var/log/app.log", 2200, false, 1),
        ],
        cgroups: vec![
            cgroup("/system.slice/app.service", 210, Some(24)),
            cgroup("/user.slice", 12, None),
        ],
        dying_cgroups: Some(812),
        dying: Some(DyingCgroups {
            bytes: 41 * MIB,
            anon_bytes: 0,
            file_bytes: 38 * MIB,
            shmem_bytes: 3 * MIB,
            files: vec![cached("/var/log/journal/system.journal", 30)],
        }),
    }
}

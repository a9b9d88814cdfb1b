use std::collections::BTreeSet;

use sysak_symbols::TypeInfo;

use super::super::fixture_bytes;
use super::*;

/// The newest kernel whose types are here.
const NEWEST: &str = "7.3";

/// Where the layout's names are spelled: a name that stands in none of these is not asked for.
const SOURCES: [&str; 12] = [
    include_str!("../cgroup.rs"),
    include_str!("../file.rs"),
    include_str!("../open.rs"),
    include_str!("../page.rs"),
    include_str!("../percpu.rs"),
    include_str!("../pool.rs"),
    include_str!("../process.rs"),
    include_str!("../slab.rs"),
    include_str!("../task.rs"),
    include_str!("../timer.rs"),
    include_str!("../vmalloc.rs"),
    include_str!("../zone.rs"),
];

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;

/// A member of a structure or an enumerator: its name, and where the types say it.
struct Member {
    name: String,
    at: usize,
}

/// The types of a kernel, as bytes in which single members can be renamed.
struct Types {
    bytes: Vec<u8>,
    /// A name that nobody asks for, counted from the strings' start.
    unknown: u32,
}

impl Types {
    fn read() -> Types {
        let mut bytes = fixture_bytes(NEWEST);
        let strings = word(&bytes, 20);
        bytes.extend_from_slice(b"?\0");
        bytes[20..24].copy_from_slice(&(strings + 2).to_le_bytes());
        Types { bytes, unknown: strings }
    }

    fn parse(&self, without: Option<&Member>) -> TypeInfo {
        let mut bytes = self.bytes.clone();
        if let Some(Member { at, .. }) = without {
            bytes[*at..*at + 4].copy_from_slice(&self.unknown.to_le_bytes());
        }
        TypeInfo::parse(&bytes).unwrap()
    }

    /// Everything that a layout may ask for.
    fn members(&self) -> Vec<Member> {
        let header = word(&self.bytes, 4) as usize;
        let (from, bytes) = (word(&self.bytes, 8) as usize, word(&self.bytes, 12) as usize);
        let strings = header + word(&self.bytes, 16) as usize;
        let text = |offset: u32| {
            let rest = &self.bytes[strings + offset as usize..];
            let end = rest.iter().position(|byte| *byte == 0).unwrap();
            String::from_utf8_lossy(&rest[..end]).into_owned()
        };
        let (mut at, end) = (header + from, header + from + bytes);
        let mut found = Vec::new();
        while at < end {
            let (name, info) = (text(word(&self.bytes, at)), word(&self.bytes, at + 4));
            let (kind, many) = (info >> 24 & 31, (info & 0xffff) as usize);
            let (fixed, each) = match kind {
                1 | 14 | 17 => (4, 0),
                3 => (12, 0),
                STRUCT | UNION | 15 | 19 => (0, 12),
                ENUM | 13 => (0, 8),
                _ => (0, 0),
            };
            at += 12 + fixed;
            if matches!(kind, STRUCT | UNION | ENUM) {
                let members = (0..many).map(|member| at + member * each);
                found.extend(members.map(|at| (text(word(&self.bytes, at)), at)).filter_map(
                    |(member, at)| {
                        let owner = if kind == ENUM { "enum" } else { &name };
                        let asked = is_asked_for(&member);
                        asked.then(|| Member { name: format!("{owner}.{member}"), at })
                    },
                ));
            }
            at += many * each;
        }
        found
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn is_asked_for(name: &str) -> bool {
    let spelled = |source: &&str| {
        let is_word = |at: usize| {
            let (before, after) = (&source[..at], &source[at + name.len()..]);
            before.ends_with(['"', '.']) && after.starts_with(['"', '.'])
        };
        source.match_indices(name).any(|(at, _)| is_word(at))
    };
    // Page types are asked for by their last word.
    !name.is_empty() && (name.starts_with("PGTY_") || SOURCES.iter().any(spelled))
}

/// What is left out with a layout: noted at once, or by the walk that cannot begin.
fn left_out(shape: &Shape) -> Vec<String> {
    let user = &shape.user_memory;
    let walks = [
        (shape.vmalloc.is_none(), Omitted::VmallocAreas),
        (shape.percpu.is_none(), Omitted::PerCpuMemory),
        (shape.zone.is_none(), Omitted::PerCpuFreePages),
        (user.open.is_none(), Omitted::OpenFiles),
    ];
    let walks = walks.into_iter().filter_map(|(lost, what)| lost.then_some(what));
    shape.losses().chain(walks).map(|what| format!("{what:?}")).collect()
}

#[test]
fn nothing_of_the_newest_kernel_is_left_out() {
    let shape = Shape::resolve(&Types::read().parse(None)).unwrap();
    assert_eq!(left_out(&shape), [] as [&str; 0]);
}

#[test]
fn a_member_that_is_missing_costs_what_depends_on_it_and_the_loss_is_noted() {
    let types = Types::read();
    let whole = format!("{:?}", Shape::resolve(&types.parse(None)).unwrap());
    let (mut needed, mut unnoted) = (BTreeSet::new(), BTreeSet::new());
    let mut noted = 0;
    for member in types.members() {
        match Shape::resolve(&types.parse(Some(&member))) {
            Err(missing) => {
                assert_eq!(missing.to_string().lines().count(), 1);
                needed.insert(member.name);
            }
            Ok(shape) if format!("{shape:?}") == whole => {}
            Ok(shape) if left_out(&shape).is_empty() => {
                unnoted.insert(member.name);
            }
            Ok(_) => noted += 1,
        }
    }
    assert_eq!(needed, NEEDED.map(str::to_owned).into());
    assert_eq!(unnoted, UNNOTED.map(str::to_owned).into());
    assert!(noted > 100, "{noted} members cost something that is noted");
}

/// Without these the owner of a page or the objects of a slab cannot be told.
const NEEDED: [&str; 15] = [
    ".compound_info",
    ".counters",
    ".freelist",
    ".page_type",
    "enum.PGTY_buddy",
    "enum.PGTY_slab",
    "enum.PG_head",
    "kmem_cache.list",
    "kmem_cache.name",
    "kmem_cache.object_size",
    "kmem_cache.offset",
    "kmem_cache.size",
    "page._refcount",
    "page.flags",
    "slab.slab_cache",
];

/// Some kernels lack these: without them a kernel looks like one of those. Pages of a type that is not
/// known stay the kernel's and are roots; without `random`, slabs do not add up, which the walk notes. What only
/// confirms a cache (`inuse`, `oo`, `reciprocal_size`, `refcount`) confirms one less.
const UNNOTED: [&str; 39] = [
    "._large_mapcount",
    "._pincount",
    ".hugetlb_usage",
    ".pinned_vm",
    ".pp_magic",
    "enum.NR_KERNEL_STACK_KB",
    "enum.NR_PAGETABLE",
    "enum.NR_SECONDARY_PAGETABLE",
    "enum.NR_SHMEM",
    "enum.NR_SLAB_RECLAIMABLE_B",
    "enum.NR_VMALLOC",
    "enum.PGTY_guard",
    "enum.PGTY_hugetlb",
    "enum.PGTY_large_kmalloc",
    "enum.PGTY_offline",
    "enum.PGTY_table",
    "enum.PGTY_unaccepted",
    "enum.PGTY_zsmalloc",
    "enum.PG_hwpoison",
    "enum.PG_swapcache",
    "kmem_cache.inuse",
    "kmem_cache.oo",
    "kmem_cache.random",
    "kmem_cache.reciprocal_size",
    "kmem_cache.red_left_pad",
    "kmem_cache.refcount",
    "obj_cgroup.is_root",
    "obj_cgroup.memcg",
    "page.memcg_data",
    "pcpu_chunk.obj_exts",
    "pcpuobj_ext.cgroup",
    "percpu_counter.counters",
    "pglist_data.first_deferred_pfn",
    "rb_list.head",
    "reciprocal_value.m",
    "reciprocal_value.sh2",
    "shmem_sb_info.max_blocks",
    "vmap_node.busy",
    "zone.trylock_free_pages",
];

#[test]
fn where_free_objects_may_be_is_not_guessed() {
    let types = Types::read();
    let parts = ["slub_percpu_sheaves.rcu_free", "slab_sheaf.size", "node_barn.sheaves_full"];
    for part in parts.into_iter().chain(["kmem_cache.cpu_sheaves", "kmem_cache_per_node_ptrs.barn"])
    {
        let member = types.members().into_iter().find(|member| member.name == part).unwrap();
        let shape = Shape::resolve(&types.parse(Some(&member))).unwrap();
        assert!(!shape.tells_free_objects(), "without {part}");
        assert!(left_out(&shape).contains(&"SlabObjects".to_owned()), "without {part}");
    }
}

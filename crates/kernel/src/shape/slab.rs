//! SLUB: the slab's bookkeeping, `struct kmem_cache`, and where free objects hide.

use sysak_base::{Memory, Va};
use sysak_symbols::Kallsyms;

use super::{FieldPlace, Missing, Names};

/// The cache whose objects the caches are.
pub const OWN_CACHE: &str = "kmem_cache";

/// A slab's bookkeeping, which overlays its first `struct page`.
///
/// A type of its own since Linux commit d122019bf061 ("mm: Split slab into its
/// own type") (v5.17); before that it lived inside `struct page`.
#[derive(Clone, Debug)]
pub struct SlabShape {
    /// `slab_cache`
    pub cache: u64,
    /// `freelist`
    pub freelist: u64,
    /// `counters`: objects in use in the low 16 bits, then 15 of all, then frozen.
    pub counters: u64,
}

impl SlabShape {
    pub(super) fn resolve(names: Names<'_>) -> Result<SlabShape, Missing> {
        let owner = if names.find("slab", "slab_cache").is_some() { "slab" } else { "page" };
        Ok(SlabShape {
            cache: names.need(owner, "slab_cache")?,
            freelist: names.need(owner, "freelist")?,
            counters: names.need(owner, "counters")?,
        })
    }
}

/// `struct kmem_cache`.
#[derive(Clone, Debug)]
pub struct CacheShape {
    /// Bytes of the structure, as far as this walk reads it.
    pub read_bytes: u64,
    /// `name`
    pub name: u64,
    /// `list`
    pub list: u64,
    /// `size`: bytes from one object to the next.
    pub size: u64,
    /// `object_size`
    pub object_size: u64,
    /// `inuse`: where what a user may touch ends, at a word.
    pub used_bytes: Option<u64>,
    /// `offset` of the free pointer inside a free object.
    pub free_pointer: u64,
    /// `flags`
    pub flags: Option<FieldPlace>,
    /// The bit of `flags` that says that reclaim can shrink it.
    pub reclaimable_bit: u64,
    /// `random`, where free pointers are hardened.
    pub random: Option<u64>,
    /// `red_left_pad`, where debugging is built in.
    pub left_pad: Option<u64>,
    /// `refcount`: owners that have not destroyed it.
    pub owners: Option<u64>,
    /// `oo`: objects in a slab in the low 16 bits, its order above.
    pub slab_objects: Option<u64>,
    /// `reciprocal_size`, by which the kernel divides by `size`: its multiplier and the last of its two shifts.
    pub reciprocal: Option<[u64; 2]>,
    /// The per-CPU slabs.
    pub cpu: Option<CpuSlabShape>,
    /// The sheaves of v6.18 and later.
    pub sheaf: Option<SheafShape>,
    /// What the cache has of each memory node; `None` where that is not known.
    pub nodes: Option<NodesPlace>,
    /// `kmem_cache_node.total_objects`, where the kernel counts them.
    pub node_total: Option<u64>,
    /// Whether all places of free objects are known: those that CPUs and nodes keep too.
    pub tells_free_objects: bool,
    /// The cache's directory in sysfs, whose links are the names of merged caches.
    pub kernfs: Option<KernfsShape>,
}

impl CacheShape {
    pub(super) fn resolve(names: Names<'_>) -> Result<CacheShape, Missing> {
        let need = |path| names.need("kmem_cache", path);
        let flags = names.0.find_field("kmem_cache", "flags");
        let nodes = NodesPlace::find(names);
        let (cpu, sheaf) = (CpuSlabShape::find(names), SheafShape::find(names));
        // Of a kernel that has neither, it is not known where it keeps them.
        let has = |owner, path| names.find_size(owner).or(names.find("kmem_cache", path)).is_some();
        let (by_cpu, by_sheaf) =
            (has("kmem_cache_cpu", "cpu_slab"), has("slub_percpu_sheaves", "cpu_sheaves"));
        let barn = nodes.and_then(|nodes| nodes.barn);
        let tells_free_objects = (by_cpu || by_sheaf)
            && (!by_cpu || cpu.is_some())
            && (!by_sheaf || sheaf.is_some() && barn.is_some());
        let ends = ["name", "list", "size", "object_size", "offset", "flags", "random"];
        let ends = ends
            .into_iter()
            .chain(["inuse", "red_left_pad"])
            .filter_map(|path| names.find("kmem_cache", path));
        Ok(CacheShape {
            read_bytes: ends.fold(0, u64::max) + 8,
            name: need("name")?,
            list: need("list")?,
            size: need("size")?,
            object_size: need("object_size")?,
            used_bytes: names.find("kmem_cache", "inuse"),
            free_pointer: need("offset")?,
            flags: flags
                .map(|flags| FieldPlace { at: flags.offset_bytes, bytes: flags.size_bytes }),
            reclaimable_bit: reclaimable_bit(names),
            random: names.find("kmem_cache", "random"),
            left_pad: names.find("kmem_cache", "red_left_pad"),
            owners: names.find("kmem_cache", "refcount"),
            slab_objects: names.find("kmem_cache", "oo"),
            reciprocal: names
                .find("kmem_cache", "reciprocal_size.m")
                .zip(names.find("kmem_cache", "reciprocal_size.sh2"))
                .map(|(multiplier, shift)| [multiplier, shift]),
            cpu,
            sheaf,
            tells_free_objects,
            nodes,
            node_total: names.find("kmem_cache_node", "total_objects"),
            kernfs: KernfsShape::find(names),
        })
    }
}

/// An array in `struct kmem_cache` with an element for each memory node; it comes last, and is cut
/// short to the nodes that the machine may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodesPlace {
    /// Where it begins.
    pub at: u64,
    /// Elements at most.
    pub len: u64,
    /// Bytes of an element.
    pub step: u64,
    /// Where in an element the pointer to the `struct kmem_cache_node` is.
    pub node: u64,
    /// Where the pointer to the `struct node_barn` is; `None` before there were sheaves.
    pub barn: Option<BarnPlace>,
}

/// Where the pointer to a node's `struct node_barn` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarnPlace {
    /// In the `struct kmem_cache_node`.
    InNode(u64),
    /// In the element itself, `kmem_cache.per_node` (v7.1).
    InElement(u64),
}

impl NodesPlace {
    fn find(names: Names<'_>) -> Option<NodesPlace> {
        let array = |path| {
            let at = names.find("kmem_cache", path)?;
            Some((at, names.find_len("kmem_cache", path).unwrap_or(1).min(1024)))
        };
        let pair = |path| names.find("kmem_cache_per_node_ptrs", path);
        if let (Some((at, len)), Some(node)) = (array("per_node"), pair("node")) {
            let step = names.find_size("kmem_cache_per_node_ptrs")?.max(8);
            let barn = pair("barn").map(BarnPlace::InElement);
            return Some(NodesPlace { at, len, step, node, barn });
        }
        let (at, len) = array("node")?;
        let barn = names.find("kmem_cache_node", "barn").map(BarnPlace::InNode);
        Some(NodesPlace { at, len, step: 8, node: 0, barn })
    }

    /// How many elements a cache has whose `struct kmem_cache` is so long.
    pub fn count(&self, cache_bytes: u64) -> u64 {
        (cache_bytes.saturating_sub(self.at) / self.step).clamp(1, self.len)
    }
}

/// The allocator of a kernel that is not built with SLUB, by what only its caches have.
///
/// SLOB went with Linux commit c9929f0e344a ("mm/slob: remove CONFIG_SLOB") (v6.4), SLAB with 16a1d968358a ("mm/slab:
/// remove mm/slab.c and slab_def.h") (v6.8).
pub(super) fn other_allocator(names: Names<'_>) -> Option<&'static str> {
    let has = |path| names.find("kmem_cache", path).is_some();
    match () {
        () if has("offset") => None,
        () if has("cpu_cache") => Some("SLAB"),
        () if has("name") && has("size") && names.find("slob_block", "units").is_some() => {
            Some("SLOB")
        }
        () => None,
    }
}

/// `SLAB_RECLAIM_ACCOUNT`: a bit of an enum since Linux commit cc61eb851461
/// ("mm, slab: use an enum to define SLAB_ cache creation flags") (v6.9), a macro
/// before it.
fn reclaimable_bit(names: Names<'_>) -> u64 {
    match names.find_value("_SLAB_RECLAIM_ACCOUNT") {
        Some(bit) if bit < 64 => 1 << bit,
        _ => 0x0002_0000,
    }
}

/// `struct kmem_cache_cpu`, gone in v7.0.
#[derive(Clone, Debug)]
pub struct CpuSlabShape {
    /// `kmem_cache.cpu_slab`, a per-CPU pointer.
    pub at: u64,
    /// `freelist`: free objects that the slab itself counts as used.
    pub freelist: u64,
}

impl CpuSlabShape {
    fn find(names: Names<'_>) -> Option<CpuSlabShape> {
        Some(CpuSlabShape {
            at: names.find("kmem_cache", "cpu_slab")?,
            freelist: names.find("kmem_cache_cpu", "freelist")?,
        })
    }
}

/// Sheaves, arrays of free objects, since Linux commit 2d517aa09bbc
/// ("slab: add opt-in caching layer of percpu sheaves") (v6.18).
#[derive(Clone, Debug)]
pub struct SheafShape {
    /// `kmem_cache.cpu_sheaves`, a per-CPU pointer.
    pub at: u64,
    /// The sheaves of a CPU: `main`, `spare`, `rcu_free`.
    pub of_cpu: [u64; 3],
    /// Bytes of what a CPU has, as far as these walks read it.
    pub cpu_bytes: u64,
    /// `slab_sheaf.size`
    pub size: u64,
    /// `slab_sheaf.objects`
    pub objects: u64,
    /// `slab_sheaf.barn_list`
    pub link: u64,
    /// The heads of a node's lists: `node_barn.sheaves_full` and `sheaves_empty`.
    pub lists: [u64; 2],
}

impl SheafShape {
    fn find(names: Names<'_>) -> Option<SheafShape> {
        let cpu = |path| names.find("slub_percpu_sheaves", path);
        let barn = |path| names.find("node_barn", path);
        let of_cpu = [cpu("main")?, cpu("spare")?, cpu("rcu_free")?];
        Some(SheafShape {
            at: names.find("kmem_cache", "cpu_sheaves")?,
            of_cpu,
            cpu_bytes: of_cpu.into_iter().fold(0, u64::max) + 8,
            size: names.find("slab_sheaf", "size")?,
            objects: names.find("slab_sheaf", "objects")?,
            link: names.find("slab_sheaf", "barn_list")?,
            lists: [barn("sheaves_full")?, barn("sheaves_empty")?],
        })
    }
}

/// sysfs directories, as far as the names of merged caches need them.
#[derive(Clone, Debug)]
pub struct KernfsShape {
    /// `kmem_cache.kobj.sd`
    pub directory: u64,
    /// `kernfs_node.parent`
    pub parent: u64,
    /// `kernfs_node.name`
    pub name: u64,
    /// `kernfs_node.flags`
    pub flags: FieldPlace,
    /// `kernfs_node.rb`
    pub rb: u64,
    /// `kernfs_node.dir.children`
    pub children: u64,
    /// `kernfs_node.symlink.target_kn`
    pub target: u64,
    /// `rb_node.rb_left` and `rb_node.rb_right`
    pub sides: [u64; 2],
}

impl KernfsShape {
    fn find(names: Names<'_>) -> Option<KernfsShape> {
        let node = |path| names.find("kernfs_node", path);
        let flags = names.0.find_field("kernfs_node", "flags")?;
        Some(KernfsShape {
            directory: names.find("kmem_cache", "kobj.sd")?,
            parent: node("parent").or_else(|| node("__parent"))?,
            name: node("name")?,
            flags: FieldPlace { at: flags.offset_bytes, bytes: flags.size_bytes },
            rb: node("rb")?,
            children: node("dir.children")?,
            target: node("symlink.target_kn")?,
            sides: [names.find("rb_node", "rb_left")?, names.find("rb_node", "rb_right")?],
        })
    }
}

/// The head of the list of all caches; listed where KALLSYMS_ALL is set.
pub fn find_caches(symbols: &Kallsyms) -> Option<Va> {
    symbols.find("slab_caches")
}

/// Pages of KFENCE, where kmalloc puts an object now and then to guard it; listed where KALLSYMS_ALL is set.
pub fn find_kfence_pool(memory: &dyn Memory, symbols: &Kallsyms) -> Option<Va> {
    memory.read_u64(symbols.find("__kfence_pool")?).ok().map(Va)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(version: &str) -> NodesPlace {
        NodesPlace::find(Names(&super::super::fixture(version))).unwrap()
    }

    #[test]
    fn a_node_has_its_sheaves_beside_it_since_7_1_and_in_it_before() {
        let old = nodes("6.12");
        assert_eq!((old.step, old.node, old.barn), (8, 0, None));
        assert_eq!(nodes("6.18").barn, Some(BarnPlace::InNode(64)));
        for version in ["7.2", "7.3"] {
            let new = nodes(version);
            assert_eq!((new.step, new.node, new.barn), (16, 8, Some(BarnPlace::InElement(0))));
            assert_eq!((new.count(new.at + 32), new.count(0), new.count(1 << 20)), (2, 1, 1024));
        }
    }

    #[test]
    fn slabs_of_every_kernel_have_their_counters_behind_the_freelist() {
        for version in ["5.10", "6.1", "6.12", "6.18", "7.2", "7.3"] {
            let shape = SlabShape::resolve(Names(&super::super::fixture(version))).unwrap();
            assert_eq!((shape.freelist, shape.counters), (32, 40), "{version}");
        }
    }
}

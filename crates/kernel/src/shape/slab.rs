//! SLUB: the slab's bookkeeping, `struct kmem_cache`, and where free objects hide.

use sysak_base::Va;
use sysak_symbols::Kallsyms;

use super::{FieldPlace, Missing, Names};

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
    /// `offset` of the free pointer inside a free object.
    pub free_pointer: u64,
    /// `flags`
    pub flags: u64,
    /// Bytes of `flags`.
    pub flags_bytes: u64,
    /// The bit of `flags` that says that reclaim can shrink it.
    pub reclaimable_bit: u64,
    /// `random`, where free pointers are hardened.
    pub random: Option<u64>,
    /// `red_left_pad`, where debugging is built in.
    pub left_pad: Option<u64>,
    /// The per-CPU slabs.
    pub cpu: Option<CpuSlabShape>,
    /// The sheaves of v6.18 and later.
    pub sheaf: Option<SheafShape>,
    /// `node`, an array of pointers, and how many there are at most.
    pub node: u64,
    /// Number of elements in `node`.
    pub nodes: u64,
    /// `kmem_cache_node.total_objects`, where the kernel counts them.
    pub node_total: Option<u64>,
    /// The cache's directory in sysfs, whose links are the names of merged caches.
    pub kernfs: Option<KernfsShape>,
}

impl CacheShape {
    pub(super) fn resolve(names: Names<'_>) -> Result<CacheShape, Missing> {
        let need = |path| names.need("kmem_cache", path);
        let flags_bytes = names.0.find_field("kmem_cache", "flags").map_or(8, |f| f.size_bytes);
        let node = need("node")?;
        Ok(CacheShape {
            read_bytes: node,
            name: need("name")?,
            list: need("list")?,
            size: need("size")?,
            object_size: need("object_size")?,
            free_pointer: need("offset")?,
            flags: need("flags")?,
            flags_bytes: flags_bytes.min(8),
            reclaimable_bit: reclaimable_bit(names),
            random: names.find("kmem_cache", "random"),
            left_pad: names.find("kmem_cache", "red_left_pad"),
            cpu: CpuSlabShape::find(names),
            sheaf: SheafShape::find(names),
            node,
            nodes: names.find_len("kmem_cache", "node").unwrap_or(1).min(1024),
            node_total: names.find("kmem_cache_node", "total_objects"),
            kernfs: KernfsShape::find(names),
        })
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
    /// `slab_sheaf.size`
    pub size: u64,
    /// `slab_sheaf.objects`
    pub objects: u64,
    /// `slab_sheaf.barn_list`
    pub link: u64,
    /// `kmem_cache_node.barn`
    pub barn: u64,
    /// `node_barn.sheaves_full`
    pub full: u64,
}

impl SheafShape {
    fn find(names: Names<'_>) -> Option<SheafShape> {
        let cpu = |path| names.find("slub_percpu_sheaves", path);
        Some(SheafShape {
            at: names.find("kmem_cache", "cpu_sheaves")?,
            of_cpu: [cpu("main")?, cpu("spare")?, cpu("rcu_free")?],
            size: names.find("slab_sheaf", "size")?,
            objects: names.find("slab_sheaf", "objects")?,
            link: names.find("slab_sheaf", "barn_list")?,
            barn: names.find("kmem_cache_node", "barn")?,
            full: names.find("node_barn", "sheaves_full")?,
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

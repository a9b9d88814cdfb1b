//! The words of the kernel's structures that can be damaged, by kind.

use std::path::Path;

use anyhow::Result;
use sysak_base::{Cancel, PAGE_SHIFT, PAGE_SIZE, Pa, Quiet, Va};
use sysak_heap::{Heap, Object};
use sysak_kernel::Kernel;
use sysak_kernel::tables::Mapping;
use sysak_kernel::vmalloc::AreaKind;
use sysak_snapshot::Snapshot;
use sysak_target::Changes;

/// More words of one kind do not make the choice better.
const MOST: usize = 20_000;

/// A word that can be damaged.
#[derive(Clone, Copy)]
pub struct Place {
    /// Where it lies in physical memory.
    pub at: Pa,
    /// And by the kernel's addresses.
    pub address: Va,
    /// What stands there.
    pub word: u64,
}

/// Words of one kind.
pub struct Kind {
    /// What they are.
    pub name: &'static str,
    /// All of them, or many.
    pub places: Vec<Place>,
}

/// All words that can be damaged.
pub struct Places {
    /// Kinds that the dump has words of.
    pub kinds: Vec<Kind>,
}

impl Places {
    /// Finds the words in a dump as it is.
    pub fn of(dump: &Path) -> Result<Places> {
        let target = sysak_target::open_changed(dump, Changes::default())?;
        let memory = target.memory.as_ref();
        let kernel = Kernel::new(memory, &target.anchors, &target.types, &target.symbols)?;
        let seen = Snapshot::take(&kernel, &Quiet, &Cancel::default())?;
        for left_out in &seen.coverage.skipped {
            println!("  without damage: {:?}: {:?}", left_out.what, left_out.why);
        }
        let mapping = Mapping::new(&kernel, &seen.heap);
        let mut finder = Finder { kernel: &kernel, heap: &seen.heap, mapping, kinds: Vec::new() };
        finder.caches();
        finder.slabs();
        finder.pages();
        finder.zones();
        finder.areas(&seen);
        finder.chunks(&seen);
        finder.tables(&seen);
        finder.tasks();
        finder.nodes();
        finder.image();
        finder.kinds.retain(|kind| !kind.places.is_empty());
        Ok(Places { kinds: finder.kinds })
    }

    /// Prints how many words of each kind there are.
    pub fn print(&self) {
        for Kind { name, places } in &self.kinds {
            println!("  {:7} words: {name}", places.len());
        }
    }
}

struct Finder<'f, 'k> {
    kernel: &'f Kernel<'k>,
    heap: &'f Heap,
    mapping: Option<Mapping<'f, 'k>>,
    kinds: Vec<Kind>,
}

impl Finder<'_, '_> {
    fn word(&self, at: Va) -> u64 {
        self.kernel.memory.read_u64(at).unwrap_or(0)
    }

    fn symbol(&self, name: &str) -> Option<Va> {
        self.kernel.symbols.find(name)
    }

    /// Offsets of members, where the kernel has them; the word that each lies in.
    fn offsets(&self, owner: &str, members: &[&str]) -> Vec<u64> {
        let field = |member: &&str| self.kernel.types.find_field(owner, member);
        members.iter().filter_map(field).map(|field| field.offset_bytes & !7).collect()
    }

    fn add(&mut self, name: &'static str, addresses: impl IntoIterator<Item = Va>) {
        let mut addresses: Vec<Va> =
            addresses.into_iter().filter(|at| Place::is_whole(*at)).collect();
        let step = addresses.len().div_ceil(MOST).max(1);
        addresses = addresses.into_iter().step_by(step).collect();
        let mut places = Vec::new();
        for address in addresses {
            let at = match self.kernel.direct_pfn(address) {
                Some(pfn) => Some(pfn),
                None => self.mapping.as_mut().and_then(|mapping| mapping.page(address)),
            };
            let word = self.kernel.memory.read_u64(address).ok();
            if let (Some(pfn), Some(word)) = (at, word) {
                let at = Pa((pfn.0 << PAGE_SHIFT) + address.0 % PAGE_SIZE);
                places.push(Place { at, address, word });
            }
        }
        self.kinds.push(Kind { name, places });
    }

    fn caches(&mut self) {
        let slabs: Vec<Va> = self.heap.caches.iter().map(|cache| cache.va).collect();
        let caches: Vec<Va> =
            slabs.into_iter().filter(|at| self.kernel.direct_pfn(*at).is_some()).collect();
        let list = self.kernel.shape.cache.list;
        let links = |at: &Va| [at.at(list), at.at(list + 8)];
        let head = self.symbol("slab_caches").map(|head| [head, head.at(8)]);
        let all: Vec<Va> = caches.iter().map(links).chain(head).flatten().collect();
        self.add("links of the list of caches", all);
        let members = ["size", "object_size", "offset", "oo", "min", "reciprocal_size", "inuse"];
        let sizes = self.offsets("kmem_cache", &members);
        self.add("sizes of caches", each(&caches, &sizes));
        let members = ["name", "flags", "random", "refcount", "red_left_pad", "cpu_slab", "node"];
        let others = self.offsets("kmem_cache", &members);
        self.add("other members of caches", each(&caches, &others));
        let Some(shape) = &self.kernel.shape.cache.cpu else { return };
        let (at, members) =
            (shape.at, self.offsets("kmem_cache_cpu", &["freelist", "page", "slab", "partial"]));
        let cpus = caches.iter().flat_map(|cache| self.kernel.per_cpu(self.word(cache.at(at))));
        let cpus: Vec<Va> = cpus.collect();
        self.add("per-CPU slabs", each(&cpus, &members));
    }

    fn slabs(&mut self) {
        let (page, slab) = (self.kernel.shape.page.clone(), self.kernel.shape.slab.clone());
        let slabs = self.heap.slabs.iter().filter(|slab| {
            self.heap.caches[usize::from(slab.cache)].class == sysak_heap::Class::Slab
        });
        let heads: Vec<(Va, u64)> =
            slabs.map(|slab| (self.kernel.struct_page(slab.pfn), u64::from(slab.pages))).collect();
        let at: Vec<Va> = heads.iter().map(|head| head.0).collect();
        self.add("slabs' pointers to their caches", each(&at, &[slab.cache]));
        self.add("slabs' lists of free objects", each(&at, &[slab.freelist, slab.counters]));
        self.add("slabs' flags and types", each(&at, &[page.flags, page.page_type & !7]));
        let second = heads.iter().filter(|head| head.1 > 1).map(|head| head.0.at(page.size));
        let second: Vec<Va> = second.collect();
        self.add("slabs' orders and second pages", each(&second, &[page.flags, page.head.at]));
        let pointer = self.offsets("kmem_cache", &["offset"]);
        let free = at.iter().filter_map(|at| {
            let cache = Va(self.word(at.at(slab.cache)));
            let first = Va(self.word(at.at(slab.freelist)));
            let offset = self.kernel.memory.read_u32(cache.at(*pointer.first()?)).ok()?;
            (first != Va(0)).then(|| first.at(u64::from(offset)))
        });
        let free: Vec<Va> = free.collect();
        self.add("free objects", free);
    }

    fn pages(&mut self) {
        let members =
            ["flags", "page_type", "_refcount", "mapping", "private", "compound_head", "lru"];
        let members = self.offsets("page", &members);
        let ram = self.kernel.ram.iter().flat_map(|run| run.start.0..run.end.0);
        let all: Vec<Va> = ram.map(|pfn| self.kernel.struct_page(sysak_base::Pfn(pfn))).collect();
        self.add("struct pages", each(&all, &members));
    }

    fn zones(&mut self) {
        let Some(shape) = self.kernel.shape.zone.clone() else { return };
        let node = self.symbol("contig_page_data");
        let listed = || self.symbol("node_data").map(|table| Va(self.word(table)));
        let Some(node) = node.or_else(listed) else { return };
        let own = ["node_start_pfn", "node_spanned_pages", "first_deferred_pfn"];
        let own = self.offsets("pglist_data", &own);
        let zones: Vec<Va> = (0..shape.zones_len)
            .map(|zone| node.at(shape.zones + zone * shape.zone_bytes))
            .collect();
        let sets: Vec<Va> = each(&zones, &[shape.pageset]);
        let lists = sets.iter().map(|at| self.word(*at)).filter(|at| *at != 0);
        let lists = lists.flat_map(|set| self.kernel.per_cpu(set));
        let lists = lists.flat_map(|set| {
            (0..shape.lists.len * 2).map(move |link| set.at(shape.lists.at + link * 8))
        });
        let lists: Vec<Va> = lists.collect();
        self.add("nodes and zones", each(&[node], &own).into_iter().chain(sets));
        self.add("per-CPU lists of free pages", lists);
    }

    /// The live objects of a cache.
    fn objects(&self, cache: &str) -> Vec<Va> {
        let mut found = Vec::new();
        for (slab, _) in self.heap.slabs_of(cache) {
            self.heap.for_each_live(slab, |index| {
                found.push(self.heap.object_va(Object { slab, index }));
            });
        }
        found
    }

    fn areas(&mut self, seen: &Snapshot) {
        let ranges = self.objects("vmap_area");
        let links = self.offsets("vmap_area", &["list.next", "list.prev"]);
        self.add("links of vmap areas", each(&ranges, &links));
        let tree = ["rb_node.__rb_parent_color", "rb_node.rb_left", "rb_node.rb_right"];
        let tree = self.offsets("vmap_area", &tree);
        self.add("trees of vmap areas", each(&ranges, &tree));
        let members = self.offsets("vmap_area", &["va_start", "va_end", "vm"]);
        self.add("bounds of vmap areas", each(&ranges, &members));
        let notes: Vec<Va> = seen.areas.iter().map(|area| area.note).collect();
        let members = ["addr", "size", "flags", "pages", "nr_pages", "caller"];
        let members = self.offsets("vm_struct", &members);
        self.add("vm_structs", each(&notes, &members));
        let arrays = seen
            .areas
            .iter()
            .flat_map(|area| (0..area.pages).map(move |page| area.array.at(page * 8)));
        let arrays: Vec<Va> = arrays.collect();
        self.add("arrays of areas' pages", arrays);
        let heads = self.kernel.shape.vmalloc.as_ref();
        let heads = heads.map(|shape| shape.find_lists(self.kernel.memory, self.kernel.symbols));
        self.add("heads of vmap lists", each(&heads.unwrap_or_default(), &[0, 8]));
    }

    fn chunks(&mut self, seen: &Snapshot) {
        let Some(shape) = self.kernel.shape.percpu.clone() else { return };
        let starts = seen.areas.iter().filter(|area| area.kind == AreaKind::PerCpu);
        let starts: Vec<Va> = starts.map(|area| area.address).collect();
        let mut chunks: Vec<Va> = Vec::new();
        for start in starts {
            let pfn = self.mapping.as_mut().and_then(|mapping| mapping.page(start));
            let Some(page) = pfn.map(|pfn| self.kernel.struct_page(pfn)) else { continue };
            let at = shape.of_page.iter().map(|place| Va(self.word(page.at(*place))));
            chunks.extend(at.filter(|at| self.word(at.at(shape.base)) == start.0));
        }
        let first = self.symbol("pcpu_first_chunk").map(|at| Va(self.word(at)));
        chunks.extend(first);
        chunks.sort_unstable();
        chunks.dedup();
        let words: Vec<u64> = (0..shape.bytes.min(256) / 8).map(|word| word * 8).collect();
        self.add("per-CPU chunks", each(&chunks, &words));
        let maps = [shape.alloc_map, shape.bound_map];
        let maps: Vec<Va> = each(&chunks, &maps).into_iter().map(|at| Va(self.word(at))).collect();
        let words: Vec<u64> = (0..64).map(|word| word * 8).collect();
        self.add("maps of per-CPU chunks", each(&maps, &words));
    }

    /// The entries of the kernel's page tables for the pages of areas.
    fn tables(&mut self, seen: &Snapshot) {
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        const LARGE: u64 = 1 << 7;
        let top = self.symbol("init_top_pgt").or_else(|| self.symbol("swapper_pg_dir"));
        let Some(top) = top else { return };
        let five = self.kernel.page_offset().0 < 0xffff_8000_0000_0000;
        let levels: &[u32] = if five { &[48, 39, 30, 21, 12] } else { &[39, 30, 21, 12] };
        let mut entries = std::collections::BTreeSet::new();
        for area in &seen.areas {
            for page in 0..area.pages.min(64) {
                let at = area.address.0 + page * PAGE_SIZE;
                let mut table = top;
                for shift in levels {
                    let entry = table.at((at >> shift & 511) * 8);
                    entries.insert(entry);
                    let word = self.word(entry);
                    if word & 1 == 0 || word & LARGE != 0 {
                        break;
                    }
                    table = self.kernel.page_offset().at(word & ADDRESS);
                }
            }
        }
        self.add("page tables of areas", entries);
    }

    fn tasks(&mut self) {
        let tasks = self.objects("task_struct");
        let members = ["tasks.next", "tasks.prev", "stack", "thread.sp", "on_cpu", "mm", "files"];
        let members = self.offsets("task_struct", &members);
        self.add("tasks", each(&tasks, &members));
        let spaces = self.objects("mm_struct");
        let members = self.offsets("mm_struct", &["pgd", "mmlist.next", "mmlist.prev", "owner"]);
        self.add("address spaces", each(&spaces, &members));
    }

    /// All words of objects that trees, files and groups are made of.
    fn nodes(&mut self) {
        let words: Vec<u64> = (0..32).map(|word| word * 8).collect();
        for (name, caches) in [
            ("maple trees", &["maple_node"][..]),
            ("xarrays", &["radix_tree_node"]),
            ("files and directories", &["filp", "dentry", "inode_cache", "shmem_inode_cache"]),
            ("processes", &["signal_cache", "files_cache", "pid", "vm_area_struct"]),
            ("groups and the like", &["kmalloc-cg-512", "kmalloc-2k", "kmalloc-4k", "kmalloc-1k"]),
        ] {
            let objects: Vec<Va> = caches.iter().flat_map(|cache| self.objects(cache)).collect();
            self.add(name, each(&objects, &words));
        }
    }

    /// Words of the image: where modules, per-CPU areas and timers begin, symbols, types.
    fn image(&mut self) {
        for (name, symbol, words) in [
            ("offsets of per-CPU areas", "__per_cpu_offset", 8),
            ("list of modules", "modules", 2),
            ("list of tasks", "init_task", 512),
            ("top of the page tables", "init_top_pgt", 512),
            ("resources", "iomem_resource", 16),
            ("symbols", "kallsyms_token_table", 64),
            ("offsets of symbols", "kallsyms_offsets", 4096),
            ("names of symbols", "kallsyms_names", 4096),
            ("types", "__start_BTF", 4096),
        ] {
            let words = self.symbol(symbol).into_iter().flat_map(|first| {
                let first = Va(first.0.next_multiple_of(8));
                (0..words).map(move |word| first.at(word * 8))
            });
            let words: Vec<Va> = words.collect();
            self.add(name, words);
        }
        let bases = self.symbol("timer_bases").map(|at| self.kernel.per_cpu(at.0));
        let words: Vec<u64> = (0..512).map(|word| word * 8).collect();
        let bases: Vec<Va> = bases.into_iter().flatten().collect();
        self.add("timers", each(&bases, &words));
    }
}

/// Every member of every structure.
fn each(structures: &[Va], members: &[u64]) -> Vec<Va> {
    structures.iter().flat_map(|at| members.iter().map(|member| at.at(*member))).collect()
}

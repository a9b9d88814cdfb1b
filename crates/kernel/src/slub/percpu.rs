//! Free objects that the slabs themselves count as used: on the per-CPU
//! freelists, and in the sheaves of v6.18 and later.

use sysak_base::numbers::word;
use sysak_base::{PAGE_SIZE, Va};

use super::Caches;
use super::totals::node_count;
use crate::list::walk_list;
use crate::shape::{BarnPlace, SheafShape};
use crate::{Coverage, Kernel, Omitted, Reason};

/// `MAX_OBJS_PER_PAGE`: a per-CPU freelist lies within one slab.
const LONGEST_CHAIN: usize = 32767;
/// More objects than any sheaf holds.
const LARGEST_SHEAF: u64 = 1 << 16;
/// `MAX_FULL_SHEAVES` is 10; this leaves room.
const MOST_SHEAVES: usize = 1 << 12;

/// What the CPUs and the memory nodes keep for the next allocations.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The addresses of all free objects in it.
    pub free: Vec<Va>,
    /// The sheaves, empty ones too.
    pub sheaves: Vec<Va>,
    /// The first objects of CPU freelists that do not end with a null pointer, in a dump. The free objects behind the
    /// break are unknown. On a running kernel freelists change while they are read, so none are noted.
    pub broken: Vec<Va>,
}

impl Kept {
    /// Looks at every cache.
    pub fn find(kernel: &Kernel<'_>, caches: &Caches, coverage: &mut Coverage) -> Kept {
        let mut kept = Kept::default();
        if kernel.per_cpu_offsets.is_empty() {
            coverage.skip(Omitted::PerCpuFreeObjects, Reason::NoPerCpuAreas);
        }
        for index in 0..caches.caches.len() {
            kept.add_cache(kernel, caches, index);
        }
        kept
    }

    /// Looks at one cache.
    pub fn add_cache(&mut self, kernel: &Kernel<'_>, caches: &Caches, index: usize) {
        self.cpu_freelists(kernel, caches, index);
        if let Some(shape) = &kernel.shape.cache.sheaf {
            let cache = caches.caches[index].va;
            self.of_cpus(kernel, shape, cache);
            self.of_nodes(kernel, shape, cache, node_count(kernel, &caches.caches));
        }
    }

    fn cpu_freelists(&mut self, kernel: &Kernel<'_>, caches: &Caches, index: usize) {
        let Some(shape) = &kernel.shape.cache.cpu else { return };
        let pointer = caches.pointers[index];
        let cpu_slab = kernel.memory.read_u64(caches.caches[index].va.at(shape.at)).unwrap_or(0);
        for cpu in kernel.per_cpu(cpu_slab).filter(|_| cpu_slab != 0) {
            let Ok(first) = kernel.memory.read_u64(cpu.at(shape.freelist)) else { continue };
            let mut at = Va(first);
            let start = self.free.len();
            while kernel.direct_pfn(at).is_some() && self.free.len() - start < LONGEST_CHAIN {
                self.free.push(at);
                let slot = at.at(pointer.offset);
                let Ok(stored) = kernel.memory.read_u64(slot) else { break };
                at = pointer.decode(stored, slot);
            }
            if at != Va(0) && !kernel.memory.is_live() {
                self.broken.push(Va(first));
            }
        }
    }

    fn of_cpus(&mut self, kernel: &Kernel<'_>, shape: &SheafShape, cache: Va) {
        let of_cpus = kernel.memory.read_u64(cache.at(shape.at)).unwrap_or(0);
        let mut raw = vec![0; shape.cpu_bytes.min(PAGE_SIZE) as usize];
        for cpu in kernel.per_cpu(of_cpus).filter(|_| of_cpus != 0) {
            if kernel.memory.read(cpu, &mut raw).is_ok() {
                shape
                    .of_cpu
                    .iter()
                    .for_each(|place| self.add(kernel, shape, Va(word(&raw, *place))));
            }
        }
    }

    /// Node numbers may have gaps, and nodes without memory have sheaves too.
    fn of_nodes(&mut self, kernel: &Kernel<'_>, shape: &SheafShape, cache: Va, nodes: u64) {
        let Some(place) = kernel.shape.cache.nodes else { return };
        let pointer = |at: Va| Some(Va(kernel.memory.read_u64(at).ok()?)).filter(|at| *at != Va(0));
        for node in 0..nodes {
            let element = cache.at(place.at + node * place.step);
            let barn = match place.barn {
                Some(BarnPlace::InElement(at)) => pointer(element.at(at)),
                Some(BarnPlace::InNode(at)) => {
                    pointer(element.at(place.node)).and_then(|node| pointer(node.at(at)))
                }
                None => None,
            };
            let heads = barn.into_iter().flat_map(|barn| shape.lists.map(|list| barn.at(list)));
            for head in heads {
                for link in walk_list(kernel.memory, head, MOST_SHEAVES).seen {
                    self.add(kernel, shape, Va(link.0.wrapping_sub(shape.link)));
                }
            }
        }
    }

    fn add(&mut self, kernel: &Kernel<'_>, shape: &SheafShape, sheaf: Va) {
        if sheaf == Va(0) {
            return;
        }
        let Ok(size) = kernel.memory.read_u32(sheaf.at(shape.size)).map(u64::from) else { return };
        if size > LARGEST_SHEAF {
            return;
        }
        self.sheaves.push(sheaf);
        let mut bytes = vec![0; size as usize * 8];
        if kernel.memory.read(sheaf.at(shape.objects), &mut bytes).is_ok() {
            self.free.extend((0..size).map(|at| Va(word(&bytes, at * 8))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use sysak_base::{Anchors, Fault, Memory, Pfn, PfnRange};
    use sysak_symbols::{Kallsyms, TypeInfo};

    const DIRECT: Va = Va(0xffff_8880_0000_0000);
    const CACHE: Va = Va(DIRECT.0 + 0x1000);
    /// What CPU 0 has of it, and the node.
    const OF_CPU: u64 = 0x100;
    const CPU: Va = Va(DIRECT.0 + 0x2000);
    const BARN: Va = Va(DIRECT.0 + 0x3000);
    const SHEAVES: [Va; 4] = [
        Va(DIRECT.0 + 0x4000),
        Va(DIRECT.0 + 0x5000),
        Va(DIRECT.0 + 0x6000),
        Va(DIRECT.0 + 0x7000),
    ];

    /// Words by address, the rest being zero.
    #[derive(Default)]
    struct Words(BTreeMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            for (address, byte) in (at.0..).zip(buf) {
                let word = self.0.get(&(address & !7)).copied().unwrap_or(0);
                *byte = word.to_le_bytes()[(address & 7) as usize];
            }
            Ok(())
        }
    }

    impl Words {
        fn put(&mut self, at: Va, word: u64) {
            self.0.insert(at.0, word);
        }

        /// A sheaf with so many free objects, and one that it gave out.
        fn sheaf(&mut self, shape: &SheafShape, at: Va, size: u64) {
            self.put(at.at(shape.size & !7), size);
            (0..=size).for_each(|n| self.put(at.at(shape.objects + n * 8), at.0 | n << 8));
        }
    }

    fn kept(version: &str) -> Kept {
        let path = format!("{}/../../fixtures/btf-{version}", env!("CARGO_MANIFEST_DIR"));
        let types = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
        let symbols = Kallsyms::parse_proc(b"ffffffff82000000 D slab_caches\n").unwrap();
        let anchors = Anchors {
            page_offset: Some(DIRECT),
            vmemmap: Some(Va(0xffff_ea00_0000_0000)),
            ram: vec![PfnRange { start: Pfn(0), end: Pfn(16) }],
            per_cpu_offsets: vec![CPU.0 - OF_CPU],
            ..Anchors::default()
        };
        let empty = Words::default();
        let layout = Kernel::new(&empty, &anchors, &types, &symbols).unwrap();
        let (shape, place) =
            (layout.shape.cache.sheaf.as_ref().unwrap(), layout.shape.cache.nodes.unwrap());
        let [main, rcu, full, spent] = SHEAVES;
        let mut memory = Words::default();
        memory.put(CACHE.at(shape.at), OF_CPU);
        memory.put(CPU.at(shape.of_cpu[0]), main.0);
        memory.put(CPU.at(shape.of_cpu[2]), rcu.0);
        for (sheaf, size) in [(main, 3), (rcu, 1), (full, 2), (spent, 0)] {
            memory.sheaf(shape, sheaf, size);
        }
        // Node 0 has nothing, as the numbers of nodes may have gaps.
        let element = CACHE.at(place.at + place.step);
        match place.barn.unwrap() {
            BarnPlace::InElement(at) => memory.put(element.at(at), BARN.0),
            BarnPlace::InNode(at) => {
                memory.put(element.at(place.node), BARN.0 + 0x800);
                memory.put(BARN.at(0x800 + at), BARN.0);
            }
        }
        for (list, sheaf) in shape.lists.into_iter().zip([full, spent]) {
            let (head, link) = (BARN.at(list), sheaf.at(shape.link));
            for (from, to) in [(head, link), (link, head)] {
                memory.put(from, to.0);
                memory.put(from.at(8), to.0);
            }
        }
        let kernel = Kernel::new(&memory, &anchors, &types, &symbols).unwrap();
        let shape = kernel.shape.cache.sheaf.as_ref().unwrap();
        let mut kept = Kept::default();
        kept.of_cpus(&kernel, shape, CACHE);
        kept.of_nodes(&kernel, shape, CACHE, 2);
        kept
    }

    #[test]
    fn what_a_sheaf_gave_out_is_not_free_and_every_sheaf_is_known() {
        for version in ["6.18", "7.2", "7.3"] {
            let kept = kept(version);
            let [main, rcu, full, _] = SHEAVES;
            let objects = [(main, 3), (rcu, 1), (full, 2)];
            let objects = objects
                .into_iter()
                .flat_map(|(sheaf, size)| (0..size).map(move |n| Va(sheaf.0 | n << 8)));
            assert_eq!(kept.free, objects.collect::<Vec<_>>(), "{version}");
            assert_eq!(kept.sheaves, SHEAVES, "{version}");
        }
    }
}

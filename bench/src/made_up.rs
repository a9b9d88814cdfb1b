//! Made-up targets: hundreds of millions of objects in one cache or in hundreds, generated on the fly.
//!
//! They answer reads the way a kernel's memory would, with the layout of real type
//! information: `struct page`s, the `struct kmem_cache`s, tables of pointers, and
//! slab pages. Nothing is stored, so a terabyte fits into a test.
//!
//! The objects of a cache form four generations. A table points to the first one; object j
//! of a slab points to object j of some slab of the next generation, in the next cache of its size, so that
//! every slab is marked from as many places as it has objects. The last slabs of the first cache are
//! lost: nothing points to them.

use sysak_base::{Anchors, Fault, Memory, PAGE_SHIFT, PAGE_SIZE, Pfn, PfnRange, Va, Why};
use sysak_kernel::shape::{PageKind, PageTypes, Shape};

const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// An address with a name in it: what the objects' operations tables would be.
const OPS: u64 = 0xffff_ffff_8200_1040;

const GENERATIONS: u64 = 4;
/// Slabs that nothing leads to.
const LOST_SLABS: u64 = 256;

/// The RAM of a machine, and which of it is the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Ram {
    pub nodes: u64,
    /// Pages of a node.
    pub node_pages: u64,
    /// Pages between two nodes where there is no RAM.
    pub gap_pages: u64,
    /// One in two to the power of so many blocks of pages is the kernel's, until it has enough; the others are user
    /// memory.
    pub spread: u32,
}

/// Pages of a block.
const BLOCK: u64 = 512;

impl Ram {
    fn runs(&self) -> Vec<PfnRange> {
        let start = |node| node * (self.node_pages + self.gap_pages);
        let run = |start| PfnRange { start: Pfn(start), end: Pfn(start + self.node_pages) };
        (0..self.nodes).map(start).map(run).collect()
    }

    /// Pages, those without RAM between nodes included.
    fn span(&self) -> u64 {
        self.nodes * (self.node_pages + self.gap_pages) - self.gap_pages
    }

    /// Where the page of a number lies that is the kernel's. Asked for every pointer: no division.
    fn frame(&self, number: u64) -> u64 {
        let (mut page, mut start) = (((number / BLOCK) << self.spread) * BLOCK + number % BLOCK, 0);
        while page >= self.node_pages {
            page -= self.node_pages;
            start += self.node_pages + self.gap_pages;
        }
        start + page
    }

    /// The number of a page, if it may be the kernel's: [`Ram::frame`] the other way round.
    fn number(&self, frame: u64) -> Option<u64> {
        let (mut inside, mut before) = (frame, 0);
        while inside >= self.node_pages + self.gap_pages {
            inside -= self.node_pages + self.gap_pages;
            before += self.node_pages;
        }
        let page = before + inside;
        let block = page / BLOCK;
        let is_it = inside < self.node_pages && block >> self.spread << self.spread == block;
        is_it.then(|| (block >> self.spread) * BLOCK + page % BLOCK)
    }
}

/// The made-up kernel.
pub struct MadeUp {
    shape: Shape,
    ram: Ram,
    /// By cache: bytes of an object.
    sizes: Vec<u64>,
    /// How many sizes there are: the caches have them in turn.
    kinds: u64,
    /// Slabs of one generation of a cache.
    generation: u64,
    /// The number of all slabs.
    slabs: u64,
    /// The number of unreachable slabs.
    lost_slabs: u64,
    /// By cache: the number of the first page of its table.
    tables: Vec<u64>,
    first_slab: u64,
    stride: u64,
    inverse: u64,
}

impl MadeUp {
    /// A machine of `pages` with at least `objects` objects of 32 bytes in one cache.
    pub fn one_cache(shape: Shape, objects: u64, pages: u64) -> MadeUp {
        let slabs = objects.div_ceil(PAGE_SIZE / 32);
        let generation = (slabs.saturating_sub(LOST_SLABS) / GENERATIONS).max(1);
        let ram = Ram { nodes: 1, node_pages: pages, gap_pages: 0, spread: 0 };
        MadeUp::new(
            shape,
            ram,
            1,
            &[32],
            generation,
            slabs.saturating_sub(GENERATIONS * generation),
        )
    }

    /// A machine with several caches. Cache n has objects of `sizes[n % sizes.len()]` bytes, and `generation` slabs in
    /// each generation.
    pub fn many_caches(
        shape: Shape,
        ram: Ram,
        caches: usize,
        sizes: &[u64],
        generation: u64,
    ) -> MadeUp {
        MadeUp::new(shape, ram, caches, sizes, generation, LOST_SLABS)
    }

    fn new(
        shape: Shape,
        ram: Ram,
        caches: usize,
        sizes: &[u64],
        generation: u64,
        lost_slabs: u64,
    ) -> MadeUp {
        let sizes_of: Vec<u64> = sizes.iter().copied().cycle().take(caches).collect();
        // Page 0 is empty, then the caches' pages, then the tables, then the slabs.
        let mut next = 1 + caches as u64;
        let mut tables = Vec::new();
        for size in &sizes_of {
            tables.push(next);
            next += (generation * (PAGE_SIZE / size) * 8).div_ceil(PAGE_SIZE);
        }
        let slabs = GENERATIONS * generation * caches as u64 + lost_slabs;
        let least = ((next + slabs + 1).div_ceil(BLOCK) * BLOCK) << ram.spread;
        let node_pages =
            ram.node_pages.max(least.div_ceil(ram.nodes)).next_multiple_of(BLOCK << ram.spread);
        // Any number without a common divisor spreads the slabs over their pages.
        let stride = ((slabs / 3) | 1..).find(|n| gcd(*n, slabs) == 1).unwrap_or(1);
        MadeUp {
            shape,
            ram: Ram { node_pages, ..ram },
            sizes: sizes_of,
            kinds: sizes.len() as u64,
            generation,
            slabs,
            lost_slabs,
            tables,
            first_slab: next,
            stride,
            inverse: inverse(stride, slabs),
        }
    }

    fn caches(&self) -> u64 {
        self.sizes.len() as u64
    }

    fn objects_per_slab(&self, cache: u64) -> u64 {
        PAGE_SIZE / self.sizes[cache as usize]
    }

    /// How many objects there are.
    pub fn objects(&self) -> u64 {
        let of_cache = |cache| GENERATIONS * self.generation * self.objects_per_slab(cache);
        (0..self.caches()).map(of_cache).sum::<u64>() + self.lost()
    }

    /// How many of them nothing leads to.
    pub fn lost(&self) -> u64 {
        self.lost_slabs * self.objects_per_slab(0)
    }

    /// What a reader of this target would have found out.
    pub fn anchors(&self) -> Anchors {
        Anchors {
            page_offset: Some(Va(DIRECT_MAP)),
            vmemmap: Some(Va(VMEMMAP)),
            // One CPU, whose memory begins with the empty page: it keeps no free object.
            per_cpu_offsets: vec![DIRECT_MAP],
            ram: self.ram.runs(),
            ..Anchors::default()
        }
    }

    /// The cache of a slab, and the slab's number in it. The lost ones are the last of the first cache.
    fn cache_of(&self, slab: u64) -> (u64, u64) {
        let each = GENERATIONS * self.generation;
        match slab.checked_sub(each * self.caches()) {
            Some(lost) => (0, each + lost),
            None => (slab / each, slab % each),
        }
    }

    /// The address of a page, by its number among the kernel's.
    fn page(&self, number: u64) -> u64 {
        DIRECT_MAP + (self.ram.frame(number) << PAGE_SHIFT)
    }

    /// The address of an object of a slab, which is not lost. The slabs are spread all over, like a real machine's;
    /// there are fewer than 2^32, so the product fits.
    fn object(&self, cache: u64, slab: u64, index: u64) -> u64 {
        let slab = cache * GENERATIONS * self.generation + slab;
        let page = self.first_slab + slab * self.stride % self.slabs;
        self.page(page) + index * self.sizes[cache as usize]
    }

    /// The slab on a page: the other way round.
    fn slab_at(&self, page: u64) -> Option<u64> {
        let place = page.checked_sub(self.first_slab).filter(|place| *place < self.slabs)?;
        Some(place * self.inverse % self.slabs)
    }

    fn fill_page(&self, frame: u64, out: &mut [u8]) {
        let Some(page) = self.ram.number(frame) else { return };
        if let Some(slab) = self.slab_at(page) {
            self.fill_slab(slab, out);
        } else if (1..=self.caches()).contains(&page) {
            self.fill_cache(page - 1, out);
        } else if page > self.caches() && page < self.first_slab {
            let cache = self.tables.partition_point(|first| *first <= page) as u64 - 1;
            self.fill_table(cache, page - self.tables[cache as usize], out);
        }
    }

    /// A page of the pointers to a cache's first generation.
    fn fill_table(&self, cache: u64, page: u64, out: &mut [u8]) {
        let many = self.objects_per_slab(cache);
        let first = page * (PAGE_SIZE / 8);
        for (at, word) in (first..self.generation * many).zip(out.chunks_exact_mut(8)) {
            let object = self.object(cache, at / many, at % many);
            word.copy_from_slice(&object.to_le_bytes());
        }
    }

    fn fill_slab(&self, slab: u64, out: &mut [u8]) {
        let (cache, in_cache) = self.cache_of(slab);
        let next_cache = (cache + self.kinds) % self.caches();
        let many = self.generation;
        let followed = in_cache < (GENERATIONS - 1) * many;
        let (age, place) = (in_cache / many, in_cache % many);
        for (index, object) in (0..).zip(out.chunks_exact_mut(self.sizes[cache as usize] as usize))
        {
            let next = if followed {
                let other = (place + index * 7919) % many;
                self.object(next_cache, (age + 1) * many + other, index)
            } else {
                0
            };
            object[..8].copy_from_slice(&next.to_le_bytes());
            object[8..16].copy_from_slice(&OPS.to_le_bytes());
            // Small: all 32-bit numbers would lead somewhere here, and look like handles of what is lost.
            let number = (slab * self.objects_per_slab(cache) + index) % 997 + 1;
            object[16..24].copy_from_slice(&number.to_le_bytes());
        }
    }

    fn fill_cache(&self, cache: u64, out: &mut [u8]) {
        let (shape, size) = (&self.shape.cache, self.sizes[cache as usize]);
        let mut put = |offset: u64, word: u64, bytes: usize| {
            out[offset as usize..offset as usize + bytes]
                .copy_from_slice(&word.to_le_bytes()[..bytes]);
        };
        let name = 4000;
        put(shape.name, self.page(1 + cache) + name, 8);
        let link = |cache: u64| self.page(1 + cache % self.caches()) + shape.list;
        put(shape.list, link(cache + 1), 8);
        put(shape.list + 8, link(cache + self.caches() - 1), 8);
        put(shape.size, size, 4);
        put(shape.object_size, size, 4);
        // The same in other words, by which a damaged size is told.
        if let Some(used_bytes) = shape.used_bytes {
            put(used_bytes, size, 4);
        }
        if let Some(slab_objects) = shape.slab_objects {
            put(slab_objects, PAGE_SIZE / size, 4);
        }
        if let Some([multiplier, shift]) = shape.reciprocal {
            put(multiplier, 1, 4);
            put(shift, u64::from(size.ilog2()) - 1, 1);
        }
        let text = match cache {
            0 => format!("kmalloc-{size}"),
            _ => format!("made_up_{cache}"),
        };
        out[name as usize..name as usize + text.len()].copy_from_slice(text.as_bytes());
    }

    fn fill_struct_page(&self, frame: u64, out: &mut [u8]) {
        let shape = &self.shape.page;
        let mut put = |offset: u64, word: u64, bytes: usize| {
            out[offset as usize..offset as usize + bytes]
                .copy_from_slice(&word.to_le_bytes()[..bytes]);
        };
        put(shape.refcount, 1, 4);
        put(shape.page_type, u64::from(u32::MAX), 4);
        let page = self.ram.number(frame);
        if let Some(number) = page.and_then(|page| self.slab_at(page)) {
            let (slab, cache) = (&self.shape.slab, self.cache_of(number).0);
            let many = self.objects_per_slab(cache);
            put(slab.cache, self.page(1 + cache), 8);
            put(slab.freelist, 0, 8);
            put(slab.counters, many << 16 | many, 4);
            match (shape.bits.slab, &shape.types) {
                (Some(bit), _) => put(shape.flags, 1 << bit, 8),
                (None, PageTypes::TopByte(values)) => {
                    let value = values.iter().find(|(_, kind)| *kind == PageKind::Slab);
                    let value = value.map_or(0, |(value, _)| *value);
                    put(shape.page_type, u64::from(value) << 24, 4);
                }
                (None, PageTypes::ClearedBits { bits, .. }) => {
                    let bit = bits.iter().find(|(_, kind)| *kind == PageKind::Slab);
                    let bit = bit.map_or(0, |(bit, _)| *bit);
                    put(shape.page_type, u64::from(!bit), 4);
                }
            }
        } else if page.is_some_and(|page| page < self.first_slab) {
            // Set aside at boot: a root, whoever leads to it.
            put(shape.flags, 1 << shape.bits.reserved.unwrap_or(0), 8);
        } else if let Some(user) = shape.user {
            // The rest of the machine belongs to user space.
            put(shape.flags, 1 << user.lru | 1 << user.swapbacked, 8);
            put(user.mapping, DIRECT_MAP + 1, 8);
        }
    }
}

impl Memory for MadeUp {
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let size = self.shape.page.size;
        let (start, piece, many) = if at.0 >= VMEMMAP {
            (VMEMMAP, size, self.ram.span())
        } else {
            (DIRECT_MAP, PAGE_SIZE, self.ram.span())
        };
        let fault = Fault { at, why: Why::Unmapped };
        let mut offset = at.0.checked_sub(start).ok_or(fault)?;
        buf.fill(0);
        let mut whole = vec![0; piece as usize];
        let mut rest = &mut buf[..];
        while !rest.is_empty() {
            let (number, inside) = (offset / piece, (offset % piece) as usize);
            if number >= many {
                return Err(fault);
            }
            let len = rest.len().min(piece as usize - inside);
            let (part, after) = rest.split_at_mut(len);
            let fill = |out: &mut [u8]| match start {
                VMEMMAP => self.fill_struct_page(number, out),
                _ => self.fill_page(number, out),
            };
            if len as u64 == piece {
                fill(part);
            } else {
                whole.fill(0);
                fill(&mut whole);
                part.copy_from_slice(&whole[inside..inside + len]);
            }
            offset += len as u64;
            rest = after;
        }
        Ok(())
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The number that undoes a multiplication by `a` modulo `n`, by Euclid's algorithm.
fn inverse(a: u64, n: u64) -> u64 {
    let (mut a, mut b, mut x, mut y) = (i128::from(a), i128::from(n), 1i128, 0i128);
    while b != 0 {
        let quotient = a / b;
        (a, b) = (b, a - quotient * b);
        (x, y) = (y, x - quotient * y);
    }
    x.rem_euclid(i128::from(n)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_page_has_a_frame_of_ram_and_is_found_there() {
        let ram = Ram { nodes: 3, node_pages: 8 * BLOCK, gap_pages: 100, spread: 2 };
        let runs = ram.runs();
        for number in 0..6 * BLOCK {
            let frame = ram.frame(number);
            assert_eq!(ram.number(frame), Some(number));
            assert!(runs.iter().any(|run| run.contains(Pfn(frame))), "{number}");
        }
        let found = (0..ram.span()).filter(|frame| ram.number(*frame).is_some());
        assert_eq!(found.count() as u64, 6 * BLOCK);
    }
}

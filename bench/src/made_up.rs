//! A made-up target: one cache with hundreds of millions of objects, generated on the fly.
//!
//! It answers reads the way a kernel's memory would, with the layout of real type
//! information: `struct page`s, one `struct kmem_cache`, a table of pointers, and
//! slab pages. Nothing is stored, so a 200 GB machine fits into a test.
//!
//! The objects form four generations. The table points to the first one; object j
//! of a slab points to object j of some other slab of the next generation, so that
//! every slab is marked from as many places as it has objects. The last slabs are
//! lost: nothing points to them.

use sysak_base::{Anchors, Fault, Memory, PAGE_SHIFT, PAGE_SIZE, Pa, PfnRange, Va, Why};
use sysak_kernel::shape::{PageKind, PageTypes, Shape};

const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// An address with a name in it: what the objects' operations tables would be.
const OPS: u64 = 0xffff_ffff_8200_1040;

const OBJECT_SIZE: u64 = 32;
const OBJECTS_PER_SLAB: u64 = PAGE_SIZE / OBJECT_SIZE;
const GENERATIONS: u64 = 4;
/// Slabs that nothing leads to.
pub const LOST_SLABS: u64 = 256;

/// The made-up kernel.
pub struct MadeUp {
    shape: Shape,
    slabs: u64,
    first_slab: u64,
    total_pages: u64,
    cache_page: u64,
    stride: u64,
    inverse: u64,
}

impl MadeUp {
    /// A machine of `total_pages` with at least `objects` objects in one cache.
    pub fn new(shape: Shape, objects: u64, total_pages: u64) -> MadeUp {
        let slabs = objects.div_ceil(OBJECTS_PER_SLAB);
        // Page 0 is empty, then the cache's page, then the table, then the slabs.
        let table_pages = Self::generation_of(slabs) * OBJECTS_PER_SLAB * 8 / PAGE_SIZE + 1;
        let first_slab = 2 + table_pages;
        let total_pages = total_pages.max(first_slab + slabs + 1);
        // Any number without a common divisor spreads the slabs over their pages.
        let stride = ((slabs / 3) | 1..).find(|n| gcd(*n, slabs) == 1).unwrap_or(1);
        MadeUp {
            shape,
            slabs,
            first_slab,
            total_pages,
            cache_page: 1,
            stride,
            inverse: inverse(stride, slabs),
        }
    }

    fn generation_of(slabs: u64) -> u64 {
        (slabs.saturating_sub(LOST_SLABS) / GENERATIONS).max(1)
    }

    /// Slabs in one generation.
    fn generation(&self) -> u64 {
        Self::generation_of(self.slabs)
    }

    /// How many objects there are.
    pub fn objects(&self) -> u64 {
        self.slabs * OBJECTS_PER_SLAB
    }

    /// How many of them nothing leads to.
    pub fn lost(&self) -> u64 {
        (self.slabs - GENERATIONS * self.generation()) * OBJECTS_PER_SLAB
    }

    /// What a reader of this target would have found out.
    pub fn anchors(&self) -> Anchors {
        let end = Pa(self.total_pages << PAGE_SHIFT);
        Anchors {
            page_offset: Some(Va(DIRECT_MAP)),
            vmemmap: Some(Va(VMEMMAP)),
            // One CPU, whose memory begins with the empty page: it keeps no free object.
            per_cpu_offsets: vec![DIRECT_MAP],
            ram: vec![PfnRange::within_bytes(Pa(0), end)],
            ..Anchors::default()
        }
    }

    /// The page of a slab, by its number: spread all over, like a real machine's. There are
    /// fewer than 2^32 slabs, so the product fits.
    fn page_of(&self, slab: u64) -> u64 {
        self.first_slab + slab * self.stride % self.slabs
    }

    /// The address of an object of the `slab`-th slab.
    fn object(&self, slab: u64, index: u64) -> u64 {
        DIRECT_MAP + (self.page_of(slab) << PAGE_SHIFT) + index * OBJECT_SIZE
    }

    /// The slab on a page: [`MadeUp::page_of`] the other way round.
    fn slab_at(&self, page: u64) -> u64 {
        (page - self.first_slab) * self.inverse % self.slabs
    }

    fn fill_page(&self, page: u64, out: &mut [u8]) {
        if page == self.cache_page {
            self.fill_cache(out);
        } else if page >= self.first_slab && page < self.first_slab + self.slabs {
            self.fill_slab(self.slab_at(page), out);
        } else if page > self.cache_page && page < self.first_slab {
            let first = (page - self.cache_page - 1) * (PAGE_SIZE / 8);
            let end = self.generation() * OBJECTS_PER_SLAB;
            for (at, word) in out.chunks_exact_mut(8).enumerate() {
                let n = first + at as u64;
                if n < end {
                    let object = self.object(n / OBJECTS_PER_SLAB, n % OBJECTS_PER_SLAB);
                    word.copy_from_slice(&object.to_le_bytes());
                }
            }
        }
    }

    fn fill_slab(&self, slab: u64, out: &mut [u8]) {
        let many = self.generation();
        let followed = slab < (GENERATIONS - 1) * many;
        let (age, place) = (slab / many, slab % many);
        for (index, object) in out.chunks_exact_mut(OBJECT_SIZE as usize).enumerate() {
            let index = index as u64;
            let next = if followed {
                let other = (place + index * 7919) % many;
                self.object((age + 1) * many + other, index)
            } else {
                0
            };
            object[..8].copy_from_slice(&next.to_le_bytes());
            object[8..16].copy_from_slice(&OPS.to_le_bytes());
            // Small: all 32-bit numbers would lead somewhere here, and look like handles of what is lost.
            let number = (slab * OBJECTS_PER_SLAB + index) % 997 + 1;
            object[16..24].copy_from_slice(&number.to_le_bytes());
        }
    }

    fn fill_cache(&self, out: &mut [u8]) {
        let shape = &self.shape.cache;
        let mut put = |offset: u64, word: u64, bytes: usize| {
            out[offset as usize..offset as usize + bytes]
                .copy_from_slice(&word.to_le_bytes()[..bytes]);
        };
        let at = DIRECT_MAP + (self.cache_page << PAGE_SHIFT);
        let name = 4000;
        put(shape.name, at + name, 8);
        put(shape.list, at + shape.list, 8);
        put(shape.size, OBJECT_SIZE, 4);
        put(shape.object_size, OBJECT_SIZE, 4);
        // The same in other words, by which a damaged size is told.
        if let Some(used_bytes) = shape.used_bytes {
            put(used_bytes, OBJECT_SIZE, 4);
        }
        if let Some(slab_objects) = shape.slab_objects {
            put(slab_objects, OBJECTS_PER_SLAB, 4);
        }
        if let Some([multiplier, shift]) = shape.reciprocal {
            put(multiplier, 1, 4);
            put(shift, u64::from(OBJECT_SIZE.ilog2()) - 1, 1);
        }
        out[name as usize..name as usize + 10].copy_from_slice(b"kmalloc-32");
    }

    fn fill_struct_page(&self, page: u64, out: &mut [u8]) {
        let shape = &self.shape.page;
        let mut put = |offset: u64, word: u64, bytes: usize| {
            out[offset as usize..offset as usize + bytes]
                .copy_from_slice(&word.to_le_bytes()[..bytes]);
        };
        put(shape.refcount, 1, 4);
        put(shape.page_type, u64::from(u32::MAX), 4);
        if page >= self.first_slab && page < self.first_slab + self.slabs {
            let slab = &self.shape.slab;
            put(slab.cache, DIRECT_MAP + (self.cache_page << PAGE_SHIFT), 8);
            put(slab.freelist, 0, 8);
            put(slab.counters, OBJECTS_PER_SLAB << 16 | OBJECTS_PER_SLAB, 4);
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
        } else if page < self.first_slab {
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
            (VMEMMAP, size, self.total_pages)
        } else {
            (DIRECT_MAP, PAGE_SIZE, self.total_pages)
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

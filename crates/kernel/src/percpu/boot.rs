//! The two chunks that were set up at boot, with symbols and without.
//!
//! Units begin with the kernel's static variables; behind these come the chunk for
//! modules' static variables and then the first chunk.
//!
//! **Invariant:** the first unit is accepted only if `this_cpu_off` in every CPU's copy agrees, or if it ends exactly
//! where the first chunk begins. With a wrong unit, per-CPU pointers would be resolved to wrong addresses.

use sysak_base::{PAGE_SHIFT, Pfn, Va};

use super::{Chunk, Chunks, Origin};
use crate::Kernel;
use crate::list::walk_list;
use crate::shape::{PerCpuShape, find_first_chunk, find_first_unit, find_reserved_chunk};

/// Machines with thousands of cgroups and CPUs have some thousand.
const MOST_CHUNKS: usize = 1 << 20;
/// The kernel sorts chunks into fewer lists than this.
const MOST_LISTS: u64 = 64;
/// How far below the first chunk's dynamic part its static variables can begin.
const MOST_STATIC_PAGES: u64 = 1024;
/// How far from the first chunk's note that of the reserved one is looked for: boot
/// allocates both in a row, each with its maps.
const NEAR_PAGES: u64 = 16;
/// What boot's allocator aligns such notes to.
const NOTE_ALIGNMENT: usize = 64;

impl Chunks<'_, '_> {
    /// The chunk of boot time that is not the reserved one.
    pub(super) fn find_first(&self, other: Option<&Chunk>) -> Option<Chunk> {
        find_first_chunk(self.kernel.memory, self.kernel.symbols)
            .and_then(|at| self.read(at))
            .filter(|chunk| chunk.origin == Origin::First)
            .or_else(|| self.search_first(other?.at))
    }

    /// Finds the first chunk from any other one: the heads of their lists are an array.
    fn search_first(&self, chunk: Va) -> Option<Chunk> {
        let of_link = |link: Va| self.read(Va(link.0.wrapping_sub(self.shape.list)));
        let walk = |head| walk_list(self.kernel.memory, head, MOST_CHUNKS).seen;
        let ring = walk(chunk.at(self.shape.list));
        let head = ring.into_iter().find(|link| of_link(*link).is_none())?;
        let next = |at: Va| self.kernel.memory.read_u64(at).ok().map(Va);
        let is_head = |at: &Va| next(*at).is_some_and(|first| next(first.at(8)) == Some(*at));
        let above = (0..MOST_LISTS).map(|n| head.at(n * 16)).take_while(is_head);
        let below = (1..MOST_LISTS).map(|n| Va(head.0.wrapping_sub(n * 16))).take_while(is_head);
        above.chain(below).find_map(|head| {
            let is_first = |chunk: &Chunk| chunk.origin == Origin::First;
            walk(head).into_iter().find_map(|link| of_link(link).filter(is_first))
        })
    }

    /// The chunk of boot time that ends where the first one begins; it is on no list.
    pub(super) fn find_reserved(&self, first: &Chunk) -> Option<Chunk> {
        let named = find_reserved_chunk(self.kernel.memory, self.kernel.symbols);
        if let Some(at) = named {
            return self.reserved(at, first);
        }
        let near = Pfn(self.kernel.direct_pfn(first.at)?.0.saturating_sub(NEAR_PAGES));
        let mut raw = vec![0; ((2 * NEAR_PAGES + 1) << PAGE_SHIFT) as usize];
        self.kernel.read_pages(near, &mut raw);
        let start = self.kernel.page_va(near);
        (0..raw.len()).step_by(NOTE_ALIGNMENT).find_map(|offset| {
            let at = start.at(offset as u64);
            Chunk::parse(self.shape, at, &raw[offset..]).and_then(|_| self.reserved(at, first))
        })
    }

    fn reserved(&self, at: Va, first: &Chunk) -> Option<Chunk> {
        let chunk = self.read(at).filter(|chunk| chunk.origin == Origin::First)?;
        let end = chunk.base.at(chunk.unit_bytes() - chunk.end_offset);
        let link = at.at(self.shape.list);
        let alone = self.kernel.memory.read_u64(link) == Ok(link.0);
        (alone && end == first.base.at(first.start_offset))
            .then_some(Chunk { origin: Origin::Reserved, ..chunk })
    }
}

/// Where the first unit begins, and the per-CPU pointer to the first static variable: 0 on
/// x86-64 until Linux commit 9d7de2aa8b41 ("x86/percpu/64: Use relative percpu offsets") (v6.15).
pub(super) fn first_unit(
    kernel: &Kernel<'_>,
    shape: &PerCpuShape,
    first: &Chunk,
) -> Option<(Va, u64)> {
    let offsets = &kernel.per_cpu_offsets;
    // Every CPU has the offset of that CPU in its copy of this variable.
    let says =
        |copy: Va| shape.this_cpu_off.and_then(|place| kernel.memory.read_u64(copy.at(place)).ok());
    if let Some((base, unit)) = find_first_unit(kernel.memory, kernel.symbols) {
        let start = base.at(unit).0.wrapping_sub(*offsets.first()?);
        let agrees = |offset: u64| {
            let copy = Va(start.wrapping_add(offset));
            // What a CPU that cannot be has there leads into the image.
            let is_none =
                kernel.image_virtual.is_some_and(|(from, to)| (from.0..to.0).contains(&offset));
            is_none
                || match shape.this_cpu_off {
                    Some(_) => says(copy) == Some(offset),
                    None => kernel.direct_pfn(copy).is_some(),
                }
        };
        return offsets.iter().all(|offset| agrees(*offset)).then_some((base, start));
    }
    if shape.this_cpu_off.is_some() {
        return (1..=MOST_STATIC_PAGES).find_map(|pages| {
            let unit = Va(first.base.0.checked_sub(pages << PAGE_SHIFT)?);
            kernel.direct_pfn(unit)?;
            let own = says(unit).filter(|own| offsets.contains(own))?;
            let start = unit.0.wrapping_sub(own);
            let all = offsets.iter().all(|offset| says(Va(start).at(*offset)) == Some(*offset));
            all.then_some((unit, start))
        });
    }
    // Kernels without it in their types are of the time when pointers began at 0: the offset of a CPU
    // is the start of its unit.
    let below = offsets.iter().filter(|unit| **unit < first.base.0).max()?;
    let near = first.base.0 - below <= MOST_STATIC_PAGES << PAGE_SHIFT;
    (near && kernel.direct_pfn(Va(*below)).is_some()).then_some((Va(*below), 0))
}

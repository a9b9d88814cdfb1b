//! Cuts memory in use into parts that several threads read, each in one go.

use std::ops::Range;

use sysak_base::VaRange;

use crate::Heap;

/// Slabs have a few pages each: so many bytes of roots cost as much as a slab.
const BYTES_OF_SLAB: u64 = 16 << 10;
/// What a short piece of the roots costs, in bytes of a long one.
const COST_OF_PIECE: u64 = 64;

/// What one thread reads in a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Some of the roots.
    Roots(Vec<VaRange>),
    /// Some slabs, blocks and areas.
    Slabs(Range<u32>),
}

/// Parts of so many bytes: first of the roots, then of the slabs.
pub(crate) fn parts(
    heap: &Heap,
    roots: impl Iterator<Item = VaRange> + Send,
    bytes: u64,
) -> impl Iterator<Item = Part> + Send {
    let (all, some) = (heap.slabs.len() as u32, (bytes / BYTES_OF_SLAB).max(1) as u32);
    let slabs = (0..all).step_by(some as usize);
    let slabs = slabs.map(move |first| Part::Slabs(first..all.min(first.saturating_add(some))));
    parts_of_roots(roots, bytes).map(Part::Roots).chain(slabs)
}

/// Parts of so many bytes at most; small pieces of the roots go together.
pub(crate) fn parts_of_roots(
    roots: impl Iterator<Item = VaRange> + Send,
    bytes: u64,
) -> impl Iterator<Item = Vec<VaRange>> + Send {
    let mut pieces = roots.flat_map(move |range| range.pieces(bytes)).peekable();
    std::iter::from_fn(move || {
        let first = pieces.next()?;
        let mut sum = first.bytes();
        let mut part = vec![first];
        while let Some(piece) = pieces.next_if(|piece| sum + piece.bytes() <= bytes) {
            sum += piece.bytes() + COST_OF_PIECE;
            part.push(piece);
        }
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BASE, Ram};

    #[test]
    fn every_byte_and_every_slab_is_in_one_part() {
        let heap = Ram::new(16).heap(&[(4, 0), (5, 0), (6, 0), (8, 1), (9, 1)]);
        let range = |at: u64, bytes| VaRange::new(BASE.at(at), bytes);
        let many = (0..1000).map(|number| range(0x10_0000 + number * 0x1000, 64));
        let roots: Vec<VaRange> = [range(0, 0x3_0000)].into_iter().chain(many).collect();
        let found: Vec<Part> = parts(&heap, roots.iter().copied(), 32 << 10).collect();
        let (mut bytes, mut slabs) = (0, Vec::new());
        for part in &found {
            match part {
                Part::Roots(part) => {
                    let part = part.iter().map(|piece| piece.bytes()).sum::<u64>();
                    assert!(part <= 32 << 10);
                    bytes += part;
                }
                Part::Slabs(part) => slabs.extend(part.clone()),
            }
        }
        assert_eq!(bytes, roots.iter().map(|root| root.bytes()).sum::<u64>());
        assert_eq!(slabs, (0..5).collect::<Vec<u32>>());
        assert!(found.len() < 16, "small pieces go together: {} parts", found.len());
    }
}

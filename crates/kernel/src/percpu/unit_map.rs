//! From an address of one CPU's copy back to the per-CPU pointer.
//!
//! Units that lie one behind the other make a run; a machine has as many runs for each
//! chunk as it has groups of CPUs (nodes). The chunks of boot time share their units.

use sysak_base::Va;

use super::{Chunk, ChunkUse, Origin};

/// Chunks times groups of CPUs, far beyond any machine.
const MOST_RUNS: usize = 1 << 22;

/// Units of one chunk, one behind the other.
#[derive(Clone, Copy, Debug)]
struct UnitRun {
    start: u64,
    end: u64,
    /// From the per-CPU pointer to the first unit's copy.
    offset: u64,
}

/// What one CPU's unit has of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnitPart {
    /// The per-CPU pointer to its first byte.
    pub(super) pointer: u64,
    /// Its length.
    pub(super) bytes: u64,
}

/// Where every chunk's units lie.
#[derive(Debug, Default)]
pub(super) struct UnitMap {
    /// Ascending.
    runs: Vec<UnitRun>,
    /// From a unit to the next one.
    unit_bytes: u64,
}

impl UnitMap {
    /// `boot` begins at the first static variable and ends with the first chunk.
    pub(super) fn new(
        chunks: &[Chunk],
        uses: &[ChunkUse],
        boot: UnitPart,
        offsets: &[u64],
    ) -> UnitMap {
        let mut offsets = offsets.to_vec();
        offsets.sort_unstable();
        offsets.dedup();
        let of_areas = chunks.iter().filter(|chunk| chunk.origin == Origin::Areas);
        let gaps = offsets.windows(2).map(|pair| pair[1] - pair[0]);
        // Any other chunk is as large as a unit; with one CPU there is nothing to step over.
        let unit_bytes = of_areas.map(Chunk::unit_bytes).max();
        let unit_bytes = unit_bytes.or_else(|| gaps.min()).unwrap_or(1 << 62);
        let mut groups: Vec<(u64, u64)> = Vec::new();
        for offset in offsets {
            match groups.last_mut() {
                Some((first, many)) if offset - *first == *many * unit_bytes => *many += 1,
                _ => groups.push((offset, 1)),
            }
        }
        let of_areas = chunks.iter().zip(uses).filter(|(chunk, _)| chunk.origin == Origin::Areas);
        let of_areas = of_areas
            .map(|(chunk, used)| UnitPart { pointer: used.pointer, bytes: chunk.unit_bytes() });
        let run = |part: UnitPart, (offset, many): (u64, u64)| {
            let start = part.pointer.wrapping_add(offset);
            let last = start.checked_add((many - 1).checked_mul(unit_bytes)?)?;
            let end = last.checked_add(part.bytes)?;
            Some(UnitRun { start, end, offset })
        };
        let runs = std::iter::once(boot).chain(of_areas);
        let runs = runs.flat_map(|part| groups.iter().filter_map(move |group| run(part, *group)));
        let mut runs: Vec<_> = runs.take(MOST_RUNS).collect();
        runs.sort_unstable_by_key(|run| run.start);
        UnitMap { runs, unit_bytes }
    }

    /// The per-CPU pointer of which an address is some CPU's copy; it may lie in no allocation.
    pub(super) fn pointer(&self, at: Va) -> Option<u64> {
        let next = self.runs.partition_point(|run| run.start <= at.0);
        let run = self.runs[..next].last().filter(|run| at.0 < run.end)?;
        let unit = (at.0 - run.start) / self.unit_bytes;
        Some(at.0.wrapping_sub(run.offset.wrapping_add(unit * self.unit_bytes)))
    }
}

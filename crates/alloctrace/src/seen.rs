//! What each CPU counted.

use std::collections::HashMap;

use sysak_base::Va;

/// Call sites that one CPU counts; as in tracer.bpf.c.
const SITES: usize = 128;
const HEAD_WORDS: usize = 16;
/// Bytes that one CPU counts in.
pub(crate) const SEEN_BYTES: usize = (HEAD_WORDS + 2 * SITES) * 8;

/// Events of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Allocations.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
}

impl Counts {
    fn add(&mut self, (allocs, frees): (u64, u64)) {
        self.allocs += allocs;
        self.frees += frees;
    }
}

/// What was seen since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Allocation events of every kind.
    pub allocs: u64,
    /// Free events of every kind.
    pub frees: u64,
    /// Of these, the events of pages: all there were while the programs were attached, those
    /// of user memory among them.
    pub pages: Counts,
    /// Of these, the events of per-CPU memory.
    pub per_cpu: Counts,
    /// Of these, the events of the vmalloc address space.
    pub areas: Counts,
    /// Allocations that got a record.
    pub recorded: u64,
    /// Allocations for which there was no room.
    pub lost: u64,
    /// Allocations that were left out to save time.
    pub thinned: u64,
    /// Stacks taken.
    pub stacks: u64,
    /// Allocations of followed caches by call site. Two sites that share a slot on a CPU
    /// leave the later one uncounted there, so a count is a lower bound.
    pub sites: HashMap<Va, u64>,
}

impl Seen {
    /// Adds what one CPU counted.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8).map(|word| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            u64::from_ne_bytes(bytes)
        });
        let mut next = || words.next().unwrap_or(0);
        let kinds @ [_, pages, per_cpu, areas] = [(); 4].map(|()| (next(), next()));
        self.pages.add(pages);
        self.per_cpu.add(per_cpu);
        self.areas.add(areas);
        for (allocs, frees) in kinds {
            self.allocs += allocs;
            self.frees += frees;
        }
        self.recorded += next();
        self.lost += next();
        self.thinned += next();
        self.stacks += next();
        let _purses = [(); 4].map(|()| next());
        for _ in 0..SITES {
            let (site, allocs) = (next(), next());
            if site != 0 {
                *self.sites.entry(Va(site)).or_insert(0) += allocs;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_added_up() {
        let mut words = vec![0u64; SEEN_BYTES / 8];
        (words[0], words[9], words[16], words[17]) = (5, 2, 0xffff_ffff_8100_0000, 4);
        (words[2], words[3], words[5], words[6]) = (7, 6, 1, 3);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut seen = Seen::default();
        seen.add(&bytes);
        seen.add(&bytes);
        assert_eq!((seen.allocs, seen.frees, seen.lost), (30, 14, 4));
        assert_eq!(seen.pages, Counts { allocs: 14, frees: 12 });
        assert_eq!(seen.per_cpu, Counts { allocs: 0, frees: 2 });
        assert_eq!(seen.areas, Counts { allocs: 6, frees: 0 });
        assert_eq!(seen.sites[&Va(0xffff_ffff_8100_0000)], 8);
    }
}

//! What each CPU counted.

use std::collections::HashMap;

use sysak_base::Va;

/// Call sites that one CPU counts; as in tracer.bpf.c.
const SITES: usize = 128;
const HEAD_WORDS: usize = 8;
/// Bytes that one CPU counts in.
pub(crate) const SEEN_BYTES: usize = (HEAD_WORDS + 2 * SITES) * 8;

/// What was seen since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Allocation events of every cache.
    pub allocs: u64,
    /// Free events of every cache.
    pub frees: u64,
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
        self.allocs += next();
        self.frees += next();
        self.recorded += next();
        self.lost += next();
        self.thinned += next();
        self.stacks += next();
        let (_tick, _tokens) = (next(), next());
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
        (words[0], words[3], words[8], words[9]) = (5, 2, 0xffff_ffff_8100_0000, 4);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut seen = Seen::default();
        seen.add(&bytes);
        seen.add(&bytes);
        assert_eq!((seen.allocs, seen.lost), (10, 4));
        assert_eq!(seen.sites[&Va(0xffff_ffff_8100_0000)], 8);
    }
}

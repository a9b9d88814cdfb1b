//! The `struct page`s of the first pages of slabs, read in large pieces.

use sysak_base::{Memory, Pfn, PfnRange, Va};
use sysak_heap::PageSet;

/// The largest number of `struct page`s that one read covers.
const WINDOW_PAGES: u64 = 4096;

/// First pages of slabs that lie close together, and the end of the run of RAM that they are part of.
pub(super) type Window = (Vec<Pfn>, Pfn);

/// The first pages of all slabs.
pub(super) fn windows(heads: &PageSet, ram: &[PfnRange]) -> impl Iterator<Item = Window> + Send {
    let pages = |(start, pages): (Pfn, u64)| (start.0..start.0 + pages).map(Pfn);
    let mut heads = heads.runs().flat_map(pages).peekable();
    std::iter::from_fn(move || {
        let first = heads.next()?;
        // The array of `struct page` may have a hole behind it.
        let run = ram.iter().find(|run| run.contains(first)).map(|run| run.end);
        let end = run.unwrap_or(Pfn(first.0 + 1));
        let last = end.min(Pfn(first.0 + WINDOW_PAGES));
        let mut window = vec![first];
        window.extend(std::iter::from_fn(|| heads.next_if(|head| *head < last)));
        Some((window, end))
    })
}

/// The `struct page`s of first pages of slabs, and the one behind each; zeroes where unreadable.
pub(super) struct StructPages {
    pub(super) heads: Vec<Pfn>,
    bytes: Vec<u8>,
    size: u64,
    /// Whether `bytes` has all pages from the first head to the last, and not two for each.
    is_whole: bool,
}

impl StructPages {
    /// Reads a window in one piece, where that can be.
    pub(super) fn read(
        memory: &dyn Memory,
        array: Va,
        size: u64,
        (heads, end): Window,
    ) -> StructPages {
        let read = |from: Pfn, bytes: &mut [u8]| {
            memory.read(array.at(from.0.wrapping_mul(size)), bytes).is_ok()
        };
        let (first, last) = (heads[0], heads[heads.len() - 1]);
        let mut bytes = vec![0; ((last.0 + 2 - first.0) * size) as usize];
        // A block that ends with the run has no page behind it.
        let there = ((last.0 + 2).min(end.0) - first.0) * size;
        let is_whole = read(first, &mut bytes[..there as usize]);
        if !is_whole {
            bytes = vec![0; heads.len() * 2 * size as usize];
            for (head, bytes) in heads.iter().zip(bytes.chunks_exact_mut(2 * size as usize)) {
                if !read(*head, bytes) && !read(*head, &mut bytes[..size as usize]) {
                    bytes.fill(0);
                }
            }
        }
        StructPages { heads, bytes, size, is_whole }
    }

    /// Those of a head.
    pub(super) fn of(&self, index: usize) -> &[u8] {
        let page = match self.is_whole {
            true => self.heads[index].0 - self.heads[0].0,
            false => 2 * index as u64,
        };
        &self.bytes[(page * self.size) as usize..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::{Fault, Why};

    const ARRAY: Va = Va(0xffff_ea00_0000_0000);
    const SIZE: u64 = 64;

    /// The `struct page`s of some runs of RAM: each byte is the number of its page.
    struct Array(Vec<PfnRange>);

    impl Memory for Array {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            for (at, byte) in (at.0..).zip(buf) {
                let page = Pfn((at - ARRAY.0) / SIZE);
                if !self.0.iter().any(|run| run.contains(page)) {
                    return Err(Fault { at: Va(at), why: Why::Unmapped });
                }
                *byte = page.0 as u8;
            }
            Ok(())
        }
    }

    #[test]
    fn each_head_has_its_struct_page_and_the_next_one_where_there_are_any() {
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        let ram = vec![run(1, 20), run(30, 10_000)];
        let mut heads = PageSet::new(10_000);
        for head in [1, 2, 9, 19, 30, 35, 4200, 9999] {
            heads.insert(Pfn(head));
        }
        // Page 35 has none: what is around it is read all the same.
        let array = Array(vec![run(1, 20), run(30, 35), run(36, 10_000)]);
        let mut found = Vec::new();
        for window in windows(&heads, &ram) {
            let pages = StructPages::read(&array, ARRAY, SIZE, window);
            for (index, head) in pages.heads.iter().enumerate() {
                let bytes = pages.of(index);
                found.push((head.0, bytes[0], bytes[2 * SIZE as usize - 1]));
            }
        }
        let next = |head: u64| (head, head as u8, head as u8 + 1);
        let ends = |head: u64| (head, head as u8, 0);
        let expected =
            [next(1), next(2), next(9), ends(19), next(30), (35, 0, 0), next(4200), ends(9999)];
        assert_eq!(found, expected);
    }
}

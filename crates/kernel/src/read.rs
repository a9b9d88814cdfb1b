//! Reads structures of the target: many small ones at once, and numbers and strings inside them.
//!
//! [`gather`] is for thousands of objects of a cache: neighbours come with one read. [`text`] takes
//! strings out of bytes that were read, [`sysak_base::numbers`] numbers.
//!
//! **Invariant:** only pages with a wanted byte are read. What lies past the end of the bytes is 0 or
//! empty, so that a short or forged structure cannot stop a walk.

use sysak_base::{Memory, PAGE_SHIFT, Va};

/// No more at once.
const PIECE_BYTES: u64 = 64 << 10;

/// Gives `each` the index and the `bytes` bytes of every structure that can be read; `at` is
/// ascending.
pub fn gather(memory: &dyn Memory, at: &[Va], bytes: u64, mut each: impl FnMut(usize, &[u8])) {
    let mut scratch = Vec::new();
    let mut first = 0;
    // Nothing lies across the end of the address space.
    let is_whole = |at: &Va| at.0.checked_add(bytes).is_some();
    let at = &at[..at.partition_point(is_whole)];
    while let Some(start) = at.get(first) {
        let end = |index: usize| at[index].0 + bytes;
        let follows = |index: &usize| {
            let page = |address: u64| address >> PAGE_SHIFT;
            page(at[*index].0) <= page(end(index - 1).saturating_sub(1)) + 1
                && end(*index) - start.0 <= PIECE_BYTES
        };
        let next = (first + 1..at.len()).find(|index| !follows(index)).unwrap_or(at.len());
        let len = (end(next - 1) - start.0) as usize;
        match memory.view(*start, len, &mut scratch) {
            Ok(raw) => {
                for (index, one) in (first..next).map(|index| (index, at[index].0 - start.0)) {
                    each(index, &raw[one as usize..(one + bytes) as usize]);
                }
            }
            Err(_) => {
                for (index, one) in (first..next).map(|index| (index, at[index])) {
                    if let Ok(raw) = memory.view(one, bytes as usize, &mut scratch) {
                        each(index, raw);
                    }
                }
            }
        }
        first = next;
    }
}

/// A NUL-terminated string of at most `most` bytes; bytes that are not UTF-8 are replaced.
pub fn read_string(memory: &dyn Memory, at: Va, most: usize) -> Option<String> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        // Never across a page: the next one may not be there.
        let room = 64.min(4096 - (at.0.wrapping_add(bytes.len() as u64) % 4096) as usize);
        let mut part = vec![0; room];
        memory.read(at.at(bytes.len() as u64), &mut part).ok()?;
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            bytes.extend_from_slice(&part[..end]);
            return Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        bytes.extend_from_slice(&part);
    }
    None
}

/// The text in a field of at most `most` bytes inside bytes already read, up to its first zero.
pub fn text(bytes: &[u8], at: u64, most: u64) -> &[u8] {
    let rest = bytes.get(at as usize..).unwrap_or_default();
    let field = &rest[..rest.len().min(most as usize)];
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use sysak_base::{Fault, Why};

    /// Bytes that tell their address; one page is missing.
    struct Pages(RefCell<Vec<(u64, usize)>>);

    const HOLE: u64 = 0x9000;

    impl Memory for Pages {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            self.0.borrow_mut().push((at.0, buf.len()));
            if at.0 < HOLE + 0x1000 && at.0 + buf.len() as u64 > HOLE {
                return Err(Fault { at, why: Why::Unmapped });
            }
            (at.0..).zip(buf).for_each(|(address, byte)| *byte = address as u8);
            Ok(())
        }
    }

    fn seen(at: &[u64]) -> (Vec<usize>, Vec<(u64, usize)>) {
        let memory = Pages(RefCell::default());
        let at: Vec<_> = at.iter().copied().map(Va).collect();
        let mut seen = Vec::new();
        gather(&memory, &at, 16, |index, raw| {
            assert_eq!((raw.len(), u64::from(raw[0])), (16, at[index].0 & 0xff));
            seen.push(index);
        });
        (seen, memory.0.into_inner())
    }

    #[test]
    fn neighbours_come_with_one_read_and_no_page_between_them() {
        let (indexes, reads) = seen(&[0x1000, 0x1000, 0x2ff8, 0x5000]);
        assert_eq!(indexes, [0, 1, 2, 3]);
        assert_eq!(reads, [(0x1000, 0x2008), (0x5000, 16)]);
    }

    #[test]
    fn what_cannot_be_read_costs_its_neighbours_nothing() {
        assert_eq!(seen(&[0x8000, 0x8ff8, 0x9ff0, 0xa000]).0, [0, 3]);
        assert_eq!(seen(&[]).0, []);
        assert_eq!(seen(&[HOLE, u64::MAX - 4]).0, [] as [usize; 0]);
    }
}

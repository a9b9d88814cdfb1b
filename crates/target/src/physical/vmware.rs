//! VMware's files: the state of a machine (`.vmss`, `.vmsn`), and its memory in it or beside it (`.vmem`).
//!
//! ```text
//! number, version, count of groups                     12 bytes
//! name, place and length of each group                 80 bytes each
//! group "memory": items of a tag, a name, indices and a value; regions of memory have three numbers each
//! ```
//!
//! Source: crash's `vmware_vmss.c`. It was never tried on a file of VMware's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sysak_base::PAGE_SIZE;
use sysak_base::numbers::{half, word};

use super::pieces::Span;
use crate::elf::ElfError;

/// The first number of a state with 64-bit places.
const NUMBERS: [u32; 4] = [0xbed2_bed2, 0xbed3_bed3, 0xbad1_bad1, 0xbad2_bad2];
const HEADER_BYTES: usize = 12;
const GROUP_BYTES: usize = 80;
const NAME_BYTES: usize = 64;
/// Sizes of a value that say that it is a block.
const BLOCK: usize = 0x3f;
const PACKED_BLOCK: usize = 0x3e;
/// A state has far fewer groups, and the group about memory far fewer items.
const MOST_GROUPS: usize = 4096;
const MOST_ITEMS: usize = 1 << 16;

/// Whether a file is the state of a machine.
pub(super) fn is_state(start: &[u8]) -> bool {
    NUMBERS.contains(&half(start, 0))
}

/// The other file of a machine of which one was named: the memory beside its state, or the state beside its memory.
pub(super) fn beside(path: &Path) -> Option<PathBuf> {
    let wanted: &[&str] = match path.extension()?.to_str()? {
        "vmem" => &["vmss", "vmsn"],
        "vmss" | "vmsn" => &["vmem"],
        _ => return None,
    };
    wanted.iter().map(|ending| path.with_extension(ending)).find(|path| path.is_file())
}

/// What a state says of the memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Where the memory lies, if it is in this file: place and length.
    pub memory: Option<(u64, u64)>,
    /// By number: first page in the memory's file, first page of the machine, pages.
    regions: BTreeMap<u32, [u32; 3]>,
}

impl State {
    /// Where each run of memory lies in a file that has `bytes` bytes of it from `offset` on.
    pub(super) fn spans(&self, offset: u64, bytes: u64) -> Vec<Span> {
        let page = |number: u32| u64::from(number) * PAGE_SIZE;
        let regions = self.regions.values().map(|[in_file, first, pages]| Span {
            start: page(*first),
            bytes: page(*pages),
            offset: offset + page(*in_file),
        });
        match self.regions.is_empty() {
            true => vec![Span { start: 0, bytes, offset }],
            false => regions.collect(),
        }
    }
}

/// Reads the group about memory.
pub(super) fn parse(file: &[u8]) -> Result<State, ElfError> {
    let damaged = || ElfError::Damaged("its list of groups is incomplete".to_owned());
    let header = file.get(..HEADER_BYTES).ok_or_else(damaged)?;
    let count = (half(header, 8) as usize).min(MOST_GROUPS);
    let groups = file.get(HEADER_BYTES..HEADER_BYTES + count * GROUP_BYTES).ok_or_else(damaged)?;
    let memory = groups.chunks(GROUP_BYTES).find(|group| group.starts_with(b"memory\0"));
    let at = memory.map(|group| word(group, NAME_BYTES as u64));
    let at = at.and_then(|at| usize::try_from(at).ok()).ok_or_else(damaged)?;
    let mut state = State::default();
    let mut items = Items { file, at };
    for _ in 0..MOST_ITEMS {
        let Some(item) = items.next() else { break };
        let number = half(item.value, 0);
        let which = match item.name {
            b"regionPageNum" => 0,
            b"regionPPN" => 1,
            b"regionSize" => 2,
            b"Memory" if item.is_packed => {
                return Err(ElfError::Damaged("its memory is packed by VMware".to_owned()));
            }
            b"Memory" => {
                state.memory = Some((item.at as u64, item.bytes));
                continue;
            }
            _ => continue,
        };
        state.regions.entry(item.index).or_default()[which] = number;
    }
    Ok(state)
}

/// The items of a group.
struct Items<'f> {
    file: &'f [u8],
    at: usize,
}

/// A value with a name.
struct Item<'f> {
    name: &'f [u8],
    /// The first of its indices.
    index: u32,
    /// Of a block: where it lies and how long it is. A value is at hand.
    at: usize,
    bytes: u64,
    value: &'f [u8],
    is_packed: bool,
}

impl<'f> Items<'f> {
    fn take(&mut self, bytes: usize) -> Option<&'f [u8]> {
        let taken = self.file.get(self.at..self.at.checked_add(bytes)?)?;
        self.at += bytes;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The next item; none behind the last one, and where the file ends.
    fn next(&mut self) -> Option<Item<'f>> {
        let tag = self.number(2)? as usize;
        let (name, indices, size) = (tag >> 8, tag >> 6 & 3, tag & 0x3f);
        if tag == 0 {
            return None;
        }
        let name = self.take(name)?;
        let indices = self.take(4 * indices)?;
        let index = half(indices, 0);
        if size != BLOCK && size != PACKED_BLOCK {
            let value = self.take(size)?;
            return Some(Item { name, index, at: self.at, bytes: 0, value, is_packed: false });
        }
        // Bytes in the file, bytes in memory, and how much is left free before them.
        let (bytes, _, padding) = (self.number(8)?, self.number(8)?, self.number(2)?);
        let at = self.at.checked_add(padding as usize)?;
        self.at = at.checked_add(usize::try_from(bytes).ok()?)?;
        Some(Item { name, index, at, bytes, value: &[], is_packed: size == PACKED_BLOCK })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, index: u32, number: u32) -> Vec<u8> {
        let tag = (name.len() << 8 | 1 << 6 | 4) as u16;
        [&tag.to_le_bytes()[..], name.as_bytes(), &index.to_le_bytes(), &number.to_le_bytes()]
            .concat()
    }

    fn block(name: &str, size: usize, bytes: &[u8]) -> Vec<u8> {
        let tag = (name.len() << 8 | size) as u16;
        let len = bytes.len() as u64;
        let lengths = [len.to_le_bytes(), len.to_le_bytes()].concat();
        [&tag.to_le_bytes()[..], name.as_bytes(), &lengths, &[3, 0], &[0; 3], bytes].concat()
    }

    fn file(items: &[Vec<u8>]) -> Vec<u8> {
        let mut file = [0xbed2_bed2u32, 8, 2].map(u32::to_le_bytes).concat();
        for (name, at) in [(&b"cpu"[..], 0u64), (b"memory", 172)] {
            file.extend(name);
            file.resize(file.len() + NAME_BYTES - name.len(), 0);
            file.extend(at.to_le_bytes());
            file.extend([0; 8]);
        }
        file.extend(items.concat());
        file.extend([0; 2]);
        file
    }

    #[test]
    fn regions_and_memory_in_the_same_file_are_found() {
        let region = |index, numbers: [u32; 3]| {
            let names = ["regionPageNum", "regionPPN", "regionSize"];
            names
                .iter()
                .zip(numbers)
                .map(|(name, number)| value(name, index, number))
                .collect::<Vec<_>>()
                .concat()
        };
        let regions = [region(0, [0, 0, 0xc_0000]), region(1, [0xc_0000, 0x10_0000, 0x4_0000])];
        let state = parse(&file(&regions)).unwrap();
        let span = |start, bytes, offset| Span { start, bytes, offset };
        let expected = [span(0, 0xc000_0000, 0), span(0x1_0000_0000, 0x4000_0000, 0xc000_0000)];
        assert_eq!((state.memory, state.spans(0, 0)), (None, expected.to_vec()));
        let whole = file(&[value("other", 0, 7), block("Memory", BLOCK, &[9; 64])]);
        let state = parse(&whole).unwrap();
        let (at, bytes) = state.memory.unwrap();
        assert_eq!(whole[at as usize..][..bytes as usize], [9; 64]);
        assert_eq!(state.spans(at, bytes), [span(0, 64, at)]);
        let packed = parse(&file(&[block("Memory", PACKED_BLOCK, &[9; 64])])).unwrap_err();
        assert!(packed.to_string().contains("packed by VMware"));
    }

    #[test]
    fn a_state_cut_anywhere_ends_in_an_error_or_less() {
        let whole = file(&[value("regionPPN", 0, 7), block("Memory", BLOCK, &[9; 64])]);
        assert!(is_state(&whole) && !is_state(b"\x7fELF"));
        for len in 0..whole.len() - 70 {
            assert!(parse(&whole[..len]).map_or(true, |state| state.memory.is_none()), "{len}");
        }
    }
}

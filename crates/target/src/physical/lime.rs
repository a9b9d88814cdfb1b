//! LiME's format: records of memory, each behind a header.
//!
//! ```text
//! "EMiL", version 1, first address, last address, eight bytes     32 bytes
//! the memory                                                      from the first address to the last
//! ```
//!
//! Source: `doc/README` of LiME.

use sysak_base::numbers::word;

use super::bytes::FileBytes;
use super::pieces::Span;
use crate::elf::ElfError;

/// How a record begins: its name and its version.
const START: &[u8; 8] = b"EMiL\x01\0\0\0";
const HEADER_BYTES: u64 = 32;
/// More runs of RAM than any machine has; AVML makes a record of each 64 MiB.
const MOST_RECORDS: usize = 1 << 20;

/// Whether a file begins with a record.
pub(super) fn is_lime(start: &[u8]) -> bool {
    start.starts_with(START)
}

/// Where the memory of each record lies; the last one may be longer than what is left of the file.
pub(super) fn spans(file: &FileBytes) -> Result<Vec<Span>, ElfError> {
    let mut spans = Vec::new();
    let mut at = 0;
    while let Some(header) = file.get(at, HEADER_BYTES as usize) {
        let (start, last) = (word(&header, 8), word(&header, 16));
        let bytes = last.wrapping_sub(start).wrapping_add(1);
        let is_sane = is_lime(&header) && bytes > 0 && start.checked_add(bytes).is_some();
        if !is_sane || spans.len() >= MOST_RECORDS {
            return Err(ElfError::Damaged(format!("the record at {at:#x} is none")));
        }
        spans.push(Span { start, bytes, offset: at + HEADER_BYTES });
        at = (at + HEADER_BYTES).saturating_add(bytes);
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::super::bytes::Raw;
    use super::*;

    fn file(records: &[(u64, u64)]) -> Vec<u8> {
        let mut file = Vec::new();
        for (start, bytes) in records {
            file.extend(START);
            for word in [*start, start + bytes - 1, 0] {
                file.extend(word.to_le_bytes());
            }
            file.resize(file.len() + *bytes as usize, 7);
        }
        file
    }

    fn spans_of(file: Vec<u8>) -> Result<Vec<Span>, ElfError> {
        spans(&FileBytes::of(Raw::Memory(file)).unwrap())
    }

    #[test]
    fn records_say_where_their_memory_belongs() {
        let whole = file(&[(0x1000, 0x2000), (0x10_0000, 0x1000)]);
        let span = |start, bytes, offset| Span { start, bytes, offset };
        let expected = [span(0x1000, 0x2000, 0x20), span(0x10_0000, 0x1000, 0x2040)];
        assert_eq!(spans_of(whole.clone()).unwrap(), expected);
        // The record says how long it was to be.
        assert_eq!(spans_of(whole[..whole.len() - 0x800].to_vec()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_record_is_damage() {
        let mut bad = file(&[(0x1000, 0x2000), (0x10_0000, 0x1000)]);
        bad[0x2020] = 0;
        assert_eq!(
            spans_of(bad),
            Err(ElfError::Damaged("the record at 0x2020 is none".to_owned()))
        );
        let mut endless = file(&[(0, 0x1000)]);
        endless[16..24].fill(0xff);
        assert!(spans_of(endless).is_err());
    }
}

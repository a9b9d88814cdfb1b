//! The headers of the ELF files that QEMU writes, changed in place: the memory in them stays where it is.
//!
//! QEMU's file begins with the ELF header, then sections, the table of segments, and notes; all that
//! is less than 64 KiB in guests of a few GiB.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Length of an ELF header, and of one entry of the table of segments.
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
/// Where the header says: the table's place, the sections' place, and how many segments there are.
const TABLE_AT: usize = 32;
const SECTIONS_AT: usize = 40;
const SEGMENTS: usize = 56;
/// The length of a section's entry, their number, and the one with their names.
const SECTION_FIELDS: Range<usize> = 58..64;
/// In an entry of the table: the kind, which is 4 for notes, where the segment lies, and its length.
const NOTES: u32 = 4;
const OFFSET: usize = 8;
const FILE_BYTES: usize = 32;
/// What stands before a note's name: three lengths and kinds of four bytes.
const NOTE_HEADER_BYTES: usize = 12;

/// Moves the table of segments right behind the header, as kernels write it. makedumpfile looks for it there,
/// wherever the header says it is; QEMU has its sections there, which hold nothing that anybody needs.
pub fn move_segments(file: &Path) -> Result<()> {
    edit(file, |head| {
        let table = table(head)?;
        let end = HEADER_BYTES + table.len();
        head.copy_within(table, HEADER_BYTES);
        head[TABLE_AT..TABLE_AT + 8].copy_from_slice(&(HEADER_BYTES as u64).to_le_bytes());
        head[SECTIONS_AT..SECTIONS_AT + 8].fill(0);
        head[SECTION_FIELDS].fill(0);
        Ok(0..end)
    })
}

/// Ends the notes before the last one, VMCOREINFO: QEMU writes none for a guest without
/// `-device vmcoreinfo`.
pub fn drop_vmcoreinfo(file: &Path) -> Result<()> {
    edit(file, |head| {
        let table = table(head)?;
        let end = table.end;
        let notes = table.step_by(SEGMENT_BYTES).find(|at| word(head, *at) as u32 == NOTES);
        let notes = notes.context("no segment of notes")?;
        let from = usize::try_from(word(head, notes + OFFSET))?;
        let text = head.get(from..).context("the notes are far away")?;
        let name = text.windows(10).position(|bytes| bytes == b"VMCOREINFO");
        let before =
            name.and_then(|at| at.checked_sub(NOTE_HEADER_BYTES)).context("no note VMCOREINFO")?;
        let length = notes + FILE_BYTES;
        // The length in the file, and the one in memory behind it.
        head[length..length + 8].copy_from_slice(&(before as u64).to_le_bytes());
        head[length + 8..length + 16].copy_from_slice(&(before as u64).to_le_bytes());
        Ok(0..end)
    })
}

/// Changes the file's first bytes; writes back those that `change` names.
fn edit(path: &Path, change: impl FnOnce(&mut [u8]) -> Result<Range<usize>>) -> Result<()> {
    let failed = || format!("{}", path.display());
    let file = File::options().read(true).write(true).open(path).with_context(failed)?;
    let mut head = vec![0; usize::try_from(file.metadata()?.len().min(64 << 10))?];
    file.read_exact_at(&mut head, 0).with_context(failed)?;
    ensure!(
        head.starts_with(b"\x7fELF\x02\x01") && head.len() >= HEADER_BYTES,
        "{}: no ELF file",
        failed()
    );
    let changed = change(&mut head).with_context(failed)?;
    file.write_all_at(&head[changed], 0).with_context(failed)
}

/// Where the table of segments lies.
fn table(head: &[u8]) -> Result<Range<usize>> {
    let from = usize::try_from(word(head, TABLE_AT))?;
    let segments = u16::from_le_bytes([head[SEGMENTS], head[SEGMENTS + 1]]);
    let end = from.saturating_add(usize::from(segments) * SEGMENT_BYTES);
    ensure!(end <= head.len(), "the table of segments is far away");
    Ok(from..end)
}

fn word(head: &[u8], at: usize) -> u64 {
    head[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As QEMU writes it: the header, one section, the notes' segment and one of memory, two notes, memory.
    fn qemu_file() -> Vec<u8> {
        let mut file = vec![0; HEADER_BYTES];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[TABLE_AT] = 128;
        file[SECTIONS_AT] = 64;
        file[SEGMENTS] = 2;
        file[SECTION_FIELDS].copy_from_slice(&[64, 0, 1, 0, 0, 0]);
        file.extend([7; 64]);
        let notes = [20u32, 0].map(u32::to_le_bytes);
        let segments: [[u64; 7]; 2] =
            [[4, 240, 0, 0, 44, 44, 0], [1, 0x1000, 0, 0, 0x1000, 0x1000, 0]];
        segments.iter().flatten().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(notes.as_flattened());
        file.extend([0; 12]);
        file.extend([11u32, 4, 0].map(u32::to_le_bytes).as_flattened());
        file.extend(b"VMCOREINFO\0\0TEXT");
        file.resize(0x1000, 0);
        file.extend([9; 0x1000]);
        file
    }

    fn changed(name: &str, change: fn(&Path) -> Result<()>) -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("vmtest-{name}-{}", std::process::id()));
        fs::write(&path, qemu_file()).unwrap();
        change(&path).unwrap();
        let file = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file
    }

    #[test]
    fn the_table_of_segments_moves_behind_the_header_and_nothing_else_moves() {
        let (before, after) = (qemu_file(), changed("move", move_segments));
        assert_eq!(table(&after).unwrap(), 64..176);
        assert_eq!(after[64..176], before[128..240]);
        assert_eq!(after[240..], before[240..], "notes and memory");
        assert!(
            after[SECTIONS_AT..SECTIONS_AT + 8]
                .iter()
                .chain(&after[SECTION_FIELDS])
                .all(|byte| *byte == 0)
        );
    }

    #[test]
    fn the_notes_end_before_vmcoreinfo() {
        let (before, after) = (qemu_file(), changed("drop", drop_vmcoreinfo));
        let length = 128 + FILE_BYTES;
        assert_eq!((word(&after, length), word(&after, length + 8)), (20, 20));
        assert_eq!(
            (&after[..length], &after[length + 16..]),
            (&before[..length], &before[length + 16..])
        );
    }
}

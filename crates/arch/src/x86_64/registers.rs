//! The registers of a CPU in a crash dump.

/// General registers in a `struct elf_prstatus`: 27 words, from byte 112 on.
const FROM_BYTE: usize = 112;
const WORDS: usize = 27;

/// The general registers in the text of an NT_PRSTATUS note; fewer where it is cut off.
pub fn of_prstatus(note: &[u8]) -> impl Iterator<Item = u64> {
    let (words, _) = note.get(FROM_BYTE..).unwrap_or_default().as_chunks();
    words.iter().take(WORDS).map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_general_registers_are_taken() {
        let mut note = vec![0xee; FROM_BYTE];
        (1..=WORDS as u64).for_each(|word| note.extend(word.to_le_bytes()));
        note.extend([0xee; 8]);
        assert!(of_prstatus(&note).eq(1..=WORDS as u64));
    }

    #[test]
    fn a_note_that_is_cut_off_has_fewer_registers() {
        assert_eq!(of_prstatus(&[7; FROM_BYTE + 15]).count(), 1);
        assert_eq!(of_prstatus(&[7; FROM_BYTE - 1]).count(), 0);
    }
}

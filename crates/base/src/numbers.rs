//! Little-endian numbers inside bytes that were read.
//!
//! **Invariant:** what lies past the end of the bytes is 0, so that a short or forged structure cannot stop a walk.

/// A word; 0 past the end of the bytes.
#[inline]
pub fn word(bytes: &[u8], offset: u64) -> u64 {
    first(bytes, offset).map_or(0, |raw| u64::from_le_bytes(*raw))
}

/// All whole words.
#[inline]
pub fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|bytes| word(bytes, 0))
}

/// A 32-bit number; 0 past the end of the bytes.
#[inline]
pub fn half(bytes: &[u8], offset: u64) -> u32 {
    first(bytes, offset).map_or(0, |raw| u32::from_le_bytes(*raw))
}

#[inline]
fn first<const N: usize>(bytes: &[u8], offset: u64) -> Option<&[u8; N]> {
    bytes.get(usize::try_from(offset).ok()?..)?.first_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_past_the_end_are_zero() {
        let bytes: Vec<u8> = (1..=12).collect();
        assert_eq!(word(&bytes, 4), 0x0c0b_0a09_0807_0605);
        assert_eq!(half(&bytes, 8), 0x0c0b_0a09);
        assert_eq!((word(&bytes, 5), half(&bytes, 9), word(&bytes, u64::MAX)), (0, 0, 0));
        assert!(words(&bytes).eq([0x0807_0605_0403_0201]));
    }
}

//! sysAK's measure of similarity: how many bytes of two objects are equal.

use wide::i8x16;

/// Bytes that say nothing: what allocators and debug options fill memory with.
const FILL: [u8; 6] = [0x00, 0xff, 0xbb, 0xcc, 0x5a, 0x6a];
/// Bytes that are compared at once.
const AT_ONCE: usize = 16;

/// An object that others are compared with.
#[derive(Clone, Debug, Default)]
pub struct Template {
    bytes: Vec<u8>,
    percent: u32,
}

impl Template {
    /// An object with these bytes; of those that say something in one of two, such a percentage must be equal.
    pub fn new(bytes: Vec<u8>, percent: u32) -> Template {
        Template { bytes, percent }
    }

    /// Of the bytes that are no fill in one of the two, at least this percentage are equal. Two objects of nothing but
    /// fill are similar when equal.
    pub fn is_like(&self, bytes: &[u8]) -> bool {
        if self.bytes.len() != bytes.len() {
            return false;
        }
        let (mut telling, mut equal) = (0u32, 0u32);
        let mut add = |ours: [u8; AT_ONCE], theirs: [u8; AT_ONCE]| {
            let [ours, theirs]: [i8x16; 2] = [bytemuck::cast(ours), bytemuck::cast(theirs)];
            let said = !(is_fill(ours) & is_fill(theirs));
            telling += said.to_bitmask().count_ones();
            equal += (said & ours.simd_eq(theirs)).to_bitmask().count_ones();
        };
        let (ours, our_rest) = self.bytes.as_chunks();
        let (theirs, their_rest) = bytes.as_chunks();
        ours.iter().zip(theirs).for_each(|(ours, theirs)| add(*ours, *theirs));
        if !our_rest.is_empty() {
            // Zeroes say nothing.
            let padded = |rest: &[u8]| {
                let mut padded = [0; AT_ONCE];
                padded[..rest.len()].copy_from_slice(rest);
                padded
            };
            add(padded(our_rest), padded(their_rest));
        }
        match telling {
            0 => self.bytes == bytes,
            _ => u64::from(equal) * 100 >= u64::from(self.percent) * u64::from(telling),
        }
    }
}

/// All ones for each byte of fill.
#[inline(always)]
fn is_fill(bytes: i8x16) -> i8x16 {
    FILL.iter()
        .fold(i8x16::ZERO, |fill, byte| fill | bytes.simd_eq(i8x16::splat(byte.cast_signed())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn is_similar(template: &[u8], bytes: &[u8], percent: u32) -> bool {
        Template::new(template.to_vec(), percent).is_like(bytes)
    }

    #[test]
    fn similarity_ignores_fill_on_both_sides() {
        let template = [1, 2, 3, 4, 0, 0, 0xcc, 0xff];
        assert!(is_similar(&template, &[1, 2, 3, 9, 0xcc, 0, 0, 0], 65), "3 of 4");
        assert!(!is_similar(&template, &[1, 2, 8, 9, 0, 0, 0, 0], 65), "2 of 4");
        assert!(!is_similar(&template, &[1, 2, 3, 4, 5, 6, 7, 0], 65), "4 of 7");
        assert!(!is_similar(&[0; 4], &[0xff; 4], 65));
        assert!(is_similar(&[0; 4], &[0; 4], 65));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

        #[test]
        fn many_bytes_at_once_are_counted_as_one_by_one(
            pairs in vec((0..8usize, 0..8usize), 0..70),
            percent in 1..=100u32,
        ) {
            let byte = |kind: usize| FILL.get(kind).copied().unwrap_or(kind as u8);
            let (one, other): (Vec<u8>, Vec<u8>) =
                pairs.iter().map(|(one, other)| (byte(*one), byte(*other))).unzip();
            let says = |byte: &u8| !FILL.contains(byte);
            let telling = one.iter().zip(&other).filter(|(a, b)| says(a) || says(b));
            let (telling, equal) = telling.fold((0, 0), |(telling, equal), (a, b)| {
                (telling + 1, equal + u32::from(a == b))
            });
            let expected = if telling == 0 { one == other } else { equal * 100 >= percent * telling };
            prop_assert_eq!(is_similar(&one, &other, percent), expected);
        }
    }
}

//! Large numbers and their bytes, the most significant first.

use crypto_bigint::{Limb, Uint, Word};

/// The number that the bytes are. It is the caller who sees to it that they are no more than fit: bytes in front that do not
/// are ignored.
pub(crate) fn decode<const LIMBS: usize>(bytes: &[u8]) -> Uint<LIMBS> {
    let (top, words) = bytes.as_rchunks::<{ Limb::BYTES }>();
    let top = top.iter().fold(0, |word: Word, byte| word << 8 | Word::from(*byte));
    let words = words.iter().rev().map(|word| Word::from_be_bytes(*word)).chain([top]);
    let mut value = Uint::ZERO;
    value.as_mut_limbs().iter_mut().zip(words).for_each(|(limb, word)| *limb = Limb(word));
    value
}

/// The low bytes of a number, as many as `out` has.
pub(crate) fn encode<const LIMBS: usize>(value: &Uint<LIMBS>, out: &mut [u8]) {
    let mut words = value.as_limbs().iter().map(|limb| limb.0);
    let (top, full) = out.as_rchunks_mut::<{ Limb::BYTES }>();
    for word in full.iter_mut().rev() {
        *word = words.next().unwrap_or(0).to_be_bytes();
    }
    let word = words.next().unwrap_or(0).to_le_bytes();
    top.iter_mut().rev().zip(word).for_each(|(byte, value)| *byte = value);
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crypto_bigint::U128;

    #[test]
    fn bytes_of_every_length() {
        let bytes: [u8; 20] = core::array::from_fn(|i| i as u8 + 0xa0);
        for len in 0..=16 {
            let value = bytes[..len].iter().fold(0u128, |all, byte| all << 8 | u128::from(*byte));
            assert_eq!(decode(&bytes[..len]), U128::from_u128(value), "{len}");
            let mut out = [0x55; 16];
            encode(&U128::from_u128(value), &mut out[..len]);
            assert_eq!(out[..len], bytes[..len]);
            assert_eq!(out[len..], [0x55; 16][len..]);
        }
        assert_eq!(
            decode(&[9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
            U128::from_u8(7)
        );
        let mut longer = [9; 19];
        encode(&U128::from_u8(1), &mut longer);
        assert_eq!(longer[..18], [0; 18]);
    }
}

//! Padding and trailer of the encrypted part (RFC 4303 section 2.4).

use ipsec_core::bytes;
use zerocopy::{FromBytes, IntoBytes};

use crate::wire::EspTrailer;

/// ESP itself aligns the end of the encrypted part to this many bytes (RFC 4303 section 2.4).
pub const MIN_ALIGN: usize = 4;

/// Bytes of padding and trailer behind `payload_len` bytes, so that all is a multiple of `align`, a power of two.
pub const fn trailer_len(payload_len: usize, align: usize) -> usize {
    EspTrailer::LEN.wrapping_add(pad_len(payload_len.wrapping_add(EspTrailer::LEN), align))
}

/// Bytes that `len` lacks to a multiple of `align`, a power of two.
pub(crate) const fn pad_len(len: usize, align: usize) -> usize {
    len.wrapping_neg() & align.wrapping_sub(1)
}

/// Fills `room` with padding 1, 2, 3 and so on, and the trailer. `None` if it has less than 2 bytes or more than 257.
#[cfg_attr(not(target_os = "none"), inline(always))]
pub fn write(room: &mut [u8], next_header: u8) -> Option<()> {
    let (pad, trailer) = room.split_at_mut_checked(room.len().checked_sub(EspTrailer::LEN)?)?;
    let pad_len = u8::try_from(pad.len()).ok()?;
    let mut value = 0u8;
    for byte in pad {
        value = value.wrapping_add(1);
        *byte = value;
    }
    bytes::copy(trailer, EspTrailer { pad_len, next_header }.as_bytes())
}

/// The length of the payload in a decrypted `text`, and its next header. `None` if the padding is not as [`write()`]
/// makes it, or longer than the text.
#[cfg_attr(not(target_os = "none"), inline(always))]
pub fn strip(text: &[u8]) -> Option<(usize, u8)> {
    let (rest, trailer) = EspTrailer::ref_from_suffix(text).ok()?;
    let payload_len = rest.len().checked_sub(trailer.pad_len.into())?;
    let pad = rest.get(payload_len..)?;
    let mut value = 0u8;
    let counts = pad.iter().all(|byte| {
        value = value.wrapping_add(1);
        *byte == value
    });
    counts.then_some((payload_len, trailer.next_header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_stripped() {
        for align in [4, 8, 16] {
            for len in 0..40 {
                let mut text = [0xee; 64];
                let total = len + trailer_len(len, align);
                assert!(total.is_multiple_of(align) && total - len < align + 2);
                write(&mut text[len..total], 41).unwrap();
                assert_eq!(strip(&text[..total]), Some((len, 41)));
            }
        }
    }

    #[test]
    fn padding_counts_from_one() {
        // RFC 4303 section 2.4
        let mut room = [0; 7];
        write(&mut room, 4).unwrap();
        assert_eq!(room, [1, 2, 3, 4, 5, 5, 4]);
        for wrong in 0..5 {
            let mut room = room;
            room[wrong] ^= 0x80;
            assert_eq!(strip(&room), None);
        }
    }

    #[test]
    fn a_pad_length_that_lies_is_refused() {
        assert_eq!(strip(&[1, 2, 3, 3, 4]), Some((0, 4)));
        assert_eq!(strip(&[1, 2, 3, 4, 4]), None);
        assert_eq!(strip(&[1, 2, 3, 255, 4]), None);
        assert_eq!(strip(&[4]), None);
        assert_eq!(strip(&[]), None);
        let mut most = [0; 257];
        write(&mut most, 4).unwrap();
        assert_eq!(strip(&most), Some((0, 4)));
        assert_eq!(write(&mut [0; 258], 4), None);
        assert_eq!(write(&mut [0; 1], 4), None);
    }
}

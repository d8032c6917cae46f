//! The fixed fields of the authentication header (RFC 4302 section 2).
//!
//! ```text
//!  0               1               2               3
//! +---------------+---------------+---------------+---------------+
//! |  next header  | payload length|           reserved            |
//! +---------------+---------------+---------------+---------------+
//! |                 security parameters index (SPI)               |
//! +---------------+---------------+---------------+---------------+
//! |                        sequence number                        |
//! +---------------+---------------+---------------+---------------+
//! | IV (GMAC only) and integrity check value, by the algorithm's  |
//! | size; then padding to a multiple of 4 bytes, 8 over IPv6      |
//! +---------------+---------------+---------------+---------------+
//! ```

use ipsec_core::sa::AhAlign;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What an authentication header begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AhHeader {
    /// What follows the header: a protocol number.
    pub next_header: u8,
    /// The length of the whole header in 32-bit words, minus 2 (RFC 4302 section 2.2).
    pub payload_len: u8,
    /// Zero when sent, ignored when received, but covered by the integrity check (RFC 4302 section 2.3).
    pub reserved: U16,
    /// Names the SA to the receiver.
    pub spi: U32,
    /// The low half of the sequence number.
    pub sequence: U32,
}

impl AhHeader {
    /// Bytes of the fixed fields.
    pub const LEN: usize = size_of::<Self>();

    /// Bytes of a whole header with `data_len` bytes of IV and integrity check value, padded as it is sent
    /// (RFC 4302 section 3.3.3.2.1).
    pub const fn padded_len(data_len: usize, align: AhAlign, ipv4: bool) -> usize {
        let mask: usize = match align {
            AhAlign::Standard if ipv4 => 3,
            AhAlign::Standard | AhAlign::Eight => 7,
        };
        Self::LEN.saturating_add(data_len).saturating_add(mask) & !mask
    }

    /// Bytes of the whole header, by its own account.
    pub const fn total_len(&self) -> usize {
        (self.payload_len as usize + 2) << 2
    }

    /// The payload length field of a header of `total_len` bytes; `None` if that is no multiple of 4 or out of range.
    pub fn payload_len_of(total_len: usize) -> Option<u8> {
        if !total_len.is_multiple_of(4) {
            return None;
        }
        u8::try_from((total_len >> 2).checked_sub(2)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        // RFC 4302 section 2.2, RFC 4302 section 3.3.3.2.1
        for (data, align, ipv4, len) in [
            (12, AhAlign::Standard, true, 24),
            (12, AhAlign::Standard, false, 24),
            (16, AhAlign::Standard, true, 28),
            (16, AhAlign::Eight, true, 32),
            (16, AhAlign::Standard, false, 32),
            (24, AhAlign::Standard, true, 36),
            (24, AhAlign::Standard, false, 40),
            (32, AhAlign::Standard, true, 44),
        ] {
            assert_eq!(AhHeader::padded_len(data, align, ipv4), len);
            let payload_len = AhHeader::payload_len_of(len).unwrap();
            let header = AhHeader {
                next_header: 4,
                payload_len,
                reserved: U16::ZERO,
                spi: U32::ZERO,
                sequence: U32::ZERO,
            };
            assert_eq!(header.total_len(), len);
        }
        assert_eq!(AhHeader::payload_len_of(24), Some(4));
        for wrong in [0, 4, 25, 26, 27, 1032] {
            assert_eq!(AhHeader::payload_len_of(wrong), None, "{wrong}");
        }
    }
}

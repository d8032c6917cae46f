//! The UDP header (RFC 768).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ```text
///  0               1               2               3
/// +---------------+---------------+---------------+---------------+
/// |          source port          |       destination port        |
/// +---------------+---------------+---------------+---------------+
/// |            length             |           checksum            |
/// +---------------+---------------+---------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Header and payload, in bytes.
    pub len: U16,
    /// Checksum, 0 for none.
    pub checksum: U16,
}

impl UdpHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// A header without a checksum for `payload_len` bytes; `None` if UDP cannot carry so many.
    pub fn new(source: u16, destination: u16, payload_len: usize) -> Option<Self> {
        let len = u16::try_from(payload_len.checked_add(Self::LEN)?).ok()?;
        Some(Self {
            source: U16::new(source),
            destination: U16::new(destination),
            len: U16::new(len),
            checksum: U16::ZERO,
        })
    }

    /// The header at the front of an IP payload, and what it carries. `None` if the length field is less than a header
    /// or more than there is; bytes behind it are left out. The checksum is not verified.
    pub fn parse(bytes: &[u8]) -> Option<(&Self, &[u8])> {
        let (header, rest) = Self::ref_from_prefix(bytes).ok()?;
        let payload_len = usize::from(header.len.get()).checked_sub(Self::LEN)?;
        Some((header, rest.get(..payload_len)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = UdpHeader::new(500, 4500, 3).unwrap();
        let mut bytes = [0u8; 12];
        header.write_to_prefix(&mut bytes).unwrap();
        assert_eq!(bytes, [0x01, 0xf4, 0x11, 0x94, 0, 11, 0, 0, 0, 0, 0, 0]);
        let (read, payload) = UdpHeader::parse(&bytes).unwrap();
        assert_eq!((read.source.get(), read.destination.get(), payload.len()), (500, 4500, 3));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert!(UdpHeader::parse(&[0, 1, 0, 2, 0, 7, 0, 0]).is_none());
        assert!(UdpHeader::parse(&[0, 1, 0, 2, 0, 9, 0, 0]).is_none());
        assert!(UdpHeader::parse(&[0; 7]).is_none());
        assert!(UdpHeader::new(1, 2, 65_528).is_none());
    }
}

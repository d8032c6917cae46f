//! The IPv4 header (RFC 791).

use core::net::Ipv4Addr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Checksum, IpError};

/// The fixed part of the header; options, if any, follow it.
///
/// ```text
///  0               1               2               3
/// +-------+-------+---------------+---------------+---------------+
/// |   4   |  IHL  | type of serv. |         total length          |
/// +-------+-------+---------------+-----+-------------------------+
/// |        identification         |0 D M|     fragment offset     |
/// +---------------+---------------+-----+-------------------------+
/// | time to live  |   protocol    |        header checksum        |
/// +---------------+---------------+---------------+---------------+
/// |                        source address                         |
/// +---------------+---------------+---------------+---------------+
/// |                      destination address                      |
/// +---------------+---------------+---------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version in the high half, header length in 32-bit words in the low half.
    pub version_ihl: u8,
    /// DSCP in the high six bits, ECN in the low two (RFC 2474, RFC 3168).
    pub tos: u8,
    /// Header and payload, in bytes.
    pub total_len: U16,
    /// Identification, for reassembly.
    pub id: U16,
    /// Don't Fragment and More Fragments, and the offset in units of eight bytes.
    pub flags_offset: U16,
    /// Time to live.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

const VERSION_IHL: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

impl Ipv4Header {
    /// Bytes of the header without options.
    pub const LEN: usize = size_of::<Self>();

    /// A header without options for `payload_len` bytes, unfragmented, with its checksum. Identification is zero, as
    /// RFC 6864 section 4.1 allows for a packet that is not to be fragmented. `None` if IPv4 cannot carry so many
    /// bytes.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn new(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        tos: u8,
        ttl: u8,
        payload_len: usize,
    ) -> Option<Self> {
        let total_len = u16::try_from(payload_len.checked_add(Self::LEN)?).ok()?;
        // The sum of the fields is that of the bytes.
        let checksum = Checksum::new()
            .u16(u16::from_be_bytes([VERSION_IHL, tos]))
            .u16(total_len)
            .u16(DONT_FRAGMENT)
            .u16(u16::from_be_bytes([ttl, protocol]))
            .u32(source.to_bits())
            .u32(destination.to_bits());
        Some(Self {
            version_ihl: VERSION_IHL,
            tos,
            total_len: U16::new(total_len),
            id: U16::ZERO,
            flags_offset: U16::new(DONT_FRAGMENT),
            ttl,
            protocol,
            checksum: U16::new(checksum.finish()),
            source: source.octets(),
            destination: destination.octets(),
        })
    }

    /// The same header for a packet that routers may fragment, with its checksum.
    #[must_use]
    pub fn fragmentable(mut self, id: u16) -> Self {
        self.id = U16::new(id);
        self.flags_offset = U16::ZERO;
        self.update_checksum();
        self
    }

    /// Sets the checksum of a header without options.
    pub fn update_checksum(&mut self) {
        self.checksum = U16::ZERO;
        self.checksum = U16::new(Checksum::new().bytes(self.as_bytes()).finish());
    }

    /// Splits the packet at the front of `bytes`.
    ///
    /// # Errors
    /// [`IpError::Version`] if the version is not 4; [`IpError::Truncated`] if `bytes` is shorter than the header or
    /// than the total length; [`IpError::Length`] if the header length is less than 20 or more than the total length.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn parse(bytes: &[u8]) -> Result<Ipv4Packet<'_>, IpError> {
        let (header, rest) = Self::ref_from_prefix(bytes).map_err(|_| IpError::Truncated)?;
        if header.version_ihl >> 4 != 4 {
            return Err(IpError::Version);
        }
        let header_len = usize::from(header.version_ihl & 0x0f) << 2;
        let total_len = usize::from(header.total_len.get());
        let options_len = header_len.checked_sub(Self::LEN).ok_or(IpError::Length)?;
        let payload_len = total_len.checked_sub(header_len).ok_or(IpError::Length)?;
        let (options, rest) = rest.split_at_checked(options_len).ok_or(IpError::Truncated)?;
        let payload = rest.get(..payload_len).ok_or(IpError::Truncated)?;
        Ok(Ipv4Packet { header, options, payload })
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.source)
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.destination)
    }

    /// Replaces the destination address; the checksum is then to be updated.
    pub fn set_destination(&mut self, destination: Ipv4Addr) {
        self.destination = destination.octets();
    }

    /// Whether routers must not fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset.get() & DONT_FRAGMENT != 0
    }

    /// Whether more fragments follow this one.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset.get() & MORE_FRAGMENTS != 0
    }

    /// Offset of this fragment, in units of eight bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        self.flags_offset.get() & OFFSET
    }
}

/// An IPv4 packet in its parts.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Packet<'a> {
    /// The fixed header.
    pub header: &'a Ipv4Header,
    /// The options, a multiple of four bytes, not parsed.
    pub options: &'a [u8],
    /// What follows, as long as the header says.
    pub payload: &'a [u8],
}

impl Ipv4Packet<'_> {
    /// Bytes of the header with options.
    pub const fn header_len(&self) -> usize {
        Ipv4Header::LEN.saturating_add(self.options.len())
    }

    /// Whether the header checksum is right.
    pub fn checksum_ok(&self) -> bool {
        Checksum::new().bytes(self.header.as_bytes()).bytes(self.options).finish() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let header = Ipv4Header::new(a, b, 50, 0xb9, 64, 3).unwrap();
        let mut bytes = [0xaa; 30];
        header.write_to_prefix(&mut bytes).unwrap();
        let packet = Ipv4Header::parse(&bytes).unwrap();
        // RFC 6864 section 4.1: nobody looks at the identification of what is not fragmented.
        assert!(packet.checksum_ok() && packet.header.dont_fragment());
        assert_eq!(packet.header.id.get(), 0);
        assert_eq!((packet.header.source(), packet.header.destination()), (a, b));
        assert_eq!((packet.header_len(), packet.payload.len(), packet.header.tos), (20, 3, 0xb9));

        header.fragmentable(77).write_to_prefix(&mut bytes).unwrap();
        let packet = Ipv4Header::parse(&bytes).unwrap();
        assert!(packet.checksum_ok() && !packet.header.dont_fragment());
        assert_eq!(packet.header.id.get(), 77);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut bytes = [0u8; 24];
        let (a, b) = (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        Ipv4Header::new(a, b, 6, 0, 64, 4).unwrap().write_to_prefix(&mut bytes).unwrap();
        assert!(Ipv4Header::parse(&bytes).is_ok());
        for len in 0..24 {
            assert_eq!(Ipv4Header::parse(&bytes[..len]).err(), Some(IpError::Truncated), "{len}");
        }
        for (ihl, error) in
            [(0x44, IpError::Length), (0x47, IpError::Length), (0x65, IpError::Version)]
        {
            let mut bytes = bytes;
            bytes[0] = ihl;
            assert_eq!(Ipv4Header::parse(&bytes).err(), Some(error));
        }
        let mut options = bytes;
        options[0] = 0x46;
        assert_eq!(Ipv4Header::parse(&options).map(|p| p.options.len()), Ok(4));
        assert!(Ipv4Header::new(a, b, 6, 0, 64, 65_516).is_none());
    }
}

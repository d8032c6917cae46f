//! The IPv6 header and its extension headers (RFC 8200).

use core::net::Ipv6Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{IpError, protocol};

/// The fixed header; extension headers, if any, follow it.
///
/// ```text
///  0               1               2               3
/// +-------+-------+-------+-------+---------------+---------------+
/// |   6   | traffic class |              flow label               |
/// +-------+-------+-------+-------+---------------+---------------+
/// |        payload length         |  next header  |   hop limit   |
/// +---------------+---------------+---------------+---------------+
/// |                   source address, 16 bytes                    |
/// +---------------+---------------+---------------+---------------+
/// |                 destination address, 16 bytes                 |
/// +---------------+---------------+---------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version, traffic class and flow label.
    pub version_class_label: U32,
    /// Bytes behind this header.
    pub payload_len: U16,
    /// What follows this header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

const VERSION: u32 = 0x6000_0000;
const LABEL: u32 = 0x000f_ffff;

impl Ipv6Header {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// A header for `payload_len` bytes, with flow label 0. `None` if IPv6 cannot carry so many bytes (jumbograms are
    /// not supported).
    pub fn new(
        source: Ipv6Addr,
        destination: Ipv6Addr,
        next_header: u8,
        traffic_class: u8,
        hop_limit: u8,
        payload_len: usize,
    ) -> Option<Self> {
        Some(Self {
            version_class_label: U32::new(VERSION | u32::from(traffic_class) << 20),
            payload_len: U16::new(u16::try_from(payload_len).ok()?),
            next_header,
            hop_limit,
            source: source.octets(),
            destination: destination.octets(),
        })
    }

    /// Splits the packet at the front of `bytes`.
    ///
    /// # Errors
    /// [`IpError::Version`] if the version is not 6; [`IpError::Truncated`] if `bytes` is shorter than the header or
    /// than the payload length says.
    pub fn parse(bytes: &[u8]) -> Result<Ipv6Packet<'_>, IpError> {
        let (header, rest) = Self::ref_from_prefix(bytes).map_err(|_| IpError::Truncated)?;
        if header.version_class_label.get() >> 28 != 6 {
            return Err(IpError::Version);
        }
        let payload =
            rest.get(..usize::from(header.payload_len.get())).ok_or(IpError::Truncated)?;
        Ok(Ipv6Packet { header, payload })
    }

    /// Source address.
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.source)
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.destination)
    }

    /// Replaces the destination address.
    pub fn set_destination(&mut self, destination: Ipv6Addr) {
        self.destination = destination.octets();
    }

    /// DSCP in the high six bits, ECN in the low two.
    pub fn traffic_class(&self) -> u8 {
        let [a, b, ..] = self.version_class_label.to_bytes();
        a << 4 | b >> 4
    }

    /// Replaces DSCP and ECN.
    pub fn set_traffic_class(&mut self, class: u8) {
        let kept = self.version_class_label.get() & !(0xff << 20);
        self.version_class_label = U32::new(kept | u32::from(class) << 20);
    }

    /// Replaces the flow label by the low 20 bits of `label`.
    pub fn set_flow_label(&mut self, label: u32) {
        let kept = self.version_class_label.get() & !LABEL;
        self.version_class_label = U32::new(kept | label & LABEL);
    }

    /// The flow label.
    pub fn flow_label(&self) -> u32 {
        self.version_class_label.get() & LABEL
    }
}

/// An IPv6 packet in its parts.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Packet<'a> {
    /// The fixed header.
    pub header: &'a Ipv6Header,
    /// What follows, extension headers included, as long as the header says.
    pub payload: &'a [u8],
}

/// The most extension headers that [`Ipv6Packet::upper`] goes through.
pub const MAX_EXTENSIONS: usize = 8;

impl<'a> Ipv6Packet<'a> {
    /// Finds the upper layer behind the extension headers: hop-by-hop options, routing, fragment and destination
    /// options. ESP and AH are upper layers (RFC 4301 section 4.4.1.1).
    ///
    /// # Errors
    /// [`IpError::Extension`] if an extension header reaches beyond the packet, if hop-by-hop options are not the
    /// first, or if there are more than [`MAX_EXTENSIONS`].
    pub fn upper(&self) -> Result<Upper<'a>, IpError> {
        let mut upper =
            Upper { protocol: self.header.next_header, bytes: self.payload, fragment: None };
        for step in 0..=MAX_EXTENSIONS {
            let (next, len) = match upper.protocol {
                protocol::HOP_BY_HOP if step > 0 => return Err(IpError::Extension),
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                    let ([next, len], _) =
                        upper.bytes.split_first_chunk::<2>().ok_or(IpError::Extension)?;
                    (*next, usize::from(*len).saturating_add(1) << 3)
                }
                protocol::FRAGMENT => {
                    let (fragment, _) = FragmentHeader::ref_from_prefix(upper.bytes)
                        .map_err(|_| IpError::Extension)?;
                    upper.fragment = Some(fragment);
                    (fragment.next_header, FragmentHeader::LEN)
                }
                _ => return Ok(upper),
            };
            if step == MAX_EXTENSIONS {
                break;
            }
            upper.bytes = upper.bytes.get(len..).ok_or(IpError::Extension)?;
            upper.protocol = next;
            if upper.fragment.is_some_and(|f| f.offset() != 0) {
                // What follows is the middle of something: its first bytes are no header.
                return Ok(upper);
            }
        }
        Err(IpError::Extension)
    }
}

/// What lies behind the extension headers of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    /// The upper-layer protocol. In a fragment after the first it may be an extension header, whose contents cannot be
    /// seen.
    pub protocol: u8,
    /// The bytes of the upper layer.
    pub bytes: &'a [u8],
    /// The last fragment header, if there was one.
    pub fragment: Option<&'a FragmentHeader>,
}

/// ```text
///  0               1               2               3
/// +---------------+---------------+---------------+---------------+
/// |  next header  |   reserved    |     fragment offset     |Res|M|
/// +---------------+---------------+---------------+---------------+
/// |                        identification                         |
/// +---------------+---------------+---------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FragmentHeader {
    /// What the first fragment begins with.
    pub next_header: u8,
    reserved: u8,
    offset_flags: U16,
    /// Identification, for reassembly.
    pub id: U32,
}

impl FragmentHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// Offset of this fragment, in units of eight bytes.
    pub fn offset(&self) -> u16 {
        self.offset_flags.get() >> 3
    }

    /// Whether more fragments follow this one.
    pub fn more_fragments(&self) -> bool {
        self.offset_flags.get() & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(next: u8, payload: &[u8]) -> heapless::Vec<u8, 512> {
        let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let header = Ipv6Header::new(a, b, next, 0xab, 64, payload.len()).unwrap();
        let mut bytes = heapless::Vec::from_slice(header.as_bytes()).unwrap();
        bytes.extend_from_slice(payload).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = packet(17, &[1, 2, 3]);
        bytes.push(0xee).unwrap();
        let read = Ipv6Header::parse(&bytes).unwrap();
        assert_eq!((read.header.traffic_class(), read.header.flow_label()), (0xab, 0));
        assert_eq!((read.header.source(), read.payload), (Ipv6Addr::LOCALHOST, &[1, 2, 3][..]));
        let mut header = *read.header;
        header.set_traffic_class(0x11);
        assert_eq!((header.traffic_class(), header.version_class_label.get() >> 28), (0x11, 6));
        header.set_flow_label(0xfff1_2345);
        assert_eq!((header.traffic_class(), header.flow_label()), (0x11, 0x1_2345));
        for len in 0..43 {
            assert_eq!(Ipv6Header::parse(&bytes[..len]).err(), Some(IpError::Truncated));
        }
        bytes[0] = 0x45;
        assert_eq!(Ipv6Header::parse(&bytes).err(), Some(IpError::Version));
        assert!(
            Ipv6Header::new(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, 1, 0, 0, 65_536).is_none()
        );
    }

    #[test]
    fn extension_headers_are_walked() {
        // Hop-by-hop (8 bytes), destination options (16 bytes), fragment at offset 0, UDP.
        let mut chain = [0u8; 8 + 16 + 8 + 4];
        chain[0] = 60;
        (chain[8], chain[9]) = (44, 1);
        (chain[24], chain[27]) = (17, 1);
        chain[32..].copy_from_slice(&[9, 8, 7, 6]);
        let bytes = packet(0, &chain);
        let upper = Ipv6Header::parse(&bytes).unwrap().upper().unwrap();
        assert_eq!((upper.protocol, upper.bytes), (17, &[9, 8, 7, 6][..]));
        assert!(upper.fragment.unwrap().more_fragments());
        for len in 0..32 {
            let cut = packet(0, &chain[..len]);
            assert_eq!(Ipv6Header::parse(&cut).unwrap().upper().err(), Some(IpError::Extension));
        }
    }

    #[test]
    fn esp_and_ah_are_upper_layers() {
        // RFC 4301 section 4.4.1.1
        for next in [protocol::ESP, protocol::AH, protocol::NONE] {
            let bytes = packet(next, &[]);
            assert_eq!(Ipv6Header::parse(&bytes).unwrap().upper().unwrap().protocol, next);
        }
    }

    #[test]
    fn the_walk_is_bounded() {
        let mut chain = [0u8; 8 * 9];
        for header in chain.chunks_mut(8) {
            header[0] = 60;
        }
        let upper = |n: usize| {
            let mut chain = chain;
            chain[8 * n - 8] = 59;
            let bytes = packet(60, &chain);
            Ipv6Header::parse(&bytes).unwrap().upper().map(|u| u.protocol)
        };
        assert_eq!(upper(8), Ok(59));
        assert_eq!(upper(9), Err(IpError::Extension));
        let mut late = chain;
        late[0] = 0;
        let bytes = packet(60, &late);
        assert_eq!(Ipv6Header::parse(&bytes).unwrap().upper().err(), Some(IpError::Extension));
    }

    #[test]
    fn nothing_is_read_from_the_middle_of_a_packet() {
        // A fragment after the first, that says it begins with destination options.
        let bytes = packet(44, &[60, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff]);
        let upper = Ipv6Header::parse(&bytes).unwrap().upper().unwrap();
        assert_eq!((upper.protocol, upper.fragment.unwrap().offset()), (60, 1));
    }
}

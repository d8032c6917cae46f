//! From an IP packet of either version to what selectors are compared with.

use super::{IpError, Ipv4Header, Ipv6Header, protocol};
use crate::selector::Flow;

/// What the data path asks of one IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// The ends of the packet.
    pub flow: Flow,
    /// Bytes of the packet, by its own header. The buffer may hold more, which is not part of it.
    pub len: usize,
    /// Where the upper layer begins, from the front of the packet.
    pub upper: usize,
    /// DSCP in the high six bits, ECN in the low two.
    pub traffic_class: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// The flow label of IPv6, otherwise 0.
    pub flow_label: u32,
    /// Whether routers must not fragment the packet: the flag of IPv4, always for IPv6.
    pub dont_fragment: bool,
    /// Whether the packet is a fragment.
    pub fragment: Fragment,
    /// Which datagram a fragment belongs to; 0 for a whole packet.
    pub identification: u32,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first fragment, which has the upper-layer header.
    First,
    /// A later fragment, which has none.
    Later,
}

impl IpPacket {
    /// Reads the packet at the front of `bytes`.
    ///
    /// Ports are those of TCP, UDP, UDP-Lite, SCTP and DCCP. ICMP of both versions has its type (high byte) and code in
    /// both port fields, IPv6 Mobility its message type (high byte). They are `None` where they cannot be seen: other
    /// protocols, fragments after the first, and packets that end before them. Checksums are not verified.
    ///
    /// # Errors
    /// As for [`Ipv4Header::parse`], [`Ipv6Header::parse`] and [`Ipv6Packet::upper`](super::ipv6::Ipv6Packet::upper); and
    /// [`IpError::Extension`] for the first fragment of an IPv6 packet that ends before its ports.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn parse(bytes: &[u8]) -> Result<Self, IpError> {
        match bytes.first().map(|b| b >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            Some(_) => Err(IpError::Version),
            None => Err(IpError::Truncated),
        }
    }

    /// Whether the packet is IPv4.
    pub const fn is_ipv4(&self) -> bool {
        self.flow.source.is_ipv4()
    }

    #[cfg_attr(not(target_os = "none"), inline(always))]
    fn parse_v4(bytes: &[u8]) -> Result<Self, IpError> {
        let packet = Ipv4Header::parse(bytes)?;
        let header = packet.header;
        let fragment = Fragment::new(header.fragment_offset(), header.more_fragments());
        let (source_port, destination_port) = seen_ports(fragment, header.protocol, packet.payload);
        Ok(Self {
            flow: Flow {
                source: header.source().into(),
                destination: header.destination().into(),
                protocol: header.protocol,
                source_port,
                destination_port,
            },
            len: header.total_len.get().into(),
            upper: packet.header_len(),
            traffic_class: header.tos,
            hop_limit: header.ttl,
            flow_label: 0,
            dont_fragment: header.dont_fragment(),
            fragment,
            identification: match fragment {
                Fragment::Whole => 0,
                Fragment::First | Fragment::Later => header.id.get().into(),
            },
        })
    }

    #[inline(never)]
    fn parse_v6(bytes: &[u8]) -> Result<Self, IpError> {
        let packet = Ipv6Header::parse(bytes)?;
        let (header, upper) = (packet.header, packet.upper()?);
        let fragment = upper
            .fragment
            .map_or(Fragment::Whole, |f| Fragment::new(f.offset(), f.more_fragments()));
        let (source_port, destination_port) = seen_ports(fragment, upper.protocol, upper.bytes);
        if fragment == Fragment::First && source_port.is_none() && has_ports(upper.protocol) {
            // RFC 7112 section 5: otherwise nobody could judge the datagram by any of its fragments.
            return Err(IpError::Extension);
        }
        let len = Ipv6Header::LEN.saturating_add(packet.payload.len());
        Ok(Self {
            flow: Flow {
                source: header.source().into(),
                destination: header.destination().into(),
                protocol: upper.protocol,
                source_port,
                destination_port,
            },
            len,
            upper: len.saturating_sub(upper.bytes.len()),
            traffic_class: header.traffic_class(),
            hop_limit: header.hop_limit,
            flow_label: header.flow_label(),
            dont_fragment: true,
            fragment,
            identification: match (fragment, upper.fragment) {
                (Fragment::First | Fragment::Later, Some(fragment)) => fragment.id.get(),
                _ => 0,
            },
        })
    }
}

impl Fragment {
    /// A fragment header with offset 0 and no more fragments says that the packet is whole (RFC 6946).
    pub(super) const fn new(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
}

/// The ports at the front of the upper layer, if this part of the datagram has it.
#[cfg_attr(not(target_os = "none"), inline(always))]
pub(super) fn seen_ports(
    fragment: Fragment,
    protocol: u8,
    upper: &[u8],
) -> (Option<u16>, Option<u16>) {
    match fragment {
        Fragment::Later => (None, None),
        Fragment::Whole | Fragment::First => ports(protocol, upper),
    }
}

/// Whether packets of this protocol have ports, or a type, that a selector may name.
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        protocol::TCP
            | protocol::UDP
            | protocol::UDP_LITE
            | protocol::SCTP
            | protocol::DCCP
            | protocol::ICMP
            | protocol::ICMPV6
            | protocol::MOBILITY
    )
}

/// Whether a fragment after the first one that names this protocol goes on with it or with what is behind it: nobody can
/// tell.
pub(crate) const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS)
}

#[cfg_attr(not(target_os = "none"), inline(always))]
fn ports(protocol: u8, upper: &[u8]) -> (Option<u16>, Option<u16>) {
    match (protocol, upper) {
        (
            protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP | protocol::DCCP,
            [a, b, c, d, ..],
        ) => (Some(u16::from_be_bytes([*a, *b])), Some(u16::from_be_bytes([*c, *d]))),
        (protocol::ICMP | protocol::ICMPV6, [kind, code, ..]) => {
            let both = Some(u16::from_be_bytes([*kind, *code]));
            (both, both)
        }
        (protocol::MOBILITY, [_, _, kind, _, ..]) => {
            let both = Some(u16::from_be_bytes([*kind, 0]));
            (both, both)
        }
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use zerocopy::IntoBytes;

    use super::*;

    type Bytes = heapless::Vec<u8, 256>;

    fn v4(protocol: u8, flags_offset: u16, payload: &[u8]) -> Bytes {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut header = Ipv4Header::new(a, b, protocol, 0, 64, payload.len()).unwrap();
        header.flags_offset = flags_offset.into();
        let mut bytes = Bytes::from_slice(header.as_bytes()).unwrap();
        bytes.extend_from_slice(payload).unwrap();
        bytes
    }

    fn v6(next: u8, payload: &[u8]) -> Bytes {
        let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let header = Ipv6Header::new(a, b, next, 0x2e, 64, payload.len()).unwrap();
        let mut bytes = Bytes::from_slice(header.as_bytes()).unwrap();
        bytes.extend_from_slice(payload).unwrap();
        bytes
    }

    fn seen(bytes: &[u8]) -> (u8, Option<u16>, Option<u16>) {
        let flow = IpPacket::parse(bytes).unwrap().flow;
        (flow.protocol, flow.source_port, flow.destination_port)
    }

    #[test]
    fn ports_of_every_protocol_that_has_them() {
        for protocol in [6, 17, 33, 132, 136] {
            let ends = (protocol, Some(0x0102), Some(0x0304));
            assert_eq!(seen(&v4(protocol, 0, &[1, 2, 3, 4])), ends);
            assert_eq!(seen(&v6(protocol, &[1, 2, 3, 4])), ends);
            assert_eq!(seen(&v4(protocol, 0, &[1, 2, 3])), (protocol, None, None));
        }
        assert_eq!(seen(&v4(1, 0, &[8, 0, 1])), (1, Some(0x0800), Some(0x0800)));
        assert_eq!(seen(&v6(58, &[128, 3])), (58, Some(0x8003), Some(0x8003)));
        assert_eq!(seen(&v6(135, &[59, 0, 5, 9])), (135, Some(0x0500), Some(0x0500)));
        assert_eq!(seen(&v6(135, &[59, 0, 5])), (135, None, None));
        assert_eq!(seen(&v4(47, 0, &[1, 2, 3, 4])), (47, None, None));
    }

    #[test]
    fn ports_are_seen_only_in_the_first_fragment() {
        let first = IpPacket::parse(&v4(17, 0x2000, &[0, 1, 0, 2])).unwrap();
        assert_eq!((first.fragment, first.flow.source_port), (Fragment::First, Some(1)));
        let later = IpPacket::parse(&v4(17, 0x0001, &[0, 1, 0, 2])).unwrap();
        assert_eq!((later.fragment, later.flow.source_port), (Fragment::Later, None));
        assert!(!later.dont_fragment && later.is_ipv4());
        let later = IpPacket::parse(&v6(44, &[17, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0, 2])).unwrap();
        assert_eq!((later.fragment, later.flow.source_port), (Fragment::Later, None));
        let atomic = IpPacket::parse(&v6(44, &[17, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2])).unwrap();
        assert_eq!((atomic.fragment, atomic.flow.destination_port), (Fragment::Whole, Some(2)));
        assert_eq!((atomic.upper, atomic.traffic_class, atomic.len), (48, 0x2e, 52));
    }

    /// RFC 7112 section 5: a first fragment whose headers go on in the next one is refused.
    #[test]
    fn a_first_fragment_has_all_headers() {
        // Fragment, destination options, UDP.
        let mut chain = [0; 8 + 8 + 4];
        (chain[0], chain[3], chain[8]) = (60, 1, 17);
        let first = IpPacket::parse(&v6(44, &chain)).unwrap();
        assert_eq!((first.fragment, first.flow.source_port), (Fragment::First, Some(0)));
        for len in 0..chain.len() {
            assert_eq!(IpPacket::parse(&v6(44, &chain[..len])), Err(IpError::Extension), "{len}");
        }
    }

    #[test]
    fn padding_of_the_link_is_not_the_packet() {
        let mut bytes = v4(17, 0x4000, &[0, 1]);
        bytes.extend_from_slice(&[0, 2, 0, 0]).unwrap();
        let packet = IpPacket::parse(&bytes).unwrap();
        assert_eq!((packet.len, packet.flow.source_port, packet.dont_fragment), (22, None, true));
    }

    #[test]
    fn other_versions_are_refused() {
        assert_eq!(IpPacket::parse(&[]), Err(IpError::Truncated));
        assert_eq!(IpPacket::parse(&[0x55; 40]), Err(IpError::Version));
        assert_eq!(IpPacket::parse(&[0x45; 10]), Err(IpError::Truncated));
    }
}

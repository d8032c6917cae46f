//! What an ICMP error is about: the packet that it quotes (RFC 4301 section 6).

use zerocopy::FromBytes;

use super::flow::seen_ports;
use super::ipv6::Ipv6Packet;
use super::{Fragment, IpPacket, Ipv4Header, Ipv6Header, protocol};
use crate::selector::Flow;

/// Bytes of an ICMP error before the packet that it quotes.
const HEADER: usize = 8;

/// The ends of the packet that an ICMP error quotes, as its sender sent it. `ip` is what `packet` was parsed to.
///
/// Errors are unreachable destinations, times exceeded and parameter problems; of IPv6, packets too big and every other
/// message below 128 too. A redirect is none: it changes routes. `None` for anything else, for a fragment, for a quotation
/// too short to have addresses, and for an error that does not go to the sender of what it quotes. Ports that are not
/// quoted are `None`. No checksum is verified.
pub fn quoted_flow(packet: &[u8], ip: &IpPacket) -> Option<Flow> {
    let kind = ip.flow.source_port? >> 8;
    let is_error = match ip.flow.protocol {
        protocol::ICMP => matches!(kind, 3 | 11 | 12),
        protocol::ICMPV6 => kind < 128,
        _ => false,
    };
    if !is_error || ip.fragment != Fragment::Whole {
        return None;
    }
    let quoted = packet.get(ip.upper.checked_add(HEADER)?..ip.len)?;
    let flow = if ip.is_ipv4() { quoted_v4(quoted) } else { quoted_v6(quoted) }?;
    (flow.source == ip.flow.destination).then_some(flow)
}

/// Its length field tells of more than is there.
fn quoted_v4(quoted: &[u8]) -> Option<Flow> {
    let (header, _) = Ipv4Header::ref_from_prefix(quoted).ok()?;
    let header_len = usize::from(header.version_ihl & 0x0f) << 2;
    if header.version_ihl >> 4 != 4 || header_len < Ipv4Header::LEN {
        return None;
    }
    let upper = quoted.get(header_len..).unwrap_or_default();
    let fragment = Fragment::new(header.fragment_offset(), header.more_fragments());
    let (source_port, destination_port) = seen_ports(fragment, header.protocol, upper);
    Some(Flow {
        source: header.source().into(),
        destination: header.destination().into(),
        protocol: header.protocol,
        source_port,
        destination_port,
    })
}

fn quoted_v6(quoted: &[u8]) -> Option<Flow> {
    let (header, payload) = Ipv6Header::ref_from_prefix(quoted).ok()?;
    if quoted.first()? >> 4 != 6 {
        return None;
    }
    let upper = Ipv6Packet { header, payload }.upper().ok()?;
    let fragment =
        upper.fragment.map_or(Fragment::Whole, |f| Fragment::new(f.offset(), f.more_fragments()));
    let (source_port, destination_port) = seen_ports(fragment, upper.protocol, upper.bytes);
    Some(Flow {
        source: header.source().into(),
        destination: header.destination().into(),
        protocol: upper.protocol,
        source_port,
        destination_port,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::vec::Vec;

    use zerocopy::IntoBytes;

    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
    const FAR: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 6);

    fn v4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = Ipv4Header::new(from, to, protocol, 0, 64, payload.len()).unwrap();
        [header.as_bytes(), payload].concat()
    }

    fn v6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
        let header = Ipv6Header::new(from, to, next, 0, 64, payload.len()).unwrap();
        [header.as_bytes(), payload].concat()
    }

    fn quoted(packet: &[u8]) -> Option<Flow> {
        quoted_flow(packet, &IpPacket::parse(packet).unwrap())
    }

    #[test]
    fn the_quoted_packet_is_seen_as_it_was_sent() {
        // RFC 4301 section 6.2
        let sent = v4(HOST, FAR, 17, &[4, 0, 0, 53, 0, 200, 0, 0, 1, 2, 3]);
        for (kind, is_error) in
            [(3, true), (11, true), (12, true), (0, false), (4, false), (5, false), (8, false)]
        {
            let error = [&[kind, 1, 0, 0, 0, 0, 0, 0][..], &sent[..28]].concat();
            let flow = quoted(&v4(ROUTER, HOST, 1, &error));
            let wanted = Flow {
                source: HOST.into(),
                destination: FAR.into(),
                protocol: 17,
                source_port: Some(1024),
                destination_port: Some(53),
            };
            assert_eq!(flow, is_error.then_some(wanted), "type {kind}");
            // It is not for somebody else.
            assert_eq!(quoted(&v4(ROUTER, FAR, 1, &error)), None);
            assert_eq!(quoted(&v4(ROUTER, HOST, 17, &error)), None);
        }
    }

    #[test]
    fn what_is_not_quoted_is_not_seen() {
        let sent = v4(HOST, FAR, 6, &[4, 0, 0, 53, 0, 0, 0, 0]);
        for len in 0..=sent.len() {
            let error = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &sent[..len]].concat();
            let flow = quoted(&v4(ROUTER, HOST, 1, &error));
            let ports = flow.map(|f| (f.source_port, f.destination_port));
            let wanted = match len {
                0..20 => None,
                20..24 => Some((None, None)),
                _ => Some((Some(1024), Some(53))),
            };
            assert_eq!(ports, wanted, "{len} bytes quoted");
        }
    }

    #[test]
    fn version_six_with_extension_headers() {
        let (host, far) = ("fd00::5".parse().unwrap(), "fd01::6".parse().unwrap());
        let sent = v6(host, far, 60, &[58, 0, 1, 4, 0, 0, 0, 0, 128, 0, 9, 9]);
        let router = "2001:db8::1".parse().unwrap();
        for (kind, is_error) in [(1, true), (2, true), (3, true), (4, true), (128, false)] {
            let error = [&[kind, 0, 0, 0, 0, 0, 5, 0][..], &sent].concat();
            let flow = quoted(&v6(router, host, 58, &error));
            assert_eq!(flow.is_some(), is_error, "type {kind}");
            if let Some(flow) = flow {
                assert_eq!((flow.source, flow.destination), (IpAddr::V6(host), IpAddr::V6(far)));
                assert_eq!((flow.protocol, flow.source_port), (58, Some(0x8000)));
            }
        }
    }
}

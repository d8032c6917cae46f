//! The message for a host whose packet is too long for the tunnel and must not be fragmented (RFC 4301 section 8.2).

use ipsec::ipsec_core::wire::{Checksum, Ipv4Header, Ipv6Header, protocol};
use zerocopy::IntoBytes;

/// Octets of the packet that are sent back: with the headers before it, what every IPv4 host accepts.
const QUOTE_V4: usize = 576 - Ipv4Header::LEN - 8;
/// As much as possible without exceeding the least MTU of IPv6.
const QUOTE_V6: usize = 1280 - Ipv6Header::LEN - 8;
const HOP_LIMIT: u8 = 64;

/// "Fragmentation Needed" (RFC 1191 section 4) or "Packet Too Big" (RFC 4443 section 3.2) for `packet`. `None` if it must
/// not be answered with an error.
///
/// It comes from where the packet wants to go: the kernel refuses what comes in with an address of its own.
pub(crate) fn too_big(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(mtu).ok()?.to_be_bytes();
    if packet.first()? >> 4 == 4 {
        let original = Ipv4Header::parse(packet).ok()?;
        let header = original.header;
        // RFC 1122 section 3.2.2: not for errors, and not for fragments but the first.
        let is_query = matches!(original.payload.first(), Some(0 | 8 | 13 | 14));
        if header.fragment_offset() != 0 || header.protocol == protocol::ICMP && !is_query {
            return None;
        }
        let (from, to) = (header.destination(), header.source());
        let mut icmp = vec![3, 4, 0, 0, 0, 0, high, low];
        icmp.extend(packet.iter().take(QUOTE_V4));
        set_checksum(&mut icmp, Checksum::new());
        let ip = Ipv4Header::new(from, to, protocol::ICMP, 0, HOP_LIMIT, icmp.len())?;
        Some([ip.as_bytes(), &icmp].concat())
    } else {
        let original = Ipv6Header::parse(packet).ok()?;
        let upper = original.upper().ok()?;
        // RFC 4443 section 2.4: not for errors.
        let is_query = upper.bytes.first().is_some_and(|kind| *kind >= 128);
        if upper.protocol == protocol::ICMPV6 && !is_query {
            return None;
        }
        let header = original.header;
        let (from, to) = (header.destination(), header.source());
        let mut icmp = vec![2, 0, 0, 0, 0, 0, high, low];
        icmp.extend(packet.iter().take(QUOTE_V6));
        let len = u32::try_from(icmp.len()).ok()?;
        set_checksum(&mut icmp, Checksum::new().pseudo_v6(from, to, protocol::ICMPV6, len));
        let ip = Ipv6Header::new(from, to, protocol::ICMPV6, 0, HOP_LIMIT, icmp.len())?;
        Some([ip.as_bytes(), &icmp].concat())
    }
}

fn set_checksum(icmp: &mut [u8], before: Checksum) {
    let sum = before.bytes(icmp).finish().to_be_bytes();
    for (field, byte) in icmp.iter_mut().skip(2).zip(sum) {
        *field = byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 9);
    const AWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 2, 9);

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = Ipv4Header::new(HOST, AWAY, protocol, 0, 64, payload.len()).unwrap();
        [header.as_bytes(), payload].concat()
    }

    /// RFC 1191 section 4.
    #[test]
    fn a_host_of_ipv4_is_told_the_mtu() {
        let packet = v4(protocol::TCP, &[7; 1400]);
        let answer = too_big(&packet, 1358).unwrap();
        let parsed = Ipv4Header::parse(&answer).unwrap();
        assert!(parsed.checksum_ok());
        assert_eq!((parsed.header.source(), parsed.header.destination()), (AWAY, HOST));
        assert_eq!(parsed.payload[..2], [3, 4]);
        assert_eq!(parsed.payload[6..8], 1358u16.to_be_bytes());
        assert_eq!(parsed.payload[8..], packet[..QUOTE_V4]);
        assert_eq!(Checksum::new().bytes(parsed.payload).finish(), 0);
    }

    /// RFC 4443 section 3.2.
    #[test]
    fn a_host_of_ipv6_is_told_the_mtu() {
        let (host, away) = ("fd01::9".parse().unwrap(), "fd02::9".parse().unwrap());
        let header = Ipv6Header::new(host, away, protocol::UDP, 0, 64, 1400).unwrap();
        let packet = [header.as_bytes(), &[7; 1400]].concat();
        let answer = too_big(&packet, 1338).unwrap();
        assert_eq!(answer.len(), 1280);
        let parsed = Ipv6Header::parse(&answer).unwrap();
        assert_eq!((parsed.header.source(), parsed.header.destination()), (away, host));
        assert_eq!(parsed.payload[..2], [2, 0]);
        assert_eq!(parsed.payload[4..8], 1338u32.to_be_bytes());
        let pseudo =
            Checksum::new().pseudo_v6(away, host, protocol::ICMPV6, parsed.payload.len() as u32);
        assert_eq!(pseudo.bytes(parsed.payload).finish(), 0);
    }

    /// RFC 1122 section 3.2.2 and RFC 4443 section 2.4.
    #[test]
    fn errors_are_not_answered_with_errors() {
        assert!(too_big(&v4(protocol::ICMP, &[8; 1400]), 1300).is_some());
        assert_eq!(too_big(&v4(protocol::ICMP, &[3; 1400]), 1300), None);
        let header =
            Ipv6Header::new(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, protocol::ICMPV6, 0, 64, 4);
        let packet = [header.unwrap().as_bytes(), &[1; 4]].concat();
        assert_eq!(too_big(&packet, 1300), None);
        assert_eq!(too_big(&[], 1300), None);
        assert_eq!(too_big(&[0x45; 10], 1300), None);
    }
}

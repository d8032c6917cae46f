//! "Packet too big": told to a host whose packet does not fit the tunnel, and believed from the network with care
//! (RFC 4301 section 8).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipsec_core::bytes::{self, Writer};
use ipsec_core::sa::Spi;
use ipsec_core::wire::{Checksum, Fragment, IpPacket, Ipv4Header, Ipv6Header, UdpHeader, protocol};
use zerocopy::IntoBytes;

/// An IPv4 error is at most this long (RFC 1812 section 4.3.2.3), and so is ours for a tunnel's sake.
const MAX_V4: usize = 576;
/// An IPv6 error is at most this long (RFC 4443 section 2.4).
const MAX_V6: usize = 1280;
/// Type and code of IPv4's "fragmentation needed" and of IPv6's "packet too big".
const TOO_BIG_V4: [u8; 2] = [3, 4];
const TOO_BIG_V6: [u8; 2] = [2, 0];
/// Bytes of an ICMP error before the packet that it is about.
const HEADER: usize = 8;
/// The smallest MTU that any link has (RFC 791, RFC 8200 section 5).
const MIN_V4: u16 = 68;
const MIN_V6: u16 = 1280;

/// Why no ICMP error was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum IcmpError {
    /// Peer: no error is sent about this packet (RFC 1122 section 3.2.2, RFC 4443 section 2.4): a fragment after the
    /// first, another ICMP error, or one with an address that is no host's.
    NotAnswered,
    /// Local: the packet is malformed, or of another family than the address to send from.
    Packet,
    /// Local: the buffer is too short.
    NoRoom,
}

impl core::fmt::Display for IcmpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotAnswered => "no ICMP error is sent about this packet",
            Self::Packet => "malformed packet, or another family than the sender's",
            Self::NoRoom => "buffer too short for an ICMP error",
        })
    }
}

impl core::error::Error for IcmpError {}

/// Writes to `out` a whole IP packet that tells the sender of `original` that only `mtu` bytes fit, from the address
/// `from` of ours. Gives its length: at most 576 bytes for IPv4, 1,280 for IPv6.
pub fn packet_too_big(
    original: &[u8],
    mtu: u16,
    from: IpAddr,
    out: &mut [u8],
) -> Result<usize, IcmpError> {
    let ip = IpPacket::parse(original).map_err(|_| IcmpError::Packet)?;
    if ip.fragment == Fragment::Later || !is_host(ip.flow.source) || is_icmp_error(&ip) {
        return Err(IcmpError::NotAnswered);
    }
    let original = original.get(..ip.len).ok_or(IcmpError::Packet)?;
    match (from, ip.flow.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => too_big_v4(original, mtu, from, to, out),
        (IpAddr::V6(from), IpAddr::V6(to)) => too_big_v6(original, mtu, from, to, out),
        _ => Err(IcmpError::Packet),
    }
}

fn too_big_v4(
    original: &[u8],
    mtu: u16,
    from: Ipv4Addr,
    to: Ipv4Addr,
    out: &mut [u8],
) -> Result<usize, IcmpError> {
    let quoted = quote(original, MAX_V4 - Ipv4Header::LEN - HEADER);
    let len = HEADER.saturating_add(quoted.len());
    let header = Ipv4Header::new(from, to, protocol::ICMP, 0, 64, len).ok_or(IcmpError::Packet)?;
    let mut head = [0; HEADER];
    error_head(&mut head, TOO_BIG_V4, u32::from(mtu));
    let sum = Checksum::new().bytes(&head).bytes(quoted).finish();
    write(header.as_bytes(), head, sum, quoted, out)
}

fn too_big_v6(
    original: &[u8],
    mtu: u16,
    from: Ipv6Addr,
    to: Ipv6Addr,
    out: &mut [u8],
) -> Result<usize, IcmpError> {
    let quoted = quote(original, MAX_V6 - Ipv6Header::LEN - HEADER);
    let len = HEADER.saturating_add(quoted.len());
    let header =
        Ipv6Header::new(from, to, protocol::ICMPV6, 0, 64, len).ok_or(IcmpError::Packet)?;
    let mut head = [0; HEADER];
    error_head(&mut head, TOO_BIG_V6, u32::from(mtu.max(MIN_V6)));
    let whole = u32::try_from(len).map_err(|_| IcmpError::Packet)?;
    let sum = Checksum::new()
        .pseudo_v6(from, to, protocol::ICMPV6, whole)
        .bytes(&head)
        .bytes(quoted)
        .finish();
    write(header.as_bytes(), head, sum, quoted, out)
}

fn quote(original: &[u8], most: usize) -> &[u8] {
    original.get(..most).unwrap_or(original)
}

fn error_head(head: &mut [u8; HEADER], [kind, code]: [u8; 2], mtu: u32) {
    let [a, b, c, d] = mtu.to_be_bytes();
    *head = [kind, code, 0, 0, a, b, c, d];
}

fn write(
    ip: &[u8],
    head: [u8; HEADER],
    sum: u16,
    quoted: &[u8],
    out: &mut [u8],
) -> Result<usize, IcmpError> {
    let [kind, code, _, _, mtu @ ..] = head;
    let mut w = Writer::new(out);
    w.bytes(ip)
        .and_then(|()| w.bytes(&[kind, code]))
        .and_then(|()| w.u16(sum))
        .and_then(|()| w.bytes(&mtu))
        .and_then(|()| w.bytes(quoted))
        .ok_or(IcmpError::NoRoom)?;
    Ok(w.len())
}

/// Errors are not sent about errors.
fn is_icmp_error(ip: &IpPacket) -> bool {
    let kind = ip.flow.source_port.map(|type_code| type_code >> 8);
    match ip.flow.protocol {
        // Of IPv4: unreachable, quench, redirect, time exceeded, parameter problem. One that cannot be seen may be one.
        protocol::ICMP => kind.is_none_or(|kind| matches!(kind, 3..=5 | 11 | 12)),
        protocol::ICMPV6 => kind.is_none_or(|kind| kind < 128 || kind == 137),
        _ => false,
    }
}

fn is_host(address: IpAddr) -> bool {
    let special = match address {
        IpAddr::V4(a) => a.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !(special || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

/// What an ICMP error from the unprotected network says of a packet that we sent.
///
/// Nobody vouches for it. RFC 4301 section 8.2.1: it may lower the path MTU of the SA that it names, after a check that
/// the SA is ours and sends there; never below the least MTU of the family, and it is to be forgotten after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// Our outer address.
    pub source: IpAddr,
    /// The peer's outer address.
    pub destination: IpAddr,
    /// The peer's SPI, in the quoted ESP or AH header.
    pub spi: Spi,
    /// The UDP ports, if the packet was encapsulated.
    pub ports: Option<(u16, u16)>,
    /// The low half of its sequence number, if so much is quoted.
    pub sequence: Option<u32>,
    /// The largest outer packet that fits, in bytes.
    pub mtu: u16,
}

impl TooBig {
    /// Reads an ICMP "packet too big" that quotes an ESP or AH packet of ours, encapsulated or not; `packet` is the whole
    /// IP packet. `None` for anything else, and for an MTU that no link has. A router of IPv4 that is older than RFC
    /// 1191 says 0; then the quoted packet's own length tells nothing certain, and the error is not believed.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let ip = IpPacket::parse(packet).ok()?;
        if ip.fragment != Fragment::Whole {
            return None;
        }
        let message = packet.get(ip.upper..ip.len)?;
        let sum = Checksum::new();
        let (sum, kind) = match (ip.flow.source, ip.flow.destination, ip.flow.protocol) {
            (IpAddr::V4(_), _, protocol::ICMP) => (sum, TOO_BIG_V4),
            (IpAddr::V6(a), IpAddr::V6(b), protocol::ICMPV6) => {
                let len = u32::try_from(message.len()).ok()?;
                (sum.pseudo_v6(a, b, protocol::ICMPV6, len), TOO_BIG_V6)
            }
            _ => return None,
        };
        if sum.bytes(message).finish() != 0 {
            return None;
        }
        let mut reader = bytes::Reader::new(message);
        (reader.array()? == kind).then_some(())?;
        let _checksum = reader.u16()?;
        let mtu = match ip.flow.source {
            IpAddr::V4(_) => {
                let _unused = reader.u16()?;
                reader.u16().filter(|mtu| *mtu >= MIN_V4)?
            }
            // A link that is larger than the field is no reason to send less.
            IpAddr::V6(_) => u16::try_from(reader.u32()?).ok().filter(|mtu| *mtu >= MIN_V6)?,
        };
        let (source, destination, next, rest) = quoted_header(reader.rest())?;
        let mut reader = bytes::Reader::new(rest);
        let ports = match next {
            protocol::ESP => None,
            protocol::AH => reader.take(4).map(|_| None)?,
            protocol::UDP => {
                let ports = (reader.u16()?, reader.u16()?);
                reader.take(UdpHeader::LEN.checked_sub(4)?)?;
                Some(ports)
            }
            _ => return None,
        };
        let spi = Spi::new(reader.u32()?)?;
        Some(Self { source, destination, spi, ports, sequence: reader.u32(), mtu })
    }
}

/// The header of a packet that is quoted in part: its length field tells more than is there.
fn quoted_header(quoted: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    let mut r = bytes::Reader::new(quoted);
    match quoted.first()? >> 4 {
        4 => {
            let header_len = usize::from(quoted.first()? & 0xf) * 4;
            r.take(9)?;
            let next = r.u8()?;
            let _checksum = r.u16()?;
            let (a, b) = (r.array::<4>()?, r.array::<4>()?);
            Some((a.into(), b.into(), next, quoted.get(header_len.max(Ipv4Header::LEN)..)?))
        }
        6 => {
            r.take(6)?;
            let next = r.u8()?;
            let _hop_limit = r.u8()?;
            let (a, b) = (r.array::<16>()?, r.array::<16>()?);
            Some((a.into(), b.into(), next, r.rest()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn v4(proto: u8, payload: &[u8]) -> Vec<u8> {
        let header = Ipv4Header::new(
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            proto,
            0,
            64,
            payload.len(),
        );
        [header.unwrap().as_bytes(), payload].concat()
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let (a, b) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let header = Ipv6Header::new(a, b, next, 0, 64, payload.len()).unwrap();
        [header.as_bytes(), payload].concat()
    }

    #[test]
    fn the_sender_is_told_and_understands() {
        let esp = [0xc0, 0, 0, 1, 0, 0, 0, 9].repeat(300);
        let mut out = [0; 1280];
        let len = packet_too_big(&v4(50, &esp), 1400, [10, 0, 0, 9].into(), &mut out).unwrap();
        assert_eq!(len, 576);
        let told = TooBig::parse(&out[..len]).unwrap();
        assert_eq!((told.spi.get(), told.mtu, told.ports), (0xc000_0001, 1400, None));
        assert_eq!(told.sequence, Some(9));
        assert_eq!(told.destination, IpAddr::from([10, 0, 0, 2]));

        let from = "fd00::9".parse().unwrap();
        let len = packet_too_big(&v6(50, &esp), 1400, from, &mut out).unwrap();
        assert_eq!(len, 1280);
        assert_eq!(TooBig::parse(&out[..len]).unwrap().mtu, 1400);
        // RFC 8200 section 5: no link has less.
        let len = packet_too_big(&v6(50, &esp), 1000, from, &mut out).unwrap();
        assert_eq!(TooBig::parse(&out[..len]).unwrap().mtu, 1280);
    }

    #[test]
    fn an_encapsulated_packet_is_recognised() {
        let udp = [0x11, 0x94, 0x11, 0x94, 0, 28, 0, 0, 0xc0, 0, 0, 7, 0, 0, 0, 1];
        let mut out = [0; 600];
        let len = packet_too_big(&v4(17, &udp), 1300, [10, 0, 0, 9].into(), &mut out).unwrap();
        let told = TooBig::parse(&out[..len]).unwrap();
        assert_eq!((told.spi.get(), told.ports), (0xc000_0007, Some((4500, 4500))));
    }

    #[test]
    fn no_error_about_errors_fragments_and_strange_senders() {
        let mut out = [0; 600];
        let mut told = |packet: &[u8]| packet_too_big(packet, 1300, [10, 0, 0, 9].into(), &mut out);
        assert_eq!(told(&v4(1, &[3, 4, 0, 0, 0, 0, 0, 0])), Err(IcmpError::NotAnswered));
        assert!(told(&v4(1, &[8, 0, 0, 0, 0, 0, 0, 0])).is_ok());
        let mut fragment = v4(17, &[0; 16]);
        fragment[7] = 1;
        assert_eq!(told(&fragment), Err(IcmpError::NotAnswered));
        for source in [[224, 0, 0, 1], [255; 4], [0; 4], [127, 0, 0, 1]] {
            let mut packet = v4(17, &[0; 16]);
            packet[12..16].copy_from_slice(&source);
            assert_eq!(told(&packet), Err(IcmpError::NotAnswered));
        }
        assert_eq!(told(&v6(17, &[0; 16])), Err(IcmpError::Packet));
        let small = &mut [0; 50];
        let refused = packet_too_big(&v4(17, &[0; 40]), 1300, [10, 0, 0, 9].into(), small);
        assert_eq!(refused, Err(IcmpError::NoRoom));
    }

    #[test]
    fn a_forged_or_cut_error_is_not_believed() {
        let esp = [0xc0, 0, 0, 1, 0, 0, 0, 9].repeat(4);
        let mut out = [0; 600];
        let len = packet_too_big(&v4(50, &esp), 1400, [10, 0, 0, 9].into(), &mut out).unwrap();
        let good = out[..len].to_vec();
        for cut in 0..len {
            assert_eq!(TooBig::parse(&good[..cut]), None);
        }
        for byte in Ipv4Header::LEN..len {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            assert_eq!(TooBig::parse(&bad), None, "byte {byte}");
        }
        let len = packet_too_big(&v4(50, &esp), 40, [10, 0, 0, 9].into(), &mut out).unwrap();
        assert_eq!(TooBig::parse(&out[..len]), None);
    }
}

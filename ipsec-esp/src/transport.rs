//! Transport mode: where the header of ESP or AH stands behind the packet's own IP header, how that header is
//! restored, and what a NAT makes of checksums (RFC 4303 section 3.1.1, RFC 3948 section 3.1.2).

use core::net::IpAddr;
use core::ops::Range;

use ipsec_core::bytes;
use ipsec_core::mode::AddressPair;
use ipsec_core::wire::{
    Checksum, Fragment, IpError, IpPacket, Ipv4Header, Ipv6Header, checksum, protocol,
};
use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use crate::wire::options::Extensions;

/// Where a packet is cut in two: headers that stay outside, and what is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Bytes of the headers that stay.
    pub(crate) header_len: usize,
    /// Where in them the protocol number of what follows stands.
    pub(crate) next_at: usize,
    /// That number.
    pub(crate) next: u8,
}

/// Where the protocol field of IPv4 stands.
const PROTOCOL_AT: usize = 9;
/// Where the next header field of IPv6 stands.
const NEXT_HEADER_AT: usize = 6;

/// Cuts a packet behind its IP header, options included; for IPv6, behind hop-by-hop options, routing and fragment
/// headers, with destination options that stand before one of them. Destination options behind these are for the last
/// destination, and are protected (RFC 4303 section 3.1.1).
///
/// # Errors
/// As for [`IpPacket::parse`].
pub(crate) fn split(packet: &[u8]) -> Result<Split, IpError> {
    if packet.first().is_some_and(|b| b >> 4 == 4) {
        let ip = Ipv4Header::parse(packet)?;
        let header_len = ip.header_len();
        return Ok(Split { header_len, next_at: PROTOCOL_AT, next: ip.header.protocol });
    }
    let header = Ipv6Header::parse(packet)?.header;
    let mut split =
        Split { header_len: Ipv6Header::LEN, next_at: NEXT_HEADER_AT, next: header.next_header };
    for extension in Extensions::new(packet)? {
        let extension = extension?;
        if extension.protocol != protocol::DESTINATION_OPTIONS {
            split.next_at = extension.range.start;
            split.header_len = extension.range.end;
            split.next = *packet.get(split.next_at).ok_or(IpError::Extension)?;
        }
    }
    Ok(split)
}

/// Makes the headers at the front of `packet`, `header_len` bytes, those of `payload_len` bytes of protocol `next`.
/// `None` if they are no such headers, or the packet would be longer than IP can carry.
pub(crate) fn patch(
    packet: &mut [u8],
    header_len: usize,
    next: u8,
    payload_len: usize,
) -> Option<()> {
    let next_at = next_at(packet, header_len)?;
    *packet.get_mut(next_at)? = next;
    if next_at == PROTOCOL_AT {
        let total_len = u16::try_from(header_len.checked_add(payload_len)?).ok()?;
        {
            let (header, _) = Ipv4Header::mut_from_prefix(packet).ok()?;
            header.total_len = U16::new(total_len);
            header.checksum = U16::ZERO;
        }
        let sum = Checksum::new().bytes(packet.get(..header_len)?).finish();
        let (header, _) = Ipv4Header::mut_from_prefix(packet).ok()?;
        header.checksum = U16::new(sum);
    } else {
        let behind = header_len.checked_sub(Ipv6Header::LEN)?.checked_add(payload_len)?;
        let (header, _) = Ipv6Header::mut_from_prefix(packet).ok()?;
        header.payload_len = U16::new(u16::try_from(behind).ok()?);
    }
    Some(())
}

/// Where in headers of `header_len` bytes the protocol number of what follows stands.
fn next_at(packet: &[u8], header_len: usize) -> Option<usize> {
    let [version_ihl, ..] = packet.get(..header_len)? else { return None };
    if version_ihl >> 4 == 4 {
        let matches = usize::from(version_ihl & 0x0f) << 2 == header_len;
        return (matches && header_len >= Ipv4Header::LEN).then_some(PROTOCOL_AT);
    }
    let mut next_at = NEXT_HEADER_AT;
    let mut end = Ipv6Header::LEN;
    let mut extensions = Extensions::new(packet).ok()?;
    while end < header_len {
        let extension = extensions.next()?.ok()?;
        next_at = extension.range.start;
        end = extension.range.end;
    }
    (end == header_len).then_some(next_at)
}

/// Moves the headers at the front of `packet`, `header_len` bytes, before `payload`, and gives the whole packet's
/// range. `None` if they are not headers, or overlap the payload.
pub(crate) fn restore(
    packet: &mut [u8],
    header_len: usize,
    payload: Range<usize>,
    next: u8,
) -> Option<Range<usize>> {
    let start = payload.start.checked_sub(header_len)?;
    // The lengths in the old header are those of the outer packet: they are used before the header moves.
    patch(packet, header_len, next, payload.len())?;
    bytes::move_within(packet, 0, start, header_len)?;
    Some(start..payload.end)
}

/// Where in a TCP header the checksum stands.
const TCP_CHECKSUM_AT: usize = 16;
/// Where in a UDP header the checksum stands.
const UDP_CHECKSUM_AT: usize = 6;

/// Mends the checksum of TCP or UDP after a NAT has changed addresses (RFC 3948 section 3.1.2).
///
/// Where the addresses that the peer used are known, the change is computed; what was wrong stays wrong. Otherwise UDP
/// over IPv4 goes without, and others are computed anew: the integrity check has vouched for the bytes.
pub(crate) fn mend_checksum(packet: &mut [u8], inner: &IpPacket, original: Option<AddressPair>) {
    if inner.fragment != Fragment::Whole {
        return;
    }
    let at = match inner.flow.protocol {
        protocol::TCP => TCP_CHECKSUM_AT,
        protocol::UDP => UDP_CHECKSUM_AT,
        _ => return,
    };
    let is_udp = inner.flow.protocol == protocol::UDP;
    let Some(upper) = packet.get_mut(inner.upper..inner.len) else { return };
    let Some(field) = upper.get(at..).and_then(|b| b.first_chunk()).copied() else { return };
    let field = u16::from_be_bytes(field);
    if is_udp && field == 0 {
        return;
    }
    let new = match original {
        Some(AddressPair { local, remote }) => {
            let changed = readdress(field, remote, inner.flow.source);
            readdress(changed, local, inner.flow.destination)
        }
        None if is_udp && inner.is_ipv4() => 0,
        None => {
            store(upper, at, 0);
            sum(inner, upper)
        }
    };
    // Zero would say that there is none, which is what was wanted only without addresses.
    let none = original.is_none() && inner.is_ipv4();
    store(upper, at, if is_udp && new == 0 && !none { u16::MAX } else { new });
}

fn store(upper: &mut [u8], at: usize, value: u16) {
    if let Some(field) = upper.get_mut(at..).and_then(|b| b.first_chunk_mut()) {
        *field = value.to_be_bytes();
    }
}

fn sum(inner: &IpPacket, upper: &[u8]) -> u16 {
    let (sum, protocol) = (Checksum::new(), inner.flow.protocol);
    let len = u16::try_from(upper.len()).unwrap_or(u16::MAX);
    let pseudo = match (inner.flow.source, inner.flow.destination) {
        (IpAddr::V4(a), IpAddr::V4(b)) => sum.pseudo_v4(a, b, protocol, len),
        (IpAddr::V6(a), IpAddr::V6(b)) => sum.pseudo_v6(a, b, protocol, len.into()),
        _ => sum,
    };
    pseudo.bytes(upper).finish()
}

/// The checksum `field` after an address that it covers changed.
fn readdress(field: u16, old: IpAddr, new: IpAddr) -> u16 {
    match (old, new) {
        (IpAddr::V4(old), IpAddr::V4(new)) => adjust(field, &old.octets(), &new.octets()),
        (IpAddr::V6(old), IpAddr::V6(new)) => adjust(field, &old.octets(), &new.octets()),
        _ => field,
    }
}

fn adjust(field: u16, old: &[u8], new: &[u8]) -> u16 {
    let (old, new) = (old.as_chunks::<2>().0, new.as_chunks::<2>().0);
    old.iter().zip(new).fold(field, |field, (old, new)| {
        checksum::adjust(field, u16::from_be_bytes(*old), u16::from_be_bytes(*new))
    })
}

//! The IP header as AH authenticates it: what routers may change is zero, what they will change foreseeably is as the
//! receiver will see it (RFC 4302 section 3.3.3.1, RFC 4302 appendix A).

use ipsec_core::bytes;
use ipsec_core::wire::{IpError, Ipv4Header, Ipv6Header, protocol};
use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use crate::wire::options::{self, Extensions, Route};

/// The longest headers before AH that can be authenticated: IPv4 has at most 60 bytes; of IPv6 this leaves 216 for
/// extension headers.
pub(crate) const MAX_HEADERS: usize = 256;

/// The headers of one packet, ready to be authenticated.
pub(crate) struct Immutable {
    bytes: [u8; MAX_HEADERS],
    len: usize,
}

impl Immutable {
    /// Of nothing.
    pub(crate) const EMPTY: Self = Self { bytes: [0; MAX_HEADERS], len: 0 };

    /// Of `packet`, whose AH begins at `ah_at`. A packet that `arrived` has no source route left: it is at its end.
    ///
    /// # Errors
    /// [`IpError`] if the headers are malformed, or longer than [`MAX_HEADERS`]; if a packet that arrived has segments
    /// left; if one that leaves has a routing header of a type whose route cannot be foretold.
    pub(crate) fn new(packet: &[u8], ah_at: usize, arrived: bool) -> Result<Self, IpError> {
        let headers = packet.get(..ah_at).ok_or(IpError::Truncated)?;
        let mut this = Self { bytes: [0; MAX_HEADERS], len: ah_at };
        bytes::copy_prefix(&mut this.bytes, headers).ok_or(IpError::Extension)?;
        let copy = this.bytes.get_mut(..ah_at).ok_or(IpError::Extension)?;
        if headers.first().is_some_and(|b| b >> 4 == 4) {
            mask_v4(copy, arrived)?;
        } else {
            mask_v6(packet, copy, arrived)?;
        }
        Ok(this)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Whether an option of IPv4 is authenticated as it is (RFC 4302 appendix A1). All others, unknown ones included, may
/// change and are zero as a whole.
const fn is_immutable(kind: u8) -> bool {
    matches!(
        kind,
        options::NOP
            | 130 // security (RFC 1108)
            | 133 // extended security (RFC 1108)
            | 134 // commercial security
            | 148 // router alert (RFC 2113)
            | 149 // sender-directed multi-destination delivery (RFC 1770)
    )
}

/// RFC 4302 section 3.3.3.1.1: TOS, flags and fragment offset, TTL, checksum and mutable options are zero.
fn mask_v4(copy: &mut [u8], arrived: bool) -> Result<(), IpError> {
    let (header, all) = Ipv4Header::mut_from_prefix(copy).map_err(|_| IpError::Truncated)?;
    header.tos = 0;
    header.flags_offset = U16::ZERO;
    header.ttl = 0;
    header.checksum = U16::ZERO;
    let mut destination = None;
    let mut before = [0; 40];
    let before = before.get_mut(..all.len()).ok_or(IpError::Length)?;
    bytes::copy(before, all).ok_or(IpError::Length)?;
    options::each_v4(before, |kind, range| {
        if !arrived
            && let Some(last) =
                options::last_hop(kind, before.get(range.clone()).unwrap_or_default())
        {
            destination = Some(last);
        }
        if !is_immutable(kind)
            && let Some(option) = all.get_mut(range)
        {
            option.fill(0);
        }
    })
    .ok_or(IpError::Length)?;
    if let Some(destination) = destination {
        header.set_destination(destination);
    }
    Ok(())
}

/// RFC 4302 section 3.3.3.1.2: traffic class, flow label and hop limit are zero, and so are the data of options that may
/// change en route; a route is as it will arrive.
fn mask_v6(packet: &[u8], copy: &mut [u8], arrived: bool) -> Result<(), IpError> {
    let (header, _) = Ipv6Header::mut_from_prefix(copy).map_err(|_| IpError::Truncated)?;
    header.set_traffic_class(0);
    header.set_flow_label(0);
    header.hop_limit = 0;
    for extension in Extensions::new(packet)? {
        let extension = extension?;
        let bytes = packet.get(extension.range.clone()).ok_or(IpError::Extension)?;
        if extension.range.end > copy.len() {
            break; // destination options behind AH
        }
        match extension.protocol {
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS => {
                let masked = copy.get_mut(extension.range).ok_or(IpError::Extension)?;
                options::each_v6(bytes, |kind, data| {
                    if kind & EN_ROUTE != 0
                        && let Some(data) = masked.get_mut(data)
                    {
                        data.fill(0);
                    }
                })
                .ok_or(IpError::Extension)?;
            }
            protocol::ROUTING => {
                if let Some(route) = Route::parse(bytes)? {
                    if arrived {
                        return Err(IpError::Extension);
                    }
                    let destination = Ipv6Header::parse(packet)?.header.destination().octets();
                    let masked = copy.get_mut(extension.range).ok_or(IpError::Extension)?;
                    let last = travel(&route, masked, destination).ok_or(IpError::Extension)?;
                    let (header, _) =
                        Ipv6Header::mut_from_prefix(copy).map_err(|_| IpError::Truncated)?;
                    header.set_destination(last.into());
                }
            }
            // AH covers whole packets: a fragment header before it is not of the packet that was sent.
            _ => return Err(IpError::Extension),
        }
    }
    Ok(())
}

/// The bit of an option type that says that its data may change en route (RFC 8200 section 4.2).
const EN_ROUTE: u8 = 0x20;

/// Makes of a routing header, whose packet is for `destination` now, what arrives at the end of the route. Gives the
/// last destination: each address still ahead changes places with the one before it (RFC 4302 section 3.3.3.1.2.3).
fn travel(route: &Route, header: &mut [u8], destination: [u8; 16]) -> Option<[u8; 16]> {
    *header.get_mut(3)? = 0;
    let addresses = header.get_mut(Route::ADDRESSES..)?.as_chunks_mut::<16>().0;
    let ahead = addresses.get_mut(route.addresses.checked_sub(route.left)?..route.addresses)?;
    let mut carried = destination;
    for address in ahead {
        core::mem::swap(address, &mut carried);
    }
    Some(carried)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn v4(options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0xb8, 0, 0, 0x12, 0x34, 0x40, 0, 64, 51, 0xab, 0xcd];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(options);
        packet[0] += u8::try_from(options.len() / 4).unwrap();
        let len = u8::try_from(packet.len()).unwrap();
        packet[3] = len;
        packet
    }

    fn masked(packet: &[u8], arrived: bool) -> Result<Vec<u8>, IpError> {
        Immutable::new(packet, packet.len(), arrived).map(|i| i.bytes().to_vec())
    }

    #[test]
    fn the_base_header_of_ipv4() {
        // RFC 4302 section 3.3.3.1.1.1
        let masked = masked(&v4(&[]), true).unwrap();
        assert_eq!(masked[..12], [0x45, 0, 0, 20, 0x12, 0x34, 0, 0, 0, 51, 0, 0]);
        assert_eq!(masked[12..], [10, 0, 0, 1, 10, 0, 0, 2]);
    }

    #[test]
    fn every_option_of_ipv4() {
        // RFC 4302 appendix A1
        for kind in 2..=255 {
            let option = [kind, 4, 0xaa, 0xbb];
            let masked = masked(&v4(&option), true).unwrap();
            let kept = [130, 133, 134, 148, 149].contains(&kind);
            assert_eq!(masked[20..], if kept { option } else { [0; 4] }, "{kind}");
        }
        // What follows the end of the list is padding.
        assert_eq!(
            masked(&v4(&[7, 3, 9, 1, 0, 5, 6, 7]), true).unwrap()[20..],
            [0, 0, 0, 1, 0, 5, 6, 7]
        );
    }

    #[test]
    fn a_source_route_is_as_it_will_arrive() {
        // RFC 4302 section 3.3.3.1.1.1
        let route = [131, 11, 4, 10, 0, 0, 8, 10, 0, 0, 9, 1];
        let sent = masked(&v4(&route), false).unwrap();
        assert_eq!(sent[16..20], [10, 0, 0, 9]);
        assert_eq!(sent[20..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(masked(&v4(&route), true).unwrap()[16..20], [10, 0, 0, 2]);
    }

    #[test]
    fn options_that_lie_are_refused() {
        for lie in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
            assert_eq!(masked(&v4(&lie), true), Err(IpError::Length), "{lie:?}");
        }
    }

    fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x6b, 0x81, 0x23, 0x45, 0, 0, next, 64];
        packet.extend([1; 16]);
        packet.extend([2; 16]);
        packet.extend(rest);
        packet[5] = u8::try_from(rest.len()).unwrap();
        packet
    }

    #[test]
    fn the_base_header_of_ipv6() {
        // RFC 4302 section 3.3.3.1.2.1
        let packet = v6(51, &[]);
        let masked = masked(&packet, true).unwrap();
        assert_eq!(masked[..8], [0x60, 0, 0, 0, 0, 0, 51, 0]);
        assert_eq!(masked[8..], packet[8..]);
    }

    #[test]
    fn options_of_ipv6_by_the_en_route_bit() {
        // RFC 4302 section 3.3.3.1.2.2
        for kind in 1..=255u8 {
            let packet = v6(0, &[51, 0, kind, 4, 1, 2, 3, 4]);
            let masked = masked(&packet, true).unwrap();
            let data = if kind & 0x20 != 0 { [0; 4] } else { [1, 2, 3, 4] };
            assert_eq!(masked[44..], data, "{kind}");
            assert_eq!(masked[40..44], packet[40..44]);
        }
        for lie in [[51, 0, 1, 5, 0, 0, 0, 0], [51, 1, 1, 4, 0, 0, 0, 0]] {
            assert_eq!(masked(&v6(0, &lie), true), Err(IpError::Extension));
        }
    }

    #[test]
    fn a_routing_header_is_as_it_will_arrive() {
        // RFC 4302 section 3.3.3.1.2.3, with the first of three hops behind us.
        let mut route = vec![51, 6, 0, 2, 0, 0, 0, 0];
        for hop in [0xa, 0xb, 0xc] {
            route.extend([hop; 16]);
        }
        let sent = masked(&v6(43, &route), false).unwrap();
        assert_eq!((&sent[24..40], sent[43]), (&[0xc; 16][..], 0));
        let hops: Vec<u8> = sent[48..].iter().step_by(16).copied().collect();
        assert_eq!(hops, [0xa, 2, 0xb]);
        assert_eq!(masked(&v6(43, &route), true), Err(IpError::Extension));
        route[3] = 0;
        assert_eq!(masked(&v6(43, &route), true).unwrap()[40..], route);
    }

    #[test]
    fn headers_that_are_too_long_or_no_headers_are_refused() {
        let long = [[60, 15].as_slice(), &[0; 126], &[51, 15], &[0; 126]].concat();
        let mut packet = v6(60, &long[..200]);
        packet[5] = 0;
        packet[4] = 1;
        packet.extend(&long[200..]);
        assert_eq!(masked(&packet, true), Err(IpError::Extension));
        assert_eq!(masked(&v6(44, &[51, 0, 0, 0, 0, 0, 0, 0]), true), Err(IpError::Extension));
        assert!(Immutable::new(&v4(&[]), 21, true).is_err());
        assert!(Immutable::new(&[0x45; 10], 10, true).is_err());
    }
}

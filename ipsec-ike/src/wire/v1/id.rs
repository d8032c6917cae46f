//! The identification payload (RFC 2407 section 4.6.2): who somebody is in phase 1, and what traffic is meant in phase 2.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipsec_core::bytes::{self, Reader};
use ipsec_core::selector::{AddressRange, PortRange, TrafficSelector};

use super::super::{self as wire, NoRoom};
use super::WireError;
use super::compose::MessageWriter;
use super::iana::{IdType, PayloadType};

/// An identification payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPayload<'a> {
    /// How to read [`IdPayload::data`].
    pub kind: IdType,
    /// The protocol of the traffic, 0 for any. In phase 1, 0 or that of UDP.
    pub protocol: u8,
    /// The port, 0 for any. In phase 1, 0 or that of IKE.
    pub port: u16,
    /// The identity. Addresses have the length of their type, a name is neither empty nor contains control characters.
    /// Any other length is possible: whoever copies it compares it with the room first.
    pub data: &'a [u8],
}

impl<'a> IdPayload<'a> {
    /// An identity to be sent in phase 1.
    pub const fn new(kind: IdType, data: &'a [u8]) -> Self {
        Self { kind, protocol: 0, port: 0, data }
    }

    /// Parses the body of a payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).filter(Self::is_sound).ok_or(WireError::Malformed(PayloadType::ID))
    }

    /// The first four bytes of the body: followed by [`IdPayload::data`] they are IDii_b or IDir_b (RFC 2409 section 5).
    pub const fn head(&self) -> [u8; 4] {
        let [high, low] = self.port.to_be_bytes();
        [self.kind.0, self.protocol, high, low]
    }

    /// The same as an identity of IKEv2, whose types of names and addresses have the same numbers; `None` for networks
    /// and ranges.
    pub const fn identity(&self) -> Option<wire::IdPayload<'a>> {
        match self.kind {
            IdType::IPV4_ADDR_SUBNET
            | IdType::IPV6_ADDR_SUBNET
            | IdType::IPV4_ADDR_RANGE
            | IdType::IPV6_ADDR_RANGE => None,
            kind => Some(wire::IdPayload::new(wire::IdType(kind.0), self.data)),
        }
    }

    /// Whether port and protocol are what they may be in phase 1: none, or those of IKE (RFC 2407 section 4.6.2;
    /// RFC 3947 section 4 for the floated port).
    pub const fn is_of_phase_1(&self) -> bool {
        matches!((self.protocol, self.port), (0, 0) | (17, 0 | 500 | 4500))
    }

    /// The traffic that is meant in phase 2; `None` for names, masks with holes, and ranges that end before they begin.
    pub fn selector(&self) -> Option<TrafficSelector> {
        let addresses = match self.kind {
            IdType::IPV4_ADDR => AddressRange::host(self.v4(0)?.into()),
            IdType::IPV6_ADDR => AddressRange::host(self.v6(0)?.into()),
            IdType::IPV4_ADDR_RANGE => AddressRange::new(self.v4(0)?.into(), self.v4(4)?.into())?,
            IdType::IPV6_ADDR_RANGE => AddressRange::new(self.v6(0)?.into(), self.v6(16)?.into())?,
            IdType::IPV4_ADDR_SUBNET => {
                let mask = self.v4(4)?.to_bits();
                (mask.leading_ones() == mask.count_ones()).then_some(())?;
                let prefix = u8::try_from(mask.count_ones()).ok()?;
                AddressRange::network(self.v4(0)?.into(), prefix)?
            }
            IdType::IPV6_ADDR_SUBNET => {
                let mask = self.v6(16)?.to_bits();
                (mask.leading_ones() == mask.count_ones()).then_some(())?;
                let prefix = u8::try_from(mask.count_ones()).ok()?;
                AddressRange::network(self.v6(0)?.into(), prefix)?
            }
            _ => return None,
        };
        let ports = if self.port == 0 { PortRange::ANY } else { PortRange::single(self.port) };
        Some(TrafficSelector { addresses, protocol: self.protocol, ports })
    }

    fn v4(&self, at: usize) -> Option<Ipv4Addr> {
        self.data.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
    }

    fn v6(&self, at: usize) -> Option<Ipv6Addr> {
        self.data.get(at..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let [kind, protocol] = r.array()?;
        let port = r.u16()?;
        Some(Self { kind: IdType(kind), protocol, port, data: r.rest() })
    }

    fn is_sound(&self) -> bool {
        match self.kind {
            IdType::IPV4_ADDR => self.data.len() == 4,
            IdType::IPV4_ADDR_SUBNET | IdType::IPV4_ADDR_RANGE => self.data.len() == 8,
            IdType::IPV6_ADDR => self.data.len() == 16,
            IdType::IPV6_ADDR_SUBNET | IdType::IPV6_ADDR_RANGE => self.data.len() == 32,
            IdType::FQDN | IdType::USER_FQDN => {
                !self.data.is_empty() && !self.data.iter().any(u8::is_ascii_control)
            }
            _ => true,
        }
    }
}

/// The identification of traffic in phase 2, in a buffer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectorId {
    kind: IdType,
    protocol: u8,
    port: u16,
    data: [u8; 32],
}

impl SelectorId {
    /// What names this traffic: an address, else a network, else a range. `None` where IKEv1 has no words for it: several
    /// ports that are not all ports, and the opaque port.
    pub fn of(selector: &TrafficSelector) -> Option<Self> {
        let TrafficSelector { addresses, protocol, ports } = *selector;
        let port = match ports {
            PortRange::ANY => 0,
            PortRange { start, end } if start == end && start != 0 => start,
            _ => return None,
        };
        let mut data = [0; 32];
        let kind = match (addresses.start(), addresses.end()) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                let host_bits = start.to_bits() ^ end.to_bits();
                let (kind, second) = match () {
                    () if host_bits == 0 => (IdType::IPV4_ADDR, 0),
                    () if is_network(start.to_bits().into(), host_bits.into()) => {
                        (IdType::IPV4_ADDR_SUBNET, !host_bits)
                    }
                    () => (IdType::IPV4_ADDR_RANGE, end.to_bits()),
                };
                bytes::copy_prefix(&mut data, &start.octets())?;
                bytes::copy(data.get_mut(4..8)?, &second.to_be_bytes())?;
                kind
            }
            (IpAddr::V6(start), IpAddr::V6(end)) => {
                let host_bits = start.to_bits() ^ end.to_bits();
                let (kind, second) = match () {
                    () if host_bits == 0 => (IdType::IPV6_ADDR, 0),
                    () if is_network(start.to_bits(), host_bits) => {
                        (IdType::IPV6_ADDR_SUBNET, !host_bits)
                    }
                    () => (IdType::IPV6_ADDR_RANGE, end.to_bits()),
                };
                bytes::copy_prefix(&mut data, &start.octets())?;
                bytes::copy(data.get_mut(16..)?, &second.to_be_bytes())?;
                kind
            }
            _ => return None,
        };
        Some(Self { kind, protocol, port, data })
    }

    /// The payload.
    pub fn payload(&self) -> IdPayload<'_> {
        let len = match self.kind {
            IdType::IPV4_ADDR => 4,
            IdType::IPV4_ADDR_SUBNET | IdType::IPV4_ADDR_RANGE => 8,
            IdType::IPV6_ADDR => 16,
            _ => 32,
        };
        let data = self.data.get(..len).unwrap_or_default();
        IdPayload { kind: self.kind, protocol: self.protocol, port: self.port, data }
    }
}

/// Whether all addresses that differ from `start` in these bits only, up to the one where all of them are set, are a
/// network.
const fn is_network(start: u128, host_bits: u128) -> bool {
    host_bits & host_bits.wrapping_add(1) == 0 && start & host_bits == 0
}

impl MessageWriter<'_> {
    /// Appends an identification payload.
    pub fn id(&mut self, id: &IdPayload<'_>) -> Result<(), NoRoom> {
        self.payload(PayloadType::ID, |w| {
            w.bytes(&id.head())?;
            w.bytes(id.data)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    fn v4(start: [u8; 4], end: [u8; 4], protocol: u8, ports: PortRange) -> TrafficSelector {
        let addresses = AddressRange::new(start.into(), end.into()).unwrap();
        TrafficSelector { addresses, protocol, ports }
    }

    fn v6(start: u128, end: u128) -> TrafficSelector {
        let (start, end) = (Ipv6Addr::from_bits(start), Ipv6Addr::from_bits(end));
        TrafficSelector::addresses(AddressRange::new(start.into(), end.into()).unwrap())
    }

    /// RFC 2407 section 4.6.2: type, protocol, port, data.
    #[test]
    fn selectors_survive_the_round_trip_in_the_shortest_form() {
        let any = PortRange::ANY;
        for (selector, body) in [
            (v4([10, 1, 0, 1], [10, 1, 0, 1], 0, any), &[1, 0, 0, 0, 10, 1, 0, 1][..]),
            (
                v4([10, 1, 0, 0], [10, 1, 0, 255], 6, PortRange::single(80)),
                &[4, 6, 0, 80, 10, 1, 0, 0, 255, 255, 255, 0],
            ),
            (v4([0; 4], [255; 4], 0, any), &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (v4([10, 1, 0, 1], [10, 1, 0, 2], 17, any), &[7, 17, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2]),
            (v4([10, 1, 0, 1], [10, 1, 0, 3], 0, any), &[7, 0, 0, 0, 10, 1, 0, 1, 10, 1, 0, 3]),
        ] {
            let id = SelectorId::of(&selector).unwrap();
            let sent = [&id.payload().head()[..], id.payload().data].concat();
            assert_eq!(sent, body);
            assert_eq!(IdPayload::parse(body).unwrap().selector(), Some(selector));
            assert_eq!(IdPayload::parse(body).unwrap(), id.payload());
        }
        for (selector, kind) in [
            (v6(1, 1), IdType::IPV6_ADDR),
            (v6(0x20 << 64, (0x21 << 64) - 1), IdType::IPV6_ADDR_SUBNET),
            (v6(0, u128::MAX), IdType::IPV6_ADDR_SUBNET),
            (v6(1, 9), IdType::IPV6_ADDR_RANGE),
        ] {
            let id = SelectorId::of(&selector).unwrap();
            assert_eq!((id.payload().kind, id.payload().selector()), (kind, Some(selector)));
        }
    }

    #[test]
    fn what_has_no_words() {
        let range = PortRange { start: 1, end: 2 };
        for ports in [range, PortRange::OPAQUE, PortRange::single(0)] {
            assert_eq!(SelectorId::of(&v4([10, 1, 0, 1], [10, 1, 0, 1], 6, ports)), None);
        }
    }

    #[test]
    fn no_selector_in_names_masks_with_holes_and_reversed_ranges() {
        for body in [
            &b"\x02\0\0\0moon"[..],
            &[4, 0, 0, 0, 10, 0, 0, 0, 255, 0, 255, 0],
            &[7, 0, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1],
        ] {
            assert_eq!(IdPayload::parse(body).unwrap().selector(), None);
        }
    }

    #[test]
    fn identities() {
        let id = IdPayload::parse(b"\x02\x11\x01\xf4moon").unwrap();
        assert_eq!(id.head(), [2, 17, 1, 244]);
        assert!(id.is_of_phase_1());
        let same = id.identity().unwrap();
        assert_eq!((same.kind, same.data), (wire::IdType::FQDN, &b"moon"[..]));
        assert!(!IdPayload::parse(b"\x02\x06\0\0moon").unwrap().is_of_phase_1());
        let network = IdPayload::parse(&[4, 0, 0, 0, 10, 0, 0, 0, 255, 0, 0, 0]).unwrap();
        assert_eq!(network.identity(), None);
    }

    /// An identity as long as a payload can be is lent, never copied.
    #[test]
    fn oversized_identity() {
        let mut body = [b'a'; 65_531];
        body[..4].copy_from_slice(&[11, 0, 0, 0]);
        assert_eq!(IdPayload::parse(&body).unwrap().data.len(), 65_527);
    }

    #[test]
    fn malformed_identities() {
        let long = |kind: u8, len: usize| [&[kind, 0, 0, 0][..], &[1].repeat(len)].concat();
        let mut bodies = Vec::from([
            Vec::new(),
            [1, 0, 0].to_vec(),
            b"\x02\0\0\0".to_vec(),
            b"\x03\0\0\0a\0".to_vec(),
        ]);
        for (kind, len) in [(1, 4), (4, 8), (7, 8), (5, 16), (6, 32), (8, 32)] {
            bodies.extend([long(kind, len - 1), long(kind, len + 1), long(kind, 0)]);
            assert!(IdPayload::parse(&long(kind, len)).is_ok());
        }
        for body in bodies {
            assert_eq!(
                IdPayload::parse(&body),
                Err(WireError::Malformed(PayloadType::ID)),
                "{body:?}"
            );
        }
    }
}

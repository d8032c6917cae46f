//! The traffic selector payloads TSi and TSr (RFC 7296 section 3.13).

use core::net::IpAddr;

use ipsec_core::bytes::{Reader, Writer};
use ipsec_core::selector::{AddressRange, PortRange, SelectorList, TrafficSelector};

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{PayloadType, TsType};

/// One selector of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A range of addresses.
    Known(TrafficSelector),
    /// A type that is not known here. An answer never repeats it, so a peer that insists on it can tell.
    Unknown(TsType),
}

/// A traffic selector payload: at least one selector, in the order of the sender's preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TsPayload<'a> {
    selectors: &'a [u8],
}

impl<'a> TsPayload<'a> {
    /// Parses the body of a payload of type `payload`, TSi or TSr. A range that ends before it starts is malformed,
    /// unless it is the OPAQUE range of ports.
    pub fn parse(payload: PayloadType, body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(payload))
    }

    /// The selectors, at least one.
    pub fn selectors(&self) -> impl Iterator<Item = Selector> + use<'a> {
        let mut r = Reader::new(self.selectors);
        core::iter::from_fn(move || read_selector(&mut r))
    }

    /// The selectors of known type; may be none.
    pub fn known(&self) -> impl Iterator<Item = TrafficSelector> + use<'a> {
        self.selectors().filter_map(|selector| match selector {
            Selector::Known(ts) => Some(ts),
            Selector::Unknown(_) => None,
        })
    }

    /// The selectors of known type as a list; `None` if there are more than
    /// [`MAX_SELECTORS`](ipsec_core::selector::MAX_SELECTORS).
    pub fn list(&self) -> Option<SelectorList> {
        let mut list = SelectorList::new();
        for ts in self.known() {
            list.push(ts).ok()?;
        }
        Some(list)
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let [count, _, _, _] = r.array()?;
        let selectors = r.rest();
        for _ in 0..count {
            read_selector(&mut r)?;
        }
        (count > 0 && r.is_empty()).then_some(Self { selectors })
    }
}

fn read_selector(r: &mut Reader<'_>) -> Option<Selector> {
    let [kind, protocol] = r.array()?;
    let len = usize::from(r.u16()?);
    let mut r = Reader::new(r.take(len.checked_sub(4)?)?);
    let kind = TsType(kind);
    if !matches!(kind, TsType::IPV4_ADDR_RANGE | TsType::IPV6_ADDR_RANGE) {
        return Some(Selector::Unknown(kind));
    }
    let ports = PortRange { start: r.u16()?, end: r.u16()? };
    let (start, end) = if kind == TsType::IPV4_ADDR_RANGE {
        (IpAddr::from(r.array::<4>()?), IpAddr::from(r.array::<4>()?))
    } else {
        (IpAddr::from(r.array::<16>()?), IpAddr::from(r.array::<16>()?))
    };
    let addresses = AddressRange::new(start, end)?;
    let sound = r.is_empty() && (ports.start <= ports.end || ports.is_opaque());
    sound.then_some(Selector::Known(TrafficSelector { addresses, protocol, ports }))
}

fn write_selector(w: &mut Writer<'_>, ts: &TrafficSelector) -> Option<()> {
    let (kind, len) = match ts.addresses {
        AddressRange::V4 { .. } => (TsType::IPV4_ADDR_RANGE, 16),
        AddressRange::V6 { .. } => (TsType::IPV6_ADDR_RANGE, 40),
    };
    w.bytes(&[kind.0, ts.protocol])?;
    w.u16(len)?;
    w.u16(ts.ports.start)?;
    w.u16(ts.ports.end)?;
    match ts.addresses {
        AddressRange::V4 { start, end } => {
            w.bytes(&start.octets())?;
            w.bytes(&end.octets())
        }
        AddressRange::V6 { start, end } => {
            w.bytes(&start.octets())?;
            w.bytes(&end.octets())
        }
    }
}

impl MessageWriter<'_> {
    /// Appends a traffic selector payload; `payload` is [`PayloadType::TSI`] or [`PayloadType::TSR`], and there is at
    /// least one selector.
    pub fn ts(
        &mut self,
        payload: PayloadType,
        selectors: &[TrafficSelector],
    ) -> Result<(), NoRoom> {
        self.payload(payload, |w| {
            w.bytes(&[u8::try_from(selectors.len()).ok()?, 0, 0, 0])?;
            selectors.iter().try_for_each(|ts| write_selector(w, ts))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipsec_core::selector::MAX_SELECTORS;

    extern crate std;
    use std::vec::Vec;

    /// TCP, ports 80 to 443, 10.0.0.0/24.
    const V4: [u8; 16] = [7, 6, 0, 16, 0, 80, 1, 187, 10, 0, 0, 0, 10, 0, 0, 255];

    fn parse(body: &[u8]) -> Result<TsPayload<'_>, WireError> {
        TsPayload::parse(PayloadType::TSI, body)
    }

    fn payload(count: u8, selectors: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::from([count, 0, 0, 0]);
        selectors.iter().for_each(|s| body.extend_from_slice(s));
        body
    }

    /// RFC 7296 section 3.13: a count, then selectors of either family.
    #[test]
    fn selectors_survive_the_round_trip() {
        let v6 = TrafficSelector::network("2001:db8::".parse().unwrap(), 32).unwrap();
        let opaque = TrafficSelector {
            protocol: 17,
            ports: PortRange::OPAQUE,
            ..TrafficSelector::network([192, 168, 1, 0].into(), 24).unwrap()
        };
        let mut buf = [0; 4 + 16 + 40];
        buf[0] = 2;
        let mut w = Writer::at(&mut buf, 4);
        write_selector(&mut w, &opaque).unwrap();
        write_selector(&mut w, &v6).unwrap();
        assert_eq!(parse(&buf).unwrap().list().unwrap(), [opaque, v6]);
    }

    /// RFC 7296 section 3.13.1: type, protocol, length, ports, addresses.
    #[test]
    fn the_fields_of_a_selector() {
        let body = payload(1, &[&V4]);
        let [ts] = parse(&body).unwrap().known().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!(ts.protocol, 6);
        assert_eq!(ts.ports, PortRange { start: 80, end: 443 });
        assert_eq!(ts, TrafficSelector { protocol: 6, ports: ts.ports, ..net([10, 0, 0, 0], 24) });
    }

    fn net(a: [u8; 4], prefix: u8) -> TrafficSelector {
        TrafficSelector::network(a.into(), prefix).unwrap()
    }

    #[test]
    fn an_unknown_type_is_reported_and_skipped() {
        let body = payload(2, &[&[10, 0, 0, 6, 1, 2], &V4]);
        let ts = parse(&body).unwrap();
        assert_eq!(ts.selectors().next(), Some(Selector::Unknown(TsType::SECLABEL)));
        assert_eq!((ts.selectors().count(), ts.known().count()), (2, 1));
    }

    #[test]
    fn more_selectors_than_a_list_holds() {
        for (count, fits) in [(MAX_SELECTORS, true), (MAX_SELECTORS + 1, false)] {
            let body = payload(u8::try_from(count).unwrap(), &[&V4[..]].repeat(count));
            let ts = parse(&body).unwrap();
            assert_eq!(ts.known().count(), count);
            assert_eq!(ts.list().is_some(), fits);
        }
    }

    #[test]
    fn counts_sizes_and_ranges_that_lie_are_malformed() {
        let patched = |at: usize, value: u8| {
            let mut ts = V4;
            ts[at] = value;
            ts
        };
        let mut ports = V4; // 80 to 79
        (ports[6], ports[7]) = (0, 79);
        for body in [
            Vec::new(),
            Vec::from([1, 0, 0]),
            payload(0, &[]),
            payload(0, &[&V4]),
            payload(1, &[]),
            payload(2, &[&V4]),
            payload(255, &[&V4]),
            payload(1, &[&V4, &V4]),
            payload(1, &[&V4[..15]]),
            payload(1, &[&patched(3, 0)]),
            payload(1, &[&patched(3, 3)]),
            payload(1, &[&patched(3, 4)]),
            payload(1, &[&patched(3, 15)]),
            payload(1, &[&patched(3, 17), &[0]]),
            payload(1, &[&patched(0, 8)]), // an IPv6 range of IPv4's size
            payload(1, &[&patched(12, 9)]), // ends at 9.0.0.255
            payload(1, &[&ports]),
        ] {
            assert_eq!(parse(&body), Err(WireError::Malformed(PayloadType::TSI)), "{body:?}");
        }
    }
}

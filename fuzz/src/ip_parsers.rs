//! Any bytes as an IP packet, as the payload of port 4500, as an identity, and as traffic selectors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipsec_core::address::AddressText;
use ipsec_core::bytes;
use ipsec_core::selector::{AddressRange, Flow, PortRange, Selectors, TrafficSelector};
use ipsec_core::wire::ipv6::MAX_EXTENSIONS;
use ipsec_core::wire::{Checksum, Fragment, IpPacket, Ipv4Header, Ipv6Header, UdpHeader, checksum};
use ipsec_esp::icmp::{TooBig, packet_too_big};
use ipsec_esp::mss::clamp_mss;
use ipsec_esp::wire::{UdpPayload, udp_encap};
use ipsec_esp::{padding, tunnel};
use ipsec_ike::identity::Identity;

use crate::input::Input;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 6 {
        0 | 1 => ip(input.rest()),
        2 => encapsulated(input.rest()),
        3 => text(input.rest()),
        4 => selectors(&mut input),
        _ => helpers(&mut input),
    }
}

fn ip(bytes: &[u8]) {
    if let Ok(packet) = Ipv4Header::parse(bytes) {
        assert!(packet.options.len() % 4 == 0 && packet.options.len() <= 40);
        assert!(packet.header_len() + packet.payload.len() <= bytes.len());
        let sum = Checksum::new().bytes(&bytes[..packet.header_len()]).finish();
        assert_eq!(packet.checksum_ok(), sum == 0);
    }
    if let Ok(packet) = Ipv6Header::parse(bytes) {
        let upper = packet.upper();
        if let Ok(upper) = upper {
            let skipped = packet.payload.len() - upper.bytes.len();
            assert!(packet.payload.ends_with(upper.bytes));
            assert!(skipped <= MAX_EXTENSIONS * 2048 && skipped % 8 == 0);
        }
    }
    let Ok(packet) = IpPacket::parse(bytes) else { return };
    assert!(packet.upper <= packet.len && packet.len <= bytes.len());
    assert_eq!(packet.is_ipv4(), packet.flow.destination.is_ipv4());
    // What is behind the packet does not count, and all of the packet does.
    assert_eq!(IpPacket::parse(&bytes[..packet.len]), Ok(packet));
    assert!(IpPacket::parse(&bytes[..packet.len - 1]).is_err());
    let Flow { source_port, destination_port, .. } = packet.flow;
    assert_eq!(source_port.is_some(), destination_port.is_some());
    if packet.fragment == Fragment::Later {
        assert_eq!(source_port, None);
    }
    assert_eq!(packet.flow.reversed().reversed(), packet.flow);
    let _ = packet.flow.to_string();
    if let Some((header, payload)) = UdpHeader::parse(&bytes[packet.upper..packet.len]) {
        assert_eq!(usize::from(header.len.get()), UdpHeader::LEN + payload.len());
    }
    icmp_and_mss(&bytes[..packet.len], &packet);
    // A packet is in the selectors made of it, and in none of its neighbour's.
    let end = |address, port: Option<u16>| TrafficSelector {
        addresses: AddressRange::host(address),
        protocol: packet.flow.protocol,
        ports: port.map_or(PortRange::OPAQUE, PortRange::single),
    };
    let own = Selectors::pair(
        end(packet.flow.source, source_port),
        end(packet.flow.destination, destination_port),
    );
    assert!(own.match_outbound(&packet.flow));
    assert!(own.match_inbound(&packet.flow.reversed()));
    assert_eq!(own.match_inbound(&packet.flow), packet.flow == packet.flow.reversed());
}

/// What a gateway tells and changes in passing.
fn icmp_and_mss(bytes: &[u8], packet: &IpPacket) {
    let told = TooBig::parse(bytes);
    assert!(told.is_none_or(|t| t.mtu >= 68));
    let mtu = 68 | u16::from(bytes[bytes.len() - 1]) << 3;
    let from = packet.flow.destination;
    let mut out = [0; 1300];
    if let Ok(len) = packet_too_big(bytes, mtu, from, &mut out) {
        let error = &out[..len];
        let parsed = IpPacket::parse(error).expect("an error is an IP packet");
        assert_eq!((parsed.flow.source, parsed.flow.destination), (from, packet.flow.source));
        assert_eq!(parsed.len, len);
        assert!(len <= if packet.is_ipv4() { 576 } else { 1280 });
        // Nobody answers an error with an error.
        assert!(packet_too_big(error, mtu, packet.flow.source, &mut [0; 1300]).is_err());
        if let Some(told) = TooBig::parse(error) {
            let least = if packet.is_ipv4() { mtu } else { mtu.max(1280) };
            assert_eq!((told.mtu, told.destination), (least, packet.flow.destination));
        }
    }
    for max in [0, 536, 1300] {
        let mut clamped = bytes.to_vec();
        let lowered = clamp_mss(&mut clamped, max);
        match lowered {
            Some(before) => {
                assert!(before > max);
                let sum = |bytes: &[u8]| Checksum::new().bytes(&bytes[packet.upper..]).finish();
                // Right or wrong, the sum is off by as much as before, but for the two zeros of this arithmetic.
                let (a, b) = (sum(bytes), sum(&clamped));
                assert!(a == b || [a, b].iter().all(|s| [0, 0xffff].contains(s)));
                assert_eq!(clamp_mss(&mut clamped, max), None);
            }
            None => assert_eq!(clamped, bytes),
        }
    }
}

fn encapsulated(payload: &[u8]) {
    let zeros = payload.iter().take(4).all(|b| *b == 0);
    let expected = match payload.len() {
        1 if payload == [0xff] => UdpPayload::Keepalive,
        0..=3 => UdpPayload::TooShort,
        _ if zeros => UdpPayload::Ike,
        _ => UdpPayload::Esp,
    };
    assert_eq!(udp_encap::classify(payload), expected);
}

fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let id = Identity::parse(text);
    let mut scratch = [0; 16];
    assert!(id.matches(&id.payload(&mut scratch)));
    // Addresses are those of the standard library, but for the zone of an IPv6 address, which it refuses, too.
    let address = match id {
        Identity::Ipv4(a) => Some(IpAddr::V4(a)),
        Identity::Ipv6(a) => Some(IpAddr::V6(a)),
        _ => None,
    };
    assert_eq!(address, text.parse().ok());
    let shown = id.to_string();
    if !shown.contains('\\') && shown.len() < 128 && !matches!(id, Identity::KeyId(_)) {
        let again = Identity::parse(&shown);
        assert!(again.matches(&id.payload(&mut scratch)), "{text:?} {shown:?}");
    }
}

fn address(input: &mut Input<'_>, v6: bool) -> IpAddr {
    // Few high bits, so that ranges meet.
    if v6 {
        let (high, low) = (u128::from(input.u8() & 3), u128::from(input.u16()));
        IpAddr::V6(Ipv6Addr::from_bits(high << 120 | low))
    } else {
        let (high, low) = (u32::from(input.u8() & 3), u32::from(input.u16()));
        IpAddr::V4(Ipv4Addr::from_bits(high << 24 | low))
    }
}

/// A traffic selector, often enough one that others have something in common with.
pub(crate) fn traffic_selector(input: &mut Input<'_>) -> TrafficSelector {
    let kind = input.u8();
    let v6 = kind & 1 != 0;
    let addresses = if kind & 2 != 0 {
        AddressRange::network(address(input, v6), input.u8() % 40)
    } else {
        AddressRange::new(address(input, v6), address(input, v6))
    };
    let addresses =
        addresses.unwrap_or(if v6 { AddressRange::ANY_V6 } else { AddressRange::ANY_V4 });
    let ports = match kind >> 2 & 3 {
        0 => PortRange::OPAQUE,
        1 => PortRange::single(input.u16()),
        2 => {
            let (a, b) = (input.u16(), input.u16());
            PortRange { start: a.min(b), end: a.max(b) }
        }
        _ => PortRange::ANY,
    };
    TrafficSelector { addresses, protocol: [0, 6, 17, 1][usize::from(kind >> 4 & 3)], ports }
}

/// A flow, often enough one that a selector is for.
pub(crate) fn flow(input: &mut Input<'_>) -> Flow {
    let kind = input.u8();
    let v6 = kind & 1 != 0;
    let port = |input: &mut Input<'_>| (kind & 2 != 0).then(|| input.u16());
    Flow {
        source: address(input, v6),
        destination: address(input, v6),
        protocol: [6, 17, 1, 47][usize::from(kind >> 4 & 3)],
        source_port: port(input),
        destination_port: port(input),
    }
}

fn selectors(input: &mut Input<'_>) {
    let (a, b) = (traffic_selector(input), traffic_selector(input));
    let both = a.intersection(&b);
    assert_eq!(both, b.intersection(&a));
    assert_eq!(a.intersection(&a), Some(a));
    if let Some(both) = both {
        assert!(a.covers(&both) && b.covers(&both), "{a} {b} {both}");
    }
    if a.covers(&b) {
        assert_eq!(both, Some(b));
    }
    for _ in 0..4 {
        let Flow { source, protocol, source_port, .. } = flow(input);
        let inside = |ts: &TrafficSelector| ts.contains(source, protocol, source_port);
        let expected = inside(&a) && inside(&b);
        assert_eq!(both.as_ref().is_some_and(inside), expected, "{a} {b} {source} {source_port:?}");
        assert!(!a.covers(&b) || !inside(&b) || inside(&a));
    }
    let _ = (a.to_string(), b.to_string());
    for address in [a.addresses.start(), b.addresses.end()] {
        assert_eq!(AddressText(address).to_string(), address.to_string());
    }
}

fn helpers(input: &mut Input<'_>) {
    let (from, to, len) = (input.u8().into(), input.u8().into(), input.u8().into());
    let align = 4 << (input.u8() % 3);
    let (field, new) = (input.u16(), input.u16());
    let (inner, outer) = (input.u8(), input.u8());
    let bytes = input.rest();

    let mut ours = bytes.to_vec();
    let mut theirs = bytes.to_vec();
    let fits = |at: usize| at + len <= bytes.len();
    assert_eq!(bytes::move_within(&mut ours, from, to, len).is_some(), fits(from) && fits(to));
    if fits(from) && fits(to) {
        theirs.copy_within(from..from + len, to);
    }
    assert_eq!(ours, theirs);

    let mut padded = bytes.to_vec();
    padded.resize(bytes.len() + padding::trailer_len(bytes.len(), align), 0);
    assert!(padded.len().is_multiple_of(align));
    padding::write(&mut padded[bytes.len()..], 41).unwrap();
    assert_eq!(padding::strip(&padded), Some((bytes.len(), 41)));
    if let Some((payload, next)) = padding::strip(bytes) {
        let mut again = bytes[..payload].to_vec();
        again.resize(bytes.len(), 0);
        padding::write(&mut again[payload..], next).unwrap();
        assert_eq!(again, bytes);
    }

    // RFC 1624: a mended sum is that of the changed bytes.
    let (even, _) = bytes.split_at(bytes.len() & !1);
    let before = Checksum::new().u16(field).bytes(even).finish();
    let after = Checksum::new().u16(new).bytes(even).finish();
    let mended = checksum::adjust(before, field, new);
    assert!(mended == after || (mended ^ after == 0xffff && [0, 0xffff].contains(&after)));
    // In parts it is the same.
    let cut = from.min(bytes.len());
    let parts = Checksum::new().bytes(&bytes[..cut]).bytes(&bytes[cut..]).finish();
    assert_eq!(parts, Checksum::new().bytes(bytes).finish());

    let (before, outer) = (tunnel::Ecn::of(inner), tunnel::Ecn::of(outer));
    if let tunnel::Decapsulated::Forward { ecn, .. } = tunnel::decapsulate_ecn(before, outer) {
        // Congestion is never forgotten (RFC 6040 section 4.2).
        assert!(![before, outer].contains(&tunnel::Ecn::Ce) || ecn == tunnel::Ecn::Ce);
    }
}

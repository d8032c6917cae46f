//! The way out through the policy database, and what may come out of an SA.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Memory, NOW, Setup, ip_packet, seal_copy, v4_packet, v6_packet};
use ipsec_core::crypto::Suite;
use ipsec_core::packet::PacketBuf;
use ipsec_core::selector::{DscpSet, PortRange, Selectors, TrafficSelector};
use ipsec_core::spd::{Action, Policy, Spd};
use ipsec_core::wire::{IpPacket, Ipv4Header, Ipv6Header, icmp};
use ipsec_esp::{Inbound, OpenError, Outbound, SealError, inbound_ip, outbound};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::toy::Toy;
use zerocopy::IntoBytes;

fn net(third: u8) -> TrafficSelector {
    TrafficSelector::network([192, 168, third, 0].into(), 24).unwrap()
}

#[test]
fn each_action_has_its_outcome() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let mut slots = [const { Policy::EMPTY }; 4];
    let mut spd = Spd::new(&mut slots);
    for (to, action) in [
        (2, Action::Protect(5)),
        (3, Action::Protect(6)),
        (4, Action::Bypass),
        (5, Action::Discard),
    ] {
        spd.push(Policy::new(Selectors::pair(net(1), net(to)), action)).unwrap();
    }
    let mut send = |inner: &[u8]| {
        let mut buf = vec![0; 300];
        buf[100..100 + inner.len()].copy_from_slice(inner);
        let mut packet = PacketBuf::new(&mut buf, 100..100 + inner.len()).unwrap();
        let result = outbound(&mut sad, &mut spd, NOW, &mut packet, |tag, flow| {
            assert_eq!(flow.source_port, Some(1111));
            (tag == 5).then_some(id)
        });
        (result, packet.payload().to_vec())
    };
    let to = |third: u8| ip_packet([192, 168, 1, 5].into(), [192, 168, third, 6].into(), 0, 60);

    let (sealed, packet) = send(&v4_packet(60));
    assert!(matches!(sealed, Ok(Outbound::Sealed(s)) if s.sequence == 1));
    assert!(packet.len() > 60);
    for third in 3..7 {
        let (result, packet) = send(&to(third));
        match (third, result.unwrap()) {
            (3, Outbound::NoSa { tag: 6, .. })
            | (4, Outbound::Bypass(_))
            | (5 | 6, Outbound::Discard(_)) => {}
            (_, other) => panic!("{third}: {other:?}"),
        }
        assert_eq!(packet, to(third), "left alone");
    }
    assert!(matches!(send(&[0x45; 8]).0, Err(SealError::Inner(_))));
}

#[test]
fn policies_of_one_dscp_and_fragments_without_ports_are_told_apart() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<Toy>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let mut slots = [const { Policy::EMPTY }; 4];
    let mut spd = Spd::new(&mut slots);
    let telephone = Policy {
        dscp: DscpSet::of(&[46]),
        ..Policy::new(Selectors::pair(net(1), net(2)), Action::Protect(7))
    };
    let dns = TrafficSelector { protocol: 17, ports: PortRange::single(53), ..net(3) };
    for policy in [
        telephone,
        Policy::new(Selectors::pair(net(1), net(2)), Action::Protect(8)),
        Policy::new(Selectors::pair(net(1), dns), Action::Protect(9)),
        Policy::new(Selectors::pair(net(1), net(3)), Action::Bypass),
    ] {
        spd.push(policy).unwrap();
    }
    let mut send = |inner: &[u8]| {
        let mut buf = vec![0; 300];
        buf[100..100 + inner.len()].copy_from_slice(inner);
        let mut packet = PacketBuf::new(&mut buf, 100..100 + inner.len()).unwrap();
        let mut chosen = None;
        let result = outbound(&mut sad, &mut spd, NOW, &mut packet, |tag, _| {
            chosen = Some(tag);
            Some(id)
        });
        (result.unwrap(), chosen)
    };
    let to =
        |third: u8, tos| ip_packet([192, 168, 1, 5].into(), [192, 168, third, 6].into(), tos, 60);
    // RFC 4301 section 4.1: SAs with equal selectors, each for its classes.
    assert_eq!(send(&to(2, 46 << 2)).1, Some(7));
    assert_eq!(send(&to(2, 0)).1, Some(8));

    // RFC 4301 section 7: what could be DNS must not pass in clear.
    let mut later = to(3, 0);
    assert!(matches!(send(&later).0, Outbound::Bypass(_)));
    later[6..8].copy_from_slice(&[0, 10]);
    assert!(matches!(send(&later), (Outbound::Discard(_), None)));
}

/// What comes out at the other end of an SA with these selectors, which are the sender's.
fn through(selectors: &Selectors, packet: &[u8]) -> Result<Vec<u8>, OpenError> {
    let setup = Setup { selectors: selectors.clone(), ..Setup::new(Suite::AES_128_GCM) };
    let (mut a, mut b) = (Memory::<Toy>::new(1), Memory::<Toy>::new(1));
    let (mut sender, mut receiver) = (a.sad(), b.sad());
    let out = setup.install_outbound(&mut sender);
    setup.install_inbound(&mut receiver);
    let (_, mut outer) = seal_copy(&mut sender, out, packet).unwrap();
    match inbound_ip(&mut receiver, NOW, &mut outer)? {
        Inbound::Packet { packet, .. } => Ok(packet.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// An ICMP error of this type from a router that nobody's policy knows, about `packet`, to `to` or its sender.
fn icmp_error(kind: u8, packet: &[u8], to: Option<std::net::IpAddr>) -> Vec<u8> {
    let parsed = IpPacket::parse(packet).unwrap();
    let quoted = &packet[..packet.len().min(48)];
    let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], quoted].concat();
    match to.unwrap_or(parsed.flow.source) {
        std::net::IpAddr::V4(to) => {
            let from = [172, 31, 0, 1].into();
            let header = Ipv4Header::new(from, to, 1, 0, 60, message.len()).unwrap();
            [header.as_bytes(), &message].concat()
        }
        std::net::IpAddr::V6(to) => {
            let from = "2001:db8:ffff::1".parse().unwrap();
            let header = Ipv6Header::new(from, to, 58, 0, 60, message.len()).unwrap();
            [header.as_bytes(), &message].concat()
        }
    }
}

#[test]
fn an_icmp_error_is_judged_by_what_it_quotes() {
    // RFC 4301 section 6.2
    let udp = |ts: TrafficSelector| TrafficSelector { protocol: 17, ..ts };
    let v6 = |text: &str| TrafficSelector::network(text.parse().unwrap(), 16).unwrap();
    // The sender of the error stands for the destination of what it quotes.
    let for_v4 = Selectors::pair(udp(net(2)), udp(net(1)));
    let for_v6 = Selectors::pair(udp(v6("fd02::")), udp(v6("fd01::")));
    for (selectors, packet, types) in
        [(&for_v4, v4_packet(80), [3, 11, 12]), (&for_v6, v6_packet(80), [1, 2, 3])]
    {
        for kind in types {
            let error = icmp_error(kind, &packet, None);
            assert_eq!(through(selectors, &error), Ok(error));
        }
    }
    let refused = |packet: &[u8]| matches!(through(&for_v4, packet), Err(OpenError::Selectors(..)));
    // Of a conversation with somebody else.
    let elsewhere = ip_packet([192, 168, 1, 5].into(), [192, 168, 3, 6].into(), 0, 80);
    assert!(refused(&icmp_error(3, &elsewhere, None)));
    // Of what the other side sent itself.
    let theirs = ip_packet([192, 168, 2, 6].into(), [192, 168, 1, 5].into(), 0, 80);
    assert!(refused(&icmp_error(3, &theirs, None)));
    assert!(refused(&icmp_error(3, &theirs, Some([192, 168, 1, 5].into()))));
    // To another host than the one that sent it.
    assert!(refused(&icmp_error(3, &v4_packet(80), Some([192, 168, 1, 77].into()))));
    // No error.
    for kind in [0, 5, 8, 13] {
        assert!(refused(&icmp_error(kind, &v4_packet(80), None)), "type {kind}");
    }
    // Of another protocol than the SA carries.
    let mut tcp = v4_packet(80);
    tcp[9] = 6;
    assert!(refused(&icmp_error(3, &tcp, None)));
    // An SA that is for the error itself carries it, whatever it quotes: so says the policy.
    let all = Selectors::pair(TrafficSelector::ANY_V4, TrafficSelector::ANY_V4);
    let error = icmp_error(3, &elsewhere, None);
    assert_eq!(through(&all, &error), Ok(error));
}

#[test]
fn an_icmp_error_goes_out_where_its_cause_came_in() {
    // RFC 4301 section 6.2: what the sender of an error does to find the SA.
    let error = icmp_error(3, &v4_packet(80), None);
    let flow = icmp::quoted_flow(&error, &IpPacket::parse(&error).unwrap()).unwrap().reversed();
    let carries = Selectors::pair(net(2), net(1));
    assert!(carries.match_outbound(&flow));
    assert!(!carries.match_outbound(&IpPacket::parse(&error).unwrap().flow));
}

#[test]
fn fragments_are_carried_by_any_or_opaque_ports() {
    // RFC 4301 section 7.1, RFC 4301 section 7.2
    let sa = |ports| {
        let end = |third| TrafficSelector { protocol: 17, ports, ..net(third) };
        Selectors::pair(end(1), end(2))
    };
    let one = {
        let end = |third, port| TrafficSelector {
            protocol: 17,
            ports: PortRange::single(port),
            ..net(third)
        };
        Selectors::pair(end(1, 1111), end(2, 2222))
    };
    let fragment = |flags_offset: u16| {
        let mut packet = v4_packet(60);
        packet[6..8].copy_from_slice(&flags_offset.to_be_bytes());
        packet
    };
    for (selectors, whole, first, later) in [
        (sa(PortRange::ANY), true, true, true),
        (sa(PortRange::OPAQUE), false, false, true),
        (one, true, true, false),
    ] {
        let passes = |packet: &[u8]| through(&selectors, packet).is_ok();
        assert_eq!(passes(&fragment(0)), whole, "{selectors:?}");
        assert_eq!(passes(&fragment(0x2000)), first, "{selectors:?}");
        assert_eq!(passes(&fragment(0x2005)), later, "{selectors:?}");
        assert_eq!(passes(&fragment(0x0005)), later, "{selectors:?}");
    }
}

//! What one end seals, the other opens: every suite, both IP versions inside and outside, with and without UDP.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{
    Memory, NOW, Setup, ip_packet, reversed, seal_copy, udp6_checksum_ok, v4_packet, v4_path,
    v6_packet, v6_path,
};
use ipsec_core::crypto::{Encr, Provider, Suite};
use ipsec_core::sa::Encapsulation;
use ipsec_core::wire::{Ipv4Header, Ipv6Header, UdpHeader};
use ipsec_esp::{Inbound, OpenError, Overhead, inbound_ip, inbound_udp, open};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::toy::Toy;

fn setups(suite: Suite) -> impl Iterator<Item = Setup> {
    let plain = Setup::new(suite);
    let paths = [
        (Encapsulation::Ip, v4_path(0, 0)),
        (Encapsulation::Ip, v6_path(0, 0)),
        (Encapsulation::Udp, v4_path(4500, 4500)),
        (Encapsulation::Udp, v6_path(4500, 4500)),
    ];
    paths.into_iter().flat_map(move |(encapsulation, path)| {
        let plain = plain.clone();
        [false, true].map(move |esn| Setup { encapsulation, path, esn, ..plain.clone() })
    })
}

fn every_suite<P: Provider>() {
    for setup in P::SUITES.iter().flat_map(|suite| setups(*suite)) {
        let lens = if setup.esn { 48..66 } else { 48..52 };
        let (mut a, mut b) = (Memory::<P>::new(1), Memory::<P>::new(1));
        let (mut sender, mut receiver) = (a.sad(), b.sad());
        let out = setup.install_outbound(&mut sender);
        let id = setup.install_inbound(&mut receiver);
        let overhead = Overhead::of(&sender.outbound(out).unwrap().protection);
        let mut sequence = 0;
        for len in lens {
            for inner in [v4_packet(len), v6_packet(len)] {
                let (sealed, mut outer) = seal_copy(&mut sender, out, &inner).unwrap();
                sequence += 1;
                assert_eq!((sealed.sequence, sealed.spi.get()), (sequence, setup.spi));
                assert_eq!(outer.len(), overhead.sealed_len(len), "{}", setup.suite);
                let clear = outer.windows(16).any(|w| inner.windows(16).any(|v| v == w));
                let encrypts = ![Encr::NULL, Encr::NULL_AES_GMAC].contains(&setup.suite.encr);
                assert_eq!(clear, !encrypts, "{}", setup.suite);
                let Inbound::Packet { opened, packet } =
                    inbound_ip(&mut receiver, NOW, &mut outer).unwrap()
                else {
                    panic!("not ESP")
                };
                assert_eq!(packet, inner, "{} {len}", setup.suite);
                assert_eq!((opened.id, opened.tag, opened.sequence), (id, 7, sequence));
            }
        }
        let usage = receiver.inbound(id).unwrap().protection.usage;
        assert_eq!(usage.packets, sequence);
        assert_eq!(usage, sender.outbound(out).unwrap().protection.usage);
    }
}

#[test]
fn every_suite_of_rustcrypto() {
    every_suite::<RustCrypto>();
}

#[test]
fn every_suite_of_the_toy_provider() {
    every_suite::<Toy>();
}

/// The outer packet of one sealed `inner`, and what the sender said of it.
fn sealed_by(setup: &Setup, inner: &[u8]) -> (ipsec_esp::Sealed, Vec<u8>) {
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    seal_copy(&mut sad, id, inner).unwrap()
}

#[test]
fn the_outer_ipv4_header() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let inner = ip_packet([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 0xba, 60);
    let (sealed, outer) = sealed_by(&setup, &inner);
    let ip = Ipv4Header::parse(&outer).unwrap();
    assert!(ip.checksum_ok());
    assert_eq!((ip.header.protocol, ip.header.ttl, ip.header.id.get()), (50, 64, 0));
    // RFC 6040 section 4.1: ECN is copied. RFC 4301 section 5.1.2: so is DSCP by default.
    assert_eq!((ip.header.tos, sealed.outer.traffic_class), (0xba, 0xba));
    assert!(ip.header.dont_fragment() && sealed.outer.dont_fragment);
    assert_eq!((ip.payload.len(), sealed.esp.clone()), (outer.len() - 20, 20..outer.len()));
    assert_eq!(ip.payload[..8], [0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1]);
}

#[test]
fn dont_fragment_is_copied() {
    // RFC 4301 section 8.1
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut inner = v4_packet(60);
    let (mut header, _) = zerocopy::FromBytes::read_from_prefix(&inner).unwrap();
    header = Ipv4Header::fragmentable(header, 99);
    inner[..20].copy_from_slice(zerocopy::IntoBytes::as_bytes(&header));
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    for expected in 1..4 {
        let (sealed, outer) = seal_copy(&mut sad, id, &inner).unwrap();
        let ip = Ipv4Header::parse(&outer).unwrap();
        assert!(ip.checksum_ok() && !ip.header.dont_fragment() && !sealed.outer.dont_fragment);
        assert_eq!(ip.header.id.get(), expected);
    }
    let (_, outer) = seal_copy(&mut sad, id, &v6_packet(60)).unwrap();
    assert!(Ipv4Header::parse(&outer).unwrap().header.dont_fragment());
}

#[test]
fn the_outer_ipv6_header() {
    let setup = Setup { path: v6_path(0, 0), ..Setup::new(Suite::CHACHA20_POLY1305) };
    let inner = ip_packet("fd01::1".parse().unwrap(), "fd01::2".parse().unwrap(), 0x2d, 80);
    let (sealed, outer) = sealed_by(&setup, &inner);
    let ip = Ipv6Header::parse(&outer).unwrap();
    assert_eq!((ip.header.next_header, ip.header.hop_limit), (50, 64));
    assert_eq!((ip.header.traffic_class(), ip.header.flow_label()), (0x2d, 0));
    assert_eq!(sealed.esp, 40..outer.len());
}

#[test]
fn udp_encapsulation() {
    // RFC 3948 section 2.1
    let base = Setup::new(Suite::AES_128_GCM);
    let v4 = Setup { encapsulation: Encapsulation::Udp, path: v4_path(4500, 61_000), ..base };
    let (sealed, outer) = sealed_by(&v4, &v4_packet(60));
    let ip = Ipv4Header::parse(&outer).unwrap();
    let (udp, esp) = UdpHeader::parse(ip.payload).unwrap();
    assert_eq!((ip.header.protocol, udp.source.get(), udp.destination.get()), (17, 4500, 61_000));
    assert_eq!((udp.checksum.get(), esp), (0, &outer[sealed.esp]));
    // RFC 8200 section 8.1
    let v6 = Setup { path: v6_path(4500, 61_000), ..v4 };
    let (_, outer) = sealed_by(&v6, &v4_packet(61));
    let (udp, _) = UdpHeader::parse(&outer[40..]).unwrap();
    assert!(udp.checksum.get() != 0 && udp6_checksum_ok(&outer));
}

#[test]
fn a_daemon_passes_only_payloads() {
    let setup = Setup {
        encapsulation: Encapsulation::Udp,
        path: v4_path(4500, 4500),
        ..Setup::new(Suite::AES_128_GCM)
    };
    let inner = v4_packet(60);
    let (sealed, outer) = sealed_by(&setup, &inner);
    let mut payload = outer[sealed.esp].to_vec();
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    setup.install_inbound(&mut sad);
    let path = reversed(setup.path);
    match inbound_udp(&mut sad, NOW, path, 0, &mut payload).unwrap() {
        Inbound::Packet { packet, .. } => assert_eq!(packet, inner),
        other => panic!("{other:?}"),
    }
    let mut ike = *b"\0\0\0\0message";
    match inbound_udp(&mut sad, NOW, path, 0, &mut ike).unwrap() {
        Inbound::Ike { path: from, message } => {
            assert_eq!((from, &message[..]), (path, &b"message"[..]));
        }
        other => panic!("{other:?}"),
    }
    let mut keepalive = [0xff];
    let keepalive = inbound_udp(&mut sad, NOW, path, 0, &mut keepalive);
    assert!(matches!(keepalive, Ok(Inbound::Keepalive)));
    let mut short = [1, 2, 3];
    let short = inbound_udp(&mut sad, NOW, path, 0, &mut short);
    assert!(matches!(short, Err(OpenError::TooShort)));
}

#[test]
fn either_encapsulation_is_accepted() {
    // RFC 7296 section 2.23
    let setup = Setup::new(Suite::AES_128_GCM);
    let (sealed, outer) = sealed_by(&setup, &v4_packet(60));
    let mut payload = outer[sealed.esp].to_vec();
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    setup.install_inbound(&mut sad);
    let path = reversed(v4_path(4500, 4500));
    assert!(inbound_udp(&mut sad, NOW, path, 0, &mut payload).is_ok());
    // It was installed without UDP: the peer has not moved.
    while let Some(event) = sad.poll_event() {
        assert_eq!(event.kind, ipsec_core::sad::SadEventKind::FirstPacket);
    }
}

#[test]
fn congestion_is_carried_inside() {
    // RFC 6040 section 4.2
    let setup = Setup::new(Suite::AES_128_GCM);
    for (inner_tos, outer_tos, expected) in
        [(0xb8, 0x00, Some(0xb8)), (0xba, 0x03, Some(0xbb)), (0xba, 0x01, Some(0xb9)), (0, 3, None)]
    {
        for v4 in [true, false] {
            let inner = if v4 {
                ip_packet([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), inner_tos, 60)
            } else {
                ip_packet("::1".parse().unwrap(), "::2".parse().unwrap(), inner_tos, 60)
            };
            let (sealed, outer) = sealed_by(&setup, &inner);
            let mut esp = outer[sealed.esp].to_vec();
            let mut memory = Memory::<RustCrypto>::new(1);
            let mut sad = memory.sad();
            setup.install_inbound(&mut sad);
            let mut arrival = setup.arrival();
            arrival.traffic_class = outer_tos;
            match (open(&mut sad, NOW, &arrival, &mut esp), expected) {
                (Ok(opened), Some(tos)) => {
                    let packet = &esp[opened.range];
                    if v4 {
                        let ip = Ipv4Header::parse(packet).unwrap();
                        assert!(ip.checksum_ok());
                        assert_eq!(ip.header.tos, tos);
                    } else {
                        let ip = Ipv6Header::parse(packet).unwrap();
                        assert_eq!(ip.header.traffic_class(), tos);
                    }
                }
                (Err(OpenError::Congestion(_)), None) => {}
                (other, _) => panic!("{inner_tos:#x} in {outer_tos:#x}: {other:?}"),
            }
        }
    }
}

#[test]
fn padding_of_the_link_is_cut_off() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut padded = v4_packet(46);
    padded.extend_from_slice(&[0xcc; 14]);
    let (_, mut outer) = sealed_by(&setup, &padded);
    outer.extend_from_slice(&[0xdd; 7]);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    setup.install_inbound(&mut sad);
    match inbound_ip(&mut sad, NOW, &mut outer).unwrap() {
        Inbound::Packet { packet, .. } => assert_eq!(packet, &padded[..46]),
        other => panic!("{other:?}"),
    }
}

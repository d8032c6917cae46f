//! The outer header by policy, padding that hides lengths, and dummy packets.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Memory, NOW, Setup, ip_packet, seal_copy, v4_packet, v4_path, v6_packet, v6_path};
use ipsec_core::crypto::{Encr, Integ, Provider, Suite};
use ipsec_core::mode::{AddressPair, DontFragment, Dscp, EcnIngress, Mode, Tunnel};
use ipsec_core::packet::PacketBuf;
use ipsec_core::sa::Encapsulation;
use ipsec_core::wire::{IpPacket, Ipv4Header, Ipv6Header};
use ipsec_esp::{Inbound, OpenError, Overhead, SealError, inbound_ip, open, seal_dummy};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::toy::Toy;
use zerocopy::FromBytes;

fn setup(tunnel: Tunnel, v4: bool) -> Setup {
    let path = if v4 { v4_path(0, 0) } else { v6_path(0, 0) };
    Setup { mode: Mode::Tunnel(tunnel), path, ..Setup::new(Suite::AES_128_GCM) }
}

/// The outer header around `inner`.
fn outer(tunnel: Tunnel, v4: bool, inner: &[u8]) -> IpPacket {
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup(tunnel, v4).install_outbound(&mut sad);
    let (sealed, outer) = seal_copy(&mut sad, id, inner).unwrap();
    let parsed = IpPacket::parse(&outer).unwrap();
    if v4 {
        assert!(Ipv4Header::parse(&outer).unwrap().checksum_ok());
    }
    let said = (sealed.outer.traffic_class, sealed.outer.dont_fragment, sealed.outer.hop_limit);
    assert_eq!(
        said,
        (parsed.traffic_class, parsed.dont_fragment || !v4 && said.1, parsed.hop_limit)
    );
    parsed
}

/// An IPv4 packet that may be fragmented.
fn fragmentable() -> Vec<u8> {
    let mut inner = v4_packet(60);
    let (header, _) = Ipv4Header::mut_from_prefix(&mut inner).unwrap();
    *header = header.fragmentable(9);
    inner
}

#[test]
fn dscp_and_ecn_of_the_outer_header() {
    // RFC 4301 section 5.1.2, RFC 6040 section 4.1
    for v4 in [true, false] {
        let inner = ip_packet([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 0xba, 60);
        let class = |tunnel| outer(tunnel, v4, &inner).traffic_class;
        let default = Tunnel::DEFAULT;
        assert_eq!(class(default), 0xba);
        assert_eq!(class(Tunnel { dscp: Dscp::Set(46), ..default }), 0xba);
        assert_eq!(class(Tunnel { dscp: Dscp::Set(0), ..default }), 0x02);
        assert_eq!(class(Tunnel { dscp: Dscp::Set(0xff), ..default }), 0xfe);
        assert_eq!(class(Tunnel { ecn: EcnIngress::Compatibility, ..default }), 0xb8);
    }
}

#[test]
fn dont_fragment_of_the_outer_header() {
    // RFC 4301 section 8.1
    let flag = |dont_fragment, inner: &[u8]| {
        outer(Tunnel { dont_fragment, ..Tunnel::DEFAULT }, true, inner).dont_fragment
    };
    let (whole, parts) = (v4_packet(60), fragmentable());
    assert!(flag(DontFragment::Copy, &whole) && !flag(DontFragment::Copy, &parts));
    assert!(flag(DontFragment::Set, &whole) && flag(DontFragment::Set, &parts));
    assert!(!flag(DontFragment::Clear, &whole) && !flag(DontFragment::Clear, &parts));
    assert!(flag(DontFragment::Copy, &v6_packet(60)));
    assert!(!flag(DontFragment::Clear, &v6_packet(60)));
}

#[test]
fn hop_limit_and_flow_label_of_the_outer_header() {
    // RFC 4301 section 5.1.2
    let mut inner = v6_packet(60);
    let (header, _) = Ipv6Header::mut_from_prefix(&mut inner).unwrap();
    header.set_flow_label(0xa_bcde);
    let tunnel = Tunnel { hop_limit: 7, ..Tunnel::DEFAULT };
    let copied = Tunnel { copy_flow_label: true, ..tunnel };
    let seen = |tunnel, v4, inner: &[u8]| {
        let outer = outer(tunnel, v4, inner);
        (outer.hop_limit, outer.flow_label)
    };
    assert_eq!(seen(Tunnel::DEFAULT, false, &inner), (64, 0));
    assert_eq!(seen(tunnel, false, &inner), (7, 0));
    assert_eq!(seen(copied, false, &inner), (7, 0xa_bcde));
    assert_eq!(seen(copied, true, &inner), (7, 0));
    assert_eq!(seen(copied, false, &v4_packet(60)), (7, 0));
}

#[test]
fn what_comes_back_from_the_outer_header() {
    // RFC 4301 section 5.1.2, RFC 6040 section 4.2
    for (copy_dscp_in, inner_class, outer_class, expected) in [
        (false, 0xb8, 0x00, Some((0xb8, false))),
        (true, 0xb8, 0x28, Some((0x28, false))),
        (false, 0xb8, 0x29, Some((0xb8, true))),
        (true, 0xb9, 0x2b, Some((0x2b, false))),
        (false, 0xb9, 0x2a, Some((0xb9, true))),
        (true, 0xb8, 0x2b, None),
    ] {
        for v4 in [true, false] {
            let tunnel = Tunnel { copy_dscp_in, ..Tunnel::DEFAULT };
            for setup in [
                setup(tunnel, v4),
                Setup { mode: Mode::Tunnel(tunnel), ..Setup::ah(Integ::HMAC_SHA1_96) },
            ] {
                let inner = if v4 {
                    ip_packet([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), inner_class, 60)
                } else {
                    ip_packet("::1".parse().unwrap(), "::2".parse().unwrap(), inner_class, 60)
                };
                let (mut a, mut b) = (Memory::<RustCrypto>::new(1), Memory::<RustCrypto>::new(1));
                let (mut sender, mut receiver) = (a.sad(), b.sad());
                let id = setup.install_outbound(&mut sender);
                setup.install_inbound(&mut receiver);
                let (_, mut outer) = seal_copy(&mut sender, id, &inner).unwrap();
                if outer[0] >> 4 == 4 {
                    outer[1] = outer_class;
                } else {
                    let (header, _) = Ipv6Header::mut_from_prefix(&mut outer).unwrap();
                    header.set_traffic_class(outer_class);
                }
                match (inbound_ip(&mut receiver, NOW, &mut outer), expected) {
                    (Ok(Inbound::Packet { opened, packet }), Some((class, alarm))) => {
                        let parsed = IpPacket::parse(packet).unwrap();
                        assert_eq!((parsed.traffic_class, opened.ecn_alarm), (class, alarm));
                        assert!(!v4 || Ipv4Header::parse(packet).unwrap().checksum_ok());
                    }
                    (Err(OpenError::Congestion(_)), None) => {}
                    (other, _) => panic!("{inner_class:x} {outer_class:x}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn padding_hides_the_length() {
    // RFC 4303 section 2.7
    for suite in Toy::SUITES {
        let tunnel = Tunnel { pad_to: 300, ..Tunnel::DEFAULT };
        let setup = Setup { mode: Mode::Tunnel(tunnel), ..Setup::new(*suite) };
        let (mut a, mut b) = (Memory::<Toy>::new(1), Memory::<Toy>::new(1));
        let (mut sender, mut receiver) = (a.sad(), b.sad());
        let id = setup.install_outbound(&mut sender);
        setup.install_inbound(&mut receiver);
        let overhead = Overhead::of(&sender.outbound(id).unwrap().protection);
        let mut lens = Vec::new();
        for len in [48, 49, 150, 299, 300] {
            for inner in [v4_packet(len), v6_packet(len)] {
                let mut buf = vec![0xa5; 900];
                buf[100..100 + len].copy_from_slice(&inner);
                let mut packet = PacketBuf::new(&mut buf, 100..100 + len).unwrap();
                ipsec_esp::seal(&mut sender, NOW, id, &mut packet).unwrap();
                let mut outer = packet.payload().to_vec();
                assert_eq!(outer.len(), overhead.sealed_len(len), "{suite} {len}");
                assert!(overhead.tailroom() >= overhead.tailroom_for(len));
                lens.push(outer.len());
                match inbound_ip(&mut receiver, NOW, &mut outer).unwrap() {
                    Inbound::Packet { packet, .. } => assert_eq!(packet, inner),
                    other => panic!("{other:?}"),
                }
            }
        }
        lens.dedup();
        assert_eq!(lens.len(), 1, "{suite}");
        assert!(overhead.sealed_len(301) >= lens[0]);
        assert!(overhead.sealed_len(320) > lens[0]);
    }
    // AH hides nothing.
    let tunnel = Mode::Tunnel(Tunnel { pad_to: 300, ..Tunnel::DEFAULT });
    let ah = Setup { mode: tunnel, ..Setup::ah(Integ::HMAC_SHA1_96) };
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = ah.install_outbound(&mut sad);
    assert_eq!(seal_copy(&mut sad, id, &v4_packet(60)).unwrap().1.len(), 20 + 24 + 60);
}

#[test]
fn dummies_are_sealed_and_dropped() {
    // RFC 4303 section 2.6
    let beet = AddressPair { local: [10, 0, 0, 1].into(), remote: [10, 0, 0, 2].into() };
    for mode in [Mode::TUNNEL, Mode::TRANSPORT, Mode::Beet(beet)] {
        for (encapsulation, path) in [
            (Encapsulation::Ip, v4_path(0, 0)),
            (Encapsulation::Udp, v4_path(4500, 4500)),
            (Encapsulation::Ip, v6_path(0, 0)),
        ] {
            let setup = Setup { mode, encapsulation, path, ..Setup::new(Suite::AES_128_GCM) };
            let (mut a, mut b) = (Memory::<RustCrypto>::new(1), Memory::<RustCrypto>::new(1));
            let (mut sender, mut receiver) = (a.sad(), b.sad());
            let id = setup.install_outbound(&mut sender);
            let inbound = setup.install_inbound(&mut receiver);
            for (len, sequence) in [(0, 1), (1, 2), (500, 3)] {
                let mut buf = vec![0x5a; 700];
                let mut packet = PacketBuf::new(&mut buf, 100..100 + len).unwrap();
                let sealed = seal_dummy(&mut sender, NOW, id, &mut packet).unwrap();
                assert_eq!(sealed.sequence, sequence);
                let outer = packet.payload();
                let parsed = IpPacket::parse(outer).unwrap();
                assert_eq!(
                    (parsed.len, parsed.flow.destination),
                    (outer.len(), path.remote.address)
                );
                assert!(!outer.windows(16).any(|w| w == [0x5a; 16]), "encrypted");
                let mut arrived = outer.to_vec();
                match inbound_ip(&mut receiver, NOW, &mut arrived) {
                    Err(OpenError::Dummy(audit)) => assert_eq!(audit.sequence, sequence),
                    other => panic!("{other:?}"),
                }
                let usage = receiver.inbound(inbound).unwrap().protection.usage;
                assert_eq!(usage.packets, sequence);
            }
            let mut small = [0; 90];
            let mut packet = PacketBuf::new(&mut small, 80..90).unwrap();
            let refused = seal_dummy(&mut sender, NOW, id, &mut packet);
            assert!(matches!(refused, Err(SealError::NoRoom(_))));
            assert_eq!((packet.range(), sender.outbound(id).unwrap().sequence()), (80..90, 3));
        }
    }
}

#[test]
fn an_implicit_iv_is_the_sequence_number() {
    // RFC 8750 section 4: the packet with the explicit IV, less those 8 bytes.
    let explicit = Setup { esn: true, ..Setup::new(Suite::AES_128_GCM) };
    let implicit = Setup { suite: Suite::aead(Encr::AES_GCM_16_IIV, 128), ..explicit.clone() };
    let shape = implicit.suite.shape().unwrap();
    assert_eq!((shape.iv_len, shape.nonce_iv_len), (0, 8));
    let mut memory = Memory::<Toy>::new(2);
    let mut sad = memory.sad();
    let ids = [&explicit, &implicit].map(|setup| setup.install_outbound(&mut sad));
    for (id, esp_and_iv) in ids.into_iter().zip([16, 8]) {
        sad.skip_sequence(id, (5 << 32) | 6);
        let (sealed, outer) = seal_copy(&mut sad, id, &v4_packet(60)).unwrap();
        assert_eq!(outer.len(), 20 + esp_and_iv + 64 + 16);
        let esp = &outer[sealed.esp];
        assert_eq!(esp[4..8], [0, 0, 0, 7]);
        let mut memory = Memory::<Toy>::new(1);
        let mut receiver = memory.sad();
        let setup = if esp_and_iv == 8 { &implicit } else { &explicit };
        let inbound = setup.install_inbound(&mut receiver);
        receiver.accept(NOW, inbound, (5 << 32) | 1, 0, None).unwrap().unwrap();
        let opened = open(&mut receiver, NOW, &setup.arrival(), &mut esp.to_vec()).unwrap();
        assert_eq!(opened.sequence, (5 << 32) | 7);
    }
}

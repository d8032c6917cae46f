//! The quick way and the general one are one way: the same bytes, results, errors and counts.
//!
//! An SA goes the general way inbound if its selectors are a list of two, and outbound if the call is in three parts.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Memory, NOW, Setup, ip_packet, v6_packet};
use ipsec_core::crypto::Suite;
use ipsec_core::lifetime::{Lifetime, Limits};
use ipsec_core::mode::{DontFragment, Dscp, EcnIngress, Mode, Tunnel};
use ipsec_core::packet::PacketBuf;
use ipsec_core::selector::{Selectors, TrafficSelector};
use ipsec_core::wire::{Ipv4Header, protocol};
use ipsec_esp::{Before, open, seal, seal_begin, seal_finish};
use ipsec_rustcrypto::RustCrypto;
use zerocopy::FromBytes;

fn net(third: u8) -> TrafficSelector {
    TrafficSelector::network([192, 168, third, 0].into(), 24).unwrap()
}

fn v4(tos: u8, third: u8, len: usize) -> Vec<u8> {
    ip_packet([192, 168, third, 5].into(), [192, 168, 2, 6].into(), tos, len)
}

/// With another flags field and a checksum that is right.
fn with_flags(mut packet: Vec<u8>, flags: u16) -> Vec<u8> {
    let (header, _) = Ipv4Header::mut_from_prefix(&mut packet).unwrap();
    header.flags_offset = flags.into();
    header.update_checksum();
    packet
}

/// Packets that go the quick way, and those that nearly do.
fn packets() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = (60..70).map(|len| v4(0, 1, len)).collect();
    all.extend((0..=255).step_by(17).map(|tos| v4(tos, 1, 80)));
    // May be fragmented; a first and a later fragment.
    all.extend([0, 0x2000, 0x0010].map(|flags| with_flags(v4(2, 1, 100), flags)));
    let mut tcp = v4(0, 1, 90);
    tcp[9] = protocol::TCP;
    let mut gre = v4(0, 1, 90);
    gre[9] = 47;
    let mut behind = v4(0, 1, 90);
    behind.extend([0xee; 7]); // of a link
    let mut options = v4(0, 1, 90);
    options[0] = 0x46;
    let mut short = v4(0, 1, 90);
    short[2..4].copy_from_slice(&[0, 22]); // too short for ports
    all.extend([tcp, gre, behind, options, short, v4(0, 9, 90), v6_packet(90)]);
    all
}

fn setups() -> Vec<Setup> {
    let mut all = Vec::new();
    let few = Limits { packets: 20, ..Limits::NONE };
    for suite in [Suite::AES_128_GCM, Suite::CHACHA20_POLY1305] {
        for esn in [false, true] {
            for (dont_fragment, dscp, ecn, copy_dscp_in) in [
                (DontFragment::Copy, Dscp::Copy, EcnIngress::Normal, false),
                (DontFragment::Set, Dscp::Set(46), EcnIngress::Normal, true),
                (DontFragment::Clear, Dscp::Copy, EcnIngress::Compatibility, false),
            ] {
                let tunnel = Tunnel { dont_fragment, dscp, ecn, copy_dscp_in, ..Tunnel::DEFAULT };
                let selectors = Selectors::pair(net(1), net(2));
                let mode = Mode::Tunnel(tunnel);
                all.push(Setup { esn, mode, selectors, ..Setup::new(suite) });
            }
        }
    }
    let dies = Lifetime { soft: Limits { packets: 10, ..Limits::NONE }, hard: few };
    all.push(Setup { lifetime: dies, ..all[0].clone() });
    all
}

#[test]
fn what_is_sealed_is_the_same() {
    for setup in setups() {
        let (mut a, mut b) = (Memory::<RustCrypto>::new(1), Memory::<RustCrypto>::new(1));
        let (mut quick, mut general) = (a.sad(), b.sad());
        let id = setup.install_outbound(&mut quick);
        assert_eq!(id, setup.install_outbound(&mut general));
        for inner in packets() {
            for room in [100, 36, 30] {
                let mut one = vec![0xa5; 2 * room + inner.len()];
                one[room..][..inner.len()].copy_from_slice(&inner);
                let mut two = one.clone();
                let mut one = PacketBuf::new(&mut one, room..room + inner.len()).unwrap();
                let mut two = PacketBuf::new(&mut two, room..room + inner.len()).unwrap();
                let sealed = seal(&mut quick, NOW, id, &mut one);
                let expected = seal_begin(&mut general, NOW, id, &mut two).and_then(|job| {
                    let result = job.run(&general, two.payload_mut());
                    seal_finish(&general, job, result, two.payload_mut())
                });
                assert_eq!((sealed, one.payload()), (expected, two.payload()));
            }
        }
        let usage = |sad: &ipsec_core::sad::Sad<'_, RustCrypto>| {
            let sa = sad.outbound(id).unwrap();
            (sa.sequence(), sa.protection.usage)
        };
        assert_eq!(usage(&quick), usage(&general));
        assert!(usage(&quick).0 >= 20);
        assert_eq!(quick.drops(), general.drops());
        assert_eq!(quick.poll_event(), general.poll_event());
    }
}

#[test]
fn what_is_opened_is_the_same() {
    for setup in setups() {
        let mut list = setup.clone();
        list.selectors.local.push(net(1)).unwrap();
        let [mut a, mut b, mut c] = [(); 3].map(|()| Memory::<RustCrypto>::new(1));
        let (mut sender, mut quick, mut general) = (a.sad(), b.sad(), c.sad());
        let lives = Setup { lifetime: Lifetime::UNLIMITED, ..setup.clone() };
        let out = lives.install_outbound(&mut sender);
        let id = setup.install_inbound(&mut quick);
        assert_eq!(id, list.install_inbound(&mut general));
        assert!(general.inbound(id).unwrap().usual().is_none());
        let usual = quick.inbound(id).unwrap().usual().is_some();
        assert_eq!(usual, !matches!(setup.mode, Mode::Tunnel(t) if t.copy_dscp_in));

        let mut opened = 0;
        for (n, inner) in packets().iter().enumerate() {
            let (_, outer) = common::seal_copy(&mut sender, out, inner).unwrap();
            let mut changed = outer.clone();
            changed[20 + 8 + 8 + n % 30] ^= 1;
            let mut cut = outer.clone();
            cut.truncate(20 + 8 + 8 + n % 40);
            let mut foreign = outer.clone();
            foreign[20] ^= 1;
            // The last ones are repeated; RFC 6040 section 4.2: each outer field, once.
            for (which, packet) in [changed, cut, foreign, outer.clone(), outer].iter().enumerate()
            {
                let mut arrival = setup.arrival();
                arrival.traffic_class = u8::try_from(n & 3).unwrap() | 0xb8;
                arrival.before = Before::Headers(20);
                let (mut one, mut two) = (packet.clone(), packet.clone());
                let found = open(&mut quick, NOW, &arrival, &mut one);
                assert_eq!(found, open(&mut general, NOW, &arrival, &mut two), "{n} {which}");
                assert_eq!(one, two);
                opened += usize::from(found.is_ok());
                assert_eq!(quick.poll_event(), general.poll_event());
            }
        }
        assert!(opened >= 9, "{opened}");
        let [one, two] = [&quick, &general].map(|sad| sad.inbound(id).unwrap());
        assert_eq!(one.protection.usage, two.protection.usage);
        assert_eq!((one.window(), one.drops()), (two.window(), two.drops()));
        assert_eq!(quick.drops(), general.drops());
    }
}

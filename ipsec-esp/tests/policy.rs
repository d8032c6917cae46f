//! The way out through the policy database.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Memory, NOW, Setup, ip_packet, v4_packet};
use ipsec_core::crypto::Suite;
use ipsec_core::packet::PacketBuf;
use ipsec_core::selector::{Selectors, TrafficSelector};
use ipsec_core::spd::{Action, Policy, Spd};
use ipsec_esp::{Outbound, SealError, outbound};
use ipsec_rustcrypto::RustCrypto;

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
        let result = outbound(&mut sad, &spd, NOW, &mut packet, |tag, flow| {
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

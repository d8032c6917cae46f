//! Both sides do something at once: a part of the matrix of [`ipsec_testkit::collisions`], and some collisions by the
//! message.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use ipsec::GatewayEvent;
use ipsec_testkit::collisions::{Action, Size, act, all_pairs, matrix};
use ipsec_testkit::link::Verdict;
use ipsec_testkit::pair::{Memory, Pair};
use ipsec_testkit::setup::{ADDRESS_A, Setup, Side};

const SECOND: Duration = Duration::from_secs(1);

/// RFC 7296 section 2.8.2: both sides rekey the IKE SA; the nonces decide, and both agree.
#[test]
fn both_rekey_the_ike_sa() {
    matrix(Size::Small, &[[Action::RekeyIke, Action::RekeyIke]], 3);
}

/// RFC 7296 section 2.8.1: both sides rekey the child; the nonces decide, and both agree.
#[test]
fn both_rekey_the_child() {
    matrix(Size::Small, &[[Action::RekeyChild, Action::RekeyChild]], 3);
}

/// RFC 7296 section 2.25: every other pair of actions.
#[test]
fn each_action_opposite_each_other() {
    let rekeys = [Action::RekeyIke, Action::RekeyChild];
    let mut pairs = all_pairs();
    pairs.retain(|[a, b]| a != b || !rekeys.contains(a));
    matrix(Size::Small, &pairs, 1);
}

/// RFC 7296 section 2.8.2: nobody is refused and nobody has to try again: the redundant SA is deleted by who asked for it,
/// and the old one by who asked for the survivor.
#[test]
fn a_collision_is_settled_at_once() {
    for seed in 0..40 {
        let setup = Setup::new(seed).sizes(|sizes| sizes.ike_sas = 6);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let before = [pair.a.ike(), pair.b.ike()];
        act(&mut pair, Side::A, Action::RekeyIke);
        act(&mut pair, Side::B, Action::RekeyIke);
        pair.run_for(Duration::from_millis(100));
        let log = pair.log();
        let mut survivor = Vec::new();
        for (node, before) in [&pair.a, &pair.b].into_iter().zip(before) {
            assert_eq!((node.ike_rekeys(), node.errors.len()), (1, 0), "seed {seed}\n{log}");
            assert!(
                node.ike() != before && node.failures().is_empty() && node.ike_downs().is_empty()
            );
            let spis = node.events.iter().rev().find_map(|(_, event)| match event {
                GatewayEvent::IkeRekeyed { agreed, .. } => {
                    Some((agreed.initiator_spi, agreed.responder_spi))
                }
                _ => None,
            });
            survivor.extend(spis);
        }
        assert_eq!(survivor[0], survivor[1], "{log}");
        pair.ping();
        pair.run_for(90 * SECOND);
        assert_eq!((pair.a.statistics().ike_sas, pair.b.statistics().ike_sas), (1, 1), "{log}");
        pair.close_and_check(Side::A);
    }
}

/// Without room for a second new SA, the peer is asked to try again, and one of the two rekeys comes about.
#[test]
fn a_collision_without_room() {
    for seed in 0..10 {
        let setup = Setup::new(seed).sizes(|sizes| sizes.ike_sas = 2);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        act(&mut pair, Side::A, Action::RekeyIke);
        act(&mut pair, Side::B, Action::RekeyIke);
        pair.run_for(90 * SECOND);
        assert!(pair.a.ike_rekeys() >= 1, "{}", pair.log());
        assert_eq!(pair.a.ike_rekeys(), pair.b.ike_rekeys(), "{}", pair.log());
        pair.ping();
        pair.close_and_check(Side::B);
    }
}

/// RFC 7296 section 2.8.1: both sides rekey the child, and B closes the tunnel before it knows whose child stays. A's child
/// is gone before A hears that it was made, and so A never comes to delete the old one: B, which was to close it, does.
#[test]
fn a_close_is_not_forgotten_in_a_collision() {
    const CREATE_CHILD_SA: u8 = 36;
    const RESPONSE: u8 = 0x20;
    let mut closed = 0;
    let seeds = 16;
    for seed in 0..seeds {
        let setup = Setup::new(seed);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.run_for(SECOND);
        let heard = Rc::new(Cell::new([false; 2]));
        let hears = heard.clone();
        pair.link.set_hook(move |_, datagram| {
            let bytes = &datagram.bytes;
            let response = bytes.get(18) == Some(&CREATE_CHILD_SA) && bytes[19] & RESPONSE != 0;
            let [a, b] = hears.get();
            let hears = if datagram.destination.address == ADDRESS_A { a } else { b };
            if response && !hears { Verdict::Drop } else { Verdict::Pass }
        });
        act(&mut pair, Side::A, Action::RekeyChild);
        act(&mut pair, Side::B, Action::RekeyChild);
        pair.run_for(SECOND / 10);
        assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (1, 1), "{}", pair.log());
        act(&mut pair, Side::B, Action::CloseChild);
        heard.set([false, true]);
        pair.run_for(10 * SECOND);
        heard.set([true, true]);
        pair.run_for(90 * SECOND);
        let log = pair.log();
        for node in [&pair.a, &pair.b] {
            assert!(node.each_child_down_once(), "seed {seed}\n{log}");
        }
        closed += u32::from(!pair.is_up());
        let children = usize::from(pair.is_up());
        let now = [&pair.a, &pair.b].map(|node| node.statistics().children);
        assert_eq!(now, [children; 2], "seed {seed}\n{log}");
        if pair.is_up() {
            // B's child stays. It serves like any other.
            pair.ping();
            let before = pair.b.child_rekeys();
            pair.rekey(Side::A).unwrap();
            pair.run_for(SECOND);
            assert_eq!(pair.b.child_rekeys(), before + 1, "seed {seed}\n{log}");
        }
        pair.close_and_check(Side::A);
    }
    assert!((1..seeds).contains(&u64::from(closed)), "{closed}");
}

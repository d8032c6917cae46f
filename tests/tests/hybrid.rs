//! Additional key exchanges (RFC 9370): in the handshake by IKE_INTERMEDIATE (RFC 9242), and who does without.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use ipsec::{ChildProposal, Endpoint, Failure, GatewayEvent, Group, IkeProposal, Provider};
use ipsec_ike::config::MAX_ADDITIONAL;
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::insider::Insider;
use ipsec_testkit::link::{Datagram, Verdict, Weather};
use ipsec_testkit::pair::{Jobs, Memory, Node, Pair};
use ipsec_testkit::setup::{ADDRESS_A, ADDRESS_B, Setup, Side, leak_all};
use ipsec_testkit::toy::Toy;

const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(100);

type Lists = &'static [&'static [Group]];

const NONE: Lists = &[];
const REQUIRED: Lists = &[&[Group::ML_KEM_768]];
const OPTIONAL: Lists = &[&[Group::ML_KEM_768, Group::NONE]];
const TWO: Lists = &[&[Group::ML_KEM_768], &[Group::ML_KEM_512]];
const THREE: Lists = &[&[Group::ML_KEM_512], &[Group::P256, Group::NONE], &[Group::ML_KEM_768]];

fn proposals(additional: Lists) -> &'static [IkeProposal<'static>] {
    leak_all([IkeProposal { additional, ..IkeProposal::DEFAULT[0] }])
}

fn with(seed: u64, a: Lists, b: Lists) -> Setup {
    let mut setup = Setup::new(seed);
    setup.a.peers[0].proposals = proposals(a);
    setup.b.peers[0].proposals = proposals(b);
    setup
}

/// The additional key exchanges of the last IKE SA that was told of.
fn agreed<P: Provider>(node: &Node<'_, P>) -> Option<[Group; MAX_ADDITIONAL]> {
    node.events.iter().rev().find_map(|(_, event)| match event {
        GatewayEvent::IkeUp { agreed, .. } | GatewayEvent::IkeRekeyed { agreed, .. } => {
            Some(agreed.additional)
        }
        _ => None,
    })
}

fn comes_up<P: Provider>(setup: &Setup, expected: [Group; MAX_ADDITIONAL]) {
    let mut memory = Memory::<P>::of(setup);
    let mut pair = Pair::<P>::new(setup, &mut memory);
    pair.bring_up();
    pair.ping();
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty(), "{}", pair.log());
    assert!(pair.a.errors.is_empty() && pair.b.errors.is_empty(), "{}", pair.log());
    assert_eq!(agreed(&pair.a), Some(expected), "{}", pair.log());
    assert_eq!(agreed(&pair.b), Some(expected), "{}", pair.log());
    pair.close_and_check(Side::A);
}

const NO: [Group; MAX_ADDITIONAL] = [Group::NONE; MAX_ADDITIONAL];
const ONE: [Group; MAX_ADDITIONAL] = [Group::ML_KEM_768, Group::NONE, Group::NONE];

/// RFC 9370 section 2.2.2: one round each, in the order of the transform types.
#[test]
fn rounds_before_ike_auth() {
    for (seed, (a, b, expected)) in (1..).zip([
        (REQUIRED, REQUIRED, ONE),
        (REQUIRED, OPTIONAL, ONE),
        (OPTIONAL, REQUIRED, ONE),
        (OPTIONAL, OPTIONAL, ONE),
        (TWO, TWO, [Group::ML_KEM_768, Group::ML_KEM_512, Group::NONE]),
        (THREE, THREE, [Group::ML_KEM_512, Group::P256, Group::ML_KEM_768]),
    ]) {
        comes_up::<Toy>(&with(seed, a, b), expected);
        comes_up::<Toy>(&with(seed, a, b).behind_nat(), expected);
        comes_up::<RustCrypto>(&with(seed, a, b), expected);
    }
}

/// RFC 9370 section 2.2.1: who does not know, or want, additional key exchanges gets on with who can do without.
#[test]
fn without_where_both_may() {
    comes_up::<Toy>(&with(10, OPTIONAL, NONE), NO);
    comes_up::<Toy>(&with(11, NONE, OPTIONAL), NO);
    const MIDDLE: Lists = &[&[Group::NONE, Group::ML_KEM_768], &[Group::ML_KEM_512]];
    comes_up::<Toy>(&with(12, MIDDLE, MIDDLE), [Group::NONE, Group::ML_KEM_512, Group::NONE]);
    const WANTED: Lists = &[&[Group::ML_KEM_768, Group::NONE], &[Group::ML_KEM_512, Group::NONE]];
    comes_up::<Toy>(&with(13, WANTED, REQUIRED), ONE);
}

#[test]
fn who_insists_is_refused_or_refuses() {
    for (seed, (a, b)) in (20..).zip([(REQUIRED, NONE), (NONE, REQUIRED), (TWO, REQUIRED)]) {
        let setup = with(seed, a, b);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(MINUTE);
        assert_eq!(pair.a.failures(), [Failure::ProposalRefused], "{}", pair.log());
        assert!(matches!(pair.b.failures()[..], [Failure::NoProposal { .. }, ..]));
    }
}

/// Late jobs, lost, repeated and reordered messages: a repeated request of a round is answered although the keys that
/// follow from it are known already.
#[test]
fn bad_weather() {
    for seed in 100..400 {
        let lists = if seed % 2 == 0 { REQUIRED } else { THREE };
        let setup = with(seed, lists, lists).weather(Weather::STORM);
        let setup = if seed % 3 == 0 { setup.behind_nat() } else { setup };
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        if seed % 5 == 0 {
            pair.a.jobs = Jobs::After(MOMENT);
            pair.b.jobs = Jobs::After(MOMENT * 3);
        }
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(3 * MINUTE, Pair::is_up), "{seed}\n{}", pair.log());
        assert!(pair.ping_until_answered(), "{seed}\n{}", pair.log());
    }
}

/// In fragments (RFC 7383): the rounds are covered by the proofs as if they were whole.
#[test]
fn in_fragments() {
    for seed in 500..520 {
        let mut setup = with(seed, TWO, TWO);
        for side in Side::BOTH {
            setup.plan(side).peers[0].fragment_size = Some(576);
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.ping();
        let two = [Group::ML_KEM_768, Group::ML_KEM_512, Group::NONE];
        assert_eq!((agreed(&pair.a), agreed(&pair.b)), (Some(two), Some(two)));
        let protected =
            pair.link.tap().iter().filter(|seen| seen.datagram.bytes.get(18) == Some(&43));
        assert!(protected.clone().count() >= 10, "IKE_INTERMEDIATE in fragments");
        assert!(protected.map(|seen| seen.datagram.bytes.len()).all(|len| len <= 548));
    }
}

/// Jobs that fail end the handshake, and leave nothing.
#[test]
fn failed_jobs() {
    for side in Side::BOTH {
        let setup = with(30, REQUIRED, REQUIRED);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.node(side).jobs = Jobs::Held;
        pair.initiate(Side::A).unwrap();
        // Those of IKE_SA_INIT are done; those of the round fail.
        let good = if side == Side::A { 2 } else { 1 };
        for _ in 0..good {
            pair.run_for(MOMENT);
            let id = pair.node(side).held.remove(0);
            let now = pair.now();
            pair.with(side, |_, _, _| ());
            pair.node(side).run(now, id);
            pair.with(side, |_, _, _| ());
        }
        pair.run_for(MOMENT);
        let id = pair.node(side).held.remove(0);
        let now = pair.now();
        pair.node(side).fail(now, id);
        pair.with(side, |_, _, _| ());
        pair.run_for(MINUTE * 5);
        assert!(!pair.is_up());
        assert!(!pair.a.failures().is_empty(), "{}", pair.log());
        pair.close_and_check(Side::A);
    }
}

fn children(mut setup: Setup, additional: Lists) -> Setup {
    let proposals = leak_all([ChildProposal {
        groups: &[Group::X25519],
        additional,
        ..ChildProposal::DEFAULT[0]
    }]);
    setup = setup.children(|child| child.proposals = proposals);
    setup
}

/// The additional key exchanges of the last child that replaced another.
fn agreed_child<P: Provider>(node: &Node<'_, P>) -> Option<[Group; MAX_ADDITIONAL]> {
    node.events.iter().rev().find_map(|(_, event)| match event {
        GatewayEvent::ChildRekeyed { agreed, .. } => Some(agreed.additional),
        _ => None,
    })
}

fn is_rekeyed<P: Provider>(setup: &Setup, expected: [Group; MAX_ADDITIONAL]) {
    let mut memory = Memory::<P>::of(setup);
    let mut pair = Pair::<P>::new(setup, &mut memory);
    pair.bring_up();
    for side in Side::BOTH {
        pair.rekey(side).unwrap();
        pair.run_for(MINUTE / 12);
        pair.ping();
        assert_eq!(agreed_child(&pair.a), Some(expected), "{}", pair.log());
        assert_eq!(agreed_child(&pair.b), Some(expected), "{}", pair.log());
        pair.rekey_ike(side).unwrap();
        pair.run_for(MINUTE / 12);
        pair.ping();
        assert_eq!((agreed(&pair.a), agreed(&pair.b)), (Some(expected), Some(expected)));
    }
    assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (2, 2), "{}", pair.log());
    assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (2, 2), "{}", pair.log());
    assert!(pair.a.errors.is_empty() && pair.b.errors.is_empty(), "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// RFC 9370 section 2.2.4: children and IKE SAs are rekeyed with as many key exchanges, linked to each other.
#[test]
fn rekeys() {
    for (seed, (lists, expected)) in (600..).zip([
        (REQUIRED, ONE),
        (OPTIONAL, ONE),
        (TWO, [Group::ML_KEM_768, Group::ML_KEM_512, Group::NONE]),
        (THREE, [Group::ML_KEM_512, Group::P256, Group::ML_KEM_768]),
    ]) {
        let setup = children(with(seed, lists, lists), lists);
        is_rekeyed::<Toy>(&setup, expected);
        is_rekeyed::<RustCrypto>(&setup, expected);
    }
}

/// Rekeys in bad weather, with late jobs, and from both sides at once: traffic goes on.
#[test]
fn rekeys_in_bad_weather() {
    for seed in 700..820 {
        let lists = if seed % 2 == 0 { REQUIRED } else { THREE };
        let setup = children(with(seed, lists, lists), lists).weather(Weather::STORM);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        if seed % 5 == 0 {
            pair.a.jobs = Jobs::After(MOMENT);
            pair.b.jobs = Jobs::After(MOMENT * 3);
        }
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(3 * MINUTE, Pair::is_up), "{seed}\n{}", pair.log());
        for round in 0..3 {
            let (one, other) =
                if (seed + round) % 2 == 0 { (Side::A, Side::B) } else { (Side::B, Side::A) };
            let (children, ikes) = (pair.a.child_rekeys(), pair.a.ike_rekeys());
            let _ = pair.rekey(one);
            if seed % 3 == 0 {
                let _ = pair.rekey(other);
            }
            pair.wait(2 * MINUTE, |pair| pair.a.child_rekeys() > children);
            let _ = pair.rekey_ike(one);
            if seed % 3 == 1 {
                let _ = pair.rekey_ike(other);
            }
            pair.wait(2 * MINUTE, |pair| pair.a.ike_rekeys() > ikes);
            pair.run_for(MINUTE / 4);
            assert!(pair.ping_until_answered(), "{seed}\n{}", pair.log());
        }
        assert!(pair.a.child_rekeys() >= 2 && pair.a.ike_rekeys() >= 2, "{seed}\n{}", pair.log());
    }
}

// Attacks

const AUTH: u8 = 35;
const INTERMEDIATE: u8 = 43;
const KE: u8 = 34;

/// An IKE message in a datagram, with or without the non-ESP marker.
fn exchange_of(datagram: &Datagram) -> Option<u8> {
    let at = if datagram.destination.port == 4500 { 4 } else { 0 };
    datagram.bytes.get(at + 18).copied()
}

fn from_a(bytes: Vec<u8>) -> Datagram {
    Datagram::udp(Endpoint::new(ADDRESS_A, 500), Endpoint::new(ADDRESS_B, 500), bytes)
}

fn ke_payload(group: Group, len: usize) -> Vec<u8> {
    let mut payload = vec![0, 0];
    payload.extend((len as u16 + 8).to_be_bytes());
    payload.extend(group.0.to_be_bytes());
    payload.extend([0, 0]);
    payload.extend(vec![7; len]);
    payload
}

/// A pair whose A keeps its messages after IKE_SA_INIT to itself, and somebody with its keys.
fn with_insider(seed: u64, test: impl FnOnce(&mut Pair<'_>, Insider)) {
    let mut setup = with(seed, REQUIRED, REQUIRED);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(|_, datagram| match exchange_of(datagram) {
        Some(AUTH | INTERMEDIATE) if datagram.source.address == ADDRESS_A => Verdict::Drop,
        _ => Verdict::Pass,
    });
    pair.initiate(Side::A).unwrap();
    pair.run_for(MOMENT);
    let insider = Insider::of(&pair.a, true);
    test(&mut pair, insider);
    pair.run_for(MINUTE * 20);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// RFC 9370 section 2.2.2: IKE_AUTH in place of a round that was agreed on is refused.
#[test]
fn a_round_is_not_skipped() {
    with_insider(40, |pair, mut insider| {
        pair.deliver(
            Side::B,
            &from_a(insider.message(AUTH, 0, 1, 39, &[0, 0, 0, 12, 2, 0, 0, 0, 1, 2, 3, 4])),
        );
        assert_eq!(pair.b.failures(), [Failure::Protocol], "{}", pair.log());
    });
}

/// A public value of another length, or of another group, ends the handshake.
#[test]
fn wrong_public_values() {
    for (seed, (group, len)) in (50..).zip([
        (Group::ML_KEM_768, 1183),
        (Group::ML_KEM_768, 1185),
        (Group::ML_KEM_768, 1088),
        (Group::ML_KEM_512, 800),
        (Group::X25519, 32),
    ]) {
        with_insider(seed, |pair, mut insider| {
            let message = insider.message(INTERMEDIATE, 0, 1, KE, &ke_payload(group, len));
            pair.deliver(Side::B, &from_a(message));
            assert_eq!(pair.b.failures(), [Failure::Protocol], "{}", pair.log());
        });
    }
    // No such payload at all.
    with_insider(60, |pair, mut insider| {
        pair.deliver(Side::B, &from_a(insider.message(INTERMEDIATE, 0, 1, 0, &[])));
        assert_eq!(pair.b.failures(), [Failure::Protocol], "{}", pair.log());
    });
    // Of the right length, and invalid: the job fails.
    with_insider(61, |pair, mut insider| {
        let mut payload = ke_payload(Group::ML_KEM_768, 1184);
        payload[1184..].fill(0xff);
        pair.deliver(Side::B, &from_a(insider.message(INTERMEDIATE, 0, 1, KE, &payload)));
        assert_eq!(pair.b.failures(), [Failure::Crypto], "{}", pair.log());
    });
}

/// Who is not authenticated cannot have more rounds than were agreed on.
#[test]
fn no_more_rounds_than_agreed() {
    let mut setup = with(41, REQUIRED, REQUIRED);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(|_, datagram| match exchange_of(datagram) {
        Some(AUTH) if datagram.source.address == ADDRESS_A => Verdict::Drop,
        _ => Verdict::Pass,
    });
    pair.initiate(Side::A).unwrap();
    pair.run_for(MOMENT);
    let mut insider = Insider::of(&pair.a, true);
    for _ in 0..10 {
        let message = insider.message(INTERMEDIATE, 0, 2, KE, &ke_payload(Group::ML_KEM_768, 1184));
        pair.deliver(Side::B, &from_a(message));
    }
    assert_eq!(pair.b.errors.len(), 10, "{}", pair.log());
    assert!(pair.b.failures().is_empty());
    // Nothing has changed: the handshake goes on.
    pair.link.clear_hook();
    assert!(pair.wait(MINUTE, Pair::is_up), "{}", pair.log());
    assert_eq!(agreed(&pair.b), Some(ONE));
}

/// Changed copies of every message of a round, before the true one: refused, and the handshake is as without them.
#[test]
fn forged_rounds_change_nothing() {
    let setup = with(42, TWO, TWO);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let forged = Rc::new(Cell::new(0));
    let count = forged.clone();
    pair.on_arrival = Some(Box::new(move |node, now, datagram| {
        if exchange_of(datagram) == Some(INTERMEDIATE) {
            for at in (28..datagram.bytes.len()).step_by(37) {
                let mut changed = datagram.clone();
                changed.bytes[at] ^= 0x40;
                assert!(node.take(now, &changed).is_err(), "byte {at}");
                count.set(count.get() + 1);
            }
        }
    }));
    pair.bring_up();
    pair.ping();
    assert!(forged.get() > 80, "{}", forged.get());
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty());
}

/// RFC 9370 section 5: whoever takes the additional key exchange out of IKE_SA_INIT is noticed in IKE_AUTH, although both
/// sides could do without.
#[test]
fn a_downgrade_is_noticed() {
    let mut setup = with(43, OPTIONAL, OPTIONAL);
    setup.b.config.ike.cookie_threshold = 100;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(|_, datagram| {
        // INTERMEDIATE_EXCHANGE_SUPPORTED becomes a status that nobody knows.
        let notify = [0x40, 0x36];
        let found = datagram.bytes.windows(2).position(|pair| pair == notify);
        if let (Some(34), Some(at)) = (exchange_of(datagram), found) {
            datagram.bytes[at] = 0x9f;
        }
        Verdict::Pass
    });
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    assert!(!pair.is_up());
    assert!(pair.b.failures().contains(&Failure::AuthenticationFailed), "{}", pair.log());
    assert_eq!(pair.a.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 0);
}

//! Post-quantum pre-shared keys (RFC 8784): every combination of who has one and who insists on it.

use core::time::Duration;

use ipsec::{
    Auth, Failure, GatewayEvent, LocalAuth, Ppk, RemoteAuth, SIGNATURE_SCHEMES, SigningKey,
};
use ipsec_testkit::link::Weather;
use ipsec_testkit::pair::{Memory, Node, Pair};
use ipsec_testkit::setup::{Setup, Side, leak};
use ipsec_testkit::toy_keys::public_key;

const MINUTE: Duration = Duration::from_secs(60);
const KEY: &[u8] = b"thirty-two bytes beyond a doubt!";
const OPTIONAL: Ppk<'static> = Ppk { id: b"blue", key: KEY, required: false };
const REQUIRED: Ppk<'static> = Ppk { required: true, ..OPTIONAL };
const OTHER: Ppk<'static> = Ppk { id: b"green", ..OPTIONAL };
const OTHER_REQUIRED: Ppk<'static> = Ppk { id: b"green", ..REQUIRED };

fn with(seed: u64, a: Option<Ppk<'static>>, b: Option<Ppk<'static>>) -> Setup {
    let mut setup = Setup::new(seed);
    setup.a.peers[0].ppk = a;
    setup.b.peers[0].ppk = b;
    setup
}

/// Whether the last IKE SA that was told of has a PPK in its keys.
fn mixed(node: &Node<'_>) -> Option<bool> {
    node.events.iter().rev().find_map(|(_, event)| match event {
        GatewayEvent::IkeUp { agreed, .. } | GatewayEvent::IkeRekeyed { agreed, .. } => {
            Some(agreed.ppk)
        }
        _ => None,
    })
}

/// Both sides sign.
fn signed(mut setup: Setup) -> Setup {
    for (side, own, others) in [(Side::A, 1, 2), (Side::B, 2, 1)] {
        let key = SigningKey { id: own.into(), schemes: SIGNATURE_SCHEMES };
        setup.plan(side).peers[0].auth = Auth {
            local: LocalAuth::RawPublicKey { spki: leak(public_key(own)), key },
            remote: RemoteAuth::RawPublicKey {
                spki: leak(public_key(others)),
                schemes: SIGNATURE_SCHEMES,
            },
        };
    }
    setup
}

fn comes_up(setup: &Setup, ppk: bool) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.bring_up();
    pair.ping();
    assert_eq!((mixed(&pair.a), mixed(&pair.b)), (Some(ppk), Some(ppk)), "{}", pair.log());
    // SK_d is the same on both sides: what is derived of it works.
    pair.rekey_ike(Side::B).unwrap();
    pair.run_for(MINUTE / 12);
    pair.rekey(Side::A).unwrap();
    pair.run_for(MINUTE / 12);
    pair.ping();
    assert_eq!((pair.a.ike_rekeys(), pair.b.child_rekeys()), (1, 1), "{}", pair.log());
    assert_eq!((mixed(&pair.a), mixed(&pair.b)), (Some(ppk), Some(ppk)));
    pair.close_and_check(Side::A);
}

/// What both sides say of a handshake that A begins.
fn fails(setup: &Setup) -> (Vec<Failure>, Vec<Failure>) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    assert!(!pair.a.is_up() && !pair.b.is_up(), "{}", pair.log());
    assert_eq!(pair.a.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 0);
    (pair.a.failures(), pair.b.failures())
}

/// RFC 8784 section 3: a key that both have goes into SK_d and SK_p, and rekeyed IKE SAs inherit it.
#[test]
fn both_have_the_same_key() {
    for (seed, (a, b)) in (1..).zip([
        (OPTIONAL, OPTIONAL),
        (OPTIONAL, REQUIRED),
        (REQUIRED, OPTIONAL),
        (REQUIRED, REQUIRED),
    ]) {
        let setup = with(seed, Some(a), Some(b));
        comes_up(&setup, true);
        comes_up(&signed(setup), true);
    }
}

/// RFC 8784 section 3: without a key on one side, a side that does not insist goes on without.
#[test]
fn an_optional_key_that_only_one_has() {
    comes_up(&with(5, Some(OPTIONAL), None), false);
    comes_up(&with(6, None, Some(OPTIONAL)), false);
    comes_up(&signed(with(7, Some(OPTIONAL), None)), false);
    comes_up(&signed(with(8, None, Some(OPTIONAL))), false);
}

/// RFC 8784 section 3: NO_PPK_AUTH proves the initiator to a responder that does not have the key it names.
#[test]
fn optional_keys_of_different_names() {
    comes_up(&with(9, Some(OPTIONAL), Some(OTHER)), false);
    // Who signs does so twice.
    comes_up(&signed(with(10, Some(OPTIONAL), Some(OTHER))), false);
}

#[test]
fn a_required_key_that_the_other_side_does_not_have() {
    let (a, b) = fails(&with(11, Some(REQUIRED), None));
    assert_eq!((a, b), (vec![Failure::PpkNotShared], vec![]));
    let (a, b) = fails(&with(12, None, Some(REQUIRED)));
    assert_eq!((a, b), (vec![Failure::AuthenticationRefused], vec![Failure::PpkNotShared]));
    for (a, b) in [(REQUIRED, OTHER), (OPTIONAL, OTHER_REQUIRED), (REQUIRED, OTHER_REQUIRED)] {
        let setup = with(13, Some(a), Some(b));
        for setup in [signed(setup.clone()), setup] {
            let (a, b) = fails(&setup);
            assert_eq!((a, b), (vec![Failure::AuthenticationRefused], vec![Failure::PpkNotShared]));
        }
    }
}

#[test]
fn different_keys_of_one_name() {
    let wrong = Ppk { key: b"thirty-two bytes, another secret", ..OPTIONAL };
    let (a, b) = fails(&with(14, Some(wrong), Some(OPTIONAL)));
    assert_eq!((a, b), (vec![Failure::AuthenticationRefused], vec![Failure::AuthenticationFailed]));
}

/// Lost and repeated messages do not mix a key in twice.
#[test]
fn bad_weather() {
    for seed in 100..200 {
        let signs = seed % 2 == 0;
        let setup = with(seed, Some(if signs { OPTIONAL } else { REQUIRED }), Some(OPTIONAL));
        let setup = if signs { signed(setup) } else { setup };
        let setup = setup.weather(Weather::STORM);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(3 * MINUTE, Pair::is_up), "{seed}\n{}", pair.log());
        assert!(pair.ping_until_answered(), "{seed}\n{}", pair.log());
        assert_eq!((mixed(&pair.a), mixed(&pair.b)), (Some(true), Some(true)));
    }
}

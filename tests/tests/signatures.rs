//! IKE_AUTH by signatures: every mixture of methods, and signing and verifying that are late, fail, or never come.

use core::time::Duration;

use ipsec::{
    Auth, AuthKind, Child, ChildRef, DatagramError, DownReason, Failure, Identity, InboundError,
    Job, LocalAuth, RemoteAuth, SIGNATURE_SCHEMES, SigningKey, Sizes, TrafficSelector, Untrusted,
};
use ipsec_core::crypto::{Curve, HashId, SignatureScheme};
use ipsec_ike::identity::ClaimedId;
use ipsec_ike::wire::{AuthMethod, MAX_CERTS};
use ipsec_testkit::link::{Chance, Weather};
use ipsec_testkit::pair::{Jobs, Memory, Pair};
use ipsec_testkit::setup::{PSK, Setup, Side, leak, leak_all, network};
use ipsec_testkit::toy_keys::public_key;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// A network that nobody has.
const LAN_C: TrafficSelector = network(192, 168, 3);
const MOMENT: Duration = Duration::from_millis(100);

/// How a side proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Psk,
    RawKey,
    Certificate,
}

const WAYS: [By; 3] = [By::Psk, By::RawKey, By::Certificate];

const fn name(side: Side) -> (u8, &'static str) {
    match side {
        Side::A => (1, "kolkata.example"),
        Side::B => (2, "delhi.example"),
    }
}

fn certificate(key: u8, identity: &str) -> &'static [u8] {
    leak_all([&public_key(key)[..], identity.as_bytes()].concat())
}

fn local(by: By, side: Side, schemes: &'static [SignatureScheme]) -> LocalAuth<'static> {
    let (id, identity) = name(side);
    let key = SigningKey { id: id.into(), schemes };
    match by {
        By::Psk => LocalAuth::Psk(PSK),
        By::RawKey => LocalAuth::RawPublicKey { spki: leak(public_key(id)), key },
        By::Certificate => {
            LocalAuth::Certificate { chain: leak_all([certificate(id, identity)]), key }
        }
    }
}

fn remote(by: By, side: Side, schemes: &'static [SignatureScheme]) -> RemoteAuth<'static> {
    match by {
        By::Psk => RemoteAuth::Psk(PSK),
        By::RawKey => RemoteAuth::RawPublicKey { spki: leak(public_key(name(side).0)), schemes },
        By::Certificate => RemoteAuth::Certificate { anchors: &[], schemes },
    }
}

/// Each side proves itself in its own way.
fn setup(seed: u64, a: By, b: By) -> Setup {
    let mut setup = Setup::new(seed);
    for side in Side::BOTH {
        let (own, others) = if side == Side::A { (a, b) } else { (b, a) };
        setup.plan(side).peers[0].auth = Auth {
            local: local(own, side, SIGNATURE_SCHEMES),
            remote: remote(others, side.other(), SIGNATURE_SCHEMES),
        };
    }
    setup
}

fn comes_up(setup: &Setup) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.bring_up();
    pair.ping();
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty(), "{}", pair.log());
    pair.rekey_ike(Side::B).unwrap();
    pair.run_for(SECOND);
    pair.ping();
    pair.close_and_check(Side::A);
}

#[test]
fn every_mixture_of_methods() {
    for a in WAYS {
        for b in WAYS {
            comes_up(&setup(1, a, b));
            comes_up(&setup(2, a, b).behind_nat());
        }
    }
}

/// RFC 7427 section 4: the scheme is one whose hash the other side has announced; who announces nothing is sent what
/// RFC 7296 section 3.8 has.
#[test]
fn schemes_are_chosen_by_what_the_peer_knows() {
    use SignatureScheme as S;
    const SHA512: &[S] = &[S::RsaPss(HashId::Sha512)];
    const OLDER: [&[S]; 4] = [
        &[S::RsaPkcs1(HashId::Sha256)],
        &[S::EcdsaRaw(Curve::P256)],
        &[S::EcdsaRaw(Curve::P384)],
        &[S::EcdsaRaw(Curve::P521)],
    ];
    // The preferred of those that the peer knows.
    let mut some = setup(3, By::RawKey, By::RawKey);
    let both = &[S::RsaPss(HashId::Sha256), S::RsaPss(HashId::Sha512)];
    some.a.peers[0].auth.local = local(By::RawKey, Side::A, both);
    some.b.peers[0].auth.remote = remote(By::RawKey, Side::A, SHA512);
    comes_up(&some);
    for schemes in OLDER {
        let mut older = setup(4, By::RawKey, By::RawKey);
        for side in Side::BOTH {
            older.plan(side).peers[0].auth = Auth {
                local: local(By::RawKey, side, schemes),
                remote: remote(By::RawKey, side.other(), schemes),
            };
        }
        comes_up(&older);
    }
    // Nothing in common.
    for side in Side::BOTH {
        let mut none = setup(5, By::RawKey, By::RawKey);
        none.plan(side).peers[0].auth.local = local(By::RawKey, side, &[S::Ecdsa(HashId::Sha256)]);
        none.plan(side.other()).peers[0].auth.remote = remote(By::RawKey, side, SHA512);
        let (a, b) = fails(&none);
        let failures = if side == Side::A { a } else { b };
        assert!(
            matches!(failures[..], [Failure::NoSignatureScheme { theirs: Some(_) }]),
            "{failures:?}"
        );
        assert!(failures[0].to_string().contains("(SHA2-512)"), "{}", failures[0]);
    }
}

/// Begins at A. Then checks that nothing came up, and that nothing is left. Gives what was told to each side.
fn fails(setup: &Setup) -> (Vec<Failure>, Vec<Failure>) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    assert!(!pair.a.is_up() && !pair.b.is_up(), "{}", pair.log());
    pair.a.assert_empty();
    pair.b.assert_empty();
    (pair.a.failures(), pair.b.failures())
}

fn claimed(side: Side) -> ClaimedId {
    ClaimedId::of(&Identity::Fqdn(name(side).1).payload(&mut [0; 16]))
}

/// Whose proof is not believed, and why. The peer is told AUTHENTICATION_FAILED, whatever the reason; or if it is already
/// sure that all is well, that the SA is deleted.
fn is_not_believed(setup: &Setup, who: Side, reason: Untrusted) {
    let (a, b) = fails(setup);
    let untrusted = vec![Failure::Untrusted { claimed: claimed(who), reason }];
    match who {
        Side::A => assert_eq!((a, b), (vec![Failure::AuthenticationRefused], untrusted)),
        Side::B => assert_eq!((a, b), (untrusted, vec![])),
    }
}

#[test]
fn whoever_is_not_believed() {
    for side in Side::BOTH {
        let (key, identity) = name(side);
        let other = SigningKey { id: 77, schemes: SIGNATURE_SCHEMES };
        let own = SigningKey { id: key.into(), schemes: SIGNATURE_SCHEMES };
        let raw =
            |key: u8, with| LocalAuth::RawPublicKey { spki: leak(public_key(key)), key: with };
        let chain = |certificates: &[&'static [u8]], with| {
            let chain = leak_all(certificates.iter().copied());
            LocalAuth::Certificate { chain, key: with }
        };
        let sound = certificate(key, identity);
        for (by, auth, reason) in [
            (By::RawKey, raw(key, other), Untrusted::Signature),
            (By::RawKey, raw(77, other), Untrusted::OtherKey),
            (By::Certificate, chain(&[sound], other), Untrusted::Signature),
            (By::Certificate, chain(&[certificate(key, "other.example")], own), Untrusted::Name),
            (By::Certificate, chain(&[b"abc"], own), Untrusted::Malformed),
            (By::Certificate, chain(&[], own), Untrusted::NoCertificate),
            (By::Certificate, raw(key, own), Untrusted::Unsupported),
        ] {
            let mut setup = setup(6, By::RawKey, By::RawKey);
            setup.plan(side.other()).peers[0].auth.remote = remote(by, side, SIGNATURE_SCHEMES);
            setup.plan(side).peers[0].auth.local = auth;
            is_not_believed(&setup, side, reason);
        }
        // A chain that uses up all that may be sent.
        let mut long = setup(7, By::Certificate, By::Certificate);
        long.plan(side).peers[0].auth.local = chain(&[sound; MAX_CERTS], own);
        comes_up(&long);
    }
}

/// CVE-2020-16088: the comparison of raw public keys was the wrong way round, so that every key but the right one was
/// believed.
#[test]
fn cve_2020_16088_only_the_pinned_key_is_believed() {
    for side in Side::BOTH {
        comes_up(&setup(13, By::RawKey, By::RawKey));
        for other in [0, 77, 255] {
            let mut setup = setup(13, By::RawKey, By::RawKey);
            let key = SigningKey { id: other.into(), schemes: SIGNATURE_SCHEMES };
            let spki = leak(public_key(other));
            setup.plan(side).peers[0].auth.local = LocalAuth::RawPublicKey { spki, key };
            is_not_believed(&setup, side, Untrusted::OtherKey);
        }
    }
}

/// One side proves itself by another method than the other side wants.
#[test]
fn another_method_than_wanted() {
    for side in Side::BOTH {
        for (uses, used, wanted) in [
            (By::Psk, AuthMethod::SHARED_KEY, AuthKind::Certificate),
            (By::RawKey, AuthMethod::DIGITAL_SIGNATURE, AuthKind::Psk),
        ] {
            let mut setup = setup(8, By::RawKey, By::RawKey);
            setup.plan(side).peers[0].auth.local = local(uses, side, SIGNATURE_SCHEMES);
            let wants = if wanted == AuthKind::Psk { By::Psk } else { By::Certificate };
            let wants = remote(wants, side, SIGNATURE_SCHEMES);
            setup.plan(side.other()).peers[0].auth.remote = wants;
            let (a, b) = fails(&setup);
            let refused = vec![Failure::MethodRefused { used, wanted }];
            match side {
                Side::A => assert_eq!((a, b), (vec![Failure::AuthenticationRefused], refused)),
                Side::B => assert_eq!((a, b), (refused, vec![])),
            }
        }
    }
}

/// Signing and verifying that take their time: requests are repeated meanwhile, and nothing is done twice.
#[test]
fn slow_signatures_only_take_longer() {
    for (a, b) in [(By::RawKey, By::RawKey), (By::Psk, By::Certificate), (By::RawKey, By::Psk)] {
        for millis in [1, 700, 5_000] {
            let setup =
                setup(millis, a, b).weather(Weather { loss: Chance::percent(10), ..Weather::FAIR });
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            for side in Side::BOTH {
                pair.node(side).jobs = Jobs::After(Duration::from_millis(millis));
            }
            pair.initiate(Side::A).unwrap();
            assert!(pair.wait(2 * MINUTE, Pair::is_up), "{}", pair.log());
            for side in Side::BOTH {
                pair.node(side).jobs = Jobs::AtOnce;
            }
            pair.run_for(MINUTE);
            pair.close_and_check(Side::A);
        }
    }
}

/// The jobs of a handshake, by side and number of the side's job: key exchange first, then the proofs.
const PROOFS: [(Side, usize); 4] = [(Side::A, 2), (Side::B, 1), (Side::B, 2), (Side::A, 3)];

/// Lets all jobs of a handshake be done but one, which is in `held` then.
fn up_to<'r>(pair: &mut Pair<'r>, (side, nth): (Side, usize)) -> ipsec::JobId {
    pair.node(side).jobs = Jobs::Held;
    pair.initiate(Side::A).unwrap();
    for _ in 0..nth {
        pair.run_for(MOMENT);
        let now = pair.now();
        let id = pair.node(side).held.remove(0);
        pair.node(side).run(now, id);
        pair.flush(side);
    }
    pair.run_for(MOMENT);
    pair.node(side).held.remove(0)
}

/// Before its proof is verified, a peer gets nothing: no SA, no child, no event.
#[test]
fn nothing_is_established_before_both_proofs() {
    for point in PROOFS {
        let setup = setup(9, By::RawKey, By::RawKey);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let id = up_to(&mut pair, point);
        let (waits, answers) = (point.0, matches!(point, (Side::A, 3)));
        let node = pair.node(waits);
        assert!(node.events.is_empty(), "{point:?}\n{}", node.log());
        let used = node.statistics();
        assert_eq!((used.inbound_sas, used.outbound_sas), (usize::from(waits == Side::A), 0));
        // B has answered already only if A's last job is the one that waits.
        assert_eq!(pair.b.is_up(), answers);
        let now = pair.now();
        pair.node(waits).run(now, id);
        pair.node(waits).jobs = Jobs::AtOnce;
        pair.flush(waits);
        pair.run_for(SECOND);
        let waiting = core::mem::take(&mut pair.node(waits).held);
        for id in waiting {
            let now = pair.now();
            pair.node(waits).run(now, id);
            pair.flush(waits);
        }
        pair.run_for(SECOND);
        assert!(pair.is_up(), "{point:?}\n{}", pair.log());
        pair.ping();
        pair.close_and_check(Side::B);
    }
}

/// A proof whose job fails or is never done: both sides hear of it, nothing is left, and another try succeeds.
#[test]
fn proofs_that_fail_or_never_come() {
    for point in PROOFS {
        for fails in [true, false] {
            let setup = setup(10, By::RawKey, By::RawKey);
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            let id = up_to(&mut pair, point);
            let side = point.0;
            if fails {
                let now = pair.now();
                pair.node(side).fail(now, id);
                pair.flush(side);
            }
            pair.run_for(10 * MINUTE);
            assert!(!pair.is_up());
            let claimed = claimed(side.other());
            let expected = match point {
                (_, 2) => Failure::NotSigned,
                _ => Failure::Untrusted { claimed, reason: Untrusted::NotVerified },
            };
            assert_eq!(pair.node(side).failures(), [expected], "{point:?}\n{}", pair.log());
            if side == Side::B {
                assert_eq!(pair.a.failures(), [Failure::AuthenticationRefused]);
            } else if point == (Side::A, 3) {
                assert_eq!(pair.b.ike_downs(), [DownReason::Deleted], "{}", pair.log());
            }
            pair.a.assert_empty();
            pair.b.assert_empty();
            // An answer that comes too late comes to nothing.
            let now = pair.now();
            pair.node(side).run(now, id);
            pair.flush(side);
            pair.node(side).assert_empty();
            pair.node(side).jobs = Jobs::AtOnce;
            pair.bring_up();
            pair.ping();
            pair.close_and_check(Side::A);
        }
    }
}

/// While a signature is being verified, the same request again is only busy, and costs nothing.
#[test]
fn repeated_requests_wait_for_the_job() {
    let setup = setup(11, By::RawKey, By::RawKey);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let id = up_to(&mut pair, (Side::B, 1));
    let before = pair.b.statistics();
    pair.run_for(5 * SECOND);
    assert_eq!(pair.b.statistics().buffers_free, before.buffers_free);
    let busy = InboundError::Ike(DatagramError::Busy);
    assert!(pair.b.errors.iter().filter(|(_, e)| *e == busy).count() > 2, "{:?}", pair.b.errors);
    assert!(pair.b.held.is_empty());
    pair.b.jobs = Jobs::AtOnce;
    let now = pair.now();
    pair.b.run(now, id);
    pair.flush(Side::B);
    assert!(pair.wait(10 * SECOND, Pair::is_up), "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// Initiators that have proven nothing yet wait, each with its message, for a verification that takes its time. They do
/// not get the last buffers: what is established goes on, and new keys come about.
#[test]
fn initiators_that_wait_for_a_job_leave_room_for_what_exists() {
    for buffers in 6..24 {
        let mut setup = setup(12, By::Psk, By::Psk);
        setup.b.config.ike.cookie_threshold = usize::MAX;
        let strangers = 6;
        for side in Side::BOTH {
            let plan = setup.plan(side);
            plan.sizes = Sizes { window: 128, ..Sizes::for_tunnels(16) };
            let mut waits = plan.peers[0];
            waits.auth = Auth {
                local: local(By::RawKey, side, SIGNATURE_SCHEMES),
                remote: remote(By::RawKey, side.other(), SIGNATURE_SCHEMES),
            };
            waits.children = leak_all([Child::new("stranger", waits.children[0].local, &[LAN_C])]);
            // The entry of the tunnel is found by its identities.
            if side == Side::A {
                waits.local_id = Identity::Fqdn("stranger.example");
                plan.peers.extend([waits; 6]);
            } else {
                waits.remote_id = Identity::Fqdn("stranger.example");
                plan.peers.push(waits);
            }
        }
        setup.b.sizes.buffers = buffers;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.b.jobs = Jobs::Held;
        for peer in 1..=strangers {
            let config = ChildRef { peer, child: 0 };
            pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, config)).unwrap();
        }
        let mut verifications = Vec::new();
        for _ in 0..20 {
            pair.run_for(MOMENT);
            let now = pair.now();
            for id in core::mem::take(&mut pair.b.held) {
                if matches!(pair.b.gateway.job(id), Some(Job::Verify(_))) {
                    verifications.push(id);
                } else {
                    pair.b.run(now, id);
                    pair.flush(Side::B);
                }
            }
        }
        assert!(!verifications.is_empty(), "{buffers}\n{}", pair.log());
        assert!(buffers < 16 || verifications.len() > 2, "{buffers} {}", verifications.len());
        pair.ping();
        for side in Side::BOTH {
            let rekeys = (pair.a.child_rekeys(), pair.b.child_rekeys());
            pair.rekey(side).unwrap();
            pair.run_for(MOMENT);
            let now = (pair.a.child_rekeys(), pair.b.child_rekeys());
            assert_eq!(now, (rekeys.0 + 1, rekeys.1 + 1), "{buffers} {side:?}\n{}", pair.log());
        }
        pair.ping();
    }
}

/// Messages that no buffer can hold: the cause is told where it is seen.
#[test]
fn chains_that_are_too_long() {
    let long = || leak_all(vec![7; 5000]);
    for side in Side::BOTH {
        let mut setup = setup(12, By::Certificate, By::Certificate);
        let (key, identity) = name(side);
        let key_of = SigningKey { id: key.into(), schemes: SIGNATURE_SCHEMES };
        let chain = leak_all([certificate(key, identity), long()]);
        setup.plan(side).peers[0].auth.local = LocalAuth::Certificate { chain, key: key_of };
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(10 * MINUTE);
        assert!(pair.node(side).failures().contains(&Failure::TooLong), "{}", pair.log());
        assert!(!pair.is_up());
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

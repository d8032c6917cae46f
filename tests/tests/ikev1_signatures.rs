//! Phase 1 of IKEv1 by signatures and certificates, and what happens when somebody is not believed.

use core::time::Duration;

use ipsec::{
    Auth, Config, DownReason, Failure, Gateway, GatewayConfig, GatewayEvent, Identity, LocalAuth,
    Peer, Phase1Mode, Pools, RemoteAuth, SIGNATURE_SCHEMES, SetupError, SigningKey, Untrusted, V1,
    Versions,
};
use ipsec_core::crypto::{Curve, HashId, SignatureScheme};
use ipsec_ike::identity::ClaimedId;
use ipsec_testkit::link::{Chance, Datagram, Verdict, Weather};
use ipsec_testkit::pair::{Jobs, Memory, Pair, Vecs};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::setup::{PSK, Setup, Side, leak, leak_all};
use ipsec_testkit::toy::Toy;
use ipsec_testkit::toy_keys::public_key;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(100);

const RSA: &[SignatureScheme] = &[SignatureScheme::RsaIkev1];
const P256: &[SignatureScheme] = &[SignatureScheme::EcdsaIkev1(Curve::P256)];
const P384: &[SignatureScheme] = &[SignatureScheme::EcdsaIkev1(Curve::P384)];
const P521: &[SignatureScheme] = &[SignatureScheme::EcdsaIkev1(Curve::P521)];

const MODES: [V1<'static>; 2] = [V1::MAIN, V1::AGGRESSIVE];

const fn name(side: Side) -> (u8, &'static str) {
    match side {
        Side::A => (1, "kolkata.example"),
        Side::B => (2, "delhi.example"),
    }
}

fn certificate(key: u8, identity: &str) -> &'static [u8] {
    leak_all([&public_key(key)[..], identity.as_bytes()].concat())
}

fn with_certificate(side: Side, schemes: &'static [SignatureScheme]) -> LocalAuth<'static> {
    let (id, identity) = name(side);
    let key = SigningKey { id: id.into(), schemes };
    LocalAuth::Certificate { chain: leak_all([certificate(id, identity)]), key }
}

/// Both sides sign so, with certificates.
fn signed(seed: u64, v1: V1<'static>, schemes: &'static [SignatureScheme]) -> Setup {
    let mut setup = Setup::new(seed).peers(|peer| peer.versions = Versions::V1(v1));
    for side in Side::BOTH {
        setup.plan(side).peers[0].auth = Auth {
            local: with_certificate(side, schemes),
            remote: RemoteAuth::Certificate { anchors: &[], schemes: SIGNATURE_SCHEMES },
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
    pair.close_and_check(Side::A);
}

/// RFC 2409 sections 5.1 and 5.4, RFC 4754: every kind of signature, in both modes, with and without a NAT.
#[test]
fn every_method_in_both_modes() {
    for v1 in MODES {
        for schemes in [RSA, P256, P384, P521, SIGNATURE_SCHEMES] {
            comes_up(&signed(1, v1, schemes));
        }
        comes_up(&signed(2, v1, P256).behind_nat());
        // Keys that both know, and no certificate.
        let mut raw = signed(3, v1, RSA);
        for side in Side::BOTH {
            let spki = |side| leak(public_key(name(side).0));
            let key = SigningKey { id: name(side).0.into(), schemes: RSA };
            raw.plan(side).peers[0].auth = Auth {
                local: LocalAuth::RawPublicKey { spki: spki(side), key },
                remote: RemoteAuth::RawPublicKey { spki: spki(side.other()), schemes: RSA },
            };
        }
        comes_up(&raw);
    }
}

/// Begins at A. Then checks that nothing came up, and that nothing is left. Gives what was told to each side.
fn fails(setup: &Setup) -> (Vec<Failure>, Vec<Failure>) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.count(|e| matches!(e, GatewayEvent::ChildUp { .. })), 0, "{}", pair.log());
    }
    let told = (pair.a.failures(), pair.b.failures());
    pair.close_and_check(Side::A);
    told
}

/// Whoever is not believed, and why: the same reasons as in IKEv2.
#[test]
fn whoever_is_not_believed() {
    for v1 in MODES {
        for side in Side::BOTH {
            let (key, identity) = name(side);
            let with = |id: u8| SigningKey { id: id.into(), schemes: RSA };
            let chain = |certificates: &[&'static [u8]], key| LocalAuth::Certificate {
                chain: leak_all(certificates.iter().copied()),
                key,
            };
            let sound = certificate(key, identity);
            for (auth, reason) in [
                (chain(&[sound], with(77)), Untrusted::Signature),
                (chain(&[certificate(key, "other.example")], with(key)), Untrusted::Name),
                (chain(&[b"abc"], with(key)), Untrusted::Malformed),
                (chain(&[], with(key)), Untrusted::NoCertificate),
            ] {
                let mut setup = signed(4, v1, RSA);
                setup.plan(side).peers[0].auth.local = auth;
                let (a, b) = fails(&setup);
                let told = if side == Side::A { &b } else { &a };
                let claimed = ClaimedId::of(&Identity::Fqdn(identity).payload(&mut [0; 16]));
                let expected = Failure::Untrusted { claimed, reason };
                assert!(
                    !told.is_empty() && told.iter().all(|failure| *failure == expected),
                    "{v1:?} {side:?} {reason}: {a:?} {b:?}"
                );
            }
        }
    }
}

/// A responder that the initiator does not believe takes the SA for established, and is told that it is gone.
#[test]
fn whoever_is_not_believed_is_told_that_it_is_over() {
    let mut setup = signed(5, V1::MAIN, RSA);
    let other = SigningKey { id: 77, schemes: RSA };
    let chain = leak_all([certificate(2, "delhi.example")]);
    setup.b.peers[0].auth.local = LocalAuth::Certificate { chain, key: other };
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(5 * MINUTE);
    assert_eq!(pair.b.ike_downs(), [DownReason::Deleted], "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// The methods of both sides differ: RFC 2409 section 5 has one for both, and it is agreed on first.
#[test]
fn the_method_is_agreed_on_first() {
    for v1 in MODES {
        let mut setup = signed(6, v1, RSA);
        setup.b.peers[0].auth.local = with_certificate(Side::B, P256);
        let (_, b) = fails(&setup);
        assert!(matches!(b[0], Failure::Phase1Mismatch(_)), "{b:?}");
        assert!(b[0].to_string().contains("RSA"), "{}", b[0]);
        // A pre-shared key on one side.
        let mut setup = signed(7, v1, RSA);
        setup.b.peers[0].auth = Auth::psk(PSK);
        let (_, b) = fails(&setup);
        assert!(matches!(b[0], Failure::Phase1Mismatch(_)), "{b:?}");
    }
}

/// What IKEv2 alone can do, each side in its own way, or by signatures that IKEv1 does not have: refused at the start, where
/// IKEv1 may be spoken.
#[test]
fn each_side_in_its_own_way() {
    for (local, schemes) in [
        (LocalAuth::Psk(PSK), SIGNATURE_SCHEMES),
        (with_certificate(Side::A, &[SignatureScheme::Ed25519]), SIGNATURE_SCHEMES),
        (with_certificate(Side::A, RSA), &[SignatureScheme::RsaPkcs1(HashId::Sha256)]),
    ] {
        let plan = signed(8, V1::MAIN, RSA).a;
        let remote = RemoteAuth::Certificate { anchors: &[], schemes };
        for (versions, refused) in [
            (Versions::V2, false),
            (Versions::V1(V1::MAIN), true),
            (Versions::Either(V1::AGGRESSIVE), true),
        ] {
            let mut peers = plan.peers.clone();
            peers[0] = Peer { versions, auth: Auth { local, remote }, ..peers[0] };
            let ike = Config { peers: &peers, ..plan.config.ike };
            let config = GatewayConfig { ike, ..plan.config };
            let mut pools = Pools::<Toy, Vecs>::new(&plan.sizes);
            let made = Gateway::new(&config, pools.lend(), &mut SeededRng::new(4));
            let refused = refused.then_some(SetupError::NoMethod(0));
            assert_eq!(made.err(), refused, "{versions:?}");
        }
    }
}

/// Signing and verifying that take their time, on a network that loses messages.
#[test]
fn slow_signatures_only_take_longer() {
    for v1 in MODES {
        for millis in [1, 700, 5_000] {
            let weather = Weather { loss: Chance::percent(10), ..Weather::FAIR };
            let setup = signed(millis, v1, RSA).weather(weather);
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            for side in Side::BOTH {
                pair.node(side).jobs = Jobs::After(Duration::from_millis(millis));
            }
            pair.initiate(Side::A).unwrap();
            assert!(pair.wait(3 * MINUTE, Pair::is_up), "{}", pair.log());
            for side in Side::BOTH {
                pair.node(side).jobs = Jobs::AtOnce;
            }
            pair.run_for(MINUTE);
            pair.close_and_check(Side::A);
        }
    }
}

/// The proofs among the jobs of a handshake, by side and number of the side's job; in the order of Main Mode, and of
/// Aggressive Mode.
const PROOFS: [[(Side, usize); 4]; 2] = [
    [(Side::A, 2), (Side::B, 1), (Side::B, 2), (Side::A, 3)],
    [(Side::B, 1), (Side::A, 2), (Side::A, 3), (Side::B, 2)],
];

/// A proof whose job fails or is never done: the side whose job it is hears of it, nothing is left, and another try
/// succeeds.
#[test]
fn proofs_that_fail_or_never_come() {
    for (v1, proofs) in MODES.into_iter().zip(PROOFS) {
        for (side, nth) in proofs {
            for fails in [true, false] {
                let setup = signed(10, v1, RSA);
                let mut memory = Memory::new(&setup);
                let mut pair = Pair::new(&setup, &mut memory);
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
                let id = pair.node(side).held.remove(0);
                if fails {
                    let now = pair.now();
                    pair.node(side).fail(now, id);
                    pair.flush(side);
                }
                pair.run_for(10 * MINUTE);
                assert!(!pair.is_up());
                let failures = pair.node(side).failures();
                // An initiator that hears nothing begins again, and a doubted answer may be followed by another: nobody
                // does those jobs either.
                let again = side == Side::A && v1.mode == Phase1Mode::Aggressive;
                assert!(
                    matches!(
                        failures[0],
                        Failure::NotSigned
                            | Failure::Untrusted { reason: Untrusted::NotVerified, .. }
                    ) || again && failures[0] == Failure::Crypto,
                    "{v1:?} {side:?} {nth}: {failures:?}\n{}",
                    pair.log()
                );
                let now = pair.now();
                pair.node(side).run(now, id);
                pair.flush(side);
                pair.node(side).held.clear();
                pair.node(side).jobs = Jobs::AtOnce;
                pair.run_for(10 * MINUTE);
                pair.bring_up();
                pair.ping();
                pair.close_and_check(Side::A);
            }
        }
    }
}

/// Every kind of bad weather.
#[test]
fn signatures_in_bad_weather() {
    for v1 in MODES {
        for seed in 20..24 {
            let setup = signed(seed, v1, P256).weather(Weather::STORM);
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.initiate(Side::A).unwrap();
            assert!(pair.wait(10 * MINUTE, Pair::is_up), "{}", pair.log());
            pair.run_for(SECOND);
        }
    }
}

/// Chains of some 1,500 bytes, over a path of packets of 576.
fn long_chains(seed: u64, v1: V1<'static>) -> Setup {
    let setup = signed(seed, v1, RSA).peers(|peer| peer.fragment_size = Some(576));
    let mut setup = setup.sizes(|sizes| sizes.buffer_len = 2500);
    for side in Side::BOTH {
        let (id, identity) = name(side);
        let filler: &'static [u8] = leak_all([0xa5; 500]);
        let chain = leak_all([certificate(id, identity), filler, filler]);
        let key = SigningKey { id: id.into(), schemes: RSA };
        setup.plan(side).peers[0].auth.local = LocalAuth::Certificate { chain, key };
    }
    setup
}

/// Messages of IKEv1 that are one fragment each: the payload of type 132, in the clear.
fn fragments(pair: &Pair<'_>, from: Side) -> usize {
    let is_fragment = |datagram: &Datagram| {
        let bytes = &datagram.bytes[..];
        let bytes = if datagram.source.port == 500 { bytes } else { bytes.get(4..).unwrap_or(&[]) };
        bytes.len() > 28 && bytes[16] == 132 && bytes[17] == 0x10
    };
    // B is never behind a NAT.
    let by_b = |datagram: &Datagram| datagram.source.address == pair.b.address;
    let sent = pair.link.tap().iter().filter(|c| by_b(&c.datagram) == (from == Side::B));
    sent.filter(|c| is_fragment(&c.datagram)).count()
}

/// Both sides announce FRAGMENTATION: what is too long for the path goes in pieces, in both modes, with a NAT between, and
/// on a network that loses, repeats and reorders them.
#[test]
fn long_messages_go_in_fragments() {
    for v1 in MODES {
        for (setup, fair) in [
            (long_chains(30, v1), true),
            (long_chains(31, v1).behind_nat(), true),
            (long_chains(32, V1::MAIN).weather(Weather::STORM), false),
        ] {
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.initiate(Side::A).unwrap();
            assert!(pair.wait(10 * MINUTE, Pair::is_up), "{}", pair.log());
            for side in Side::BOTH {
                assert!(fragments(&pair, side) >= 3, "{v1:?} {side:?}\n{}", pair.log());
            }
            // The first message is sent before anything is known of the other side.
            let is_first = |d: &Datagram| d.destination.port == 500 && d.bytes[8..16] == [0; 8];
            let mut sent = pair.link.tap().iter().map(|c| &c.datagram);
            let long = sent.find(|d| d.packet_len() > 576 && !is_first(d));
            assert!(long.is_none(), "{v1:?} {long:?}");
            if fair {
                pair.ping();
                pair.close_and_check(Side::A);
            }
        }
    }
}

/// Whoever does not announce it gets whole messages.
#[test]
fn fragments_are_for_those_who_want_them() {
    for side in Side::BOTH {
        let mut setup = long_chains(33, V1::MAIN);
        setup.plan(side).peers[0].fragment_size = None;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        assert_eq!((fragments(&pair, Side::A), fragments(&pair, Side::B)), (0, 0));
        pair.close_and_check(Side::A);
    }
}

/// Nothing authenticates a fragment: forged ones, with the right cookies and from the right address, spoil a message, cost
/// one buffer, and the message that is sent again comes through.
#[test]
fn forged_fragments_only_cost_time() {
    let setup = long_chains(34, V1::MAIN);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let mut forged = 0u16;
    pair.link.set_hook(move |_, datagram| {
        let bytes = &mut datagram.bytes;
        if forged < 4 && bytes.len() > 36 && bytes[16] == 132 && bytes[17] == 0x10 {
            // A piece of another message, of which there are no others.
            forged += 1;
            bytes[32..34].copy_from_slice(&forged.to_be_bytes());
        }
        Verdict::Pass
    });
    pair.initiate(Side::A).unwrap();
    assert!(pair.wait(5 * MINUTE, Pair::is_up), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::A);
}

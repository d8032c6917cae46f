//! Every mistake that a user can make in a configuration, and the event that explains it.

use core::time::Duration;

use ipsec::{
    Auth, ChildProposal, ChildRef, CommandError, DatagramError, DownReason, Failure, GatewayEvent,
    Group, Identity, IkeProposal, InboundError, Instant, PrfId, Retransmission, Suite,
};
use ipsec_core::crypto::Encr;
use ipsec_ike::identity::ClaimedId;
use ipsec_ike::wire::{ExchangeType, NotifyType, TransformType};
use ipsec_testkit::link::{Datagram, Verdict};
use ipsec_testkit::pair::{Memory, Node, Pair, Sent};
use ipsec_testkit::setup::{HOST_A, LAN_A, LAN_B, Setup, Side, TUNNEL, leak_all, network, v4};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Begins at A and gives it some minutes. Then checks that nothing came up, and that nothing is left. Gives what was
/// told to each side.
fn fails(setup: &Setup) -> (Vec<Failure>, Vec<Failure>) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.count(|e| matches!(e, GatewayEvent::ChildUp { .. })), 0, "{}", pair.log());
        node.assert_empty();
    }
    // Everything can be tried again.
    let (a, b) = (pair.a.failures(), pair.b.failures());
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    assert_eq!(pair.a.failures(), [a.clone(), a.clone()].concat());
    assert_eq!(pair.b.failures(), [b.clone(), b.clone()].concat());
    (a, b)
}

#[test]
fn different_pre_shared_keys() {
    let mut setup = Setup::new(1);
    setup.b.peers[0].auth = Auth::psk(b"quite another key, as happens");
    let (a, b) = fails(&setup);
    assert_eq!(a, [Failure::AuthenticationRefused]);
    assert_eq!(b, [Failure::AuthenticationFailed]);
    assert!(a[0].to_string().contains("pre-shared keys differ"));
    assert!(b[0].to_string().contains("pre-shared keys differ"));
}

#[test]
fn different_pre_shared_keys_are_told_within_a_second() {
    let mut setup = Setup::new(1);
    setup.a.peers[0].auth = Auth::psk(b"quite another key, as happens");
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    // Not at once: the answer of another, who has the key, may be on its way.
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.a.failures(), [Failure::AuthenticationRefused]);
    assert_eq!(pair.b.failures(), [Failure::AuthenticationFailed]);
    let failed = pair.a.events.iter().find_map(|(_, event)| match event {
        GatewayEvent::Failed { peer, child, .. } => Some((*peer, *child)),
        _ => None,
    });
    assert_eq!(failed, Some((Some(0), Some(TUNNEL))));
}

fn claimed(id: &str) -> ClaimedId {
    ClaimedId::of(&Identity::parse(id).payload(&mut [0; 16]))
}

/// The responder does not know who begins.
#[test]
fn an_unknown_initiator() {
    let mut setup = Setup::new(2);
    setup.a.peers[0].local_id = Identity::Fqdn("mumbai.example");
    let (a, b) = fails(&setup);
    assert_eq!(a, [Failure::AuthenticationRefused]);
    assert_eq!(b, [Failure::UnknownIdentity { claimed: claimed("mumbai.example") }]);
    assert!(b[0].to_string().contains("mumbai.example"));
    assert!(a[0].to_string().contains("does not know our identity"));
}

/// The initiator asks for somebody else than the one who answers.
#[test]
fn another_responder_is_wanted() {
    let mut setup = Setup::new(3);
    setup.a.peers[0].remote_id = Identity::Fqdn("chennai.example");
    let (a, b) = fails(&setup);
    assert_eq!(a, [Failure::AuthenticationRefused]);
    assert_eq!(b, [Failure::UnknownIdentity { claimed: claimed("kolkata.example") }]);
}

/// The responder proves to be somebody else than the initiator wants.
#[test]
fn the_responder_is_another_one() {
    let mut setup = Setup::new(3);
    // It does not mind whom the initiator asks for, and gives its address as its name.
    setup.b.peers[0].local_id = Identity::Any;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.failures(), [Failure::UnknownIdentity { claimed: claimed("198.51.100.2") }]);
    assert!(pair.a.failures()[0].to_string().contains("identity"));
    assert!(!pair.a.is_up());
    // RFC 7296 section 2.21.2: the responder believes that all is well, and hears that it is not.
    assert!(!pair.b.is_up(), "{}", pair.log());
    assert_eq!(pair.b.ike_downs(), [DownReason::Deleted], "{}", pair.log());
    pair.run_for(10 * MINUTE);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

const CHACHA: &[IkeProposal<'static>] = &[IkeProposal {
    suites: &[Suite::CHACHA20_POLY1305],
    prfs: &[PrfId::HMAC_SHA2_512],
    groups: &[Group::P256],
    additional: &[],
}];
const AES: &[IkeProposal<'static>] = &[IkeProposal {
    suites: &[Suite::AES_256_GCM],
    prfs: &[PrfId::HMAC_SHA2_256],
    groups: &[Group::X25519, Group::MODP_2048],
    additional: &[],
}];

#[test]
fn no_common_proposal_for_ike() {
    let mut setup = Setup::new(4);
    setup.a.peers[0].proposals = CHACHA;
    setup.b.peers[0].proposals = AES;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    assert_eq!(pair.a.failures(), [Failure::ProposalRefused], "{}", pair.log());
    assert!(pair.a.failures()[0].to_string().contains("compare the algorithms"));
    // Nobody vouches for the refusal, so the request is repeated a few times before it is believed.
    let failures = pair.b.failures();
    assert!((2..=5).contains(&failures.len()), "{}", pair.log());
    for failure in failures {
        let Failure::NoProposal { offered } = failure.clone() else { panic!("{failure}") };
        let of = |kind| offered.iter().filter(|o| o.kind == kind).map(|o| o.id).collect::<Vec<_>>();
        assert_eq!(of(TransformType::ENCR), [Encr::CHACHA20_POLY1305.0]);
        assert_eq!(of(TransformType::PRF), [PrfId::HMAC_SHA2_512.0]);
        assert_eq!(of(TransformType::KE), [Group::P256.0]);
        assert!(failure.to_string().contains("ChaCha20-Poly1305"), "{failure}");
    }
    pair.a.assert_empty();
    pair.b.assert_empty();
}

const CHACHA_ESP: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::CHACHA20_POLY1305],
    groups: &[],
    esn: false,
    additional: &[],
}];
const AES_ESP: &[ChildProposal<'static>] =
    &[ChildProposal { suites: &[Suite::AES_128_GCM], groups: &[], esn: false, additional: &[] }];
const AES_ESN: &[ChildProposal<'static>] =
    &[ChildProposal { suites: &[Suite::AES_128_GCM], groups: &[], esn: true, additional: &[] }];
const AES_PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_GCM],
    groups: &[Group::X25519],
    esn: false,
    additional: &[],
}];
const AES_OTHER_PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_GCM],
    groups: &[Group::P256],
    esn: false,
    additional: &[],
}];
const AES_BOTH_PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_GCM],
    groups: &[Group::P256, Group::X25519],
    esn: false,
    additional: &[],
}];

/// Which tunnels its failures are about.
fn about(node: &Node<'_>) -> Vec<Option<ChildRef>> {
    let told = node.events.iter().filter_map(|(_, event)| match event {
        GatewayEvent::Failed { child, .. } => Some(*child),
        _ => None,
    });
    told.collect()
}

/// RFC 7296 section 1.2: the IKE SA stands although its first child does not.
fn only_ike_comes_up(setup: &Setup) -> (Vec<Failure>, Vec<Failure>) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 1, "{}", pair.log());
        assert!(!node.is_up());
        assert_eq!(node.statistics().children, 0, "{}", pair.log());
        assert_eq!(node.statistics().inbound_sas, 0, "{}", pair.log());
    }
    let failures = (pair.a.failures(), pair.b.failures());
    // Again, now by a CREATE_CHILD_SA: the same.
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.failures(), [failures.0.clone(), failures.0.clone()].concat());
    assert_eq!(pair.b.failures(), [failures.1.clone(), failures.1.clone()].concat());
    assert_eq!(about(&pair.a), [Some(TUNNEL); 2], "{}", pair.log());
    pair.close_and_check(Side::A);
    failures
}

#[test]
fn no_common_proposal_for_the_child() {
    let mut setup = Setup::new(5).children_of(Side::A, |child| child.proposals = CHACHA_ESP);
    setup = setup.children_of(Side::B, |child| child.proposals = AES_ESP);
    let (a, b) = only_ike_comes_up(&setup);
    assert_eq!(a, [Failure::ProposalRefused]);
    assert!(matches!(&b[..], [Failure::NoProposal { offered }]
        if offered.iter().any(|o| o.id == Encr::CHACHA20_POLY1305.0)));
}

#[test]
fn extended_sequence_numbers_on_one_side_only() {
    for (a, b) in [(AES_ESP, AES_ESN), (AES_ESN, AES_ESP)] {
        let mut setup = Setup::new(6).children_of(Side::A, |child| child.proposals = a);
        setup = setup.children_of(Side::B, |child| child.proposals = b);
        let (a, b) = only_ike_comes_up(&setup);
        assert_eq!(a, [Failure::ProposalRefused]);
        assert!(b[0].to_string().contains("ESN"), "{}", b[0]);
    }
}

#[test]
fn no_common_selectors() {
    let setup = Setup::new(7).children_of(Side::A, |child| {
        child.local = leak_all([network(10, 9, 9)]);
    });
    let (a, b) = only_ike_comes_up(&setup);
    assert_eq!(a, [Failure::SelectorsRefused]);
    assert!(a[0].to_string().contains("compare the networks"));
    let expected = Failure::NoSelectors { theirs: Some(network(10, 9, 9)), ours: Some(LAN_B) };
    assert_eq!(b, [expected]);
    assert!(b[0].to_string().contains("10.9.9.0"), "{}", b[0]);
}

/// RFC 7296 section 2.9: less is agreed than was asked for, and only that passes.
#[test]
fn selectors_are_narrowed() {
    let setup = Setup::new(8).children_of(Side::A, |child| {
        child.local = leak_all([LAN_A, network(10, 9, 9)]);
    });
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let host_b = pair.b.host;
    let elsewhere = v4(10, 9, 9, 1);
    assert_eq!(pair.send_between(Side::A, (elsewhere, host_b), 1), Sent::Discarded);
    assert_eq!(pair.send_between(Side::A, (HOST_A, host_b), 1), Sent::Sealed);
    pair.close_and_check(Side::A);
}

/// One side wants perfect forward secrecy and the other does not, or in another group: the first child comes up, since
/// it has no key exchange of its own, and its rekeying is refused (RFC 7296 section 1.3). The old child goes on.
#[test]
fn perfect_forward_secrecy_on_one_side_only() {
    let (none, x25519, p256) = (Group::NONE, Group::X25519, Group::P256);
    for (ours, theirs, groups) in [
        (AES_PFS, AES_ESP, (x25519, none)),
        (AES_ESP, AES_PFS, (none, x25519)),
        (AES_PFS, AES_OTHER_PFS, (x25519, p256)),
    ] {
        let mut setup = Setup::new(9).children_of(Side::A, |child| child.proposals = ours);
        setup = setup.children_of(Side::B, |child| child.proposals = theirs);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.rekey(Side::A).unwrap();
        pair.run_for(SECOND);
        assert_eq!(pair.a.failures(), [Failure::PfsRefused { ours: groups.0 }], "{}", pair.log());
        let mismatch = Failure::PfsMismatch { theirs: groups.0, ours: groups.1 };
        assert_eq!(pair.b.failures(), [mismatch], "{}", pair.log());
        for node in [&pair.a, &pair.b] {
            assert!(node.failures()[0].to_string().contains("PFS differs"));
            assert_eq!(about(node), [Some(TUNNEL)]);
        }
        assert_eq!(pair.a.child_rekeys() + pair.b.child_rekeys(), 0);
        pair.ping();
        pair.close_and_check(Side::B);
    }
}

/// RFC 7296 section 1.3: the other group is asked for, and used.
#[test]
fn a_group_for_the_child_that_the_other_side_likes_better() {
    let mut setup = Setup::new(10).children_of(Side::A, |child| child.proposals = AES_BOTH_PFS);
    setup = setup.children_of(Side::B, |child| child.proposals = AES_PFS);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.rekey(Side::A).unwrap();
    pair.run_for(SECOND);
    let group = pair.a.events.iter().find_map(|(_, event)| match event {
        GatewayEvent::ChildRekeyed { agreed, .. } => Some(agreed.group),
        _ => None,
    });
    assert_eq!(group, Some(Group::X25519), "{}", pair.log());
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty(), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::B);
}

/// RFC 7296 section 1.2: the initiator guesses a group, and is told another one.
#[test]
fn a_group_for_ike_that_the_other_side_likes_better() {
    let mut setup = Setup::new(11);
    setup.b.peers[0].proposals = AES;
    setup.a.peers[0].proposals = &[IkeProposal {
        suites: &[Suite::AES_256_GCM],
        prfs: &[PrfId::HMAC_SHA2_256],
        groups: &[Group::P256, Group::MODP_2048],
        additional: &[],
    }];
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    pair.rekey_ike(Side::B).unwrap();
    pair.run_for(SECOND);
    pair.rekey_ike(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (2, 2), "{}", pair.log());
    let groups = pair.b.events.iter().filter_map(|(_, event)| match event {
        GatewayEvent::IkeUp { agreed, .. } | GatewayEvent::IkeRekeyed { agreed, .. } => {
            Some(agreed.group)
        }
        _ => None,
    });
    assert_eq!(groups.collect::<Vec<_>>(), [Group::MODP_2048; 3]);
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty(), "{}", pair.log());
    pair.close_and_check(Side::B);
}

const HASTY: Retransmission =
    Retransmission { first: Duration::from_secs(1), longest: Duration::from_secs(4), tries: 5 };

/// RFC 7296 section 2.4: the request is repeated with growing pauses, and then the peer is given up.
#[test]
fn a_silent_peer() {
    let setup = Setup::new(12).peers(|peer| peer.retransmission = HASTY);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(|_, _| Verdict::Drop);
    pair.initiate(Side::A).unwrap();
    let begin = pair.now();
    pair.run_for(MINUTE);
    let expected = Failure::PeerSilent {
        exchange: ExchangeType::IKE_SA_INIT,
        tries: 6,
        nat_port: false,
        hint: None,
    };
    assert_eq!(pair.a.failures(), std::slice::from_ref(&expected));
    assert!(expected.to_string().contains("nothing ever came back"), "{expected}");
    let sent: Vec<_> = pair.link.tap().iter().map(|c| c.at.since(begin).as_millis()).collect();
    assert_eq!(sent, [0, 1000, 2500, 4750, 8125, 12_125]);
    let told = pair.a.events.iter().map(|(at, _)| at.since(begin).as_millis());
    assert_eq!(told.collect::<Vec<_>>(), [16_125]);
    pair.a.assert_empty();
    // The line is repaired: traffic brings the tunnel up.
    pair.link.clear_hook();
    assert_eq!(pair.send(Side::A, 1), Sent::Waiting);
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::A);
}

/// A firewall lets port 500 through, and not 4500.
#[test]
fn port_4500_is_closed() {
    let setup = Setup::new(13).behind_nat().peers(|peer| peer.retransmission = HASTY);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(|_, datagram| {
        if datagram.destination.port == 4500 { Verdict::Drop } else { Verdict::Pass }
    });
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    let expected = Failure::PeerSilent {
        exchange: ExchangeType::IKE_AUTH,
        tries: 6,
        nat_port: true,
        hint: None,
    };
    assert_eq!(pair.a.failures(), std::slice::from_ref(&expected));
    assert!(expected.to_string().contains("none from 4500"), "{expected}");
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn an_unknown_address() {
    let mut setup = Setup::new(14).peers(|peer| peer.retransmission = HASTY);
    setup.b.peers[0].remote = Some(v4(203, 0, 113, 9));
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    assert!(matches!(&pair.a.failures()[..], [Failure::PeerSilent { .. }]), "{}", pair.log());
    assert!(pair.b.failures().iter().all(|f| *f == Failure::UnknownPeer), "{}", pair.log());
    assert_eq!(pair.b.failures().len(), 6);
    let path = pair.b.events.iter().find_map(|(_, event)| match event {
        GatewayEvent::Failed { path, peer: None, .. } => Some(*path),
        _ => None,
    });
    // It says who knocked.
    assert_eq!(path.map(|path| path.remote.address), Some(pair.a.address));
    let refused = InboundError::Ike(DatagramError::UnknownPeer);
    assert!(pair.b.errors.iter().all(|(_, e)| *e == refused), "{}", pair.log());
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// A refusal without proof of its origin is only a hint: it is told if nothing better comes.
#[test]
fn a_refusal_that_nobody_vouches_for_is_a_hint() {
    let setup = Setup::new(15).peers(|peer| peer.retransmission = HASTY);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    // Instead of the peer's answers: INVALID_SYNTAX.
    pair.link.set_hook(|_, datagram| {
        if datagram.source.address == ipsec_testkit::setup::ADDRESS_B {
            let mut message = datagram.bytes[..28].to_vec();
            message[16] = 41;
            message[24..28].copy_from_slice(&36u32.to_be_bytes());
            message.extend([0, 0, 0, 8, 0, 0, 0, 7]);
            datagram.bytes = message;
        }
        Verdict::Pass
    });
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    let hint = Some(NotifyType::INVALID_SYNTAX);
    let failures = pair.a.failures();
    let [Failure::PeerSilent { exchange: ExchangeType::IKE_SA_INIT, hint: told, .. }] =
        &failures[..]
    else {
        panic!("{failures:?}")
    };
    assert_eq!(*told, hint);
    assert!(failures[0].to_string().contains("INVALID_SYNTAX"), "{}", failures[0]);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// An answer that cannot be used may be forged: another one is waited for, and if none comes, that is told.
#[test]
fn an_answer_that_cannot_be_used_is_told() {
    let setup = Setup::new(17).peers(|peer| peer.retransmission = HASTY);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    // The peer's answers choose an encryption that we did not offer: of the first transform of the first payload.
    let spoil = |datagram: &mut Datagram| {
        assert_eq!(datagram.bytes[16], 33, "the proposal is the first payload");
        datagram.bytes[28 + 4 + 8 + 6] = 0x77;
    };
    pair.link.set_hook(move |_, datagram| {
        if datagram.source.address == ipsec_testkit::setup::ADDRESS_B {
            spoil(datagram);
        }
        Verdict::Pass
    });
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    let [failure @ Failure::AnswerUnusable { tries: 2.. }] = &pair.a.failures()[..] else {
        panic!("{}", pair.log())
    };
    assert!(failure.to_string().contains("no usable answer to IKE_SA_INIT"), "{failure}");
    pair.a.assert_empty();
    // The true one comes in time.
    pair.link.clear_hook();
    let mut first = true;
    pair.link.set_hook(move |_, datagram| {
        if datagram.source.address == ipsec_testkit::setup::ADDRESS_B && first {
            spoil(datagram);
            first = false;
        }
        Verdict::Pass
    });
    pair.bring_up();
}

#[test]
fn commands_that_cannot_be_done() {
    let setup = Setup::new(16).behind_nat();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    // B does not know where A is.
    assert_eq!(pair.initiate(Side::B), Err(CommandError::NoAddress));
    assert!(matches!(
        pair.send(Side::B, 1),
        Sent::Refused(ipsec::OutboundError::Start(CommandError::NoAddress))
    ));
    assert_eq!(pair.rekey(Side::A), Err(CommandError::Unknown));
    assert_eq!(pair.close(Side::A), Err(CommandError::Unknown));
    let unknown = ChildRef { peer: 3, child: 0 };
    let begun = pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, unknown));
    assert_eq!(begun, Err(CommandError::Unknown));
    pair.a.assert_empty();
    pair.b.assert_empty();
    // What names an SA that is gone is harmless.
    pair.bring_up();
    let ike = pair.a.ike();
    pair.close_all(Side::B);
    pair.run_for(MINUTE);
    let rekeyed = pair.with(Side::A, |gateway, now, rng| gateway.rekey_ike(now, rng, ike));
    assert_eq!(rekeyed, Err(CommandError::Unknown));
    let closed = pair.with(Side::A, |gateway, now, rng| gateway.close_ike(now, rng, ike));
    assert_eq!(closed, Err(CommandError::Unknown));
    assert_eq!(pair.next_event(), None);
    assert!(pair.now() > Instant::ZERO);
}

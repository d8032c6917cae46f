//! IKEv1 between two of our own: Main, Aggressive and Quick Mode, in good and in bad weather, and what must not happen.

use core::net::IpAddr;
use core::time::Duration;

use ipsec::{
    Auth, Child, ChildProposal, ChildRef, DownReason, Endpoint, Failure, GatewayEvent, Group,
    Identity, Inbound, InboundError, Instant, Phase1Proposal, PrfId, Provider, Suite,
    TrafficSelector, V1, Versions,
};
use ipsec_core::crypto::{Encr, Integ};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::isakmp::Clear;
use ipsec_testkit::link::{Captured, Chance, Datagram, Transport, Verdict, Weather};
use ipsec_testkit::pair::{Memory, Pair, Sent};
use ipsec_testkit::setup::{ADDRESS_A, ADDRESS_B, HOST_B, Setup, Side, leak, leak_all, v4};
use ipsec_testkit::toy::Toy;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);

/// The type of the exchange.
const QUICK_MODE: u8 = 32;

const PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_CBC_SHA256],
    groups: &[Group::P256],
    ..ChildProposal::DEFAULT[0]
}];

fn main_mode(seed: u64) -> Setup {
    Setup::new(seed).peers(|peer| peer.versions = Versions::V1(V1::MAIN))
}

fn aggressive(seed: u64) -> Setup {
    Setup::new(seed).peers(|peer| peer.versions = Versions::V1(V1::AGGRESSIVE))
}

fn works<P: Provider>(setup: &Setup) {
    let mut memory = Memory::<P>::of(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.bring_up();
    pair.ping();
    assert_eq!(pair.a.failures(), []);
    assert_eq!(pair.b.failures(), []);
    pair.close_and_check(Side::A);
}

/// RFC 2409 sections 5.4 and 5.5: a tunnel under a pre-shared key, without and with perfect forward secrecy.
#[test]
fn main_mode_brings_up_a_tunnel() {
    works::<Toy>(&main_mode(1));
    works::<RustCrypto>(&main_mode(2));
    works::<RustCrypto>(&main_mode(3).children(|child| child.proposals = PFS));
}

/// RFC 3947 section 3.2: behind a NAT, phase 1 ends on port 4500, and ESP travels in UDP.
#[test]
fn main_mode_behind_a_nat() {
    // RFC 2409 section 5.4: a pre-shared key of Main Mode goes by the address, which is any here.
    let setup = main_mode(4).behind_nat();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let up = pair.b.events.iter().find_map(|(_, event)| match event {
        GatewayEvent::IkeUp { agreed, path, .. } => Some((agreed.nat_remote, path.local.port)),
        _ => None,
    });
    assert_eq!(up, Some((true, 4500)));
    pair.close_and_check(Side::A);
}

#[test]
fn aggressive_mode_brings_up_a_tunnel() {
    works::<Toy>(&aggressive(1));
    works::<RustCrypto>(&aggressive(2).children(|child| child.proposals = PFS));
    let setup = aggressive(4).behind_nat();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    pair.close_and_check(Side::B);
}

/// RFC 3947 section 3.2: the vendor ID that NAT traversal goes by comes before NAT-D. racoon reads one payload after the other.
#[test]
fn vendor_ids_come_before_nat_d() {
    const VENDOR_ID: u8 = 13;
    const NAT_D: u8 = 20;
    let setup = aggressive(11);
    let mut memory = Memory::<RustCrypto>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let second = &pair.link.tap()[1].datagram.bytes;
    let (mut next, mut at, mut kinds) = (second[16], 28, Vec::new());
    while next != 0 {
        kinds.push(next);
        let len = usize::from(u16::from_be_bytes([second[at + 2], second[at + 3]]));
        (next, at) = (second[at], at + len);
    }
    let place = |kind| kinds.iter().rposition(|k| *k == kind).unwrap();
    assert_eq!(kinds.iter().filter(|kind| **kind == NAT_D).count(), 2, "{kinds:?}");
    assert_eq!(place(NAT_D), place(VENDOR_ID) + 2, "{kinds:?}");
}

/// RFC 2408 section 3.6: a message in the clear may end with up to three octets that make it a multiple of four long. All of
/// libreswan's do.
#[test]
fn messages_that_are_aligned() {
    for (setup, clear) in [(main_mode(7), 4), (aggressive(8), 2)] {
        let mut memory = Memory::<RustCrypto>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.link.set_hook(|_, datagram| {
            let message = &mut datagram.bytes;
            if message.get(17) == Some(&0x10) && message[19] & 1 == 0 {
                message.resize(message.len().next_multiple_of(4), 0);
                let len = message.len() as u32;
                message[24..28].copy_from_slice(&len.to_be_bytes());
            }
            Verdict::Pass
        });
        pair.bring_up();
        let messages = pair.link.tap().iter().map(|c| &c.datagram.bytes);
        let lens: Vec<_> = messages.filter(|m| m[19] & 1 == 0).map(Vec::len).collect();
        assert!(lens.len() == clear && lens.iter().all(|len| len % 4 == 0), "{lens:?}");
        pair.close_and_check(Side::A);
    }
}

/// A responder may install its SAs only when the third message has come, or when it is repeated: whoever has asked for new
/// keys sends under the old ones until the other one uses the new ones, or the old ones go.
#[test]
fn nothing_outruns_the_third_message() {
    for answered in [true, false] {
        let setup = main_mode(9);
        let mut memory = Memory::<RustCrypto>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let spi = |pair: &mut Pair<'_, RustCrypto>, side| {
            assert_eq!(pair.send(side, 7), Sent::Sealed);
            let sent = pair.link.tap().last().unwrap().datagram.bytes[..4].to_vec();
            pair.run_for(SECOND / 20);
            sent
        };
        let old = Side::BOTH.map(|side| spi(&mut pair, side));
        pair.rekey(Side::A).unwrap();
        let rekeyed =
            |pair: &Pair<'_, RustCrypto>| (pair.a.child_rekeys(), pair.b.child_rekeys()) == (1, 1);
        assert!(pair.wait(SECOND, rekeyed));
        assert_eq!(spi(&mut pair, Side::A), old[0]);
        if answered {
            assert_ne!(spi(&mut pair, Side::B), old[1]);
        } else {
            pair.run_for(3 * SECOND);
        }
        assert_ne!(spi(&mut pair, Side::A), old[0]);
        assert_eq!(pair.a.numbers().len() + pair.b.numbers().len(), if answered { 5 } else { 4 });
        pair.close_and_check(Side::B);
    }
}

/// The first packet of the peer's that comes on the older of two children, which it may still use, is no reason to go back to
/// that one.
#[test]
fn an_older_child_stays_the_older_one() {
    let setup = main_mode(34);
    let mut memory = Memory::<RustCrypto>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.rekey(Side::A).unwrap();
    pair.run_for(SECOND / 2);
    let spis = pair.a.events.iter().filter_map(|(_, event)| match event {
        GatewayEvent::ChildUp { agreed, .. } => Some(agreed.outbound_spi),
        GatewayEvent::ChildRekeyed { agreed, .. } => Some(agreed.inbound_spi),
        _ => None,
    });
    let spis: Vec<_> = spis.map(|spi| spi.get().to_be_bytes()).collect();
    for (side, spi) in [Side::A, Side::B].into_iter().zip(&spis) {
        assert_eq!(pair.send(side, 7), Sent::Sealed);
        assert_eq!(pair.link.tap().last().unwrap().datagram.bytes[..4], *spi, "{side:?}");
        pair.run_for(SECOND / 20);
    }
    pair.close_and_check(Side::B);
}

/// A has a child for each of its hosts, where B has one for their network.
fn hosts_of_a_network(seed: u64, hosts: u8) -> Setup {
    let mut setup = main_mode(seed).sizes(|sizes| {
        sizes.children = 40;
        sizes.policies = 40;
        sizes.exchanges = 20;
    });
    let whole = setup.a.peers[0].children[0];
    let child = |n| Child {
        local: leak_all([TrafficSelector::network(host_of_a(n), 32).unwrap()]),
        ..whole
    };
    setup.a.peers[0].children = leak((0..hosts).map(child).collect::<Vec<_>>());
    setup
}

fn host_of_a(n: u8) -> IpAddr {
    [192, 168, 1, 10 + n].into()
}

fn each_host_begins(pair: &mut Pair<'_, Toy>, hosts: u8) {
    for child in 0..hosts.into() {
        let child = ChildRef { peer: 0, child };
        pair.with(Side::A, |g, now, rng| g.initiate(now, rng, child)).unwrap();
        pair.run_for(5 * SECOND);
    }
}

/// RFC 2409 section 5.5: IDci and IDcr say whose traffic a child is for. One for another host replaces none.
#[test]
fn children_of_several_hosts_under_one_entry() {
    for hosts in [2, 3, 4] {
        let setup = hosts_of_a_network(72, hosts);
        let mut memory = Memory::<Toy>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        each_host_begins(&mut pair, hosts);
        for number in 0..30 {
            for host in (0..hosts).map(host_of_a) {
                assert_eq!(pair.send_between(Side::A, (host, HOST_B), number), Sent::Sealed);
                assert_eq!(pair.send_between(Side::B, (HOST_B, host), number), Sent::Sealed);
            }
            pair.run_for(20 * SECOND);
        }
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.numbers().len(), 30 * usize::from(hosts));
            assert_eq!(node.count(|e| matches!(e, GatewayEvent::ChildUp { .. })), hosts.into());
            assert_eq!((node.child_rekeys(), node.child_downs().len()), (0, 0));
        }
        pair.close_and_check(Side::A);
    }
}

/// New keys are no additional child: a peer that has as many as it may can have new keys for each.
#[test]
fn as_many_children_as_there_may_be_are_rekeyed() {
    let setup = hosts_of_a_network(73, 4);
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    each_host_begins(&mut pair, 4);
    for child in 0..4 {
        let child = ChildRef { peer: 0, child };
        pair.with(Side::A, |g, now, rng| g.rekey(now, rng, child)).unwrap();
    }
    pair.run_for(10 * SECOND);
    assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (4, 4), "{}", pair.log());
    assert_eq!((pair.a.failures(), pair.b.failures()), (vec![], vec![]));
    pair.close_and_check(Side::A);
}

/// RFC 2407 section 4.6.3.3: a peer that says that it has no SA has lost those that it knew, however new they are.
#[test]
fn a_peer_that_restarts_soon_after_the_start() {
    for (setup, renews, pause) in
        [(main_mode(74), false, 2), (main_mode(75), true, 3), (aggressive(76), false, 3)]
    {
        let setup = setup.tunnels(2);
        let (mut memory, mut again) = (Memory::<Toy>::of(&setup), Memory::<Toy>::of(&setup));
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        if renews {
            pair.run_for(MINUTE);
            pair.rekey_ike(Side::A).unwrap();
        }
        pair.run_for(pause * SECOND);
        pair.restart(Side::B, &setup, &mut again);
        let second = ChildRef { peer: 0, child: 1 };
        pair.with(Side::B, |g, now, rng| g.initiate(now, rng, second)).unwrap();
        pair.run_for(20 * SECOND);
        // The first tunnel is gone at A, too, which begins it anew for the first packet.
        let _ = pair.send(Side::A, 1);
        pair.run_for(5 * SECOND);
        assert_eq!(pair.send(Side::A, 2), Sent::Sealed);
        pair.run_for(SECOND);
        assert!(pair.b.numbers().contains(&2), "{}", pair.log());
    }
}

/// Aggressive Mode is refused, without an answer, where the configuration does not name it.
#[test]
fn aggressive_mode_is_refused_unless_it_is_named() {
    let mut setup = aggressive(5);
    setup.b.peers[0].versions = Versions::V1(V1::MAIN);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    assert!(pair.link.tap().iter().all(|c| c.datagram.source.address == setup.a.address));
    assert!(pair.b.failures().iter().all(|f| *f == Failure::UnknownPeer));
    assert!(matches!(pair.a.failures()[..], [Failure::PeerSilent { .. }]));
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// A message of one version reaches nothing of the other.
#[test]
fn versions_do_not_meet() {
    for swapped in [false, true] {
        let mut setup = Setup::new(6);
        let v1 = if swapped { &mut setup.a } else { &mut setup.b };
        v1.peers[0].versions = Versions::V1(V1::MAIN);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(10 * MINUTE);
        assert!(matches!(pair.a.failures()[..], [Failure::PeerSilent { .. }]));
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
    // Whoever may speak both answers in the version that it is asked in.
    for (a, b) in [
        (Versions::V2, Versions::Either(V1::MAIN)),
        (Versions::V1(V1::MAIN), Versions::Either(V1::MAIN)),
        (Versions::Either(V1::MAIN), Versions::Either(V1::MAIN)),
    ] {
        let mut setup = Setup::new(7);
        setup.a.peers[0].versions = a;
        setup.b.peers[0].versions = b;
        works::<Toy>(&setup);
    }
}

/// What each side says when a negotiation fails.
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

/// RFC 2409 section 5.4: with another key, the fifth message decrypts to nonsense.
#[test]
fn different_pre_shared_keys() {
    for (setup, garbled) in [(main_mode(8), true), (aggressive(8), false)] {
        let mut setup = setup;
        setup.b.peers[0].auth = Auth::psk(b"quite another key, as happens");
        let (a, b) = fails(&setup);
        if garbled {
            assert!(matches!(a[..], [Failure::PeerSilent { .. }]), "{a:?}");
            assert!(!b.is_empty() && b.iter().all(|f| *f == Failure::AuthenticationFailed));
        } else {
            assert_eq!(a, [Failure::AuthenticationFailed]);
        }
    }
}

#[test]
fn different_identities() {
    let mut setup = main_mode(9);
    setup.a.peers[0].local_id = Identity::Fqdn("mumbai.example");
    let (_, b) = fails(&setup);
    assert!(b[0].to_string().contains("mumbai.example"), "{b:?}");
    let mut setup = main_mode(10);
    setup.b.peers[0].local_id = Identity::Fqdn("mumbai.example");
    let (a, _) = fails(&setup);
    assert!(a[0].to_string().contains("mumbai.example"), "{a:?}");
}

/// The five parameters, and what the other side offers.
#[test]
fn different_algorithms_of_phase_1() {
    const OTHER: &[Phase1Proposal<'static>] = &[Phase1Proposal {
        suites: &[Suite { encr: Encr::AES_CBC, key_bits: 192, integ: Integ::NONE }],
        prfs: &[PrfId::HMAC_SHA1],
        groups: &[Group::P256],
    }];
    let mut setup = main_mode(11);
    setup.a.peers[0].versions = Versions::V1(V1 { proposals: OTHER, ..V1::MAIN });
    let (a, b) = fails(&setup);
    assert_eq!(a, [Failure::ProposalRefused]);
    assert!(b[0].to_string().contains("peer offers AES_CBC-192, we allow AES_CBC-256"), "{}", b[0]);
}

#[test]
fn perfect_forward_secrecy_on_one_side() {
    for side in Side::BOTH {
        let setup = main_mode(12).children_of(side, |child| child.proposals = PFS);
        let setup = setup.children_of(side.other(), |child| {
            child.proposals = leak_all([ChildProposal { groups: &[], ..PFS[0] }]);
        });
        let (a, b) = fails(&setup);
        assert_eq!(a, [Failure::ProposalRefused]);
        assert!(b.iter().any(|f| f.to_string().contains("PFS differs")), "{b:?}");
    }
}

/// RFC 2409 section 5.5: the identities are those of the traffic, each side's the mirror of the other's.
#[test]
fn identities_that_are_no_mirrors() {
    let setup = main_mode(13).children_of(Side::A, |child| {
        child.remote = leak_all([ipsec_testkit::setup::network(10, 9, 9)]);
    });
    let (a, b) = fails(&setup);
    assert_eq!(a, [Failure::SelectorsRefused]);
    assert!(b[0].to_string().contains("10.9.9.0"), "{b:?}");
}

/// RFC 2409 section 5.5: eight Quick Modes at once, under one phase 1.
#[test]
fn eight_tunnels_at_once() {
    let setup = main_mode(14).tunnels(8).sizes(|sizes| {
        *sizes = ipsec::Sizes { window: 128, ..ipsec::Sizes::for_tunnels(16) };
    });
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    for child in 0..8 {
        pair.with(Side::A, |g, now, rng| g.initiate(now, rng, ChildRef { peer: 0, child }))
            .unwrap();
    }
    let all = |pair: &Pair<'_>| {
        (0..8).all(|child| {
            let config = ChildRef { peer: 0, child };
            pair.a.tunnel_is_up(config) && pair.b.tunnel_is_up(config)
        })
    };
    assert!(pair.wait(10 * SECOND, all), "{}", pair.log());
    assert_eq!(pair.a.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 1);
    pair.close_and_check(Side::B);
}

/// New keys for a child, from either side, and traffic all the while.
#[test]
fn children_are_rekeyed() {
    for side in Side::BOTH {
        let setup = main_mode(15);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        for _ in 0..3 {
            pair.rekey(side).unwrap();
            for _ in 0..20 {
                pair.run_for(SECOND / 2);
                pair.ping();
            }
        }
        assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (3, 3), "{}", pair.log());
        pair.close_and_check(Side::A);
    }
}

/// Asked for three times at once, there is one replacement.
#[test]
fn a_child_is_replaced_once() {
    let setup = main_mode(29);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    for _ in 0..3 {
        pair.rekey(Side::A).unwrap();
    }
    pair.run_for(MINUTE);
    assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (1, 1), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::B);
}

/// A Quick Mode that is never answered is not a dead peer, if something else comes from it.
#[test]
fn an_unanswered_child_leaves_the_others_alone() {
    let setup = main_mode(30);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.link.set_hook(|_, datagram| match datagram.bytes.get(18) {
        Some(&QUICK_MODE) if datagram.destination.port == 500 => Verdict::Drop,
        _ => Verdict::Pass,
    });
    pair.rekey(Side::A).unwrap();
    for _ in 0..300 {
        pair.run_for(SECOND);
        pair.ping();
    }
    assert!(
        matches!(pair.a.failures()[..], [Failure::PeerSilent { tries: 13, .. }, ..]),
        "{:?}",
        pair.a.failures()
    );
    assert!(pair.a.ike_downs().is_empty() && pair.a.child_downs().is_empty(), "{}", pair.log());
    pair.link.clear_hook();
    pair.rekey(Side::A).unwrap();
    assert!(pair.wait(2 * MINUTE, |pair| pair.a.child_rekeys() == 1), "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// An answer that is kept in case it was lost does not give way to something that there is no room for all the same.
#[test]
fn kept_answers_give_way_only_for_room() {
    let mut setup = main_mode(33).tunnels(6);
    setup.a.sizes.exchanges = 4;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let (a, b) = (setup.a.address, setup.b.address);
    let quick = |d: &Datagram| d.bytes.get(18) == Some(&QUICK_MODE);
    let mut second = pair.link.tap().iter().map(|c| &c.datagram);
    let second = second.rfind(|d| quick(d) && d.source.address == b).unwrap().clone();
    // Of four contexts, one keeps the third message. Two are of what A asks for in vain, and one of what B does.
    pair.link.set_hook(move |_, d| {
        if quick(d) && d.source.address == a { Verdict::Drop } else { Verdict::Pass }
    });
    let initiate = |pair: &mut Pair<'_>, side, child| {
        let config = ChildRef { peer: 0, child };
        pair.with(side, |gateway, now, rng| gateway.initiate(now, rng, config)).unwrap();
        pair.run_for(MOMENT);
    };
    for (side, child, used) in
        [(Side::A, 1, 2), (Side::A, 2, 3), (Side::B, 3, 4), (Side::A, 4, 4), (Side::A, 5, 4)]
    {
        initiate(&mut pair, side, child);
        assert_eq!(pair.a.statistics().exchanges, used, "{child}\n{}", pair.log());
    }
    // The third message is still there, for a responder that has not got it.
    let sent = pair.link.tap().len();
    pair.deliver(Side::A, &second);
    assert_eq!(pair.link.tap().len(), sent + 1);
    pair.link.clear_hook();
    for child in 0..6 {
        let config = ChildRef { peer: 0, child };
        assert!(
            pair.wait(5 * MINUTE, |pair| pair.a.tunnel_is_up(config)),
            "{child}\n{}",
            pair.log()
        );
    }
    pair.close_and_check(Side::A);
}

/// Without the third message, the responder gives the child up, and tells the initiator, which took it for made.
#[test]
fn a_third_message_that_never_comes() {
    let setup = main_mode(31);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let (mut quick, a) = (0, setup.a.address);
    pair.link.set_hook(move |_, datagram| {
        let says = datagram.bytes.get(18) == Some(&QUICK_MODE) && datagram.source.address == a;
        quick += u32::from(says);
        if says && quick > 1 { Verdict::Drop } else { Verdict::Pass }
    });
    pair.rekey(Side::A).unwrap();
    pair.run_for(4 * MINUTE);
    assert_eq!(pair.a.child_rekeys(), 1);
    assert_eq!(pair.b.child_rekeys(), 0);
    assert_eq!(pair.a.child_downs(), [DownReason::Rekeyed, DownReason::Deleted], "{}", pair.log());
    pair.link.clear_hook();
    assert!(pair.ping_until_answered());
    pair.close_and_check(Side::A);
}

/// What B has said, and whether all of it to A.
fn said_by_b(pair: &mut Pair<'_>) -> (usize, bool) {
    let tap = pair.link.take_tap();
    let said: Vec<_> = tap.iter().filter(|c| c.datagram.source.address == ADDRESS_B).collect();
    (said.len(), said.iter().all(|c| c.datagram.destination.address == ADDRESS_A))
}

/// RFC 2408 section 3.15: B has deleted its child, and A has not heard of it. A's packets show that, and B says it once more, as
/// long as it is not heard every two seconds.
#[test]
fn a_delete_that_was_lost_is_said_again() {
    let setup = main_mode(32);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    pair.link.set_hook(|_, _| Verdict::Drop);
    pair.close(Side::B).unwrap();
    pair.run_for(SECOND);
    assert!(pair.a.is_up() && !pair.b.is_up(), "{}", pair.log());
    pair.link.take_tap();
    pair.link.set_hook(|_, datagram| {
        if datagram.destination.address == ADDRESS_A { Verdict::Drop } else { Verdict::Pass }
    });
    for number in 0..100 {
        assert_eq!(pair.send(Side::A, number), Sent::Sealed);
        pair.run_for(MOMENT);
    }
    let (said, all_to_a) = said_by_b(&mut pair);
    assert!((4..=5).contains(&said) && all_to_a, "{said}");
    pair.link.clear_hook();
    for number in 0..30 {
        let _ = pair.send(Side::A, number);
        pair.run_for(MOMENT);
    }
    assert_eq!(pair.a.child_downs(), [DownReason::Deleted], "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::A);
}

/// RFC 2408 section 3.15: nobody acknowledges a Delete. B has one child after the other, and A hears of none of the ends: what
/// was replaced goes with the next one, and takes no room from it.
#[test]
fn children_whose_ends_are_not_heard_of_go_with_the_next_one() {
    const INFORMATIONAL: u8 = 5;
    let setup = main_mode(34).sizes(|sizes| sizes.children = 16);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.link.set_hook(|_, datagram| match datagram.bytes.get(18) {
        Some(&INFORMATIONAL) if datagram.source.address == ADDRESS_B => Verdict::Drop,
        _ => Verdict::Pass,
    });
    for rekeys in 1..=8 {
        pair.rekey(Side::B).unwrap();
        pair.run_for(10 * SECOND);
        assert_eq!(pair.a.child_rekeys(), rekeys, "{}", pair.log());
        assert_eq!(pair.a.statistics().children, 2, "{}", pair.log());
        pair.ping();
    }
    pair.link.clear_hook();
    pair.close_and_check(Side::A);
}

/// Packets prove nothing. Of SPIs that nobody had, nothing is said; of one that is gone, now and then, to the peer alone,
/// wherever a packet came from, and the peer's other children stay.
#[test]
fn whoever_sends_on_what_is_gone_makes_nobody_say_much() {
    let setup = main_mode(33);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let is_esp = |c: &&Captured| {
        c.datagram.transport == Transport::Ip(50) && c.datagram.destination.address == ADDRESS_B
    };
    let heard = pair.link.tap().iter().find(is_esp).unwrap().datagram.clone();
    pair.rekey(Side::A).unwrap();
    pair.run_for(10 * SECOND);
    pair.link.take_tap();
    let elsewhere = Endpoint::new(v4(198, 18, 0, 66), 0);
    for n in 0..1000 {
        let mut bytes = heard.bytes.clone();
        if n < 900 {
            bytes[..4].copy_from_slice(&(0x1000_0000_u32 + n).to_be_bytes());
        }
        pair.deliver(Side::B, &Datagram { source: elsewhere, bytes, ..heard.clone() });
        pair.run_for(Duration::from_millis(10));
        if n == 899 {
            assert_eq!(said_by_b(&mut pair), (0, true));
        }
    }
    assert_eq!(said_by_b(&mut pair), (1, true), "{}", pair.log());
    pair.ping();
    assert_eq!(pair.a.child_downs(), [DownReason::Rekeyed], "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// Both sides begin at the same moment, or replace phase 1 at the same moment: they agree on which of the two stays.
#[test]
fn both_sides_begin_at_once() {
    for seed in 0..40 {
        for setup in [main_mode(seed), aggressive(seed)] {
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.initiate(Side::A).unwrap();
            pair.run_for(Duration::from_millis(seed));
            let _ = pair.initiate(Side::B);
            for round in 0..2 {
                pair.run_for(5 * SECOND);
                let [a, b] = [&pair.a, &pair.b].map(|node| {
                    node.events.iter().rev().find_map(|(_, event)| match event {
                        GatewayEvent::IkeUp { agreed, .. } => Some(agreed.initiator_spi),
                        GatewayEvent::IkeRekeyed { agreed, .. } => Some(agreed.initiator_spi),
                        _ => None,
                    })
                });
                assert_eq!(a, b, "the one that stays; seed {seed}, round {round}");
                pair.run_for(2 * MINUTE);
                let context = format!("seed {seed}, round {round}\n{}", pair.log());
                for node in [&pair.a, &pair.b] {
                    assert_eq!(node.statistics().ike_sas, 1, "{context}");
                    assert_eq!(node.failures(), [], "{context}");
                    assert_eq!(
                        node.count(|e| matches!(e, GatewayEvent::IkeUp { .. })),
                        1,
                        "{context}"
                    );
                    assert_eq!(
                        node.count(|e| matches!(e, GatewayEvent::IkeDown { .. })),
                        0,
                        "{context}"
                    );
                }
                pair.ping();
                pair.rekey_ike(Side::A).unwrap();
                pair.run_for(Duration::from_millis(seed));
                let _ = pair.rekey_ike(Side::B);
            }
            pair.run_for(2 * MINUTE);
            pair.ping();
            pair.close_and_check(Side::A);
        }
    }
}

/// Both sides begin at the same moment, messages overtake each other, and the two do not take the same SA for the one that
/// stays. Where one of them ends it, the other goes on with what is left, and says so: no IKE SA is down.
#[test]
fn both_sides_begin_at_once_and_see_it_differently() {
    let mut went_back = 0;
    for seed in 0..120 {
        let weather = Weather { jitter: MOMENT, ..Weather::FAIR };
        let setup = aggressive(seed).weather(weather);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.initiate(Side::B).unwrap();
        pair.run_for(MINUTE);
        for node in [&pair.a, &pair.b] {
            let context = format!("seed {seed}, {:?}\n{}", node.side, pair.log());
            let rekeyed = |e: &GatewayEvent| matches!(e, GatewayEvent::IkeRekeyed { .. });
            went_back += u32::from(
                node.events
                    .iter()
                    .any(|(at, e)| rekeyed(e) && at.since(Instant::ZERO) > 8 * SECOND),
            );
            assert_eq!(node.ike_downs(), [], "{context}");
            let ike = node.gateway.ike();
            assert_eq!(
                ike.established().map(|(ike, _)| ike).collect::<Vec<_>>(),
                [node.ike()],
                "{context}"
            );
        }
        pair.ping();
        pair.close_and_check(Side::A);
    }
    assert!(went_back > 0);
}

/// A day: children and IKE SAs are replaced before they expire, and no packet is lost.
#[test]
fn a_day_passes() {
    let setup = main_mode(16);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    for _ in 0..24 * 6 {
        pair.run_for(10 * MINUTE);
        pair.ping();
    }
    assert!(pair.a.child_rekeys() >= 20 && pair.a.ike_rekeys() >= 5, "{}", pair.log());
    assert_eq!((pair.a.failures(), pair.b.failures()), (vec![], vec![]), "{}", pair.log());
    assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty(), "{}", pair.log());
    let sas = |pair: &Pair<'_>| (pair.a.statistics().ike_sas, pair.b.statistics().ike_sas);
    assert!(sas(&pair).0 <= 2 && sas(&pair).1 <= 2, "{:?}", sas(&pair));
    pair.close_and_check(Side::A);
}

/// New keys for an IKE SA that do not come about are asked for again, long before it expires.
#[test]
fn an_ike_sa_is_replaced_at_the_second_try() {
    let setup = main_mode(32).peers(|peer| peer.liveness = None);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.link.set_hook(|_, _| Verdict::Drop);
    pair.rekey_ike(Side::A).unwrap();
    pair.run_for(4 * MINUTE);
    assert!(matches!(pair.a.failures()[..], [Failure::PeerSilent { .. }]), "{}", pair.log());
    pair.link.clear_hook();
    pair.run_for(6 * MINUTE);
    assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (1, 1), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::B);
}

/// A new phase 1 takes the children of the old one, whose end is told (RFC 2408 section 3.15).
#[test]
fn an_ike_sa_is_replaced_and_its_children_stay() {
    for side in Side::BOTH {
        let setup = main_mode(17);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let cookie = pair.link.tap()[0].datagram.bytes[..8].to_vec();
        let told = pair.link.tap().len();
        pair.rekey_ike(side).unwrap();
        for _ in 0..60 {
            pair.run_for(SECOND);
            pair.ping();
        }
        let informational = |bytes: &[u8]| bytes.starts_with(&cookie) && bytes[18] == 5;
        let tap = &pair.link.tap()[told..];
        assert!(tap.iter().any(|c| informational(&c.datagram.bytes)), "{}", pair.log());
        assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (1, 1), "{}", pair.log());
        assert_eq!((pair.a.child_downs(), pair.b.child_downs()), (vec![], vec![]));
        pair.rekey(Side::B).unwrap();
        pair.run_for(MINUTE);
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

/// RFC 3706: a peer that is gone is noticed, one that lives is not disturbed.
#[test]
fn a_dead_peer_is_noticed() {
    let setup = main_mode(18);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.run_for(30 * MINUTE);
    assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty(), "{}", pair.log());
    pair.link.set_hook(|_, _| Verdict::Drop);
    pair.run_for(10 * MINUTE);
    assert_eq!(pair.a.ike_downs(), [DownReason::PeerSilent { tries: 13 }]);
    assert_eq!(pair.b.ike_downs(), [DownReason::PeerSilent { tries: 13 }]);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// The responder of Aggressive Mode repeats its message once by the clock: the initiator, who takes itself to be done, goes on
/// saying the third one as long as nothing comes of Quick Mode.
#[test]
fn the_third_message_of_aggressive_mode_is_lost_again_and_again() {
    let setup = aggressive(19);
    let (initiator, mut said) = (setup.a.address, 0);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(move |_, d| {
        let aggressive = d.bytes.get(18) == Some(&4) && d.source.address == initiator;
        said += i32::from(aggressive);
        if aggressive && (2..5).contains(&said) { Verdict::Drop } else { Verdict::Pass }
    });
    pair.bring_up();
    pair.ping();
    assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty(), "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// RFC 2408 section 3.1: a responder that has set the commit bit is waited for, and not for ever. CONNECTED comes in an
/// Informational exchange with the message ID of Quick Mode, or as its fourth message.
#[test]
fn the_commit_bit() {
    const QUICK: u8 = 32;
    const INFORMATIONAL: u8 = 5;
    for (comes, exchange, other) in
        [(false, 0, 0), (true, INFORMATIONAL, 0), (true, QUICK, 0), (false, INFORMATIONAL, 1)]
    {
        let mut setup = main_mode(20);
        setup.a.config.ike.key_log = true;
        let responder = setup.b.address;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.link.set_hook(move |_, d| {
            if d.source.address == responder && d.bytes[18] == QUICK {
                d.bytes[19] |= 2;
            }
            Verdict::Pass
        });
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(SECOND, |pair| pair.b.is_up()));
        pair.run_for(MOMENT);
        pair.link.clear_hook();
        assert!(!pair.a.is_up());
        let said: Vec<_> = pair.link.tap().iter().map(|c| c.datagram.clone()).collect();
        let bytes: Vec<&[u8]> = said.iter().map(|d| &d.bytes[..]).collect();
        let quick: Vec<_> = said.iter().filter(|d| d.bytes[18] == QUICK).collect();
        assert_eq!(quick.len(), 3);
        if exchange != 0 {
            let id = u32::from_be_bytes(*quick[0].bytes[20..].first_chunk().unwrap()) ^ other;
            let payloads = [&[0, 0, 0, 16, 0, 0, 0, 1, 3, 4, 0x40, 0][..], &[9; 4]].concat();
            let message = Clear { exchange, flags: 0, id, first: 11, payloads };
            // An Informational exchange begins a chain of its own.
            let instead = Some(&quick[0].bytes[..]).filter(|_| exchange == INFORMATIONAL);
            let bytes = pair.a.isakmp_keys().seal::<Toy>(&bytes, instead, &message).unwrap();
            let (a, b) = (quick[0].source, quick[0].destination);
            // The hash is in the first blocks.
            let mut forged = bytes.clone();
            forged[40] ^= 1;
            pair.deliver(Side::A, &Datagram::udp(b, a, forged));
            assert!(!pair.a.is_up());
            pair.deliver(Side::A, &Datagram::udp(b, a, bytes));
        }
        assert_eq!(pair.a.is_up(), comes, "{exchange} {other}");
        // It has waited long enough.
        assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
        pair.ping();
        let third = |d: &&Captured| d.datagram.bytes == quick[2].bytes;
        assert_eq!(pair.link.tap().iter().filter(third).count(), if comes { 1 } else { 2 });
        pair.close_and_check(Side::A);
    }
}

/// Losses, repetitions, another order: everything comes up all the same, and in the end nothing is left.
#[test]
fn bad_weather() {
    for seed in 0..60 {
        let setup = if seed % 3 == 0 { aggressive(seed) } else { main_mode(seed) };
        let setup = setup.weather(Weather {
            loss: Chance::percent(15),
            duplication: Chance::percent(15),
            reordering: Chance::percent(15),
            ..Weather::STORM
        });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(5 * MINUTE, Pair::is_up), "{seed}\n{}", pair.log());
        assert!(pair.ping_until_answered(), "{seed}\n{}", pair.log());
        for side in [Side::A, Side::B, Side::A] {
            pair.rekey(side).unwrap();
            pair.run_for(MINUTE);
            assert!(pair.ping_until_answered(), "{seed}\n{}", pair.log());
        }
        let _ = pair.rekey_ike(Side::A);
        pair.run_for(2 * MINUTE);
        assert!(pair.ping_until_answered(), "{seed}\n{}", pair.log());
        pair.link.set_weather(Weather::FAIR);
        pair.run_for(MINUTE);
        pair.close_and_check(Side::A);
    }
}

/// No message of phase 1 is answered more often than it comes: no amplification (RFC 2408 section 5.1).
#[test]
fn a_responder_repeats_itself_only_for_a_duplicate() {
    let setup = main_mode(19);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    // Nothing that B says arrives.
    let a = setup.a.address;
    pair.link.set_hook(
        move |_, d| {
            if d.destination.address == a { Verdict::Drop } else { Verdict::Pass }
        },
    );
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    let from =
        |address| pair.link.tap().iter().filter(move |c| c.datagram.source.address == address);
    assert!(from(setup.b.address).count() <= from(setup.a.address).count());
    let bytes = |address| from(address).map(|c| c.datagram.bytes.len()).sum::<usize>();
    assert!(bytes(setup.b.address) <= bytes(setup.a.address));
    pair.b.assert_empty();
}

/// A message of the peer's, recorded and sent again later, does nothing: Quick Modes are known by their message IDs, and
/// phase 1 has another cookie.
#[test]
fn replayed_messages_do_nothing() {
    let setup = main_mode(20);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.rekey(Side::A).unwrap();
    pair.run_for(5 * MINUTE);
    let recorded: Vec<Datagram> = pair
        .link
        .tap()
        .iter()
        .map(|c| c.datagram.clone())
        .filter(|d| d.destination.address == setup.b.address && d.bytes.len() > 60)
        .collect();
    let before = (pair.b.statistics().children, pair.b.events.len());
    for datagram in recorded.iter().filter(|d| d.bytes[8..16] != [0; 8]) {
        pair.deliver(Side::B, datagram);
    }
    pair.run_for(SECOND);
    assert_eq!((pair.b.statistics().children, pair.b.events.len()), before, "{}", pair.log());
    pair.ping();
}

/// What is not protected by a good HASH deletes nothing and notifies of nothing.
#[test]
fn unauthenticated_informational() {
    let setup = main_mode(21);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let (a, b) = (pair.a.address, pair.b.address);
    let cookies = pair
        .link
        .tap()
        .iter()
        .map(|c| c.datagram.bytes.clone())
        .find(|d| d.len() > 28 && d[8..16] != [0; 8])
        .unwrap()[..16]
        .to_vec();
    let endpoint = |address| Endpoint::new(address, 500);
    for (flags, protected) in [(0u8, false), (1, true)] {
        // DELETE of the ISAKMP SA.
        let mut message = cookies.clone();
        message.extend([12, 0x10, 5, flags, 1, 2, 3, 4, 0, 0, 0, 0]);
        let body = [&[0, 0, 0, 28, 0, 0, 0, 1, 1, 16, 0, 1][..], &cookies].concat();
        message.extend(body);
        if protected {
            message.extend([0; 4]);
        }
        let len = u32::try_from(message.len()).unwrap();
        message[24..28].copy_from_slice(&len.to_be_bytes());
        let datagram = Datagram::udp(endpoint(a), endpoint(b), message);
        let mut bytes = datagram.bytes.clone();
        let path = ipsec::Path::new(datagram.destination, datagram.source);
        let now = pair.now();
        let said = pair.b.gateway.inbound_udp(now, &mut pair.b.rng, path, 0, &mut bytes);
        assert!(!matches!(said, Ok(Inbound::Packet(_))));
        assert!(matches!(said, Err(InboundError::Ike(_))), "{:?}", said.is_ok());
    }
    pair.run_for(SECOND);
    assert!(pair.b.ike_downs().is_empty());
    assert_eq!(pair.send(Side::A, 3), Sent::Sealed);
    pair.ping();
    pair.run_for(HOUR / 60);
}

/// What comes from somebody else first does not keep the true answer out: a second message with another cookie or with
/// another nonce, a fourth one with another nonce.
#[test]
fn forged_answers_do_not_keep_the_true_one_out() {
    for (setup, which, at) in [
        (main_mode(22), 2, 15),
        (main_mode(23), 4, 110),
        (aggressive(24), 2, 15),
        (aggressive(25), 2, 200),
    ] {
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut count = 0;
        pair.link.set_hook(move |_, _| {
            count += 1;
            if count == which { Verdict::Drop } else { Verdict::Pass }
        });
        pair.initiate(Side::A).unwrap();
        pair.run_for(SECOND / 4);
        let true_one = pair.link.tap().last().unwrap().datagram.clone();
        assert_eq!(true_one.source.address, setup.b.address);
        let mut forged = true_one.clone();
        forged.bytes[at] ^= 1;
        pair.deliver(Side::A, &forged);
        pair.deliver(Side::A, &true_one);
        assert!(pair.wait(20 * SECOND, Pair::is_up), "{which} {at}\n{}", pair.log());
        assert_eq!(pair.a.failures(), [], "{which} {at}");
        pair.ping();
        pair.run_for(MINUTE);
        pair.close_and_check(Side::A);
    }
}

/// Our own first message, sent back to us: with a pre-shared key both sides could prove to know it.
#[test]
fn a_reflected_message_begins_nothing() {
    for setup in [main_mode(26), aggressive(26)] {
        let setup = setup.peers(|peer| peer.remote_id = Identity::Any);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.link.set_hook(|_, _| Verdict::Drop);
        pair.initiate(Side::A).unwrap();
        pair.run_for(SECOND / 4);
        let own = pair.link.tap()[0].datagram.clone();
        let back = Datagram::udp(own.destination, own.source, own.bytes);
        let now = pair.now();
        assert!(pair.a.take(now, &back).is_err());
        assert_eq!(pair.a.statistics().ike_sas, 1);
    }
}

/// Old messages from elsewhere move nobody who is behind a NAT: neither R_U_THERE and its answer, nor deletes, nor the
/// first message of a Quick Mode.
#[test]
fn replayed_messages_move_nobody() {
    let setup = main_mode(27).behind_nat();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.rekey(Side::A).unwrap();
    pair.run_for(20 * MINUTE);
    let said: Vec<Datagram> = pair.link.tap().iter().map(|c| c.datagram.clone()).collect();
    for mut datagram in said.into_iter().filter(|d| d.destination.address == setup.b.address) {
        datagram.source.port ^= 1;
        let now = pair.now();
        let _ = pair.b.take(now, &datagram);
    }
    pair.run_for(SECOND);
    let moved = |e: &GatewayEvent| matches!(e, GatewayEvent::ChildMoved { .. });
    assert_eq!(pair.b.count(moved), 0, "{}", pair.log());
    pair.ping();
}

/// New keys for a child while phase 1 is replaced: the child that is made belongs to the new IKE SA.
#[test]
fn a_child_is_rekeyed_while_phase_1_is_replaced() {
    for side in Side::BOTH {
        for setup in [main_mode(28), aggressive(28)] {
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.bring_up();
            for _ in 0..4 {
                pair.rekey(side).unwrap();
                pair.rekey_ike(Side::A).unwrap();
                pair.run_for(2 * MINUTE);
                pair.ping();
            }
            assert!(
                pair.a.child_downs().iter().all(|r| *r == DownReason::Rekeyed),
                "{}",
                pair.log()
            );
            assert_eq!((pair.a.ike_rekeys(), pair.a.child_rekeys()), (4, 4), "{}", pair.log());
            pair.close_and_check(side);
        }
    }
}

//! What is negotiated for a child: protocol, mode, sequence numbers, selectors.

use core::net::IpAddr;
use core::time::Duration;

use ipsec::ipsec_ike::config::ModePolicy;
use ipsec::{
    AddressRange, ChildAgreed, ChildProposal, DownReason, Failure, GatewayEvent, PortRange, Suite,
    TrafficSelector, V1, Versions,
};
use ipsec_core::crypto::Integ;
use ipsec_core::mode::{AddressPair, Mode, Tunnel};
use ipsec_core::sa::Algorithms;
use ipsec_testkit::link::Transport;
use ipsec_testkit::pair::{Memory, Node, Pair, Sent};
use ipsec_testkit::setup::{
    ADDRESS_A, ADDRESS_B, HOST_A, HOST_B, LAN_A, LAN_B, PRIVATE_A, PUBLIC_A, Setup, Side, leak_all,
    network, v4,
};

const SECOND: Duration = Duration::from_secs(1);

const AH: Suite = Suite::ah(Integ::HMAC_SHA2_256_128);
const BY_AH: &[ChildProposal<'static>] =
    &[ChildProposal { suites: &[AH], groups: &[], esn: false, additional: &[] }];
const ESP_WITH: ChildProposal<'static> =
    ChildProposal { suites: &[Suite::AES_128_GCM], groups: &[], esn: true, additional: &[] };
const ESP_WITHOUT: ChildProposal<'static> = ChildProposal { esn: false, ..ESP_WITH };

fn host(address: IpAddr) -> TrafficSelector {
    TrafficSelector::addresses(AddressRange::host(address))
}

/// Two hosts that talk to each other, not networks behind them.
fn hosts(setup: Setup) -> Setup {
    let any: &[TrafficSelector] = leak_all([TrafficSelector::ANY_V4]);
    setup.children(|child| (child.local, child.remote) = (any, any))
}

fn agreed(node: &Node<'_>) -> ChildAgreed {
    let up = node.events.iter().rev().find_map(|(_, event)| match event {
        GatewayEvent::ChildUp { agreed, .. } | GatewayEvent::ChildRekeyed { agreed, .. } => {
            Some(*agreed)
        }
        _ => None,
    });
    up.unwrap_or_else(|| panic!("no child\n{}", node.log()))
}

/// The selectors of the only child, as the node that receives on it has them.
fn selectors(node: &Node<'_>) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let all: Vec<_> = node.gateway.sad().inbound_sas().collect();
    let [sa] = all[..] else { panic!("{} SAs\n{}", all.len(), node.log()) };
    (sa.selectors.local.to_vec(), sa.selectors.remote.to_vec())
}

fn modes(node: &Node<'_>) -> Vec<Mode> {
    let sad = node.gateway.sad();
    let inbound = sad.inbound_sas().map(|sa| sa.protection.mode);
    inbound.chain(sad.outbound_sas().map(|sa| sa.protection.mode)).collect()
}

/// A packet each way between the two ends themselves, as each of them sees the other.
fn hosts_talk(pair: &mut Pair<'_>, ends: [(IpAddr, IpAddr); 2]) {
    for (side, ends) in Side::BOTH.into_iter().zip(ends) {
        let before = pair.node(side.other()).received.len();
        assert_eq!(pair.send_between(side, ends, 7), Sent::Sealed, "{}", pair.log());
        pair.run_for(SECOND);
        assert_eq!(pair.node(side.other()).received.len(), before + 1, "{}", pair.log());
    }
}

const ENDS: [(IpAddr, IpAddr); 2] = [(ADDRESS_A, ADDRESS_B), (ADDRESS_B, ADDRESS_A)];

/// RFC 7296 section 1.3.1: each policy with each. Transport mode is asked for by the initiator, and taken or not by the
/// responder; who requires what it does not get has no child.
#[test]
fn every_policy_about_the_mode_opposite_every_other() {
    use ModePolicy::{PreferTransport, RequireTransport, Tunnel};
    for ours in [Tunnel, PreferTransport, RequireTransport] {
        for theirs in [Tunnel, PreferTransport, RequireTransport] {
            let setup = hosts(Setup::new(1))
                .children_of(Side::A, |child| child.mode = ours)
                .children_of(Side::B, |child| child.mode = theirs);
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.initiate(Side::A).unwrap();
            pair.run_for(SECOND);
            let what = format!("{ours:?} {theirs:?}\n{}", pair.log());
            match (ours, theirs) {
                (Tunnel, RequireTransport) => {
                    assert!(!pair.a.is_up() && !pair.b.is_up(), "{what}");
                    assert_eq!(pair.a.failures(), [Failure::ProposalRefused], "{what}");
                    assert_eq!(pair.b.failures(), [Failure::TransportRequired], "{what}");
                }
                (RequireTransport, Tunnel) => {
                    // The responder has made a child in tunnel mode, which is deleted.
                    assert!(!pair.a.is_up() && !pair.b.is_up(), "{what}");
                    assert_eq!(pair.a.failures(), [Failure::TransportRefused], "{what}");
                    assert_eq!(pair.b.child_downs(), [DownReason::Deleted], "{what}");
                }
                _ => {
                    assert!(pair.is_up(), "{what}");
                    let transport = ours != Tunnel && theirs != Tunnel;
                    for node in [&pair.a, &pair.b] {
                        assert_eq!(agreed(node).transport, transport, "{what}");
                        let mode = if transport { Mode::TRANSPORT } else { Mode::TUNNEL };
                        assert_eq!(modes(node), [mode; 2], "{what}");
                    }
                    hosts_talk(&mut pair, ENDS);
                    pair.rekey(Side::B).unwrap();
                    pair.run_for(SECOND);
                    assert_eq!(agreed(&pair.a).transport, transport);
                    assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (1, 1));
                    hosts_talk(&mut pair, ENDS);
                }
            }
            for node in [&pair.a, &pair.b] {
                assert!(node.errors.len() <= 1, "{what}");
            }
            pair.close_and_check(Side::A);
        }
    }
}

/// RFC 7296 section 2.23.1: only the two ends of the IKE SA are negotiated, whatever the policy allows.
#[test]
fn transport_mode_is_between_the_ends() {
    let setup = hosts(Setup::new(2)).children(|child| child.mode = ModePolicy::RequireTransport);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    assert_eq!(selectors(&pair.a), (vec![host(ADDRESS_A)], vec![host(ADDRESS_B)]));
    assert_eq!(selectors(&pair.b), (vec![host(ADDRESS_B)], vec![host(ADDRESS_A)]));
    assert_eq!(pair.send(Side::A, 1), Sent::Discarded);
}

#[test]
fn transport_mode_that_leaves_the_ends_out() {
    let setup = Setup::new(2).children(|child| child.mode = ModePolicy::RequireTransport);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.failures(), [Failure::NotOurEnds], "{}", pair.log());
    // Who only prefers it has tunnel mode.
    let setup = Setup::new(2).children(|child| child.mode = ModePolicy::PreferTransport);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    assert!(!agreed(&pair.a).transport && !agreed(&pair.b).transport);
    pair.ping();
}

/// RFC 7296 section 2.23.1: behind a NAT, each side has the addresses that it sees, the responder knows those that the
/// initiator uses, and the initiator is answered with what it asked for. Ports and protocol stay (L2TP).
#[test]
fn transport_mode_through_a_nat() {
    through_a_nat(Setup::new(3));
}

/// RFC 3947 section 5.2: the same in IKEv1, where the initiator says what addresses it uses.
#[test]
fn transport_mode_through_a_nat_in_ikev1() {
    through_a_nat(Setup::new(3).peers(|peer| peer.versions = Versions::V1(V1::MAIN)));
}

fn through_a_nat(setup: Setup) {
    let l2tp = |ts: TrafficSelector| TrafficSelector {
        protocol: 17,
        ports: PortRange::single(4242),
        ..ts
    };
    let any: &[TrafficSelector] = leak_all([l2tp(TrafficSelector::ANY_V4)]);
    let setup = hosts(setup.behind_nat()).children(|child| {
        child.mode = ModePolicy::RequireTransport;
        (child.local, child.remote) = (any, any);
    });
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    for _ in 0..2 {
        let (a, b) = (agreed(&pair.a), agreed(&pair.b));
        assert!(a.transport && a.encapsulated && b.transport && b.encapsulated);
        assert_eq!(selectors(&pair.a), (vec![l2tp(host(PRIVATE_A))], vec![l2tp(host(ADDRESS_B))]));
        assert_eq!(selectors(&pair.b), (vec![l2tp(host(ADDRESS_B))], vec![l2tp(host(PUBLIC_A))]));
        assert_eq!(modes(&pair.a), [Mode::TRANSPORT; 2]);
        let original = Some(AddressPair { local: ADDRESS_B, remote: PRIVATE_A });
        assert_eq!(modes(&pair.b)[0], Mode::Transport { original });
        hosts_talk(&mut pair, [(PRIVATE_A, ADDRESS_B), (ADDRESS_B, PUBLIC_A)]);
        // What came out has the addresses that its receiver sees, and a good checksum.
        for (node, source) in [(&pair.a, ADDRESS_B), (&pair.b, PUBLIC_A)] {
            let packet = node.received.last().unwrap();
            let flow = ipsec_core::wire::IpPacket::parse(packet).unwrap().flow;
            assert_eq!(flow.source, source);
            assert!(udp_checksum_is_good(packet), "{packet:x?}");
        }
        // The same again with what the initiator of the first exchange asks for in a rekey.
        pair.rekey(Side::A).unwrap();
        pair.run_for(20 * SECOND);
    }
    pair.close_and_check(Side::A);
}

/// A message whose source says that the NAT has moved proves no address: transport mode stays with the one that was
/// answered in IKE_SA_INIT, in this IKE SA and in those that replace it.
#[test]
fn transport_mode_through_a_nat_that_moved() {
    for rekeyed in [false, true] {
        for side in Side::BOTH {
            let any: &[TrafficSelector] = leak_all([TrafficSelector::ANY_V4]);
            let setup = hosts(Setup::new(3).behind_nat()).children(|child| {
                child.mode = ModePolicy::RequireTransport;
                (child.local, child.remote) = (any, any);
            });
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.bring_up();
            if rekeyed {
                pair.rekey_ike(side).unwrap();
                pair.run_for(20 * SECOND);
                pair.rekey(side).unwrap();
                pair.run_for(20 * SECOND);
                assert_eq!((pair.a.failures(), pair.b.child_rekeys()), (vec![], 1));
            }
            let rekeys = pair.b.child_rekeys();
            pair.link.nat(0).rebind_to(v4(203, 0, 113, 99));
            if side == Side::B {
                // B hears of it before.
                pair.rekey_ike(Side::A).unwrap();
                pair.run_for(20 * SECOND);
            }
            let _ = pair.rekey(side);
            pair.run_for(20 * SECOND);
            assert_eq!(pair.b.child_rekeys(), rekeys, "{}", pair.log());
            assert!(!pair.b.failures().is_empty(), "{}", pair.log());
        }
    }
}

/// RFC 768: over the pseudo header, too. Zero: there is none.
fn udp_checksum_is_good(packet: &[u8]) -> bool {
    let udp = &packet[20..];
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum()
    };
    let sum = words(&packet[12..20]) + 17 + u32::try_from(udp.len()).unwrap() + words(udp);
    udp[6..8] == [0, 0] || (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// RFC 7296 section 3.3.3: AH has integrity and sequence numbers, no encryption. It is rekeyed and deleted as AH.
#[test]
fn ah_is_negotiated_rekeyed_and_deleted() {
    for mode in [ModePolicy::Tunnel, ModePolicy::RequireTransport] {
        for esn in [false, true] {
            let proposals = leak_all([ChildProposal { esn, ..BY_AH[0] }]);
            let setup = hosts(Setup::new(4))
                .children(|child| (child.proposals, child.mode) = (proposals, mode));
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.bring_up();
            for side in Side::BOTH {
                for node in [&pair.a, &pair.b] {
                    let agreed = agreed(node);
                    assert_eq!((agreed.suite, agreed.esn), (AH, esn));
                    let sa = node.gateway.sad().inbound_sas().last().unwrap();
                    let algorithms = Algorithms::ah(Integ::HMAC_SHA2_256_128);
                    assert_eq!(sa.protection.algorithms(), algorithms);
                }
                hosts_talk(&mut pair, ENDS);
                pair.rekey(side).unwrap();
                pair.run_for(20 * SECOND);
            }
            assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (2, 2), "{}", pair.log());
            hosts_talk(&mut pair, ENDS);
            pair.close(Side::B).unwrap();
            pair.run_for(SECOND);
            assert_eq!(pair.a.child_downs().last(), Some(&DownReason::Deleted), "{}", pair.log());
            assert!(!pair.a.is_up() && !pair.b.is_up());
            assert!(pair.a.errors.is_empty() && pair.b.errors.is_empty(), "{}", pair.log());
            pair.close_and_check(Side::A);
        }
    }
}

/// RFC 7296 section 3.3: where either would do, the responder's order of preference counts.
#[test]
fn esp_or_ah() {
    let both = leak_all([ChildProposal { suites: &[AH, Suite::AES_128_GCM], ..BY_AH[0] }]);
    let other = leak_all([ChildProposal { suites: &[Suite::AES_128_GCM, AH], ..BY_AH[0] }]);
    for (theirs, expected) in [(both, AH), (other, Suite::AES_128_GCM), (BY_AH, AH)] {
        let setup = Setup::new(5)
            .children_of(Side::A, |child| child.proposals = both)
            .children_of(Side::B, |child| child.proposals = theirs);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        assert_eq!((agreed(&pair.a).suite, agreed(&pair.b).suite), (expected, expected));
        pair.ping();
    }
}

/// RFC 7296 section 2.23: AH covers the addresses that a NAT changes. Each side says so, and with ESP to choose from, that
/// is chosen.
#[test]
fn ah_is_not_negotiated_through_a_nat() {
    let setup = Setup::new(6).behind_nat().children(|child| child.proposals = BY_AH);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.failures(), [Failure::AhBehindNat], "{}", pair.log());

    // A responder that encapsulates everything in UDP says that there is a NAT.
    let setup = Setup::new(6).children(|child| child.proposals = BY_AH);
    let mut setup = setup;
    setup.b.peers[0].force_encapsulation = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.failures(), [Failure::AhBehindNat], "{}", pair.log());

    let either = leak_all([ChildProposal { suites: &[AH, Suite::AES_128_GCM], ..BY_AH[0] }]);
    let setup = Setup::new(6).behind_nat().children(|child| child.proposals = either);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    assert_eq!(agreed(&pair.a).suite, Suite::AES_128_GCM);
    pair.ping();
}

/// RFC 7296 section 3.3.2: extended sequence numbers as both want them, and where both leave it open, as the responder
/// prefers.
#[test]
fn extended_sequence_numbers() {
    let (with, without) = (&[ESP_WITH][..], &[ESP_WITHOUT][..]);
    let (rather, rather_not) = (&[ESP_WITH, ESP_WITHOUT][..], &[ESP_WITHOUT, ESP_WITH][..]);
    for (ours, theirs, expected) in [
        (with, with, Some(true)),
        (without, without, Some(false)),
        (with, without, None),
        (without, with, None),
        (with, rather_not, Some(true)),
        (without, rather, Some(false)),
        (rather, without, Some(false)),
        (rather_not, with, Some(true)),
        (rather_not, rather, Some(true)),
        (rather, rather_not, Some(false)),
    ] {
        let (ours, theirs) = (leak_all(ours.iter().copied()), leak_all(theirs.iter().copied()));
        let setup = Setup::new(7)
            .children_of(Side::A, |child| child.proposals = ours)
            .children_of(Side::B, |child| child.proposals = theirs);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(SECOND);
        let up = pair.is_up();
        assert_eq!(up.then(|| agreed(&pair.a).esn), expected, "{}", pair.log());
        if up {
            assert_eq!(Some(agreed(&pair.b).esn), expected);
            let sad = pair.a.gateway.sad();
            assert!(sad.inbound_sas().all(|sa| Some(sa.protection.esn) == expected));
            pair.ping();
        }
    }
}

/// RFC 7296 section 2.9: several selectors on each side are narrowed to what both allow; each packet goes by them.
#[test]
fn several_selectors_are_narrowed() {
    let ssh = TrafficSelector { protocol: 6, ports: PortRange::single(22), ..LAN_B };
    let (other_a, other_b) = (network(10, 1, 1), network(10, 2, 1));
    let (ours, theirs): (&[_], &[_]) =
        (leak_all([LAN_A, other_a]), leak_all([LAN_B, other_b, network(10, 9, 9)]));
    let (their_local, their_remote): (&[_], &[_]) =
        (leak_all([ssh, other_b]), leak_all([other_a, LAN_A, network(10, 8, 8)]));
    let setup = Setup::new(8)
        .children_of(Side::A, |child| (child.local, child.remote) = (ours, theirs))
        .children_of(Side::B, |child| (child.local, child.remote) = (their_local, their_remote));
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let expected = (vec![LAN_A, other_a], vec![ssh, other_b]);
    assert_eq!(selectors(&pair.a), expected);
    assert_eq!(selectors(&pair.b), (expected.1, expected.0));
    let (inside_a, inside_b) = (other_a.addresses.start(), other_b.addresses.start());
    assert_eq!(pair.send_between(Side::A, (inside_a, inside_b), 1), Sent::Sealed);
    assert_eq!(pair.send_between(Side::A, (HOST_A, inside_b), 2), Sent::Sealed);
    // UDP to LAN_B is not what the peer agreed to.
    assert_eq!(pair.send_between(Side::A, (HOST_A, HOST_B), 3), Sent::Discarded);
    pair.run_for(SECOND);
    assert_eq!(pair.b.numbers(), [1, 2]);
    // A rekey asks for all of it again, and gets the same.
    pair.rekey(Side::A).unwrap();
    pair.run_for(20 * SECOND);
    assert_eq!(selectors(&pair.a).1, [ssh, other_b]);
    pair.close_and_check(Side::B);
}

/// RFC 7296 section 1.3.1: TFC padding is for tunnel mode, as configured.
#[test]
fn the_outer_header_is_as_configured() {
    let tunnel = Tunnel { pad_to: 86, hop_limit: 7, ..Tunnel::DEFAULT };
    let setup = Setup::new(9).children_of(Side::A, |child| child.tunnel = tunnel);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    assert_eq!(modes(&pair.a), [Mode::Tunnel(tunnel); 2]);
    pair.ping();
    let esp = |side: IpAddr| {
        let mut sent = pair.link.tap().iter().map(|sent| &sent.datagram);
        let found = sent.find(|d| d.source.address == side && d.transport != Transport::Udp);
        found.map_or(0, |d| d.bytes.len())
    };
    // 86 bytes and the trailer of two, in place of 66 and two.
    assert_eq!(esp(ADDRESS_A), esp(ADDRESS_B) + 20);
}

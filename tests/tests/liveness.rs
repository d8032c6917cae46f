//! Peers that die, move, or leave.

use core::time::Duration;

use ipsec::diagnosis::OneWay;
use ipsec::{DownReason, GatewayEvent, Retransmission};
use ipsec_testkit::link::{Transport, Verdict};
use ipsec_testkit::pair::{Memory, Pair, Sent};
use ipsec_testkit::setup::{ADDRESS_B, PRIVATE_A, Setup, Side, TUNNEL, v4};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Five repetitions, after 1, 1.5, 2.25, 3.375 and 4 seconds; 4 more and the peer is given up: 16.125 seconds in all.
const HASTY: Retransmission =
    Retransmission { first: Duration::from_secs(1), longest: Duration::from_secs(4), tries: 5 };
const GIVEN_UP: Duration = Duration::from_millis(16_125);

/// How many keepalives and messages of IKE have crossed the network since the last call.
fn ike_traffic(pair: &mut Pair<'_>) -> (usize, usize) {
    let tap = pair.link.take_tap();
    let udp: Vec<_> =
        tap.iter().map(|c| &c.datagram).filter(|d| d.transport == Transport::Udp).collect();
    let keepalives = udp.iter().filter(|d| d.bytes == [0xff]).count();
    let ike = udp.iter().filter(|d| {
        let plain = d.source.port == 500 || d.destination.port == 500;
        plain || d.bytes.first_chunk() == Some(&[0; 4])
    });
    (keepalives, ike.count())
}

/// RFC 7296 section 2.4: a peer that answers nothing is dead, after some tries.
#[test]
fn a_dead_peer_is_detected_in_time() {
    for (i, liveness) in [10, 30, 60].into_iter().enumerate() {
        let setup = Setup::new(i as u64).peers(|peer| {
            peer.liveness = Some(Duration::from_secs(liveness));
            peer.retransmission = HASTY;
        });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.ping();
        let heard = pair.now();
        pair.link.set_hook(|_, _| Verdict::Drop);
        // Packets that nobody answers change nothing.
        for number in 0..20 {
            assert_eq!(pair.send(Side::A, number), Sent::Sealed);
            pair.run_for(Duration::from_millis(500));
        }
        let expected = Duration::from_secs(liveness) + GIVEN_UP;
        let dead = |pair: &Pair<'_>| !pair.a.ike_downs().is_empty();
        assert!(pair.wait(10 * MINUTE, dead), "{}", pair.log());
        let took = pair.now().since(heard);
        assert!(took <= expected + SECOND, "{took:?} {expected:?}");
        assert!(took >= expected - SECOND, "{took:?} {expected:?}");
        pair.run_for(MINUTE);
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.ike_downs(), [DownReason::PeerSilent { tries: 6 }], "{}", pair.log());
            assert_eq!(node.child_downs(), [DownReason::PeerSilent { tries: 6 }], "{}", pair.log());
        }
        pair.run_for(10 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
        // It comes back: traffic brings the tunnel up again.
        pair.link.clear_hook();
        assert_eq!(pair.send(Side::B, 1), Sent::Waiting);
        assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

/// A quiet tunnel stays up: each side asks now and then, and is answered.
#[test]
fn a_quiet_peer_is_not_dead() {
    let setup = Setup::new(1).peers(|peer| {
        peer.liveness = Some(Duration::from_secs(30));
        peer.rekey_after = Duration::MAX;
        peer.expire_after = Duration::MAX;
    });
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let _ = ike_traffic(&mut pair);
    pair.run_for(30 * MINUTE);
    let (keepalives, ike) = ike_traffic(&mut pair);
    assert_eq!(keepalives, 0);
    // A question of either side tells both that the other lives.
    assert!((2 * 58..=4 * 60).contains(&ike), "{ike}");
    assert!(pair.is_up());
    pair.ping();
    pair.close_and_check(Side::A);
}

/// RFC 7296 section 2.4: protected traffic proves that the peer lives, and nobody asks.
#[test]
fn traffic_proves_liveness() {
    let setup = Setup::new(2).peers(|peer| peer.liveness = Some(Duration::from_secs(10)));
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let _ = ike_traffic(&mut pair);
    for _ in 0..100 {
        pair.ping();
        pair.run_for(7 * SECOND);
    }
    assert_eq!(ike_traffic(&mut pair), (0, 0));
    // In one direction only, the receiver needs to know nothing, and the sender asks.
    for number in 0..100 {
        let _ = pair.send(Side::A, number);
        pair.run_for(7 * SECOND);
    }
    let by_a = |pair: &mut Pair<'_>| {
        let tap = pair.link.take_tap();
        let ike = tap.iter().filter(|c| c.datagram.transport == Transport::Udp);
        // Requests have no R flag.
        let (requests, _): (Vec<_>, Vec<_>) = ike.partition(|c| c.datagram.bytes[19] & 0x20 == 0);
        let a = requests.iter().filter(|c| c.datagram.source.address != ADDRESS_B).count();
        (a, requests.len() - a)
    };
    let (a, b) = by_a(&mut pair);
    assert!(a >= 60 && b == 0, "{a} {b}");
    pair.close_and_check(Side::A);
}

#[test]
fn liveness_can_be_turned_off() {
    let setup = Setup::new(3).peers(|peer| {
        peer.liveness = None;
        peer.rekey_after = Duration::MAX;
        peer.expire_after = Duration::MAX;
    });
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let _ = ike_traffic(&mut pair);
    pair.link.set_hook(|_, _| Verdict::Drop);
    // Less than the lifetime of the child.
    pair.run_for(50 * MINUTE);
    assert_eq!(ike_traffic(&mut pair), (0, 0));
    assert!(pair.is_up());
    pair.link.clear_hook();
    pair.ping();
    pair.close_and_check(Side::B);
}

/// RFC 7296 section 2.4: INITIAL_CONTACT of a peer that has lost everything replaces what we have with it.
#[test]
fn initial_contact_replaces_what_was_before() {
    let setup = Setup::new(4).peers(|peer| peer.retransmission = HASTY);
    let mut setup = setup;
    setup.b.peers[0].liveness = None;
    setup.a.peers[0].liveness = Some(10 * SECOND);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    // A gives B up while the line is cut; B notices nothing.
    pair.link.set_hook(|_, _| Verdict::Drop);
    pair.run_for(MINUTE);
    assert!(!pair.a.is_up() && pair.b.is_up(), "{}", pair.log());
    pair.link.clear_hook();
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.b.ike_downs(), [DownReason::Replaced], "{}", pair.log());
    assert_eq!(pair.b.child_downs().len(), 1, "{}", pair.log());
    assert_eq!(pair.b.statistics().children, 1);
    pair.ping();
    pair.close_and_check(Side::A);
}

/// RFC 7296 section 2.4: both sides open an SA at once, and each says that it has no other. B says so late: what has come
/// about since it asked, it has not lost.
#[test]
fn initial_contact_spares_what_came_about_since() {
    let setup = Setup::new(5);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let mut lost = false;
    pair.link.set_hook(move |_, datagram| {
        // The first IKE_AUTH request of B.
        let request = datagram.bytes.get(18) == Some(&35) && datagram.bytes[19] & 0x20 == 0;
        let drops = request && datagram.source.address == ADDRESS_B && !lost;
        lost |= drops;
        if drops { Verdict::Drop } else { Verdict::Pass }
    });
    pair.initiate(Side::A).unwrap();
    pair.initiate(Side::B).unwrap();
    pair.run_for(5 * SECOND);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 2, "{}", pair.log());
        assert!(node.ike_downs().is_empty(), "{}", pair.log());
        assert_eq!((node.statistics().ike_sas, node.statistics().children), (2, 2));
    }
    pair.ping();
    pair.close_and_check(Side::A);
}

/// RFC 3948 section 4: keepalives are sent by the side behind a NAT, and by nobody else.
#[test]
fn keepalives_only_behind_a_nat() {
    for (behind_nat, expected) in [(true, 28..=31), (false, 0..=0)] {
        let mut setup = Setup::new(5).peers(|peer| peer.liveness = None);
        if behind_nat {
            setup = setup.behind_nat();
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let _ = pair.link.take_tap();
        pair.run_for(10 * MINUTE + SECOND);
        let from_b = pair.link.tap().iter().filter(|c| c.datagram.source.address == ADDRESS_B);
        assert_eq!(from_b.count(), 0);
        let (keepalives, ike) = ike_traffic(&mut pair);
        assert!(expected.contains(&keepalives), "{keepalives}");
        assert_eq!(ike, 0);
        assert_eq!(pair.b.gateway.counters().keepalives, keepalives as u64);
        // The NAT forgets after a minute: B reaches A after ten, since keepalives have kept its mapping.
        pair.ping();
        // They go on after a rekey of the IKE SA, from one of the two SAs only.
        pair.rekey_ike(Side::B).unwrap();
        pair.run_for(10 * SECOND);
        let _ = pair.link.take_tap();
        pair.run_for(10 * MINUTE);
        let (keepalives, _) = ike_traffic(&mut pair);
        assert!(expected.contains(&keepalives), "{keepalives}");
        pair.ping();
        pair.close_and_check(Side::B);
    }
}

/// RFC 7296 section 2.23: the NAT gives A another port, then another address; an authenticated packet shows B where.
#[test]
fn a_nat_that_rebinds_is_followed() {
    let setup = Setup::new(6).behind_nat();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let mapped = |pair: &mut Pair<'_>| {
        pair.link.nat(0).mapped(ipsec::Endpoint::new(PRIVATE_A, 4500)).unwrap()
    };
    let before = mapped(&mut pair);
    for round in 0..4u8 {
        if round % 2 == 0 {
            pair.link.nat(0).rebind();
        } else {
            pair.link.nat(0).rebind_to(v4(203, 0, 113, 100 + round));
        }
        if round < 2 {
            // A packet of A's shows it.
            assert_eq!(pair.send(Side::A, 1), Sent::Sealed);
        } else {
            // A message of IKE shows it.
            pair.rekey(Side::A).unwrap();
        }
        pair.run_for(SECOND);
        let now = mapped(&mut pair);
        assert_ne!(now, before);
        let moved = pair.b.events.iter().rev().find_map(|(_, event)| match event {
            GatewayEvent::ChildMoved { path, .. } => Some(path.remote),
            _ => None,
        });
        assert_eq!(moved, Some(now), "round {round}\n{}", pair.log());
        pair.ping();
    }
    assert_eq!(pair.a.count(|e| matches!(e, GatewayEvent::ChildMoved { .. })), 0);
    assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty());
    pair.rekey_ike(Side::B).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.b.ike_rekeys(), 1, "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// Without a NAT nobody moves: an authenticated packet from elsewhere is taken, and answered where the peer is.
#[test]
fn without_a_nat_nobody_moves() {
    let setup = Setup::new(7).peers(|peer| peer.force_encapsulation = false);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.link.set_hook(|_, datagram| {
        if datagram.source.address != ADDRESS_B {
            datagram.source.address = v4(203, 0, 113, 66);
        }
        Verdict::Pass
    });
    let _ = pair.send(Side::A, 1);
    pair.rekey(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.b.count(|e| matches!(e, GatewayEvent::ChildMoved { .. })), 0);
    pair.link.clear_hook();
    pair.ping();
    pair.run_for(MINUTE);
    pair.close_and_check(Side::A);
}

/// RFC 7296 section 1.4.1: both SAs of a child go together, whoever deletes it.
#[test]
fn a_child_is_deleted_from_either_side() {
    for side in Side::BOTH {
        let setup = Setup::new(8);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.close(side).unwrap();
        pair.run_for(SECOND);
        assert_eq!(pair.node(side).child_downs(), [DownReason::Closed]);
        assert_eq!(pair.node(side.other()).child_downs(), [DownReason::Deleted]);
        for node in [&pair.a, &pair.b] {
            let now = node.statistics();
            assert_eq!(
                (now.ike_sas, now.children, now.inbound_sas, now.outbound_sas),
                (1, 0, 0, 0)
            );
            assert!(node.ike_downs().is_empty());
        }
        // The IKE SA stands; traffic brings up another child on it.
        assert_eq!(pair.send(side.other(), 1), Sent::Waiting);
        pair.run_for(SECOND);
        assert!(pair.is_up(), "{}", pair.log());
        let ups = pair.a.count(|e| matches!(e, GatewayEvent::IkeUp { .. }));
        assert_eq!(ups, 1);
        pair.ping();
        pair.close_and_check(side);
    }
}

/// RFC 7296 section 1.4.1: both sides delete the same child at once, and the requests cross.
#[test]
fn a_child_is_deleted_from_both_sides_at_once() {
    for wait in [0, 5, 10, 15, 20, 25] {
        let setup = Setup::new(9);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.close(Side::A).unwrap();
        pair.run_for(Duration::from_millis(wait));
        // It may be gone already.
        let _ = pair.close(Side::B);
        pair.run_for(SECOND);
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.child_downs().len(), 1, "{}", pair.log());
            assert_eq!(node.statistics().children, 0);
            assert!(node.errors.is_empty(), "{}", pair.log());
        }
        assert_eq!(pair.a.child_downs(), [DownReason::Closed]);
        assert_eq!(pair.send(Side::A, 1), Sent::Waiting);
        pair.run_for(SECOND);
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

/// RFC 7296 section 1.4.1: the deletion of an IKE SA takes all its children along.
#[test]
fn an_ike_sa_is_deleted_from_either_side() {
    for side in Side::BOTH {
        let setup = Setup::new(10).tunnels(3).sizes(|sizes| sizes.children = 8);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        for child in 1..3 {
            let config = ipsec::ChildRef { peer: 0, child };
            pair.with(Side::B, |g, now, rng| g.initiate(now, rng, config)).unwrap();
        }
        pair.run_for(SECOND);
        assert_eq!((pair.a.statistics().children, pair.b.statistics().children), (3, 3));
        let ike = pair.node(side).ike();
        pair.with(side, |gateway, now, rng| gateway.close_ike(now, rng, ike)).unwrap();
        pair.run_for(SECOND);
        assert_eq!(pair.node(side).ike_downs(), [DownReason::Closed]);
        assert_eq!(pair.node(side).child_downs(), [DownReason::Closed; 3]);
        assert_eq!(pair.node(side.other()).ike_downs(), [DownReason::Deleted]);
        assert_eq!(pair.node(side.other()).child_downs(), [DownReason::IkeGone; 3]);
        pair.run_for(10 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

#[test]
fn an_ike_sa_is_deleted_from_both_sides_at_once() {
    for wait in [0, 5, 10, 15, 20, 25] {
        let setup = Setup::new(11);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.close_all(Side::A);
        pair.run_for(Duration::from_millis(wait));
        pair.close_all(Side::B);
        pair.run_for(SECOND);
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.ike_downs().len(), 1, "{}", pair.log());
            assert_eq!(node.child_downs().len(), 1, "{}", pair.log());
        }
        pair.run_for(10 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

/// The answer to the deletion of an IKE SA is lost: the request comes again, and is answered again, although the SA is
/// gone (RFC 7296 section 2.1).
#[test]
fn a_lost_answer_to_a_deletion_is_repeated() {
    let setup = Setup::new(12);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut lost = 0;
    pair.link.set_hook(move |_, datagram| {
        if datagram.source.address == ADDRESS_B && lost < 3 {
            lost += 1;
            return Verdict::Drop;
        }
        Verdict::Pass
    });
    pair.close_all(Side::A);
    pair.run_for(5 * SECOND);
    assert_eq!(pair.a.ike_downs(), [DownReason::Closed], "{}", pair.log());
    assert_eq!(pair.b.ike_downs(), [DownReason::Deleted], "{}", pair.log());
    pair.run_for(10 * MINUTE);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// A wish to close that comes while something else is under way is kept until then.
#[test]
fn closing_waits_for_what_is_under_way() {
    for side in Side::BOTH {
        for wait in [0, 5, 12, 18, 22, 30, 38] {
            for ike in [false, true] {
                let setup = Setup::new(13);
                let mut memory = Memory::new(&setup);
                let mut pair = Pair::new(&setup, &mut memory);
                pair.bring_up();
                if ike {
                    pair.rekey_ike(Side::A).unwrap();
                } else {
                    pair.rekey(Side::A).unwrap();
                }
                pair.run_for(Duration::from_millis(wait));
                pair.close_all(side);
                pair.run_for(5 * SECOND);
                let context = format!("{side:?} after {wait} ms, ike {ike}\n{}", pair.log());
                assert!(!pair.a.is_up() && !pair.b.is_up(), "{context}");
                assert_eq!(pair.a.ike_downs().len(), 1, "{context}");
                assert_eq!(pair.b.ike_downs().len(), 1, "{context}");
                pair.run_for(10 * MINUTE);
                pair.a.assert_empty();
                pair.b.assert_empty();
            }
        }
    }
}

/// ESP is lost in one direction, while IKE gets through: told once, after a while, on the side that hears nothing.
#[test]
fn traffic_that_goes_one_way_only_is_noticed() {
    let setup = Setup::new(31);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut watches = [OneWay::NEW; 2];
    let mut look = |pair: &Pair<'_>, patience| {
        let now = pair.now();
        let mut watches = watches.iter_mut().zip([&pair.a, &pair.b]);
        [(); 2].map(|()| {
            let (watch, node) = watches.next().unwrap();
            watch.look(now, &node.gateway.tunnel(TUNNEL).unwrap(), patience)
        })
    };
    let patience = 5 * SECOND;
    // Nothing was sent: nothing is wrong.
    for _ in 0..10 {
        assert_eq!(look(&pair, patience), [false; 2]);
        pair.run_for(SECOND);
    }
    pair.link.set_hook(|_, datagram| {
        let from_b = datagram.source.address == ADDRESS_B;
        let esp = matches!(datagram.transport, Transport::Ip(_));
        if from_b && esp { Verdict::Drop } else { Verdict::Pass }
    });
    let mut told = Vec::new();
    for second in 0..30 {
        assert_eq!(pair.send(Side::A, second), Sent::Sealed);
        assert_eq!(pair.send(Side::B, second), Sent::Sealed);
        if second == 20 {
            // New keys do not make it another trouble.
            pair.rekey(Side::A).unwrap();
        }
        pair.run_for(SECOND);
        let now = look(&pair, patience);
        assert!(!now[1], "B hears A");
        if now[0] {
            told.push(second);
        }
    }
    assert_eq!(told, [5]);
    // The way is free, and closed again.
    pair.link.clear_hook();
    pair.ping();
    assert_eq!(look(&pair, patience), [false; 2]);
    pair.close_and_check(Side::A);
}

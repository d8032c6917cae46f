//! MOBIKE (RFC 4555): peers that change their addresses, and those who would like to change them.

use core::net::IpAddr;
use core::time::Duration;
use std::cell::Cell;
use std::rc::Rc;

use ipsec::{
    AddressRange, CommandError, DownReason, Endpoint, Failure, GatewayEvent, Mobike, Path,
    PeerAddresses, Retransmission,
};
use ipsec_ike::wire::NotifyType;
use ipsec_testkit::insider::Insider;
use ipsec_testkit::link::{Datagram, Transport, Verdict, Weather};
use ipsec_testkit::pair::{Memory, Pair, Sent};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::setup::{
    ADDRESS_A, ADDRESS_B, PRIVATE_A, PUBLIC_A, Setup, Side, leak, nat_of_a, v4,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Where A goes.
const ELSEWHERE: IpAddr = v4(192, 0, 2, 200);
/// Somebody who has nothing to do with it.
const VICTIM: IpAddr = v4(203, 0, 113, 66);

fn mobile(seed: u64) -> Setup {
    with(seed, Mobike::ANYWHERE)
}

fn with(seed: u64, policy: Mobike<'static>) -> Setup {
    let policy: &'static Mobike<'static> = leak(policy);
    Setup::new(seed).peers(|peer| {
        peer.mobike = Some(policy);
        peer.retransmission = Retransmission { tries: 20, ..Retransmission::DEFAULT };
    })
}

/// A has another address now, and says so.
fn go(pair: &mut Pair<'_>, to: IpAddr) -> usize {
    let from = core::mem::replace(&mut pair.a.address, to);
    pair.with(Side::A, |gateway, now, rng| gateway.move_address(now, rng, from, to))
}

/// Where the ESP packets of a side went, since the last call.
fn esp_to(pair: &mut Pair<'_>, from: IpAddr) -> Vec<(IpAddr, Transport)> {
    let tap = pair.link.take_tap();
    let esp = tap.iter().map(|c| &c.datagram).filter(|d| {
        let ike = d.transport == Transport::Udp
            && (d.source.port == 500 || d.bytes.first_chunk() == Some(&[0; 4]));
        d.source.address == from && !ike && d.bytes != [0xff]
    });
    esp.map(|d| (d.destination.address, d.transport)).collect()
}

fn moves(pair: &mut Pair<'_>, side: Side) -> Vec<Path> {
    let events = &pair.node(side).events;
    let moved = events.iter().filter_map(|(_, event)| match event {
        GatewayEvent::ChildMoved { path, .. } => Some(*path),
        _ => None,
    });
    moved.collect()
}

fn is_informational(d: &Datagram, response: bool) -> bool {
    d.transport == Transport::Udp
        && d.bytes.first_chunk() == Some(&[0; 4])
        && d.bytes.get(4 + 18) == Some(&37)
        && d.bytes.get(4 + 19).is_some_and(|flags| (flags & 0x20 != 0) == response)
}

/// RFC 4555 section 3.5: the initiator goes elsewhere, and nothing but the addresses changes.
#[test]
fn the_initiator_moves_and_everything_goes_on() {
    let setup = mobile(1).tunnels(3);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    // RFC 4555 section 3.3: IKE is at port 4500, although there is no NAT, and ESP is not in UDP.
    let tap = pair.link.take_tap();
    let last = tap.iter().rev().find(|c| c.datagram.transport == Transport::Udp).unwrap();
    assert_eq!((last.datagram.source.port, last.datagram.destination.port), (4500, 4500));
    for to in [ELSEWHERE, v4(192, 0, 2, 201), ADDRESS_A] {
        assert_eq!(go(&mut pair, to), 1);
        // A's packets leave from there at once; B's follow after the check: two round trips of 20 ms.
        assert_eq!(pair.send(Side::A, 7), Sent::Sealed);
        pair.run_for(Duration::from_millis(45));
        pair.ping();
        assert_eq!(esp_to(&mut pair, ADDRESS_B).last(), Some(&(to, Transport::Ip(50))));
        let path = *moves(&mut pair, Side::B).last().unwrap();
        assert_eq!((path.remote.address, path.remote.port), (to, 0), "{}", pair.log());
        assert_eq!(moves(&mut pair, Side::A).last().unwrap().local.address, to);
        pair.rekey(Side::B).unwrap();
        pair.run_for(SECOND);
        pair.rekey_ike(Side::B).unwrap();
        pair.run_for(SECOND);
        pair.ping();
    }
    assert_eq!(pair.a.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 1);
    assert_eq!((pair.a.child_rekeys(), pair.a.ike_rekeys()), (3, 3), "{}", pair.log());
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty());
    pair.close_and_check(Side::B);
}

/// Both sides have to support it (RFC 4555 section 3.3), and only the initiator says where its SA goes.
#[test]
fn without_mobike_nothing_moves() {
    for side in Side::BOTH {
        let mut setup = mobile(2);
        setup.plan(side).peers[0].mobike = None;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let ike = pair.a.ike();
        let to = Path::new(Endpoint::new(ELSEWHERE, 0), Endpoint::new(ADDRESS_B, 0));
        let moved = pair.with(Side::A, |gateway, now, rng| gateway.move_ike(now, rng, ike, to));
        assert_eq!(moved, Err(CommandError::Immovable));
        pair.ping();
        pair.close_and_check(Side::A);
    }
    let setup = mobile(2);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let ike = pair.a.ike();
    let six = "2001:db8::1".parse().unwrap();
    let to = Path::new(Endpoint::new(six, 0), Endpoint::new(ADDRESS_B, 0));
    let moved = pair.with(Side::A, |gateway, now, rng| gateway.move_ike(now, rng, ike, to));
    assert_eq!(moved, Err(CommandError::Immovable));
    pair.close_and_check(Side::A);
}

/// RFC 4555 section 3.7: somebody on the way changes where the update comes from. B's traffic goes to the victim never,
/// since nobody there returns the cookie; and it does where policy does without the check.
#[test]
fn traffic_moves_only_to_an_address_where_the_peer_receives() {
    for check in [true, false] {
        let setup = with(3, Mobike { check, ..Mobike::ANYWHERE });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.ping();
        pair.link.set_hook(|_, d| {
            if d.source.address == ELSEWHERE {
                d.source.address = VICTIM;
            }
            Verdict::Pass
        });
        let _ = pair.link.take_tap();
        assert_eq!(go(&mut pair, ELSEWHERE), 1);
        for number in 0..50 {
            assert_eq!(pair.send(Side::B, number), Sent::Sealed);
            pair.run_for(SECOND / 10);
        }
        // What B makes meanwhile does not go there either.
        pair.rekey(Side::B).unwrap();
        pair.run_for(SECOND);
        let to_victim = esp_to(&mut pair, ADDRESS_B).iter().filter(|(to, _)| *to == VICTIM).count();
        assert_eq!(to_victim > 0, !check, "{to_victim}\n{}", pair.log());
        pair.link.clear_hook();
        // The next update is sound.
        assert_eq!(go(&mut pair, ADDRESS_A), 1);
        pair.run_for(MINUTE);
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

/// RFC 4555 section 3.7: a peer that answers the check without the cookie has not seen it, and is not talked to again.
#[test]
fn another_cookie_ends_the_sa() {
    let mut setup = mobile(4);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut insider = Insider::of(&pair.a, true);
    // A's own answer to the check gets lost; that of a forger, who has the keys, arrives.
    pair.link.set_hook(|_, d| {
        let lost = d.source.address == ELSEWHERE && is_informational(d, true);
        if lost { Verdict::Drop } else { Verdict::Pass }
    });
    assert_eq!(go(&mut pair, ELSEWHERE), 1);
    pair.run_for(Duration::from_millis(100));
    let check = pair.link.tap().iter().rev().find(|c| {
        c.datagram.destination.address == ELSEWHERE && is_informational(&c.datagram, false)
    });
    let id = u32::from_be_bytes(*check.unwrap().datagram.bytes[4 + 20..].first_chunk().unwrap());
    let cookie = [[0, 0, 0, 24, 0, 0, 0x40, 0x11].as_slice(), &[7; 16]].concat();
    let message = insider.message(37, 0x20, id, 41, &cookie);
    let [from, to] = [Endpoint::new(ELSEWHERE, 4500), Endpoint::new(ADDRESS_B, 4500)];
    let datagram = Datagram::udp(from, to, [&[0; 4], &message[..]].concat());
    pair.deliver(Side::B, &datagram);
    pair.link.clear_hook();
    pair.run_for(SECOND);
    assert_eq!(pair.b.ike_downs(), [DownReason::Protocol], "{}", pair.log());
    assert!(moves(&mut pair, Side::B).is_empty());
    pair.run_for(20 * MINUTE);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// RFC 4555 section 3.8: what merely comes from elsewhere moves nothing, neither messages nor packets, authentic, repeated
/// or forged; also behind a NAT, where it would without MOBIKE.
#[test]
fn what_comes_from_elsewhere_moves_nothing() {
    for setup in [mobile(5), mobile(5).behind_nat()] {
        elsewhere_moves_nothing(&setup);
    }
}

fn elsewhere_moves_nothing(setup: &Setup) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let captured: Vec<_> = pair.link.tap().iter().map(|c| c.datagram.clone()).collect();
    pair.link.set_hook(|_, d| {
        if d.destination.address == ADDRESS_B {
            d.source.address = VICTIM;
        }
        Verdict::Pass
    });
    let _ = pair.send(Side::A, 1);
    pair.rekey(Side::A).unwrap();
    pair.rekey_ike(Side::A).unwrap();
    pair.run_for(5 * SECOND);
    pair.link.clear_hook();
    for mut datagram in captured {
        datagram.source.address = VICTIM;
        pair.deliver(Side::B, &datagram);
        let at = datagram.bytes.len() / 2;
        datagram.bytes[at] ^= 1;
        pair.deliver(Side::B, &datagram);
    }
    pair.run_for(MINUTE);
    assert!(moves(&mut pair, Side::A).is_empty() && moves(&mut pair, Side::B).is_empty());
    pair.ping();
    assert_eq!(esp_to(&mut pair, ADDRESS_B).iter().filter(|(to, _)| *to == VICTIM).count(), 0);
    pair.close_and_check(Side::A);
}

/// RFC 4555 section 3.5: NATs are looked for on the new path, and ESP goes into UDP and out of it again.
#[test]
fn encapsulation_follows_the_path() {
    let mut setup = mobile(6);
    setup.nats.push(nat_of_a());
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    for (to, seen, transport) in [
        (PRIVATE_A, PUBLIC_A, Transport::Udp),
        (ADDRESS_A, ADDRESS_A, Transport::Ip(50)),
        (PRIVATE_A, PUBLIC_A, Transport::Udp),
    ] {
        let _ = esp_to(&mut pair, ADDRESS_B);
        assert_eq!(go(&mut pair, to), 1);
        pair.run_for(SECOND);
        pair.ping();
        let after = esp_to(&mut pair, ADDRESS_B);
        assert_eq!(after.last(), Some(&(if to == PRIVATE_A { seen } else { to }, transport)));
        pair.rekey(Side::A).unwrap();
        pair.run_for(SECOND);
        pair.ping();
    }
    pair.close_and_check(Side::A);
}

/// RFC 4555 section 3.8: the NAT gives A another port. B does not follow what comes from there, but A asks how it is seen,
/// and sends an update.
#[test]
fn a_nat_that_rebinds_is_noticed_by_the_one_behind_it() {
    let mut setup = mobile(7).behind_nat();
    for peer in &mut setup.a.peers {
        peer.liveness = Some(10 * SECOND);
    }
    for peer in &mut setup.b.peers {
        peer.liveness = None;
    }
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.run_for(MINUTE);
    assert!(moves(&mut pair, Side::B).is_empty(), "{}", pair.log());
    pair.link.nat(0).rebind();
    pair.run_for(MINUTE);
    let now = pair.link.nat(0).mapped(Endpoint::new(PRIVATE_A, 4500)).unwrap();
    assert_eq!(moves(&mut pair, Side::B).last().unwrap().remote, now, "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::A);
}

/// RFC 4555 section 3.8: until then, packets move packets, and messages nothing. Where it is to be shown first that the peer
/// receives at an address, packets move to another port only.
#[test]
fn packets_from_behind_a_nat_move_packets_only() {
    let other = v4(203, 0, 113, 78);
    for (check, address) in [(true, PUBLIC_A), (false, PUBLIC_A), (true, other), (false, other)] {
        let setup = with(70, Mobike { check, ..Mobike::ANYWHERE }).behind_nat();
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.ping();
        let before = pair.link.nat(0).mapped(Endpoint::new(PRIVATE_A, 4500)).unwrap();
        pair.link.nat(0).rebind();
        pair.link.set_hook(move |_, d| {
            if d.source.address == PUBLIC_A {
                d.source.address = address;
            }
            Verdict::Pass
        });
        let _ = pair.send(Side::A, 1);
        pair.run_for(SECOND / 2);
        let now = pair.link.nat(0).mapped(Endpoint::new(PRIVATE_A, 4500)).unwrap();
        assert_ne!(before, now);
        let follows = address == PUBLIC_A || !check;
        let moved = moves(&mut pair, Side::B);
        let to = follows.then_some(now.port);
        assert_eq!(moved.last().map(|path| path.remote.port), to, "{}", pair.log());
        assert!(moved.iter().all(|path| path.remote.address == address));
        let _ = pair.link.take_tap();
        assert_eq!(pair.send(Side::B, 2), Sent::Sealed);
        pair.rekey(Side::B).unwrap();
        pair.run_for(Duration::from_millis(1));
        let tap = pair.link.take_tap();
        let to: Vec<_> = tap.iter().filter(|c| c.datagram.source.address == ADDRESS_B).collect();
        let [packet, message] = to.as_slice() else { panic!("{}", to.len()) };
        assert_eq!(packet.datagram.destination.port, if follows { now.port } else { before.port });
        assert_eq!(message.datagram.destination, before);
    }
}

/// RFC 4555 sections 3.4, 3.6 and 3.10: B does not answer any more, and has told of another address: A finds it there. What
/// it tells later counts as well.
#[test]
fn a_peer_that_is_silent_is_looked_for_at_its_other_addresses() {
    const DEAD: IpAddr = v4(198, 51, 100, 7);
    const OTHER: IpAddr = v4(198, 51, 100, 8);
    const SIX: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    for (check, rekeyed) in [(true, false), (false, false), (true, true)] {
        let others = leak([SIX, DEAD, OTHER]);
        let mut setup = mobile(80);
        setup.b.peers[0].mobike = Some(leak(Mobike { others, ..Mobike::ANYWHERE }));
        setup.a.peers[0].mobike = Some(leak(Mobike { check, ..Mobike::ANYWHERE }));
        setup.a.peers[0].liveness = Some(10 * SECOND);
        setup.b.peers[0].liveness = None;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.a.gateway.remember_addresses(vec![PeerAddresses::EMPTY; 64].leak());
        pair.bring_up();
        if rekeyed {
            pair.rekey_ike(Side::A).unwrap();
            pair.run_for(SECOND);
        }
        pair.ping();
        pair.b.address = OTHER;
        pair.run_for(MINUTE);
        assert!(pair.a.ike_downs().is_empty(), "{}", pair.log());
        assert_eq!(
            moves(&mut pair, Side::A).last().unwrap().remote.address,
            OTHER,
            "{}",
            pair.log()
        );
        let _ = pair.link.take_tap();
        pair.ping();
        assert_eq!(esp_to(&mut pair, ADDRESS_A).last().unwrap().0, OTHER);
        // It is back at the first one.
        pair.b.address = ADDRESS_B;
        pair.run_for(MINUTE);
        pair.ping();
        let last = moves(&mut pair, Side::A).last().unwrap().remote.address;
        assert_eq!(last, ADDRESS_B, "{}", pair.log());
        assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty());
        pair.close_and_check(Side::A);
    }
    // Without memory for them, nothing is tried.
    let mut setup = mobile(81);
    setup.b.peers[0].mobike = Some(leak(Mobike { others: leak([OTHER]), ..Mobike::ANYWHERE }));
    setup.a.peers[0].liveness = Some(10 * SECOND);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.b.address = OTHER;
    pair.run_for(15 * MINUTE);
    assert_eq!(pair.a.ike_downs(), [DownReason::PeerSilent { tries: 21 }], "{}", pair.log());
}

/// RFC 4555 section 3.9: an initiator that allows no NAT is refused where there is one, and moves nothing.
#[test]
fn a_nat_where_none_is_allowed() {
    let setup = with(8, Mobike { nats: false, ..Mobike::ANYWHERE });
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    assert_eq!(go(&mut pair, ELSEWHERE), 1);
    pair.run_for(SECOND);
    pair.ping();
    assert!(pair.a.failures().is_empty(), "{}", pair.log());
    let before = moves(&mut pair, Side::B);
    assert_eq!(before.len(), 1);
    pair.link.set_hook(|_, d| {
        if d.source.address == ADDRESS_A {
            d.source.address = VICTIM;
        }
        if d.destination.address == VICTIM {
            d.destination.address = ADDRESS_A;
        }
        Verdict::Pass
    });
    assert_eq!(go(&mut pair, ADDRESS_A), 1);
    // It may have been an attacker: the update is repeated three times.
    pair.run_for(5 * SECOND);
    assert!(pair.a.failures().is_empty(), "{}", pair.log());
    pair.run_for(5 * SECOND);
    let refused = Failure::Refused(NotifyType::UNEXPECTED_NAT_DETECTED);
    assert_eq!(pair.a.failures(), std::slice::from_ref(&refused), "{}", pair.log());
    assert_eq!(moves(&mut pair, Side::B), before);

    // In IKE_AUTH as well.
    let mut setup = with(9, Mobike { nats: false, ..Mobike::ANYWHERE });
    setup.nats.push(nat_of_a());
    let setup = setup.behind_nat();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    assert_eq!(pair.b.failures(), [Failure::UnexpectedNat], "{}", pair.log());
    assert_eq!(pair.a.failures(), [refused], "{}", pair.log());
    assert!(!pair.a.is_up() && !pair.b.is_up());
}

/// A responder follows to the addresses of its policy only.
#[test]
fn unacceptable_addresses_are_refused() {
    let only =
        leak([AddressRange::V4 { start: [192, 0, 2, 0].into(), end: [192, 0, 2, 210].into() }]);
    let setup = with(10, Mobike { within: only, ..Mobike::ANYWHERE });
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    assert_eq!(go(&mut pair, v4(192, 0, 2, 211)), 1);
    pair.run_for(SECOND);
    let refused = Failure::Refused(NotifyType::UNACCEPTABLE_ADDRESSES);
    assert_eq!(pair.a.failures(), [refused], "{}", pair.log());
    assert!(moves(&mut pair, Side::B).is_empty());
    assert_eq!(go(&mut pair, ELSEWHERE), 1);
    pair.run_for(SECOND);
    pair.ping();
    pair.close_and_check(Side::A);
}

/// A request that waits for an answer on a path that is gone goes out on the new one at once (RFC 4555 section 3.5), and
/// whoever moves twice before an answer begins again.
#[test]
fn a_move_in_the_middle_of_anything() {
    for seed in 0..60 {
        let setup = mobile(100 + seed);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let mut rng = SeededRng::new(seed);
        let away = Duration::from_millis(rng.below(60));
        match seed % 6 {
            0 => pair.rekey(Side::A).unwrap(),
            1 => pair.rekey(Side::B).unwrap(),
            2 => pair.rekey_ike(Side::A).unwrap(),
            3 => pair.rekey_ike(Side::B).unwrap(),
            4 => {
                pair.rekey_ike(Side::A).unwrap();
                pair.rekey_ike(Side::B).unwrap();
            }
            _ => {}
        }
        pair.run_for(away);
        go(&mut pair, ELSEWHERE);
        if seed % 2 == 0 {
            pair.run_for(Duration::from_millis(rng.below(60)));
            go(&mut pair, v4(192, 0, 2, 7));
        }
        pair.run_for(20 * SECOND);
        pair.ping();
        let now = pair.a.address;
        assert_eq!(esp_to(&mut pair, ADDRESS_B).last().unwrap().0, now, "{seed} {}", pair.log());
        assert_eq!(pair.a.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 1, "{seed}");
        pair.run_for(5 * MINUTE);
        assert_eq!(pair.a.statistics().ike_sas, 1, "{seed} {}", pair.log());
        pair.close_and_check(Side::B);
    }
}

/// A moves every few seconds, in a storm, while packets go both ways, some of them in UDP: the tunnel lives.
#[test]
fn moves_under_traffic_in_a_storm() {
    let ups = Rc::new(Cell::new(0));
    for seed in 0..12 {
        let mut setup = mobile(200 + seed).weather(Weather::STORM);
        setup.nats.push(nat_of_a());
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let mut rng = SeededRng::new(seed);
        let places = [ADDRESS_A, ELSEWHERE, PRIVATE_A, v4(192, 0, 2, 8)];
        for number in 0..600 {
            let _ = pair.send(Side::A, number);
            let _ = pair.send(Side::B, number);
            pair.run_for(Duration::from_millis(50));
            if rng.below(50) == 0 {
                let to = places[rng.below(4) as usize];
                go(&mut pair, to);
            }
            match rng.below(200) {
                0 => drop(pair.rekey(Side::A)),
                1 => drop(pair.rekey(Side::B)),
                2 => drop(pair.rekey_ike(Side::A)),
                3 => drop(pair.rekey_ike(Side::B)),
                _ => {}
            }
        }
        assert!(pair.ping_until_answered(), "{seed} {}", pair.log());
        assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty(), "{}", pair.log());
        let (a, b) = (pair.a.received.len(), pair.b.received.len());
        assert!(a > 200 && b > 200, "{seed}: {a} {b}");
        ups.set(ups.get() + 1);
        pair.link.set_weather(Weather::FAIR);
        pair.run_for(MINUTE);
        pair.ping();
        pair.close_and_check(Side::A);
    }
    assert_eq!(ups.get(), 12);
}

/// In transport mode the selectors are the addresses: such a child ends when one of them goes.
#[test]
fn children_in_transport_mode_end() {
    let setup = mobile(11).children(|child| {
        child.mode = ipsec::ModePolicy::RequireTransport;
        child.local = leak([ipsec::TrafficSelector::addresses(AddressRange::V4 {
            start: [0; 4].into(),
            end: [255; 4].into(),
        })]);
        child.remote = child.local;
    });
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    assert_eq!(go(&mut pair, ELSEWHERE), 1);
    pair.run_for(5 * SECOND);
    assert_eq!(pair.a.child_downs(), [DownReason::Closed], "{}", pair.log());
    assert_eq!(pair.b.child_downs(), [DownReason::Deleted], "{}", pair.log());
    assert!(pair.a.ike_downs().is_empty());
    pair.initiate(Side::A).unwrap();
    pair.run_for(5 * SECOND);
    assert!(pair.is_up(), "{}", pair.log());
    pair.close_and_check(Side::A);
}

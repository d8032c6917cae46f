//! Handshakes under loss, repetition, reordering and NAT: every one comes up, carries traffic, and leaves nothing.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use ipsec::{AddressRange, GatewayEvent, Retransmission, TrafficSelector};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::link::Weather;
use ipsec_testkit::pair::{Memory, Pair};
use ipsec_testkit::setup::{Setup, Side, leak_all};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A patient peer: under [`Weather::STORM`] more than a third of all round trips fail.
const PATIENT: Retransmission = Retransmission {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(4),
    tries: 60,
};

fn stormy(seed: u64) -> Setup {
    Setup::new(seed).weather(Weather::STORM).peers(|peer| peer.retransmission = PATIENT)
}

/// A whole life in any weather. Gives the transcript.
fn life(setup: &Setup, begin: &[Side], close: Side) -> Vec<u8> {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    for side in begin {
        pair.initiate(*side).unwrap();
    }
    assert!(pair.wait(5 * MINUTE, Pair::is_up), "seed {}\n{}", setup.seed, pair.log());
    if begin.len() > 1 {
        // The other handshake ends, too.
        pair.run_for(5 * MINUTE);
    }
    assert!(pair.ping_until_answered(), "seed {}\n{}", setup.seed, pair.log());
    pair.close_all(close);
    pair.run_for(15 * MINUTE);
    // A handshake that a late, repeated IKE_SA_INIT began has ended, too.
    pair.close_all(close.other());
    pair.run_for(15 * MINUTE);
    for node in [&pair.a, &pair.b] {
        node.assert_empty();
        assert!(node.failures().is_empty(), "seed {}\n{}", setup.seed, pair.log());
    }
    pair.transcript().as_bytes().to_vec()
}

/// RFC 7296 section 2.1: requests are repeated until they are answered, and a repeated request gets its response again.
#[test]
fn four_hundred_in_a_storm() {
    for seed in 0..400 {
        let close = if seed % 2 == 0 { Side::A } else { Side::B };
        life(&stormy(seed), &[Side::A], close);
    }
}

#[test]
fn three_hundred_in_a_storm_behind_a_nat() {
    for seed in 1000..1300 {
        let close = if seed % 2 == 0 { Side::A } else { Side::B };
        life(&stormy(seed).behind_nat(), &[Side::A], close);
    }
}

/// Both sides begin at the same moment: one tunnel too many does no harm.
#[test]
fn three_hundred_in_a_storm_begun_from_both_sides() {
    for seed in 2000..2300 {
        let close = if seed % 2 == 0 { Side::A } else { Side::B };
        life(&stormy(seed), &[Side::A, Side::B], close);
    }
}

#[test]
fn equal_seeds_give_equal_transcripts() {
    for seed in 3000..3010 {
        let first = life(&stormy(seed), &[Side::A], Side::B);
        assert!(first == life(&stormy(seed), &[Side::A], Side::B), "seed {seed}");
        assert!(first != life(&stormy(seed + 100), &[Side::A], Side::B), "seed {seed}");
        let first = life(&stormy(seed).behind_nat(), &[Side::A], Side::A);
        assert!(first == life(&stormy(seed).behind_nat(), &[Side::A], Side::A), "seed {seed}");
    }
}

/// On a fair link: two round trips, then traffic; nothing is repeated, nothing refused.
#[test]
fn a_fair_link_takes_two_round_trips() {
    let setup = Setup::new(1);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    assert_eq!(pair.now().since(ipsec::Instant::from_secs(1)), Duration::from_millis(40));
    assert_eq!(pair.link.tap().len(), 4);
    pair.ping();
    pair.close_and_check(Side::A);
    assert!(pair.a.errors.is_empty() && pair.b.errors.is_empty(), "{}", pair.log());
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty(), "{}", pair.log());
}

/// Traffic begins it: RFC 4301 section 5.1 wants no packet to leave unprotected meanwhile.
#[test]
fn traffic_brings_the_tunnel_up() {
    use ipsec_testkit::pair::Sent;
    let setup = Setup::new(2);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    assert_eq!(pair.send(Side::A, 7), Sent::Waiting);
    assert_eq!(pair.send(Side::A, 8), Sent::Waiting);
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    assert_eq!(pair.send(Side::A, 9), Sent::Sealed);
    pair.run_for(SECOND);
    assert_eq!(pair.b.numbers(), [9]);
    pair.close_and_check(Side::B);
}

/// RFC 7296 section 2.23: with a NAT between, both move to port 4500, and ESP travels in UDP.
#[test]
fn behind_a_nat_everything_moves_to_port_4500() {
    let setup = Setup::new(3).behind_nat();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let ports: Vec<_> = pair.link.tap().iter().map(|c| c.datagram.destination.port).collect();
    // What B sends goes to the ports that the NAT gave A: 40000 for 500, 40001 for 4500.
    assert_eq!(ports, [500, 40_000, 4500, 40_001, 4500, 40_001]);
    for (node, local, remote) in [(&pair.a, true, false), (&pair.b, false, true)] {
        let found = node.count(|event| {
            matches!(event, GatewayEvent::IkeUp { agreed, .. }
                if (agreed.nat_local, agreed.nat_remote) == (local, remote))
        });
        assert_eq!(found, 1, "{}", node.log());
    }
    pair.close_and_check(Side::A);
}

/// IPv6 outside, and either inside.
#[test]
fn over_ipv6() {
    let address = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1));
    let lan = |n: u16| {
        let start = Ipv6Addr::new(0xfd00, n, 0, 0, 0, 0, 0, 0);
        let end = Ipv6Addr::new(0xfd00, n, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff);
        TrafficSelector::addresses(AddressRange::V6 { start, end })
    };
    for v6_inside in [false, true] {
        let mut setup = Setup::new(4);
        for side in Side::BOTH {
            let (ours, theirs) = if side == Side::A { (1, 2) } else { (2, 1) };
            let plan = setup.plan(side);
            plan.address = address(ours);
            plan.peers[0].local = Some(address(ours));
            plan.peers[0].remote = Some(address(theirs));
            if v6_inside {
                plan.host = IpAddr::V6(Ipv6Addr::new(0xfd00, ours, 0, 0, 0, 0, 0, 7));
                setup = setup.children_of(side, |child| {
                    child.local = leak_all([lan(ours)]);
                    child.remote = leak_all([lan(theirs)]);
                });
            }
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.ping();
        pair.rekey(Side::B).unwrap();
        pair.run_for(SECOND);
        pair.rekey_ike(Side::A).unwrap();
        pair.run_for(SECOND);
        pair.ping();
        assert!(pair.a.errors.is_empty() && pair.b.errors.is_empty(), "{}", pair.log());
        pair.close_and_check(Side::B);
    }
}

/// With real algorithms, a few: the toy ones cannot hide a mistake in the order of keys from the vectors of the RFCs,
/// but lengths differ.
#[test]
fn real_algorithms_in_a_storm() {
    for seed in 0..4 {
        let setup = stormy(seed);
        let mut memory = Memory::<RustCrypto>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(5 * MINUTE, Pair::is_up), "seed {seed}\n{}", pair.log());
        assert!(pair.ping_until_answered(), "seed {seed}\n{}", pair.log());
        pair.close_all(Side::B);
        pair.run_for(30 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

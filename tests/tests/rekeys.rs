//! Rekeying under traffic: on a fair link no packet is lost to it, and in a storm the tunnel survives it.

use core::time::Duration;
use std::collections::HashMap;

use ipsec::{ChildProposal, ChildRef, DownReason, Group, Lifetime, Limits, Retransmission, Suite};
use ipsec_testkit::link::{Transport, Verdict, Weather};
use ipsec_testkit::pair::{Memory, Pair, Sent};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::setup::{Setup, Side};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const PATIENT: Retransmission = Retransmission {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(4),
    tries: 60,
};

/// Perfect forward secrecy: each child has a key exchange of its own.
const PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_GCM],
    groups: &[Group::X25519, Group::P256],
    esn: true,
    additional: &[],
}];

/// A stream of numbered packets each way, and which of them must arrive.
struct Stream {
    next: u32,
    gap: Duration,
}

impl Stream {
    const fn new() -> Self {
        Self { next: 0, gap: Duration::from_millis(3) }
    }

    /// Sends so many packets each way, evenly spaced.
    fn run(&mut self, pair: &mut Pair<'_>, packets: u32) {
        for _ in 0..packets {
            for side in Side::BOTH {
                assert_eq!(pair.send(side, self.next), Sent::Sealed, "{}", pair.log());
            }
            self.next += 1;
            pair.run_for(self.gap);
        }
    }

    /// Checks that all have arrived, in order.
    fn assert_complete(&self, pair: &mut Pair<'_>) {
        pair.run_for(SECOND);
        let all: Vec<u32> = (0..self.next).collect();
        for side in Side::BOTH {
            let log = pair.log();
            let node = pair.node(side);
            assert!(node.errors.is_empty(), "{log}");
            assert!(node.failures().is_empty(), "{log}");
            let arrived = node.numbers();
            let missing: Vec<_> = all.iter().filter(|n| !arrived.contains(n)).collect();
            assert!(missing.is_empty(), "{side:?} misses {missing:?}\n{log}");
            assert_eq!(arrived, all, "{side:?}");
        }
    }
}

/// What a rekey replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Child,
    Ike,
}

fn rekey(pair: &mut Pair<'_>, side: Side, what: What) {
    let begun = match what {
        What::Child => pair.rekey(side),
        What::Ike => pair.rekey_ike(side),
    };
    begun.unwrap_or_else(|e| panic!("{side:?} {what:?}: {e}\n{}", pair.log()));
}

fn rekeys_under_traffic(setup: &Setup, sides: &[Side], what: What) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.bring_up();
    let mut stream = Stream::new();
    let times = 20;
    for i in 0..times {
        stream.run(&mut pair, 20);
        rekey(&mut pair, sides[i % sides.len()], what);
        stream.run(&mut pair, 40);
    }
    stream.assert_complete(&mut pair);
    for node in [&pair.a, &pair.b] {
        let (children, ikes) = (node.child_rekeys(), node.ike_rekeys());
        let expected = if what == What::Child { (times, 0) } else { (0, times) };
        assert_eq!((children, ikes), expected, "{}", node.log());
        // RFC 7296 section 2.8: the old SAs are deleted, and nothing else.
        assert!(node.child_downs().iter().all(|r| *r == DownReason::Rekeyed), "{}", node.log());
        assert_eq!(node.child_downs().len(), children);
        assert!(node.ike_downs().is_empty(), "{}", node.log());
        assert_eq!(node.statistics().outbound_sas, 1);
    }
    // The old IKE SAs have gone when nothing of them is repeated any more, and the old children, which received a little
    // longer.
    pair.run_for(2 * MINUTE);
    for node in [&pair.a, &pair.b] {
        let now = node.statistics();
        assert_eq!((now.ike_sas, now.children, now.inbound_sas), (1, 1, 1));
    }
    pair.close_and_check(sides[0]);
}

/// RFC 7296 section 2.8.
#[test]
fn a_child_is_replaced_from_either_side_without_loss() {
    for sides in [&[Side::A][..], &[Side::B], &[Side::A, Side::B]] {
        rekeys_under_traffic(&Setup::new(1), sides, What::Child);
        rekeys_under_traffic(&Setup::new(2).behind_nat(), sides, What::Child);
    }
}

/// RFC 7296 section 1.3.1: with a key exchange of its own.
#[test]
fn a_child_is_replaced_with_perfect_forward_secrecy_without_loss() {
    for sides in [&[Side::A][..], &[Side::B], &[Side::A, Side::B]] {
        let setup = Setup::new(3).children(|child| child.proposals = PFS);
        rekeys_under_traffic(&setup, sides, What::Child);
    }
}

/// RFC 7296 section 2.18.
#[test]
fn an_ike_sa_is_replaced_from_either_side_without_loss() {
    for sides in [&[Side::A][..], &[Side::B], &[Side::A, Side::B]] {
        // Twenty times within four seconds: each old SA stays for ten, to repeat its last response.
        let roomy = |seed| {
            Setup::new(seed).sizes(|sizes| {
                sizes.ike_sas = 24;
                sizes.exchanges = 48;
                sizes.buffers = 100;
            })
        };
        rekeys_under_traffic(&roomy(4), sides, What::Ike);
        rekeys_under_traffic(&roomy(5).behind_nat(), sides, What::Ike);
    }
}

fn by_limits(soft: Limits, hard: Limits, packets: u32, least: usize) {
    for side in Side::BOTH {
        // One side has the limits, so that it is the one that rekeys.
        let setup = Setup::new(6).children_of(side, |child| {
            child.lifetime = Lifetime { soft, hard };
        });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let mut stream = Stream::new();
        stream.run(&mut pair, packets);
        stream.assert_complete(&mut pair);
        let rekeys = pair.node(side).child_rekeys();
        assert!(rekeys >= least, "{rekeys}");
        assert!(rekeys <= least + least / 4 + 1, "{rekeys}");
        assert_eq!(pair.a.child_rekeys(), pair.b.child_rekeys());
        pair.close_and_check(side);
    }
}

/// RFC 4301 section 4.4.2.1: lifetimes in packets.
#[test]
fn soft_limits_of_packets_rekey_without_loss() {
    let soft = Limits { packets: 100, ..Limits::NONE };
    by_limits(soft, Limits { packets: 200, ..Limits::NONE }, 1500, 12);
}

/// RFC 4301 section 4.4.2.1: lifetimes in bytes.
#[test]
fn soft_limits_of_bytes_rekey_without_loss() {
    let soft = Limits { bytes: 10_000, ..Limits::NONE };
    by_limits(soft, Limits { bytes: 20_000, ..Limits::NONE }, 1500, 12);
}

/// RFC 4301 section 4.4.2.1: lifetimes in time.
#[test]
fn soft_limits_of_time_rekey_without_loss() {
    let soft = Limits { time: SECOND, ..Limits::NONE };
    by_limits(soft, Limits { time: 2 * SECOND, ..Limits::NONE }, 4000, 11);
}

/// Both sides have the same limits, and random parts of them keep the two from beginning at once for ever.
#[test]
fn both_sides_have_limits() {
    for seed in 0..10 {
        let limits = |n: u64| Limits { packets: 80 * n, time: n as u32 * SECOND, ..Limits::NONE };
        let setup = Setup::new(seed).children(|child| {
            child.lifetime = Lifetime { soft: limits(1), hard: limits(30) };
        });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let mut stream = Stream { next: 0, gap: Duration::from_millis(20) };
        stream.run(&mut pair, 2000);
        pair.run_for(20 * SECOND);
        assert!(pair.a.child_rekeys() >= 5, "{}", pair.log());
        let all: Vec<u32> = (0..stream.next).collect();
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.numbers(), all, "seed {seed}\n{}", pair.log());
        }
        pair.close_and_check(Side::A);
    }
}

/// RFC 7296 section 2.8: an IKE SA has a lifetime of its own, whichever side has it.
#[test]
fn an_ike_sa_is_replaced_in_time_without_loss() {
    for sides in [&[Side::A][..], &[Side::B], &Side::BOTH] {
        let mut setup = Setup::new(7);
        for side in sides {
            setup.plan(*side).peers[0].rekey_after = 20 * SECOND;
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let mut stream = Stream { next: 0, gap: Duration::from_millis(50) };
        stream.run(&mut pair, 2200);
        pair.run_for(SECOND);
        let all: Vec<u32> = (0..stream.next).collect();
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.numbers(), all, "{}", pair.log());
            // 110 seconds, and each rekey comes after 18 to 20.
            assert!((5..=6).contains(&node.ike_rekeys()), "{sides:?}\n{}", pair.log());
            assert!(node.ike_downs().is_empty() && node.child_downs().is_empty());
        }
        pair.close_and_check(Side::A);
    }
}

/// An IKE SA that cannot be replaced ends when its time is over, with its children; traffic begins another.
#[test]
fn an_ike_sa_that_is_not_replaced_expires() {
    let mut setup = Setup::new(7).peers(|peer| {
        peer.rekey_after = 50 * SECOND;
        peer.expire_after = MINUTE;
        peer.liveness = None;
    });
    // No room for a second one.
    setup.a.sizes.ike_sas = 1;
    setup.b.sizes.ike_sas = 1;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.run_for(MINUTE + SECOND);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.ike_downs(), [DownReason::Expired], "{}", pair.log());
        assert_eq!(node.child_downs().len(), 1);
        node.assert_empty();
    }
    assert_eq!(pair.send(Side::A, 1), Sent::Waiting);
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::B);
}

/// RFC 4301 section 4.4.2.1: the hard limit comes before a rekey is done, since B has no room for one. The SA ends, not
/// one packet more passes, and traffic begins another.
#[test]
fn a_hard_limit_ends_the_child() {
    let mut setup = Setup::new(8).children_of(Side::A, |child| {
        let hard = Limits { packets: 50, ..Limits::NONE };
        child.lifetime = Lifetime { soft: Limits::NONE, hard };
    });
    setup.b.sizes.children = 1;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    for number in 0..4000 {
        let _ = pair.send(Side::A, number);
        pair.run_for(Duration::from_millis(5));
    }
    pair.run_for(SECOND);
    let downs = pair.a.child_downs();
    assert!(downs.len() >= 3 && downs.iter().all(|r| *r == DownReason::Expired), "{}", pair.log());
    let mut packets = HashMap::<[u8; 4], usize>::new();
    for esp in pair.link.tap().iter().filter(|c| c.datagram.transport == Transport::Ip(50)) {
        *packets.entry(*esp.datagram.bytes.first_chunk().unwrap()).or_default() += 1;
    }
    assert!(packets.len() >= 3, "{packets:?}");
    assert!(packets.values().all(|count| *count <= 50), "{packets:?}");
    assert_eq!(pair.b.received.len(), packets.values().sum());
    assert!(pair.ping_until_answered(), "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// RFC 7296 section 1.4.1: both sides close a child. The lifetime of A's second one ends while the line is cut and B has not
/// yet answered to the deletion of the first. Once it has, it is told of the second one, too, and does not go on sending.
#[test]
fn a_child_that_expires_in_a_cut_is_deleted_after_it() {
    let lives = |time| Lifetime { soft: Limits::NONE, hard: Limits { time, ..Limits::NONE } };
    let mut setup = Setup::new(9).tunnels(2).peers(|peer| {
        peer.retransmission = PATIENT;
        peer.liveness = None;
    });
    setup = setup.children_of(Side::A, |child| child.lifetime = lives(2 * MINUTE));
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let second = ChildRef { peer: 0, child: 1 };
    pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, second)).unwrap();
    assert!(pair.wait(SECOND, |pair| pair.b.tunnel_is_up(second)), "{}", pair.log());
    pair.run_for(MINUTE);
    pair.link.set_hook(|_, _| Verdict::Drop);
    pair.close(Side::A).unwrap();
    // Its lifetime has been over for two minutes when A is heard again.
    pair.run_for(3 * MINUTE);
    assert_eq!(pair.b.statistics().children, 2, "{}", pair.log());
    pair.link.clear_hook();
    pair.run_for(10 * SECOND);
    for node in [&pair.a, &pair.b] {
        let now = node.statistics();
        assert_eq!((now.ike_sas, now.children), (1, 0), "{:?} {}", node.side, pair.log());
    }
    assert_eq!(pair.a.child_downs(), [DownReason::Closed, DownReason::Expired], "{}", pair.log());
    assert_eq!(pair.b.child_downs(), [DownReason::Deleted; 2], "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// Both sides rekey at the same moment. Nothing is lost, and both get there in the end.
#[test]
fn both_sides_rekey_at_once() {
    let both = [(What::Child, What::Child), (What::Ike, What::Ike), (What::Child, What::Ike)];
    for seed in 0..40 {
        for (first, second) in both {
            for pfs in [false, true] {
                let mut setup = Setup::new(seed);
                if pfs {
                    setup = setup.children(|child| child.proposals = PFS);
                }
                let mut memory = Memory::new(&setup);
                let mut pair = Pair::new(&setup, &mut memory);
                pair.bring_up();
                let mut stream = Stream { next: 0, gap: Duration::from_millis(5) };
                stream.run(&mut pair, 3);
                rekey(&mut pair, Side::A, first);
                // The second one begins up to two round trips later.
                pair.run_for(Duration::from_millis(seed));
                rekey(&mut pair, Side::B, second);
                stream.run(&mut pair, 60);
                stream.gap = Duration::from_millis(500);
                stream.run(&mut pair, 30);
                let context = format!("seed {seed} {first:?} {second:?} pfs {pfs}");
                let all: Vec<u32> = (0..stream.next).collect();
                pair.run_for(SECOND);
                for node in [&pair.a, &pair.b] {
                    assert_eq!(node.numbers(), all, "{context}\n{}", pair.log());
                    let children = usize::from(first == What::Child);
                    let ikes = usize::from(second == What::Ike);
                    assert!(node.child_rekeys() >= children, "{context}\n{}", pair.log());
                    assert!(node.ike_rekeys() >= ikes, "{context}\n{}", pair.log());
                    assert_eq!(node.statistics().children, 1, "{context}\n{}", pair.log());
                }
                pair.run_for(2 * MINUTE);
                assert_eq!((pair.a.statistics().ike_sas, pair.b.statistics().ike_sas), (1, 1));
                // And once more, alone.
                rekey(&mut pair, Side::A, first);
                pair.run_for(SECOND);
                rekey(&mut pair, Side::B, second);
                pair.run_for(SECOND);
                pair.ping();
                pair.close_and_check(Side::B);
            }
        }
    }
}

/// Anything at any time, in a storm: the tunnel survives, and nothing is left over.
#[test]
fn rekeys_in_a_storm() {
    for seed in 0..100 {
        let mut chance = SeededRng::new(seed);
        let mut setup =
            Setup::new(seed).weather(Weather::STORM).peers(|peer| peer.retransmission = PATIENT);
        if chance.below(2) == 0 {
            setup = setup.children(|child| child.proposals = PFS);
        }
        if chance.below(2) == 0 {
            setup = setup.behind_nat();
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        for number in 0..200 {
            for side in Side::BOTH {
                let _ = pair.send(side, number);
                if chance.below(40) == 0 {
                    // There may be nothing to rekey just now.
                    let _ = pair.rekey(side);
                }
                if chance.below(80) == 0 {
                    let _ = pair.rekey_ike(side);
                }
            }
            pair.run_for(Duration::from_millis(chance.below(200)));
        }
        let context = format!("seed {seed}");
        assert!(pair.ping_until_answered(), "{context}\n{}", pair.log());
        assert!(pair.a.ike_downs().is_empty(), "{context}\n{}", pair.log());
        assert!(pair.b.ike_downs().is_empty(), "{context}\n{}", pair.log());
        let more = pair.a.child_rekeys() + pair.a.ike_rekeys();
        assert!(more > 0, "{context}: nothing was rekeyed");
        // When all has settled, one IKE SA and one child are left on either side.
        pair.run_for(10 * MINUTE);
        for node in [&pair.a, &pair.b] {
            let now = node.statistics();
            assert_eq!((now.ike_sas, now.children), (1, 1), "{context}\n{}", pair.log());
            assert_eq!((now.inbound_sas, now.outbound_sas), (1, 1), "{context}");
        }
        assert!(pair.ping_until_answered(), "{context}\n{}", pair.log());
        pair.close_all(Side::A);
        pair.run_for(15 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

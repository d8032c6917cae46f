//! Reauthentication: make before break, and what a responder says of it (RFC 7296 section 2.8.3, RFC 4478).

use core::time::Duration;

use ipsec::{DownReason, GatewayEvent};
use ipsec_testkit::link::Weather;
use ipsec_testkit::pair::{Memory, Pair, Sent};
use ipsec_testkit::setup::{Setup, Side};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn renewed(pair: &mut Pair<'_>, side: Side) -> usize {
    pair.node(side).count(|e| matches!(e, GatewayEvent::IkeUp { .. }))
}

/// RFC 4478 section 3: whoever began obeys what the other says; also after rekeys by either side. No packet is lost, and
/// nothing is left of the old SAs.
#[test]
fn the_initiator_renews_its_authentication_and_no_packet_is_lost() {
    for (seed, sides) in [[true, false], [false, true], [true, true]].into_iter().enumerate() {
        let mut setup = Setup::new(seed as u64).tunnels(3);
        for (side, set) in Side::BOTH.into_iter().zip(sides) {
            for peer in setup.plan(side).peers.iter_mut().filter(|_| set) {
                peer.reauthenticate_after = 2 * MINUTE;
            }
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let other = ipsec::ChildRef { peer: 0, child: 1 };
        pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, other)).unwrap();
        pair.run_for(SECOND);
        let mut sent = 0;
        for number in 0..5500 {
            assert_eq!(pair.send(Side::A, number), Sent::Sealed, "{}", pair.log());
            assert_eq!(pair.send(Side::B, number), Sent::Sealed, "{}", pair.log());
            sent += 1;
            pair.run_for(SECOND / 10);
            if number % 1700 == 800 {
                let side = if number > 2000 { Side::A } else { Side::B };
                pair.rekey_ike(side).unwrap();
            }
        }
        pair.run_for(SECOND);
        assert_eq!((pair.a.numbers().len(), pair.b.numbers().len()), (sent, sent), "{sides:?}");
        let ups = renewed(&mut pair, Side::A);
        assert!((5..=6).contains(&ups), "{ups} {sides:?}\n{}", pair.log());
        assert_eq!(renewed(&mut pair, Side::B), ups);
        assert_eq!(pair.a.ike_downs(), vec![DownReason::Reauthenticated; ups - 1]);
        assert_eq!(pair.b.ike_downs(), vec![DownReason::Deleted; ups - 1]);
        assert_eq!(pair.a.statistics().children, 2, "{}", pair.log());
        assert!(pair.a.tunnel_is_up(other) && pair.b.tunnel_is_up(other));
        assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty());
        pair.close_and_check(Side::B);
    }
}

/// An initiator that does not renew its authentication is not believed any longer (RFC 4478 section 3).
#[test]
fn an_authentication_that_is_not_renewed_ends() {
    let mut setup = Setup::new(5);
    setup.b.peers[0].reauthenticate_after = MINUTE;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    // A's new handshakes get lost, its messages of the old SA do not.
    pair.link.set_hook(|_, d| match d.bytes.get(18) {
        Some(34) => ipsec_testkit::link::Verdict::Drop,
        _ => ipsec_testkit::link::Verdict::Pass,
    });
    pair.run_for(59 * SECOND);
    assert!(pair.is_up(), "{}", pair.log());
    pair.run_for(2 * SECOND);
    assert_eq!(pair.b.ike_downs(), [DownReason::Expired], "{}", pair.log());
    assert!(!pair.b.is_up());
}

/// In a storm the old SA serves until the new one does.
#[test]
fn reauthentication_in_a_storm() {
    for seed in 0..8 {
        let setup = Setup::new(20 + seed)
            .weather(Weather::STORM)
            .peers(|peer| peer.reauthenticate_after = 3 * MINUTE);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        for number in 0..600 {
            assert_eq!(pair.send(Side::A, number), Sent::Sealed, "{seed}\n{}", pair.log());
            let _ = pair.send(Side::B, number);
            pair.run_for(SECOND);
        }
        let ups = renewed(&mut pair, Side::A);
        assert!(ups >= 3, "{seed}: {ups}\n{}", pair.log());
        assert_eq!(pair.a.child_downs().iter().filter(|r| **r == DownReason::Expired).count(), 0);
        pair.link.set_weather(Weather::FAIR);
        pair.run_for(MINUTE);
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

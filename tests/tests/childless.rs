//! IKE SAs that begin without a child (RFC 6023).

use core::time::Duration;

use ipsec::{ChildProposal, Group};
use ipsec_testkit::link::Weather;
use ipsec_testkit::pair::{Memory, Pair};
use ipsec_testkit::setup::{Setup, Side};

const SECOND: Duration = Duration::from_secs(1);

/// The exchange types that crossed the network, of requests.
fn requests(pair: &mut Pair<'_>) -> Vec<u8> {
    let tap = pair.link.take_tap();
    let ike = tap.iter().map(|c| &c.datagram).filter(|d| d.source.port == 500);
    ike.filter(|d| d.bytes[19] & 0x20 == 0).map(|d| d.bytes[18]).collect()
}

/// RFC 6023 section 3: where both sides can, the first child is made by CREATE_CHILD_SA, with a key exchange of its own;
/// where one cannot, it comes with IKE_AUTH.
#[test]
fn the_first_child_comes_later_where_both_sides_can() {
    const FORWARD_SECRECY: &[ChildProposal<'static>] =
        &[ChildProposal { groups: &[Group::X25519], ..ChildProposal::DEFAULT[0] }];
    for able in [[true, true], [true, false], [false, true]] {
        let mut setup = Setup::new(1).children(|child| child.proposals = FORWARD_SECRECY);
        for (side, able) in Side::BOTH.into_iter().zip(able) {
            setup.plan(side).peers[0].childless = able;
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.ping();
        let both = able == [true, true];
        let expected: &[u8] = if both { &[34, 35, 36] } else { &[34, 35] };
        assert_eq!(requests(&mut pair), expected);
        let group = pair.a.events.iter().find_map(|(_, event)| match event {
            ipsec::GatewayEvent::ChildUp { agreed, .. } => Some(agreed.group),
            _ => None,
        });
        assert_eq!(group, Some(if both { Group::X25519 } else { Group::NONE }));
        assert_eq!(pair.a.statistics().children, 1);
        pair.rekey(Side::B).unwrap();
        pair.run_for(SECOND);
        pair.ping();
        pair.close_and_check(Side::B);
    }
}

/// Also in a storm, and with several tunnels, of which each comes once.
#[test]
fn each_tunnel_comes_once() {
    for seed in 0..20 {
        let setup =
            Setup::new(seed).weather(Weather::STORM).tunnels(3).peers(|peer| peer.childless = true);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        for child in [0, 1] {
            let config = ipsec::ChildRef { peer: 0, child };
            pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, config)).unwrap();
        }
        let up = pair.wait(60 * SECOND, |pair| {
            [0, 1].iter().all(|child| {
                let config = ipsec::ChildRef { peer: 0, child: *child };
                pair.a.tunnel_is_up(config) && pair.b.tunnel_is_up(config)
            })
        });
        assert!(up, "{seed}\n{}", pair.log());
        assert_eq!((pair.a.statistics().children, pair.b.statistics().children), (2, 2));
        pair.link.set_weather(Weather::FAIR);
        pair.run_for(60 * SECOND);
        pair.close_and_check(Side::A);
    }
}

/// The child that waits for the IKE SA goes with it, if it does not come about.
#[test]
fn a_handshake_that_fails_leaves_nothing() {
    let mut setup = Setup::new(3).peers(|peer| peer.childless = true);
    setup.b.peers[0].auth = ipsec::Auth::psk(b"another key of thirty-two bytes");
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(60 * SECOND);
    assert!(!pair.a.failures().is_empty() && !pair.is_up());
    pair.run_for(600 * SECOND);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

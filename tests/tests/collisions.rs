//! Both sides do something at once: every pair of actions, at several distances in time, with each datagram of it lost in
//! turn. Whatever happens, one IKE SA and the children that should be there remain, the same on both sides.

use core::time::Duration;
use std::cell::Cell;
use std::rc::Rc;

use ipsec::{ChildProposal, ChildRef, DownReason, GatewayEvent, Group, Suite};
use ipsec_testkit::link::{Transport, Verdict};
use ipsec_testkit::pair::{Jobs, Memory, Pair};
use ipsec_testkit::setup::{Setup, Side, TUNNEL};

const SECOND: Duration = Duration::from_secs(1);
const OTHER: ChildRef = ChildRef { peer: 0, child: 1 };

const PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_GCM],
    groups: &[Group::X25519],
    esn: true,
    additional: &[],
}];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    RekeyIke,
    RekeyChild,
    NewChild,
    CloseChild,
    CloseIke,
}

const ALL: [Action; 5] =
    [Action::RekeyIke, Action::RekeyChild, Action::NewChild, Action::CloseChild, Action::CloseIke];

fn act(pair: &mut Pair<'_>, side: Side, action: Action) {
    // What the other side has done already may have left nothing to do.
    let _ = match action {
        Action::RekeyIke => pair.rekey_ike(side),
        Action::RekeyChild => pair.rekey(side),
        Action::NewChild => pair.with(side, |gateway, now, rng| gateway.initiate(now, rng, OTHER)),
        Action::CloseChild => pair.close(side),
        Action::CloseIke => {
            let ike = pair.node(side).ike();
            pair.with(side, |gateway, now, rng| gateway.close_ike(now, rng, ike))
        }
    };
}

/// One place of the matrix. `lost` is the number of the IKE datagram that is lost, counted from the first action.
struct Case {
    actions: [Action; 2],
    apart: Duration,
    lost: u32,
    jobs: Duration,
    seed: u64,
}

fn run(case: &Case) {
    let Case { actions, apart, lost, jobs, seed } = *case;
    let what = format!("{actions:?}, {apart:?} apart, {lost} lost, jobs {jobs:?}, seed {seed}");
    let setup = Setup::new(seed).tunnels(2).children(|child| child.proposals = PFS);
    let setup = setup.sizes(|sizes| sizes.ike_sas = 6);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.run_for(SECOND);
    for side in Side::BOTH {
        pair.node(side).jobs = if jobs.is_zero() { Jobs::AtOnce } else { Jobs::After(jobs) };
    }
    let count = Rc::new(Cell::new(0));
    let counter = count.clone();
    pair.link.set_hook(move |_, datagram| {
        if datagram.transport != Transport::Udp {
            return Verdict::Pass;
        }
        counter.set(counter.get() + 1);
        if counter.get() == lost { Verdict::Drop } else { Verdict::Pass }
    });
    act(&mut pair, Side::A, actions[0]);
    pair.run_for(apart);
    act(&mut pair, Side::B, actions[1]);
    // Long enough for what is repeated, tried again, or waits for a deletion that was lost.
    pair.run_for(150 * SECOND);
    pair.link.clear_hook();
    let log = format!("{what}\n{}", pair.log());

    let closes = actions.contains(&Action::CloseIke);
    for node in [&pair.a, &pair.b] {
        let ike = node.gateway.ike();
        let now = node.statistics();
        assert_eq!(ike.established().count(), now.ike_sas, "{:?} {log}", node.side);
        assert!(now.ike_sas <= 1, "{:?}: {now:?} {log}", node.side);
        // A child that is wanted when the IKE SA has gone already begins another.
        let fits = now.ike_sas == usize::from(!closes) || actions[1] == Action::NewChild;
        assert!(fits, "{:?}: {now:?} {log}", node.side);
        assert_eq!(now.inbound_sas, now.children, "{:?}: {now:?} {log}", node.side);
        assert_eq!(now.outbound_sas, now.children, "{:?}: {now:?} {log}", node.side);
        assert_eq!(ike.established_children().count(), now.children, "{:?} {log}", node.side);
        let gone = node.ike_downs();
        assert_eq!(gone.len(), usize::from(closes), "{gone:?} {log}");
        assert!(
            gone.iter().all(|r| matches!(r, DownReason::Closed | DownReason::Deleted)),
            "{log}"
        );
    }
    let (a, b) = (pair.a.statistics(), pair.b.statistics());
    assert_eq!((a.ike_sas, a.children), (b.ike_sas, b.children), "{log}");
    for tunnel in [TUNNEL, OTHER] {
        let up = pair.a.tunnel_is_up(tunnel);
        assert_eq!(up, pair.b.tunnel_is_up(tunnel), "{tunnel:?} {log}");
        let wanted = match tunnel {
            TUNNEL => !actions.contains(&Action::CloseChild),
            _ => actions.contains(&Action::NewChild),
        };
        if !closes && (tunnel == OTHER || !actions.contains(&Action::RekeyChild) || wanted) {
            assert_eq!(up, wanted, "{tunnel:?} {log}");
        }
    }
    if pair.is_up() {
        pair.ping();
    }
    if !closes && !actions.contains(&Action::CloseChild) {
        // Two requests for the same new child make two: that is allowed, and of no harm.
        let new = actions.iter().filter(|a| **a == Action::NewChild).count();
        assert!(a.children == 1 + new || new == 2 && a.children == 2, "{log}");
    }
    pair.close_and_check(Side::A);
}

fn matrix(pairs: &[[Action; 2]], seeds: u64) {
    for actions in pairs {
        for seed in 1..=seeds {
            for jobs in [0, 7] {
                for apart in [0, 4, 9, 11, 16, 24, 35] {
                    for lost in 0..8 {
                        run(&Case {
                            actions: *actions,
                            apart: Duration::from_millis(apart),
                            lost,
                            jobs: Duration::from_millis(jobs),
                            seed,
                        });
                    }
                }
            }
        }
    }
}

/// RFC 7296 section 2.8.2: both sides rekey the IKE SA; the nonces decide, and both agree.
#[test]
fn both_rekey_the_ike_sa() {
    matrix(&[[Action::RekeyIke, Action::RekeyIke]], 3);
}

/// RFC 7296 section 2.8.1: both sides rekey the child; the nonces decide, and both agree.
#[test]
fn both_rekey_the_child() {
    matrix(&[[Action::RekeyChild, Action::RekeyChild]], 3);
}

/// RFC 7296 section 2.25: every other pair of actions.
#[test]
fn each_action_opposite_each_other() {
    let rekeys = [Action::RekeyIke, Action::RekeyChild];
    let pairs: Vec<_> = ALL
        .into_iter()
        .flat_map(|a| ALL.map(|b| [a, b]))
        .filter(|[a, b]| a != b || !rekeys.contains(a))
        .collect();
    matrix(&pairs, 1);
}

/// RFC 7296 section 2.8.2: nobody is refused and nobody has to try again: the redundant SA is deleted by who asked for it,
/// and the old one by who asked for the survivor.
#[test]
fn a_collision_is_settled_at_once() {
    for seed in 0..40 {
        let setup = Setup::new(seed).sizes(|sizes| sizes.ike_sas = 6);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let before = [pair.a.ike(), pair.b.ike()];
        act(&mut pair, Side::A, Action::RekeyIke);
        act(&mut pair, Side::B, Action::RekeyIke);
        pair.run_for(Duration::from_millis(100));
        let log = pair.log();
        let mut survivor = Vec::new();
        for (node, before) in [&pair.a, &pair.b].into_iter().zip(before) {
            assert_eq!((node.ike_rekeys(), node.errors.len()), (1, 0), "seed {seed}\n{log}");
            assert!(
                node.ike() != before && node.failures().is_empty() && node.ike_downs().is_empty()
            );
            let spis = node.events.iter().rev().find_map(|(_, event)| match event {
                GatewayEvent::IkeRekeyed { agreed, .. } => {
                    Some((agreed.initiator_spi, agreed.responder_spi))
                }
                _ => None,
            });
            survivor.extend(spis);
        }
        assert_eq!(survivor[0], survivor[1], "{log}");
        pair.ping();
        pair.run_for(90 * SECOND);
        assert_eq!((pair.a.statistics().ike_sas, pair.b.statistics().ike_sas), (1, 1), "{log}");
        pair.close_and_check(Side::A);
    }
}

/// Without room for a second new SA, the peer is asked to try again, and one of the two rekeys comes about.
#[test]
fn a_collision_without_room() {
    for seed in 0..10 {
        let setup = Setup::new(seed).sizes(|sizes| sizes.ike_sas = 2);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        act(&mut pair, Side::A, Action::RekeyIke);
        act(&mut pair, Side::B, Action::RekeyIke);
        pair.run_for(90 * SECOND);
        assert!(pair.a.ike_rekeys() >= 1, "{}", pair.log());
        assert_eq!(pair.a.ike_rekeys(), pair.b.ike_rekeys(), "{}", pair.log());
        pair.ping();
        pair.close_and_check(Side::B);
    }
}

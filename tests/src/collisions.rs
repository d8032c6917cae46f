//! Both sides do something at once: every pair of actions, at several distances in time, with each datagram of it lost, late
//! or repeated in turn. Whatever happens, one IKE SA and the children that should be there remain, the same on both sides.
//!
//! `cargo test` tries a part of it; `cargo run --release -p ipsec-testkit --bin soak -- --collisions` tries all.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::format;
use std::rc::Rc;
use std::vec::Vec;

use ipsec::{ChildProposal, ChildRef, DownReason, Group, Suite};

use crate::link::{Transport, Verdict};
use crate::pair::{Jobs, Memory, Pair};
use crate::setup::{Setup, Side, TUNNEL};

const SECOND: Duration = Duration::from_secs(1);
const OTHER: ChildRef = ChildRef { peer: 0, child: 1 };

const PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_GCM],
    groups: &[Group::X25519],
    esn: true,
    additional: &[],
}];

/// What one side does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// New keys for the IKE SA.
    RekeyIke,
    /// New keys for the first child.
    RekeyChild,
    /// A second child.
    NewChild,
    /// The first child is deleted.
    CloseChild,
    /// All ends.
    CloseIke,
}

impl Action {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::RekeyIke, Self::RekeyChild, Self::NewChild, Self::CloseChild, Self::CloseIke];
}

/// Does it, if what the other side has done has left something to do.
pub fn act(pair: &mut Pair<'_>, side: Side, action: Action) {
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

/// What becomes of one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mishap {
    /// It is lost.
    Lost,
    /// It arrives so much later.
    Late(Duration),
    /// It arrives at once, and once more so much later.
    Twice(Duration),
}

/// One place of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What A does, and what B does.
    pub actions: [Action; 2],
    /// The time between the two.
    pub apart: Duration,
    /// The number of the IKE datagram with a mishap, counted from 1 at the first action; 0 for none.
    pub which: u32,
    /// What becomes of it.
    pub mishap: Mishap,
    /// How long each key exchange takes.
    pub jobs: Duration,
    /// Decides the nonces.
    pub seed: u64,
}

/// Tries one case.
///
/// # Panics
/// If the two sides do not end as they should, with the case and what they said.
pub fn run(case: &Case) {
    let Case { actions, apart, which, mishap, jobs, seed } = *case;
    let what = format!("{case:?}");
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
    let held = Rc::new(RefCell::new(None));
    let holder = held.clone();
    pair.link.set_hook(move |now, datagram| {
        if datagram.transport != Transport::Udp {
            return Verdict::Pass;
        }
        counter.set(counter.get() + 1);
        if counter.get() != which {
            return Verdict::Pass;
        }
        match mishap {
            Mishap::Lost => return Verdict::Drop,
            Mishap::Late(by) | Mishap::Twice(by) => {
                *holder.borrow_mut() = Some((now.after(by), datagram.clone()));
            }
        }
        if matches!(mishap, Mishap::Late(_)) { Verdict::Drop } else { Verdict::Pass }
    });
    act(&mut pair, Side::A, actions[0]);
    pair.run_for(apart);
    act(&mut pair, Side::B, actions[1]);
    // Long enough for what is repeated, tried again, or waits for a deletion that was lost.
    let end = pair.now().after(150 * SECOND);
    while pair.now() < end {
        // What is held back goes on its way when its time has come.
        let due = held.borrow().as_ref().map_or(end, |(at, _)| end.min(*at));
        if !pair.step(due)
            && let Some((_, datagram)) = held.borrow_mut().take_if(|(at, _)| *at <= pair.now())
        {
            let now = pair.now();
            pair.link.inject(now, datagram);
        }
    }
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
        assert!(node.each_child_down_once(), "{:?} {log}", node.side);
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

/// How much of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A few distances, and each of the first datagrams lost.
    Small,
    /// Every millisecond, more datagrams, each of them lost, late or repeated.
    Full,
}

impl Size {
    fn distances(self) -> impl Iterator<Item = u64> + Clone {
        let few = [0, 4, 9, 11, 17, 24, 35];
        (0..45).filter(move |apart| self == Self::Full || few.contains(apart))
    }

    fn mishaps(self) -> &'static [Mishap] {
        const ALL: &[Mishap] = &[
            Mishap::Lost,
            Mishap::Late(Duration::from_millis(15)),
            Mishap::Late(Duration::from_millis(700)),
            Mishap::Twice(Duration::from_millis(15)),
            Mishap::Twice(Duration::from_millis(700)),
        ];
        if self == Self::Full { ALL } else { &ALL[..1] }
    }

    fn datagrams(self) -> u32 {
        if self == Self::Full { 14 } else { 7 }
    }

    fn jobs(self) -> &'static [u64] {
        if self == Self::Full { &[0, 7, 30] } else { &[0, 7] }
    }
}

/// Tries these pairs of actions, with so many seeds. Gives the number of cases.
pub fn matrix(size: Size, pairs: &[[Action; 2]], seeds: u64) -> u64 {
    let mut cases = 0;
    for &actions in pairs {
        for seed in 1..=seeds {
            for &jobs in size.jobs() {
                for apart in size.distances() {
                    let case = |which, mishap| Case {
                        actions,
                        apart: Duration::from_millis(apart),
                        which,
                        mishap,
                        jobs: Duration::from_millis(jobs),
                        seed,
                    };
                    run(&case(0, Mishap::Lost));
                    cases += 1;
                    for which in 1..=size.datagrams() {
                        for &mishap in size.mishaps() {
                            run(&case(which, mishap));
                            cases += 1;
                        }
                    }
                }
            }
        }
    }
    cases
}

/// Every pair of actions.
pub fn all_pairs() -> Vec<[Action; 2]> {
    Action::ALL.into_iter().flat_map(|a| Action::ALL.map(|b| [a, b])).collect()
}

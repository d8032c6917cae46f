//! Slow cryptography and slow installs: late, failed, repeated, refused, and never done.

use core::time::Duration;

use ipsec::{
    Answer, ChildProposal, Direction, DownReason, Failure, GatewayEvent, Group, Job, JobId,
    Retransmission, Suite,
};
use ipsec_core::crypto::CryptoError;
use ipsec_ike::wire::NotifyType;
use ipsec_testkit::engines::{self, Engines, Installs, Told};
use ipsec_testkit::pair::{Jobs, Memory, Pair};
use ipsec_testkit::setup::{Setup, Side};
use ipsec_testkit::toy::Toy;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_GCM],
    groups: &[Group::X25519],
    esn: false,
    additional: &[],
}];

const PATIENT: Retransmission = Retransmission {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(4),
    tries: 60,
};

fn pfs(seed: u64) -> Setup {
    let setup = Setup::new(seed).peers(|peer| peer.retransmission = PATIENT);
    setup.children(|child| child.proposals = PFS)
}

/// Nothing of the old is in the way: both keys can be replaced, traffic passes, and nothing is left in the end.
fn is_healthy(pair: &mut Pair<'_>) {
    pair.a.jobs = Jobs::AtOnce;
    pair.b.jobs = Jobs::AtOnce;
    pair.run_for(5 * MINUTE);
    assert!(pair.is_up(), "{}", pair.log());
    pair.ping();
    for side in Side::BOTH {
        let (children, ikes) = (pair.a.child_rekeys(), pair.a.ike_rekeys());
        pair.rekey(side).unwrap();
        pair.run_for(SECOND);
        pair.rekey_ike(side).unwrap();
        pair.run_for(SECOND);
        assert_eq!(pair.a.child_rekeys(), children + 1, "{}", pair.log());
        assert_eq!(pair.a.ike_rekeys(), ikes + 1, "{}", pair.log());
        pair.ping();
    }
    pair.run_for(2 * MINUTE);
    for node in [&pair.a, &pair.b] {
        let now = node.statistics();
        assert_eq!((now.ike_sas, now.children), (1, 1), "{}", pair.log());
        assert_eq!((now.inbound_sas, now.outbound_sas), (1, 1), "{}", pair.log());
    }
    pair.close_and_check(Side::A);
}

/// Key exchanges that take up to ten seconds: requests are repeated meanwhile, and are busy until then.
#[test]
fn slow_jobs_only_take_longer() {
    for millis in [1, 100, 700, 3000, 10_000] {
        for sides in [&[Side::A][..], &[Side::B], &Side::BOTH] {
            let setup = pfs(millis);
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            for side in sides {
                pair.node(*side).jobs = Jobs::After(Duration::from_millis(millis));
            }
            pair.bring_up();
            pair.ping();
            for side in Side::BOTH {
                pair.rekey(side).unwrap();
                pair.run_for(MINUTE);
                pair.rekey_ike(side).unwrap();
                pair.run_for(MINUTE);
                pair.ping();
            }
            assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (2, 2), "{}", pair.log());
            assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (2, 2), "{}", pair.log());
            assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty());
            is_healthy(&mut pair);
        }
    }
}

/// Both sides rekey everything while no key exchange takes less than a second.
#[test]
fn slow_jobs_and_rekeys_from_both_sides_at_once() {
    for seed in 0..20 {
        let setup = pfs(seed);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.a.jobs = Jobs::After(Duration::from_millis(1000 + 130 * seed));
        pair.b.jobs = Jobs::After(Duration::from_millis(1900 - 70 * seed));
        for round in 0..4u64 {
            let _ = pair.rekey(Side::A);
            pair.run_for(Duration::from_millis(37 * seed));
            let _ = pair.rekey(Side::B);
            if round % 2 == 0 {
                let _ = pair.rekey_ike(Side::A);
                let _ = pair.rekey_ike(Side::B);
            }
            pair.run_for(20 * SECOND);
            assert!(pair.is_up(), "seed {seed}\n{}", pair.log());
        }
        is_healthy(&mut pair);
    }
}

/// Every job of a handshake fails once, at either side.
#[test]
fn failed_jobs_of_a_handshake() {
    for side in Side::BOTH {
        let setup = pfs(1);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.node(side).jobs = Jobs::Fail(Duration::from_millis(10));
        pair.initiate(Side::A).unwrap();
        pair.run_for(SECOND);
        assert!(pair.node(side).failures().contains(&Failure::Crypto), "{}", pair.log());
        assert!(!pair.a.is_up() && !pair.b.is_up());
        pair.node(side).jobs = Jobs::AtOnce;
        if side == Side::A {
            pair.a.assert_empty();
            pair.initiate(Side::A).unwrap();
        }
        // B's trouble was temporary: A still asks.
        assert!(pair.wait(MINUTE, Pair::is_up), "{}", pair.log());
        is_healthy(&mut pair);
    }
}

/// The last job of a handshake, which depends on what the peer sent: the request stands, since that may be forged.
#[test]
fn a_failed_agreement_leaves_the_request() {
    let setup = pfs(2);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.a.jobs = Jobs::Held;
    pair.initiate(Side::A).unwrap();
    let now = pair.now();
    let generate = pair.a.held.remove(0);
    pair.a.run(now, generate);
    pair.flush(Side::A);
    pair.run_for(100 * Duration::from_millis(1));
    let agree = pair.a.held.remove(0);
    let now = pair.now();
    pair.a.fail(now, agree);
    pair.a.jobs = Jobs::AtOnce;
    pair.flush(Side::A);
    assert!(pair.a.failures().is_empty());
    assert!(pair.wait(10 * SECOND, Pair::is_up), "{}", pair.log());
    is_healthy(&mut pair);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Child,
    Ike,
}

/// In a rekey from A, the `nth` job of a side comes to a bad end.
fn bad_job(
    setup: &Setup,
    what: What,
    side: Side,
    nth: usize,
    end: impl FnOnce(&mut Pair<'_>, JobId),
) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.bring_up();
    pair.ping();
    pair.node(side).jobs = Jobs::Held;
    match what {
        What::Child => pair.rekey(Side::A).unwrap(),
        What::Ike => pair.rekey_ike(Side::A).unwrap(),
    }
    for _ in 0..nth {
        pair.run_for(100 * Duration::from_millis(1));
        let now = pair.now();
        let id = pair.node(side).held.remove(0);
        pair.node(side).run(now, id);
        pair.flush(side);
    }
    pair.run_for(100 * Duration::from_millis(1));
    let id = pair.node(side).held.remove(0);
    end(&mut pair, id);
    // Traffic does not suffer while it lasts.
    for _ in 0..20 {
        pair.run_for(SECOND);
        pair.ping();
    }
    assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty(), "{}", pair.log());
    is_healthy(&mut pair);
}

/// Which jobs a rekey from A has: at which side, and how many of that side's come before.
const JOBS: [(Side, usize); 3] = [(Side::A, 0), (Side::B, 0), (Side::A, 1)];

#[test]
fn a_failed_job_of_a_child_rekey() {
    for (side, nth) in JOBS {
        bad_job(&pfs(3), What::Child, side, nth, |pair, id| {
            let now = pair.now();
            pair.node(side).fail(now, id);
            pair.flush(side);
            pair.run_for(100 * Duration::from_millis(1));
            let log = pair.log();
            let expected = match side {
                Side::A => Failure::Crypto,
                Side::B => Failure::Refused(NotifyType::INVALID_SYNTAX),
            };
            assert_eq!(pair.a.failures(), [expected], "{log}");
        });
    }
}

#[test]
fn a_job_of_a_child_rekey_that_is_never_done() {
    for (side, nth) in JOBS {
        bad_job(&pfs(4), What::Child, side, nth, |_, _| {});
    }
}

#[test]
fn a_failed_job_of_an_ike_rekey() {
    // If A's last one fails, B has the new SA and A has not: see below.
    for (side, nth) in [(Side::A, 0), (Side::B, 0)] {
        bad_job(&pfs(5), What::Ike, side, nth, |pair, id| {
            let now = pair.now();
            pair.node(side).fail(now, id);
            pair.flush(side);
            pair.run_for(100 * Duration::from_millis(1));
            assert_eq!(pair.a.failures().len(), 1, "{}", pair.log());
        });
    }
}

#[test]
fn a_job_of_an_ike_rekey_that_is_never_done() {
    for (side, nth) in [(Side::A, 0), (Side::B, 0)] {
        bad_job(&pfs(6), What::Ike, side, nth, |_, _| {});
    }
}

/// B has the new IKE SA, and A cannot compute its keys: the tunnel goes on, and is made anew in the end.
#[test]
fn an_ike_rekey_that_only_one_side_completes() {
    for failed in [true, false] {
        let setup = pfs(7);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.a.jobs = Jobs::Held;
        pair.rekey_ike(Side::A).unwrap();
        let now = pair.now();
        let id = pair.a.held.remove(0);
        pair.a.run(now, id);
        pair.flush(Side::A);
        pair.run_for(100 * Duration::from_millis(1));
        assert_eq!(pair.b.ike_rekeys(), 1);
        let id = pair.a.held.remove(0);
        if failed {
            let now = pair.now();
            pair.a.fail(now, id);
            pair.flush(Side::A);
        }
        pair.a.jobs = Jobs::AtOnce;
        // Traffic asks for the tunnel whenever it is down.
        let mut lost = 0;
        for number in 0..1200 {
            let before = pair.b.received.len();
            let _ = pair.send(Side::A, number);
            pair.run_for(SECOND);
            lost += usize::from(pair.b.received.len() == before);
        }
        assert!(lost < 10, "{lost}\n{}", pair.log());
        is_healthy(&mut pair);
    }
}

/// A job that is answered when its exchange is long over, or twice.
#[test]
fn late_and_repeated_answers_are_ignored() {
    let setup = pfs(8);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.a.jobs = Jobs::Held;
    pair.initiate(Side::A).unwrap();
    let late = pair.a.held.remove(0);
    assert!(pair.a.gateway.job(late).is_some());
    pair.run_for(2 * MINUTE);
    assert_eq!(pair.a.failures(), [Failure::Crypto], "{}", pair.log());
    assert!(pair.a.gateway.job(late).is_none());
    pair.a.assert_empty();
    let now = pair.now();
    pair.a.fail(now, late);
    pair.flush(Side::A);
    pair.a.assert_empty();

    // The same place, another exchange: the old name does not fit.
    pair.initiate(Side::A).unwrap();
    let id = pair.a.held.remove(0);
    pair.a.fail(now, late);
    pair.flush(Side::A);
    assert!(pair.a.gateway.job(id).is_some());
    pair.a.jobs = Jobs::AtOnce;
    // Twice the same answer: the second one comes to nothing.
    for _ in 0..2 {
        let mut public = [0; 512];
        let mut rng = pair.a.rng.clone();
        let job = pair.a.gateway.job(id);
        let answer = match job {
            Some(job) => job.run(&mut rng, &mut public),
            None => Answer::Failed(CryptoError::PeerValue),
        };
        pair.with(Side::A, |gateway, now, rng| gateway.handle_job(now, rng, id, answer));
    }
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    is_healthy(&mut pair);
}

/// An answer of another kind than the question.
#[test]
fn answers_of_the_wrong_kind_are_ignored() {
    let setup = pfs(9);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.a.jobs = Jobs::Held;
    pair.initiate(Side::A).unwrap();
    let id = pair.a.held.remove(0);
    let mut rng = pair.a.rng.clone();
    let (mut ours, mut theirs) = ([0; 512], [0; 512]);
    let start: Job<'_, Toy> = Job::Generate { group: Group::X25519 };
    let Answer::Generated { public, .. } = start.run(&mut rng, &mut ours) else { panic!() };
    let respond = Job::Respond { group: Group::X25519, peer: public };
    let answer = respond.run(&mut rng, &mut theirs);
    assert!(matches!(answer, Answer::Responded { .. }));
    pair.with(Side::A, |gateway, now, rng| gateway.handle_job(now, rng, id, answer));
    assert!(pair.a.gateway.job(id).is_some());
    assert!(pair.link.tap().is_empty());
    let now = pair.now();
    pair.a.run(now, id);
    pair.a.jobs = Jobs::AtOnce;
    pair.flush(Side::A);
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    is_healthy(&mut pair);
}

/// A job's inputs are lent as often as asked.
#[test]
fn a_job_can_be_asked_for_again() {
    let setup = pfs(10);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.b.jobs = Jobs::Held;
    pair.initiate(Side::A).unwrap();
    pair.run_for(100 * Duration::from_millis(1));
    let id = pair.b.held.remove(0);
    let run = |pair: &Pair<'_>| {
        let mut public = [0; 512];
        let mut rng = pair.b.rng.clone();
        match pair.b.gateway.job(id).unwrap().run(&mut rng, &mut public) {
            Answer::Responded { secret, public } => (secret.as_ref().to_vec(), public.to_vec()),
            _ => panic!("not the answer to a Respond"),
        }
    };
    assert_eq!(run(&pair), run(&pair));
    // It is named only once.
    assert!(pair.with(Side::B, |gateway, _, _| gateway.poll_job()).is_none());
    let now = pair.now();
    pair.b.run(now, id);
    pair.b.jobs = Jobs::AtOnce;
    pair.flush(Side::B);
    assert!(pair.wait(5 * SECOND, Pair::is_up), "{}", pair.log());
    let ups = pair.b.count(|event| matches!(event, GatewayEvent::IkeUp { .. }));
    assert_eq!(ups, 1);
    is_healthy(&mut pair);
}

// ---- installs ----

/// Replaces the child from either side, checks that it carries traffic, ends all, and that nothing is left.
fn engines_are_healthy(engines: &mut Engines<'_>) {
    engines.a.installs = Installs::AtOnce;
    engines.b.installs = Installs::AtOnce;
    engines.run_for(5 * MINUTE);
    if (engines.a.up(), engines.b.up()) == (0, 0) {
        engines.initiate(Side::B, ipsec_testkit::setup::TUNNEL);
        engines.run_for(SECOND);
    }
    assert_eq!((engines.a.up(), engines.b.up()), (1, 1), "{}", engines.log());
    assert!(engines.carries(), "{}", engines.log());
    for side in Side::BOTH {
        engines.rekey(side);
        engines.run_for(SECOND);
        let rekeyed = |e: &engines::Engine<'_>| e.story().contains(&Told::ChildUp(true));
        assert!(rekeyed(&engines.a) && rekeyed(&engines.b), "{}", engines.log());
        assert!(engines.carries(), "{}", engines.log());
    }
    engines.run_for(MINUTE);
    assert_eq!((engines.a.sas(), engines.b.sas()), ((1, 1), (1, 1)), "{}", engines.log());
    engines.close_and_check(Side::B);
}

#[test]
fn late_installs_only_take_longer() {
    for millis in [1, 600, 5000, 20_000] {
        for sides in [&[Side::A][..], &[Side::B], &Side::BOTH] {
            let setup = pfs(millis);
            let mut memory = engines::Memory::new(&setup);
            let mut engines = Engines::new(&setup, &mut memory);
            for side in sides {
                engines.engine(*side).installs = Installs::After(Duration::from_millis(millis));
            }
            engines.initiate(Side::A, ipsec_testkit::setup::TUNNEL);
            engines.run_for(2 * MINUTE);
            assert_eq!((engines.a.up(), engines.b.up()), (1, 1), "{}", engines.log());
            assert!(engines.carries());
            for side in Side::BOTH {
                engines.rekey(side);
                engines.run_for(2 * MINUTE);
                assert_eq!((engines.a.up(), engines.b.up()), (1, 1), "{}", engines.log());
                assert!(engines.carries());
            }
            assert!(engines.a.failures().is_empty() && engines.b.failures().is_empty());
            engines_are_healthy(&mut engines);
        }
    }
}

/// A responder's message does not leave before its SAs are installed: the peer may send at once.
#[test]
fn a_response_waits_for_its_installs() {
    let setup = pfs(1);
    let mut memory = engines::Memory::new(&setup);
    let mut engines = Engines::new(&setup, &mut memory);
    engines.b.installs = Installs::After(3 * SECOND);
    engines.initiate(Side::A, ipsec_testkit::setup::TUNNEL);
    engines.run_for(5 * SECOND);
    // Two installs of three seconds each.
    let from_b = |engines: &Engines<'_>| {
        let b =
            engines.link.tap().iter().filter(|c| c.datagram.source.address == engines.b.address);
        b.count()
    };
    assert_eq!((from_b(&engines), engines.a.up(), engines.b.up()), (1, 0, 0));
    engines.run_for(SECOND + SECOND / 2);
    assert_eq!((from_b(&engines), engines.a.up(), engines.b.up()), (2, 1, 1));
    engines_are_healthy(&mut engines);
}

const DIRECTIONS: [Direction; 2] = [Direction::Inbound, Direction::Outbound];

/// The first child cannot be installed at one side: the IKE SA stands, and neither side keeps half a child.
#[test]
fn a_refused_install_of_the_first_child() {
    for side in Side::BOTH {
        for direction in DIRECTIONS {
            for wait in [Duration::ZERO, 2 * SECOND] {
                let setup = pfs(2);
                let mut memory = engines::Memory::new(&setup);
                let mut engines = Engines::new(&setup, &mut memory);
                engines.engine(side).installs = Installs::RefuseAfter(direction, wait);
                engines.initiate(Side::A, ipsec_testkit::setup::TUNNEL);
                engines.run_for(MINUTE);
                let log = engines.log();
                assert!(engines.engine(side).failures().contains(&Failure::NotInstalled), "{log}");
                for side in Side::BOTH {
                    let engine = engines.engine(side);
                    assert_eq!((engine.up(), engine.sas()), (0, (0, 0)), "{log}");
                    assert_eq!(engine.ike.children_in_use(), 0, "{log}");
                    assert_eq!(engine.ike.established().count(), 1, "{log}");
                }
                engines_are_healthy(&mut engines);
            }
        }
    }
}

/// The new child of a rekey cannot be installed at one side: the old one goes on.
#[test]
fn a_refused_install_of_a_rekeyed_child() {
    for from in Side::BOTH {
        for side in Side::BOTH {
            for direction in DIRECTIONS {
                for proposals in [PFS, ChildProposal::DEFAULT] {
                    let setup = Setup::new(3).children(|child| child.proposals = proposals);
                    let mut memory = engines::Memory::new(&setup);
                    let mut engines = Engines::new(&setup, &mut memory);
                    engines.bring_up();
                    engines.engine(side).installs = Installs::Refuse(direction);
                    engines.rekey(from);
                    engines.run_for(5 * SECOND);
                    let log = engines.log();
                    let failures = engines.engine(side).failures();
                    assert_eq!(failures, [Failure::NotInstalled], "{log}");
                    for side in Side::BOTH {
                        let engine = engines.engine(side);
                        assert_eq!(
                            (engine.up(), engine.sas()),
                            (1, (1, 1)),
                            "{from:?} {side:?} {direction:?}\n{log}"
                        );
                        assert_eq!(engine.ike.children_in_use(), 1, "{log}");
                    }
                    assert!(engines.carries(), "{log}");
                    engines_are_healthy(&mut engines);
                }
            }
        }
    }
}

/// The caller never says whether it has installed: given up after a minute, on both sides.
#[test]
fn installs_that_nobody_answers() {
    for side in Side::BOTH {
        for rekey in [false, true] {
            let setup = pfs(4);
            let mut memory = engines::Memory::new(&setup);
            let mut engines = Engines::new(&setup, &mut memory);
            if rekey {
                engines.bring_up();
                engines.engine(side).installs = Installs::Never;
                engines.rekey(Side::A);
            } else {
                engines.engine(side).installs = Installs::Never;
                engines.initiate(Side::A, ipsec_testkit::setup::TUNNEL);
            }
            engines.run_for(90 * SECOND);
            let log = engines.log();
            assert!(engines.engine(side).failures().contains(&Failure::NotInstalled), "{log}");
            let left = usize::from(rekey);
            for side in Side::BOTH {
                let engine = engines.engine(side);
                assert_eq!(
                    (engine.up(), engine.sas()),
                    (left, (left, left)),
                    "{side:?} {rekey}\n{log}"
                );
                assert_eq!(engine.ike.established().count(), 1, "{log}");
                let silent =
                    |told: &Told| matches!(told, Told::IkeDown(DownReason::PeerSilent { .. }));
                assert!(!engine.story().iter().any(silent), "{log}");
            }
            engines_are_healthy(&mut engines);
        }
    }
}

/// Answers that come when the child is gone, or for the other direction.
#[test]
fn stale_answers_to_installs_are_ignored() {
    let setup = pfs(5);
    let mut memory = engines::Memory::new(&setup);
    let mut engines = Engines::new(&setup, &mut memory);
    engines.b.installs = Installs::Never;
    engines.initiate(Side::A, ipsec_testkit::setup::TUNNEL);
    engines.run_for(SECOND);
    let id = engines.b.children[0].id;
    // It waits for the inbound one.
    for result in [Ok(()), Err(())] {
        engines.with(Side::B, |ike, env| ike.installed(env, id, Direction::Outbound, result));
    }
    assert_eq!(engines.b.children.len(), 1);
    assert!(engines.b.failures().is_empty());
    engines.run_for(3 * MINUTE);
    assert!(engines.b.children.is_empty(), "{}", engines.log());
    let told = engines.b.told.len();
    for result in [Ok(()), Err(())] {
        for direction in DIRECTIONS {
            engines.with(Side::B, |ike, env| ike.installed(env, id, direction, result));
        }
    }
    assert_eq!(engines.b.told.len(), told);
    engines_are_healthy(&mut engines);
}

//! Anything at any time, in any weather, with slow key exchanges and lines that are cut: once the weather is fair again,
//! traffic passes both ways, and in the end nothing is left.
//!
//! `IPSEC_SEEDS=10000` in the environment tries more than the usual 250 lives.

use core::time::Duration;

use ipsec::{ChildProposal, ChildRef, Group, Lifetime, Limits, Retransmission, Suite};
use ipsec_testkit::link::{Chance, Verdict, Weather};
use ipsec_testkit::pair::{Jobs, Memory, Pair, Sent};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::setup::{Setup, Side, v4};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const PFS: &[ChildProposal<'static>] = &[ChildProposal {
    suites: &[Suite::AES_128_GCM],
    groups: &[Group::X25519],
    esn: true,
    additional: &[],
}];

fn any_weather(chance: &mut SeededRng) -> Weather {
    Weather {
        loss: Chance::percent(chance.below(40) as u32),
        duplication: Chance::percent(chance.below(20) as u32),
        reordering: Chance::percent(chance.below(40) as u32),
        hold: Duration::from_millis(chance.below(1000)),
        delay: Duration::from_millis(chance.below(200)),
        jitter: Duration::from_millis(chance.below(200)),
        ..Weather::STORM
    }
}

fn any_jobs(chance: &mut SeededRng) -> Jobs {
    match chance.below(6) {
        0 => Jobs::After(Duration::from_millis(chance.below(5000))),
        1 => Jobs::Fail(Duration::from_millis(chance.below(1000))),
        _ => Jobs::AtOnce,
    }
}

/// One thing that may happen.
fn something(pair: &mut Pair<'_>, chance: &mut SeededRng, nat: bool) {
    let side = if chance.below(2) == 0 { Side::A } else { Side::B };
    let child = ChildRef { peer: 0, child: chance.below(2) as u16 };
    let ike = pair.node(side).gateway.ike().established().next().map(|(ike, _)| ike);
    match chance.below(24) {
        0 | 1 => {
            let _ = pair.with(side, |g, now, rng| g.initiate(now, rng, child));
        }
        2 | 3 => {
            let _ = pair.with(side, |g, now, rng| g.rekey(now, rng, child));
        }
        4 | 5 => {
            if let Some(ike) = ike {
                let _ = pair.with(side, |g, now, rng| g.rekey_ike(now, rng, ike));
            }
        }
        6 => {
            let _ = pair.with(side, |g, now, rng| g.close(now, rng, child));
        }
        7 => {
            if let Some(ike) = ike {
                let _ = pair.with(side, |g, now, rng| g.close_ike(now, rng, ike));
            }
        }
        8 if chance.below(4) == 0 => pair.close_all(side),
        9 => pair.link.set_weather(any_weather(chance)),
        10 => pair.node(side).jobs = any_jobs(chance),
        11 if nat => pair.link.nat(0).rebind(),
        12 if nat => {
            let host = 100 + chance.below(100) as u8;
            pair.link.nat(0).rebind_to(v4(203, 0, 113, host));
        }
        13 if chance.below(4) == 0 => {
            // The line is cut for up to four minutes.
            pair.link.set_hook(|_, _| Verdict::Drop);
            pair.run_for(Duration::from_secs(chance.below(240)));
            pair.link.clear_hook();
        }
        _ => {
            let _ = pair.send(side, 1);
        }
    }
}

/// Sends from a side until something arrives at the other.
fn gets_through(pair: &mut Pair<'_>, side: Side) -> bool {
    let before = pair.node(side.other()).received.len();
    for number in 0..60 {
        let sent = pair.send(side, number);
        assert!(matches!(sent, Sent::Sealed | Sent::Waiting), "{sent:?}");
        pair.run_for(SECOND);
        if pair.node(side.other()).received.len() > before {
            return true;
        }
    }
    false
}

#[test]
fn all_is_well_in_the_end() {
    let seeds = std::env::var("IPSEC_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(250);
    for seed in 0..seeds {
        let mut chance = SeededRng::new(seed);
        let nat = chance.below(2) == 0;
        let mut setup = Setup::new(seed).tunnels(2).peers(|peer| {
            peer.retransmission = Retransmission {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(4),
                tries: 12,
            };
        });
        if nat {
            setup = setup.behind_nat();
        }
        if chance.below(2) == 0 {
            setup = setup.children(|child| child.proposals = PFS);
        }
        if chance.below(2) == 0 {
            setup = setup.children(|child| {
                let limits = |n: u32| Limits { time: n * 30 * SECOND, ..Limits::NONE };
                child.lifetime = Lifetime { soft: limits(1), hard: limits(3) };
            });
        }
        if chance.below(2) == 0 {
            setup = setup.peers(|peer| {
                peer.rekey_after = 70 * SECOND;
                peer.expire_after = 200 * SECOND;
            });
        }
        setup = setup.weather(any_weather(&mut chance));
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        for _ in 0..120 {
            something(&mut pair, &mut chance, nat);
            pair.run_for(Duration::from_millis(chance.below(3000)));
        }
        // The weather clears up.
        pair.link.set_weather(Weather::FAIR);
        pair.a.jobs = Jobs::AtOnce;
        pair.b.jobs = Jobs::AtOnce;
        pair.run_for(8 * MINUTE);
        let log = |pair: &Pair<'_>| {
            let log = pair.log();
            log[log.len().saturating_sub(6000)..].to_string()
        };
        assert!(gets_through(&mut pair, Side::A), "seed {seed}: A to B\n{}", log(&pair));
        assert!(gets_through(&mut pair, Side::B), "seed {seed}: B to A\n{}", log(&pair));
        pair.close_all(Side::A);
        pair.run_for(10 * MINUTE);
        pair.close_all(Side::B);
        pair.run_for(20 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

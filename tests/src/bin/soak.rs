//! Lives many lives of two gateways ([`ipsec_testkit::soak`]), and says what came of them.
//!
//! ```text
//! usage: soak [--ikev1] [--trace] [--days DAYS] [--seed FIRST] [--life DAYS]
//!        soak --collisions [SEEDS]
//! ```
//!
//! The lives have the seeds FIRST, FIRST + 1 and so on, and `--life` days each. A broken rule is told with
//! the seed and ends that life: `soak --trace --seed N --days 1` lives it again, byte for byte, and tells all that happened.
//!
//! The second form tries the whole matrix of [`ipsec_testkit::collisions`].

use std::time::Instant;

use ipsec_testkit::collisions::{Size, all_pairs, matrix};
use ipsec_testkit::soak::{self, Tally};

fn main() {
    let (mut days, mut first, mut life) = (1000, 0, 10);
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if_eq("--collisions").is_some() {
        return all_collisions(args.next().and_then(|v| v.parse().ok()).unwrap_or(1));
    }
    let v1 = args.next_if_eq("--ikev1").is_some();
    let traced = args.next_if_eq("--trace").is_some();
    let live = |seed, days, tally: &mut Tally| match (traced, v1) {
        (true, _) => soak::live_traced(seed, days, v1, tally),
        (false, true) => soak::live_v1(seed, days, tally),
        (false, false) => soak::live(seed, days, tally),
    };
    while let Some(arg) = args.next() {
        let value = args.next().and_then(|v| v.parse::<u64>().ok());
        match (arg.as_str(), value) {
            ("--days", Some(value)) => days = value,
            ("--seed", Some(value)) => first = value,
            ("--life", Some(value)) => life = value,
            _ => {
                eprintln!(
                    "usage: soak [--ikev1] [--trace] [--days DAYS] [--seed FIRST] [--life DAYS] | soak --collisions [SEEDS]"
                );
                std::process::exit(2);
            }
        }
    }
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut seed = first;
    let mut told = 0;
    let life = u32::try_from(life).unwrap_or(u32::MAX);
    let mut broken = Vec::new();
    while tally.days < days {
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            live(seed, life, &mut tally);
        }));
        if lived.is_err() {
            tally.days += u64::from(life);
            broken.push(seed);
        }
        seed += 1;
        let seconds = started.elapsed().as_secs();
        if seconds >= told + 10 {
            told = seconds;
            println!("{:>8} days, {seconds} s, slowest {:.0?}", tally.days, tally.slowest);
        }
    }
    println!("{tally:#?}");
    println!(
        "{} lives of {life} days from seed {first}, in {:.0?}",
        seed - first,
        started.elapsed()
    );
    if !broken.is_empty() {
        println!("{} lives broke a rule: seeds {broken:?}", broken.len());
        std::process::exit(1);
    }
}

fn all_collisions(seeds: u64) {
    let started = Instant::now();
    let mut cases = 0;
    for pair in all_pairs() {
        cases += matrix(Size::Full, &[pair], seeds);
        println!("{pair:?}: {cases} cases so far, {:.0?}", started.elapsed());
    }
}

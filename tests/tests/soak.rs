//! A few of the lives that `cargo run --release -p ipsec-testkit --bin soak` lives by the thousand.

use ipsec_testkit::soak::{Tally, live};

/// Months in little: nothing leaks, nothing is lost that should live, nothing arrives twice.
#[test]
fn a_few_lives() {
    let mut tally = Tally::default();
    for seed in 0..8 {
        live(seed, 2, &mut tally);
    }
    assert_eq!(tally.days, 16);
    let lived = [tally.cuts, tally.storms, tally.sleeps, tally.restarts, tally.slow_jobs];
    assert!(lived.iter().all(|n| *n > 0) && tally.commands > 50, "{tally:?}");
    assert!(tally.child_rekeys > 200 && tally.ike_rekeys > 20 && tally.forged > 50, "{tally:?}");
}

/// Equal seeds, equal lives, to the last byte on the network.
#[test]
fn a_life_can_be_lived_again() {
    let lives: [Tally; 3] = [7, 7, 8].map(|seed| {
        let mut tally = Tally::default();
        live(seed, 1, &mut tally);
        tally
    });
    assert_eq!(lives[0], lives[1]);
    assert_ne!(lives[0].digest, lives[2].digest);
}

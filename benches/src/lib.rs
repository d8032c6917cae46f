//! What the benches share: a stopwatch of CPU time, rounds that take turns, and SAs to send packets through.
//!
//! A figure of one machine says little to another. So each measurement stands beside one of the bare cryptography that
//! it cannot do without, by the same provider, in the same process and the same second; the ratio of the two is what
//! remains true elsewhere.

pub mod packets;

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// CPU time that this thread has used so far.
///
/// # Panics
/// On a system without the clock.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("POSIX has a clock of threads").into()
}

/// How long `work` takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let before = cpu_time();
    work();
    cpu_time().saturating_sub(before)
}

/// Runs all of `contestants` in turn, `rounds` times, and gives the best time of each.
///
/// A contestant says itself how long it took, so that it can prepare its work unwatched. By taking turns all of them
/// see the same clock rate and the same neighbours; by taking the best, none is charged for an interrupt.
pub fn best_of<const N: usize>(
    rounds: u32,
    mut contestants: [&mut dyn FnMut() -> Duration; N],
) -> [Duration; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..rounds {
        for (best, contestant) in best.iter_mut().zip(&mut contestants) {
            *best = contestant().min(*best);
        }
    }
    best
}

//! What the benches share: a stopwatch of CPU time, rounds that take turns, and SAs to send packets through.
//!
//! A figure of one machine says little to another. So each measurement stands beside one of the bare cryptography that
//! it cannot do without, by the same provider, in the same process and the same second; the ratio of the two is what
//! remains true elsewhere.

pub mod bare;
pub mod no_cipher;
pub mod packets;
pub mod tables;

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

/// What each of `N` contestants took in each round.
pub struct Rounds<const N: usize>(Vec<[Duration; N]>);

impl<const N: usize> Rounds<N> {
    /// Runs all of `contestants` in turn, `rounds` times.
    ///
    /// A contestant says itself how long it took, so that it can prepare its work unwatched. By taking turns all of
    /// them see the same clock rate and the same neighbours, if a round is short.
    pub fn run(rounds: u32, contestants: [&mut dyn FnMut() -> Duration; N]) -> Self {
        let mut all = Vec::new();
        for round in 0..rounds {
            let mut times = [Duration::ZERO; N];
            // Nobody always comes after the same one.
            for turn in 0..N {
                let who = (turn + round as usize) % N;
                times[who] = contestants[who]();
            }
            all.push(times);
        }
        Self(all)
    }

    /// The usual time of a contestant in nanoseconds: the median.
    pub fn nanos(&self, who: usize) -> f64 {
        median(self.0.iter().map(|times| times[who].as_nanos() as f64))
    }

    /// How one contestant's time relates to another's in the same round: the median over the rounds. Times of different
    /// rounds are never compared, since the clock rate of a processor may change between them.
    pub fn ratio(&self, one: usize, other: usize) -> f64 {
        let of = |who: Duration| who.as_nanos().max(1) as f64;
        median(self.0.iter().map(|times| of(times[one]) / of(times[other])))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The clock rate halves in every other round; the second contestant takes twice as long as the first.
        let speed = |round: &mut u64| {
            *round += 1;
            if round.is_multiple_of(2) { 2 } else { 1 }
        };
        let (mut a, mut b) = (0, 0);
        let rounds = Rounds::run(
            8,
            [&mut || Duration::from_nanos(100 * speed(&mut a)), &mut || {
                Duration::from_nanos(200 * speed(&mut b))
            }],
        );
        assert_eq!((rounds.ratio(0, 1), rounds.ratio(1, 0)), (0.5, 2.0));
        assert_eq!(rounds.nanos(0), 200.0);
    }
}

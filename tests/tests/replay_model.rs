//! The anti-replay window and the recovery of extended sequence numbers against models too simple to be wrong.

use std::collections::BTreeSet;

use ipsec_core::replay::{Replay, Window, capacity, words_for};
use ipsec_core::seq::recover;
use ipsec_testkit::rng::SeededRng;

/// What RFC 4303 section 3.4.3 asks of a receiver, with a set instead of a bitmap.
struct Model {
    size: u64,
    top: u64,
    accepted: BTreeSet<u64>,
}

impl Model {
    fn new(size: u32) -> Self {
        Self { size: size.into(), top: 0, accepted: BTreeSet::new() }
    }

    fn check(&self, seq: u64) -> Result<(), Replay> {
        if seq == 0 {
            Err(Replay::Zero)
        } else if self.top >= self.size && seq <= self.top - self.size {
            Err(Replay::TooOld)
        } else if self.accepted.contains(&seq) {
            Err(Replay::Repeated)
        } else {
            Ok(())
        }
    }

    fn mark(&mut self, seq: u64) -> Result<(), Replay> {
        self.check(seq)?;
        self.accepted.insert(seq);
        self.top = self.top.max(seq);
        // What lies below the window is refused for that reason alone.
        while self.accepted.first().is_some_and(|&s| self.top - s >= self.size) {
            self.accepted.pop_first();
        }
        Ok(())
    }
}

/// Window and model, kept in step.
struct Both {
    bitmap: Vec<u32>,
    window: Window,
    model: Model,
    counts: [u64; 4],
}

impl Both {
    fn new(size: u32) -> Self {
        // What the memory held before must not matter.
        let mut bitmap = vec![0xa5a5_a5a5; words_for(size)];
        let window = Window::new(size, &mut bitmap);
        assert_eq!(window.size(), size);
        Self { bitmap, window, model: Model::new(size), counts: [0; 4] }
    }

    fn offer(&mut self, seq: u64) {
        let expected = self.model.check(seq);
        assert_eq!(self.window.check(&self.bitmap, seq), expected, "{seq}, {:?}", self.window);
        assert_eq!(self.window.mark(&mut self.bitmap, seq), expected, "{seq}, {:?}", self.window);
        assert_eq!(self.model.mark(seq), expected);
        assert_eq!(self.window.top(), self.model.top);
        self.counts[match expected {
            Ok(()) => 0,
            Err(Replay::TooOld) => 1,
            Err(Replay::Repeated) => 2,
            Err(Replay::Zero) => 3,
            Err(Replay::Unreserved) => unreachable!("a window knows of no exports"),
        }] += 1;
    }

    /// A number near the top: mostly within the window or just beyond its edges, at times far ahead.
    fn offer_nearby(&mut self, rng: &mut SeededRng) {
        let size = u64::from(self.window.size());
        let top = self.window.top();
        let seq = match rng.below(1000) {
            0..600 => top.saturating_add(3).saturating_sub(rng.below(size + 8)),
            600..900 => top.saturating_add(rng.below(4)),
            900..940 => {
                (top + 2).saturating_sub(size).saturating_add(rng.below(4)).saturating_sub(2)
            }
            940..970 => top.saturating_add(rng.below(size * 2 + 64)),
            970..980 => top & !31,
            980..985 => top.saturating_add(32 * self.bitmap.len() as u64 + rng.below(65) - 32),
            985..990 => top.saturating_add(rng.below(1 << 20)),
            990..998 => rng.below(top.saturating_add(2)),
            _ => 0,
        };
        self.offer(seq);
    }
}

const SIZES: [u32; 12] = [1, 2, 31, 32, 33, 63, 64, 65, 128, 1000, 1024, 4096];

#[test]
fn random_numbers_around_the_window() {
    for size in SIZES {
        let mut rng = SeededRng::new(size.into());
        let mut both = Both::new(size);
        for _ in 0..200_000 {
            both.offer_nearby(&mut rng);
        }
        assert!(both.counts.iter().all(|&n| n > 50), "{size}: {:?}", both.counts);
    }
}

#[test]
fn every_number_shuffled_within_the_window_is_accepted_once() {
    for size in SIZES {
        let mut rng = SeededRng::new(size.into());
        let mut both = Both::new(size);
        // Blocks of half a window, each in any order, each number three times.
        let block = u64::from(size / 2).max(1);
        for start in (1..100_000).step_by(block as usize) {
            let mut numbers: Vec<u64> =
                (start..start + block).flat_map(|seq| [seq, seq, seq]).collect();
            for i in (1..numbers.len()).rev() {
                numbers.swap(i, rng.below(i as u64 + 1) as usize);
            }
            let accepted = both.counts[0];
            numbers.iter().for_each(|&seq| both.offer(seq));
            assert_eq!(both.counts[0] - accepted, block, "{size}: block at {start}");
        }
        assert_eq!(both.counts[1], 0);
    }
}

#[test]
fn a_window_of_65536_packets() {
    let mut rng = SeededRng::new(9);
    let mut both = Both::new(65_536);
    for _ in 0..300_000 {
        both.offer_nearby(&mut rng);
    }
}

#[test]
fn a_bitmap_that_is_no_power_of_two_holds_less() {
    for words in 0..200 {
        let mut bitmap = vec![0; words];
        let window = Window::new(u32::MAX, &mut bitmap);
        assert_eq!(window.size(), capacity(words));
        if window.size() == 0 {
            continue;
        }
        let mut rng = SeededRng::new(words as u64);
        let model = Model::new(window.size());
        let mut both = Both { bitmap, window, model, counts: [0; 4] };
        for _ in 0..2000 {
            both.offer_nearby(&mut rng);
        }
    }
}

/// Which numbers with this low half could a sender mean? RFC 4303 appendix A2: the first one that is not below the
/// window.
fn recover_by_search(top: u64, window: u32, low: u32) -> u64 {
    let bottom = top.saturating_sub(u64::from(window) - 1);
    (bottom >> 32..)
        .map(|high| high << 32 | u64::from(low))
        .find(|&seq| seq >= bottom)
        .expect("there is always a next one")
}

/// The two cases of RFC 4303 appendix A2.1, in its own terms: T is the top, W the size, both halves apart.
fn recover_by_cases(top: u64, window: u32, low: u32) -> Option<u64> {
    let (th, tl) = (top >> 32, top as u32);
    let high = if tl >= window - 1 {
        // Case A: the window lies within one subspace.
        if low >= tl - (window - 1) { th } else { th.checked_add(1)? }
    } else {
        // Case B: it spans two. In the first subspace of all there is none before.
        if low >= tl.wrapping_sub(window - 1) { th.checked_sub(1)? } else { th }
    };
    (high <= u64::from(u32::MAX)).then_some(high << 32 | u64::from(low))
}

#[test]
fn recovery_agrees_with_both_models() {
    let mut rng = SeededRng::new(11);
    let mut compared = 0;
    for window in [1, 32, 64, 1000, 65_536] {
        for _ in 0..100_000 {
            let high = rng.below(4);
            let top = (high << 32).wrapping_add(match rng.below(3) {
                0 => rng.below(2 * u64::from(window)),
                1 => (1 << 32) - 1 - rng.below(2 * u64::from(window)),
                _ => rng.below(1 << 32),
            });
            let low = match rng.below(3) {
                0 => (top as u32).wrapping_sub(rng.below(u64::from(window) + 3) as u32),
                1 => (top as u32).wrapping_add(rng.below(1 << 17) as u32),
                _ => rng.next() as u32,
            };
            let recovered = recover(top, window, low);
            assert_eq!(recovered, recover_by_search(top, window, low), "{top} {window} {low}");
            if let Some(by_cases) = recover_by_cases(top, window, low) {
                assert_eq!(recovered, by_cases, "{top} {window} {low}");
                compared += 1;
            }
        }
    }
    assert!(compared > 300_000, "{compared}");
}

/// RFC 4303 section 3.3.3: only the low half is sent. A stream that is reordered and repeated crosses 2^32 several
/// times; the receiver knows each number, accepts it once, and refuses it ever after.
#[test]
fn a_stream_crosses_the_wrap() {
    for size in [32, 64, 1024] {
        for wrap in [1u64 << 32, 2 << 32, 0xffff_ffff << 32] {
            let mut rng = SeededRng::new(wrap ^ u64::from(size));
            let mut both = Both::new(size);
            let start = wrap - 20_000;
            both.offer(start);
            let mut recent = Vec::new();
            let mut next = start;
            while next < wrap + 20_000 {
                next += 1 + rng.below(8) / 7;
                recent.push(next);
                // Within half a window, in any order, and now and then again.
                let reach = recent.len().min(size as usize / 2);
                let index = recent.len() - 1 - rng.below(reach as u64) as usize;
                for sent in [recent[index], next] {
                    let seen = recover(both.window.top(), size, sent as u32);
                    assert_eq!(seen, sent, "top {}", both.window.top());
                    both.offer(seen);
                }
                if recent.len() > size as usize {
                    recent.remove(0);
                }
            }
            assert!(both.counts[0] > 10_000 && both.counts[2] > 5_000, "{:?}", both.counts);
            // What is older than the window is taken for the next subspace, where the integrity check refuses it.
            let old = next - u64::from(size) - 50;
            assert_eq!(recover(both.window.top(), size, old as u32), old.saturating_add(1 << 32));
        }
    }
}

#[test]
fn at_the_end_of_all_numbers_nothing_wraps() {
    let mut both = Both::new(64);
    for seq in [u64::MAX - 70, u64::MAX - 1, u64::MAX, u64::MAX - 63, u64::MAX - 64, 1, u64::MAX] {
        both.offer(seq);
    }
    assert_eq!(both.counts, [4, 2, 1, 0]);
}

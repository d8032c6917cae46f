//! Look-ups by SPI and by policy: nanoseconds each, in tables of several sizes.
//!
//! Access is *cached* where the same sixteen are looked up again and again, and *random* where all of the table is, in no
//! order, so that in a large table the memory is what takes time.

use ipsec_benches::tables::{CACHE, Policies, Sas};
use ipsec_benches::{Rounds, time};
use ipsec_core::spd::CacheEntry;

const ROUNDS: u32 = 200;
/// Look-ups in a round.
const COUNT: usize = 4096;
/// Those of the cached access.
const FEW: usize = 16;

fn main() {
    println!("Look-ups: nanoseconds each, medians of {ROUNDS} rounds of {COUNT}.");
    println!("The cache has {CACHE} flows, of {} bytes each.\n", size_of::<CacheEntry>());
    println!("{:<42} {:>9} {:>9} {:>9}", "", "entries", "cached", "random");
    for size in [16, 1024, 131_072] {
        let sas = Sas::new(size);
        let (few, all) = (repeated(&sas.spis, FEW), Walk::new(&sas.spis));
        let mut all = all;
        let rounds = Rounds::run(
            ROUNDS,
            [&mut || time(|| sas.look_up(&few)), &mut || {
                let next = all.next();
                time(|| sas.look_up(&next))
            }],
        );
        row("SA by SPI", size, &rounds);
    }
    for size in [10, 1000, 10_000] {
        let mut policies = Policies::new(size);
        let (few, mut all) = (repeated(&policies.flows, FEW), Walk::new(&policies.flows));
        let rounds = Rounds::run(
            ROUNDS,
            [&mut || time(|| policies.look_up(&few)), &mut || {
                let next = all.next();
                time(|| policies.look_up(&next))
            }],
        );
        row("policy by index", size, &rounds);
        let mut all = Walk::new(&policies.flows);
        let policies = std::cell::RefCell::new(&mut policies);
        let rounds = Rounds::run(
            ROUNDS,
            [&mut || time(|| policies.borrow_mut().look_up_cached(&few)), &mut || {
                let next = all.next();
                time(|| policies.borrow_mut().look_up_cached(&next))
            }],
        );
        row(&format!("policy by cache of {CACHE} flows, then index"), size, &rounds);
    }
}

fn row(what: &str, size: usize, rounds: &Rounds<2>) {
    let each = |who| rounds.nanos(who) / COUNT as f64;
    println!("{what:<42} {size:>9} {:>9.1} {:>9.1}", each(0), each(1));
}

/// The first few, again and again.
fn repeated<T: Copy>(from: &[T], few: usize) -> Vec<T> {
    from.iter().take(few).copied().cycle().take(COUNT).collect()
}

/// All of a list, a part at a time.
struct Walk<T> {
    all: Vec<T>,
    at: usize,
}

impl<T: Copy> Walk<T> {
    fn new(all: &[T]) -> Self {
        Self { all: all.to_vec(), at: 0 }
    }

    fn next(&mut self) -> Vec<T> {
        let from = self.at;
        self.at = (from + COUNT) % self.all.len();
        self.all.iter().cycle().skip(from).take(COUNT).copied().collect()
    }
}

//! Two SADs on two threads, beside one: a SAD for each worker, and nothing shared.
//!
//! By the clock on the wall: the machine needs two processors that have nothing else to do.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ipsec_benches::packets::Tunnel;
use ipsec_core::crypto::Suite;
use ipsec_rustcrypto::RustCrypto;

const LEN: usize = 1420;
/// Packets that each thread seals in a round.
const COUNT: u32 = 20_000;
const ROUNDS: u32 = 15;

fn main() {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    println!("ESP, AES-128-GCM, {LEN} bytes, {COUNT} packets a thread; {processors} processors.\n");
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let [one, two] = [1, 2].map(|threads| (threads, seal_on(threads)));
        let rate = |(threads, took): (usize, Duration)| {
            threads as f64 * f64::from(COUNT) / took.as_secs_f64()
        };
        ratios.push((rate(two) / rate(one), rate(one), rate(two)));
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, one, two) = ratios[ratios.len() / 2];
    println!("one SAD on one thread:    {one:>10.0} packets/s");
    println!("two SADs on two threads:  {two:>10.0} packets/s, {ratio:.2} times as many");
    println!(
        "(the median of {ROUNDS} rounds, from {:.2} to {:.2} times)",
        ratios[0].0,
        ratios[ratios.len() - 1].0
    );
}

/// How long it takes until each of so many threads has sealed its packets.
fn seal_on(threads: usize) -> Duration {
    let (ready, done) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut tunnel = Tunnel::<RustCrypto>::new(Suite::AES_128_GCM);
                let mut batch = tunnel.batch(32, LEN);
                ready.wait();
                for _ in 0..COUNT / 32 {
                    batch.refill();
                    tunnel.seal(&mut batch);
                }
                done.wait();
            });
        }
        ready.wait();
        let from = Instant::now();
        done.wait();
        from.elapsed()
    })
}

//! Packets in batches beside the same packets one by one.
//!
//! A batch gains what the provider gains by seeing several packets at once; one that has nothing to gain shows what the
//! batch itself costs.

use ipsec_benches::packets::Tunnel;
use ipsec_benches::{Rounds, time};
use ipsec_core::crypto::Suite;
use ipsec_rustcrypto::RustCrypto;

const ROUNDS: u32 = 300;
const COUNT: usize = 64;

fn main() {
    println!(
        "Batches of {COUNT} packets, 8 at a time with the provider, beside single calls: nanoseconds of CPU"
    );
    println!("time a packet, and single / batch within a round; medians of {ROUNDS} rounds.\n");
    print!("{:<18} {:>5}", "", "bytes");
    for what in ["sealed", "opened"] {
        print!("  {what:>9} {:>9} {:>6}", "in batch", "ratio");
    }
    println!();
    for suite in [Suite::AES_128_GCM, Suite::CHACHA20_POLY1305, Suite::AES_128_CBC_SHA256] {
        for size in [64, 1420] {
            let [mut one, mut many, mut opens, mut opens_many] =
                [(); 4].map(|()| Tunnel::<RustCrypto>::new(suite));
            let batch = std::cell::RefCell::new(one.batch(COUNT, size));
            let rounds = Rounds::run(
                ROUNDS,
                [
                    &mut || {
                        let mut batch = batch.borrow_mut();
                        batch.refill();
                        time(|| one.seal(&mut batch))
                    },
                    &mut || {
                        let mut batch = batch.borrow_mut();
                        batch.refill();
                        time(|| many.seal_batch(&mut batch))
                    },
                    &mut || {
                        let mut batch = batch.borrow_mut();
                        batch.refill();
                        opens.seal(&mut batch);
                        time(|| opens.open(&mut batch))
                    },
                    &mut || {
                        let mut batch = batch.borrow_mut();
                        batch.refill();
                        opens_many.seal(&mut batch);
                        time(|| opens_many.open_batch(&mut batch))
                    },
                ],
            );
            print!("{:<18} {size:>5}", suite.to_string());
            for [single, many] in [[0, 1], [2, 3]] {
                let nanos = |who| rounds.nanos(who) / COUNT as f64;
                print!(
                    "  {:>9.1} {:>9.1} {:>6.3}",
                    nanos(single),
                    nanos(many),
                    rounds.ratio(single, many)
                );
            }
            println!();
        }
    }
}

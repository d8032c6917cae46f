//! ESP in tunnel mode beside the cipher inside it, of every suite, as the crate of that cipher has it.
//!
//! `cargo bench --bench esp -- NAME` measures only the suites whose names hold NAME.
//!
//! Both have texts of the same length: IP packet, padding and trailer.

use std::hint::black_box;

use ipsec_benches::bare::{Bare, bare};
use ipsec_benches::packets::{KEYMAT, Tunnel};
use ipsec_benches::{Rounds, time};
use ipsec_core::crypto::{Provider, Shape, Suite};
use ipsec_rustcrypto::RustCrypto;

const SIZES: [usize; 4] = [64, 512, 1420, 9000];
const ROUNDS: u32 = 100;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    println!(
        "ESP in tunnel mode, IPv4 in IPv4, beside the crate of its cipher, called bare: nanoseconds"
    );
    println!("of CPU time a packet, and bare / ESP within a round; medians of {ROUNDS} rounds.");
    println!(
        "`all` has besides the policy look-up before sealing, the outer header before opening.\n"
    );
    print!("{:<26} {:>5}", "", "bytes");
    for what in ["seal", "open"] {
        print!("  {:>9} {:>8} {:>6} {:>8} {:>6}", "bare", what, "ratio", "all", "ratio");
    }
    println!();
    let mut left_out = Vec::new();
    for suite in RustCrypto::SUITES.iter().copied() {
        let name = suite.to_string();
        if !names.is_empty() && !names.iter().any(|part| name.contains(part)) {
            continue;
        }
        for size in SIZES {
            let Some((rounds, count)) = measure(suite, size) else {
                left_out.push(name);
                break;
            };
            let nanos = |who| rounds.nanos(who) / count as f64;
            print!("{name:<26} {size:>5}");
            for [bare, esp, all] in [[BARE_SEAL, SEAL, SEND], [BARE_OPEN, OPEN, RECEIVE]] {
                print!("  {:>9.1} {:>8.1}", nanos(bare), nanos(esp));
                print!(" {:>6.3}", rounds.ratio(bare, esp));
                print!(" {:>8.1} {:>6.3}", nanos(all), rounds.ratio(bare, all));
            }
            println!();
        }
    }
    if !left_out.is_empty() {
        println!("\nNo crate has the bare cipher of {}.", left_out.join(", "));
    }
}

const BARE_SEAL: usize = 0;
const SEAL: usize = 1;
const SEND: usize = 2;
const BARE_OPEN: usize = 3;
const OPEN: usize = 4;
const RECEIVE: usize = 5;

/// Rounds of the contestants, and how many packets each has in a round; `None` if there is no bare cipher.
fn measure(suite: Suite, size: usize) -> Option<(Rounds<6>, usize)> {
    let bare = Alone::new(suite, size)?;
    // Enough that reading the clock does not count.
    let count = if size < 1000 { 256 } else { 48 };
    let [mut sealer, mut sender, mut opener, mut receiver] =
        [(); 4].map(|()| Tunnel::<RustCrypto>::new(suite));

    // All work on the same buffers: what is cached for one is cached for the other.
    let batch = std::cell::RefCell::new(sealer.batch(count, size));
    let rounds = Rounds::run(
        ROUNDS,
        [
            &mut || {
                let mut batch = batch.borrow_mut();
                batch.refill();
                time(|| bare.seal(&mut batch.buffers))
            },
            &mut || {
                let mut batch = batch.borrow_mut();
                batch.refill();
                time(|| sealer.seal(&mut batch))
            },
            &mut || {
                let mut batch = batch.borrow_mut();
                batch.refill();
                time(|| sender.send(&mut batch))
            },
            &mut || {
                let mut batch = batch.borrow_mut();
                batch.refill();
                bare.seal(&mut batch.buffers);
                time(|| bare.open(&mut batch.buffers))
            },
            &mut || {
                let mut batch = batch.borrow_mut();
                batch.refill();
                opener.seal(&mut batch);
                time(|| opener.open(&mut batch))
            },
            &mut || {
                let mut batch = batch.borrow_mut();
                batch.refill();
                receiver.seal(&mut batch);
                time(|| receiver.receive(&mut batch))
            },
        ],
    );
    Some((rounds, count))
}

/// The cipher alone, as a program without ESP would call it.
struct Alone {
    cipher: Box<dyn Bare>,
    shape: Shape,
    /// Where the text begins, and how long it is: as in ESP.
    start: usize,
    len: usize,
}

const HEAD: [u8; 8] = [0, 0, 1, 0, 0, 0, 0, 1];
/// Outer header, and header of ESP.
const BEFORE_IV: usize = 20 + 8;
const TRAILER: usize = 2;

impl Alone {
    fn new(suite: Suite, size: usize) -> Option<Self> {
        let shape = suite.shape()?;
        let len = (size + TRAILER).next_multiple_of(shape.block_len.max(4));
        let start = BEFORE_IV + shape.iv_len;
        Some(Self { cipher: bare(suite, &KEYMAT)?, shape, start, len })
    }

    /// A counter behind a salt.
    fn nonce(&self, number: usize) -> [u8; 16] {
        let mut nonce = [7; 16];
        let len = self.shape.nonce_len();
        let counter = self.shape.nonce_iv_len.min(8);
        nonce[len - counter..len].copy_from_slice(&(number as u64).to_be_bytes()[..counter]);
        nonce
    }

    fn seal(&self, buffers: &mut [Vec<u8>]) {
        for (number, buffer) in buffers.iter_mut().enumerate() {
            let nonce = self.nonce(number);
            let (text, rest) = buffer[self.start..].split_at_mut(self.len);
            let icv = &mut rest[..self.shape.icv_len];
            self.cipher.seal(black_box(&nonce[..self.shape.nonce_len()]), &HEAD, text, icv);
        }
    }

    fn open(&self, buffers: &mut [Vec<u8>]) {
        for (number, buffer) in buffers.iter_mut().enumerate() {
            let nonce = self.nonce(number);
            let (text, rest) = buffer[self.start..].split_at_mut(self.len);
            let icv = &rest[..self.shape.icv_len];
            self.cipher.open(black_box(&nonce[..self.shape.nonce_len()]), &HEAD, text, icv);
        }
    }
}

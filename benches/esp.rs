//! ESP in tunnel mode beside the AEAD inside it.
//!
//! The bare AEAD has the IP packet alone for its text; ESP has to do with padding and trailer besides.

use std::hint::black_box;

use ipsec_benches::packets::{KEYMAT, Tunnel};
use ipsec_benches::{Rounds, time};
use ipsec_core::crypto::{PacketCipher, Provider, Suite, Work};
use ipsec_rustcrypto::RustCrypto;

const SUITES: [Suite; 2] = [Suite::AES_128_GCM, Suite::CHACHA20_POLY1305];
const SIZES: [usize; 4] = [64, 512, 1420, 9000];
const ROUNDS: u32 = 1000;
const ICV_LEN: usize = 16;

fn main() {
    println!(
        "ESP in tunnel mode, IPv4 in IPv4, beside the bare AEAD of the same provider: nanoseconds"
    );
    println!("of CPU time a packet, and AEAD / ESP within a round; medians of {ROUNDS} rounds.");
    println!(
        "`all` has besides the policy look-up before sealing, the outer header before opening.\n"
    );
    print!("{:<18} {:>5}", "", "bytes");
    for what in ["seal", "open"] {
        print!("  {:>9} {:>7} {:>6} {:>7} {:>6}", "AEAD", what, "ratio", "all", "ratio");
    }
    println!();
    for suite in SUITES {
        for size in SIZES {
            let (rounds, count) = measure(suite, size);
            let nanos = |who| rounds.nanos(who) / count as f64;
            print!("{:<18} {size:>5}", suite.to_string());
            for [bare, esp, all] in [[BARE_SEAL, SEAL, SEND], [BARE_OPEN, OPEN, RECEIVE]] {
                print!(
                    "  {:>9.1} {:>7.1} {:>6.3}",
                    nanos(bare),
                    nanos(esp),
                    rounds.ratio(bare, esp)
                );
                print!(" {:>7.1} {:>6.3}", nanos(all), rounds.ratio(bare, all));
            }
            println!();
        }
    }
}

const BARE_SEAL: usize = 0;
const SEAL: usize = 1;
const SEND: usize = 2;
const BARE_OPEN: usize = 3;
const OPEN: usize = 4;
const RECEIVE: usize = 5;

/// Rounds of the contestants, and how many packets each has in a round.
fn measure(suite: Suite, size: usize) -> (Rounds<6>, usize) {
    // Enough that reading the clock does not count.
    let count = if size < 1000 { 256 } else { 48 };
    let bare = Bare::new(suite);
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
                let start = batch.packet_start();
                time(|| bare.seal(&mut batch.buffers, start, size))
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
                let start = batch.packet_start();
                bare.seal(&mut batch.buffers, start, size);
                time(|| bare.open(&mut batch.buffers, start, size))
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
    (rounds, count)
}

type Cipher = <RustCrypto as Provider>::Cipher;

/// The cipher alone, as a program without ESP would call it.
struct Bare {
    cipher: Cipher,
    salt: [u8; 4],
}

const HEAD: [u8; 8] = [0, 0, 1, 0, 0, 0, 0, 1];

impl Bare {
    fn new(suite: Suite) -> Self {
        let shape = suite.shape().expect("it is known");
        let cipher = Cipher::new(suite, &KEYMAT[..shape.key_len], &[]).expect("it is implemented");
        Self { cipher, salt: [7; 4] }
    }

    fn nonce(&self, number: usize) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
        nonce
    }

    fn seal(&self, buffers: &mut [Vec<u8>], start: usize, len: usize) {
        for (number, buffer) in buffers.iter_mut().enumerate() {
            let nonce = self.nonce(number);
            let (text, rest) = buffer[start..].split_at_mut(len);
            let icv = &mut rest[..ICV_LEN];
            let work = Work { nonce: &nonce, head: &HEAD, text, tail: &[], icv };
            black_box(self.cipher.seal(work)).expect("it cannot fail");
        }
    }

    fn open(&self, buffers: &mut [Vec<u8>], start: usize, len: usize) {
        for (number, buffer) in buffers.iter_mut().enumerate() {
            let nonce = self.nonce(number);
            let (text, rest) = buffer[start..].split_at_mut(len);
            let icv = &mut rest[..ICV_LEN];
            let work = Work { nonce: &nonce, head: &HEAD, text, tail: &[], icv };
            black_box(self.cipher.open(work)).expect("it was sealed");
        }
    }
}

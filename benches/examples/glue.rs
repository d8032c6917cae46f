//! Sends packets through ESP with a cipher that does nothing, or looks something up: for `count-glue`.
//!
//! usage: glue seal|send|packet|open|receive|renumber PACKETS
//!        glue sa|policy|flow|sa-loop|policy-loop TIMES ENTRIES

use std::hint::black_box;

use ipsec_benches::no_cipher::NoCipher;
use ipsec_benches::packets::{Batch, Tunnel};
use ipsec_benches::tables::{Policies, Sas};
use ipsec_core::crypto::Suite;

/// Bytes of each packet.
const LEN: usize = 1420;

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().expect("what");
    let mut number = || args.next().expect("how many").parse::<usize>().expect("a number");
    let times = number();
    match what.as_str() {
        "sa" | "sa-loop" => {
            let sas = Sas::new(number());
            let all = cycle(&sas.spis, times);
            for spi in &all {
                if what == "sa" {
                    sas.look_up(std::slice::from_ref(spi));
                }
                black_box(spi);
            }
        }
        "policy" | "flow" | "policy-loop" => {
            let mut policies = Policies::new(number());
            // A flow that is known is one of a few.
            let few = if what == "flow" { 8 } else { policies.flows.len() };
            let all = cycle(&policies.flows[..few], times);
            for flow in &all {
                match what.as_str() {
                    "policy" => policies.look_up(std::slice::from_ref(flow)),
                    "flow" => policies.look_up_cached(std::slice::from_ref(flow)),
                    _ => {}
                }
                black_box(flow);
            }
        }
        what => packets(what, times),
    }
}

fn cycle<T: Copy>(from: &[T], times: usize) -> Vec<T> {
    from.iter().copied().cycle().take(times).collect()
}

fn packets(what: &str, count: usize) {
    let mut tunnel = Tunnel::<NoCipher>::new(Suite::AES_128_GCM);
    let mut batch = tunnel.batch(1, LEN);
    batch.refill();
    tunnel.seal(&mut batch);
    let mut sequence = 1;
    let step: fn(&mut Tunnel<NoCipher>, &mut Batch) = match what {
        "seal" => Tunnel::seal,
        "send" => Tunnel::send,
        "open" => Tunnel::open,
        "receive" => Tunnel::receive,
        "packet" | "renumber" => Tunnel::none,
        _ => panic!("no {what}"),
    };
    for _ in 0..count {
        if matches!(what, "open" | "receive" | "renumber") {
            batch.renumber(&mut sequence);
        }
        step(&mut tunnel, &mut batch);
        black_box(&mut batch);
    }
}

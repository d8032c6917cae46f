//! Sends packets through ESP with a cipher that does nothing: for `count-glue`.
//!
//! usage: glue seal|send|open|receive|loop PACKETS

use std::hint::black_box;

use ipsec_benches::packets::Tunnel;
use ipsec_core::crypto::{
    CryptoError, Group, HashId, Integ, PacketCipher, PrfId, Provider, Suite, Work,
};
use ipsec_testkit::toy::{Toy, ToyKx, ToyMac, ToyPrf};

/// Bytes of each packet.
const LEN: usize = 1420;

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().expect("what");
    let packets: u32 = args.next().expect("how many packets").parse().expect("a number");
    let mut tunnel = Tunnel::<NoCipher>::new(Suite::AES_128_GCM);
    let mut batch = tunnel.batch(1, LEN);
    batch.refill();
    tunnel.seal(&mut batch);
    let mut sequence = 1;
    for _ in 0..packets {
        match what.as_str() {
            "seal" => tunnel.seal(&mut batch),
            "send" => tunnel.send(&mut batch),
            "open" => {
                batch.renumber(&mut sequence);
                tunnel.open(&mut batch);
            }
            "receive" => {
                batch.renumber(&mut sequence);
                tunnel.receive(&mut batch);
            }
            "loop" => batch.renumber(&mut sequence),
            _ => panic!("no {what}"),
        }
        black_box(&mut batch);
    }
}

/// A provider whose cipher leaves the packet as it is.
enum NoCipher {}

struct Nothing;

impl PacketCipher for Nothing {
    fn new(_: Suite, _: &[u8], _: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self)
    }

    fn unpredictable_iv(&self, _: u64, _: &mut [u8]) -> Result<(), CryptoError> {
        Ok(())
    }

    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        black_box(work.text);
        Ok(())
    }

    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        black_box(work.text);
        Ok(())
    }
}

impl Provider for NoCipher {
    type Cipher = Nothing;
    type Mac = ToyMac;
    type Prf = ToyPrf;
    type Kx = ToyKx;

    const SUITES: &'static [Suite] = Toy::SUITES;
    const INTEGS: &'static [Integ] = Toy::INTEGS;
    const PRFS: &'static [PrfId] = Toy::PRFS;
    const GROUPS: &'static [Group] = Toy::GROUPS;

    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        Toy::hash(id, parts, out)
    }
}

//! Several databases, each with a thread of its own.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use std::sync::{Mutex, mpsc};
use std::thread;

use common::{Memory, NOW, Setup, seal_copy, v4_packet};
use ipsec_core::crypto::Suite;
use ipsec_core::sa::Spi;
use ipsec_core::sad::{Sad, Shard, SpiAllocator};
use ipsec_esp::{Inbound, inbound_ip};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::rng::SeededRng;
use rand_core::CryptoRng;

const THREADS: u8 = 2;
const SAS: usize = 12;
const PACKETS: usize = 50;

/// What negotiates reserves SPIs of all shards in turn; each database is locked for this alone.
struct Spis<'a, 'r> {
    shards: &'a [Mutex<Sad<'r, RustCrypto>>],
    next: usize,
}

impl SpiAllocator for Spis<'_, '_> {
    fn reserve(&mut self, rng: &mut dyn CryptoRng) -> Option<Spi> {
        self.next += 1;
        self.shards[self.next % self.shards.len()].lock().unwrap().reserve(rng)
    }

    fn release(&mut self, spi: Spi) {
        self.shards[usize::from(Shard::of(spi, THREADS))].lock().unwrap().release(spi);
    }
}

#[test]
fn two_threads_open_each_what_is_its_own() {
    let mut memories: Vec<_> = (0..THREADS).map(|_| Memory::<RustCrypto>::new(SAS)).collect();
    let shards: Vec<_> = memories
        .iter_mut()
        .zip(0..)
        .map(|(memory, number)| Mutex::new(memory.shard(Shard::new(number, THREADS).unwrap())))
        .collect();
    let mut rng = SeededRng::new(9);
    let mut spis = Spis { shards: &shards, next: 0 };
    let setups: Vec<_> = (0..SAS)
        .map(|_| {
            let spi = spis.reserve(&mut rng).unwrap();
            Setup { spi: spi.get(), ..Setup::new(Suite::AES_128_GCM) }
        })
        .collect();
    let unused = spis.reserve(&mut rng).unwrap();
    spis.release(unused);
    for setup in &setups {
        let shard = Shard::of(Spi::new(setup.spi).unwrap(), THREADS);
        let mut sad = shards[usize::from(shard)].lock().unwrap();
        setup.with_inbound(|params| sad.install_inbound(NOW, params)).unwrap();
    }

    let mut far = Memory::<RustCrypto>::new(SAS);
    let mut sender = far.sad();
    let ids: Vec<_> = setups.iter().map(|setup| setup.install_outbound(&mut sender)).collect();
    let opened: Vec<usize> = thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut workers = Vec::new();
        for shard in &shards {
            let (tx, packets) = mpsc::channel::<Vec<u8>>();
            senders.push(tx);
            workers.push(scope.spawn(move || {
                let mut opened = 0;
                for mut packet in packets {
                    let mut sad = shard.lock().unwrap();
                    match inbound_ip(&mut sad, NOW, &mut packet) {
                        Ok(Inbound::Packet { packet, .. }) => assert_eq!(packet, v4_packet(60)),
                        other => panic!("{other:?}"),
                    }
                    opened += 1;
                }
                opened
            }));
        }
        for i in 0..SAS * PACKETS {
            let (_, outer) = seal_copy(&mut sender, ids[i % SAS], &v4_packet(60)).unwrap();
            // The dispatcher knows nothing but the SPI.
            let [spi, _] =
                [20, 24].map(|at| u32::from_be_bytes(outer[at..at + 4].try_into().unwrap()));
            senders[usize::from(Shard::of(Spi::new(spi).unwrap(), THREADS))].send(outer).unwrap();
        }
        drop(senders);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(opened, [SAS * PACKETS / 2; 2]);
    for shard in &shards {
        let sad = shard.lock().unwrap();
        assert_eq!(sad.inbound_in_use(), SAS / 2, "what was released is free");
        assert!(sad.inbound_sas().all(|sa| sa.protection.usage.packets == PACKETS as u64));
    }
}

#[test]
fn a_thread_may_own_its_database() {
    // Without any lock: reserved and installed before the thread begins.
    let mut rng = SeededRng::new(1);
    let counts = thread::scope(|scope| {
        let workers = [0, 1].map(|number| {
            let mut rng = rng.fork();
            scope.spawn(move || {
                let [mut near, mut far] = [1; 2].map(Memory::<RustCrypto>::new);
                let mut sad = near.shard(Shard::new(number, 2).unwrap());
                let spi = sad.reserve(&mut rng).unwrap();
                assert_eq!(Shard::of(spi, 2), number);
                let setup = Setup { spi: spi.get(), ..Setup::new(Suite::AES_128_GCM) };
                setup.with_inbound(|params| sad.install_inbound(NOW, params)).unwrap();
                let mut sender = far.sad();
                let out = setup.install_outbound(&mut sender);
                let mut packets = (0..PACKETS).map(|_| seal_copy(&mut sender, out, &v4_packet(60)));
                packets.all(|sent| inbound_ip(&mut sad, NOW, &mut sent.unwrap().1).is_ok())
            })
        });
        workers.map(|worker| worker.join().unwrap())
    });
    assert_eq!(counts, [true; 2]);
}

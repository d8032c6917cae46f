//! Begin and finish apart: batches, late answers, failed answers, and SAs that go meanwhile.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Memory, NOW, Setup, v4_packet};
use ipsec_core::crypto::{CryptoError, PacketCipher, Provider, Suite};
use ipsec_core::packet::PacketBuf;
use ipsec_core::replay::Replay;
use ipsec_esp::{
    Audit, OpenError, SealError, open, open_begin, open_finish, seal, seal_begin, seal_finish,
};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::toy::Toy;

/// A packet of 60 bytes with room around it.
fn buffer() -> Vec<u8> {
    let mut memory = vec![0; 200];
    memory[70..130].copy_from_slice(&v4_packet(60));
    memory
}

fn packet(memory: &mut [u8]) -> PacketBuf<'_> {
    PacketBuf::new(memory, 70..130).unwrap()
}

fn batch<P: Provider>(suites: [Suite; 2]) {
    let setups = suites.map(Setup::new);
    let mut memory = Memory::<P>::new(2);
    let mut sad = memory.sad();
    let [a, b] = [0, 1].map(|i| setups[i].install_outbound(&mut sad));
    let mut buffers = [buffer(), buffer(), buffer()];
    let [x, y, z] = &mut buffers;
    let (mut x, mut y, mut z) = (packet(x), packet(y), packet(z));
    let jobs = [
        seal_begin(&mut sad, NOW, a, &mut x).unwrap(),
        seal_begin(&mut sad, NOW, b, &mut y).unwrap(),
        seal_begin(&mut sad, NOW, a, &mut z).unwrap(),
    ];
    let unanswered = Err(CryptoError::Failed);
    let mut work = [
        (jobs[0].cipher(&sad).unwrap(), jobs[0].work(x.payload_mut()).unwrap(), unanswered),
        (jobs[1].cipher(&sad).unwrap(), jobs[1].work(y.payload_mut()).unwrap(), unanswered),
        (jobs[2].cipher(&sad).unwrap(), jobs[2].work(z.payload_mut()).unwrap(), unanswered),
    ];
    P::Cipher::seal_batch(&mut work);
    let results = work.map(|(_, _, result)| result);
    let mut sealed = Vec::new();
    for ((job, result), packet) in jobs.into_iter().zip(results).zip([&mut x, &mut y, &mut z]) {
        sealed.push(seal_finish(&sad, job, result, packet.payload_mut()).unwrap());
    }
    assert_eq!(sealed.iter().map(|s| s.sequence).collect::<Vec<_>>(), [1, 1, 2]);

    // The same as one by one.
    let mut memory = Memory::<P>::new(2);
    let mut sad = memory.sad();
    let [a, b] = [0, 1].map(|i| setups[i].install_outbound(&mut sad));
    for (id, batched) in [(a, &x), (b, &y), (a, &z)] {
        let mut alone = buffer();
        let mut alone = packet(&mut alone);
        seal(&mut sad, NOW, id, &mut alone).unwrap();
        assert_eq!(alone.payload(), batched.payload());
    }
}

#[test]
fn a_batch_gives_what_single_packets_give() {
    batch::<RustCrypto>([Suite::AES_128_GCM, Suite::CHACHA20_POLY1305]);
    batch::<RustCrypto>([Suite::AES_256_CBC_SHA256, Suite::AES_256_GCM]);
    batch::<Toy>([Suite::AES_128_GCM, Suite::AES_128_CBC_SHA256]);
}

#[test]
fn a_dropped_job_burns_its_number() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let mut first = buffer();
    drop(seal_begin(&mut sad, NOW, id, &mut packet(&mut first)).unwrap());
    let mut second = buffer();
    assert_eq!(seal(&mut sad, NOW, id, &mut packet(&mut second)).unwrap().sequence, 2);
}

#[test]
fn a_failed_seal_is_told_and_burns_its_number() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let mut buf = buffer();
    let mut p = packet(&mut buf);
    let job = seal_begin(&mut sad, NOW, id, &mut p).unwrap();
    let failed = seal_finish(&sad, job, Err(CryptoError::Failed), p.payload_mut());
    assert_eq!(failed, Err(SealError::Crypto(CryptoError::Failed)));
    assert_eq!(sad.outbound(id).unwrap().sequence(), 1);
}

#[test]
fn an_sa_that_went_meanwhile_seals_nothing() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let mut buf = buffer();
    let mut p = packet(&mut buf);
    let job = seal_begin(&mut sad, NOW, id, &mut p).unwrap();
    let result = job.run(&sad, p.payload_mut());
    assert!(sad.remove_outbound(id));
    // Its slot is taken by another SA.
    let again = setup.install_outbound(&mut sad);
    assert!(job.cipher(&sad).is_none());
    assert_eq!(seal_finish(&sad, job, result, p.payload_mut()), Err(SealError::NoSa));
    assert_eq!(sad.outbound(again).unwrap().sequence(), 0);
}

/// A sealed ESP packet of `setup`.
fn esp(setup: &Setup) -> Vec<u8> {
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let mut buf = buffer();
    let mut p = packet(&mut buf);
    let sealed = seal(&mut sad, NOW, id, &mut p).unwrap();
    p.payload()[sealed.esp].to_vec()
}

#[test]
fn the_window_is_checked_again_when_a_job_is_done() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_inbound(&mut sad);
    let (mut one, mut two) = (esp(&setup), esp(&setup));
    let first = open_begin(&sad, &setup.arrival(), &one).unwrap();
    let second = open_begin(&sad, &setup.arrival(), &two).unwrap();
    let results = [first.run(&sad, &mut one), second.run(&sad, &mut two)];
    assert!(open_finish(&mut sad, NOW, first, results[0], &mut one).is_ok());
    let audit = Audit { spi: setup.spi, sequence: 1 };
    assert_eq!(
        open_finish(&mut sad, NOW, second, results[1], &mut two),
        Err(OpenError::Replay(audit, Replay::Repeated))
    );
    assert!(two[16..two.len() - 16].iter().all(|b| *b == 0), "wiped");
    assert_eq!(sad.inbound(id).unwrap().protection.usage.packets, 1);
}

#[test]
fn a_failed_or_dropped_open_changes_nothing() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_inbound(&mut sad);
    let packet = esp(&setup);
    let audit = Audit { spi: setup.spi, sequence: 1 };
    for (answer, expected) in [
        (CryptoError::Integrity, OpenError::Integrity(audit)),
        (CryptoError::Failed, OpenError::Crypto(audit, CryptoError::Failed)),
    ] {
        let mut bytes = packet.clone();
        let job = open_begin(&sad, &setup.arrival(), &bytes).unwrap();
        // A hardware engine that failed may have left plaintext behind.
        job.run(&sad, &mut bytes).unwrap();
        let result = open_finish(&mut sad, NOW, job, Err(answer), &mut bytes);
        assert_eq!(result, Err(expected));
        assert!(bytes[16..bytes.len() - 16].iter().all(|b| *b == 0), "wiped");
        assert_eq!(sad.inbound(id).unwrap().window().top(), 0);
    }
    drop(open_begin(&sad, &setup.arrival(), &packet).unwrap());
    assert!(open(&mut sad, NOW, &setup.arrival(), &mut packet.clone()).is_ok());
}

#[test]
fn an_sa_that_went_meanwhile_opens_nothing() {
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_inbound(&mut sad);
    let mut packet = esp(&setup);
    let job = open_begin(&sad, &setup.arrival(), &packet).unwrap();
    let result = job.run(&sad, &mut packet);
    assert!(sad.remove_inbound(id));
    let again = setup.install_inbound(&mut sad);
    let audit = Audit { spi: setup.spi, sequence: 1 };
    assert_eq!(open_finish(&mut sad, NOW, job, result, &mut packet), Err(OpenError::NoSa(audit)));
    assert!(packet[16..packet.len() - 16].iter().all(|b| *b == 0), "wiped");
    assert_eq!(sad.inbound(again).unwrap().window().top(), 0);
}

#[test]
fn threads_share_a_database() {
    use std::sync::RwLock;
    const EACH: usize = 200;
    let setup = Setup::new(Suite::AES_128_GCM);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let sad = RwLock::new(sad);
    let seal_many = || {
        let mut sealed = Vec::new();
        for _ in 0..EACH {
            let mut buf = buffer();
            let mut p = packet(&mut buf);
            // Only to begin needs the database for itself.
            let job = seal_begin(&mut sad.write().unwrap(), NOW, id, &mut p).unwrap();
            let shared = sad.read().unwrap();
            let result = job.run(&shared, p.payload_mut());
            let done = seal_finish(&shared, job, result, p.payload_mut()).unwrap();
            sealed.push((done.sequence, p.payload()[done.esp].to_vec()));
        }
        sealed
    };
    let mut all = std::thread::scope(|scope| {
        let threads = [scope.spawn(seal_many), scope.spawn(seal_many)];
        threads.map(|t| t.join().unwrap()).concat()
    });
    all.sort_unstable();
    assert!(all.iter().zip(1..).all(|((sequence, _), expected)| *sequence == expected));
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut receiver = memory.sad();
    setup.install_inbound(&mut receiver);
    for (sequence, mut esp) in all {
        let opened = open(&mut receiver, NOW, &setup.arrival(), &mut esp).unwrap();
        assert_eq!(opened.sequence, sequence);
    }
}

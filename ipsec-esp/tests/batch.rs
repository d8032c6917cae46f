//! A batch gives what single calls give, byte for byte.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Memory, NOW, Setup, v4_packet, v4_path, v6_packet, v6_path};
use ipsec_core::crypto::{Encr, Integ, Provider, Suite};
use ipsec_core::lifetime::{Lifetime, Limits};
use ipsec_core::packet::PacketBuf;
use ipsec_core::sa::Encapsulation;
use ipsec_core::sad::{FoundBy, InboundId, OutboundId, Sad};
use ipsec_esp::{
    Arrival, Before, OpenError, Opened, SealError, Sealed, open, open_batch, seal, seal_batch,
};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::toy::Toy;

const ROOM: usize = 100;

fn setups() -> Vec<Setup> {
    let hard = Limits { packets: 3, ..Limits::NONE };
    let few = Lifetime { soft: hard, hard };
    let of = |spi: u32, suite| Setup { spi, ..Setup::new(suite) };
    let udp = Encapsulation::Udp;
    vec![
        of(1000, Suite::AES_128_GCM),
        Setup { esn: true, path: v6_path(0, 0), ..of(1001, Suite::AES_256_CBC_SHA256) },
        Setup { spi: 1002, ..Setup::ah(Integ::HMAC_SHA2_256_128) },
        Setup { encapsulation: udp, path: v6_path(4500, 4500), ..of(1003, Suite::AES_128_GCM) },
        Setup { lifetime: few, ..of(1004, Suite::aead(Encr::AES_GCM_16_IIV, 256)) },
        Setup { path: v4_path(0, 0), ..of(1005, Suite::CHACHA20_POLY1305) }.transport(),
    ]
}

/// Which SA, and what it is to seal. Some cannot be sealed.
fn plan() -> Vec<(usize, Vec<u8>)> {
    (0..40usize)
        .map(|i| {
            let packet = match i % 11 {
                3 => vec![0x45; 10],
                7 => v6_packet(80 + i),
                _ => v4_packet(60 + 3 * i),
            };
            (i * 7 % 6, packet)
        })
        .collect()
}

fn install<P: Provider>(sad: &mut Sad<'_, P>) -> (Vec<OutboundId>, Vec<InboundId>) {
    let setups = setups();
    let out = setups.iter().map(|setup| setup.install_outbound(sad)).collect();
    let into = setups.iter().map(|setup| {
        setup.with_inbound(|params| sad.install_inbound_as(NOW, params, FoundBy::Spi)).unwrap()
    });
    (out, into.collect())
}

/// A packet in the middle of its buffer. One in thirteen has too little room.
fn buffers() -> Vec<(Vec<u8>, core::ops::Range<usize>)> {
    let room = |i: usize| if i % 13 == 5 { 2 } else { ROOM };
    let buffer = |(i, (_, packet)): (usize, (usize, Vec<u8>))| {
        let around = vec![0xd5; room(i)];
        let range = around.len()..around.len() + packet.len();
        ([&around[..], &packet, &around].concat(), range)
    };
    plan().into_iter().enumerate().map(buffer).collect()
}

/// The results, and the buffers as they are then.
type All<R, E> = (Vec<Result<R, E>>, Vec<Vec<u8>>);

fn seal_singly<P: Provider>(sad: &mut Sad<'_, P>, ids: &[OutboundId]) -> All<Sealed, SealError> {
    let (mut results, mut bytes) = (Vec::new(), Vec::new());
    for ((sa, _), (mut buffer, range)) in plan().into_iter().zip(buffers()) {
        let mut packet = PacketBuf::new(&mut buffer, range).unwrap();
        results.push(seal(sad, NOW, ids[sa], &mut packet));
        bytes.push(packet.payload().to_vec());
    }
    (results, bytes)
}

fn seal_together<P: Provider, const N: usize>(
    sad: &mut Sad<'_, P>,
    ids: &[OutboundId],
) -> All<Sealed, SealError> {
    let mut buffers = buffers();
    let mut packets: Vec<_> = plan()
        .iter()
        .zip(&mut buffers)
        .map(|((sa, _), (buffer, range))| {
            (ids[*sa], PacketBuf::new(buffer, range.clone()).unwrap())
        })
        .collect();
    let (mut results, mut bytes) = (Vec::new(), Vec::new());
    seal_batch::<P, N>(sad, NOW, &mut packets, |place, packet, result| {
        assert_eq!(place, results.len());
        results.push(result);
        bytes.push(packet.payload().to_vec());
    });
    (results, bytes)
}

fn sealing<P: Provider, const N: usize>() {
    let (mut a, mut b) = (Memory::<P>::new(8), Memory::<P>::new(8));
    let (mut one, mut many) = (a.sad(), b.sad());
    let (ids, _) = install(&mut one);
    let (same, _) = install(&mut many);
    assert_eq!(ids, same);
    one.remove_outbound(ids[3]);
    many.remove_outbound(ids[3]);
    let singly = seal_singly(&mut one, &ids);
    let together = seal_together::<P, N>(&mut many, &ids);
    // The contents of a packet that was not sealed are compared too: nothing has changed.
    assert_eq!(singly, together);
    let failed = |error: fn(&SealError) -> bool| {
        singly.0.iter().filter_map(|r| r.as_ref().err()).filter(|e| error(e)).count()
    };
    assert!(failed(|e| matches!(e, SealError::Inner(_))) > 0);
    assert!(failed(|e| matches!(e, SealError::NoRoom(_))) > 0);
    assert!(failed(|e| matches!(e, SealError::NoSa)) > 0);
    assert!(failed(|e| matches!(e, SealError::Expired(_))) > 0);
    assert!(singly.0.iter().filter(|r| r.is_ok()).count() > 15);
    for id in ids.iter().filter(|id| **id != ids[3]) {
        let usage = |sad: &Sad<'_, P>| sad.outbound(*id).unwrap().protection.usage;
        assert_eq!(usage(&one), usage(&many));
    }
}

#[test]
fn sealing_a_batch_is_sealing_each() {
    sealing::<Toy, 1>();
    sealing::<Toy, 7>();
    sealing::<RustCrypto, 8>();
    sealing::<RustCrypto, 64>();
}

/// ESP packets as they arrive: some twice, some changed, some of no SA.
fn arrivals<P: Provider>() -> Vec<(Arrival, Vec<u8>)> {
    let mut memory = Memory::<P>::new(8);
    let mut sad = memory.sad();
    let (ids, _) = install(&mut sad);
    let (results, bytes) = seal_singly(&mut sad, &ids);
    let setups = setups();
    let mut all = Vec::new();
    for (i, ((sa, _), (result, outer))) in
        plan().into_iter().zip(results.into_iter().zip(bytes)).enumerate()
    {
        let Some(sealed) = result.ok().filter(|_| setups[sa].ah.is_none()) else { continue };
        let before = Before::Headers(sealed.esp.start);
        let arrival = Arrival { before, ..setups[sa].arrival() };
        all.push((arrival, outer.clone()));
        let mut changed = outer.clone();
        match i % 5 {
            0 => all.push((arrival, outer)), // again
            1 => {
                *changed.last_mut().unwrap() ^= 1;
                all.insert(all.len() - 1, (arrival, changed));
            }
            2 => {
                changed[sealed.esp.start] ^= 1;
                all.push((arrival, changed));
            }
            _ => {}
        }
    }
    all.push((Arrival { before: Before::Headers(9), ..setups[0].arrival() }, vec![0; 5]));
    all
}

fn opening<P: Provider, const N: usize>() {
    let (mut a, mut b) = (Memory::<P>::new(8), Memory::<P>::new(8));
    let (mut one, mut many) = (a.sad(), b.sad());
    let (_, ids) = install(&mut one);
    install(&mut many);
    let mut singly: All<Opened, OpenError> = (Vec::new(), Vec::new());
    for (arrival, mut packet) in arrivals::<P>() {
        singly.0.push(open(&mut one, NOW, &arrival, &mut packet));
        singly.1.push(packet);
    }
    let mut all = arrivals::<P>();
    let mut packets: Vec<_> = all.iter_mut().map(|(a, packet)| (*a, &mut packet[..])).collect();
    let mut together: All<Opened, OpenError> = (Vec::new(), Vec::new());
    open_batch::<P, N>(&mut many, NOW, &mut packets, |place, packet, result| {
        assert_eq!(place, together.0.len());
        together.0.push(result);
        together.1.push(packet.to_vec());
    });
    assert_eq!(singly.0, together.0);
    for ((result, one), other) in singly.0.iter().zip(&singly.1).zip(&together.1) {
        // A repeated packet is wiped where both came in one batch, and not touched where they did not.
        assert!(one == other || matches!(result, Err(OpenError::Replay(..))));
    }
    for error in ["Replay", "Integrity", "UnknownSpi", "TooShort"] {
        let is = |r: &&Result<Opened, OpenError>| format!("{r:?}").contains(error);
        assert!(singly.0.iter().any(|r| is(&r)), "{error}");
    }
    assert!(singly.0.iter().filter(|r| r.is_ok()).count() > 15);
    assert_eq!(one.drops(), many.drops());
    for id in ids {
        let (one, many) = (one.inbound(id).unwrap(), many.inbound(id).unwrap());
        assert_eq!(one.protection.usage, many.protection.usage);
        assert_eq!((one.window(), one.drops()), (many.window(), many.drops()));
    }
}

#[test]
fn opening_a_batch_is_opening_each() {
    opening::<Toy, 1>();
    opening::<Toy, 7>();
    opening::<Toy, 64>();
    opening::<RustCrypto, 8>();
}

#[test]
fn an_empty_batch_does_nothing() {
    let mut memory = Memory::<Toy>::new(1);
    let mut sad = memory.sad();
    seal_batch::<Toy, 8>(&mut sad, NOW, &mut [], |_, _, _| panic!("nothing was given"));
    open_batch::<Toy, 8>(&mut sad, NOW, &mut [], |_, _, _| panic!("nothing was given"));
}

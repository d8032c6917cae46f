//! Many packets of many SAs in one call, so that a provider can interleave them
//! ([`PacketCipher::seal_batch`], [`PacketCipher::open_batch`]).
//!
//! What comes out is what one call for each packet, in the same order, would give, byte for byte; one that fails leaves
//! the others alone. Only `N` jobs are kept at once, on the stack, about 300 bytes each: longer batches are done in parts.
//! Eight is a good number for processors that interleave AES.
//!
//! With a provider that does not [interleave](PacketCipher::INTERLEAVES) there is nothing to gain: it gets the packets one by
//! one, and a batch costs what single calls cost.

use core::array;

use ipsec_core::crypto::{CryptoError, PacketCipher, Provider, Work};
use ipsec_core::packet::PacketBuf;
use ipsec_core::sad::{OutboundId, Sad};
use ipsec_core::time::Instant;

use crate::ah;
use crate::error::{OpenError, SealError};
use crate::open::{Arrival, OpenJob, Opened, open, open_begin_counted, open_finish};
use crate::seal::{SealJob, Sealed, seal, seal_begin, seal_finish};

/// Seals each packet with its SA, as [`seal`](crate::seal()) does, and tells `done` its place in the batch, the packet as
/// it is now, and the result. Packets of AH are done one by one.
///
/// `N` packets, more than none, are with the provider at a time.
pub fn seal_batch<P: Provider, const N: usize>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    packets: &mut [(OutboundId, PacketBuf<'_>)],
    mut done: impl FnMut(usize, &mut PacketBuf<'_>, Result<Sealed, SealError>),
) {
    let mut place = 0usize;
    if !P::Cipher::INTERLEAVES {
        for (id, packet) in packets {
            let result = seal(sad, now, *id, packet);
            done(place, packet, result);
            place = place.wrapping_add(1);
        }
        return;
    }
    in_parts::<_, N>(packets, |part| {
        let mut jobs: [Begun<SealJob, _>; N] =
            array::from_fn(|_| Begun::Done(Err(SealError::NoSa)));
        for (begun, (id, packet)) in jobs.iter_mut().zip(part.iter_mut()) {
            *begun = match seal_begin(sad, now, *id, packet) {
                Ok(job) => Begun::Job(job),
                Err(SealError::NotEsp) => Begun::Done(ah::sign(sad, now, *id, packet)),
                Err(e) => Begun::Done(Err(e)),
            };
        }
        let packets = part.iter_mut().map(|(_, packet)| packet.payload_mut());
        let works = jobs.iter().zip(packets).map(|(begun, packet)| match begun {
            Begun::Job(job) => job.cipher(sad).zip(job.work(packet)),
            Begun::Done(_) => None,
        });
        let answers = run::<P, N>(works, P::Cipher::seal_batch);
        for ((begun, answer), (_, packet)) in jobs.into_iter().zip(answers).zip(part) {
            let result = match begun {
                Begun::Job(job) => seal_finish(sad, job, answer, packet.payload_mut()),
                Begun::Done(result) => result,
            };
            done(place, packet, result);
            place = place.wrapping_add(1);
        }
    });
}

/// Opens each ESP packet, as [`open`](crate::open()) does, and tells `done` its place in the batch, the slice as it is
/// now, and the result.
///
/// A packet that comes twice in a batch is refused the second time, like in two calls; where the provider interleaves, after
/// it was decrypted: so its text is wiped.
///
/// `N` packets, more than none, are with the provider at a time.
pub fn open_batch<P: Provider, const N: usize>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    packets: &mut [(Arrival, &mut [u8])],
    mut done: impl FnMut(usize, &mut [u8], Result<Opened, OpenError>),
) {
    let mut place = 0usize;
    if !P::Cipher::INTERLEAVES {
        for (arrival, packet) in packets {
            let result = open(sad, now, arrival, packet);
            done(place, packet, result);
            place = place.wrapping_add(1);
        }
        return;
    }
    in_parts::<_, N>(packets, |part| {
        let mut jobs: [Begun<OpenJob, _>; N] = array::from_fn(|_| Begun::Done(OpenError::TooShort));
        for (begun, (arrival, packet)) in jobs.iter_mut().zip(part.iter()) {
            *begun = match open_begin_counted(sad, arrival, packet) {
                Ok(job) => Begun::Job(job),
                Err(e) => Begun::Done(e),
            };
        }
        let packets = part.iter_mut().map(|(_, packet)| &mut **packet);
        let works = jobs.iter().zip(packets).map(|(begun, packet)| match begun {
            Begun::Job(job) => job.cipher(sad).zip(job.work(packet)),
            Begun::Done(_) => None,
        });
        let answers = run::<P, N>(works, P::Cipher::open_batch);
        for ((begun, answer), (_, packet)) in jobs.into_iter().zip(answers).zip(part) {
            let result = match begun {
                Begun::Job(job) => open_finish(sad, now, job, answer, packet),
                Begun::Done(e) => Err(e),
            };
            done(place, packet, result);
            place = place.wrapping_add(1);
        }
    });
}

/// What became of a packet before the provider.
enum Begun<J, R> {
    Job(J),
    Done(R),
}

/// Calls `f` with `N` items at a time.
fn in_parts<T, const N: usize>(mut items: &mut [T], mut f: impl FnMut(&mut [T])) {
    const { assert!(N > 0, "a batch of none") }
    while !items.is_empty() {
        let most = items.len().min(N);
        let (part, rest) = items.split_at_mut_checked(most).unwrap_or_default();
        f(part);
        items = rest;
    }
}

/// Gives all that there is to do to the provider at once. The answers stand where the work stood; where there was none,
/// it has failed.
fn run<'a, P: Provider, const N: usize>(
    works: impl Iterator<Item = Option<(&'a P::Cipher, Work<'a>)>>,
    batch: impl FnOnce(&mut [(&'a P::Cipher, Work<'a>, Result<(), CryptoError>)]),
) -> [Result<(), CryptoError>; N] {
    let mut answers = [Err(CryptoError::Failed); N];
    let mut places = heapless::Vec::<usize, N>::new();
    let mut jobs = heapless::Vec::<_, N>::new();
    for (place, work) in works.enumerate() {
        if let Some((cipher, work)) = work
            && places.push(place).is_ok()
        {
            let _ = jobs.push((cipher, work, Err(CryptoError::Failed)));
        }
    }
    batch(&mut jobs);
    for (place, (_, _, answer)) in places.iter().zip(&jobs) {
        if let Some(slot) = answers.get_mut(*place) {
            *slot = *answer;
        }
    }
    answers
}

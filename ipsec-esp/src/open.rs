//! From an ESP packet to the IP packet inside, in place (RFC 4303 section 3.4).
//!
//! The order is fixed: look up the SPI, check length and sequence number, verify and decrypt, check the sequence
//! number again and mark it, and only then look at what came out.

use core::ops::Range;

use ipsec_core::crypto::{CryptoError, Iv, PacketCipher, Provider, Work};
use ipsec_core::lifetime::Age;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{Encapsulation, InboundSa, Protocol, Spi};
use ipsec_core::sad::{InboundId, Sad};
use ipsec_core::seq;
use ipsec_core::time::Instant;
use ipsec_core::wire::IpPacket;
use zerocopy::FromBytes;
use zeroize::Zeroize;

use crate::audit;
use crate::error::{Audit, OpenError};
use crate::inner::{self, Payload};
use crate::mtu::Overhead;
use crate::padding;
use crate::parts::Parts;
use crate::wire::{EspHeader, EspTrailer};

/// How an ESP packet came: what its outer headers said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// From the peer to us; `local` is where it arrived. Ports are 0 without UDP.
    pub path: Path,
    /// Whether it was in UDP. Either is accepted on any SA (RFC 7296 section 2.23).
    pub encapsulation: Encapsulation,
    /// DSCP and ECN of the outer header. Use 0 where they are not known.
    pub traffic_class: u8,
    /// What the slice holds before the ESP header.
    pub before: Before,
}

/// What a slice holds before the ESP header. In transport mode the header of the packet comes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Before {
    /// So many bytes that may be overwritten, perhaps none. In transport and BEET mode an IP header is made: it has the
    /// addresses of the path, or the SA, and needs 20 or 40 bytes before the decrypted payload, less what trailer and
    /// ICV leave free behind it.
    Room(usize),
    /// So many bytes of headers as they came: IP, with options or extension headers, and UDP if there is one.
    Headers(usize),
}

impl Before {
    /// The number of bytes.
    pub const fn len(&self) -> usize {
        match self {
            Self::Room(len) | Self::Headers(len) => *len,
        }
    }

    /// Whether the slice begins with the ESP header.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Opens the ESP packet in `packet`, which begins behind [`Arrival::before`] with an SPI and ends with an ICV.
///
/// The inner hop limit is left alone: a router counts it down when it forwards.
///
/// # Errors
/// See [`OpenError`].
pub fn open<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    arrival: &Arrival,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    let job = open_begin_counted(sad, arrival, packet);
    let job = job.as_ref().map_err(|e| *e)?;
    let result = job.run(sad, packet);
    finish(sad, now, job, result, packet)
}

/// A packet on its way through the provider. It borrows nothing, and dropping it changes nothing.
#[must_use]
pub struct OpenJob {
    id: InboundId,
    spi: Spi,
    sequence: u64,
    arrival: Arrival,
    parts: Parts,
}

impl OpenJob {
    /// The SA.
    pub const fn id(&self) -> InboundId {
        self.id
    }

    /// The keys; `None` if the SA is gone.
    pub fn cipher<'s, P: Provider>(&self, sad: &'s Sad<'_, P>) -> Option<&'s P::Cipher> {
        Some(&sad.inbound(self.id)?.protection.esp()?.cipher)
    }

    /// What [`PacketCipher::open`] is to do. `packet` is the slice that [`open_begin`] saw; `None` if it is shorter.
    pub fn work<'a>(&'a self, packet: &'a mut [u8]) -> Option<Work<'a>> {
        self.parts.work(packet)
    }

    /// Does the work here and now.
    pub fn run<P: Provider>(&self, sad: &Sad<'_, P>, packet: &mut [u8]) -> Result<(), CryptoError> {
        match (self.cipher(sad), self.work(packet)) {
            (Some(cipher), Some(work)) => cipher.open(work),
            _ => Err(CryptoError::Failed),
        }
    }

    const fn audit(&self) -> Audit {
        Audit { spi: self.spi.get(), sequence: self.sequence }
    }
}

/// What came out of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The SA.
    pub id: InboundId,
    /// Its SPI.
    pub spi: Spi,
    /// The word its owner gave it.
    pub tag: u32,
    /// The packet's sequence number.
    pub sequence: u64,
    /// The IP packet for the protected side, as it arrived: in tunnel mode its traffic class may have changed since.
    pub inner: IpPacket,
    /// Where it lies in the slice that was given.
    pub range: Range<usize>,
    /// Whether the ECN fields were a combination that no standard sender makes (RFC 6040 section 4.2).
    pub ecn_alarm: bool,
}

/// Finds the SA and checks what can be checked before the ICV. Changes nothing, so what it refuses is not
/// [counted](Sad::count_drop).
///
/// # Errors
/// See [`OpenError`].
pub fn open_begin<P: Provider>(
    sad: &Sad<'_, P>,
    arrival: &Arrival,
    packet: &[u8],
) -> Result<OpenJob, OpenError> {
    let at = arrival.before.len();
    let esp = packet.get(at..).ok_or(OpenError::TooShort)?;
    let (header, rest) = EspHeader::ref_from_prefix(esp).map_err(|_| OpenError::TooShort)?;
    let (found, low) =
        find(sad, Protocol::Esp, header.spi.get(), header.sequence.get(), &arrival.path)?;
    let Found { id, spi, sa, sequence } = found;
    let protection = &sa.protection;
    let keys = protection.esp().ok_or(OpenError::UnknownSpi(low))?;
    let shape = &keys.shape;
    let overhead = Overhead::of(protection);
    let text = text_range(esp.len(), &overhead).ok_or(OpenError::Length(low))?;
    let text = at.saturating_add(text.start)..at.saturating_add(text.end);
    let audit = check_replay(sad, id, spi, sequence)?;
    if !inner::has_room(
        &protection.mode,
        arrival,
        text.start,
        EspTrailer::LEN.saturating_add(shape.icv_len),
    ) {
        return Err(OpenError::NoRoom(audit));
    }

    let implicit = sequence.to_be_bytes();
    let iv = match shape.iv {
        Iv::Implicit => Some(&implicit[..]),
        Iv::None | Iv::Counter | Iv::Unpredictable => rest.get(..shape.iv_len),
    };
    let parts = iv
        .and_then(|iv| Parts::new(protection, keys, sequence, iv, text))
        .ok_or(OpenError::Length(audit))?;
    Ok(OpenJob { id, spi, sequence, arrival: *arrival, parts })
}

/// [`open_begin`] that counts what it refuses.
#[inline]
pub(crate) fn open_begin_counted<P: Provider>(
    sad: &mut Sad<'_, P>,
    arrival: &Arrival,
    packet: &[u8],
) -> Result<OpenJob, OpenError> {
    let job = open_begin(sad, arrival, packet);
    if let Err(e) = &job {
        audit::count_early(sad, Protocol::Esp, &arrival.path, e);
    }
    job
}

/// The SA of a packet.
pub(crate) struct Found<'s, P: Provider> {
    pub(crate) id: InboundId,
    pub(crate) spi: Spi,
    pub(crate) sa: &'s InboundSa<P>,
    /// The whole sequence number. A guess, as long as nothing has been verified.
    pub(crate) sequence: u64,
}

/// Finds the SA of an SPI, and of a group and a source, and the whole of a sequence number whose low half is `low`. Gives besides what an audit log
/// should have before the number is known.
pub(crate) fn find<'s, P: Provider>(
    sad: &'s Sad<'_, P>,
    protocol: Protocol,
    spi: u32,
    low: u32,
    path: &Path,
) -> Result<(Found<'s, P>, Audit), OpenError> {
    let seen = Audit { spi, sequence: low.into() };
    let unknown = OpenError::UnknownSpi(seen);
    let spi = Spi::new(spi).ok_or(unknown)?;
    let id = sad.find(protocol, spi, path).ok_or(unknown)?;
    let sa = sad.inbound(id).ok_or(unknown)?;
    let sequence = if sa.protection.esn {
        seq::recover(sa.window().top(), sa.window().size(), low)
    } else {
        low.into()
    };
    Ok((Found { id, spi, sa, sequence }, seen))
}

/// Whether the window accepts the number.
pub(crate) fn check_replay<P: Provider>(
    sad: &Sad<'_, P>,
    id: InboundId,
    spi: Spi,
    sequence: u64,
) -> Result<Audit, OpenError> {
    let audit = Audit { spi: spi.get(), sequence };
    sad.check_replay(id, sequence)
        .ok_or(OpenError::UnknownSpi(audit))?
        .map_err(|why| OpenError::Replay(audit, why))?;
    Ok(audit)
}

/// Where the encrypted part lies; `None` if it would be empty, or not aligned as RFC 4303 section 2.4 wants.
fn text_range(len: usize, overhead: &Overhead) -> Option<Range<usize>> {
    let end = len.checked_sub(overhead.icv)?;
    let text_len = end.checked_sub(overhead.header)?;
    let aligned = text_len & overhead.align.saturating_sub(1) == 0;
    (aligned && text_len > 0).then_some(overhead.header..end)
}

/// Accepts or refuses a packet after the provider has answered `result`. `packet` is the slice that the job worked on.
///
/// # Errors
/// See [`OpenError`]. The encrypted part and the integrity check value have then been wiped.
pub fn open_finish<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    job: OpenJob,
    result: Result<(), CryptoError>,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    finish(sad, now, &job, result, packet)
}

fn finish<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    job: &OpenJob,
    result: Result<(), CryptoError>,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    let opened = match accept(sad, now, job, result) {
        Ok(()) => inspect(sad, job, packet),
        Err(e) => Err(e),
    };
    if let Err(e) = &opened {
        audit::count(sad, Some(job.id), e);
        if let Some(text) = packet.get_mut(job.parts.text.start..job.parts.end()) {
            text.zeroize();
        }
    }
    opened
}

/// Marks the sequence number, if the packet is authentic and still welcome.
fn accept<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    job: &OpenJob,
    result: Result<(), CryptoError>,
) -> Result<(), OpenError> {
    let sa = sad.inbound(job.id).ok_or(OpenError::NoSa(job.audit()))?;
    // Only a peer behind a NAT may move without saying so (RFC 7296 section 2.23).
    let moves = sa.protection.encapsulation == Encapsulation::Udp
        && job.arrival.encapsulation == Encapsulation::Udp;
    let from = moves.then_some(job.arrival.path.remote);
    mark(sad, now, job.id, job.audit(), job.parts.text.len(), from, result)
}

/// Marks the sequence number of `audit`, if `result` says that the packet is authentic, and counts `bytes`.
pub(crate) fn mark<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: InboundId,
    audit: Audit,
    bytes: usize,
    from: Option<Endpoint>,
    result: Result<(), CryptoError>,
) -> Result<(), OpenError> {
    if sad.inbound(id).is_none() {
        return Err(OpenError::NoSa(audit));
    }
    result.map_err(|e| match e {
        CryptoError::Integrity => OpenError::Integrity(audit),
        e => OpenError::Crypto(audit, e),
    })?;
    match sad.accept(now, id, audit.sequence, bytes, from) {
        None => Err(OpenError::NoSa(audit)),
        Some(Err(why)) => Err(OpenError::Replay(audit, why)),
        Some(Ok(Age::Hard)) => Err(OpenError::Expired(audit)),
        Some(Ok(Age::Young | Age::Soft)) => Ok(()),
    }
}

/// Looks at what came out.
fn inspect<P: Provider>(
    sad: &Sad<'_, P>,
    job: &OpenJob,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    let audit = job.audit();
    let sa = sad.inbound(job.id).ok_or(OpenError::NoSa(audit))?;
    let text = packet.get(job.parts.text.clone()).ok_or(OpenError::Length(audit))?;
    let (payload_len, next_header) = padding::strip(text).ok_or(OpenError::Padding(audit))?;
    let start = job.parts.text.start;
    let range = start..start.saturating_add(payload_len);
    let payload = Payload { range, next_header, limit: job.parts.end() };
    let inner = inner::unwrap(sa, &job.arrival, packet, payload, audit)?;
    Ok(Opened {
        id: job.id,
        spi: job.spi,
        tag: sa.protection.tag,
        sequence: job.sequence,
        range: inner.range,
        inner: inner.packet,
        ecn_alarm: inner.ecn_alarm,
    })
}

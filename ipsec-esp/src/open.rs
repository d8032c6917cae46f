//! From an ESP packet to the IP packet inside, in place (RFC 4303 section 3.4).
//!
//! The order is fixed: look up the SPI, check length and sequence number, verify and decrypt, check the sequence
//! number again and mark it, and only then look at what came out.

use core::ops::Range;

use ipsec_core::crypto::{CryptoError, Iv, PacketCipher, Provider, Shape, Work};
use ipsec_core::lifetime::Age;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{Encapsulation, InboundSa, Protocol, Spi};
use ipsec_core::sad::{InboundId, Receiver, Sad};
use ipsec_core::time::Instant;
use zerocopy::FromBytes;
use zeroize::Zeroize;

use crate::audit;
use crate::error::{Audit, OpenError};
use crate::inner::{self, Inner, Payload};
use crate::padding;
use crate::parts::Parts;
#[cfg(any(not(target_os = "none"), ipsec_quick))]
use crate::quick;
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
    #[cfg(any(not(target_os = "none"), ipsec_quick))]
    if let Some((begun, result)) = quick::verify(sad, arrival, packet) {
        return finish(sad, now, begun, arrival, result, packet);
    }
    let job = open_begin_counted(sad, arrival, packet);
    let job = job.as_ref().map_err(|e| *e)?;
    let result = job.run(sad, packet);
    finish(sad, now, job.begun, arrival, result, packet)
}

/// A packet on its way through the provider. It borrows nothing, and dropping it changes nothing.
#[must_use]
pub struct OpenJob {
    begun: Begun,
    arrival: Arrival,
    parts: Parts,
}

impl OpenJob {
    /// The SA.
    pub const fn id(&self) -> InboundId {
        self.begun.id
    }

    /// The keys; `None` if the SA is gone.
    pub fn cipher<'s, P: Provider>(&self, sad: &'s Sad<'_, P>) -> Option<&'s P::Cipher> {
        Some(&sad.inbound(self.begun.id)?.protection.esp()?.cipher)
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
    /// Where the IP packet for the protected side lies in the slice that was given: whole by its own header, and nothing
    /// behind it.
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
    let Found { receiver: Receiver { id, sa, .. }, spi, sequence, .. } = found;
    let protection = &sa.protection;
    let keys = protection.esp().ok_or(OpenError::UnknownSpi(low))?;
    let text = text_range(&keys.shape, at, packet.len()).ok_or(OpenError::Length(low))?;
    let audit = found.check_replay()?;
    let spare = EspTrailer::LEN.saturating_add(keys.shape.icv_len);
    if !inner::has_room(&protection.mode, arrival, text.start, spare) {
        return Err(OpenError::NoRoom(audit));
    }

    let implicit = sequence.to_be_bytes();
    let iv = match keys.shape.iv {
        Iv::Implicit => Some(&implicit[..]),
        Iv::None | Iv::Counter | Iv::Unpredictable => rest.get(..keys.shape.iv_len),
    };
    let parts = iv
        .and_then(|iv| Parts::new(protection, keys, sequence, iv, text))
        .ok_or(OpenError::Length(audit))?;
    let begun = Begun {
        id,
        spi,
        sequence,
        text_at: parts.text.start,
        text_end: parts.text.end,
        end: parts.end(),
    };
    Ok(OpenJob { begun, arrival: *arrival, parts })
}

/// What is known of a packet before the provider has seen it.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) id: InboundId,
    pub(crate) spi: Spi,
    pub(crate) sequence: u64,
    /// Where the encrypted part begins,
    pub(crate) text_at: usize,
    /// and where it ends.
    pub(crate) text_end: usize,
    /// Where the integrity check value behind it ends.
    pub(crate) end: usize,
}

impl Begun {
    const fn audit(&self) -> Audit {
        Audit { spi: self.spi.get(), sequence: self.sequence }
    }

    const fn text_len(&self) -> usize {
        self.text_end.wrapping_sub(self.text_at)
    }

    #[cfg_attr(not(target_os = "none"), inline(always))]
    fn opened(&self, tag: u32, range: Range<usize>, ecn_alarm: bool) -> Opened {
        let Self { id, spi, sequence, .. } = *self;
        Opened { id, spi, tag, sequence, range, ecn_alarm }
    }
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
    pub(crate) receiver: Receiver<'s, P>,
    pub(crate) spi: Spi,
    /// The whole sequence number. A guess, as long as nothing has been verified.
    pub(crate) sequence: u64,
}

impl<P: Provider> Found<'_, P> {
    /// Whether the window accepts the number.
    pub(crate) fn check_replay(&self) -> Result<Audit, OpenError> {
        let audit = Audit { spi: self.spi.get(), sequence: self.sequence };
        let checked = self.receiver.check_replay(self.sequence);
        checked.map(|()| audit).map_err(|why| OpenError::Replay(audit, why))
    }
}

/// Finds the SA of an SPI, and of a group and a source, and the whole of a sequence number whose low half is `low`. Gives besides what an audit log
/// should have before the number is known.
#[cfg_attr(not(target_os = "none"), inline(always))]
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
    let receiver = sad.receiver(protocol, spi, path).ok_or(unknown)?;
    let sequence = receiver.sequence(low);
    Ok((Found { receiver, spi, sequence }, seen))
}

/// Where the encrypted part lies in `len` bytes whose ESP header begins at `at`; `None` if it would be empty, or not
/// aligned as RFC 4303 section 2.4 wants.
fn text_range(shape: &Shape, at: usize, len: usize) -> Option<Range<usize>> {
    let start = at.checked_add(EspHeader::LEN)?.checked_add(shape.iv_len)?;
    let end = len.checked_sub(shape.icv_len)?;
    let mask = shape.block_len.max(padding::MIN_ALIGN).wrapping_sub(1);
    let aligned = end.wrapping_sub(start) & mask == 0;
    (start < end && aligned).then_some(start..end)
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
    finish(sad, now, job.begun, &job.arrival, result, packet)
}

#[cfg_attr(not(target_os = "none"), inline(always))]
fn finish<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    begun: Begun,
    arrival: &Arrival,
    result: Result<(), CryptoError>,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    let moved = arrival.encapsulation == Encapsulation::Udp;
    let from = moved.then_some(arrival.path.remote);
    let why = match mark(sad, now, begun.id, begun.audit(), begun.text_len(), from, result) {
        Ok(sa) => match inspect(sa, begun, arrival, packet) {
            Ok(opened) => return Ok(opened),
            Err(why) => why,
        },
        Err(why) => why,
    };
    refuse(sad, begun.id, why, packet.get_mut(begun.text_at..begun.end).unwrap_or_default());
    Err(why)
}

/// Counts a packet that has been refused, and wipes what the provider has touched of it.
#[cold]
fn refuse<P: Provider>(sad: &mut Sad<'_, P>, id: InboundId, why: OpenError, touched: &mut [u8]) {
    audit::count(sad, Some(id), &why);
    touched.zeroize();
}

/// Marks the sequence number of `audit`, if `result` says that the packet is authentic, and counts `bytes`.
#[cfg_attr(not(target_os = "none"), inline(always))]
pub(crate) fn mark<'s, P: Provider>(
    sad: &'s mut Sad<'_, P>,
    now: Instant,
    id: InboundId,
    audit: Audit,
    bytes: usize,
    from: Option<Endpoint>,
    result: Result<(), CryptoError>,
) -> Result<&'s InboundSa<P>, OpenError> {
    if let Err(e) = result {
        return Err(match e {
            _ if sad.inbound(id).is_none() => OpenError::NoSa(audit),
            CryptoError::Integrity => OpenError::Integrity(audit),
            e => OpenError::Crypto(audit, e),
        });
    }
    match sad.accept(now, id, audit.sequence, bytes, from) {
        None => Err(OpenError::NoSa(audit)),
        Some(Err(why)) => Err(OpenError::Replay(audit, why)),
        Some(Ok((Age::Hard, _))) => Err(OpenError::Expired(audit)),
        Some(Ok((Age::Young | Age::Soft, sa))) => Ok(sa),
    }
}

/// Looks at what came out.
#[cfg_attr(not(target_os = "none"), inline(always))]
fn inspect<P: Provider>(
    sa: &InboundSa<P>,
    begun: Begun,
    arrival: &Arrival,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    let audit = begun.audit();
    #[cfg(any(not(target_os = "none"), ipsec_quick))]
    if let Some(text) = packet.get(begun.text_at..begun.text_end)
        && let Some(len) = quick::inner_len(sa, arrival, text)
    {
        let range = begun.text_at..begun.text_at.wrapping_add(len);
        return Ok(begun.opened(sa.protection.tag, range, false));
    }
    let text = begun.text_at..begun.text_end;
    let inner = inspect_general(sa, audit, arrival, packet, text, begun.end)?;
    Ok(begun.opened(sa.protection.tag, inner.range, inner.ecn_alarm))
}

#[inline(never)]
fn inspect_general<P: Provider>(
    sa: &InboundSa<P>,
    audit: Audit,
    arrival: &Arrival,
    packet: &mut [u8],
    text: Range<usize>,
    limit: usize,
) -> Result<Inner, OpenError> {
    let start = text.start;
    let text = packet.get(text).ok_or(OpenError::Length(audit))?;
    let (payload_len, next_header) = padding::strip(text).ok_or(OpenError::Padding(audit))?;
    let range = start..start.saturating_add(payload_len);
    inner::unwrap(sa, arrival, packet, Payload { range, next_header, limit }, audit)
}

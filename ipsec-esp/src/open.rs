//! From an ESP packet to the IP packet inside, in place (RFC 4303 section 3.4, tunnel mode).
//!
//! The order is fixed: look up the SPI, check length and sequence number, verify and decrypt, check the sequence
//! number again and mark it, and only then look at what came out.

use core::ops::Range;

use ipsec_core::crypto::{CryptoError, Iv, PacketCipher, Provider, Work};
use ipsec_core::lifetime::Age;
use ipsec_core::path::Path;
use ipsec_core::sa::{Encapsulation, InboundSa, Protocol, Spi};
use ipsec_core::sad::{InboundId, Sad};
use ipsec_core::seq;
use ipsec_core::time::Instant;
use ipsec_core::wire::{IpError, IpPacket, protocol};
use zerocopy::FromBytes;
use zeroize::Zeroize;

use crate::error::{Audit, OpenError};
use crate::mtu::Overhead;
use crate::padding;
use crate::parts::Parts;
use crate::tunnel::{self, Decapsulated, Ecn};
use crate::wire::EspHeader;

/// How an ESP packet came: what its outer headers said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// From the peer to us; `local` is where it arrived. Ports are 0 without UDP.
    pub path: Path,
    /// Whether it was in UDP. Either is accepted on any SA (RFC 7296 section 2.23).
    pub encapsulation: Encapsulation,
    /// DSCP and ECN of the outer header. Use 0 where they are not known.
    pub traffic_class: u8,
}

/// Opens `esp`, which begins with an SPI and ends with an ICV.
///
/// The inner hop limit is left alone: a router counts it down when it forwards.
///
/// # Errors
/// See [`OpenError`].
pub fn open<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    arrival: &Arrival,
    esp: &mut [u8],
) -> Result<Opened, OpenError> {
    let job = open_begin(sad, arrival, esp)?;
    let result = job.run(sad, esp);
    open_finish(sad, now, job, result, esp)
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

    /// What [`PacketCipher::open`] is to do. `esp` is the packet that [`open_begin`] saw; `None` if it is shorter.
    pub fn work<'a>(&'a self, esp: &'a mut [u8]) -> Option<Work<'a>> {
        self.parts.work(esp)
    }

    /// Does the work here and now.
    pub fn run<P: Provider>(&self, sad: &Sad<'_, P>, esp: &mut [u8]) -> Result<(), CryptoError> {
        match (self.cipher(sad), self.work(esp)) {
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
    /// The IP packet inside, as it arrived: its ECN field may have changed since.
    pub inner: IpPacket,
    /// Where in the ESP packet it lies.
    pub range: Range<usize>,
    /// Whether the ECN fields were a combination that no standard sender makes (RFC 6040 section 4.2).
    pub ecn_alarm: bool,
}

/// Finds the SA and checks what can be checked before the ICV. Changes nothing.
///
/// # Errors
/// See [`OpenError`].
pub fn open_begin<P: Provider>(
    sad: &Sad<'_, P>,
    arrival: &Arrival,
    esp: &[u8],
) -> Result<OpenJob, OpenError> {
    let (header, rest) = EspHeader::ref_from_prefix(esp).map_err(|_| OpenError::TooShort)?;
    let (spi, low) = (header.spi.get(), header.sequence.get());
    let seen = Audit { spi, sequence: low.into() };
    let unknown = OpenError::UnknownSpi(seen);
    let spi = Spi::new(spi).ok_or(unknown)?;
    let id = sad.lookup(Protocol::Esp, spi).ok_or(unknown)?;
    let sa = sad.inbound(id).ok_or(unknown)?;
    let protection = &sa.protection;
    let esp_keys = protection.esp().ok_or(unknown)?;

    let overhead = Overhead::of(protection);
    let text = text_range(esp.len(), &overhead).ok_or(OpenError::Length(seen))?;

    let sequence = if protection.esn {
        seq::recover(sa.window().top(), sa.window().size(), low)
    } else {
        low.into()
    };
    let audit = Audit { sequence, ..seen };
    sad.check_replay(id, sequence).ok_or(unknown)?.map_err(|why| OpenError::Replay(audit, why))?;

    let implicit = sequence.to_be_bytes();
    let iv = match esp_keys.shape.iv {
        Iv::Implicit => Some(&implicit[..]),
        Iv::None | Iv::Counter | Iv::Unpredictable => rest.get(..esp_keys.shape.iv_len),
    };
    let parts = iv
        .and_then(|iv| Parts::new(protection, esp_keys, sequence, iv, text))
        .ok_or(OpenError::Length(audit))?;
    Ok(OpenJob { id, spi, sequence, arrival: *arrival, parts })
}

/// Where the encrypted part lies; `None` if it would be empty, or not aligned as RFC 4303 section 2.4 wants.
fn text_range(len: usize, overhead: &Overhead) -> Option<Range<usize>> {
    let end = len.checked_sub(overhead.icv)?;
    let text_len = end.checked_sub(overhead.header)?;
    let aligned = text_len & overhead.align.saturating_sub(1) == 0;
    (aligned && text_len > 0).then_some(overhead.header..end)
}

/// Accepts or refuses a packet after the provider has answered `result`. `esp` is the packet that the job worked on.
///
/// # Errors
/// See [`OpenError`]. The encrypted part has then been wiped.
pub fn open_finish<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    job: OpenJob,
    result: Result<(), CryptoError>,
    esp: &mut [u8],
) -> Result<Opened, OpenError> {
    let opened = accept(sad, now, &job, result).and_then(|()| inspect(sad, &job, esp));
    if opened.is_err()
        && let Some(text) = esp.get_mut(job.parts.text.clone())
    {
        text.zeroize();
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
    let audit = job.audit();
    let sa = sad.inbound(job.id).ok_or(OpenError::NoSa(audit))?;
    result.map_err(|e| match e {
        CryptoError::Integrity => OpenError::Integrity(audit),
        e => OpenError::Crypto(audit, e),
    })?;
    // Only a peer behind a NAT may move without saying so (RFC 7296 section 2.23).
    let moves = sa.protection.encapsulation == Encapsulation::Udp
        && job.arrival.encapsulation == Encapsulation::Udp;
    let from = moves.then_some(job.arrival.path.remote);
    match sad.accept(now, job.id, job.sequence, job.parts.text.len(), from) {
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
    esp: &mut [u8],
) -> Result<Opened, OpenError> {
    let audit = job.audit();
    let sa = sad.inbound(job.id).ok_or(OpenError::NoSa(audit))?;
    let text = esp.get_mut(job.parts.text.clone()).ok_or(OpenError::Length(audit))?;
    let (payload_len, next_header) = padding::strip(text).ok_or(OpenError::Padding(audit))?;
    let payload = text.get_mut(..payload_len).ok_or(OpenError::Padding(audit))?;

    let inner = inner_packet(payload, next_header, audit)?;
    check_selectors(sa, &inner, audit)?;
    let ecn_alarm = decapsulate_ecn(payload, &inner, &job.arrival, audit)?;

    let start = job.parts.text.start;
    Ok(Opened {
        id: job.id,
        spi: job.spi,
        tag: sa.protection.tag,
        sequence: job.sequence,
        range: start..start.saturating_add(inner.len),
        inner,
        ecn_alarm,
    })
}

/// The packet at the front of the payload. What is behind it hides the packet's true length
/// (RFC 4303 section 2.7).
fn inner_packet(payload: &[u8], next_header: u8, audit: Audit) -> Result<IpPacket, OpenError> {
    if next_header == protocol::NONE {
        return Err(OpenError::Dummy(audit));
    }
    if !matches!(next_header, protocol::IPV4 | protocol::IPV6) {
        return Err(OpenError::NextHeader(audit, next_header));
    }
    let inner = IpPacket::parse(payload).map_err(|e| OpenError::Inner(audit, e))?;
    if inner.is_ipv4() != (next_header == protocol::IPV4) {
        return Err(OpenError::Inner(audit, IpError::Version));
    }
    Ok(inner)
}

/// RFC 4301 section 5.2: what came out must be what the SA was negotiated for.
fn check_selectors<P: Provider>(
    sa: &InboundSa<P>,
    inner: &IpPacket,
    audit: Audit,
) -> Result<(), OpenError> {
    if sa.selectors.match_inbound(&inner.flow) {
        Ok(())
    } else {
        Err(OpenError::Selectors(audit, inner.flow))
    }
}

fn decapsulate_ecn(
    payload: &mut [u8],
    inner: &IpPacket,
    arrival: &Arrival,
    audit: Audit,
) -> Result<bool, OpenError> {
    let (before, outer) = (Ecn::of(inner.traffic_class), Ecn::of(arrival.traffic_class));
    match tunnel::decapsulate_ecn(before, outer) {
        Decapsulated::Drop => Err(OpenError::Congestion(audit)),
        Decapsulated::Forward { ecn, alarm } => {
            if ecn != before {
                tunnel::set_ecn(payload, ecn).ok_or(OpenError::Inner(audit, IpError::Version))?;
            }
            Ok(alarm)
        }
    }
}

//! AH, in place (RFC 4302): a packet is authenticated with its IP header, and nothing is encrypted.
//!
//! As with ESP, both ways are three calls: begin, the provider's work, finish.

use ipsec_core::bytes::Writer;
use ipsec_core::crypto::suite::{MAX_ICV, MAX_NONCE};
use ipsec_core::crypto::{CryptoError, Mac, MacWork, Provider};
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{AhTransform, Encapsulation, Protection, Protocol, Spi};
use ipsec_core::sad::{InboundId, OutboundId, Receiver, Sad};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Fragment, IpPacket, protocol};
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use crate::audit;
use crate::error::{Audit, OpenError, SealError};
use crate::inner::{self, Payload};
use crate::layout::{Content, Layout};
use crate::mutable::Immutable;
use crate::open::{self, Arrival, Before, Found, Opened};
use crate::seal::{self, Sealed};
use crate::wire::AhHeader;

/// Authenticates the IP packet in `packet` with the SA `id`. The packet grows to the whole outer packet.
///
/// # Errors
/// See [`SealError`].
pub fn sign<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    packet: &mut PacketBuf<'_>,
) -> Result<Sealed, SealError> {
    let inner = IpPacket::parse(packet.payload()).map_err(SealError::Inner)?;
    sign_parsed(sad, now, id, &inner, packet)
}

/// [`sign`] of a packet that was parsed before.
#[inline(never)]
pub(crate) fn sign_parsed<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    inner: &IpPacket,
    packet: &mut PacketBuf<'_>,
) -> Result<Sealed, SealError> {
    let job = begin(sad, now, id, inner, packet)?;
    let result = job.run(sad, packet.payload_mut());
    sign_finish(sad, job, result)
}

/// A packet on its way through the provider. It borrows nothing. A job that is dropped has spent its sequence number.
#[must_use]
pub struct SignJob {
    sealed: Sealed,
    parts: Parts,
}

impl SignJob {
    /// The SA.
    pub const fn id(&self) -> OutboundId {
        self.sealed.id
    }

    /// The key; `None` if the SA is gone.
    pub fn mac<'s, P: Provider>(&self, sad: &'s Sad<'_, P>) -> Option<&'s P::Mac> {
        Some(&sad.outbound(self.sealed.id)?.protection.ah()?.mac)
    }

    /// What [`Mac::sign`] is to do. `packet` is the packet as [`sign_begin`] left it; `None` if it is shorter.
    pub fn work<'a>(&'a self, packet: &'a mut [u8]) -> Option<MacWork<'a>> {
        self.parts.work(packet)
    }

    /// Does the work here and now.
    pub fn run<P: Provider>(&self, sad: &Sad<'_, P>, packet: &mut [u8]) -> Result<(), CryptoError> {
        match (self.mac(sad), self.work(packet)) {
            (Some(mac), Some(work)) => mac.sign(work.nonce, &work.parts, work.icv),
            _ => Err(CryptoError::Failed),
        }
    }
}

/// Takes a sequence number and writes everything but the ICV. The packet grows to the whole outer packet.
///
/// # Errors
/// See [`SealError`]; then neither the packet nor the SA has changed.
pub fn sign_begin<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    packet: &mut PacketBuf<'_>,
) -> Result<SignJob, SealError> {
    let inner = IpPacket::parse(packet.payload()).map_err(SealError::Inner)?;
    begin(sad, now, id, &inner, packet)
}

fn begin<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    inner: &IpPacket,
    packet: &mut PacketBuf<'_>,
) -> Result<SignJob, SealError> {
    let sa = sad.outbound(id).ok_or(SealError::NoSa)?;
    let protection = &sa.protection;
    let keys = protection.ah().ok_or(SealError::NotAh)?;
    let layout = Layout::new(protection, Content::Packet(inner), packet.payload())?;
    if layout.keeps_header {
        // What could not be masked later must not cost a sequence number now.
        Immutable::new(packet.payload(), layout.ip_len, false).map_err(SealError::Inner)?;
    }
    layout.require_room(packet).map_err(SealError::NoRoom)?;

    let sequence = sa.sequence().saturating_add(1);
    let iv = sequence.to_be_bytes();
    let header = Header { at: layout.ip_len, end: layout.total_len() };
    let mut parts = Parts::new(protection, keys, sequence, &iv, &header)
        .ok_or(SealError::Crypto(CryptoError::Length))?;
    let sealed = Sealed::new(id, protection, sequence, &layout);
    let payload_len = layout.total_len().saturating_sub(layout.text_at());
    seal::take_sequence(sad, now, &sealed, payload_len)?;
    let identification = if layout.needs_id() { sad.next_identification(id) } else { None };

    // The checks above leave nothing that could fail from here on.
    layout
        .write(packet, &sealed.path, protocol::AH, identification)
        .and_then(|()| write_ah(&layout, &sealed, &parts, &iv, packet.payload_mut()))
        .ok_or(SealError::TooLong)?;
    parts.headers =
        Immutable::new(packet.payload(), layout.ip_len, false).map_err(SealError::Inner)?;
    Ok(SignJob { sealed, parts })
}

/// Writes the header with IV; ICV and padding are zero.
fn write_ah(
    layout: &Layout,
    sealed: &Sealed,
    parts: &Parts,
    iv: &[u8],
    packet: &mut [u8],
) -> Option<()> {
    let room = packet.get_mut(layout.ip_len..layout.text_at())?;
    let payload_len = AhHeader::payload_len_of(room.len())?;
    room.fill(0);
    let [_, _, _, _, low @ ..] = sealed.sequence.to_be_bytes();
    let header = AhHeader {
        next_header: layout.next_header,
        payload_len,
        reserved: U16::ZERO,
        spi: U32::new(sealed.spi.get()),
        sequence: U32::new(u32::from_be_bytes(low)),
    };
    let mut writer = Writer::new(room);
    writer.bytes(header.as_bytes())?;
    writer.bytes(iv.get(..parts.iv_len)?)
}

/// Completes a packet after the provider has answered `result`.
///
/// # Errors
/// [`SealError::NoSa`] if the SA went meanwhile, [`SealError::Crypto`] if the provider failed: the packet must not be
/// sent.
pub fn sign_finish<P: Provider>(
    sad: &Sad<'_, P>,
    job: SignJob,
    result: Result<(), CryptoError>,
) -> Result<Sealed, SealError> {
    if sad.outbound(job.sealed.id).is_none() {
        return Err(SealError::NoSa);
    }
    result.map_err(SealError::Crypto)?;
    Ok(job.sealed)
}

/// Verifies `packet`, a whole IP packet with AH, reassembled, and takes AH off. What the slice holds behind the IP packet
/// is not looked at.
///
/// # Errors
/// See [`OpenError`].
#[inline(never)]
pub fn open<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    let job = match open_begin(sad, packet) {
        Ok(job) => job,
        Err(e) => {
            let path = IpPacket::parse(packet).map_or(Path::UNSPECIFIED, |outer| path_of(&outer));
            audit::count_early(sad, Protocol::Ah, &path, &e);
            return Err(e);
        }
    };
    let result = job.run(sad, packet);
    open_finish(sad, now, job, result, packet)
}

/// A packet on its way through the provider. It borrows nothing, and dropping it changes nothing.
#[must_use]
pub struct VerifyJob {
    id: InboundId,
    spi: Spi,
    sequence: u64,
    arrival: Arrival,
    next_header: u8,
    /// Where AH ends.
    payload_at: usize,
    parts: Parts,
}

impl VerifyJob {
    /// The SA.
    pub const fn id(&self) -> InboundId {
        self.id
    }

    /// The key; `None` if the SA is gone.
    pub fn mac<'s, P: Provider>(&self, sad: &'s Sad<'_, P>) -> Option<&'s P::Mac> {
        Some(&sad.inbound(self.id)?.protection.ah()?.mac)
    }

    /// What [`Mac::verify`] is to do. `packet` is the slice that [`open_begin`] saw; `None` if it is shorter.
    pub fn work<'a>(&'a self, packet: &'a mut [u8]) -> Option<MacWork<'a>> {
        self.parts.work(packet)
    }

    /// Does the work here and now.
    pub fn run<P: Provider>(&self, sad: &Sad<'_, P>, packet: &mut [u8]) -> Result<(), CryptoError> {
        match (self.mac(sad), self.work(packet)) {
            (Some(mac), Some(work)) => mac.verify(work.nonce, &work.parts, work.icv),
            _ => Err(CryptoError::Failed),
        }
    }
}

/// From whom to us.
const fn path_of(outer: &IpPacket) -> Path {
    Path::new(Endpoint::new(outer.flow.destination, 0), Endpoint::new(outer.flow.source, 0))
}

/// Finds the SA and checks what can be checked before the ICV. Changes nothing, so what it refuses is not
/// [counted](Sad::count_drop).
///
/// # Errors
/// See [`OpenError`].
pub fn open_begin<P: Provider>(sad: &Sad<'_, P>, packet: &[u8]) -> Result<VerifyJob, OpenError> {
    let outer = IpPacket::parse(packet).map_err(OpenError::Outer)?;
    if outer.fragment != Fragment::Whole {
        return Err(OpenError::Fragment);
    }
    let packet = packet.get(..outer.len).unwrap_or_default();
    let ah = packet.get(outer.upper..).unwrap_or_default();
    if outer.flow.protocol != protocol::AH {
        return Err(OpenError::TooShort);
    }
    let (header, rest) = AhHeader::ref_from_prefix(ah).map_err(|_| OpenError::TooShort)?;
    let path = path_of(&outer);
    let (found, low) =
        open::find(sad, Protocol::Ah, header.spi.get(), header.sequence.get(), &path)?;
    let Found { receiver: Receiver { id, sa, .. }, spi, sequence } = found;
    let keys = sa.protection.ah().ok_or(OpenError::UnknownSpi(low))?;
    // Any padding is taken; it is authenticated.
    let data_len = keys.integ.iv_len().saturating_add(keys.icv_len);
    let len = header.total_len();
    if len < AhHeader::LEN.saturating_add(data_len) || len > ah.len() {
        return Err(OpenError::Length(low));
    }
    let audit = found.check_replay()?;
    let iv = rest.get(..keys.integ.iv_len()).ok_or(OpenError::Length(audit))?;
    let headers = Immutable::new(packet, outer.upper, true).map_err(OpenError::Outer)?;
    let place = Header { at: outer.upper, end: outer.len };
    let mut parts =
        Parts::new(&sa.protection, keys, sequence, iv, &place).ok_or(OpenError::Length(audit))?;
    parts.headers = headers;
    let arrival = Arrival {
        path,
        encapsulation: Encapsulation::Ip,
        traffic_class: outer.traffic_class,
        before: Before::Headers(outer.upper),
    };
    let payload_at = outer.upper.saturating_add(len);
    let next_header = header.next_header;
    Ok(VerifyJob { id, spi, sequence, arrival, next_header, payload_at, parts })
}

/// Accepts or refuses a packet after the provider has answered `result`. `packet` is the slice that the job worked on.
///
/// # Errors
/// See [`OpenError`].
pub fn open_finish<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    job: VerifyJob,
    result: Result<(), CryptoError>,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    let opened = finish(sad, now, &job, result, packet);
    if let Err(e) = &opened {
        audit::count(sad, Some(job.id), e);
    }
    opened
}

fn finish<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    job: &VerifyJob,
    result: Result<(), CryptoError>,
    packet: &mut [u8],
) -> Result<Opened, OpenError> {
    let audit = Audit { spi: job.spi.get(), sequence: job.sequence };
    let end = job.parts.end;
    let payload_len = end.saturating_sub(job.payload_at);
    let sa = open::mark(sad, now, job.id, audit, payload_len, None, result)?;
    let range = job.payload_at..end;
    let payload = Payload { range, next_header: job.next_header, limit: end };
    let inner = inner::unwrap(sa, &job.arrival, packet, payload, audit)?;
    Ok(Opened {
        id: job.id,
        spi: job.spi,
        tag: sa.protection.tag,
        sequence: job.sequence,
        range: inner.range,
        ecn_alarm: inner.ecn_alarm,
    })
}

/// Where in a packet AH lies, and where the packet ends.
struct Header {
    at: usize,
    end: usize,
}

/// What the provider needs to know of one packet: ranges and copies, no borrow.
struct Parts {
    headers: Immutable,
    /// Salt and IV, of GMAC only.
    nonce: [u8; MAX_NONCE],
    nonce_len: usize,
    at: usize,
    iv_len: usize,
    icv_len: usize,
    end: usize,
    /// The high half of the sequence number.
    tail: [u8; 4],
    tail_len: usize,
}

/// What stands for IV and ICV while they are computed.
const ZEROS: [u8; 8 + MAX_ICV] = [0; 8 + MAX_ICV];

impl Parts {
    /// The headers are to be filled in. `None` if a length is beyond that of any algorithm.
    fn new<P: Provider>(
        protection: &Protection<P>,
        keys: &AhTransform<P>,
        sequence: u64,
        iv: &[u8],
        header: &Header,
    ) -> Option<Self> {
        let mut parts = Self {
            headers: Immutable::EMPTY,
            nonce: [0; MAX_NONCE],
            nonce_len: 0,
            at: header.at,
            iv_len: keys.integ.iv_len(),
            icv_len: keys.icv_len,
            end: header.end,
            tail: [0; 4],
            tail_len: 0,
        };
        if parts.iv_len > 0 {
            let mut nonce = Writer::new(&mut parts.nonce);
            nonce.bytes(keys.salt())?;
            nonce.bytes(iv.get(..parts.iv_len)?)?;
            parts.nonce_len = nonce.len();
        }
        if protection.esn {
            // RFC 4302 section 2.5.1
            let [a, b, c, d, ..] = sequence.to_be_bytes();
            parts.tail = [a, b, c, d];
            parts.tail_len = parts.tail.len();
        }
        Some(parts)
    }

    /// The work on `packet`; `None` if it is shorter than it was.
    fn work<'a>(&'a self, packet: &'a mut [u8]) -> Option<MacWork<'a>> {
        let ah = packet.get_mut(self.at..self.end)?;
        let (fixed, rest) = ah.split_at_mut_checked(AhHeader::LEN)?;
        let (_, rest) = rest.split_at_mut_checked(self.iv_len)?;
        let (icv, rest) = rest.split_at_mut_checked(self.icv_len)?;
        let zeros = ZEROS.get(..self.iv_len.checked_add(self.icv_len)?)?;
        Some(MacWork {
            nonce: self.nonce.get(..self.nonce_len)?,
            parts: [self.headers.bytes(), fixed, zeros, rest, self.tail.get(..self.tail_len)?],
            icv,
        })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.nonce.zeroize(); // the salt is keying material
    }
}

//! From an IP packet to an ESP packet, in place (RFC 4303 section 3.3).

use core::net::IpAddr;
use core::ops::Range;

use ipsec_core::bytes::{self, Writer};
use ipsec_core::crypto::suite::MAX_NONCE;
use ipsec_core::crypto::{CryptoError, Iv, PacketCipher, Provider, Work};
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::Path;
use ipsec_core::sa::{Encapsulation, EspTransform, Protection, Protocol, Spi};
use ipsec_core::sad::{OutboundId, Sad, SequenceError};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Checksum, IpPacket, UdpHeader, protocol};
use zerocopy::{FromBytes, IntoBytes};

use crate::ah;
use crate::error::{Audit, SealError};
use crate::layout::{Content, Layout};
use crate::padding;
use crate::parts::Parts;
#[cfg(any(not(target_os = "none"), ipsec_quick))]
use crate::quick::Quick;
use crate::tunnel::OuterFields;
use crate::wire::EspHeader;

/// Seals the IP packet in `packet` with the SA `id`, which may be one of AH too. The packet grows to the whole outer
/// packet.
///
/// The inner hop limit is left alone: a router counts it down when it forwards, before it asks for protection.
///
/// # Errors
/// See [`SealError`].
pub fn seal<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    packet: &mut PacketBuf<'_>,
) -> Result<Sealed, SealError> {
    #[cfg(any(not(target_os = "none"), ipsec_quick))]
    if let Some(quick) = Quick::new(sad, id, packet) {
        return quick.seal(sad, now, id, packet);
    }
    let parsed = IpPacket::parse(packet.payload());
    let inner = parsed.as_ref().map_err(|e| SealError::Inner(*e))?;
    seal_general(sad, now, id, inner, packet)
}

/// [`seal`] of a packet that was parsed before.
pub(crate) fn seal_parsed<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    inner: &IpPacket,
    packet: &mut PacketBuf<'_>,
) -> Result<Sealed, SealError> {
    #[cfg(any(not(target_os = "none"), ipsec_quick))]
    if let Some(quick) = Quick::new(sad, id, packet) {
        return quick.seal(sad, now, id, packet);
    }
    seal_general(sad, now, id, inner, packet)
}

#[inline(never)]
fn seal_general<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    inner: &IpPacket,
    packet: &mut PacketBuf<'_>,
) -> Result<Sealed, SealError> {
    if sad.outbound(id).is_some_and(|sa| sa.protection.protocol() == Protocol::Ah) {
        return ah::sign_parsed(sad, now, id, inner, packet);
    }
    let job = begin(sad, now, id, Content::Packet(inner), packet)?;
    at_once(sad, job, packet.payload_mut())
}

/// Does the work of a job that has just begun, so that its SA is still there, and completes the packet.
#[cfg_attr(not(target_os = "none"), inline(always))]
fn at_once<P: Provider>(
    sad: &Sad<'_, P>,
    job: SealJob,
    packet: &mut [u8],
) -> Result<Sealed, SealError> {
    job.run(sad, packet).map_err(SealError::Crypto)?;
    job.complete(packet)?;
    Ok(job.sealed)
}

/// Makes a dummy packet, which the receiver drops: to hide when there is traffic (RFC 4303 section 2.6).
///
/// What `packet` holds, of any length, is encrypted as its contents; it grows to the whole outer packet. Let dummies
/// have the lengths of true packets.
///
/// # Errors
/// See [`SealError`]; [`SealError::NotEsp`] for AH, which hides nothing.
pub fn seal_dummy<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    packet: &mut PacketBuf<'_>,
) -> Result<Sealed, SealError> {
    let job = begin(sad, now, id, Content::Dummy(packet.len()), packet)?;
    at_once(sad, job, packet.payload_mut())
}

/// A packet on its way through the provider. It borrows nothing.
///
/// A job that is dropped has spent its sequence number; the nonce is never used again.
#[must_use]
pub struct SealJob {
    sealed: Sealed,
    parts: Parts,
}

impl SealJob {
    /// The SA.
    pub const fn id(&self) -> OutboundId {
        self.sealed.id
    }

    /// The keys; `None` if the SA is gone.
    pub fn cipher<'s, P: Provider>(&self, sad: &'s Sad<'_, P>) -> Option<&'s P::Cipher> {
        Some(&sad.outbound(self.sealed.id)?.protection.esp()?.cipher)
    }

    /// What [`PacketCipher::seal`] is to do. `packet` is the packet as [`seal_begin`] left it; `None` if it is shorter.
    pub fn work<'a>(&'a self, packet: &'a mut [u8]) -> Option<Work<'a>> {
        self.parts.work(packet)
    }

    /// Does the work here and now.
    pub fn run<P: Provider>(&self, sad: &Sad<'_, P>, packet: &mut [u8]) -> Result<(), CryptoError> {
        match (self.cipher(sad), self.work(packet)) {
            (Some(cipher), Some(work)) => cipher.seal(work),
            _ => Err(CryptoError::Failed),
        }
    }

    /// Writes what depends on the ciphertext.
    fn complete(&self, packet: &mut [u8]) -> Result<(), SealError> {
        let end = self.parts.end();
        let packet = packet.get_mut(..end).ok_or(SealError::Crypto(CryptoError::Length))?;
        if self.sealed.encapsulation == Encapsulation::Udp {
            let udp_at = self.sealed.esp.start.saturating_sub(UdpHeader::LEN);
            write_udp_checksum(packet, &self.sealed.path, udp_at).ok_or(SealError::TooLong)?;
        }
        Ok(())
    }
}

/// What was made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The SA.
    pub id: OutboundId,
    /// Its SPI.
    pub spi: Spi,
    /// The packet's sequence number.
    pub sequence: u64,
    /// From where to where it goes.
    pub path: Path,
    /// Whether it has a UDP header.
    pub encapsulation: Encapsulation,
    /// What the outer header says about the way, for a program that has the kernel write that header.
    pub outer: OuterFields,
    /// ESP or AH.
    pub protocol: Protocol,
    /// Where in the outer packet the ESP packet lies, or AH with all that follows. With UDP, it is the payload of the
    /// datagram. (AH covers the outer header too: whoever sends it must send that one.)
    pub esp: Range<usize>,
}

impl Sealed {
    pub(crate) fn new<P: Provider>(
        id: OutboundId,
        protection: &Protection<P>,
        sequence: u64,
        layout: &Layout,
    ) -> Self {
        Self {
            id,
            spi: protection.spi,
            sequence,
            path: protection.path,
            encapsulation: protection.encapsulation,
            outer: layout.fields,
            protocol: protection.protocol(),
            esp: layout.header_at()..layout.total_len(),
        }
    }
}

/// Takes a sequence number and writes everything but the ciphertext and the ICV.
///
/// The packet grows to the whole outer packet. Bytes behind the IP packet, such as a link's padding, are cut off.
///
/// # Errors
/// See [`SealError`]; then neither the packet nor the SA has changed.
pub fn seal_begin<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    packet: &mut PacketBuf<'_>,
) -> Result<SealJob, SealError> {
    let inner = IpPacket::parse(packet.payload()).map_err(SealError::Inner)?;
    begin(sad, now, id, Content::Packet(&inner), packet)
}

#[cfg_attr(not(target_os = "none"), inline(always))]
fn begin<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    content: Content<'_>,
    packet: &mut PacketBuf<'_>,
) -> Result<SealJob, SealError> {
    let sa = sad.outbound(id).ok_or(SealError::NoSa)?;
    let protection = &sa.protection;
    let esp = protection.esp().ok_or(SealError::NotEsp)?;
    let layout = Layout::new(protection, content, packet.payload())?;
    layout.require_room(packet).map_err(SealError::NoRoom)?;

    let sequence = sa.sequence().saturating_add(1);
    let iv = PacketIv::new(esp, sequence).map_err(SealError::Crypto)?;
    let parts =
        Parts::new(protection, esp, sequence, iv.in_nonce(), layout.text_at()..layout.text_end())
            .ok_or(SealError::Crypto(CryptoError::Length))?;
    let sealed = Sealed::new(id, protection, sequence, &layout);
    take_sequence(sad, now, &sealed, parts.text.len())?;
    let identification = if layout.needs_id() { sad.next_identification(id) } else { None };

    // The checks above leave nothing that could fail from here on.
    layout
        .write(packet, &sealed.path, protocol::ESP, identification)
        .and_then(|()| write_esp(&layout, &sealed, iv.on_wire(), packet.payload_mut()))
        .ok_or(SealError::TooLong)?;
    Ok(SealJob { sealed, parts })
}

/// Takes the sequence number of `sealed`, and counts `bytes` against the SA's life.
#[cfg_attr(not(target_os = "none"), inline(always))]
pub(crate) fn take_sequence<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    sealed: &Sealed,
    bytes: usize,
) -> Result<(), SealError> {
    match sad.next_sequence(now, sealed.id, bytes) {
        Ok(_) => Ok(()),
        Err(why) => Err(sequence_error(why, sealed.spi, sealed.sequence)),
    }
}

/// Why the packet with this number is not sent.
#[cold]
pub(crate) fn sequence_error(why: SequenceError, spi: Spi, sequence: u64) -> SealError {
    let audit = Audit { spi: spi.get(), sequence };
    match why {
        SequenceError::Expired => SealError::Expired(audit),
        SequenceError::Overflow => SealError::SequenceOverflow(audit),
        SequenceError::Unreserved => SealError::Unreserved(audit),
        _ => SealError::NoSa,
    }
}

/// Writes header, IV and trailer.
fn write_esp(layout: &Layout, sealed: &Sealed, iv: &[u8], packet: &mut [u8]) -> Option<()> {
    let trailer_start = layout.text_end().checked_sub(layout.trailer_len)?;
    let trailer = packet.get_mut(trailer_start..layout.text_end())?;
    padding::write(trailer, layout.sent_next_header())?;
    let header = EspHeader::new(sealed.spi, sealed.sequence);
    let mut writer = Writer::new(packet.get_mut(layout.header_at()..layout.text_at())?);
    writer.bytes(header.as_bytes())?;
    writer.bytes(iv)
}

/// Completes a packet after the provider has answered `result`. `packet` is the one that the job worked on.
///
/// # Errors
/// [`SealError::NoSa`] if the SA went meanwhile, [`SealError::Crypto`] if the provider failed: the packet must not be
/// sent.
pub fn seal_finish<P: Provider>(
    sad: &Sad<'_, P>,
    job: SealJob,
    result: Result<(), CryptoError>,
    packet: &mut [u8],
) -> Result<Sealed, SealError> {
    if sad.outbound(job.sealed.id).is_none() {
        return Err(SealError::NoSa);
    }
    result.map_err(SealError::Crypto)?;
    job.complete(packet)?;
    Ok(job.sealed)
}

/// UDP over IPv6 has a checksum (RFC 8200 section 8.1). Over IPv4 it is zero (RFC 3948 section 2.1).
fn write_udp_checksum(packet: &mut [u8], path: &Path, udp_at: usize) -> Option<()> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (path.local.address, path.remote.address) else {
        return Some(());
    };
    let udp = packet.get_mut(udp_at..)?;
    let len = u32::try_from(udp.len()).ok()?;
    let sum = Checksum::new().pseudo_v6(from, to, protocol::UDP, len).bytes(udp).finish_udp();
    let (header, _) = UdpHeader::mut_from_prefix(udp).ok()?;
    header.checksum = sum.into();
    Some(())
}

/// The IV of one packet, on the wire or not.
struct PacketIv {
    bytes: [u8; MAX_NONCE],
    nonce_len: usize,
    wire_len: usize,
}

impl PacketIv {
    /// A counter IV is the sequence number, which is never used twice under one key.
    fn new<P: Provider>(esp: &EspTransform<P>, sequence: u64) -> Result<Self, CryptoError> {
        let shape = &esp.shape;
        let mut iv =
            Self { bytes: [0; MAX_NONCE], nonce_len: shape.nonce_iv_len, wire_len: shape.iv_len };
        let room = iv.bytes.get_mut(..shape.nonce_iv_len).ok_or(CryptoError::Length)?;
        match shape.iv {
            Iv::None => {}
            Iv::Counter | Iv::Implicit => {
                bytes::copy(room, &sequence.to_be_bytes()).ok_or(CryptoError::Length)?;
            }
            Iv::Unpredictable => esp.cipher.unpredictable_iv(sequence, room)?,
        }
        Ok(iv)
    }

    fn in_nonce(&self) -> &[u8] {
        self.bytes.get(..self.nonce_len).unwrap_or_default()
    }

    fn on_wire(&self) -> &[u8] {
        self.bytes.get(..self.wire_len).unwrap_or_default()
    }
}

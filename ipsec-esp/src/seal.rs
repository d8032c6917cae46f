//! From an IP packet to an ESP packet, in place (RFC 4303 section 3.3, tunnel mode).

use core::ops::Range;

use ipsec_core::bytes::{self, Writer};
use ipsec_core::crypto::suite::MAX_NONCE;
use ipsec_core::crypto::{CryptoError, Iv, PacketCipher, Provider, Work};
use ipsec_core::lifetime::Age;
use ipsec_core::packet::{NoRoom, PacketBuf};
use ipsec_core::path::Path;
use ipsec_core::sa::{Encapsulation, EspTransform, Protection, Spi};
use ipsec_core::sad::{OutboundId, Sad};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Checksum, IpPacket, UdpHeader, protocol};
use ipsec_core::{seq, wire};
use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use crate::error::{Audit, SealError};
use crate::mtu::Overhead;
use crate::padding;
use crate::parts::Parts;
use crate::tunnel::{self, OuterFields};
use crate::wire::EspHeader;

/// Seals the IP packet in `packet` with the SA `id`. The packet grows to the whole outer packet.
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
    let inner = IpPacket::parse(packet.payload()).map_err(SealError::Inner)?;
    seal_parsed(sad, now, id, &inner, packet)
}

/// [`seal`] of a packet that was parsed before.
pub(crate) fn seal_parsed<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    inner: &IpPacket,
    packet: &mut PacketBuf<'_>,
) -> Result<Sealed, SealError> {
    let job = begin(sad, now, id, inner, packet)?;
    let result = job.run(sad, packet.payload_mut());
    seal_finish(sad, job, result, packet.payload_mut())
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
    /// Where in the outer packet the ESP packet lies. With UDP, it is the payload of the datagram.
    pub esp: Range<usize>,
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
    begin(sad, now, id, &inner, packet)
}

fn begin<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    inner: &IpPacket,
    packet: &mut PacketBuf<'_>,
) -> Result<SealJob, SealError> {
    let sa = sad.outbound(id).ok_or(SealError::NoSa)?;
    let protection = &sa.protection;
    let esp = protection.esp().ok_or(SealError::NotEsp)?;
    let overhead = Overhead::of(protection);
    let plan = Plan::new(protection, inner, overhead)?;

    // Trailing bytes that are not part of the packet are room.
    let spare = packet.len().saturating_sub(inner.len);
    let tail = overhead.tailroom_for(inner.len);
    if packet.headroom() < overhead.headroom() || packet.tailroom().saturating_add(spare) < tail {
        return Err(SealError::NoRoom(NoRoom {
            needed_head: overhead.headroom(),
            needed_tail: tail,
            head: packet.headroom(),
            tail: packet.tailroom().saturating_add(spare),
        }));
    }

    let sequence = sa.sequence().saturating_add(1);
    let iv = PacketIv::new(esp, sequence).map_err(SealError::Crypto)?;
    let text_start = overhead.headroom();
    let text_end = plan.total_len.saturating_sub(overhead.icv);
    let parts = Parts::new(protection, esp, sequence, iv.in_nonce(), text_start..text_end)
        .ok_or(SealError::Crypto(CryptoError::Length))?;
    let sealed = Sealed {
        id,
        spi: protection.spi,
        sequence,
        path: protection.path,
        encapsulation: protection.encapsulation,
        outer: OuterFields::of(inner),
        esp: overhead.outer..plan.total_len,
    };
    let last = if protection.esn { u64::MAX } else { seq::MAX_SHORT };
    let exhausted = sa.sequence() >= last;

    match sad.next_sequence(now, id, text_end.saturating_sub(text_start)) {
        None => return Err(SealError::NoSa),
        Some((Age::Hard, _)) => {
            let audit = Audit { spi: sealed.spi.get(), sequence };
            return Err(if exhausted {
                SealError::SequenceOverflow(audit)
            } else {
                SealError::Expired(audit)
            });
        }
        Some(_) => {}
    }
    let identification =
        if sealed.outer.dont_fragment { None } else { sad.next_identification(id) };

    // The checks above leave nothing that could fail from here on.
    plan.grow(inner, packet).ok_or(SealError::TooLong)?;
    plan.write(&sealed, iv.on_wire(), identification, packet.payload_mut())
        .ok_or(SealError::TooLong)?;
    Ok(SealJob { sealed, parts })
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
    let packet = packet.get_mut(..job.parts.end()).ok_or(SealError::Crypto(CryptoError::Length))?;
    if job.sealed.encapsulation == Encapsulation::Udp && job.sealed.path.remote.address.is_ipv6() {
        write_udp_checksum(packet).ok_or(SealError::TooLong)?;
    }
    Ok(job.sealed)
}

/// UDP over IPv6 has a checksum (RFC 8200 section 8.1). Over IPv4 it is zero (RFC 3948 section 2.1).
fn write_udp_checksum(packet: &mut [u8]) -> Option<()> {
    let (ip, udp) = wire::Ipv6Header::mut_from_prefix(packet).ok()?;
    let len = u32::try_from(udp.len()).ok()?;
    let sum = Checksum::new()
        .pseudo_v6(ip.source(), ip.destination(), protocol::UDP, len)
        .bytes(udp)
        .finish_udp();
    let (header, _) = UdpHeader::mut_from_prefix(udp).ok()?;
    header.checksum = sum.into();
    Some(())
}

/// The layout of one outer packet.
struct Plan {
    overhead: Overhead,
    ip_len: usize,
    trailer_len: usize,
    total_len: usize,
    next_header: u8,
}

impl Plan {
    fn new<P: Provider>(
        protection: &Protection<P>,
        inner: &IpPacket,
        overhead: Overhead,
    ) -> Result<Self, SealError> {
        let Path { local, remote } = protection.path;
        let versions_differ = local.address.is_ipv4() != remote.address.is_ipv4();
        let port_missing = protection.encapsulation == Encapsulation::Udp && remote.port == 0;
        if versions_differ || port_missing {
            return Err(SealError::Path);
        }
        let ip_len =
            if remote.address.is_ipv4() { wire::Ipv4Header::LEN } else { wire::Ipv6Header::LEN };
        let total_len = overhead.sealed_len(inner.len);
        // IPv6 could carry 40 bytes more.
        if u16::try_from(total_len).is_err() {
            return Err(SealError::TooLong);
        }
        Ok(Self {
            overhead,
            ip_len,
            trailer_len: padding::trailer_len(inner.len, overhead.align),
            total_len,
            next_header: if inner.is_ipv4() { protocol::IPV4 } else { protocol::IPV6 },
        })
    }

    fn grow(&self, inner: &IpPacket, packet: &mut PacketBuf<'_>) -> Option<()> {
        packet.truncate(inner.len)?;
        packet.prepend(self.overhead.headroom()).ok()?;
        packet.append(self.trailer_len.saturating_add(self.overhead.icv)).ok()?;
        Some(())
    }

    fn write(
        &self,
        sealed: &Sealed,
        iv: &[u8],
        identification: Option<u16>,
        packet: &mut [u8],
    ) -> Option<()> {
        let (outer, esp) = packet.split_at_mut_checked(self.overhead.outer)?;
        let (ip, udp) = outer.split_at_mut_checked(self.ip_len)?;
        let (next, udp_len) = match sealed.encapsulation {
            Encapsulation::Ip => (protocol::ESP, 0),
            Encapsulation::Udp => {
                let ports = (sealed.path.local.port, sealed.path.remote.port);
                let header = UdpHeader::new(ports.0, ports.1, esp.len())?;
                bytes::copy(udp, header.as_bytes())?;
                (protocol::UDP, UdpHeader::LEN)
            }
        };
        let payload_len = udp_len.checked_add(esp.len())?;
        let class = sealed.outer.traffic_class;
        tunnel::write_outer(ip, &sealed.path, next, class, identification, payload_len)?;

        let trailer_end = esp.len().checked_sub(self.overhead.icv)?;
        let trailer_start = trailer_end.checked_sub(self.trailer_len)?;
        padding::write(esp.get_mut(trailer_start..trailer_end)?, self.next_header)?;
        let [_, _, _, _, low @ ..] = sealed.sequence.to_be_bytes();
        let header = EspHeader {
            spi: U32::new(sealed.spi.get()),
            sequence: U32::new(u32::from_be_bytes(low)),
        };
        let mut writer = Writer::new(esp);
        writer.bytes(header.as_bytes())?;
        writer.bytes(iv)
    }
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

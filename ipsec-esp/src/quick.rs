//! The packets that nearly all are, done without a look at what they are not: IPv4 in an IPv4 tunnel of ESP, under an AEAD
//! whose IV is a counter, such as AES-GCM. They are sealed for IP protocol 50, and opened however they came.
//!
//! It does what [`seal`](crate::seal) and [`open`](crate::open) do in general, in a quarter of the instructions. Where a packet
//! is another, or not as it should be, it says `None` before anything has changed, and the general way does it, or says why
//! not. Not on bare metal, where it would be flash for nothing, unless `--cfg ipsec_quick` asks for it: as the proof does
//! that no panic is linked.

use ipsec_core::crypto::{CryptoError, PacketCipher, Provider, Work};
use ipsec_core::packet::PacketBuf;
use ipsec_core::sa::{Encapsulation, InboundSa, Protocol, Spi};
use ipsec_core::sad::{OutboundId, Sad, SequenceError};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Ipv4Header, protocol};
use zerocopy::network_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zeroize::Zeroize;

use crate::error::SealError;
use crate::open::{Arrival, Begun};
use crate::padding;
use crate::seal::{Sealed, sequence_error};
use crate::tunnel::{self, OuterFields};
use crate::wire::EspHeader;

/// What is put before the packet.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Front {
    ip: Ipv4Header,
    esp: EspFront,
}

const FRONT_LEN: usize = size_of::<Front>();

/// What an ESP packet begins with.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EspFront {
    esp: EspHeader,
    iv: U64,
}

/// A first byte of IPv4 without options.
const VERSION_IHL: u8 = 0x45;

/// The nonce of one packet; wiped, since the salt is keying material.
#[derive(Zeroize)]
#[zeroize(drop)]
struct Nonce([u32; 3]);

impl Nonce {
    #[inline(always)]
    const fn new(salt: &[u8; 4], iv: &U64) -> Self {
        let [a, b, c, d, e, f, g, h] = iv.to_bytes();
        let (high, low) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
        Self([u32::from_ne_bytes(*salt), high, low])
    }
}

/// Such a packet, for which there is room.
pub(crate) struct Quick {
    /// The outer header.
    ip: Ipv4Header,
    len: usize,
    text_len: usize,
    total_len: usize,
}

impl Quick {
    /// `None` if it is not such a packet.
    #[inline(always)]
    pub(crate) fn new<P: Provider>(
        sad: &Sad<'_, P>,
        id: OutboundId,
        packet: &PacketBuf<'_>,
    ) -> Option<Self> {
        let sa = sad.outbound(id)?;
        let usual = sa.usual()?;
        let (inner, _) = Ipv4Header::ref_from_prefix(packet.payload()).ok()?;
        let len = usize::from(inner.total_len.get());
        if inner.version_ihl != VERSION_IHL || len < Ipv4Header::LEN {
            return None;
        }
        // Such ciphers have no blocks.
        let trailer_len = padding::trailer_len(len, padding::MIN_ALIGN);
        let text_len = len.wrapping_add(trailer_len);
        let tail = trailer_len.wrapping_add(sa.protection.esp()?.shape.icv_len);
        let whole = packet.reshaped(FRONT_LEN, len, tail)?;
        let total_len = whole.end.wrapping_sub(whole.start);
        Some(Self { ip: usual.header(inner, total_len)?, len, text_len, total_len })
    }

    /// Seals it. What [`new`](Self::new) has seen leaves nothing that could fail but the sequence number and the provider;
    /// the other errors stand for what cannot be.
    #[inline(always)]
    pub(crate) fn seal<P: Provider>(
        self,
        sad: &mut Sad<'_, P>,
        now: Instant,
        id: OutboundId,
        packet: &mut PacketBuf<'_>,
    ) -> Result<Sealed, SealError> {
        let Self { ip, len, text_len, total_len } = self;
        let sa = match sad.next_sequence(now, id, text_len) {
            Ok(sa) => sa,
            Err(why) => return Err(refused(sad, id, why)),
        };
        let (protection, sequence) = (&sa.protection, sa.sequence());
        let keys = protection.esp().ok_or(SealError::NotEsp)?;
        let salt = keys.salt_of_counter().ok_or(SealError::NotEsp)?;
        let tail = total_len.wrapping_sub(len).wrapping_sub(FRONT_LEN);
        let whole = packet.reshape(FRONT_LEN, len, tail).ok_or(SealError::TooLong)?;
        let (front, rest) = Front::mut_from_prefix(whole).map_err(|_| SealError::TooLong)?;
        let (text, icv) = rest.split_at_mut_checked(text_len).ok_or(SealError::TooLong)?;
        text.get_mut(len..)
            .and_then(|trailer| padding::write(trailer, protocol::IPV4))
            .ok_or(SealError::TooLong)?;
        let esp = EspHeader::new(protection.spi, sequence);
        *front = Front { ip, esp: EspFront { esp, iv: U64::new(sequence) } };
        let nonce = Nonce::new(salt, &front.esp.iv);
        let extended;
        let head = if protection.esn {
            extended = extended_head(protection.spi, sequence);
            &extended[..]
        } else {
            front.esp.esp.as_bytes()
        };
        let work = Work { nonce: nonce.0.as_bytes(), head, text, tail: &[], icv };
        keys.cipher.seal(work).map_err(SealError::Crypto)?;
        Ok(Sealed {
            id,
            spi: protection.spi,
            sequence,
            path: protection.path,
            encapsulation: Encapsulation::Ip,
            outer: OuterFields {
                traffic_class: ip.tos,
                dont_fragment: true,
                hop_limit: ip.ttl,
                flow_label: 0,
            },
            protocol: Protocol::Esp,
            esp: Ipv4Header::LEN..total_len,
        })
    }
}

/// Why a packet is not sent after all.
#[cold]
fn refused<P: Provider>(sad: &Sad<'_, P>, id: OutboundId, why: SequenceError) -> SealError {
    match sad.outbound(id) {
        Some(sa) => sequence_error(why, sa.protection.spi, sa.sequence().saturating_add(1)),
        None => SealError::NoSa,
    }
}

/// Finds the SA of such a packet, and has the provider verify and decrypt it.
#[inline(always)]
pub(crate) fn verify<P: Provider>(
    sad: &Sad<'_, P>,
    arrival: &Arrival,
    packet: &mut [u8],
) -> Option<(Begun, Result<(), CryptoError>)> {
    let (end, at) = (packet.len(), arrival.before.len());
    let (front, rest) = EspFront::mut_from_prefix(packet.get_mut(at..)?).ok()?;
    let spi = Spi::new(front.esp.spi.get())?;
    let receiver = sad.receiver(Protocol::Esp, spi, &arrival.path)?;
    let protection = &receiver.sa.protection;
    let keys = protection.esp()?;
    let nonce = Nonce::new(keys.salt_of_counter()?, &front.iv);
    receiver.sa.usual()?;
    let icv_len = keys.shape.icv_len;
    if rest.len() <= icv_len {
        return None;
    }
    let text_len = rest.len().wrapping_sub(icv_len);
    let sequence = receiver.sequence(front.esp.sequence.get());
    if text_len & padding::MIN_ALIGN.wrapping_sub(1) != 0
        || receiver.check_replay(sequence).is_err()
    {
        return None;
    }
    let (text, icv) = rest.split_at_mut_checked(text_len)?;
    let extended;
    let head = if protection.esn {
        extended = extended_head(spi, sequence);
        &extended[..]
    } else {
        front.esp.as_bytes()
    };
    let work = Work { nonce: nonce.0.as_bytes(), head, text, tail: &[], icv };
    let result = keys.cipher.open(work);
    let start = at.wrapping_add(size_of::<EspFront>());
    let text_end = start.wrapping_add(text_len);
    Some((Begun { id: receiver.id, spi, sequence, text_at: start, text_end, end }, result))
}

/// The length of the packet in a decrypted `text`, if it is one of IPv4 without options, may pass, and stays as it is.
#[inline(always)]
pub(crate) fn inner_len<P: Provider>(
    sa: &InboundSa<P>,
    arrival: &Arrival,
    text: &[u8],
) -> Option<usize> {
    let usual = sa.usual()?;
    let (payload_len, next_header) = padding::strip(text)?;
    let (header, _) = Ipv4Header::ref_from_prefix(text).ok()?;
    let len = usize::from(header.total_len.get());
    let passes = next_header == protocol::IPV4
        && header.version_ihl == VERSION_IHL
        && (Ipv4Header::LEN..=payload_len).contains(&len)
        && !header.more_fragments()
        && header.fragment_offset() == 0
        && usual.matches(header.source(), header.destination())
        && tunnel::ecn_is_quiet(header.tos, arrival.traffic_class);
    passes.then_some(len)
}

/// What is authenticated besides, with extended sequence numbers (RFC 4106 section 5).
#[inline(always)]
const fn extended_head(spi: Spi, sequence: u64) -> [u8; 12] {
    let [s, p, i, n] = spi.to_be_bytes();
    let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
    [s, p, i, n, a, b, c, d, e, f, g, h]
}

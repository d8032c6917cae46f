//! The packets that nearly all are, sealed without a look at what they are not: IPv4 in an IPv4 tunnel of ESP, as IP
//! protocol 50, under a cipher whose IV is a counter. It does what [`seal`](crate::seal) does in general, in a third of the
//! instructions. Not on bare metal, where it would
//! be flash for nothing, unless `--cfg ipsec_quick` asks for it: as the proof does that no panic is linked.

use core::net::IpAddr;

use ipsec_core::crypto::{Iv, PacketCipher, Provider, Work};
use ipsec_core::mode::Mode;
use ipsec_core::packet::PacketBuf;
use ipsec_core::sa::{Encapsulation, Protocol};
use ipsec_core::sad::{OutboundId, Sad};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Ipv4Header, protocol};
use zerocopy::network_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zeroize::Zeroize;

use crate::error::SealError;
use crate::padding;
use crate::seal::{Sealed, sequence_error};
use crate::tunnel::OuterFields;
use crate::wire::EspHeader;

/// What is put before the packet.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Front {
    ip: Ipv4Header,
    esp: EspHeader,
    iv: U64,
}

const FRONT_LEN: usize = size_of::<Front>();
const SALT_LEN: usize = 4;

/// A first byte of IPv4 without options.
const VERSION_IHL: u8 = 0x45;

/// The nonce of one packet; wiped, since the salt is keying material.
#[derive(Zeroize)]
#[zeroize(drop)]
struct Nonce([u32; 3]);

/// Seals such a packet. `None` if it is not one, or if it is not as it should be: nothing has changed then, and the general
/// way does it, or says why not.
#[inline(always)]
pub(crate) fn seal<P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    id: OutboundId,
    packet: &mut PacketBuf<'_>,
) -> Option<Result<Sealed, SealError>> {
    let sa = sad.outbound(id)?;
    let protection = &sa.protection;
    let esp = protection.esp()?;
    let Mode::Tunnel(tunnel) = &protection.mode else { return None };
    let (IpAddr::V4(from), IpAddr::V4(to)) =
        (protection.path.local.address, protection.path.remote.address)
    else {
        return None;
    };
    let shape = &esp.shape;
    let (icv_len, esn, spi, next) =
        (shape.icv_len, protection.esn, protection.spi, sa.sequence().wrapping_add(1));
    if shape.iv != Iv::Counter
        || shape.salt_len != SALT_LEN
        || protection.encapsulation != Encapsulation::Ip
        || esn && !shape.aead
        || tunnel.pad_to != 0
    {
        return None;
    }

    let (inner, _) = Ipv4Header::ref_from_prefix(packet.payload()).ok()?;
    let len = usize::from(inner.total_len.get());
    let outer = OuterFields::of_fields(inner.tos, inner.dont_fragment(), 0, tunnel);
    if inner.version_ihl != VERSION_IHL || len < Ipv4Header::LEN || !outer.dont_fragment {
        return None;
    }
    // Such ciphers have no blocks.
    let trailer_len = padding::trailer_len(len, padding::MIN_ALIGN);
    let text_len = len.wrapping_add(trailer_len);
    let behind_ip =
        FRONT_LEN.wrapping_add(text_len).wrapping_add(icv_len).wrapping_sub(Ipv4Header::LEN);
    let ip =
        Ipv4Header::new(from, to, protocol::ESP, outer.traffic_class, outer.hop_limit, behind_ip)?;
    let was = packet.range();
    let whole = packet.reshape(FRONT_LEN, len, trailer_len.wrapping_add(icv_len))?;
    let sequence = match sad.next_sequence(now, id, text_len) {
        Ok((_, sequence)) => sequence,
        Err(why) => {
            packet.restore(was);
            return Some(Err(sequence_error(why, spi, next)));
        }
    };

    // The checks above leave nothing that could fail from here on, but the provider.
    let (front, rest) = Front::mut_from_prefix(whole).ok()?;
    let iv = U64::new(sequence);
    let [high, low] = <[U32; 2]>::read_from_bytes(iv.as_bytes()).ok()?;
    let header = EspHeader { spi: U32::new(spi.get()), sequence: low };
    *front = Front { ip, esp: header, iv };
    let (text, icv) = rest.split_at_mut_checked(text_len)?;
    padding::write(text.get_mut(len..)?, protocol::IPV4)?;

    let protection = &sad.outbound(id)?.protection;
    let esp = protection.esp()?;
    let nonce = Nonce([
        u32::from_ne_bytes(*esp.salt().first_chunk()?),
        u32::from_ne_bytes(*high.as_bytes().first_chunk()?),
        u32::from_ne_bytes(*low.as_bytes().first_chunk()?),
    ]);
    let extended = [header.spi, high, low];
    let head = if esn { extended.as_bytes() } else { header.as_bytes() };
    let work = Work { nonce: nonce.0.as_bytes(), head, text, tail: &[], icv };
    Some(match esp.cipher.seal(work) {
        Ok(()) => Ok(Sealed {
            id,
            spi,
            sequence,
            path: protection.path,
            encapsulation: Encapsulation::Ip,
            outer,
            protocol: Protocol::Esp,
            esp: Ipv4Header::LEN..Ipv4Header::LEN.wrapping_add(behind_ip),
        }),
        Err(e) => Err(SealError::Crypto(e)),
    })
}

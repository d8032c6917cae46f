//! BEET mode: the inner IP header is made again from the outer one and the SA's addresses
//! (draft-nikander-esp-beet-mode, in the form that Linux gives it).
//!
//! IPv4 options travel behind a pseudo header:
//!
//! ```text
//! +---------------+---------------+---------------+---------------+
//! |  next header  |  header len.  |  padding len. |   reserved    |
//! +---------------+---------------+---------------+---------------+
//! |       padding, 0 or 4 bytes of no-operation options           |
//! +---------------+---------------+---------------+---------------+
//! |                           options                             |
//! +---------------+---------------+---------------+---------------+
//! ```
//!
//! The header length counts units of 8 bytes behind the first, as in IPv6.

use core::net::IpAddr;
use core::ops::Range;

use ipsec_core::bytes;
use ipsec_core::mode::AddressPair;
use ipsec_core::wire::{Ipv4Header, Ipv6Header, protocol};
use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use crate::transport;
use crate::tunnel::OuterFields;
use crate::wire::options;

/// Bytes of the pseudo header without padding.
const PSEUDO: usize = 4;
/// The most options that IPv4 can have.
const MAX_OPTIONS: usize = 40;

/// Bytes of pseudo header and padding before `options_len` bytes of options.
pub(crate) const fn pseudo_len(options_len: usize) -> usize {
    if options_len == 0 {
        0
    } else if options_len & 4 == 0 {
        PSEUDO + 4
    } else {
        PSEUDO
    }
}

/// Writes the pseudo header for `options_len` bytes of options into `room`, which has [`pseudo_len`] bytes.
pub(crate) fn write_pseudo(room: &mut [u8], options_len: usize, next: u8) -> Option<()> {
    let (header, padding) = room.split_first_chunk_mut::<PSEUDO>()?;
    let units = u8::try_from(options_len >> 3).ok()?;
    *header = [next, units, u8::try_from(padding.len()).ok()?, 0];
    padding.fill(options::NOP);
    Some(())
}

/// What is behind a pseudo header: the length of header and padding, that of the options, and the next header. `None`
/// if the lengths contradict.
fn read_pseudo(payload: &[u8]) -> Option<(usize, usize, u8)> {
    let [next, units, padding_len, _] = *payload.first_chunk::<PSEUDO>()?;
    let len = PSEUDO.checked_add(padding_len.into())?;
    let all = usize::from(units).checked_add(1)? << 3;
    let options_len = all.checked_sub(len)?;
    let fits = options_len <= MAX_OPTIONS && options_len & 3 == 0;
    payload.get(..all)?;
    fits.then_some((len, options_len, next))
}

/// Writes an inner header before `payload` and gives the range of the whole packet. Where the room before the payload
/// is too small, the payload is moved towards `limit`. `None` if it is malformed, or there is no room.
pub(crate) fn restore(
    packet: &mut [u8],
    addresses: &AddressPair,
    outer: &OuterFields,
    id: u16,
    mut payload: Range<usize>,
    mut next: u8,
    limit: usize,
) -> Option<Range<usize>> {
    let mut options_len = 0;
    if addresses.remote.is_ipv4() && next == protocol::BEET {
        let len;
        (len, options_len, next) = read_pseudo(packet.get(payload.clone())?)?;
        payload.start = payload.start.checked_add(len)?;
    }
    // The peer's packet: from it to us.
    let fields = OuterFields { dont_fragment: true, ..*outer };
    let range = prepend(packet, addresses.remote, addresses.local, &fields, next, payload, limit)?;
    if addresses.remote.is_ipv4() {
        let bytes = packet.get_mut(range.clone())?;
        let header_len = Ipv4Header::LEN.checked_add(options_len)?;
        {
            let (header, _) = Ipv4Header::mut_from_prefix(bytes).ok()?;
            header.version_ihl = 0x40 | u8::try_from(header_len >> 2).ok()?;
            header.id = U16::new(id);
            if !outer.dont_fragment {
                header.flags_offset = U16::ZERO;
            }
        }
        let payload_len = bytes.len().checked_sub(header_len)?;
        transport::patch(bytes, header_len, next, payload_len)?;
    }
    Some(range)
}

/// Writes an IP header before `payload` and gives the range of the whole packet. Where the room before the payload is
/// too small, the payload is moved towards `limit`. `None` if that does not suffice.
pub(crate) fn prepend(
    packet: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    fields: &OuterFields,
    next: u8,
    payload: Range<usize>,
    limit: usize,
) -> Option<Range<usize>> {
    let header_len = if source.is_ipv4() { Ipv4Header::LEN } else { Ipv6Header::LEN };
    let start = payload.start.saturating_sub(header_len);
    let new_start = start.checked_add(header_len)?;
    let end = new_start.checked_add(payload.len())?;
    if new_start != payload.start {
        if end > limit {
            return None;
        }
        bytes::move_within(packet, payload.start, new_start, payload.len())?;
    }
    let room = packet.get_mut(start..new_start)?;
    fields.write(room, source, destination, next, None, payload.len())?;
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pseudo_header_of_every_length() {
        for options_len in (4..=40).step_by(4) {
            let mut bytes = [0xee; 60];
            let len = pseudo_len(options_len);
            assert_eq!((len + options_len) % 8, 0);
            write_pseudo(&mut bytes[..len], options_len, 17).unwrap();
            assert_eq!(read_pseudo(&bytes), Some((len, options_len, 17)));
            assert_eq!(read_pseudo(&bytes[..len + options_len - 1]), None);
        }
        assert_eq!(pseudo_len(0), 0);
    }

    #[test]
    fn a_pseudo_header_that_lies_is_refused() {
        let mut bytes = [0; 300];
        // 48 bytes of options; padding beyond the header; options that are no multiple of 4.
        for lie in [[17, 6, 4, 0], [17, 0, 5, 0], [17, 0, 255, 0], [17, 1, 1, 0], [17, 255, 0, 0]] {
            bytes[..4].copy_from_slice(&lie);
            assert_eq!(read_pseudo(&bytes), None, "{lie:?}");
        }
        assert_eq!(read_pseudo(&[17, 0, 4]), None);
    }
}

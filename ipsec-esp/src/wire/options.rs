//! Options of IPv4 (RFC 791 section 3.1) and of IPv6 extension headers (RFC 8200 section 4.2), and the headers
//! themselves.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use ipsec_core::wire::ipv6::{FragmentHeader, MAX_EXTENSIONS};
use ipsec_core::wire::{IpError, Ipv4Header, Ipv6Header, protocol};

/// IPv4 option: end of the list.
pub(crate) const END: u8 = 0;
/// IPv4 option: nothing.
pub(crate) const NOP: u8 = 1;
/// IPv4 option: loose source and record route.
pub(crate) const LSRR: u8 = 131;
/// IPv4 option: strict source and record route.
pub(crate) const SSRR: u8 = 137;
/// IPv6 option: one byte of padding, the only option without a length.
const PAD1: u8 = 0;

/// Names each option of an IPv4 header: its type, and where it lies in `options`. Ends behind an end of the list. `None`
/// if a length is less than 2, or reaches beyond the header.
pub(crate) fn each_v4(options: &[u8], mut each: impl FnMut(u8, Range<usize>)) -> Option<()> {
    let mut at = 0usize;
    while let Some(&kind) = options.get(at) {
        let len = match kind {
            END => return Some(()),
            NOP => 1,
            _ => usize::from(*options.get(at.saturating_add(1))?),
        };
        let end = at.checked_add(len)?;
        if kind != NOP && len < 2 || end > options.len() {
            return None;
        }
        each(kind, at..end);
        at = end;
    }
    Some(())
}

/// Names each option of a hop-by-hop or destination options header: its type, and where in `header` its data lies.
/// `None` if an option reaches beyond the header.
pub(crate) fn each_v6(header: &[u8], mut each: impl FnMut(u8, Range<usize>)) -> Option<()> {
    let mut at = 2usize;
    while let Some(&kind) = header.get(at) {
        if kind == PAD1 {
            at = at.checked_add(1)?;
            continue;
        }
        let len = usize::from(*header.get(at.checked_add(1)?)?);
        let data = at.checked_add(2)?;
        let end = data.checked_add(len)?;
        header.get(data..end)?;
        each(kind, data..end);
        at = end;
    }
    Some(())
}

/// One IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    /// Its protocol number.
    pub(crate) protocol: u8,
    /// Where in the packet it lies.
    pub(crate) range: Range<usize>,
}

/// Goes through the extension headers of an IPv6 packet, up to the first other one.
pub(crate) struct Extensions<'a> {
    packet: &'a [u8],
    next: u8,
    at: usize,
    left: usize,
}

impl<'a> Extensions<'a> {
    /// Of the packet at the front of `packet`.
    pub(crate) fn new(packet: &'a [u8]) -> Result<Self, IpError> {
        let header = Ipv6Header::parse(packet)?.header;
        Ok(Self { packet, next: header.next_header, at: Ipv6Header::LEN, left: MAX_EXTENSIONS })
    }
}

impl Iterator for Extensions<'_> {
    type Item = Result<Extension, IpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let protocol = self.next;
        if !matches!(
            protocol,
            protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::DESTINATION_OPTIONS
                | protocol::FRAGMENT
        ) {
            return None;
        }
        let found = self.left.checked_sub(1).and_then(|left| {
            self.left = left;
            let ([next, len], _) = self.packet.get(self.at..)?.split_first_chunk::<2>()?;
            let len = match protocol {
                protocol::FRAGMENT => FragmentHeader::LEN,
                _ => usize::from(*len).saturating_add(1) << 3,
            };
            let end = self.at.checked_add(len)?;
            self.packet.get(self.at..end)?;
            let range = self.at..end;
            self.at = end;
            self.next = *next;
            Some(Extension { protocol, range })
        });
        if found.is_none() {
            self.next = protocol::NONE;
        }
        Some(found.ok_or(IpError::Extension))
    }
}

/// A routing header whose route can be foretold: type 0, which no router follows any more (RFC 5095), and type 2 of
/// Mobile IPv6 (RFC 6275 section 6.4), which have the same form.
pub(crate) struct Route {
    /// Segments that are left.
    pub(crate) left: usize,
    /// Addresses in all.
    pub(crate) addresses: usize,
}

impl Route {
    /// Bytes before the first address.
    pub(crate) const ADDRESSES: usize = 8;

    /// Reads a routing header. `Ok(None)` if no segment is left: then nothing of it will change any more.
    ///
    /// # Errors
    /// [`IpError::Extension`] if segments are left and the type is another one, or the lengths contradict.
    pub(crate) fn parse(header: &[u8]) -> Result<Option<Self>, IpError> {
        let ([_, len, kind, left, ..], _) =
            header.split_first_chunk::<8>().ok_or(IpError::Extension)?;
        let (left, addresses) = (usize::from(*left), usize::from(*len) >> 1);
        if left == 0 {
            return Ok(None);
        }
        if !matches!(kind, 0 | 2) || len & 1 != 0 || left > addresses {
            return Err(IpError::Extension);
        }
        Ok(Some(Self { left, addresses }))
    }
}

/// Where a packet is to end: the last address of a source route (RFC 791 section 3.1) or of a routing header that is
/// not yet used up, otherwise the destination address.
///
/// # Errors
/// [`IpError`] if options or extension headers are malformed.
pub(crate) fn final_destination(packet: &[u8]) -> Result<IpAddr, IpError> {
    if packet.first().is_some_and(|b| b >> 4 == 4) {
        let ip = Ipv4Header::parse(packet)?;
        let mut destination = ip.header.destination();
        each_v4(ip.options, |kind, range| {
            if let Some(last) = last_hop(kind, ip.options.get(range).unwrap_or_default()) {
                destination = last;
            }
        })
        .ok_or(IpError::Length)?;
        return Ok(destination.into());
    }
    let mut destination = Ipv6Header::parse(packet)?.header.destination();
    for extension in Extensions::new(packet)? {
        let extension = extension?;
        let bytes = packet.get(extension.range).unwrap_or_default();
        if extension.protocol == protocol::ROUTING && Route::parse(bytes)?.is_some() {
            let last = bytes.last_chunk::<16>().ok_or(IpError::Extension)?;
            destination = Ipv6Addr::from(*last);
        }
    }
    Ok(destination.into())
}

/// The last address of a source route whose pointer has not passed it.
pub(crate) fn last_hop(kind: u8, option: &[u8]) -> Option<Ipv4Addr> {
    let [_, len, pointer, .., a, b, c, d] = option else { return None };
    let used_up = pointer > len;
    (matches!(kind, LSRR | SSRR) && !used_up).then(|| Ipv4Addr::new(*a, *b, *c, *d))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    #[test]
    fn ipv4_options_are_walked() {
        let seen = |options: &[u8]| {
            let mut seen = Vec::new();
            each_v4(options, |kind, range| seen.push((kind, range))).map(|()| seen)
        };
        assert_eq!(
            seen(&[1, 148, 4, 0, 0, 7, 3, 9, 0, 99]).unwrap(),
            [(1, 0..1), (148, 1..5), (7, 5..8)]
        );
        assert_eq!(seen(&[]), Some(Vec::new()));
        for lie in [&[148][..], &[148, 0], &[148, 1], &[148, 3], &[1, 1, 7, 255, 0, 0, 0, 0]] {
            assert_eq!(seen(lie), None, "{lie:?}");
        }
    }

    #[test]
    fn ipv6_options_are_walked() {
        let seen = |header: &[u8]| {
            let mut seen = Vec::new();
            each_v6(header, |kind, range| seen.push((kind, range))).map(|()| seen)
        };
        assert_eq!(seen(&[59, 0, 0x3e, 2, 7, 7, 0, 0]).unwrap(), [(0x3e, 4..6)]);
        assert_eq!(seen(&[59, 0, 1, 4, 0, 0, 0, 0]).unwrap(), [(1, 4..8)]);
        for lie in
            [&[59, 0, 1, 5, 0, 0, 0, 0], &[59, 0, 0, 0, 0, 0, 0, 1], &[59, 0, 9, 255, 0, 0, 0, 0]]
        {
            assert_eq!(seen(lie), None, "{lie:?}");
        }
    }

    #[test]
    fn a_source_route_has_an_end() {
        let option = [LSRR, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(last_hop(LSRR, &option), Some([5, 6, 7, 8].into()));
        let used_up = [LSRR, 7, 8, 1, 2, 3, 4];
        assert_eq!(last_hop(LSRR, &used_up), None);
        assert_eq!(last_hop(7, &option), None);
        assert_eq!(last_hop(LSRR, &[LSRR, 3, 4]), None);
    }

    #[test]
    fn routes_that_lie_are_refused() {
        // RFC 5095: type 0 is only foretold, not followed.
        let header = |kind: u8, len: u8, left: u8| [59, len, kind, left, 0, 0, 0, 0];
        assert!(matches!(Route::parse(&header(0, 2, 0)), Ok(None)));
        assert!(matches!(Route::parse(&header(4, 2, 0)), Ok(None)));
        assert!(matches!(Route::parse(&header(2, 2, 1)), Ok(Some(_))));
        for (kind, len, left) in [(4, 2, 1), (0, 2, 2), (0, 3, 1), (0, 0, 1), (3, 4, 1)] {
            assert!(Route::parse(&header(kind, len, left)).is_err(), "{kind} {len} {left}");
        }
        assert!(Route::parse(&[59, 0, 0]).is_err());
    }
}

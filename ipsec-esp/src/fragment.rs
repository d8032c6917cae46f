//! Fragmentation of one sealed packet, for a path on which it does not fit (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! ESP is applied first and its packet fragmented after (RFC 4303 section 3.3.4). An IPv6 packet is fragmented only by
//! its sender, which a tunnel's end is for the outer packet.

use ipsec_core::bytes::{self, Writer};
use ipsec_core::wire::{Fragment, IpError, IpPacket, Ipv4Header, Ipv6Header, protocol};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of IPv6's fragment header.
const V6_FRAGMENT: usize = 8;
/// Offsets are in units of this.
const UNIT: usize = 8;
const MORE_V4: u16 = 0x2000;
const DONT_V4: u16 = 0x4000;
const MORE_V6: u16 = 1;

/// Why a packet is not fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FragmentError {
    /// Local: the packet is malformed.
    Packet(IpError),
    /// Local: the packet says that it must not be fragmented.
    DontFragment,
    /// Local: it is a fragment already, or has options or extension headers, which an outer packet of ours has not.
    NotWhole,
    /// Local: not even eight bytes fit behind the header.
    Mtu,
}

impl core::fmt::Display for FragmentError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Packet(e) => e.fmt(f),
            Self::DontFragment => f.write_str("the packet must not be fragmented"),
            Self::NotWhole => f.write_str("the packet is a fragment, or has options"),
            Self::Mtu => f.write_str("the MTU leaves no room for a fragment"),
        }
    }
}

impl core::error::Error for FragmentError {}

/// The fragments of one packet, made one at a time: no memory but the caller's.
pub struct Fragments<'p> {
    packet: &'p [u8],
    v4: bool,
    /// Bytes of payload in every fragment but the last.
    step: usize,
    /// Bytes of payload that have been handed out.
    done: usize,
    /// The identification of an IPv6 packet.
    identification: u32,
}

impl<'p> Fragments<'p> {
    /// Fragments of `packet`, a whole outer IP packet as sealing made it, of at most `mtu` bytes each.
    ///
    /// `identification` is for IPv6: one that the caller has not used lately between these two addresses. An IPv4 packet
    /// has its own. A packet that fits is handed out as it is.
    pub fn new(packet: &'p [u8], mtu: usize, identification: u32) -> Result<Self, FragmentError> {
        let ip = IpPacket::parse(packet).map_err(FragmentError::Packet)?;
        let packet = packet.get(..ip.len).ok_or(FragmentError::Packet(IpError::Truncated))?;
        let v4 = ip.is_ipv4();
        let header = if v4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
        if packet.len() <= mtu {
            return Ok(Self { packet, v4, step: usize::MAX, done: 0, identification });
        }
        if ip.fragment != Fragment::Whole || ip.upper != header {
            return Err(FragmentError::NotWhole);
        }
        if v4 && ip.dont_fragment {
            return Err(FragmentError::DontFragment);
        }
        let overhead = if v4 { header } else { header + V6_FRAGMENT };
        let step = mtu.saturating_sub(overhead) / UNIT * UNIT;
        if step == 0 {
            return Err(FragmentError::Mtu);
        }
        Ok(Self { packet, v4, step, done: 0, identification })
    }

    /// Bytes that a buffer for [`Fragments::next_into`] needs.
    pub fn buffer_len(&self) -> usize {
        let overhead = if self.v4 { Ipv4Header::LEN } else { Ipv6Header::LEN + V6_FRAGMENT };
        overhead.saturating_add(self.step).min(self.packet.len())
    }

    /// Writes the next fragment to the front of `out` and gives its length; `None` after the last.
    ///
    /// # Errors
    /// The number of bytes that are needed, if `out` is shorter; nothing has changed.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<Result<usize, usize>> {
        if self.step == usize::MAX {
            if self.done > 0 {
                return None;
            }
            let needed = self.packet.len();
            if bytes::copy_prefix(out, self.packet).is_none() {
                return Some(Err(needed));
            }
            self.done = needed;
            return Some(Ok(needed));
        }
        let header = if self.v4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
        let rest = self.packet.get(header..)?.get(self.done..).filter(|rest| !rest.is_empty())?;
        let part = rest.get(..self.step).unwrap_or(rest);
        let more = part.len() < rest.len();
        let overhead = if self.v4 { header } else { header.saturating_add(V6_FRAGMENT) };
        let needed = overhead.saturating_add(part.len());
        if out.len() < needed {
            return Some(Err(needed));
        }
        let written =
            if self.v4 { self.write_v4(part, more, out) } else { self.write_v6(part, more, out) };
        self.done = self.done.saturating_add(part.len());
        written.map(Ok)
    }

    fn write_v4(&self, part: &[u8], more: bool, out: &mut [u8]) -> Option<usize> {
        let (mut header, _) = Ipv4Header::read_from_prefix(self.packet).ok()?;
        let len = Ipv4Header::LEN.checked_add(part.len())?;
        let offset = u16::try_from(self.done / UNIT).ok()?;
        header.total_len.set(u16::try_from(len).ok()?);
        header.flags_offset.set(offset & !DONT_V4 | if more { MORE_V4 } else { 0 });
        header.update_checksum();
        let mut w = Writer::new(out);
        w.bytes(header.as_bytes())?;
        w.bytes(part)?;
        Some(w.len())
    }

    fn write_v6(&self, part: &[u8], more: bool, out: &mut [u8]) -> Option<usize> {
        let (mut header, _) = Ipv6Header::read_from_prefix(self.packet).ok()?;
        let next = header.next_header;
        header.payload_len.set(u16::try_from(V6_FRAGMENT.checked_add(part.len())?).ok()?);
        header.next_header = protocol::FRAGMENT;
        let offset = u16::try_from(self.done).ok()?;
        let mut w = Writer::new(out);
        w.bytes(header.as_bytes())?;
        w.bytes(&[next, 0])?;
        w.u16(offset | if more { MORE_V6 } else { 0 })?;
        w.u32(self.identification)?;
        w.bytes(part)?;
        Some(w.len())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::reassembly::{Reassembled, Reassembler, ReassemblySlot};
    use ipsec_core::time::Instant;

    fn v4(len: usize) -> Vec<u8> {
        let header =
            Ipv4Header::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::ESP, 0, 64, len);
        let header = header.unwrap().fragmentable(77);
        let payload: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        [header.as_bytes(), &payload].concat()
    }

    fn v6(len: usize) -> Vec<u8> {
        let (a, b) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let header = Ipv6Header::new(a, b, protocol::ESP, 0, 64, len).unwrap();
        let payload: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        [header.as_bytes(), &payload].concat()
    }

    fn all(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let mut fragments = Fragments::new(packet, mtu, 0xabcd).unwrap();
        let mut out = std::vec![0; fragments.buffer_len()];
        let mut list = Vec::new();
        while let Some(len) = fragments.next_into(&mut out) {
            list.push(out[..len.unwrap()].to_vec());
        }
        list
    }

    #[test]
    fn fragments_fit_and_make_the_packet_again_in_any_order() {
        for packet in [v4(1400), v4(3000), v6(1500), v6(2999)] {
            for mtu in [100, 576, 1280, 1499] {
                let mut list = all(&packet, mtu);
                assert!(list.iter().all(|f| f.len() <= mtu && IpPacket::parse(f).is_ok()));
                assert!(packet.len() <= mtu || list.len() > 1);
                for turn in 0..2 {
                    let mut slots = [ReassemblySlot::EMPTY];
                    let mut buffer = [0; 4096];
                    let mut r = Reassembler::new(&mut slots, &mut buffer);
                    let mut done = None;
                    for f in &list {
                        match r.accept(Instant::ZERO, f) {
                            Ok(Reassembled::Complete(whole)) => done = Some(whole.to_vec()),
                            Ok(Reassembled::NotAFragment) => done = Some(f.clone()),
                            Ok(Reassembled::Waiting) => {}
                            Err(e) => panic!("{e:?}"),
                        }
                    }
                    let done = done.unwrap();
                    // The flags of the header are those of no fragment; all else is the packet.
                    assert_eq!(done.len(), packet.len(), "turn {turn}");
                    let header =
                        if packet[0] >> 4 == 4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
                    assert_eq!(done[header..], packet[header..]);
                    list.reverse();
                }
            }
        }
    }

    #[test]
    fn what_must_not_be_fragmented_is_not() {
        let mut packet = v4(1400);
        packet[6] |= 0x40;
        assert_eq!(Fragments::new(&packet, 1000, 0).err(), Some(FragmentError::DontFragment));
        assert!(Fragments::new(&packet, 1420, 0).is_ok());
        assert_eq!(Fragments::new(&v4(1400), 27, 0).err(), Some(FragmentError::Mtu));
        let piece = &all(&v4(1400), 600)[0];
        assert_eq!(Fragments::new(piece, 100, 0).err(), Some(FragmentError::NotWhole));
    }

    #[test]
    fn a_short_buffer_loses_nothing() {
        let packet = v4(1400);
        let mut fragments = Fragments::new(&packet, 600, 0).unwrap();
        let needed = fragments.next_into(&mut [0; 10]).unwrap().unwrap_err();
        assert_eq!(needed, 596);
        assert_eq!(fragments.next_into(&mut [0; 600]), Some(Ok(596)));
    }
}

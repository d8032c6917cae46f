//! Reassembly of outer fragments, in memory of fixed size: for a stack that does not do it itself.
//!
//! ESP and AH are verified over whole packets (RFC 4303 section 3.4.1), and fragments come from anybody: the helper holds
//! as many packets as it has slots, each as long as its share of the buffer, for half a minute; overlapping fragments end
//! their packet (RFC 5722); and when all slots are taken, the oldest gives way.

use core::net::IpAddr;
use core::time::Duration;

use ipsec_core::bytes;
use ipsec_core::time::Instant;
use ipsec_core::wire::{IpError, Ipv4Header, Ipv6Header, protocol};
use zerocopy::{FromBytes, IntoBytes};

/// How long a packet may take to arrive. RFC 8200 section 4.5 says 60 seconds; half is enough, and holds less.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces that do not touch, of one packet.
const MAX_PIECES: usize = 16;
/// Before the payload, a slot's share holds the header of the first fragment.
const HEADER_ROOM: usize = Ipv6Header::LEN;

/// One packet in the making. All zero is empty.
pub struct ReassemblySlot {
    key: Key,
    live: bool,
    begun: Instant,
    /// What has arrived, in bytes of payload, in order.
    pieces: heapless::Vec<(u16, u16), MAX_PIECES>,
    /// Bytes of the whole payload; 0 until the last fragment has arrived.
    total: u16,
    /// Bytes of the header, and whether the first fragment has brought it.
    header: u8,
    next_header: u8,
}

impl ReassemblySlot {
    /// No packet.
    pub const EMPTY: Self = Self {
        key: Key::EMPTY,
        live: false,
        begun: Instant::ZERO,
        pieces: heapless::Vec::new(),
        total: 0,
        header: 0,
        next_header: 0,
    };
}

/// What fragments of one packet have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// Of IPv4 only.
    protocol: u8,
}

impl Key {
    const EMPTY: Self = Self {
        source: IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
        identification: 0,
        protocol: 0,
    };
}

/// What came of a packet given to [`Reassembler::accept`].
#[derive(Debug, PartialEq, Eq)]
pub enum Reassembled<'a> {
    /// It is whole: go on with what was given.
    NotAFragment,
    /// Kept; others are missing.
    Waiting,
    /// The last one missing: the whole packet, valid until the next call.
    Complete(&'a mut [u8]),
}

/// Why a fragment was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReassemblyError {
    /// Peer: malformed.
    Packet(IpError),
    /// Peer: the length of a fragment before the last is no multiple of eight, or fragments disagree on the end.
    Length,
    /// Peer: it overlaps another; the whole packet is dropped (RFC 5722).
    Overlap,
    /// Peer: extension headers before the fragment header; outer packets of IPsec have none.
    Headers,
    /// Capacity: the packet is longer than a slot's share, or in too many pieces.
    TooLong,
}

impl core::fmt::Display for ReassemblyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Packet(e) => e.fmt(f),
            Self::Length => f.write_str("fragments of impossible lengths"),
            Self::Overlap => f.write_str("overlapping fragments"),
            Self::Headers => f.write_str("extension headers before the fragment header"),
            Self::TooLong => f.write_str("fragmented packet longer than its buffer"),
        }
    }
}

impl core::error::Error for ReassemblyError {}

/// Holds fragments until their packets are whole.
pub struct Reassembler<'r> {
    slots: &'r mut [ReassemblySlot],
    buffer: &'r mut [u8],
    share: usize,
}

/// A fragment, taken apart.
struct Piece<'p> {
    key: Key,
    offset: usize,
    more: bool,
    header: &'p [u8],
    next_header: u8,
    payload: &'p [u8],
}

impl<'r> Reassembler<'r> {
    /// Packets of up to `buffer.len() / slots.len()` bytes each, less the room of a header.
    pub fn new(slots: &'r mut [ReassemblySlot], buffer: &'r mut [u8]) -> Self {
        let share = buffer.len().checked_div(slots.len()).unwrap_or(0);
        Self { slots, buffer, share }
    }

    /// Takes an IP packet from the unprotected network: give every one that is for us, whole or not.
    ///
    /// Looks at each slot; have few.
    pub fn accept(
        &mut self,
        now: Instant,
        packet: &[u8],
    ) -> Result<Reassembled<'_>, ReassemblyError> {
        let Some(piece) = Piece::parse(packet)? else { return Ok(Reassembled::NotAFragment) };
        let index = self.slot_of(now, &piece.key);
        let start = index.saturating_mul(self.share);
        let share = self.buffer.get_mut(start..start.saturating_add(self.share));
        let (Some(slot), Some(share)) = (self.slots.get_mut(index), share) else {
            return Err(ReassemblyError::TooLong);
        };
        if !slot.live {
            *slot = ReassemblySlot::EMPTY;
            slot.live = true;
            slot.key = piece.key;
            slot.begun = now;
        }
        let added = slot.add(&piece, share);
        match added {
            Ok(false) => Ok(Reassembled::Waiting),
            Ok(true) => {
                slot.live = false;
                slot.finish(share).map(Reassembled::Complete).ok_or(ReassemblyError::Length)
            }
            Err(e) => {
                slot.live = false;
                Err(e)
            }
        }
    }

    /// Where a packet is collected: its own slot, a free one, or the oldest.
    fn slot_of(&mut self, now: Instant, key: &Key) -> usize {
        let mut best = (0, Instant::MAX);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.live && now >= slot.begun.after(TIMEOUT) {
                slot.live = false;
            }
            if slot.live && slot.key == *key {
                return index;
            }
            let age = if slot.live { slot.begun } else { Instant::ZERO };
            if age < best.1 {
                best = (index, age);
            }
        }
        if let Some(slot) = self.slots.get_mut(best.0) {
            slot.live = false;
        }
        best.0
    }
}

impl<'p> Piece<'p> {
    /// `None` for a packet that is whole.
    fn parse(packet: &'p [u8]) -> Result<Option<Self>, ReassemblyError> {
        match packet.first().map(|b| b >> 4) {
            Some(4) => Self::parse_v4(packet),
            Some(6) => Self::parse_v6(packet),
            _ => Err(ReassemblyError::Packet(IpError::Version)),
        }
    }

    fn parse_v4(packet: &'p [u8]) -> Result<Option<Self>, ReassemblyError> {
        let ip = Ipv4Header::parse(packet).map_err(ReassemblyError::Packet)?;
        let (offset, more) = (ip.header.fragment_offset(), ip.header.more_fragments());
        if offset == 0 && !more {
            return Ok(None);
        }
        let header = packet.get(..Ipv4Header::LEN).unwrap_or_default();
        Ok(Some(Self {
            key: Key {
                source: ip.header.source().into(),
                destination: ip.header.destination().into(),
                identification: ip.header.id.get().into(),
                protocol: ip.header.protocol,
            },
            offset: usize::from(offset).saturating_mul(8),
            more,
            header,
            next_header: ip.header.protocol,
            payload: ip.payload,
        }))
    }

    fn parse_v6(packet: &'p [u8]) -> Result<Option<Self>, ReassemblyError> {
        let ip = Ipv6Header::parse(packet).map_err(ReassemblyError::Packet)?;
        if ip.header.next_header != protocol::FRAGMENT {
            let upper = ip.upper().map_err(ReassemblyError::Packet)?;
            return match upper.fragment {
                Some(_) => Err(ReassemblyError::Headers),
                None => Ok(None),
            };
        }
        let mut r = bytes::Reader::new(ip.payload);
        let fields = r.array::<2>().zip(r.u16()).zip(r.u32());
        let (([next_header, _], offset), identification) =
            fields.ok_or(ReassemblyError::Packet(IpError::Truncated))?;
        Ok(Some(Self {
            key: Key {
                source: ip.header.source().into(),
                destination: ip.header.destination().into(),
                identification,
                protocol: 0,
            },
            offset: usize::from(offset & !7),
            more: offset & 1 != 0,
            header: packet.get(..Ipv6Header::LEN).unwrap_or_default(),
            next_header,
            payload: r.rest(),
        }))
    }
}

impl ReassemblySlot {
    /// Puts a piece where it belongs. Says whether the packet is whole.
    fn add(&mut self, piece: &Piece<'_>, share: &mut [u8]) -> Result<bool, ReassemblyError> {
        let len = piece.payload.len();
        if len == 0 || (piece.more && !len.is_multiple_of(8)) {
            return Err(ReassemblyError::Length);
        }
        let end = piece.offset.saturating_add(len);
        let (start, end_at) = (u16::try_from(piece.offset), u16::try_from(end));
        let (Ok(start), Ok(end_at)) = (start, end_at) else {
            return Err(ReassemblyError::TooLong);
        };
        let beyond =
            self.total != 0 && (end_at > self.total || (!piece.more && end_at != self.total));
        let before = !piece.more && self.pieces.iter().any(|(_, e)| *e > end_at);
        if beyond || before {
            return Err(ReassemblyError::Length);
        }
        if self.pieces.iter().any(|(s, e)| *s < end_at && start < *e) {
            return Err(ReassemblyError::Overlap);
        }
        let (head, room) =
            share.split_at_mut_checked(HEADER_ROOM).ok_or(ReassemblyError::TooLong)?;
        let place = room.get_mut(piece.offset..end).ok_or(ReassemblyError::TooLong)?;
        self.note(start, end_at)?;
        bytes::copy(place, piece.payload).ok_or(ReassemblyError::TooLong)?;
        if !piece.more {
            self.total = end_at;
        }
        if start == 0 {
            // The header goes right before the payload.
            let at = HEADER_ROOM.saturating_sub(piece.header.len());
            head.get_mut(at..)
                .and_then(|head| bytes::copy(head, piece.header))
                .ok_or(ReassemblyError::Length)?;
            self.header = u8::try_from(piece.header.len()).unwrap_or(0);
            self.next_header = piece.next_header;
        }
        let whole = self.pieces.as_slice() == [(0, self.total)];
        Ok(whole && self.total != 0)
    }

    /// Notes that a range has arrived, joined with those that it touches.
    fn note(&mut self, mut start: u16, mut end: u16) -> Result<(), ReassemblyError> {
        let mut joined = heapless::Vec::<(u16, u16), MAX_PIECES>::new();
        for (s, e) in self.pieces.iter().copied() {
            if e == start {
                start = s;
            } else if s == end {
                end = e;
            } else {
                joined.push((s, e)).map_err(|_| ReassemblyError::TooLong)?;
            }
        }
        joined.push((start, end)).map_err(|_| ReassemblyError::TooLong)?;
        self.pieces = joined;
        Ok(())
    }

    /// The whole packet, with a header that says so.
    fn finish<'s>(&self, share: &'s mut [u8]) -> Option<&'s mut [u8]> {
        let header = usize::from(self.header);
        let start = HEADER_ROOM.checked_sub(header)?;
        let end = HEADER_ROOM.checked_add(usize::from(self.total))?;
        let packet = share.get_mut(start..end)?;
        let len = packet.len();
        if header == Ipv4Header::LEN {
            let (mut ip, _) = Ipv4Header::read_from_prefix(packet).ok()?;
            ip.version_ihl = 0x45;
            ip.total_len.set(u16::try_from(len).ok()?);
            ip.flags_offset.set(0);
            ip.update_checksum();
            bytes::copy_prefix(packet, ip.as_bytes())?;
        } else {
            let (mut ip, _) = Ipv6Header::read_from_prefix(packet).ok()?;
            ip.payload_len.set(self.total);
            ip.next_header = self.next_header;
            bytes::copy_prefix(packet, ip.as_bytes())?;
        }
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    /// A fragment of IPv4 with these bytes of payload.
    fn fragment(id: u16, offset: usize, len: usize, more: bool) -> Vec<u8> {
        let header =
            Ipv4Header::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::ESP, 0, 64, len);
        let mut header = header.unwrap().fragmentable(id);
        let flags = u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 };
        header.flags_offset.set(flags);
        header.update_checksum();
        [header.as_bytes(), &std::vec![7; len]].concat()
    }

    fn with<R>(slots: usize, f: impl FnOnce(&mut Reassembler<'_>) -> R) -> R {
        let mut memory: Vec<ReassemblySlot> = (0..slots).map(|_| ReassemblySlot::EMPTY).collect();
        let mut buffer = std::vec![0; 2048 * slots];
        f(&mut Reassembler::new(&mut memory, &mut buffer))
    }

    fn outcome(r: &mut Reassembler<'_>, at: u64, packet: &[u8]) -> Result<usize, ReassemblyError> {
        Ok(match r.accept(Instant::from_secs(at), packet)? {
            Reassembled::NotAFragment => 1,
            Reassembled::Waiting => 0,
            Reassembled::Complete(whole) => whole.len(),
        })
    }

    #[test]
    fn overlaps_end_the_packet() {
        // RFC 5722
        with(1, |r| {
            assert_eq!(outcome(r, 0, &fragment(1, 0, 80, true)), Ok(0));
            assert_eq!(outcome(r, 0, &fragment(1, 72, 80, false)), Err(ReassemblyError::Overlap));
            assert_eq!(outcome(r, 0, &fragment(1, 80, 80, false)), Ok(0), "a packet of its own");
        });
    }

    #[test]
    fn impossible_lengths_are_refused() {
        with(1, |r| {
            assert_eq!(outcome(r, 0, &fragment(1, 0, 81, true)), Err(ReassemblyError::Length));
            assert_eq!(outcome(r, 0, &fragment(2, 80, 80, false)), Ok(0));
            assert_eq!(outcome(r, 0, &fragment(2, 160, 8, true)), Err(ReassemblyError::Length));
            assert_eq!(outcome(r, 0, &fragment(3, 80, 80, true)), Ok(0));
            assert_eq!(outcome(r, 0, &fragment(3, 8, 8, false)), Err(ReassemblyError::Length));
            assert_eq!(outcome(r, 0, &fragment(4, 0, 2040, true)), Err(ReassemblyError::TooLong));
            assert_eq!(
                outcome(r, 0, &fragment(4, 65_528, 80, true)),
                Err(ReassemblyError::TooLong)
            );
        });
    }

    #[test]
    fn the_oldest_gives_way_and_time_runs_out() {
        with(2, |r| {
            assert_eq!(outcome(r, 0, &fragment(1, 0, 80, true)), Ok(0));
            assert_eq!(outcome(r, 1, &fragment(2, 0, 80, true)), Ok(0));
            assert_eq!(outcome(r, 2, &fragment(3, 0, 80, true)), Ok(0));
            assert_eq!(outcome(r, 2, &fragment(2, 80, 8, false)), Ok(108));
            assert_eq!(outcome(r, 2, &fragment(1, 80, 8, false)), Ok(0));
            assert_eq!(outcome(r, 33, &fragment(3, 80, 8, false)), Ok(0));
        });
    }

    #[test]
    fn too_many_pieces_are_refused() {
        with(1, |r| {
            let last = (0..40).map(|i| outcome(r, 0, &fragment(1, i * 16, 8, true)));
            assert!(last.into_iter().any(|o| o == Err(ReassemblyError::TooLong)));
        });
    }
}

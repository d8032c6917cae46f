//! The security association database (RFC 4301 section 4.4.2).
//!
//! Inbound SAs are found by SPI and protocol. We choose our SPIs, so each carries the number of its slot in its low bits, with
//! randomness above: a look-up is one array access and one comparison, whatever the number of SAs. Outbound SAs are
//! found by the handle that their policy holds. SAs at SPIs that somebody else chose are found through a hash index, if
//! memory is lent for it: [`Sad::install_inbound_as`]. A program with several threads has a database for each: [`Shard`].

use rand_core::CryptoRng;

use crate::crypto::{CryptoError, Provider};
use crate::index::HashIndex;
use crate::list::SlotList;
use crate::mode::Mode;
use crate::path::{Endpoint, Path};
use crate::replay::{self, Window};
use crate::sa::{Encapsulation, InboundSa, OutboundSa, Protection, Protocol, SaParams, Spi};
use crate::time::Instant;

mod drops;
mod foreign;
mod record;
mod shard;
mod survive;
mod traffic;

pub use drops::{DropCause, Drops};
pub use foreign::FoundBy;
pub use record::{RECORD_LEN, RecordError};
pub use shard::Shard;
pub use survive::{ExportError, ImportError, Reservation};
pub use traffic::Receiver;

/// Names an inbound SA. Harmless once the SA is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InboundId {
    slot: u32,
    generation: u32,
}

/// Names an outbound SA. Harmless once the SA is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OutboundId {
    slot: u32,
    generation: u32,
}

/// An SA of either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SaId {
    /// We receive on it.
    Inbound(InboundId),
    /// We send on it.
    Outbound(OutboundId),
}

/// What happened to an SA by use. State, not a queue: each is told once, however often it happened meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SadEvent {
    /// Which SA.
    pub id: SaId,
    /// Its SPI.
    pub spi: Spi,
    /// The word its owner gave it.
    pub tag: u32,
    /// What happened.
    pub kind: SadEventKind,
}

/// See [`SadEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SadEventKind {
    /// The first packet has been received on an inbound SA: its peer uses the new keys (RFC 7296 section 2.8).
    FirstPacket,
    /// A soft limit of bytes, packets, sequence numbers or time was reached: replace the SA.
    Soft,
    /// A hard limit was reached: nothing passes any more.
    Hard,
    /// An authenticated packet, the newest so far, came from another endpoint: a NAT has moved the peer.
    PeerMoved(Endpoint),
    /// Fewer than half of the sequence numbers that the last [export](Sad::export) has set aside are left, or none since
    /// the SA was imported: export again.
    Export,
}

/// Why there is no next sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SequenceError {
    /// There is no such SA.
    NoSa,
    /// A hard limit of its lifetime is reached.
    Expired,
    /// The last sequence number has been used (RFC 4303 section 3.3.3).
    Overflow,
    /// What the last [export](Sad::export) has set aside is used up.
    Unreserved,
}

/// Why an SA was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InstallError {
    /// Capacity: no slot is free.
    Full,
    /// Local: the SPI was not reserved here, or another SA has it.
    Spi,
    /// Local: extended sequence numbers need an anti-replay window (RFC 4303 section 3.4.3).
    EsnWithoutReplay,
    /// Local: the anti-replay window is larger than the bitmap lent for each SA.
    WindowTooLarge,
    /// Local: AH neither travels in UDP nor has a BEET mode.
    NotForAh,
    /// Local: no memory was lent for SPIs that somebody else chose ([`SadMemory::foreign`]).
    NoIndex,
    /// Local: a multicast SA needs a group as its local address, a source of the same IP version where it is found by that,
    /// and no UDP.
    Group,
    /// Local: the provider refused the suite or the keys.
    Crypto(CryptoError),
}

impl core::fmt::Display for InstallError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Full => f.write_str("no free slot for a security association"),
            Self::Spi => f.write_str("the SPI was not reserved or is in use"),
            Self::EsnWithoutReplay => {
                f.write_str("extended sequence numbers need an anti-replay window")
            }
            Self::WindowTooLarge => f.write_str("anti-replay window larger than its bitmap"),
            Self::NotForAh => f.write_str("AH neither travels in UDP nor has a BEET mode"),
            Self::NoIndex => f.write_str("no memory for SPIs that were not reserved here"),
            Self::Group => f.write_str("not the addresses of a multicast security association"),
            Self::Crypto(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for InstallError {}

/// Reserves the SPIs that we are to receive on, so that IKE needs no SAD, and a kernel may hold it.
pub trait SpiAllocator {
    /// An SPI nobody else uses; `None` if there is no room for another SA.
    fn reserve(&mut self, rng: &mut dyn CryptoRng) -> Option<Spi>;

    /// Gives back an SPI that was reserved and never installed. Anything else is ignored.
    fn release(&mut self, spi: Spi);
}

/// Memory for one inbound SA. All zero is empty.
pub struct InboundSlot<P: Provider> {
    generation: u32,
    flags: u8,
    /// [`FoundBy`], [`FoundBy::SLOT`] or [`FoundBy::NOTHING`].
    found_by: u8,
    moved: Endpoint,
    state: InboundState<P>,
}

/// Memory for one outbound SA. All zero is empty.
pub struct OutboundSlot<P: Provider> {
    generation: u32,
    flags: u8,
    state: OutboundState<P>,
}

#[repr(u8)]
enum InboundState<P: Provider> {
    Empty = 0,
    Reserved(Spi) = 1,
    Live(InboundSa<P>) = 2,
}

#[repr(u8)]
enum OutboundState<P: Provider> {
    Empty = 0,
    Live(OutboundSa<P>) = 1,
}

impl<P: Provider> InboundSlot<P> {
    /// No SA.
    pub const EMPTY: Self = Self {
        generation: 0,
        flags: 0,
        found_by: FoundBy::SLOT,
        moved: Endpoint::UNSPECIFIED,
        state: InboundState::Empty,
    };
}

impl<P: Provider> OutboundSlot<P> {
    /// No SA.
    pub const EMPTY: Self = Self { generation: 0, flags: 0, state: OutboundState::Empty };
}

/// Flags of a slot: what is to be told, and what was told already.
mod flag {
    pub(super) const FIRST: u8 = 1;
    pub(super) const FIRST_TOLD: u8 = 2;
    pub(super) const SOFT: u8 = 4;
    pub(super) const SOFT_TOLD: u8 = 8;
    pub(super) const HARD: u8 = 16;
    pub(super) const HARD_TOLD: u8 = 32;
    pub(super) const MOVED: u8 = 64;
    pub(super) const EXPORT: u8 = 128;
    pub(super) const PENDING: u8 = FIRST | SOFT | HARD | MOVED | EXPORT;
}

/// Memory for a [`Sad`].
pub struct SadMemory<'r, P: Provider> {
    /// As many as there may be inbound SAs, those being negotiated included.
    pub inbound: &'r mut [InboundSlot<P>],
    /// As many as there may be outbound SAs.
    pub outbound: &'r mut [OutboundSlot<P>],
    /// Bitmaps of the anti-replay windows, shared out evenly: [`replay::words_for`] words for each inbound slot.
    pub windows: &'r mut [u32],
    /// Two links for each inbound slot and two for each outbound slot.
    pub links: &'r mut [u32],
    /// For inbound SAs at SPIs that we did not choose: a link for each inbound slot, and behind them buckets, about as
    /// many. Empty where there are no such SAs.
    pub foreign: &'r mut [u32],
}

/// The security association database.
pub struct Sad<'r, P: Provider> {
    inbound: &'r mut [InboundSlot<P>],
    outbound: &'r mut [OutboundSlot<P>],
    windows: &'r mut [u32],
    words: usize,
    slot_mask: u32,
    shard: Shard,
    drops: Drops<{ DropCause::ALL.len() }>,
    free_inbound: SlotList<'r>,
    free_outbound: SlotList<'r>,
    /// Inbound slots whose SPI we did not choose.
    foreign: HashIndex<'r>,
    /// Slots with something to tell: inbound ones by number, outbound ones after them.
    pending: SlotList<'r>,
}

impl<'r, P: Provider> Sad<'r, P> {
    /// An empty database. Slots, bitmap or links in excess of the others are not used.
    pub fn new(memory: SadMemory<'r, P>) -> Self {
        Self::new_shard(memory, Shard::ALONE)
    }

    /// An empty database, one of several.
    pub fn new_shard(memory: SadMemory<'r, P>, shard: Shard) -> Self {
        let SadMemory { inbound, outbound, windows, links, foreign } = memory;
        let all = inbound.len().saturating_add(outbound.len());
        let (free_in, rest) = links.split_at_mut_checked(inbound.len()).unwrap_or_default();
        let (free_out, rest) = rest.split_at_mut_checked(outbound.len()).unwrap_or_default();
        let (pending, _) = rest.split_at_mut_checked(all).unwrap_or_default();
        let (next, buckets) = foreign.split_at_mut_checked(inbound.len()).unwrap_or_default();
        let words = windows.len().checked_div(inbound.len()).unwrap_or(0);
        let slots = u32::try_from(inbound.len()).unwrap_or(u32::MAX);
        let mut sad = Self {
            shard,
            slot_mask: u32::MAX.checked_shr(slots.saturating_sub(1).leading_zeros()).unwrap_or(0),
            drops: Drops::NONE,
            free_inbound: SlotList::new(free_in),
            free_outbound: SlotList::new(free_out),
            pending: SlotList::new(pending),
            foreign: HashIndex::new(buckets, next),
            inbound,
            outbound,
            windows,
            words,
        };
        (0..slots).for_each(|slot| sad.free_inbound.push(slot));
        (0..sad.outbound.len()).for_each(|slot| {
            sad.free_outbound.push(u32::try_from(slot).unwrap_or(u32::MAX));
        });
        sad
    }

    /// The largest anti-replay window that the lent bitmaps allow.
    pub const fn max_window(&self) -> u32 {
        replay::capacity(self.words)
    }

    /// Installs an SA to receive on, at an SPI that [`SpiAllocator::reserve`] gave out. On an error the SPI stays
    /// reserved.
    pub fn install_inbound(
        &mut self,
        now: Instant,
        params: &SaParams<'_>,
    ) -> Result<InboundId, InstallError> {
        check_inbound(params, self.max_window())?;
        if !self.is_reserved(params.spi) {
            return Err(InstallError::Spi);
        }
        self.fill_inbound(now, self.slot_of(params.spi), params, FoundBy::SLOT)
    }

    /// Makes an SA in a slot that is empty or reserved. On an error, nothing has changed.
    fn fill_inbound(
        &mut self,
        now: Instant,
        number: u32,
        params: &SaParams<'_>,
        found_by: u8,
    ) -> Result<InboundId, InstallError> {
        let bitmap = bitmap(self.windows, self.words, number).unwrap_or_default();
        let slot = self.inbound.get_mut(number as usize).ok_or(InstallError::Full)?;
        let protection = Protection::new(now, params).map_err(InstallError::Crypto)?;
        let window = Window::new(params.replay_window, bitmap);
        let sa = InboundSa::new(protection, params.selectors.clone(), window);
        slot.state = InboundState::Live(sa);
        slot.flags = 0;
        slot.found_by = found_by;
        slot.generation = slot.generation.wrapping_add(1);
        Ok(InboundId { slot: number, generation: slot.generation })
    }

    /// Installs an SA to send on, with the peer's SPI.
    pub fn install_outbound(
        &mut self,
        now: Instant,
        params: &SaParams<'_>,
    ) -> Result<OutboundId, InstallError> {
        check_protocol(params)?;
        let protection = Protection::new(now, params).map_err(InstallError::Crypto)?;
        let number = self.free_outbound.pop().ok_or(InstallError::Full)?;
        let slot = self.outbound.get_mut(number as usize).ok_or(InstallError::Full)?;
        slot.state = OutboundState::Live(OutboundSa::new(protection));
        slot.flags = 0;
        slot.generation = slot.generation.wrapping_add(1);
        Ok(OutboundId { slot: number, generation: slot.generation })
    }

    /// Removes an SA and wipes its keys. Says whether it was there.
    pub fn remove_inbound(&mut self, id: InboundId) -> bool {
        if self.inbound(id).is_none() {
            return false;
        }
        self.forget_foreign(id.slot);
        self.free_inbound_slot(id.slot);
        true
    }

    /// Removes an SA and wipes its keys. Says whether it was there.
    pub fn remove_outbound(&mut self, id: OutboundId) -> bool {
        let Some(slot) = self.outbound_slot(id) else { return false };
        slot.state = OutboundState::Empty;
        slot.flags = 0;
        self.free_outbound.push(id.slot);
        true
    }

    /// The unicast inbound SA of this protocol with this SPI. [`Sad::find`] finds multicast SAs too.
    pub fn lookup(&self, protocol: Protocol, spi: Spi) -> Option<InboundId> {
        let own = self.in_own_slot(protocol, spi).map(|receiver| receiver.id);
        own.or_else(|| self.lookup_foreign(protocol, spi))
    }

    /// An inbound SA.
    #[inline]
    pub fn inbound(&self, id: InboundId) -> Option<&InboundSa<P>> {
        let slot = self.inbound.get(id.slot as usize).filter(|s| s.generation == id.generation)?;
        match &slot.state {
            InboundState::Live(sa) => Some(sa),
            _ => None,
        }
    }

    /// An outbound SA.
    #[inline]
    pub fn outbound(&self, id: OutboundId) -> Option<&OutboundSa<P>> {
        let slot = self.outbound.get(id.slot as usize).filter(|s| s.generation == id.generation)?;
        match &slot.state {
            OutboundState::Live(sa) => Some(sa),
            OutboundState::Empty => None,
        }
    }

    /// How many inbound slots are taken: live SAs and reserved SPIs. Scans; for reports and tests.
    pub fn inbound_in_use(&self) -> usize {
        self.inbound.iter().filter(|s| !matches!(s.state, InboundState::Empty)).count()
    }

    /// How many outbound SAs there are. Scans; for reports and tests.
    pub fn outbound_in_use(&self) -> usize {
        self.outbound.iter().filter(|s| !matches!(s.state, OutboundState::Empty)).count()
    }

    /// Every live inbound SA. Scans; for reports.
    pub fn inbound_sas(&self) -> impl Iterator<Item = &InboundSa<P>> {
        self.inbound.iter().filter_map(|s| match &s.state {
            InboundState::Live(sa) => Some(sa),
            _ => None,
        })
    }

    /// Every live outbound SA. Scans; for reports.
    pub fn outbound_sas(&self) -> impl Iterator<Item = &OutboundSa<P>> {
        self.outbound.iter().filter_map(|s| match &s.state {
            OutboundState::Live(sa) => Some(sa),
            OutboundState::Empty => None,
        })
    }

    /// Moves an outbound SA to another path, whose ports tell whether its packets travel in UDP from now on: 0 where they do
    /// not, as with AH. Says whether the SA was there.
    pub fn move_outbound(&mut self, id: OutboundId, path: Path) -> bool {
        let Some(OutboundSlot { state: OutboundState::Live(sa), .. }) = self.outbound_slot(id)
        else {
            return false;
        };
        sa.move_to(path);
        true
    }

    /// Moves an inbound SA to another path, from which its packets are expected: as [`Sad::move_outbound`]. Says whether the SA was there. A
    /// multicast SA, which is found by its path, does not move.
    pub fn move_inbound(&mut self, id: InboundId, path: Path) -> bool {
        const MULTICAST: u8 = FoundBy::Destination as u8;
        let Some(InboundSlot {
            state: InboundState::Live(sa),
            found_by: FoundBy::SLOT..MULTICAST | FoundBy::NOTHING,
            ..
        }) = self.inbound_slot(id)
        else {
            return false;
        };
        sa.protection.move_to(path);
        true
    }

    /// What happened to SAs by use.
    ///
    /// Call again after: every packet sealed or opened, until `None`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<SadEvent> {
        while let Some(number) = self.pending.first() {
            if let Some(event) = self.event_of(number) {
                return Some(event);
            }
            let _ = self.pending.pop();
        }
        None
    }

    fn event_of(&mut self, number: u32) -> Option<SadEvent> {
        let index = number as usize;
        if let Some(slot) = self.inbound.get_mut(index) {
            let InboundState::Live(sa) = &slot.state else { return None };
            let id = SaId::Inbound(InboundId { slot: number, generation: slot.generation });
            let kind = take_flag(&mut slot.flags, slot.moved)?;
            return Some(SadEvent { id, spi: sa.protection.spi, tag: sa.protection.tag, kind });
        }
        let index = index.checked_sub(self.inbound.len())?;
        let slot = self.outbound.get_mut(index)?;
        let OutboundState::Live(sa) = &slot.state else { return None };
        let id = OutboundId { slot: u32::try_from(index).ok()?, generation: slot.generation };
        let kind = take_flag(&mut slot.flags, Endpoint::UNSPECIFIED)?;
        Some(SadEvent {
            id: SaId::Outbound(id),
            spi: sa.protection.spi,
            tag: sa.protection.tag,
            kind,
        })
    }

    fn inbound_slot(&mut self, id: InboundId) -> Option<&mut InboundSlot<P>> {
        self.inbound.get_mut(id.slot as usize).filter(|s| s.generation == id.generation)
    }

    fn outbound_slot(&mut self, id: OutboundId) -> Option<&mut OutboundSlot<P>> {
        self.outbound
            .get_mut(id.slot as usize)
            .filter(|s| s.generation == id.generation && matches!(s.state, OutboundState::Live(_)))
    }

    /// The slot whose number an SPI of our own choice carries.
    const fn slot_of(&self, spi: Spi) -> u32 {
        self.shard.slot(spi, self.slot_mask)
    }

    fn is_reserved(&self, spi: Spi) -> bool {
        let slot = self.inbound.get(self.slot_of(spi) as usize);
        slot.is_some_and(|s| matches!(s.state, InboundState::Reserved(reserved) if reserved == spi))
    }

    fn free_inbound_slot(&mut self, number: u32) {
        if let Some(slot) = self.inbound.get_mut(number as usize) {
            slot.state = InboundState::Empty;
            slot.flags = 0;
            slot.found_by = FoundBy::SLOT;
            self.free_inbound.push(number);
        }
    }
}

impl<P: Provider> SpiAllocator for Sad<'_, P> {
    fn reserve(&mut self, rng: &mut dyn CryptoRng) -> Option<Spi> {
        let number = self.free_inbound.first()?;
        // A reserved number needs all the high bits to be zero: then all of them are one in the complement.
        let random = rng.next_u32();
        let of = |high: u32| {
            let spi = (high & !self.shard.low_mask(self.slot_mask)) | self.shard.low_bits(number);
            Spi::new(spi).filter(|spi| !self.is_foreign(*spi))
        };
        let spi = of(random).or_else(|| of(!random))?;
        let slot = self.inbound.get_mut(number as usize)?;
        slot.state = InboundState::Reserved(spi);
        let _ = self.free_inbound.pop();
        Some(spi)
    }

    fn release(&mut self, spi: Spi) {
        if self.is_reserved(spi) {
            self.free_inbound_slot(self.slot_of(spi));
        }
    }
}

/// What the types let through although it is no inbound SA.
fn check_inbound(params: &SaParams<'_>, max_window: u32) -> Result<(), InstallError> {
    if params.esn && params.replay_window == 0 {
        return Err(InstallError::EsnWithoutReplay);
    }
    if params.replay_window > max_window {
        return Err(InstallError::WindowTooLarge);
    }
    check_protocol(params)
}

/// What the types let through although it is no SA.
fn check_protocol(params: &SaParams<'_>) -> Result<(), InstallError> {
    let foreign =
        params.encapsulation == Encapsulation::Udp || matches!(params.mode, Mode::Beet(_));
    if params.protection.protocol() == Protocol::Ah && foreign {
        return Err(InstallError::NotForAh);
    }
    Ok(())
}

#[inline]
fn bitmap(windows: &mut [u32], words: usize, slot: u32) -> Option<&mut [u32]> {
    let (start, end) = bitmap_range(words, slot);
    windows.get_mut(start..end)
}

/// Where the words of a slot lie, if there is such a slot.
const fn bitmap_range(words: usize, slot: u32) -> (usize, usize) {
    let start = words.wrapping_mul(slot as usize);
    (start, start.wrapping_add(words))
}

/// The number of an outbound slot among all of them.
fn outbound_number(inbound: usize, slot: u32) -> u32 {
    slot.saturating_add(u32::try_from(inbound).unwrap_or(u32::MAX))
}

fn take_flag(flags: &mut u8, moved: Endpoint) -> Option<SadEventKind> {
    let pending = *flags & flag::PENDING;
    let lowest = pending & pending.wrapping_neg();
    *flags &= !lowest;
    Some(match lowest {
        flag::FIRST => SadEventKind::FirstPacket,
        flag::SOFT => SadEventKind::Soft,
        flag::HARD => SadEventKind::Hard,
        flag::MOVED => SadEventKind::PeerMoved(moved),
        flag::EXPORT => SadEventKind::Export,
        _ => return None,
    })
}

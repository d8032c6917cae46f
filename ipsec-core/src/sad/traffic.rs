//! What each packet asks of its SA: numbers, windows, limits.
//!
//! Nearly every packet of every SA comes this way, so nothing is looked up twice where once will do, and what is rare stands
//! aside.

use super::{DropCause, FoundBy, SequenceError, bitmap, bitmap_range, flag, outbound_number};
use super::{InboundId, InboundSlot, InboundState, OutboundId, OutboundSlot, OutboundState, Sad};
use crate::crypto::Provider;
use crate::lifetime::Age;
use crate::path::{Endpoint, Path};
use crate::replay::Replay;
use crate::sa::{Encapsulation, InboundSa, OutboundSa, Protocol, Spi};
use crate::seq;
use crate::time::Instant;

/// An inbound SA, as the packets find it that are for it.
pub struct Receiver<'s, P: Provider> {
    /// Its name.
    pub id: InboundId,
    /// The SA.
    pub sa: &'s InboundSa<P>,
    windows: &'s [u32],
    words: usize,
}

impl<P: Provider> Receiver<'_, P> {
    /// The whole of a sequence number whose low half is `low`. A guess, until the packet has been verified.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn sequence(&self, low: u32) -> u64 {
        if self.sa.protection.esn {
            seq::recover(self.sa.window.top(), self.sa.window.size(), low)
        } else {
            low.into()
        }
    }

    /// Whether the anti-replay window would accept `seq`. Changes nothing.
    ///
    /// # Errors
    /// See [`Replay`].
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn check_replay(&self, seq: u64) -> Result<(), Replay> {
        if seq > self.sa.window.top() {
            return Ok(());
        }
        let (start, end) = bitmap_range(self.words, self.id.slot);
        self.sa.window.check(self.windows.get(start..end).unwrap_or_default(), seq)
    }
}

impl<P: Provider> Sad<'_, P> {
    /// The inbound SA of a packet: by SPI, destination and source, else by SPI and destination, else by SPI and protocol
    /// (RFC 4301 section 4.1). `path` is ours and the sender's; only a group as destination can make a difference.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn receiver(&self, protocol: Protocol, spi: Spi, path: &Path) -> Option<Receiver<'_, P>> {
        if self.foreign.capacity() != 0
            && path.local.address.is_multicast()
            && let Some(id) = self.find_group(protocol, spi, path)
        {
            return self.receiver_of(id);
        }
        match self.in_own_slot(protocol, spi) {
            Some(receiver) => Some(receiver),
            None => self.foreign_receiver(protocol, spi),
        }
    }

    /// The inbound SA of this protocol at an SPI that we chose.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub(super) fn in_own_slot(&self, protocol: Protocol, spi: Spi) -> Option<Receiver<'_, P>> {
        let slot = self.slot_of(spi);
        match self.inbound.get(slot as usize)? {
            InboundSlot {
                generation,
                found_by: FoundBy::SLOT,
                state: InboundState::Live(sa),
                ..
            } if sa.protection.spi == spi && sa.protection.protocol() == protocol => {
                let id = InboundId { slot, generation: *generation };
                Some(Receiver { id, sa, windows: self.windows, words: self.words })
            }
            _ => None,
        }
    }

    #[cold]
    fn foreign_receiver(&self, protocol: Protocol, spi: Spi) -> Option<Receiver<'_, P>> {
        self.receiver_of(self.lookup_foreign(protocol, spi)?)
    }

    fn receiver_of(&self, id: InboundId) -> Option<Receiver<'_, P>> {
        Some(Receiver { id, sa: self.inbound(id)?, windows: self.windows, words: self.words })
    }

    /// Whether the window of `id` would accept `seq`. Changes nothing. `None` if there is no such SA.
    pub fn check_replay(&self, id: InboundId, seq: u64) -> Option<Result<(), Replay>> {
        Some(self.receiver_of(id)?.check_replay(seq))
    }

    /// Takes the next sequence number for a packet that gives `bytes` to the cipher, and counts it. Lends the SA, whose
    /// [last number](OutboundSa::sequence) it is now.
    ///
    /// # Errors
    /// See [`SequenceError`]; then nothing has been taken or counted.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn next_sequence(
        &mut self,
        now: Instant,
        id: OutboundId,
        bytes: usize,
    ) -> Result<&OutboundSa<P>, SequenceError> {
        let Some(OutboundSlot { generation, flags, state: OutboundState::Live(sa) }) =
            self.outbound.get_mut(id.slot as usize)
        else {
            return Err(SequenceError::NoSa);
        };
        if *generation != id.generation {
            return Err(SequenceError::NoSa);
        }
        if sa.reserved.is_ample(sa.sequence) && sa.protection.usage.count_young(now, bytes) {
            sa.sequence = sa.sequence.wrapping_add(1);
            return Ok(sa);
        }
        let number = outbound_number(self.inbound.len(), id.slot);
        let (told, taken) = (*flags, next_at_limit(sa, flags, now, bytes));
        if *flags != told {
            self.pending.push(number);
        }
        match taken {
            Err(SequenceError::Overflow) => self.drops.add(DropCause::SequenceOverflow),
            Err(SequenceError::Expired) => self.drops.add(DropCause::Expired),
            _ => {}
        }
        taken.map(|()| &*sa)
    }

    /// Leaves out the sequence numbers up to and including `up_to`, as after a restart that lost count of them. They
    /// count as sent against the limits of packets. Never goes back. Says whether the SA was there.
    pub fn skip_sequence(&mut self, id: OutboundId, up_to: u64) -> bool {
        let Some(OutboundSlot { state: OutboundState::Live(sa), .. }) = self.outbound_slot(id)
        else {
            return false;
        };
        sa.sequence = sa.sequence.max(up_to);
        sa.protection.usage.packets = sa.protection.usage.packets.max(up_to);
        true
    }

    /// The identification of the next outer IPv4 header that may be fragmented.
    pub fn next_identification(&mut self, id: OutboundId) -> Option<u16> {
        let OutboundState::Live(sa) = &mut self.outbound_slot(id)?.state else { return None };
        sa.identification = sa.identification.wrapping_add(1);
        Some(sa.identification)
    }

    /// Accepts a packet that has been verified: marks its number, counts its `bytes`, and notes a peer that has moved
    /// to `from`, if its packets travel in UDP: only a peer behind a NAT may move without saying so (RFC 7296 section 2.23).
    /// Checks the window again; a refused number changes nothing. Lends the SA; `None` if it is gone.
    ///
    /// [`Age::Hard`] means that the packet must be dropped although it was genuine; so does [`Replay::Unreserved`], whose
    /// number is marked none the less, so that the next export reaches beyond it.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn accept(
        &mut self,
        now: Instant,
        id: InboundId,
        seq: u64,
        bytes: usize,
        from: Option<Endpoint>,
    ) -> Option<Result<(Age, &InboundSa<P>), Replay>> {
        let bitmap = bitmap(self.windows, self.words, id.slot)?;
        let InboundSlot { generation, flags, moved, state: InboundState::Live(sa), .. } =
            self.inbound.get_mut(id.slot as usize)?
        else {
            return None;
        };
        if *generation != id.generation {
            return None;
        }
        let top = sa.window.top();
        if let Err(refused) = sa.window.mark(bitmap, seq) {
            return Some(Err(refused));
        }
        let moved_to = from.filter(|from| *from != sa.protection.path.remote);
        if top != 0
            && moved_to.is_none()
            && sa.reserved.is_ample(seq)
            && sa.protection.usage.count_young(now, bytes)
        {
            return Some(Ok((Age::Young, sa)));
        }
        let told = *flags;
        if top == 0 && told & flag::FIRST_TOLD == 0 {
            *flags |= flag::FIRST | flag::FIRST_TOLD;
        }
        let accepted = accept_at_limit(sa, flags, now, seq, bytes);
        if let Some(from) = moved_to
            && accepted.is_ok()
            && seq > top
            && sa.protection.encapsulation == Encapsulation::Udp
        {
            sa.protection.path.remote = from;
            *moved = from;
            *flags |= flag::MOVED;
        }
        if *flags != told {
            self.pending.push(id.slot);
        }
        Some(accepted.map(|age| (age, &*sa)))
    }
}

/// Takes the next sequence number of an SA that may have reached a limit, and notes what is to be told.
#[cold]
fn next_at_limit<P: Provider>(
    sa: &mut OutboundSa<P>,
    flags: &mut u8,
    now: Instant,
    bytes: usize,
) -> Result<(), SequenceError> {
    let mut age = sa.protection.usage.age(now, bytes);
    let taken = if sa.sequence >= seq::last(sa.protection.esn) {
        age = Age::Hard;
        Err(SequenceError::Overflow)
    } else if age == Age::Hard {
        Err(SequenceError::Expired)
    } else if sa.sequence >= sa.reserved.up_to {
        Err(SequenceError::Unreserved)
    } else {
        sa.protection.usage.count(bytes);
        sa.sequence = sa.sequence.wrapping_add(1);
        Ok(())
    };
    *flags |= of_age(*flags, age);
    if sa.reserved.runs_low(sa.sequence) {
        *flags |= flag::EXPORT;
    }
    taken
}

/// Counts a packet of an SA that may have reached a limit, and notes what is to be told.
#[cold]
fn accept_at_limit<P: Provider>(
    sa: &mut InboundSa<P>,
    flags: &mut u8,
    now: Instant,
    seq: u64,
    bytes: usize,
) -> Result<Age, Replay> {
    if sa.reserved.runs_low(sa.window.top()) {
        *flags |= flag::EXPORT;
    }
    if seq > sa.reserved.up_to {
        return Err(Replay::Unreserved);
    }
    let age = sa.protection.usage.age(now, bytes);
    if age != Age::Hard {
        sa.protection.usage.count(bytes);
    }
    *flags |= of_age(*flags, age);
    Ok(age)
}

/// The flags of a limit that was reached for the first time.
const fn of_age(flags: u8, age: Age) -> u8 {
    match age {
        Age::Soft if flags & flag::SOFT_TOLD == 0 => flag::SOFT | flag::SOFT_TOLD,
        Age::Hard if flags & flag::HARD_TOLD == 0 => flag::HARD | flag::HARD_TOLD,
        Age::Young | Age::Soft | Age::Hard => 0,
    }
}

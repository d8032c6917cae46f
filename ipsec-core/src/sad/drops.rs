//! How many packets were dropped and why: what RFC 4301 section 4.4.2 and section 5.2, RFC 4302 and RFC 4303 want to be
//! noticed, as counters.

use super::{InboundId, InboundState, Sad};
use crate::crypto::Provider;

/// Why a packet was dropped, as far as an administrator wants it counted. Errors tell more of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
#[non_exhaustive]
pub enum DropCause {
    /// Its sequence number was seen before, or is too old (RFC 4303 section 3.4.3, RFC 4302 section 3.4.3).
    Replay = 0,
    /// Its integrity check value is wrong (RFC 4303 section 3.4.4, RFC 4302 section 3.4.4).
    Integrity,
    /// Its length, its padding or what came out of it is not what the protocols allow.
    Malformed,
    /// What came out of it is not what the SA is for (RFC 4301 section 5.2).
    Selectors,
    /// No SA has its SPI (RFC 4303 section 3.4.2, RFC 4302 section 3.4.2).
    UnknownSpi,
    /// It is a fragment, and reassembly comes first (RFC 4303 section 3.4.1, RFC 4302 section 3.4.1).
    Fragment,
    /// A limit of the lifetime of its SA was reached, either way.
    Expired,
    /// Outbound: the last sequence number has been used (RFC 4303 section 3.3.3, RFC 4302 section 3.3.2).
    SequenceOverflow,
}

impl DropCause {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Replay,
        Self::Integrity,
        Self::Malformed,
        Self::Selectors,
        Self::UnknownSpi,
        Self::Fragment,
        Self::Expired,
        Self::SequenceOverflow,
    ];

    /// Those that are counted for each inbound SA: the first of [`DropCause::ALL`].
    pub const OF_SA: usize = 4;

    /// What a person reads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay => "sequence number repeated or too old",
            Self::Integrity => "integrity check failed",
            Self::Malformed => "malformed",
            Self::Selectors => "not what the security association is for",
            Self::UnknownSpi => "unknown SPI",
            Self::Fragment => "fragment",
            Self::Expired => "lifetime is over",
            Self::SequenceOverflow => "sequence numbers are used up",
        }
    }
}

impl core::fmt::Display for DropCause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Counters for the first `N` causes. They stay at the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Drops<const N: usize>([u32; N]);

impl<const N: usize> Drops<N> {
    /// None yet.
    pub const NONE: Self = Self([0; N]);

    /// How many were dropped for this cause; 0 for a cause that is not counted here.
    pub fn count(&self, cause: DropCause) -> u32 {
        self.0.get(usize::from(cause as u8)).copied().unwrap_or(0)
    }

    /// The causes that occurred, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (DropCause, u32)> + '_ {
        let all = DropCause::ALL.iter().zip(&self.0);
        all.filter(|(_, count)| **count != 0).map(|(cause, count)| (*cause, *count))
    }

    pub(super) fn add(&mut self, cause: DropCause) {
        if let Some(count) = self.0.get_mut(usize::from(cause as u8)) {
            *count = count.saturating_add(1);
        }
    }
}

impl<P: Provider> Sad<'_, P> {
    /// What was dropped since the database was made, whatever its SA.
    pub const fn drops(&self) -> &Drops<{ DropCause::ALL.len() }> {
        &self.drops
    }

    /// Counts a packet that was dropped, for the database and for its SA, if that is known.
    #[inline(never)]
    pub fn count_drop(&mut self, id: Option<InboundId>, cause: DropCause) {
        self.drops.add(cause);
        if let Some(slot) = id.and_then(|id| self.inbound_slot(id))
            && let InboundState::Live(sa) = &mut slot.state
        {
            sa.drops.add(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_counted_by_itself_and_stays_at_the_largest_number() {
        let mut drops = Drops::<{ DropCause::OF_SA }>::NONE;
        drops.0[DropCause::Selectors as usize] = u32::MAX - 1;
        for cause in DropCause::ALL {
            (0..2).for_each(|_| drops.add(cause));
        }
        let expected = [
            (DropCause::Replay, 2),
            (DropCause::Integrity, 2),
            (DropCause::Malformed, 2),
            (DropCause::Selectors, u32::MAX),
        ];
        assert!(drops.iter().eq(expected));
        assert_eq!(drops.count(DropCause::Selectors), u32::MAX);
        assert_eq!(drops.count(DropCause::UnknownSpi), 0);
    }
}

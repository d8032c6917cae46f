//! What passed and what was dropped, and why.

use ipsec_core::spd::ClearError;
use ipsec_esp::{OpenError, SealError};
use ipsec_ike::DatagramError;

use crate::inbound::InboundError;
use crate::outbound::{Discard, OutboundError};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why something was dropped, coarsely: for counting. Errors tell more.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What a person reads.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        const REASONS: usize = [$(DropReason::$name,)*].len();
    };
}

reasons! {
    /// Out: not an IP packet.
    OutMalformed = "out: not an IP packet",
    /// Out: policy says so.
    OutPolicy = "out: policy discards it",
    /// Out: no policy is about it.
    OutNoPolicy = "out: no policy matches",
    /// Out: the peer agreed to less than the policy.
    OutNotAgreed = "out: the peer did not agree to this traffic",
    /// Out: no manual keys to send with.
    OutNoKeys = "out: no manual keys to send with",
    /// Out: a fragment of which it is not known whether its SA is for it.
    OutFragment = "out: fragment without ports",
    /// Out: the SAs that it was to go back through are gone.
    OutGone = "out: its way back is gone",
    /// Out: the tunnel is not up yet.
    OutNoSa = "out: tunnel not up yet",
    /// Out: too long for the path, and not to be fragmented.
    OutTooBig = "out: too big for the path",
    /// Out: not enough room around the packet.
    OutNoRoom = "out: no room around the packet",
    /// Out: the SA's lifetime is over.
    OutExpired = "out: lifetime is over",
    /// Out: anything else on this side.
    OutFailed = "out: could not be sealed",
    /// In: not an IP packet, a fragment, or too short.
    InMalformed = "in: malformed",
    /// In: no SA has its SPI.
    InUnknownSpi = "in: unknown SPI",
    /// In: seen before, or too old.
    InReplay = "in: repeated or too old",
    /// In: not what the peer sent.
    InIntegrity = "in: integrity check failed",
    /// In: authentic, but broken inside.
    InBroken = "in: broken inside",
    /// In: authentic, but not what the SA is for.
    InSelectors = "in: not what the SA is for",
    /// In: the SA's lifetime is over.
    InExpired = "in: lifetime is over",
    /// In: congestion was signalled to ends that know only loss, or it was a dummy.
    InMeant = "in: dummy or congestion",
    /// In: anything else on this side.
    InFailed = "in: could not be opened",
    /// In: clear traffic that should have been protected.
    ClearNotProtected = "in clear: should be protected",
    /// In: clear traffic that policy discards.
    ClearPolicy = "in clear: policy discards it",
    /// In: clear traffic that no policy is about.
    ClearNoPolicy = "in clear: no policy matches",
    /// IKE: malformed.
    IkeMalformed = "IKE: malformed",
    /// IKE: of no known SA or peer.
    IkeUnknown = "IKE: unknown SA or peer",
    /// IKE: not what the peer sent.
    IkeIntegrity = "IKE: integrity check failed",
    /// IKE: old, repeated or out of place.
    IkeStale = "IKE: old or out of place",
    /// IKE: asked to come again with a cookie or another group.
    IkeChallenged = "IKE: asked for a cookie or another group",
    /// IKE: refused, and told so.
    IkeRefused = "IKE: refused",
    /// IKE: this side is busy or full.
    IkeBusy = "IKE: busy or full",
}

impl core::fmt::Display for DropReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a gateway has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Counters {
    /// Packets sealed.
    pub sealed: u64,
    /// Bytes of them before sealing.
    pub sealed_bytes: u64,
    /// Bytes of them after sealing, outer headers included.
    pub sealed_outer_bytes: u64,
    /// Packets opened.
    pub opened: u64,
    /// Bytes of them after opening.
    pub opened_bytes: u64,
    /// Packets that policy let pass in clear, both ways.
    pub bypassed: u64,
    /// IKE datagrams that were accepted.
    pub ike_in: u64,
    /// IKE datagrams that were handed out, repetitions and keepalives included.
    pub ike_out: u64,
    /// Keepalives received.
    pub keepalives: u64,
    /// Rekeyed child SAs.
    pub rekeys: u32,
    /// Rekeyed IKE SAs.
    pub ike_rekeys: u32,
    drops: [u32; REASONS],
}

impl Counters {
    /// How often something was dropped for this reason. It stays at the largest number.
    pub fn dropped(&self, reason: DropReason) -> u32 {
        self.drops.get(reason as usize).copied().unwrap_or(0)
    }

    /// The reasons that occurred, and how often.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u32)> + '_ {
        let all = DropReason::ALL.iter().zip(&self.drops);
        all.filter(|(_, count)| **count != 0).map(|(reason, count)| (*reason, *count))
    }

    pub(crate) fn drop(&mut self, reason: DropReason) {
        if let Some(count) = self.drops.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }
}

impl From<Discard> for DropReason {
    fn from(discard: Discard) -> Self {
        match discard {
            Discard::Policy => Self::OutPolicy,
            Discard::NoPolicy => Self::OutNoPolicy,
            Discard::NotAgreed => Self::OutNotAgreed,
            Discard::NoKeys => Self::OutNoKeys,
            Discard::Fragment => Self::OutFragment,
            Discard::Gone => Self::OutGone,
        }
    }
}

impl From<&OutboundError> for DropReason {
    fn from(error: &OutboundError) -> Self {
        match error {
            OutboundError::Packet(_) | OutboundError::Seal(SealError::Inner(_)) => {
                Self::OutMalformed
            }
            OutboundError::TooBig { .. } | OutboundError::Seal(SealError::TooLong) => {
                Self::OutTooBig
            }
            OutboundError::NoRoom(_) => Self::OutNoRoom,
            OutboundError::Start(_) => Self::OutNoSa,
            OutboundError::Seal(SealError::Expired(_) | SealError::SequenceOverflow(_)) => {
                Self::OutExpired
            }
            OutboundError::Seal(_) => Self::OutFailed,
        }
    }
}

impl From<&InboundError> for DropReason {
    fn from(error: &InboundError) -> Self {
        match error {
            InboundError::Open(error) => error.into(),
            InboundError::Ike(error) => error.into(),
            InboundError::Clear(ClearError::NotProtected) => Self::ClearNotProtected,
            InboundError::Clear(ClearError::Discard) => Self::ClearPolicy,
            InboundError::Clear(_) => Self::ClearNoPolicy,
            InboundError::Packet(_) => Self::InMalformed,
            InboundError::NotNested(_) => Self::InSelectors,
        }
    }
}

impl From<&OpenError> for DropReason {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::Outer(_)
            | OpenError::Fragment
            | OpenError::TooShort
            | OpenError::Length(_) => Self::InMalformed,
            OpenError::UnknownSpi(_) => Self::InUnknownSpi,
            OpenError::Replay(..) => Self::InReplay,
            OpenError::Integrity(_) => Self::InIntegrity,
            OpenError::Padding(_) | OpenError::NextHeader(..) | OpenError::Inner(..) => {
                Self::InBroken
            }
            OpenError::Selectors(..) => Self::InSelectors,
            OpenError::Expired(_) => Self::InExpired,
            OpenError::Congestion(_) | OpenError::Dummy(_) => Self::InMeant,
            _ => Self::InFailed,
        }
    }
}

impl From<&DatagramError> for DropReason {
    fn from(error: &DatagramError) -> Self {
        match error {
            DatagramError::Wire(_) => Self::IkeMalformed,
            DatagramError::UnknownSpi | DatagramError::UnknownPeer => Self::IkeUnknown,
            DatagramError::Integrity => Self::IkeIntegrity,
            DatagramError::Stale | DatagramError::Unexpected => Self::IkeStale,
            DatagramError::Challenged => Self::IkeChallenged,
            DatagramError::Refused => Self::IkeRefused,
            _ => Self::IkeBusy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let mut counters = Counters::default();
        for (times, reason) in DropReason::ALL.iter().enumerate() {
            (0..times).for_each(|_| counters.drop(*reason));
        }
        for (times, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(counters.dropped(*reason) as usize, times);
        }
        assert_eq!(counters.drops().count(), REASONS - 1);
    }

    #[test]
    fn a_count_stays_at_the_largest_number() {
        let mut counters = Counters::default();
        counters.drops[DropReason::InReplay as usize] = u32::MAX;
        counters.drop(DropReason::InReplay);
        assert_eq!(counters.dropped(DropReason::InReplay), u32::MAX);
    }
}

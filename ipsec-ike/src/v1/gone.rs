//! Children that are gone, which the peer may not know. A Delete is said once, and nobody acknowledges it; nor the third
//! message of Quick Mode, without which a responder gives its child up. Where the network loses one of them, the peer goes on
//! sending on a child that we have no more, and hears nothing of it.
//!
//! So the SPIs of the last children are remembered. What still arrives for one of them is answered by another Delete, as
//! authentic as the first, in an IKE SA with the same peer. The packet itself proves nothing, and need not: whoever sends one
//! again has the peer told what is true, and no more than once in a while.

use core::time::Duration;

use ipsec_core::crypto::Provider;
use ipsec_core::time::Instant;

use super::bundle::Deletion;
use crate::child_sa::ChildState;
use crate::engine::{Env, Ike};
use crate::event::DownReason;
use crate::ike_sa::SaState;
use crate::timer::RETRY;
use crate::wire::v1::ProtocolId;

/// So many are remembered: a power of two.
const REMEMBERED: usize = 16;
/// The peer is told no sooner than so long after the last time: meanwhile arrives what was on the way.
const PAUSE: Duration = RETRY;
/// Nor more often: each time is one message ID of ours that is known no more (see [`unconfirmed`](super::unconfirmed)).
const MOST: u8 = 16;

/// Children that are gone.
pub(crate) struct Gone {
    children: [Child; REMEMBERED],
    /// Where the next one is put, over the oldest.
    next: usize,
}

#[derive(Clone, Copy)]
struct Child {
    deletion: Deletion,
    peer: u16,
    identity: u64,
    /// When the peer may be told again.
    again: Instant,
    /// How often it has been told again.
    told: u8,
}

impl Gone {
    pub(crate) const NONE: Self = {
        let deletion = Deletion { protocol: ProtocolId(0), spi: 0, around: 0 };
        let none = Child { deletion, peer: 0, identity: 0, again: Instant::ZERO, told: 0 };
        Self { children: [none; REMEMBERED], next: 0 }
    };

    fn put(&mut self, child: Child) {
        if let Some(place) = self.children.get_mut(self.next) {
            *place = child;
        }
        self.next = self.next.wrapping_add(1) & (REMEMBERED - 1);
    }

    fn find(&mut self, spi: u32) -> Option<&mut Child> {
        let of = |child: &Child| child.deletion.spi == spi || child.deletion.around == spi;
        self.children.iter_mut().find(|child| spi != 0 && of(child))
    }

    /// An SPI has been given to somebody else.
    pub(crate) fn forget(&mut self, spi: u32) {
        while let Some(child) = self.find(spi) {
            (child.deletion.spi, child.deletion.around) = (0, 0);
        }
    }
}

impl<P: Provider> Ike<'_, P> {
    /// A packet arrived for an SPI that has no SA. If a child of IKEv1 had it lately, its peer is told once more that it is
    /// gone (RFC 2408 section 3.15): at most every two seconds, and only where there is an IKE SA. In IKEv2 the peer has
    /// acknowledged every deletion, and nothing happens.
    pub fn handle_unknown_spi(&mut self, env: &mut Env<'_>, spi: u32) {
        let room = self.free_exchanges.len().min(self.buffers.free());
        let Some(gone) = self.gone.find(spi).filter(|gone| gone.again <= env.now) else { return };
        if gone.told >= MOST {
            return;
        }
        gone.again = env.now.after(PAUSE);
        gone.told = gone.told.saturating_add(1);
        let Child { deletion, peer, identity, .. } = *gone;
        let sa = self
            .sas_of(peer, identity)
            .find(|(_, sa)| sa.is_v1() && sa.state == SaState::Established)
            .map(|(number, _)| number);
        // What somebody sends who need not be the peer makes no room.
        if let Some(sa) = sa.filter(|_| room > deletion.messages()) {
            let _ = self.v1_say_deleted(env, sa, deletion);
        }
    }

    /// A child ends that we have received on. Of IKEv1, it is remembered, unless the peer has ended it.
    pub(crate) fn note_gone(&mut self, env: &Env<'_>, number: u32, reason: DownReason) {
        let Some(child) = self.child(number) else { return };
        if !child.installed || child.state == ChildState::Down || reason == DownReason::Deleted {
            return;
        }
        let (deletion, sa) = (Deletion::of(child), child.ike);
        let Some(sa) = self.sa(sa).filter(|sa| sa.is_v1()) else { return };
        let (peer, identity) = (sa.peer, sa.identity);
        let again = env.now.after(PAUSE);
        self.gone.put(Child { deletion, peer, identity, again, told: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(spi: u32) -> Child {
        let deletion = Deletion { protocol: ProtocolId::ESP, spi, around: spi + 1 };
        Child { deletion, peer: 0, identity: 0, again: Instant::ZERO, told: 0 }
    }

    #[test]
    fn the_last_ones_are_remembered() {
        let mut gone = Gone::NONE;
        assert!(gone.find(0).is_none());
        for n in 1..=20 {
            gone.put(child(1000 * n));
        }
        for n in 1..=20 {
            assert_eq!(gone.find(1000 * n).is_some(), n > 4, "{n}");
            assert_eq!(gone.find(1000 * n + 1).is_some(), n > 4, "{n}");
        }
        gone.forget(9001);
        assert!(gone.find(9000).is_none() && gone.find(9001).is_none() && gone.find(0).is_none());
        assert!(gone.find(10_000).is_some());
    }
}

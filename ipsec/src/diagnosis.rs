//! A tunnel that is up, and carries traffic one way only: what neither side's IKE notices.

use core::time::Duration;

use ipsec_core::time::Instant;
use ipsec_ike::event::ChildId;

use crate::gateway::Tunnel;

/// Notices that a tunnel sends and never receives: somewhere on the way ESP is dropped, IP protocol 50 or UDP port 4500,
/// while IKE gets through. A program that wants to know has one of these for each tunnel, and looks now and then.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneWay {
    child: Option<ChildId>,
    since: Instant,
    sent: u64,
    told: bool,
}

impl OneWay {
    /// Nothing seen yet.
    pub const NEW: Self = Self { child: None, since: Instant::ZERO, sent: 0, told: false };

    /// Whether the child SA that the tunnel sends on has sent for at least `patience`, and received nothing at all. Told
    /// once for a child SA, and not again for one that replaces it before anything came back. Call it every few seconds,
    /// in a driving loop at the end of step 4; calling it late only tells it late.
    ///
    /// Some traffic is one way by nature; then this means nothing.
    pub fn look(&mut self, now: Instant, tunnel: &Tunnel<'_>, patience: Duration) -> bool {
        let ((sent, _), (received, _)) = (tunnel.sent, tunnel.received);
        if tunnel.child.is_none() || received > 0 {
            *self = Self::NEW;
            return false;
        }
        if tunnel.child != self.child {
            // Another child SA has counters of its own, and what is wrong is still the same.
            *self = Self { child: tunnel.child, since: Instant::MAX, sent: 0, told: self.told };
        }
        if sent > 0 && self.since == Instant::MAX {
            (self.since, self.sent) = (now, sent);
        }
        // A single packet may have needed no answer.
        let is_so = sent > self.sent && now.since(self.since) >= patience;
        let first = is_so && !self.told;
        self.told |= is_so;
        first
    }
}

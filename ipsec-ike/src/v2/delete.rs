//! Deletion of children and of IKE SAs, as we ask for it (RFC 7296 section 1.4.1).

use ipsec_core::crypto::Provider;
use ipsec_core::time::Instant;

use crate::child_sa::ChildState;
use crate::engine::{Env, Ike};
use crate::event::DownReason;
use crate::exchange::Kind;
use crate::ike_sa::SaState;
use crate::wire::ExchangeType;

impl<P: Provider> Ike<'_, P> {
    /// Asks the peer to delete a child. `false` if there is no room.
    pub(crate) fn delete_child_begin(&mut self, env: &mut Env<'_>, number: u32) -> bool {
        let Some(child) = self.child(number) else { return true };
        let (sa, spi, reason) = (child.ike, child.spi_in, child.reason);
        let protocol = child.choice.protocol();
        let larval = child.state == ChildState::Larval;
        if larval && self.is_answered_with(sa, number) {
            // The peer is about to hear that it exists: it is deleted after that.
            return false;
        }
        if larval {
            self.child_down(env, number, reason);
            return true;
        }
        let Some(context) = self.begin_request(sa, Kind::DeleteChild) else { return false };
        if let Some(x) = self.contexts.get(context) {
            x.negotiation.child = number.saturating_add(1);
        }
        let written =
            self.compose(context, ExchangeType::INFORMATIONAL, |w| w.delete(protocol, &[spi]));
        if written.is_err() {
            self.end_exchange(env, context);
            return false;
        }
        if let Some(child) = self.child(number) {
            child.state = ChildState::Leaving;
            child.want = 0;
            child.rekey_at = Instant::MAX;
            child.expire_at = Instant::MAX;
        }
        self.schedule_child(number);
        self.send_request(env, context);
        true
    }

    /// Whether the peer's request under way makes this child.
    fn is_answered_with(&mut self, sa: u32, number: u32) -> bool {
        let theirs = self.sa(sa).and_then(|sa| sa.theirs.checked_sub(1));
        let context = theirs.and_then(|n| self.contexts.exchange(n));
        context.is_some_and(|x| x.negotiation.child == number.saturating_add(1))
    }

    /// The peer has deleted the child, too.
    pub(crate) fn delete_child_response(&mut self, env: &mut Env<'_>, context: u32) {
        let Some(x) = self.contexts.get(context) else { return };
        let (sa, child) = (x.sa, core::mem::take(&mut x.negotiation.child).checked_sub(1));
        if let Some(number) = child
            && let Some(reason) = self.child(number).map(|c| c.reason)
        {
            if reason == DownReason::Rekeyed {
                self.child_lingers(env, number);
            } else {
                self.child_down(env, number, reason);
            }
        }
        self.end_exchange(env, context);
        self.next_task(env, sa);
        self.schedule_sa(env.now, sa);
    }

    /// Asks the peer to delete the IKE SA. `false` if there is no room.
    pub(crate) fn delete_ike_begin(&mut self, env: &mut Env<'_>, number: u32) -> bool {
        let Some(context) = self.begin_request(number, Kind::DeleteIke) else { return false };
        let written = self.compose(context, ExchangeType::INFORMATIONAL, |w| w.delete_ike());
        if written.is_err() {
            self.end_exchange(env, context);
            return false;
        }
        if let Some(sa) = self.sa(number) {
            sa.state = SaState::Closing;
            sa.want = 0;
        }
        self.deadlines.set(number, None);
        self.send_request(env, context);
        true
    }

    /// The peer has deleted the IKE SA, too.
    pub(crate) fn delete_ike_response(&mut self, env: &mut Env<'_>, number: u32, context: u32) {
        self.end_exchange(env, context);
        if let Some(reason) = self.sa(number).map(|sa| sa.down) {
            self.sa_down(env, number, reason);
        }
    }
}

//! Our requests, one at a time: what an IKE SA does next (RFC 7296 section 2.3, a window of one).

use ipsec_core::crypto::Provider;
use ipsec_core::selector::Flow;

use crate::child_sa::{self, ChildState};
use crate::engine::{Env, Ike};
use crate::error::CommandError;
use crate::event::ChildRef;
use crate::ike_sa::{self, SaState};

impl<P: Provider> Ike<'_, P> {
    /// Begins the most urgent work of an SA, if nothing of ours is under way.
    ///
    /// Work that finds no room stays wanted, and keeps no other from beginning; the SA's deadline tries again.
    pub(crate) fn next_task(&mut self, env: &mut Env<'_>, number: u32) {
        #[cfg(feature = "ikev1")]
        if self.sa(number).is_some_and(|sa| sa.is_v1()) {
            return self.v1_next_task(env, number);
        }
        let Some(sa) = self.sa(number) else { return };
        if sa.ours != 0 || !matches!(sa.state, SaState::Established | SaState::Rekeyed) {
            return;
        }
        let want = sa.want;
        let mut room = true;
        if want & ike_sa::want::CLOSE != 0 {
            room = self.delete_ike_begin(env, number);
        } else {
            const MOVES: u8 = ike_sa::want::UPDATE | ike_sa::want::CHECK;
            if want & MOVES != 0
                && let Some(mobile) = self.mobile
            {
                room = (mobile.begin)(self, env, number);
            }
            if want & ike_sa::want::CHILD != 0 && self.is_at_rest(number) {
                room &= self.child_task(env, number);
            }
            if want & ike_sa::want::REKEY != 0 && self.is_at_rest(number) {
                room &= self.rekey_ike_begin(env, number);
            }
            if want & ike_sa::want::LIVENESS != 0 && self.is_at_rest(number) {
                room &= self.liveness_begin(env, number);
            }
        }
        if !room {
            self.schedule_sa(env.now, number);
        }
    }

    /// Whether nothing of ours is under way.
    fn is_at_rest(&mut self, number: u32) -> bool {
        self.sa(number).is_some_and(|sa| sa.ours == 0)
    }

    /// Begins the work of one child, of those that end first: what is to be made may be put off again and again. `false` if
    /// there was no room for that of one.
    fn child_task(&mut self, env: &mut Env<'_>, sa: u32) -> bool {
        let mut room = true;
        let first = self.sa(sa).map_or(0, |sa| sa.children);
        let mut next = first;
        while let Some(number) = next.checked_sub(1) {
            let Some(child) = self.child(number) else { break };
            next = child.next;
            if child.want & child_sa::want::DELETE != 0 {
                room &= self.delete_child_begin(env, number);
            }
            if !self.is_at_rest(sa) {
                return room;
            }
        }
        next = first;
        while let Some(number) = next.checked_sub(1) {
            let Some(child) = self.child(number) else { return room };
            next = child.next;
            let (want, state) = (child.want, child.state);
            if want & child_sa::want::DELETE != 0 {
                // There was no room.
            } else if want & child_sa::want::REKEY != 0 && state == ChildState::Established {
                room &= self.create_child_begin(env, number, true);
            } else if want & child_sa::want::CREATE != 0 {
                room &= self.create_child_begin(env, number, false);
            } else if let Some(child) = self.child(number) {
                child.want = 0;
            }
            if !self.is_at_rest(sa) {
                return room;
            }
        }
        if let Some(sa) = self.sa(sa)
            && room
        {
            sa.want &= !ike_sa::want::CHILD;
        }
        room
    }

    /// Notes that `sa` should have a child of this configuration, for such packets, unless it has one or is making one.
    pub(crate) fn want_child(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        config: ChildRef,
        packet: Option<Flow>,
    ) -> Result<(), CommandError> {
        let mut next = self.sa(sa).map_or(0, |sa| sa.children);
        while let Some(number) = next.checked_sub(1) {
            let Some(child) = self.child(number) else { break };
            next = child.next;
            let live = matches!(child.state, ChildState::Larval | ChildState::Established);
            if live
                && child.config == config
                && child.want & child_sa::want::DELETE == 0
                && self.ask_alike(config, self.packet_of(number), packet)
            {
                return Ok(());
            }
        }
        let number = self.new_child(env, sa, config).ok_or(CommandError::NoRoom)?;
        self.set_packet(number, packet);
        self.want_of_child(env, number, child_sa::want::CREATE);
        Ok(())
    }

    /// Notes work for an SA, and begins it if nothing is under way.
    pub(crate) fn want_of_sa(&mut self, env: &mut Env<'_>, number: u32, what: u8) {
        if let Some(sa) = self.sa(number) {
            sa.want |= what;
        }
        self.next_task(env, number);
    }

    /// Notes work for a child, and begins it if nothing is under way.
    pub(crate) fn want_of_child(&mut self, env: &mut Env<'_>, number: u32, what: u8) {
        let Some(child) = self.child(number) else { return };
        child.want |= what;
        let sa = child.ike;
        self.want_of_sa(env, sa, ike_sa::want::CHILD);
    }
}

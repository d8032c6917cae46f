//! The installing of a child's two SAs by the caller, and what follows from it.

use ipsec_core::crypto::Provider;
use ipsec_core::time::Instant;

use super::negotiation::Refusal;
use crate::child_sa::{self, ChildState, Negotiation};
use crate::engine::{Env, Ike};
use crate::event::{ChildId, Direction, DownReason, Failure, Traffic};
use crate::exchange::{Kind, Stage};
use crate::ike_sa;
use crate::timer::{CALLER_TIMEOUT, RESPONSE_KEPT, jittered};
use crate::wire::NotifyType;

impl<P: Provider> Ike<'_, P> {
    /// Asks the caller to install what was agreed: first to receive, then to send.
    pub(crate) fn begin_install(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        x.stage = Stage::Install(Direction::Inbound);
        x.install_told = false;
        let node = self.context_node(number);
        self.events.push(node);
        self.give_up_after(env, number, CALLER_TIMEOUT);
    }

    /// The caller's answer to [`Event::Install`](crate::event::Event::Install). Stale answers are ignored.
    ///
    /// After a refusal, the peer is told that there is no such child.
    pub fn installed(
        &mut self,
        env: &mut Env<'_>,
        child: ChildId,
        direction: Direction,
        result: Result<(), ()>,
    ) {
        let Some(slot) = self.child_number(child) else { return };
        let Some(sa) = self.child(slot).map(|c| c.ike) else { return };
        let Some((ours, theirs)) = self.sa(sa).map(|sa| (sa.ours, sa.theirs)) else { return };
        let wanted = slot.saturating_add(1);
        let context = [ours, theirs].into_iter().filter_map(|n| n.checked_sub(1)).find(|n| {
            self.contexts.exchange(*n).is_some_and(|x| {
                x.negotiation.child == wanted
                    && x.install_told
                    && x.stage == Stage::Install(direction)
            })
        });
        #[cfg(feature = "ikev1")]
        let context = context.or_else(|| {
            self.v1_exchange(sa, |x| {
                x.negotiation.child == wanted
                    && x.install_told
                    && x.stage == Stage::Install(direction)
            })
        });
        let Some(number) = context else { return };
        #[cfg(feature = "ikev1")]
        if let (Ok(()), Some(Kind::V1(_))) =
            (result, self.contexts.exchange(number).map(|x| x.kind))
        {
            return match direction {
                Direction::Inbound => self.quick_receives(env, number),
                Direction::Outbound => self.quick_up(env, number, slot),
            };
        }
        match (direction, result) {
            (_, Err(())) => self.not_installed(env, number),
            (Direction::Inbound, Ok(())) => {
                let node = self.context_node(number);
                if let Some(x) = self.contexts.get(number) {
                    x.stage = Stage::Install(Direction::Outbound);
                    x.install_told = false;
                }
                self.events.push(node);
            }
            (Direction::Outbound, Ok(())) => self.child_up(env, number, slot),
        }
    }

    /// Both SAs of a child are installed.
    fn child_up(&mut self, env: &mut Env<'_>, number: u32, slot: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (ours, sa) = (x.ours, x.sa);
        let seen = x.negotiation.rival;
        x.negotiation = Negotiation::EMPTY;
        let Some(config) = self.child(slot).map(|c| c.config) else { return };
        let lifetime = self.child_config(config).map(|c| c.lifetime);
        let (soft, hard) = lifetime.map_or((Instant::MAX, Instant::MAX), |l| {
            (jittered(env, l.soft.time), env.now.after(l.hard.time))
        });
        let node = self.child_node(slot);
        let elsewhere = self.has_tunnel_elsewhere(sa, config);
        let Some(child) = self.child(slot) else { return };
        let fresh = child.replaces.is_none() && !elsewhere;
        child.state = ChildState::Established;
        child.rekey_at = soft;
        child.expire_at = hard;
        let replaces = child.replaces;
        // RFC 7296 section 2.8: the initiator of a rekey sends on the new SA at once; the responder knows that it can
        // when it has seen the initiator do so.
        child.traffic = if ours || fresh { Traffic::Now } else { Traffic::AfterFirstPacket };
        child.tell |= child_sa::tell::UP;
        self.schedule_child(slot);
        self.events.push(node);
        if replaces.is_some() {
            if !ours {
                self.note_rival(sa, slot);
            }
            let lower = self.child(slot).map_or([0; 16], |c| c.lower_nonce);
            let deletes = match self.rival(sa, slot, replaces) {
                Some(rival) => self.settle_rivals(slot, rival, ours),
                None if ours && lower < seen => {
                    // The peer's won, and is gone already, perhaps replaced in its turn.
                    self.leave_child(slot, true);
                    false
                }
                None => ours,
            };
            if let Some(old) = replaces.and_then(|id| self.child_number(id)) {
                self.leave_child(old, deletes);
            }
        }
        if ours {
            self.end_exchange(env, number);
            self.next_task(env, sa);
        } else {
            self.send_response(env, number, RESPONSE_KEPT);
        }
    }

    /// The other child that is to replace the same one: both sides have begun at once.
    pub(crate) fn rival(&mut self, sa: u32, slot: u32, replaces: Option<ChildId>) -> Option<u32> {
        let mut next = self.sa(sa)?.children;
        while let Some(number) = next.checked_sub(1) {
            let child = self.child(number)?;
            let made = !matches!(child.state, ChildState::Larval | ChildState::Down);
            if made && child.replaces == replaces && number != slot {
                return Some(number);
            }
            next = child.next;
        }
        None
    }

    /// A child that the peer asked for has come up. If it replaces one that we are replacing, too, our exchange keeps
    /// its nonce: the child itself may be gone when our own comes up.
    fn note_rival(&mut self, sa: u32, slot: u32) {
        let Some((replaces, lower)) = self.child(slot).map(|c| (c.replaces, c.lower_nonce)) else {
            return;
        };
        let ours = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
        let Some(number) = ours else { return };
        let larval = self.contexts.exchange(number).map_or(0, |x| x.negotiation.child);
        let larval = larval.checked_sub(1).and_then(|larval| self.child(larval));
        if larval.is_some_and(|c| c.replaces == replaces)
            && let Some(x) = self.contexts.get(number)
        {
            x.negotiation.rival = lower;
        }
    }

    /// Of two children that replace the same one, ends the one whose exchange had the lowest of the four nonces; each is
    /// deleted by who asked for it, and the old one by who asked for the survivor (RFC 7296 section 2.8.1).
    ///
    /// `slot` has come up just now, `ours` if we asked for it; then the peer asked for `rival`, and the other way round.
    /// Says whether the old child is ours to delete.
    fn settle_rivals(&mut self, slot: u32, rival: u32, ours: bool) -> bool {
        let mine = self.child(slot).map(|c| c.lower_nonce);
        let theirs = self.child(rival).map(|c| c.lower_nonce);
        let loser = if mine < theirs { slot } else { rival };
        let we_lose = (loser == slot) == ours;
        if we_lose {
            // The peer can receive on the survivor by the time it hears of this deletion.
            if let Some(survivor) = self.child(if loser == slot { rival } else { slot }) {
                survivor.traffic = Traffic::Now;
            }
        }
        self.leave_child(loser, we_lose);
        !we_lose
    }

    /// A child has been replaced. Who asked for its replacement deletes it.
    fn leave_child(&mut self, number: u32, deletes: bool) {
        let Some(sa) = self.child(number).map(|c| c.ike) else { return };
        let begun = self.child_being_deleted(sa) == Some(number);
        let Some(child) = self.child(number) else { return };
        if begun || !matches!(child.state, ChildState::Established | ChildState::Leaving) {
            return;
        }
        child.state = ChildState::Leaving;
        child.traffic = Traffic::AfterFirstPacket; // of one that is not announced yet: it is no more sent on
        if !deletes && child.want & child_sa::want::DELETE != 0 {
            return; // it was to be closed before: the peer may never come to delete it
        }
        child.reason = DownReason::Rekeyed;
        child.want = if deletes { child_sa::want::DELETE } else { 0 };
        if let Some(sa) = self.sa(sa)
            && deletes
        {
            sa.want |= ike_sa::want::CHILD;
        }
    }

    /// The caller could not install an SA, or does not say whether it did.
    pub(crate) fn not_installed(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (ours, kind, path) = (x.ours, x.kind, x.path);
        #[cfg(feature = "ikev1")]
        if let Kind::V1(_) = kind {
            return self.quick_not_installed(env, number);
        }
        if ours {
            self.abandon_child(env, number, Failure::NotInstalled, true);
            return;
        }
        let slot = x.negotiation.child.checked_sub(1);
        let config = slot.and_then(|slot| self.child(slot)).map(|c| c.config);
        self.refuse(config.map(|c| c.peer), config, path, Failure::NotInstalled);
        if kind == Kind::CreateChild {
            self.drop_negotiation(env, number);
            self.answer_refusal(env, number, &Refusal::new(NotifyType::NO_ADDITIONAL_SAS));
            return;
        }
        // IKE_AUTH says that the child exists: it is deleted like any other.
        if let Some(x) = self.contexts.get(number) {
            x.negotiation = Negotiation::EMPTY;
        }
        self.send_response(env, number, RESPONSE_KEPT);
        let Some(slot) = slot else { return };
        if let Some(child) = self.child(slot) {
            child.state = ChildState::Leaving;
            child.reason = DownReason::NotInstalled;
            child.rekey_at = Instant::MAX;
            child.expire_at = Instant::MAX;
        }
        self.want_of_child(env, slot, child_sa::want::DELETE);
    }
}

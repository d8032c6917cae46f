//! Everything that happens because time passes.
//!
//! Each IKE SA, each exchange and each child has one deadline: the earliest of its reasons to wake up.

use core::time::Duration;

use ipsec_core::crypto::Provider;
use ipsec_core::time::Instant;

use crate::child_sa::{self, ChildState};
use crate::engine::{Env, Ike, Node};
use crate::event::{DownReason, Failure};
use crate::exchange::{Kind, Stage};
use crate::ike_sa::{self, SaState};
use crate::v2::disturbed::TRIES_IF_DISTURBED;
use crate::wire::{ExchangeType, NotifyType};

/// A half-open exchange of another initiator, and a job or install that nobody answers, are given up after this.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// A job or install that the caller does not answer is given up after this.
pub(crate) const CALLER_TIMEOUT: Duration = Duration::from_secs(60);
/// A response is kept for a peer that asks again: "several minutes" (RFC 7296 section 2.1).
pub(crate) const RESPONSE_KEPT: Duration = Duration::from_secs(180);
/// An SA that the peer deleted, or whose handshake failed, repeats its last response for so long.
pub(crate) const LINGER: Duration = Duration::from_secs(10);
/// A child that was replaced and deleted receives for so long what was on the way.
pub(crate) const REPLACED_KEPT: Duration = Duration::from_secs(5);
/// A NAT's mapping is refreshed so often (RFC 3948 section 4).
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Work that found no room, or a peer that was busy, is tried again after about this.
pub(crate) const RETRY: Duration = Duration::from_secs(2);
/// An IKE SA is replaced when this many messages have been sent or received, before the numbers come to an end (RFC 7296
/// section 2.2).
const MANY_MESSAGES: u32 = u32::MAX - 1023;
/// Timeouts handled in one call; the rest are due at once.
const BATCH: usize = 64;

impl<P: Provider> Ike<'_, P> {
    /// Does what is due. Call it when [`Ike::next_timeout`] has come; earlier is harmless, later delays
    /// retransmissions, rekeying and expiry.
    ///
    /// It handles at most 64 deadlines a call; if more are due, [`Ike::next_timeout`] says so.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        for _ in 0..BATCH {
            let Some(node) = self.deadlines.take_due(env.now) else { return };
            match self.node(node) {
                Node::Sa(number) => self.sa_timeout(env, number),
                Node::Context(number) => self.context_timeout(env, number),
                Node::Child(number) => self.child_timeout(env, number),
            }
        }
    }

    fn sa_timeout(&mut self, env: &mut Env<'_>, number: u32) {
        let now = env.now;
        let liveness = self.peer_of(number).and_then(|p| p.liveness);
        let Some(sa) = self.sa(number) else { return };
        match sa.state {
            #[cfg(feature = "ikev1")]
            SaState::Larval if sa.is_v1() => return self.access_timeout(env, number),
            SaState::Empty | SaState::Larval | SaState::Waiting => return,
            SaState::Closing | SaState::Deleted if sa.tell != 0 => {
                // The caller has not heard of its end: the slot waits.
                self.deadlines.set(number, Some(now.after(RETRY)));
                return;
            }
            SaState::Deleted | SaState::Closing => {
                let theirs = sa.theirs.checked_sub(1);
                if let Some(context) = theirs {
                    self.end_exchange(env, context);
                }
                self.release_sa(number);
                return;
            }
            SaState::Established | SaState::Rekeyed => {}
        }
        if now >= sa.expire_at {
            #[cfg(feature = "ikev1")]
            if sa.is_v1() {
                return self.phase1_expired(env, number);
            }
            self.sa_down(env, number, DownReason::Expired);
            return;
        }
        if self.partial_until(number).is_some_and(|until| now >= until) {
            self.forget_partial(number, false);
        }
        let Some(sa) = self.sa(number) else { return };
        if now >= sa.rekey_at && sa.state == SaState::Established {
            sa.rekey_at = Instant::MAX;
            sa.want |= ike_sa::want::REKEY;
        }
        if now >= sa.reauth_at {
            self.reauthenticate(env, number);
        }
        let Some(sa) = self.sa(number) else { return };
        if let Some(silence) = liveness
            && now >= sa.heard.after(silence)
        {
            sa.want |= ike_sa::want::LIVENESS;
        }
        if sa.nat_local && now >= sa.sent.after(KEEPALIVE) {
            sa.sent = now;
            sa.keepalive_due = true;
            let contexts = u32::try_from(self.contexts.len()).unwrap_or(u32::MAX);
            self.transmits.push(number.saturating_add(contexts));
        }
        self.next_task(env, number);
        self.schedule_sa(now, number);
    }

    /// Sets the deadline of an established SA.
    pub(crate) fn schedule_sa(&mut self, now: Instant, number: u32) {
        let liveness = self.peer_of(number).and_then(|p| p.liveness);
        let partial = self.partial_until(number);
        let Some(sa) = self.sa(number) else { return };
        if !matches!(sa.state, SaState::Established | SaState::Rekeyed) {
            return;
        }
        let mut at = sa.expire_at.min(partial.unwrap_or(Instant::MAX));
        if sa.state == SaState::Established {
            at = at.min(sa.rekey_at).min(sa.reauth_at);
        }
        if let Some(silence) = liveness {
            let ask = sa.heard.after(silence);
            at = at.min(if ask > now { ask } else { now.after(RETRY) });
        }
        if sa.nat_local {
            at = at.min(sa.sent.after(KEEPALIVE));
        }
        if sa.want != 0 && sa.ours == 0 {
            at = at.min(now.after(RETRY));
        }
        self.deadlines.set(number, Some(at));
    }

    fn child_timeout(&mut self, env: &mut Env<'_>, number: u32) {
        let now = env.now;
        let Some(child) = self.child(number) else { return };
        if child.state == ChildState::Larval || child.state == ChildState::Down {
            return;
        }
        if now >= child.expire_at {
            if child.state == ChildState::Lingering {
                self.child_down(env, number, DownReason::Rekeyed);
                return;
            }
            if child.state == ChildState::Established && child.want & child_sa::want::DELETE == 0 {
                child.reason = DownReason::Expired;
            }
            // RFC 7296 section 1.4.1: both sides close it. While the IKE SA is busy, the peer is not told yet, and sends on it;
            // if the IKE SA ends, so does the child.
            child.expire_at = now.after(CALLER_TIMEOUT);
            self.deadlines.set(self.child_node(number), Some(now.after(CALLER_TIMEOUT)));
            self.want_of_child(env, number, child_sa::want::DELETE);
            return;
        }
        if now >= child.rekey_at {
            child.rekey_at = Instant::MAX;
            let at = child.expire_at;
            let established = child.state == ChildState::Established;
            self.deadlines.set(self.child_node(number), Some(at));
            if established {
                self.want_of_child(env, number, child_sa::want::REKEY);
            }
            return;
        }
        self.schedule_child(number);
    }

    /// Sets the deadline of a child.
    pub(crate) fn schedule_child(&mut self, number: u32) {
        let Some(child) = self.child(number) else { return };
        let at = child.rekey_at.min(child.expire_at);
        self.deadlines.set(self.child_node(number), (at != Instant::MAX).then_some(at));
    }

    fn context_timeout(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (stage, ours, kind, sa) = (x.stage, x.ours, x.kind, x.sa);
        #[cfg(feature = "ikev1")]
        if let Kind::V1(kind) = kind {
            return self.v1_timeout(env, number, kind);
        }
        match stage {
            Stage::Response if ours => self.repeat(env, number),
            Stage::Free | Stage::Ended => {}
            Stage::Response | Stage::Answered => {
                let larval = self.contexts.is_handshake(number);
                self.end_exchange(env, number);
                if larval {
                    self.release_larval(env, sa);
                }
            }
            Stage::Job if kind == Kind::SaInit => {
                self.handshake_failed(env, number, Failure::Crypto);
            }
            Stage::Job => self.job_failed(env, number, NotifyType::TEMPORARY_FAILURE),
            Stage::Install(_) => self.not_installed(env, number),
        }
    }

    /// Sends a request again, or gives the peer up (RFC 7296 section 2.4).
    fn repeat(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(sa) = self.contexts.get(number).map(|x| x.sa) else { return };
        let Some(mut rules) = self.peer_of(sa).map(|p| p.retransmission) else { return };
        let handshake = self.contexts.handshake(number);
        let (hint, unusable, disturbed) = handshake.map_or((None, false, false), |(x, h)| {
            let first = x.kind == Kind::SaInit;
            let unusable = h.unusable && first;
            (h.hint, unusable, h.hint.is_some() || unusable || h.disturbed && !first)
        });
        if disturbed {
            // An error came back, though nobody vouches for it: the true answer has a little time left.
            rules.tries = rules.tries.min(TRIES_IF_DISTURBED);
        }
        if self.try_alternative(env, number) {
            return;
        }
        if let Some(failure) = self.contexts.get(number).and_then(|x| x.failure.take()) {
            // No other answer has come.
            if !self.begin_anew(env, number) {
                self.auth_abandoned(env, number, failure.1);
            }
            return;
        }
        let Some(x) = self.contexts.get(number) else { return };
        if let Some(at) = x.retransmit.again(env.now, &rules) {
            x.again_at = at;
            if let Some(mobile) = self.mobile {
                (mobile.unanswered)(self, sa, number);
            }
            self.transmits.push(number);
            self.deadlines.set(self.context_node(number), Some(at));
            return;
        }
        let (kind, tries) = (x.kind, x.retransmit.sent());
        if !self.contexts.is_handshake(number) {
            self.sa_down(env, sa, DownReason::PeerSilent { tries });
            return;
        }
        if kind != Kind::SaInit && self.begin_anew(env, number) {
            return;
        }
        let exchange = match kind {
            Kind::SaInit => ExchangeType::IKE_SA_INIT,
            Kind::Intermediate => ExchangeType::IKE_INTERMEDIATE,
            _ => ExchangeType::IKE_AUTH,
        };
        let port = self.contexts.get(number).map(|x| x.path.local.port);
        let nat_port = port.is_some_and(|port| port != self.config.ports.ike);
        let failure = match (hint, self.too_long_for_paths(number)) {
            (Some(NotifyType::NO_PROPOSAL_CHOSEN), _) => Failure::ProposalRefused,
            (Some(NotifyType::USE_PPK), _) => Failure::PpkNotShared,
            (None, _) if unusable => Failure::AnswerUnusable { tries },
            (None, Some(len)) => Failure::FragmentationNeeded { exchange, tries, len },
            _ => Failure::PeerSilent { exchange, tries, nat_port, hint },
        };
        self.handshake_failed(env, number, failure);
    }

    /// Ends a handshake of ours, or one of the peer's, with a failure to tell.
    pub(crate) fn handshake_failed(&mut self, env: &mut Env<'_>, number: u32, failure: Failure) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, ours) = (x.sa, x.ours);
        let child = self.contexts.handshake(number).filter(|_| ours).map(|(_, h)| h.child);
        self.fail(env, number, child, failure);
        self.release_larval(env, sa);
    }

    /// Gives back an SA that never was established, with the children that waited for it.
    pub(crate) fn release_larval(&mut self, env: &mut Env<'_>, number: u32) {
        if !self.sa(number).is_some_and(|sa| sa.state == SaState::Larval) {
            return;
        }
        while let Some(child) = self.sa(number).and_then(|sa| sa.children.checked_sub(1)) {
            self.child_down(env, child, DownReason::IkeGone);
        }
        self.release_sa(number);
    }

    /// Gives an exchange that waits for the caller, or for a half-open peer, a last moment.
    pub(crate) fn give_up_after(&mut self, env: &Env<'_>, number: u32, after: Duration) {
        self.deadlines.set(self.context_node(number), Some(env.now.after(after)));
    }

    /// Begins to send a request until it is answered.
    pub(crate) fn send_request(&mut self, env: &Env<'_>, number: u32) {
        let Some(sa) = self.contexts.get(number).map(|x| x.sa) else { return };
        let Some(rules) = self.peer_of(sa).map(|p| p.retransmission) else { return };
        let handshake = self.contexts.is_handshake(number);
        let Some(x) = self.contexts.get(number) else { return };
        let message_id = x.message_id;
        if let Some(slot) = self.sas.get_mut(sa as usize)
            && !handshake
        {
            slot.sa.send_id = message_id.wrapping_add(1);
        }
        x.stage = Stage::Response;
        x.sent = 0;
        let (retransmit, at) = crate::retransmit::Retransmit::start(env.now, &rules);
        x.retransmit = retransmit;
        x.again_at = at;
        self.transmits.push(number);
        self.deadlines.set(self.context_node(number), Some(at));
        // Fragments of an answer to an earlier request, perhaps with other keys.
        self.forget_partial(sa, true);
        self.count_message(env, sa, message_id);
    }

    /// The numbers of an IKE SA's messages come to an end: it is replaced.
    pub(crate) fn count_message(&mut self, env: &Env<'_>, number: u32, message_id: u32) {
        if message_id == MANY_MESSAGES
            && let Some(sa) = self.sa(number)
        {
            sa.rekey_at = env.now;
            self.schedule_sa(env.now, number);
        }
    }

    /// Sends a response, and keeps it for a peer that asks again.
    pub(crate) fn send_response(&mut self, env: &Env<'_>, number: u32, keep: Duration) {
        let Some(x) = self.contexts.get(number) else { return };
        x.stage = Stage::Answered;
        x.sent = 0;
        self.transmits.push(number);
        self.give_up_after(env, number, keep);
    }
}

/// The instant `time` from now, less a random part of its tenth, so that the two sides do not rekey at once (RFC 7296 section 2.8).
pub(crate) fn jittered(env: &mut Env<'_>, time: Duration) -> Instant {
    let at = env.now.after(time);
    if at == Instant::MAX {
        return at;
    }
    // Without a division: a processor of 32 bits has none for 64.
    let share = u64::from(env.rng.next_u32() / 10);
    let micros = at.as_micros().saturating_sub(env.now.as_micros());
    let (high, low) = (micros >> 32, micros & u64::from(u32::MAX));
    let part = high.saturating_mul(share).saturating_add(low.saturating_mul(share) >> 32);
    Instant::from_micros(at.as_micros().saturating_sub(part))
}

//! What an SA of IKEv1 does next, and what time brings. Unlike in IKEv2, several exchanges of ours run at once.

use core::time::Duration;

use ipsec_core::crypto::Provider;
use ipsec_core::time::Instant;

use super::bundle::Deletion;
use super::{Kind, Step};
use crate::auth::{SIGNATURES, Untrusted};
use crate::child_sa::{self, ChildState};
use crate::engine::{Env, Ike};
use crate::event::{ChildRef, DownReason, Failure};
use crate::exchange::{self, Maybe, Stage, Work};
use crate::ike_sa::{self, SaState};
use crate::jobs::Answer;
use crate::timer::{HANDSHAKE_TIMEOUT, jittered};
use crate::v2::configuration::CONFIGURATION;
use crate::v2::disturbed::TRIES_IF_DISTURBED;
use crate::wire::v1::ExchangeType;
use crate::wire::{self, NotifyType};

/// Aggressive Mode's second message is repeated so often by the clock: nobody has proven anything (amplification).
const AGGRESSIVE_REPEATS: u8 = 1;
/// What we say after a last message of ours leaves so much later. Peers that handle messages in several threads end the SA
/// when they come upon Quick Mode first.
const PAUSE: Duration = Duration::from_millis(100);
/// An IKE SA that is to take another one's place may come to nothing: so long after it was begun, another one is.
const RENEW_AGAIN: Duration = Duration::from_secs(300);

impl<P: Provider> Ike<'_, P> {
    /// Begins all work of an SA that there is room for.
    pub(crate) fn v1_next_task(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(sa) = self.sa(number) else { return };
        if !matches!(sa.state, SaState::Established | SaState::Rekeyed) {
            return;
        }
        let want = sa.want;
        if want & ike_sa::want::CLOSE != 0 {
            return self.phase1_close(env, number);
        }
        let (heard, since) = (sa.heard, self.phase1(number).map(|phase1| phase1.since));
        let until = since.map_or(Instant::ZERO, |since| since.after(PAUSE));
        if until > env.now && Some(heard) <= since && self.has_last_word(number) {
            return self.deadlines.set(number, Some(until));
        }
        let mut room = true;
        if want & ike_sa::want::CHILD != 0 {
            room = self.v1_child_tasks(env, number);
        }
        if want & ike_sa::want::LIVENESS != 0 {
            room &= self.dpd_begin(env, number);
        }
        if want & ike_sa::want::REKEY != 0 {
            room &= self.phase1_renew(env, number);
        }
        if !room {
            self.schedule_sa(env.now, number);
        }
    }

    /// Whether the last message before the SA came up was ours: it is kept.
    fn has_last_word(&self, sa: u32) -> bool {
        self.v1_exchange(sa, |x| {
            let entering = matches!(
                x.kind,
                exchange::Kind::V1(Kind::MainMode | Kind::Aggressive | Kind::Transaction)
            );
            entering && x.stage == Stage::Answered
        })
        .is_some()
    }

    /// What is to be done for the children: first what ends, so that nothing new takes the room to say so.
    fn v1_child_tasks(&mut self, env: &mut Env<'_>, sa: u32) -> bool {
        if let Some(sa) = self.sa(sa) {
            sa.want &= !ike_sa::want::CHILD;
        }
        let room = self.v1_each_child(env, sa, true) && self.v1_each_child(env, sa, false);
        if let Some(sa) = self.sa(sa)
            && !room
        {
            sa.want |= ike_sa::want::CHILD;
        }
        room
    }

    /// What is to be done for the children that end, or for the others. `false` if there is no room for some of it.
    fn v1_each_child(&mut self, env: &mut Env<'_>, sa: u32, ends: bool) -> bool {
        let mut room = true;
        let mut next = self.sa(sa).map_or(0, |sa| sa.children);
        while let Some(number) = next.checked_sub(1) {
            let Some(child) = self.child(number) else { break };
            next = child.next;
            let (want, state) = (child.want, child.state);
            if ends != (want & child_sa::want::DELETE != 0) {
                continue;
            }
            if ends {
                room &= self.v1_delete_child(env, sa, number);
            } else if want & child_sa::want::REKEY != 0 && state == ChildState::Established {
                room &= self.quick_begin(env, number, true);
            } else if want & child_sa::want::CREATE != 0 {
                room &= self.quick_begin(env, number, false);
            } else {
                child.want = 0;
            }
        }
        room
    }

    /// Deletes a child, and tells the peer so. `false` if there is no room.
    pub(super) fn v1_delete_child(&mut self, env: &mut Env<'_>, sa: u32, number: u32) -> bool {
        let Some(child) = self.child(number) else { return true };
        let (deletion, reason) = (Deletion::of(child), child.reason);
        let larval = child.state == ChildState::Larval;
        if !larval && !self.v1_say_deleted(env, sa, deletion) {
            return false;
        }
        if reason == DownReason::Rekeyed && !larval {
            self.child_lingers(env, number);
        } else {
            self.child_down(env, number, reason);
        }
        true
    }

    /// Tells the peer that all is over: its children, as far as there is room to say so, and the SA.
    pub(super) fn phase1_close(&mut self, env: &mut Env<'_>, number: u32) {
        self.forget_kept(env, number);
        let mut next = self.sa(number).map_or(0, |sa| sa.children);
        while let Some(index) = next.checked_sub(1) {
            let Some(child) = self.child(index) else { break };
            next = child.next;
            let deletion = Deletion::of(child);
            let up = matches!(child.state, ChildState::Established | ChildState::Leaving);
            let room = self.free_exchanges.len().min(self.buffers.free());
            if up && room > deletion.messages() {
                let _ = self.v1_say_deleted(env, number, deletion);
            }
        }
        let Some((spi_i, spi_r, reason)) = self.sa(number).map(|sa| (sa.spi_i, sa.spi_r, sa.down))
        else {
            return;
        };
        let _ = self.v1_say(env, number, &mut |w| w.delete_isakmp(spi_i, spi_r));
        self.v1_end_exchanges(env, number);
        self.sa_down(env, number, reason);
    }

    /// Makes another IKE SA with the same peer, which takes the children. `false` if there is no room.
    fn phase1_renew(&mut self, env: &mut Env<'_>, number: u32) -> bool {
        let Some(sa) = self.sa(number) else { return true };
        if sa.state != SaState::Established {
            sa.want &= !ike_sa::want::REKEY;
            return true;
        }
        let (peer, path) = (sa.peer, sa.path);
        if self.wants_user(peer) {
            // Only a client can: its user may have to be asked.
            if let Some(sa) = self.sa(number) {
                sa.want &= !ike_sa::want::REKEY;
            }
            return true;
        }
        // One that stands for many peers has a larval SA with one of them.
        let begun = self.sas_of(peer, 0).any(|(_, sa)| {
            sa.state == SaState::Larval
                && sa.initiator
                && sa.path.remote.address == path.remote.address
        });
        let config = ChildRef { peer, child: 0 };
        let started = begun || self.phase1_start(env, config, path).is_ok();
        let again = jittered(env, RENEW_AGAIN);
        if started && let Some(sa) = self.sa(number) {
            sa.want &= !ike_sa::want::REKEY;
            sa.rekey_at = again;
        }
        started
    }

    // ---- time ----

    /// The deadline of a context.
    pub(crate) fn v1_timeout(&mut self, env: &mut Env<'_>, number: u32, kind: Kind) {
        let Some(x) = self.contexts.get(number) else { return };
        let (stage, sa) = (x.stage, x.sa);
        match stage {
            Stage::Free | Stage::Ended => {}
            Stage::Response => self.v1_repeat(env, number, kind),
            Stage::Answered => {
                let larval = self.contexts.is_handshake(number);
                self.end_exchange(env, number);
                if larval {
                    self.release_larval(env, sa);
                }
            }
            Stage::Job => self.v1_job_failed(env, number),
            Stage::Install(_) => self.quick_not_installed(env, number),
        }
    }

    /// Sends a message again, or gives the peer up.
    fn v1_repeat(&mut self, env: &mut Env<'_>, number: u32, kind: Kind) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, step, ours) = (x.sa, x.v1.step, x.ours);
        if kind == Kind::QuickMode && step == Step::Fourth {
            x.v1.step = Step::Second;
            return self.commit_over(env, number);
        }
        let doubted = !x.failure.is_nothing();
        let Some(mut rules) = self.peer_of(sa).map(|p| p.retransmission) else { return };
        let handshake = self.contexts.handshake(number);
        let (hint, disturbed) = handshake.map_or((None, false), |(_, h)| (h.hint, h.disturbed));
        if doubted || disturbed || hint.is_some() {
            rules.tries = rules.tries.min(TRIES_IF_DISTURBED);
        }
        if kind == Kind::Aggressive && !ours {
            rules.tries = rules.tries.min(AGGRESSIVE_REPEATS);
        }
        let Some(x) = self.contexts.get(number) else { return };
        if let Some(at) = x.retransmit.again(env.now, &rules) {
            x.again_at = at;
            if kind == Kind::Dpd && self.dpd_write(number, sa).is_err() {
                return self.end_exchange(env, number);
            }
            // A responder of Aggressive Mode does not go on asking for the third message, without which it is deaf to this one.
            let third = self.v1_exchange(sa, |x| {
                x.kind == exchange::Kind::V1(Kind::Aggressive) && x.stage == Stage::Answered
            });
            if let Some(third) =
                third.filter(|_| matches!(kind, Kind::QuickMode | Kind::Dpd) && ours)
            {
                let _ = self.v1_again(third);
            }
            self.transmits.push(number);
            self.deadlines.set(self.context_node(number), Some(at));
            return;
        }
        let (tries, port, since) = (x.retransmit.sent(), x.path.local.port, x.v1.since);
        let nat_port = port != self.config.ports.ike;
        let failure =
            self.contexts.get(number).and_then(|x| x.failure.take()).map(|(_, failure)| failure);
        match kind {
            Kind::Aggressive if !ours => {
                // The rest is up to the initiator.
                if let Some(x) = self.contexts.get(number) {
                    x.stage = Stage::Answered;
                }
                self.give_up_after(env, number, HANDSHAKE_TIMEOUT);
            }
            Kind::MainMode | Kind::Aggressive => {
                if self.phase1_anew(env, number) {
                    return;
                }
                let exchange = if kind == Kind::MainMode {
                    ExchangeType::IDENTITY_PROTECTION
                } else {
                    ExchangeType::AGGRESSIVE
                };
                let failure = failure.unwrap_or(match hint {
                    Some(_) if step == Step::Sixth => Failure::AuthenticationRefused,
                    Some(NotifyType::NO_PROPOSAL_CHOSEN) => Failure::ProposalRefused,
                    hint => Failure::PeerSilent {
                        nat_port,
                        exchange: wire::ExchangeType(exchange.0),
                        tries,
                        hint,
                    },
                });
                self.phase1_abandoned(env, number, failure);
            }
            // The peer lives: it refuses this child only, or has no room for it.
            Kind::QuickMode if ours && self.sa(sa).is_some_and(|sa| sa.heard > since) => {
                let exchange = wire::ExchangeType(ExchangeType::QUICK_MODE.0);
                let silent = Failure::PeerSilent { nat_port, exchange, tries, hint };
                self.quick_disown(env, number, silent);
            }
            Kind::QuickMode | Kind::Dpd if ours => {
                self.v1_end_exchanges(env, sa);
                self.sa_down(env, sa, DownReason::PeerSilent { tries });
            }
            Kind::Transaction if CONFIGURATION && ours => {
                self.transaction_silent(env, number, tries)
            }
            Kind::QuickMode => self.quick_unconfirmed(env, number),
            _ => self.end_exchange(env, number),
        }
    }

    // ---- jobs ----

    /// The peer's public value of a key exchange.
    pub(crate) fn v1_peer_public(&self, number: u32, kind: Kind) -> Option<&[u8]> {
        match kind {
            Kind::MainMode | Kind::Aggressive => self.phase1_peer_public(number),
            _ => self.v1_parked(number)?.ke,
        }
    }

    /// The answer to a job.
    pub(crate) fn v1_job_done(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        kind: Kind,
        answer: Answer<'_, P>,
    ) {
        let Some(x) = self.contexts.get(number) else { return };
        match (x.work, answer) {
            (Work::Generate, Answer::Generated { kx, public }) => {
                x.kx = Maybe::Just(kx);
                x.work = Work::None;
                match kind {
                    Kind::MainMode => self.main_key(env, number, public),
                    Kind::Aggressive => self.aggressive_first(env, number, public),
                    Kind::QuickMode => self.quick_request(env, number, Some(public)),
                    _ => {}
                }
            }
            (Work::Respond, Answer::Responded { secret, public }) => {
                x.work = Work::None;
                match kind {
                    Kind::MainMode => self.main_respond(env, number, secret.as_ref(), public),
                    Kind::Aggressive => {
                        self.aggressive_respond(env, number, secret.as_ref(), public);
                    }
                    Kind::QuickMode => {
                        self.quick_respond(env, number, Some((secret.as_ref(), public)));
                    }
                    _ => {}
                }
            }
            (Work::Agree, Answer::Agreed { secret }) => {
                x.work = Work::None;
                match kind {
                    Kind::MainMode => self.main_agreed(env, number, secret.as_ref()),
                    Kind::Aggressive => self.aggressive_agreed(env, number, secret.as_ref()),
                    Kind::QuickMode => self.quick_agreed(env, number, Some(secret.as_ref())),
                    _ => {}
                }
            }
            (Work::Sign, Answer::Signed(signature)) if SIGNATURES => {
                self.phase1_signed(env, number, kind, signature);
            }
            (Work::Verify, Answer::Verified) if SIGNATURES => {
                self.phase1_verified(env, number, kind)
            }
            (Work::Verify, Answer::Refused(reason)) if SIGNATURES => {
                self.phase1_untrusted(env, number, kind, reason);
            }
            (Work::User, Answer::User(known)) if CONFIGURATION => {
                x.work = Work::None;
                self.user_answered(env, number, known);
            }
            (_, Answer::Failed(_)) => self.v1_job_failed(env, number),
            _ => {}
        }
    }

    /// A job failed, or was never done: a degenerate public value, hardware, a caller that forgot it.
    fn v1_job_failed(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let exchange::Kind::V1(kind) = x.kind else { return };
        let (ours, work) = (x.ours, x.work);
        let agreeing = work == Work::Agree;
        let (sa, path) = (x.sa, x.path);
        match kind {
            Kind::MainMode | Kind::Aggressive if SIGNATURES && work == Work::Verify => {
                self.phase1_untrusted(env, number, kind, Untrusted::NotVerified);
            }
            Kind::MainMode | Kind::Aggressive if SIGNATURES && work == Work::Sign => {
                self.handshake_failed(env, number, Failure::NotSigned);
            }
            // Nobody vouches for the value that we could not use.
            Kind::Aggressive if ours && agreeing => {
                self.aggressive_doubt(number, Failure::Crypto);
            }
            Kind::MainMode if !ours && self.main_await_third(env, number) => {}
            Kind::MainMode | Kind::Aggressive => {
                if agreeing {
                    self.phase1_disturbed(sa);
                }
                if !self.phase1_anew(env, number) {
                    self.handshake_failed(env, number, Failure::Crypto);
                }
            }
            // Who cannot be checked is not let in.
            Kind::Transaction if CONFIGURATION => self.user_answered(env, number, false),
            Kind::QuickMode if ours && agreeing => self.quick_disown(env, number, Failure::Crypto),
            Kind::QuickMode if ours => self.quick_abandon(env, number, Failure::Crypto),
            _ => {
                let peer = self.sa(sa).map(|sa| sa.peer);
                self.refuse(peer, None, path, Failure::Crypto);
                self.end_exchange(env, number);
            }
        }
    }
}

//! Two rekeys of one IKE SA at once, one of either side (RFC 7296 sections 2.8.2 and 2.25.2).
//!
//! Each side answers the other's as usual. Of the two SAs that would replace the old one, the one whose exchange had the
//! lowest of the four nonces goes; whoever asked for it deletes it, and the old one is deleted by who asked for the
//! survivor. The SA that is made first waits with the exchange that makes the other: it is heard, but not yet used. If that
//! other one does not come about, or the peer uses the first, the first it is.

use ipsec_core::crypto::Provider;

use crate::engine::{Env, Ike};
use crate::exchange::{Kind, Stage};
use crate::ike_sa::{self, SaState};
use crate::timer::CALLER_TIMEOUT;

/// An SA that waits, and the lower nonce of its exchange.
#[derive(Clone, Copy)]
pub(crate) struct Rival {
    /// Its slot, plus one.
    pub(crate) sa: u32,
    pub(crate) nonce: [u8; 16],
}

impl Rival {
    /// None: what an empty slot holds.
    pub(crate) const NONE: Self = Self { sa: 0, nonce: [0; 16] };

    /// The SA in slot `sa`, made with these nonces.
    pub(crate) fn new(sa: u32, (ni, nr): (&[u8], &[u8])) -> Self {
        let mut nonce = [0; 16];
        // Octet by octet (RFC 7296 section 2.8.1); a nonce has at least 16.
        ipsec_core::bytes::copy_prefix(&mut nonce, ni.min(nr).get(..16).unwrap_or_default());
        Self { sa: sa.saturating_add(1), nonce }
    }
}

impl<P: Provider> Ike<'_, P> {
    /// Our rekey of `sa` under way.
    pub(crate) fn own_rekey(&mut self, sa: u32) -> Option<u32> {
        let ours = self.sa(sa)?.ours.checked_sub(1)?;
        self.contexts.exchange(ours).filter(|x| x.kind == Kind::RekeyIke).map(|_| ours)
    }

    /// The peer's rekey of `sa`, which is not answered yet.
    fn their_rekey(&mut self, sa: u32) -> Option<u32> {
        let theirs = self.sa(sa)?.theirs.checked_sub(1)?;
        let x = self.contexts.exchange(theirs)?;
        let under_way = x.stage == Stage::Job || x.stage == Stage::Answered && x.successor != 0;
        (x.kind == Kind::RekeyIke && under_way).then_some(theirs)
    }

    /// The exchange `number` has made an SA to replace `old`. It takes over, or waits for the exchange that makes another,
    /// or is the one that goes.
    pub(crate) fn successor_made(&mut self, env: &mut Env<'_>, number: u32, old: u32, made: Rival) {
        let Some(x) = self.contexts.get(number) else { return };
        let (ours, kept) = (x.ours, core::mem::replace(&mut x.rival, Rival::NONE));
        x.successor = 0;
        let Some(slot) = made.sa.checked_sub(1) else { return };
        if self.sa(old).is_none_or(|sa| sa.state != SaState::Established) {
            // The peer uses the other one already.
            self.lose(env, old, slot, ours);
            return;
        }
        if let Some(first) = kept.sa.checked_sub(1) {
            // The other was made by the exchange of the other side.
            let loses = made.nonce < kept.nonce;
            let (winner, loser) = if loses { (first, slot) } else { (slot, first) };
            let winner_is_ours = ours != loses;
            self.lose(env, old, loser, !winner_is_ours);
            self.succeed(env, old, winner, winner_is_ours, number);
            return;
        }
        let other = if ours { self.their_rekey(old) } else { self.own_rekey(old) };
        match other.and_then(|other| self.contexts.get(other)) {
            Some(other) => {
                other.rival = made;
                self.stand_by(env, old, slot);
            }
            None => self.succeed(env, old, slot, ours, number),
        }
    }

    /// An SA takes the place that it has with the peer already: it is heard.
    fn stand_by(&mut self, env: &Env<'_>, old: u32, number: u32) {
        let id = self.ike_id(old);
        let Some(sa) = self.sa(old) else { return };
        let (peer, path, ends, identity) = (sa.peer, sa.path, sa.ends(), sa.identity);
        let moving = sa.moving();
        let Some(new) = self.sa(number) else { return };
        new.state = SaState::Waiting;
        new.replaced = true; // it has not been told of, and perhaps never is
        new.replaces = Some(id);
        new.peer = peer;
        new.path = path;
        new.proven = ends.proven;
        new.identity = identity;
        new.take_moving(moving);
        new.nat_local = ends.nat_local;
        new.nat_remote = ends.nat_remote;
        new.heard = env.now;
        new.sent = env.now;
    }

    /// An SA is not the one that stays. `ours`: we asked for it, and delete it.
    fn lose(&mut self, env: &mut Env<'_>, old: u32, number: u32, ours: bool) {
        self.stand_by(env, old, number);
        let Some(sa) = self.sa(number) else { return };
        sa.state = SaState::Rekeyed;
        sa.nat_local = false; // one of them keeps the NAT's mapping
        sa.want = if ours { ike_sa::want::CLOSE } else { 0 };
        // If its deletion gets lost, it ends by itself.
        sa.expire_at = env.now.after(CALLER_TIMEOUT);
        self.schedule_sa(env.now, number);
        self.next_task(env, number);
    }

    /// The exchange that a waiting SA waited for came to nothing: it takes over, unless the old one has ended with it.
    ///
    /// `ours`: the exchange that ended was ours, and the waiting SA is the peer's.
    pub(crate) fn rival_left(&mut self, env: &mut Env<'_>, old: u32, rival: Rival, ours: bool) {
        let Some(number) = rival.sa.checked_sub(1) else { return };
        if self.sa(number).is_none_or(|sa| sa.state != SaState::Waiting) {
            return;
        }
        if self.sa(old).is_some_and(|sa| sa.state == SaState::Established) {
            self.succeed(env, old, number, !ours, u32::MAX);
        } else {
            self.release_waiting(env, number);
        }
    }

    /// The peer uses a waiting SA, or has deleted the one that it is to replace: it takes over.
    pub(crate) fn prefer(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(old) = self.waits_for(number) else { return };
        let context = self.keeper_of(old, number);
        let ours = context.is_some_and(|c| self.contexts.exchange(c).is_some_and(|x| x.ours));
        if let Some(x) = context.and_then(|c| self.contexts.get(c)) {
            x.rival = Rival::NONE;
        }
        self.succeed(env, old, number, !ours, u32::MAX);
    }

    /// The SA that waits to replace `old`.
    pub(crate) fn waiting_for(&mut self, old: u32) -> Option<u32> {
        let sa = self.sa(old)?;
        let contexts = [sa.ours, sa.theirs].into_iter().filter_map(|n| n.checked_sub(1));
        contexts.into_iter().find_map(|c| self.contexts.exchange(c)?.rival.sa.checked_sub(1))
    }

    /// A waiting SA has ended.
    pub(crate) fn release_waiting(&mut self, env: &mut Env<'_>, number: u32) {
        if let Some(old) = self.waits_for(number)
            && let Some(context) = self.keeper_of(old, number)
            && let Some(x) = self.contexts.get(context)
        {
            x.rival = Rival::NONE;
        }
        if let Some(context) = self.sa(number).and_then(|sa| sa.theirs.checked_sub(1)) {
            self.end_exchange(env, context);
        }
        self.release_sa(number);
    }

    /// What a waiting SA is to replace.
    fn waits_for(&mut self, number: u32) -> Option<u32> {
        let sa = self.sa(number).filter(|sa| sa.state == SaState::Waiting)?;
        let old = sa.replaces?;
        self.sa_number(old)
    }

    /// The exchange of `old` that keeps a waiting SA.
    fn keeper_of(&mut self, old: u32, number: u32) -> Option<u32> {
        let sa = self.sa(old)?;
        let contexts = [sa.ours, sa.theirs].into_iter().filter_map(|n| n.checked_sub(1));
        let wanted = number.saturating_add(1);
        contexts
            .into_iter()
            .find(|c| self.contexts.exchange(*c).is_some_and(|x| x.rival.sa == wanted))
    }
}

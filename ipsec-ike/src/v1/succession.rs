//! When an IKE SA of version 1 is up, how long it may live, and what becomes of the children of the one whose place it takes.

use ipsec_core::crypto::Provider;
use ipsec_core::time::Instant;

use super::Kind;
use crate::child_sa::{self, ChildState};
use crate::engine::{Env, Ike};
use crate::event::DownReason;
use crate::exchange::{self, Exchange};
use crate::ike_sa::{self, SaState};
use crate::timer::{LINGER, jittered};

impl<P: Provider> Ike<'_, P> {
    /// All is done that has to come before: the SA is up.
    pub(super) fn phase1_stands(&mut self, env: &mut Env<'_>, sa: u32) {
        let Some((peer, identity)) = self.sa(sa).map(|sa| (sa.peer, sa.identity)) else { return };
        let before = self.sas_of(peer, identity).find(|(number, old)| {
            *number != sa
                && old.is_v1()
                && old.state == SaState::Established
                && (old.identity == identity || old.identity == 0)
        });
        let before = before.map(|(number, _)| number);
        self.sa_up(env, sa);
        self.phase1_limit(env, sa);
        let now = env.now;
        let began = self.phase1_mut(sa).map(|phase1| core::mem::replace(&mut phase1.since, now));
        let began = began.unwrap_or(now);
        match before {
            Some(old) if self.phase1_yields(env, sa, old, began) => self.next_task(env, old),
            Some(old) => {
                self.phase1_replaces(env, sa, old);
                self.phase1_confirm(sa);
                self.next_task(env, sa);
            }
            None => self.next_task(env, sa),
        }
    }

    /// Both sides began at once, neither knowing of the other's, and each has two IKE SAs, perhaps in another order than the
    /// other: the one with the lower cookie stays on both. Says whether that is `old`; it then has the children of `sa`. Not
    /// where one side is given addresses: only that one begins.
    fn phase1_yields(&mut self, env: &mut Env<'_>, sa: u32, old: u32, began: Instant) -> bool {
        let slot = |number| self.sas.get(number as usize).map(|slot| &slot.sa);
        let (Some(new), Some(first)) = (slot(sa), slot(old)) else { return false };
        let unknowing = self.phase1(old).is_some_and(|old| began < old.known);
        let given = [sa, old].iter().any(|number| {
            let inner = self.phase1(*number).is_some_and(|phase1| !phase1.inner.is_empty());
            inner || slot(*number).is_some_and(|sa| sa.lease != 0)
        });
        let crossed = !given && new.initiator != first.initiator && unknowing;
        if !crossed || new.spi_i < first.spi_i {
            return false;
        }
        self.phase1_inherits(sa, old);
        if let Some(new) = self.sa(sa) {
            new.tell &= !ike_sa::tell::UP;
        }
        self.phase1_lingers(env, sa, old);
        true
    }

    /// When an SA ends, and when it is replaced before: by the shorter of both sides' lifetimes. The responder waits for the
    /// initiator to do so first.
    fn phase1_limit(&mut self, env: &mut Env<'_>, sa: u32) {
        let Some(phase1) = self.phase1(sa) else { return };
        let time = phase1.lifetime.time();
        let (rekey_at, expire_at) = (jittered(env, super::shortened(time)), env.now.after(time));
        let Some(slot) = self.sa(sa) else { return };
        slot.expire_at = slot.expire_at.min(expire_at);
        slot.rekey_at = slot.rekey_at.min(rekey_at);
        if !slot.initiator {
            let (rekey, expire) = (slot.rekey_at.as_micros(), slot.expire_at.as_micros());
            let half = expire.saturating_sub(rekey) >> 1;
            slot.rekey_at = Instant::from_micros(rekey.saturating_add(half));
        }
        self.schedule_sa(env.now, sa);
    }

    /// A new IKE SA takes the place and the children of another one.
    fn phase1_replaces(&mut self, env: &mut Env<'_>, sa: u32, old: u32) {
        let replaces = self.ike_id(old);
        self.inherit_lease(sa);
        self.phase1_inherits(old, sa);
        if let Some(new) = self.sa(sa) {
            new.replaces = Some(replaces);
            new.tell = new.tell & !ike_sa::tell::UP | ike_sa::tell::REKEYED;
        }
        self.phase1_lingers(env, old, sa);
    }

    /// Nothing tells an initiator of Aggressive Mode that its third message has arrived, and the old SA ends soon: it asks.
    fn phase1_confirm(&mut self, sa: u32) {
        let third = |x: &Exchange<P>| x.kind == exchange::Kind::V1(Kind::Aggressive);
        let unsure = self.v1_exchange(sa, third).is_some();
        let asks = self.phase1(sa).is_some_and(|phase1| phase1.dpd) && unsure;
        if let Some(slot) = self.sa(sa).filter(|slot| slot.initiator && asks) {
            slot.want |= ike_sa::want::LIVENESS;
        }
    }

    /// An IKE SA has been replaced: it stays for what is on the way. Should the two sides disagree about which of two stays,
    /// the one with the lower cookie is ended first, and so by one side only: the other then goes on with what is left.
    fn phase1_lingers(&mut self, env: &mut Env<'_>, number: u32, heir: u32) {
        let of_heir = self.sa(heir).map_or(0, |heir| heir.spi_i);
        if let Some(sa) = self.sa(number) {
            let time = if sa.spi_i < of_heir { LINGER } else { LINGER.saturating_mul(2) };
            sa.state = SaState::Rekeyed;
            sa.replaced = true;
            sa.want = 0;
            sa.down = DownReason::Rekeyed;
            sa.expire_at = sa.expire_at.min(env.now.after(time));
        }
        self.schedule_sa(env.now, number);
    }

    /// An IKE SA is too old, or has stayed long enough after it was replaced. The peer may mean to keep it, and is told (RFC 2408
    /// section 3.15): else it would ask there whether we live, and get no answer.
    pub(crate) fn phase1_expired(&mut self, env: &mut Env<'_>, number: u32) {
        if let Some(sa) = self.sa(number).filter(|sa| !sa.replaced) {
            sa.down = DownReason::Expired;
        }
        self.phase1_close(env, number);
    }

    /// Moves the children of one IKE SA to another. One that is being made follows when it stands.
    pub(super) fn phase1_inherits(&mut self, from: u32, to: u32) {
        let mut next = self.sa(from).map_or(0, |sa| sa.children);
        while let Some(number) = next.checked_sub(1) {
            let Some(child) = self.child(number) else { return };
            next = child.next;
            let wanted = number.saturating_add(1);
            if self.v1_exchange(from, |x| x.negotiation.child == wanted).is_none() {
                self.phase1_moves(number, to);
            }
        }
    }

    fn phase1_moves(&mut self, number: u32, to: u32) {
        let slot = |number: u32| self.sas.get(number as usize).map(|slot| &slot.sa);
        let Some(child) = self.children.get(number as usize).map(|slot| &slot.child) else {
            return;
        };
        let (from, encapsulated, wants) = (child.ike, child.encapsulated, child.want != 0);
        let path = |number| slot(number).map(|sa| sa.data_path(encapsulated));
        // A NAT may have moved the peer since.
        let moved = slot(to).is_some_and(|sa| sa.nat_remote) && path(to) != path(from);
        self.disown_child(number);
        self.adopt_child(to, number);
        let node = self.child_node(number);
        let child = self.child(number).filter(|_| moved);
        let lives = [ChildState::Established, ChildState::Leaving];
        if let Some(child) = child.filter(|child| lives.contains(&child.state)) {
            child.tell |= child_sa::tell::MOVED;
            self.events.push(node);
        }
        if wants && let Some(sa) = self.sa(to) {
            sa.want |= ike_sa::want::CHILD;
        }
    }

    /// A child stands: if its IKE SA has been replaced meanwhile, it belongs to the new one.
    pub(super) fn phase1_follow(&mut self, sa: u32, child: u32) {
        let Some(old) = self.sa(sa).filter(|sa| sa.state == SaState::Rekeyed) else { return };
        let (peer, identity) = (old.peer, old.identity);
        let heir = self.sas_of(peer, identity).find(|(_, sa)| {
            sa.is_v1() && sa.state == SaState::Established && sa.identity == identity
        });
        if let Some((heir, _)) = heir {
            self.phase1_moves(child, heir);
        }
    }
}

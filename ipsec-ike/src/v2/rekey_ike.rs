//! CREATE_CHILD_SA for the IKE SA itself: new keys, and all children with them (RFC 7296 sections 1.3.2 and 2.18).

use ipsec_core::bytes;
use ipsec_core::crypto::{Group, Provider};
use ipsec_core::path::Path;
use ipsec_core::selector::Flow;

use super::auth::Nonce;
use super::followup::{LINK_LEN, Secrets};
use super::message::Inner;
use super::negotiation::Refusal;
use super::rivals::Rival;
use crate::child_sa::{self, Negotiation};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::{ChildRef, Failure};
use crate::exchange::{Kind, Stage, Work};
use crate::ike_sa::{self, SaState};
use crate::keymat::{AuthKeys, Skeyseed};
use crate::proposal::{self, Implemented};
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT, RESPONSE_KEPT, RETRY, jittered};
use crate::wire::{Collected, ExchangeType, Header, Notify, NotifyType};

/// Other groups that a request tries.
const MAX_RETRIES: u8 = 3;

impl<P: Provider> Ike<'_, P> {
    // ---- we ask ----

    /// Begins to replace an IKE SA. `false` if there is no room.
    pub(crate) fn rekey_ike_begin(&mut self, env: &mut Env<'_>, sa: u32) -> bool {
        if let Some(sa) = self.sa(sa)
            && sa.state != SaState::Established
        {
            sa.want &= !ike_sa::want::REKEY;
            return true;
        }
        let group = self.sa(sa).map_or(Group::NONE, |sa| sa.choice.group);
        let begun = self.rekey_ike_ask(env, sa, group, 0);
        if let Some(sa) = self.sa(sa)
            && begun
        {
            sa.want &= !ike_sa::want::REKEY;
        }
        begun
    }

    fn rekey_ike_ask(&mut self, env: &mut Env<'_>, sa: u32, group: Group, retries: u8) -> bool {
        if self.sa(sa).is_none_or(|sa| sa.state != SaState::Established) {
            return true; // the peer's rekey has replaced it meanwhile
        }
        if !self.may_ask(sa) {
            return false;
        }
        let Some(successor) = self.new_sa(env, true) else { return false };
        let Some(number) = self.begin_request(sa, Kind::RekeyIke) else {
            self.release_sa(successor);
            return false;
        };
        if let Some(x) = self.contexts.get(number) {
            env.rng.fill_bytes(&mut x.nonce);
            x.group = group;
            x.retries = retries;
            x.successor = successor.saturating_add(1);
        }
        self.queue_job(number, Work::Generate);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        true
    }

    /// Sends the request.
    pub(crate) fn rekey_ike_request(&mut self, env: &mut Env<'_>, number: u32, public: &[u8]) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, group, nonce, successor) = (x.sa, x.group, x.nonce, x.successor);
        let spi = successor.checked_sub(1).and_then(|s| self.sa(s)).map_or(0, |s| s.spi_i);
        let Some(peer) = self.peer_of(sa) else { return };
        let written = self.compose(number, ExchangeType::CREATE_CHILD_SA, |w| {
            w.sa(|sa| {
                let implemented = Implemented::of::<P>();
                proposal::offer_ike(sa, peer.proposals, &implemented, &spi.to_be_bytes())
            })?;
            w.nonce(&nonce)?;
            w.ke(group, public)
        });
        if written.is_ok() {
            self.send_request(env, number);
        } else {
            self.fail(env, number, None, Failure::NoRoom);
            self.retry_rekey_ike(env, sa, RETRY);
        }
    }

    /// The peer's answer to our request.
    #[inline(never)]
    pub(crate) fn rekey_ike_response(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let (sa, group, retries) = (x.sa, x.group, x.retries);
        let successor = x.successor.checked_sub(1).ok_or(DatagramError::Stale)?;
        let peer = self.peer_of(sa).ok_or(DatagramError::Stale)?;
        let implemented = Implemented::of::<P>();
        if let Some(error) = collected.error() {
            let wanted = bytes::Reader::new(error.data).u16().map(Group);
            if let (NotifyType::INVALID_KE_PAYLOAD, Some(wanted)) = (error.kind, wanted)
                && proposal::allows_ike_group(peer.proposals, &implemented, wanted)
                && wanted != group
                && retries < MAX_RETRIES
            {
                self.end_exchange(env, number);
                if !self.rekey_ike_ask(env, sa, wanted, retries.saturating_add(1)) {
                    self.retry_rekey_ike(env, sa, RETRY);
                }
                return Ok(());
            }
            if error.kind == NotifyType::TEMPORARY_FAILURE {
                self.end_exchange(env, number);
                self.retry_rekey_ike(env, sa, RETRY);
            } else {
                self.fail(env, number, None, Failure::Refused(error.kind));
                self.retry_rekey_ike(env, sa, RETRY.saturating_mul(30));
            }
            self.next_task(env, sa);
            return Err(DatagramError::Refused);
        }
        let accepted = collected.sa.and_then(|answer| {
            let choice = proposal::accept_ike(&answer, peer.proposals, &implemented)?;
            let spi = answer.single()?.spi_u64().filter(|spi| *spi != 0)?;
            let ke = collected.ke.filter(|ke| ke.group == group && choice.group == group);
            let ke = ke.filter(|ke| group.answer_len() == Some(ke.data.len()));
            (ke.is_some() && collected.nonce.is_some()).then_some((choice, spi))
        });
        let Some((choice, spi)) = accepted else {
            self.fail(env, number, None, Failure::Protocol);
            self.retry_rekey_ike(env, sa, RETRY.saturating_mul(30));
            self.next_task(env, sa);
            return Err(DatagramError::Unexpected);
        };
        self.park(number, received)?;
        if let Some(successor) = self.sa(successor) {
            successor.choice = choice;
            successor.spi_r = spi;
        }
        self.queue_job(number, Work::Agree);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// Tries once more, after about `pause`.
    pub(crate) fn retry_rekey_ike(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        pause: core::time::Duration,
    ) {
        let at = jittered(env, pause.saturating_mul(2));
        if let Some(sa) = self.sa(sa) {
            sa.rekey_at = at;
        }
        self.schedule_sa(env.now, sa);
    }

    /// The shared secret is known: the new SA takes over, and the old one is deleted.
    pub(crate) fn rekey_ike_agreed(&mut self, env: &mut Env<'_>, number: u32, secret: &[u8]) {
        let Some((sa, ni)) = self.contexts.get(number).map(|x| (x.sa, x.nonce)) else { return };
        let nr = self.parked(number).and_then(|c| c.nonce).and_then(Nonce::copy);
        let kept = nr.map(|nr| (self.followup_keep(number, secret, (&ni, &nr)), nr));
        match kept {
            Some((Ok(false), nr)) => self.rekey_ike_made(env, number, secret, (&ni, &nr)),
            Some((Ok(true), _)) => self.followup_begin(env, number),
            Some((Err(_), _)) | None => {
                self.fail(env, number, None, Failure::NoRoom);
                self.retry_rekey_ike(env, sa, RETRY);
                self.next_task(env, sa);
            }
        }
    }

    /// All key exchanges are over.
    pub(super) fn rekey_ike_made(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: &[u8],
        nonces: (&[u8], &[u8]),
    ) {
        let Some(sa) = self.contexts.get(number).map(|x| x.sa) else { return };
        let Ok(successor) = self.derive_successor(number, secret, nonces) else {
            self.fail(env, number, None, Failure::Crypto);
            self.retry_rekey_ike(env, sa, RETRY.saturating_mul(30));
            self.next_task(env, sa);
            return;
        };
        self.successor_made(env, number, sa, successor);
        self.end_exchange(env, number);
        self.next_task(env, sa);
    }

    // ---- the peer asks ----

    /// The peer wants to replace the IKE SA.
    pub(crate) fn rekey_ike_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        path: Path,
        header: &Header,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let prepared = self.prepare_successor(env, sa, collected);
        let kind = if prepared.is_ok() { Kind::RekeyIke } else { Kind::Informational };
        let begun = self.begin_answer(env, sa, path, header, kind);
        let (number, successor) = match (begun, prepared) {
            (Ok(number), Ok(successor)) => (number, successor),
            (Ok(number), Err(refusal)) => {
                self.answer_refusal(env, number, &refusal);
                return Err(DatagramError::Refused);
            }
            (Err(e), prepared) => {
                if let Ok(successor) = prepared {
                    self.release_sa(successor);
                }
                return Err(e);
            }
        };
        let group = self.sa(successor).map_or(Group::NONE, |s| s.choice.group);
        if let Some(x) = self.contexts.get(number) {
            env.rng.fill_bytes(&mut x.nonce);
            x.successor = successor.saturating_add(1);
            x.group = group;
        }
        if self.park(number, received).is_err() {
            self.drop_negotiation(env, number);
            self.answer_refusal(env, number, &Refusal::new(NotifyType::TEMPORARY_FAILURE));
            return Err(DatagramError::NoRoom);
        }
        self.queue_job(number, Work::Respond);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// Chooses for the new SA and takes a slot for it, or says why not.
    fn prepare_successor(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        collected: &Collected<'_>,
    ) -> Result<u32, Refusal> {
        let (Some(offer), Some(ke), Some(_)) = (collected.sa, collected.ke, collected.nonce) else {
            return Err(Refusal::new(NotifyType::INVALID_SYNTAX));
        };
        let ours = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
        let kind = ours.and_then(|n| self.contexts.exchange(n)).map_or(Kind::None, |x| x.kind);
        let rekeying = self.own_rekey(sa).and_then(|n| self.contexts.exchange(n));
        let busy = match rekeying {
            // RFC 7296 section 2.8.2: both sides rekey it; the nonces tell which SA stays.
            Some(x) => x.rival.sa != 0,
            None => !matches!(kind, Kind::None | Kind::Informational | Kind::Mobike),
        };
        let colliding = rekeying.is_some();
        if busy {
            // RFC 7296 section 2.25.2: something of ours collides; the peer tries again.
            return Err(Refusal::new(NotifyType::TEMPORARY_FAILURE));
        }
        let no_room =
            if colliding { NotifyType::TEMPORARY_FAILURE } else { NotifyType::NO_ADDITIONAL_SAS };
        let peer = self.peer_of(sa).ok_or(Refusal::new(NotifyType::TEMPORARY_FAILURE))?;
        let implemented = Implemented::of::<P>();
        let chosen = proposal::choose_ike(&offer, peer.proposals, &implemented, Some(ke.group));
        let (_, choice, spi) = chosen.ok_or(Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN))?;
        if choice.group != ke.group {
            return Err(Refusal::group(choice.group));
        }
        let spi = bytes::Reader::new(spi).u64().filter(|spi| *spi != 0);
        let spi = spi.ok_or(Refusal::new(NotifyType::INVALID_SYNTAX))?;
        let of = self.sa(sa).map_or((0, 0), |sa| (sa.peer, sa.identity));
        let successor = Some(self.limit_sas(env, sa, of, false))
            .filter(|room| *room)
            .and_then(|_| self.new_sa(env, false))
            .ok_or(Refusal::new(no_room))?;
        if let Some(successor) = self.sa(successor) {
            successor.spi_i = spi;
            successor.choice = choice;
        }
        Ok(successor)
    }

    /// The shared secret is known: answers, and the new SA takes over.
    pub(crate) fn rekey_ike_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: &[u8],
        public: &[u8],
    ) {
        let Some((sa, nr)) = self.contexts.get(number).map(|x| (x.sa, x.nonce)) else { return };
        let made = self.try_rekey_ike_respond(number, secret, public, &nr);
        // RFC 7296 section 2.25.2: what is being closed meanwhile gets no successor.
        let closing = self.sa(sa).is_none_or(|sa| sa.state == SaState::Closing);
        match made {
            Ok(Some(successor)) if !closing => {
                self.release_parked(number);
                self.send_response(env, number, RESPONSE_KEPT);
                self.successor_made(env, number, sa, successor);
            }
            Ok(None) if !closing => {
                self.release_parked(number);
                self.send_response(env, number, HANDSHAKE_TIMEOUT);
            }
            _ => {
                self.drop_negotiation(env, number);
                self.answer_refusal(env, number, &Refusal::new(NotifyType::TEMPORARY_FAILURE));
            }
        }
    }

    fn try_rekey_ike_respond(
        &mut self,
        number: u32,
        secret: &[u8],
        public: &[u8],
        nr: &[u8],
    ) -> Result<Option<Rival>, DatagramError> {
        let collected = self.parked(number).ok_or(DatagramError::Stale)?;
        let ni = collected.nonce.and_then(Nonce::copy).ok_or(DatagramError::Unexpected)?;
        let offer = collected.sa.ok_or(DatagramError::Unexpected)?;
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let group = x.group;
        let peer = self.peer_of(x.sa).ok_or(DatagramError::Stale)?;
        let (proposed, choice, _) =
            proposal::choose_ike(&offer, peer.proposals, &Implemented::of::<P>(), Some(group))
                .ok_or(DatagramError::Unexpected)?;
        let slot = x.successor.saturating_sub(1);
        let more = self.followup_group(number).is_some();
        let spi = self.sa(slot).map_or(0, |s| s.spi_r).to_be_bytes();
        self.compose(number, ExchangeType::CREATE_CHILD_SA, |w| {
            w.sa(|sa| proposal::answer_ike(sa, proposed, &choice, &spi))?;
            w.nonce(nr)?;
            w.ke(group, public)?;
            if more {
                let link = nr.get(..LINK_LEN).unwrap_or_default();
                w.notify(&Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link))?;
            }
            Ok(())
        })?;
        if more {
            let kept = self.followup_keep(number, secret, (&ni, nr));
            return kept.map(|_| None).map_err(|_| DatagramError::NoRoom);
        }
        self.derive_successor(number, secret, (&ni, nr)).map(Some)
    }

    // ---- both ----

    /// The keys of the new SA (RFC 7296 section 2.18). After further key exchanges, all secrets and the nonces are those
    /// that were kept.
    pub(super) fn derive_successor(
        &mut self,
        number: u32,
        secret: &[u8],
        nonces: (&[u8], &[u8]),
    ) -> Result<Rival, DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let (old, successor) = (x.sa as usize, x.successor);
        let successor = successor.checked_sub(1).ok_or(DatagramError::Stale)?;
        let pair = self.sas.get_disjoint_mut([old, successor as usize]);
        let [old, new] = pair.map_err(|_| DatagramError::Stale)?;
        let stored = Secrets::of(self.buffers.bytes(x.secrets));
        let (secret, nonces, more) = match &stored {
            Some(s) => (s.first, (s.ni, s.nr), s.more),
            None => (secret, nonces, &[][..]),
        };
        let (old_prf, old_sk_d) = (old.sa.choice.prf, old.sa.keys.v2().sk_d());
        let seed = Skeyseed::Rekey { old_prf, old_sk_d, secret, more };
        let (choice, spi_i, spi_r) = (new.sa.choice, new.sa.spi_i, new.sa.spi_r);
        let (ni, nr) = nonces;
        let mut unused = AuthKeys::EMPTY;
        new.sa
            .keys
            .v2_mut()
            .ok_or(DatagramError::Stale)?
            .derive::<P>(&mut unused, &choice, seed, ni, nr, spi_i, spi_r)
            .map_err(|_| DatagramError::Crypto)?;
        Ok(Rival::new(successor, nonces))
    }

    /// The children of an SA go to another one: its exchanges, but for `except`, have nothing to do with them any more. Gives
    /// the new child that we were about to make.
    fn part_from_children(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        except: u32,
    ) -> Option<(ChildRef, Option<Flow>)> {
        let mut wanted = None;
        let contexts = self.sa(sa).map(|sa| [sa.ours, sa.theirs])?;
        for context in contexts.into_iter().filter_map(|n| n.checked_sub(1)) {
            let Some(x) = self.contexts.get(context).filter(|_| context != except) else {
                continue;
            };
            let (ours, kind, stage) = (x.ours, x.kind, x.stage);
            let Some(child) = x.negotiation.child.checked_sub(1) else { continue };
            if ours && kind == Kind::DeleteChild {
                x.negotiation = Negotiation::EMPTY;
                if let Some(child) = self.child(child) {
                    child.want |= child_sa::want::DELETE;
                }
                continue;
            }
            // It is not there yet: we ask again, on the new SA.
            let (packet, new) = (self.packet_of(child), self.child(child).filter(|_| ours));
            let replaces = new.as_ref().and_then(|child| child.replaces);
            if replaces.is_none() {
                wanted = new.map(|child| (child.config, packet)).or(wanted);
            }
            self.drop_negotiation(env, context);
            self.retry_rekey(env, replaces, RETRY);
            if ours && stage == Stage::Job {
                self.end_exchange(env, context);
            } else if !ours && matches!(stage, Stage::Job | Stage::Install(_)) {
                self.answer_refusal(env, context, &Refusal::new(NotifyType::TEMPORARY_FAILURE));
            }
        }
        wanted
    }

    /// The new SA takes over. `ours`: we asked for it, and delete the old one. Of the exchanges of that, all but `except`
    /// have nothing to do with its children any more.
    pub(crate) fn succeed(
        &mut self,
        env: &mut Env<'_>,
        old: u32,
        successor: u32,
        ours: bool,
        except: u32,
    ) {
        let wanted = self.part_from_children(env, old, except);
        let id = self.ike_id(old);
        let Some(peer) = self.peer_of(old) else { return };
        let rekey_at = jittered(env, peer.rekey_after);
        let asking = self.sa(old).and_then(|sa| sa.ours.checked_sub(1));
        let updating =
            asking.and_then(|n| self.contexts.exchange(n)).map(|x| x.kind) == Some(Kind::Mobike);
        let Some(sa) = self.sa(old) else { return };
        sa.state = SaState::Rekeyed;
        sa.replaced = true;
        // Who wished to close the old one wishes to close the new one.
        let want = core::mem::take(&mut sa.want) & (ike_sa::want::CLOSE | ike_sa::want::UPDATE);
        let moving = sa.moving();
        // What was asked of it is asked again.
        let want = want | if updating { ike_sa::want::UPDATE } else { 0 };
        if ours {
            sa.want = ike_sa::want::CLOSE;
        } else {
            // Its initiator deletes it; if that gets lost, it ends by itself.
            sa.expire_at = env.now.after(CALLER_TIMEOUT);
        }
        let (peer_number, path, identity, ppk) = (sa.peer, sa.path, sa.identity, sa.ppk);
        let (proven, nat_local, nat_remote) = (sa.proven, sa.nat_local, sa.nat_remote);
        let fragments = sa.fragments;
        let lease = core::mem::take(&mut sa.lease);
        sa.nat_local = false; // one of the two keeps the NAT's mapping
        let key_log = self.config.key_log;
        let Some(new) = self.sa(successor) else { return };
        new.state = SaState::Established;
        new.replaced = false;
        new.lease = lease;
        new.ppk = ppk;
        new.peer = peer_number;
        new.path = path;
        new.proven = proven;
        new.nat_local = nat_local;
        new.nat_remote = nat_remote;
        new.fragments = fragments;
        new.heard = env.now;
        new.sent = env.now;
        new.rekey_at = rekey_at;
        new.expire_at = env.now.after(peer.expire_after);
        new.replaces = Some(id);
        new.want = want;
        new.take_moving(moving);
        new.tell = ike_sa::tell::REKEYED | if key_log { ike_sa::tell::KEYS } else { 0 };
        let others = self.addresses.get(old as usize).copied();
        if let Some((slot, others)) = self.addresses.get_mut(successor as usize).zip(others) {
            *slot = others;
        }
        self.events.push(successor);
        self.file_sa(successor, identity);
        self.bequeath(id, successor);
        self.inherit_children(old, successor);
        for sa in [old, successor] {
            self.schedule_sa(env.now, sa);
            self.next_task(env, sa);
        }
        if let Some((config, packet)) = wanted
            && self.want_child(env, successor, config, packet).is_err()
        {
            self.refuse(Some(config.peer), Some(config), path, Failure::NoRoom);
        }
    }
}

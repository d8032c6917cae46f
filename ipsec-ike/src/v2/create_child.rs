//! CREATE_CHILD_SA for children: new ones, and new keys for old ones (RFC 7296 sections 1.3.1, 1.3.3 and 2.8).

use ipsec_core::bytes;
use ipsec_core::crypto::{Group, Provider};
use ipsec_core::path::Path;
use ipsec_core::time::Instant;

use super::auth::Nonce;
use super::followup::LINK_LEN;
use super::message::Inner;
use super::negotiation::Refusal;
use crate::child_sa::{self, ChildState, Negotiation};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::{ChildId, DownReason, Failure};
use crate::exchange::{Exchange, Kind, Work};
use crate::ike_sa;
use crate::proposal;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT, RESPONSE_KEPT, RETRY, jittered};
use crate::wire::{Collected, ExchangeType, Header, Notify, NotifyType, ProtocolId};

/// Other groups that a request tries.
const MAX_RETRIES: u8 = 3;

impl<P: Provider> Ike<'_, P> {
    // ---- we ask ----

    /// Begins an exchange for a child: `number` itself, or with `rekey` one to replace it. `false` if there is no room.
    pub(crate) fn create_child_begin(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        rekey: bool,
    ) -> bool {
        let Some((sa, config)) = self.child(number).map(|c| (c.ike, c.config)) else {
            return false;
        };
        if !self.may_ask(sa) {
            return false;
        }
        let made = if rekey {
            let replaces = self.child_id(number);
            let Some(made) = self.new_child(env, sa, config) else { return false };
            self.set_packet(made, self.packet_of(number));
            let single = self.child(number).is_some_and(|child| child.single);
            if let Some(child) = self.child(made) {
                child.replaces = Some(replaces);
                child.single = single;
            }
            made
        } else {
            number
        };
        if let Some(child) = self.child(number) {
            child.want &= !(child_sa::want::REKEY | child_sa::want::CREATE);
        }
        let implemented = self.implemented_for(sa);
        let group = self
            .child_config(config)
            .and_then(|c| proposal::first_child_group(c.proposals, &implemented));
        self.create_child_ask(env, sa, made, group.unwrap_or(Group::NONE), 0)
    }

    /// Asks for a larval child, with a key exchange in this group if it is not none.
    fn create_child_ask(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        child: u32,
        group: Group,
        retries: u8,
    ) -> bool {
        let Some(context) = self.begin_request(sa, Kind::CreateChild) else { return false };
        if let Some(x) = self.contexts.get(context) {
            env.rng.fill_bytes(&mut x.nonce);
            x.negotiation.child = child.saturating_add(1);
            x.group = group;
            x.retries = retries;
        }
        if group == Group::NONE {
            self.create_child_request(env, context, None);
        } else {
            self.queue_job(context, Work::Generate);
            self.give_up_after(env, context, CALLER_TIMEOUT);
        }
        true
    }

    /// Sends the request.
    pub(crate) fn create_child_request(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        public: Option<&[u8]>,
    ) {
        match self.try_create_child_request(number, public) {
            Ok(()) => self.send_request(env, number),
            Err(failure) => self.abandon_child(env, number, failure, false),
        }
    }

    fn try_create_child_request(
        &mut self,
        number: u32,
        public: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let (group, nonce, slot) = (x.group, x.nonce, x.negotiation.child);
        let slot = slot.checked_sub(1).ok_or(Failure::Protocol)?;
        let child = self.child(slot).ok_or(Failure::Protocol)?;
        let (spi, replaces) = (child.spi_in.to_be_bytes(), child.replaces);
        let old = replaces.and_then(|id| self.child_number(id)).and_then(|n| self.child(n));
        let old = old.map(|c| (c.choice.protocol(), c.spi_in.to_be_bytes()));
        if replaces.is_some() && old.is_none() {
            return Err(Failure::NoRoom);
        }
        let offer = self.child_offer(slot)?;
        self.compose(number, ExchangeType::CREATE_CHILD_SA, |w| {
            if let Some((protocol, old)) = &old {
                // The SPI that we receive on (RFC 7296 section 1.3.3).
                w.notify(&Notify::with_spi(*protocol, old, NotifyType::REKEY_SA, &[]))?;
            }
            offer.write_sa(w, &spi, true)?;
            w.nonce(&nonce)?;
            if let Some(public) = public {
                w.ke(group, public)?;
            }
            offer.write_selectors(w)
        })
        .map_err(|_| Failure::NoRoom)
    }

    /// The peer's answer to our request.
    pub(crate) fn create_child_response(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let (sa, group, retries) = (x.sa, x.group, x.retries);
        let child = x.negotiation.child.checked_sub(1).ok_or(DatagramError::Stale)?;
        if self.child(child).is_none() {
            self.end_exchange(env, number);
            self.next_task(env, sa);
            return Err(DatagramError::Stale);
        }
        if let Some(error) = collected.error() {
            let wanted = bytes::Reader::new(error.data).u16().map(Group);
            if let (NotifyType::INVALID_KE_PAYLOAD, Some(wanted)) = (error.kind, wanted) {
                return self.create_child_other_group(env, number, child, (group, wanted), retries);
            }
            return self.create_child_refused(env, number, child, error.kind);
        }
        let accepted = self.accept_child(number, child, collected, true);
        if accepted == Err(Failure::DeletedMeanwhile) {
            self.abandon_child(env, number, Failure::DeletedMeanwhile, false);
            return Err(DatagramError::Refused);
        }
        let group_fits = match collected.ke {
            Some(ke) => ke.group == group && group.answer_len() == Some(ke.data.len()),
            None => group == Group::NONE,
        };
        if accepted.is_err() || !group_fits || collected.nonce.is_none() {
            // Authentic and wrong: what the peer believes to have is not there (RFC 7296 section 2.21.3).
            self.abandon_child(env, number, accepted.err().unwrap_or(Failure::Protocol), true);
            return Err(DatagramError::Refused);
        }
        self.park(number, received)?;
        if group == Group::NONE {
            self.create_child_agreed(env, number, None);
        } else {
            self.queue_job(number, Work::Agree);
            self.give_up_after(env, number, CALLER_TIMEOUT);
        }
        Ok(())
    }

    fn create_child_other_group(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        child: u32,
        (used, wanted): (Group, Group),
        retries: u8,
    ) -> Result<(), DatagramError> {
        let Some((sa, config, replaces)) = self.child(child).map(|c| (c.ike, c.config, c.replaces))
        else {
            return Err(DatagramError::Stale);
        };
        let implemented = self.implemented_for(sa);
        let allowed = self
            .child_config(config)
            .is_some_and(|c| proposal::allows_child_group(c.proposals, &implemented, wanted));
        if !allowed || wanted == used || retries >= MAX_RETRIES {
            self.retry_rekey(env, replaces, RETRY.saturating_mul(30));
            self.fail(env, number, Some(config), Failure::GroupRefused { wanted, ours: used });
            self.next_task(env, sa);
            return Err(DatagramError::Refused);
        }
        if let Some(x) = self.contexts.get(number) {
            x.negotiation.child = 0;
        }
        self.end_exchange(env, number);
        if !self.create_child_ask(env, sa, child, wanted, retries.saturating_add(1)) {
            self.child_down(env, child, DownReason::Closed);
            self.retry_rekey(env, replaces, RETRY);
        }
        Ok(())
    }

    fn create_child_refused(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        child: u32,
        kind: NotifyType,
    ) -> Result<(), DatagramError> {
        let Some((sa, config, replaces)) = self.child(child).map(|c| (c.ike, c.config, c.replaces))
        else {
            return Err(DatagramError::Stale);
        };
        match kind {
            NotifyType::SINGLE_PAIR_REQUIRED if self.takes_single_pair(child) => {
                self.create_child_again(env, number, sa, child);
            }
            NotifyType::TEMPORARY_FAILURE => {
                // RFC 7296 section 2.25: the peer is busy with something that collides. Again in a moment.
                if replaces.is_none() {
                    self.create_child_again(env, number, sa, child);
                    self.schedule_sa(env.now, sa);
                    return Ok(());
                }
                self.end_exchange(env, number);
                self.retry_rekey(env, replaces, RETRY);
            }
            NotifyType::CHILD_SA_NOT_FOUND if replaces.is_some() => {
                // RFC 7296 section 2.25: the child is gone without a word, and a new one is made from scratch.
                self.end_exchange(env, number);
                if let Some(old) = replaces.and_then(|id| self.child_number(id)) {
                    let packet = self.packet_of(old);
                    self.child_down(env, old, DownReason::Deleted);
                    let _ = self.want_child(env, sa, config, packet);
                }
            }
            _ => {
                let old = replaces.and_then(|id| self.child_number(id)).and_then(|n| self.child(n));
                let old = old.map(|old| old.choice.group);
                let ours = self.contexts.get(number).map_or(Group::NONE, |x| x.group);
                let failure = match kind {
                    NotifyType::NO_PROPOSAL_CHOSEN if old.is_some_and(|old| old == Group::NONE) => {
                        Failure::PfsRefused { ours }
                    }
                    NotifyType::NO_PROPOSAL_CHOSEN => Failure::ProposalRefused,
                    NotifyType::TS_UNACCEPTABLE => Failure::SelectorsRefused,
                    NotifyType::SINGLE_PAIR_REQUIRED => Failure::SinglePairRequired,
                    kind => Failure::Refused(kind),
                };
                self.retry_rekey(env, replaces, RETRY.saturating_mul(30));
                self.fail(env, number, Some(config), failure);
                if kind == NotifyType::NO_ADDITIONAL_SAS
                    && let Some(sa) = self.sa(sa).filter(|sa| sa.children == 0)
                {
                    // RFC 7296 section 4: the peer makes none but the first of an IKE SA, and this one has none any more.
                    sa.down = DownReason::Closed;
                    sa.want |= ike_sa::want::CLOSE;
                }
            }
        }
        self.next_task(env, sa);
        Ok(())
    }

    /// The peer makes children for a single pair of addresses (RFC 7296 section 2.9): whether this one can be asked for so,
    /// because the packet is known that it is for. From now on, it is.
    pub(crate) fn takes_single_pair(&mut self, child: u32) -> bool {
        let known = cfg!(feature = "from_packet") && self.packet_of(child).is_some();
        match self.child(child) {
            Some(child) if known && !child.single => {
                child.single = true;
                true
            }
            _ => false,
        }
    }

    /// Ends an exchange of ours, and has its child asked for in another one.
    pub(crate) fn create_child_again(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        sa: u32,
        child: u32,
    ) {
        if let Some(x) = self.contexts.get(number) {
            x.negotiation.child = 0;
        }
        if let Some(child) = self.child(child) {
            child.want |= child_sa::want::CREATE;
        }
        if let Some(sa) = self.sa(sa) {
            sa.want |= ike_sa::want::CHILD;
        }
        self.end_exchange(env, number);
    }

    /// Tries to rekey a child once more, after about `pause`.
    pub(crate) fn retry_rekey(
        &mut self,
        env: &mut Env<'_>,
        child: Option<ChildId>,
        pause: core::time::Duration,
    ) {
        let Some(number) = child.and_then(|id| self.child_number(id)) else { return };
        let at = jittered(env, pause.saturating_mul(2));
        if let Some(child) = self.child(number) {
            child.rekey_at = at;
        }
        self.schedule_child(number);
    }

    /// All secrets are known: derives the keys, and has them installed.
    pub(crate) fn create_child_agreed(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: Option<&[u8]>,
    ) {
        let Some(ni) = self.contexts.get(number).map(|x| x.nonce) else { return };
        let nr = self.parked(number).and_then(|c| c.nonce).and_then(Nonce::copy);
        let Some(nr) = nr else {
            return self.abandon_child(env, number, Failure::Protocol, true);
        };
        match secret.map(|secret| self.followup_keep(number, secret, (&ni, &nr))) {
            Some(Ok(true)) => self.followup_begin(env, number),
            Some(Err(failure)) => self.abandon_child(env, number, failure, false),
            Some(Ok(false)) | None => self.create_child_made(env, number, secret, (&ni, &nr)),
        }
    }

    /// All key exchanges are over.
    pub(super) fn create_child_made(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: Option<&[u8]>,
        nonces: (&[u8], &[u8]),
    ) {
        let derived = self.derive_child_keys(number, secret, Some(nonces));
        self.forget_secrets(number);
        self.release_parked(number);
        match derived {
            Ok(()) => self.begin_install(env, number),
            Err(failure) => self.abandon_child(env, number, failure, true),
        }
    }

    /// Our exchange for a child came to nothing on our side. If the peer has made the child (`made`), it is deleted like
    /// any other; what it was to replace is rekeyed later.
    pub(crate) fn abandon_child(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        failure: Failure,
        made: bool,
    ) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, slot) = (x.sa, x.negotiation.child.checked_sub(1));
        let child = slot.and_then(|slot| self.child(slot));
        let (config, replaces) = child.map_or((None, None), |c| (Some(c.config), c.replaces));
        self.release_parked(number);
        if let (true, Some(slot)) = (made, slot) {
            if let Some(x) = self.contexts.get(number) {
                x.negotiation = Negotiation::EMPTY;
            }
            if let Some(child) = self.child(slot) {
                child.state = ChildState::Leaving;
                child.reason = DownReason::NotInstalled;
                child.rekey_at = Instant::MAX;
                child.expire_at = Instant::MAX;
                child.want = child_sa::want::DELETE;
            }
            if let Some(sa) = self.sa(sa) {
                sa.want |= ike_sa::want::CHILD;
            }
        }
        self.fail(env, number, config, failure);
        self.retry_rekey(env, replaces, RETRY.saturating_mul(30));
        self.next_task(env, sa);
    }

    // ---- the peer asks ----

    /// The peer wants a child, or other keys for one, or for the IKE SA itself.
    #[inline(never)]
    pub(crate) fn create_child_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        path: Path,
        header: &Header,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let rekeys_ike = collected
            .sa
            .and_then(|offer| offer.proposals().next())
            .is_some_and(|proposal| proposal.protocol == ProtocolId::IKE);
        if rekeys_ike {
            return self.rekey_ike_received(env, sa, path, header, collected, received);
        }
        let prepared = self.prepare_child(sa, collected);
        let kind = if prepared.is_ok() { Kind::CreateChild } else { Kind::Informational };
        let number = self.begin_answer(env, sa, path, header, kind)?;
        let replaces = match prepared {
            Ok(replaces) => replaces,
            Err(refusal) => {
                self.answer_refusal(env, number, &refusal);
                return Err(DatagramError::Refused);
            }
        };
        let peer = self.sa(sa).map_or(0, |sa| sa.peer);
        let Some(config) = self.config.peers.get(usize::from(peer)) else {
            return Err(DatagramError::Stale);
        };
        let group = match self.choose_child(env, number, collected, (peer, config), replaces, true)
        {
            Ok(group) => group,
            Err(refusal) => {
                self.answer_refusal(env, number, &refusal);
                return Err(DatagramError::Refused);
            }
        };
        if let Some(x) = self.contexts.get(number) {
            env.rng.fill_bytes(&mut x.nonce);
            x.group = group;
        }
        if self.park(number, received).is_err() {
            self.drop_negotiation(env, number);
            self.answer_refusal(env, number, &Refusal::new(NotifyType::TEMPORARY_FAILURE));
            return Err(DatagramError::NoRoom);
        }
        if group == Group::NONE {
            self.create_child_respond(env, number, None);
        } else {
            self.queue_job(number, Work::Respond);
            self.give_up_after(env, number, CALLER_TIMEOUT);
        }
        Ok(())
    }

    /// Which child the request replaces, or why it cannot be served.
    fn prepare_child(
        &mut self,
        sa: u32,
        collected: &Collected<'_>,
    ) -> Result<Option<u32>, Refusal> {
        if collected.nonce.is_none() || collected.sa.is_none() {
            return Err(Refusal::new(NotifyType::INVALID_SYNTAX));
        }
        let ours = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
        let ours =
            ours.and_then(|n| self.contexts.exchange(n)).map(|x| (x.kind, x.negotiation.child));
        if matches!(ours, Some((Kind::RekeyIke | Kind::DeleteIke, _))) {
            // RFC 7296 section 2.25.2: the IKE SA is being replaced or closed.
            return Err(Refusal::new(NotifyType::TEMPORARY_FAILURE));
        }
        let Some(notify) = collected.notify(NotifyType::REKEY_SA) else { return Ok(None) };
        let protocol = notify.protocol;
        let spi = notify.spi_u32().ok_or(Refusal::new(NotifyType::CHILD_SA_NOT_FOUND))?;
        let Some(old) = self.child_by_outbound(sa, protocol, spi) else {
            // It may be the one that the peer has just made at our request, and its answer is still on its way.
            let being_made = matches!(ours, Some((Kind::CreateChild, _)));
            return Err(if being_made {
                Refusal::new(NotifyType::TEMPORARY_FAILURE)
            } else {
                Refusal::no_child(protocol, spi)
            });
        };
        let state = self.child(old).map(|c| c.state);
        if state != Some(ChildState::Established) {
            // RFC 7296 section 2.25.1: it is being closed. One that we are rekeying, too, is answered as usual.
            return Err(Refusal::new(NotifyType::TEMPORARY_FAILURE));
        }
        Ok(Some(old))
    }

    /// All secrets are known: derives the keys, writes the response, and has them installed before it leaves.
    pub(crate) fn create_child_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        key_exchange: Option<(&[u8], &[u8])>,
    ) {
        let answered = self.try_create_child_respond(number, key_exchange);
        self.release_parked(number);
        match answered {
            Ok(false) => self.begin_install(env, number),
            Ok(true) => self.send_response(env, number, HANDSHAKE_TIMEOUT),
            Err(_) => {
                self.drop_negotiation(env, number);
                self.answer_refusal(env, number, &Refusal::new(NotifyType::TEMPORARY_FAILURE));
            }
        }
    }

    /// Says whether other key exchanges follow.
    fn try_create_child_respond(
        &mut self,
        number: u32,
        key_exchange: Option<(&[u8], &[u8])>,
    ) -> Result<bool, Failure> {
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let (group, nr) = (x.group, x.nonce);
        let child = x.negotiation.child.checked_sub(1).ok_or(Failure::Protocol)?;
        let ni = self.parked(number).and_then(|c| c.nonce).and_then(Nonce::copy);
        let ni = ni.ok_or(Failure::Protocol)?;
        let secret = key_exchange.map(|(secret, _)| secret);
        let more = key_exchange.is_some() && self.followup_group(number).is_some();
        if !more {
            self.derive_child_keys(number, secret, Some((&ni, &nr)))?;
        }
        let answer = self.child_answer(number, child).ok_or(Failure::Protocol)?;
        self.compose(number, ExchangeType::CREATE_CHILD_SA, |w| {
            answer.write(w, Some(&nr), key_exchange.map(|(_, public)| (group, public)))?;
            if more {
                let link = nr.get(..LINK_LEN).unwrap_or_default();
                w.notify(&Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link))?;
            }
            Ok(())
        })
        .map_err(|_| Failure::NoRoom)?;
        match secret {
            Some(secret) => self.followup_keep(number, secret, (&ni, &nr)),
            None => Ok(false),
        }
    }

    pub(crate) fn answer_refusal(&mut self, env: &mut Env<'_>, number: u32, refusal: &Refusal) {
        let exchange = self.contexts.exchange(number).map(Exchange::exchange_type);
        let exchange = exchange.unwrap_or(ExchangeType::CREATE_CHILD_SA);
        let written = self.compose(number, exchange, |w| refusal.write(w));
        if written.is_ok() {
            self.send_response(env, number, RESPONSE_KEPT);
        } else {
            self.end_exchange(env, number);
        }
    }
}

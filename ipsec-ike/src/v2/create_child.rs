//! CREATE_CHILD_SA for children: new ones, and new keys for old ones (RFC 7296 sections 1.3.1, 1.3.3 and 2.8). What a
//! child's negotiation has in common with the one in IKE_AUTH is here, too.

use ipsec_core::crypto::{Group, Provider};
use ipsec_core::path::Path;
use ipsec_core::sa::Spi;
use ipsec_core::selector::Selectors;
use ipsec_core::time::Instant;

use super::auth::Nonce;
use super::message::Inner;
use crate::child_sa::{self, ChildState, Negotiation};
use crate::config::{Child, Peer};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::{ChildId, ChildRef, Direction, DownReason, Failure, Traffic};
use crate::exchange::{Kind, Stage, Work};
use crate::ike_sa::{self, SaState};
use crate::proposal::{self, ChildChoice, Implemented};
use crate::selectors;
use crate::timer::{CALLER_TIMEOUT, RESPONSE_KEPT, RETRY, jittered};
use crate::wire::{
    Collected, ExchangeType, Header, MessageWriter, NoRoom, Notify, NotifyType, PayloadType,
    ProtocolId,
};

/// Other groups that a request tries.
const MAX_RETRIES: u8 = 3;

/// Why a request for a child is refused.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) kind: NotifyType,
    /// The group to use instead, for INVALID_KE_PAYLOAD.
    group: Option<Group>,
}

impl Refusal {
    pub(crate) const fn new(kind: NotifyType) -> Self {
        Self { kind, group: None }
    }

    pub(crate) const fn group(group: Group) -> Self {
        Self { kind: NotifyType::INVALID_KE_PAYLOAD, group: Some(group) }
    }

    /// Writes the notify that says so.
    pub(crate) fn write(&self, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        let group = self.group.map(|g| g.0.to_be_bytes());
        w.notify(&Notify::new(self.kind, group.as_ref().map_or(&[], |g| g)))
    }
}

/// What a responder says of a child.
pub(crate) struct ChildAnswer {
    number: u8,
    choice: ChildChoice,
    spi: [u8; 4],
    selectors: Selectors,
}

impl ChildAnswer {
    pub(crate) fn write(
        &self,
        w: &mut MessageWriter<'_>,
        nonce: Option<&[u8]>,
        key_exchange: Option<(Group, &[u8])>,
    ) -> Result<(), NoRoom> {
        w.sa(|sa| proposal::answer_child(sa, self.number, &self.choice, &self.spi))?;
        if let Some(nonce) = nonce {
            w.nonce(nonce)?;
        }
        if let Some((group, public)) = key_exchange {
            w.ke(group, public)?;
        }
        w.ts(PayloadType::TSI, &self.selectors.remote)?;
        w.ts(PayloadType::TSR, &self.selectors.local)
    }
}

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
        if self.free_exchanges.is_empty() || self.buffers.free() < 2 {
            return false;
        }
        let made = if rekey {
            let replaces = self.child_id(number);
            let Some(made) = self.new_child(env, sa, config) else { return false };
            if let Some(child) = self.child(made) {
                child.replaces = Some(replaces);
            }
            made
        } else {
            number
        };
        if let Some(child) = self.child(number) {
            child.want &= !(child_sa::want::REKEY | child_sa::want::CREATE);
        }
        let group = self
            .child_config(config)
            .and_then(|c| proposal::first_child_group(c.proposals, &Implemented::of::<P>()));
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
        if self.try_create_child_request(number, public).is_ok() {
            self.send_request(env, number);
        } else {
            let sa = self.contexts.get(number).map(|x| x.sa);
            self.fail(env, number, None, Failure::NoRoom);
            if let Some(sa) = sa {
                self.skip_request(sa);
            }
        }
    }

    fn try_create_child_request(
        &mut self,
        number: u32,
        public: Option<&[u8]>,
    ) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let (group, nonce, child) = (x.group, x.nonce, x.negotiation.child);
        let child = child.checked_sub(1).and_then(|c| self.child(c)).ok_or(DatagramError::Stale)?;
        let (config, spi, replaces) = (child.config, child.spi_in.to_be_bytes(), child.replaces);
        let old = replaces.and_then(|id| self.child_number(id)).and_then(|n| self.child(n));
        let old = old.map(|c| c.spi_in.to_be_bytes());
        if replaces.is_some() && old.is_none() {
            return Err(DatagramError::Stale);
        }
        let config = self.child_config(config).ok_or(DatagramError::Stale)?;
        self.compose(number, ExchangeType::CREATE_CHILD_SA, |w| {
            if let Some(old) = &old {
                // The SPI that we receive on (RFC 7296 section 1.3.3).
                w.notify(&Notify::with_spi(ProtocolId::ESP, old, NotifyType::REKEY_SA, &[]))?;
            }
            w.sa(|sa| {
                let implemented = Implemented::of::<P>();
                proposal::offer_child(sa, config.proposals, &implemented, &spi, true)
            })?;
            w.nonce(&nonce)?;
            if let Some(public) = public {
                w.ke(group, public)?;
            }
            w.ts(PayloadType::TSI, config.local)?;
            w.ts(PayloadType::TSR, config.remote)
        })
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
        let Some(made) = self.child(child) else {
            self.end_exchange(env, number);
            self.next_task(env, sa);
            return Err(DatagramError::Stale);
        };
        let (config, replaces) = (made.config, made.replaces);
        if let Some(error) = collected.error() {
            let wanted = ipsec_core::bytes::Reader::new(error.data).u16().map(Group);
            if let (NotifyType::INVALID_KE_PAYLOAD, Some(wanted)) = (error.kind, wanted) {
                return self.create_child_other_group(env, number, child, (group, wanted), retries);
            }
            return self.create_child_refused(env, number, child, error.kind);
        }
        let accepted = self
            .child_config(config)
            .ok_or(Failure::Protocol)
            .and_then(|config| self.accept_child(number, child, collected, config, true));
        let group_fits = collected.ke.map_or(Group::NONE, |ke| ke.group) == group;
        if accepted.is_err() || !group_fits || collected.nonce.is_none() {
            // Authentic and wrong: what the peer believes to have is not there (RFC 7296 section 2.21.3).
            self.retry_rekey(env, replaces, RETRY.saturating_mul(30));
            self.fail(env, number, Some(config), accepted.err().unwrap_or(Failure::Protocol));
            self.next_task(env, sa);
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
        let allowed = self.child_config(config).is_some_and(|c| {
            proposal::allows_child_group(c.proposals, &Implemented::of::<P>(), wanted)
        });
        if !allowed || wanted == used || retries >= MAX_RETRIES {
            self.retry_rekey(env, replaces, RETRY.saturating_mul(30));
            self.fail(env, number, Some(config), Failure::GroupRefused { wanted });
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
            NotifyType::TEMPORARY_FAILURE => {
                // RFC 7296 section 2.25: the peer is busy with something that collides. Again in a moment.
                if replaces.is_none() {
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
                    self.schedule_sa(env.now, sa);
                    return Ok(());
                }
                self.end_exchange(env, number);
                self.retry_rekey(env, replaces, RETRY);
            }
            NotifyType::CHILD_SA_NOT_FOUND if replaces.is_some() => {
                self.end_exchange(env, number);
                if let Some(old) = replaces.and_then(|id| self.child_number(id)) {
                    self.child_down(env, old, DownReason::Deleted);
                }
            }
            _ => {
                let failure = match kind {
                    NotifyType::NO_PROPOSAL_CHOSEN => Failure::ProposalRefused,
                    NotifyType::TS_UNACCEPTABLE => Failure::SelectorsRefused,
                    kind => Failure::Refused(kind),
                };
                self.retry_rekey(env, replaces, RETRY.saturating_mul(30));
                self.fail(env, number, Some(config), failure);
            }
        }
        self.next_task(env, sa);
        Ok(())
    }

    /// Tries to rekey a child once more, after about `pause`.
    fn retry_rekey(
        &mut self,
        env: &mut Env<'_>,
        child: Option<ChildId>,
        pause: core::time::Duration,
    ) {
        let Some(number) = child.and_then(|id| self.child_number(id)) else { return };
        let at = env.now.after(jittered(env.rng, pause.saturating_mul(2)));
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
        let Some((sa, ni)) = self.contexts.get(number).map(|x| (x.sa, x.nonce)) else { return };
        let nr = self.parked(number).and_then(|c| c.nonce).and_then(Nonce::copy);
        let derived = nr
            .ok_or(Failure::Protocol)
            .and_then(|nr| self.derive_child_keys(number, secret, (&ni, &nr)));
        self.release_parked(number);
        match derived {
            Ok(()) => self.begin_install(env, number),
            Err(failure) => {
                self.fail(env, number, None, failure);
                self.next_task(env, sa);
            }
        }
    }

    // ---- the peer asks ----

    /// The peer wants a child, or other keys for one, or for the IKE SA itself.
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
        let old = notify
            .spi_u32()
            .filter(|_| notify.protocol == ProtocolId::ESP)
            .and_then(|spi| self.child_by_outbound(sa, spi));
        let Some(old) = old else {
            return Err(Refusal::new(NotifyType::CHILD_SA_NOT_FOUND));
        };
        let id = self.child_id(old);
        let rekeyed_by_us = ours
            .and_then(|(_, child)| self.child(child.checked_sub(1)?))
            .is_some_and(|child| child.replaces == Some(id));
        let state = self.child(old).map(|c| c.state);
        if rekeyed_by_us || state != Some(ChildState::Established) {
            // RFC 7296 section 2.25.1.
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
        if self.try_create_child_respond(number, key_exchange).is_ok() {
            self.release_parked(number);
            self.begin_install(env, number);
        } else {
            self.release_parked(number);
            self.drop_negotiation(env, number);
            self.answer_refusal(env, number, &Refusal::new(NotifyType::TEMPORARY_FAILURE));
        }
    }

    fn try_create_child_respond(
        &mut self,
        number: u32,
        key_exchange: Option<(&[u8], &[u8])>,
    ) -> Result<(), Failure> {
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let (group, nr) = (x.group, x.nonce);
        let child = x.negotiation.child.checked_sub(1).ok_or(Failure::Protocol)?;
        let ni = self.parked(number).and_then(|c| c.nonce).and_then(Nonce::copy);
        let ni = ni.ok_or(Failure::Protocol)?;
        self.derive_child_keys(number, key_exchange.map(|(secret, _)| secret), (&ni, &nr))?;
        let answer = self.child_answer(number, child).ok_or(Failure::Protocol)?;
        self.compose(number, ExchangeType::CREATE_CHILD_SA, |w| {
            answer.write(w, Some(&nr), key_exchange.map(|(_, public)| (group, public)))
        })
        .map_err(|_| Failure::NoRoom)
    }

    pub(crate) fn answer_refusal(&mut self, env: &mut Env<'_>, number: u32, refusal: &Refusal) {
        let written = self.compose(number, ExchangeType::CREATE_CHILD_SA, |w| refusal.write(w));
        if written.is_ok() {
            self.send_response(env, number, RESPONSE_KEPT);
        } else {
            self.end_exchange(env, number);
        }
    }

    // ---- what IKE_AUTH and CREATE_CHILD_SA have in common ----

    /// As initiator: takes what the responder chose, if it is of what we offered.
    pub(crate) fn accept_child(
        &mut self,
        number: u32,
        child: u32,
        collected: &Collected<'_>,
        config: &Child<'_>,
        with_group: bool,
    ) -> Result<(), Failure> {
        if let Some(error) = collected.error() {
            return Err(match error.kind {
                NotifyType::NO_PROPOSAL_CHOSEN => Failure::ProposalRefused,
                NotifyType::TS_UNACCEPTABLE => Failure::SelectorsRefused,
                kind => Failure::Refused(kind),
            });
        }
        let (Some(answer), Some(ts_i), Some(ts_r)) = (collected.sa, collected.ts_i, collected.ts_r)
        else {
            return Err(Failure::Protocol);
        };
        let implemented = Implemented::of::<P>();
        let choice = proposal::accept_child(&answer, config.proposals, &implemented, with_group)
            .ok_or(Failure::Protocol)?;
        let spi = answer.single().and_then(|p| p.spi_u32()).and_then(Spi::new);
        let spi = spi.ok_or(Failure::Protocol)?;
        let (Some(local), Some(remote)) = (ts_i.list(), ts_r.list()) else {
            return Err(Failure::Protocol);
        };
        // RFC 7296 section 2.9: the responder narrows, and never widens.
        if !selectors::acceptable(&local, config.local)
            || !selectors::acceptable(&remote, config.remote)
        {
            return Err(Failure::Protocol);
        }
        self.agree_on(number, child, choice, spi, Selectors { local, remote }, 0);
        Ok(())
    }

    /// As responder: chooses for the child that the initiator asks for, and takes a slot for it. Gives the group of its
    /// key exchange.
    pub(crate) fn choose_child(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        collected: &Collected<'_>,
        (index, peer): (u16, &Peer<'_>),
        replaces: Option<u32>,
        with_group: bool,
    ) -> Result<Group, Refusal> {
        let (Some(offer), Some(ts_i), Some(ts_r)) = (collected.sa, collected.ts_i, collected.ts_r)
        else {
            return Err(Refusal::new(NotifyType::INVALID_SYNTAX));
        };
        let implemented = Implemented::of::<P>();
        let sent_group = collected.ke.map(|ke| ke.group);
        let only = replaces.and_then(|old| self.child(old)).map(|old| old.config.child);
        let mut common_traffic = false;
        let mut chosen = None;
        for (child, config) in (0u16..).zip(peer.children) {
            if only.is_some_and(|only| only != child) {
                continue;
            }
            let local = selectors::narrow_payload(&ts_r, config.local);
            let remote = selectors::narrow_payload(&ts_i, config.remote);
            if local.is_empty() || remote.is_empty() {
                continue;
            }
            common_traffic = true;
            let found = proposal::choose_child(
                &offer,
                config.proposals,
                &implemented,
                sent_group,
                with_group,
            );
            if let Some(found) = found {
                chosen = Some((child, Selectors { local, remote }, found));
                break;
            }
        }
        let sa = self.contexts.get(number).map_or(0, |x| x.sa);
        let path = self.contexts.get(number).map_or(Path::UNSPECIFIED, |x| x.path);
        let Some((child, selectors, (proposed, choice, spi))) = chosen else {
            let (failure, kind) = if common_traffic {
                let offered = proposal::offer_of(&offer);
                (Failure::NoProposal { offered }, NotifyType::NO_PROPOSAL_CHOSEN)
            } else {
                let (theirs, ours) = (ts_i.known().next(), ts_r.known().next());
                (Failure::NoSelectors { theirs, ours }, NotifyType::TS_UNACCEPTABLE)
            };
            self.refuse(Some(index), path, failure);
            return Err(Refusal::new(kind));
        };
        if choice.group != Group::NONE && sent_group != Some(choice.group) {
            return Err(Refusal::group(choice.group));
        }
        let Some(spi) = ipsec_core::bytes::Reader::new(spi).u32().and_then(Spi::new) else {
            return Err(Refusal::new(NotifyType::INVALID_SYNTAX));
        };
        let made = self.new_child(env, sa, ChildRef { peer: index, child });
        let Some(made) = made else {
            self.refuse(Some(index), path, Failure::NoRoom);
            return Err(Refusal::new(NotifyType::NO_ADDITIONAL_SAS));
        };
        let replaces = replaces.map(|old| self.child_id(old));
        if let Some(child) = self.child(made) {
            child.replaces = replaces;
        }
        if let Some(x) = self.contexts.get(number) {
            x.negotiation.child = made.saturating_add(1);
        }
        self.agree_on(number, made, choice, spi, selectors, proposed);
        Ok(choice.group)
    }

    /// Chooses and derives at once: the child of IKE_AUTH, which has no key exchange of its own.
    pub(crate) fn answer_child(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        collected: &Collected<'_>,
        peer: (u16, &Peer<'_>),
        nonces: (&[u8], &[u8]),
    ) -> Result<u32, NotifyType> {
        self.choose_child(env, number, collected, peer, None, false).map_err(|r| r.kind)?;
        if self.derive_child_keys(number, None, nonces).is_err() {
            self.drop_negotiation(env, number);
            return Err(NotifyType::TEMPORARY_FAILURE);
        }
        let child = self.contexts.get(number).and_then(|x| x.negotiation.child.checked_sub(1));
        child.ok_or(NotifyType::TEMPORARY_FAILURE)
    }

    fn agree_on(
        &mut self,
        number: u32,
        child: u32,
        choice: ChildChoice,
        spi: Spi,
        selectors: Selectors,
        proposed: u8,
    ) {
        let sa = self.contexts.get(number).map_or(0, |x| x.sa);
        let forced = self.peer_of(sa).is_some_and(|p| p.force_encapsulation);
        let nat = self.sa(sa).is_some_and(|sa| sa.nat_local || sa.nat_remote);
        if let Some(child) = self.child(child) {
            child.choice = choice;
            child.spi_out = spi.get();
            child.encapsulated = nat || forced;
        }
        if let Some(x) = self.contexts.get(number) {
            x.negotiation.selectors = selectors;
            x.negotiation.number = proposed;
        }
    }

    pub(crate) fn child_answer(&mut self, number: u32, child: u32) -> Option<ChildAnswer> {
        let (choice, spi) = self.child(child).map(|c| (c.choice, c.spi_in.to_be_bytes()))?;
        let x = self.contexts.get(number)?;
        let selectors = x.negotiation.selectors.clone();
        Some(ChildAnswer { number: x.negotiation.number, choice, spi, selectors })
    }

    /// KEYMAT (RFC 7296 section 2.17).
    pub(crate) fn derive_child_keys(
        &mut self,
        number: u32,
        secret: Option<&[u8]>,
        (ni, nr): (&[u8], &[u8]),
    ) -> Result<(), Failure> {
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let child = x.negotiation.child.checked_sub(1).ok_or(Failure::Protocol)?;
        let suite = self.children.get(child as usize).ok_or(Failure::Protocol)?.child.choice.suite;
        let sa = &self.sas.get(x.sa as usize).ok_or(Failure::Protocol)?.sa;
        x.negotiation
            .keys
            .derive::<P>(sa.choice.prf, sa.keys.sk_d(), secret, ni, nr, suite)
            .map_err(|_| Failure::Crypto)
    }

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
        let Some(number) = context else { return };
        match (direction, result) {
            (_, Err(())) => self.not_installed(env, number, slot),
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
        x.negotiation = Negotiation::EMPTY;
        let Some(config) = self.child(slot).map(|c| c.config) else { return };
        let lifetime = self.child_config(config).map(|c| c.lifetime);
        let (soft, hard) = lifetime.map_or((Instant::MAX, Instant::MAX), |l| {
            let soft = jittered(env.rng, l.soft.time);
            (env.now.after(soft), env.now.after(l.hard.time))
        });
        let node = self.child_node(slot);
        let Some(child) = self.child(slot) else { return };
        child.state = ChildState::Established;
        child.rekey_at = soft;
        child.expire_at = hard;
        child.tell |= child_sa::tell::UP;
        let replaces = child.replaces;
        // RFC 7296 section 2.8: the initiator of a rekey sends on the new SA at once; the responder knows that it can
        // when it has seen the initiator do so.
        child.traffic =
            if ours || replaces.is_none() { Traffic::Now } else { Traffic::AfterFirstPacket };
        self.schedule_child(slot);
        self.events.push(node);
        let old = replaces.and_then(|id| self.child_number(id));
        if let Some(old) = old.and_then(|old| self.child(old)) {
            old.state = ChildState::Leaving;
            old.reason = DownReason::Rekeyed;
            old.want = if ours { child_sa::want::DELETE } else { 0 };
        }
        if ours {
            if let Some(sa) = self.sa(sa)
                && old.is_some()
            {
                sa.want |= ike_sa::want::CHILD;
            }
            self.end_exchange(env, number);
            self.next_task(env, sa);
        } else {
            self.send_response(env, number, RESPONSE_KEPT);
        }
    }

    /// The caller could not install an SA.
    fn not_installed(&mut self, env: &mut Env<'_>, number: u32, slot: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (ours, kind, sa, path) = (x.ours, x.kind, x.sa, x.path);
        let config = self.child(slot).map(|c| c.config);
        self.refuse(config.map(|c| c.peer), path, Failure::NotInstalled);
        if !ours && kind == Kind::CreateChild {
            self.drop_negotiation(env, number);
            self.answer_refusal(env, number, &Refusal::new(NotifyType::NO_ADDITIONAL_SAS));
            return;
        }
        // The peer has the child, or is about to: it is deleted like any other.
        if let Some(x) = self.contexts.get(number) {
            x.negotiation = Negotiation::EMPTY;
        }
        if ours {
            self.end_exchange(env, number);
        } else {
            self.send_response(env, number, RESPONSE_KEPT);
        }
        if let Some(child) = self.child(slot) {
            child.state = ChildState::Leaving;
            child.reason = DownReason::NotInstalled;
            child.rekey_at = Instant::MAX;
            child.expire_at = Instant::MAX;
        }
        self.want_of_child(env, slot, child_sa::want::DELETE);
        self.next_task(env, sa);
    }

    /// Gives up the child that an exchange was making.
    pub(crate) fn drop_negotiation(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let child = x.negotiation.child.checked_sub(1);
        x.negotiation = Negotiation::EMPTY;
        let successor = core::mem::take(&mut x.successor).checked_sub(1);
        if let Some(child) = child {
            self.child_down(env, child, DownReason::NotInstalled);
        }
        if let Some(successor) = successor {
            self.release_sa(successor);
        }
        self.release_parked(number);
    }

    pub(crate) fn release_parked(&mut self, number: u32) {
        if let Some(x) = self.contexts.get(number) {
            let mut parked = core::mem::replace(&mut x.received, crate::exchange::Parked::NONE);
            self.buffers.release(&mut parked.buffer);
        }
    }

    /// A request that was never sent has used no message ID.
    pub(crate) fn skip_request(&mut self, sa: u32) {
        if let Some(sa) = self.sa(sa)
            && sa.state != SaState::Larval
        {
            sa.send_id = sa.send_id.wrapping_sub(1);
        }
    }
}

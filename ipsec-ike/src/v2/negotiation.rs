//! A child's negotiation: what IKE_AUTH and CREATE_CHILD_SA have in common (RFC 7296 sections 2.7, 2.9 and 2.17).

use ipsec_core::bytes;
use ipsec_core::crypto::{Group, Provider};
use ipsec_core::path::Path;
use ipsec_core::sa::Spi;
use ipsec_core::selector::Selectors;

use crate::child_sa::Negotiation;
use crate::config::{Child, Peer};
use crate::engine::{Env, Ike};
use crate::event::{ChildRef, DownReason, Failure};
use crate::proposal::{self, ChildChoice, Implemented};
use crate::selectors;
use crate::wire::{Collected, MessageWriter, NoRoom, Notify, NotifyType, PayloadType, ProtocolId};

/// Why a request for a child is refused.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) kind: NotifyType,
    /// The group to use instead, for INVALID_KE_PAYLOAD.
    group: Option<Group>,
    /// The SPI that nobody has, for CHILD_SA_NOT_FOUND.
    spi: Option<[u8; 4]>,
}

impl Refusal {
    pub(crate) const fn new(kind: NotifyType) -> Self {
        Self { kind, group: None, spi: None }
    }

    pub(crate) const fn group(group: Group) -> Self {
        Self { group: Some(group), ..Self::new(NotifyType::INVALID_KE_PAYLOAD) }
    }

    /// RFC 7296 section 2.25: the SPI is that of the REKEY_SA notify.
    pub(crate) const fn no_child(spi: u32) -> Self {
        Self { spi: Some(spi.to_be_bytes()), ..Self::new(NotifyType::CHILD_SA_NOT_FOUND) }
    }

    /// Writes the notify that says so.
    pub(crate) fn write(&self, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        if let Some(spi) = &self.spi {
            return w.notify(&Notify::with_spi(ProtocolId::ESP, spi, self.kind, &[]));
        }
        let group = self.group.map(|g| g.0.to_be_bytes());
        w.notify(&Notify::new(self.kind, group.as_ref().map_or(&[], |g| g)))
    }
}

/// What a responder chose for a child that was asked for.
pub(crate) struct Chosen {
    /// Its number in the configuration.
    child: u16,
    selectors: Selectors,
    /// The number of the proposal.
    proposed: u8,
    choice: ChildChoice,
    /// The initiator's.
    spi: Spi,
}

/// Why a child that was asked for cannot be, for the peer and for our own side.
pub(crate) struct Unmet {
    refusal: Refusal,
    failure: Option<Failure>,
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
        let only = replaces.and_then(|old| self.child(old)).map(|old| old.config.child);
        let chosen = Self::find_child(collected, peer, only, with_group);
        self.take_child(env, number, index, chosen, replaces)
    }

    /// What of the configuration the request for a child meets. Nothing is changed: the requester need not be
    /// authenticated yet.
    #[expect(clippy::result_large_err, reason = "there is no heap to put it on")]
    pub(crate) fn find_child(
        collected: &Collected<'_>,
        peer: &Peer<'_>,
        only: Option<u16>,
        with_group: bool,
    ) -> Result<Chosen, Unmet> {
        let unmet = |kind| Unmet { refusal: Refusal::new(kind), failure: None };
        let (Some(offer), Some(ts_i), Some(ts_r)) = (collected.sa, collected.ts_i, collected.ts_r)
        else {
            return Err(unmet(NotifyType::INVALID_SYNTAX));
        };
        let implemented = Implemented::of::<P>();
        let sent_group = collected.ke.map(|ke| ke.group);
        let mut common_traffic = false;
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
            let Some((proposed, choice, spi)) = found else { continue };
            if choice.group != Group::NONE && sent_group != Some(choice.group) {
                return Err(Unmet { refusal: Refusal::group(choice.group), failure: None });
            }
            let spi = bytes::Reader::new(spi).u32().and_then(Spi::new);
            let spi = spi.ok_or(unmet(NotifyType::INVALID_SYNTAX))?;
            let selectors = Selectors { local, remote };
            return Ok(Chosen { child, selectors, proposed, choice, spi });
        }
        let (failure, kind) = if common_traffic {
            let offered = proposal::offer_of(&offer);
            (Failure::NoProposal { offered }, NotifyType::NO_PROPOSAL_CHOSEN)
        } else {
            let (theirs, ours) = (ts_i.known().next(), ts_r.known().next());
            (Failure::NoSelectors { theirs, ours }, NotifyType::TS_UNACCEPTABLE)
        };
        Err(Unmet { refusal: Refusal::new(kind), failure: Some(failure) })
    }

    /// Takes a slot for the child that was found, and tells why none was. Gives the group of its key exchange.
    fn take_child(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        index: u16,
        chosen: Result<Chosen, Unmet>,
        replaces: Option<u32>,
    ) -> Result<Group, Refusal> {
        let sa = self.contexts.get(number).map_or(0, |x| x.sa);
        let path = self.contexts.get(number).map_or(Path::UNSPECIFIED, |x| x.path);
        let Chosen { child, selectors, proposed, choice, spi } = match chosen {
            Ok(chosen) => chosen,
            Err(Unmet { refusal, failure }) => {
                if let Some(failure) = failure {
                    self.refuse(Some(index), None, path, failure);
                }
                return Err(refusal);
            }
        };
        let room = self.limit_children(env, sa);
        let made = room.then(|| self.new_child(env, sa, ChildRef { peer: index, child })).flatten();
        let Some(made) = made else {
            let config = ChildRef { peer: index, child };
            self.refuse(Some(index), Some(config), path, Failure::NoRoom);
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

    /// Takes and derives at once: the child of IKE_AUTH, which has no key exchange of its own.
    pub(crate) fn answer_child(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        index: u16,
        chosen: Result<Chosen, Unmet>,
        nonces: (&[u8], &[u8]),
    ) -> Result<u32, NotifyType> {
        self.take_child(env, number, index, chosen, None).map_err(|r| r.kind)?;
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
        let made = &mut self.children.get_mut(child as usize).ok_or(Failure::Protocol)?.child;
        // Lowest octet by octet (RFC 7296 section 2.8.1); a nonce has at least 16.
        bytes::copy_prefix(&mut made.lower_nonce, ni.min(nr).get(..16).unwrap_or_default());
        let suite = made.choice.suite;
        let sa = &self.sas.get(x.sa as usize).ok_or(Failure::Protocol)?.sa;
        x.negotiation
            .keys
            .derive::<P>(sa.choice.prf, sa.keys.sk_d(), secret, ni, nr, suite)
            .map_err(|_| Failure::Crypto)
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
}

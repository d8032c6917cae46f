//! A child's negotiation: what IKE_AUTH and CREATE_CHILD_SA have in common (RFC 7296 sections 2.7, 2.9 and 2.17).

use core::mem::{replace, take};

use ipsec_core::bytes;
use ipsec_core::crypto::{Group, Provider};
use ipsec_core::mode::AddressPair;
use ipsec_core::path::Path;
use ipsec_core::sa::Spi;
use ipsec_core::selector::Selectors;

use crate::child_sa::{Negotiation, said};
use crate::config::{ModePolicy, Peer};
use crate::engine::{Env, Ike};
use crate::event::{ChildRef, DownReason, Failure};
use crate::exchange::Maybe;
use crate::proposal::{self, ChildChoice};
use crate::selectors;
use crate::wire::{Collected, MessageWriter, NoRoom, Notify, NotifyType, PayloadType, ProtocolId};

use super::chosen::{Chosen, Unmet};
use super::followup::Secrets;
use super::rivals::Rival;

/// Why a request for a child is refused.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) kind: NotifyType,
    /// The group to use instead, for INVALID_KE_PAYLOAD.
    group: Option<Group>,
    /// The SPI that nobody has, for CHILD_SA_NOT_FOUND.
    spi: Option<(ProtocolId, [u8; 4])>,
}

impl Refusal {
    pub(crate) const fn new(kind: NotifyType) -> Self {
        Self { kind, group: None, spi: None }
    }

    pub(crate) const fn group(group: Group) -> Self {
        Self { group: Some(group), ..Self::new(NotifyType::INVALID_KE_PAYLOAD) }
    }

    /// RFC 7296 section 2.25: the SPI is that of the REKEY_SA notify.
    pub(crate) const fn no_child(protocol: ProtocolId, spi: u32) -> Self {
        Self {
            spi: Some((protocol, spi.to_be_bytes())),
            ..Self::new(NotifyType::CHILD_SA_NOT_FOUND)
        }
    }

    /// Writes the notify that says so.
    pub(crate) fn write(&self, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        if let Some((protocol, spi)) = &self.spi {
            return w.notify(&Notify::with_spi(*protocol, spi, self.kind, &[]));
        }
        let group = self.group.map(|g| g.0.to_be_bytes());
        w.notify(&Notify::new(self.kind, group.as_ref().map_or(&[], |g| g)))
    }
}

/// A responder's answer to our request for a child.
pub(crate) struct Answered {
    /// Whether the responder has made the child.
    pub(crate) made: bool,
    choice: Option<ChildChoice>,
    agreed: Result<Agreed, Failure>,
}

/// What both sides agree on.
struct Agreed {
    choice: ChildChoice,
    spi: Spi,
    transport: bool,
    no_tfc: bool,
    selectors: Selectors,
}

/// What a responder says of a child.
pub(crate) struct ChildAnswer {
    number: u8,
    choice: ChildChoice,
    spi: [u8; 4],
    transport: bool,
    said: u8,
    /// As the initiator sees them.
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
        if self.transport {
            w.notify(&Notify::new(NotifyType::USE_TRANSPORT_MODE, &[]))?;
        }
        for (bit, kind) in [
            (said::MORE_SELECTORS, NotifyType::ADDITIONAL_TS_POSSIBLE),
            (said::FRAGMENTS, NotifyType::NON_FIRST_FRAGMENTS_ALSO),
        ] {
            if self.said & bit != 0 {
                w.notify(&Notify::new(kind, &[]))?;
            }
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
        with_group: bool,
    ) -> Result<(), Failure> {
        let mut answer = self.read_answer(child, collected, with_group);
        self.take_answer(number, child, &mut answer)
    }

    /// What the responder chose, if it is of what we offered. Nothing is changed: the responder need not be authenticated
    /// yet.
    pub(crate) fn read_answer(
        &self,
        child: u32,
        collected: &Collected<'_>,
        with_group: bool,
    ) -> Answered {
        let mut choice = None;
        let agreed = self.try_read_answer(child, collected, with_group, &mut choice);
        Answered { made: collected.error().is_none(), choice, agreed }
    }

    fn try_read_answer(
        &self,
        child: u32,
        collected: &Collected<'_>,
        with_group: bool,
        chosen: &mut Option<ChildChoice>,
    ) -> Result<Agreed, Failure> {
        if let Some(error) = collected.error() {
            return Err(match error.kind {
                NotifyType::NO_PROPOSAL_CHOSEN => Failure::ProposalRefused,
                NotifyType::TS_UNACCEPTABLE => Failure::SelectorsRefused,
                NotifyType::SINGLE_PAIR_REQUIRED => Failure::SinglePairRequired,
                kind => Failure::Refused(kind),
            });
        }
        let (Some(answer), Some(ts_i), Some(ts_r)) = (collected.sa, collected.ts_i, collected.ts_r)
        else {
            return Err(Failure::Protocol);
        };
        let offered = self.child_offer(child)?;
        let made = &self.children.get(child as usize).ok_or(Failure::Protocol)?.child;
        let sa = &self.sas.get(made.ike as usize).ok_or(Failure::Protocol)?.sa;
        let config = self.child_config(made.config).ok_or(Failure::Protocol)?;
        let implemented = self.implemented_for(made.ike);
        let choice = proposal::accept_child(&answer, config.proposals, &implemented, with_group)
            .ok_or(Failure::Protocol)?;
        *chosen = Some(choice);
        let spi = answer.single().and_then(|p| p.spi_u32()).and_then(Spi::new);
        let spi = spi.ok_or(Failure::Protocol)?;
        let transport = collected.notify(NotifyType::USE_TRANSPORT_MODE).is_some();
        if transport && !offered.transport {
            return Err(Failure::Protocol);
        }
        if !transport && config.mode == ModePolicy::RequireTransport {
            return Err(Failure::TransportRefused);
        }
        let (Some(mut local), Some(mut remote)) = (ts_i.list(), ts_r.list()) else {
            return Err(Failure::Protocol);
        };
        if transport {
            // RFC 7296 section 2.23.1: what the responder sees is of no use here.
            if sa.nat_local {
                local = selectors::readdressed(&local, sa.path.local.address);
            }
            if sa.nat_remote {
                remote = selectors::readdressed(&remote, sa.path.remote.address);
            }
        }
        // RFC 7296 section 2.9: the responder narrows, and never widens.
        if !selectors::acceptable(&local, &offered.local)
            || !selectors::acceptable(&remote, &offered.remote)
        {
            let (ours, theirs) = (local.first().copied(), remote.first().copied());
            return Err(Failure::NotNarrowed { ours, theirs });
        }
        let no_tfc = collected.notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED).is_some();
        Ok(Agreed { choice, spi, transport, no_tfc, selectors: Selectors { local, remote } })
    }

    /// Takes what was read of the responder's answer.
    pub(crate) fn take_answer(
        &mut self,
        number: u32,
        child: u32,
        answer: &mut Answered,
    ) -> Result<(), Failure> {
        if let (Some(choice), Some(child)) = (answer.choice, self.child(child)) {
            child.choice = choice; // if the rest is refused, it is deleted as what it is
        }
        let Agreed { choice, spi, transport, no_tfc, ref selectors } =
            *answer.agreed.as_mut().map_err(|failure| replace(failure, Failure::Protocol))?;
        if let Some(x) = self.contexts.get(number) {
            if x.negotiation.deleted == spi.get() {
                return Err(Failure::DeletedMeanwhile);
            }
            x.negotiation.selectors.clone_from(selectors);
        }
        self.agree_on(child, choice, spi, transport, no_tfc);
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
        let sa = self.contexts.get(number).map_or(0, |x| x.sa);
        let ends = self.sa(sa).map(|sa| sa.ends());
        let ends = ends.ok_or(Refusal::new(NotifyType::TEMPORARY_FAILURE))?;
        let mut chosen = Self::find_child(collected, peer, &ends, only, with_group);
        self.confine(sa, &mut chosen);
        self.take_child(env, number, index, &mut chosen, replaces)
    }

    /// Takes a slot for the child that was found, and tells why none was. Gives the group of its key exchange.
    fn take_child(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        index: u16,
        chosen: &mut Result<Chosen, Unmet>,
        replaces: Option<u32>,
    ) -> Result<Group, Refusal> {
        let sa = self.contexts.get(number).map_or(0, |x| x.sa);
        let path = self.contexts.get(number).map_or(Path::UNSPECIFIED, |x| x.path);
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(Unmet { refusal, failure, child }) => {
                if let Some(failure) = failure.take() {
                    let child = child.map(|child| ChildRef { peer: index, child });
                    self.refuse(Some(index), child, path, failure);
                }
                return Err(*refusal);
            }
        };
        let config = ChildRef { peer: index, child: chosen.child };
        let room = self.limit_children(env, sa, replaces.is_some());
        let made = room.then(|| self.new_child(env, sa, config)).flatten();
        let Some(made) = made else {
            self.refuse(Some(index), Some(config), path, Failure::NoRoom);
            return Err(Refusal::new(NotifyType::NO_ADDITIONAL_SAS));
        };
        let like = self.child_config(config).and_then(|c| self.packet_like(c, &chosen.selectors));
        self.set_packet(made, like);
        let replaces = replaces.map(|old| self.child_id(old));
        if let Some(child) = self.child(made) {
            child.replaces = replaces;
        }
        let Chosen { choice, spi, transport, no_tfc, .. } = *chosen;
        self.agree_on(made, choice, spi, transport, no_tfc);
        if let Some(x) = self.contexts.get(number) {
            x.negotiation.child = made.saturating_add(1);
            x.negotiation.number = chosen.proposed;
            x.negotiation.selectors.clone_from(&chosen.selectors);
            x.negotiation.said = chosen.said;
            x.negotiation.original = chosen.original.map_or(Maybe::Nothing, Maybe::Just);
        }
        Ok(choice.group)
    }

    /// Takes and derives at once: the child of IKE_AUTH, which has no key exchange of its own.
    pub(crate) fn answer_child(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        index: u16,
        chosen: &mut Result<Chosen, Unmet>,
        nonces: (&[u8], &[u8]),
    ) -> Result<u32, NotifyType> {
        self.take_child(env, number, index, chosen, None).map_err(|r| r.kind)?;
        if self.derive_child_keys(number, None, Some(nonces)).is_err() {
            self.drop_negotiation(env, number);
            return Err(NotifyType::TEMPORARY_FAILURE);
        }
        let child = self.contexts.get(number).and_then(|x| x.negotiation.child.checked_sub(1));
        child.ok_or(NotifyType::TEMPORARY_FAILURE)
    }

    pub(crate) fn agree_on(
        &mut self,
        child: u32,
        choice: ChildChoice,
        spi: Spi,
        transport: bool,
        no_tfc: bool,
    ) {
        let Some(sa) = self.child(child).map(|c| c.ike) else { return };
        let encapsulated = self.encapsulates(sa);
        if let Some(child) = self.child(child) {
            child.choice = choice;
            child.spi_out = spi.get();
            child.encapsulated = encapsulated;
            child.transport = transport;
            child.no_tfc = no_tfc;
        }
    }

    pub(crate) fn child_answer(&mut self, number: u32, child: u32) -> Option<ChildAnswer> {
        let (choice, spi, transport) =
            self.child(child).map(|c| (c.choice, c.spi_in.to_be_bytes(), c.transport))?;
        let x = self.contexts.get(number)?;
        let Negotiation { number, said, selectors, original, .. } = &x.negotiation;
        let mut selectors = selectors.clone();
        if let Some(AddressPair { local, remote }) = original.as_ref() {
            // RFC 7296 section 2.23.1: the initiator is answered with the addresses that it sees.
            selectors.local = selectors::readdressed(&selectors.local, *local);
            selectors.remote = selectors::readdressed(&selectors.remote, *remote);
        }
        Some(ChildAnswer { number: *number, choice, spi, transport, said: *said, selectors })
    }

    /// KEYMAT (RFC 7296 section 2.17). After further key exchanges, all secrets and the nonces are those that were kept;
    /// without `nonces`, they are those of this handshake.
    pub(crate) fn derive_child_keys(
        &mut self,
        number: u32,
        secret: Option<&[u8]>,
        nonces: Option<(&[u8], &[u8])>,
    ) -> Result<(), Failure> {
        let handshake = self.contexts.handshakes.get(number as usize).map(|slot| &slot.handshake);
        let of_handshake = handshake.and_then(|handshake| handshake.nonces(&self.buffers));
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let child = x.negotiation.child.checked_sub(1).ok_or(Failure::Protocol)?;
        let made = &mut self.children.get_mut(child as usize).ok_or(Failure::Protocol)?.child;
        // Lowest octet by octet (RFC 7296 section 2.8.1); a nonce has at least 16.
        let stored = Secrets::of(self.buffers.bytes(x.secrets));
        let (secret, ni, nr, more) = match &stored {
            Some(s) => (Some(s.first), s.ni, s.nr, s.more),
            None => {
                let (ni, nr) = nonces.or(of_handshake).ok_or(Failure::Protocol)?;
                (secret, ni, nr, &[][..])
            }
        };
        bytes::copy_prefix(&mut made.lower_nonce, ni.min(nr).get(..16).unwrap_or_default());
        let suite = made.choice.suite;
        let sa = &self.sas.get(x.sa as usize).ok_or(Failure::Protocol)?.sa;
        x.negotiation
            .keys
            .derive::<P>(sa.choice.prf, sa.keys.v2().sk_d(), secret, (ni, nr), more, suite)
            .map_err(|_| Failure::Crypto)
    }

    /// Gives up the child that an exchange was making.
    pub(crate) fn drop_negotiation(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let child = x.negotiation.child.checked_sub(1);
        x.negotiation = Negotiation::EMPTY;
        let successor = take(&mut x.successor).checked_sub(1);
        let (sa, ours) = (x.sa, x.ours);
        let rival = replace(&mut x.rival, Rival::NONE);
        if let Some(child) = child {
            self.child_down(env, child, DownReason::NotInstalled);
        }
        if let Some(successor) = successor {
            self.release_sa(successor);
        }
        self.rival_left(env, sa, rival, ours);
        self.release_parked(number);
    }

    pub(crate) fn release_parked(&mut self, number: u32) {
        if let Some(x) = self.contexts.get(number) {
            let mut parked = replace(&mut x.received, crate::exchange::Parked::NONE);
            self.buffers.release(&mut parked.buffer);
        }
    }
}

//! Phase 1: what Main Mode and Aggressive Mode have in common (RFC 2409 section 5).
//!
//! What arrives here may come from anyone. A responder spends a handshake of the bounded pool on it, and no key exchange
//! before the initiator has shown in Main Mode that it receives at its address.

use core::time::Duration;

use ipsec_core::crypto::{Group, Provider};
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::selector::Flow;
use ipsec_core::time::Instant;
use subtle::ConstantTimeEq;

use super::keymat::{Digest, Iv, Seen, Skeyid};
use super::message::Arrived;
use super::nat::{self, NatTraversal};
use super::signature::{method_of, proof_prf};
use super::{Kind, Phase1, Step, proposal, vendor};
use crate::buffers::BufferId;
use crate::config::{Ask, LocalAuth, Peer, Phase1Mode, RemoteAuth, Xauth};
use crate::engine::{Env, Ike};
use crate::error::{CommandError, DatagramError};
use crate::event::{ChildRef, Failure};
use crate::exchange::{self, Stage, Work};
use crate::identity::{ClaimedId, Identity};
use crate::ike_sa::{self, SaState};
use crate::keymat::{Role, SaKeys};
use crate::proposal::Implemented;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::wire::v1::{
    Collected, ExchangeType, Flags, Header, IdPayload, IdType, Message, MessageWriter, Notify,
    NotifyType,
};
use crate::wire::{self, NoRoom};

/// Half-open exchanges that one address may have.
const PER_SOURCE: usize = 4;
/// One who has not answered our first message is forgotten after this: nobody knows whether it is there.
pub(super) const UNPROVEN_TIMEOUT: Duration = Duration::from_secs(10);

impl<'r, P: Provider> Ike<'r, P> {
    // ---- initiator ----

    /// Begins an IKE SA of version 1. The child that is wanted waits in its list.
    pub(crate) fn phase1_begin(
        &mut self,
        env: &mut Env<'_>,
        config: ChildRef,
        packet: Option<Flow>,
    ) -> Result<(), CommandError> {
        let peer = self.config.peers.get(usize::from(config.peer)).ok_or(CommandError::Unknown)?;
        let (Some(local), Some(remote)) = (peer.local, peer.remote) else {
            return Err(CommandError::NoAddress);
        };
        let path = Path::new(
            Endpoint::new(local, self.config.ports.ike),
            Endpoint::new(remote, peer.ports.ike),
        );
        let sa = self.phase1_start(env, config, path)?;
        if self.want_child(env, sa, config, packet).is_err() {
            let number = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
            if let Some(number) = number {
                self.end_exchange(env, number);
            }
            self.release_larval(env, sa);
            return Err(CommandError::NoRoom);
        }
        Ok(())
    }

    /// Begins phase 1 on a path, for no child yet.
    pub(super) fn phase1_start(
        &mut self,
        env: &mut Env<'_>,
        config: ChildRef,
        path: Path,
    ) -> Result<u32, CommandError> {
        let peer = self.config.peers.get(usize::from(config.peer)).ok_or(CommandError::Unknown)?;
        let v1 = peer.versions.v1().ok_or(CommandError::Unknown)?;
        method_of(peer, true).ok_or(CommandError::NoMethod)?;
        let group = proposal::first_group(v1.proposals, &Implemented::of::<P>())
            .ok_or(CommandError::NothingToOffer)?;
        if self.free_sas.is_empty() || self.buffers.free() < 4 {
            return Err(CommandError::NoRoom);
        }
        let sa = self.new_sa(env, true).ok_or(CommandError::NoRoom)?;
        let Some(number) = self.begin_handshake(sa, true) else {
            self.release_sa(sa);
            return Err(CommandError::NoRoom);
        };
        if let Some(slot) = self.sa(sa) {
            slot.peer = config.peer;
            slot.path = path;
            slot.ours = number.saturating_add(1);
            slot.keys = SaKeys::V1(Phase1 { since: env.now, ..Phase1::EMPTY });
        }
        self.file_sa(sa, 0);
        let kind = match v1.mode {
            Phase1Mode::Main => Kind::MainMode,
            Phase1Mode::Aggressive => Kind::Aggressive,
        };
        if let Some((x, handshake)) = self.contexts.handshake(number) {
            x.path = path;
            x.group = group;
            env.rng.fill_bytes(&mut x.nonce);
            handshake.child = config;
            x.kind = exchange::Kind::V1(kind);
        }
        self.phase1_first(env, number, kind);
        Ok(sa)
    }

    /// Writes what we offer, and what we can besides.
    pub(super) fn phase1_write_offer(
        w: &mut MessageWriter<'_>,
        peer: &Peer<'_>,
        group: Option<Group>,
    ) -> Result<(), NoRoom> {
        let v1 = peer.versions.v1().ok_or(NoRoom)?;
        w.sa(|sa| {
            proposal::offer_phase1(
                sa,
                v1.proposals,
                &Implemented::of::<P>(),
                method_of(peer, true).ok_or(NoRoom)?,
                group,
                peer.expire_after,
            )
        })
    }

    /// Sends our message, again and again until the next one of the peer's comes.
    pub(super) fn phase1_send(&mut self, env: &mut Env<'_>, number: u32, awaits: Step) {
        if let Some(x) = self.contexts.get(number) {
            x.v1.step = awaits;
        }
        self.send_request(env, number);
    }

    /// Sends our message, and again only if the peer's comes again (no amplification).
    pub(super) fn phase1_answer(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        awaits: Step,
        patience: Duration,
    ) {
        if let Some(x) = self.contexts.get(number) {
            x.v1.step = awaits;
        }
        self.send_response(env, number, patience);
    }

    /// Our message becomes a part of what the proofs cover.
    pub(super) fn keep_message(&mut self, number: u32, place: Place) {
        let Some((x, handshake)) = self.contexts.handshake(number) else { return };
        let mut message = core::mem::take(&mut x.message);
        let place = match place {
            Place::First => &mut handshake.request,
            Place::InitiatorsKey => &mut handshake.response,
            Place::RespondersKey => &mut handshake.alternative,
        };
        core::mem::swap(place, &mut message);
        self.buffers.release(&mut message);
    }

    /// The peer's message becomes a part of what the proofs cover.
    pub(super) fn store_message(
        &mut self,
        number: u32,
        place: Place,
        message: &[u8],
    ) -> Result<(), DatagramError> {
        let mut stored = self.buffers.store(message).ok_or(DatagramError::NoRoom)?;
        if let Some((_, handshake)) = self.contexts.handshake(number) {
            let place = match place {
                Place::First => &mut handshake.request,
                Place::InitiatorsKey => &mut handshake.response,
                Place::RespondersKey => &mut handshake.alternative,
            };
            core::mem::swap(place, &mut stored);
        }
        self.buffers.release(&mut stored);
        Ok(())
    }

    // ---- responder ----

    /// Somebody begins.
    pub(super) fn phase1_begun(
        &mut self,
        env: &mut Env<'_>,
        arrived: &Arrived,
        datagram: &[u8],
    ) -> Result<(), DatagramError> {
        let Arrived { header, path, hash } = *arrived;
        let aggressive = match header.exchange {
            ExchangeType::IDENTITY_PROTECTION => false,
            ExchangeType::AGGRESSIVE => true,
            _ => return Err(DatagramError::Unexpected),
        };
        if header.message_id != 0 || header.is_encrypted() {
            return Err(DatagramError::Unexpected);
        }
        // Our own message, reflected: both sides of a pre-shared key can prove to know it.
        let slot = u32::try_from(header.initiator_cookie & self.slot_mask).ok();
        let own = slot.and_then(|slot| self.sa(slot)).is_some_and(|sa| {
            sa.initiator && sa.spi_i == header.initiator_cookie && sa.state != SaState::Empty
        });
        if own {
            return Err(DatagramError::Unexpected);
        }
        let mut scratch = [0; 16];
        let (address, port) = (
            nat::address_octets(path.remote.address, &mut scratch),
            path.remote.port.to_be_bytes(),
        );
        let cookie = header.initiator_cookie.to_be_bytes();
        let place = self.half_open.hash(&[address, &port, &cookie]).max(1);
        let same =
            |number: &u32| self.contexts.exchange(*number).is_some_and(|x| x.v1.received == hash);
        let known = self.half_open.find(place).find(same);
        if let Some(number) = known {
            return self.v1_again(number);
        }
        let collected = Message::parse(datagram)?.collect()?;
        let offer = collected.sa.ok_or(DatagramError::Unexpected)?;
        let here = || {
            self.directory.at(path).filter(|(_, peer)| {
                let v1 = peer.versions.v1();
                v1.is_some_and(|v1| !aggressive || v1.mode == Phase1Mode::Aggressive)
            })
        };
        let Some((first, _)) = here().next() else {
            self.refuse(None, None, path, Failure::UnknownPeer);
            return Err(DatagramError::UnknownPeer);
        };
        let implemented = Implemented::of::<P>();
        let chosen = here().find_map(|(index, peer)| {
            let v1 = peer.versions.v1()?;
            let method = method_of(peer, false)?;
            // Who is named by an identity in the clear may have an entry of its own.
            let id = collected.id.filter(|_| aggressive);
            if id.is_some_and(|id| !id.identity().is_some_and(|id| peer.remote_id.matches(&id))) {
                return None;
            }
            let chosen = proposal::choose_phase1(&offer, v1.proposals, &implemented, method)?;
            Some((index, chosen))
        });
        let Some((index, chosen)) = chosen else {
            let method = here().find_map(|(_, peer)| method_of(peer, false));
            let methods = method.as_slice();
            let proposals = here().find_map(|(_, peer)| peer.versions.v1()).map(|v1| v1.proposals);
            let proposals = proposals.unwrap_or_default();
            let failure = match collected.id.and_then(|id| id.identity()).filter(|_| aggressive) {
                Some(id) if !here().any(|(_, peer)| peer.remote_id.matches(&id)) => {
                    Failure::UnknownIdentity { claimed: ClaimedId::of(&id) }
                }
                _ => {
                    let why = proposal::mismatch(&offer, proposals, &implemented, methods);
                    Failure::Phase1Mismatch(why)
                }
            };
            self.refuse(Some(first), None, path, failure);
            self.phase1_refuse(&header, path, NotifyType::NO_PROPOSAL_CHOSEN);
            return Err(DatagramError::Refused);
        };
        let (choice, lifetime) = (chosen.choice, chosen.lifetime);
        let source = self.source_of(path.remote.address);
        let unproven = self.half_open_from(source, false, PER_SOURCE);
        if unproven >= PER_SOURCE.min(self.half_open_limit().div_ceil(2)) {
            return Err(DatagramError::NoRoom);
        }
        if aggressive && collected.ke.map(<[u8]>::len) != choice.group.public_len() {
            return Err(DatagramError::Unexpected);
        }
        // It is kept, as a part of what the proofs cover.
        if datagram.len() > self.buffers.buffer_len() {
            return Err(DatagramError::NoRoom);
        }
        // The last of all checks: what is refused costs nobody its place.
        if !aggressive && self.is_crowded() {
            self.crowd_yields(env);
        }
        if self.is_crowded() {
            return Err(DatagramError::NoRoom);
        }
        let sa = self.new_sa(env, false).ok_or(DatagramError::NoRoom)?;
        let Some(number) = self.begin_handshake(sa, false) else {
            self.release_sa(sa);
            return Err(DatagramError::NoRoom);
        };
        if let Some((x, handshake)) = self.contexts.handshake(number) {
            x.kind = exchange::Kind::V1(if aggressive { Kind::Aggressive } else { Kind::MainMode });
            x.path = path;
            x.group = choice.group;
            x.v1.received = hash;
            env.rng.fill_bytes(&mut x.nonce);
            handshake.hash = place;
            handshake.source = source;
        }
        self.half_open.insert(place, number);
        self.sources.insert(source, number);
        self.half_open_count = self.half_open_count.saturating_add(1);
        if let Some(slot) = self.sa(sa) {
            slot.spi_i = header.initiator_cookie;
            slot.heard = env.now;
            slot.peer = index;
            slot.path = path;
            slot.choice = choice;
            slot.theirs = number.saturating_add(1);
            slot.keys = SaKeys::V1(Phase1 { lifetime, since: env.now, ..Phase1::EMPTY });
        }
        self.phase1_vendors(sa, &collected);
        let begun = self.store_message(number, Place::First, datagram).and_then(|()| {
            if aggressive {
                self.aggressive_first_received(env, number, &collected)
            } else {
                self.main_first_received(env, number)
            }
        });
        if let Err(e) = begun {
            self.end_exchange(env, number);
            self.release_larval(env, sa);
            return Err(e);
        }
        Ok(())
    }

    /// Writes which of the offered we chose, and what `fill` adds, in place of the context's last message.
    pub(super) fn phase1_compose_choice(
        &mut self,
        number: u32,
        exchange: ExchangeType,
        fill: &mut dyn FnMut(&mut MessageWriter<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), DatagramError> {
        let header = self.v1_header(number, exchange, Flags(0))?;
        let message = self.v1_message(number)?;
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let (sa, request) = (x.sa, handshake.request);
        let peer = self.peer_of(sa).ok_or(DatagramError::Stale)?;
        let v1 = peer.versions.v1().ok_or(DatagramError::Stale)?;
        let method = method_of(peer, false).ok_or(DatagramError::Stale)?;
        let pair = self.buffers.pair(request, message);
        let (request, out) = pair.ok_or(DatagramError::NoRoom)?;
        let offer = Message::parse(request)?.collect()?.sa.ok_or(DatagramError::Unexpected)?;
        let chosen = proposal::choose_phase1(&offer, v1.proposals, &Implemented::of::<P>(), method)
            .ok_or(DatagramError::Unexpected)?;
        let len = MessageWriter::new(out, &header)
            .and_then(|mut w| {
                w.sa(|sa| proposal::answer_phase1(sa, &chosen))?;
                fill(&mut w)?;
                w.finish()
            })
            .map_err(|_: NoRoom| DatagramError::NoRoom)?;
        self.buffers.set_len(message, len);
        Ok(())
    }

    /// Refuses somebody in the clear, and forgets it. The answer is shorter than what it answers.
    pub(super) fn phase1_refuse(&mut self, header: &Header, path: Path, kind: NotifyType) {
        let Some(mut buffer) = self.buffers.take() else { return };
        let (i, r) = (header.initiator_cookie, header.responder_cookie);
        let answer = Header::new(i, r, ExchangeType::INFORMATIONAL, Flags(0), 0);
        let written = MessageWriter::new(self.buffers.bytes_mut(buffer), &answer)
            .and_then(|mut w| w.notify(&Notify::new(kind, &[], &[])).and_then(|()| w.finish()));
        match written {
            Ok(len) => {
                self.buffers.set_len(buffer, len);
                self.store_reply(path, buffer);
            }
            Err(_) => self.buffers.release(&mut buffer),
        }
    }

    // ---- both ----

    /// A message of phase 1 of an SA that we know.
    pub(super) fn phase1_received(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let result = self.phase1_next(env, sa, arrived, datagram);
        // Of two different messages for one place, one is not the peer's, and it may be the one that was believed.
        if !matches!(result, Ok(()) | Err(DatagramError::Busy | DatagramError::Stale)) {
            self.phase1_disturbed(sa);
        }
        result
    }

    fn phase1_next(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let slot = self.sa(sa).ok_or(DatagramError::Stale)?;
        let (ours, theirs, initiator) = (slot.ours, slot.theirs, slot.initiator);
        let handshake = if initiator { ours } else { theirs };
        let number = handshake.checked_sub(1).filter(|n| self.contexts.is_handshake(*n));
        let Some(number) = number else {
            // Phase 1 is over here. The last message may have been lost.
            let last = self.v1_exchange(sa, |x| x.v1.received == arrived.hash);
            return self.v1_again(last.ok_or(DatagramError::Stale)?);
        };
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let exchange::Kind::V1(kind) = x.kind else { return Err(DatagramError::Unexpected) };
        let aggressive = arrived.header.exchange == ExchangeType::AGGRESSIVE;
        if aggressive != (kind == Kind::Aggressive) {
            return Err(DatagramError::Unexpected);
        }
        let (from, to) = (arrived.path.remote.address, arrived.path.local.address);
        if from != x.path.remote.address || to != x.path.local.address {
            return Err(DatagramError::Unexpected);
        }
        if x.v1.received == arrived.hash {
            return self.v1_again(number);
        }
        if !matches!(x.stage, Stage::Response | Stage::Answered) {
            return Err(DatagramError::Busy);
        }
        match (kind, x.v1.step) {
            (Kind::MainMode, Step::Second) => self.main_second(env, number, arrived, datagram),
            (Kind::MainMode, Step::Third) => self.main_third(env, number, arrived, datagram),
            (Kind::MainMode, Step::Fourth) => self.main_fourth(env, number, arrived, datagram),
            (Kind::MainMode, Step::Fifth) => self.main_fifth(env, number, arrived, datagram),
            (Kind::MainMode, Step::Sixth) => self.main_sixth(env, number, arrived, datagram),
            (Kind::Aggressive, Step::Second) => {
                self.aggressive_second(env, number, arrived, datagram)
            }
            (Kind::Aggressive, Step::Third) => {
                self.aggressive_third(env, number, arrived, datagram)
            }
            _ => Err(DatagramError::Stale),
        }
    }

    /// What the peer can besides.
    pub(super) fn phase1_vendors(&mut self, sa: u32, collected: &Collected<'_>) {
        let known = vendor::Known::of(collected);
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.nat = NatTraversal::best(&known);
            phase1.dpd = known.dpd;
            phase1.unity = known.unity;
        }
        let wanted = self.peer_of(sa).is_some_and(|peer| peer.fragment_size.is_some());
        if let Some(slot) = self.sa(sa) {
            slot.fragments = known.fragmentation && wanted && crate::fragment::LINKED;
        }
    }

    /// What both can besides: NAT traversal, dead peer detection, fragments.
    pub(super) fn phase1_known_vendors(&self, number: u32) -> (NatTraversal, bool, bool) {
        let sa = self.contexts.exchange(number).and_then(|x| self.sas.get(x.sa as usize));
        let known = sa.and_then(|slot| {
            let phase1 = slot.sa.keys.v1()?;
            Some((phase1.nat, phase1.dpd, slot.sa.fragments))
        });
        known.unwrap_or((NatTraversal::None, false, false))
    }

    /// The initiator's and the responder's message with key exchange and nonce.
    fn key_messages(&self, number: u32) -> Option<(Collected<'_>, Collected<'_>)> {
        let slot = self.contexts.handshakes.get(number as usize)?;
        let (x, handshake) = (&slot.slot.exchange, &slot.handshake);
        let or = |first: BufferId, second| if first.is_none() { second } else { first };
        let initiators = self.v1_stored(or(handshake.response, handshake.request))?;
        let responders = self.v1_stored(or(handshake.alternative, x.message))?;
        Some((initiators, responders))
    }

    /// The peer's public value: the input of a job.
    pub(crate) fn phase1_peer_public(&self, number: u32) -> Option<&[u8]> {
        let slot = self.contexts.handshakes.get(number as usize)?;
        let handshake = &slot.handshake;
        let message = match (slot.slot.exchange.ours, handshake.response.is_none()) {
            (true, _) => handshake.alternative,
            (false, true) => handshake.request,
            (false, false) => handshake.response,
        };
        self.v1_stored(message)?.ke
    }

    /// SKEYID and its children (RFC 2409 section 5), and the first initialization vector.
    pub(super) fn phase1_derive(&mut self, number: u32, secret: &[u8]) -> Result<(), Failure> {
        let sa = self.contexts.exchange(number).ok_or(Failure::Protocol)?.sa;
        let peer = self.peer_of(sa).ok_or(Failure::Protocol)?;
        let slot = &self.sas.get(sa as usize).ok_or(Failure::Protocol)?.sa;
        let (spi_i, spi_r) = (slot.spi_i, slot.spi_r);
        let (initiators, responders) = self.key_messages(number).ok_or(Failure::Protocol)?;
        let (Some(ni), Some(nr)) = (initiators.nonce, responders.nonce) else {
            return Err(Failure::Protocol);
        };
        let (Some(gi), Some(gr)) = (initiators.ke, responders.ke) else {
            return Err(Failure::Protocol);
        };
        let protection = slot.protection();
        let mut skeyid = Skeyid::EMPTY;
        match (peer.auth.local, peer.auth.remote) {
            (LocalAuth::Psk(key), RemoteAuth::Psk(_)) => {
                skeyid.from_psk::<P>(protection.prf, key, ni, nr)
            }
            _ => skeyid.from_secret::<P>(protection.prf, ni, nr, secret),
        }
        .map_err(|_| Failure::Crypto)?;
        let iv = Iv::of_phase_1::<P>(protection, gi, gr).map_err(|_| Failure::Crypto)?;
        let key_log = self.config.key_log;
        let slot = self.sa(sa).ok_or(Failure::Protocol)?;
        let phase1 = slot.keys.v1_mut().ok_or(Failure::Protocol)?;
        let derived = phase1.keys.derive::<P>(protection, &skeyid, secret, spi_i, spi_r);
        derived.map_err(|_| Failure::Crypto)?;
        if key_log {
            slot.tell |= ike_sa::tell::KEYS;
            self.events.push(sa);
        }
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        x.v1.iv = iv;
        // Swapped, not moved: what is moved from is not wiped.
        core::mem::swap(&mut handshake.skeyid, &mut skeyid);
        Ok(())
    }

    /// HASH_I or HASH_R (RFC 2409 section 5): what proves `prover`, or is signed by it.
    pub(super) fn phase1_proof(
        &self,
        number: u32,
        prover: Role,
        id: &IdPayload<'_>,
    ) -> Option<Digest> {
        let slot = self.contexts.handshakes.get(number as usize)?;
        let sa = &self.sas.get(slot.slot.exchange.sa as usize)?.sa;
        let offer = self.v1_stored(slot.handshake.request)?.sa?;
        let (initiators, responders) = self.key_messages(number)?;
        let seen = Seen {
            g_xi: initiators.ke?,
            g_xr: responders.ke?,
            cookie_i: sa.spi_i,
            cookie_r: sa.spi_r,
            sa_i: offer.body(),
        };
        let prf = proof_prf(self.phase1_method(number)?, sa.choice.prf);
        slot.handshake.skeyid.proof::<P>(prf, prover, &seen, id).ok()
    }

    /// Whether the peer has proven by the pre-shared key to be `id`.
    pub(super) fn phase1_is_proven(
        &self,
        number: u32,
        prover: Role,
        id: &IdPayload<'_>,
        hash: &[u8],
    ) -> bool {
        self.phase1_proof(number, prover, id).is_some_and(|expected| expected.matches(hash))
    }

    /// Our proof by the pre-shared key.
    pub(super) fn phase1_own_proof(&self, number: u32, role: Role) -> Result<Digest, Failure> {
        let mut scratch = [0; 16];
        let id = self.phase1_own_id(number, &mut scratch).ok_or(Failure::Protocol)?;
        self.phase1_proof(number, role, &id).ok_or(Failure::Crypto)
    }

    /// Who we are, as a payload.
    pub(super) fn phase1_own_id<'s>(
        &self,
        number: u32,
        scratch: &'s mut [u8; 16],
    ) -> Option<IdPayload<'s>>
    where
        'r: 's,
    {
        let x = self.contexts.exchange(number)?;
        let peer = self.peer_of(x.sa)?;
        let id = match peer.local_id {
            Identity::Any => {
                let octets = nat::address_octets(x.path.local.address, scratch);
                let kind = if octets.len() == 4 { IdType::IPV4_ADDR } else { IdType::IPV6_ADDR };
                return Some(IdPayload::new(kind, octets));
            }
            Identity::Ipv4(a) => {
                let octets = nat::address_octets(a.into(), scratch);
                return Some(IdPayload::new(IdType::IPV4_ADDR, octets));
            }
            Identity::Ipv6(a) => {
                let octets = nat::address_octets(a.into(), scratch);
                return Some(IdPayload::new(IdType::IPV6_ADDR, octets));
            }
            Identity::Fqdn(name) => (IdType::FQDN, name.as_bytes()),
            Identity::Email(address) => (IdType::USER_FQDN, address.as_bytes()),
            Identity::KeyId(id) => (IdType::KEY_ID, id),
            Identity::Dn(der) => (IdType::DER_ASN1_DN, der),
        };
        Some(IdPayload::new(id.0, id.1))
    }

    /// Whether the identity is one that phase 1 may have, and that the peer's entry names.
    pub(super) fn phase1_known<'a>(
        &self,
        sa: u32,
        id: &IdPayload<'a>,
    ) -> Result<wire::IdPayload<'a>, Failure> {
        let identity = id.identity().filter(|_| id.is_of_phase_1()).ok_or(Failure::Protocol)?;
        let peer = self.peer_of(sa).ok_or(Failure::Protocol)?;
        if peer.remote_id.matches(&identity) {
            Ok(identity)
        } else {
            Err(Failure::UnknownIdentity { claimed: ClaimedId::of(&identity) })
        }
    }

    /// As responder: the entry of the identity that has proven to know the key of the entry that was chosen by address
    /// (RFC 4301 section 4.4.3), and the identity, hashed.
    pub(super) fn phase1_identity(
        &self,
        sa: u32,
        id: &IdPayload<'_>,
        aggressive: bool,
    ) -> Result<(u16, u64), Failure> {
        let identity = id.identity().filter(|_| id.is_of_phase_1()).ok_or(Failure::Protocol)?;
        let slot = &self.sas.get(sa as usize).ok_or(Failure::Protocol)?.sa;
        let by_address = self.peer_of(sa).ok_or(Failure::Protocol)?;
        let fits = |other: &Peer<'_>| {
            let allowed = other.versions.v1().is_some_and(|v1| {
                proposal::allows(v1.proposals, &slot.choice)
                    && (!aggressive || v1.mode == Phase1Mode::Aggressive)
            });
            allowed
                && other.remote_id.matches(&identity)
                && same_key(by_address, other)
                && method_of(other, slot.initiator) == method_of(by_address, slot.initiator)
        };
        let mut entries = self.directory.at(slot.path);
        match entries.find(|(_, other)| fits(other)) {
            Some((index, _)) => Ok((index, self.identity_hash(&identity))),
            None => Err(Failure::UnknownIdentity { claimed: ClaimedId::of(&identity) }),
        }
    }

    /// Whether we have nothing with the peer of an SA yet. Who a user is, is not known before he says so.
    pub(super) fn phase1_is_first(&self, sa: u32) -> bool {
        let peer = self.sas.get(sa as usize).map_or(0, |slot| slot.sa.peer);
        !self.wants_user(peer) && self.sas_of(peer, 0).all(|(_, sa)| !sa.is_authenticated())
    }

    /// Ends a handshake of ours that leads nowhere. A peer that is not believed takes the SA for established, and is told
    /// that it is gone.
    pub(super) fn phase1_abandoned(&mut self, env: &mut Env<'_>, number: u32, failure: Failure) {
        let sa = self.contexts.exchange(number).map(|x| x.sa);
        let main = |x: &exchange::Exchange<P>| x.kind == exchange::Kind::V1(Kind::MainMode);
        let believes = self.contexts.exchange(number).is_some_and(main);
        let sa = sa.filter(|_| believes && matches!(failure, Failure::Untrusted { .. }));
        match sa.and_then(|sa| Some((sa, self.phase1(sa)?.last))) {
            Some((sa, last)) => self.phase1_disown(env, sa, number, failure, last),
            None => self.handshake_failed(env, number, failure),
        }
    }

    /// The peer is proven, and not the one that was wanted: it is told that the SA is gone, and our caller why.
    pub(super) fn phase1_disown(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        number: u32,
        failure: Failure,
        last: Iv,
    ) {
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.last = last;
        }
        let child = self.contexts.handshake(number).map(|(_, h)| h.child);
        self.fail(env, number, child, failure);
        self.disown_sa(env, sa);
    }

    /// Both sides are proven: phase 1 is over. What it leaves behind is the last block of its last message.
    pub(super) fn phase1_up(&mut self, env: &mut Env<'_>, sa: u32, identity: u64, last: Iv) {
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.last = last;
            if phase1.known == Instant::ZERO {
                phase1.known = env.now;
            }
        }
        if let Some(slot) = self.sa(sa) {
            // All of phase 1 came from there, and the answers went there.
            slot.proven = slot.path.remote.address;
        }
        self.access_begin(env, sa, identity);
    }

    /// As responder, whether one who has proven an identity may have one more SA. Whoever still has to name a user is nobody
    /// yet, and ends nobody's SAs.
    pub(super) fn phase1_admits(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        (peer, identity): (u16, u64),
        initial_contact: bool,
    ) -> bool {
        if self.wants_user(peer) {
            return self.may_wait_for_user(peer);
        }
        if initial_contact {
            self.initial_contact(env, sa, peer, identity);
        }
        self.limit_sas(env, sa, (peer, identity), true)
    }

    /// As responder: the context of the handshake is free for others; that of an exchange keeps our last message, for a
    /// peer that has lost it.
    pub(super) fn phase1_farewell(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, path, received) = (x.sa, x.path, x.v1.received);
        let mut message = core::mem::take(&mut x.message);
        let exchange::Kind::V1(kind) = x.kind else { return };
        self.end_exchange(env, number);
        let last = self.v1_take_exchange(env, sa, kind, false, 0);
        let Some(x) = last.and_then(|last| self.contexts.get(last)) else {
            return self.buffers.release(&mut message);
        };
        x.path = path;
        x.message = message;
        x.v1.received = received;
        if let Some(last) = last {
            self.send_response(env, last, HANDSHAKE_TIMEOUT);
        }
    }

    /// Sends our first message, with a key exchange if it has one.
    pub(super) fn phase1_first(&mut self, env: &mut Env<'_>, number: u32, kind: Kind) {
        if kind == Kind::MainMode {
            return self.main_first(env, number);
        }
        self.queue_job(number, Work::Generate);
        self.give_up_after(env, number, CALLER_TIMEOUT);
    }
}

/// Which of the messages that the proofs cover.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// The first, with the offer.
    First,
    InitiatorsKey,
    RespondersKey,
}

/// Whether two entries have the same pre-shared key.
fn same_key(a: &Peer<'_>, b: &Peer<'_>) -> bool {
    match (a.auth.remote, b.auth.remote) {
        (RemoteAuth::Psk(a), RemoteAuth::Psk(b)) => a.ct_eq(b).into(),
        (RemoteAuth::Psk(_), _) | (_, RemoteAuth::Psk(_)) => false,
        _ => true,
    }
}

/// What else of us the peer has to know.
pub(super) fn vendors_of(peer: &Peer<'_>) -> &'static [&'static [u8]] {
    let xauth = peer.versions.v1().is_some_and(|v1| !matches!(v1.user(), Xauth::None));
    if xauth {
        &[vendor::XAUTH, vendor::UNITY]
    } else if peer.asks_for() != Ask::NOTHING || peer.is_assigned() {
        &[vendor::UNITY]
    } else {
        &[]
    }
}

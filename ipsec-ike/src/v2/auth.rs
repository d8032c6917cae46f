//! IKE_AUTH: who the two sides are, and the first child (RFC 7296 sections 1.2 and 2.15).

use ipsec_core::crypto::Provider;
use ipsec_core::crypto::suite::MAX_PRF;
use ipsec_core::path::Path;

use super::chosen::{Chosen, Ends, Unmet};
use super::configuration::{Asks, ConfigReply};
use super::message::Inner;
use super::negotiation::Answered;
use super::ppk;
use super::proof::{self, Proof};
use super::reauth;
use super::sa_init::nonce_of;
use crate::auth::{SIGNATURES, Untrusted, pad, signature};
use crate::buffers::BufferId;
use crate::config::{LocalAuth, RemoteAuth};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::{AuthKind, DownReason, Failure};
use crate::exchange::{Kind, Maybe, Stage, Work};
use crate::identity::{self, ClaimedId, Identity};
use crate::ike_sa::{self, SaState};
use crate::keymat::Role;
use crate::timer::{CALLER_TIMEOUT, LINGER, RESPONSE_KEPT, jittered};
use crate::wire::nonce::MAX_NONCE;
use crate::wire::{
    Collected, ExchangeType, Header, IdPayload, Message, NoRoom, Notify, NotifyType, PayloadType,
};

impl<P: Provider> Ike<'_, P> {
    // ---- initiator ----

    /// Sends our identity and its proof, and asks for the first child.
    pub(crate) fn auth_request(&mut self, env: &mut Env<'_>, number: u32) {
        if let Err(failure) = self.try_auth_request(env, number) {
            self.handshake_failed(env, number, failure);
        }
    }

    fn try_auth_request(&mut self, env: &mut Env<'_>, number: u32) -> Result<(), Failure> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        let (sa_number, config) = (x.sa, handshake.child);
        let peer = self.config.peers.get(usize::from(config.peer)).ok_or(Failure::Protocol)?;
        let message_id = u32::from(x.round).saturating_add(1);
        let path = self.leave_sa_init(number);
        let sa = self.sa(sa_number).ok_or(Failure::Protocol)?;
        sa.send_id = message_id.wrapping_add(1);
        let prf = sa.choice.prf;
        let kept = self.contexts.get(number).and_then(|x| x.negotiation.child.checked_sub(1));
        let packet = self.packet_of(self.place_of_handshake(number));
        let childless =
            peer.childless && self.responder_says(number, NotifyType::CHILDLESS_IKEV2_SUPPORTED);
        let child = match kept {
            Some(child) => Some(child),
            None if childless => {
                // It is asked for when the IKE SA stands.
                let wanted = self.want_child(env, sa_number, config, packet);
                wanted.map(|()| None).map_err(|_| Failure::NoRoom)?
            }
            None => {
                let made = self.new_child(env, sa_number, config).ok_or(Failure::NoRoom)?;
                self.set_packet(made, packet);
                Some(made)
            }
        };
        let (x, _) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        x.kind = Kind::Auth;
        x.message_id = message_id;
        x.path = path;
        x.negotiation.child = child.map_or(0, |child| child.saturating_add(1));
        let local_id = peer.local_id.or_address(path.local.address);
        let mut scratch = [0; 16];
        let id = local_id.payload(&mut scratch);
        let ppk = self.ppk_to_use(number);
        if let LocalAuth::Psk(key) = peer.auth.local {
            let (mut proof, mut without) = ([0; MAX_PRF], None);
            if let Some(ppk) = ppk {
                if !ppk.required {
                    let _ = self.own_proof(number, key, &id, &mut proof).ok_or(Failure::Crypto)?;
                    without = Some(proof);
                }
                self.mix_auth(number, Role::Initiator, &ppk)?;
            }
            let len = self.own_proof(number, key, &id, &mut proof).ok_or(Failure::Crypto)?;
            let without = without.as_ref().and_then(|w| w.get(..len));
            let proof = Proof::Shared(proof.get(..len).unwrap_or_default());
            return self.auth_send(env, number, &proof, without);
        }
        match ppk {
            Some(ppk) if ppk.required => self.mix_auth(number, Role::Initiator, &ppk)?,
            Some(ppk) => self.ppk_later(number, &id, &ppk)?,
            None => {}
        }
        let (_, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        handshake.auth.bind::<P>(prf, Role::Initiator, &id).map_err(|_| Failure::Crypto)?;
        if let Some(failure) = self.own_signature(number).err() {
            // What the peer understands is known from an answer that nobody vouches for.
            if let Some(x) = self.contexts.get(number) {
                x.stage = Stage::Response;
            }
            self.doubt(env, number, failure);
            return Ok(());
        }
        self.queue_job(number, Work::Sign);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// Whether the responder has said this in IKE_SA_INIT.
    fn responder_says(&mut self, number: u32, kind: NotifyType) -> bool {
        let Some((_, handshake)) = self.contexts.handshake(number) else { return false };
        let response = Message::parse(self.buffers.bytes(handshake.response));
        let collected = response.and_then(|message| message.collect());
        collected.is_ok_and(|c| c.notify(kind).is_some())
    }

    /// Where everything after IKE_SA_INIT goes. RFC 7296 section 2.23: with a NAT between, to port 4500; with MOBIKE, in any
    /// case, since one may be on another path (RFC 4555 section 3.3).
    pub(super) fn leave_sa_init(&mut self, number: u32) -> Path {
        let sa = self.contexts.exchange(number).map_or(u32::MAX, |x| x.sa);
        let (peer, nat_port) = (self.peer_of(sa), self.config.ports.nat);
        let moves = peer.is_some_and(|p| p.mobike.is_some())
            && self.responder_says(number, NotifyType::NAT_DETECTION_SOURCE_IP);
        let Some(sa) = self.sa(sa) else { return Path::UNSPECIFIED };
        if let Some(peer) = peer
            && (sa.nat_local || sa.nat_remote || peer.force_encapsulation || moves)
        {
            sa.path = sa.path.with_ports(nat_port, peer.ports.nat);
        }
        sa.path
    }

    /// Our key has signed.
    pub(crate) fn auth_signed(&mut self, env: &mut Env<'_>, number: u32, signature: &[u8]) {
        let Some(x) = self.contexts.get(number) else { return };
        let ours = x.ours;
        x.work = Work::None;
        let secrets = cfg!(feature = "ppk") && !x.secrets.is_none();
        let Ok((_, method, scheme)) = self.own_signature(number) else { return };
        let proof = Proof::Signature(method, scheme, signature);
        if !ours {
            return self.auth_answer_parked(env, number, &proof);
        }
        let sent = if self.ppk_is_later(number) {
            self.ppk_next(number, &proof).map(|()| {
                self.queue_job(number, Work::Sign);
                self.give_up_after(env, number, CALLER_TIMEOUT);
            })
        } else if secrets {
            self.auth_send_both(env, number, &proof)
        } else {
            self.auth_send(env, number, &proof, None)
        };
        if let Err(failure) = sent {
            self.handshake_failed(env, number, failure);
        }
    }

    /// Sends our request. `without_ppk`: our proof for a peer that does not have the PPK.
    pub(super) fn auth_send(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        proof: &Proof<'_>,
        without_ppk: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        let (path, config) = (x.path, handshake.child);
        let mixed = handshake.auth.is_mixed(Role::Initiator);
        let child = x.negotiation.child.checked_sub(1);
        let peer = self.config.peers.get(usize::from(config.peer)).ok_or(Failure::Protocol)?;
        let offer = child.map(|child| self.child_offer(child)).transpose()?;
        let spi = child.and_then(|child| self.child(child)).map_or(0, |c| c.spi_in).to_be_bytes();
        let local_id = peer.local_id.or_address(path.local.address);
        let mut scratch = [0; 16];
        let id = local_id.payload(&mut scratch);
        let first = self.sas_of(config.peer, 0).all(|(_, sa)| !sa.is_authenticated());
        let mobile = self.mobile.zip(peer.mobike);
        self.compose(number, ExchangeType::IKE_AUTH, |w| {
            w.id(PayloadType::IDI, &id)?;
            proof::write_certs(w, &peer.auth.local)?;
            if first {
                // RFC 7296 section 2.4: whatever the peer remembers of us is of before our start.
                w.notify(&Notify::new(NotifyType::INITIAL_CONTACT, &[]))?;
            }
            proof::write_cert_req::<P>(w, core::iter::once(peer))?;
            if peer.remote_id != Identity::Any {
                let mut scratch = [0; 16];
                w.id(PayloadType::IDR, &peer.remote_id.payload(&mut scratch))?;
            }
            proof.write(w)?;
            peer.asks_for().write(w)?;
            if let Some(offer) = &offer {
                offer.write_sa(w, &spi, false)?;
                offer.write_selectors(w)?;
            }
            if let Some(ppk) = peer.ppk.filter(|_| mixed) {
                ppk::write(w, &ppk, without_ppk)?;
            }
            mobile.map_or(Ok(()), |(mobile, policy)| (mobile.write_auth)(policy, path, true, w))
        })
        .map_err(|_| self.not_composed(number))?;
        self.send_request(env, number);
        Ok(())
    }

    /// Why a message could not be written: there was no buffer, or it was too short.
    pub(crate) fn not_composed(&self, number: u32) -> Failure {
        let x = self.contexts.exchange(number);
        if x.is_some_and(|x| x.message.is_none()) { Failure::NoRoom } else { Failure::TooLong }
    }

    /// The peer's identity and its proof, and the first child.
    #[inline(never)]
    pub(crate) fn auth_response(
        &mut self,
        env: &mut Env<'_>,
        sa_number: u32,
        number: u32,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        if !x.failure.is_nothing() {
            return Err(DatagramError::Stale);
        }
        let config = handshake.child;
        let peer = self.config.peers.get(usize::from(config.peer));
        let peer = peer.ok_or(DatagramError::Stale)?;
        let (Some(id), Some(auth)) = (collected.id_r, collected.auth) else {
            let error = collected.error().map(|n| n.kind);
            let failure = match error {
                Some(NotifyType::AUTHENTICATION_FAILED) => Failure::AuthenticationRefused,
                Some(kind) => Failure::Refused(kind),
                None => Failure::Protocol,
            };
            self.doubt(env, number, failure);
            return Err(DatagramError::Refused);
        };
        if !pad::accepts(&peer.auth.remote, auth.method) {
            let wanted = AuthKind::of(&peer.auth.remote);
            self.doubt(env, number, Failure::MethodRefused { used: auth.method, wanted });
            return Err(DatagramError::Refused);
        }
        if let Err(failure) = self.ppk_confirmed(number, collected) {
            self.doubt(env, number, failure);
            return Err(DatagramError::Refused);
        }
        let claimed = ClaimedId::of(&id);
        if let RemoteAuth::Psk(key) = peer.auth.remote {
            if !self.is_proven(number, key, &id, &auth) {
                self.doubt(env, number, Failure::AuthenticationFailed);
                return Err(DatagramError::Integrity);
            }
            if !peer.remote_id.matches(&id) {
                self.fail(env, number, Some(config), Failure::UnknownIdentity { claimed });
                self.disown_sa(env, sa_number);
                return Err(DatagramError::Refused);
            }
            let identity = self.identity_hash(&id);
            let mut answer = self.answered(number, collected);
            self.take_config(sa_number, collected);
            self.take_mobike(sa_number, Self::moves(collected));
            if let Some(mobile) = self.mobile {
                (mobile.learn)(self, sa_number, number, Some(collected));
            }
            self.take_auth_lifetime(env, sa_number, reauth::auth_lifetime(collected));
            return self.auth_completed(env, sa_number, number, identity, answer.as_mut());
        }
        // What is plain to see costs no job.
        let checked = if !peer.remote_id.matches(&id) {
            Err(Failure::UnknownIdentity { claimed })
        } else {
            let named = signature::read(&auth).map(|(named, _)| named);
            signature::check(&peer.auth.remote, named, &collected.certs())
                .map_err(|reason| Failure::Untrusted { claimed, reason })
        };
        if let Err(failure) = checked {
            self.doubt(env, number, failure);
            return Err(DatagramError::Refused);
        }
        self.auth_park(number, received, Role::Responder, &id).map_err(|failure| {
            self.doubt(env, number, failure);
            DatagramError::NoRoom
        })?;
        self.queue_job(number, Work::Verify);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// What the peer says of the child.
    fn answered(&self, number: u32, collected: &Collected<'_>) -> Option<Answered> {
        let child = self.contexts.exchange(number)?.negotiation.child.checked_sub(1)?;
        Some(self.read_answer(child, collected, false))
    }

    /// The responder is authenticated: from here on the SA is the peer's.
    fn auth_completed(
        &mut self,
        env: &mut Env<'_>,
        sa_number: u32,
        number: u32,
        identity: u64,
        answer: Option<&mut Answered>,
    ) -> Result<(), DatagramError> {
        if let Err(failure) = self.mix_ppk(number) {
            self.handshake_failed(env, number, failure);
            return Err(DatagramError::Crypto);
        }
        self.wipe_handshake(number);
        self.file_sa(sa_number, identity);
        self.sa_up(env, sa_number);
        let child = self.contexts.get(number).map_or(0, |x| x.negotiation.child).checked_sub(1);
        let Some((child, answer)) = child.zip(answer) else {
            // RFC 6023 section 3: no child came with it.
            self.end_exchange(env, number);
            self.next_task(env, sa_number);
            return Ok(());
        };
        let made = answer.made;
        if let Err(failure) = self.take_first_child(number, child, answer) {
            if failure == Failure::SinglePairRequired && self.takes_single_pair(child) {
                self.create_child_again(env, number, sa_number, child);
                self.next_task(env, sa_number);
                return Ok(());
            }
            // If the peer has made the child, it is told to delete it.
            self.abandon_child(env, number, failure, made);
            return Err(DatagramError::Refused);
        }
        self.begin_install(env, number);
        Ok(())
    }

    fn take_first_child(
        &mut self,
        number: u32,
        child: u32,
        answer: &mut Answered,
    ) -> Result<(), Failure> {
        self.take_answer(number, child, answer)?;
        self.derive_child_keys(number, None, None)
    }

    /// Ends a handshake of ours whose peer proves nothing. If it believes the SA to exist, it is told to delete it.
    pub(crate) fn auth_abandoned(&mut self, env: &mut Env<'_>, number: u32, failure: Failure) {
        let disowns = matches!(failure, Failure::Untrusted { .. } | Failure::MethodRefused { .. });
        let Some(sa) = self.contexts.get(number).map(|x| x.sa).filter(|_| disowns) else {
            return self.handshake_failed(env, number, failure);
        };
        let child = self.contexts.handshake(number).map(|(_, h)| h.child);
        self.fail(env, number, child, failure);
        self.disown_sa(env, sa);
    }

    /// The peer is authenticated, and not the one that was wanted. It believes the SA to exist, and is told to delete it
    /// (RFC 7296 section 2.21.2); our caller never hears of it.
    pub(crate) fn disown_sa(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(sa) = self.sa(number) else { return };
        sa.state = SaState::Rekeyed;
        sa.replaced = true;
        sa.expire_at = env.now.after(CALLER_TIMEOUT);
        self.schedule_sa(env.now, number);
        self.want_of_sa(env, number, ike_sa::want::CLOSE);
    }

    // ---- responder ----

    /// The initiator's identity and its proof, and the child that it wants.
    #[inline(never)]
    pub(crate) fn auth_received(
        &mut self,
        env: &mut Env<'_>,
        sa_number: u32,
        path: Path,
        collected: &Collected<'_>,
        received: Inner<'_>,
    ) -> Result<(), DatagramError> {
        let number = self.handshake_of(sa_number, path)?;
        let first = self.contexts.exchange(number).map(|x| x.path).ok_or(DatagramError::Stale)?;
        if self.next_group(number).is_some() {
            // RFC 9370 section 2.2.2: IKE_AUTH comes after all key exchanges that were agreed on.
            self.auth_refuse(env, sa_number, number, path, Failure::Protocol);
            return Err(DatagramError::Unexpected);
        }
        if self.mobile.is_some_and(|mobile| !(mobile.is_direct)(collected, path)) {
            self.auth_refuse(env, sa_number, number, path, Failure::UnexpectedNat);
            return Err(DatagramError::Refused);
        }
        let (Some(id), Some(auth)) = (collected.id_i, collected.auth) else {
            self.auth_refuse(env, sa_number, number, path, Failure::Protocol);
            return Err(DatagramError::Unexpected);
        };
        // The proposal was chosen by address; now the identity says whose rules apply (RFC 4301 section 4.4.3).
        let sa = self.sa(sa_number).ok_or(DatagramError::Stale)?;
        let choice = sa.choice;
        let ids = (&id, collected.id_r.as_ref());
        let entry = pad::entry(self.directory, first, ids, &choice, auth.method);
        let known = match &entry {
            Ok((index, _)) => Some(*index),
            Err(denied) => denied.peer,
        };
        if let (Some(index), Some(sa)) = (known, self.sa(sa_number)) {
            sa.peer = index;
        }
        let checked = entry.map_err(|denied| denied.failure).and_then(|(_, peer)| {
            let auth = self.ppk_named(number, peer, collected, &auth)?;
            match peer.auth.remote {
                RemoteAuth::Psk(key) if self.is_proven(number, key, &id, &auth) => Ok(true),
                RemoteAuth::Psk(_) => Err(Failure::AuthenticationFailed),
                #[cfg(feature = "store")]
                RemoteAuth::Store => Ok(false),
                _ => {
                    let named = signature::read(&auth).map(|(named, _)| named);
                    signature::check(&peer.auth.remote, named, &collected.certs())
                        .map(|()| false)
                        .map_err(|reason| Failure::Untrusted {
                            claimed: ClaimedId::of(&id),
                            reason,
                        })
                }
            }
        });
        let error = match checked {
            Ok(true) => {
                return self.auth_proven(env, number, path, Some((collected, received)), &[]);
            }
            Ok(false) if !self.may_park() => return Err(DatagramError::NoRoom),
            #[cfg(feature = "store")]
            Ok(false) if self.is_of_store(sa_number) => {
                self.park(number, received)?;
                self.auth_wait(env, number, path, Work::LookUp);
                return Ok(());
            }
            Ok(false) => match self.auth_park(number, received, Role::Initiator, &id) {
                Ok(()) => {
                    self.auth_wait(env, number, path, Work::Verify);
                    return Ok(());
                }
                // The initiator asks again.
                Err(Failure::NoRoom) => return Err(DatagramError::NoRoom),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        let integrity = matches!(error, Failure::AuthenticationFailed);
        self.auth_refuse(env, sa_number, number, path, error);
        Err(if integrity { DatagramError::Integrity } else { DatagramError::Refused })
    }

    /// Whether something of an initiator that has proven nothing yet may be kept. The last two buffers are for what is
    /// established, or the last one if nobody else is half-open. Who is refused asks again.
    pub(crate) const fn may_park(&self) -> bool {
        let reserve = if self.half_open_count > 1 { 2 } else { 1 };
        self.buffers.free() > reserve
    }

    /// Waits for a job of a handshake that the peer began: nothing else is taken until it is done.
    pub(super) fn auth_wait(&mut self, env: &mut Env<'_>, number: u32, path: Path, work: Work) {
        self.becomes_auth(number, path);
        self.queue_job(number, work);
        self.give_up_after(env, number, CALLER_TIMEOUT);
    }

    /// A handshake that the peer began has come to the next request, IKE_AUTH.
    fn becomes_auth(&mut self, number: u32, path: Path) {
        let Some(sa) = self.contexts.exchange(number).map(|x| x.sa) else { return };
        let message_id = self.sa(sa).map_or(0, |sa| sa.receive_id);
        if let Some(x) = self.contexts.get(number) {
            x.kind = Kind::Auth;
            x.message_id = message_id;
            x.path = path;
        }
    }

    /// The initiator is the one that it says it is. Our own proof is next. `received` is its message, unless it has been
    /// parked before. `secret` is of the caller's store.
    pub(super) fn auth_proven(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        path: Path,
        received: Option<(&Collected<'_>, Inner<'_>)>,
        #[cfg_attr(not(feature = "store"), expect(unused_variables, reason = "there is none"))]
        secret: &[u8],
    ) -> Result<(), DatagramError> {
        let sa_number = self.contexts.get(number).map(|x| x.sa).ok_or(DatagramError::Stale)?;
        let peer = self.peer_of(sa_number).ok_or(DatagramError::Stale)?;
        let local_id = peer.local_id.or_address(path.local.address);
        let mut scratch = [0; 16];
        let id = local_id.payload(&mut scratch);
        let shared = match peer.auth.local {
            LocalAuth::Psk(key) => Some(key),
            #[cfg(feature = "store")]
            LocalAuth::Store => Some(secret),
            _ => None,
        };
        if let Some(key) = shared {
            let mut proof = [0; MAX_PRF];
            let len = self.own_proof(number, key, &id, &mut proof).ok_or(DatagramError::Crypto)?;
            let proof = Proof::Shared(proof.get(..len).unwrap_or_default());
            let Some((collected, _)) = received else {
                self.auth_answer_parked(env, number, &proof);
                return Ok(());
            };
            let mut asked = self.asked(number, path, collected).ok_or(DatagramError::Unexpected)?;
            return self.auth_answer(env, number, path, &mut asked, &proof);
        }
        if let Some((_, received)) = received {
            self.park(number, received)?;
        }
        let prf = self.sa(sa_number).map(|sa| sa.choice.prf).ok_or(DatagramError::Stale)?;
        let (_, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let bound = handshake.auth.bind::<P>(prf, Role::Responder, &id);
        let signs = bound.map_err(|_| Failure::Crypto).and_then(|()| self.own_signature(number));
        if let Some(failure) = signs.err() {
            self.auth_refuse(env, sa_number, number, path, failure);
            return Err(DatagramError::Refused);
        }
        self.auth_wait(env, number, path, Work::Sign);
        Ok(())
    }

    /// What the initiator asks for, with its identity as a hash.
    fn asked(&self, number: u32, path: Path, collected: &Collected<'_>) -> Option<Asked> {
        let sa = self.contexts.exchange(number)?.sa;
        let ends = Ends { path, ..self.sas.get(sa as usize)?.sa.ends() };
        Some(Asked {
            identity: self.identity_hash(&collected.id_i?),
            initial_contact: collected.notify(NotifyType::INITIAL_CONTACT).is_some(),
            moves: Self::moves(collected),
            asks: Asks::of(collected),
            childless: collected.sa.is_none()
                && collected.ts_i.is_none()
                && collected.ts_r.is_none(),
            child: Self::find_child(collected, self.peer_of(sa)?, &ends, None, false),
        })
    }

    /// As [`Ike::auth_answer`], for a request that was parked. If there is no room now, the initiator is told to try later.
    fn auth_answer_parked(&mut self, env: &mut Env<'_>, number: u32, proof: &Proof<'_>) {
        let Some((sa, path)) = self.contexts.get(number).map(|x| (x.sa, x.path)) else { return };
        let parked = self.parked(number);
        let asked = parked.and_then(|collected| self.asked(number, path, &collected));
        let Some(mut asked) = asked else {
            return;
        };
        self.release_parked(number);
        let answered = self.auth_answer(env, number, path, &mut asked, proof);
        if answered.is_err() && self.contexts.handshake(number).is_some() {
            self.auth_refuse(env, sa, number, path, Failure::NoRoom);
        }
    }

    /// Both sides are proven: the IKE SA stands, and the initiator gets our proof, and the child if it can be.
    ///
    /// On an error the handshake goes on if there was no room; otherwise all is over.
    fn auth_answer(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        path: Path,
        asked: &mut Asked,
        proof: &Proof<'_>,
    ) -> Result<(), DatagramError> {
        let Asked { identity, initial_contact, moves, asks, childless, ref mut child } = *asked;
        let sa_number = self.contexts.get(number).map(|x| x.sa).ok_or(DatagramError::Stale)?;
        let index = self.sa(sa_number).map(|sa| sa.peer).ok_or(DatagramError::Stale)?;
        if self.free_exchanges.is_empty() {
            return Err(DatagramError::NoRoom);
        }
        // The first child's keys come from both nonces of IKE_SA_INIT.
        let (x, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
        let (nr, request) = (x.nonce, handshake.request);
        let ni = nonce_of(&self.buffers, request).and_then(Nonce::copy);
        let ni = ni.ok_or(DatagramError::Stale)?;
        // The handshake is over; its place, and its buffers, are free for others.
        if initial_contact {
            self.initial_contact(env, sa_number, index, identity);
        }
        if !self.limit_sas(env, sa_number, (index, identity), true) {
            return Err(DatagramError::NoRoom);
        }
        let ppk = self.mix_ppk(number).map_err(|_| DatagramError::Crypto)?;
        self.end_exchange(env, number);
        let Some(sa) = self.sa(sa_number) else { return Err(DatagramError::Stale) };
        sa.path = path;
        sa.send_id = 0;
        self.file_sa(sa_number, identity);
        self.take_mobike(sa_number, moves);
        self.sa_up(env, sa_number);
        let id = self.sa(sa_number).map_or(1, |sa| sa.receive_id);
        let header = Header::new(0, 0, ExchangeType::IKE_AUTH, crate::wire::Flags(0), id);
        let number = self.begin_answer(env, sa_number, path, &header, Kind::Auth)?;
        let config = self.assign(sa_number, identity, asks, child);
        let allowed = self.peer_of(sa_number).is_some_and(|peer| peer.childless);
        let made = if childless && allowed {
            Err(None) // RFC 6023 section 3
        } else {
            self.answer_child(env, number, index, child, (&ni, &nr)).map_err(Some)
        };
        if let Err(e) = self.compose_auth(number, proof, ppk, config, made) {
            // A message longer than a buffer: nothing can be said.
            self.refuse(Some(index), None, path, self.not_composed(number));
            self.end_exchange(env, number);
            self.sa_down(env, sa_number, DownReason::Protocol);
            return Err(e);
        }
        if made.is_ok() {
            self.begin_install(env, number);
        } else {
            self.send_response(env, number, RESPONSE_KEPT);
        }
        Ok(())
    }

    fn compose_auth(
        &mut self,
        number: u32,
        proof: &Proof<'_>,
        ppk: bool,
        config: Option<ConfigReply<'_>>,
        child: Result<u32, Option<NotifyType>>,
    ) -> Result<(), DatagramError> {
        let answer = match child {
            Ok(child) => Some(self.child_answer(number, child).ok_or(DatagramError::Stale)?),
            Err(_) => None,
        };
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let peer = self.peer_of(x.sa).ok_or(DatagramError::Stale)?;
        let local_id = peer.local_id.or_address(x.path.local.address);
        let mut scratch = [0; 16];
        let id = local_id.payload(&mut scratch);
        let path = x.path;
        let agreed = self.sas.get(x.sa as usize).is_some_and(|slot| slot.sa.mobike);
        let mobile = self.mobile.zip(peer.mobike).filter(|_| agreed);
        self.compose(number, ExchangeType::IKE_AUTH, |w| {
            w.id(PayloadType::IDR, &id)?;
            proof::write_certs(w, &peer.auth.local)?;
            proof.write(w)?;
            reauth::write_auth_lifetime(peer.authenticated_for(), w)?;
            if ppk {
                w.notify(&Notify::new(NotifyType::PPK_IDENTITY, &[]))?;
            }
            if let Some((mobile, policy)) = mobile {
                (mobile.write_auth)(policy, path, false, w)?;
            }
            if let Some(config) = &config {
                config.write(w)?;
            }
            match (answer.as_ref(), child) {
                (Some(answer), _) => answer.write(w, None, None),
                // RFC 7296 section 1.2: the IKE SA stands although its first child does not.
                (None, Err(Some(kind))) => w.notify(&Notify::new(kind, &[])),
                (None, Err(None)) => Ok(()),
                (None, Ok(_)) => Err(NoRoom),
            }
        })
    }

    /// Refuses an initiator: the response is authentic as far as the key exchange goes, and the SA ends with it.
    pub(super) fn auth_refuse(
        &mut self,
        env: &mut Env<'_>,
        sa_number: u32,
        number: u32,
        path: Path,
        failure: Failure,
    ) {
        let peer = self.sa(sa_number).map(|sa| sa.peer);
        // Whatever is wrong with a proof, a certificate or an identity, the initiator is told the same.
        let kind = match failure {
            Failure::Protocol => NotifyType::INVALID_SYNTAX,
            Failure::NoRoom => NotifyType::TEMPORARY_FAILURE,
            Failure::UnexpectedNat => NotifyType::UNEXPECTED_NAT_DETECTED,
            _ => NotifyType::AUTHENTICATION_FAILED,
        };
        self.refuse(peer, None, path, failure);
        self.forget_init(number);
        self.becomes_auth(number, path);
        let written =
            self.compose(number, ExchangeType::IKE_AUTH, |w| w.notify(&Notify::new(kind, &[])));
        if let Some(sa) = self.sa(sa_number) {
            sa.receive_id = sa.receive_id.wrapping_add(1);
        }
        if written.is_ok() {
            self.send_response(env, number, LINGER);
        } else {
            self.end_exchange(env, number);
            self.release_larval(env, sa_number);
        }
    }

    /// Gives back what nobody needs of a handshake that is refused, and so the room to say so.
    pub(super) fn forget_init(&mut self, number: u32) {
        self.release_parked(number);
        if let Some((_, handshake)) = self.contexts.handshake(number) {
            self.buffers.release(&mut handshake.response);
        }
    }

    /// The peer has lost all other SAs with us (RFC 7296 section 2.4); believed of the identity just proven only.
    ///
    /// What has come about since it asked for this one it has not lost: both sides opened an SA at once.
    pub(crate) fn initial_contact(
        &mut self,
        env: &mut Env<'_>,
        except: u32,
        peer: u16,
        identity: u64,
    ) {
        let Some(config) = self.config.peers.get(usize::from(peer)) else { return };
        let Some(asked) = self.sa(except).map(|sa| sa.heard) else { return };
        let newest = asked.after(config.expire_after);
        // One that ends is not found again: each turn finds another.
        loop {
            let old = self.sas_of(peer, identity).find(|(number, sa)| {
                let lives = matches!(sa.state, SaState::Established | SaState::Rekeyed);
                let lost = sa.expire_at <= newest && !sa.crosses(asked, config);
                lives && lost && *number != except && sa.identity == identity
            });
            let Some(old) = old.map(|(number, _)| number) else { return };
            self.sa_down(env, old, DownReason::Replaced);
        }
    }

    // ---- both ----

    /// The peer's signature is good, and its key is its own.
    pub(crate) fn auth_verified(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, ours, path) = (x.sa, x.ours, x.path);
        x.work = Work::None;
        if !ours {
            // Its errors have been told.
            let _ = self.auth_proven(env, number, path, None, &[]);
            return;
        }
        let Some(collected) = self.parked(number) else { return };
        let Some(id) = collected.id_r else { return };
        let identity = self.identity_hash(&id);
        let mut answer = self.answered(number, &collected);
        let moves = Self::moves(&collected);
        let lifetime = reauth::auth_lifetime(&collected);
        self.take_mobike(sa, moves);
        if let Some(mobile) = self.mobile {
            (mobile.learn)(self, sa, number, None);
        }
        self.take_auth_lifetime(env, sa, lifetime);
        self.take_parked_config(sa, number);
        self.release_parked(number);
        let _ = self.auth_completed(env, sa, number, identity, answer.as_mut());
    }

    /// The peer is not believed to be the one that it says it is.
    pub(crate) fn auth_untrusted(&mut self, env: &mut Env<'_>, number: u32, reason: Untrusted) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, ours, path) = (x.sa, x.ours, x.path);
        x.work = Work::None;
        let parked = self.parked(number);
        let id = parked.and_then(|c| if ours { c.id_r } else { c.id_i });
        let Some(claimed) = id.map(|id| ClaimedId::of(&id)) else { return };
        let failure = Failure::Untrusted { claimed, reason };
        if !ours {
            return self.auth_refuse(env, sa, number, path, failure);
        }
        self.release_parked(number);
        if let Some(x) = self.contexts.get(number) {
            x.stage = Stage::Response;
        }
        self.doubt(env, number, failure);
    }

    /// A job of IKE_AUTH failed, or was never done.
    pub(crate) fn auth_job_failed(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, ours, path) = (x.sa, x.ours, x.path);
        #[cfg(feature = "store")]
        if x.work == Work::LookUp {
            // Nobody knows whether it is somebody: it may ask again.
            return self.auth_refuse(env, sa, number, path, Failure::NoRoom);
        }
        if SIGNATURES && x.work == Work::Verify {
            self.auth_untrusted(env, number, Untrusted::NotVerified);
        } else if ours {
            self.handshake_failed(env, number, Failure::NotSigned);
        } else {
            self.auth_refuse(env, sa, number, path, Failure::NotSigned);
        }
    }

    /// Keeps the peer's message while its signature is verified, and binds its identity to the handshake.
    fn auth_park(
        &mut self,
        number: u32,
        received: Inner<'_>,
        sender: Role,
        id: &IdPayload<'_>,
    ) -> Result<(), Failure> {
        if received.text.len() > self.buffers.buffer_len() {
            return Err(Failure::TooLong);
        }
        self.park(number, received).map_err(|_| Failure::NoRoom)?;
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        let sa = self.sas.get(x.sa as usize).ok_or(Failure::Protocol)?;
        let bound = handshake.auth.bind::<P>(sa.sa.choice.prf, sender, id);
        bound.map_err(|_| Failure::Crypto)
    }

    /// Whether the peer supports MOBIKE.
    fn moves(collected: &Collected<'_>) -> bool {
        collected.notify(NotifyType::MOBIKE_SUPPORTED).is_some()
    }

    /// RFC 4555 section 3.3: MOBIKE is for SAs whose both sides support it.
    fn take_mobike(&mut self, number: u32, moves: bool) {
        let policy = self.peer_of(number).is_some_and(|peer| peer.mobike.is_some());
        let agreed = moves && policy && self.mobile.is_some();
        if let Some(sa) = self.sa(number) {
            sa.mobike = agreed;
            sa.decides = sa.initiator;
        }
    }

    /// However an identity is written, and whatever its reserved octets are (RFC 7296 section 3.5), it has one hash.
    pub(crate) fn identity_hash(&self, id: &IdPayload<'_>) -> u64 {
        let kind = core::iter::once(id.kind.0);
        self.by_peer.hash_bytes(kind.chain(identity::canonical(id)))
    }

    /// An SA is authenticated.
    pub(crate) fn sa_up(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(peer) = self.peer_of(number) else { return };
        let rekey_at = jittered(env, peer.rekey_after);
        let Some(sa) = self.sa(number) else { return };
        sa.state = SaState::Established;
        sa.heard = env.now;
        sa.sent = env.now;
        sa.rekey_at = rekey_at;
        sa.expire_at = env.now.after(peer.expire_after);
        sa.tell |= ike_sa::tell::UP;
        self.events.push(number);
        self.begin_authenticated_life(env, number);
        self.schedule_sa(env.now, number);
    }

    /// Wipes what only the handshake needed; its context goes on until the child is installed.
    fn wipe_handshake(&mut self, number: u32) {
        let Some((x, handshake)) = self.contexts.handshake(number) else { return };
        x.kx = Maybe::Nothing;
        x.failure = Maybe::Nothing;
        handshake.auth = crate::keymat::AuthKeys::EMPTY;
        handshake.additional = Maybe::Nothing;
        let mut alternative = core::mem::replace(&mut handshake.alternative, BufferId::NONE);
        self.buffers.release(&mut alternative);
    }
}

/// A copy of a nonce of any allowed length.
pub(super) struct Nonce {
    bytes: [u8; MAX_NONCE],
    len: usize,
}

impl Nonce {
    pub(super) fn copy(nonce: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_NONCE];
        ipsec_core::bytes::copy_prefix(&mut bytes, nonce)?;
        Some(Self { bytes, len: nonce.len() })
    }
}

impl core::ops::Deref for Nonce {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What an initiator asks for, once it is authenticated.
struct Asked {
    identity: u64,
    initial_contact: bool,
    moves: bool,
    asks: Asks,
    /// No child at all.
    childless: bool,
    child: Result<Chosen, Unmet>,
}

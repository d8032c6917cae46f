//! Main Mode: six messages, of which the last two are encrypted (RFC 2409 section 5).
//!
//! ```text
//!       initiator                                  responder
//! 1     SA                                   -->
//! 2                                          <--   SA
//! 3     KE, Ni, NAT-D, NAT-D                 -->
//! 4                                          <--   KE, Nr, NAT-D, NAT-D
//! 5     {IDii, HASH_I}                       -->                           port 4500 behind a NAT
//! 6                                          <--   {IDir, HASH_R}
//!
//! with signatures:
//! 3, 4  ..., CERTREQ
//! 5, 6  {ID, CERT, SIG}
//! ```
//!
//! Only the initiator's messages are repeated by the clock.

use ipsec_core::crypto::Provider;

use super::keymat::Iv;
use super::message::Arrived;
use super::phase1::{Place, UNPROVEN_TIMEOUT, vendors_of};
use super::proposal;
use super::signature::{Proof, method_of};
use super::{Step, nat, vendor};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::exchange::{Stage, Work};
use crate::fragment;
use crate::keymat::Role;
use crate::proposal::Implemented;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::wire::v1::{
    Collected, ExchangeType, Message, Notify, NotifyType, PayloadType, ProtocolId,
};

/// So many useless public values a responder looks at.
const MAX_USELESS: u8 = 3;

impl<P: Provider> Ike<'_, P> {
    // ---- initiator ----

    /// Sends our offer.
    pub(super) fn main_first(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(peer) = self.contexts.get(number).map(|x| x.sa).and_then(|sa| self.peer_of(sa))
        else {
            return;
        };
        let fragments = fragment::is_wanted(peer, self.assembly);
        let written = self.v1_compose_clear(number, ExchangeType::IDENTITY_PROTECTION, &mut |w| {
            Self::phase1_write_offer(w, peer, None)?;
            vendor::write_all(w, fragments, vendors_of(peer))
        });
        match written {
            Ok(()) => self.phase1_send(env, number, Step::Second),
            Err(_) => self.handshake_failed(env, number, Failure::NoRoom),
        }
    }

    /// The responder has chosen.
    pub(super) fn main_second(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        arrived: &Arrived,
        datagram: &[u8],
    ) -> Result<(), DatagramError> {
        let collected = clear(arrived, datagram)?;
        let answer = collected.sa.ok_or(DatagramError::Unexpected)?;
        let sa = self.contexts.get(number).ok_or(DatagramError::Stale)?.sa;
        let peer = self.peer_of(sa).ok_or(DatagramError::Stale)?;
        let v1 = peer.versions.v1().ok_or(DatagramError::Stale)?;
        let method = method_of(peer, true).ok_or(DatagramError::Stale)?;
        // Exactly one transform, and one that we offered (RFC 2409 section 5).
        let chosen =
            proposal::accept_phase1(&answer, v1.proposals, &Implemented::of::<P>(), method)
                .ok_or(DatagramError::Unexpected)?;
        let slot = self.sa(sa).ok_or(DatagramError::Stale)?;
        slot.spi_r = arrived.header.responder_cookie;
        slot.choice = chosen.choice;
        if let Some(phase1) = slot.keys.v1_mut() {
            phase1.lifetime = chosen.lifetime;
        }
        self.phase1_vendors(sa, &collected);
        self.keep_message(number, Place::First);
        if let Some(x) = self.contexts.get(number) {
            x.v1.received = arrived.hash;
            x.group = chosen.choice.group;
        }
        self.queue_job(number, Work::Generate);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// Our key exchange is begun: sends it.
    pub(super) fn main_key(&mut self, env: &mut Env<'_>, number: u32, public: &[u8]) {
        match self.main_write_key(number, public) {
            Ok(()) => self.phase1_send(env, number, Step::Fourth),
            Err(_) => self.handshake_failed(env, number, Failure::NoRoom),
        }
    }

    /// The third message, or the fourth.
    fn main_write_key(&mut self, number: u32, public: &[u8]) -> Result<(), DatagramError> {
        let nonce = self.contexts.exchange(number).ok_or(DatagramError::Stale)?.nonce;
        let detection = self.nat_detection(number)?;
        let peers = self.phase1_candidates(number);
        self.v1_compose_clear(number, ExchangeType::IDENTITY_PROTECTION, &mut |w| {
            w.raw(PayloadType::KE, public)?;
            w.raw(PayloadType::NONCE, &nonce)?;
            peers.write_cert_reqs(w)?;
            nat::write_detection(w, detection.as_ref())
        })
    }

    /// The responder's key exchange.
    pub(super) fn main_fourth(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        arrived: &Arrived,
        datagram: &[u8],
    ) -> Result<(), DatagramError> {
        self.main_take_key(number, arrived, datagram)?;
        self.keep_message(number, Place::InitiatorsKey);
        self.store_message(number, Place::RespondersKey, datagram)?;
        self.queue_job(number, Work::Agree);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// The secret is known: says who we are.
    pub(super) fn main_agreed(&mut self, env: &mut Env<'_>, number: u32, secret: &[u8]) {
        let derived = self.phase1_derive(number, secret);
        self.nat_float(number);
        let proven = derived.and_then(|()| {
            if self.phase1_signs(number, Role::Initiator) {
                return self.phase1_sign(env, number, Role::Initiator);
            }
            let hash = self.phase1_own_proof(number, Role::Initiator)?;
            self.main_send_initiator(env, number, Proof::Hash(hash.bytes()));
            Ok(())
        });
        if let Err(failure) = proven {
            self.handshake_failed(env, number, failure);
        }
    }

    /// Sends the fifth message.
    pub(super) fn main_send_initiator(&mut self, env: &mut Env<'_>, number: u32, proof: Proof<'_>) {
        let sa = self.contexts.exchange(number).map_or(u32::MAX, |x| x.sa);
        let first = self.phase1_is_first(sa);
        match self.main_write_proof(number, proof, first) {
            Ok(()) => self.phase1_send(env, number, Step::Sixth),
            Err(failure) => self.handshake_failed(env, number, failure),
        }
    }

    /// The fifth message, or the sixth.
    fn main_write_proof(
        &mut self,
        number: u32,
        proof: Proof<'_>,
        initial_contact: bool,
    ) -> Result<(), Failure> {
        let mut scratch = [0; 16];
        let id = self.phase1_own_id(number, &mut scratch).ok_or(Failure::Protocol)?;
        let sa = self.contexts.exchange(number).ok_or(Failure::Protocol)?.sa;
        let cookies = self.v1_cookies(sa).ok_or(Failure::Protocol)?;
        let local = self.peer_of(sa).ok_or(Failure::Protocol)?.auth.local;
        self.v1_compose(number, ExchangeType::IDENTITY_PROTECTION, None, &mut |w| {
            w.id(&id)?;
            proof.write(w, &local)?;
            if initial_contact {
                w.notify(&Notify::with_spi(
                    ProtocolId::ISAKMP,
                    &cookies,
                    NotifyType::INITIAL_CONTACT,
                    &[],
                ))?;
            }
            Ok(())
        })
        .map_err(|_| self.not_composed(number))
    }

    /// The responder says who it is.
    pub(super) fn main_sixth(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let (sa, iv) = (x.sa, x.v1.iv);
        if !arrived.header.is_encrypted() {
            return Err(DatagramError::Unexpected);
        }
        let opened = self.v1_open(sa, &iv, &arrived.header, datagram)?;
        let Ok(collected) = opened.collect() else {
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        };
        let Some(id) = collected.id else {
            return self.phase1_doubt(number, Failure::Protocol);
        };
        if self.phase1_signs(number, Role::Responder) {
            return match self.phase1_known(sa, &id) {
                Ok(_) => self.phase1_verify(env, number, &id, &collected, &opened),
                Err(failure) => self.phase1_doubt(number, failure),
            };
        }
        let Some(hash) = collected.hash else {
            return self.phase1_doubt(number, Failure::Protocol);
        };
        if !self.phase1_is_proven(number, Role::Responder, &id, hash) {
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        }
        let identity = match self.phase1_known(sa, &id) {
            Ok(identity) => self.identity_hash(&identity),
            Err(failure) => {
                self.phase1_disown(env, sa, number, failure, opened.iv);
                return Err(DatagramError::Refused);
            }
        };
        let last = opened.iv;
        self.phase1_believed(number);
        self.end_exchange(env, number);
        self.phase1_up(env, sa, identity, last);
        Ok(())
    }

    /// The responder's signature is good.
    pub(super) fn main_complete(&mut self, env: &mut Env<'_>, number: u32) {
        let Some((identity, _)) = self.phase1_accepted(number) else { return };
        let Some(sa) = self.contexts.exchange(number).map(|x| x.sa) else { return };
        let last = self.phase1(sa).map_or(Iv::EMPTY, |phase1| phase1.last);
        self.end_exchange(env, number);
        self.phase1_up(env, sa, identity, last);
    }

    // ---- responder ----

    /// Somebody begins: answers which of its offers we take.
    pub(super) fn main_first_received(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
    ) -> Result<(), DatagramError> {
        let sa = self.contexts.exchange(number).ok_or(DatagramError::Stale)?.sa;
        let peer = self.peer_of(sa).ok_or(DatagramError::Stale)?;
        let fragments = fragment::is_wanted(peer, self.assembly);
        let known = self.phase1_known_vendors(number);
        self.phase1_compose_choice(number, ExchangeType::IDENTITY_PROTECTION, &mut |w| {
            vendor::write_answer(w, known, fragments, vendors_of(peer))
        })?;
        self.phase1_answer(env, number, Step::Third, UNPROVEN_TIMEOUT);
        Ok(())
    }

    /// The initiator's key exchange. It has our cookie, so it is where it says.
    pub(super) fn main_third(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        arrived: &Arrived,
        datagram: &[u8],
    ) -> Result<(), DatagramError> {
        if let Some((_, handshake)) = self.contexts.handshake(number) {
            handshake.is_there = true;
        }
        if !self.may_park() {
            return Err(DatagramError::NoRoom);
        }
        self.main_take_key(number, arrived, datagram)?;
        self.store_message(number, Place::InitiatorsKey, datagram)?;
        self.queue_job(number, Work::Respond);
        self.give_up_after(env, number, HANDSHAKE_TIMEOUT);
        Ok(())
    }

    /// The third message has a value that we cannot use. Who sent it is not known: the true one may still come.
    pub(super) fn main_await_third(&mut self, env: &mut Env<'_>, number: u32) -> bool {
        let Some((x, handshake)) = self.contexts.handshake(number) else { return false };
        if x.retries >= MAX_USELESS {
            return false;
        }
        x.retries = x.retries.saturating_add(1);
        x.stage = Stage::Answered;
        self.buffers.release(&mut handshake.response);
        self.give_up_after(env, number, UNPROVEN_TIMEOUT);
        true
    }

    /// The secret is known: answers with our value.
    pub(super) fn main_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: &[u8],
        public: &[u8],
    ) {
        let written = self.main_write_key(number, public).map_err(|_| Failure::NoRoom);
        match written.and_then(|()| self.phase1_derive(number, secret)) {
            Ok(()) => self.phase1_answer(env, number, Step::Fifth, HANDSHAKE_TIMEOUT),
            Err(failure) => self.handshake_failed(env, number, failure),
        }
    }

    /// The initiator says who it is.
    pub(super) fn main_fifth(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let (sa, iv) = (x.sa, x.v1.iv);
        if !arrived.header.is_encrypted() {
            return Err(DatagramError::Unexpected);
        }
        if self.free_exchanges.is_empty() {
            // Nothing could keep our last message: the initiator's comes again.
            return Err(DatagramError::NoRoom);
        }
        let opened = self.v1_open(sa, &iv, &arrived.header, datagram)?;
        let Ok(collected) = opened.collect() else {
            // Another key: what comes out is no chain of payloads.
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        };
        let Some(id) = collected.id else {
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        };
        let signs = self.phase1_signs(number, Role::Initiator);
        if !signs {
            let hash = collected.hash.unwrap_or_default();
            if !self.phase1_is_proven(number, Role::Initiator, &id, hash) {
                return self.phase1_doubt(number, Failure::AuthenticationFailed);
            }
        }
        let (peer, identity) = match self.phase1_identity(sa, &id, false) {
            Ok(known) => known,
            Err(failure) if signs => return self.phase1_doubt(number, failure),
            Err(failure) => {
                self.handshake_failed(env, number, failure);
                return Err(DatagramError::Refused);
            }
        };
        if let Some(slot) = self.sa(sa) {
            slot.peer = peer;
        }
        let accepted = (identity, collected.notify(NotifyType::INITIAL_CONTACT).is_some());
        if signs {
            self.phase1_verify(env, number, &id, &collected, &opened)?;
        } else {
            self.phase1_keep(number, &opened)?;
        }
        if let Some(x) = self.contexts.get(number) {
            x.v1.received = arrived.hash;
            let began = core::mem::replace(&mut x.path, arrived.path);
            self.nat_settled(sa, began, arrived.path);
        }
        if !signs {
            self.main_prove(env, number, accepted);
        }
        Ok(())
    }

    /// The initiator is the one that it says it is: our own proof is next.
    pub(super) fn main_prove(&mut self, env: &mut Env<'_>, number: u32, accepted: (u64, bool)) {
        let proven = if self.phase1_signs(number, Role::Responder) {
            self.phase1_sign(env, number, Role::Responder)
        } else {
            self.phase1_own_proof(number, Role::Responder)
                .map(|hash| self.main_answer(env, number, accepted, Proof::Hash(hash.bytes())))
        };
        if let Err(failure) = proven {
            self.handshake_failed(env, number, failure);
        }
    }

    /// Both are proven: the sixth message, and the SA stands.
    pub(super) fn main_answer(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        (identity, initial_contact): (u64, bool),
        proof: Proof<'_>,
    ) {
        let Some((sa, path)) = self.contexts.exchange(number).map(|x| (x.sa, x.path)) else {
            return;
        };
        let Some(slot) = self.sa(sa) else { return };
        slot.path = path;
        let peer = slot.peer;
        if !self.phase1_admits(env, sa, (peer, identity), initial_contact) {
            return self.handshake_failed(env, number, Failure::NoRoom);
        }
        let iv = self.phase1(sa).map_or(Iv::EMPTY, |phase1| phase1.last);
        if let Some(x) = self.contexts.get(number) {
            x.v1.iv = iv;
        }
        if let Err(failure) = self.main_write_proof(number, proof, false) {
            return self.handshake_failed(env, number, failure);
        }
        let last = self.contexts.get(number).map_or(Iv::EMPTY, |x| x.v1.iv);
        self.phase1_farewell(env, number);
        self.phase1_up(env, sa, identity, last);
    }

    // ---- both ----

    /// Looks at the peer's key exchange.
    fn main_take_key(
        &mut self,
        number: u32,
        arrived: &Arrived,
        datagram: &[u8],
    ) -> Result<(), DatagramError> {
        let collected = clear(arrived, datagram)?;
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let public = collected.ke.ok_or(DatagramError::Unexpected)?;
        if collected.nonce.is_none() || x.group.public_len() != Some(public.len()) {
            return Err(DatagramError::Unexpected);
        }
        x.v1.received = arrived.hash;
        let sa = x.sa;
        self.nat_detected(sa, &collected, arrived.path);
        Ok(())
    }
}

/// The payloads of a message that must not be encrypted.
fn clear<'a>(arrived: &Arrived, datagram: &'a [u8]) -> Result<Collected<'a>, DatagramError> {
    if arrived.header.is_encrypted() {
        return Err(DatagramError::Unexpected);
    }
    Ok(Message::parse(datagram)?.collect()?)
}

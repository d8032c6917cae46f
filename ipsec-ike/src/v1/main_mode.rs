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
//! ```
//!
//! Only the initiator's messages are repeated by the clock.

use ipsec_core::crypto::Provider;

use super::keymat::Iv;
use super::message::Arrived;
use super::phase1::{Place, UNPROVEN_TIMEOUT, method_of, vendors_of};
use super::proposal;
use super::{Step, nat, vendor};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::exchange::Work;
use crate::keymat::Role;
use crate::proposal::Implemented;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::wire::v1::{
    Collected, ExchangeType, Message, Notify, NotifyType, PayloadType, ProtocolId,
};

impl<P: Provider> Ike<'_, P> {
    // ---- initiator ----

    /// Sends our offer.
    pub(super) fn main_first(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(peer) = self.contexts.get(number).map(|x| x.sa).and_then(|sa| self.peer_of(sa))
        else {
            return;
        };
        let written = self.v1_compose_clear(number, ExchangeType::IDENTITY_PROTECTION, &mut |w| {
            Self::phase1_write_offer(w, peer, None)?;
            vendor::write_all(w, vendors_of(peer))
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
        self.v1_compose_clear(number, ExchangeType::IDENTITY_PROTECTION, &mut |w| {
            w.raw(PayloadType::KE, public)?;
            w.raw(PayloadType::NONCE, &nonce)?;
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
        let sent =
            self.phase1_derive(number, secret).and_then(|()| self.main_write_initiator(number));
        match sent {
            Ok(()) => self.phase1_send(env, number, Step::Sixth),
            Err(failure) => self.handshake_failed(env, number, failure),
        }
    }

    fn main_write_initiator(&mut self, number: u32) -> Result<(), Failure> {
        self.nat_float(number);
        let proof = self.phase1_own_proof(number, Role::Initiator)?;
        let sa = self.contexts.exchange(number).ok_or(Failure::Protocol)?.sa;
        let first = self.phase1_is_first(sa);
        self.main_write_proof(number, proof.bytes(), first)
    }

    /// The fifth message, or the sixth.
    fn main_write_proof(
        &mut self,
        number: u32,
        proof: &[u8],
        initial_contact: bool,
    ) -> Result<(), Failure> {
        let mut scratch = [0; 16];
        let id = self.phase1_own_id(number, &mut scratch).ok_or(Failure::Protocol)?;
        let sa = self.contexts.exchange(number).ok_or(Failure::Protocol)?.sa;
        let cookies = self.v1_cookies(sa).ok_or(Failure::Protocol)?;
        self.v1_compose(number, ExchangeType::IDENTITY_PROTECTION, None, &mut |w| {
            w.id(&id)?;
            w.raw(PayloadType::HASH, proof)?;
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
        .map_err(|_| Failure::NoRoom)
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
        let (Some(id), Some(hash)) = (collected.id, collected.hash) else {
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

    // ---- responder ----

    /// Somebody begins: answers which of its offers we take.
    pub(super) fn main_first_received(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
    ) -> Result<(), DatagramError> {
        let sa = self.contexts.exchange(number).map(|x| x.sa);
        let further = sa.and_then(|sa| self.peer_of(sa)).map_or(&[][..], vendors_of);
        self.phase1_compose_choice(number, ExchangeType::IDENTITY_PROTECTION, &mut |w| {
            vendor::write_all(w, further)
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
        self.main_take_key(number, arrived, datagram)?;
        self.store_message(number, Place::InitiatorsKey, datagram)?;
        if let Some((_, handshake)) = self.contexts.handshake(number) {
            handshake.is_there = true;
        }
        self.queue_job(number, Work::Respond);
        self.give_up_after(env, number, HANDSHAKE_TIMEOUT);
        Ok(())
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
        let opened = self.v1_open(sa, &iv, &arrived.header, datagram)?;
        let next = opened.iv;
        let Ok(collected) = opened.collect() else {
            // Another key: what comes out is no chain of payloads.
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        };
        let (Some(id), Some(hash)) = (collected.id, collected.hash) else {
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        };
        if !self.phase1_is_proven(number, Role::Initiator, &id, hash) {
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        }
        let (peer, identity) = match self.phase1_identity(sa, &id, false) {
            Ok(known) => known,
            Err(failure) => {
                self.handshake_failed(env, number, failure);
                return Err(DatagramError::Refused);
            }
        };
        let initial_contact = collected.notify(NotifyType::INITIAL_CONTACT).is_some();
        if let Some(slot) = self.sa(sa) {
            slot.peer = peer;
        }
        self.main_answer(env, number, arrived, next, (identity, initial_contact))
    }

    /// Both are proven: the sixth message, and the SA stands.
    fn main_answer(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        arrived: &Arrived,
        iv: Iv,
        (identity, initial_contact): (u64, bool),
    ) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let sa = x.sa;
        let own = self.phase1_own_proof(number, Role::Responder);
        let Ok(proof) = own else {
            self.handshake_failed(env, number, Failure::Crypto);
            return Err(DatagramError::Crypto);
        };
        let peer = self.sa(sa).ok_or(DatagramError::Stale)?.peer;
        if !self.phase1_admits(env, sa, (peer, identity), initial_contact) {
            return Err(DatagramError::NoRoom);
        }
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        x.v1.iv = iv;
        x.v1.received = arrived.hash;
        // The peer has moved to the port of NAT traversal, if there is one.
        x.path = arrived.path;
        if let Some(slot) = self.sa(sa) {
            slot.path = arrived.path;
        }
        if let Err(failure) = self.main_write_proof(number, proof.bytes(), false) {
            self.handshake_failed(env, number, failure);
            return Err(DatagramError::NoRoom);
        }
        let last = self.contexts.get(number).map_or(Iv::EMPTY, |x| x.v1.iv);
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.last = last;
        }
        self.phase1_farewell(env, number);
        self.phase1_up(env, sa, identity, last);
        Ok(())
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

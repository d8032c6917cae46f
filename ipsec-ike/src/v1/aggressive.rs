//! Aggressive Mode: three messages, identities in the clear (RFC 2409 section 5.4).
//!
//! ```text
//!       initiator                             responder
//! 1     SA, KE, Ni, IDii                 -->
//! 2                                      <--  SA, KE, Nr, IDir, HASH_R, NAT-D, NAT-D
//! 3     {HASH_I, NAT-D, NAT-D}           -->                                       port 4500 behind a NAT
//!
//! with signatures, instead of a hash: CERT, SIG; in the first two messages: CERTREQ
//! ```
//!
//! The second message is a hash to try guesses of a pre-shared key on, for whoever asks. So it is sent only for an entry
//! of the configuration that names this mode, to the one address that asked, and repeated by the clock once at most.

use ipsec_core::bytes;
use ipsec_core::crypto::Provider;
use ipsec_core::time::Instant;

use super::keymat::Iv;
use super::message::{Arrived, Opened};
use super::phase1::{Place, vendors_of};
use super::signature::{Proof, method_of};
use super::{Phase1, Step, nat, proposal, vendor};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::exchange::{Maybe, Work};
use crate::fragment;
use crate::ike_sa;
use crate::keymat::{Role, SaKeys};
use crate::proposal::Implemented;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::wire::v1::{
    Collected, ExchangeType, Message, Notify, NotifyType, PayloadType, ProtocolId,
};

/// Bytes of the longest public value of a group of IKEv1: that of MODP-8192.
const MAX_PUBLIC: usize = 1024;

impl<P: Provider> Ike<'_, P> {
    // ---- initiator ----

    /// The key exchange is begun: sends all that there is to say.
    pub(super) fn aggressive_first(&mut self, env: &mut Env<'_>, number: u32, public: &[u8]) {
        match self.aggressive_write_first(number, public) {
            Ok(()) => {
                if let Some(phase1) = self.phase1_of(number) {
                    phase1.since = env.now;
                }
                self.phase1_send(env, number, Step::Second);
            }
            Err(_) => self.handshake_failed(env, number, Failure::NoRoom),
        }
    }

    fn phase1_of(&mut self, number: u32) -> Option<&mut Phase1> {
        let sa = self.contexts.exchange(number)?.sa;
        self.phase1_mut(sa)
    }

    fn aggressive_write_first(&mut self, number: u32, public: &[u8]) -> Result<(), DatagramError> {
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let (nonce, group) = (x.nonce, x.group);
        let peer = self.peer_of(x.sa).ok_or(DatagramError::Stale)?;
        let mut scratch = [0; 16];
        let id = self.phase1_own_id(number, &mut scratch).ok_or(DatagramError::Stale)?;
        let peers = self.phase1_candidates(number);
        let fragments = fragment::is_wanted(peer, self.assembly);
        self.v1_compose_clear(number, ExchangeType::AGGRESSIVE, &mut |w| {
            // All offers are for the group of the key exchange (RFC 2409 section 5).
            Self::phase1_write_offer(w, peer, Some(group))?;
            w.raw(PayloadType::KE, public)?;
            w.raw(PayloadType::NONCE, &nonce)?;
            w.id(&id)?;
            peers.write_cert_reqs(w)?;
            vendor::write_all(w, fragments, vendors_of(peer))
        })
    }

    /// The responder has chosen, and proves who it is.
    pub(super) fn aggressive_second(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        arrived: &Arrived,
        datagram: &[u8],
    ) -> Result<(), DatagramError> {
        if arrived.header.is_encrypted() {
            return Err(DatagramError::Unexpected);
        }
        let collected = Message::parse(datagram)?.collect()?;
        let (Some(answer), Some(public)) = (collected.sa, collected.ke) else {
            return Err(DatagramError::Unexpected);
        };
        let whole = collected.nonce.is_some() && collected.id.is_some();
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let (sa, group) = (x.sa, x.group);
        let peer = self.peer_of(sa).ok_or(DatagramError::Stale)?;
        let v1 = peer.versions.v1().ok_or(DatagramError::Stale)?;
        let method = method_of(peer, true).ok_or(DatagramError::Stale)?;
        let chosen =
            proposal::accept_phase1(&answer, v1.proposals, &Implemented::of::<P>(), method)
                .ok_or(DatagramError::Unexpected)?;
        if !whole || chosen.choice.group != group || group.public_len() != Some(public.len()) {
            return Err(DatagramError::Unexpected);
        }
        let slot = self.sa(sa).ok_or(DatagramError::Stale)?;
        slot.spi_r = arrived.header.responder_cookie;
        slot.choice = chosen.choice;
        if let Some(phase1) = slot.keys.v1_mut() {
            phase1.lifetime = chosen.lifetime;
        }
        self.phase1_vendors(sa, &collected);
        self.nat_detected(sa, &collected, arrived.path);
        self.keep_message(number, Place::First);
        self.store_message(number, Place::RespondersKey, datagram)?;
        if let Some(x) = self.contexts.get(number) {
            x.v1.received = arrived.hash;
        }
        self.queue_job(number, Work::Agree);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        Ok(())
    }

    /// The secret is known, and so whether the responder's proof is good: ours is next.
    pub(super) fn aggressive_agreed(&mut self, env: &mut Env<'_>, number: u32, secret: &[u8]) {
        if self.free_exchanges.is_empty() {
            // Nothing could keep our last message: the responder's comes again.
            return self.aggressive_doubt(number, Failure::NoRoom);
        }
        let believed = self.phase1_derive(number, secret).and_then(|()| {
            if self.phase1_signs(number, Role::Responder) {
                return self.aggressive_verify(env, number);
            }
            self.aggressive_believe(number)?;
            self.aggressive_prove(env, number);
            Ok(())
        });
        match believed {
            Ok(()) => {}
            Err(failure @ (Failure::AuthenticationFailed | Failure::Untrusted { .. })) => {
                self.aggressive_doubt(number, failure);
            }
            Err(failure) => self.handshake_failed(env, number, failure),
        }
    }

    /// The responder's signature is in its message, which was stored.
    fn aggressive_verify(&mut self, env: &mut Env<'_>, number: u32) -> Result<(), Failure> {
        let hash = {
            let (id, proof) = self.phase1_proof_of_peer(number).ok_or(Failure::Protocol)?;
            let sa = self.contexts.exchange(number).ok_or(Failure::Protocol)?.sa;
            self.phase1_known(sa, &id)?;
            self.phase1_checked(number, &id, &proof)?
        };
        self.phase1_work(env, number, hash, Work::Verify);
        Ok(())
    }

    /// The responder is the one that it says it is: our own proof is next.
    pub(super) fn aggressive_prove(&mut self, env: &mut Env<'_>, number: u32) {
        self.nat_float(number);
        let proven = if self.phase1_signs(number, Role::Initiator) {
            self.phase1_sign(env, number, Role::Initiator)
        } else {
            self.phase1_own_proof(number, Role::Initiator)
                .map(|hash| self.aggressive_complete(env, number, Proof::Hash(hash.bytes())))
        };
        if let Err(failure) = proven {
            self.handshake_failed(env, number, failure);
        }
    }

    /// Sends the third message, and the SA stands.
    pub(super) fn aggressive_complete(&mut self, env: &mut Env<'_>, number: u32, proof: Proof<'_>) {
        let Some((identity, _)) = self.phase1_accepted(number) else { return };
        if let Err(failure) = self.aggressive_write_third(number, proof) {
            return self.handshake_failed(env, number, failure);
        }
        let Some((sa, last)) = self.contexts.exchange(number).map(|x| (x.sa, x.v1.iv)) else {
            return;
        };
        self.phase1_believed(number);
        self.phase1_farewell(env, number);
        self.phase1_up(env, sa, identity, last);
    }

    /// The second message proves nothing. Who sent it is not known: the true one may still come.
    pub(super) fn aggressive_doubt(&mut self, number: u32, failure: Failure) {
        let Some((x, handshake)) = self.contexts.handshake(number) else { return };
        x.failure = Maybe::Just((None, failure));
        x.v1.step = Step::Second;
        core::mem::swap(&mut x.message, &mut handshake.request);
        let sa = x.sa;
        self.buffers.release(&mut handshake.request);
        self.buffers.release(&mut handshake.alternative);
        if let Some(slot) = self.sa(sa) {
            slot.spi_r = 0;
            slot.tell &= !ike_sa::tell::KEYS;
            let since = slot.keys.v1().map_or(Instant::ZERO, |phase1| phase1.since);
            slot.keys = SaKeys::V1(Phase1 { since, ..Phase1::EMPTY });
        }
        self.await_another(number);
    }

    /// Whether the responder is the one that we want.
    fn aggressive_believe(&self, number: u32) -> Result<(), Failure> {
        let sa = self.contexts.exchange(number).ok_or(Failure::Protocol)?.sa;
        let (id, answer) = self.phase1_proof_of_peer(number).ok_or(Failure::Protocol)?;
        let hash = answer.hash.ok_or(Failure::AuthenticationFailed)?;
        if !self.phase1_is_proven(number, Role::Responder, &id, hash) {
            return Err(Failure::AuthenticationFailed);
        }
        self.phase1_known(sa, &id).map(|_| ())
    }

    fn aggressive_write_third(&mut self, number: u32, proof: Proof<'_>) -> Result<(), Failure> {
        let detection = self.nat_detection(number).map_err(|_| Failure::Crypto)?;
        let sa = self.contexts.exchange(number).ok_or(Failure::Protocol)?.sa;
        let cookies = self.v1_cookies(sa).ok_or(Failure::Protocol)?;
        let first = self.phase1_is_first(sa);
        let local = self.peer_of(sa).ok_or(Failure::Protocol)?.auth.local;
        self.v1_compose(number, ExchangeType::AGGRESSIVE, None, &mut |w| {
            proof.write(w, &local)?;
            nat::write_detection(w, detection.as_ref())?;
            if first {
                let kind = NotifyType::INITIAL_CONTACT;
                w.notify(&Notify::with_spi(ProtocolId::ISAKMP, &cookies, kind, &[]))?;
            }
            Ok(())
        })
        .map_err(|_| self.not_composed(number))
    }

    // ---- responder ----

    /// Somebody begins, and says who it is.
    pub(super) fn aggressive_first_received(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        collected: &Collected<'_>,
    ) -> Result<(), DatagramError> {
        if collected.ke.is_none() || collected.nonce.is_none() || collected.id.is_none() {
            return Err(DatagramError::Unexpected);
        }
        self.queue_job(number, Work::Respond);
        self.give_up_after(env, number, HANDSHAKE_TIMEOUT);
        Ok(())
    }

    /// The secret is known: answers, with our proof.
    pub(super) fn aggressive_respond(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        secret: &[u8],
        public: &[u8],
    ) {
        // The proof covers what stands before it in the message.
        let proven = self
            .aggressive_write_second(number, public, Proof::Hash(&[0]))
            .and_then(|()| self.phase1_derive(number, secret))
            .and_then(|()| {
                if self.phase1_signs(number, Role::Responder) {
                    return self.phase1_sign(env, number, Role::Responder);
                }
                let hash = self.phase1_own_proof(number, Role::Responder)?;
                self.aggressive_answer(env, number, Proof::Hash(hash.bytes()));
                Ok(())
            });
        if let Err(failure) = proven {
            self.handshake_failed(env, number, failure);
        }
    }

    /// Sends the second message, which lies there without its proof.
    pub(super) fn aggressive_answer(&mut self, env: &mut Env<'_>, number: u32, proof: Proof<'_>) {
        let mut public = [0; MAX_PUBLIC];
        let begun = self.contexts.exchange(number).and_then(|x| self.v1_stored(x.message)?.ke);
        let len = begun.map_or(0, <[u8]>::len);
        let copied = begun.and_then(|begun| bytes::copy_prefix(&mut public, begun));
        let public = copied.and_then(|()| public.get(..len)).unwrap_or_default();
        match self.aggressive_write_second(number, public, proof) {
            Ok(()) => {
                if let Some(phase1) = self.phase1_of(number) {
                    phase1.known = env.now;
                }
                self.phase1_send(env, number, Step::Third);
            }
            Err(failure) => self.handshake_failed(env, number, failure),
        }
    }

    fn aggressive_write_second(
        &mut self,
        number: u32,
        public: &[u8],
        proof: Proof<'_>,
    ) -> Result<(), Failure> {
        let x = self.contexts.exchange(number).ok_or(Failure::Protocol)?;
        let nonce = x.nonce;
        let peer = self.peer_of(x.sa).ok_or(Failure::Protocol)?;
        let (local, further) = (peer.auth.local, vendors_of(peer));
        let fragments = fragment::is_wanted(peer, self.assembly);
        let peers = self.phase1_candidates(number);
        let mut scratch = [0; 16];
        let id = self.phase1_own_id(number, &mut scratch).ok_or(Failure::Protocol)?;
        let detection = self.nat_detection(number).map_err(|_| Failure::Crypto)?;
        let known = self.phase1_known_vendors(number);
        self.phase1_compose_choice(number, ExchangeType::AGGRESSIVE, &mut |w| {
            w.raw(PayloadType::KE, public)?;
            w.raw(PayloadType::NONCE, &nonce)?;
            w.id(&id)?;
            proof.write(w, &local)?;
            peers.write_cert_reqs(w)?;
            // RFC 3947 section 3.2: in this order. Some understand NAT-D only once they have read that we know of it.
            vendor::write_answer(w, known, fragments, further)?;
            nat::write_detection(w, detection.as_ref())
        })
        .map_err(|_| self.not_composed(number))
    }

    /// The initiator proves who it is; in the clear, if it likes (RFC 2409 section 5.4).
    pub(super) fn aggressive_third(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        arrived: &Arrived,
        datagram: &mut [u8],
    ) -> Result<(), DatagramError> {
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let (sa, iv) = (x.sa, x.v1.iv);
        let opened = if arrived.header.is_encrypted() {
            self.v1_open(sa, &iv, &arrived.header, datagram)?
        } else {
            Opened {
                first: arrived.header.next_payload,
                text: Message::parse(datagram)?.body(),
                iv,
            }
        };
        let Ok(collected) = opened.collect() else {
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        };
        let slot = self.contexts.handshakes.get(number as usize).ok_or(DatagramError::Stale)?;
        let begun = self.v1_stored(slot.handshake.request).ok_or(DatagramError::Stale)?;
        let Some(id) = begun.id else {
            return self.phase1_doubt(number, Failure::AuthenticationFailed);
        };
        let signs = self.phase1_signs(number, Role::Initiator);
        if !signs {
            let hash = collected.hash.unwrap_or_default();
            if !self.phase1_is_proven(number, Role::Initiator, &id, hash) {
                return self.phase1_doubt(number, Failure::AuthenticationFailed);
            }
        }
        let identity = self.phase1_identity(sa, &id, true);
        let checked = identity.and_then(|(peer, identity)| {
            let hash =
                if signs { Some(self.phase1_checked(number, &id, &collected)?) } else { None };
            Ok((peer, identity, hash))
        });
        let (peer, identity, hash) = match checked {
            Ok(checked) => checked,
            Err(failure) if signs => return self.phase1_doubt(number, failure),
            Err(failure) => {
                self.handshake_failed(env, number, failure);
                return Err(DatagramError::Refused);
            }
        };
        if signs {
            self.phase1_park(number, &opened)?;
        } else if let Some(phase1) = self.phase1_mut(sa) {
            phase1.last = opened.iv;
        }
        self.nat_detected(sa, &collected, arrived.path);
        if let Some(slot) = self.sa(sa) {
            slot.peer = peer;
        }
        if let Some(x) = self.contexts.get(number) {
            let began = core::mem::replace(&mut x.path, arrived.path);
            self.nat_settled(sa, began, arrived.path);
        }
        match hash {
            Some(hash) => self.phase1_work(env, number, hash, Work::Verify),
            None => {
                let initial = collected.notify(NotifyType::INITIAL_CONTACT).is_some();
                self.aggressive_completed(env, number, (identity, initial));
            }
        }
        Ok(())
    }

    /// Both are proven: the SA stands.
    pub(super) fn aggressive_completed(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        (identity, initial_contact): (u64, bool),
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
        let last = self.phase1(sa).map_or(Iv::EMPTY, |phase1| phase1.last);
        self.end_exchange(env, number);
        self.phase1_up(env, sa, identity, last);
    }
}

//! IKE_AUTH: who the two sides are, and the first child (RFC 7296 sections 1.2 and 2.15).

use ipsec_core::crypto::Provider;
use ipsec_core::crypto::suite::MAX_PRF;
use ipsec_core::path::Path;

use super::chosen::Ends;
use super::sa_init::{at_address, nonce_of};
use crate::auth::psk;
use crate::buffers::BufferId;
use crate::config::{Auth, Peer};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::{DownReason, Failure};
use crate::exchange::{Kind, Maybe, Stage};
use crate::identity::Identity;
use crate::ike_sa::{self, SaState};
use crate::keymat::Role;
use crate::proposal;
use crate::timer::{CALLER_TIMEOUT, LINGER, RESPONSE_KEPT, jittered};
use crate::wire::{
    AuthMethod, AuthPayload, Collected, ExchangeType, Header, IdPayload, NoRoom, Notify,
    NotifyType, PayloadType,
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
        let nat_port = self.config.ports.nat;
        let sa = self.sa(sa_number).ok_or(Failure::Protocol)?;
        if sa.nat_local || sa.nat_remote || peer.force_encapsulation {
            // RFC 7296 section 2.23: with a NAT between, everything moves to port 4500.
            sa.path = sa.path.with_ports(nat_port, peer.ports.nat);
        }
        sa.send_id = 2;
        let choice = sa.choice;
        let path = sa.path;
        let kept = self.contexts.get(number).and_then(|x| x.negotiation.child.checked_sub(1));
        let child = match kept {
            Some(child) => child,
            None => self.new_child(env, sa_number, config).ok_or(Failure::NoRoom)?,
        };
        let spi = self.child(child).map_or(0, |c| c.spi_in).to_be_bytes();
        let offer = self.child_offer(child)?;
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        x.kind = Kind::Auth;
        x.message_id = 1;
        x.path = path;
        x.negotiation.child = child.saturating_add(1);
        let nr = nonce_of(&self.buffers, handshake.response).ok_or(Failure::Protocol)?;
        let Auth::Psk(key) = peer.auth;
        let mut scratch = [0; 16];
        let local_id = peer.local_id.or_address(path.local.address);
        let id = local_id.payload(&mut scratch);
        let mut proof = [0; MAX_PRF];
        let request = self.buffers.bytes(handshake.request);
        let len = psk::sign::<P>(
            choice.prf,
            key,
            handshake.auth.sk_p(Role::Initiator),
            request,
            nr,
            &id,
            &mut proof,
        )
        .map_err(|_| Failure::Crypto)?;
        let proof = proof.get(..len).unwrap_or_default();
        let first = self.sas_of(config.peer, 0).all(|(_, sa)| !sa.is_authenticated());
        self.compose(number, ExchangeType::IKE_AUTH, |w| {
            w.id(PayloadType::IDI, &id)?;
            if first {
                // RFC 7296 section 2.4: whatever the peer remembers of us is of before our start.
                w.notify(&Notify::new(NotifyType::INITIAL_CONTACT, &[]))?;
            }
            if peer.remote_id != Identity::Any {
                let mut scratch = [0; 16];
                w.id(PayloadType::IDR, &peer.remote_id.payload(&mut scratch))?;
            }
            w.auth(AuthMethod::SHARED_KEY, proof)?;
            offer.write_sa(w, &spi, false)?;
            offer.write_selectors(w)
        })
        .map_err(|_| Failure::NoRoom)?;
        self.send_request(env, number);
        Ok(())
    }

    /// The peer's identity and its proof, and the first child.
    #[inline(never)]
    pub(crate) fn auth_response(
        &mut self,
        env: &mut Env<'_>,
        sa_number: u32,
        number: u32,
        collected: &Collected<'_>,
    ) -> Result<(), DatagramError> {
        let (_, handshake) = self.contexts.handshake(number).ok_or(DatagramError::Stale)?;
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
        let ni = nonce_of(&self.buffers, handshake.request).ok_or(DatagramError::Stale)?;
        let response = self.buffers.bytes(handshake.response);
        let prf = self.sas.get(sa_number as usize).ok_or(DatagramError::Stale)?.sa.choice.prf;
        let proven =
            verify::<P>(peer, prf, handshake.auth.sk_p(Role::Responder), response, ni, &id, &auth);
        let known = peer.remote_id.matches(&id);
        if !proven {
            self.doubt(env, number, Failure::AuthenticationFailed);
            return Err(DatagramError::Integrity);
        }
        if !known {
            self.fail(env, number, Some(config), Failure::UnknownIdentity);
            self.disown_sa(env, sa_number);
            return Err(DatagramError::Refused);
        }
        // Authenticated: from here on the SA is the peer's.
        let identity = self.identity_hash(&id);
        self.wipe_handshake(number);
        self.file_sa(sa_number, identity);
        self.sa_up(env, sa_number);
        let child = self.contexts.get(number).map_or(0, |x| x.negotiation.child).checked_sub(1);
        let child = child.ok_or(DatagramError::Stale)?;
        if let Err(failure) = self.accept_first_child(number, child, collected) {
            // If the peer has made the child, it is told to delete it.
            self.abandon_child(env, number, failure, collected.error().is_none());
            return Err(DatagramError::Refused);
        }
        self.begin_install(env, number);
        Ok(())
    }

    /// The peer is authenticated, and not the one that was wanted. It believes the SA to exist, and is told to delete it
    /// (RFC 7296 section 2.21.2); our caller never hears of it.
    fn disown_sa(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(sa) = self.sa(number) else { return };
        sa.state = SaState::Rekeyed;
        sa.replaced = true;
        sa.expire_at = env.now.after(CALLER_TIMEOUT);
        self.schedule_sa(env.now, number);
        self.want_of_sa(env, number, ike_sa::want::CLOSE);
    }

    /// What the peer says of the child.
    fn accept_first_child(
        &mut self,
        number: u32,
        child: u32,
        collected: &Collected<'_>,
    ) -> Result<(), Failure> {
        let (ni, nr) = self.nonces_of_handshake(number).ok_or(Failure::Protocol)?;
        self.accept_child(number, child, collected, false)?;
        self.derive_child_keys(number, None, (&ni, &nr))
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
    ) -> Result<(), DatagramError> {
        let handshake_number = self
            .sa(sa_number)
            .and_then(|sa| sa.theirs.checked_sub(1))
            .ok_or(DatagramError::Stale)?;
        let (x, handshake) =
            self.contexts.handshake(handshake_number).ok_or(DatagramError::Stale)?;
        if x.kind != Kind::SaInit || x.stage != Stage::Answered {
            return Err(DatagramError::Busy);
        }
        let (first, nat) =
            (x.path, self.sas.get(sa_number as usize).is_some_and(|s| s.sa.nat_remote));
        if path.local.address != first.local.address
            || (path.remote.address != first.remote.address && !nat)
        {
            // Sent on by somebody on the path: without a NAT, an address does not change.
            return Err(DatagramError::Unexpected);
        }
        let (Some(id), Some(auth)) = (collected.id_i, collected.auth) else {
            self.auth_refuse(env, sa_number, handshake_number, path, Failure::Protocol);
            return Err(DatagramError::Unexpected);
        };
        let sa = self.sas.get(sa_number as usize).map(|s| &s.sa).ok_or(DatagramError::Stale)?;
        // The proposal was chosen by address; now the identity says whose rules apply (RFC 4301 section 4.4.3).
        let first_path = x.path;
        let found = self.config.peers.iter().enumerate().find(|(_, peer)| {
            at_address(peer, first_path)
                && peer.remote_id.matches(&id)
                && collected.id_r.is_none_or(|id_r| {
                    peer.local_id == Identity::Any || peer.local_id.matches(&id_r)
                })
                && proposal::allows_ike(peer.proposals, &sa.choice)
        });
        let Some((index, peer)) = found else {
            self.auth_refuse(env, sa_number, handshake_number, path, Failure::UnknownIdentity);
            return Err(DatagramError::Refused);
        };
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let (prf, ends) = (sa.choice.prf, Ends { path, ..sa.ends() });
        let nr = nonce_of(&self.buffers, handshake.response).ok_or(DatagramError::Stale)?;
        let request = self.buffers.bytes(handshake.request);
        if !verify::<P>(peer, prf, handshake.auth.sk_p(Role::Initiator), request, nr, &id, &auth) {
            if let Some(sa) = self.sa(sa_number) {
                sa.peer = index;
            }
            let failure = Failure::AuthenticationFailed;
            self.auth_refuse(env, sa_number, handshake_number, path, failure);
            return Err(DatagramError::Integrity);
        }
        // Our own proof, while the handshake still holds what is signed.
        let ni = nonce_of(&self.buffers, handshake.request).ok_or(DatagramError::Stale)?;
        let Auth::Psk(key) = peer.auth;
        let mut scratch = [0; 16];
        let local_id = peer.local_id.or_address(path.local.address);
        let own_id = local_id.payload(&mut scratch);
        let mut proof = [0; MAX_PRF];
        let response = self.buffers.bytes(handshake.response);
        let len = psk::sign::<P>(
            prf,
            key,
            handshake.auth.sk_p(Role::Responder),
            response,
            ni,
            &own_id,
            &mut proof,
        )
        .map_err(|_| DatagramError::Crypto)?;
        let proof = proof.get(..len).unwrap_or_default();
        let (ni, nr) = self.nonces_of_handshake(handshake_number).ok_or(DatagramError::Stale)?;
        if self.free_exchanges.is_empty() || self.buffers.free() < 2 {
            return Err(DatagramError::NoRoom);
        }

        let chosen = Self::find_child(collected, peer, &ends, None, false);
        // Authenticated. The handshake is over; its place is free for others.
        let identity = self.identity_hash(&id);
        if collected.notify(NotifyType::INITIAL_CONTACT).is_some() {
            self.initial_contact(env, sa_number, index, identity);
        }
        if !self.limit_sas(env, sa_number, (index, identity), true) {
            return Err(DatagramError::NoRoom);
        }
        self.end_exchange(env, handshake_number);
        let Some(sa) = self.sa(sa_number) else { return Err(DatagramError::Stale) };
        sa.peer = index;
        sa.path = path;
        sa.send_id = 0;
        self.file_sa(sa_number, identity);
        self.sa_up(env, sa_number);
        let header = Header::new(0, 0, ExchangeType::IKE_AUTH, crate::wire::Flags(0), 1);
        let number = self.begin_answer(env, sa_number, path, &header, Kind::Auth)?;
        let made = self.answer_child(env, number, index, chosen, (&ni, &nr));
        let written = match made {
            Ok(child) => self.compose_auth(number, &own_id, proof, Ok(child)),
            Err(kind) => self.compose_auth(number, &own_id, proof, Err(kind)),
        };
        if written.is_err() {
            // A message longer than a buffer: nothing can be said.
            self.end_exchange(env, number);
            self.sa_down(env, sa_number, DownReason::Protocol);
            return Err(DatagramError::NoRoom);
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
        id: &IdPayload<'_>,
        proof: &[u8],
        child: Result<u32, NotifyType>,
    ) -> Result<(), DatagramError> {
        let answer = match child {
            Ok(child) => Some(self.child_answer(number, child).ok_or(DatagramError::Stale)?),
            Err(_) => None,
        };
        self.compose(number, ExchangeType::IKE_AUTH, |w| {
            w.id(PayloadType::IDR, id)?;
            w.auth(AuthMethod::SHARED_KEY, proof)?;
            match (answer.as_ref(), child) {
                (Some(answer), _) => answer.write(w, None, None),
                // RFC 7296 section 1.2: the IKE SA stands although its first child does not.
                (None, Err(kind)) => w.notify(&Notify::new(kind, &[])),
                (None, Ok(_)) => Err(NoRoom),
            }
        })
    }

    /// Refuses an initiator: the response is authentic as far as the key exchange goes, and the SA ends with it.
    fn auth_refuse(
        &mut self,
        env: &mut Env<'_>,
        sa_number: u32,
        number: u32,
        path: Path,
        failure: Failure,
    ) {
        let peer = self.sa(sa_number).map(|sa| sa.peer);
        let kind = if failure == Failure::Protocol {
            NotifyType::INVALID_SYNTAX
        } else {
            NotifyType::AUTHENTICATION_FAILED
        };
        self.refuse(peer, None, path, failure);
        if let Some(x) = self.contexts.get(number) {
            x.kind = Kind::Auth;
            x.message_id = 1;
            x.path = path;
        }
        let written =
            self.compose(number, ExchangeType::IKE_AUTH, |w| w.notify(&Notify::new(kind, &[])));
        if let Some(sa) = self.sa(sa_number) {
            sa.receive_id = 2;
        }
        if written.is_ok() {
            self.send_response(env, number, LINGER);
        } else {
            self.end_exchange(env, number);
            self.release_larval(env, sa_number);
        }
    }

    /// The peer has lost all other SAs with us (RFC 7296 section 2.4); believed of the identity just proven only.
    fn initial_contact(&mut self, env: &mut Env<'_>, except: u32, peer: u16, identity: u64) {
        // One that ends is not found again: each turn finds another.
        loop {
            let old = self.sas_of(peer, identity).find(|(number, sa)| {
                let lives = matches!(sa.state, SaState::Established | SaState::Rekeyed);
                lives && *number != except && sa.identity == identity
            });
            let Some(old) = old.map(|(number, _)| number) else { return };
            self.sa_down(env, old, DownReason::Replaced);
        }
    }

    // ---- both ----

    fn identity_hash(&self, id: &IdPayload<'_>) -> u64 {
        self.by_peer.hash(&[&id.head(), id.data])
    }

    /// An SA is authenticated.
    fn sa_up(&mut self, env: &mut Env<'_>, number: u32) {
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
        self.schedule_sa(env.now, number);
    }

    /// Wipes what only the handshake needed; its context goes on until the child is installed.
    fn wipe_handshake(&mut self, number: u32) {
        let Some((x, handshake)) = self.contexts.handshake(number) else { return };
        x.kx = Maybe::Nothing;
        x.failure = Maybe::Nothing;
        handshake.auth = crate::keymat::AuthKeys::EMPTY;
        let mut alternative = core::mem::replace(&mut handshake.alternative, BufferId::NONE);
        self.buffers.release(&mut alternative);
    }

    /// Copies of both nonces of IKE_SA_INIT, which the first child's keys come from.
    fn nonces_of_handshake(&mut self, number: u32) -> Option<(Nonce, Nonce)> {
        let (_, handshake) = self.contexts.handshake(number)?;
        let ni = Nonce::copy(nonce_of(&self.buffers, handshake.request)?)?;
        let nr = Nonce::copy(nonce_of(&self.buffers, handshake.response)?)?;
        Some((ni, nr))
    }
}

/// A nonce of any allowed length.
pub(super) struct Nonce {
    bytes: [u8; crate::wire::nonce::MAX_NONCE],
    len: usize,
}

impl Nonce {
    pub(super) fn copy(nonce: &[u8]) -> Option<Self> {
        let mut bytes = [0; crate::wire::nonce::MAX_NONCE];
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

/// Whether the peer proves to be who it says (RFC 7296 section 2.15).
fn verify<P: Provider>(
    peer: &Peer<'_>,
    prf: ipsec_core::crypto::PrfId,
    sk_p: &[u8],
    message: &[u8],
    nonce: &[u8],
    id: &IdPayload<'_>,
    auth: &AuthPayload<'_>,
) -> bool {
    let Auth::Psk(key) = peer.auth;
    auth.method == AuthMethod::SHARED_KEY
        && psk::verify::<P>(prf, key, sk_p, message, nonce, id, auth.data).is_ok()
}

//! Signatures in phase 1 (RFC 2409 section 5.1, RFC 4754): who signs, certificates, and what comes of the jobs.
//!
//! What is signed is HASH_I or HASH_R itself, where a pre-shared key sends it. Neither side has signed what the other
//! says it can: the method is agreed on in the first two messages, and both sides use the same.

use ipsec_core::crypto::suite::PrfId;
use ipsec_core::crypto::{Curve, Provider, SignatureScheme};
use ipsec_core::path::Path;

use super::Kind;
use super::keymat::Digest;
use super::message::Opened;
use crate::auth::pad::Directory;
use crate::auth::signature::{self, Named};
use crate::auth::{SIGNATURES, SignJob, Untrusted, VerifyJob, subject};
use crate::config::{LocalAuth, Peer, RemoteAuth, Xauth};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::exchange::{self, Stage, Work};
use crate::identity::ClaimedId;
use crate::keymat::Role;
use crate::timer::{CALLER_TIMEOUT, HANDSHAKE_TIMEOUT};
use crate::v2::key_of;
use crate::wire::v1::{
    AuthMethod, CertEncoding, Collected, IdPayload, MessageWriter, NotifyType, PayloadType,
};
use crate::wire::{MAX_CERTS, NoRoom};

/// The most authorities that we name in one message.
const MAX_AUTHORITIES: usize = 8;
/// So many signatures of somebody who has proven nothing are verified in one handshake.
const MAX_TRIES: u8 = 3;

/// How both sides prove who they are, as phase 1 has it; `None` if it has no such way: unlike in IKEv2, both have the
/// same. `ours`: we begin it.
pub(crate) fn method_of(peer: &Peer<'_>, ours: bool) -> Option<AuthMethod> {
    // The initiator of phase 1 is the one with the user, or the responder is.
    let xauth = peer.versions.v1()?.user();
    let by_initiator = match xauth {
        Xauth::None => None,
        Xauth::User(_) => Some(ours),
        Xauth::Users(_) | Xauth::Ask => Some(!ours),
    };
    let allowed = match (peer.auth.local, peer.auth.remote) {
        (LocalAuth::Psk(_), RemoteAuth::Psk(_)) => {
            return Some(match by_initiator {
                None => AuthMethod::PSK,
                Some(true) => AuthMethod::XAUTH_INIT_PSK,
                Some(false) => AuthMethod::XAUTH_RESP_PSK,
            });
        }
        _ if !SIGNATURES => return None,
        // Hybrid: whoever has the user does not sign, and the other one does.
        (LocalAuth::User, remote) => {
            let can = signature::allowed(&remote).contains(&SignatureScheme::RsaIkev1);
            let user = matches!(xauth, Xauth::User(_));
            return by_initiator.filter(|_| can && user).map(hybrid);
        }
        (_, RemoteAuth::User) => {
            let can = key_of(&peer.auth)?.schemes.contains(&SignatureScheme::RsaIkev1);
            let user = matches!(xauth, Xauth::User(_));
            return by_initiator.filter(|_| can && !user).map(hybrid);
        }
        (_, RemoteAuth::Certificate { schemes, .. } | RemoteAuth::RawPublicKey { schemes, .. }) => {
            schemes
        }
        _ => return None,
    };
    let mut ours = key_of(&peer.auth)?.schemes.iter().filter(|scheme| allowed.contains(scheme));
    ours.find_map(|scheme| method_with(*scheme, by_initiator))
}

/// Whether a side signs. If not, it shows the hash.
pub(super) const fn signs(method: AuthMethod, side: Role) -> bool {
    match method {
        AuthMethod::HYBRID_INIT_RSA => matches!(side, Role::Responder),
        AuthMethod::HYBRID_RESP_RSA => matches!(side, Role::Initiator),
        method => scheme_of(method).is_some(),
    }
}

const fn hybrid(by_initiator: bool) -> AuthMethod {
    if by_initiator { AuthMethod::HYBRID_INIT_RSA } else { AuthMethod::HYBRID_RESP_RSA }
}

const fn method_with(scheme: SignatureScheme, by_initiator: Option<bool>) -> Option<AuthMethod> {
    Some(match (scheme, by_initiator) {
        (SignatureScheme::RsaIkev1, None) => AuthMethod::RSA_SIGNATURES,
        (SignatureScheme::RsaIkev1, Some(true)) => AuthMethod::XAUTH_INIT_RSA,
        (SignatureScheme::RsaIkev1, Some(false)) => AuthMethod::XAUTH_RESP_RSA,
        (SignatureScheme::EcdsaIkev1(Curve::P256), None) => AuthMethod::ECDSA_P256,
        (SignatureScheme::EcdsaIkev1(Curve::P384), None) => AuthMethod::ECDSA_P384,
        (SignatureScheme::EcdsaIkev1(Curve::P521), None) => AuthMethod::ECDSA_P521,
        _ => return None,
    })
}

const fn scheme_of(method: AuthMethod) -> Option<SignatureScheme> {
    Some(match method {
        AuthMethod::RSA_SIGNATURES
        | AuthMethod::XAUTH_INIT_RSA
        | AuthMethod::XAUTH_RESP_RSA
        | AuthMethod::HYBRID_INIT_RSA
        | AuthMethod::HYBRID_RESP_RSA => SignatureScheme::RsaIkev1,
        AuthMethod::ECDSA_P256 => SignatureScheme::EcdsaIkev1(Curve::P256),
        AuthMethod::ECDSA_P384 => SignatureScheme::EcdsaIkev1(Curve::P384),
        AuthMethod::ECDSA_P521 => SignatureScheme::EcdsaIkev1(Curve::P521),
        _ => return None,
    })
}

/// What HASH_I and HASH_R are made with: what was negotiated, unless the signature has a hash of its own (RFC 2409
/// section 5.1, RFC 4754 section 4).
pub(super) const fn proof_prf(method: AuthMethod, negotiated: PrfId) -> PrfId {
    match method {
        AuthMethod::ECDSA_P256 => PrfId::HMAC_SHA2_256,
        AuthMethod::ECDSA_P384 => PrfId::HMAC_SHA2_384,
        AuthMethod::ECDSA_P521 => PrfId::HMAC_SHA2_512,
        _ => negotiated,
    }
}

/// A proof of ours, as it is written.
#[derive(Clone, Copy)]
pub(super) enum Proof<'a> {
    Hash(&'a [u8]),
    Signature(&'a [u8]),
}

impl Proof<'_> {
    /// Writes it after our identity, a signature with our certificates.
    pub(super) fn write(
        &self,
        w: &mut MessageWriter<'_>,
        local: &LocalAuth<'_>,
    ) -> Result<(), NoRoom> {
        match *self {
            Self::Hash(hash) => w.raw(PayloadType::HASH, hash),
            Self::Signature(signature) => {
                if let LocalAuth::Certificate { chain, .. } = local {
                    chain
                        .iter()
                        .take(MAX_CERTS)
                        .try_for_each(|cert| w.cert(CertEncoding::X509_SIGNATURE, cert))?;
                }
                w.raw(PayloadType::SIG, signature)
            }
        }
    }
}

/// Entries of the configuration: those for the addresses, or one.
#[derive(Clone, Copy)]
pub(super) struct Candidates<'r> {
    directory: Directory<'r>,
    path: Path,
    only: Option<u16>,
}

impl Candidates<'_> {
    /// Writes whose certificates they may send, if they have to send one (RFC 2408 section 3.10): some send none unasked.
    pub(super) fn write_cert_reqs(self, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        if !SIGNATURES {
            return Ok(());
        }
        let mut named = heapless::Vec::<&[u8], MAX_AUTHORITIES>::new();
        let wanted = |index| self.only.is_none_or(|only| only == index);
        let peers = self.directory.at(self.path).filter(|(index, _)| wanted(*index));
        let anchors = peers.filter(|(_, peer)| peer.versions.v1().is_some()).filter_map(
            |(_, peer)| match peer.auth.remote {
                RemoteAuth::Certificate { anchors, .. } => Some(anchors),
                _ => None,
            },
        );
        for name in anchors.flatten().filter_map(|anchor| subject(anchor)) {
            if !named.contains(&name) {
                if named.push(name).is_err() {
                    break;
                }
                w.cert_req(CertEncoding::X509_SIGNATURE, name)?;
            }
        }
        Ok(())
    }
}

impl<'r, P: Provider> Ike<'r, P> {
    /// Whether a side of a handshake signs.
    pub(super) fn phase1_signs(&self, number: u32, side: Role) -> bool {
        SIGNATURES && self.phase1_method(number).is_some_and(|method| signs(method, side))
    }

    /// How both sides of a handshake prove who they are.
    pub(super) fn phase1_method(&self, number: u32) -> Option<AuthMethod> {
        let sa = self.contexts.exchange(number)?.sa;
        let ours = self.sas.get(sa as usize)?.sa.initiator;
        method_of(self.peer_of(sa)?, ours)
    }

    /// The entries of the configuration that a handshake may be of.
    pub(super) fn phase1_candidates(&self, number: u32) -> Candidates<'r> {
        let slot = self.contexts.exchange(number).and_then(|x| self.sas.get(x.sa as usize));
        Candidates {
            directory: self.directory,
            path: slot.map_or(Path::UNSPECIFIED, |slot| slot.sa.path),
            only: slot.filter(|slot| slot.sa.initiator).map(|slot| slot.sa.peer),
        }
    }

    // ---- our signature ----

    /// Signs: [`Ike::phase1_signed`] has the rest.
    pub(super) fn phase1_sign(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        role: Role,
    ) -> Result<(), Failure> {
        let hash = self.phase1_own_proof(number, role)?;
        self.phase1_work(env, number, hash, Work::Sign);
        Ok(())
    }

    pub(super) fn phase1_work(&mut self, env: &mut Env<'_>, number: u32, hash: Digest, work: Work) {
        if let Some((_, handshake)) = self.contexts.handshake(number) {
            handshake.signed = hash;
        }
        self.queue_job(number, work);
        self.give_up_after(env, number, CALLER_TIMEOUT);
    }

    pub(crate) fn phase1_sign_job(&self, number: u32) -> Option<SignJob<'_>> {
        let slot = self.contexts.handshakes.get(number as usize)?;
        let sa = &self.sas.get(slot.slot.exchange.sa as usize)?.sa;
        let key = key_of(&self.config.peers.get(usize::from(sa.peer))?.auth)?;
        let scheme = scheme_of(self.phase1_method(number)?)?;
        let message = [slot.handshake.signed.bytes(), &[], &[], &[]];
        Some(SignJob { peer: sa.peer, key: key.id, scheme, message })
    }

    /// Our key has signed.
    pub(super) fn phase1_signed(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        kind: Kind,
        signature: &[u8],
    ) {
        let Some(x) = self.contexts.get(number) else { return };
        x.work = Work::None;
        let (ours, proof) = (x.ours, Proof::Signature(signature));
        match (kind, ours) {
            (Kind::MainMode, true) => self.main_send_initiator(env, number, proof),
            (Kind::MainMode, false) => {
                let Some(accepted) = self.phase1_accepted(number) else { return };
                self.main_answer(env, number, accepted, proof);
            }
            (Kind::Aggressive, true) => self.aggressive_complete(env, number, proof),
            (Kind::Aggressive, false) => self.aggressive_answer(env, number, proof),
            _ => {}
        }
    }

    // ---- the peer's signature ----

    /// Verifies the signature in the peer's last message: [`Ike::phase1_verified`] and [`Ike::phase1_untrusted`] have the
    /// rest.
    pub(super) fn phase1_verify(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        id: &IdPayload<'_>,
        proof: &Collected<'_>,
        opened: &Opened<'_>,
    ) -> Result<(), DatagramError> {
        let hash = match self.phase1_checked(number, id, proof) {
            Ok(hash) => hash,
            Err(failure) => return self.phase1_doubt(number, failure),
        };
        self.phase1_park(number, opened)?;
        self.phase1_work(env, number, hash, Work::Verify);
        Ok(())
    }

    /// Looks at what can be seen of a proof without work. Gives what the signature covers.
    pub(super) fn phase1_checked(
        &self,
        number: u32,
        id: &IdPayload<'_>,
        proof: &Collected<'_>,
    ) -> Result<Digest, Failure> {
        let x = self.contexts.exchange(number).ok_or(Failure::Protocol)?;
        let signer = if x.ours { Role::Responder } else { Role::Initiator };
        let peer = self.peer_of(x.sa).ok_or(Failure::Protocol)?;
        let claimed = id.identity().ok_or(Failure::Protocol)?;
        proof.sig.ok_or(Failure::AuthenticationFailed)?;
        let named = self.phase1_method(number).and_then(scheme_of).map(Named::Scheme);
        signature::check(&peer.auth.remote, named, &proof.certs())
            .map_err(|reason| Failure::Untrusted { claimed: ClaimedId::of(&claimed), reason })?;
        self.phase1_proof(number, signer, id).ok_or(Failure::Crypto)
    }

    /// Keeps the peer's last message while a job runs.
    pub(super) fn phase1_park(
        &mut self,
        number: u32,
        opened: &Opened<'_>,
    ) -> Result<(), DatagramError> {
        let x = self.contexts.get(number).ok_or(DatagramError::Stale)?;
        let (sa, ours) = (x.sa, x.ours);
        if x.retries >= MAX_TRIES {
            return Err(DatagramError::Stale);
        }
        x.retries = x.retries.saturating_add(1);
        if !ours && !self.may_park() {
            return Err(DatagramError::NoRoom);
        }
        self.v1_park(number, opened)?;
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.last = opened.iv;
        }
        Ok(())
    }

    /// The initiator has proven itself by a hash. Its message is kept only if a job comes.
    pub(super) fn phase1_keep(
        &mut self,
        number: u32,
        opened: &Opened<'_>,
    ) -> Result<(), DatagramError> {
        if self.phase1_signs(number, Role::Responder) {
            return self.phase1_park(number, opened);
        }
        let sa = self.contexts.get(number).ok_or(DatagramError::Stale)?.sa;
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.last = opened.iv;
        }
        Ok(())
    }

    /// The peer's message with its proof, and its identity, which it may have said before.
    pub(super) fn phase1_proof_of_peer(
        &self,
        number: u32,
    ) -> Option<(IdPayload<'_>, Collected<'_>)> {
        let slot = self.contexts.handshakes.get(number as usize)?;
        let (x, handshake) = (&slot.slot.exchange, &slot.handshake);
        match (x.kind, x.ours) {
            (exchange::Kind::V1(Kind::Aggressive), true) => {
                let answer = self.v1_stored(handshake.alternative)?;
                Some((answer.id?, answer))
            }
            (exchange::Kind::V1(Kind::Aggressive), false) => {
                Some((self.v1_stored(handshake.request)?.id?, self.v1_parked(number)?))
            }
            _ => {
                let parked = self.v1_parked(number)?;
                Some((parked.id?, parked))
            }
        }
    }

    pub(crate) fn phase1_verify_job(&self, number: u32) -> Option<VerifyJob<'_>> {
        let slot = self.contexts.handshakes.get(number as usize)?;
        let sa = &self.sas.get(slot.slot.exchange.sa as usize)?.sa;
        let trust = self.config.peers.get(usize::from(sa.peer))?.auth.remote;
        let named = Named::Scheme(scheme_of(self.phase1_method(number)?)?);
        let (id, proof) = self.phase1_proof_of_peer(number)?;
        let message = [slot.handshake.signed.bytes(), &[], &[], &[]];
        let (certs, signature) = (proof.certs(), proof.sig?);
        Some(VerifyJob {
            peer: sa.peer,
            id: id.identity()?,
            trust,
            message,
            signature,
            certs,
            named,
        })
    }

    /// The peer's signature is good, and its key is its own.
    pub(super) fn phase1_verified(&mut self, env: &mut Env<'_>, number: u32, kind: Kind) {
        let Some(x) = self.contexts.get(number) else { return };
        x.work = Work::None;
        let ours = x.ours;
        self.phase1_believed(number);
        match (kind, ours) {
            (Kind::MainMode, true) => self.main_complete(env, number),
            (Kind::MainMode, false) => {
                let Some(accepted) = self.phase1_accepted(number) else { return };
                self.main_prove(env, number, accepted);
            }
            (Kind::Aggressive, true) => self.aggressive_prove(env, number),
            (Kind::Aggressive, false) => {
                let Some(accepted) = self.phase1_accepted(number) else { return };
                self.aggressive_completed(env, number, accepted);
            }
            _ => {}
        }
    }

    /// The peer's identity, hashed, and whether it has nothing with us but this: of a message that is believed.
    pub(super) fn phase1_accepted(&self, number: u32) -> Option<(u64, bool)> {
        let (id, proof) = self.phase1_proof_of_peer(number)?;
        Some((
            self.identity_hash(&id.identity()?),
            proof.notify(NotifyType::INITIAL_CONTACT).is_some(),
        ))
    }

    /// The peer is not believed to be the one that it says it is. Who sent that is not known: the true one may still come.
    pub(super) fn phase1_untrusted(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        kind: Kind,
        reason: Untrusted,
    ) {
        let id = self.phase1_proof_of_peer(number).and_then(|(id, _)| id.identity());
        let Some(claimed) = id.map(|id| ClaimedId::of(&id)) else { return };
        let failure = Failure::Untrusted { claimed, reason };
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, ours) = (x.sa, x.ours);
        x.work = Work::None;
        let mut parked = core::mem::replace(&mut x.received, exchange::Parked::NONE).buffer;
        self.buffers.release(&mut parked);
        if ours && kind == Kind::Aggressive {
            return self.aggressive_doubt(number, failure);
        }
        let _ = self.phase1_doubt(number, failure);
        let before = self.sas.get(sa as usize).map(|slot| slot.sa.path);
        if let Some((x, path)) = self.contexts.get(number).zip(before) {
            x.path = path;
            x.stage = Stage::Answered;
        }
        if ours || kind == Kind::Aggressive {
            self.await_another(number);
        } else {
            self.give_up_after(env, number, HANDSHAKE_TIMEOUT);
        }
    }
}

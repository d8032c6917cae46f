//! The proofs of IKE_AUTH: what they cover, how ours is written, and what both sides say of signatures before
//! (RFC 7296 section 2.15, RFC 7427 section 4).

use ipsec_core::bytes::Writer;
use ipsec_core::crypto::suite::MAX_PRF;
use ipsec_core::crypto::{HashId, Provider, SignatureScheme};

use super::sa_init::nonce_of;
use crate::auth::signature::{self, SignatureHashes};
use crate::auth::{SignJob, VerifyJob, psk, public_key};
use crate::config::{Auth, LocalAuth, Peer, RemoteAuth, SigningKey};
use crate::engine::Ike;
use crate::event::Failure;
use crate::keymat::Role;
use crate::wire::{
    AuthMethod, AuthPayload, CertEncoding, DigitalSignature, IdPayload, MAX_CERTS, Message,
    MessageWriter, NoRoom, Notify, NotifyType,
};

/// The most authorities that we name in one request for certificates.
const MAX_AUTHORITIES: usize = 16;

/// A proof of ours, as it is written.
pub(super) enum Proof<'a> {
    Shared(&'a [u8]),
    Signature(AuthMethod, SignatureScheme, &'a [u8]),
}

impl Proof<'_> {
    pub(super) fn write(&self, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        match *self {
            Self::Shared(proof) => w.auth(AuthMethod::SHARED_KEY, proof),
            Self::Signature(AuthMethod::DIGITAL_SIGNATURE, scheme, signature) => {
                let algorithm = scheme.algorithm_identifier().ok_or(NoRoom)?;
                w.digital_signature(&DigitalSignature { algorithm, signature })
            }
            Self::Signature(method, _, signature) => w.auth(method, signature),
        }
    }

    /// What it is without its method.
    pub(super) fn data(&self, w: &mut Writer<'_>) -> Option<()> {
        match *self {
            Self::Shared(proof) => w.bytes(proof),
            Self::Signature(AuthMethod::DIGITAL_SIGNATURE, scheme, signature) => {
                let algorithm = scheme.algorithm_identifier()?;
                w.u8(u8::try_from(algorithm.len()).ok()?)?;
                w.bytes(algorithm)?;
                w.bytes(signature)
            }
            Self::Signature(_, _, signature) => w.bytes(signature),
        }
    }
}

/// Our certificates, the end entity's first (RFC 7296 section 3.6).
pub(super) fn write_certs(w: &mut MessageWriter<'_>, local: &LocalAuth<'_>) -> Result<(), NoRoom> {
    match local {
        LocalAuth::Certificate { chain, .. } => chain
            .iter()
            .take(MAX_CERTS)
            .try_for_each(|cert| w.cert(CertEncoding::X509_SIGNATURE, cert)),
        LocalAuth::RawPublicKey { spki, .. } => w.cert(CertEncoding::RAW_PUBLIC_KEY, spki),
        _ => Ok(()),
    }
}

/// What certificates peers may send, if any of them has to send one (RFC 7296 section 3.7, RFC 7670 section 3).
pub(super) fn write_cert_req<'r, P: Provider>(
    w: &mut MessageWriter<'_>,
    peers: impl Iterator<Item = &'r Peer<'r>>,
) -> Result<(), NoRoom> {
    let mut authorities = heapless::Vec::<&[u8], MAX_AUTHORITIES>::new();
    let mut raw = false;
    for peer in peers {
        match peer.auth.remote {
            RemoteAuth::RawPublicKey { .. } => raw = true,
            RemoteAuth::Certificate { anchors, .. } => {
                for key in anchors.iter().filter_map(|anchor| public_key(anchor)) {
                    if !authorities.contains(&key) && authorities.push(key).is_err() {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    if !authorities.is_empty() {
        w.cert_req(CertEncoding::X509_SIGNATURE, |w| {
            authorities.iter().try_for_each(|key| {
                P::hash(HashId::Sha1, &[key], w.reserve(HashId::Sha1.output_len())?).ok()
            })
        })?;
    }
    if raw { w.cert_req(CertEncoding::RAW_PUBLIC_KEY, |_| Some(())) } else { Ok(()) }
}

/// The hashes that peers may sign with (RFC 7427 section 4). One who has to be sent a signature, and makes none, is told
/// ours, so that it answers with its own.
pub(super) fn write_hashes<'r>(
    w: &mut MessageWriter<'_>,
    peers: impl Iterator<Item = &'r Peer<'r>>,
) -> Result<(), NoRoom> {
    let hashes = peers.fold(SignatureHashes::default(), |hashes, peer| {
        match (signature::allowed(&peer.auth.remote), key_of(&peer.auth)) {
            ([], Some(key)) => hashes.and(key.schemes),
            (schemes, _) => hashes.and(schemes),
        }
    });
    if hashes.is_empty() {
        return Ok(());
    }
    let data = &mut [0; 10];
    w.notify(&Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, hashes.write(data)))
}

/// The key that we sign with.
pub(crate) const fn key_of<'r>(auth: &Auth<'r>) -> Option<SigningKey<'r>> {
    match auth.local {
        LocalAuth::Certificate { key, .. } | LocalAuth::RawPublicKey { key, .. } => Some(key),
        _ => None,
    }
}

impl<'r, P: Provider> Ike<'r, P> {
    /// How we sign in a handshake.
    pub(super) fn own_signature(
        &self,
        number: u32,
    ) -> Result<(SigningKey<'r>, AuthMethod, SignatureScheme), Failure> {
        let find = || {
            let sa = &self.sas.get(self.contexts.exchange(number)?.sa as usize)?.sa;
            let key = key_of(&self.config.peers.get(usize::from(sa.peer))?.auth)?;
            let handshake = &self.contexts.handshakes.get(number as usize)?.handshake;
            let theirs = if sa.initiator { handshake.response } else { handshake.request };
            let message = Message::parse(self.buffers.bytes(theirs)).ok()?;
            Some((key, SignatureHashes::of(&message.collect().ok()?)))
        };
        let (key, theirs) = find().ok_or(Failure::Protocol)?;
        let (method, scheme) =
            signature::choose(key.schemes, theirs).ok_or(Failure::NoSignatureScheme { theirs })?;
        Ok((key, method, scheme))
    }

    pub(crate) fn sign_job(&self, number: u32) -> Option<SignJob<'_>> {
        let sa = &self.sas.get(self.contexts.exchange(number)?.sa as usize)?.sa;
        let (key, _, scheme) = self.own_signature(number).ok()?;
        let message = self.signed(number, sa.role())?;
        Some(SignJob { peer: sa.peer, key: key.id, scheme, message })
    }

    pub(crate) fn verify_job(&self, number: u32) -> Option<VerifyJob<'_>> {
        let sa = &self.sas.get(self.contexts.exchange(number)?.sa as usize)?.sa;
        let trust = self.config.peers.get(usize::from(sa.peer))?.auth.remote;
        let parked = self.parked(number)?;
        let id = if sa.initiator { parked.id_r } else { parked.id_i }?;
        let (named, signature) = signature::read(&self.proof_of_peer(number, &parked)?)?;
        let message = self.signed(number, sa.peer_role())?;
        let certs = parked.certs();
        Some(VerifyJob { peer: sa.peer, id, trust, message, signature, certs, named })
    }

    /// What a signature covers, once the identity has been bound to the handshake
    /// ([`AuthKeys::bind`](crate::keymat::AuthKeys::bind)): its maker's IKE_SA_INIT message, the nonce of the other side,
    /// and the identity under SK_p (RFC 7296 section 2.15); and the additional key exchanges (RFC 9242 section 3.3.1).
    fn signed(&self, number: u32, signer: Role) -> Option<[&[u8]; 4]> {
        let handshake = &self.contexts.handshakes.get(number as usize)?.handshake;
        let (message, other) = match signer {
            Role::Initiator => (handshake.request, handshake.response),
            Role::Responder => (handshake.response, handshake.request),
        };
        let nonce = nonce_of(&self.buffers, other)?;
        let rounds = handshake.int_auth.signed();
        Some([self.buffers.bytes(message), nonce, handshake.auth.sk_p(signer), rounds])
    }

    /// Our proof by a pre-shared key. Gives its length.
    pub(super) fn own_proof(
        &self,
        number: u32,
        key: &[u8],
        id: &IdPayload<'_>,
        out: &mut [u8; MAX_PRF],
    ) -> Option<usize> {
        let sa = &self.sas.get(self.contexts.exchange(number)?.sa as usize)?.sa;
        let [message, nonce, sk_p, rounds] = self.signed(number, sa.role())?;
        psk::sign::<P>(sa.choice.prf, key, sk_p, message, nonce, id, rounds, out).ok()
    }

    /// Whether `auth` is the peer's proof by a pre-shared key.
    pub(super) fn is_proven(
        &self,
        number: u32,
        key: &[u8],
        id: &IdPayload<'_>,
        auth: &AuthPayload<'_>,
    ) -> bool {
        let verify = || {
            let sa = &self.sas.get(self.contexts.exchange(number)?.sa as usize)?.sa;
            let [message, nonce, sk_p, rounds] = self.signed(number, sa.peer_role())?;
            let prf = sa.choice.prf;
            psk::verify::<P>(prf, key, sk_p, message, nonce, id, rounds, auth.data).ok()
        };
        auth.method == AuthMethod::SHARED_KEY && verify().is_some()
    }
}

//! Initiators whom the caller's store knows: IKE_AUTH waits until it has been asked (RFC 4301 section 4.4.3).

use ipsec_core::crypto::Provider;

use crate::auth::{LookUpJob, pad, signature};
use crate::config::RemoteAuth;
use crate::engine::{Env, Ike};
use crate::event::Failure;
use crate::exchange::Work;
use crate::identity::ClaimedId;
use crate::keymat::Role;
use crate::wire::{Collected, Payloads};

impl<P: Provider> Ike<'_, P> {
    /// Whether the entry of an SA leads to the store.
    pub(super) fn is_of_store(&self, sa: u32) -> bool {
        let peer = self.peer_of(sa);
        peer.is_some_and(|peer| matches!(peer.auth.remote, RemoteAuth::Store))
    }

    /// Who is to be looked up.
    pub(crate) fn look_up_job(&self, number: u32) -> Option<LookUpJob<'_>> {
        let x = self.contexts.exchange(number)?;
        let peer = self.sas.get(x.sa as usize)?.sa.peer;
        let parked = self.parked(number)?;
        let (id, method) = (parked.id_i?, parked.auth?.method);
        Some(LookUpJob { peer, id, wanted: parked.id_r, path: x.path, method })
    }

    /// The store knows the initiator, or does not: everything is checked against the entry that it leads to.
    pub(crate) fn auth_found(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        found: Option<(u16, &[u8])>,
    ) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, path) = (x.sa, x.path);
        x.work = Work::None;
        if let (Some((peer, _)), Some(sa)) = (found, self.sa(sa)) {
            sa.peer = peer;
        }
        let secret = found.map_or(&[][..], |(_, secret)| secret);
        match self.check_found(number, found) {
            // Its errors have been told.
            Ok(true) => drop(self.auth_proven(env, number, path, None, secret)),
            Ok(false) => self.auth_wait(env, number, path, Work::Verify),
            Err(failure) => self.auth_refuse(env, sa, number, path, failure),
        }
    }

    /// Whether all is proven, or a signature is still to be verified.
    fn check_found(&mut self, number: u32, found: Option<(u16, &[u8])>) -> Result<bool, Failure> {
        let x = self.contexts.exchange(number).ok_or(Failure::Protocol)?;
        let (sa, path, received) = (x.sa, x.path, x.received);
        let choice = self.sas.get(sa as usize).ok_or(Failure::Protocol)?.sa.choice;
        let inner = Payloads::inner(received.first, self.buffers.bytes(received.buffer));
        let collected = Collected::collect(inner).map_err(|_| Failure::Protocol)?;
        let (Some(id), Some(auth)) = (collected.id_i, collected.auth) else {
            return Err(Failure::Protocol);
        };
        let claimed = ClaimedId::of(&id);
        let unknown = Failure::UnknownIdentity { claimed };
        let Some((index, secret)) = found else { return Err(unknown) };
        let peer = self.config.peers.get(usize::from(index)).ok_or(unknown.clone())?;
        pad::check(peer, path, (&id, collected.id_r.as_ref()), &choice, auth.method)?;
        if peer.ppk.is_some_and(|ppk| ppk.required) {
            // RFC 8784 section 3: none has been mixed in, since nobody knew whose.
            return Err(Failure::PpkNotShared);
        }
        let secret = match peer.auth.remote {
            RemoteAuth::Psk(key) => key,
            // An empty secret is none.
            RemoteAuth::Store if secret.is_empty() => return Err(unknown),
            RemoteAuth::Store => secret,
            _ => {
                let named = signature::read(&auth).map(|(named, _)| named);
                signature::check(&peer.auth.remote, named, &collected.certs())
                    .map_err(|reason| Failure::Untrusted { claimed, reason })?;
                let (_, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
                let bound = handshake.auth.bind::<P>(choice.prf, Role::Initiator, &id);
                return bound.map(|()| false).map_err(|_| Failure::Crypto);
            }
        };
        if self.is_proven(number, secret, &id, &auth) {
            Ok(true)
        } else {
            Err(Failure::AuthenticationFailed)
        }
    }
}

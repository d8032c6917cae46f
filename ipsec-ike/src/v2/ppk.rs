//! Post-quantum pre-shared keys (RFC 8784): who has which, and where they go into the keys.
//!
//! IKE_SA_INIT says on both sides that there are some (USE_PPK). The initiator names its own in IKE_AUTH and proves itself
//! with it, and, if it may do without, also without it (NO_PPK_AUTH): who signs does so twice. The responder takes what it
//! can.

use ipsec_core::bytes::{self, Reader, Writer};
use ipsec_core::crypto::Provider;

use super::proof::Proof;
use crate::buffers::BufferId;
use crate::config::{Peer, Ppk};
use crate::engine::{Env, Ike};
use crate::event::Failure;
use crate::keymat::Role;
use crate::wire::{
    AuthPayload, Collected, IdPayload, Message, MessageWriter, NoRoom, Notify, NotifyType,
};

/// The types of PPK_ID (RFC 8784 section 5.1).
const OPAQUE: u8 = 1;
const FIXED: u8 = 2;
/// The longest PPK_ID that we send.
const MAX_ID: usize = 128;
/// The longest signature that is made besides one with the key, with its AlgorithmIdentifier: RSA with 4096 bits.
const MAX_WITHOUT: usize = 640;

/// The name of our key, and our proof without it.
pub(super) fn write(
    w: &mut MessageWriter<'_>,
    ppk: &Ppk<'_>,
    without: Option<&[u8]>,
) -> Result<(), NoRoom> {
    let mut id = heapless::Vec::<u8, MAX_ID>::new();
    for byte in core::iter::once(FIXED).chain(ppk.id.iter().copied()) {
        id.push(byte).map_err(|_| NoRoom)?;
    }
    w.notify(&Notify::new(NotifyType::PPK_IDENTITY, &id))?;
    match without {
        Some(proof) => w.notify(&Notify::new(NotifyType::NO_PPK_AUTH, proof)),
        None => Ok(()),
    }
}

/// Whether the initiator names this key, by whichever type of name.
fn names(collected: &Collected<'_>, ppk: &Ppk<'_>) -> bool {
    let named = collected.notify(NotifyType::PPK_IDENTITY);
    named.is_some_and(|notify| {
        let mut r = Reader::new(notify.data);
        matches!(r.u8(), Some(OPAQUE | FIXED)) && r.rest() == ppk.id
    })
}

impl<'r, P: Provider> Ike<'r, P> {
    /// Whether both sides said in IKE_SA_INIT that they have such keys: a responder repeats only what was said.
    fn ppk_is_possible(&self, number: u32) -> bool {
        if !cfg!(feature = "ppk") {
            return false;
        }
        let response = self.contexts.handshakes.get(number as usize).map(|h| h.handshake.response);
        let response = response.map(|id| self.buffers.bytes(id)).unwrap_or_default();
        let said = |m: Message<'_>| Some(m.collect().ok()?.notify(NotifyType::USE_PPK).is_some());
        Message::parse(response).ok().and_then(said).unwrap_or_default()
    }

    /// As initiator: the key that we name.
    pub(super) fn ppk_to_use(&self, number: u32) -> Option<Ppk<'r>> {
        let ppk = self.peer_of(self.contexts.exchange(number)?.sa)?.ppk?;
        self.ppk_is_possible(number).then_some(ppk)
    }

    /// Mixes a key into SK_p of one side.
    pub(super) fn mix_auth(
        &mut self,
        number: u32,
        side: Role,
        ppk: &Ppk<'_>,
    ) -> Result<(), Failure> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        let sa = self.sas.get(x.sa as usize).ok_or(Failure::Protocol)?;
        handshake.auth.mix::<P>(sa.sa.choice.prf, side, ppk.key).map_err(|_| Failure::Crypto)
    }

    /// As initiator that signs, and may do without the key: it signs without it first. What the second signature covers
    /// waits in a buffer.
    pub(super) fn ppk_later(
        &mut self,
        number: u32,
        id: &IdPayload<'_>,
        ppk: &Ppk<'_>,
    ) -> Result<(), Failure> {
        let buffer = self.buffers.take().ok_or(Failure::NoRoom)?;
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        let mut old = core::mem::replace(&mut x.secrets, buffer);
        self.buffers.release(&mut old);
        let sa = self.sas.get(x.sa as usize).ok_or(Failure::Protocol)?;
        let prf = sa.sa.choice.prf;
        let out = self.buffers.bytes_mut(buffer);
        let bound = handshake.auth.bound_with::<P>(prf, Role::Initiator, id, ppk.key, out);
        self.buffers.set_len(buffer, bound.map_err(|_| Failure::Crypto)?);
        Ok(())
    }

    /// Whether what has been signed is without a key that is yet to be mixed in.
    pub(super) fn ppk_is_later(&self, number: u32) -> bool {
        let slot = self.contexts.handshakes.get(number as usize);
        slot.is_some_and(|slot| {
            let mixed = slot.handshake.auth.is_mixed(Role::Initiator);
            cfg!(feature = "ppk") && !slot.slot.exchange.secrets.is_none() && !mixed
        })
    }

    /// The signature without the key is there, and kept: the other one is next.
    pub(super) fn ppk_next(&mut self, number: u32, without: &Proof<'_>) -> Result<(), Failure> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        let buffer = x.secrets;
        handshake
            .auth
            .take_bound(Role::Initiator, self.buffers.bytes(buffer))
            .map_err(|_| Failure::Crypto)?;
        let mut w = Writer::new(self.buffers.bytes_mut(buffer));
        without.data(&mut w).ok_or(Failure::TooLong)?;
        let len = w.len();
        self.buffers.set_len(buffer, len);
        Ok(())
    }

    /// Both are there. Not inlined: it takes much stack.
    #[inline(never)]
    pub(super) fn auth_send_both(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        proof: &Proof<'_>,
    ) -> Result<(), Failure> {
        let x = self.contexts.get(number).ok_or(Failure::Protocol)?;
        let mut buffer = core::mem::replace(&mut x.secrets, BufferId::NONE);
        let mut without = [0; MAX_WITHOUT];
        let kept = self.buffers.bytes(buffer);
        let len = kept.len();
        let copied = bytes::copy_prefix(&mut without, kept);
        self.buffers.release(&mut buffer);
        copied.ok_or(Failure::TooLong)?;
        self.auth_send(env, number, proof, without.get(..len))
    }

    /// As responder: takes the key that the initiator names, if `peer` has it; gives the proof that is to be verified.
    /// RFC 8784 section 3 has the table of all cases.
    pub(super) fn ppk_named<'a>(
        &mut self,
        number: u32,
        peer: &Peer<'_>,
        collected: &Collected<'a>,
        auth: &AuthPayload<'a>,
    ) -> Result<AuthPayload<'a>, Failure> {
        let possible = self.ppk_is_possible(number);
        if let Some(ppk) = peer.ppk.filter(|ppk| possible && names(collected, ppk)) {
            for side in [Role::Initiator, Role::Responder] {
                self.mix_auth(number, side, &ppk)?;
            }
            return Ok(*auth);
        }
        let named = possible && collected.notify(NotifyType::PPK_IDENTITY).is_some();
        let without = collected.notify(NotifyType::NO_PPK_AUTH).is_some();
        if peer.ppk.is_some_and(|ppk| ppk.required) || (named && !without) {
            return Err(Failure::PpkNotShared);
        }
        self.proof_of_peer(number, collected).ok_or(Failure::Protocol)
    }

    /// The peer's proof: where it offers two, and its PPK is not ours, that without.
    pub(super) fn proof_of_peer<'a>(
        &self,
        number: u32,
        collected: &Collected<'a>,
    ) -> Option<AuthPayload<'a>> {
        let auth = collected.auth?;
        let sa = &self.sas.get(self.contexts.exchange(number)?.sa as usize)?.sa;
        let mixed =
            self.contexts.handshakes.get(number as usize)?.handshake.auth.is_mixed(sa.role());
        let without = collected.notify(NotifyType::NO_PPK_AUTH);
        match without.filter(|_| !sa.initiator && !mixed && self.ppk_is_possible(number)) {
            Some(without) => Some(AuthPayload { data: without.data, ..auth }),
            None => Some(auth),
        }
    }

    /// As initiator: whether the responder has taken the key that we named, and if not, whether that is all right.
    pub(super) fn ppk_confirmed(
        &mut self,
        number: u32,
        collected: &Collected<'_>,
    ) -> Result<(), Failure> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        if !handshake.auth.is_mixed(Role::Initiator) {
            return Ok(());
        }
        let sa = x.sa;
        let peer = self.peer_of(sa).ok_or(Failure::Protocol)?;
        let ppk = peer.ppk.ok_or(Failure::Protocol)?;
        if collected.notify(NotifyType::PPK_IDENTITY).is_some() {
            return self.mix_auth(number, Role::Responder, &ppk);
        }
        if ppk.required { Err(Failure::PpkNotShared) } else { Ok(()) }
    }

    /// Both sides are proven: mixes the key into SK_d, if they use one. Says whether they do.
    pub(super) fn mix_ppk(&mut self, number: u32) -> Result<bool, Failure> {
        let (x, handshake) = self.contexts.handshake(number).ok_or(Failure::Protocol)?;
        if !cfg!(feature = "ppk") {
            return Ok(false);
        }
        if ![Role::Initiator, Role::Responder].iter().all(|side| handshake.auth.is_mixed(*side)) {
            return Ok(false);
        }
        let number = x.sa;
        let ppk = self.peer_of(number).and_then(|peer| peer.ppk).ok_or(Failure::Protocol)?;
        let sa = self.sa(number).ok_or(Failure::Protocol)?;
        let prf = sa.choice.prf;
        let keys = sa.keys.v2_mut().ok_or(Failure::Protocol)?;
        keys.mix::<P>(prf, ppk.key).map_err(|_| Failure::Crypto)?;
        sa.ppk = true;
        Ok(true)
    }
}

//! Handshakes in which somebody else has a hand. Nothing vouches for the first messages of IKEv1: what comes of them may be
//! forged, and what explains a failure may be a lie.

use ipsec_core::crypto::{Group, Provider};

use super::message::Arrived;
use super::{Phase1, Step, proposal};
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::exchange::{self, Handshake, Maybe};
use crate::ike_sa;
use crate::keymat::SaKeys;
use crate::proposal::Implemented;
use crate::v2::disturbed::MAX_RESTARTS;
use crate::wire;
use crate::wire::v1::Message;

impl<P: Provider> Ike<'_, P> {
    /// What was doubted before was not the peer's.
    pub(super) fn phase1_believed(&mut self, number: u32) {
        if let Some(x) = self.contexts.get(number) {
            x.failure = Maybe::Nothing;
        }
    }

    /// Perhaps an answer to a handshake of ours, from another responder than the one whose answer came first.
    pub(super) fn phase1_rivalled(&mut self, arrived: &Arrived) {
        let cookie = arrived.header.initiator_cookie;
        let Ok(number) = u32::try_from(cookie & self.slot_mask) else { return };
        let ours = self.sa(number).is_some_and(|sa| {
            sa.is_v1()
                && sa.initiator
                && sa.spi_i == cookie
                && sa.path.remote.address == arrived.path.remote.address
        });
        if ours {
            self.phase1_disturbed(number);
        }
    }

    /// Somebody else has a hand in our handshake.
    pub(super) fn phase1_disturbed(&mut self, sa: u32) {
        let context = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
        let handshake = context.and_then(|number| self.contexts.handshake(number));
        if let Some((_, handshake)) = handshake.filter(|(x, _)| x.ours) {
            handshake.disturbed = true;
        }
    }

    /// A handshake of ours has failed. If it was disturbed, it is begun anew, with another cookie, nonce and key exchange:
    /// nothing vouches for the first messages, and the one that was believed may be forged. Says whether it was.
    pub(super) fn phase1_anew(&mut self, env: &mut Env<'_>, number: u32) -> bool {
        let Some((x, handshake)) = self.contexts.handshake(number) else { return false };
        let exchange::Kind::V1(kind) = x.kind else { return false };
        if !x.ours || !handshake.disturbed || handshake.restarts >= MAX_RESTARTS {
            return false;
        }
        let (sa, child) = (x.sa, handshake.child);
        let restarts = handshake.restarts.saturating_add(1);
        for id in [
            &mut handshake.request,
            &mut handshake.response,
            &mut handshake.alternative,
            &mut x.message,
        ] {
            self.buffers.release(id);
        }
        *handshake = Handshake::EMPTY;
        handshake.child = child;
        handshake.restarts = restarts;
        x.kx = Maybe::Nothing;
        x.failure = Maybe::Nothing;
        x.retries = 0;
        x.v1 = super::Context::EMPTY;
        env.rng.fill_bytes(&mut x.nonce);
        let Some(peer) = self.config.peers.get(usize::from(child.peer)) else { return false };
        let v1 = peer.versions.v1();
        let group = v1.and_then(|v1| proposal::first_group(v1.proposals, &Implemented::of::<P>()));
        x.group = group.unwrap_or(Group::NONE);
        x.path = x.path.with_ports(self.config.ports.ike, peer.ports.ike);
        let path = x.path;
        let cookie = self.choose_spi(env, sa);
        if let Some(slot) = self.sa(sa) {
            (slot.spi_i, slot.spi_r) = (cookie, 0);
            (slot.nat_local, slot.nat_remote) = (false, false);
            slot.path = path;
            slot.tell &= !ike_sa::tell::KEYS;
            slot.keys = SaKeys::V1(Phase1 { since: env.now, ..Phase1::EMPTY });
        }
        self.phase1_first(env, number, kind);
        true
    }

    /// A proof that is not believed. Who sent it is not known: the true one may still come.
    pub(super) fn phase1_doubt(
        &mut self,
        number: u32,
        failure: Failure,
    ) -> Result<(), DatagramError> {
        let Some(x) = self.contexts.get(number) else { return Err(DatagramError::Stale) };
        let (ours, path, sa) = (x.ours, x.path, x.sa);
        if ours {
            x.failure = Maybe::Just((None, failure));
        } else {
            let peer = self.sa(sa).map(|sa| sa.peer);
            self.refuse(peer, None, path, failure);
        }
        Err(DatagramError::Integrity)
    }

    /// A notify that we cannot decrypt yet: so does somebody answer who has read our proof.
    pub(super) fn hint_unread(&mut self, sa: u32) -> Result<(), DatagramError> {
        let context = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
        let handshake = context.and_then(|number| self.contexts.handshake(number));
        if let Some((_, handshake)) = handshake.filter(|(x, _)| x.v1.step == Step::Sixth) {
            handshake.hint = Some(wire::NotifyType::AUTHENTICATION_FAILED);
        }
        Err(DatagramError::Refused)
    }

    /// Something in the clear about phase 1: nobody vouches for it. It explains why no answer comes.
    pub(super) fn hint_received(&mut self, sa: u32, datagram: &[u8]) -> Result<(), DatagramError> {
        let context = self.sa(sa).and_then(|sa| sa.ours.checked_sub(1));
        let collected = Message::parse(datagram)?.collect()?;
        let error = collected.error().ok_or(DatagramError::Unexpected)?;
        let handshake = context.and_then(|number| self.contexts.handshake(number));
        let (_, handshake) = handshake.ok_or(DatagramError::Unexpected)?;
        handshake.hint = Some(wire::NotifyType(error.kind.0));
        Err(DatagramError::Refused)
    }
}

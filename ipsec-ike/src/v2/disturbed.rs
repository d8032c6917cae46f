//! Handshakes of ours that somebody else disturbs. Nothing vouches for what comes back before the peer is authenticated:
//! a forged answer is tried and left again, and what was believed wrongly is undone by beginning anew (RFC 7296
//! section 2.21.1).

use core::time::Duration;

use ipsec_core::crypto::{Group, Provider};

use crate::buffers::BufferId;
use crate::engine::{Env, Ike};
use crate::event::Failure;
use crate::exchange::{Handshake, Kind, Maybe, Parked, Stage, Work};
use crate::proposal::{self, Implemented};
use crate::timer::CALLER_TIMEOUT;

/// How often a handshake is begun anew. Whoever disturbs each of them keeps the peers apart.
pub(crate) const MAX_RESTARTS: u8 = 2;
/// Other answers that are tried before that; retries with cookies and other groups count.
const MAX_ALTERNATIVES: u8 = 8;
/// So often a request of a disturbed handshake is repeated, before something else is tried.
pub(crate) const TRIES_IF_DISTURBED: u8 = 3;

impl<P: Provider> Ike<'_, P> {
    /// Turns to the other answer to our IKE_SA_INIT, once the first has led nowhere. Says whether there was one.
    pub(crate) fn try_alternative(&mut self, env: &mut Env<'_>, number: u32) -> bool {
        let Some((x, handshake)) = self.contexts.handshake(number) else { return false };
        let tried = x.retransmit.sent() >= TRIES_IF_DISTURBED || !x.failure.is_nothing();
        if !matches!(x.kind, Kind::Auth | Kind::Intermediate)
            || !tried
            || handshake.alternative.is_none()
        {
            return false;
        }
        if x.retries >= MAX_ALTERNATIVES {
            return false;
        }
        x.retries = x.retries.saturating_add(1);
        core::mem::swap(&mut handshake.response, &mut handshake.alternative);
        // Who refused was the other one. The child stays the same, since the peer may have it already: of the forged
        // answer it may have been another part that was changed.
        handshake.hint = None;
        self.back_to_sa_init(number);
        if self.sa_init_consider(env, number).is_err() {
            // Neither led anywhere: the request once more, for whoever is there.
            self.send_request(env, number);
        }
        true
    }

    /// Begins a handshake anew, with another SPI, nonce and key exchange, if it has failed and was disturbed. Says
    /// whether it did.
    pub(crate) fn begin_anew(&mut self, env: &mut Env<'_>, number: u32) -> bool {
        let Some((_, handshake)) = self.contexts.handshake(number) else { return false };
        if !handshake.disturbed || handshake.restarts >= MAX_RESTARTS {
            return false;
        }
        let (child, restarts) = (handshake.child, handshake.restarts.saturating_add(1));
        for id in [&mut handshake.request, &mut handshake.response] {
            self.buffers.release(id);
        }
        self.back_to_sa_init(number);
        let Some((x, handshake)) = self.contexts.handshake(number) else { return false };
        *handshake = Handshake::EMPTY;
        handshake.child = child;
        handshake.restarts = restarts;
        let peer = self.config.peers.get(usize::from(child.peer));
        let group =
            peer.and_then(|p| proposal::first_ike_group(p.proposals, &Implemented::of::<P>()));
        x.group = group.unwrap_or(Group::NONE);
        x.kx = Maybe::Nothing;
        x.retries = 0;
        env.rng.fill_bytes(&mut x.nonce);
        let sa = x.sa;
        let spi = self.choose_spi(env, sa);
        if let Some(sa) = self.sa(sa) {
            (sa.spi_i, sa.spi_r) = (spi, 0);
        }
        self.queue_job(number, Work::Generate);
        self.give_up_after(env, number, CALLER_TIMEOUT);
        true
    }

    /// Whoever made the key exchange with us refuses, or proves nothing. The true peer's answer to our IKE_SA_INIT may
    /// wait already, or be on its way, and has a moment.
    pub(crate) fn doubt(&mut self, env: &mut Env<'_>, number: u32, failure: Failure) {
        let Some(sa) = self.contexts.get(number).map(|x| x.sa) else { return };
        let moment = self.peer_of(sa).map_or(Duration::ZERO, |p| p.retransmission.first);
        let Some((x, handshake)) = self.contexts.handshake(number) else { return };
        if !x.failure.is_nothing() {
            return;
        }
        x.failure = Maybe::Just((Some(handshake.child), failure));
        let wait = if handshake.disturbed { Duration::ZERO } else { moment };
        self.give_up_after(env, number, wait);
    }

    /// An answer led nowhere: our request is sent again when it would have been without it.
    pub(crate) fn await_another(&mut self, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        x.stage = Stage::Response;
        let at = x.again_at;
        self.deadlines.set(self.context_node(number), Some(at));
    }

    /// Undoes what came after the request for IKE_SA_INIT.
    fn back_to_sa_init(&mut self, number: u32) {
        let Some((x, handshake)) = self.contexts.handshake(number) else { return };
        let mut parked = core::mem::replace(&mut x.received, Parked::NONE).buffer;
        self.buffers.release(&mut parked);
        let mut message = core::mem::replace(&mut x.message, BufferId::NONE);
        let mut other = core::mem::replace(&mut handshake.alternative, BufferId::NONE);
        let mut secrets = core::mem::take(&mut x.secrets);
        x.kind = Kind::SaInit;
        x.message_id = 0;
        x.round = 0;
        handshake.additional = Maybe::Nothing;
        x.failure = Maybe::Nothing;
        let remote = self.config.peers.get(usize::from(handshake.child.peer));
        let remote = remote.map_or(0, |peer| peer.ports.ike);
        x.path = x.path.with_ports(self.config.ports.ike, remote);
        let (sa, path) = (x.sa, x.path);
        self.buffers.release(&mut message);
        self.buffers.release(&mut other);
        self.buffers.release(&mut secrets);
        if let Some(sa) = self.sa(sa) {
            sa.path = path;
        }
    }
}

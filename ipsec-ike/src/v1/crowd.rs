//! A crowd of strangers: IKEv1 has no cookies that would cost a responder nothing, so that first messages from addresses that
//! nobody has take the room for handshakes that is left to IKEv1, which is half of what other initiators may have.
//!
//! When that is full, a newcomer of Main Mode takes the place of a stranger: of one who began [`PATIENCE`] ago or earlier, was
//! answered, and has not shown since that the answer came. Whoever has shown to be there stays, and so does every handshake of
//! IKEv2. Nobody loses its place to a message that is refused all the same.
//!
//! What that withstands: with n such places, n strangers in each [`PATIENCE`]. With the 40 handshakes of a pool, n is 15, and
//! they are 30 a second. Up to that rate a newcomer always gets in. Above it, one gets in as often as a place becomes free, which
//! is n times in each [`PATIENCE`], and the others are refused: an honest initiator, who repeats its message, competes with the
//! strangers for these. Once in, it has the whole of [`PATIENCE`] to show that it is there.
//!
//! Aggressive Mode costs us a key exchange at once. A newcomer of it makes nobody give way, so that strangers cannot make us do more
//! of them: while they take all the room, nobody gets in by Aggressive Mode. To one of Main Mode it does give way, when its
//! answer has been repeated and is not repeated any more.

use core::time::Duration;

use ipsec_core::crypto::Provider;

use super::message::buffers_of;
use super::{Kind, Step};
use crate::engine::{Env, Ike};
use crate::exchange::{self, Stage};

/// For so long at least, one who has been answered may be silent: the time of a long round trip, and of a slow machine's key exchange.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many handshakes are looked at for each newcomer. Free ones are taken in turn, so that in a flood the oldest lies next to the one
/// that gave way last.
const LOOKED_AT: usize = 8;

impl<P: Provider> Ike<'_, P> {
    /// Whether strangers have taken what IKEv1 leaves to them: the rest is for those who return a cookie of IKEv2.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded_without(0, 0)
    }

    /// As [`Ike::is_crowded`], when so many handshakes with so many buffers have ended.
    fn is_crowded_without(&self, handshakes: usize, buffers: usize) -> bool {
        let limit = self.half_open_limit();
        let places = if limit > 2 { limit.div_ceil(2) } else { limit };
        self.half_open_count.saturating_sub(handshakes) >= places
            || self.buffers.free().saturating_add(buffers) < 4
            || self.free_sas.len().saturating_add(handshakes) < 2
    }

    /// Ends one handshake of a stranger, if one has been silent for long enough, and that makes room.
    pub(super) fn crowd_yields(&mut self, env: &mut Env<'_>) {
        for _ in 0..LOOKED_AT.min(self.contexts.handshakes.len()) {
            let number = self.crowd_next;
            let next = number.saturating_add(1);
            self.crowd_next =
                if (next as usize) < self.contexts.handshakes.len() { next } else { 0 };
            if let Some(sa) = self.silent_stranger(env, number) {
                self.end_exchange(env, number);
                return self.release_larval(env, sa);
            }
        }
    }

    /// The SA of a handshake of which nothing but the first message has come, and that long ago, and whose end makes room.
    fn silent_stranger(&self, env: &Env<'_>, number: u32) -> Option<u32> {
        let slot = self.contexts.handshakes.get(number as usize)?;
        let x = &slot.slot.exchange;
        let answered = x.stage == Stage::Answered
            && match x.kind {
                exchange::Kind::V1(Kind::MainMode) => x.v1.step == Step::Third,
                exchange::Kind::V1(Kind::Aggressive) => true,
                _ => false,
            };
        let begun = self.sas.get(x.sa as usize)?.sa.heard;
        let silent = !x.ours && answered && !slot.handshake.is_there;
        let fair = silent && env.now >= begun.after(PATIENCE);
        let request = usize::from(!slot.handshake.request.is_none());
        let buffers = buffers_of(x).saturating_add(request);
        (fair && !self.is_crowded_without(1, buffers)).then_some(x.sa)
    }
}

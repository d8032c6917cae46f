//! A crowd of strangers: IKEv1 has no cookies that would cost a responder nothing, so that messages from addresses that nobody has
//! take its half of the room for handshakes.
//!
//! When that is full, whoever has been answered a while ago, and has not shown since that the answer came, gives way to the next one,
//! one after the other. So a handshake begins as soon as others have had a fair time, and not after their timeout. Who has
//! shown to be there stays, and so does every handshake of IKEv2. Aggressive Mode, which costs us a key exchange at once,
//! neither gives way nor makes others do so.

use core::time::Duration;

use ipsec_core::crypto::Provider;

use super::{Kind, Step};
use crate::engine::{Env, Ike};
use crate::exchange::{self, Stage};

/// For so long at least, one who has been answered may be silent: the time of a long round trip, and of a slow machine's key exchange.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many handshakes are looked at for each newcomer.
const LOOKED_AT: usize = 8;

impl<P: Provider> Ike<'_, P> {
    /// Whether strangers have taken what IKEv1 leaves to them: the rest is for those who return a cookie of IKEv2.
    pub(super) fn is_crowded(&self) -> bool {
        let half = self.half_open_count.saturating_mul(2) >= self.half_open_limit();
        half && self.half_open_limit() > 2 || self.buffers.free() < 4 || self.free_sas.len() < 2
    }

    /// Ends one handshake of a stranger, if one has been silent for long enough.
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

    /// The SA of a handshake of which nothing but the first message has come, and that long ago.
    fn silent_stranger(&self, env: &Env<'_>, number: u32) -> Option<u32> {
        let slot = self.contexts.handshakes.get(number as usize)?;
        let x = &slot.slot.exchange;
        let silent = !x.ours
            && x.kind == exchange::Kind::V1(Kind::MainMode)
            && (x.stage, x.v1.step) == (Stage::Answered, Step::Third)
            && !slot.handshake.is_there;
        let begun = self.sas.get(x.sa as usize)?.sa.heard;
        (silent && env.now >= begun.after(PATIENCE)).then_some(x.sa)
    }
}

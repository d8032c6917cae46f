//! Quick Modes of the peer's that wait for the third message, and old first messages (RFC 2409 section 5.5).
//!
//! HASH(1) shows that the peer wrote a first message, not when. One that comes again is known by its message ID while that is among
//! the last [`SEEN`](super::SEEN) of the peer's, deletes and notifies included. Somebody on the way who has recorded more of them under one
//! IKE SA can send the oldest again, and it looks new. It never makes a child, since the third message covers our nonce, and
//! it moves nothing; but it takes a context and a child until it is given up, and a key exchange with perfect forward secrecy.
//!
//! So few of a peer's are unconfirmed at once, and never more than half of all contexts. Where there is no room for a newcomer, the
//! oldest gives way that has been silent for [`PATIENCE`]: that many in each such time is what somebody gets by sending them again, as
//! long as there is no other IKE SA. And one that nobody has confirmed, under keys under which messages have been forgotten, is the
//! reason for another phase 1: what was recorded is worth nothing under its keys. Not where a user would have to be asked
//! for it.

use core::time::Duration;

use ipsec_core::crypto::Provider;

use super::bundle::Deletion;
use super::{Kind, Step};
use crate::engine::{Env, Ike};
use crate::exchange::{self, Exchange, Stage};
use crate::ike_sa;

/// So many of a peer may be unconfirmed at once; more wait, and their first messages come again.
const MAX_UNCONFIRMED: usize = 8;
/// For so long at least, one may be silent: the time of a slow machine's key exchange.
const PATIENCE: Duration = Duration::from_secs(2);

impl<P: Provider> Ike<'_, P> {
    /// Whether the peer may begin another child.
    pub(super) fn quick_admits(&mut self, env: &mut Env<'_>, sa: u32) -> bool {
        let most = MAX_UNCONFIRMED.min(self.contexts.exchanges.len().div_ceil(2));
        self.quick_unconfirmed_of(sa).count() < most || self.quick_yields(env, sa)
    }

    /// Ends the oldest Quick Mode that the peer has not confirmed, if it has been silent for long enough. Says whether there
    /// was one.
    pub(super) fn quick_yields(&mut self, env: &mut Env<'_>, sa: u32) -> bool {
        let silent = |number: u32| {
            let x = self.contexts.exchange(number)?;
            let waits = (x.stage, x.v1.step) == (Stage::Response, Step::Third);
            let silent = waits && env.now >= x.v1.since.after(PATIENCE);
            silent.then_some((x.v1.since, number))
        };
        let Some((_, oldest)) = self.quick_unconfirmed_of(sa).filter_map(silent).min() else {
            return false;
        };
        self.quick_unconfirmed(env, oldest);
        true
    }

    /// The third message has not come, and the second was said often enough. The initiator may have made the child all the
    /// same, and deleted the one before: it is told.
    pub(super) fn quick_unconfirmed(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, slot) = (x.sa, x.negotiation.child.checked_sub(1));
        let deletion = slot.and_then(|slot| self.child(slot)).map(|c| Deletion::of(c));
        self.end_exchange(env, number);
        if let Some(deletion) = deletion {
            let _ = self.v1_say_deleted(env, sa, deletion);
        }
        if self.phase1(sa).is_some_and(|phase1| phase1.has_forgotten()) {
            self.want_of_sa(env, sa, ike_sa::want::REKEY);
        }
    }

    /// The Quick Modes of the peer's that wait for its third message, or for us, under all of its IKE SAs.
    fn quick_unconfirmed_of(&self, sa: u32) -> impl Iterator<Item = u32> {
        let waits = |x: &Exchange<P>| {
            let outbound = Stage::Install(crate::event::Direction::Outbound);
            !x.ours && x.kind == exchange::Kind::V1(Kind::QuickMode) && x.stage != outbound
        };
        self.v1_sas_of_peer(sa)
            .flat_map(|sa| self.v1_exchanges(sa))
            .filter(move |number| self.contexts.exchange(*number).is_some_and(waits))
    }
}

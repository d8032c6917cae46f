//! IKEv1 (RFC 2407, 2408 and 2409): one exchange, one file.
//!
//! It shares slots, contexts, timers, jobs, events, children, identities and policy with [`v2`](crate::v2). What differs:
//! an exchange after phase 1 has a message ID of its own, so that an SA has several of ours and of the peer's at a time,
//! in a list; a message is one cipher block chain from the exchange's last one; what is deleted or notified is said once.

mod aggressive;
pub(crate) mod bundle;
mod clients;
mod commit;
mod crowd;
mod disturbed;
pub(crate) mod fragment;
pub(crate) mod gone;
mod informational;
pub(crate) mod keymat;
mod main_mode;
mod message;
mod message_id;
pub(crate) mod mismatch;
pub(crate) mod mode_config;
mod nat;
mod numbers;
mod phase1;
pub(crate) mod proposal;
mod protect;
mod quick_mode;
mod signature;
mod succession;
mod tasks;
pub(crate) mod transaction;
mod unconfirmed;
mod vendor;
mod xauth;

pub(crate) use signature::method_of;

use core::time::Duration;

use ipsec_core::time::Instant;

use keymat::Iv;
use nat::NatTraversal;
use proposal::Lifetimes;

use crate::v2::configuration::CONFIGURATION;

/// What an exchange of IKEv1 is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    MainMode = 0,
    Aggressive,
    QuickMode,
    /// A message of its own, sent once: a delete, a notify.
    Informational,
    /// The question whether the peer lives (RFC 3706).
    Dpd,
    /// XAUTH and Mode Config: a request or a setting, and what the other side says to it.
    Transaction,
}

/// How far an exchange is: which of its messages comes next from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// None: it is done, or a job runs.
    Done = 0,
    Second,
    Third,
    Fourth,
    Fifth,
    Sixth,
}

/// What a context holds besides, of an exchange of IKEv1. All zero is empty.
pub(crate) struct Context {
    pub(crate) step: Step,
    /// How often the same message of ours was asked for again.
    pub(crate) repeated: u8,
    /// The last block of its last message.
    pub(crate) iv: Iv,
    /// The peer's last message, hashed: the very same again gets the same answer again.
    pub(crate) received: u64,
    /// The next exchange of the same SA, plus one.
    pub(crate) next: u32,
    /// How long what it makes may live.
    pub(crate) lifetime: Lifetimes,
    /// When it began.
    pub(crate) since: Instant,
}

impl Context {
    pub(crate) const EMPTY: Self = Self {
        step: Step::Done,
        repeated: 0,
        iv: Iv::EMPTY,
        received: 0,
        next: 0,
        lifetime: Lifetimes::EMPTY,
        since: Instant::ZERO,
    };
}

/// What an IKE SA holds besides, of IKEv1. All zero is empty.
pub(crate) struct Phase1 {
    pub(crate) keys: keymat::Phase1Keys,
    /// The last block of phase 1, from which each exchange takes its first initialization vector.
    pub(crate) last: Iv,
    /// The first of its exchanges, plus one.
    pub(crate) exchanges: u32,
    pub(crate) nat: NatTraversal,
    /// What has to come before it is up.
    pub(crate) access: transaction::Access,
    /// As client: the addresses that we were given.
    pub(crate) inner: mode_config::Inner,
    /// How long it may live: the shorter of what both sides said.
    pub(crate) lifetime: Lifetimes,
    /// When it came up; before, when its first message was sent, or came.
    pub(crate) since: Instant,
    /// When the responder's last message of phase 1 was sent, or came: who begins another one after that knows of this one.
    /// Zero before.
    pub(crate) known: Instant,
    /// The peer answers R_U_THERE.
    pub(crate) dpd: bool,
    /// It knows what Cisco Unity has.
    pub(crate) unity: bool,
    /// The number of our last R_U_THERE.
    pub(crate) dpd_sent: u32,
    /// The number of the peer's last R_U_THERE, if it has asked.
    pub(crate) dpd_received: u32,
    pub(crate) dpd_asked: bool,
    /// How many message IDs we have chosen.
    pub(crate) said: u32,
    /// Exchanges that the peer has begun, by message ID, the oldest at `seen_at`: what comes again is a replay. 0 where there is none.
    seen: [u32; SEEN],
    seen_at: u8,
}

/// So many exchanges of the peer's are remembered. What older ones can do that come again: [`unconfirmed`].
const SEEN: usize = 32;

impl Phase1 {
    pub(crate) const EMPTY: Self = Self {
        keys: keymat::Phase1Keys::EMPTY,
        last: Iv::EMPTY,
        exchanges: 0,
        nat: NatTraversal::None,
        access: transaction::Access::Done,
        inner: mode_config::Inner::EMPTY,
        lifetime: Lifetimes::EMPTY,
        since: Instant::ZERO,
        known: Instant::ZERO,
        dpd: false,
        unity: false,
        dpd_sent: 0,
        dpd_received: 0,
        dpd_asked: false,
        said: 0,
        seen: [0; SEEN],
        seen_at: 0,
    };

    /// Whether phase 1 is over, and what has to come before the SA is up may still come.
    pub(crate) const fn is_entering(&self) -> bool {
        CONFIGURATION
            && !matches!(self.access, transaction::Access::Done | transaction::Access::Refused)
    }

    /// Whether an exchange with this message ID was begun by the peer before.
    fn has_seen(&self, id: u32) -> bool {
        self.seen.contains(&id)
    }

    /// Whether there may have been exchanges that are not remembered.
    fn has_forgotten(&self) -> bool {
        !self.seen.contains(&0)
    }

    fn note_seen(&mut self, id: u32) {
        let at = usize::from(self.seen_at) & (SEEN - 1);
        if let Some(place) = self.seen.get_mut(at) {
            *place = id;
        }
        self.seen_at = self.seen_at.wrapping_add(1);
    }
}

/// Seven eighths of a time: to replace something before the other side lets it expire.
fn shortened(time: Duration) -> Duration {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros.saturating_sub(micros >> 3))
}

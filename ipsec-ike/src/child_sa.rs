//! Child SAs: a pair of SAs, and what stays of their negotiation.

use ipsec_core::selector::Selectors;
use ipsec_core::time::Instant;

use crate::event::{ChildId, ChildRef, DownReason, Traffic};
use crate::keymat::ChildKeys;
use crate::proposal::ChildChoice;

/// Memory for one child SA. All zero is empty.
pub struct ChildSlot {
    pub(crate) generation: u32,
    pub(crate) child: Child,
}

impl ChildSlot {
    /// No child.
    pub const EMPTY: Self = Self { generation: 0, child: Child::EMPTY };
}

/// How far a child has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ChildState {
    Empty = 0,
    /// An exchange is making it.
    Larval,
    Established,
    /// Replaced by another one, or being deleted. It still receives.
    Leaving,
    /// Gone; the caller has not been told.
    Down,
}

/// Work that waits until our side has no request under way.
pub(crate) mod want {
    pub(crate) const DELETE: u8 = 1;
    pub(crate) const REKEY: u8 = 2;
    /// A larval child that waits for its CREATE_CHILD_SA.
    pub(crate) const CREATE: u8 = 4;
}

/// What the caller has not been told yet.
pub(crate) mod tell {
    pub(crate) const UP: u8 = 1;
    pub(crate) const MOVED: u8 = 2;
    pub(crate) const DOWN: u8 = 4;
}

pub(crate) struct Child {
    pub(crate) state: ChildState,
    pub(crate) want: u8,
    pub(crate) tell: u8,
    /// Whether the caller was asked to install something, and so must be told of the end.
    pub(crate) installed: bool,
    pub(crate) config: ChildRef,
    /// The slot of its IKE SA.
    pub(crate) ike: u32,
    /// The next child of the same IKE SA, plus one.
    pub(crate) next: u32,
    /// We receive on it; 0 if there is none yet.
    pub(crate) spi_in: u32,
    /// We send on it; 0 if there is none yet.
    pub(crate) spi_out: u32,
    pub(crate) choice: ChildChoice,
    pub(crate) encapsulated: bool,
    pub(crate) traffic: Traffic,
    pub(crate) replaces: Option<ChildId>,
    pub(crate) reason: DownReason,
    pub(crate) rekey_at: Instant,
    pub(crate) expire_at: Instant,
}

impl Child {
    pub(crate) const EMPTY: Self = Self {
        state: ChildState::Empty,
        want: 0,
        tell: 0,
        installed: false,
        config: ChildRef { peer: 0, child: 0 },
        ike: 0,
        next: 0,
        spi_in: 0,
        spi_out: 0,
        choice: ChildChoice::EMPTY,
        encapsulated: false,
        traffic: Traffic::Now,
        replaces: None,
        reason: DownReason::Closed,
        rekey_at: Instant::ZERO,
        expire_at: Instant::ZERO,
    };
}

/// A child while an exchange makes it: what is needed to install it, and no longer.
pub(crate) struct Negotiation {
    /// Its slot, plus one.
    pub(crate) child: u32,
    /// The number of the proposal that was chosen.
    pub(crate) number: u8,
    pub(crate) keys: ChildKeys,
    pub(crate) selectors: Selectors,
}

impl Negotiation {
    pub(crate) const EMPTY: Self =
        Self { child: 0, number: 0, keys: ChildKeys::EMPTY, selectors: Selectors::EMPTY };
}

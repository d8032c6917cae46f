//! IKE SAs: what stays of one between its exchanges.

use ipsec_core::path::Path;
use ipsec_core::time::Instant;

use crate::event::{DownReason, IkeAgreed, IkeId};
use crate::keymat::{IkeKeys, Role};
use crate::proposal::IkeChoice;

/// Memory for one IKE SA. All zero is empty.
pub struct IkeSlot {
    pub(crate) generation: u32,
    pub(crate) sa: IkeSa,
}

impl IkeSlot {
    /// No IKE SA.
    pub const EMPTY: Self = Self { generation: 0, sa: IkeSa::EMPTY };
}

/// How far an IKE SA has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SaState {
    Empty = 0,
    /// Nobody is authenticated yet; a handshake, or the rekeying of another SA, holds the rest.
    Larval,
    Established,
    /// Replaced by another one, and waiting for its deletion.
    Rekeyed,
    /// We are deleting it.
    Closing,
    /// The peer deleted it. It stays a little while to repeat the last response.
    Deleted,
}

/// Work that waits until our side has no request under way.
pub(crate) mod want {
    pub(crate) const CLOSE: u8 = 1;
    pub(crate) const REKEY: u8 = 2;
    pub(crate) const LIVENESS: u8 = 4;
    /// Some child of this SA wants something.
    pub(crate) const CHILD: u8 = 8;
}

/// What the caller has not been told yet.
pub(crate) mod tell {
    pub(crate) const KEYS: u8 = 1;
    pub(crate) const UP: u8 = 2;
    pub(crate) const REKEYED: u8 = 4;
    pub(crate) const DOWN: u8 = 8;
}

pub(crate) struct IkeSa {
    pub(crate) state: SaState,
    /// Whether we began it: which of the keys are ours.
    pub(crate) initiator: bool,
    pub(crate) want: u8,
    pub(crate) tell: u8,
    pub(crate) peer: u16,
    pub(crate) nat_local: bool,
    pub(crate) nat_remote: bool,
    pub(crate) keepalive_due: bool,
    /// Another SA has taken its place: its end is not told.
    pub(crate) replaced: bool,
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    pub(crate) path: Path,
    pub(crate) choice: IkeChoice,
    pub(crate) keys: IkeKeys,
    /// The counter of initialization vectors, never used twice.
    pub(crate) iv: u64,
    /// The message ID of our next request.
    pub(crate) send_id: u32,
    /// The message ID of the peer's next request.
    pub(crate) receive_id: u32,
    /// Our exchange under way, plus one.
    pub(crate) ours: u32,
    /// The peer's last exchange, plus one.
    pub(crate) theirs: u32,
    /// The first child, plus one.
    pub(crate) children: u32,
    pub(crate) replaces: Option<IkeId>,
    pub(crate) down: DownReason,
    pub(crate) heard: Instant,
    pub(crate) sent: Instant,
    pub(crate) rekey_at: Instant,
    pub(crate) expire_at: Instant,
}

impl IkeSa {
    pub(crate) const EMPTY: Self = Self {
        state: SaState::Empty,
        initiator: false,
        want: 0,
        tell: 0,
        peer: 0,
        nat_local: false,
        nat_remote: false,
        keepalive_due: false,
        replaced: false,
        spi_i: 0,
        spi_r: 0,
        path: Path::UNSPECIFIED,
        choice: IkeChoice::EMPTY,
        keys: IkeKeys::EMPTY,
        iv: 0,
        send_id: 0,
        receive_id: 0,
        ours: 0,
        theirs: 0,
        children: 0,
        replaces: None,
        down: DownReason::Closed,
        heard: Instant::ZERO,
        sent: Instant::ZERO,
        rekey_at: Instant::ZERO,
        expire_at: Instant::ZERO,
    };

    /// The SPI that we chose: it carries the number of the slot.
    pub(crate) const fn own_spi(&self) -> u64 {
        if self.initiator { self.spi_i } else { self.spi_r }
    }

    /// Our part in the keys.
    pub(crate) const fn role(&self) -> Role {
        if self.initiator { Role::Initiator } else { Role::Responder }
    }

    /// The peer's part in the keys.
    pub(crate) const fn peer_role(&self) -> Role {
        if self.initiator { Role::Responder } else { Role::Initiator }
    }

    /// Whether requests of either side are handled.
    pub(crate) const fn is_authenticated(&self) -> bool {
        !matches!(self.state, SaState::Empty | SaState::Larval)
    }

    pub(crate) const fn agreed(&self) -> IkeAgreed {
        IkeAgreed {
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
            suite: self.choice.suite,
            prf: self.choice.prf,
            group: self.choice.group,
            nat_local: self.nat_local,
            nat_remote: self.nat_remote,
        }
    }

    /// The next initialization vector's counter.
    pub(crate) const fn next_iv(&mut self) -> u64 {
        self.iv = self.iv.saturating_add(1);
        self.iv
    }
}

//! Why the engine refuses.

use crate::wire::WireError;

/// Why a datagram was dropped. No SA has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DatagramError {
    /// Peer: the message is malformed.
    Wire(WireError),
    /// Peer: the message of IKEv1 is malformed, or encrypted with another key.
    #[cfg(feature = "ikev1")]
    WireV1(crate::wire::v1::WireError),
    /// Peer: no IKE SA has these SPIs.
    UnknownSpi,
    /// Peer: no configured peer has this address.
    UnknownPeer,
    /// Peer: the message is not from the peer, or was changed.
    Integrity,
    /// Peer: an exchange, role or flag that does not belong here.
    Unexpected,
    /// Peer: a message ID of the past, or an answer to nothing.
    Stale,
    /// Peer: it was asked to return a cookie, or to begin anew with another group.
    Challenged,
    /// Peer: refused, and told so.
    Refused,
    /// Local: the exchange is waiting for a job or an install; the peer will send again.
    Busy,
    /// Capacity: a pool is exhausted; the peer will send again.
    NoRoom,
    /// Local: the provider failed.
    Crypto,
}

impl core::fmt::Display for DatagramError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Wire(e) => e.fmt(f),
            #[cfg(feature = "ikev1")]
            Self::WireV1(e) => e.fmt(f),
            Self::UnknownSpi => f.write_str("no IKE SA has these SPIs"),
            Self::UnknownPeer => f.write_str("no configured peer has this address"),
            Self::Integrity => f.write_str("integrity check failed"),
            Self::Unexpected => f.write_str("unexpected exchange or flags"),
            Self::Stale => f.write_str("message ID of the past, or an answer to nothing"),
            Self::Challenged => f.write_str("asked for a cookie or another group"),
            Self::Refused => f.write_str("refused"),
            Self::Busy => f.write_str("busy with this exchange"),
            Self::NoRoom => f.write_str("a pool is exhausted"),
            Self::Crypto => f.write_str("cryptography failed"),
        }
    }
}

impl core::error::Error for DatagramError {}

impl From<WireError> for DatagramError {
    fn from(e: WireError) -> Self {
        Self::Wire(e)
    }
}

#[cfg(feature = "ikev1")]
impl From<crate::wire::v1::WireError> for DatagramError {
    fn from(e: crate::wire::v1::WireError) -> Self {
        Self::WireV1(e)
    }
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CommandError {
    /// Local: no such peer, child or SA.
    Unknown,
    /// Local: the peer's address, or ours, is not configured; only it can begin.
    NoAddress,
    /// Local: the SA cannot move there: without MOBIKE, or to an address of the other IP version.
    Immovable,
    /// Local: nothing that the peer's entry allows for IKE is implemented.
    NothingToOffer,
    /// Local: IKEv1 has no method of authentication for the peer's entry:
    /// [`Peer::has_v1_method`](crate::config::Peer::has_v1_method).
    #[cfg(feature = "ikev1")]
    NoMethod,
    /// Capacity: a pool is exhausted.
    NoRoom,
}

impl core::fmt::Display for CommandError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no such peer, child or SA",
            Self::NoAddress => "the peer's address or ours is not configured",
            Self::Immovable => "the SA cannot move there",
            Self::NothingToOffer => "nothing that is configured for IKE is implemented",
            #[cfg(feature = "ikev1")]
            Self::NoMethod => "IKEv1 has no such way of authentication for both sides",
            Self::NoRoom => "a pool is exhausted",
        })
    }
}

impl core::error::Error for CommandError {}

/// The buffer given to [`Ike::poll_transmit`](crate::Ike::poll_transmit) is too small; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BufferTooSmall {
    /// Bytes that are needed.
    pub needed: usize,
}

impl core::fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "a buffer of {} bytes is needed", self.needed)
    }
}

impl core::error::Error for BufferTooSmall {}

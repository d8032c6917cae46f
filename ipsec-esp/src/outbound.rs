//! The way out: IP packet, selector, SPD, SA, seal (RFC 4301 section 5.1).

use ipsec_core::crypto::Provider;
use ipsec_core::packet::PacketBuf;
use ipsec_core::sad::{OutboundId, Sad};
use ipsec_core::selector::Flow;
use ipsec_core::spd::{Action, Spd};
use ipsec_core::time::Instant;
use ipsec_core::wire::IpPacket;

use crate::error::SealError;
use crate::seal::{self, Sealed};

/// What becomes of a packet that wants to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outbound {
    /// It was sealed: send the outer packet.
    Sealed(Sealed),
    /// Send it as it is.
    Bypass(IpPacket),
    /// Drop it: policy says so, or says nothing.
    Discard(IpPacket),
    /// It is to be protected, and there is no SA yet. Nothing is queued: drop it, or keep it elsewhere.
    NoSa {
        /// The number in the policy.
        tag: u32,
        /// The packet.
        inner: IpPacket,
    },
}

/// Sends one packet through policy and SA. `choose_sa` names the SA for the number of a policy.
///
/// # Errors
/// See [`SealError`]; then neither the packet nor an SA has changed, but for a failure of the provider.
pub fn outbound<P: Provider>(
    sad: &mut Sad<'_, P>,
    spd: &Spd<'_>,
    now: Instant,
    packet: &mut PacketBuf<'_>,
    choose_sa: impl FnOnce(u32, &Flow) -> Option<OutboundId>,
) -> Result<Outbound, SealError> {
    let parsed = IpPacket::parse(packet.payload());
    let inner = parsed.as_ref().map_err(|e| SealError::Inner(*e))?;
    match spd.outbound(&inner.flow) {
        Action::Bypass => Ok(Outbound::Bypass(*inner)),
        Action::Discard => Ok(Outbound::Discard(*inner)),
        Action::Protect(tag) => match choose_sa(tag, &inner.flow) {
            Some(id) => seal::seal_parsed(sad, now, id, inner, packet).map(Outbound::Sealed),
            None => Ok(Outbound::NoSa { tag, inner: *inner }),
        },
    }
}

//! The way out: IP packet, selector, SPD, SA, seal (RFC 4301 section 5.1).

use ipsec_core::crypto::Provider;
use ipsec_core::packet::PacketBuf;
use ipsec_core::sad::{OutboundId, Sad};
use ipsec_core::selector::Flow;
use ipsec_core::spd::{Action, Direction, Policy, Spd};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Fragment, IpPacket};

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
/// Of a fragment after the first the ports are not known here: where a policy for the same protocol protects some ports, it is
/// dropped (RFC 4301 section 7). A gateway remembers them, in a
/// [`FragmentTable`](ipsec_core::fragments::FragmentTable).
///
/// # Errors
/// See [`SealError`]; then neither the packet nor an SA has changed, but for a failure of the provider.
pub fn outbound<P: Provider>(
    sad: &mut Sad<'_, P>,
    spd: &mut Spd<'_>,
    now: Instant,
    packet: &mut PacketBuf<'_>,
    choose_sa: impl FnOnce(u32, &Flow) -> Option<OutboundId>,
) -> Result<Outbound, SealError> {
    let parsed = IpPacket::parse(packet.payload());
    let inner = parsed.as_ref().map_err(|e| SealError::Inner(*e))?;
    match spd.lookup_packet(Direction::Outbound, inner, &inner.flow) {
        Some((_, Action::Bypass)) => Ok(Outbound::Bypass(*inner)),
        Some((number, Action::Protect(tag))) if is_meant(spd, number, inner) => {
            match choose_sa(tag, &inner.flow) {
                Some(id) => seal::seal_parsed(sad, now, id, inner, packet).map(Outbound::Sealed),
                None => Ok(Outbound::NoSa { tag, inner: *inner }),
            }
        }
        Some((_, Action::Discard | Action::Protect(_))) | None => Ok(Outbound::Discard(*inner)),
    }
}

/// Whether the policy that was found matches the packet, and is not only one that a fragment must not evade.
fn is_meant(spd: &Spd<'_>, number: usize, inner: &IpPacket) -> bool {
    let matches = |policy: &Policy| policy.selectors.match_outbound(&inner.flow);
    inner.fragment != Fragment::Later || spd.policies().get(number).is_some_and(matches)
}

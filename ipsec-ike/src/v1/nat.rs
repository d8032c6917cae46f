//! NAT traversal (RFC 3947, and the drafts 02 and 03 before it): who can, where a NAT is, and the other port.

use core::net::IpAddr;

use ipsec_core::bytes;
use ipsec_core::crypto::Provider;
use ipsec_core::path::{Endpoint, Path};

use super::keymat::{self, Digest};
use super::vendor::Known;
use crate::engine::Ike;
use crate::error::DatagramError;
use crate::ike_sa::IkeSa;
use crate::wire::NoRoom;
use crate::wire::v1::{Collected, MessageWriter, PayloadType};

/// How NAT traversal is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum NatTraversal {
    /// Not at all.
    None = 0,
    /// As in the drafts 02 and 03: other payload types, other numbers of modes.
    Draft,
    /// RFC 3947.
    Rfc,
}

impl NatTraversal {
    /// The newest that the peer knows.
    pub(super) const fn best(known: &Known) -> Self {
        match known {
            Known { nat_rfc: true, .. } => Self::Rfc,
            Known { nat_draft: true, .. } => Self::Draft,
            _ => Self::None,
        }
    }
}

/// What our message says of the two endpoints: the hash of the peer's, then of ours.
pub(super) struct Detection {
    payload: PayloadType,
    hashes: [Digest; 2],
}

/// Writes it, if the peer understands it.
pub(super) fn write_detection(
    w: &mut MessageWriter<'_>,
    detection: Option<&Detection>,
) -> Result<(), NoRoom> {
    let Some(Detection { payload, hashes }) = detection else { return Ok(()) };
    hashes.iter().try_for_each(|hash| w.raw(*payload, hash.bytes()))
}

/// What a side says of the addresses of transport mode: the initiator's, and the responder's, each as it sees them (RFC 3947
/// section 5.2). In the drafts a side says only its own.
#[derive(Clone, Copy)]
pub(super) struct Original {
    payload: PayloadType,
    addresses: [Option<IpAddr>; 2],
}

/// Writes it.
pub(super) fn write_original(w: &mut MessageWriter<'_>, original: Original) -> Result<(), NoRoom> {
    let Original { payload, addresses } = original;
    addresses.into_iter().flatten().try_for_each(|address| w.nat_oa(payload, address))
}

/// The hash of an endpoint (RFC 3947 section 3.2).
fn endpoint_hash<P: Provider>(sa: &IkeSa, endpoint: Endpoint) -> Option<Digest> {
    keymat::nat_d::<P>(sa.protection().hash()?, sa.spi_i, sa.spi_r, endpoint).ok()
}

impl<P: Provider> Ike<'_, P> {
    /// What to say of the endpoints of a handshake; `None` if the peer knows of no NAT traversal.
    pub(super) fn nat_detection(&self, number: u32) -> Result<Option<Detection>, DatagramError> {
        let x = self.contexts.exchange(number).ok_or(DatagramError::Stale)?;
        let sa = &self.sas.get(x.sa as usize).ok_or(DatagramError::Stale)?.sa;
        let payload = match sa.keys.v1().map(|phase1| phase1.nat) {
            Some(NatTraversal::Rfc) => PayloadType::NAT_D,
            Some(NatTraversal::Draft) => PayloadType::NAT_D_DRAFT,
            _ => return Ok(None),
        };
        // Any wrong hash will do: the peer takes it for a NAT.
        let hide = self.peer_of(x.sa).is_some_and(|peer| peer.force_encapsulation);
        let own = if hide { Endpoint::new(x.path.local.address, 0) } else { x.path.local };
        let hash = |endpoint| endpoint_hash::<P>(sa, endpoint).ok_or(DatagramError::Crypto);
        Ok(Some(Detection { payload, hashes: [hash(x.path.remote)?, hash(own)?] }))
    }

    /// What the peer's message says of the endpoints (RFC 3947 section 3.2): first of ours, then of those that it may have.
    pub(super) fn nat_detected(&mut self, number: u32, collected: &Collected<'_>, path: Path) {
        let Some(slot) = self.sas.get(number as usize) else { return };
        let speaks = slot.sa.keys.v1().is_some_and(|phase1| phase1.nat != NatTraversal::None);
        let mut hashes = collected.nat_d();
        let Some(first) = hashes.next().filter(|_| speaks) else { return };
        let fits = |endpoint, hash: &[u8]| {
            endpoint_hash::<P>(&slot.sa, endpoint).is_some_and(|e| e.matches(hash))
        };
        let local_behind = !fits(path.local, first);
        let remote_behind = !hashes.any(|hash| fits(path.remote, hash));
        if let Some(sa) = self.sa(number) {
            sa.nat_local = local_behind;
            sa.nat_remote = remote_behind;
        }
    }

    /// As responder, once the initiator is proven: one that detected a NAT has moved to the other port by now, and one that
    /// did not has not (RFC 3947 section 4). Nobody vouches for what the two say of the endpoints, so they may see different
    /// things: what the initiator sees counts, or only one of them would encapsulate.
    pub(super) fn nat_settled(&mut self, number: u32, began: Path, proven: Path) {
        let port = self.config.ports.nat;
        let Some(sa) = self.sa(number) else { return };
        let speaks = sa.keys.v1().is_some_and(|phase1| phase1.nat != NatTraversal::None);
        if !speaks || began.local.port == port {
            return;
        }
        if proven.local.port != port {
            (sa.nat_local, sa.nat_remote) = (false, false);
        } else if !sa.nat_local {
            sa.nat_remote = true;
        }
    }

    /// What to say of the addresses of transport mode, as initiator or as responder of the exchange.
    pub(super) fn nat_original(&self, sa: u32, initiator: bool) -> Option<Original> {
        let slot = &self.sas.get(sa as usize)?.sa;
        let (own, peers) = (slot.path.local.address, slot.path.remote.address);
        match slot.keys.v1()?.nat {
            NatTraversal::None => None,
            NatTraversal::Draft => {
                let payload = PayloadType::NAT_OA_DRAFT;
                Some(Original { payload, addresses: [Some(own), None] })
            }
            NatTraversal::Rfc => {
                let addresses = if initiator { [own, peers] } else { [peers, own] };
                Some(Original { payload: PayloadType::NAT_OA, addresses: addresses.map(Some) })
            }
        }
    }

    /// As initiator: with a NAT between, everything moves to the other port (RFC 3947 section 4).
    pub(super) fn nat_float(&mut self, number: u32) {
        let Some(sa) = self.contexts.get(number).map(|x| x.sa) else { return };
        let Some(peer) = self.peer_of(sa) else { return };
        let port = self.config.ports.nat;
        let Some(slot) = self.sa(sa) else { return };
        let speaks = slot.keys.v1().is_some_and(|phase1| phase1.nat != NatTraversal::None);
        if !speaks || !(slot.nat_local || slot.nat_remote || peer.force_encapsulation) {
            return;
        }
        if slot.path.local.port != port {
            slot.path = slot.path.with_ports(port, peer.ports.nat);
        }
        let path = slot.path;
        if let Some(x) = self.contexts.get(number) {
            x.path = path;
        }
    }
}

/// An address as it is written.
pub(super) fn address_octets(address: IpAddr, scratch: &mut [u8; 16]) -> &[u8] {
    let len = match address {
        IpAddr::V4(a) => bytes::copy_prefix(scratch, &a.octets()).map_or(0, |()| 4),
        IpAddr::V6(a) => bytes::copy_prefix(scratch, &a.octets()).map_or(0, |()| 16),
    };
    scratch.get(..len).unwrap_or_default()
}

//! Who may ask for what, and how they have to prove it: the peer authorization database (RFC 4301 section 4.4.3).
//!
//! IKE_SA_INIT is answered by address, before anybody has said who they are. Now that the initiator has, the entry of
//! its identity decides, and everything is checked against that entry again.

use ipsec_core::path::Path;

use super::signature;
use crate::config::{Peer, RemoteAuth};
use crate::event::{AuthKind, Failure};
use crate::identity::{ClaimedId, Identity};
use crate::proposal::{self, IkeChoice};
use crate::v2::at_address;
use crate::wire::{AuthMethod, IdPayload};

/// Why somebody has no business here, and the entry it has been compared with.
pub(crate) struct Denied {
    pub(crate) peer: Option<u16>,
    pub(crate) failure: Failure,
}

/// The entry for an initiator that says it is `id`, wants to speak with `wanted`, and proves itself by `method`.
///
/// The first entry with its identity decides (RFC 4301 section 4.4.3.1); later ones count only if they name the same
/// identity. So nobody is taken for somebody else who can prove less, because it offers other algorithms or another
/// method.
pub(crate) fn entry<'r>(
    peers: &'r [Peer<'r>],
    path: Path,
    (id, wanted): (&IdPayload<'_>, Option<&IdPayload<'_>>),
    choice: &IkeChoice,
    method: AuthMethod,
) -> Result<(u16, &'r Peer<'r>), Denied> {
    let fits = |peer: &Peer<'_>| fits(peer, path, (id, wanted));
    let mut decides = None;
    let mut denied =
        Denied { peer: None, failure: Failure::UnknownIdentity { claimed: ClaimedId::of(id) } };
    for (index, peer) in (0u16..).zip(peers).filter(|(_, peer)| fits(peer)) {
        if *decides.get_or_insert(peer.remote_id) != peer.remote_id {
            continue;
        }
        let Err(failure) = allows(peer, choice, method) else { return Ok((index, peer)) };
        if denied.peer.is_none() {
            denied = Denied { peer: Some(index), failure };
        }
    }
    Err(denied)
}

/// Whether an entry is for somebody at this address who says that it is `id`, and wants to speak with `wanted`.
fn fits(
    peer: &Peer<'_>,
    path: Path,
    (id, wanted): (&IdPayload<'_>, Option<&IdPayload<'_>>),
) -> bool {
    at_address(peer, path)
        && peer.remote_id.matches(id)
        && wanted
            .is_none_or(|wanted| peer.local_id == Identity::Any || peer.local_id.matches(wanted))
}

/// Whether an entry allows these algorithms, which were chosen by address, and this method.
fn allows(peer: &Peer<'_>, choice: &IkeChoice, method: AuthMethod) -> Result<(), Failure> {
    if !proposal::allows_ike(peer.proposals, choice) {
        let IkeChoice { suite, prf, group, .. } = *choice;
        return Err(Failure::SuiteNotAllowed { suite, prf, group });
    }
    if !accepts(&peer.auth.remote, method) {
        let wanted = AuthKind::of(&peer.auth.remote);
        return Err(Failure::MethodRefused { used: method, wanted });
    }
    Ok(())
}

/// Whether the entry that a store leads to is for this initiator.
#[cfg(feature = "store")]
pub(crate) fn check(
    peer: &Peer<'_>,
    path: Path,
    ids: (&IdPayload<'_>, Option<&IdPayload<'_>>),
    choice: &IkeChoice,
    method: AuthMethod,
) -> Result<(), Failure> {
    if !fits(peer, path, ids) {
        return Err(Failure::UnknownIdentity { claimed: ClaimedId::of(ids.0) });
    }
    allows(peer, choice, method)
}

/// Whether this is the way in which a peer has to prove itself.
pub(crate) const fn accepts(remote: &RemoteAuth<'_>, method: AuthMethod) -> bool {
    match remote {
        RemoteAuth::Psk(_) => matches!(method, AuthMethod::SHARED_KEY),
        RemoteAuth::Certificate { .. } | RemoteAuth::RawPublicKey { .. } => {
            signature::is_signature(method)
        }
        #[cfg(feature = "store")]
        RemoteAuth::Store => {
            matches!(method, AuthMethod::SHARED_KEY) || signature::is_signature(method)
        }
    }
}

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
use crate::wire::{AuthMethod, IdPayload};

/// The entries of a configuration, found by address.
#[derive(Clone, Copy)]
pub(crate) struct Directory<'r> {
    peers: &'r [Peer<'r>],
    /// So many in front have an address, and are sorted by it.
    sorted: usize,
}

impl<'r> Directory<'r> {
    pub(crate) fn new(peers: &'r [Peer<'r>]) -> Self {
        let mut last = None;
        let follows = |peer: &&Peer<'_>| {
            let before = core::mem::replace(&mut last, peer.remote);
            peer.remote.is_some() && before <= peer.remote
        };
        Self { peers, sorted: peers.iter().take_while(follows).count() }
    }

    /// The entries for these addresses, in order of preference, whatever version of IKE they are for.
    pub(crate) fn at(self, path: Path) -> impl Iterator<Item = (u16, &'r Peer<'r>)> {
        let remote = Some(path.remote.address);
        let (sorted, others) = self.peers.split_at_checked(self.sorted).unwrap_or_default();
        let first = sorted.partition_point(|peer| peer.remote < remote);
        let same = sorted.get(first..).unwrap_or_default().iter();
        let same = (first..).zip(same.take_while(move |peer| peer.remote == remote));
        let others = (self.sorted..).zip(others);
        same.chain(others).filter_map(move |(index, peer)| {
            is_between(peer, path).then_some((u16::try_from(index).ok()?, peer))
        })
    }

    /// The entries for these addresses and IKEv2, in order of preference.
    pub(crate) fn at_v2(self, path: Path) -> impl Iterator<Item = (u16, &'r Peer<'r>)> {
        self.at(path).filter(|(_, peer)| peer.speaks_v2())
    }
}

/// Whether an entry allows these addresses.
fn is_between(peer: &Peer<'_>, path: Path) -> bool {
    peer.local.is_none_or(|a| a == path.local.address)
        && peer.remote.is_none_or(|a| a == path.remote.address)
}

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
    peers: Directory<'r>,
    path: Path,
    (id, wanted): (&IdPayload<'_>, Option<&IdPayload<'_>>),
    choice: &IkeChoice,
    method: AuthMethod,
) -> Result<(u16, &'r Peer<'r>), Denied> {
    let mut decides = None;
    let mut denied =
        Denied { peer: None, failure: Failure::UnknownIdentity { claimed: ClaimedId::of(id) } };
    for (index, peer) in peers.at_v2(path).filter(|(_, peer)| names(peer, id, wanted)) {
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

/// Whether an entry is for somebody who says that it is `id`, and wants to speak with `wanted`.
fn names(peer: &Peer<'_>, id: &IdPayload<'_>, wanted: Option<&IdPayload<'_>>) -> bool {
    peer.remote_id.matches(id)
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
    (id, wanted): (&IdPayload<'_>, Option<&IdPayload<'_>>),
    choice: &IkeChoice,
    method: AuthMethod,
) -> Result<(), Failure> {
    if !(peer.speaks_v2() && is_between(peer, path) && names(peer, id, wanted)) {
        return Err(Failure::UnknownIdentity { claimed: ClaimedId::of(id) });
    }
    allows(peer, choice, method)
}

/// Whether this is the way in which a peer has to prove itself.
pub(crate) const fn accepts(remote: &RemoteAuth<'_>, method: AuthMethod) -> bool {
    match remote {
        RemoteAuth::Psk(_) => matches!(method, AuthMethod::SHARED_KEY),
        #[cfg(feature = "ikev1")]
        RemoteAuth::User => false,
        RemoteAuth::Certificate { .. } | RemoteAuth::RawPublicKey { .. } => {
            signature::is_signature(method)
        }
        #[cfg(feature = "store")]
        RemoteAuth::Store => {
            matches!(method, AuthMethod::SHARED_KEY) || signature::is_signature(method)
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ipsec_core::path::Endpoint;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn address(last: u8) -> IpAddr {
        match last {
            0..128 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)),
            _ => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into())),
        }
    }

    /// RFC 4301 section 4.4.3.1: the entries are ordered, whatever finds them.
    #[test]
    fn sorted_or_not_the_same_entries_are_found_in_the_same_order() {
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
        let peer = |local, remote: Option<u8>| {
            let remote = remote.map(address);
            Peer::psk((local, Identity::Any), (remote, Identity::Any), b"key")
        };
        // Sorted, so but for one in the middle, without addresses in front or behind, empty.
        let orders: [(&[Option<u8>], usize); 7] = [
            (&[Some(1), Some(3), Some(3), Some(7), Some(200), Some(201)], 6),
            (&[Some(1), Some(3), Some(2), Some(3), Some(200)], 2),
            (&[Some(1), Some(3), None, Some(200), None, Some(3)], 2),
            (&[None, Some(1), Some(3), Some(3)], 0),
            (&[Some(200), Some(1), Some(3), None], 1),
            (&[Some(3), Some(3), Some(3), None, Some(3)], 3),
            (&[], 0),
        ];
        for (order, sorted) in orders {
            let local = |index: usize| [None, Some(HERE), Some(elsewhere)][index % 3];
            let peers: [_; 6] = core::array::from_fn(|index| {
                peer(local(index), order.get(index).copied().flatten())
            });
            let peers = &peers[..order.len()];
            let directory = Directory::new(peers);
            assert_eq!(directory.sorted, sorted, "{order:?}");
            for last in 0..=u8::MAX {
                let path = Path::new(Endpoint::new(HERE, 500), Endpoint::new(address(last), 500));
                let one_by_one = (0u16..).zip(peers).filter(|(_, peer)| is_between(peer, path));
                let found = directory.at(path).map(|(index, _)| index);
                assert!(found.eq(one_by_one.map(|(index, _)| index)), "{order:?} {last}");
            }
        }
    }
}

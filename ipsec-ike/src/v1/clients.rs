//! Whose traffic a child of Quick Mode is for, and which of our configuration that is: the identities of the clients, IDci and IDcr
//! (RFC 2409 section 5.5).

use core::hash::{Hash, Hasher};

use ipsec_core::crypto::{Group, Provider};
use ipsec_core::mode::AddressPair;
use ipsec_core::selector::{Selectors, TrafficSelector};

use super::proposal::{self, QuickChoice};
use super::{bundle, nat};
use crate::config::{Child, ModePolicy};
use crate::engine::Ike;
use crate::event::Failure;
use crate::proposal::{Implemented, first_child_group};
use crate::selectors;
use crate::v2::chosen::Ends;
use crate::wire::v1::{
    Collected, Encapsulation, IdPayload, IdType, NatOa, NotifyType, SaPayload, SelectorId,
};

/// Why a child that the peer asks for is refused, and which of our configuration it would have been.
pub(super) type Refused = (NotifyType, Failure, Option<u16>);

/// What a child that the peer asks for meets in our configuration.
pub(super) struct Met<'a> {
    pub(super) child: u16,
    pub(super) selectors: Selectors,
    pub(super) choice: QuickChoice<'a>,
    /// Of transport mode behind a NAT: the addresses that the initiator uses.
    pub(super) original: Option<AddressPair>,
}

struct Fnv(u32);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn finish(&self) -> u64 {
        self.0.into()
    }
}

impl<P: Provider> Ike<'_, P> {
    /// A digest of selectors, by which two children are for the same traffic. An address that one side has given the other is not
    /// in it: with another one, the traffic is the same. FNV-1a will do, since a peer that makes two alike deceives itself.
    pub(super) fn quick_digest(&self, sa: u32, selectors: &Selectors) -> u32 {
        let given = (self.inner_of(sa).is_some(), self.confined_to(sa).is_some());
        let mut hasher = Fnv(0x811c_9dc5);
        for (list, given) in [(&selectors.local, given.0), (&selectors.remote, given.1)] {
            list.iter().filter(|_| !given).for_each(|ts| ts.hash(&mut hasher));
            list.len().hash(&mut hasher);
        }
        hasher.0
    }

    /// What of our configuration the peer asks for.
    pub(super) fn quick_meet<'c>(
        &self,
        sa: u32,
        collected: &Collected<'c>,
    ) -> Result<Met<'c>, Refused> {
        let malformed = || (NotifyType::PAYLOAD_MALFORMED, Failure::Protocol, None);
        let (Some(offer), Some(_)) = (collected.sa, collected.nonce) else {
            return Err(malformed());
        };
        let peer = self.peer_of(sa).ok_or_else(malformed)?;
        let slot = &self.sas.get(sa as usize).ok_or_else(malformed)?.sa;
        let path = slot.path;
        let (mut i, mut r) = ([0; 16], [0; 16]);
        let (theirs, ours) = match (collected.id, collected.second_id) {
            (Some(theirs), Some(ours)) => (theirs, ours),
            // RFC 2409 section 5.5: without identities, the two ends are meant.
            (None, None) => (
                host(nat::address_octets(path.remote.address, &mut i)),
                host(nat::address_octets(path.local.address, &mut r)),
            ),
            _ => return Err(malformed()),
        };
        let (theirs, ours) = (theirs.selector(), ours.selector());
        let no_selectors = || Failure::NoSelectors { theirs, ours };
        let (Some(remote), Some(local)) = (theirs, ours) else {
            return Err((NotifyType::INVALID_ID_INFORMATION, no_selectors(), None));
        };
        let implemented = self.implemented_for(sa);
        let encapsulated = self.encapsulates(sa);
        let mut common = None;
        let (mut pfs, mut own, mut mode) = (None, None, None);
        for (child, config) in (0u16..).zip(peer.children) {
            let wanted = self.quick_allowed(sa, config, &local, &remote);
            let between = self.quick_between_ends(sa, config, &local, &remote);
            if !wanted && between.is_none() {
                continue;
            }
            let modes = (wanted, between.is_some());
            common = common.or(Some(child));
            match quick_choice(&offer, config, &implemented, encapsulated, modes) {
                Ok(choice) => {
                    let public = collected.ke.map_or(0, <[u8]>::len);
                    let needed = if choice.choice.group == Group::NONE {
                        Some(0)
                    } else {
                        choice.choice.group.public_len()
                    };
                    if needed != Some(public) {
                        return Err(malformed());
                    }
                    let ends = between.filter(|_| choice.transport);
                    let behind = ends.is_some() && encapsulated;
                    let original = behind.then(|| original_of(collected, &local, &remote));
                    let (local, remote) = ends.unwrap_or((local, remote));
                    let selectors = one_each(local, remote);
                    return Ok(Met { child, selectors, choice, original: original.flatten() });
                }
                Err(why) => {
                    pfs = pfs.or(why.group);
                    own = own.or(first_child_group(config.proposals, &implemented));
                    mode = mode.or(why.mode);
                }
            }
        }
        if common.is_none() {
            return Err((NotifyType::INVALID_ID_INFORMATION, no_selectors(), None));
        }
        let wanted = common.and_then(|child| peer.children.get(usize::from(child)));
        let bundle = wanted.and_then(|child| bundle::mismatch(&offer, child, encapsulated));
        let failure = match (bundle, pfs, mode) {
            (Some(failure), ..) => failure,
            (None, Some(theirs), _) => {
                Failure::PfsMismatch { theirs, ours: own.unwrap_or(Group::NONE) }
            }
            (None, None, Some(theirs)) if theirs.is_udp() != encapsulated => {
                Failure::NatMismatch { ours: encapsulated }
            }
            (None, None, Some(theirs)) if theirs.is_transport() => Failure::TunnelRequired,
            (None, None, Some(_)) => Failure::TransportRequired,
            (None, None, None) => Failure::NoProposal { offered: proposal::offer_of(&offer) },
        };
        Err((NotifyType::NO_PROPOSAL_CHOSEN, failure, common))
    }

    /// Whether a child of the configuration has all of this traffic: IKEv1 narrows nothing.
    fn quick_allowed(
        &self,
        sa: u32,
        config: &Child<'_>,
        local: &TrafficSelector,
        remote: &TrafficSelector,
    ) -> bool {
        let covers = |all: &[TrafficSelector], one| all.iter().any(|ts| ts.covers(one));
        let leased = self.confined_to(sa);
        let confined = leased.map(|leased| leased.confine(config.remote));
        let remotes = confined.as_ref().map_or(config.remote, |confined| confined);
        // What we use inside is what we were given.
        let inner = self.inner_of(sa).map(|inner| inner.confine(config.local));
        let locals = inner.as_ref().map_or(config.local, |inner| inner);
        covers(locals, local) && covers(remotes, remote)
    }

    /// The traffic between the two ends of the IKE SA, as it arrives here: an address that a NAT replaces is another for the
    /// initiator. `None` if transport mode is not for it.
    fn quick_between_ends(
        &self,
        sa: u32,
        config: &Child<'_>,
        local: &TrafficSelector,
        remote: &TrafficSelector,
    ) -> Option<(TrafficSelector, TrafficSelector)> {
        let ends = self.sas.get(sa as usize)?.sa.ends();
        let confined = self.confined_to(sa).is_some();
        if config.mode == ModePolicy::Tunnel || confined || !ends.allow_transport() {
            return None;
        }
        let (local, remote) = ends_of(&ends, local, remote)?;
        let covers = |all: &[TrafficSelector], end, one: &TrafficSelector| {
            selectors::of_host(all, end).iter().any(|ts| ts.covers(one))
        };
        let allowed = covers(config.local, ends.path.local.address, &local)
            && covers(config.remote, ends.path.remote.address, &remote);
        allowed.then_some((local, remote))
    }
}

/// What of an offer a child of the configuration may be.
pub(super) fn quick_choice<'a>(
    offer: &SaPayload<'a>,
    config: &Child<'_>,
    implemented: &Implemented<'_>,
    encapsulated: bool,
    (tunnel, transport): (bool, bool),
) -> Result<QuickChoice<'a>, proposal::Unmet> {
    let modes = |e: Encapsulation| match config.mode {
        _ if e.is_udp() != encapsulated => false,
        _ if e.is_transport() && !transport || !e.is_transport() && !tunnel => false,
        ModePolicy::Tunnel => !e.is_transport(),
        ModePolicy::RequireTransport => e.is_transport(),
        ModePolicy::PreferTransport => true,
    };
    if config.around.is_empty() {
        proposal::choose_quick(offer, config.proposals, implemented, &modes)
    } else {
        bundle::choose(offer, (config.proposals, config.around), implemented, &modes)
    }
}

/// One identity for each side: IKEv1 has no more.
pub(super) fn ids_of(
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
) -> Option<(SelectorId, SelectorId)> {
    let ([local], [remote]) = (local, remote) else { return None };
    Some((SelectorId::of(local)?, SelectorId::of(remote)?))
}

/// The selectors of two single addresses as they are seen here: one that a NAT replaces is that of the path.
pub(super) fn ends_of(
    ends: &Ends,
    local: &TrafficSelector,
    remote: &TrafficSelector,
) -> Option<(TrafficSelector, TrafficSelector)> {
    let seen = |ts: &TrafficSelector, nat: bool, end| {
        if nat { selectors::readdress(ts, end) } else { Some(*ts) }
    };
    let path = ends.path;
    Some((
        seen(local, ends.nat_local, path.local.address)?,
        seen(remote, ends.nat_remote, path.remote.address)?,
    ))
}

/// The addresses that an initiator uses in transport mode: those of NAT-OA, or those of its identities (RFC 3947
/// section 5.2).
fn original_of(
    collected: &Collected<'_>,
    local: &TrafficSelector,
    remote: &TrafficSelector,
) -> Option<AddressPair> {
    let (initiators, responders) = collected.nat_oa;
    let or = |oa: Option<NatOa>, ts| oa.map(|oa| oa.address).or_else(|| selectors::address_of(ts));
    Some(AddressPair { local: or(responders, local)?, remote: or(initiators, remote)? })
}

pub(super) fn one_each(local: TrafficSelector, remote: TrafficSelector) -> Selectors {
    let mut selectors = Selectors::EMPTY;
    let _ = selectors.local.push(local);
    let _ = selectors.remote.push(remote);
    selectors
}

fn host(octets: &[u8]) -> IdPayload<'_> {
    let kind = if octets.len() == 4 { IdType::IPV4_ADDR } else { IdType::IPV6_ADDR };
    IdPayload::new(kind, octets)
}

//! What a request for a child meets in our configuration (RFC 7296 sections 2.7 and 2.9).

use core::net::IpAddr;

use ipsec_core::bytes;
use ipsec_core::crypto::{Group, Provider};
use ipsec_core::mode::AddressPair;
use ipsec_core::path::Path;
use ipsec_core::sa::Spi;
use ipsec_core::selector::{Selectors, TrafficSelector};

use super::negotiation::Refusal;
use crate::child_sa::said;
use crate::config::{Child, ModePolicy, Peer};
use crate::engine::Ike;
use crate::event::Failure;
use crate::proposal::{self, ChildChoice, Implemented};
use crate::selectors::{self, Narrowed};
use crate::wire::{Collected, NotifyType, ProtocolId, TsPayload};

/// The ends of an IKE SA, as seen from here.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) path: Path,
    /// The peer's address in IKE_SA_INIT.
    pub(crate) proven: IpAddr,
    pub(crate) nat_local: bool,
    pub(crate) nat_remote: bool,
}

impl Ends {
    /// Whether transport mode may be between them. Behind a NAT, the peer's address is where its last message seemed to
    /// come from, which anybody can forge: only the one that answers went to is the peer's.
    pub(crate) fn allow_transport(&self) -> bool {
        !self.nat_remote || self.path.remote.address == self.proven
    }
}

/// What a responder chose for a child that was asked for.
pub(crate) struct Chosen {
    /// Its number in the configuration.
    pub(crate) child: u16,
    pub(crate) selectors: Selectors,
    /// The number of the proposal.
    pub(crate) proposed: u8,
    pub(crate) choice: ChildChoice,
    /// The initiator's.
    pub(crate) spi: Spi,
    pub(crate) transport: bool,
    /// Of transport mode behind a NAT: the addresses that the initiator uses.
    pub(crate) original: Option<AddressPair>,
    pub(crate) no_tfc: bool,
    /// What the answer says besides: see [`said`].
    pub(crate) said: u8,
}

/// Why a child that was asked for cannot be, for the peer and for our own side.
pub(crate) struct Unmet {
    pub(crate) refusal: Refusal,
    pub(crate) failure: Option<Failure>,
    /// The child of the configuration that comes closest.
    pub(crate) child: Option<u16>,
}

/// What of a peer's request for a child is allowed by one configuration.
struct Allowed {
    selectors: Selectors,
    transport: bool,
    more: bool,
}

/// Both sides, if something is left of both.
fn allowed(local: Narrowed, remote: Narrowed, transport: bool) -> Option<Allowed> {
    let (more, local, remote) = (local.more || remote.more, local.list, remote.list);
    let some = !local.is_empty() && !remote.is_empty();
    some.then_some(Allowed { selectors: Selectors { local, remote }, transport, more })
}

impl<P: Provider> Ike<'_, P> {
    /// What of the configuration the request for a child meets. Nothing is changed: the requester need not be
    /// authenticated yet.
    #[expect(clippy::result_large_err, reason = "there is no heap to put it on")]
    pub(crate) fn find_child(
        collected: &Collected<'_>,
        peer: &Peer<'_>,
        ends: &Ends,
        only: Option<u16>,
        with_group: bool,
    ) -> Result<Chosen, Unmet> {
        let unmet = |kind| Unmet { refusal: Refusal::new(kind), failure: None, child: None };
        let (Some(offer), Some(ts_i), Some(ts_r)) = (collected.sa, collected.ts_i, collected.ts_r)
        else {
            return Err(unmet(NotifyType::INVALID_SYNTAX));
        };
        let nat = ends.nat_local || ends.nat_remote;
        let encapsulated = nat || peer.force_encapsulation;
        let implemented = Implemented::of::<P>().through(encapsulated);
        let sent_group = collected.ke.map(|ke| ke.group);
        let sent = |kind| collected.notify(kind).is_some();
        let (mut closest, mut mode_refused, mut pfs) = (None, false, None);
        for (child, config) in (0u16..).zip(peer.children) {
            if only.is_some_and(|only| only != child) {
                continue;
            }
            let wanted = sent(NotifyType::USE_TRANSPORT_MODE);
            let Some(Allowed { selectors, transport, more }) =
                allow(wanted, (&ts_i, &ts_r), config, ends)
            else {
                mode_refused |= !wanted && config.mode == ModePolicy::RequireTransport;
                continue;
            };
            let choose = |with_group| {
                let ours = config.proposals;
                proposal::choose_child(&offer, ours, &implemented, sent_group, with_group)
            };
            let Some((proposed, choice, spi)) = choose(with_group) else {
                if pfs.is_none() && with_group && choose(false).is_some() {
                    let ours = proposal::first_child_group(config.proposals, &implemented);
                    (pfs, closest) = (Some(ours.unwrap_or(Group::NONE)), Some(child));
                }
                closest = closest.or(Some(child));
                continue;
            };
            if choice.group != Group::NONE && sent_group != Some(choice.group) {
                let refusal = Refusal::group(choice.group);
                return Err(Unmet { refusal, failure: None, child: None });
            }
            let spi = bytes::Reader::new(spi).u32().and_then(Spi::new);
            let spi = spi.ok_or(unmet(NotifyType::INVALID_SYNTAX))?;
            let fragments = sent(NotifyType::NON_FIRST_FRAGMENTS_ALSO)
                && selectors::let_fragments_through(&selectors.local, &selectors.remote);
            let said = if more { said::MORE_SELECTORS } else { 0 }
                | if fragments { said::FRAGMENTS } else { 0 };
            let original = if transport && nat { first_pair(&ts_i, &ts_r) } else { None };
            let no_tfc = sent(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED);
            return Ok(Chosen {
                child,
                selectors,
                proposed,
                choice,
                spi,
                transport,
                original,
                no_tfc,
                said,
            });
        }
        let ah_only = offer.proposals().all(|p| p.protocol == ProtocolId::AH);
        let (failure, kind) = if closest.is_some() && ah_only && encapsulated {
            (Failure::AhBehindNat, NotifyType::NO_PROPOSAL_CHOSEN)
        } else if let Some(ours) = pfs {
            let theirs = sent_group.unwrap_or(Group::NONE);
            (Failure::PfsMismatch { theirs, ours }, NotifyType::NO_PROPOSAL_CHOSEN)
        } else if closest.is_some() {
            let offered = proposal::offer_of(&offer);
            (Failure::NoProposal { offered }, NotifyType::NO_PROPOSAL_CHOSEN)
        } else if mode_refused {
            (Failure::TransportRequired, NotifyType::NO_PROPOSAL_CHOSEN)
        } else {
            let (theirs, ours) = (ts_i.known().next(), ts_r.known().next());
            (Failure::NoSelectors { theirs, ours }, NotifyType::TS_UNACCEPTABLE)
        };
        Err(Unmet { refusal: Refusal::new(kind), failure: Some(failure), child: closest })
    }
}

/// What a configuration allows of the traffic that the peer asks for; `None` if that is nothing.
fn allow(
    wants_transport: bool,
    (ts_i, ts_r): (&TsPayload<'_>, &TsPayload<'_>),
    config: &Child<'_>,
    ends: &Ends,
) -> Option<Allowed> {
    if wants_transport && config.mode != ModePolicy::Tunnel && ends.allow_transport() {
        // RFC 7296 section 2.23.1: an address that a NAT replaces is looked at as it arrives here.
        let side = |ts: &TsPayload<'_>, nat, end: IpAddr, policy: &[TrafficSelector]| {
            let policy = selectors::of_host(policy, end);
            if nat {
                selectors::narrow_readdressed(ts, end, &policy)
            } else {
                selectors::narrow_payload(ts, &policy)
            }
        };
        let Path { local, remote } = ends.path;
        let local = side(ts_r, ends.nat_local, local.address, config.local);
        let remote = side(ts_i, ends.nat_remote, remote.address, config.remote);
        if let Some(allowed) = allowed(local, remote, true) {
            return Some(allowed);
        }
    }
    if config.mode == ModePolicy::RequireTransport {
        return None;
    }
    let local = selectors::narrow_payload(ts_r, config.local);
    let remote = selectors::narrow_payload(ts_i, config.remote);
    allowed(local, remote, false)
}

/// The addresses that an initiator uses in transport mode: its own, and ours as it sees it.
fn first_pair(ts_i: &TsPayload<'_>, ts_r: &TsPayload<'_>) -> Option<AddressPair> {
    let first = |ts: &TsPayload<'_>| ts.known().find_map(|ts| selectors::address_of(&ts));
    Some(AddressPair { local: first(ts_r)?, remote: first(ts_i)? })
}

//! What we ask for when we ask for a child: algorithms, mode and selectors (RFC 7296 sections 1.3.1 and 2.9).

use ipsec_core::crypto::Provider;
use ipsec_core::selector::{SelectorList, Selectors};

use crate::config::{ChildProposal, ModePolicy};
use crate::engine::Ike;
use crate::event::Failure;
use crate::from_packet::selectors_for;
use crate::proposal::{self, Implemented};
use crate::selectors;
use crate::wire::{MessageWriter, NoRoom, Notify, NotifyType, PayloadType};

/// What a request for a child says, but for nonce and key exchange.
pub(crate) struct ChildOffer<'r> {
    proposals: &'r [ChildProposal<'r>],
    implemented: Implemented<'static>,
    /// Transport mode is asked for.
    pub(crate) transport: bool,
    /// Our side.
    pub(crate) local: SelectorList,
    /// The peer's side.
    pub(crate) remote: SelectorList,
}

impl ChildOffer<'_> {
    /// The payload with the proposals. We receive on `spi`.
    pub(crate) fn write_sa(
        &self,
        w: &mut MessageWriter<'_>,
        spi: &[u8],
        with_group: bool,
    ) -> Result<(), NoRoom> {
        w.sa(|sa| proposal::offer_child(sa, self.proposals, &self.implemented, spi, with_group))
    }

    /// The payloads with mode and selectors.
    pub(crate) fn write_selectors(&self, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        if self.transport {
            w.notify(&Notify::new(NotifyType::USE_TRANSPORT_MODE, &[]))?;
        }
        if selectors::let_fragments_through(&self.local, &self.remote) {
            w.notify(&Notify::new(NotifyType::NON_FIRST_FRAGMENTS_ALSO, &[]))?;
        }
        w.ts(PayloadType::TSI, &self.local)?;
        w.ts(PayloadType::TSR, &self.remote)
    }
}

impl<'r, P: Provider> Ike<'r, P> {
    /// What can be negotiated for a child of `sa`.
    pub(crate) fn implemented_for(&self, sa: u32) -> Implemented<'static> {
        Implemented::of::<P>().through(self.encapsulates(sa))
    }

    /// Whether the children of an SA travel in UDP.
    pub(crate) fn encapsulates(&self, sa: u32) -> bool {
        let forced = self.peer_of(sa).is_some_and(|p| p.force_encapsulation);
        let nat = self.sas.get(sa as usize).is_some_and(|s| s.sa.nat_local || s.sa.nat_remote);
        nat || forced
    }

    /// What we ask for, to make the larval `child`.
    pub(crate) fn child_offer(&self, child: u32) -> Result<ChildOffer<'r>, Failure> {
        let packet = self.packet_of(child);
        let child = &self.children.get(child as usize).ok_or(Failure::Protocol)?.child;
        let (sa, config, single) = (child.ike, child.config, child.single);
        let ends = self.sas.get(sa as usize).map(|s| s.sa.ends()).ok_or(Failure::Protocol)?;
        let config = self.child_config(config).ok_or(Failure::Protocol)?;
        let implemented = self.implemented_for(sa);
        if !proposal::can_offer_any(config.proposals, &implemented) {
            let nat = proposal::can_offer_any(config.proposals, &Implemented::of::<P>());
            return Err(if nat { Failure::AhBehindNat } else { Failure::NothingToOffer });
        }
        let mut transport = config.mode != ModePolicy::Tunnel;
        let Selectors { mut local, mut remote } = selectors_for(config, packet, single);
        if let Some(leased) = self.confined_to(sa) {
            remote = leased.confine(&remote);
            if remote.is_empty() {
                return Err(Failure::NoAddress);
            }
        }
        #[cfg(feature = "ikev1")]
        if let Some(inner) = self.inner_of(sa) {
            local = inner.confine(&local);
            if local.is_empty() {
                return Err(Failure::NotConfigured);
            }
        }
        if transport {
            // RFC 7296 section 2.23.1: the ends of the IKE SA, and nothing else.
            let own = selectors::of_host(&local, ends.path.local.address);
            let peers = selectors::of_host(&remote, ends.path.remote.address);
            transport = ends.allow_transport() && !own.is_empty() && !peers.is_empty();
            if transport {
                (local, remote) = (own, peers);
            } else if config.mode == ModePolicy::RequireTransport {
                return Err(Failure::NotOurEnds);
            }
        }
        Ok(ChildOffer { proposals: config.proposals, implemented, transport, local, remote })
    }
}

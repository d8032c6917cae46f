//! Children whose selectors come from the packets that ask for them (RFC 4301 section 4.4.1.2).

use ipsec_core::crypto::Provider;
use ipsec_core::selector::{Flow, SelectorList, Selectors, TrafficSelector};

use crate::config::Child;
use crate::engine::{Env, Ike};
use crate::error::CommandError;
use crate::event::ChildRef;

impl<'r, P: Provider> Ike<'r, P> {
    /// Lends memory for packets that ask for children: as many as [`Ike::packets_for`] says. Without it,
    /// [`Ike::initiate_for`] refuses, and [`Child::from_packet`] is not heeded.
    pub fn remember_packets(&mut self, packets: &'r mut [Flow]) {
        packets.fill(Flow::UNSPECIFIED);
        self.packets = packets;
    }

    /// How many packets an engine of this size remembers.
    pub const fn packets_for(children: usize, handshakes: usize) -> usize {
        children.saturating_add(handshakes)
    }

    /// Brings up a child for a packet that leaves: the same as [`Ike::initiate`], where [`Child::from_packet`] says what of
    /// its selectors is taken from the packet. Does nothing if there is one for the same selectors, or it is under way.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn initiate_for(
        &mut self,
        env: &mut Env<'_>,
        config: ChildRef,
        packet: &Flow,
    ) -> Result<(), CommandError> {
        if !cfg!(feature = "from_packet") {
            return self.initiate(env, config);
        }
        let takes = self.child_config(config).is_some_and(|c| !c.takes_from_packet().is_none());
        let needed = Self::packets_for(self.children.len(), self.contexts.handshakes.len());
        let room = self.packets.len() >= needed;
        if takes && !room {
            return Err(CommandError::NoRoom);
        }
        // A peer that makes children for a single pair of addresses is asked for those of the packet.
        self.begin(env, config, Some(packet).filter(|_| room))
    }

    /// The packet that asked for a child.
    pub(crate) fn packet_of(&self, child: u32) -> Option<Flow> {
        self.packets.get(child as usize).copied().filter(|packet| *packet != Flow::UNSPECIFIED)
    }

    pub(crate) fn set_packet(&mut self, child: u32, packet: Option<Flow>) {
        if let Some(slot) = self.packets.get_mut(child as usize) {
            *slot = packet.unwrap_or(Flow::UNSPECIFIED);
        }
    }

    /// The place of the packet for which a handshake was begun, behind those of children.
    pub(crate) fn place_of_handshake(&self, number: u32) -> u32 {
        number.saturating_add(u32::try_from(self.children.len()).unwrap_or(u32::MAX))
    }

    /// The packet that would have asked for these selectors: for a child that the peer has asked for.
    pub(crate) fn packet_like(&self, config: &Child<'_>, selectors: &Selectors) -> Option<Flow> {
        if config.takes_from_packet().is_none() {
            return None;
        }
        let (local, remote) = (selectors.local.first()?, selectors.remote.first()?);
        let port = |ts: &TrafficSelector| Some(ts.ports.start).filter(|_| !ts.ports.is_opaque());
        let packet = Flow {
            source: local.addresses.start(),
            destination: remote.addresses.start(),
            protocol: local.protocol,
            source_port: port(local),
            destination_port: port(remote),
        };
        // It says the same again only if the peer takes as much from packets as we do.
        let same = selectors_for(config, Some(packet), false) == *selectors;
        same.then_some(packet)
    }

    /// Whether two packets ask for the same child.
    pub(crate) fn ask_alike(&self, config: ChildRef, a: Option<Flow>, b: Option<Flow>) -> bool {
        match (a, b, self.child_config(config)) {
            (_, _, Some(config)) if config.takes_from_packet().is_none() => true,
            (Some(_), Some(_), Some(config)) => {
                selectors_for(config, a, false) == selectors_for(config, b, false)
            }
            _ => a.is_none() && b.is_none(),
        }
    }
}

/// What is asked for, for this packet; `single`: between its two addresses only.
pub(crate) fn selectors_for(config: &Child<'_>, packet: Option<Flow>, single: bool) -> Selectors {
    let whole = Selectors { local: list(config.local), remote: list(config.remote) };
    let mut takes = config.takes_from_packet();
    match packet {
        Some(packet) if cfg!(feature = "from_packet") => {
            takes.local_address |= single;
            takes.remote_address |= single;
            takes.narrow(&whole, &packet)
        }
        _ => whole,
    }
}

fn list(selectors: &[TrafficSelector]) -> SelectorList {
    let mut list = SelectorList::new();
    // A longer list is no configuration: the gateway refuses it.
    let _ = selectors.iter().try_for_each(|ts| list.push(*ts));
    list
}

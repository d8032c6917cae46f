//! One SA around another one, both on one packet (RFC 2401 section 4.3): with manual keys, and the bundles of IKEv1.

use core::net::IpAddr;

use ipsec_core::crypto::Provider;
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::Path;
use ipsec_core::sa::Protocol;
use ipsec_core::sad::OutboundId;
use ipsec_core::selector::{AddressRange, PortRange, SelectorList, Selectors, TrafficSelector};
use ipsec_core::time::Instant;
use ipsec_core::wire::IpPacket;
use ipsec_esp::{Audit, Opened, Overhead};
use rand_core::CryptoRng;

use crate::gateway::Gateway;
use crate::outbound::{Outbound, OutboundError};

/// [`Gateway::protect_twice`], where only programs with manual keys link it.
#[cfg(not(feature = "ikev1"))]
pub(crate) type SealTwice<P> = for<'b> fn(
    &mut Gateway<'_, P>,
    Instant,
    &mut dyn CryptoRng,
    [OutboundId; 2],
    &IpPacket,
    PacketBuf<'b>,
) -> Result<Outbound<'b>, OutboundError>;

impl<P: Provider> Gateway<'_, P> {
    /// Seals a packet twice. Nothing changes if there is no room for both.
    pub(crate) fn protect_twice<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        [first, around]: [OutboundId; 2],
        inner: &IpPacket,
        mut packet: PacketBuf<'b>,
    ) -> Result<Outbound<'b>, OutboundError> {
        if let (Some(sa), Some(outer)) = (self.sad.outbound(first), self.sad.outbound(around)) {
            // The network sees the outer of the two.
            let path_mtu = self.path_mtu_of(now, outer.protection.tag);
            let [sa, outer] = [Overhead::of(&sa.protection), Overhead::of(&outer.protection)];
            let len = outer.sealed_len(sa.sealed_len(inner.len));
            if inner.dont_fragment && len > path_mtu {
                let mtu = sa.effective_mtu(outer.effective_mtu(path_mtu));
                return Err(OutboundError::TooBig { mtu });
            }
            let head = sa.headroom().saturating_add(outer.headroom());
            let tail = sa.tailroom().saturating_add(outer.tailroom());
            packet.require(head, tail).map_err(OutboundError::NoRoom)?;
        }
        let sealed = ipsec_esp::seal(&mut self.sad, now, first, &mut packet)
            .and_then(|_| ipsec_esp::seal(&mut self.sad, now, around, &mut packet));
        self.pump(now, rng);
        self.sent(inner, packet, sealed)
    }
}

/// What goes through an SA around one of this protocol and path.
pub(crate) fn selectors_around(path: &Path, protocol: Protocol) -> Selectors {
    let side = |address: IpAddr| {
        let mut list = SelectorList::new();
        let addresses = AddressRange::host(address);
        let protocol = protocol.number();
        let ts = TrafficSelector { addresses, protocol, ports: PortRange::ANY };
        // Without it, nothing would go through.
        let _ = list.push(ts);
        list
    };
    Selectors { local: side(path.local.address), remote: side(path.remote.address) }
}

/// What an audit log should have of a packet.
pub(crate) const fn audit(opened: &Opened) -> Audit {
    Audit { spi: opened.spi.get(), sequence: opened.sequence }
}

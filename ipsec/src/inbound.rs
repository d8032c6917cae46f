//! What arrives from the unprotected side: ESP, IKE, and traffic in clear.

use core::ops::Range;

use ipsec_core::crypto::Provider;
use ipsec_core::path::Path;
use ipsec_core::sa::Encapsulation;
use ipsec_core::spd::ClearError;
use ipsec_core::time::Instant;
use ipsec_core::wire::{Fragment, IpError, IpPacket};
use ipsec_esp::{Arrival, Audit, Before, OpenError, Opened};
use ipsec_ike::event::{ChildId, ChildRef};
use ipsec_ike::{DatagramError, Env};
use rand_core::CryptoRng;

use crate::gateway::Gateway;
use crate::manual::ManualId;

/// What arrived.
#[derive(Debug)]
#[must_use]
pub enum Inbound<'b> {
    /// A packet for the protected side.
    Packet(Received<'b>),
    /// IKE has taken it: go on with steps 5 and 6 of the [driving loop](crate#the-driving-loop).
    Ike,
    /// A keepalive (RFC 3948 section 2.3): nothing to do.
    Keepalive,
    /// A packet in clear that policy lets pass, only from [`Gateway::inbound_ip`]. It is what was given, unchanged.
    Clear(IpPacket),
}

/// An opened packet.
#[derive(Debug)]
pub struct Received<'b> {
    /// The inner IP packet. A router counts down its hop limit when it forwards it.
    pub packet: &'b mut [u8],
    /// Where it lies in the slice that was given: for a caller whose hardware wants an offset.
    pub range: Range<usize>,
    /// Through what it came.
    pub via: Via,
    /// What is known of it.
    pub opened: Opened,
}

/// Through what a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Via {
    /// A tunnel that IKE keeps.
    Child {
        /// Its configuration.
        config: ChildRef,
        /// Which child SA.
        child: ChildId,
    },
    /// SAs with manual keys.
    Manual(ManualId),
}

/// Why something that arrived was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InboundError {
    /// ESP. [`OpenError::audit`] has what an audit log needs besides time and addresses.
    Open(OpenError),
    /// IKE.
    Ike(DatagramError),
    /// In clear, and not let pass (RFC 4301 section 5.2).
    Clear(ClearError),
    /// Peer: in clear, and not an IP packet.
    Packet(IpError),
    /// Peer: it is protected by one SA, authentic or not looked at, where another one around it is due; or in that other
    /// one is something else.
    NotNested(Audit),
}

impl core::fmt::Display for InboundError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Open(e) => e.fmt(f),
            Self::Ike(e) => write!(f, "IKE: {e}"),
            Self::Clear(e) => e.fmt(f),
            Self::Packet(e) => e.fmt(f),
            Self::NotNested(audit) => write!(f, "{audit}: not both protections that policy wants"),
        }
    }
}

impl core::error::Error for InboundError {}

impl<P: Provider> Gateway<'_, P> {
    /// Takes a whole IP packet that is addressed to this host, reassembled, and whose checksums the IP layer has
    /// verified: for an IP stack of one's own. UDP is looked at on the [ports](ipsec_ike::config::Config::ports) of IKE.
    ///
    /// # Errors
    /// See [`InboundError`].
    pub fn inbound_ip<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        packet: &'b mut [u8],
    ) -> Result<Inbound<'b>, InboundError> {
        let base = packet.as_ptr().addr();
        let ports = self.ike.config().ports;
        let found = ipsec_esp::inbound_ip_on(&mut self.sad, now, (ports.ike, ports.nat), packet);
        self.received(now, rng, base, found)
    }

    /// Takes the payload of a UDP datagram on the port of IKE, or on the one that IKE and ESP share: for the sockets of
    /// a kernel.
    ///
    /// `path` is ours and the peer's endpoint; its local port tells which of the two it was, as configured in
    /// [`Config::ports`](ipsec_ike::config::Config::ports). `traffic_class` is that of the outer header; 0, if it is
    /// not known, loses marks of congestion.
    ///
    /// # Errors
    /// See [`InboundError`].
    pub fn inbound_udp<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        path: Path,
        traffic_class: u8,
        payload: &'b mut [u8],
    ) -> Result<Inbound<'b>, InboundError> {
        self.inbound_udp_with_room(now, rng, path, traffic_class, 0, payload)
    }

    /// The same where the first `room` bytes of `packet` precede the payload and may be overwritten. Transport mode
    /// between IPv6 addresses needs 40, for the header that it makes.
    ///
    /// # Errors
    /// See [`InboundError`].
    #[allow(clippy::too_many_arguments, reason = "those of `inbound_udp`, and the room")]
    pub fn inbound_udp_with_room<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        path: Path,
        traffic_class: u8,
        room: usize,
        packet: &'b mut [u8],
    ) -> Result<Inbound<'b>, InboundError> {
        let base = packet.as_ptr().addr();
        let found = if path.local.port == self.ike.config().ports.ike {
            let message = packet.get_mut(room..).unwrap_or_default();
            Ok(ipsec_esp::Inbound::Ike { path, message })
        } else {
            let sad = &mut self.sad;
            ipsec_esp::inbound_udp_with_room(sad, now, path, traffic_class, room, packet)
        };
        self.received(now, rng, base, found)
    }

    /// Takes the payload of an IP packet of protocol 50: for a raw socket of a kernel. The ports of `path` are 0;
    /// `traffic_class` as for [`Gateway::inbound_udp`].
    ///
    /// # Errors
    /// See [`InboundError`].
    pub fn inbound_esp<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        path: Path,
        traffic_class: u8,
        esp: &'b mut [u8],
    ) -> Result<Inbound<'b>, InboundError> {
        self.inbound_esp_with_room(now, rng, path, traffic_class, 0, esp)
    }

    /// The same where the first `room` bytes of `packet` precede the payload and may be overwritten: see
    /// [`Gateway::inbound_udp_with_room`].
    ///
    /// # Errors
    /// See [`InboundError`].
    #[allow(clippy::too_many_arguments, reason = "those of `inbound_esp`, and the room")]
    pub fn inbound_esp_with_room<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        path: Path,
        traffic_class: u8,
        room: usize,
        packet: &'b mut [u8],
    ) -> Result<Inbound<'b>, InboundError> {
        let base = packet.as_ptr().addr();
        let arrival = Arrival {
            path,
            encapsulation: Encapsulation::Ip,
            traffic_class,
            before: Before::Room(room),
        };
        let opened = ipsec_esp::open(&mut self.sad, now, &arrival, packet);
        let found = opened.map(|opened| {
            let packet = packet.get_mut(opened.range.clone()).unwrap_or_default();
            ipsec_esp::Inbound::Packet { opened, packet }
        });
        self.received(now, rng, base, found)
    }

    /// Whether a packet that arrived in clear may go to the protected side (RFC 4301 section 5.2).
    ///
    /// A daemon behind a kernel asks this of everything that did not come out of a tunnel. Fragments after the first
    /// are for policies of any port, or those of their datagram's first one
    /// ([`Gateway::track_fragments`]); where it is not known, and one of the ports is to be protected, they do not pass.
    /// A first fragment that does not pass is not remembered, so that strangers cannot fill the memory: those after it
    /// are judged without ports, and complete no datagram.
    ///
    /// # Errors
    /// [`InboundError::Packet`], or [`InboundError::Clear`] for what policy does not let bypass.
    pub fn inbound_clear(&mut self, now: Instant, packet: &[u8]) -> Result<IpPacket, InboundError> {
        let checked = IpPacket::parse(packet)
            .map_err(InboundError::Packet)
            .and_then(|ip| self.clear(now, ip));
        self.count(checked)
    }

    fn clear(&mut self, now: Instant, packet: IpPacket) -> Result<IpPacket, InboundError> {
        // A first fragment is judged by its own ports, and remembered only if it passes: otherwise strangers could push
        // those out that have passed.
        let first = packet.fragment == Fragment::First;
        let flow = if first { packet.flow } else { self.fragments.complete(now, &packet) };
        self.spd.inbound_clear_packet(&packet, &flow).map_err(InboundError::Clear)?;
        if first {
            self.fragments.complete(now, &packet);
        }
        self.counters.bypassed = self.counters.bypassed.saturating_add(1);
        Ok(packet)
    }

    fn count<T>(&mut self, result: Result<T, InboundError>) -> Result<T, InboundError> {
        result.inspect_err(|e| self.counters.drop(e.into()))
    }

    /// `base` is the address of the slice that was given.
    fn received<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        base: usize,
        found: Result<ipsec_esp::Inbound<'b>, OpenError>,
    ) -> Result<Inbound<'b>, InboundError> {
        let result = match found {
            Ok(ipsec_esp::Inbound::Packet { opened, packet }) => {
                self.packet(now, base, opened, packet).map(Inbound::Packet)
            }
            Ok(ipsec_esp::Inbound::Ike { path, message }) => {
                let mut env = Env { now, rng: &mut *rng, spis: &mut self.sad };
                let handled = self.ike.handle_datagram(&mut env, path, message);
                if handled.is_ok() {
                    self.counters.ike_in = self.counters.ike_in.saturating_add(1);
                }
                handled.map(|()| Inbound::Ike).map_err(InboundError::Ike)
            }
            Ok(ipsec_esp::Inbound::Keepalive) => {
                self.counters.keepalives = self.counters.keepalives.saturating_add(1);
                Ok(Inbound::Keepalive)
            }
            Ok(ipsec_esp::Inbound::Clear(packet)) => self.clear(now, packet).map(Inbound::Clear),
            #[cfg(feature = "ikev1")]
            Err(e) => Err(self.not_found(now, rng, e)),
            #[cfg(not(feature = "ikev1"))]
            Err(e) => Err(InboundError::Open(e)),
        };
        self.pump(now, rng);
        self.count(result)
    }

    fn packet<'b>(
        &mut self,
        now: Instant,
        base: usize,
        opened: Opened,
        packet: &'b mut [u8],
    ) -> Result<Received<'b>, InboundError> {
        let gone = Audit { spi: opened.spi.get(), sequence: opened.sequence };
        let gone = InboundError::Open(OpenError::NoSa(gone));
        let pair = self.tunnels.pair(opened.tag).ok_or(gone)?;
        let Some(child) = pair.child() else {
            let manually = self.manually.ok_or(gone)?;
            return (manually.open)(self, now, base, opened, packet);
        };
        let config = self.tunnels.tunnel(pair.tunnel).ok_or(gone)?.config;
        #[cfg(feature = "ikev1")]
        if pair.inbound_around.is_some() {
            return self.open_bundle(now, base, opened, packet);
        }
        self.ike.heard(now, child);
        Ok(self.received_via(base, opened, packet, Via::Child { config, child }))
    }

    /// Counts what came out.
    pub(crate) fn received_via<'b>(
        &mut self,
        base: usize,
        opened: Opened,
        packet: &'b mut [u8],
        via: Via,
    ) -> Received<'b> {
        let counters = &mut self.counters;
        counters.opened = counters.opened.saturating_add(1);
        counters.opened_bytes = counters.opened_bytes.saturating_add(packet.len() as u64);
        let start = packet.as_ptr().addr().saturating_sub(base);
        let range = start..start.saturating_add(packet.len());
        Received { packet, range, via, opened }
    }
}

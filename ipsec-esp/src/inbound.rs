//! The way in: packet, SPI, SAD, open (RFC 4301 section 5.2).

use core::ops::Range;

use ipsec_core::crypto::Provider;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::Encapsulation;
use ipsec_core::sad::{DropCause, Sad};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Fragment, IpError, IpPacket, UdpHeader, protocol};

use crate::ah;
use crate::error::OpenError;
use crate::open::{self, Arrival, Before, Opened};
use crate::wire::UdpPayload;
use crate::wire::udp_encap::{self, IKE_PORT, NAT_T_PORT, NON_ESP_MARKER};

/// What arrived.
#[derive(Debug)]
#[must_use]
pub enum Inbound<'b> {
    /// A packet for the protected side.
    Packet {
        /// What is known of it.
        opened: Opened,
        /// The IP packet.
        packet: &'b mut [u8],
    },
    /// A message for IKE.
    Ike {
        /// From where it came, and where to: the answer goes back from there.
        path: Path,
        /// The message, without the marker of port 4500.
        message: &'b mut [u8],
    },
    /// A keepalive (RFC 3948 section 2.3): ignore it.
    Keepalive,
    /// Neither IPsec nor IKE. [`Spd::inbound_clear_packet`](ipsec_core::spd::Spd::inbound_clear_packet) tells whether it may
    /// pass.
    Clear(IpPacket),
}

/// Takes a whole IP packet that is addressed to this host, reassembled, and whose checksums the IP layer has verified.
///
/// A UDP checksum is not asked for: what matters is covered by the ICV (RFC 3948 section 2.1).
///
/// # Errors
/// See [`OpenError`].
pub fn inbound_ip<'b, P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    packet: &'b mut [u8],
) -> Result<Inbound<'b>, OpenError> {
    inbound_ip_on(sad, now, (IKE_PORT, NAT_T_PORT), packet)
}

/// The same where IKE, and IKE with ESP, have these UDP ports instead of 500 and 4500.
///
/// # Errors
/// See [`OpenError`].
pub fn inbound_ip_on<'b, P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    (ike, nat_t): (u16, u16),
    packet: &'b mut [u8],
) -> Result<Inbound<'b>, OpenError> {
    let parsed = IpPacket::parse(packet);
    let outer = parsed.as_ref().map_err(|e| OpenError::Outer(*e))?;
    let flow = &outer.flow;
    match (flow.protocol, flow.destination_port, outer.fragment) {
        (protocol::ESP | protocol::AH, _, Fragment::First | Fragment::Later) => {
            sad.count_drop(None, DropCause::Fragment);
            Err(OpenError::Fragment)
        }
        (protocol::AH, ..) => {
            let packet = packet.get_mut(..outer.len).ok_or(OpenError::TooShort)?;
            let opened = ah::open(sad, now, packet)?;
            let packet = packet.get_mut(opened.range.clone()).unwrap_or_default();
            Ok(Inbound::Packet { opened, packet })
        }
        (protocol::ESP, ..) => {
            let path = Path::new(Endpoint::new(flow.destination, 0), Endpoint::new(flow.source, 0));
            let arrival = Arrival {
                path,
                encapsulation: Encapsulation::Ip,
                traffic_class: outer.traffic_class,
                before: Before::Headers(outer.upper),
            };
            inbound_esp(sad, now, &arrival, packet.get_mut(..outer.len).unwrap_or_default())
        }
        (protocol::UDP, Some(port), Fragment::First) if port == ike || port == nat_t => {
            Err(OpenError::Fragment)
        }
        (protocol::UDP, Some(port), _) if port == ike || port == nat_t => {
            let range = udp_payload(packet, outer).ok_or(OpenError::Outer(IpError::Length))?;
            let path = Path::new(
                Endpoint::new(flow.destination, port),
                Endpoint::new(flow.source, flow.source_port.unwrap_or_default()),
            );
            let class = outer.traffic_class;
            if port == ike {
                let message = packet.get_mut(range).unwrap_or_default();
                Ok(Inbound::Ike { path, message })
            } else {
                let packet = packet.get_mut(..range.end).unwrap_or_default();
                datagram(sad, now, path, class, packet, Before::Headers(range.start))
            }
        }
        _ => Ok(Inbound::Clear(*outer)),
    }
}

/// Takes the payload of a datagram on port 4500. `path` is from the peer to us, with its ports; `traffic_class` that of
/// the outer header, 0 if it is not known. For transport and BEET mode between IPv6 addresses there must be room before
/// the payload: [`inbound_udp_with_room`].
///
/// # Errors
/// See [`OpenError`].
pub fn inbound_udp<'b, P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    path: Path,
    traffic_class: u8,
    payload: &'b mut [u8],
) -> Result<Inbound<'b>, OpenError> {
    inbound_udp_with_room(sad, now, path, traffic_class, 0, payload)
}

/// The same where the first `room` bytes of `packet`, 40 are enough, precede the payload and may be overwritten: with the
/// IP header that transport and BEET mode make. A keepalive or a message of IKE leaves them alone.
///
/// # Errors
/// See [`OpenError`].
pub fn inbound_udp_with_room<'b, P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    path: Path,
    traffic_class: u8,
    room: usize,
    packet: &'b mut [u8],
) -> Result<Inbound<'b>, OpenError> {
    datagram(sad, now, path, traffic_class, packet, Before::Room(room))
}

/// Takes a datagram that has something before its payload.
fn datagram<'b, P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    path: Path,
    traffic_class: u8,
    packet: &'b mut [u8],
    before: Before,
) -> Result<Inbound<'b>, OpenError> {
    match udp_encap::classify(packet.get(before.len()..).unwrap_or_default()) {
        UdpPayload::Esp => {
            let encapsulation = Encapsulation::Udp;
            let arrival = Arrival { path, encapsulation, traffic_class, before };
            inbound_esp(sad, now, &arrival, packet)
        }
        UdpPayload::Ike => {
            let start = before.len().saturating_add(NON_ESP_MARKER.len());
            let message = packet.get_mut(start..).unwrap_or_default();
            Ok(Inbound::Ike { path, message })
        }
        UdpPayload::Keepalive => Ok(Inbound::Keepalive),
        UdpPayload::TooShort => Err(OpenError::TooShort),
    }
}

fn inbound_esp<'b, P: Provider>(
    sad: &mut Sad<'_, P>,
    now: Instant,
    arrival: &Arrival,
    packet: &'b mut [u8],
) -> Result<Inbound<'b>, OpenError> {
    let opened = open::open(sad, now, arrival, packet)?;
    let packet = packet.get_mut(opened.range.clone()).unwrap_or_default();
    Ok(Inbound::Packet { opened, packet })
}

/// Where in `packet` the payload of its UDP datagram lies.
fn udp_payload(packet: &[u8], outer: &IpPacket) -> Option<Range<usize>> {
    let (_, payload) = UdpHeader::parse(packet.get(outer.upper..outer.len)?)?;
    let start = outer.upper.checked_add(UdpHeader::LEN)?;
    Some(start..start.checked_add(payload.len())?)
}

//! The way in: packet, SPI, SAD, open (RFC 4301 section 5.2).

use core::ops::Range;

use ipsec_core::crypto::Provider;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::Encapsulation;
use ipsec_core::sad::Sad;
use ipsec_core::time::Instant;
use ipsec_core::wire::{Fragment, IpError, IpPacket, UdpHeader, protocol};

use crate::error::OpenError;
use crate::open::{self, Arrival, Opened};
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
    /// Neither ESP nor IKE. [`Spd::inbound_clear`](ipsec_core::spd::Spd::inbound_clear) tells whether it may pass.
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
    let outer = IpPacket::parse(packet).map_err(OpenError::Outer)?;
    let flow = &outer.flow;
    match (flow.protocol, flow.destination_port, outer.fragment) {
        (protocol::ESP, _, Fragment::First | Fragment::Later) => Err(OpenError::Fragment),
        (protocol::ESP, ..) => {
            let path = Path::new(Endpoint::new(flow.destination, 0), Endpoint::new(flow.source, 0));
            let arrival = Arrival {
                path,
                encapsulation: Encapsulation::Ip,
                traffic_class: outer.traffic_class,
            };
            inbound_esp(sad, now, &arrival, packet.get_mut(outer.upper..outer.len))
        }
        (protocol::UDP, Some(IKE_PORT | NAT_T_PORT), Fragment::First) => Err(OpenError::Fragment),
        (protocol::UDP, Some(port @ (IKE_PORT | NAT_T_PORT)), _) => {
            let range = udp_payload(packet, &outer).ok_or(OpenError::Outer(IpError::Length))?;
            let path = Path::new(
                Endpoint::new(flow.destination, port),
                Endpoint::new(flow.source, flow.source_port.unwrap_or_default()),
            );
            let class = outer.traffic_class;
            let payload = packet.get_mut(range).unwrap_or_default();
            if port == IKE_PORT {
                Ok(Inbound::Ike { path, message: payload })
            } else {
                inbound_udp(sad, now, path, class, payload)
            }
        }
        _ => Ok(Inbound::Clear(outer)),
    }
}

/// Takes the payload of a datagram on port 4500. `path` is from the peer to us, with its ports; `traffic_class` that of
/// the outer header, 0 if it is not known.
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
    match udp_encap::classify(payload) {
        UdpPayload::Esp => {
            let arrival = Arrival { path, encapsulation: Encapsulation::Udp, traffic_class };
            inbound_esp(sad, now, &arrival, Some(payload))
        }
        UdpPayload::Ike => {
            let message = payload.get_mut(NON_ESP_MARKER.len()..).unwrap_or_default();
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
    esp: Option<&'b mut [u8]>,
) -> Result<Inbound<'b>, OpenError> {
    let esp = esp.ok_or(OpenError::TooShort)?;
    let opened = open::open(sad, now, arrival, esp)?;
    let packet = esp.get_mut(opened.range.clone()).unwrap_or_default();
    Ok(Inbound::Packet { opened, packet })
}

/// Where in `packet` the payload of its UDP datagram lies.
fn udp_payload(packet: &[u8], outer: &IpPacket) -> Option<Range<usize>> {
    let (_, payload) = UdpHeader::parse(packet.get(outer.upper..outer.len)?)?;
    let start = outer.upper.checked_add(UdpHeader::LEN)?;
    Some(start..start.checked_add(payload.len())?)
}

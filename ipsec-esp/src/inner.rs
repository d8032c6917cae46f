//! From what ESP or AH protected to the IP packet for the protected side, and whether it may pass
//! (RFC 4301 section 5.2).

use core::ops::Range;

use ipsec_core::crypto::Provider;
use ipsec_core::mode::{AddressPair, Mode, Tunnel};
use ipsec_core::sa::{Encapsulation, InboundSa};
use ipsec_core::wire::{IpError, IpPacket, Ipv4Header, Ipv6Header, UdpHeader, icmp, protocol};
use zerocopy::FromBytes;

use crate::beet;
use crate::error::{Audit, OpenError};
use crate::open::{Arrival, Before};
use crate::transport;
use crate::tunnel::{self, OuterFields};

/// What was protected.
pub(crate) struct Payload {
    /// Where in the packet it lies.
    pub(crate) range: Range<usize>,
    /// What it is.
    pub(crate) next_header: u8,
    /// Up to where bytes behind it are free.
    pub(crate) limit: usize,
}

/// An IP packet for the protected side.
pub(crate) struct Inner {
    pub(crate) packet: IpPacket,
    /// Where it lies.
    pub(crate) range: Range<usize>,
    pub(crate) ecn_alarm: bool,
}

/// Bytes that a header before the payload will need, at most `spare` of them gained by moving the payload; whether
/// they are there. `text_at` is where the payload will begin.
pub(crate) fn has_room(mode: &Mode, arrival: &Arrival, text_at: usize, spare: usize) -> bool {
    let needed = match (mode, arrival.before) {
        (Mode::Tunnel(_), _) | (Mode::Transport { .. }, Before::Headers(_)) => 0,
        (Mode::Transport { .. }, Before::Room(_)) => {
            header_len(arrival.path.remote.address.is_ipv4())
        }
        (Mode::Beet(inner), _) => header_len(inner.remote.is_ipv4()),
    };
    needed <= text_at.saturating_add(spare)
}

const fn header_len(ipv4: bool) -> usize {
    if ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN }
}

/// Makes an IP packet of the payload, and checks it.
pub(crate) fn unwrap<P: Provider>(
    sa: &InboundSa<P>,
    arrival: &Arrival,
    packet: &mut [u8],
    payload: Payload,
    audit: Audit,
) -> Result<Inner, OpenError> {
    // RFC 4303 section 2.6
    if payload.next_header == protocol::NONE {
        return Err(OpenError::Dummy(audit));
    }
    match &sa.protection.mode {
        Mode::Tunnel(tunnel) => {
            let inner = tunnelled(packet, &payload, audit)?;
            check_selectors(sa, packet, &inner, audit)?;
            carry_marks(packet, inner, arrival, tunnel, audit)
        }
        Mode::Transport { original } => {
            let inner = transported(packet, arrival, payload, audit)?;
            check_selectors(sa, packet, &inner, audit)?;
            if arrival.encapsulation == Encapsulation::Udp {
                let bytes = packet.get_mut(inner.range.clone()).unwrap_or_default();
                transport::mend_checksum(bytes, &inner.packet, *original);
            }
            Ok(inner)
        }
        Mode::Beet(addresses) => {
            let inner = bound(packet, arrival, addresses, payload, audit)?;
            check_selectors(sa, packet, &inner, audit)?;
            Ok(inner)
        }
    }
}

/// The packet at the front of the payload. What is behind it hides the packet's true length (RFC 4303 section 2.7).
fn tunnelled(packet: &[u8], payload: &Payload, audit: Audit) -> Result<Inner, OpenError> {
    if !matches!(payload.next_header, protocol::IPV4 | protocol::IPV6) {
        return Err(OpenError::NextHeader(audit, payload.next_header));
    }
    let inner = parse(packet, &payload.range, audit)?;
    if inner.packet.is_ipv4() != (payload.next_header == protocol::IPV4) {
        return Err(OpenError::Inner(audit, IpError::Version));
    }
    Ok(inner)
}

/// The payload behind the header that it came with, or one made from the path.
fn transported(
    packet: &mut [u8],
    arrival: &Arrival,
    payload: Payload,
    audit: Audit,
) -> Result<Inner, OpenError> {
    let Payload { range, next_header, limit } = payload;
    let restored = match arrival.before {
        Before::Headers(len) => {
            let udp = if arrival.encapsulation == Encapsulation::Udp { UdpHeader::LEN } else { 0 };
            transport::restore(packet, len.saturating_sub(udp), range, next_header)
        }
        Before::Room(_) => {
            let (from, to) = (arrival.path.remote.address, arrival.path.local.address);
            let fields = OuterFields::unknown(arrival.traffic_class);
            beet::prepend(packet, from, to, &fields, next_header, range, limit)
        }
    };
    let restored = restored.ok_or(OpenError::Inner(audit, IpError::Length))?;
    parse(packet, &restored, audit)
}

/// The payload behind a header with the addresses of the SA.
fn bound(
    packet: &mut [u8],
    arrival: &Arrival,
    addresses: &AddressPair,
    payload: Payload,
    audit: Audit,
) -> Result<Inner, OpenError> {
    let Payload { range, next_header, limit } = payload;
    let (outer, id) = match arrival.before {
        Before::Headers(_) => seen(packet),
        Before::Room(_) => (OuterFields::unknown(arrival.traffic_class), 0),
    };
    let restored = beet::restore(packet, addresses, &outer, id, range, next_header, limit)
        .ok_or(OpenError::Inner(audit, IpError::Length))?;
    parse(packet, &restored, audit)
}

/// What the header at the front of `packet` says, and its identification.
fn seen(packet: &[u8]) -> (OuterFields, u16) {
    if packet.first().is_some_and(|b| b >> 4 == 4)
        && let Ok((header, _)) = Ipv4Header::ref_from_prefix(packet)
    {
        let fields = OuterFields {
            traffic_class: header.tos,
            dont_fragment: header.dont_fragment(),
            hop_limit: header.ttl,
            flow_label: 0,
        };
        return (fields, header.id.get());
    }
    match Ipv6Header::ref_from_prefix(packet) {
        Ok((header, _)) => {
            let fields = OuterFields {
                traffic_class: header.traffic_class(),
                dont_fragment: true,
                hop_limit: header.hop_limit,
                flow_label: header.flow_label(),
            };
            (fields, 0)
        }
        Err(_) => (OuterFields::unknown(0), 0),
    }
}

fn parse(packet: &[u8], range: &Range<usize>, audit: Audit) -> Result<Inner, OpenError> {
    let bytes = packet.get(range.clone()).unwrap_or_default();
    let inner = IpPacket::parse(bytes).map_err(|e| OpenError::Inner(audit, e))?;
    let range = range.start..range.start.saturating_add(inner.len);
    Ok(Inner { packet: inner, range, ecn_alarm: false })
}

/// RFC 4301 section 5.2: what came out must be what the SA was negotiated for.
///
/// An ICMP error for which the SA is not may be about traffic for which it is: then the packet that it quotes, which went
/// the other way, decides (RFC 4301 section 6.2). An SA that is for the error's own header lets it pass unseen; so whoever
/// wants the quotations checked has no policy for ICMP.
fn check_selectors<P: Provider>(
    sa: &InboundSa<P>,
    packet: &[u8],
    inner: &Inner,
    audit: Audit,
) -> Result<(), OpenError> {
    let flow = &inner.packet.flow;
    let answers = || {
        let bytes = packet.get(inner.range.clone())?;
        let quoted = icmp::quoted_flow(bytes, &inner.packet)?;
        sa.selectors.match_outbound(&quoted).then_some(())
    };
    if sa.selectors.match_inbound(flow) || answers().is_some() {
        Ok(())
    } else {
        Err(OpenError::Selectors(audit, *flow))
    }
}

fn carry_marks(
    packet: &mut [u8],
    mut inner: Inner,
    arrival: &Arrival,
    tunnel: &Tunnel,
    audit: Audit,
) -> Result<Inner, OpenError> {
    let bytes = packet.get_mut(inner.range.clone()).unwrap_or_default();
    let classes = (inner.packet.traffic_class, arrival.traffic_class);
    inner.ecn_alarm = tunnel::decapsulate(bytes, classes.0, classes.1, tunnel)
        .ok_or(OpenError::Congestion(audit))?;
    Ok(inner)
}

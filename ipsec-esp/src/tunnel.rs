//! The outer IP header of tunnel mode, made and taken apart (RFC 4301 section 5.1.2, RFC 6040).

use core::net::IpAddr;

use ipsec_core::bytes;
use ipsec_core::mode::{DontFragment, Tunnel};
use ipsec_core::wire::{IpPacket, Ipv4Header, Ipv6Header, checksum};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

/// What an outer header says besides addresses, protocol and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OuterFields {
    /// DSCP in the high six bits, ECN in the low two.
    pub traffic_class: u8,
    /// Whether routers must not fragment the outer packet.
    pub dont_fragment: bool,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// The flow label of IPv6.
    pub flow_label: u32,
}

impl OuterFields {
    /// Of a tunnel around `inner` (RFC 4301 section 5.1.2, RFC 6040 section 4.1).
    pub const fn of(inner: &IpPacket, tunnel: &Tunnel) -> Self {
        Self {
            traffic_class: tunnel.outer_class(inner.traffic_class),
            dont_fragment: match tunnel.dont_fragment {
                DontFragment::Copy => inner.dont_fragment,
                DontFragment::Set => true,
                DontFragment::Clear => false,
            },
            hop_limit: tunnel.hop_limit,
            flow_label: if tunnel.copy_flow_label { inner.flow_label } else { 0 },
        }
    }

    /// Of a tunnel around nothing: a dummy packet.
    pub(crate) const fn of_dummy(tunnel: &Tunnel) -> Self {
        Self {
            traffic_class: tunnel.outer_class(0),
            dont_fragment: !matches!(tunnel.dont_fragment, DontFragment::Clear),
            hop_limit: tunnel.hop_limit,
            flow_label: 0,
        }
    }

    /// Of a packet whose header was not seen, but for its traffic class.
    pub(crate) const fn unknown(traffic_class: u8) -> Self {
        let hop_limit = Tunnel::DEFAULT.hop_limit;
        Self { traffic_class, dont_fragment: true, hop_limit, flow_label: 0 }
    }

    /// Those of a packet itself.
    pub(crate) const fn as_in(packet: &IpPacket) -> Self {
        Self {
            traffic_class: packet.traffic_class,
            dont_fragment: packet.dont_fragment,
            hop_limit: packet.hop_limit,
            flow_label: packet.flow_label,
        }
    }

    /// Writes a header, which fills `room`, for `payload_len` bytes. `id` is the identification of an IPv4 packet that
    /// may be fragmented. `None` if the addresses are of different versions, the room has not the header's length, or
    /// the payload is too long.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub(crate) fn write(
        &self,
        room: &mut [u8],
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        id: Option<u16>,
        payload_len: usize,
    ) -> Option<()> {
        let Self { traffic_class, hop_limit, .. } = *self;
        match (source, destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header =
                    Ipv4Header::new(from, to, protocol, traffic_class, hop_limit, payload_len)?;
                let header = match id {
                    Some(id) => header.fragmentable(id),
                    None => header,
                };
                bytes::copy(room, header.as_bytes())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut header =
                    Ipv6Header::new(from, to, protocol, traffic_class, hop_limit, payload_len)?;
                header.set_flow_label(self.flow_label);
                bytes::copy(room, header.as_bytes())
            }
            _ => None,
        }
    }
}

/// The bits of DSCP in a traffic class.
const DSCP: u8 = 0xfc;

/// Carries what the outer header has collected to the packet inside: congestion marks (RFC 6040 section 4.2), and DSCP
/// where the SA wants it. Says whether the ECN fields are suspicious; `None` if the packet is to be dropped.
pub(crate) fn decapsulate(
    packet: &mut [u8],
    inner_class: u8,
    outer_class: u8,
    tunnel: &Tunnel,
) -> Option<bool> {
    let Decapsulated::Forward { ecn, alarm } =
        decapsulate_ecn(Ecn::of(inner_class), Ecn::of(outer_class))
    else {
        return None;
    };
    let dscp = if tunnel.copy_dscp_in { outer_class & DSCP } else { inner_class & DSCP };
    let class = dscp | ecn as u8;
    if class != inner_class {
        set_traffic_class(packet, class);
    }
    Some(alarm)
}

/// Whether the ECN field of the outer header would change nothing and tell nothing (RFC 6040 section 4.2): nearly always.
#[cfg(any(not(target_os = "none"), ipsec_quick))]
#[inline]
pub(crate) const fn ecn_is_quiet(inner_class: u8, outer_class: u8) -> bool {
    let outer = outer_class & 3;
    outer == Ecn::NotEct as u8 || outer == inner_class & 3
}

/// The two ECN bits of a traffic class (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Ecn {
    /// The sender knows only loss.
    NotEct = 0,
    /// ECN-capable, codepoint 1.
    Ect1 = 1,
    /// ECN-capable, codepoint 0.
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// Of a traffic class.
    pub const fn of(traffic_class: u8) -> Self {
        match traffic_class & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// What comes of the ECN fields of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Decapsulated {
    /// The inner packet goes on with this field. The combination may be one that no standard sender makes, which an
    /// administrator may want to know of.
    Forward {
        /// The new inner field.
        ecn: Ecn,
        /// Whether the combination is suspicious.
        alarm: bool,
    },
    /// The packet is dropped, since its ends know no other sign of congestion.
    Drop,
}

/// The table of RFC 6040 section 4.2.
pub const fn decapsulate_ecn(inner: Ecn, outer: Ecn) -> Decapsulated {
    let (ecn, alarm) = match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => return Decapsulated::Drop,
        (Ecn::NotEct, Ecn::NotEct) => (Ecn::NotEct, false),
        (Ecn::NotEct, Ecn::Ect0 | Ecn::Ect1) => (Ecn::NotEct, true),
        (Ecn::Ce, Ecn::Ect1) => (Ecn::Ce, true),
        (Ecn::Ce, _) | (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => (Ecn::Ce, false),
        (Ecn::Ect0, Ecn::Ect1) => (Ecn::Ect1, false),
        (Ecn::Ect1, Ecn::Ect0) => (Ecn::Ect1, true),
        (kept, _) => (kept, false),
    };
    Decapsulated::Forward { ecn, alarm }
}

/// Replaces the traffic class of an IP packet, and mends the checksum of IPv4.
#[cold]
fn set_traffic_class(packet: &mut [u8], class: u8) {
    if packet.first().is_some_and(|b| b >> 4 == 4) {
        let Ok((header, _)) = Ipv4Header::mut_from_prefix(packet) else { return };
        let word = |tos| u16::from_be_bytes([header.version_ihl, tos]);
        let sum = checksum::adjust(header.checksum.get(), word(header.tos), word(class));
        header.checksum = U16::new(sum);
        header.tos = class;
    } else if let Ok((header, _)) = Ipv6Header::mut_from_prefix(packet) {
        header.set_traffic_class(class);
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use ipsec_core::mode::{Dscp, EcnIngress};

    use super::*;

    #[test]
    fn the_table_of_rfc_6040() {
        // RFC 6040 section 4.2, figure 4: rows by inner, columns by outer field.
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let columns = [NotEct, Ect0, Ect1, Ce];
        let (fine, strange) = (false, true);
        let rows = [
            (
                NotEct,
                [Some((NotEct, fine)), Some((NotEct, strange)), Some((NotEct, strange)), None],
            ),
            (Ect0, [Some((Ect0, fine)), Some((Ect0, fine)), Some((Ect1, fine)), Some((Ce, fine))]),
            (
                Ect1,
                [Some((Ect1, fine)), Some((Ect1, strange)), Some((Ect1, fine)), Some((Ce, fine))],
            ),
            (Ce, [Some((Ce, fine)), Some((Ce, fine)), Some((Ce, strange)), Some((Ce, fine))]),
        ];
        for (inner, row) in rows {
            for (outer, expected) in columns.into_iter().zip(row) {
                let expected = expected.map_or(Decapsulated::Drop, |(ecn, alarm)| {
                    Decapsulated::Forward { ecn, alarm }
                });
                assert_eq!(decapsulate_ecn(inner, outer), expected, "{inner:?} in {outer:?}");
            }
        }
    }

    #[test]
    fn a_changed_field_keeps_the_checksum_right() {
        let (a, b) = (Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(10, 4, 5, 6));
        for tos in 0..=255 {
            let mut bytes = [0; 20];
            bytes.copy_from_slice(Ipv4Header::new(a, b, 6, tos, 64, 0).unwrap().as_bytes());
            set_traffic_class(&mut bytes, !tos);
            let packet = Ipv4Header::parse(&bytes).unwrap();
            assert!(packet.checksum_ok());
            assert_eq!(packet.header.tos, !tos);
        }
    }

    #[test]
    fn a_changed_field_leaves_the_rest_of_ipv6() {
        let mut bytes = [0x6f; 40];
        set_traffic_class(&mut bytes, 0x12);
        assert_eq!(bytes[..3], [0x61, 0x2f, 0x6f]);
    }

    #[test]
    fn a_header_keeps_to_one_version() {
        let fields = OuterFields::of_dummy(&Tunnel::DEFAULT);
        let (v4, v6) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([0u16; 8]));
        assert_eq!(fields.write(&mut [0; 20], v4, v6, 50, None, 0), None);
        assert_eq!(fields.write(&mut [0; 40], v4, v6, 50, None, 0), None);
        assert_eq!(fields.write(&mut [0; 40], v4, v4, 50, None, 0), None);
        assert_eq!(fields.write(&mut [0; 20], v4, v4, 50, None, 0), Some(()));
    }

    #[test]
    fn the_outer_class_follows_the_policy() {
        // RFC 4301 section 5.1.2, RFC 6040 section 4.1
        let class = |tunnel: Tunnel| tunnel.outer_class(0xba);
        let default = Tunnel::DEFAULT;
        assert_eq!(class(default), 0xba);
        assert_eq!(class(Tunnel { dscp: Dscp::Set(10), ..default }), 0x2a);
        assert_eq!(class(Tunnel { ecn: EcnIngress::Compatibility, ..default }), 0xb8);
    }
}

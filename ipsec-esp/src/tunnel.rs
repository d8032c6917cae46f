//! The outer IP header of tunnel mode, made and taken apart (RFC 4301 section 5.1.2, RFC 6040).

use core::net::IpAddr;

use ipsec_core::bytes;
use ipsec_core::path::Path;
use ipsec_core::wire::{IpPacket, Ipv4Header, Ipv6Header, checksum};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

/// Hop limit of outer headers: what hosts use by default.
pub const HOP_LIMIT: u8 = 64;

/// What the outer header takes from the inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OuterFields {
    /// DSCP in the high six bits, ECN in the low two.
    pub traffic_class: u8,
    /// Whether routers must not fragment the outer packet.
    pub dont_fragment: bool,
}

impl OuterFields {
    /// DSCP is copied. ECN is copied too, which is the normal mode of RFC 6040 section 4.1. Don't Fragment is copied
    /// from IPv4 and set for IPv6, whose routers do not fragment (RFC 4301 section 8.1).
    pub const fn of(inner: &IpPacket) -> Self {
        Self { traffic_class: inner.traffic_class, dont_fragment: inner.dont_fragment }
    }
}

/// Writes an outer header, which fills `room`, for `payload_len` bytes. `id` is the identification of an IPv4 packet
/// that may be fragmented. `None` if the addresses are of different versions, the room has not the header's length, or
/// the payload is too long.
pub(crate) fn write_outer(
    room: &mut [u8],
    path: &Path,
    protocol: u8,
    traffic_class: u8,
    id: Option<u16>,
    payload_len: usize,
) -> Option<()> {
    match (path.local.address, path.remote.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4Header::new(
                source,
                destination,
                protocol,
                traffic_class,
                HOP_LIMIT,
                payload_len,
            )?;
            if let Some(id) = id {
                header = header.fragmentable(id);
            }
            bytes::copy(room, header.as_bytes())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header::new(
                source,
                destination,
                protocol,
                traffic_class,
                HOP_LIMIT,
                payload_len,
            )?;
            bytes::copy(room, header.as_bytes())
        }
        _ => None,
    }
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

/// Replaces the ECN field of an IP packet, and mends the checksum of IPv4. `None` if it is no IP packet.
pub(crate) fn set_ecn(packet: &mut [u8], ecn: Ecn) -> Option<()> {
    if packet.first()? >> 4 == 4 {
        let (header, _) = Ipv4Header::mut_from_prefix(packet).ok()?;
        let word = |tos| u16::from_be_bytes([header.version_ihl, tos]);
        let tos = header.tos & !3 | ecn as u8;
        let sum = checksum::adjust(header.checksum.get(), word(header.tos), word(tos));
        header.checksum = U16::new(sum);
        header.tos = tos;
    } else {
        let (header, _) = Ipv6Header::mut_from_prefix(packet).ok()?;
        header.set_traffic_class(header.traffic_class() & !3 | ecn as u8);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

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
            set_ecn(&mut bytes, Ecn::Ce).unwrap();
            let packet = Ipv4Header::parse(&bytes).unwrap();
            assert!(packet.checksum_ok());
            assert_eq!(packet.header.tos, tos | 3);
        }
    }

    #[test]
    fn a_changed_field_leaves_the_rest_of_ipv6() {
        let mut bytes = [0x6f; 40];
        set_ecn(&mut bytes, Ecn::Ect1).unwrap();
        assert_eq!(bytes[..3], [0x6f, 0x5f, 0x6f]);
    }

    #[test]
    fn a_path_keeps_to_one_version() {
        use ipsec_core::path::Endpoint;
        let path =
            Path::new(Endpoint::new([10, 0, 0, 1].into(), 0), Endpoint::new([0u16; 8].into(), 0));
        assert_eq!(write_outer(&mut [0; 20], &path, 50, 0, None, 0), None);
        assert_eq!(write_outer(&mut [0; 40], &path, 50, 0, None, 0), None);
    }
}

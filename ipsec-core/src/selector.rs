//! Traffic selectors: which packets a policy or a security association is about (RFC 4301 section 4.4.1.1, RFC 7296
//! section 3.13).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::AddressText;
use crate::wire::flow::has_ports;

/// How many traffic selectors a side of one security association may have.
pub const MAX_SELECTORS: usize = 4;

/// A list of traffic selectors: one side of a security association.
pub type SelectorList = heapless::Vec<TrafficSelector, MAX_SELECTORS>;

/// An inclusive range of addresses of one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressRange {
    /// IPv4.
    V4 {
        /// The first address.
        start: Ipv4Addr,
        /// The last address, not before `start`.
        end: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// The first address.
        start: Ipv6Addr,
        /// The last address, not before `start`.
        end: Ipv6Addr,
    },
}

impl AddressRange {
    /// Every IPv4 address.
    pub const ANY_V4: Self = Self::V4 { start: Ipv4Addr::UNSPECIFIED, end: Ipv4Addr::BROADCAST };
    /// Every IPv6 address.
    pub const ANY_V6: Self =
        Self::V6 { start: Ipv6Addr::UNSPECIFIED, end: Ipv6Addr::from_bits(u128::MAX) };

    /// From `start` to `end`; `None` if the families differ or the range is empty.
    pub fn new(start: IpAddr, end: IpAddr) -> Option<Self> {
        match (start, end) {
            (IpAddr::V4(start), IpAddr::V4(end)) if start <= end => Some(Self::V4 { start, end }),
            (IpAddr::V6(start), IpAddr::V6(end)) if start.octets() <= end.octets() => {
                Some(Self::V6 { start, end })
            }
            _ => None,
        }
    }

    /// One address.
    pub const fn host(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self::V4 { start: a, end: a },
            IpAddr::V6(a) => Self::V6 { start: a, end: a },
        }
    }

    /// The network `address/prefix`, host bits ignored; `None` if the prefix is longer than the address.
    pub fn network(address: IpAddr, prefix: u8) -> Option<Self> {
        match address {
            IpAddr::V4(a) => {
                let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                (prefix <= 32).then(|| Self::V4 {
                    start: Ipv4Addr::from_bits(a.to_bits() & !host_bits),
                    end: Ipv4Addr::from_bits(a.to_bits() | host_bits),
                })
            }
            IpAddr::V6(a) => {
                let host_bits = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                (prefix <= 128).then(|| Self::V6 {
                    start: Ipv6Addr::from_bits(a.to_bits() & !host_bits),
                    end: Ipv6Addr::from_bits(a.to_bits() | host_bits),
                })
            }
        }
    }

    /// The first address.
    pub const fn start(&self) -> IpAddr {
        match *self {
            Self::V4 { start, .. } => IpAddr::V4(start),
            Self::V6 { start, .. } => IpAddr::V6(start),
        }
    }

    /// The last address.
    pub const fn end(&self) -> IpAddr {
        match *self {
            Self::V4 { end, .. } => IpAddr::V4(end),
            Self::V6 { end, .. } => IpAddr::V6(end),
        }
    }

    /// Whether `address` is of this family and in the range.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (*self, address) {
            (Self::V4 { start, end }, IpAddr::V4(a)) => {
                (start.to_bits()..=end.to_bits()).contains(&a.to_bits())
            }
            (Self::V6 { start, end }, IpAddr::V6(a)) => {
                let (start, end, a) = (start.octets(), end.octets(), a.octets());
                start <= a && a <= end
            }
            _ => false,
        }
    }

    /// Whether all of `other` is in the range.
    pub fn covers(&self, other: &Self) -> bool {
        self.contains(other.start()) && self.contains(other.end())
    }

    /// What both have in common; `None` if that is nothing.
    #[inline(never)]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        match (*self, *other) {
            (Self::V4 { start: a, end: b }, Self::V4 { start: c, end: d }) => {
                Self::new(IpAddr::V4(a.max(c)), IpAddr::V4(b.min(d)))
            }
            (Self::V6 { start: a, end: b }, Self::V6 { start: c, end: d }) => {
                Self::new(IpAddr::V6(a.max(c)), IpAddr::V6(b.min(d)))
            }
            _ => None,
        }
    }
}

impl core::fmt::Display for AddressRange {
    /// `10.0.0.1`, `10.0.0.0/24` or `10.0.0.1-10.0.0.9`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let prefix = match *self {
            Self::V4 { start, end } => prefix_len(start.to_bits().into(), end.to_bits().into(), 32),
            Self::V6 { start, end } => prefix_len(start.to_bits(), end.to_bits(), 128),
        };
        let (start, end) = (AddressText(self.start()), AddressText(self.end()));
        match prefix {
            Some(_) if start == end => write!(f, "{start}"),
            Some(prefix) => write!(f, "{start}/{prefix}"),
            None => write!(f, "{start}-{end}"),
        }
    }
}

impl core::fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// The prefix length if the range is exactly a network.
fn prefix_len(start: u128, end: u128, width: u32) -> Option<u32> {
    let host_bits = start ^ end;
    let ones = host_bits.trailing_ones();
    let contiguous = host_bits == 0 || host_bits.leading_zeros() == 128u32.saturating_sub(ones);
    (contiguous && start & host_bits == 0).then(|| width.saturating_sub(ones))
}

/// An inclusive range of ports, or of ICMP type and code (type in the high byte, RFC 7296 section 3.13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PortRange {
    /// The first port.
    pub start: u16,
    /// The last port. Less than `start` only in [`PortRange::OPAQUE`].
    pub end: u16,
}

impl PortRange {
    /// Every port, and packets whose port cannot be seen.
    pub const ANY: Self = Self { start: 0, end: u16::MAX };
    /// Only packets whose port cannot be seen, such as fragments after the first (RFC 4301 section 4.4.1.1).
    pub const OPAQUE: Self = Self { start: u16::MAX, end: 0 };

    /// One port.
    pub const fn single(port: u16) -> Self {
        Self { start: port, end: port }
    }

    /// Whether a packet with this port, `None` for one that cannot be seen, is in the range.
    #[inline]
    pub const fn contains(&self, port: Option<u16>) -> bool {
        match port {
            Some(port) => self.start <= port && port <= self.end,
            None => self.is_any() || self.is_opaque(),
        }
    }

    /// Whether this is [`PortRange::ANY`].
    pub const fn is_any(&self) -> bool {
        self.start == 0 && self.end == u16::MAX
    }

    /// Whether this is [`PortRange::OPAQUE`].
    pub const fn is_opaque(&self) -> bool {
        self.start == u16::MAX && self.end == 0
    }

    /// Whether all of `other` is in the range.
    pub const fn covers(&self, other: &Self) -> bool {
        if other.is_opaque() {
            self.is_any() || self.is_opaque()
        } else {
            self.start <= other.start && other.end <= self.end
        }
    }

    /// What both have in common; `None` if that is nothing.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.is_opaque() || other.is_opaque() {
            return (self.covers(&Self::OPAQUE) && other.covers(&Self::OPAQUE))
                .then_some(Self::OPAQUE);
        }
        let both = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (both.start <= both.end).then_some(both)
    }
}

/// The protocol number that stands for every protocol in a selector (RFC 7296 section 3.13.1).
pub const ANY_PROTOCOL: u8 = 0;

/// One traffic selector: addresses, protocol and ports of one end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrafficSelector {
    /// The addresses.
    pub addresses: AddressRange,
    /// The upper-layer protocol, [`ANY_PROTOCOL`] for all.
    pub protocol: u8,
    /// The ports; [`PortRange::ANY`] where the protocol has none.
    pub ports: PortRange,
}

impl TrafficSelector {
    /// Every IPv4 packet.
    pub const ANY_V4: Self = Self::addresses(AddressRange::ANY_V4);
    /// Every IPv6 packet.
    pub const ANY_V6: Self = Self::addresses(AddressRange::ANY_V6);

    /// All traffic of these addresses.
    pub const fn addresses(addresses: AddressRange) -> Self {
        Self { addresses, protocol: ANY_PROTOCOL, ports: PortRange::ANY }
    }

    /// All traffic of the network `address/prefix`.
    pub fn network(address: IpAddr, prefix: u8) -> Option<Self> {
        AddressRange::network(address, prefix).map(Self::addresses)
    }

    /// Whether one end of a packet matches.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn contains(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        self.addresses.contains(address)
            && (self.protocol == ANY_PROTOCOL || self.protocol == protocol)
            && self.ports.contains(port)
    }

    /// Whether everything that `other` matches is matched.
    pub fn covers(&self, other: &Self) -> bool {
        self.addresses.covers(&other.addresses)
            && (self.protocol == ANY_PROTOCOL || self.protocol == other.protocol)
            && self.ports.covers(&other.ports)
    }

    /// What both match: the narrowing of RFC 7296 section 2.9. `None` if that is nothing.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let protocol = match (self.protocol, other.protocol) {
            (ANY_PROTOCOL, p) | (p, ANY_PROTOCOL) => p,
            (p, q) if p == q => p,
            _ => return None,
        };
        Some(Self {
            addresses: self.addresses.intersection(&other.addresses)?,
            protocol,
            ports: self.ports.intersection(&other.ports)?,
        })
    }
}

impl core::fmt::Display for TrafficSelector {
    /// `10.0.0.0/24`, `10.0.0.0/24[17]` or `10.0.0.1[17/1701]`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.addresses)?;
        match (self.protocol, self.ports) {
            (ANY_PROTOCOL, ports) if ports.is_any() => Ok(()),
            (protocol, ports) if ports.is_any() => write!(f, "[{protocol}]"),
            (protocol, ports) if ports.is_opaque() => write!(f, "[{protocol}/opaque]"),
            (protocol, PortRange { start, end }) if start == end => {
                write!(f, "[{protocol}/{start}]")
            }
            (protocol, PortRange { start, end }) => write!(f, "[{protocol}/{start}-{end}]"),
        }
    }
}

impl core::fmt::Debug for TrafficSelector {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for TrafficSelector {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

/// What selectors are compared with: the ends of one packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The upper-layer protocol.
    pub protocol: u8,
    /// The source port, or the ICMP type and code; `None` where it cannot be seen.
    pub source_port: Option<u16>,
    /// The destination port, or the ICMP type and code; `None` where it cannot be seen.
    pub destination_port: Option<u16>,
}

impl Flow {
    /// No flow: what an empty slot holds.
    pub const UNSPECIFIED: Self = Self {
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        protocol: 0,
        source_port: None,
        destination_port: None,
    };

    /// The same packet seen from the other end.
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

impl core::fmt::Display for Flow {
    /// `10.0.0.1:80 -> 10.0.0.2:443 protocol 6`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let end = |f: &mut core::fmt::Formatter<'_>, address, port| match port {
            Some(port) => write!(f, "{}:{port}", AddressText(address)),
            None => write!(f, "{}", AddressText(address)),
        };
        end(f, self.source, self.source_port)?;
        f.write_str(" -> ")?;
        end(f, self.destination, self.destination_port)?;
        write!(f, " protocol {}", self.protocol)
    }
}

impl core::fmt::Debug for Flow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Flow {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

/// The selectors of a security association or a policy, as seen from here.
///
/// A packet that leaves must have its source in `local` and its destination in `remote`; one that arrives, the reverse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Our side.
    pub local: SelectorList,
    /// The other side.
    pub remote: SelectorList,
}

impl Selectors {
    /// Nothing: matches no packet.
    pub const EMPTY: Self = Self { local: SelectorList::new(), remote: SelectorList::new() };

    /// One selector a side.
    pub fn pair(local: TrafficSelector, remote: TrafficSelector) -> Self {
        let mut both = Self::EMPTY;
        let _ = both.local.push(local);
        let _ = both.remote.push(remote);
        both
    }

    /// Whether a packet that leaves matches.
    pub fn match_outbound(&self, flow: &Flow) -> bool {
        matches(&self.local, flow.source, flow.protocol, flow.source_port)
            && matches(&self.remote, flow.destination, flow.protocol, flow.destination_port)
    }

    /// Whether a packet that arrived matches.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub fn match_inbound(&self, flow: &Flow) -> bool {
        matches(&self.local, flow.destination, flow.protocol, flow.destination_port)
            && matches(&self.remote, flow.source, flow.protocol, flow.source_port)
    }
}

/// Which selectors an SA takes from the packet that asks for it, instead of the whole of its policy: the flags PFP,
/// "populate from packet" (RFC 4301 section 4.4.1.2).
///
/// Ports stand for ICMP types and codes too. Whatever takes a port from the packet takes its protocol as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FromPacket {
    /// Our address.
    pub local_address: bool,
    /// The other side's address.
    pub remote_address: bool,
    /// The upper-layer protocol.
    pub protocol: bool,
    /// Our port.
    pub local_port: bool,
    /// The other side's port.
    pub remote_port: bool,
}

impl FromPacket {
    /// None: one SA is for all that the policy is about.
    pub const NONE: Self = Self {
        local_address: false,
        remote_address: false,
        protocol: false,
        local_port: false,
        remote_port: false,
    };
    /// All of them: an SA for each connection.
    pub const ALL: Self = Self {
        local_address: true,
        remote_address: true,
        protocol: true,
        local_port: true,
        remote_port: true,
    };
    /// Both addresses: an SA for each pair of hosts.
    pub const ADDRESSES: Self = Self { local_address: true, remote_address: true, ..Self::NONE };

    /// Whether nothing is taken from the packet.
    pub const fn is_none(&self) -> bool {
        !(self.local_address
            || self.remote_address
            || self.protocol
            || self.local_port
            || self.remote_port)
    }

    /// The selectors of the SA for a packet that leaves, out of those of its policy, which match the packet.
    ///
    /// A port that cannot be seen becomes [`PortRange::OPAQUE`] if the protocol has ports, and stays as it is otherwise.
    pub fn narrow(&self, policy: &Selectors, packet: &Flow) -> Selectors {
        let protocol = packet.protocol;
        let any_port = self.local_port || self.remote_port;
        let by_protocol = self.protocol || any_port && has_ports(protocol);
        let end = |list: &SelectorList, address, port| {
            let mut narrowed = SelectorList::new();
            for ts in list {
                let wanted = TrafficSelector {
                    addresses: Option::map_or(address, ts.addresses, AddressRange::host),
                    protocol: if by_protocol { protocol } else { ts.protocol },
                    ports: port,
                };
                if let Some(ts) = ts.intersection(&wanted)
                    && !narrowed.contains(&ts)
                {
                    // There are not more than there were.
                    let _ = narrowed.push(ts);
                }
            }
            narrowed
        };
        let port = |wanted: bool, port: Option<u16>| match port {
            Some(port) if wanted => PortRange::single(port),
            None if wanted && has_ports(protocol) => PortRange::OPAQUE,
            _ => PortRange::ANY,
        };
        Selectors {
            local: end(
                &policy.local,
                self.local_address.then_some(packet.source),
                port(self.local_port, packet.source_port),
            ),
            remote: end(
                &policy.remote,
                self.remote_address.then_some(packet.destination),
                port(self.remote_port, packet.destination_port),
            ),
        }
    }
}

/// Which DSCP values the packets of one of several SAs with equal selectors have (RFC 4301 section 4.4.2.1). It chooses
/// the SA of a packet that leaves, and is not looked at when one arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DscpSet(u64);

impl DscpSet {
    /// No value is named: any will do.
    pub const ANY: Self = Self(0);

    /// These values, the low six bits of each; [`DscpSet::ANY`] if there are none.
    pub const fn of(values: &[u8]) -> Self {
        let (mut set, mut values) = (0, values);
        while let [value, rest @ ..] = values {
            set |= 1u64 << (*value & 63);
            values = rest;
        }
        Self(set)
    }

    /// Whether no value is named.
    pub const fn is_any(&self) -> bool {
        self.0 == 0
    }

    /// Whether packets with this value, of which the low six bits count, are meant.
    pub const fn contains(&self, dscp: u8) -> bool {
        self.is_any() || self.0 >> (dscp & 63) & 1 == 1
    }
}

#[cfg_attr(not(target_os = "none"), inline(always))]
fn matches(list: &[TrafficSelector], address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
    for ts in list {
        if ts.contains(address, protocol, port) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(a: [u8; 4], prefix: u8) -> TrafficSelector {
        TrafficSelector::network(IpAddr::from(a), prefix).unwrap()
    }

    #[test]
    fn networks_print_and_parse_alike() {
        extern crate std;
        use std::string::ToString;
        assert_eq!(net([192, 168, 1, 77], 24).to_string(), "192.168.1.0/24");
        assert_eq!(net([10, 0, 0, 1], 32).to_string(), "10.0.0.1");
        assert_eq!(TrafficSelector::ANY_V4.to_string(), "0.0.0.0/0");
        assert_eq!(TrafficSelector::ANY_V6.to_string(), "::/0");
        let odd = AddressRange::new([10, 0, 0, 1].into(), [10, 0, 0, 6].into()).unwrap();
        assert_eq!(odd.to_string(), "10.0.0.1-10.0.0.6");
        assert_eq!(AddressRange::network([1, 2, 3, 4].into(), 33), None);
    }

    #[test]
    fn narrowing_is_the_intersection() {
        let wide = net([10, 0, 0, 0], 8);
        let tcp = TrafficSelector {
            protocol: 6,
            ports: PortRange::single(443),
            ..net([10, 1, 0, 0], 16)
        };
        assert_eq!(wide.intersection(&tcp), Some(tcp));
        assert!(wide.covers(&tcp) && !tcp.covers(&wide));
        assert_eq!(wide.intersection(&net([11, 0, 0, 0], 8)), None);
        assert_eq!(wide.intersection(&TrafficSelector::ANY_V6), None);
    }

    #[test]
    fn opaque_matches_only_what_cannot_be_seen() {
        assert!(PortRange::OPAQUE.contains(None) && !PortRange::OPAQUE.contains(Some(5)));
        assert!(PortRange::ANY.contains(None) && PortRange::ANY.contains(Some(5)));
        assert!(!PortRange::single(5).contains(None));
        assert_eq!(PortRange::OPAQUE.intersection(&PortRange::ANY), Some(PortRange::OPAQUE));
        assert_eq!(PortRange::OPAQUE.intersection(&PortRange::single(5)), None);
    }

    #[test]
    fn a_flow_matches_from_both_ends() {
        let s = Selectors::pair(net([192, 168, 1, 0], 24), net([192, 168, 2, 0], 24));
        let out = Flow {
            source: [192, 168, 1, 5].into(),
            destination: [192, 168, 2, 6].into(),
            protocol: 17,
            source_port: Some(1),
            destination_port: Some(2),
        };
        assert!(s.match_outbound(&out) && !s.match_inbound(&out));
        assert!(s.match_inbound(&out.reversed()));
    }

    fn flow(protocol: u8, source_port: Option<u16>, destination_port: Option<u16>) -> Flow {
        let (source, destination) = ([10, 1, 2, 3].into(), [10, 2, 3, 4].into());
        Flow { source, destination, protocol, source_port, destination_port }
    }

    #[test]
    fn selectors_are_taken_from_the_packet_where_the_flag_says_so() {
        // RFC 4301 section 4.4.1.2: each flag by itself, and all of them.
        let policy = Selectors::pair(net([10, 1, 0, 0], 16), net([10, 2, 0, 0], 16));
        let packet = flow(6, Some(1024), Some(443));
        let (here, there) = (net([10, 1, 2, 3], 32), net([10, 2, 3, 4], 32));
        let tcp = |ts: TrafficSelector| TrafficSelector { protocol: 6, ..ts };
        let port = |ts, port| TrafficSelector { ports: PortRange::single(port), ..tcp(ts) };
        let (local, remote) = (policy.local[0], policy.remote[0]);
        let none = FromPacket::NONE;
        for (flags, local, remote) in [
            (none, local, remote),
            (FromPacket { local_address: true, ..none }, here, remote),
            (FromPacket { remote_address: true, ..none }, local, there),
            (FromPacket { protocol: true, ..none }, tcp(local), tcp(remote)),
            (FromPacket { local_port: true, ..none }, port(local, 1024), tcp(remote)),
            (FromPacket { remote_port: true, ..none }, tcp(local), port(remote, 443)),
            (FromPacket::ADDRESSES, here, there),
            (FromPacket::ALL, port(here, 1024), port(there, 443)),
        ] {
            let narrowed = flags.narrow(&policy, &packet);
            assert_eq!(narrowed, Selectors::pair(local, remote), "{flags:?}");
            assert!(narrowed.match_outbound(&packet));
            assert_eq!(flags.is_none(), flags == none);
        }
    }

    #[test]
    fn of_a_list_only_what_the_packet_meets_stays() {
        let mut policy = Selectors::pair(net([10, 1, 0, 0], 16), net([10, 2, 0, 0], 16));
        policy.local.push(net([10, 9, 0, 0], 16)).unwrap();
        let web = TrafficSelector { protocol: 6, ports: PortRange::single(443), ..net([0; 4], 0) };
        policy.remote.push(web).unwrap();
        let narrowed = FromPacket::ADDRESSES.narrow(&policy, &flow(6, Some(1), Some(443)));
        assert_eq!(narrowed.local[..], [net([10, 1, 2, 3], 32)]);
        let there = net([10, 2, 3, 4], 32);
        assert_eq!(
            narrowed.remote[..],
            [there, TrafficSelector { addresses: there.addresses, ..web }]
        );
        let narrowed = FromPacket::ALL.narrow(&policy, &flow(17, Some(1), Some(53)));
        let dns = TrafficSelector { protocol: 17, ports: PortRange::single(53), ..there };
        assert_eq!(narrowed.remote[..], [dns]);
    }

    #[test]
    fn a_port_that_cannot_be_seen_is_opaque() {
        let policy = Selectors::pair(net([10, 1, 0, 0], 16), net([10, 2, 0, 0], 16));
        let narrowed = |packet: Flow| FromPacket::ALL.narrow(&policy, &packet).local[0].ports;
        assert_eq!(narrowed(flow(17, None, None)), PortRange::OPAQUE, "a fragment");
        assert_eq!(narrowed(flow(47, None, None)), PortRange::ANY, "GRE has none");
        let echo = flow(1, Some(0x0800), Some(0x0800));
        assert_eq!(narrowed(echo), PortRange::single(0x0800));
    }

    #[test]
    fn sets_of_dscp() {
        let set = DscpSet::of(&[0, 46, 63]);
        assert_eq!((0..=255).filter(|v| set.contains(*v)).count(), 3 * 4);
        assert!(set.contains(46) && !set.contains(45) && !set.is_any());
        assert!(DscpSet::of(&[]).is_any() && DscpSet::ANY.contains(17));
    }
}

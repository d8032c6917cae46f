//! The headers that IPsec reads and writes around its own: IPv4, IPv6, UDP.
//!
//! Only what IPsec needs is parsed, and that strictly. A parser takes the packet from the front of a buffer: the length
//! in the IP header must not be more than the buffer holds, and bytes behind it (a link's padding) do not belong to the
//! packet.

pub mod checksum;
pub mod flow;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod udp;

pub use checksum::Checksum;
pub use flow::{Fragment, IpPacket};
pub use ipv4::Ipv4Header;
pub use ipv6::Ipv6Header;
pub use udp::UdpHeader;

/// IP protocol numbers (next header values) that IPsec has to know.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 inside IP: what follows ESP in tunnel mode.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// IPv6 inside IP: what follows ESP in tunnel mode.
    pub const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ESP.
    pub const ESP: u8 = 50;
    /// AH.
    pub const AH: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// No next header; inside ESP, a dummy packet (RFC 4303 section 2.6).
    pub const NONE: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// The pseudo header that carries IPv4 options in BEET mode (draft-nikander-esp-beet-mode section 5.2).
    pub const BEET: u8 = 94;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// IPv6 mobility header.
    pub const MOBILITY: u8 = 135;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// Why bytes are not an IP packet that IPsec can handle. Fault: whoever made the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum IpError {
    /// Neither version 4 nor version 6.
    Version,
    /// The buffer ends before the packet does.
    Truncated,
    /// A length in the header contradicts another.
    Length,
    /// IPv6 extension headers are malformed, misplaced, or too many.
    Extension,
}

impl core::fmt::Display for IpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Version => "neither IPv4 nor IPv6",
            Self::Truncated => "IP packet is cut short",
            Self::Length => "IP header lengths contradict each other",
            Self::Extension => "bad IPv6 extension headers",
        })
    }
}

impl core::error::Error for IpError {}

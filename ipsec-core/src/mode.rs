//! What of a packet a security association protects, and the headers it travels under (RFC 4301 section 4.1).

use core::net::IpAddr;

/// What of a packet is protected, and what is known only to the SA of what is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Mode {
    /// The whole packet, behind a new IP header.
    Tunnel(Tunnel),
    /// What follows the packet's own IP header, which stays.
    Transport {
        /// Behind a NAT (RFC 3948 section 3.1.2): the addresses that the peer used when it computed the checksums of
        /// TCP and UDP, if IKE told them (RFC 7296 section 2.23.1); `local` is ours as the peer sees it, `remote` the
        /// peer's own. Without them, checksums of what arrives in UDP are computed anew.
        original: Option<AddressPair>,
    },
    /// What follows the IP header, whose addresses are known to both ends and are not sent ("bound end-to-end tunnel",
    /// draft-nikander-esp-beet-mode): these. ESP only.
    Beet(AddressPair),
}

impl Mode {
    /// Tunnel mode with the usual header.
    pub const TUNNEL: Self = Self::Tunnel(Tunnel::DEFAULT);
    /// Transport mode.
    pub const TRANSPORT: Self = Self::Transport { original: None };
}

/// Two addresses, as seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPair {
    /// Ours.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
}

#[cfg(feature = "defmt")]
impl defmt::Format for AddressPair {
    fn format(&self, f: defmt::Formatter<'_>) {
        use crate::address::AddressText;
        defmt::write!(
            f,
            "{} -> {}",
            defmt::Display2Format(&AddressText(self.local)),
            defmt::Display2Format(&AddressText(self.remote))
        );
    }
}

/// How the header of a tunnel follows the packet inside (RFC 4301 section 5.1.2), and the packet the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tunnel {
    /// DSCP of the outer header.
    pub dscp: Dscp,
    /// Whether the DSCP that arrives in the outer header replaces the inner one. Only where the network on the way is
    /// trusted to classify (RFC 2983 section 3).
    pub copy_dscp_in: bool,
    /// ECN of the outer header.
    pub ecn: EcnIngress,
    /// Don't Fragment of an outer IPv4 header.
    pub dont_fragment: DontFragment,
    /// Time to live, or hop limit, of the outer header.
    pub hop_limit: u8,
    /// Whether an outer IPv6 header takes the flow label of an inner one. That tells an observer which packets belong
    /// together. Otherwise it is zero.
    pub copy_flow_label: bool,
    /// ESP only: shorter packets are padded to this length before they are encrypted, so that their true length is
    /// hidden (RFC 4303 section 2.7). 0 turns it off. A peer may say that it does not want it (RFC 7296 section 1.3.1).
    pub pad_to: u16,
}

impl Tunnel {
    /// DSCP, ECN and Don't Fragment are copied outwards; of the outer header only ECN comes back.
    pub const DEFAULT: Self = Self {
        dscp: Dscp::Copy,
        copy_dscp_in: false,
        ecn: EcnIngress::Normal,
        dont_fragment: DontFragment::Copy,
        hop_limit: 64,
        copy_flow_label: false,
        pad_to: 0,
    };

    /// The traffic class of the outer header around a packet that has the class `inner`: bit by bit, it is that of the packet
    /// or does not depend on it (RFC 4301 section 5.1.2, RFC 6040 section 4.1).
    pub const fn outer_class(&self, inner: u8) -> u8 {
        let dscp = match self.dscp {
            Dscp::Copy => inner & 0xfc,
            Dscp::Set(dscp) => dscp << 2,
        };
        match self.ecn {
            EcnIngress::Normal => dscp | inner & 3,
            EcnIngress::Compatibility => dscp,
        }
    }
}

impl Default for Tunnel {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// DSCP of the outer header (RFC 4301 section 5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dscp {
    /// That of the inner packet.
    Copy,
    /// This one: the low six bits.
    Set(u8),
}

/// ECN of the outer header (RFC 6040 section 4.1). What arrives is treated the same in either mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EcnIngress {
    /// That of the inner packet.
    Normal,
    /// Not ECN-capable: for a peer that does not carry congestion marks inwards.
    Compatibility,
}

/// Don't Fragment of an outer IPv4 header (RFC 4301 section 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DontFragment {
    /// That of the inner packet; set for IPv6, whose routers do not fragment.
    Copy,
    /// Always set.
    Set,
    /// Never set.
    Clear,
}

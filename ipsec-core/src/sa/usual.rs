//! What is worked out once for an SA of the usual kind, so that no packet has to: ESP under an AEAD whose IV is a counter, in
//! a tunnel. Not on bare metal, where it would be memory for nothing; see `ipsec-esp/src/quick.rs`.

use core::net::{IpAddr, Ipv4Addr};

use zerocopy::network_endian::U16;

use super::{Encapsulation, Protection};
use crate::crypto::Provider;
use crate::mode::{DontFragment, Mode, Tunnel};
use crate::selector::{ANY_PROTOCOL, AddressRange, Selectors, TrafficSelector};
use crate::wire::{Checksum, Ipv4Header, protocol};

/// Of an SA that sends: the outer header between IPv4 addresses, as IP protocol 50, but for what it takes from a packet.
#[derive(Clone, Copy, Debug)]
pub struct UsualOut {
    /// Of an empty packet, whose traffic class is zero.
    header: Ipv4Header,
    /// The bits of the traffic class that are copied.
    copied: u8,
    /// Whether Don't Fragment is copied.
    copies_df: bool,
}

impl UsualOut {
    /// `None` for other SAs, and where routers may always fragment, so that each packet needs an identification.
    pub(super) fn of<P: Provider>(protection: &Protection<P>) -> Option<Self> {
        let tunnel = usual_tunnel(protection)?;
        let (IpAddr::V4(from), IpAddr::V4(to)) =
            (protection.path.local.address, protection.path.remote.address)
        else {
            return None;
        };
        let other = protection.encapsulation != Encapsulation::Ip
            || tunnel.dont_fragment == DontFragment::Clear
            || tunnel.pad_to != 0;
        if other {
            return None;
        }
        let class = tunnel.outer_class(0);
        Some(Self {
            header: Ipv4Header::new(from, to, protocol::ESP, class, tunnel.hop_limit, 0)?,
            copied: tunnel.outer_class(u8::MAX) ^ class,
            copies_df: tunnel.dont_fragment == DontFragment::Copy,
        })
    }

    /// The header around a packet with the header `inner` (RFC 4301 section 5.1.2). `None` if routers may fragment it, or it
    /// would be longer than IPv4 can carry.
    #[inline]
    pub fn header(&self, inner: &Ipv4Header, total_len: usize) -> Option<Ipv4Header> {
        let total_len = u16::try_from(total_len).ok()?;
        if self.copies_df && !inner.dont_fragment() {
            return None;
        }
        // Nothing but zeros is replaced, and the length of the header: so the sum grows by as much.
        let class = inner.tos & self.copied;
        let sum = Checksum::new()
            .u16(!self.header.checksum.get())
            .u16(class.into())
            .u16(total_len.wrapping_sub(20));
        let mut header = self.header;
        header.tos |= class;
        header.total_len = U16::new(total_len);
        header.checksum = U16::new(sum.finish());
        Some(header)
    }
}

/// Of an SA that receives: its selectors, where they are nothing but one range of IPv4 addresses a side.
#[derive(Clone, Copy, Debug)]
pub struct UsualIn {
    local: (u32, u32),
    remote: (u32, u32),
}

impl UsualIn {
    /// `None` for other SAs, and where the outer header changes the DSCP of the inner one.
    pub(super) fn of<P: Provider>(
        protection: &Protection<P>,
        selectors: &Selectors,
    ) -> Option<Self> {
        let tunnel = usual_tunnel(protection)?;
        let ([local], [remote]) = (&selectors.local[..], &selectors.remote[..]) else {
            return None;
        };
        let none = tunnel.copy_dscp_in;
        if none { None } else { Some(Self { local: range(local)?, remote: range(remote)? }) }
    }

    /// Whether a packet that arrived matches the selectors.
    #[inline]
    pub fn matches(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        let within = |address: Ipv4Addr, (start, len): (u32, u32)| {
            address.to_bits().wrapping_sub(start) <= len
        };
        within(destination, self.local) && within(source, self.remote)
    }
}

/// First address, and how far it is to the last one.
fn range(ts: &TrafficSelector) -> Option<(u32, u32)> {
    match ts.addresses {
        AddressRange::V4 { start, end } if ts.protocol == ANY_PROTOCOL && ts.ports.is_any() => {
            Some((start.to_bits(), end.to_bits().checked_sub(start.to_bits())?))
        }
        _ => None,
    }
}

fn usual_tunnel<P: Provider>(protection: &Protection<P>) -> Option<&Tunnel> {
    protection.esp()?.salt_of_counter()?;
    match &protection.mode {
        Mode::Tunnel(tunnel) => Some(tunnel),
        _ => None,
    }
}

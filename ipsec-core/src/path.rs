//! Where datagrams go: two endpoints.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::address::AddressText;

/// An address and a UDP port. The port is 0 where there is none (IP protocols 50 and 51).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The UDP port, or 0.
    pub port: u16,
}

impl Endpoint {
    /// No endpoint: what an empty slot holds.
    pub const UNSPECIFIED: Self = Self::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

    /// An address and a port.
    pub const fn new(address: IpAddr, port: u16) -> Self {
        Self { address, port }
    }

    /// The same address with another port.
    pub const fn with_port(self, port: u16) -> Self {
        Self { address: self.address, port }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(a: SocketAddr) -> Self {
        Self::new(a.ip(), a.port())
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(e: Endpoint) -> Self {
        Self::new(e.address, e.port)
    }
}

impl core::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.address {
            IpAddr::V4(_) => write!(f, "{}:{}", AddressText(self.address), self.port),
            IpAddr::V6(_) => write!(f, "[{}]:{}", AddressText(self.address), self.port),
        }
    }
}

impl core::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Our endpoint and the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Ours.
    pub local: Endpoint,
    /// The peer's.
    pub remote: Endpoint,
}

impl Path {
    /// No path: what an empty slot holds.
    pub const UNSPECIFIED: Self =
        Self { local: Endpoint::UNSPECIFIED, remote: Endpoint::UNSPECIFIED };

    /// From our endpoint to the peer's.
    pub const fn new(local: Endpoint, remote: Endpoint) -> Self {
        Self { local, remote }
    }

    /// The same addresses with other ports.
    pub const fn with_ports(self, local: u16, remote: u16) -> Self {
        Self { local: self.local.with_port(local), remote: self.remote.with_port(remote) }
    }
}

impl core::fmt::Display for Path {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} -> {}", self.local, self.remote)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Endpoint {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Path {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

//! The protected side: a TUN device, its addresses, and the routes into it.
//!
//! Addresses, routes and rules are made with iproute2's `ip`.
//!
//! Routes into the tunnels lie in a table of their own, which everything uses but what the daemon itself sends: its
//! sockets carry a mark. So a tunnel may cover its own peer's address, or the whole Internet, without a loop.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::process::{Command, Stdio};

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};
use ipsec::AddressRange;
use tun_rs::{DeviceBuilder, SyncDevice};

/// Number of the routing table, preference of the rule that leads to it, and mark of what does not follow the rule.
pub(crate) const ROUTES: u32 = 4500;

/// The device, up, with what it was given.
pub(crate) struct Tun {
    device: SyncDevice,
    has_rules: bool,
}

impl Tun {
    /// Makes the device `name`, which is gone when the program ends.
    pub(crate) fn open(name: &str, mtu: u16, addresses: &[IpNet]) -> Result<Self, String> {
        let device = DeviceBuilder::new()
            .name(name)
            .mtu(mtu)
            .enable(false)
            .build_sync()
            .and_then(|device| device.set_nonblocking(true).map(|()| device))
            .map_err(|e| format!("cannot make the TUN device {name}: {e}{}", hint(&e)))?;
        // No link-local address, so that the kernel does not talk IPv6 by itself; it fails where IPv6 is switched off.
        let _ = ip(&["link", "set", "dev", name, "addrgenmode", "none"]);
        ip(&["link", "set", "dev", name, "up"])?;
        for address in addresses {
            let nodad: &[&str] = if address.addr().is_ipv6() { &["nodad"] } else { &[] };
            let add = ["address", "replace", &address.to_string(), "dev", name];
            ip(&[&add[..], nodad].concat())?;
        }
        Ok(Self { device, has_rules: false })
    }

    /// Gives the device an address.
    pub(crate) fn add_address(name: &str, address: IpAddr) -> Result<(), String> {
        let nodad: &[&str] = if address.is_ipv6() { &["nodad"] } else { &[] };
        let (address, len) = (address.to_string(), if address.is_ipv4() { 32 } else { 128 });
        let add = ["address", "replace", &format!("{address}/{len}"), "dev", name];
        ip(&[&add[..], nodad].concat())
    }

    /// Routes these destinations into the device, where this host talks to them from the address beside them, if there is
    /// one.
    pub(crate) fn route(
        &mut self,
        name: &str,
        remotes: &[(AddressRange, Option<IpAddr>)],
    ) -> Result<(), String> {
        let table = ROUTES.to_string();
        for (range, source) in remotes {
            for network in networks(range) {
                let (to, source) = (network.to_string(), source.map(|source| source.to_string()));
                let family = family(&network.addr());
                let mut words = vec![family, "route", "replace", &to, "dev", name, "table", &table];
                if let Some(source) = &source {
                    words.extend(["src", source]);
                }
                ip(&words)?;
            }
        }
        // A rule that a killed daemon has left behind is as good as a new one.
        remove_rules();
        self.has_rules = true;
        for family in FAMILIES {
            let is_used = remotes.iter().any(|(range, _)| self::family(&range.start()) == family);
            if is_used {
                let rule = ["not", "fwmark", &table, "table", &table, "preference", &table];
                ip(&[&[family, "rule", "add"], &rule[..]].concat())?;
            }
        }
        Ok(())
    }

    /// Whether the kernel knows where to send a packet that came out of the device.
    pub(crate) fn finds_way(name: &str, source: IpAddr, destination: IpAddr) -> Result<(), String> {
        let (to, from) = (destination.to_string(), source.to_string());
        ip(&[family(&destination), "route", "get", &to, "from", &from, "iif", name])
    }

    /// The next packet that wants to leave; `None` if there is none.
    pub(crate) fn receive(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match self.device.recv(buf) {
            Ok(len) => Ok(Some(len)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Gives the kernel a packet that came out of a tunnel.
    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.device.send(packet).map(drop)
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

impl Drop for Tun {
    /// The device takes its routes along; the rules would stay.
    fn drop(&mut self) {
        if self.has_rules {
            remove_rules();
        }
    }
}

const FAMILIES: [&str; 2] = ["-4", "-6"];

fn remove_rules() {
    let preference = ROUTES.to_string();
    for family in FAMILIES {
        // None is there, or IPv6 is switched off: both are fine.
        let _ = ip(&[family, "rule", "delete", "preference", &preference]);
    }
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

/// The networks that a range of addresses is made of.
fn networks(range: &AddressRange) -> IpSubnets {
    match *range {
        AddressRange::V4 { start, end } => IpSubnets::V4(Ipv4Subnets::new(start, end, 0)),
        AddressRange::V6 { start, end } => IpSubnets::V6(Ipv6Subnets::new(start, end, 0)),
    }
}

/// Runs `ip` with these words.
fn ip(words: &[&str]) -> Result<(), String> {
    let command = format!("ip {}", words.join(" "));
    let done = Command::new("ip").args(words).stdin(Stdio::null()).output();
    let done = done.map_err(|e| format!("cannot run `{command}`: {e} (is iproute2 installed?)"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("`{command}`: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (root, or CAP_NET_ADMIN, is needed)",
        io::ErrorKind::NotFound => " (is there a /dev/net/tun?)",
        io::ErrorKind::ResourceBusy => " (is another linux-gateway running?)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(start: &str, end: &str) -> Vec<String> {
        let range = AddressRange::new(start.parse().unwrap(), end.parse().unwrap()).unwrap();
        networks(&range).map(|network| network.to_string()).collect()
    }

    #[test]
    fn a_range_is_made_of_networks() {
        assert_eq!(routes("192.168.2.0", "192.168.2.255"), ["192.168.2.0/24"]);
        assert_eq!(routes("10.0.0.1", "10.0.0.4"), ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]);
        assert_eq!(routes("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(routes("fd02::", "fd02::ffff:ffff:ffff:ffff"), ["fd02::/64"]);
    }
}

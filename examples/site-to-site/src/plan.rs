//! Who is where, and what the two gateways are configured with.

use std::net::IpAddr;
use std::time::Duration;

use ipsec::{Child, ChildRef, Identity, Lifetime, Limits, Peer, TrafficSelector};
use ipsec_testkit::link::Nat;

/// The only tunnel of each gateway.
pub const TUNNEL: ChildRef = ChildRef { peer: 0, child: 0 };

/// What both gateways know. Where it matters, it is drawn at random, not written into a program.
const PRE_SHARED_KEY: &[u8] = b"an example: 32 random bytes do better";

/// One side.
pub struct Side {
    /// For people.
    pub name: &'static str,
    /// Who its gateway says it is.
    id: &'static str,
    /// Its gateway's address.
    pub address: IpAddr,
    /// The address that the other side sees.
    pub seen_as: IpAddr,
    /// Its network.
    lan: [TrafficSelector; 1],
    /// A host in it, and the length of the network's prefix.
    pub host: (IpAddr, u8),
}

/// Both sides, and what is between them.
pub struct Plan {
    /// Kolkata, which begins.
    pub kolkata: Side,
    /// Delhi.
    pub delhi: Side,
    /// The middlebox before Kolkata.
    pub nat: Option<Nat>,
    rekey_after: Option<u64>,
}

impl Plan {
    /// IPv4 or IPv6, inside and outside, with or without a NAT, and when to rekey, in bytes.
    pub fn new(ipv6: bool, nat: bool, rekey_after: Option<u64>) -> Self {
        let (behind_nat, kolkata, delhi, host_k, host_d) = if ipv6 {
            ("2001:db8:66::2", "2001:db8:a::1", "2001:db8:b::1", "2001:db8:1::10", "2001:db8:2::10")
        } else {
            ("10.66.0.2", "203.0.113.1", "198.51.100.1", "192.168.1.10", "192.168.2.10")
        };
        let own = if nat { behind_nat } else { kolkata };
        let middlebox = || {
            let inside = (address(behind_nat), if ipv6 { 64 } else { 24 });
            Nat::new(address(kolkata), inside, Duration::from_secs(120))
        };
        Self {
            kolkata: Side::new("Kolkata", "kolkata.example", own, kolkata, host_k),
            delhi: Side::new("Delhi", "delhi.example", delhi, delhi, host_d),
            nat: nat.then(middlebox),
            rekey_after,
        }
    }

    /// The tunnel of `ours` to `theirs`.
    pub fn child<'r>(&self, ours: &'r Side, theirs: &'r Side) -> Child<'r> {
        let mut child = Child::new("lan to lan", &ours.lan, &theirs.lan);
        child.replay_window = 256;
        if let Some(bytes) = self.rekey_after {
            // The sender of the file asks for new keys; its peer would much later, lest both ask at once.
            let bytes = if self.is_sender(ours) { bytes } else { bytes.saturating_mul(8) };
            // A rekey takes time, on this network perhaps seconds, and traffic goes on meanwhile.
            let hard = bytes.saturating_mul(2).saturating_add(256 << 20);
            child.lifetime = Lifetime {
                soft: Limits { bytes, ..child.lifetime.soft },
                hard: Limits { bytes: hard, ..child.lifetime.hard },
            };
        }
        child
    }

    fn is_sender(&self, side: &Side) -> bool {
        side.address == self.kolkata.address
    }

    /// `theirs` as the peer of `ours`.
    pub fn peer<'r>(ours: &'r Side, theirs: &'r Side, children: &'r [Child<'r>]) -> Peer<'r> {
        Peer {
            name: theirs.name,
            children,
            ..Peer::psk(
                (Some(ours.address), Identity::Fqdn(ours.id)),
                (Some(theirs.seen_as), Identity::Fqdn(theirs.id)),
                PRE_SHARED_KEY,
            )
        }
    }
}

impl Side {
    fn new(name: &'static str, id: &'static str, own: &str, seen_as: &str, host: &str) -> Self {
        let host = address(host);
        let prefix = if host.is_ipv4() { 24 } else { 64 };
        Self {
            name,
            id,
            address: address(own),
            seen_as: address(seen_as),
            lan: [TrafficSelector::network(host, prefix).expect("the prefix fits the family")],
            host: (host, prefix),
        }
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("the addresses above are well formed")
}

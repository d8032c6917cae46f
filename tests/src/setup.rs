//! What two sides of a test have in common: addresses, configuration, sizes, weather.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use ipsec::{
    AddressRange, Child, ChildRef, Config, GatewayConfig, Identity, Peer, Sizes, TrafficSelector,
};

use crate::link::{Link, Nat, Weather};

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Kolkata, which begins unless a test says otherwise.
    A,
    /// Delhi.
    B,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The only tunnel of the usual configuration.
pub const TUNNEL: ChildRef = ChildRef { peer: 0, child: 0 };

/// The usual pre-shared key.
pub const PSK: &[u8] = b"a key of thirty-two random bytes";

/// The unprotected address of A.
pub const ADDRESS_A: IpAddr = v4(192, 0, 2, 1);
/// The unprotected address of B.
pub const ADDRESS_B: IpAddr = v4(198, 51, 100, 2);
/// The address of A when it is behind [`nat_of_a`].
pub const PRIVATE_A: IpAddr = v4(172, 16, 0, 5);
/// What [`nat_of_a`] shows.
pub const PUBLIC_A: IpAddr = v4(203, 0, 113, 77);
/// The host behind A.
pub const HOST_A: IpAddr = v4(192, 168, 1, 10);
/// The host behind B.
pub const HOST_B: IpAddr = v4(192, 168, 2, 20);
/// The network behind A.
pub const LAN_A: TrafficSelector = network(192, 168, 1);
/// The network behind B.
pub const LAN_B: TrafficSelector = network(192, 168, 2);

/// Another network, with 256 addresses.
pub const fn network(a: u8, b: u8, c: u8) -> TrafficSelector {
    TrafficSelector::addresses(AddressRange::V4 {
        start: Ipv4Addr::new(a, b, c, 0),
        end: Ipv4Addr::new(a, b, c, 255),
    })
}

/// An IPv4 address.
pub const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// A middlebox that has [`PRIVATE_A`] behind it, shows [`PUBLIC_A`], and forgets who is silent for a minute.
pub const fn nat_of_a() -> Nat {
    Nat::new(PUBLIC_A, (v4(172, 16, 0, 0), 24), Duration::from_secs(60))
}

/// Lends a value for ever: for configurations, which tests make a few of.
pub fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Lends a list for ever.
pub fn leak_all<T>(values: impl IntoIterator<Item = T>) -> &'static [T] {
    Vec::leak(values.into_iter().collect())
}

/// One side.
#[derive(Clone)]
pub struct Plan {
    /// Its unprotected address.
    pub address: IpAddr,
    /// A host of its protected network.
    pub host: IpAddr,
    /// Its peers: the other side, first of all.
    pub peers: Vec<Peer<'static>>,
    /// Everything else; [`Config::peers`] is not looked at.
    pub config: GatewayConfig<'static>,
    /// Its memory.
    pub sizes: Sizes,
    /// Addresses that it may give away, if it has a pool.
    pub leases: usize,
}

/// Both sides, and the network between them.
#[derive(Clone)]
pub struct Setup {
    /// Where all chances come from.
    pub seed: u64,
    /// The network between the two.
    pub weather: Weather,
    /// Its middleboxes.
    pub nats: Vec<Nat>,
    /// Kolkata.
    pub a: Plan,
    /// Delhi.
    pub b: Plan,
}

impl Setup {
    /// Kolkata and Delhi on a fair link: one tunnel between their networks, the usual algorithms, a pre-shared key.
    pub fn new(seed: u64) -> Self {
        const CHILD_A: &[Child<'static>] = &[Child::new("lan", &[LAN_A], &[LAN_B])];
        const CHILD_B: &[Child<'static>] = &[Child::new("lan", &[LAN_B], &[LAN_A])];
        let kolkata = Identity::Fqdn("kolkata.example");
        let delhi = Identity::Fqdn("delhi.example");
        let a = Peer {
            name: "delhi",
            children: CHILD_A,
            ..Peer::psk((Some(ADDRESS_A), kolkata), (Some(ADDRESS_B), delhi), PSK)
        };
        let b = Peer {
            name: "kolkata",
            children: CHILD_B,
            ..Peer::psk((Some(ADDRESS_B), delhi), (Some(ADDRESS_A), kolkata), PSK)
        };
        let plan = |address, host, peer| Plan {
            address,
            host,
            peers: vec![peer],
            config: GatewayConfig::new(Config::new(&[])),
            sizes: Sizes { window: 128, ..Sizes::for_tunnels(2) },
            leases: 5000,
        };
        Self {
            seed,
            weather: Weather::FAIR,
            nats: Vec::new(),
            a: plan(ADDRESS_A, HOST_A, a),
            b: plan(ADDRESS_B, HOST_B, b),
        }
    }

    /// With other weather.
    #[must_use]
    pub const fn weather(mut self, weather: Weather) -> Self {
        self.weather = weather;
        self
    }

    /// With A behind a NAT: B knows neither its address nor its port, and waits for it to begin.
    #[must_use]
    pub fn behind_nat(mut self) -> Self {
        self.nats.push(nat_of_a());
        self.a.address = PRIVATE_A;
        for peer in &mut self.a.peers {
            peer.local = Some(PRIVATE_A);
        }
        for peer in &mut self.b.peers {
            peer.remote = None;
        }
        self
    }

    /// One of the sides.
    pub const fn plan(&mut self, side: Side) -> &mut Plan {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// With all entries for peers changed, on both sides.
    #[must_use]
    pub fn peers(mut self, change: impl Fn(&mut Peer<'static>)) -> Self {
        for side in Side::BOTH {
            self.plan(side).peers.iter_mut().for_each(&change);
        }
        self
    }

    /// With all entries for tunnels changed, on both sides.
    #[must_use]
    pub fn children(self, change: impl Fn(&mut Child<'static>)) -> Self {
        self.children_of(Side::A, &change).children_of(Side::B, &change)
    }

    /// With the entries for tunnels of one side changed.
    #[must_use]
    pub fn children_of(mut self, side: Side, change: impl Fn(&mut Child<'static>)) -> Self {
        for peer in &mut self.plan(side).peers {
            peer.children = leak_all(peer.children.iter().map(|child| {
                let mut child = *child;
                change(&mut child);
                child
            }));
        }
        self
    }

    /// With other memory on both sides.
    #[must_use]
    pub fn sizes(mut self, change: impl Fn(&mut Sizes)) -> Self {
        for side in Side::BOTH {
            change(&mut self.plan(side).sizes);
        }
        self
    }

    /// With more tunnels, to make `count`: between `10.1.N.0/24` behind A and `10.2.N.0/24` behind B, for N from 1.
    #[must_use]
    pub fn tunnels(mut self, count: u8) -> Self {
        for side in Side::BOTH {
            for peer in &mut self.plan(side).peers {
                let more = (1..count).map(|n| {
                    let (mut local, mut remote) = (network(10, 1, n), network(10, 2, n));
                    if side == Side::B {
                        core::mem::swap(&mut local, &mut remote);
                    }
                    Child::new("more", leak_all([local]), leak_all([remote]))
                });
                peer.children = leak_all(peer.children.iter().copied().chain(more));
            }
        }
        self
    }

    /// The network.
    pub fn link(&self) -> Link {
        let link = Link::new(self.seed ^ 0x006c_696e_6b00, self.weather);
        self.nats.iter().cloned().fold(link, Link::with_nat)
    }
}

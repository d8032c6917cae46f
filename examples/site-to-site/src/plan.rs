//! Who is where, and what the two gateways are configured with.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipsec::ipsec_core::crypto::Integ;
use ipsec::ipsec_core::selector::SelectorList;
use ipsec::ipsec_ike::config::ModePolicy;
use ipsec::{
    AddressRange, Algorithms, Child, ChildProposal, ChildRef, Encapsulation, Endpoint, Group,
    Identity, IkeProposal, Lifetime, Limits, Manual, ManualKey, ManualSas, Mode, Path, Peer,
    Selectors, Spi, Suite, TrafficSelector,
};
use ipsec_testkit::link::Nat;
use ipsec_testkit::rng::SeededRng;

use crate::proof::Proof;

/// The only tunnel of each gateway.
pub const TUNNEL: ChildRef = ChildRef { peer: 0, child: 0 };

/// How packets are protected.
#[derive(Clone, Copy)]
pub struct Protection {
    /// With keys that both gateways are given, without IKE.
    pub manual: bool,
    /// By ESP with this suite.
    pub esp: Option<Suite>,
    /// By AH; around ESP, if there is both.
    pub ah: Option<Integ>,
    /// In transport mode: each gateway is its own host.
    pub transport: bool,
    /// With ML-KEM after another key exchange.
    pub pq: bool,
    /// With extended sequence numbers.
    pub esn: bool,
}

/// One key exchange after the first, by ML-KEM.
const ML_KEM: &[&[Group]] = &[&[Group::ML_KEM_768]];

impl Protection {
    /// What is proposed for IKE.
    pub fn ike_proposals(&self) -> &'static [IkeProposal<'static>] {
        const HYBRID: &[IkeProposal<'static>] =
            &[IkeProposal { additional: ML_KEM, ..IkeProposal::DEFAULT[0] }];
        if self.pq { HYBRID } else { IkeProposal::DEFAULT }
    }

    /// What is proposed; with the usual suites, if none is chosen.
    fn proposals(&self) -> &'static [ChildProposal<'static>] {
        let suites = match (self.esp, self.ah) {
            (None, None) => ChildProposal::DEFAULT[0].suites,
            (Some(suite), _) => vec![suite].leak(),
            (None, Some(integ)) => vec![Suite::ah(integ)].leak(),
        };
        let (groups, additional) =
            if self.pq { (&[Group::X25519][..], ML_KEM) } else { (&[][..], &[][..]) };
        vec![ChildProposal { suites, groups, esn: self.esn, additional }].leak()
    }

    /// Whether packets are encrypted, and not only authenticated.
    pub fn encrypts(&self) -> bool {
        match self.esp {
            Some(suite) => suite.encrypts(),
            None => self.ah.is_none(),
        }
    }

    /// What a person reads of manual keys.
    pub fn describe(&self) -> String {
        let words = |algorithms| match algorithms {
            Algorithms::Esp(suite) => format!("ESP {}", suite.keyword()),
            Algorithms::Ah(integ, _) => format!("AH {}", integ.keyword().unwrap_or("?")),
        };
        let (first, around) = self.layers();
        let around = around.map_or_else(String::new, |around| format!(" in {}", words(around)));
        let mode = if self.transport { "transport" } else { "tunnel" };
        let esn = if self.esn { ", ESN" } else { "" };
        format!("{}{around}, {mode} mode{esn}", words(first))
    }

    /// What protects packets, then what goes around that: for manual keys.
    fn layers(&self) -> (Algorithms, Option<Algorithms>) {
        let ah = self.ah.map(Algorithms::ah);
        match (self.esp, ah) {
            (Some(suite), around) => (Algorithms::Esp(suite), around),
            (None, Some(ah)) => (ah, None),
            (None, None) => (Algorithms::Esp(Suite::AES_128_GCM), None),
        }
    }
}

/// What `scripts/check-capture` wants to know: a word and its value on each line.
impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ike {}", !self.manual)?;
        if let (Algorithms::Esp(suite), _) = self.layers()
            && (self.manual || self.esp.is_some())
        {
            writeln!(f, "esp {}", suite.keyword())?;
        }
        if let Some(integ) = self.ah {
            writeln!(f, "ah {}", integ.keyword().unwrap_or("?"))?;
        }
        writeln!(f, "mode {}", if self.transport { "transport" } else { "tunnel" })?;
        writeln!(f, "esn {}", self.esn)
    }
}

/// The keys that both gateways are given, from Kolkata to Delhi and back; SPIs are numbered from [`FIRST_SPI`].
pub struct ManualKeys {
    protection: Protection,
    first: [Vec<u8>; 2],
    around: [Vec<u8>; 2],
}

/// The SPI from Kolkata to Delhi.
const FIRST_SPI: u32 = 0x1001;

impl ManualKeys {
    /// Random keys.
    pub fn new(protection: Protection, rng: &mut SeededRng) -> Self {
        let (first, around) = protection.layers();
        let mut keys = |algorithms: Option<Algorithms>| {
            [(); 2].map(|()| {
                let mut key = vec![0; algorithms.and_then(|a| a.keymat_len()).unwrap_or(0)];
                rng.fill(&mut key);
                key
            })
        };
        Self { protection, first: keys(Some(first)), around: keys(around) }
    }

    /// What the gateway of `ours` is given.
    pub fn of<'k>(&'k self, ours: &Side, theirs: &Side, begins: bool) -> Manual<'k> {
        let sas = |protection, keys: &'k [Vec<u8>; 2]| {
            let key = |number: u32, keymat: &'k Vec<u8>| {
                let spi = Spi::new(FIRST_SPI + number).expect("no reserved number");
                Some(ManualKey { spi, keymat })
            };
            let [there, back] = keys;
            let (there, back) = (key(0, there), key(1, back));
            let (inbound, outbound) = if begins { (back, there) } else { (there, back) };
            ManualSas { protection, inbound, outbound }
        };
        let (first, around) = self.protection.layers();
        Manual {
            mode: if self.protection.transport { Mode::TRANSPORT } else { Mode::TUNNEL },
            path: Path::new(Endpoint::new(ours.address, 0), Endpoint::new(theirs.address, 0)),
            encapsulation: Encapsulation::Ip,
            esn: self.protection.esn,
            replay_window: 256,
            lifetime: Lifetime::UNLIMITED,
            sequence: 0,
            sas: sas(first, &self.first),
            around: around.map(|around| sas(around, &self.around)),
        }
    }
}

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
    /// Its network, and as the other side sees it.
    lan: [TrafficSelector; 1],
    lan_seen: [TrafficSelector; 1],
    /// A host in it, and the length of the network's prefix. In transport mode, the gateway itself.
    pub host: (IpAddr, u8),
    /// How its gateway proves who it is.
    pub proof: Proof,
}

/// Both sides, and what is between them.
pub struct Plan {
    /// Kolkata, which begins.
    pub kolkata: Side,
    /// Delhi.
    pub delhi: Side,
    /// Where Kolkata's gateway goes, if it goes elsewhere.
    pub elsewhere: IpAddr,
    /// The middlebox before Kolkata.
    pub nat: Option<Nat>,
    rekey_after: Option<u64>,
    protection: Protection,
}

impl Plan {
    /// IPv4 or IPv6, inside and outside, with or without a NAT, when to rekey, in bytes, and how packets are protected.
    pub fn new(
        ipv6: bool,
        nat: bool,
        rekey_after: Option<u64>,
        protection: Protection,
        [of_kolkata, of_delhi]: [Proof; 2],
    ) -> Self {
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
        let transport = protection.transport;
        let (host_k, host_d) = if transport { (own, delhi) } else { (host_k, host_d) };
        Self {
            kolkata: Side::new(
                "Kolkata",
                "kolkata.example",
                (own, kolkata),
                host_k,
                transport,
                of_kolkata,
            ),
            delhi: Side::new("Delhi", "delhi.example", (delhi, delhi), host_d, transport, of_delhi),
            elsewhere: address(if ipv6 { "2001:db8:c::1" } else { "203.0.113.99" }),
            nat: nat.then(middlebox),
            rekey_after,
            protection,
        }
    }

    /// The tunnel of `ours` to `theirs`.
    pub fn child<'r>(&self, ours: &'r Side, theirs: &'r Side) -> Child<'r> {
        let mut child = Child::new("lan to lan", &ours.lan, &theirs.lan_seen);
        child.proposals = self.protection.proposals();
        if let (Some(_), Some(integ)) = (self.protection.esp, self.protection.ah) {
            child.around = vec![integ].leak();
        }
        if self.protection.transport {
            child.mode = ModePolicy::RequireTransport;
        }
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

    /// What is protected between `ours` and `theirs`.
    pub fn selectors(ours: &Side, theirs: &Side) -> Selectors {
        let list = |side: &[TrafficSelector]| {
            let mut list = SelectorList::new();
            side.iter().for_each(|ts| list.push(*ts).expect("there is one"));
            list
        };
        Selectors { local: list(&ours.lan), remote: list(&theirs.lan_seen) }
    }

    fn is_sender(&self, side: &Side) -> bool {
        side.address == self.kolkata.address
    }

    /// `theirs` as the peer of `ours`.
    pub fn peer<'r>(ours: &'r Side, theirs: &'r Side, children: &'r [Child<'r>]) -> Peer<'r> {
        Peer {
            name: theirs.name,
            children,
            auth: ours.proof.auth,
            ..Peer::psk(
                (Some(ours.address), Identity::Fqdn(ours.id)),
                (Some(theirs.seen_as), Identity::Fqdn(theirs.id)),
                &[],
            )
        }
    }
}

impl Side {
    fn new(
        name: &'static str,
        id: &'static str,
        (own, seen_as): (&str, &str),
        host: &str,
        transport: bool,
        proof: Proof,
    ) -> Self {
        let host = address(host);
        let prefix = if host.is_ipv4() { 24 } else { 64 };
        let lan = TrafficSelector::network(host, prefix).expect("the prefix fits the family");
        let only = |address| TrafficSelector::addresses(AddressRange::host(address));
        let (lan, lan_seen) =
            if transport { (only(host), only(address(seen_as))) } else { (lan, lan) };
        Self {
            name,
            id,
            address: address(own),
            seen_as: address(seen_as),
            lan: [lan],
            lan_seen: [lan_seen],
            host: (host, prefix),
            proof,
        }
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("the addresses above are well formed")
}

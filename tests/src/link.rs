//! A simulated network in virtual time.
//!
//! A [`Link`] joins any number of endpoints. What is sent is lost, repeated, reordered and delayed as its [`Weather`]
//! says, decided by random numbers from a seed, so that a run can be repeated. [`Nat`] middleboxes translate the
//! addresses of the hosts behind them. A tap records what crossed the network, and a hook may drop or change it.
//!
//! The driving loop:
//! 1. [`Link::send`] what the endpoints have to send;
//! 2. move the clock to the earliest of [`Link::next_event`] and the endpoints' own deadlines;
//! 3. hand out what [`Link::deliver`] gives until it gives nothing more; go on with 1.

use core::cmp::Reverse;
use core::net::IpAddr;
use core::time::Duration;
use std::boxed::Box;
use std::collections::BinaryHeap;
use std::vec::Vec;

use ipsec_core::path::Endpoint;
use ipsec_core::time::Instant;

use crate::rng::SeededRng;

/// The protocol that carries a [`Datagram`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP; the bytes are what follows the UDP header.
    Udp,
    /// An IP protocol by its number, 50 for ESP; the bytes are what follows the IP header. Ports are 0. Of AH (51), which
    /// covers that header, the bytes are the whole packet.
    Ip(u8),
}

/// What is sent from one endpoint to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it, as far as the receiver can tell.
    pub source: Endpoint,
    /// Where it goes.
    pub destination: Endpoint,
    /// What carries it.
    pub transport: Transport,
    /// Its contents, without the headers of IP and UDP.
    pub bytes: Vec<u8>,
}

impl Datagram {
    /// A UDP datagram.
    pub fn udp(source: Endpoint, destination: Endpoint, bytes: impl Into<Vec<u8>>) -> Self {
        Self { source, destination, transport: Transport::Udp, bytes: bytes.into() }
    }

    /// An IP packet of another protocol.
    pub fn ip(
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        bytes: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            source: Endpoint::new(source, 0),
            destination: Endpoint::new(destination, 0),
            transport: Transport::Ip(protocol),
            bytes: bytes.into(),
        }
    }

    /// Bytes of the IP packet, headers included.
    pub fn packet_len(&self) -> usize {
        let ip = match self.transport {
            Transport::Ip(51) => 0,
            _ if self.destination.address.is_ipv4() => 20,
            _ => 40,
        };
        let udp = if self.transport == Transport::Udp { 8 } else { 0 };
        ip + udp + self.bytes.len()
    }
}

/// How likely something is, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u32);

impl Chance {
    /// It never happens.
    pub const NEVER: Self = Self(0);
    /// It always happens.
    pub const ALWAYS: Self = Self(1_000_000);

    /// So many times in a hundred.
    pub const fn percent(percent: u32) -> Self {
        Self::per_million(percent.saturating_mul(10_000))
    }

    /// So many times in a million.
    pub const fn per_million(n: u32) -> Self {
        Self(if n > 1_000_000 { 1_000_000 } else { n })
    }

    fn happens(self, rng: &mut SeededRng) -> bool {
        rng.below(1_000_000) < u64::from(self.0)
    }
}

/// What becomes of a packet that is larger than the MTU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversize {
    /// It vanishes, as packets do that may not be fragmented where nobody sends or heeds ICMP.
    #[default]
    Drop,
    /// It travels as IP fragments: it arrives whole, or not at all if one of them is lost.
    Fragment,
}

/// What a network does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// A packet, or a fragment, is lost.
    pub loss: Chance,
    /// A packet arrives twice, each copy after a delay of its own.
    pub duplication: Chance,
    /// A packet is held back for [`Weather::hold`], so that later ones overtake it.
    pub reordering: Chance,
    /// How long a packet is held back.
    pub hold: Duration,
    /// The least delay.
    pub delay: Duration,
    /// Up to this much is added to the delay of each packet, evenly distributed. It may reorder too.
    pub jitter: Duration,
    /// The largest IP packet, headers included.
    pub mtu: usize,
    /// What becomes of larger ones.
    pub oversize: Oversize,
}

impl Weather {
    /// A good network: 10 ms, no loss, 1500 bytes.
    pub const FAIR: Self = Self {
        loss: Chance::NEVER,
        duplication: Chance::NEVER,
        reordering: Chance::NEVER,
        hold: Duration::from_millis(50),
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        mtu: 1500,
        oversize: Oversize::Drop,
    };

    /// A bad one: a fifth is lost, a tenth comes twice, a fifth comes late, and no delay is like another.
    pub const STORM: Self = Self {
        loss: Chance::percent(20),
        duplication: Chance::percent(10),
        reordering: Chance::percent(20),
        hold: Duration::from_millis(200),
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(60),
        mtu: 1500,
        oversize: Oversize::Fragment,
    };

    /// With another loss.
    #[must_use]
    pub const fn with_loss(self, loss: Chance) -> Self {
        Self { loss, ..self }
    }

    /// With another MTU.
    #[must_use]
    pub const fn with_mtu(self, mtu: usize, oversize: Oversize) -> Self {
        Self { mtu, oversize, ..self }
    }
}

impl Default for Weather {
    fn default() -> Self {
        Self::FAIR
    }
}

/// Whom a [`Nat`] lets in, once the host behind it has sent something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Only the endpoints to which the host has sent from this mapping, and only until that is forgotten.
    #[default]
    AddressAndPort,
    /// Everybody who knows the mapping.
    None,
}

/// A middlebox that translates the addresses and UDP ports of the hosts behind it. Other protocols do not pass.
#[derive(Clone, Debug)]
pub struct Nat {
    public: IpAddr,
    inside: (IpAddr, u8),
    timeout: Duration,
    filtering: Filtering,
    next_port: u16,
    mappings: Vec<Mapping>,
}

#[derive(Clone, Debug)]
struct Mapping {
    private: Endpoint,
    /// The port of the public address.
    port: u16,
    /// To whom the host has sent.
    peers: Vec<Endpoint>,
    last_use: Instant,
}

impl Nat {
    /// Stands before the hosts of the network `inside`, an address and the length of its prefix, and shows `public`.
    ///
    /// A mapping is forgotten when its host has been silent for `timeout`. Ports are given out in order, from 40000.
    pub const fn new(public: IpAddr, inside: (IpAddr, u8), timeout: Duration) -> Self {
        Self {
            public,
            inside,
            timeout,
            filtering: Filtering::AddressAndPort,
            next_port: 40_000,
            mappings: Vec::new(),
        }
    }

    /// With another way of filtering.
    #[must_use]
    pub const fn with_filtering(mut self, filtering: Filtering) -> Self {
        self.filtering = filtering;
        self
    }

    /// The address that it shows.
    pub const fn public(&self) -> IpAddr {
        self.public
    }

    /// What the network sees of `private` at present.
    pub fn mapped(&self, private: Endpoint) -> Option<Endpoint> {
        let mapping = self.mappings.iter().find(|m| m.private == private)?;
        Some(Endpoint::new(self.public, mapping.port))
    }

    /// Forgets all mappings, as when it is restarted: hosts get new ports with what they send next.
    pub fn rebind(&mut self) {
        self.mappings.clear();
    }

    /// Forgets all mappings and shows another address from now on.
    pub fn rebind_to(&mut self, public: IpAddr) {
        self.rebind();
        self.public = public;
    }

    /// Whether the host stands behind this middlebox.
    fn covers(&self, host: IpAddr) -> bool {
        let (network, prefix) = self.inside;
        match (network, host) {
            (IpAddr::V4(n), IpAddr::V4(h)) => {
                let shift = 32u32.saturating_sub(u32::from(prefix));
                (n.to_bits() ^ h.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(n), IpAddr::V6(h)) => {
                let shift = 128u32.saturating_sub(u32::from(prefix));
                (n.to_bits() ^ h.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn forget_the_silent(&mut self, now: Instant) {
        let timeout = self.timeout;
        self.mappings.retain(|m| now.since(m.last_use) < timeout);
    }

    /// The public endpoint of a host that sends to `peer`; a new one if it has none.
    fn outbound(&mut self, now: Instant, private: Endpoint, peer: Endpoint) -> Endpoint {
        self.forget_the_silent(now);
        let index = match self.mappings.iter().position(|m| m.private == private) {
            Some(index) => index,
            None => {
                let port = self.next_port;
                self.next_port = self.next_port.checked_add(1).unwrap_or(1024);
                self.mappings.push(Mapping { private, port, peers: Vec::new(), last_use: now });
                self.mappings.len() - 1
            }
        };
        let mapping = &mut self.mappings[index];
        mapping.last_use = now;
        if !mapping.peers.contains(&peer) {
            mapping.peers.push(peer);
        }
        Endpoint::new(self.public, mapping.port)
    }

    /// The host for which something from `peer` to `port` is.
    fn inbound(&mut self, now: Instant, port: u16, peer: Endpoint) -> Option<Endpoint> {
        self.forget_the_silent(now);
        let mapping = self.mappings.iter().find(|m| m.port == port)?;
        let allowed = self.filtering == Filtering::None || mapping.peers.contains(&peer);
        allowed.then_some(mapping.private)
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way, or has arrived, in so many copies.
    Sent(u8),
    /// The network lost it.
    Lost,
    /// It was larger than the MTU.
    TooBig,
    /// The hook of [`Link::set_hook`] dropped it.
    Hook,
    /// The sender's middlebox does not translate its protocol.
    Untranslatable,
}

/// A datagram as the network between the middleboxes saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it was sent.
    pub at: Instant,
    /// The datagram, with translated source.
    pub datagram: Datagram,
    /// What became of it.
    pub fate: Fate,
}

/// What a hook says of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it pass, with whatever the hook changed.
    Pass,
    /// Drop it.
    Drop,
}

type Hook = Box<dyn FnMut(Instant, &mut Datagram) -> Verdict>;

/// The simulated network.
pub struct Link {
    rng: SeededRng,
    weather: Weather,
    towards: Vec<(IpAddr, Weather)>,
    nats: Vec<Nat>,
    in_flight: BinaryHeap<Reverse<Flight>>,
    count: u64,
    tap: Vec<Captured>,
    unsolicited: u64,
    hook: Option<Hook>,
}

struct Flight {
    arrival: Instant,
    /// Among equal arrivals the order of sending.
    count: u64,
    datagram: Datagram,
}

impl Link {
    /// A network with the given weather, all of whose chances follow from `seed`.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self {
            rng: SeededRng::new(seed),
            weather,
            towards: Vec::new(),
            nats: Vec::new(),
            in_flight: BinaryHeap::new(),
            count: 0,
            tap: Vec::new(),
            unsolicited: 0,
            hook: None,
        }
    }

    /// With a middlebox. They are numbered in the order in which they are added.
    #[must_use]
    pub fn with_nat(mut self, nat: Nat) -> Self {
        self.nats.push(nat);
        self
    }

    /// A middlebox by its number.
    pub fn nat(&mut self, number: usize) -> &mut Nat {
        &mut self.nats[number]
    }

    /// Changes the weather for what is sent from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
        self.towards.clear();
    }

    /// Changes the weather for what is sent to `destination` (as the sender names it) from now on.
    pub fn set_weather_towards(&mut self, destination: IpAddr, weather: Weather) {
        self.towards.retain(|(address, _)| *address != destination);
        self.towards.push((destination, weather));
    }

    /// Lets `hook` see, change or drop everything that is sent from now on, after the translation of its source.
    pub fn set_hook(&mut self, hook: impl FnMut(Instant, &mut Datagram) -> Verdict + 'static) {
        self.hook = Some(Box::new(hook));
    }

    /// Removes the hook.
    pub fn clear_hook(&mut self) {
        self.hook = None;
    }

    /// Sends a datagram from the host that it names as its source.
    pub fn send(&mut self, now: Instant, mut datagram: Datagram) -> Fate {
        if let Some(nat) = self.nats.iter_mut().find(|nat| nat.covers(datagram.source.address)) {
            if datagram.transport != Transport::Udp {
                return self.record(now, datagram, Fate::Untranslatable);
            }
            datagram.source = nat.outbound(now, datagram.source, datagram.destination);
        }
        if let Some(hook) = &mut self.hook
            && hook(now, &mut datagram) == Verdict::Drop
        {
            return self.record(now, datagram, Fate::Hook);
        }
        self.inject(now, datagram)
    }

    /// Puts a datagram on the network between the middleboxes, past the hook: what an attacker there can do.
    pub fn inject(&mut self, now: Instant, datagram: Datagram) -> Fate {
        let to = datagram.destination.address;
        let towards = self.towards.iter().find(|(address, _)| *address == to);
        let weather = towards.map_or(self.weather, |(_, weather)| *weather);

        let too_big = datagram.packet_len() > weather.mtu;
        if too_big && weather.oversize == Oversize::Drop {
            return self.record(now, datagram, Fate::TooBig);
        }
        // Each fragment repeats the IP header of 20 or 40 bytes; close enough is good enough here.
        let fragments = datagram.packet_len().div_ceil(weather.mtu.max(1));
        if (0..fragments).any(|_| weather.loss.happens(&mut self.rng)) {
            return self.record(now, datagram, Fate::Lost);
        }
        let copies = 1 + u8::from(weather.duplication.happens(&mut self.rng));
        for _ in 0..copies {
            let jitter = u64::try_from(weather.jitter.as_micros()).unwrap_or(u64::MAX);
            let jitter = Duration::from_micros(self.rng.below(jitter.saturating_add(1)));
            let mut arrival = now.after(weather.delay).after(jitter);
            if weather.reordering.happens(&mut self.rng) {
                arrival = arrival.after(weather.hold);
            }
            self.count += 1;
            let flight = Flight { arrival, count: self.count, datagram: datagram.clone() };
            self.in_flight.push(Reverse(flight));
        }
        self.record(now, datagram, Fate::Sent(copies))
    }

    /// When the next datagram arrives; `None` if nothing is on its way.
    pub fn next_event(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(flight)| flight.arrival)
    }

    /// The next datagram that has arrived by `now`, with its destination translated to the host behind a middlebox.
    ///
    /// Call it until it gives `None`.
    #[must_use]
    pub fn deliver(&mut self, now: Instant) -> Option<Datagram> {
        while self.next_event().is_some_and(|arrival| arrival <= now) {
            let Reverse(Flight { arrival, mut datagram, .. }) = self.in_flight.pop()?;
            let to = datagram.destination;
            if let Some(nat) = self.nats.iter_mut().find(|nat| nat.public == to.address) {
                let host = match datagram.transport {
                    Transport::Udp => nat.inbound(arrival, to.port, datagram.source),
                    Transport::Ip(_) => None,
                };
                let Some(host) = host else {
                    self.unsolicited += 1;
                    continue;
                };
                datagram.destination = host;
            }
            return Some(datagram);
        }
        None
    }

    /// How many datagrams are on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many datagrams a middlebox has refused to let in.
    pub const fn unsolicited(&self) -> u64 {
        self.unsolicited
    }

    /// Everything that was sent, in order, with what became of it.
    pub fn tap(&self) -> &[Captured] {
        &self.tap
    }

    /// Everything that was sent since this was last called.
    pub fn take_tap(&mut self) -> Vec<Captured> {
        core::mem::take(&mut self.tap)
    }

    fn record(&mut self, at: Instant, datagram: Datagram, fate: Fate) -> Fate {
        self.tap.push(Captured { at, datagram, fate });
        fate
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.arrival, self.count).cmp(&(other.arrival, other.count))
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse::<core::net::SocketAddr>().unwrap().into()
    }

    fn a() -> Endpoint {
        endpoint("192.0.2.1:500")
    }

    fn b() -> Endpoint {
        endpoint("198.51.100.1:500")
    }

    const START: Instant = Instant::from_secs(1);

    /// Everything that arrives by `now`, by its first byte.
    fn arrived(link: &mut Link, now: Instant) -> Vec<u8> {
        core::iter::from_fn(|| link.deliver(now)).map(|d| d.bytes[0]).collect()
    }

    fn send_numbers(link: &mut Link, count: u8) {
        for i in 0..count {
            link.send(START, Datagram::udp(a(), b(), [i]));
        }
    }

    #[test]
    fn fair_weather_delivers_in_order_and_in_time() {
        let mut link = Link::new(1, Weather::FAIR);
        send_numbers(&mut link, 5);
        let arrival = START.after(Duration::from_millis(10));
        assert_eq!(link.next_event(), Some(arrival));
        assert_eq!(link.deliver(START), None);
        assert_eq!(arrived(&mut link, arrival), [0, 1, 2, 3, 4]);
        assert_eq!((link.next_event(), link.in_flight()), (None, 0));
    }

    #[test]
    fn a_storm_loses_repeats_and_reorders_and_can_be_repeated() {
        let run = |seed| {
            let mut link = Link::new(seed, Weather::STORM);
            send_numbers(&mut link, 200);
            arrived(&mut link, Instant::MAX)
        };
        let order = run(1);
        assert_eq!(order, run(1));
        assert_ne!(order, run(2));
        let copies = |n: u8| order.iter().filter(|&&x| x == n).count();
        let lost = (0..200).filter(|&n| copies(n) == 0).count();
        let repeated = (0..200).filter(|&n| copies(n) == 2).count();
        assert!((20..60).contains(&lost), "{lost} lost");
        assert!((5..35).contains(&repeated), "{repeated} repeated");
        assert!(!order.is_sorted());
    }

    #[test]
    fn the_tap_tells_what_became_of_each() {
        let mut link = Link::new(3, Weather::FAIR.with_loss(Chance::ALWAYS));
        assert_eq!(link.send(START, Datagram::udp(a(), b(), [1])), Fate::Lost);
        link.set_weather(Weather { duplication: Chance::ALWAYS, ..Weather::FAIR });
        assert_eq!(link.send(START, Datagram::udp(a(), b(), [2])), Fate::Sent(2));
        link.set_hook(|_, datagram| {
            datagram.bytes[0] += 10;
            if datagram.bytes[0] == 13 { Verdict::Drop } else { Verdict::Pass }
        });
        assert_eq!(link.send(START, Datagram::udp(a(), b(), [3])), Fate::Hook);
        assert_eq!(link.send(START, Datagram::udp(a(), b(), [4])), Fate::Sent(2));
        assert_eq!(arrived(&mut link, Instant::MAX), [2, 2, 14, 14]);
        let tap = link.take_tap();
        let fates: Vec<_> = tap.iter().map(|c| (c.datagram.bytes[0], c.fate)).collect();
        assert_eq!(
            fates,
            [(1, Fate::Lost), (2, Fate::Sent(2)), (13, Fate::Hook), (14, Fate::Sent(2))]
        );
        assert!(link.tap().is_empty());
    }

    #[test]
    fn one_direction_can_be_cut() {
        let mut link = Link::new(1, Weather::FAIR);
        link.set_weather_towards(b().address, Weather::FAIR.with_loss(Chance::ALWAYS));
        assert_eq!(link.send(START, Datagram::udp(a(), b(), [1])), Fate::Lost);
        assert_eq!(link.send(START, Datagram::udp(b(), a(), [2])), Fate::Sent(1));
    }

    #[test]
    fn the_mtu_counts_headers() {
        let mut link = Link::new(1, Weather::FAIR);
        let send = |link: &mut Link, len| link.send(START, Datagram::udp(a(), b(), vec![0; len]));
        assert_eq!(send(&mut link, 1472), Fate::Sent(1));
        assert_eq!(send(&mut link, 1473), Fate::TooBig);
        let (v6a, v6b) = (endpoint("[2001:db8::1]:500"), endpoint("[2001:db8::2]:500"));
        assert_eq!(link.send(START, Datagram::udp(v6a, v6b, vec![0; 1453])), Fate::TooBig);
        let esp = Datagram::ip(a().address, b().address, 50, vec![0; 1481]);
        assert_eq!(link.send(START, esp), Fate::TooBig);
        link.set_weather(Weather::FAIR.with_mtu(1500, Oversize::Fragment));
        assert_eq!(send(&mut link, 4000), Fate::Sent(1));
    }

    #[test]
    fn a_fragmented_packet_is_lost_with_any_of_its_fragments() {
        let weather = Weather::FAIR.with_mtu(500, Oversize::Fragment);
        let mut link = Link::new(1, weather.with_loss(Chance::percent(20)));
        for _ in 0..1000 {
            link.send(START, Datagram::udp(a(), b(), vec![0; 1900]));
        }
        // 0.8 to the power of 4 is 0.41.
        assert!((350..470).contains(&link.in_flight()), "{}", link.in_flight());
    }

    #[test]
    fn a_nat_translates_there_and_back() {
        let public = "203.0.113.9".parse().unwrap();
        let inside = ("10.0.0.0".parse().unwrap(), 8);
        let nat = Nat::new(public, inside, Duration::from_secs(30));
        let mut link = Link::new(1, Weather::FAIR).with_nat(nat);
        let host = endpoint("10.1.2.3:4500");
        let mut now = START;
        let mut exchange = |link: &mut Link, datagram, wait: Duration| {
            link.send(now, datagram);
            now = now.after(wait);
            link.deliver(now)
        };
        let second = Duration::from_secs(1);

        // Nobody gets in uninvited.
        let to_public = |port| Datagram::udp(b(), Endpoint::new(public, port), [1]);
        assert_eq!(exchange(&mut link, to_public(40_000), second), None);
        assert_eq!(link.unsolicited(), 1);

        let there = exchange(&mut link, Datagram::udp(host, b(), [2]), second).unwrap();
        assert_eq!(there.source, Endpoint::new(public, 40_000));
        assert_eq!(link.nat(0).mapped(host), Some(there.source));
        let back = exchange(&mut link, to_public(40_000), second).unwrap();
        assert_eq!((back.source, back.destination), (b(), host));
        // Another port of the same peer was not invited.
        let stranger = Datagram::udp(b().with_port(4500), there.source, [3]);
        assert_eq!(exchange(&mut link, stranger, second), None);
        link.nat(0).filtering = Filtering::None;
        let stranger = Datagram::udp(b().with_port(4500), there.source, [3]);
        assert!(exchange(&mut link, stranger, second).is_some());
        // ESP without UDP does not pass.
        let esp = Datagram::ip(host.address, b().address, 50, [4]);
        assert_eq!(exchange(&mut link, esp, second), None);
        assert_eq!(link.tap().last().unwrap().fate, Fate::Untranslatable);

        // Another peer sees the same mapping; after silence the port is another one.
        let there = exchange(&mut link, Datagram::udp(host, a(), [5]), 31 * second).unwrap();
        assert_eq!(there.source.port, 40_000);
        let there = exchange(&mut link, Datagram::udp(host, b(), [6]), second).unwrap();
        assert_eq!(there.source.port, 40_001);
        link.nat(0).rebind_to("203.0.113.10".parse().unwrap());
        let there = exchange(&mut link, Datagram::udp(host, b(), [7]), second).unwrap();
        assert_eq!(there.source, endpoint("203.0.113.10:40002"));
        assert_eq!(
            exchange(&mut link, to_public(40_001), second).unwrap().destination.port,
            40_001
        );
    }

    #[test]
    fn both_sides_may_be_behind_a_middlebox() {
        let nat = |public: &str, inside: &str| {
            Nat::new(
                public.parse().unwrap(),
                (inside.parse().unwrap(), 24),
                Duration::from_secs(30),
            )
            .with_filtering(Filtering::None)
        };
        let mut link = Link::new(1, Weather::FAIR)
            .with_nat(nat("203.0.113.1", "10.0.1.0"))
            .with_nat(nat("203.0.113.2", "10.0.2.0"));
        let (left, right) = (endpoint("10.0.1.5:4500"), endpoint("10.0.2.5:4500"));
        // The right one has opened a mapping, so that the left one can reach it.
        link.send(START, Datagram::udp(right, b(), [0]));
        let right_public = link.nat(1).mapped(right).unwrap();
        link.send(START, Datagram::udp(left, right_public, [1]));
        let now = START.after(Duration::from_secs(1));
        let _ = link.deliver(now).unwrap();
        let there = link.deliver(now).unwrap();
        assert_eq!((there.source, there.destination), (endpoint("203.0.113.1:40000"), right));
        link.send(now, Datagram::udp(right, there.source, [2]));
        let back = link.deliver(Instant::MAX.min(now.after(Duration::from_secs(1)))).unwrap();
        assert_eq!((back.source, back.destination), (right_public, left));
    }
}

//! Two gateways and the network between them, driven by virtual time.
//!
//! ```
//! use core::time::Duration;
//! use ipsec_testkit::pair::{Memory, Pair};
//! use ipsec_testkit::setup::{Setup, Side};
//!
//! let setup = Setup::new(1);
//! let mut memory = Memory::new(&setup);
//! let mut pair = Pair::new(&setup, &mut memory);
//! pair.initiate(Side::A).unwrap();
//! assert!(pair.wait(Duration::from_secs(1), |pair| pair.is_up()));
//! pair.send(Side::A, 42);
//! pair.run_for(Duration::from_secs(1));
//! assert_eq!(pair.b.numbers(), [42]);
//! ```

use core::net::IpAddr;
use core::time::Duration;
use std::boxed::Box;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use ipsec::{
    Answer, ChildRef, CommandError, Config, DownReason, Encapsulation, Endpoint, Failure, Gateway,
    GatewayConfig, GatewayEvent, IkeId, Inbound, InboundError, Instant, JobId, MAX_HEADROOM,
    MAX_TAILROOM, Outbound, OutboundError, PacketBuf, Path, Peer, Pools, Provider, Statistics,
    Store, Via,
};
use ipsec_core::crypto::CryptoError;
use ipsec_core::sa::Protocol;
use ipsec_ike::jobs::MAX_PUBLIC;

use crate::clock::Clock;
use crate::isakmp::IsakmpKeys;
use crate::link::{Datagram, Link, Transport};
use crate::pcap::{Pcap, packet};
use crate::rng::SeededRng;
use crate::setup::{Plan, Setup, Side, TUNNEL};
use crate::toy::Toy;
use crate::toy_keys::Authority;

/// Room for the largest IKE message.
const DATAGRAM: usize = 8192;
/// Ports of the hosts behind the gateways.
const HOST_PORT: u16 = 4242;
/// So many steps without any progress of time are a busy loop.
const STUCK: u32 = 10_000;

/// Growable stores.
pub struct Vecs;

impl Store for Vecs {
    type Of<T> = Vec<T>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
        items.collect()
    }
}

/// The memory of two gateways.
pub struct Memory<P: Provider = Toy> {
    sides: [(Vec<Peer<'static>>, Pools<P, Vecs>); 2],
}

impl Memory<Toy> {
    /// As much as the setup asks for, for gateways with the toy provider.
    pub fn new(setup: &Setup) -> Self {
        Self::of(setup)
    }
}

impl<P: Provider> Memory<P> {
    /// As much as the setup asks for.
    pub fn of(setup: &Setup) -> Self {
        let side = |plan: &Plan| {
            let leases = plan.config.ike.pool.map_or(0, |_| plan.leases);
            (plan.peers.clone(), Pools::new(&plan.sizes).with_leases(leases))
        };
        Self { sides: [side(&setup.a), side(&setup.b)] }
    }
}

/// Who does the slow cryptography of a side, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobs {
    /// Each at once.
    AtOnce,
    /// Each after this time.
    After(Duration),
    /// Each fails after this time.
    Fail(Duration),
    /// The test does them: they are in [`Node::held`].
    Held,
}

/// What became of a packet of the protected side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was sealed and sent.
    Sealed,
    /// It was sent in clear.
    Bypassed,
    /// It was dropped, for want of an SA: negotiation has begun, or is under way.
    Waiting,
    /// It was dropped by policy.
    Discarded,
    /// It was refused.
    Refused(OutboundError),
}

/// One gateway, with what it was given and what it said.
pub struct Node<'r, P: Provider = Toy> {
    /// Which of the two.
    pub side: Side,
    /// The gateway.
    pub gateway: Gateway<'r, P>,
    /// Its random numbers.
    pub rng: SeededRng,
    /// Its unprotected address.
    pub address: IpAddr,
    /// A host behind it.
    pub host: IpAddr,
    /// Who does its slow cryptography.
    pub jobs: Jobs,
    /// Who signs and verifies for it.
    pub authenticator: Authority,
    /// Jobs that the test is to do.
    pub held: Vec<JobId>,
    /// Everything that it told, and when, by the world's clock.
    pub events: Vec<(Instant, GatewayEvent)>,
    /// Every datagram that it refused, when by the world's clock, and why.
    pub errors: Vec<(Instant, InboundError)>,
    /// The packets that came out of its tunnels.
    pub received: Vec<Vec<u8>>,
    /// Which tunnel each of them came through.
    pub received_from: Vec<ChildRef>,
    /// How far its clock is ahead of that of the world.
    pub ahead: Duration,
    /// It is suspended: nothing reaches it, and none of its deadlines is kept.
    pub asleep: bool,
    waiting: Vec<(Instant, JobId)>,
    buffers: usize,
    stuck: u32,
}

/// What a test wants to do with a node just before a datagram reaches it.
pub type OnArrival<'r, P> = Box<dyn FnMut(&mut Node<'r, P>, Instant, &Datagram) + 'r>;

/// Two gateways, the network between them, and the clock.
pub struct Pair<'r, P: Provider = Toy> {
    /// Kolkata.
    pub a: Node<'r, P>,
    /// Delhi.
    pub b: Node<'r, P>,
    /// The network.
    pub link: Link,
    /// The time.
    pub clock: Clock,
    /// Sees each datagram just before its node does.
    pub on_arrival: Option<OnArrival<'r, P>>,
    /// Where datagrams are written.
    room: Vec<u8>,
}

impl<'r, P: Provider> Node<'r, P> {
    fn new(
        side: Side,
        seed: u64,
        plan: &Plan,
        memory: &'r mut (Vec<Peer<'static>>, Pools<P, Vecs>),
    ) -> Self {
        let (peers, pools) = memory;
        let mut rng = SeededRng::new(seed);
        let config = GatewayConfig { ike: Config { peers, ..plan.config.ike }, ..plan.config };
        let mut gateway = match Gateway::new(&config, pools.lend(), &mut rng) {
            Ok(gateway) => gateway,
            Err(e) => panic!("{side:?}: {e}"),
        };
        if config.ike.peers.iter().any(|peer| peer.mobike.is_some()) {
            gateway.support_mobike();
        }
        Self {
            side,
            gateway,
            rng,
            address: plan.address,
            host: plan.host,
            jobs: Jobs::AtOnce,
            authenticator: Authority,
            held: Vec::new(),
            events: Vec::new(),
            errors: Vec::new(),
            received: Vec::new(),
            received_from: Vec::new(),
            ahead: Duration::ZERO,
            asleep: false,
            waiting: Vec::new(),
            buffers: plan.sizes.buffers,
            stuck: 0,
        }
    }

    /// Takes a datagram off the network.
    ///
    /// # Errors
    /// Those of the gateway.
    pub fn take(&mut self, now: Instant, datagram: &Datagram) -> Result<(), InboundError> {
        let mut bytes = datagram.bytes.clone();
        let path = Path::new(datagram.destination, datagram.source);
        let inbound = match datagram.transport {
            Transport::Udp => self.gateway.inbound_udp(now, &mut self.rng, path, 0, &mut bytes),
            Transport::Ip(51) => self.gateway.inbound_ip(now, &mut self.rng, &mut bytes),
            Transport::Ip(_) => self.gateway.inbound_esp(now, &mut self.rng, path, 0, &mut bytes),
        };
        if let Inbound::Packet(received) = inbound? {
            self.received.push(received.packet.to_vec());
            if let Via::Child { config, .. } = received.via {
                self.received_from.push(config);
            }
        }
        Ok(())
    }

    /// Step 5 of the driving loop.
    pub fn settle(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.gateway.poll_event(now, &mut self.rng) {
                self.events.push((self.world(now), event));
            }
            let Some(id) = self.gateway.poll_job() else { return };
            match self.jobs {
                Jobs::AtOnce => self.run(now, id),
                Jobs::After(time) | Jobs::Fail(time) => self.waiting.push((now.after(time), id)),
                Jobs::Held => self.held.push(id),
            }
        }
    }

    /// Does one job, if it still waits.
    pub fn run(&mut self, now: Instant, id: JobId) {
        let mut public = [0; MAX_PUBLIC];
        let Some(job) = self.gateway.job(id) else { return };
        let answer = job.run_with(&mut self.rng, &mut public, &self.authenticator);
        self.gateway.handle_job(now, &mut self.rng, id, answer);
    }

    /// Says that one job failed.
    pub fn fail(&mut self, now: Instant, id: JobId) {
        let answer = Answer::Failed(CryptoError::PeerValue);
        self.gateway.handle_job(now, &mut self.rng, id, answer);
    }

    /// What its clock shows when the world's shows this.
    pub fn local(&self, now: Instant) -> Instant {
        now.after(self.ahead)
    }

    /// When the world's clock shows that something is due.
    fn next_timeout(&self) -> Option<Instant> {
        let job = self.waiting.iter().map(|(at, _)| *at).min();
        let due = [self.gateway.next_timeout(), job].into_iter().flatten().min();
        due.filter(|_| !self.asleep).map(|at| self.world(at))
    }

    /// What the world's clock shows when its own shows this.
    fn world(&self, local: Instant) -> Instant {
        Instant::ZERO.after(local.since(Instant::ZERO.after(self.ahead)))
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.gateway.next_timeout().is_some_and(|at| at <= now) {
            self.gateway.handle_timeout(now, &mut self.rng);
        }
        let (due, later) =
            core::mem::take(&mut self.waiting).into_iter().partition(|(at, _)| *at <= now);
        self.waiting = later;
        let due: Vec<(Instant, JobId)> = due;
        for (_, id) in due {
            match self.jobs {
                Jobs::Fail(_) => self.fail(now, id),
                _ => self.run(now, id),
            }
        }
    }

    /// Whether its first tunnel is up.
    pub fn is_up(&self) -> bool {
        self.tunnel_is_up(TUNNEL)
    }

    /// Whether a tunnel is up.
    pub fn tunnel_is_up(&self, config: ChildRef) -> bool {
        self.gateway.tunnel(config).is_some_and(|tunnel| tunnel.child.is_some())
    }

    /// The IKE SA that was established last.
    ///
    /// # Panics
    /// If there was none.
    pub fn ike(&self) -> IkeId {
        let ids = self.events.iter().rev().filter_map(|(_, event)| match event {
            GatewayEvent::IkeUp { ike, .. } | GatewayEvent::IkeRekeyed { ike, .. } => Some(*ike),
            _ => None,
        });
        ids.into_iter().next().unwrap_or_else(|| panic!("{:?} had no IKE SA", self.side))
    }

    /// The numbers of the packets that arrived, as given to [`Pair::send`].
    pub fn numbers(&self) -> Vec<u32> {
        self.received.iter().map(|packet| number_of(packet)).collect()
    }

    /// What did not come about.
    pub fn failures(&self) -> Vec<Failure> {
        let failures = self.events.iter().filter_map(|(_, event)| match event {
            GatewayEvent::Failed { failure, .. } => Some(failure.clone()),
            _ => None,
        });
        failures.collect()
    }

    /// Why its IKE SAs ended.
    pub fn ike_downs(&self) -> Vec<DownReason> {
        let reasons = self.events.iter().filter_map(|(_, event)| match event {
            GatewayEvent::IkeDown { reason, .. } => Some(*reason),
            _ => None,
        });
        reasons.collect()
    }

    /// Why its child SAs ended.
    pub fn child_downs(&self) -> Vec<DownReason> {
        let reasons = self.events.iter().filter_map(|(_, event)| match event {
            GatewayEvent::ChildDown { reason, .. } => Some(*reason),
            _ => None,
        });
        reasons.collect()
    }

    /// Whether no child's end was told twice.
    pub fn each_child_down_once(&self) -> bool {
        let downs = self.events.iter().filter_map(|(_, event)| match event {
            GatewayEvent::ChildDown { child, .. } => Some(*child),
            _ => None,
        });
        let downs: Vec<_> = downs.collect();
        downs.iter().enumerate().all(|(n, child)| !downs[..n].contains(child))
    }

    /// How many events fit.
    pub fn count(&self, fits: impl Fn(&GatewayEvent) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| fits(event)).count()
    }

    /// How often a child SA was replaced.
    pub fn child_rekeys(&self) -> usize {
        self.count(|event| matches!(event, GatewayEvent::ChildRekeyed { .. }))
    }

    /// How often an IKE SA was replaced.
    pub fn ike_rekeys(&self) -> usize {
        self.count(|event| matches!(event, GatewayEvent::IkeRekeyed { .. }))
    }

    /// The keys of its last IKE SA of IKEv1, which it logs.
    ///
    /// # Panics
    /// If it has logged none.
    pub fn isakmp_keys(&self) -> IsakmpKeys {
        let logged = self.events.iter().rev().find_map(|(_, event)| match event {
            GatewayEvent::IkeKeys(keys) => Some(keys),
            _ => None,
        });
        let Some(keys) = logged else { panic!("{:?} logs no keys", self.side) };
        IsakmpKeys {
            cookies: (keys.initiator_spi, keys.responder_spi),
            suite: keys.suite,
            key: keys.encryption_i().to_vec(),
            skeyid_a: keys.integrity_i().to_vec(),
        }
    }

    /// The time line of what it told, for the message of a failed test.
    pub fn log(&self) -> String {
        let lines =
            self.events.iter().map(|(at, event)| format!("{:?} {at:?} {event:?}\n", self.side));
        lines.collect()
    }

    /// What is in use.
    pub fn statistics(&self) -> Statistics {
        self.gateway.statistics()
    }

    /// Checks that nothing is in use: no slot, buffer, context, SA, SPI or deadline.
    ///
    /// # Panics
    /// If something is.
    pub fn assert_empty(&self) {
        let empty = Statistics {
            ike_sas: 0,
            children: 0,
            handshakes: 0,
            exchanges: 0,
            buffers_free: self.buffers,
            inbound_sas: 0,
            outbound_sas: 0,
        };
        assert_eq!(self.statistics(), empty, "{:?} has something left\n{}", self.side, self.log());
        assert_eq!(
            self.gateway.next_timeout(),
            None,
            "{:?} still waits\n{}",
            self.side,
            self.log()
        );
        assert!(self.gateway.is_idle());
    }
}

impl<'r, P: Provider> Pair<'r, P> {
    /// Two gateways that have not spoken yet. It is [`Clock::new`] o'clock.
    ///
    /// # Panics
    /// If the setup is wrong.
    pub fn new(setup: &Setup, memory: &'r mut Memory<P>) -> Self {
        let [memory_a, memory_b] = &mut memory.sides;
        let seed = setup.seed.wrapping_mul(4);
        Self {
            a: Node::new(Side::A, seed.wrapping_add(1), &setup.a, memory_a),
            b: Node::new(Side::B, seed.wrapping_add(2), &setup.b, memory_b),
            link: setup.link(),
            clock: Clock::new(),
            on_arrival: None,
            room: vec![0; DATAGRAM],
        }
    }

    /// Puts a new gateway with the same configuration in the place of one, which is gone with all that it knew.
    ///
    /// # Panics
    /// If the setup is wrong.
    pub fn restart(&mut self, side: Side, setup: &Setup, memory: &'r mut Memory<P>) {
        let [memory_a, memory_b] = &mut memory.sides;
        let (plan, memory) = match side {
            Side::A => (&setup.a, memory_a),
            Side::B => (&setup.b, memory_b),
        };
        let node = self.node(side);
        let seed = node.rng.fork().next();
        *node = Node { ahead: node.ahead, ..Node::new(side, seed, plan, memory) };
    }

    /// One of the sides.
    pub const fn node(&mut self, side: Side) -> &mut Node<'r, P> {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Lets something happen at one side, and does what follows from it.
    pub fn with<R>(
        &mut self,
        side: Side,
        f: impl FnOnce(&mut Gateway<'r, P>, Instant, &mut SeededRng) -> R,
    ) -> R {
        let now = self.now();
        let node = self.node(side);
        let now = node.local(now);
        let result = f(&mut node.gateway, now, &mut node.rng);
        self.flush(side);
        result
    }

    /// Brings the first tunnel up.
    ///
    /// # Errors
    /// Those of the gateway.
    pub fn initiate(&mut self, side: Side) -> Result<(), CommandError> {
        self.with(side, |gateway, now, rng| gateway.initiate(now, rng, TUNNEL))
    }

    /// Replaces the keys of the first tunnel.
    ///
    /// # Errors
    /// Those of the gateway.
    pub fn rekey(&mut self, side: Side) -> Result<(), CommandError> {
        self.with(side, |gateway, now, rng| gateway.rekey(now, rng, TUNNEL))
    }

    /// Replaces the keys of the last IKE SA.
    ///
    /// # Errors
    /// Those of the gateway.
    pub fn rekey_ike(&mut self, side: Side) -> Result<(), CommandError> {
        let ike = self.node(side).ike();
        self.with(side, |gateway, now, rng| gateway.rekey_ike(now, rng, ike))
    }

    /// Takes the first tunnel down.
    ///
    /// # Errors
    /// Those of the gateway.
    pub fn close(&mut self, side: Side) -> Result<(), CommandError> {
        self.with(side, |gateway, now, rng| gateway.close(now, rng, TUNNEL))
    }

    /// Ends everything.
    pub fn close_all(&mut self, side: Side) {
        self.with(side, |gateway, now, rng| gateway.close_all(now, rng));
    }

    /// Steps 5 and 6 of the driving loop.
    pub fn flush(&mut self, side: Side) {
        let now = self.now();
        let node = match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        node.settle(node.local(now));
        loop {
            match node.gateway.poll_transmit(&mut self.room) {
                Ok(Some(transmit)) => {
                    let Path { local, remote } = transmit.path;
                    self.link.send(now, Datagram::udp(local, remote, &self.room[..transmit.len]));
                }
                Ok(None) => return,
                Err(e) => panic!("{side:?}: {e}"),
            }
        }
    }

    /// Sends a packet with a number, of 64 bytes and some more, from the host behind one side to the one behind the
    /// other.
    pub fn send(&mut self, side: Side, number: u32) -> Sent {
        let (from, to) = match side {
            Side::A => (self.a.host, self.b.host),
            Side::B => (self.b.host, self.a.host),
        };
        self.send_between(side, (from, to), number)
    }

    /// Sends a packet with a number between any hosts.
    pub fn send_between(&mut self, side: Side, hosts: (IpAddr, IpAddr), number: u32) -> Sent {
        let mut payload = vec![0x55; 36 + (number as usize) % 60];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        let (from, to) = (Endpoint::new(hosts.0, HOST_PORT), Endpoint::new(hosts.1, HOST_PORT));
        let inner = packet(&Datagram::udp(from, to, payload));
        self.send_packet(side, &inner)
    }

    /// Sends an IP packet of the protected network of one side.
    pub fn send_packet(&mut self, side: Side, inner: &[u8]) -> Sent {
        let now = self.now();
        let end = MAX_HEADROOM + inner.len();
        let mut buf = vec![0; end + MAX_TAILROOM];
        buf[MAX_HEADROOM..end].copy_from_slice(inner);
        let Some(buffer) = PacketBuf::new(&mut buf, MAX_HEADROOM..end) else { panic!("no room") };
        let node = match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        let local = node.local(now);
        let sent = match node.gateway.outbound(local, &mut node.rng, buffer) {
            Ok(Outbound::Send(sent)) => {
                let Path { local, remote } = sent.path();
                let datagram = match sent.encapsulation() {
                    Encapsulation::Udp => Datagram::udp(local, remote, sent.esp()),
                    Encapsulation::Ip if sent.sealed.protocol == Protocol::Ah => {
                        Datagram::ip(local.address, remote.address, 51, sent.outer())
                    }
                    Encapsulation::Ip => {
                        Datagram::ip(local.address, remote.address, 50, sent.esp())
                    }
                };
                self.link.send(now, datagram);
                Sent::Sealed
            }
            Ok(Outbound::Bypass(_)) => Sent::Bypassed,
            Ok(Outbound::Discard(_)) => Sent::Discarded,
            Ok(Outbound::Acquire(_) | Outbound::Pending(_)) => Sent::Waiting,
            Err(e) => Sent::Refused(e),
        };
        self.flush(side);
        sent
    }

    /// When something is to be done next.
    pub fn next_event(&self) -> Option<Instant> {
        let all = [self.link.next_event(), self.a.next_timeout(), self.b.next_timeout()];
        all.into_iter().flatten().min()
    }

    /// Moves to the next moment when something is to be done, no later than `limit`, and does it. `false` if nothing
    /// is to be done by then: it is `limit` o'clock, then.
    ///
    /// # Panics
    /// If time makes no progress.
    pub fn step(&mut self, limit: Instant) -> bool {
        let Some(next) = self.next_event().filter(|next| *next <= limit) else {
            self.clock.advance_to(limit);
            return false;
        };
        let before = self.now();
        let now = self.clock.advance_to(next);
        while let Some(datagram) = self.link.deliver(now) {
            let to = datagram.destination.address;
            for side in Side::BOTH {
                if self.node(side).address == to && !self.node(side).asleep {
                    self.arrive(side, &datagram);
                }
            }
        }
        for side in Side::BOTH {
            let node = self.node(side);
            node.stuck = if now > before { 0 } else { node.stuck + 1 };
            assert!(node.stuck < STUCK, "time stands still at {now:?}\n{}", node.log());
            if node.next_timeout().is_some_and(|at| at <= now) {
                node.handle_timeout(node.local(now));
                self.flush(side);
            }
        }
        true
    }

    fn arrive(&mut self, side: Side, datagram: &Datagram) {
        let now = self.now();
        let mut hook = self.on_arrival.take();
        if let Some(hook) = &mut hook {
            let node = self.node(side);
            hook(node, node.local(now), datagram);
        }
        self.on_arrival = hook;
        self.deliver(side, datagram);
    }

    /// Hands a datagram to a side, without the network.
    pub fn deliver(&mut self, side: Side, datagram: &Datagram) {
        let now = self.now();
        let node = self.node(side);
        if let Err(e) = node.take(node.local(now), datagram) {
            node.errors.push((now, e));
        }
        self.flush(side);
    }

    /// Lets time pass, and everything happen that belongs to it.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now().after(time));
    }

    /// Lets time pass until it is `limit` o'clock.
    pub fn run_until(&mut self, limit: Instant) {
        while self.step(limit) {}
    }

    /// Lets time pass until something is so. `false` if it is not so after `limit`.
    pub fn wait(&mut self, limit: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let limit = self.now().after(limit);
        loop {
            if is_so(self) {
                return true;
            }
            if !self.step(limit) {
                return is_so(self);
            }
        }
    }

    /// Whether the first tunnel is up on both sides.
    pub fn is_up(&self) -> bool {
        self.a.is_up() && self.b.is_up()
    }

    /// Brings the first tunnel up from A, within a minute.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn bring_up(&mut self) {
        if let Err(e) = self.initiate(Side::A) {
            panic!("A cannot begin: {e}");
        }
        let up = self.wait(Duration::from_secs(60), Self::is_up);
        assert!(up, "the tunnel does not come up\n{}", self.log());
    }

    /// Sends one packet each way and waits until they have arrived: on a fair link, that takes no repetition.
    ///
    /// # Panics
    /// If one does not arrive.
    pub fn ping(&mut self) {
        let (a, b) = (self.a.received.len(), self.b.received.len());
        assert_eq!(self.send(Side::A, 1), Sent::Sealed, "{}", self.log());
        assert_eq!(self.send(Side::B, 2), Sent::Sealed, "{}", self.log());
        let arrived = self.wait(Duration::from_secs(1), |pair| {
            pair.a.received.len() > a && pair.b.received.len() > b
        });
        assert!(arrived, "packets are lost\n{}", self.log());
    }

    /// Sends packets both ways until one has arrived at each side, for at most a minute: for bad weather.
    pub fn ping_until_answered(&mut self) -> bool {
        let (a, b) = (self.a.received.len(), self.b.received.len());
        for number in 0..600 {
            let _ = self.send(Side::A, number);
            let _ = self.send(Side::B, number);
            self.run_for(Duration::from_millis(100));
            if self.a.received.len() > a && self.b.received.len() > b {
                return true;
            }
        }
        false
    }

    /// Ends everything from one side, waits until nothing is kept for the other, and checks that nothing is left.
    ///
    /// # Panics
    /// If something is left.
    pub fn close_and_check(&mut self, side: Side) {
        self.close_all(side);
        self.run_for(Duration::from_secs(600));
        self.a.assert_empty();
        self.b.assert_empty();
    }

    /// Everything that crossed the network, as a capture.
    pub fn transcript(&self) -> Pcap {
        Pcap::of(self.link.tap())
    }

    /// The time lines of both sides, for the message of a failed test.
    pub fn log(&self) -> String {
        let mut all: Vec<_> = Vec::new();
        for (side, node) in [("A", &self.a), ("B", &self.b)] {
            all.extend(node.events.iter().map(|(at, event)| (*at, format!("{side} {event:?}"))));
            all.extend(node.errors.iter().map(|(at, e)| (*at, format!("{side} refused: {e}"))));
        }
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(at, line)| format!("{at:?} {line}\n")).collect()
    }
}

/// The number of a packet that [`Pair::send`] made.
pub fn number_of(packet: &[u8]) -> u32 {
    let header = if packet.first().is_some_and(|byte| byte >> 4 == 6) { 48 } else { 28 };
    packet[header..].first_chunk::<4>().map_or(0, |number| u32::from_be_bytes(*number))
}

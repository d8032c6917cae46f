//! Two bare IKE engines, each with a security association database, and the network between them: for tests that answer
//! installs late, or refuse them. [`pair`](crate::pair) has the whole gateways.

use core::net::IpAddr;
use core::time::Duration;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use ipsec::ipsec_core::sad::{InboundId, OutboundId, Sad, SadMemory, SpiAllocator};
use ipsec::ipsec_esp;
use ipsec::ipsec_ike::event::Event;
use ipsec::ipsec_ike::{Env, Ike};
use ipsec::{
    ChildId, ChildRef, Config, DatagramError, Direction, DownReason, Encapsulation, Endpoint,
    Failure, IkeId, Instant, JobId, MAX_HEADROOM, MAX_TAILROOM, PacketBuf, Path, Peer, Pools, Spi,
};

use crate::clock::Clock;
use crate::link::{Datagram, Link};
use crate::pair::{Jobs, Vecs};
use crate::pcap::packet;
use crate::rng::SeededRng;
use crate::setup::{Setup, Side, TUNNEL};
use crate::toy::Toy;

/// The memory of two engines.
pub struct Memory {
    sides: [(Vec<Peer<'static>>, Pools<Toy, Vecs>); 2],
}

impl Memory {
    /// As much as the setup asks for.
    pub fn new(setup: &Setup) -> Self {
        let side = |plan: &crate::setup::Plan| (plan.peers.clone(), Pools::new(&plan.sizes));
        Self { sides: [side(&setup.a), side(&setup.b)] }
    }
}

/// How an engine's wish to install an SA is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installs {
    /// At once.
    AtOnce,
    /// It is done at once, and said so after this time.
    After(Duration),
    /// It is done, and never said so.
    Never,
    /// SAs of this direction are refused.
    Refuse(Direction),
    /// SAs of this direction are refused after this time.
    RefuseAfter(Direction, Duration),
}

/// What an engine told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// [`Event::IkeUp`].
    IkeUp,
    /// [`Event::IkeRekeyed`].
    IkeRekeyed,
    /// [`Event::IkeDown`].
    IkeDown(DownReason),
    /// [`Event::ChildUp`], and whether it replaces another.
    ChildUp(bool),
    /// [`Event::ChildDown`].
    ChildDown(DownReason),
    /// [`Event::Failed`].
    Failed(Failure),
}

/// One child, as its owner sees it.
#[derive(Clone, Debug)]
pub struct OwnChild {
    /// Its name.
    pub id: ChildId,
    /// Whether it has been announced.
    pub up: bool,
    /// To receive on.
    pub inbound: Option<InboundId>,
    /// To send on.
    pub outbound: Option<OutboundId>,
    refused: Option<Spi>,
}

/// One engine.
pub struct Engine<'r> {
    /// Which of the two.
    pub side: Side,
    /// The engine.
    pub ike: Ike<'r, Toy>,
    /// Its SAs.
    pub sad: Sad<'r, Toy>,
    /// Its random numbers.
    pub rng: SeededRng,
    /// Its address.
    pub address: IpAddr,
    /// The host behind it.
    pub host: IpAddr,
    /// How jobs are done.
    pub jobs: Jobs,
    /// How wishes to install are answered.
    pub installs: Installs,
    /// What it told, and when.
    pub told: Vec<(Instant, Told)>,
    /// What it refused.
    pub errors: Vec<(Instant, DatagramError)>,
    /// Its children.
    pub children: Vec<OwnChild>,
    /// The IKE SA that was established last.
    pub last: Option<IkeId>,
    late_jobs: Vec<(Instant, JobId)>,
    late_installs: Vec<(Instant, ChildId, Direction, Result<(), ()>)>,
    buffers: usize,
}

/// Two engines, the network, the clock.
pub struct Engines<'r> {
    /// Kolkata.
    pub a: Engine<'r>,
    /// Delhi.
    pub b: Engine<'r>,
    /// The network.
    pub link: Link,
    /// The time.
    pub clock: Clock,
}

impl<'r> Engine<'r> {
    fn new(
        setup: &Setup,
        side: Side,
        memory: &'r mut (Vec<Peer<'static>>, Pools<Toy, Vecs>),
        sad_slots: (usize, usize),
    ) -> Self {
        let plan = if side == Side::A { &setup.a } else { &setup.b };
        let (peers, pools) = memory;
        let memory = pools.lend();
        let SadMemory { inbound, outbound, windows, links, foreign } = memory.sad;
        let slots = inbound.len();
        let (less_in, less_out) = (sad_slots.0.min(slots), sad_slots.1.min(slots));
        let words = windows.len() / slots.max(1) * less_in;
        let sad = Sad::new(SadMemory {
            inbound: &mut inbound[..less_in],
            outbound: &mut outbound[..less_out],
            windows: &mut windows[..words],
            links,
            foreign,
        });
        let mut rng = SeededRng::new(setup.seed * 4 + side as u64);
        let config = Config { peers, ..plan.config.ike };
        Self {
            side,
            ike: Ike::new(config, memory.ike, &mut rng),
            sad,
            rng,
            address: plan.address,
            host: plan.host,
            jobs: Jobs::AtOnce,
            installs: Installs::AtOnce,
            told: Vec::new(),
            errors: Vec::new(),
            children: Vec::new(),
            last: None,
            late_jobs: Vec::new(),
            late_installs: Vec::new(),
            buffers: plan.sizes.buffers,
        }
    }

    /// Calls the engine with what every input needs.
    pub fn with<R>(
        &mut self,
        now: Instant,
        f: impl FnOnce(&mut Ike<'r, Toy>, &mut Env<'_>) -> R,
    ) -> R {
        let mut env = Env { now, rng: &mut self.rng, spis: &mut self.sad };
        f(&mut self.ike, &mut env)
    }

    fn run_job(&mut self, now: Instant, id: JobId) {
        let mut public = [0; 512];
        let Some(job) = self.ike.job(id) else { return };
        let answer = job.run(&mut self.rng, &mut public);
        self.with(now, |ike, env| ike.handle_job(env, id, answer));
    }

    fn settle(&mut self, now: Instant) {
        loop {
            while self.one_event(now) {}
            let Some(id) = self.ike.poll_job() else { return };
            match self.jobs {
                Jobs::After(time) => self.late_jobs.push((now.after(time), id)),
                Jobs::Held => {}
                _ => self.run_job(now, id),
            }
        }
    }

    fn one_event(&mut self, now: Instant) -> bool {
        let Some(event) = self.ike.poll_event() else { return false };
        let mut answer = None;
        let told = match event {
            Event::Install { child, direction, params } => {
                let known = self.children.iter().position(|c| c.id == child);
                let index = known.unwrap_or(self.children.len());
                if known.is_none() {
                    let new = OwnChild {
                        id: child,
                        up: false,
                        inbound: None,
                        outbound: None,
                        refused: None,
                    };
                    self.children.push(new);
                }
                let own = &mut self.children[index];
                let refused = match self.installs {
                    Installs::Refuse(refused) | Installs::RefuseAfter(refused, _) => {
                        refused == direction
                    }
                    _ => false,
                };
                let result = if refused {
                    Err(())
                } else if direction == Direction::Inbound {
                    let installed = self.sad.install_inbound(now, &params);
                    own.inbound = installed.ok();
                    installed.map(drop).map_err(drop)
                } else {
                    let installed = self.sad.install_outbound(now, &params);
                    own.outbound = installed.ok();
                    installed.map(drop).map_err(drop)
                };
                if direction == Direction::Inbound && result.is_err() {
                    own.refused = Some(params.spi);
                }
                answer = Some((child, direction, result));
                None
            }
            Event::ChildUp { child, replaces, .. } => {
                if let Some(own) = self.children.iter_mut().find(|c| c.id == child) {
                    own.up = true;
                }
                Some(Told::ChildUp(replaces.is_some()))
            }
            Event::ChildDown { child, reason, .. } => {
                let index = self.children.iter().position(|c| c.id == child);
                let own = index.map(|index| self.children.remove(index));
                let own =
                    own.unwrap_or_else(|| panic!("{:?}: an unknown child is down", self.side));
                if let Some(id) = own.inbound {
                    self.sad.remove_inbound(id);
                }
                if let Some(id) = own.outbound {
                    self.sad.remove_outbound(id);
                }
                if let Some(spi) = own.refused {
                    self.sad.release(spi);
                }
                Some(Told::ChildDown(reason))
            }
            Event::IkeUp { ike, .. } => {
                self.last = Some(ike);
                Some(Told::IkeUp)
            }
            Event::IkeRekeyed { ike, .. } => {
                self.last = Some(ike);
                Some(Told::IkeRekeyed)
            }
            Event::IkeDown { reason, .. } => Some(Told::IkeDown(reason)),
            Event::Failed { failure, .. } => Some(Told::Failed(failure)),
            _ => None,
        };
        self.told.extend(told.map(|told| (now, told)));
        if let Some((child, direction, result)) = answer {
            let late = match self.installs {
                Installs::Never => return true,
                Installs::After(time) | Installs::RefuseAfter(_, time) => Some(time),
                _ => None,
            };
            match late {
                Some(time) => {
                    self.late_installs.push((now.after(time), child, direction, result));
                }
                None => self.with(now, |ike, env| ike.installed(env, child, direction, result)),
            }
        }
        true
    }

    fn next_timeout(&self) -> Option<Instant> {
        let jobs = self.late_jobs.iter().map(|(at, _)| *at);
        let installs = self.late_installs.iter().map(|(at, ..)| *at);
        self.ike.next_timeout().into_iter().chain(jobs).chain(installs).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.ike.next_timeout().is_some_and(|at| at <= now) {
            self.with(now, Ike::handle_timeout);
        }
        for (at, id) in core::mem::take(&mut self.late_jobs) {
            if at <= now {
                self.run_job(now, id);
            } else {
                self.late_jobs.push((at, id));
            }
        }
        for (at, child, direction, result) in core::mem::take(&mut self.late_installs) {
            if at <= now {
                self.with(now, |ike, env| ike.installed(env, child, direction, result));
            } else {
                self.late_installs.push((at, child, direction, result));
            }
        }
    }

    /// What it told, without the times.
    pub fn story(&self) -> Vec<Told> {
        self.told.iter().map(|(_, told)| told.clone()).collect()
    }

    /// What did not come about.
    pub fn failures(&self) -> Vec<Failure> {
        let failures = self.told.iter().filter_map(|(_, told)| match told {
            Told::Failed(failure) => Some(failure.clone()),
            _ => None,
        });
        failures.collect()
    }

    /// Children that are up.
    pub fn up(&self) -> usize {
        self.children.iter().filter(|c| c.up).count()
    }

    /// SAs and reserved SPIs: inbound, outbound.
    pub fn sas(&self) -> (usize, usize) {
        (self.sad.inbound_in_use(), self.sad.outbound_in_use())
    }

    /// Checks that nothing is in use.
    ///
    /// # Panics
    /// If something is.
    pub fn assert_empty(&self) {
        let ike = &self.ike;
        let used = (
            ike.sas_in_use(),
            ike.children_in_use(),
            ike.handshakes_in_use(),
            ike.exchanges_in_use(),
        );
        assert_eq!(
            used,
            (0, 0, 0, 0),
            "{:?}: SAs, children, handshakes, exchanges\n{:?}",
            self.side,
            self.told
        );
        assert_eq!(ike.buffers_free(), self.buffers, "{:?} {:?}", self.side, self.told);
        assert_eq!(self.sas(), (0, 0), "{:?} {:?}", self.side, self.told);
        assert!(self.children.is_empty() && ike.is_idle());
        assert_eq!(ike.next_timeout(), None, "{:?} {:?}", self.side, self.told);
    }
}

impl<'r> Engines<'r> {
    /// Two engines that have not spoken yet.
    pub fn new(setup: &Setup, memory: &'r mut Memory) -> Self {
        Self::with_sads(setup, memory, [(usize::MAX, usize::MAX); 2])
    }

    /// With databases that have less room than the engines have children: inbound and outbound slots of A, and of B.
    pub fn with_sads(setup: &Setup, memory: &'r mut Memory, slots: [(usize, usize); 2]) -> Self {
        let [memory_a, memory_b] = &mut memory.sides;
        Self {
            a: Engine::new(setup, Side::A, memory_a, slots[0]),
            b: Engine::new(setup, Side::B, memory_b, slots[1]),
            link: setup.link(),
            clock: Clock::new(),
        }
    }

    /// One of the sides.
    pub const fn engine(&mut self, side: Side) -> &mut Engine<'r> {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Lets something happen at one side, and does what follows.
    pub fn with<R>(
        &mut self,
        side: Side,
        f: impl FnOnce(&mut Ike<'r, Toy>, &mut Env<'_>) -> R,
    ) -> R {
        let now = self.now();
        let result = self.engine(side).with(now, f);
        self.flush(side);
        result
    }

    /// Brings up a child.
    ///
    /// # Panics
    /// If it cannot begin.
    pub fn initiate(&mut self, side: Side, config: ChildRef) {
        let begun = self.with(side, |ike, env| ike.initiate(env, config));
        assert_eq!(begun, Ok(()), "{side:?}");
    }

    /// Brings up the first child from A.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn bring_up(&mut self) {
        self.initiate(Side::A, TUNNEL);
        self.run_for(Duration::from_secs(1));
        assert_eq!((self.a.up(), self.b.up()), (1, 1), "{}", self.log());
    }

    /// Replaces the first child.
    ///
    /// # Panics
    /// If there is none.
    pub fn rekey(&mut self, side: Side) {
        let id = self.engine(side).children[0].id;
        let begun = self.with(side, |ike, env| ike.rekey_child(env, id));
        assert_eq!(begun, Ok(()), "{side:?}");
    }

    /// Ends everything.
    pub fn close_all(&mut self, side: Side) {
        self.with(side, Ike::close_all);
    }

    fn flush(&mut self, side: Side) {
        let now = self.now();
        let engine = match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        engine.settle(now);
        let mut buf = [0; 4096];
        loop {
            match engine.ike.poll_transmit(&mut buf) {
                Ok(Some(transmit)) => {
                    let Path { local, remote } = transmit.path;
                    self.link.send(now, Datagram::udp(local, remote, &buf[..transmit.len]));
                }
                Ok(None) => return,
                Err(e) => panic!("{side:?}: {e}"),
            }
        }
    }

    fn step(&mut self, limit: Instant) -> bool {
        let all = [self.link.next_event(), self.a.next_timeout(), self.b.next_timeout()];
        let next = all.into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= limit) else {
            self.clock.advance_to(limit);
            return false;
        };
        let now = self.clock.advance_to(next);
        while let Some(datagram) = self.link.deliver(now) {
            for side in Side::BOTH {
                if self.engine(side).address == datagram.destination.address {
                    self.deliver(side, &datagram);
                }
            }
        }
        for side in Side::BOTH {
            if self.engine(side).next_timeout().is_some_and(|at| at <= now) {
                self.engine(side).handle_timeout(now);
                self.flush(side);
            }
        }
        true
    }

    /// Hands a datagram to a side, without the network.
    pub fn deliver(&mut self, side: Side, datagram: &Datagram) {
        let now = self.now();
        let path = Path::new(datagram.destination, datagram.source);
        let marker = if datagram.destination.port == 500 { 0 } else { 4 };
        let mut message = datagram.bytes.get(marker..).unwrap_or_default().to_vec();
        let engine = self.engine(side);
        if let Err(e) = engine.with(now, |ike, env| ike.handle_datagram(env, path, &mut message)) {
            engine.errors.push((now, e));
        }
        self.flush(side);
    }

    /// Lets time pass, and everything happen that belongs to it.
    pub fn run_for(&mut self, time: Duration) {
        let limit = self.now().after(time);
        while self.step(limit) {}
    }

    /// Whether packets pass both ways on the children that came up last.
    pub fn carries(&mut self) -> bool {
        Side::BOTH.into_iter().all(|side| self.carry(side))
    }

    /// Whether a packet of a side arrives at the other one.
    fn carry(&mut self, side: Side) -> bool {
        let now = self.now();
        let (from, to) = match side {
            Side::A => (&mut self.a, &mut self.b),
            Side::B => (&mut self.b, &mut self.a),
        };
        let outbound = from.children.iter().rev().find(|c| c.up).and_then(|c| c.outbound);
        let Some(outbound) = outbound else { return false };
        let (source, destination) = (Endpoint::new(from.host, 7), Endpoint::new(to.host, 7));
        let inner = packet(&Datagram::udp(source, destination, [1, 2, 3, 4]));
        let end = MAX_HEADROOM + inner.len();
        let mut buf = vec![0; end + MAX_TAILROOM];
        buf[MAX_HEADROOM..end].copy_from_slice(&inner);
        let Some(mut buffer) = PacketBuf::new(&mut buf, MAX_HEADROOM..end) else { return false };
        let Ok(sealed) = ipsec_esp::seal(&mut from.sad, now, outbound, &mut buffer) else {
            return false;
        };
        let mut esp = buffer.payload()[sealed.esp].to_vec();
        let path = Path::new(sealed.path.remote, sealed.path.local);
        let arrival = ipsec_esp::Arrival {
            path,
            encapsulation: Encapsulation::Ip,
            traffic_class: 0,
            before: ipsec_esp::Before::Room(0),
        };
        let opened = ipsec_esp::open(&mut to.sad, now, &arrival, &mut esp);
        opened.is_ok_and(|opened| esp[opened.range] == inner)
    }

    /// Ends everything and checks that nothing is left.
    ///
    /// # Panics
    /// If something is left.
    pub fn close_and_check(&mut self, side: Side) {
        self.close_all(side);
        self.run_for(Duration::from_secs(600));
        self.a.assert_empty();
        self.b.assert_empty();
    }

    /// The time lines of both sides.
    pub fn log(&self) -> String {
        let mut all: Vec<_> = Vec::new();
        for engine in [&self.a, &self.b] {
            let side = engine.side;
            all.extend(engine.told.iter().map(|(at, told)| (*at, format!("{side:?} {told:?}"))));
            all.extend(engine.errors.iter().map(|(at, e)| (*at, format!("{side:?} refused: {e}"))));
        }
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(at, line)| format!("{at:?} {line}\n")).collect()
    }
}

//! Two engines with the toy provider, and the wire between them, on which somebody sits.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use ipsec_core::crypto::{Group, Integ, PrfId, Suite};
use ipsec_core::lifetime::{Lifetime, Limits};
use ipsec_core::list::Deadline;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::Spi;
use ipsec_core::sad::SpiAllocator;
use ipsec_core::selector::TrafficSelector;
use ipsec_core::time::Instant;
use ipsec_ike::config::{
    Ask, Auth, Child, ChildProposal, Config, IkeProposal, LocalAuth, Mobike, Peer, Phase1Mode,
    Phase1Proposal, Pool, Ppk, RemoteAuth, Retransmission, SIGNATURE_SCHEMES, SigningKey, User, V1,
    Versions, Xauth,
};
use ipsec_ike::event::{ChildId, ChildRef, Direction, Event, IkeId};
use ipsec_ike::identity::Identity;
use ipsec_ike::jobs::{JobId, MAX_PUBLIC};
use ipsec_ike::wire::Header;
use ipsec_ike::{ChildSlot, Env, ExchangeSlot, HandshakeSlot, Ike, IkeMemory, IkeSlot, Lease};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::toy::Toy;
use ipsec_testkit::toy_keys::{Authority, public_key};
use rand_core::CryptoRng;

use crate::insider::IkeKeys;

/// The tunnel that both sides are configured for.
pub(crate) const TUNNEL: ChildRef = ChildRef { peer: 0, child: 0 };

/// Bytes of each message buffer.
pub(crate) const BUFFER_LEN: usize = 2500;

const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 2)];
/// Where each side can be besides.
const ELSEWHERE: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 8), Ipv4Addr::new(198, 51, 100, 9)];
/// Where the first side appears to be when there is a NAT before it.
const NAT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
/// What it adds to the ports of each place of that side.
const NAT_PORTS: [u16; 2] = [30_000, 40_000];

/// Tells a reader what happens, if the environment asks for it.
macro_rules! trace {
    ($($arg:tt)*) => {
        if *$crate::pair::TRACE {
            eprintln!($($arg)*);
        }
    };
}
pub(crate) use trace;

/// Whether `IPSEC_FUZZ_TRACE` is set: to read what an input does.
pub(crate) static TRACE: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("IPSEC_FUZZ_TRACE").is_some());

/// What a pair is like.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shape {
    pub(crate) nat: bool,
    pub(crate) always_cookie: bool,
    pub(crate) perfect_forward_secrecy: bool,
    pub(crate) short_lives: bool,
    pub(crate) cbc: bool,
    pub(crate) other_group: bool,
    pub(crate) small_pools: bool,
    /// All but the shortest messages go in fragments.
    pub(crate) fragments: bool,
    /// IKEv1, in this mode.
    pub(crate) v1: Option<Phase1Mode>,
    /// Both sides sign; with short lives, they do so again and again.
    pub(crate) signatures: bool,
    /// The first side is known from a store.
    pub(crate) store: bool,
    pub(crate) ppk: bool,
    pub(crate) childless: bool,
    pub(crate) mobike: bool,
    /// The first side asks for an address.
    pub(crate) assigns: bool,
    /// Of IKEv1: the first side has a user, whom the second one's caller knows.
    pub(crate) user: bool,
    /// Of IKEv1: addresses are told unasked.
    pub(crate) push: bool,
    /// Of IKEv1: the child is a bundle, AH around ESP.
    pub(crate) bundle: bool,
}

impl Shape {
    /// So many there are, less what only memory depends on.
    const CONFIGURATIONS: usize = 1 << 14;

    pub(crate) fn of(bits: u16) -> Self {
        let bit = |n: u8| bits >> n & 1 != 0;
        Self {
            nat: bit(0),
            always_cookie: bit(1),
            perfect_forward_secrecy: bit(2),
            short_lives: bit(3),
            cbc: bit(4),
            other_group: bit(5),
            small_pools: bit(6),
            fragments: bit(7),
            signatures: bit(8),
            store: bit(9),
            ppk: bit(10),
            childless: bit(11),
            mobike: bit(12),
            assigns: bit(13),
            user: false,
            push: false,
            bundle: false,
            v1: None,
        }
    }

    /// The same of IKEv1, as far as the first eight bits go, and that of addresses: Aggressive Mode where IKEv2 has
    /// cookies, a user where it has a store, addresses unasked where it has a PPK, and a bundle where it has MOBIKE, unless
    /// there is a NAT, through which no AH gets.
    pub(crate) fn of_v1(bits: u16) -> Self {
        let other = Self::of(bits);
        let shape = Self::of(bits & 0x20ff);
        let mode = if shape.always_cookie { Phase1Mode::Aggressive } else { Phase1Mode::Main };
        let bundle = other.mobike && !shape.nat;
        Self { v1: Some(mode), user: other.store, push: other.ppk, bundle, ..shape }
    }

    /// Which of the [`Shape::CONFIGURATIONS`] it has.
    fn configuration(&self) -> usize {
        let bits = [
            self.nat,
            self.always_cookie,
            self.perfect_forward_secrecy,
            self.short_lives,
            self.cbc,
            self.other_group,
            self.fragments,
            self.signatures,
            self.store || self.user,
            self.ppk || self.push,
            self.childless,
            self.mobike || self.bundle,
            self.assigns,
            self.v1.is_some(),
        ];
        bits.iter().rev().fold(0, |all, bit| all << 1 | usize::from(*bit))
    }

    /// Several key exchanges for each SA.
    fn hybrid(&self) -> bool {
        self.perfect_forward_secrecy && self.cbc && self.v1.is_none()
    }

    fn pool(&self) -> usize {
        if self.small_pools { 2 } else { 4 }
    }
}

/// The network behind a side.
fn lan(side: usize) -> &'static [TrafficSelector] {
    static LANS: LazyLock<[TrafficSelector; 2]> = LazyLock::new(|| {
        [1, 2]
            .map(|third| TrafficSelector::network(IpAddr::from([192, 168, third, 0]), 24).unwrap())
    });
    &LANS[side..=side]
}

/// What the second side gives.
const POOL: Pool<'static> = Pool {
    ipv4: Some((Ipv4Addr::new(192, 168, 1, 10), Ipv4Addr::new(192, 168, 1, 12))),
    ipv6: None,
    dns: &[IpAddr::V4(Ipv4Addr::new(192, 168, 2, 53))],
    domains: &["example.test"],
    networks: &[(Ipv4Addr::new(192, 168, 2, 0), 24)],
};

/// How a side proves who it is, and the other one has to, when both sign.
fn signatures(side: usize) -> Auth<'static> {
    static KEYS: [[u8; 4]; 2] = [public_key(1), public_key(2)];
    let key = SigningKey { id: if side == 0 { 1 } else { 2 }, schemes: SIGNATURE_SCHEMES };
    Auth {
        local: LocalAuth::RawPublicKey { spki: &KEYS[side], key },
        remote: RemoteAuth::RawPublicKey { spki: &KEYS[1 - side], schemes: SIGNATURE_SCHEMES },
    }
}

/// The configuration of one side.
struct Configuration {
    peers: Vec<Peer<'static>>,
    cookie_threshold: usize,
}

impl Configuration {
    fn new(side: usize, shape: Shape) -> Self {
        let first = match (shape.store, shape.signatures) {
            (false, _) => "kolkata.example",
            (true, false) => "kolkata.store.example",
            (true, true) => "key-kolkata.store.example",
        };
        let id = |side: usize| {
            let name = [first, "delhi.example"][side];
            (Some(IpAddr::V4(ADDRESSES[side])), Identity::Fqdn(name))
        };
        let remote = match (side, shape.nat) {
            // What is behind a NAT begins.
            (1, true) => (None, id(0).1),
            _ => id(1 - side),
        };
        let secret: &[u8] =
            if shape.store { b"secret of kolkata" } else { b"a secret for fuzzing" };
        let mut peer = Peer::psk(id(side), remote, secret);
        if shape.signatures {
            peer.auth = signatures(side);
            if shape.short_lives {
                peer.reauthenticate_after = Duration::from_secs(70);
            }
        }
        if shape.ppk && !shape.store {
            let key = b"thirty-two bytes beyond a doubt!";
            peer.ppk = Some(Ppk { id: b"blue", key, required: side == 0 });
        }
        peer.childless = shape.childless;
        peer.mobike = shape.mobike.then_some(&Mobike::ANYWHERE);
        peer.proposals = match (shape.cbc, shape.other_group && side == 1) {
            (false, false) => IkeProposal::DEFAULT,
            (false, true) => {
                const { &[IkeProposal { groups: &[Group::P256], ..IkeProposal::DEFAULT[0] }] }
            }
            (true, false) => {
                const {
                    &[IkeProposal {
                        suites: &[Suite::AES_128_CBC_SHA256],
                        ..IkeProposal::DEFAULT[0]
                    }]
                }
            }
            (true, true) => {
                const {
                    &[IkeProposal {
                        suites: &[Suite::AES_128_CBC_SHA256],
                        groups: &[Group::MODP_2048],
                        ..IkeProposal::DEFAULT[0]
                    }]
                }
            }
        };
        let mut child = Child::new("lan", lan(side), lan(1 - side));
        if shape.assigns {
            const ALL: &[TrafficSelector] = &[TrafficSelector::ANY_V4];
            if side == 0 {
                peer.asks = Ask { ipv4: true, ipv6: false, dns: true };
                child.local = ALL;
            } else {
                peer.assigns = true;
                child.remote = ALL;
            }
        }
        if shape.perfect_forward_secrecy {
            child.proposals =
                const { &[ChildProposal { groups: &[Group::P256], ..ChildProposal::DEFAULT[0] }] };
        }
        if shape.bundle {
            child.around = &[Integ::HMAC_SHA2_256_128];
        }
        if shape.hybrid() {
            const LISTS: &[&[Group]] = &[&[Group::ML_KEM_768, Group::NONE], &[Group::ML_KEM_512]];
            peer.proposals =
                const { &[IkeProposal { additional: LISTS, ..IkeProposal::DEFAULT[0] }] };
            child.proposals = const {
                &[ChildProposal {
                    groups: &[Group::P256],
                    additional: LISTS,
                    ..ChildProposal::DEFAULT[0]
                }]
            };
        }
        if shape.short_lives {
            peer.rekey_after = Duration::from_secs(40);
            peer.expire_after = Duration::from_secs(60);
            let limits = |seconds| Limits { time: Duration::from_secs(seconds), ..Limits::NONE };
            child.lifetime = Lifetime { soft: limits(20), hard: limits(30) };
        }
        if let Some(mode) = shape.v1 {
            // Aggressive Mode begins with its group, and tries no other.
            let other = shape.other_group && (side == 1 || mode == Phase1Mode::Aggressive);
            let proposals = match (shape.cbc, other) {
                (false, false) => Phase1Proposal::DEFAULT,
                (false, true) => {
                    const { &[Phase1Proposal { groups: &[Group::P256], ..Phase1Proposal::DEFAULT[0] }] }
                }
                (true, false) => {
                    const {
                        &[Phase1Proposal {
                            prfs: &[PrfId::HMAC_SHA1],
                            ..Phase1Proposal::DEFAULT[0]
                        }]
                    }
                }
                (true, true) => {
                    const {
                        &[Phase1Proposal {
                            prfs: &[PrfId::HMAC_SHA1],
                            groups: &[Group::MODP_2048],
                            ..Phase1Proposal::DEFAULT[0]
                        }]
                    }
                }
            };
            let user = User { name: b"asha", password: b"password of asha" };
            let xauth = match (shape.user, side) {
                (false, _) => Xauth::None,
                (true, 0) => Xauth::User(user),
                (true, _) => Xauth::Ask,
            };
            let push = shape.push;
            peer.versions = Versions::V1(V1 { mode, proposals, xauth, push });
        }
        peer.fragment_size = Some(if shape.fragments { 256 } else { 1280 });
        peer.retransmission = Retransmission { tries: 4, ..Retransmission::DEFAULT };
        // Few enough shapes: each is made once.
        peer.children = Vec::leak(vec![child]);
        let mut peers = vec![peer];
        if shape.store && side == 1 {
            // The store leads to the entry that was made.
            let auth = Auth { local: LocalAuth::Store, remote: RemoteAuth::Store };
            peers.insert(0, Peer { remote: None, remote_id: Identity::Any, auth, ..peer });
            if !shape.signatures {
                peers.pop();
            }
        }
        Self { peers, cookie_threshold: if shape.always_cookie { 0 } else { 16 } }
    }

    /// The configuration of this side and shape, made once.
    fn shared(side: usize, shape: Shape) -> &'static Self {
        static ALL: LazyLock<Vec<OnceLock<[Configuration; 2]>>> =
            LazyLock::new(|| (0..Shape::CONFIGURATIONS).map(|_| OnceLock::new()).collect());
        let made =
            ALL[shape.configuration()].get_or_init(|| [0, 1].map(|side| Self::new(side, shape)));
        &made[side]
    }
}

/// Memory of one engine.
pub(crate) struct Pools {
    sas: Vec<IkeSlot>,
    handshakes: Vec<HandshakeSlot<Toy>>,
    exchanges: Vec<ExchangeSlot<Toy>>,
    children: Vec<ChildSlot>,
    buffers: Vec<u8>,
    assembly: Vec<u8>,
    links: Vec<u32>,
    deadlines: Vec<Deadline>,
    leases: Vec<Lease>,
}

impl Pools {
    pub(crate) fn new(shape: Shape) -> Self {
        let n = shape.pool();
        let (sas, buffers) = (2 * n, 6 * n);
        Self {
            sas: (0..sas).map(|_| IkeSlot::EMPTY).collect(),
            handshakes: (0..n).map(|_| HandshakeSlot::EMPTY).collect(),
            exchanges: (0..n).map(|_| ExchangeSlot::EMPTY).collect(),
            children: (0..n).map(|_| ChildSlot::EMPTY).collect(),
            buffers: vec![0; buffers * BUFFER_LEN],
            assembly: vec![0; BUFFER_LEN],
            links: vec![0; IkeMemory::<Toy>::links(sas, n, n, n, buffers)],
            deadlines: vec![Deadline::EMPTY; sas + 3 * n],
            leases: vec![Lease::EMPTY; if shape.assigns { n } else { 0 }],
        }
    }

    fn lend(&mut self) -> IkeMemory<'_, Toy> {
        IkeMemory {
            sas: &mut self.sas,
            handshakes: &mut self.handshakes,
            exchanges: &mut self.exchanges,
            children: &mut self.children,
            buffers: &mut self.buffers,
            buffer_len: BUFFER_LEN,
            assembly: &mut self.assembly,
            links: &mut self.links,
            deadlines: &mut self.deadlines,
            leases: &mut self.leases,
        }
    }
}

/// Who has which SPI.
#[derive(Default)]
pub(crate) struct Spis {
    last: u32,
    /// Reserved, and the engine's.
    pub(crate) reserved: Vec<Spi>,
    /// Reserved, and the caller's.
    pub(crate) taken: Vec<(ChildId, Spi)>,
    limit: usize,
}

impl SpiAllocator for Spis {
    fn reserve(&mut self, _: &mut dyn CryptoRng) -> Option<Spi> {
        if self.reserved.len() + self.taken.len() >= self.limit {
            return None;
        }
        self.last += 1;
        let spi = Spi::new(0x1000 + self.last)?;
        self.reserved.push(spi);
        Some(spi)
    }

    fn release(&mut self, spi: Spi) {
        let before = self.reserved.len();
        self.reserved.retain(|reserved| *reserved != spi);
        assert_eq!(self.reserved.len() + 1, before, "{spi} is not the engine's to give back");
    }
}

/// SPIs and keys of the SAs of one direction: of ESP, and of AH around it if there is one.
type Sas = Vec<(u32, Vec<u8>)>;

/// The SAs of a child that a side has installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) child: ChildId,
    pub(crate) inbound: Option<Sas>,
    pub(crate) outbound: Option<Sas>,
    pub(crate) up: bool,
}

/// One engine and what its caller knows.
pub(crate) struct Side<'m> {
    pub(crate) engine: Ike<'m, Toy>,
    pub(crate) rng: SeededRng,
    pub(crate) spis: Spis,
    pub(crate) installed: Vec<Installed>,
    /// Every handle that was ever told, stale ones included.
    pub(crate) ikes: Vec<IkeId>,
    pub(crate) children: Vec<ChildId>,
    pub(crate) jobs: Vec<JobId>,
    pub(crate) keys: Vec<IkeKeys>,
    /// How often a child moved.
    pub(crate) moves: usize,
    pub(crate) name: char,
    /// So many of the next installs fail.
    pub(crate) refuse_installs: u8,
}

impl<'m> Side<'m> {
    fn new(side: usize, shape: Shape, pools: &'m mut Pools, seed: u64) -> Self {
        let configuration = Configuration::shared(side, shape);
        let mut config = Config::new(&configuration.peers);
        config.cookie_threshold = configuration.cookie_threshold;
        config.key_log = true;
        config.pool = (shape.assigns && side == 1).then_some(&POOL);
        let mut rng = SeededRng::new(seed.wrapping_add(side as u64));
        let limit = pools.children.len() * if shape.bundle { 2 } else { 1 };
        let spis = Spis { limit, ..Spis::default() };
        let mut engine = Ike::new(config, pools.lend(), &mut rng);
        if shape.mobike {
            engine.support_mobike();
        }
        Self {
            spis,
            engine,
            rng,
            installed: Vec::new(),
            ikes: Vec::new(),
            children: Vec::new(),
            jobs: Vec::new(),
            keys: Vec::new(),
            moves: 0,
            name: ['a', 'b'][side],
            refuse_installs: 0,
        }
    }

    pub(crate) fn with<R>(
        &mut self,
        now: Instant,
        f: impl FnOnce(&mut Ike<'m, Toy>, &mut Env<'_>) -> R,
    ) -> R {
        let mut env = Env { now, rng: &mut self.rng, spis: &mut self.spis };
        f(&mut self.engine, &mut env)
    }

    /// Notes the jobs that wait.
    pub(crate) fn collect_jobs(&mut self) {
        while let Some(job) = self.engine.poll_job() {
            self.jobs.push(job);
        }
    }

    /// Does one job, or lets it fail.
    pub(crate) fn do_job(&mut self, now: Instant, id: JobId, fail: bool) {
        let mut public = [0; MAX_PUBLIC];
        let mut rng = self.rng.fork();
        let Some(job) = self.engine.job(id) else { return };
        let answer = if fail {
            ipsec_ike::jobs::Answer::Failed(ipsec_core::crypto::CryptoError::Failed)
        } else {
            job.run_with(&mut rng, &mut public, &Authority)
        };
        self.with(now, |e, env| e.handle_job(env, id, answer));
    }

    /// Takes one event and answers it. Says whether there was one.
    pub(crate) fn event(&mut self, now: Instant) -> bool {
        let Some(event) = self.engine.poll_event() else { return false };
        let mut answer = None;
        match event {
            Event::Install { child, direction, params } => {
                let sa = (params.spi, params.keymat.to_vec());
                answer = Some((child, direction, self.install(child, direction, [sa])));
            }
            Event::InstallBundle { child, direction, params, around } => {
                let sas = [(params.spi, params.keymat), (around.spi, around.keymat)];
                let sas = sas.map(|(spi, keymat)| (spi, keymat.to_vec()));
                answer = Some((child, direction, self.install(child, direction, sas)));
            }
            Event::ChildUp { child, replaces, .. } => {
                trace!("{} up {child:?} for {replaces:?}", self.name);
                let record = self.installed.iter_mut().find(|i| i.child == child).unwrap();
                assert!(record.inbound.is_some() && record.outbound.is_some());
                record.up = true;
                self.children.push(child);
            }
            Event::ChildDown { child, reason, .. } => {
                trace!("{} down {child:?}: {reason}", self.name);
                let known = self.installed.iter().filter(|i| i.child == child).count();
                assert_eq!(known, 1, "what goes was installed, and goes once");
                self.installed.retain(|i| i.child != child);
                self.spis.taken.retain(|(owner, _)| *owner != child);
            }
            Event::ChildMoved { child, path } => {
                trace!("{} moved {child:?}: {path}", self.name);
                self.moves += 1;
            }
            Event::IkeUp { ike, .. } | Event::IkeRekeyed { ike, .. } => {
                trace!("{} {ike:?}", self.name);
                self.ikes.push(ike);
            }
            Event::IkeDown { ike, reason, .. } => {
                trace!("{} down {ike:?}: {reason}", self.name);
            }
            Event::Failed { failure, .. } => trace!("{} failed: {failure}", self.name),
            Event::IkeKeys { initiator_spi, responder_spi, suite, encryption, integrity } => {
                self.keys.push(IkeKeys {
                    spis: (initiator_spi, responder_spi),
                    suite,
                    encryption: [encryption.0.to_vec(), encryption.1.to_vec()],
                    integrity: [integrity.0.to_vec(), integrity.1.to_vec()],
                });
            }
            _ => {}
        }
        if let Some((child, direction, result)) = answer {
            self.with(now, |e, env| e.installed(env, child, direction, result));
        }
        true
    }

    /// Installs the SAs of one direction, all or none.
    fn install<const N: usize>(
        &mut self,
        child: ChildId,
        direction: Direction,
        sas: [(Spi, Vec<u8>); N],
    ) -> Result<(), ()> {
        trace!("{} install {direction:?} {child:?} {}", self.name, sas[0].0);
        let refused = self.refuse_installs > 0;
        self.refuse_installs = self.refuse_installs.saturating_sub(1);
        if !self.installed.iter().any(|i| i.child == child) {
            let (inbound, outbound) = (None, None);
            self.installed.push(Installed { child, inbound, outbound, up: false });
        }
        let record = self.installed.iter_mut().find(|i| i.child == child).unwrap();
        if direction == Direction::Inbound {
            // From now on the SPIs are ours, whether they could be installed or not.
            for (spi, _) in &sas {
                let before = self.spis.reserved.len();
                self.spis.reserved.retain(|reserved| reserved != spi);
                assert_eq!(self.spis.reserved.len() + 1, before, "installs what was reserved");
                self.spis.taken.push((child, *spi));
            }
        } else {
            assert!(record.inbound.is_some(), "inbound comes first");
        }
        let sas = (!refused).then(|| sas.map(|(spi, keymat)| (spi.get(), keymat)).to_vec());
        match direction {
            Direction::Inbound => record.inbound = sas,
            Direction::Outbound => record.outbound = sas,
        }
        if refused { Err(()) } else { Ok(()) }
    }

    /// Does all jobs and answers all events.
    pub(crate) fn settle(&mut self, now: Instant) {
        for _ in 0..1000 {
            self.collect_jobs();
            let jobs = std::mem::take(&mut self.jobs);
            let some = !jobs.is_empty();
            for job in jobs {
                self.do_job(now, job, false);
            }
            if !self.event(now) && !some {
                return;
            }
        }
        panic!("events without end");
    }

    /// Lets everything happen that is due.
    pub(crate) fn timeouts(&mut self, now: Instant) {
        for _ in 0..100 {
            if self.engine.next_timeout().is_none_or(|at| at > now) {
                return;
            }
            self.with(now, |e, env| e.handle_timeout(env));
        }
        panic!("timeouts without end");
    }

    pub(crate) fn established(&self) -> (usize, usize) {
        (self.engine.established().count(), self.engine.established_children().count())
    }
}

/// A datagram on its way.
#[derive(Clone)]
pub(crate) struct Datagram {
    /// Which side it goes to.
    pub(crate) to: usize,
    /// As that side sees it.
    pub(crate) path: Path,
    /// Without the non-ESP marker.
    pub(crate) bytes: Vec<u8>,
}

/// Two engines.
pub(crate) struct Pair<'m> {
    pub(crate) now: Instant,
    pub(crate) sides: [Side<'m>; 2],
    pub(crate) wire: VecDeque<Datagram>,
    /// Every datagram that was sent, up to a limit.
    pub(crate) history: Vec<Datagram>,
    nat: bool,
    v1: bool,
    assigns: bool,
    pub(crate) mobike: bool,
}

impl<'m> Pair<'m> {
    pub(crate) fn new(shape: Shape, pools: &'m mut [Pools; 2], seed: u64) -> Self {
        let [a, b] = pools;
        Self {
            now: Instant::from_secs(1000),
            sides: [Side::new(0, shape, a, seed), Side::new(1, shape, b, seed)],
            wire: VecDeque::new(),
            history: Vec::new(),
            nat: shape.nat,
            v1: shape.v1.is_some(),
            assigns: shape.assigns,
            mobike: shape.mobike,
        }
    }

    /// Whether a side may replace the IKE SA: in IKEv1 not the one that gives addresses.
    pub(crate) fn may_renew(&self, side: usize) -> bool {
        !(self.is_v1() && self.assigns && side == 1)
    }

    pub(crate) fn is_v1(&self) -> bool {
        self.v1
    }

    /// Takes what both sides want to send.
    pub(crate) fn fetch(&mut self) {
        for from in 0..2 {
            let mut buf = [0; BUFFER_LEN + 4];
            for count in 0.. {
                let Some(sent) = self.sides[from].engine.poll_transmit(&mut buf).unwrap() else {
                    break;
                };
                assert!(count < 100, "datagrams without end");
                let Some((to, path)) = self.route(from, sent.path) else { continue };
                let mut bytes = &buf[..sent.len];
                if path.local.port != 500 {
                    if bytes == [0xff] {
                        continue; // a keepalive
                    }
                    let (marker, message) = bytes.split_at(4);
                    assert_eq!(marker, [0; 4]);
                    bytes = message;
                }
                let datagram = Datagram { to, path, bytes: bytes.to_vec() };
                if self.history.len() < 64 {
                    self.history.push(datagram.clone());
                }
                self.wire.push_back(datagram);
            }
        }
    }

    /// Where a datagram arrives, and how its path looks there.
    fn route(&self, from: usize, path: Path) -> Option<(usize, Path)> {
        let to = 1 - from;
        let (mut source, mut destination) = (path.local, path.remote);
        if self.nat && from == 0 {
            let elsewhere = source.address == ELSEWHERE[0];
            source = Endpoint::new(NAT.into(), source.port + NAT_PORTS[usize::from(elsewhere)]);
        }
        if self.nat && from == 1 && destination.address == NAT {
            let elsewhere = destination.port >= NAT_PORTS[1];
            let port = destination.port.checked_sub(NAT_PORTS[usize::from(elsewhere)])?;
            destination = Endpoint::new(self.place(0, elsewhere), port);
        }
        let here = destination.address == ADDRESSES[to]
            || self.mobike && destination.address == ELSEWHERE[to];
        let arrives = here && matches!(destination.port, 500 | 4500) && source.port != 0;
        arrives.then_some((to, Path::new(destination, source)))
    }

    /// The path between the two, as `to` sees it.
    pub(crate) fn path(&self, to: usize, port: u16) -> Path {
        let ends = |side: usize| Endpoint::new(ADDRESSES[side].into(), port);
        self.route(1 - to, Path::new(ends(1 - to), ends(to))).map_or(Path::UNSPECIFIED, |r| r.1)
    }

    /// Hands a datagram to its destination.
    pub(crate) fn deliver(
        &mut self,
        mut datagram: Datagram,
    ) -> Result<(), ipsec_ike::DatagramError> {
        // No two things happen at the same time.
        self.now = self.now.after(Duration::from_micros(1));
        let now = self.now;
        let Datagram { to, path, bytes } = &mut datagram;
        let header = Header::parse(bytes).ok();
        let result = self.sides[*to].with(now, |e, env| e.handle_datagram(env, *path, bytes));
        if let Some(header) = header.filter(|_| *TRACE) {
            let what = if header.is_response() { "response" } else { "request" };
            let Header { exchange, message_id, .. } = header;
            eprintln!("{now:?} to {to} on {path}: {exchange} {what} {message_id}: {result:?}");
        }
        result
    }

    /// Lets both sides talk on a perfect wire until nobody has anything to say.
    pub(crate) fn talk(&mut self) {
        for _ in 0..200 {
            for side in &mut self.sides {
                side.settle(self.now);
            }
            self.fetch();
            let Some(datagram) = self.wire.pop_front() else { return };
            let _ = self.deliver(datagram);
        }
        panic!("talk without end");
    }

    /// Lets time pass, with everything that is due on the way, on a perfect wire.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        for _ in 0..2000 {
            self.talk();
            let next = self.sides.iter().filter_map(|s| s.engine.next_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(next);
            for side in &mut self.sides {
                side.timeouts(self.now);
            }
        }
        panic!("events without end");
    }

    /// Where a side can go: to one of its two addresses.
    pub(crate) fn place(&self, side: usize, elsewhere: bool) -> IpAddr {
        (if elsewhere { ELSEWHERE } else { ADDRESSES })[side].into()
    }

    /// A path from a place of `side` to one of the other side, with the ports that there are.
    pub(crate) fn path_between(&self, side: usize, elsewhere: bool, other: bool) -> Path {
        let end = |side, elsewhere| Endpoint::new(self.place(side, elsewhere), 0);
        Path::new(end(side, elsewhere), end(1 - side, other))
    }

    /// Brings the tunnel up.
    pub(crate) fn bring_up(&mut self) {
        let now = self.now;
        self.sides[0].with(now, |e, env| e.initiate(env, TUNNEL)).unwrap();
        self.pass(Duration::from_secs(1));
    }
}

//! The daemon: the driving loop of the library around a TUN device, sockets, and a control socket.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use ipsec::ipsec_core::fragments::FragmentSlot;
use ipsec::ipsec_core::sa::Protocol;
use ipsec::ipsec_core::spd;
use ipsec::ipsec_core::time::earliest;
use ipsec::{
    Action, ChildRef, DownReason, Encapsulation, Endpoint, Gateway, GatewayEvent, IkeId, Inbound,
    Instant, IpPacket, ManualId, Mode, Outbound, OutboundError, PacketBuf, PathMtuSlot,
    PeerAddresses, Pools, Sealed, Sizes, Store, Via,
};
use ipsec_rustcrypto::RustCrypto;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rand::rngs::ThreadRng;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::config::{Settings, Start, WINDOW};
use crate::control::{Command, Control};
use crate::diagnosis::Watch;
use crate::icmp;
use crate::keylog::KeyLog;
use crate::report::{Names, Sas};
use crate::sockets::{Kind, ROOM, Sockets, is_ours, source_towards};
use crate::tun::Tun;

/// Packets and datagrams that are taken from one descriptor before the others have their turn.
const BATCH: usize = 64;
/// The longest IP packet, and the longest UDP datagram.
const LONGEST: usize = 65535;
/// How long we try to tell the peers that we end.
const FAREWELL: Duration = Duration::from_secs(3);
/// A tunnel that should be up at all times is tried again after this time, then twice, four times ... as long.
const RETRY: Duration = Duration::from_secs(1);
/// But at least so often.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Refused strangers are told of no more often than this.
const STRANGERS: Duration = Duration::from_secs(1);
/// Whether our addresses are still there is seen so often.
const ROAM: Duration = Duration::from_secs(1);
/// Peers that may have an address of ours.
const LEASES: usize = 1 << 16;
/// Datagrams in fragments that may be under way past the tunnels.
const FRAGMENTS: usize = 256;
/// Half-open exchanges of others that find room.
const HANDSHAKES: usize = 64;
/// The largest IKE message.
const MESSAGE: usize = 8192;

/// Room before a packet, enough for AH around ESP.
const HEADROOM: usize = 2 * ipsec::MAX_HEADROOM;

const SIGNALS: Token = Token(0);
const CONTROL: Token = Token(1);
const TUN: Token = Token(2);
const SOCKETS: usize = 3;
const CLIENTS: usize = 1 << 20;

/// Runs until a signal ends it.
pub(crate) fn run(settings: Settings, key_log: Option<KeyLog>) -> Result<(), String> {
    let leases = settings.gateway.ike.pool.map_or(0, |_| LEASES);
    let sizes = sizes(&settings);
    let mut pools = Pools::<RustCrypto, Vecs>::new(&sizes).with_leases(leases);
    let pairs = sizes.children + sizes.manual;
    let (mut path_mtus, mut links) = (vec![PathMtuSlot::EMPTY; pairs], vec![0; 2 * pairs]);
    let mut fragments = vec![FragmentSlot::EMPTY; FRAGMENTS];
    let mut others = vec![PeerAddresses::EMPTY; sizes.ike_sas];
    let mut rng = rand::rng();
    let gateway = Gateway::new(&settings.gateway, pools.lend(), &mut rng);
    let mut gateway = gateway.map_err(|e| format!("configuration: {e}"))?;
    gateway.support_mobike();
    gateway.learn_path_mtu(&mut path_mtus, &mut links);
    gateway.track_fragments(&mut fragments);
    gateway.remember_addresses(&mut others);

    let sockets = Sockets::open(&settings.listening())?;
    let mut tun = Tun::open(&settings.tun, settings.mtu, &settings.tun_addresses)?;
    if settings.routes {
        tun.route(&settings.tun, &settings.remote_networks())?;
    }
    let control = match &settings.control {
        Some(path) => Some(Control::open(path, CLIENTS)?),
        None => None,
    };
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(|e| format!("signals: {e}"))?;
    let poll = Poll::new().map_err(|e| format!("epoll: {e}"))?;

    let names = Names::new(settings.gateway.ike.peers);
    let mut daemon = Daemon {
        gateway,
        rng,
        clock: std::time::Instant::now(),
        poll,
        signals,
        tun,
        sockets,
        control,
        key_log,
        ready: Vec::new(),
        sas: Sas::default(),
        held: HashMap::new(),
        retries: HashMap::new(),
        manual: Vec::new(),
        here: HashMap::new(),
        roams_at: None,
        ends_at: None,
        next_stranger: Instant::ZERO,
        watch: Watch::default(),
        message: vec![0; MESSAGE + 4],
        buf: vec![0; HEADROOM + LONGEST + 2 * ipsec::MAX_TAILROOM],
        names,
        settings,
    };
    daemon.register().map_err(|e| format!("epoll: {e}"))?;
    daemon.greet();
    daemon.install()?;
    daemon.drive()
}

/// A store for the memory of the library.
struct Vecs;

impl Store for Vecs {
    type Of<T> = Vec<T>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
        items.collect()
    }
}

/// Room for all that is configured, and for strangers that begin to talk.
fn sizes(settings: &Settings) -> Sizes {
    let peers = settings.gateway.ike.peers;
    let tunnels: usize = peers.iter().map(|peer| peer.children.len()).sum();
    let most = tunnels.max(peers.len());
    let usual = Sizes::for_tunnels(most);
    let handshakes = usual.handshakes + HANDSHAKES;
    // Children of one peer are rekeyed one after the other, but several peers may have one address.
    let children = 3 * most + 8;
    let manual = settings.manual.iter().map(|manual| manual.protections().count()).sum::<usize>();
    let bundles = peers.iter().flat_map(|peer| peer.children).any(|c| !c.around.is_empty());
    Sizes {
        ike_sas: usual.ike_sas + HANDSHAKES,
        handshakes,
        children,
        manual: manual + if bundles { children } else { 0 },
        policies: tunnels
            + settings.gateway.before.len()
            + settings.manual.len()
            + settings.gateway.after.len(),
        buffers: usual.buffers + 4 * HANDSHAKES,
        buffer_len: MESSAGE,
        window: WINDOW,
        ..usual
    }
}

struct Daemon<'r> {
    settings: Settings,
    names: Names,
    gateway: Gateway<'r, RustCrypto>,
    rng: ThreadRng,
    clock: std::time::Instant,
    poll: Poll,
    signals: Signals,
    tun: Tun,
    sockets: Sockets,
    control: Option<Control>,
    key_log: Option<KeyLog>,
    /// Descriptors that may have more to read: the TUN device, and each socket.
    ready: Vec<Token>,
    /// What is up.
    sas: Sas,
    /// The packet that asked for a tunnel, until it can go.
    held: HashMap<ChildRef, Vec<u8>>,
    /// Tunnels that should be up and are not: when to try again.
    retries: HashMap<ChildRef, Retry>,
    /// What is installed with manual keys, in the order of the configuration.
    manual: Vec<ManualId>,
    /// Where we are now, in place of an address of the configuration.
    here: HashMap<IpAddr, IpAddr>,
    /// When to see whether our addresses are there; never, if no peer follows us.
    roams_at: Option<Instant>,
    /// When patience with the peers ends, once we end.
    ends_at: Option<Instant>,
    /// When a refused stranger is worth a line of the log again.
    next_stranger: Instant,
    /// What no message tells.
    watch: Watch,
    /// A packet, with room around it.
    buf: Vec<u8>,
    /// A datagram of IKE.
    message: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    /// How long to wait, should that fail as well.
    pause: Duration,
}

impl Daemon<'_> {
    fn now(&self) -> Instant {
        let micros = self.clock.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn register(&mut self) -> io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut self.signals, SIGNALS, Interest::READABLE)?;
        registry.register(&mut SourceFd(&self.tun.as_raw_fd()), TUN, Interest::READABLE)?;
        for (number, fd) in self.sockets.descriptors().enumerate() {
            let token = Token(SOCKETS + number);
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        if let Some(control) = &self.control {
            control.register(registry, CONTROL)?;
        }
        Ok(())
    }

    fn greet(&mut self) {
        let Settings { tun, mtu, gateway, .. } = &self.settings;
        for (address, kind, port) in self.settings.listening() {
            let port = if kind == Kind::Udp { format!(" port {port}") } else { String::new() };
            log::info!("listening on {address}, {}{port}", kind.name());
        }
        log::info!(
            "ready: {tun}, MTU {mtu}, {} peers, {} tunnels, {} with manual keys",
            gateway.ike.peers.len(),
            self.names.children().len(),
            self.settings.manual.len()
        );
        if self.key_log.is_some() {
            log::warn!(
                "writing the keys of every SA to the key log: whoever reads it reads all traffic"
            );
        }
        for (peer, child) in
            gateway.ike.peers.iter().flat_map(|peer| peer.children.iter().map(move |c| (peer, c)))
        {
            let mut suites = child.proposals.iter().flat_map(|proposal| proposal.suites);
            if let Some(suite) = suites.find(|suite| !suite.encrypts()) {
                log::warn!(
                    "NOT ENCRYPTED: child={}/{} may be agreed on with {suite}: everybody on the way can read it",
                    peer.name,
                    child.name
                );
            }
        }
        let at = self.now();
        for config in self.names.children() {
            if self.start(*config) == Start::Immediately {
                self.retries.insert(*config, Retry { at, pause: RETRY });
            }
        }
    }

    /// Installs what has manual keys.
    fn install(&mut self) -> Result<(), String> {
        let now = self.now();
        for (policy, manual) in (0..).zip(&self.settings.manual) {
            let name = manual.name;
            let id = self.gateway.install_manual(now, policy, &manual.manual);
            self.manual.push(id.map_err(|e| format!("manual {name}: {e}"))?);
            log::info!("manual up manual={name} {}", manual.describe());
            if !manual.encrypts() {
                log::warn!("NOT ENCRYPTED: manual={name}: everybody on the way can read it");
            }
            if manual.needs_fresh_numbers() && manual.manual.sequence == 0 {
                log::warn!(
                    "manual={name} begins with sequence number 1: if that has been sent with these keys before, they \
                     protect nothing any more (see sequence_out)"
                );
            }
            if let Some(log) = &mut self.key_log {
                manual.key_lines().into_iter().for_each(|line| log.line(line, name));
            }
        }
        Ok(())
    }

    fn start(&self, config: ChildRef) -> Start {
        self.settings.start.get(usize::from(config.peer)).copied().unwrap_or_default()
    }

    /// The driving loop. Its numbers are those of the library's documentation.
    fn drive(&mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(64);
        loop {
            // 1. Wait for a packet, a datagram, a command, or the time of next_timeout.
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    return Err(format!("epoll: {e}"));
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        let is_told = self.signals.pending().next().is_some();
                        if is_told && self.ends_at.is_some() {
                            return Err(
                                "ended by a second signal, before the peers answered".into()
                            );
                        } else if is_told {
                            self.farewell();
                        }
                    }
                    CONTROL => {
                        if let Some(control) = &mut self.control {
                            control.accept(self.poll.registry());
                        }
                    }
                    Token(client) if client >= CLIENTS => self.client(client),
                    token if !self.ready.contains(&token) => self.ready.push(token),
                    _ => {}
                }
            }
            for token in std::mem::take(&mut self.ready) {
                let more = match token {
                    // 2. Packets of the protected side.
                    TUN => self.packets(),
                    // 3. Datagrams of the unprotected side.
                    Token(number) => self.datagrams(number - SOCKETS),
                };
                if more {
                    self.ready.push(token);
                }
            }
            // 4. The time has come.
            let now = self.now();
            if self.gateway.next_timeout().is_some_and(|at| at <= now) {
                self.gateway.handle_timeout(now, &mut self.rng);
                self.settle();
            }
            self.retry();
            self.look();
            self.roam();
            // 7. Back to 1, unless we are to end.
            if let Some(ends_at) = self.ends_at {
                let idle = self.gateway.is_idle();
                if idle || self.now() >= ends_at {
                    self.goodbye(idle);
                    return Ok(());
                }
            }
        }
    }

    /// How long there is nothing to do by itself.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let retry = self.retries.values().map(|retry| retry.at).min();
        let look = (self.gateway.sad().outbound_in_use() > 0).then_some(self.watch.next);
        let next = earliest(self.gateway.next_timeout(), earliest(retry, self.ends_at));
        let next = earliest(next, earliest(look, self.roams_at));
        next.map(|at| at.since(self.now()))
    }

    // 2. Packets of the protected side.

    /// Takes a batch of packets from the TUN device. Says whether there may be more.
    fn packets(&mut self) -> bool {
        for _ in 0..BATCH {
            let start = HEADROOM;
            let Some(room) = self.buf.get_mut(start..start + LONGEST) else { return false };
            match self.tun.receive(room) {
                Ok(Some(len)) => self.packet(len),
                Ok(None) => return false,
                Err(e) => {
                    log::error!("TUN device: {e}");
                    return false;
                }
            }
        }
        true
    }

    /// Sends a packet of `len` bytes that lies in the buffer behind the headroom.
    fn packet(&mut self, len: usize) {
        let range = HEADROOM..HEADROOM + len;
        let now = self.now();
        if let Some(packet) = self.buf.get(range.clone())
            && let Some(config) = self.forbidden(packet)
        {
            log::debug!("drop: {} is down, and starts only when told to", self.names.child(config));
            return;
        }
        let Some(packet) = PacketBuf::new(&mut self.buf, range.clone()) else { return };
        let result = self.gateway.outbound(now, &mut self.rng, packet);
        let waits = match result {
            Ok(Outbound::Send(sent)) => {
                let Sealed { id, path, outer, encapsulation, protocol, .. } = &sent.sealed;
                let sa = self.gateway.sad().outbound(*id);
                let keeps_header =
                    sa.is_some_and(|sa| matches!(sa.protection.mode, Mode::Transport { .. }));
                let sockets = &self.sockets;
                let sent = match (encapsulation, protocol) {
                    (Encapsulation::Udp, _) => {
                        sockets.send(Kind::Udp, *path, outer.traffic_class, sent.esp())
                    }
                    (Encapsulation::Ip, Protocol::Esp) if !keeps_header => {
                        sockets.send(Kind::Esp, *path, outer.traffic_class, sent.esp())
                    }
                    // The header is the packet's own, or AH covers it.
                    (Encapsulation::Ip, _) => sockets.send_clear(sent.outer()),
                };
                if let Err(e) = sent {
                    log::debug!("drop: sending: {e}");
                }
                None
            }
            Ok(Outbound::Bypass(packet)) => {
                if let Err(e) = self.sockets.send_clear(packet.payload()) {
                    log::debug!("drop: sending in clear: {e}");
                }
                None
            }
            Ok(Outbound::Discard(why)) => {
                log::debug!("drop: {why}");
                None
            }
            Ok(Outbound::Acquire(config)) => {
                let packet = self.buf.get(range.clone()).unwrap_or_default();
                let flow = IpPacket::parse(packet).map(|packet| packet.flow.to_string());
                let flow = flow.unwrap_or_default();
                log::info!("acquire child={} packet={flow}", self.names.child(config));
                Some(config)
            }
            Ok(Outbound::Pending(config)) => Some(config),
            Err(OutboundError::TooBig { mtu }) => {
                let packet = self.buf.get(range.clone()).unwrap_or_default();
                if let Some(answer) = icmp::too_big(packet, mtu) {
                    let _ = self.tun.send(&answer);
                }
                if self.watch.may_remark(now) {
                    let flow = IpPacket::parse(packet).map(|packet| packet.flow.to_string());
                    log::warn!(
                        "too big packet={} bytes={} mtu={mtu}: its sender is told so; if it does not listen, lower `mtu`, \
                         or clamp the MSS of TCP",
                        flow.unwrap_or_default(),
                        packet.len()
                    );
                }
                log::debug!("drop: too big for the path, told so (MTU {mtu})");
                None
            }
            Err(e) => {
                log::debug!("drop: {e}");
                None
            }
        };
        if let Some(config) = waits {
            // One packet waits, so that the first one is not lost.
            if let Some(packet) = self.buf.get(range) {
                self.held.entry(config).or_insert_with(|| packet.to_vec());
            }
        }
        self.settle();
    }

    /// The tunnel that this packet would start although it may not.
    fn forbidden(&self, packet: &[u8]) -> Option<ChildRef> {
        if !self.settings.start.contains(&Start::Never) {
            return None;
        }
        let flow = IpPacket::parse(packet).ok()?.flow;
        let (_, action) = self.gateway.spd().lookup(spd::Direction::Outbound, &flow)?;
        let Action::Protect(tunnel) = action else { return None };
        let config = *self.names.children().get(tunnel as usize)?;
        let is_down = self.gateway.child(config).is_none();
        (is_down && self.start(config) == Start::Never).then_some(config)
    }

    /// Sends what waited for a tunnel that is up now.
    fn release(&mut self, config: ChildRef) {
        let Some(packet) = self.held.remove(&config) else { return };
        let start = HEADROOM;
        if let Some(room) = self.buf.get_mut(start..start + packet.len()) {
            room.copy_from_slice(&packet);
            self.packet(packet.len());
        }
    }

    // 3. Datagrams of the unprotected side.

    /// Takes a batch of datagrams from a socket. Says whether there may be more.
    fn datagrams(&mut self, number: usize) -> bool {
        for _ in 0..BATCH {
            match self.sockets.receive(number, &mut self.buf) {
                Ok(Some(datagram)) => self.datagram(&datagram),
                Ok(None) => return false,
                Err(e) => log::debug!("socket: {e}"), // what an earlier datagram of ours met, perhaps
            }
        }
        true
    }

    /// Gives the library a datagram that lies in the buffer.
    fn datagram(&mut self, datagram: &crate::sockets::Datagram) {
        let now = self.now();
        let crate::sockets::Datagram { kind, path, traffic_class, range } = datagram;
        let Some(payload) = self.buf.get_mut(range.clone()) else { return };
        let rng = &mut self.rng;
        let result = match kind {
            Kind::Udp => {
                let class = *traffic_class;
                self.gateway.inbound_udp_with_room(now, rng, *path, class, ROOM, payload)
            }
            Kind::Esp | Kind::Ah => self.gateway.inbound_ip(now, rng, payload),
            Kind::Icmp => {
                // A router on the way says that a packet of ours was too big for it.
                if let Some(mtu) = self.gateway.handle_too_big(now, payload) {
                    log::info!("path MTU {mtu} from={} to={}", path.remote, path.local);
                }
                return;
            }
        };
        match result {
            Ok(Inbound::Packet(received)) => {
                if let Err(e) = self.tun.send(received.packet) {
                    log::debug!("drop: TUN device: {e}");
                }
                if let Via::Child { config, .. } = received.via
                    && self.watch.is_first(config)
                    && let Ok(packet) = IpPacket::parse(received.packet)
                    && let (source, destination) = (packet.flow.source, packet.flow.destination)
                    && let Err(e) = Tun::finds_way(&self.settings.tun, source, destination)
                {
                    log::warn!(
                        "no route child={} destination={destination}: {e}; what comes out of the tunnel is lost: add an \
                         address or a route, and set net.ipv4.ip_forward=1 to forward it",
                        self.names.child(config)
                    );
                }
            }
            Ok(Inbound::Ike | Inbound::Keepalive | Inbound::Clear(_)) => {}
            Err(e) => log::debug!("drop: from {}: {e}", path.remote),
        }
        self.settle();
    }

    // 4. The time has come.

    /// Looks whether traffic comes back.
    fn look(&mut self) {
        let now = self.now();
        if now < self.watch.next || self.gateway.sad().outbound_in_use() == 0 {
            return;
        }
        for config in self.watch.one_way(now, self.gateway.tunnels()) {
            let tunnel = self.gateway.tunnel(config);
            let sent = tunnel.map_or(0, |tunnel| tunnel.sent.0);
            log::warn!(
                "one way child={} sent={sent} received=0: IKE gets through, and nothing comes back: a firewall on the way \
                 drops ESP (IP protocol 50; try encapsulation = \"always\") or UDP 4500, or the peer has no route or \
                 policy for the answers",
                self.names.child(config)
            );
        }
    }

    /// Remarks on keys that the peer replaces long before we would.
    fn compare_lifetimes(&mut self, event: &GatewayEvent) {
        let now = self.now();
        let peers = self.settings.gateway.ike.peers;
        let (name, age, ours) = match *event {
            GatewayEvent::ChildUp { config, .. } | GatewayEvent::ChildRekeyed { config, .. } => {
                let peer = peers.get(usize::from(config.peer));
                let child = peer.and_then(|peer| peer.children.get(usize::from(config.child)));
                let Some(soft) = child.map(|child| child.lifetime.soft) else { return };
                let by_time = soft.bytes == u64::MAX && soft.packets == u64::MAX;
                let name = self.names.child(config);
                let ours = if by_time { soft.time } else { Duration::ZERO };
                (name.clone(), self.watch.child(now, config, &name, ours), ours)
            }
            GatewayEvent::IkeUp { peer, .. } | GatewayEvent::IkeRekeyed { peer, .. } => {
                let Some(config) = peers.get(usize::from(peer)) else { return };
                let (name, ours) = (config.name, config.rekey_after);
                (name.to_owned(), self.watch.ike(now, peer, name, ours), ours)
            }
            GatewayEvent::ChildDown { config, tunnel_up: false, .. } => {
                return self.watch.gone(config);
            }
            GatewayEvent::IkeDown { peer, reason, .. } if reason != DownReason::Rekeyed => {
                return self.watch.ike_gone(peer);
            }
            _ => return,
        };
        if let Some(age) = age {
            log::warn!(
                "lifetimes differ name={name} theirs={}s ours={}s: the peer replaces keys much sooner; that is safe, and \
                 costs key exchanges: compare `lifetime`",
                age.as_secs(),
                ours.as_secs()
            );
        }
    }

    /// Tries to bring up what should be up.
    fn retry(&mut self) {
        let now = self.now();
        let due: Vec<ChildRef> =
            self.retries.iter().filter(|(_, retry)| retry.at <= now).map(|(c, _)| *c).collect();
        for config in due {
            let Some(retry) = self.retries.get_mut(&config) else { continue };
            // The next time is set when this one has failed, or here, should nobody tell.
            retry.at = now.after(LONGEST_RETRY * 4);
            log::info!("initiate child={}", self.names.child(config));
            if let Err(e) = self.gateway.initiate(now, &mut self.rng, config) {
                log::warn!("child failed child={} reason={e}", self.names.child(config));
                self.try_again(config);
            }
            self.settle();
        }
    }

    /// Sees whether our addresses are still there, and goes on from others where they are not (MOBIKE).
    fn roam(&mut self) {
        let now = self.now();
        let movable = self.settings.gateway.ike.peers.iter().filter(|peer| peer.mobike.is_some());
        let movable: Vec<(IpAddr, Endpoint)> = movable
            .filter_map(|peer| Some((peer.local?, Endpoint::new(peer.remote?, peer.ports.ike))))
            .collect();
        if movable.is_empty() || self.roams_at.is_some_and(|at| now < at) {
            return;
        }
        self.roams_at = Some(now.after(ROAM));
        for (configured, remote) in movable {
            let from = self.here.get(&configured).copied().unwrap_or(configured);
            if is_ours(from) {
                continue;
            }
            let to = match source_towards(remote) {
                Ok(to) if to != from => to,
                _ => continue, // there is no other, yet
            };
            if let Err(e) = self.follow(from, to) {
                log::warn!("cannot go from {from} to {to}: {e}");
                continue;
            }
            self.here.insert(configured, to);
            let count = self.gateway.move_address(now, &mut self.rng, from, to);
            log::info!("address {from} is gone: {count} peers are told to use {to}");
            self.settle();
        }
    }

    /// Listens on another address as on this one.
    fn follow(&mut self, from: IpAddr, to: IpAddr) -> io::Result<()> {
        let known = self.sockets.descriptors().count();
        self.sockets.follow(from, to)?;
        for (number, fd) in self.sockets.descriptors().enumerate().skip(known) {
            let token = Token(SOCKETS + number);
            self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Sets when to try again.
    fn try_again(&mut self, config: ChildRef) {
        if self.ends_at.is_some() || self.start(config) != Start::Immediately {
            return;
        }
        let now = self.now();
        let retry = self.retries.entry(config).or_insert(Retry { at: now, pause: RETRY });
        retry.at = now.after(retry.pause);
        retry.pause = (retry.pause * 2).min(LONGEST_RETRY);
    }

    // 5. After each of them, and 6.

    /// Acts on what happened, and sends what is to be sent, until nothing is left of either.
    fn settle(&mut self) {
        let now = self.now();
        let mut happened = Vec::new();
        let keyring = &self.settings.keyring;
        self.gateway.settle_with(now, &mut self.rng, keyring, |event| happened.push(event));
        self.transmit();
        for event in happened {
            self.event(event);
        }
    }

    fn event(&mut self, event: GatewayEvent) {
        self.sas.note(&event);
        self.compare_lifetimes(&event);
        match &event {
            GatewayEvent::IkeKeys(keys) => {
                if let Some(log) = &mut self.key_log {
                    log.ike(keys);
                }
            }
            GatewayEvent::EspKeys(keys) => {
                if let Some(log) = &mut self.key_log {
                    log.esp(keys);
                    log.ah(keys);
                }
            }
            GatewayEvent::Failed { peer: None, path, failure, .. } => {
                // Anybody can cause these: a flood of them must not flood the log.
                let now = self.now();
                if now >= self.next_stranger {
                    self.next_stranger = now.after(STRANGERS);
                    self.names.tell(&event, &self.sas);
                } else {
                    log::debug!("refused {}: {failure}", path.remote);
                }
            }
            GatewayEvent::ManualLimit { policy, hard, .. } => {
                let manual = self.settings.manual.get(usize::from(*policy));
                let name = manual.map_or("?", |manual| manual.name);
                if *hard {
                    log::error!(
                        "manual ended manual={name}: its lifetime is over, give it new keys"
                    );
                } else {
                    log::warn!(
                        "manual ends soon manual={name}: seven eighths of its life are over"
                    );
                }
            }
            GatewayEvent::ChildUp { config, agreed, .. } if !agreed.suite.encrypts() => {
                self.names.tell(&event, &self.sas);
                log::warn!(
                    "NOT ENCRYPTED: child={}: everybody on the way can read it",
                    self.names.child(*config)
                );
            }
            _ => self.names.tell(&event, &self.sas),
        }
        match event {
            GatewayEvent::Configured { given, .. } => {
                let addresses = given.ipv4.map(IpAddr::V4).into_iter();
                for address in addresses.chain(given.ipv6.map(|(a, _)| IpAddr::V6(a))) {
                    if let Err(e) = Tun::add_address(&self.settings.tun, address) {
                        log::warn!("{e}");
                    }
                }
            }
            GatewayEvent::ChildUp { config, .. } => {
                self.retries.remove(&config);
                self.release(config);
            }
            GatewayEvent::ChildDown { config, reason, tunnel_up: false, .. }
                if reason != DownReason::Closed =>
            {
                self.try_again(config);
            }
            GatewayEvent::Failed { child: Some(config), .. }
                if self.gateway.child(config).is_none() =>
            {
                self.held.remove(&config);
                self.try_again(config);
            }
            _ => {}
        }
    }

    /// 6. Sends every datagram of IKE that waits.
    fn transmit(&mut self) {
        loop {
            match self.gateway.poll_transmit(&mut self.message) {
                Ok(Some(transmit)) => {
                    let payload = self.message.get(..transmit.len).unwrap_or_default();
                    // What could not be sent is lost like anything else, and repeated.
                    if let Err(e) = self.sockets.send(Kind::Udp, transmit.path, 0, payload) {
                        log::warn!("sending IKE, {}: {e}", transmit.path);
                    }
                }
                Ok(None) => return,
                Err(e) => {
                    log::error!("sending IKE: {e}");
                    return;
                }
            }
        }
    }

    // Commands.

    fn client(&mut self, client: usize) {
        let command = self.control.as_mut().and_then(|control| control.read(client));
        let Some(command) = command else { return };
        log::debug!("told to {command:?}");
        let answer = self.command(&command);
        if let Some(control) = &mut self.control {
            control.answer(client, answer);
        }
        self.settle();
    }

    fn command(&mut self, command: &Command) -> Result<String, String> {
        let now = self.now();
        let said = |e: ipsec::CommandError| e.to_string();
        match command {
            Command::Status => {
                let names = self.settings.manual.iter().map(|manual| manual.name);
                let manual = names.zip(self.manual.iter().copied());
                return Ok(self.names.status(&self.gateway, &self.sas, manual));
            }
            Command::Initiate { child } => {
                let config = self.names.find_child(child)?;
                self.gateway.initiate(now, &mut self.rng, config).map_err(said)?;
            }
            Command::RekeyChild { child } => {
                let config = self.names.find_child(child)?;
                self.watch.told.insert(self.names.child(config));
                self.gateway.rekey(now, &mut self.rng, config).map_err(said)?;
            }
            Command::TerminateChild { child } => {
                let config = self.names.find_child(child)?;
                self.retries.remove(&config);
                self.gateway.close(now, &mut self.rng, config).map_err(said)?;
            }
            Command::RekeyIke { peer } => {
                let ike = *self.ikes(peer)?.last().ok_or("it is down")?;
                self.watch.told.insert(peer.clone());
                self.gateway.rekey_ike(now, &mut self.rng, ike).map_err(said)?;
            }
            Command::Terminate { peer } => {
                let number = self.names.find_peer(peer)?;
                self.retries.retain(|config, _| config.peer != number);
                let ikes = self.ikes(peer)?;
                if ikes.is_empty() {
                    return Err("it is down".into());
                }
                for ike in ikes {
                    self.gateway.close_ike(now, &mut self.rng, ike).map_err(said)?;
                }
            }
        }
        Ok(String::new())
    }

    /// The IKE SAs with a peer, the oldest first.
    fn ikes(&self, peer: &str) -> Result<Vec<IkeId>, String> {
        let number = self.names.find_peer(peer)?;
        Ok(self.sas.of_peer(number).collect())
    }

    // The end.

    /// Begins to end.
    fn farewell(&mut self) {
        log::info!("ending: telling the peers");
        let now = self.now();
        self.ends_at = Some(now.after(FAREWELL));
        self.retries.clear();
        self.gateway.close_all(now, &mut self.rng);
        self.settle();
    }

    fn goodbye(&self, idle: bool) {
        if !idle {
            log::warn!("not every peer has answered");
        }
        for line in self.names.counters(self.gateway.counters()) {
            log::info!("{line}");
        }
        log::info!("ended");
    }
}

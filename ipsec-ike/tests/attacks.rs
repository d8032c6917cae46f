//! What a stranger, somebody on the path, and a peer that misbehaves cannot do to others.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

use core::net::IpAddr;
use core::time::Duration;

use ipsec_core::crypto::{CryptoError, Group};
use ipsec_core::list::Deadline;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::Spi;
use ipsec_core::sad::SpiAllocator;
use ipsec_core::selector::TrafficSelector;
use ipsec_core::time::Instant;
use ipsec_ike::config::{Auth, Child, ChildProposal, Config, IkeProposal, Peer};
use ipsec_ike::event::{ChildId, ChildRef, DownReason, Event, Failure, IkeId};
use ipsec_ike::identity::Identity;
use ipsec_ike::jobs::{Answer, run_jobs};
use ipsec_ike::wire::NotifyType;
use ipsec_ike::{ChildSlot, Env, ExchangeSlot, HandshakeSlot, Ike, IkeMemory, IkeSlot};
use ipsec_rustcrypto::{Only, selection};
use rand_core::{CryptoRng, TryCryptoRng, TryRng};

selection! { enum Chosen { AesGcm, AesCbc, Aes128, HmacSha256, X25519, P256, MlKem768 } }

type Crypto = Only<Chosen>;

struct Rng(u64);

impl TryRng for Rng {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        for b in dst {
            *b = self.try_next_u64()?.to_be_bytes()[3];
        }
        Ok(())
    }
}
impl TryCryptoRng for Rng {}

#[derive(Default)]
struct Spis {
    next: u32,
}

impl SpiAllocator for Spis {
    fn reserve(&mut self, _: &mut dyn CryptoRng) -> Option<Spi> {
        self.next += 1;
        Spi::new(self.next + 0x1000)
    }
    fn release(&mut self, _: Spi) {}
}

/// How much memory an engine has.
#[derive(Clone, Copy)]
struct Sizes {
    sas: usize,
    handshakes: usize,
    exchanges: usize,
    children: usize,
    buffers: usize,
}

const PLENTY: Sizes = Sizes { sas: 16, handshakes: 8, exchanges: 16, children: 16, buffers: 48 };

/// An SA that the caller was asked to install.
#[derive(Clone, PartialEq, Debug)]
struct Install {
    child: ChildId,
    spi: u32,
    path: Path,
}

struct Side {
    engine: Ike<'static, Crypto>,
    rng: Rng,
    spis: Spis,
    installs: Vec<Install>,
    failures: Vec<Failure>,
    child_downs: Vec<(ChildId, DownReason)>,
    ike_downs: Vec<DownReason>,
    ike: Option<IkeId>,
    child: Option<ChildId>,
}

fn leak<T>(items: Vec<T>) -> &'static mut [T] {
    Vec::leak(items)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Side {
    fn new(
        seed: u64,
        sizes: Sizes,
        peers: &'static [Peer<'static>],
        change: impl FnOnce(&mut Config<'static>),
    ) -> Self {
        let Sizes { sas, handshakes, exchanges, children, buffers } = sizes;
        let links = IkeMemory::<Crypto>::links(sas, handshakes, exchanges, children, buffers);
        let memory = IkeMemory {
            sas: leak((0..sas).map(|_| IkeSlot::EMPTY).collect()),
            handshakes: leak((0..handshakes).map(|_| HandshakeSlot::EMPTY).collect()),
            exchanges: leak((0..exchanges).map(|_| ExchangeSlot::EMPTY).collect()),
            children: leak((0..children).map(|_| ChildSlot::EMPTY).collect()),
            buffers: leak(vec![0; 1500 * buffers]),
            buffer_len: 1500,
            assembly: leak(vec![0; 1500]),
            links: leak(vec![0; links]),
            deadlines: leak(vec![Deadline::EMPTY; sas + handshakes + exchanges + children]),
            leases: &mut [],
        };
        let mut rng = Rng(seed);
        let mut config = Config::new(peers);
        change(&mut config);
        let engine = Ike::new(config, memory, &mut rng);
        Self {
            engine,
            rng,
            spis: Spis::default(),
            installs: vec![],
            failures: vec![],
            child_downs: vec![],
            ike_downs: vec![],
            ike: None,
            child: None,
        }
    }

    fn with<R>(
        &mut self,
        now: Instant,
        f: impl FnOnce(&mut Ike<'static, Crypto>, &mut Env<'_>) -> R,
    ) -> R {
        let mut env = Env { now, rng: &mut self.rng, spis: &mut self.spis };
        f(&mut self.engine, &mut env)
    }

    /// Tells all events, and answers every install.
    fn tell(&mut self, now: Instant) {
        loop {
            let mut answer = None;
            match self.engine.poll_event() {
                None => return,
                Some(Event::Install { child, direction, params }) => {
                    let (spi, path) = (params.spi.get(), params.path);
                    self.installs.push(Install { child, spi, path });
                    answer = Some((child, direction));
                }
                Some(Event::IkeUp { ike, .. } | Event::IkeRekeyed { ike, .. }) => {
                    self.ike = Some(ike);
                }
                Some(Event::IkeDown { reason, .. }) => self.ike_downs.push(reason),
                Some(Event::ChildUp { child, .. }) => self.child = Some(child),
                Some(Event::ChildDown { child, reason, .. }) => {
                    self.child_downs.push((child, reason));
                }
                Some(Event::Failed { failure, .. }) => self.failures.push(failure),
                Some(_) => {}
            }
            if let Some((child, direction)) = answer {
                self.with(now, |e, env| e.installed(env, child, direction, Ok(())));
            }
        }
    }

    fn settle(&mut self, now: Instant) {
        for _ in 0..4 {
            self.with(now, |e, env| run_jobs(e, env));
            self.tell(now);
        }
    }

    /// Everything that waits to be sent.
    fn sent(&mut self) -> Vec<(Path, Vec<u8>)> {
        let mut buf = [0; 1600];
        let mut all = vec![];
        while let Some(t) = self.engine.poll_transmit(&mut buf).unwrap() {
            let skip = if t.path.local.port == 4500 { 4 } else { 0 };
            all.push((t.path, buf[skip..t.len].to_vec()));
        }
        all
    }

    /// Takes what somebody sent, without doing any job.
    fn take(&mut self, now: Instant, (path, bytes): &(Path, Vec<u8>)) -> bool {
        let path = Path::new(path.remote, path.local);
        let mut datagram = bytes.clone();
        self.with(now, |e, env| e.handle_datagram(env, path, &mut datagram)).is_ok()
    }

    fn take_all(&mut self, now: Instant, all: &[(Path, Vec<u8>)]) {
        for datagram in all {
            self.take(now, datagram);
        }
    }

    fn timeout(&mut self, now: Instant) {
        self.with(now, |e, env| e.handle_timeout(env));
        self.settle(now);
    }

    fn is_established(&self, child: ChildId) -> bool {
        self.engine.established_children().any(|(id, _)| id == child)
    }
}

/// Carries datagrams between the hub and others until nobody has anything to say.
fn exchange(now: Instant, hub: &mut Side, others: &mut [(&str, &mut Side)]) {
    for _ in 0..100 {
        let mut quiet = true;
        hub.settle(now);
        for datagram in hub.sent() {
            quiet = false;
            let to = datagram.0.remote.address;
            for (address, side) in others.iter_mut() {
                if ip(address) == to {
                    side.take(now, &datagram);
                }
            }
        }
        for (_, side) in others.iter_mut() {
            side.settle(now);
            for datagram in side.sent() {
                quiet = false;
                hub.take(now, &datagram);
                hub.settle(now);
            }
        }
        if quiet {
            return;
        }
    }
    assert!(others.is_empty(), "endless");
}

/// Exchange types.
const IKE_SA_INIT: u8 = 34;
const CREATE_CHILD_SA: u8 = 36;
const INFORMATIONAL: u8 = 37;

const HUB: &str = "10.8.0.1";
const X: &str = "10.8.0.2";
const Y: &str = "10.8.0.3";
const TO_X: ChildRef = ChildRef { peer: 0, child: 0 };
const TO_HUB: ChildRef = ChildRef { peer: 0, child: 0 };

fn net(third: u8) -> &'static [TrafficSelector] {
    leak(vec![TrafficSelector::network(IpAddr::from([192, 168, third, 0]), 24).unwrap()])
}

type Change = fn(&mut Peer<'static>, &mut Child<'static>);

fn unchanged(_: &mut Peer<'static>, _: &mut Child<'static>) {}

fn impatient(peer: &mut Peer<'static>, _: &mut Child<'static>) {
    peer.retransmission.tries = 2;
}

fn with_groups(_: &mut Peer<'static>, child: &mut Child<'static>) {
    const PROPOSALS: &[ChildProposal<'_>] =
        &[ChildProposal { groups: &[Group::X25519], ..ChildProposal::DEFAULT[0] }];
    child.proposals = PROPOSALS;
}

fn entry(
    local: (&str, &'static str, u8),
    remote: (&str, &'static str, u8),
    change: Change,
) -> Peer<'static> {
    let mut peer = Peer::psk(
        (Some(ip(local.0)), Identity::Fqdn(local.1)),
        (Some(ip(remote.0)), Identity::Fqdn(remote.1)),
        b"a secret of both, or of all",
    );
    let mut child = Child::new("lan", net(local.2), net(remote.2));
    change(&mut peer, &mut child);
    peer.children = leak(vec![child]);
    peer
}

const AS_HUB: (&str, &str, u8) = (HUB, "hub.example", 1);
const AS_X: (&str, &str, u8) = (X, "x.example", 2);
const AS_Y: (&str, &str, u8) = (Y, "y.example", 3);

fn hub(sizes: Sizes, change: Change) -> Side {
    let peers = leak(vec![entry(AS_HUB, AS_X, change), entry(AS_HUB, AS_Y, change)]);
    Side::new(1, sizes, peers, |_| {})
}

fn spoke(as_whom: (&str, &'static str, u8), change: Change) -> Side {
    let peers = leak(vec![entry(as_whom, AS_HUB, change)]);
    Side::new(u64::from(as_whom.2), PLENTY, peers, |_| {})
}

fn at(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

/// Brings up the tunnel from a spoke.
fn up(now: Instant, hub: &mut Side, address: &str, side: &mut Side) -> ChildId {
    side.with(now, |e, env| e.initiate(env, TO_HUB)).unwrap();
    exchange(now, hub, &mut [(address, side)]);
    assert!(side.child.is_some_and(|child| side.is_established(child)));
    hub.child.unwrap()
}

// ---- a peer that misbehaves ----

/// A peer that answers our deletion late, and deletes the same child itself meanwhile, does not end the child that has
/// come into its slot (the class of CVE-2023-38712: use after delete).
#[test]
fn a_late_answer_to_a_deletion_ends_nobody_elses_child() {
    let mut hub = hub(Sizes { children: 1, ..PLENTY }, unchanged);
    let (mut x, mut y) = (spoke(AS_X, unchanged), spoke(AS_Y, unchanged));
    let of_x = up(at(1), &mut hub, X, &mut x);
    // We delete it, and X does, before it has seen that.
    hub.with(at(2), |e, env| e.close_child(env, of_x)).unwrap();
    hub.settle(at(2));
    let deletion = hub.sent();
    let own = x.child.unwrap();
    x.with(at(2), |e, env| e.close_child(env, own)).unwrap();
    exchange(at(2), &mut hub, &mut [(X, &mut x)]);
    assert_eq!(hub.engine.children_in_use(), 0);
    // Y takes the place.
    let of_y = up(at(3), &mut hub, Y, &mut y);
    // Now X answers.
    for datagram in &deletion {
        assert!(x.take(at(3), datagram));
    }
    exchange(at(3), &mut hub, &mut [(X, &mut x)]);
    assert!(hub.is_established(of_y), "{:?}", hub.child_downs);
}

/// The same, if X never answers: its IKE SA ends, and nothing of Y's.
#[test]
fn a_deletion_that_is_never_answered_ends_nobody_elses_child() {
    let mut hub = hub(Sizes { children: 1, ..PLENTY }, impatient);
    let (mut x, mut y) = (spoke(AS_X, unchanged), spoke(AS_Y, unchanged));
    let of_x = up(at(1), &mut hub, X, &mut x);
    hub.with(at(2), |e, env| e.close_child(env, of_x)).unwrap();
    hub.settle(at(2));
    let _lost = hub.sent();
    let own = x.child.unwrap();
    x.with(at(2), |e, env| e.close_child(env, own)).unwrap();
    exchange(at(2), &mut hub, &mut [(X, &mut x)]);
    // Y is in the middle of its handshake, with a child that is not up yet, when X is given up.
    y.with(at(3), |e, env| e.initiate(env, TO_HUB)).unwrap();
    y.settle(at(3));
    for datagram in y.sent() {
        hub.take(at(3), &datagram);
    }
    hub.settle(at(3));
    for datagram in hub.sent() {
        y.take(at(3), &datagram);
    }
    y.settle(at(3));
    for datagram in y.sent() {
        assert!(hub.take(at(3), &datagram));
    }
    assert_eq!(hub.engine.children_in_use(), 1);
    while hub.engine.established().any(|(_, peer)| peer == 0) {
        let next = hub.engine.next_timeout().unwrap();
        assert!(next < at(10));
        hub.with(next, |e, env| e.handle_timeout(env));
    }
    hub.settle(at(10));
    assert_eq!(hub.ike_downs, [DownReason::PeerSilent { tries: 3 }]);
    let of_y = hub.child.unwrap();
    assert!(of_y != of_x && hub.is_established(of_y), "{:?}", hub.child_downs);
}

/// A peer that deletes a child while we still agree on its keys does not get its keys installed for the child that has
/// come into its slot.
#[test]
fn a_child_deleted_before_its_keys_are_known_installs_nothing_for_others() {
    let mut hub = hub(Sizes { children: 2, ..PLENTY }, with_groups);
    let (mut x, mut y) = (spoke(AS_X, with_groups), spoke(AS_Y, with_groups));
    let of_x = up(at(1), &mut hub, X, &mut x);
    hub.with(at(2), |e, env| e.rekey_child(env, of_x)).unwrap();
    hub.settle(at(2));
    for datagram in hub.sent() {
        assert!(x.take(at(2), &datagram));
    }
    x.settle(at(2));
    for datagram in x.sent() {
        assert!(hub.take(at(2), &datagram));
    }
    // Somebody works on the key exchange. X takes its child back.
    let job = hub.engine.poll_job().unwrap();
    let own = x.child.unwrap();
    x.with(at(2), |e, env| e.close_child(env, own)).unwrap();
    x.settle(at(2));
    for datagram in x.sent() {
        assert!(hub.take(at(2), &datagram));
    }
    hub.tell(at(2));
    assert_eq!(hub.engine.children_in_use(), 1);
    y.with(at(3), |e, env| e.initiate(env, TO_HUB)).unwrap();
    exchange(at(3), &mut hub, &mut [(X, &mut x), (Y, &mut y)]);
    let of_y = hub.child.unwrap();
    assert!(of_y != of_x && hub.is_established(of_y));
    hub.installs.clear();
    // The key exchange is done.
    let mut public = [0; 512];
    if let Some(work) = hub.engine.job(job) {
        let answer: Answer<'_, Crypto> = work.run(&mut Rng(9), &mut public);
        hub.with(at(3), |e, env| e.handle_job(env, job, answer));
    }
    exchange(at(3), &mut hub, &mut [(X, &mut x), (Y, &mut y)]);
    assert!(hub.installs.iter().all(|i| i.child != of_y), "{:?}", hub.installs);
    assert!(hub.is_established(of_y));
    // X's IKE SA is not blocked.
    let ike = x.ike.unwrap();
    x.with(at(4), |e, env| e.rekey_ike(env, ike)).unwrap();
    exchange(at(4), &mut hub, &mut [(X, &mut x)]);
    assert_ne!(x.ike, Some(ike));
}

/// One peer does not take all child SAs of the others.
#[test]
fn one_peer_does_not_take_all_children() {
    let mut hub = hub(PLENTY, unchanged);
    let mut y = spoke(AS_Y, unchanged);
    // X asks for one tunnel for each of its hosts: all of them are allowed.
    let mut many = entry(AS_X, AS_HUB, unchanged);
    let host = |i| TrafficSelector::network(IpAddr::from([192, 168, 2, i]), 32).unwrap();
    let child = |i| Child::new("host", leak(vec![host(i)]), net(1));
    many.children = leak((0..32).map(child).collect());
    let mut x = Side::new(2, Sizes { children: 32, ..PLENTY }, leak(vec![many]), |_| {});
    up(at(1), &mut hub, X, &mut x);
    for child in 1..32 {
        x.with(at(2), |e, env| e.initiate(env, ChildRef { peer: 0, child })).unwrap();
        exchange(at(2), &mut hub, &mut [(X, &mut x)]);
    }
    assert!(x.failures.contains(&Failure::Refused(NotifyType::NO_ADDITIONAL_SAS)));
    up(at(3), &mut hub, Y, &mut y);
    // RFC 7296 section 1.3.3: new keys are no additional child. Those that it has do not end for want of room, whoever asks.
    let refused = x.failures.len();
    for (now, asks) in [(at(4), true), (at(30), false)] {
        let side = if asks { &mut x } else { &mut hub };
        let all: Vec<ChildId> = side.engine.established_children().map(|(id, _)| id).collect();
        assert!(all.len() >= 4, "{all:?}");
        for child in &all {
            let side = if asks { &mut x } else { &mut hub };
            side.with(now, |e, env| e.rekey_child(env, *child)).unwrap();
            exchange(now, &mut hub, &mut [(X, &mut x), (Y, &mut y)]);
        }
        assert_eq!(x.failures.len(), refused, "{:?}", x.failures);
        let side = if asks { &x } else { &hub };
        assert!(all.iter().all(|child| !side.is_established(*child)));
        assert_eq!(side.engine.established_children().count(), all.len());
    }
}

/// One peer that rekeys its IKE SA again and again, and deletes none, does not take the IKE SAs of the others.
#[test]
fn one_peer_does_not_take_all_ike_sas_by_rekeying() {
    let mut hub = hub(PLENTY, unchanged);
    let mut y = spoke(AS_Y, unchanged);
    let roomy = Sizes { sas: 64, exchanges: 64, buffers: 192, ..PLENTY };
    let mut x = Side::new(2, roomy, leak(vec![entry(AS_X, AS_HUB, unchanged)]), |_| {});
    up(at(1), &mut hub, X, &mut x);
    for _ in 0..40 {
        let ike = x.ike.unwrap();
        x.with(at(2), |e, env| e.rekey_ike(env, ike)).unwrap();
        for _ in 0..3 {
            x.settle(at(2));
            for datagram in x.sent().iter().filter(|d| d.1[18] == CREATE_CHILD_SA) {
                hub.take(at(2), datagram);
            }
            hub.settle(at(2));
            for datagram in hub.sent() {
                x.take(at(2), &datagram);
            }
        }
    }
    assert!(hub.engine.sas_in_use() <= 8, "{}", hub.engine.sas_in_use());
    up(at(3), &mut hub, Y, &mut y);
    // X is served none the less.
    assert!(hub.engine.established().any(|(_, peer)| peer == 0));
}

/// Neither by beginning anew, again and again, without INITIAL_CONTACT: the oldest give way.
#[test]
fn one_peer_does_not_take_all_ike_sas_by_new_ones() {
    let mut hub = hub(PLENTY, unchanged);
    let mut y = spoke(AS_Y, unchanged);
    let roomy = Sizes { sas: 64, handshakes: 64, exchanges: 64, children: 64, buffers: 300 };
    let mut x = Side::new(2, roomy, leak(vec![entry(AS_X, AS_HUB, unchanged)]), |_| {});
    for _ in 0..30 {
        x.with(at(2), |e, env| e.initiate(env, TO_HUB)).unwrap();
        for _ in 0..4 {
            x.settle(at(2));
            for datagram in x.sent().iter().filter(|d| d.1[18] != INFORMATIONAL) {
                hub.take(at(2), datagram);
            }
            hub.settle(at(2));
            for datagram in hub.sent() {
                x.take(at(2), &datagram);
            }
        }
        // It forgets the SA, and does not say so.
        let ike = x.ike.unwrap();
        x.with(at(2), |e, env| e.close_ike(env, ike)).unwrap();
    }
    assert!(hub.engine.sas_in_use() <= 8, "{}", hub.engine.sas_in_use());
    up(at(3), &mut hub, Y, &mut y);
    assert!(hub.engine.established().any(|(_, peer)| peer == 0));
}

// ---- somebody on the path ----

/// The true IKE_AUTH, sent on from elsewhere before it arrives itself, does not carry the SA away: there is no NAT.
#[test]
fn an_ike_auth_request_from_elsewhere_moves_nobody() {
    let mut hub = hub(PLENTY, unchanged);
    let mut x = spoke(AS_X, unchanged);
    x.with(at(1), |e, env| e.initiate(env, TO_HUB)).unwrap();
    x.settle(at(1));
    assert!(hub.take(at(1), &x.sent()[0]));
    hub.settle(at(1));
    assert!(x.take(at(1), &hub.sent()[0]));
    x.settle(at(1));
    let (path, request) = x.sent().remove(0);
    let elsewhere = Path::new(Endpoint::new(ip("10.66.6.6"), 500), path.remote);
    hub.take(at(1), &(elsewhere, request.clone()));
    hub.settle(at(1));
    let _seen_by_nobody = hub.sent();
    hub.take(at(1), &(path, request));
    exchange(at(1), &mut hub, &mut [(X, &mut x)]);
    assert!(x.child.is_some_and(|child| x.is_established(child)));
    assert_eq!(hub.installs.len(), 2);
    assert!(hub.installs.iter().all(|i| i.path.remote.address == ip(X)), "{:?}", hub.installs);
}

/// Values that lead nowhere, as often as somebody likes to send them, do not make us repeat our request for ever.
#[test]
fn forged_answers_do_not_pin_a_handshake() {
    let mut hub = hub(PLENTY, unchanged);
    hub.with(at(1), |e, env| e.initiate(env, TO_X)).unwrap();
    hub.settle(at(1));
    let request = hub.sent().remove(0);
    // An answer with a key exchange value of zeros, which is none.
    let mut x = spoke(AS_X, unchanged);
    assert!(x.take(at(1), &request));
    x.settle(at(1));
    let (path, mut forged) = x.sent().remove(0);
    let ke = find_ke(&forged);
    forged[ke..ke + 32].fill(0);
    let (mut now, mut sent) = (at(1), 0);
    while hub.failures.is_empty() {
        now = now.after(Duration::from_millis(100));
        assert!(now < at(1200), "pinned; {sent} requests");
        hub.take(now, &(path, forged.clone()));
        hub.settle(now);
        hub.timeout(now);
        sent += hub.sent().len();
    }
    assert!(sent < 40, "{sent}");
}

/// Where the 32 bytes of a key exchange payload begin.
fn find_ke(message: &[u8]) -> usize {
    let (mut kind, mut at) = (message[16], 28);
    while kind != 34 {
        kind = message[at];
        at += usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
    }
    at + 8
}

/// Whoever answers our IKE_SA_INIT first, and refuses our IKE_AUTH before the true answer arrives, does not win.
#[test]
fn an_impostor_nearby_does_not_win_by_refusing_first() {
    let mut hub = hub(PLENTY, unchanged);
    let mut x = spoke(AS_X, unchanged);
    let mut stranger = entry(AS_X, AS_HUB, unchanged);
    stranger.auth = Auth::psk(b"not the secret at all");
    let mut impostor = Side::new(66, PLENTY, leak(vec![stranger]), |_| {});
    hub.with(at(1), |e, env| e.initiate(env, TO_X)).unwrap();
    hub.settle(at(1));
    let request = hub.sent().remove(0);
    assert!(x.take(at(1), &request) && impostor.take(at(1), &request));
    x.settle(at(1));
    let slow = x.sent().remove(0);
    exchange(at(1), &mut hub, &mut [(X, &mut impostor)]);
    // Only now comes the true one.
    let later = at(1).after(Duration::from_millis(200));
    hub.take(later, &slow);
    for _ in 0..200 {
        exchange(later, &mut hub, &mut [(X, &mut x)]);
        let Some(next) = hub.engine.next_timeout().filter(|next| *next < at(20)) else { break };
        hub.timeout(next);
        exchange(next, &mut hub, &mut [(X, &mut x)]);
        if hub.child.is_some() {
            break;
        }
    }
    assert!(hub.child.is_some_and(|child| hub.is_established(child)), "{:?}", hub.failures);
}

/// A peer that believes our authentication for no time at all does not make us begin anew again and again
/// (RFC 4478 section 3).
#[test]
fn a_peer_that_wants_proofs_all_the_time_does_not_take_all_ike_sas() {
    fn short(peer: &mut Peer<'static>, _: &mut Child<'static>) {
        if peer.local == Some(ip(HUB)) {
            // Told in whole seconds.
            peer.reauthenticate_after = Duration::from_millis(900);
        }
    }
    let mut hub = hub(PLENTY, short);
    let mut x = spoke(AS_X, short);
    up(at(1), &mut hub, X, &mut x);
    for _ in 0..10 {
        x.timeout(at(1));
        exchange(at(1), &mut hub, &mut [(X, &mut x)]);
    }
    assert_eq!((x.engine.sas_in_use(), x.engine.handshakes_in_use()), (1, 0));
}

// ---- strangers ----

/// The IKE_SA_INIT of somebody at `address`, real or not, with fresh values.
fn sa_init(now: Instant, seed: u64, address: &str) -> (Path, Vec<u8>) {
    let as_whom: (&str, &'static str, u8) = (X, "stranger.example", 9);
    let mut side = Side::new(seed, PLENTY, leak(vec![entry(as_whom, AS_HUB, unchanged)]), |_| {});
    side.with(now, |e, env| e.initiate(env, TO_HUB)).unwrap();
    side.settle(now);
    let (path, bytes) = side.sent().remove(0);
    (Path::new(Endpoint::new(ip(address), 500), path.remote), bytes)
}

fn anybody(peer: &mut Peer<'static>, _: &mut Child<'static>) {
    if peer.local == Some(ip(HUB)) {
        peer.remote = None;
    }
}

/// Requests from addresses that nobody has do not keep out who has one, however small the pool is
/// (RFC 7296 section 2.6).
#[test]
fn forged_addresses_do_not_fill_a_small_pool() {
    for handshakes in [1, 2, 4, 8, 16] {
        let mut hub = hub(Sizes { handshakes, ..PLENTY }, anybody);
        let mut x = spoke(AS_X, unchanged);
        for i in 0..40 {
            let forged = sa_init(at(1), 1000 + i, &format!("10.9.0.{i}"));
            hub.take(at(1), &forged);
            hub.settle(at(1));
            let _answers_to_nobody = hub.sent();
        }
        up(at(2), &mut hub, X, &mut x);
    }
}

/// Requests from a peer's address that the peer did not send do not keep it out.
#[test]
fn forged_requests_from_a_peers_address_do_not_use_up_its_share() {
    for handshakes in [8, 64] {
        let mut hub = hub(Sizes { handshakes, sas: 80, buffers: 300, ..PLENTY }, unchanged);
        let mut x = spoke(AS_X, unchanged);
        for i in 0..40 {
            hub.take(at(1), &sa_init(at(1), 1000 + i, X));
            hub.settle(at(1));
            let _answers = hub.sent();
        }
        up(at(2), &mut hub, X, &mut x);
    }
}

/// One real address does not take the whole pool.
#[test]
fn one_address_does_not_fill_the_pool() {
    let mut hub = hub(PLENTY, anybody);
    for i in 0..40 {
        let mut request = sa_init(at(1), 1000 + i, "10.9.0.1");
        for _ in 0..2 {
            hub.take(at(1), &request);
            hub.settle(at(1));
            let Some((_, answer)) = hub.sent().pop() else { break };
            let Some(cookie) = cookie_of(&answer) else { break };
            request.1 = with_cookie(&request.1, &cookie);
        }
    }
    let mut x = spoke(AS_X, unchanged);
    up(at(2), &mut hub, X, &mut x);
}

/// Neither does one network of IPv6, all of whose addresses are one host's.
#[test]
fn one_network_does_not_fill_the_pool() {
    const AS_HUB: (&str, &str, u8) = ("2001:db8:8::1", "hub.example", 1);
    const AS_X: (&str, &str, u8) = ("2001:db8:8::2", "x.example", 2);
    let mut peer = entry(AS_HUB, AS_X, unchanged);
    peer.remote = None;
    let mut hub = Side::new(1, PLENTY, leak(vec![peer]), |_| {});
    for i in 0..40 {
        let (_, mut request) = sa_init(at(1), 1000 + i, "10.9.0.1");
        let from = Endpoint::new(ip(&format!("2001:db8:9::{i}")), 500);
        let path = Path::new(from, Endpoint::new(ip(AS_HUB.0), 500));
        for _ in 0..2 {
            hub.take(at(1), &(path, request.clone()));
            hub.settle(at(1));
            let Some((_, answer)) = hub.sent().pop() else { break };
            let Some(cookie) = cookie_of(&answer) else { break };
            request = with_cookie(&request, &cookie);
        }
    }
    let mut x = Side::new(2, PLENTY, leak(vec![entry(AS_X, AS_HUB, unchanged)]), |_| {});
    up(at(2), &mut hub, AS_X.0, &mut x);
}

/// A request too long to be kept costs no work, and gets no answer.
#[test]
fn a_request_longer_than_a_buffer_is_dropped_at_once() {
    // With so small a pool, everybody is asked for a cookie.
    let mut hub = hub(Sizes { handshakes: 1, ..PLENTY }, unchanged);
    let (path, mut request) = sa_init(at(1), 7, X);
    // Vendor IDs in front.
    let next = core::mem::replace(&mut request[16], 43);
    let mut vendor = vec![next, 0];
    vendor.extend(2000u16.to_be_bytes());
    vendor.resize(2000, 1);
    request.splice(28..28, vendor);
    let len = (request.len() as u32).to_be_bytes();
    request[24..28].copy_from_slice(&len);
    assert!(!hub.take(at(1), &(path, request)));
    assert_eq!((hub.sent().len(), hub.engine.handshakes_in_use()), (0, 0));
    assert!(hub.engine.poll_job().is_none());
}

fn cookie_of(answer: &[u8]) -> Option<Vec<u8>> {
    (answer[16] == 41 && answer[34..36] == [0x40, 0x06]).then(|| answer[36..].to_vec())
}

fn with_cookie(request: &[u8], cookie: &[u8]) -> Vec<u8> {
    let mut out = request[..28].to_vec();
    out.extend([request[16], 0]);
    out.extend((8 + cookie.len() as u16).to_be_bytes());
    out.extend([0, 0, 0x40, 0x06]);
    out.extend(cookie);
    out.extend(&request[28..]);
    out[16] = 41;
    let len = (out.len() as u32).to_be_bytes();
    out[24..28].copy_from_slice(&len);
    out
}

/// Who begins at `address`, which is its own, and knows no secret.
fn stranger(seed: u64, address: &str, change: Change) -> Side {
    let as_whom: (&str, &'static str, u8) = (address, "stranger.example", 9);
    let mut peer = entry(as_whom, AS_HUB, change);
    peer.auth = Auth::psk(b"a guess");
    Side::new(seed, PLENTY, leak(vec![peer]), |_| {})
}

fn anybody_in_fragments(peer: &mut Peer<'static>, child: &mut Child<'static>) {
    anybody(peer, child);
    peer.fragment_size = Some(256);
}

fn anybody_in_rounds(peer: &mut Peer<'static>, child: &mut Child<'static>) {
    const PROPOSALS: &[IkeProposal<'_>] =
        &[IkeProposal { additional: &[&[Group::ML_KEM_768]], ..IkeProposal::DEFAULT[0] }];
    anybody_in_fragments(peer, child);
    peer.proposals = PROPOSALS;
    peer.fragment_size = None;
}

#[cfg(feature = "ikev1")]
fn anybody_in_main_mode(peer: &mut Peer<'static>, child: &mut Child<'static>) {
    use ipsec_ike::config::{V1, Versions};
    anybody(peer, child);
    if peer.local == Some(ip(HUB)) {
        peer.versions = Versions::Either(V1::MAIN);
    } else if peer.local_id == Identity::Fqdn("stranger.example") {
        peer.versions = Versions::V1(V1::MAIN);
    }
}

/// Strangers at many addresses that go on after IKE_SA_INIT, each as far as it gets: with a part of a message, with a proof
/// that proves nothing, with a key exchange that takes its time. Those who are there go on.
#[test]
fn half_open_exchanges_do_not_take_the_last_buffers() {
    let ways: &[(&str, Change, bool)] = &[
        ("parts", anybody_in_fragments, false),
        ("proofs", anybody, true),
        ("rounds", anybody_in_rounds, true),
        #[cfg(feature = "ikev1")]
        ("keys", anybody_in_main_mode, true),
    ];
    for (way, change, whole) in ways.iter().copied() {
        for buffers in 6..=24 {
            let what = format!("{way}, {buffers} buffers");
            let mut hub = hub(Sizes { buffers, handshakes: 16, sas: 32, ..PLENTY }, change);
            let mut y = spoke(AS_Y, change);
            let of_y = up(at(1), &mut hub, Y, &mut y);
            let mut later = vec![];
            for i in 0..20 {
                let mut side = stranger(1000 + i, &format!("10.9.0.{i}"), change);
                side.with(at(2), |e, env| e.initiate(env, TO_HUB)).unwrap();
                side.settle(at(2));
                let mut sent = side.sent();
                // Perhaps a cookie is asked for. Of Main Mode, the first message.
                let mut first = way == "keys";
                while core::mem::take(&mut first)
                    || sent.first().is_some_and(|(_, message)| message[18] == IKE_SA_INIT)
                {
                    hub.take_all(at(2), &sent);
                    hub.settle(at(2));
                    side.take_all(at(2), &hub.sent());
                    side.settle(at(2));
                    sent = side.sent();
                }
                sent.truncate(if whole { usize::MAX } else { 1 });
                later.extend(sent);
            }
            hub.take_all(at(2), &later);
            // Their jobs are not done yet.
            hub.tell(at(2));
            drop(hub.sent());
            let before = y.child.unwrap();
            y.with(at(3), |e, env| e.rekey_child(env, before)).unwrap();
            exchange_with(at(3), &mut hub, &mut y);
            assert_ne!(y.child, Some(before), "{what}");
            let before = hub.child.unwrap();
            assert_ne!(before, of_y);
            hub.with(at(3), |e, env| e.rekey_child(env, before)).unwrap();
            exchange_with(at(3), &mut hub, &mut y);
            assert_ne!(hub.child, Some(before), "{what}");
        }
    }
}

/// The hub and one other talk, and the hub does no job.
fn exchange_with(now: Instant, hub: &mut Side, other: &mut Side) {
    for _ in 0..10 {
        hub.tell(now);
        other.settle(now);
        other.take_all(now, &hub.sent());
        other.settle(now);
        hub.take_all(now, &other.sent());
    }
}

// ---- our own faults ----

/// A key exchange that we could not begin has used no message ID: the IKE SA stays in step
/// (RFC 7296 section 2.2).
#[test]
fn a_request_that_was_never_sent_leaves_no_gap() {
    for late in [false, true] {
        let mut hub = hub(PLENTY, with_groups);
        let mut x = spoke(AS_X, with_groups);
        let of_x = up(at(1), &mut hub, X, &mut x);
        hub.with(at(2), |e, env| e.rekey_child(env, of_x)).unwrap();
        let job = hub.engine.poll_job().unwrap();
        if late {
            hub.timeout(at(100));
        } else {
            let failed = Answer::Failed(CryptoError::Failed);
            hub.with(at(2), |e, env| e.handle_job(env, job, failed));
        }
        hub.failures.clear();
        exchange(at(100), &mut hub, &mut [(X, &mut x)]);
        hub.with(at(101), |e, env| e.rekey_child(env, of_x)).unwrap();
        exchange(at(101), &mut hub, &mut [(X, &mut x)]);
        assert_ne!(hub.child, Some(of_x), "late {late}: {:?}", hub.failures);
    }
}

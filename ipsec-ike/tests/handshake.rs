//! Two engines, one datagram after another: the exchanges of a tunnel's life on a perfect link.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

use core::net::IpAddr;

use ipsec_core::list::Deadline;
use ipsec_core::path::Path;
use ipsec_core::sa::Spi;
use ipsec_core::sad::SpiAllocator;
use ipsec_core::selector::TrafficSelector;
use ipsec_core::time::Instant;
use ipsec_ike::config::{Child, ChildProposal, Config, Peer};
use ipsec_ike::event::{ChildId, ChildRef, DownReason, Event, Failure, IkeId, Traffic};
use ipsec_ike::identity::Identity;
use ipsec_ike::jobs::run_jobs;
use ipsec_ike::{ChildSlot, Env, ExchangeSlot, HandshakeSlot, Ike, IkeMemory, IkeSlot};
use ipsec_rustcrypto::RustCrypto;
use rand_core::{CryptoRng, TryCryptoRng, TryRng};

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
    reserved: Vec<u32>,
}

impl SpiAllocator for Spis {
    fn reserve(&mut self, _: &mut dyn CryptoRng) -> Option<Spi> {
        self.next += 1;
        self.reserved.push(self.next + 0x1000);
        Spi::new(self.next + 0x1000)
    }
    fn release(&mut self, spi: Spi) {
        self.reserved.retain(|s| *s != spi.get());
    }
}

#[derive(Debug, PartialEq)]
enum Seen {
    IkeUp,
    IkeRekeyed,
    IkeDown(DownReason),
    ChildUp(Traffic, bool),
    ChildLeaves,
    ChildDown(DownReason),
    Failed(Failure),
}

struct Side {
    engine: Ike<'static, RustCrypto>,
    rng: Rng,
    spis: Spis,
    seen: Vec<Seen>,
    keys: Vec<(u32, Vec<u8>)>,
    ike: Option<IkeId>,
    child: Option<ChildId>,
}

fn leak<T>(items: Vec<T>) -> &'static mut [T] {
    Vec::leak(items)
}

impl Side {
    fn new(
        seed: u64,
        peers: &'static [Peer<'static>],
        change: impl FnOnce(&mut Config<'static>),
    ) -> Self {
        let n = 8;
        let memory = IkeMemory {
            sas: leak((0..n).map(|_| IkeSlot::EMPTY).collect()),
            handshakes: leak((0..n).map(|_| HandshakeSlot::EMPTY).collect()),
            exchanges: leak((0..n).map(|_| ExchangeSlot::EMPTY).collect()),
            children: leak((0..n).map(|_| ChildSlot::EMPTY).collect()),
            buffers: leak(vec![0; 2048 * 16]),
            buffer_len: 2048,
            assembly: leak(vec![0; 2048]),
            links: leak(vec![0; IkeMemory::<RustCrypto>::links(n, n, n, n, 16)]),
            deadlines: leak(vec![Deadline::EMPTY; 4 * n]),
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
            seen: vec![],
            keys: vec![],
            ike: None,
            child: None,
        }
    }

    fn with<R>(
        &mut self,
        now: Instant,
        f: impl FnOnce(&mut Ike<'static, RustCrypto>, &mut Env<'_>) -> R,
    ) -> R {
        let mut env = Env { now, rng: &mut self.rng, spis: &mut self.spis };
        f(&mut self.engine, &mut env)
    }

    fn settle(&mut self, now: Instant) {
        loop {
            self.with(now, |e, env| run_jobs(e, env));
            let mut answer = None;
            match self.engine.poll_event() {
                None => break,
                Some(Event::Install { child, direction, params }) => {
                    self.keys.push((params.spi.get(), params.keymat.to_vec()));
                    answer = Some((child, direction));
                }
                Some(Event::IkeUp { ike, .. }) => {
                    self.ike = Some(ike);
                    self.seen.push(Seen::IkeUp);
                }
                Some(Event::IkeRekeyed { ike, .. }) => {
                    self.ike = Some(ike);
                    self.seen.push(Seen::IkeRekeyed);
                }
                Some(Event::IkeDown { reason, .. }) => self.seen.push(Seen::IkeDown(reason)),
                Some(Event::ChildUp { child, traffic, replaces, .. }) => {
                    self.child = Some(child);
                    self.seen.push(Seen::ChildUp(traffic, replaces.is_some()));
                }
                Some(Event::ChildLeaves { .. }) => self.seen.push(Seen::ChildLeaves),
                Some(Event::ChildDown { reason, .. }) => self.seen.push(Seen::ChildDown(reason)),
                Some(Event::Failed { failure, .. }) => self.seen.push(Seen::Failed(failure)),
                Some(_) => {}
            }
            if let Some((child, direction)) = answer {
                self.with(now, |e, env| e.installed(env, child, direction, Ok(())));
            }
        }
    }

    fn take_seen(&mut self) -> Vec<Seen> {
        core::mem::take(&mut self.seen)
    }
}

/// Carries datagrams both ways until nobody has anything to say. Gives how many there were.
fn exchange(now: Instant, a: &mut Side, b: &mut Side) -> usize {
    let mut count = 0;
    loop {
        let mut quiet = true;
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            from.settle(now);
            let mut buf = [0; 2100];
            while let Some(t) = from.engine.poll_transmit(&mut buf).unwrap() {
                quiet = false;
                count += 1;
                assert!(count < 100, "endless");
                let skip = if t.path.local.port == 4500 { 4 } else { 0 };
                let path = Path::new(t.path.remote, t.path.local);
                let mut datagram = buf[skip..t.len].to_vec();
                let _ = to.with(now, |e, env| e.handle_datagram(env, path, &mut datagram));
                to.settle(now);
            }
        }
        if quiet {
            return count;
        }
    }
}

const A: &str = "10.8.0.1";
const B: &str = "10.8.0.2";

fn peers(
    flip: bool,
    key: &'static [u8],
    change: impl Fn(&mut Peer<'static>, &mut Child<'static>),
) -> &'static [Peer<'static>] {
    let address = |s: &str| s.parse::<IpAddr>().unwrap();
    let net = |third| {
        &*leak(vec![TrafficSelector::network(IpAddr::from([192, 168, third, 0]), 24).unwrap()])
    };
    let sides = [
        (Some(address(A)), Identity::Fqdn("kolkata.example")),
        (Some(address(B)), Identity::Fqdn("delhi.example")),
    ];
    let [local, remote] = if flip { [sides[1], sides[0]] } else { sides };
    let mut peer = Peer::psk(local, remote, key);
    let mut child = Child::new("lan", net(if flip { 2 } else { 1 }), net(if flip { 1 } else { 2 }));
    change(&mut peer, &mut child);
    peer.children = leak(vec![child]);
    leak(vec![peer])
}

const FIRST: ChildRef = ChildRef { peer: 0, child: 0 };

fn pair(change: impl Fn(&mut Peer<'static>, &mut Child<'static>)) -> (Side, Side) {
    let a = Side::new(1, peers(false, b"secret", &change), |_| {});
    let b = Side::new(2, peers(true, b"secret", &change), |_| {});
    (a, b)
}

fn up(change: impl Fn(&mut Peer<'static>, &mut Child<'static>)) -> (Side, Side) {
    let (mut a, mut b) = pair(change);
    let now = Instant::from_secs(1);
    a.with(now, |e, env| e.initiate(env, FIRST)).unwrap();
    assert_eq!(exchange(now, &mut a, &mut b), 4);
    assert_eq!(a.take_seen(), [Seen::IkeUp, Seen::ChildUp(Traffic::Now, false)]);
    assert_eq!(b.take_seen(), [Seen::IkeUp, Seen::ChildUp(Traffic::Now, false)]);
    agree(&mut a, &mut b);
    (a, b)
}

/// Both sides installed the same keys at the same SPIs.
fn agree(a: &mut Side, b: &mut Side) {
    let (mut x, mut y) = (core::mem::take(&mut a.keys), core::mem::take(&mut b.keys));
    x.sort();
    y.sort();
    assert_eq!(x, y);
    assert_eq!(x.len(), 2);
}

#[test]
fn four_messages_bring_up_a_tunnel() {
    let (a, b) = up(|_, _| {});
    assert_eq!((a.engine.handshakes_in_use(), b.engine.handshakes_in_use()), (0, 0));
    assert_eq!((a.engine.exchanges_in_use(), b.engine.exchanges_in_use()), (0, 1));
}

#[test]
fn children_are_rekeyed_from_either_side_with_and_without_a_key_exchange() {
    for pfs in [false, true] {
        for from_a in [true, false] {
            let (mut a, mut b) = up(|_, child| {
                if pfs {
                    child.proposals = leak(vec![ChildProposal {
                        groups: &[ipsec_core::crypto::Group::P256],
                        ..ChildProposal::DEFAULT[0]
                    }]);
                }
            });
            let now = Instant::from_secs(2);
            let (first, second) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let child = first.child.unwrap();
            first.with(now, |e, env| e.rekey_child(env, child)).unwrap();
            assert_eq!(exchange(now, first, second), 4);
            assert_eq!(first.take_seen(), [Seen::ChildUp(Traffic::Now, true), Seen::ChildLeaves]);
            assert_eq!(
                second.take_seen(),
                [Seen::ChildUp(Traffic::AfterFirstPacket, true), Seen::ChildLeaves]
            );
            agree(first, second);
            // The old one receives a little longer.
            let later = Instant::from_secs(8);
            for side in [&mut *first, &mut *second] {
                assert_eq!(side.engine.children_in_use(), 2);
                side.with(later, |e, env| e.handle_timeout(env));
                side.settle(later);
                assert_eq!(side.take_seen(), [Seen::ChildDown(DownReason::Rekeyed)]);
            }
            assert_eq!((first.engine.children_in_use(), second.engine.children_in_use()), (1, 1));
        }
    }
}

#[test]
fn an_ike_sa_is_rekeyed_from_either_side_and_keeps_its_children() {
    for from_a in [true, false] {
        let (mut a, mut b) = up(|_, _| {});
        let now = Instant::from_secs(2);
        let (first, second) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let ike = first.ike.unwrap();
        first.with(now, |e, env| e.rekey_ike(env, ike)).unwrap();
        assert_eq!(exchange(now, first, second), 4);
        assert_eq!(first.take_seen(), [Seen::IkeRekeyed]);
        assert_eq!(second.take_seen(), [Seen::IkeRekeyed]);
        assert_eq!(first.engine.established_children().count(), 1);
        // The new one works: a child is rekeyed on it.
        let child = second.child.unwrap();
        second.with(now, |e, env| e.rekey_child(env, child)).unwrap();
        assert_eq!(exchange(now, first, second), 4);
        assert_eq!(first.engine.sas_in_use(), 1);
    }
}

#[test]
fn deletion_from_either_side() {
    let (mut a, mut b) = up(|_, _| {});
    let now = Instant::from_secs(2);
    let child = b.child.unwrap();
    b.with(now, |e, env| e.close_child(env, child)).unwrap();
    assert_eq!(exchange(now, &mut a, &mut b), 2);
    assert_eq!(a.take_seen(), [Seen::ChildDown(DownReason::Deleted)]);
    assert_eq!(b.take_seen(), [Seen::ChildDown(DownReason::Closed)]);
    // The child comes back on the IKE SA that stands.
    a.with(now, |e, env| e.initiate(env, FIRST)).unwrap();
    assert_eq!(exchange(now, &mut a, &mut b), 2);
    assert_eq!(a.take_seen(), [Seen::ChildUp(Traffic::Now, false)]);
    let ike = a.ike.unwrap();
    a.with(now, |e, env| e.close_ike(env, ike)).unwrap();
    assert_eq!(exchange(now, &mut a, &mut b), 2);
    assert_eq!(
        a.take_seen(),
        [Seen::ChildDown(DownReason::Closed), Seen::IkeDown(DownReason::Closed)]
    );
    b.take_seen();
    assert_eq!(
        (a.engine.sas_in_use(), a.engine.exchanges_in_use(), a.engine.buffers_free()),
        (0, 0, 16)
    );
    // The side that was told keeps its last response for a moment.
    let later = Instant::from_secs(60);
    b.with(later, |e, env| e.handle_timeout(env));
    b.settle(later);
    assert_eq!(
        (b.engine.sas_in_use(), b.engine.exchanges_in_use(), b.engine.buffers_free()),
        (0, 0, 16)
    );
}

#[test]
fn a_cookie_is_returned() {
    let (mut a, _) = pair(|_, _| {});
    let mut b = Side::new(2, peers(true, b"secret", |_, _| {}), |c| c.cookie_threshold = 0);
    let now = Instant::from_secs(1);
    a.with(now, |e, env| e.initiate(env, FIRST)).unwrap();
    assert_eq!(exchange(now, &mut a, &mut b), 6);
    assert_eq!(b.take_seen(), [Seen::IkeUp, Seen::ChildUp(Traffic::Now, false)]);
}

#[test]
fn another_group_is_tried() {
    let (mut a, _) = pair(|_, _| {});
    let only_p256 = peers(true, b"secret", |peer, _| {
        peer.proposals = leak(vec![ipsec_ike::config::IkeProposal {
            groups: &[ipsec_core::crypto::Group::P256],
            ..ipsec_ike::config::IkeProposal::DEFAULT[0]
        }]);
    });
    let mut b = Side::new(2, only_p256, |_| {});
    let now = Instant::from_secs(1);
    a.with(now, |e, env| e.initiate(env, FIRST)).unwrap();
    assert_eq!(exchange(now, &mut a, &mut b), 6);
    assert_eq!(a.take_seen(), [Seen::IkeUp, Seen::ChildUp(Traffic::Now, false)]);
}

#[test]
fn another_key_is_told_on_both_sides() {
    let (mut a, _) = pair(|_, _| {});
    let mut b = Side::new(2, peers(true, b"another", |_, _| {}), |_| {});
    let now = Instant::from_secs(1);
    a.with(now, |e, env| e.initiate(env, FIRST)).unwrap();
    assert_eq!(exchange(now, &mut a, &mut b), 4);
    // The answer of another, who has the key, may still be on its way.
    assert_eq!(a.take_seen(), []);
    let later = Instant::from_secs(2);
    a.with(later, |e, env| e.handle_timeout(env));
    a.settle(later);
    assert_eq!(a.take_seen(), [Seen::Failed(Failure::AuthenticationRefused)]);
    assert_eq!(b.take_seen(), [Seen::Failed(Failure::AuthenticationFailed)]);
    assert_eq!((a.engine.sas_in_use(), a.engine.buffers_free()), (0, 16));
}

#[test]
fn encapsulation_can_be_forced() {
    let (mut a, mut b) = pair(|peer, _| peer.force_encapsulation = true);
    let now = Instant::from_secs(1);
    a.with(now, |e, env| e.initiate(env, FIRST)).unwrap();
    assert_eq!(exchange(now, &mut a, &mut b), 4);
    assert_eq!(a.take_seen(), [Seen::IkeUp, Seen::ChildUp(Traffic::Now, false)]);
}

#[test]
fn both_sides_rekey_a_child_at_once_and_one_replacement_stays() {
    // RFC 7296 section 2.8.1
    let mut survivors = [0; 2];
    for seed in 0..20 {
        for delay in 0..2 {
            let (mut a, mut b) = up(|_, _| {});
            a.rng.0 = seed;
            let now = Instant::from_secs(2);
            let child = a.child.unwrap();
            a.with(now, |e, env| e.rekey_child(env, child)).unwrap();
            let child = b.child.unwrap();
            b.with(now, |e, env| e.rekey_child(env, child)).unwrap();
            // Both requests are on their way before either arrives.
            let mut requests = [(); 2].map(|()| ([0; 2100], None));
            for (side, (buf, sent)) in [&mut a, &mut b].into_iter().zip(&mut requests) {
                side.settle(now);
                *sent = side.engine.poll_transmit(buf).unwrap();
            }
            for turn in 0..2 {
                let to_b = (turn == 0) == (delay == 0);
                let (to, (buf, sent)) =
                    if to_b { (&mut b, &requests[0]) } else { (&mut a, &requests[1]) };
                let sent = sent.unwrap();
                let path = Path::new(sent.path.remote, sent.path.local);
                let mut datagram = buf[..sent.len].to_vec();
                to.with(now, |e, env| e.handle_datagram(env, path, &mut datagram)).unwrap();
                to.settle(now);
            }
            exchange(now, &mut a, &mut b);
            let later = Instant::from_secs(8);
            for side in [&mut a, &mut b] {
                side.with(later, |e, env| e.handle_timeout(env));
                side.settle(later);
            }
            exchange(later, &mut a, &mut b);
            let mine: Vec<_> = a.engine.established_children().collect();
            assert_eq!(
                (mine.len(), b.engine.established_children().count()),
                (1, 1),
                "seed {seed}"
            );
            assert_eq!((a.engine.children_in_use(), b.engine.children_in_use()), (1, 1));
            // The survivors are of one and the same exchange: they can be deleted by either name.
            let id = mine[0].0;
            a.with(later, |e, env| e.close_child(env, id)).unwrap();
            exchange(later, &mut a, &mut b);
            assert_eq!((a.engine.children_in_use(), b.engine.children_in_use()), (0, 0));
            let asked_by_a = a.take_seen().contains(&Seen::ChildUp(Traffic::Now, true));
            survivors[usize::from(asked_by_a)] += 1;
        }
    }
    assert!(survivors.iter().all(|n| *n > 5), "{survivors:?}");
}

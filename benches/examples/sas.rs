//! A gateway that many peers come to, one after the other, and stay: for `count-handshakes`.
//!
//! usage: sas COUNT [configured]
//!
//! Each of COUNT peers makes an IKE SA and a child SA with the gateway, by a pre-shared key. What the gateway does for the
//! handshakes of 64 peers is done in a function of its own when ten are there, and again when all but 64 are, so that
//! callgrind can tell the two apart. Cryptography is the test kit's, which costs next to nothing.
//!
//! It prints the bytes of memory for each peer.
//!
//! With `configured`, each of COUNT peers has an entry of its own in the configuration instead, with an address and an
//! identity, and the last 64 of them come: to a gateway that knows few others, and to one that knows all. Then it prints
//! the bytes of an entry.

use std::cell::Cell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipsec::{
    Child, ChildRef, Config, Gateway, GatewayConfig, Identity, Path, Peer, Pools, Sizes, Store,
};
use ipsec_core::lifetime::Lifetime;
use ipsec_core::selector::TrafficSelector;
use ipsec_core::time::Instant;
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::toy::Toy;

const KEY: &[u8] = b"a key of thirty-two bytes for tests";
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Handshakes that are counted.
const COUNTED: usize = 64;
const FEW: usize = 10;

thread_local!(static BYTES: Cell<usize> = const { Cell::new(0) });

/// Growable stores that count the bytes of what they hold.
struct Counting;

impl Store for Counting {
    type Of<T> = Vec<T>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
        let all: Vec<T> = items.collect();
        BYTES.set(BYTES.get() + size_of::<T>() * all.len());
        all
    }
}

/// Of a gateway for so many peers, of which a few shake hands at once.
const fn sizes(peers: usize, policies: usize) -> Sizes {
    Sizes {
        ike_sas: peers + 64,
        handshakes: 64,
        exchanges: 256,
        children: peers + 64,
        manual: 0,
        policies,
        buffers: 1024,
        buffer_len: 1500,
        window: 64,
    }
}

fn pools(sizes: &Sizes) -> (Pools<Toy, Counting>, usize) {
    BYTES.set(0);
    let pools = Pools::new(sizes);
    (pools, BYTES.get())
}

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse::<usize>().ok()).expect("how many");
    assert!(count >= FEW + 2 * COUNTED, "more peers");
    match std::env::args().nth(2).as_deref() {
        None => established(count),
        Some("configured") => {
            configured(FEW + COUNTED, handshakes_with_few);
            configured(count, handshakes_with_many);
            println!("{}", size_of::<Peer<'_>>());
        }
        Some(_) => panic!("usage: sas COUNT [configured]"),
    }
}

/// One entry of the configuration, and so many peers that come and stay.
fn established(count: usize) {
    let everything = [TrafficSelector::ANY_V4];
    let child = [lasting(&everything, &everything)];
    let mut peer =
        Peer::psk((Some(GATEWAY), Identity::Fqdn("gateway.example")), (None, Identity::Any), KEY);
    peer.children = &child;
    stays(&mut peer);
    let peers = [peer];
    let config = GatewayConfig::new(Config::new(&peers));
    let (mut memory, bytes) = pools(&sizes(count, 16));
    let (_, fewer) = pools(&sizes(FEW, 16));
    let mut rng = SeededRng::new(1);
    let mut crowd = Crowd {
        gateway: Gateway::new(&config, memory.lend(), &mut rng).expect("it is configured well"),
        rng,
        now: Instant::from_secs(1),
        peers: 0,
    };
    crowd.grow(FEW);
    handshakes_with_few(&mut crowd);
    crowd.grow(count - COUNTED);
    handshakes_with_many(&mut crowd);
    let there = crowd.gateway.statistics();
    assert_eq!((there.ike_sas, there.children, there.inbound_sas), (count, count, count));
    println!("{}", (bytes - fewer) / (count - FEW));
}

/// So many entries of the configuration, and the last peers come.
fn configured(count: usize, handshakes: fn(&mut Crowd<'_>)) {
    let everything = [TrafficSelector::ANY_V4];
    let who: Vec<_> = (1..=count).map(Who::of).collect();
    let children: Vec<_> = who.iter().map(|who| [lasting(&everything, &who.inner)]).collect();
    let entry = |(who, child)| {
        let who: &Who = who;
        let mut peer = Peer::psk(
            (Some(GATEWAY), Identity::Fqdn("gateway.example")),
            (Some(who.address), Identity::Fqdn(&who.name)),
            KEY,
        );
        peer.children = child;
        stays(&mut peer);
        peer
    };
    let peers: Vec<_> = who.iter().zip(children.iter().map(|c| &c[..])).map(entry).collect();
    let config = GatewayConfig::new(Config::new(&peers));
    let (mut memory, _) = pools(&sizes(COUNTED, count + 16));
    let mut rng = SeededRng::new(1);
    let mut crowd = Crowd {
        gateway: Gateway::new(&config, memory.lend(), &mut rng).expect("it is configured well"),
        rng,
        now: Instant::from_secs(1),
        peers: count - COUNTED,
    };
    handshakes(&mut crowd);
    assert_eq!(crowd.gateway.statistics().children, COUNTED);
}

/// A peer.
struct Who {
    address: IpAddr,
    name: String,
    inner: [TrafficSelector; 1],
}

impl Who {
    fn of(number: usize) -> Self {
        let number = u32::try_from(number).expect("not that many");
        let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | number));
        let inner = [TrafficSelector::network(address, 32).expect("it is one")];
        Self { address, name: format!("peer-{number}.example"), inner }
    }
}

#[inline(never)]
fn handshakes_with_few(crowd: &mut Crowd<'_>) {
    for _ in 0..COUNTED {
        crowd.one(Crowd::serve_few);
    }
}

#[inline(never)]
fn handshakes_with_many(crowd: &mut Crowd<'_>) {
    for _ in 0..COUNTED {
        crowd.one(Crowd::serve_many);
    }
}

/// A child that is never rekeyed.
const fn lasting<'a>(local: &'a [TrafficSelector], remote: &'a [TrafficSelector]) -> Child<'a> {
    Child { lifetime: Lifetime::UNLIMITED, ..Child::new("lan", local, remote) }
}

/// Nothing is rekeyed, or asked, while others come.
fn stays(peer: &mut Peer<'_>) {
    peer.rekey_after = Duration::MAX;
    peer.expire_after = Duration::MAX;
    peer.liveness = None;
}

struct Crowd<'r> {
    gateway: Gateway<'r, Toy>,
    rng: SeededRng,
    now: Instant,
    peers: usize,
}

type Serve<'r> = fn(&mut Crowd<'r>, Path, &mut [u8], usize) -> Option<usize>;

impl<'r> Crowd<'r> {
    fn grow(&mut self, to: usize) {
        while self.peers < to {
            self.one(Self::serve);
        }
    }

    /// One more peer.
    fn one(&mut self, serve: Serve<'r>) {
        self.peers += 1;
        let Who { address, name, inner } = Who::of(self.peers);
        let everything = [TrafficSelector::ANY_V4];
        let child = [lasting(&inner, &everything)];
        let gateway = (Some(GATEWAY), Identity::Fqdn("gateway.example"));
        let mut peer = Peer::psk((Some(address), Identity::Fqdn(&name)), gateway, KEY);
        peer.children = &child;
        stays(&mut peer);
        let peers = [peer];
        let config = GatewayConfig::new(Config::new(&peers));
        let mut memory =
            Pools::<Toy, Counting>::new(&Sizes { window: 64, ..Sizes::for_tunnels(1) });
        let mut client =
            Gateway::new(&config, memory.lend(), &mut self.rng).expect("it is configured well");
        client.initiate(self.now, &mut self.rng, TUNNEL).expect("there is room");
        let mut room = [0; 2048];
        loop {
            client.settle(self.now, &mut self.rng, |event| drop(black_box(event)));
            let Some(sent) = client.poll_transmit(&mut room).expect("there is room") else { break };
            let path = Path::new(sent.path.remote, sent.path.local);
            let answer = serve(self, path, &mut room, sent.len);
            if let Some(answer) = answer.and_then(|len| room.get_mut(..len)) {
                let _ = client.inbound_udp(self.now, &mut self.rng, sent.path, 0, answer);
            }
        }
        assert!(client.tunnel(TUNNEL).is_some_and(|tunnel| tunnel.child.is_some()), "{name}");
        // The next one comes when the last answer to this one is no longer kept.
        self.now = self.now.after(Duration::from_secs(60));
        self.gateway.handle_timeout(self.now, &mut self.rng);
        self.gateway.settle(self.now, &mut self.rng, |event| drop(black_box(event)));
    }

    /// What the gateway does with a datagram. Gives the length of its answer.
    fn serve(&mut self, path: Path, room: &mut [u8], len: usize) -> Option<usize> {
        let (now, rng) = (self.now, &mut self.rng);
        let taken = self.gateway.inbound_udp(now, rng, path, 0, room.get_mut(..len)?);
        assert!(taken.is_ok(), "{:?}: {:?}", taken.err(), self.gateway.statistics());
        self.gateway.settle(now, rng, |event| drop(black_box(event)));
        self.gateway.poll_transmit(room).expect("there is room").map(|sent| sent.len)
    }

    #[inline(never)]
    fn serve_few(&mut self, path: Path, room: &mut [u8], len: usize) -> Option<usize> {
        black_box(FEW);
        self.serve(path, room, len)
    }

    #[inline(never)]
    fn serve_many(&mut self, path: Path, room: &mut [u8], len: usize) -> Option<usize> {
        black_box(COUNTED);
        self.serve(path, room, len)
    }
}

const TUNNEL: ChildRef = ChildRef { peer: 0, child: 0 };

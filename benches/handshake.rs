//! An IKEv2 handshake, both sides of it, beside the four operations of X25519 that it cannot do without.
//!
//! The handshake is that of two gateways, from the first packet that wants a tunnel to the SAs in both databases, with
//! a pre-shared key, AES-128-GCM and HMAC-SHA2-256. No network is in between.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use ipsec::{Child, Config, IkeProposal, Peer};
use ipsec::{ChildRef, Gateway, GatewayConfig, Identity, Path, Pools, Sizes, Store};
use ipsec_benches::{Rounds, time};
use ipsec_core::crypto::{Group, KeyExchange, PrfId, Provider, Suite};
use ipsec_core::selector::TrafficSelector;
use ipsec_core::time::Instant;
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::rng::SeededRng;

const ROUNDS: u32 = 300;
const NOW: Instant = Instant::from_secs(1);
const TUNNEL: ChildRef = ChildRef { peer: 0, child: 0 };

fn main() {
    let proposals = [IkeProposal {
        suites: &[Suite::AES_128_GCM],
        prfs: &[PrfId::HMAC_SHA2_256],
        groups: &[Group::X25519],
        additional: &[],
    }];
    let nets = [1, 2].map(|third| {
        [TrafficSelector::network(IpAddr::from([192, 168, third, 0]), 24).expect("a network")]
    });
    let children = [0, 1].map(|side| [Child::new("lan", &nets[side], &nets[1 - side])]);
    let names = ["kolkata.example", "delhi.example"];
    let ends = [[192, 0, 2, 1], [198, 51, 100, 2]].map(IpAddr::from);
    let peers = [0, 1].map(|side: usize| {
        let id = |side: usize| (Some(ends[side]), Identity::Fqdn(names[side]));
        let mut peer = Peer::psk(id(side), id(1 - side), b"a key of thirty-two bytes for tests");
        peer.proposals = &proposals;
        peer.children = &children[side];
        [peer]
    });
    let configs = [0, 1].map(|side: usize| GatewayConfig::new(Config::new(&peers[side])));

    let mut seed = 0;
    let mut rng = SeededRng::new(99);
    let rounds = Rounds::run(
        ROUNDS,
        [
            &mut || {
                let mut shared = [0; 64];
                time(|| four_operations(&mut rng, &mut shared))
            },
            &mut || {
                seed += 1;
                handshake(&configs, seed)
            },
        ],
    );
    let micros = |who| rounds.nanos(who) / 1000.0;
    println!(
        "IKEv2 handshake, both sides, PSK, X25519, AES-128-GCM, HMAC-SHA2-256, with its child SA,"
    );
    println!(
        "beside its four key-exchange operations: microseconds of CPU time, medians of {ROUNDS} rounds.\n"
    );
    println!("four operations {:>8.1}", micros(0));
    println!("handshake       {:>8.1}", micros(1));
    println!("ratio           {:>8.3}", rounds.ratio(0, 1));
    println!("a second        {:>8.0}", 1e6 / micros(1));
}

/// Two key pairs and two shared secrets.
fn four_operations(rng: &mut SeededRng, room: &mut [u8; 64]) {
    let (ours, theirs) = room.split_at_mut(32);
    let (kx, _) = Kx::start(Group::X25519, rng, ours).expect("it is implemented");
    let (secret, _) = Kx::respond(Group::X25519, rng, ours, theirs).expect("it is implemented");
    let same = kx.finish(theirs).expect("the value is good");
    assert_eq!(black_box(secret).as_ref(), black_box(same).as_ref());
}

type Kx = <RustCrypto as Provider>::Kx;

struct Vecs;

impl Store for Vecs {
    type Of<T> = Vec<T>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
        items.collect()
    }
}

fn handshake(configs: &[GatewayConfig<'_>; 2], seed: u64) -> Duration {
    let sizes = Sizes::for_tunnels(1);
    let mut pools = [(); 2].map(|()| Pools::<RustCrypto, Vecs>::new(&sizes));
    let mut rng = SeededRng::new(seed);
    let [a, b] = &mut pools;
    let mut sides = [
        Gateway::new(&configs[0], a.lend(), &mut rng).expect("it is configured well"),
        Gateway::new(&configs[1], b.lend(), &mut rng).expect("it is configured well"),
    ];
    let mut buf = [0; 2048];
    let taken = time(|| {
        sides[0].initiate(NOW, &mut rng, TUNNEL).expect("there is room");
        for turn in 0.. {
            let [from, to] = {
                let [a, b] = &mut sides;
                if turn % 2 == 0 { [a, b] } else { [b, a] }
            };
            from.settle(NOW, &mut rng, |event| drop(black_box(event)));
            let mut quiet = true;
            while let Some(sent) = from.poll_transmit(&mut buf).expect("there is room") {
                quiet = false;
                let path = Path::new(sent.path.remote, sent.path.local);
                let _ = to.inbound_udp(NOW, &mut rng, path, 0, &mut buf[..sent.len]);
            }
            if quiet && turn > 0 {
                break;
            }
        }
    });
    for side in &sides {
        assert!(side.tunnel(TUNNEL).is_some_and(|tunnel| tunnel.child.is_some()), "it is up");
    }
    taken
}

//! A provider that cannot prepare the keys that were agreed: both sides learn of it, and nothing stays behind.

#![allow(clippy::unwrap_used)]

use core::net::IpAddr;

use ipsec::ipsec_core::crypto::{
    CryptoError, HashId, Integ, PacketCipher, Provider as ProviderTrait, Work,
};
use ipsec::*;
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::toy::Toy;

/// [`Toy`], but for ChaCha20-Poly1305, which it says it has.
struct Half;

struct HalfCipher(<Toy as ProviderTrait>::Cipher);

impl PacketCipher for HalfCipher {
    fn new(suite: Suite, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError> {
        if suite == Suite::CHACHA20_POLY1305 {
            return Err(CryptoError::Failed);
        }
        PacketCipher::new(suite, encr_key, integ_key).map(Self)
    }

    fn unpredictable_iv(&self, counter: u64, iv: &mut [u8]) -> Result<(), CryptoError> {
        self.0.unpredictable_iv(counter, iv)
    }

    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        self.0.seal(work)
    }

    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        self.0.open(work)
    }
}

impl ProviderTrait for Half {
    type Cipher = HalfCipher;
    type Mac = <Toy as ProviderTrait>::Mac;
    type Prf = <Toy as ProviderTrait>::Prf;
    type Kx = <Toy as ProviderTrait>::Kx;

    const SUITES: &'static [Suite] = Toy::SUITES;
    const INTEGS: &'static [Integ] = Toy::INTEGS;
    const PRFS: &'static [PrfId] = Toy::PRFS;
    const GROUPS: &'static [Group] = Toy::GROUPS;

    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        Toy::hash(id, parts, out)
    }
}

struct Vecs;

impl Store for Vecs {
    type Of<T> = Vec<T>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
        items.collect()
    }
}

const NOW: Instant = Instant::from_secs(10);

/// Moves what one gateway has to say to the other, which settles after each datagram. Says whether there was anything.
fn step<P: ProviderTrait, Q: ProviderTrait>(
    from: &mut Gateway<'_, P>,
    to: &mut Gateway<'_, Q>,
    events: &mut Vec<GatewayEvent>,
    rng: &mut SeededRng,
) -> bool {
    let (mut any, mut buf) = (false, [0; 2000]);
    while let Some(Transmit { path, len }) = from.poll_transmit(&mut buf).unwrap() {
        let here = Path::new(path.remote, path.local);
        let (sent, _) = buf.split_at_mut(len);
        let _ = to.inbound_udp(NOW, rng, here, 0, sent);
        to.settle(NOW, rng, |event| events.push(event));
        any = true;
    }
    any
}

/// Negotiates between a gateway with `P` that begins and one with `Q`. Gives the events of both.
fn negotiate<P: ProviderTrait, Q: ProviderTrait>() -> (Vec<GatewayEvent>, Vec<GatewayEvent>) {
    let ours = IpAddr::from([203, 0, 113, 1]);
    let theirs = IpAddr::from([198, 51, 100, 1]);
    let lan = [TrafficSelector::ANY_V4];
    let proposals = [ChildProposal {
        suites: &[Suite::CHACHA20_POLY1305],
        groups: &[],
        esn: false,
        additional: &[],
    }];
    let children = [Child { proposals: &proposals, ..Child::new("lan", &lan, &lan) }];
    let peer = |local, remote| {
        let id = Identity::Any;
        [Peer {
            children: &children,
            ..Peer::psk((Some(local), id), (Some(remote), id), b"a very long secret")
        }]
    };
    let (peers_a, peers_b) = (peer(ours, theirs), peer(theirs, ours));
    let sizes = Sizes::for_tunnels(1);
    let (mut pools_a, mut pools_b) = (Pools::<P, Vecs>::new(&sizes), Pools::<Q, Vecs>::new(&sizes));
    let mut rng = SeededRng::new(5);
    let config = |peers| GatewayConfig::new(Config::new(peers));
    let mut a = Gateway::new(&config(&peers_a), pools_a.lend(), &mut rng).unwrap();
    let mut b = Gateway::new(&config(&peers_b), pools_b.lend(), &mut rng).unwrap();
    let (mut events_a, mut events_b) = (Vec::new(), Vec::new());
    a.initiate(NOW, &mut rng, ChildRef { peer: 0, child: 0 }).unwrap();
    a.settle(NOW, &mut rng, |event| events_a.push(event));
    while step(&mut a, &mut b, &mut events_b, &mut rng)
        | step(&mut b, &mut a, &mut events_a, &mut rng)
    {}
    for in_use in [a.statistics(), b.statistics()] {
        assert_eq!((in_use.children, in_use.inbound_sas, in_use.outbound_sas), (0, 0, 0));
    }
    let tunnel = a.tunnel(ChildRef { peer: 0, child: 0 }).unwrap();
    assert!(tunnel.child.is_none() && !tunnel.negotiating);
    (events_a, events_b)
}

fn refused(events: &[GatewayEvent]) -> bool {
    let error = InstallError::Crypto(CryptoError::Failed);
    events.iter().any(|e| matches!(e, GatewayEvent::InstallFailed { error: e, .. } if *e == error))
}

fn failed(events: &[GatewayEvent]) -> bool {
    events.iter().any(|e| matches!(e, GatewayEvent::Failed { .. }))
}

fn up_and_down(events: &[GatewayEvent]) -> bool {
    let up = |e: &GatewayEvent| matches!(e, GatewayEvent::ChildUp { .. });
    let down = |e: &GatewayEvent| matches!(e, GatewayEvent::ChildDown { .. });
    events.iter().any(up) && events.iter().any(down)
}

#[test]
fn an_initiator_that_cannot_install_deletes_what_the_peer_has() {
    let (ours, theirs) = negotiate::<Half, Toy>();
    assert!(refused(&ours) && failed(&ours) && !up_and_down(&ours), "{ours:?}");
    assert!(!refused(&theirs) && up_and_down(&theirs), "{theirs:?}");
}

#[test]
fn a_responder_that_cannot_install_deletes_what_the_peer_has() {
    let (ours, theirs) = negotiate::<Toy, Half>();
    assert!(refused(&theirs) && failed(&theirs) && !up_and_down(&theirs), "{theirs:?}");
    assert!(!refused(&ours) && up_and_down(&ours), "{ours:?}");
}

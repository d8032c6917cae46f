//! Every pool exhausted in turn: newcomers are refused, what exists goes on, and there is room again afterwards.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use ipsec::{
    ChildRef, CommandError, DatagramError, Endpoint, Failure, Identity, InboundError, Peer,
    Retransmission, Sizes, V1, Versions,
};
use ipsec_ike::wire::NotifyType;
use ipsec_testkit::engines::{self, Engines};
use ipsec_testkit::link::{Datagram, Verdict};
use ipsec_testkit::pair::{Jobs, Memory, Pair, Sent};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::setup::{
    ADDRESS_A, ADDRESS_B, HOST_A, HOST_B, PSK, Setup, Side, TUNNEL, leak_all, network, v4,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND_TUNNEL: ChildRef = ChildRef { peer: 0, child: 1 };

const NO_ROOM: InboundError = InboundError::Ike(DatagramError::NoRoom);

/// An IKE_SA_INIT request that B would answer, as often as wanted: of the same content, with another SPI, from another
/// source.
struct Flood {
    template: Vec<u8>,
    chance: SeededRng,
}

impl Flood {
    fn new() -> Self {
        Self::of(&Setup::new(99))
    }

    /// What A begins with.
    fn of(setup: &Setup) -> Self {
        let mut memory = Memory::new(setup);
        let mut pair = Pair::new(setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        let template = pair.link.tap()[0].datagram.bytes.clone();
        Self { template, chance: SeededRng::new(99) }
    }

    fn request(&mut self, source: IpAddr) -> Datagram {
        let mut bytes = self.template.clone();
        self.chance.fill(&mut bytes[..8]);
        Datagram::udp(Endpoint::new(source, 500), Endpoint::new(ADDRESS_B, 500), bytes)
    }

    /// From hosts that are where they say: a request again, with the cookie that was asked for.
    fn with_cookie(&mut self, pair: &mut Pair<'_>, request: &Datagram) {
        let sent = pair.link.tap().len();
        pair.deliver(Side::B, request);
        let Some(answer) = pair.link.tap().get(sent).map(|c| c.datagram.bytes.clone()) else {
            return;
        };
        // The first payload of the answer is a Notify: COOKIE is 16390.
        if answer[16] != 41 || answer[34..36] != 16390u16.to_be_bytes() {
            return;
        }
        let mut bytes = request.bytes.clone();
        let mut payload = answer[28..].to_vec();
        payload[0] = core::mem::replace(&mut bytes[16], 41);
        bytes.splice(28..28, payload);
        let len = bytes.len() as u32;
        bytes[24..28].copy_from_slice(&len.to_be_bytes());
        pair.deliver(Side::B, &Datagram { bytes, ..*request });
    }

    fn stranger(&mut self) -> Datagram {
        let address = Ipv4Addr::from_bits(0x0a00_0000 | self.chance.next() as u32 & 0x00ff_ffff);
        self.request(IpAddr::V4(address))
    }
}

/// B answers whoever knows the key, wherever he is.
fn open_to_all(seed: u64) -> Setup {
    let mut setup = Setup::new(seed);
    setup.b.peers[0].remote = None;
    setup
}

/// What exists goes on: traffic, and new keys for it.
fn goes_on(pair: &mut Pair<'_>, side: Side) {
    pair.ping();
    let rekeys = pair.a.child_rekeys();
    pair.rekey(side).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.child_rekeys(), rekeys + 1, "{}", pair.log());
    pair.ping();
}

#[test]
fn ike_sas() {
    let mut setup = open_to_all(1).sizes(|sizes| sizes.children = 6);
    setup.b.sizes.ike_sas = 1;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut flood = Flood::new();
    for _ in 0..10 {
        let now = pair.now();
        let taken = pair.b.take(now, &flood.stranger());
        assert_eq!(taken, Err(NO_ROOM));
    }
    // No second IKE SA to replace the first.
    pair.rekey_ike(Side::A).unwrap();
    pair.run_for(SECOND);
    let refused = Failure::Refused(NotifyType::NO_ADDITIONAL_SAS);
    assert_eq!(pair.a.failures(), [refused], "{}", pair.log());
    pair.rekey_ike(Side::B).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.ike_rekeys() + pair.b.ike_rekeys(), 0);
    goes_on(&mut pair, Side::A);
    goes_on(&mut pair, Side::B);
    pair.run_for(5 * MINUTE);
    goes_on(&mut pair, Side::A);
    // There is room again when the first is gone.
    pair.close_all(Side::A);
    pair.run_for(MINUTE);
    pair.initiate(Side::A).unwrap();
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// An initiator without room says so at once.
#[test]
fn ike_sas_of_the_initiator() {
    let mut setup = Setup::new(2);
    let second = Peer {
        children: leak_all([ipsec::Child::new(
            "other",
            leak_all([network(192, 168, 1)]),
            leak_all([network(192, 168, 77)]),
        )]),
        ..Peer::psk(
            (Some(ADDRESS_A), Identity::Fqdn("kolkata.example")),
            (Some(v4(203, 0, 113, 200)), Identity::Fqdn("chennai.example")),
            PSK,
        )
    };
    setup.a.peers.push(second);
    setup.a.sizes.ike_sas = 1;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let other = ChildRef { peer: 1, child: 0 };
    let begun = pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, other));
    assert_eq!(begun, Err(CommandError::NoRoom));
    let sent = pair.send_between(Side::A, (HOST_A, v4(192, 168, 77, 1)), 1);
    assert_eq!(sent, Sent::Refused(ipsec::OutboundError::Start(CommandError::NoRoom)));
    goes_on(&mut pair, Side::A);
    pair.close_all(Side::A);
    pair.run_for(MINUTE);
    let begun = pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, other));
    assert_eq!(begun, Ok(()));
    pair.run_for(10 * MINUTE);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn children() {
    for (side, from) in
        [(Side::A, Side::A), (Side::A, Side::B), (Side::B, Side::A), (Side::B, Side::B)]
    {
        let mut setup = Setup::new(3).tunnels(2);
        setup.plan(side).sizes.children = 1;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        // Neither a replacement nor another tunnel.
        pair.rekey(from).unwrap();
        pair.run_for(5 * SECOND);
        assert_eq!(pair.a.child_rekeys() + pair.b.child_rekeys(), 0, "{}", pair.log());
        let _ = pair.with(from, |gateway, now, rng| gateway.initiate(now, rng, SECOND_TUNNEL));
        pair.run_for(5 * SECOND);
        assert!(!pair.a.tunnel_is_up(SECOND_TUNNEL) && !pair.b.tunnel_is_up(SECOND_TUNNEL));
        if side != from {
            let refused = Failure::Refused(NotifyType::NO_ADDITIONAL_SAS);
            assert!(pair.node(from).failures().contains(&refused), "{}", pair.log());
            assert!(pair.node(side).failures().contains(&Failure::NoRoom), "{}", pair.log());
        }
        pair.ping();
        pair.rekey_ike(Side::A).unwrap();
        pair.run_for(SECOND);
        assert_eq!(pair.a.ike_rekeys(), 1, "{}", pair.log());
        pair.ping();
        // The second tunnel has room when the first is gone.
        pair.close(Side::B).unwrap();
        pair.run_for(10 * SECOND);
        pair.with(from, |gateway, now, rng| gateway.initiate(now, rng, SECOND_TUNNEL)).unwrap();
        pair.run_for(10 * SECOND);
        assert!(
            pair.a.tunnel_is_up(SECOND_TUNNEL) && pair.b.tunnel_is_up(SECOND_TUNNEL),
            "{side:?} {from:?} {}",
            pair.log()
        );
        pair.close_and_check(Side::A);
    }
}

/// One context: enough for the peer's requests, and for one of ours when the last response is kept no longer.
#[test]
fn exchanges() {
    let mut setup = Setup::new(4).peers(|peer| peer.liveness = None);
    setup.b.sizes.exchanges = 1;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.rekey(Side::B).unwrap();
    pair.run_for(10 * SECOND);
    assert_eq!(pair.b.child_rekeys(), 0, "{}", pair.log());
    // What A asks for is still answered.
    goes_on(&mut pair, Side::A);
    pair.rekey_ike(Side::A).unwrap();
    pair.run_for(MINUTE);
    let rekeys = pair.b.child_rekeys();
    pair.rekey(Side::B).unwrap();
    pair.run_for(5 * MINUTE);
    assert!(pair.b.child_rekeys() > rekeys, "{}", pair.log());
    pair.ping();
    assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty());
    pair.close_and_check(Side::A);
}

/// Contexts for one IKE SA, and another that wants to come up: it waits, and the first is untouched.
#[test]
fn exchanges_for_a_newcomer() {
    let mut setup = Setup::new(5);
    setup.b.sizes.exchanges = 0;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    assert!(pair.b.errors.iter().any(|(_, e)| *e == NO_ROOM), "{}", pair.log());
    assert!(matches!(&pair.a.failures()[..], [Failure::PeerSilent { .. }]), "{}", pair.log());
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// Message buffers, from none to many, at either side: it comes up or it does not, nothing leaks, and once it is up it
/// stays up.
#[test]
fn buffers() {
    for side in Side::BOTH {
        let mut came_up = Vec::new();
        for buffers in 0..10 {
            let mut setup = Setup::new(6);
            setup.plan(side).sizes.buffers = buffers;
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            let begun = pair.initiate(Side::A);
            assert!(matches!(begun, Ok(()) | Err(CommandError::NoRoom)));
            pair.run_for(5 * MINUTE);
            let up = pair.is_up();
            came_up.push(up);
            if up {
                pair.ping();
                for side in Side::BOTH {
                    let _ = pair.rekey(side);
                    pair.run_for(10 * SECOND);
                    let _ = pair.rekey_ike(side);
                    pair.run_for(10 * SECOND);
                    pair.ping();
                }
                assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty());
            }
            pair.close_and_check(Side::A);
        }
        assert!(!came_up[0] && came_up[9], "{came_up:?}");
        let first = came_up.iter().position(|up| *up).unwrap();
        assert!(came_up[first..].iter().all(|up| *up), "{side:?}: {came_up:?}");
    }
}

/// Buffers that are too short for the messages.
#[test]
fn short_buffers() {
    for side in Side::BOTH {
        for len in [0, 1, 28, 64, 100, 150, 200, 250, 300, 400] {
            let mut setup = Setup::new(7);
            setup.plan(side).sizes.buffer_len = len;
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            let _ = pair.initiate(Side::A);
            pair.run_for(5 * MINUTE);
            if pair.is_up() {
                pair.ping();
                let _ = pair.rekey_ike(side);
                let _ = pair.rekey(side.other());
                pair.run_for(10 * SECOND);
                pair.ping();
            }
            pair.close_all(Side::A);
            pair.close_all(Side::B);
            pair.run_for(20 * MINUTE);
            let now = [pair.a.statistics(), pair.b.statistics()];
            assert!(now.iter().all(|s| s.handshakes == 0 && s.exchanges == 0), "{len} {now:?}");
        }
    }
}

/// Any sizes, any events: nothing is lost, nothing leaks.
#[test]
fn any_sizes() {
    for seed in 0..300 {
        let mut chance = SeededRng::new(seed);
        let mut setup = Setup::new(seed).tunnels(3);
        for side in Side::BOTH {
            setup.plan(side).sizes = Sizes {
                ike_sas: 1 + chance.below(4) as usize,
                handshakes: 1 + chance.below(3) as usize,
                exchanges: 1 + chance.below(4) as usize,
                children: 1 + chance.below(5) as usize,
                manual: 0,
                policies: 4,
                buffers: 3 + chance.below(8) as usize,
                buffer_len: 1280,
                window: 64,
            };
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut flood = Flood::new();
        for _ in 0..60 {
            let side = if chance.below(2) == 0 { Side::A } else { Side::B };
            let child = ChildRef { peer: 0, child: chance.below(3) as u16 };
            match chance.below(8) {
                0 | 1 => {
                    let _ = pair.with(side, |g, now, rng| g.initiate(now, rng, child));
                }
                2 => {
                    let _ = pair.with(side, |g, now, rng| g.rekey(now, rng, child));
                }
                3 if pair.node(side).gateway.ike().established().count() > 0 => {
                    let ike = pair.node(side).gateway.ike().established().next().unwrap().0;
                    let _ = pair.with(side, |g, now, rng| g.rekey_ike(now, rng, ike));
                }
                4 => {
                    let _ = pair.with(side, |g, now, rng| g.close(now, rng, child));
                }
                5 => {
                    let forged = flood.request(ADDRESS_A);
                    pair.deliver(Side::B, &forged);
                }
                _ => {
                    let _ = pair.send(side, 1);
                }
            }
            pair.run_for(Duration::from_millis(chance.below(4000)));
        }
        // A tunnel that is up on both sides carries traffic.
        pair.run_for(10 * MINUTE);
        if pair.is_up() {
            let (a, b) = (pair.a.received.len(), pair.b.received.len());
            let sent = (pair.send(Side::A, 1), pair.send(Side::B, 2));
            pair.run_for(SECOND);
            assert_eq!(sent, (Sent::Sealed, Sent::Sealed));
            let arrived = (pair.a.received.len() - a, pair.b.received.len() - b);
            assert_eq!(arrived, (1, 1), "seed {seed}\n{}", pair.log());
        }
        pair.close_all(Side::A);
        pair.run_for(10 * MINUTE);
        pair.close_all(Side::B);
        pair.run_for(20 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

/// The database has less room than the engine.
#[test]
fn security_associations() {
    for side in Side::BOTH {
        for (inbound, outbound) in [(1, 9), (9, 1), (1, 1)] {
            for from in Side::BOTH {
                let setup = Setup::new(8);
                let mut memory = engines::Memory::new(&setup);
                let mut slots = [(9, 9); 2];
                slots[usize::from(side == Side::B)] = (inbound, outbound);
                let mut engines = Engines::with_sads(&setup, &mut memory, slots);
                engines.bring_up();
                engines.rekey(from);
                engines.run_for(10 * SECOND);
                let context = format!("{side:?} {inbound} {outbound} {from:?}\n{}", engines.log());
                assert_eq!((engines.a.up(), engines.b.up()), (1, 1), "{context}");
                assert!(engines.carries(), "{context}");
                assert_eq!((engines.a.sas(), engines.b.sas()), ((1, 1), (1, 1)), "{context}");
                engines.close_and_check(from);
            }
        }
    }
}

/// The database has no room at all: the IKE SA stands, without a child.
#[test]
fn no_security_associations_at_all() {
    for side in Side::BOTH {
        for (inbound, outbound) in [(0, 9), (9, 0)] {
            let setup = Setup::new(9);
            let mut memory = engines::Memory::new(&setup);
            let mut slots = [(9, 9); 2];
            slots[usize::from(side == Side::B)] = (inbound, outbound);
            let mut engines = Engines::with_sads(&setup, &mut memory, slots);
            engines.initiate(Side::A, TUNNEL);
            engines.run_for(10 * SECOND);
            let log = engines.log();
            assert!(!engines.a.failures().is_empty() || !engines.b.failures().is_empty(), "{log}");
            assert_eq!((engines.a.up(), engines.b.up()), (0, 0), "{log}");
            assert_eq!((engines.a.sas(), engines.b.sas()), ((0, 0), (0, 0)), "{log}");
            engines.close_and_check(Side::A);
        }
    }
}

// ---- floods ----

const PATIENT: Retransmission = Retransmission {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(4),
    tries: 12,
};

/// Ten requests come between any two steps of the honest initiator's, for a while before him and until he is in.
fn in_despite_of(setup: &Setup, limit: Duration, mut attack: impl FnMut(&mut Pair<'_>)) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    for _ in 0..100 {
        attack(&mut pair);
        pair.run_for(Duration::from_millis(3));
    }
    pair.initiate(Side::A).unwrap();
    let end = pair.now().after(limit);
    while !pair.is_up() && pair.now() < end {
        for _ in 0..10 {
            attack(&mut pair);
        }
        pair.run_for(Duration::from_millis(5));
    }
    assert!(pair.is_up(), "kept out\n{:?}\n{}", pair.b.statistics(), pair.a.log());
    // And what is up stays up.
    for round in 0..100 {
        for _ in 0..10 {
            attack(&mut pair);
        }
        pair.run_for(Duration::from_millis(300));
        if round % 30 == 0 {
            goes_on(&mut pair, Side::A);
            goes_on(&mut pair, Side::B);
        }
    }
    pair.run_for(5 * MINUTE);
    assert_eq!((pair.a.statistics().ike_sas, pair.b.statistics().ike_sas), (1, 1));
    pair.close_and_check(Side::A);
}

/// RFC 7296 section 2.6: whoever does not return a cookie costs nothing.
#[test]
fn a_flood_from_everywhere_is_asked_for_cookies() {
    for threshold in [0, 1, 2, 4, 16, usize::MAX] {
        for handshakes in [2, 4, 8, 40] {
            let mut setup = open_to_all(10).peers(|peer| peer.retransmission = PATIENT);
            setup.b.config.ike.cookie_threshold = threshold;
            setup.b.sizes.handshakes = handshakes;
            setup.b.sizes.ike_sas = handshakes + 2;
            setup.b.sizes.buffers = 4 * handshakes + 8;
            let mut flood = Flood::new();
            in_despite_of(&setup, 5 * SECOND, |pair| pair.deliver(Side::B, &flood.stranger()));
        }
    }
}

/// A flood from one address, which returns its cookies, takes what one address may have, and no more.
#[test]
fn a_flood_from_one_address_does_not_keep_others_out() {
    for handshakes in [4, 12, 40] {
        for cookies in [false, true] {
            let mut setup = open_to_all(11).peers(|peer| peer.retransmission = PATIENT);
            setup.b.config.ike.cookie_threshold = usize::MAX;
            setup.b.sizes.handshakes = handshakes;
            setup.b.sizes.ike_sas = handshakes + 2;
            setup.b.sizes.buffers = 4 * handshakes + 8;
            let mut flood = Flood::new();
            in_despite_of(&setup, 5 * SECOND, |pair| {
                let request = flood.request(v4(10, 6, 6, 6));
                if cookies {
                    flood.with_cookie(pair, &request);
                } else {
                    pair.deliver(Side::B, &request);
                }
            });
        }
    }
}

/// Room for 40 handshakes, of which strangers may have 15 by IKEv1.
fn main_mode_open_to_all(seed: u64) -> Setup {
    let mut setup = open_to_all(seed).peers(|peer| {
        peer.retransmission = PATIENT;
        peer.versions = Versions::V1(V1::MAIN);
    });
    setup.b.sizes.handshakes = 40;
    setup.b.sizes.ike_sas = 42;
    setup.b.sizes.buffers = 100;
    setup
}

/// A first message of a stranger every `every`, for so long. Gives how many came, and how many were refused for want of room.
fn strangers(
    pair: &mut Pair<'_>,
    flood: &mut Flood,
    every: Duration,
    time: Duration,
) -> (u32, u32) {
    let (mut came, mut refused) = (0, 0);
    let end = pair.now().after(time);
    while pair.now() < end {
        let now = pair.now();
        refused += u32::from(pair.b.take(now, &flood.stranger()) == Err(NO_ROOM));
        came += 1;
        pair.flush(Side::B);
        pair.run_for(every);
    }
    (came, refused)
}

/// IKEv1 has no cookies: of a flood of first messages, those that have had a fair time give way to the next one. 15 places in
/// 500 ms are 30 strangers a second. Below that rate, everybody gets in at once. Above it, a place becomes free as often,
/// and an honest initiator who repeats its message gets one of them. Whoever has shown to be there stays, however long it takes.
#[test]
fn a_flood_of_main_mode_gives_way() {
    const MAIN_MODE: u8 = 2;
    for (every, limit, in_time) in [(100, 0..1, 10), (5, 80..90, 30)] {
        let every = Duration::from_millis(every);
        let setup = main_mode_open_to_all(14);
        let (honest, mut fifth) = (setup.a.address, 0);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        // Its proof is lost again and again.
        pair.link.set_hook(move |_, d| {
            let proof = d.source.address == honest && (d.bytes[18], d.bytes[19]) == (MAIN_MODE, 1);
            fifth += u32::from(proof);
            if proof && fifth < 4 { Verdict::Drop } else { Verdict::Pass }
        });
        let mut flood = Flood::of(&setup);
        let (came, refused) = strangers(&mut pair, &mut flood, every, 20 * SECOND);
        assert!(limit.contains(&(100 * refused / came)), "{refused} of {came}");
        assert!(pair.b.statistics().handshakes <= 15);
        pair.initiate(Side::A).unwrap();
        strangers(&mut pair, &mut flood, every, in_time * SECOND);
        assert!(pair.is_up(), "{:?}\n{}", pair.b.statistics(), pair.a.log());
        assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty());
        goes_on(&mut pair, Side::A);
        strangers(&mut pair, &mut flood, every, 10 * SECOND);
        goes_on(&mut pair, Side::B);
        // It gives way only to so many.
        let taken = (0..50).filter(|_| {
            let now = pair.now();
            pair.b.take(now, &flood.stranger()).is_ok()
        });
        assert!(taken.count() <= 15);
        pair.flush(Side::B);
        pair.run_for(MINUTE);
        pair.close_and_check(Side::A);
    }
}

/// A first message that is refused all the same makes nobody give way, and nobody gives way where that makes no room.
#[test]
fn nobody_gives_way_for_nothing() {
    let mut setup = main_mode_open_to_all(15);
    setup.b.peers[0].versions = Versions::Either(V1::MAIN);
    setup.b.config.ike.cookie_threshold = 0;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let mut flood = Flood::of(&setup);
    for _ in 0..15 {
        pair.deliver(Side::B, &flood.stranger());
    }
    pair.run_for(SECOND);
    assert_eq!(pair.b.statistics().handshakes, 15);
    // Too long for a buffer by a vendor ID of 1600 bytes, malformed, and with an offer of nothing that B would take.
    let mut long = flood.stranger();
    let first = core::mem::replace(&mut long.bytes[16], 13);
    long.bytes.splice(28..28, [&[first, 0, 6, 0x40][..], &[0; 1596]].concat());
    let len = long.bytes.len() as u32;
    long.bytes[24..28].copy_from_slice(&len.to_be_bytes());
    let mut cut = flood.stranger();
    cut.bytes[28 + 2] = 0xff;
    let mut other = flood.stranger();
    for at in 28..other.bytes.len() - 4 {
        // Blowfish in place of AES.
        if other.bytes[at..].starts_with(&[0x80, 1, 0, 7]) {
            other.bytes[at + 3] = 3;
        }
    }
    for (message, refused) in [
        (long, |e| e == DatagramError::NoRoom),
        (cut, |e| matches!(e, DatagramError::WireV1(_))),
        (other, |e| e == DatagramError::Refused),
    ] as [(Datagram, fn(DatagramError) -> bool); 3]
    {
        let now = pair.now();
        let taken = pair.b.take(now, &message);
        assert!(matches!(taken, Err(InboundError::Ike(e)) if refused(e)), "{taken:?}");
        assert_eq!(pair.b.statistics().handshakes, 15, "{taken:?}");
    }
    // IKEv2 takes its share and more: what one gives up of IKEv1 is not room for another.
    let mut other = Flood::new();
    for _ in 0..5 {
        let request = other.stranger();
        other.with_cookie(&mut pair, &request);
    }
    assert_eq!(pair.b.statistics().handshakes, 20);
    for _ in 0..20 {
        let now = pair.now();
        assert_eq!(pair.b.take(now, &flood.stranger()), Err(NO_ROOM));
    }
    assert_eq!(pair.b.statistics().handshakes, 20);
    pair.flush(Side::B);
    pair.run_for(MINUTE);
    pair.initiate(Side::A).unwrap();
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// Where there is hardly any room, too, a stranger keeps nobody out.
#[test]
fn one_stranger_gives_way() {
    for handshakes in [2, 3] {
        let mut setup = main_mode_open_to_all(16);
        setup.b.sizes.handshakes = handshakes;
        setup.b.sizes.ike_sas = handshakes + 2;
        setup.b.sizes.buffers = 16;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut flood = Flood::of(&setup);
        strangers(&mut pair, &mut flood, SECOND, 3 * SECOND);
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(2 * SECOND, Pair::is_up), "{handshakes}\n{}", pair.log());
        pair.run_for(MINUTE);
        pair.close_and_check(Side::A);
    }
}

/// Those who began by Aggressive Mode and are silent give way to Main Mode. They make nobody give way: each of them costs a key
/// exchange.
#[test]
fn a_flood_of_aggressive_mode_gives_way_to_main_mode() {
    let mut setup = main_mode_open_to_all(17);
    setup.b.peers[0].versions = Versions::V1(V1::AGGRESSIVE);
    let mut attacker = setup.clone();
    attacker.a.peers[0].versions = Versions::V1(V1::AGGRESSIVE);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let mut flood = Flood::of(&attacker);
    let (came, refused) = strangers(&mut pair, &mut flood, SECOND / 10, 10 * SECOND);
    assert_eq!((came, came - refused, pair.b.statistics().handshakes), (100, 15, 15));
    pair.initiate(Side::A).unwrap();
    strangers(&mut pair, &mut flood, SECOND / 10, 2 * SECOND);
    assert!(pair.is_up(), "{:?}\n{}", pair.b.statistics(), pair.a.log());
    goes_on(&mut pair, Side::A);
    pair.run_for(2 * MINUTE);
    pair.close_and_check(Side::A);
}

/// Few SAs and few buffers: a flood does not take the last of them.
#[test]
fn a_flood_leaves_room_for_what_exists() {
    for (ike_sas, buffers) in [(2, 40), (3, 40), (20, 6), (20, 8), (20, 12)] {
        let mut setup = open_to_all(12);
        setup.b.config.ike.cookie_threshold = usize::MAX;
        setup.b.sizes.handshakes = 16;
        setup.b.sizes.ike_sas = ike_sas;
        setup.b.sizes.buffers = buffers;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let mut flood = Flood::new();
        for jobs in [Jobs::AtOnce, Jobs::After(Duration::from_millis(100))] {
            pair.b.jobs = jobs;
            for _ in 0..50 {
                pair.deliver(Side::B, &flood.stranger());
            }
            pair.run_for(SECOND);
            for _ in 0..50 {
                pair.deliver(Side::B, &flood.stranger());
            }
            goes_on(&mut pair, Side::A);
            goes_on(&mut pair, Side::B);
        }
        pair.b.jobs = Jobs::AtOnce;
        pair.run_for(MINUTE);
        goes_on(&mut pair, Side::A);
        pair.close_and_check(Side::A);
    }
}

/// What we begin ourselves has a reserve that no flood reaches.
#[test]
fn a_flood_does_not_keep_us_from_beginning() {
    for handshakes in [2, 4, 16] {
        let mut setup = Setup::new(13);
        setup.b.config.ike.cookie_threshold = usize::MAX;
        setup.b.sizes.handshakes = handshakes;
        setup.b.sizes.ike_sas = handshakes + 1;
        setup.b.sizes.buffers = 3 * handshakes + 4;
        // Another entry lets the flood in.
        let anybody = Peer { remote: None, ..setup.b.peers[0] };
        setup.b.peers.push(anybody);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut flood = Flood::new();
        for _ in 0..100 {
            let request = flood.stranger();
            flood.with_cookie(&mut pair, &request);
        }
        // All but the reserve is taken.
        let reserve = (handshakes / 4).max(1);
        assert_eq!(pair.b.statistics().handshakes, handshakes - reserve);
        pair.initiate(Side::B).unwrap();
        for _ in 0..10 {
            let request = flood.stranger();
            flood.with_cookie(&mut pair, &request);
        }
        assert!(pair.wait(SECOND, Pair::is_up), "{handshakes}\n{}", pair.b.log());
        assert_eq!(pair.send_between(Side::B, (HOST_B, HOST_A), 1), Sent::Sealed);
        pair.close_and_check(Side::B);
    }
}

//! Bundles of IKEv1: AH around ESP, negotiated as one, in good and in bad weather, and what must not get in.

use core::time::Duration;

use ipsec::{
    AhKeysLog, ChildProposal, ChildRef, Counters, DownReason, DropReason, Endpoint, Failure,
    GatewayEvent, Group, InboundError, Lifetime, Limits, ModePolicy, OpenError, Path, Provider,
    Suite, V1, Versions,
};
use ipsec_core::crypto::Integ;
use ipsec_core::mode::Mode;
use ipsec_core::packet::PacketBuf;
use ipsec_core::sa::{AhAlign, Algorithms, Encapsulation, SaParams, Spi};
use ipsec_core::sad::{InboundSlot, OutboundSlot, Sad, SadMemory};
use ipsec_core::selector::{AddressRange, Selectors, TrafficSelector};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::isakmp::Clear;
use ipsec_testkit::link::{Chance, Datagram, Transport, Verdict, Weather};
use ipsec_testkit::pair::{Memory, Pair, Sent};
use ipsec_testkit::setup::{Setup, Side, leak_all, v4};
use ipsec_testkit::toy::Toy;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ESP: u8 = 50;
const AH: u8 = 51;

/// AH by SHA-256 around what the children are anyway, in room for both.
fn bundle(seed: u64) -> Setup {
    Setup::new(seed)
        .peers(|peer| peer.versions = Versions::V1(V1::MAIN))
        .children(|child| child.around = &[Integ::HMAC_SHA2_256_128])
        .sizes(|sizes| sizes.manual = sizes.children)
}

/// The packets of IPsec on the wire: the protocols on them from the outermost on, and their lengths.
fn protocols<P: Provider>(pair: &Pair<'_, P>) -> Vec<(Vec<u8>, usize)> {
    let packets = pair.link.tap().iter().filter(|c| c.datagram.transport != Transport::Udp);
    packets
        .map(|c| {
            let Datagram { transport, bytes, .. } = &c.datagram;
            match transport {
                // IPv4, then AH, whose first byte is what follows.
                Transport::Ip(AH) => (vec![bytes[9], bytes[20]], bytes.len()),
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

fn works<P: Provider>(setup: &Setup) {
    let mut memory = Memory::<P>::of(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let seen = protocols(&pair);
    assert!(seen.len() >= 2 && seen.iter().all(|(on, _)| *on == [AH, ESP]), "{seen:?}");
    // Both ends tell the same of both protections, each seen from its side.
    let agreed = [&pair.a, &pair.b].map(|node| {
        let up = node.events.iter().find_map(|(_, event)| match event {
            GatewayEvent::ChildUp { agreed, .. } => Some(*agreed),
            _ => None,
        });
        up.unwrap()
    });
    let around = agreed.map(|agreed| agreed.around.unwrap());
    assert_eq!(around[0].integ, Integ::HMAC_SHA2_256_128);
    assert_eq!(around[0].inbound_spi, around[1].outbound_spi);
    assert_eq!(around[1].inbound_spi, around[0].outbound_spi);
    assert_ne!(around[0].inbound_spi, agreed[0].inbound_spi);
    assert_eq!(agreed[0].inbound_spi, agreed[1].outbound_spi);
    assert_eq!((pair.a.failures(), pair.b.failures()), (vec![], vec![]));
    for side in Side::BOTH {
        let node = if side == Side::A { &pair.a } else { &pair.b };
        let overhead = node.gateway.overhead(ipsec_testkit::setup::TUNNEL).unwrap();
        let inner = pair.b.received[0].len();
        assert_eq!(overhead.sealed_len(inner), seen[0].1, "what both add");
    }
    pair.close_and_check(Side::A);
}

/// RFC 2401 section 4.3: both protections lie on one packet, behind one IP header, in tunnel and in transport mode, with
/// and without perfect forward secrecy and extended sequence numbers.
#[test]
fn both_protections_are_on_each_packet() {
    works::<Toy>(&bundle(1));
    works::<RustCrypto>(&bundle(2));
    let pfs = leak_all([ChildProposal {
        suites: &[Suite::AES_256_CBC_SHA256],
        groups: &[Group::P256],
        esn: true,
        ..ChildProposal::DEFAULT[0]
    }]);
    works::<RustCrypto>(&bundle(3).children(|child| child.proposals = pfs));
}

/// RFC 2401 section 4.5, case 1: both in transport mode, from end to end.
#[test]
fn in_transport_mode() {
    use ipsec_testkit::setup::{ADDRESS_A, ADDRESS_B};
    let host = |address| leak_all([TrafficSelector::addresses(AddressRange::host(address))]);
    let mut setup = bundle(4)
        .children(|child| child.mode = ModePolicy::RequireTransport)
        .children_of(Side::A, |child| {
            (child.local, child.remote) = (host(ADDRESS_A), host(ADDRESS_B));
        })
        .children_of(Side::B, |child| {
            (child.local, child.remote) = (host(ADDRESS_B), host(ADDRESS_A));
        });
    (setup.a.host, setup.b.host) = (ADDRESS_A, ADDRESS_B);
    works::<Toy>(&setup);
}

/// The two SAs of a direction are replaced as one, from either side, and no packet is lost.
#[test]
fn bundles_are_rekeyed() {
    for side in Side::BOTH {
        let setup = bundle(5);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        for _ in 0..3 {
            pair.rekey(side).unwrap();
            for _ in 0..10 {
                pair.run_for(SECOND / 2);
                pair.ping();
            }
        }
        assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (3, 3), "{}", pair.log());
        pair.run_for(2 * MINUTE);
        for node in [&pair.a, &pair.b] {
            let used = node.statistics();
            assert_eq!((used.children, used.inbound_sas, used.outbound_sas), (1, 2, 2));
        }
        assert!(protocols(&pair).iter().all(|(on, _)| *on == [AH, ESP]));
        pair.close_and_check(side);
    }
}

/// A limit of bytes, which AH reaches first: both SAs are replaced.
#[test]
fn a_limit_of_either_replaces_both() {
    let lifetime = Lifetime {
        soft: Limits { bytes: 20_000, ..Limits::NONE },
        hard: Limits { bytes: 600_000, ..Limits::NONE },
    };
    let setup = bundle(6).children(|child| child.lifetime = lifetime);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    for _ in 0..3 {
        // Enough at once for both limits, AH's before that of ESP.
        for number in 0..400 {
            assert_eq!(pair.send(Side::A, number), Sent::Sealed);
        }
        // Nothing comes back: A sends on the new child when the old one goes.
        pair.run_for(3 * SECOND);
    }
    assert!(pair.a.child_rekeys() >= 2, "{}", pair.log());
    assert_eq!((pair.a.failures(), pair.b.failures()), (vec![], vec![]), "{}", pair.log());
    let replaced = pair.a.events.iter().filter_map(|(_, event)| match event {
        GatewayEvent::ChildRekeyed { replaces, .. } => Some(*replaces),
        _ => None,
    });
    let replaced: Vec<_> = replaced.collect();
    let once = replaced.iter().enumerate().all(|(n, child)| !replaced[..n].contains(child));
    assert!(once, "a child was replaced twice\n{}", pair.log());
    pair.close_and_check(Side::B);
}

/// Hours, in which children and IKE SAs are replaced by time.
#[test]
fn hours_pass() {
    let setup = bundle(7);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    for _ in 0..9 * 6 {
        pair.run_for(10 * MINUTE);
        pair.ping();
    }
    assert!(pair.a.child_rekeys() >= 6 && pair.a.ike_rekeys() >= 1, "{}", pair.log());
    assert_eq!((pair.a.failures(), pair.b.failures()), (vec![], vec![]), "{}", pair.log());
    pair.close_and_check(Side::A);
}

#[test]
fn bad_weather() {
    for seed in 0..30 {
        let setup = bundle(seed).weather(Weather {
            loss: Chance::percent(15),
            duplication: Chance::percent(15),
            reordering: Chance::percent(15),
            ..Weather::STORM
        });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(5 * MINUTE, Pair::is_up), "{seed}\n{}", pair.log());
        assert!(pair.ping_until_answered(), "{seed}\n{}", pair.log());
        for side in [Side::A, Side::B] {
            pair.rekey(side).unwrap();
            pair.run_for(MINUTE);
            assert!(pair.ping_until_answered(), "{seed}\n{}", pair.log());
        }
        pair.link.set_weather(Weather::FAIR);
        pair.run_for(MINUTE);
        pair.close_and_check(Side::A);
    }
}

/// What each side says when a negotiation fails.
fn fails(setup: &Setup) -> (Vec<Failure>, Vec<Failure>) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(MINUTE);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.count(|e| matches!(e, GatewayEvent::ChildUp { .. })), 0, "{}", pair.log());
    }
    let told = (pair.a.failures(), pair.b.failures());
    pair.close_and_check(Side::A);
    told
}

/// AH covers the addresses that a NAT changes: each side says so.
#[test]
fn not_through_a_nat() {
    assert_eq!(fails(&bundle(8).behind_nat()), (vec![Failure::AhBehindNat], vec![]));
    // The responder knows of something in between, and the initiator does not.
    let mut setup = bundle(8);
    setup.b.peers[0].force_encapsulation = true;
    let (a, b) = fails(&setup);
    assert!(a == [Failure::AhBehindNat] || b == [Failure::AhBehindNat], "{a:?} {b:?}");
}

/// RFC 2408 section 4.2: what is wanted together is not taken apart, nor is one alone taken for both.
#[test]
fn only_one_side_wants_a_bundle() {
    for ours in [true, false] {
        let alone = if ours { Side::A } else { Side::B };
        let setup = bundle(9).children_of(alone, |child| child.around = &[]);
        let mismatch = Failure::BundleMismatch { ours };
        assert_eq!(fails(&setup), (vec![Failure::ProposalRefused], vec![mismatch]));
    }
    let setup = bundle(9).children_of(Side::B, |child| child.around = &[Integ::HMAC_SHA2_512_256]);
    let (a, b) = fails(&setup);
    assert_eq!(a, [Failure::ProposalRefused]);
    assert!(matches!(&b[..], [Failure::NoProposal { offered }] if !offered.is_empty()), "{b:?}");
}

/// Without room for a second SA there is no child, and nothing is left of it.
#[test]
fn no_room_for_the_second() {
    for side in Side::BOTH {
        let mut setup = bundle(10);
        let sizes = if side == Side::A { &mut setup.a.sizes } else { &mut setup.b.sizes };
        (sizes.manual, sizes.children) = (0, 1);
        let (a, b) = fails(&setup);
        let told = if side == Side::A { a } else { b };
        assert_eq!(told, [Failure::NoRoom], "{side:?}");
    }
}

/// Two ends of a bundle, and what somebody does who has the key of AH, as one of the two has.
struct Forger {
    key: AhKeysLog,
    path: Path,
}

impl Forger {
    /// With the key of what A sends.
    fn of(pair: &Pair<'_>) -> Self {
        let (key, path) = pair
            .a
            .events
            .iter()
            .rev()
            .find_map(|(_, event)| match event {
                GatewayEvent::EspKeys(keys) if keys.direction == ipsec::Direction::Outbound => {
                    Some((keys.around.clone()?, keys.path))
                }
                _ => None,
            })
            .unwrap();
        Self { key, path }
    }

    /// A whole packet, with AH put on it.
    fn sign(&self, sequence: u64, packet: &[u8]) -> Datagram {
        let (mut inbound, mut outbound) = ([InboundSlot::EMPTY], [OutboundSlot::EMPTY]);
        let mut links = [0; 4];
        let mut sad = Sad::<Toy>::new(SadMemory {
            inbound: &mut inbound,
            outbound: &mut outbound,
            windows: &mut [],
            links: &mut links,
            foreign: &mut [],
        });
        let now = ipsec::Instant::from_secs(1);
        let id = sad
            .install_outbound(
                now,
                &SaParams {
                    spi: self.key.spi,
                    protection: Algorithms::Ah(self.key.integ, AhAlign::Standard),
                    mode: Mode::TRANSPORT,
                    keymat: self.key.key(),
                    path: self.path,
                    encapsulation: Encapsulation::Ip,
                    esn: false,
                    replay_window: 64,
                    lifetime: Lifetime::UNLIMITED,
                    selectors: &Selectors::EMPTY,
                    tag: 0,
                },
            )
            .unwrap();
        sad.skip_sequence(id, sequence - 1);
        let mut buf = [&[0; 64][..], packet, &[0; 64]].concat();
        let mut packet = PacketBuf::new(&mut buf, 64..64 + packet.len()).unwrap();
        ipsec_esp::seal(&mut sad, now, id, &mut packet).unwrap();
        let (from, to) = (self.path.local.address, self.path.remote.address);
        Datagram::ip(from, to, AH, packet.payload())
    }
}

/// A packet of the bundle, taken off the wire on its way to B, and the ESP packet that is left of it without AH: whole,
/// with its IP header.
fn intercept(pair: &mut Pair<'_>) -> (Datagram, Vec<u8>) {
    let to = pair.b.address;
    pair.link.set_hook(
        move |_, d| {
            if d.destination.address == to { Verdict::Drop } else { Verdict::Pass }
        },
    );
    pair.send(Side::A, 7);
    pair.link.clear_hook();
    let datagram = pair.link.tap().last().unwrap().datagram.clone();
    assert_eq!(datagram.transport, Transport::Ip(AH));
    let bytes = &datagram.bytes;
    let ah = 4 * (usize::from(bytes[21]) + 2);
    let mut bare = [&bytes[..20], &bytes[20 + ah..]].concat();
    bare[9] = ESP;
    let len = u16::try_from(bare.len()).unwrap();
    bare[2..4].copy_from_slice(&len.to_be_bytes());
    bare[10..12].fill(0);
    (datagram, bare)
}

fn dropped(counters: &Counters) -> u32 {
    counters.dropped(DropReason::InSelectors)
}

/// ESP without its AH does not get in by any way, and moves no window: the packet that it was taken from is still taken.
#[test]
fn esp_alone_does_not_get_in() {
    let setup = bundle(11);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let (whole, bare) = intercept(&mut pair);
    let (now, received) = (pair.now(), pair.b.received.len());
    let path = Path::new(whole.destination, whole.source);
    let b = &mut pair.b;
    let before = dropped(b.gateway.counters());
    let esp = &bare[20..];
    for refused in [
        b.gateway.inbound_esp(now, &mut b.rng, path, 0, &mut esp.to_vec()).map(drop),
        b.gateway.inbound_ip(now, &mut b.rng, &mut bare.clone()).map(drop),
        {
            let port = |mut end: Endpoint| {
                end.port = 4500;
                end
            };
            let path = Path::new(port(path.local), port(path.remote));
            b.gateway.inbound_udp(now, &mut b.rng, path, 0, &mut esp.to_vec()).map(drop)
        },
    ] {
        assert!(matches!(refused, Err(InboundError::NotNested(_))), "{refused:?}");
    }
    assert_eq!(dropped(b.gateway.counters()), before + 3);
    b.take(now, &whole).unwrap();
    assert_eq!(b.received.len(), received + 1);
    // Each SA has a window of its own, and this is in both now.
    assert!(b.take(now, &whole).is_err());
    pair.ping();
    pair.close_and_check(Side::A);
}

/// What is in AH, and is not the ESP of the same bundle, does not get in: something in clear, ESP of nobody, ESP of another
/// child, whose window does not move either.
#[test]
fn ah_around_something_else_does_not_get_in() {
    // The second tunnel is no bundle.
    let mut setup = bundle(12).tunnels(2).sizes(|sizes| sizes.manual = sizes.children);
    for plan in [&mut setup.a, &mut setup.b] {
        plan.config.ike.key_log = true;
    }
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let forger = Forger::of(&pair);
    let more = ChildRef { peer: 0, child: 1 };
    pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, more)).unwrap();
    pair.run_for(SECOND);
    let hosts = (v4(10, 1, 1, 9), v4(10, 2, 1, 9));
    pair.send_between(Side::A, hosts, 1);
    pair.run_for(SECOND);
    assert_eq!(pair.b.received_from.last(), Some(&more));
    let to = pair.b.address;
    pair.link.set_hook(
        move |_, d| {
            if d.destination.address == to { Verdict::Drop } else { Verdict::Pass }
        },
    );
    pair.send_between(Side::A, hosts, 2);
    pair.link.clear_hook();
    let of_the_other = pair.link.tap().last().unwrap().datagram.clone();
    assert_eq!(of_the_other.transport, Transport::Ip(ESP));
    let (whole, bare) = intercept(&mut pair);
    let (now, received) = (pair.now(), pair.b.received.len());
    let mut sequence = 1000;
    let mut refused = |pair: &mut Pair<'_>, packet: &[u8]| {
        sequence += 1;
        let datagram = forger.sign(sequence, packet);
        let error = pair.b.take(now, &datagram).unwrap_err();
        // It was authentic, and AH has seen it now: only what is in it is wrong.
        let again = pair.b.take(now, &datagram).unwrap_err();
        assert!(matches!(again, InboundError::Open(OpenError::Replay(..))), "{again}");
        error
    };
    let inner = pair.b.received[0].clone();
    let mut between = inner.clone();
    between[12..20].copy_from_slice(&bare[12..20]);
    assert!(matches!(refused(&mut pair, &between), InboundError::Open(_)));
    let mut of_nobody = bare.clone();
    of_nobody[20..24].copy_from_slice(&Spi::new(0x1234_5678).unwrap().get().to_be_bytes());
    assert!(matches!(refused(&mut pair, &of_nobody), InboundError::NotNested(_)));
    let mut broken = bare.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(&mut pair, &broken), InboundError::Open(_)));
    let mut other = [&bare[..20], &of_the_other.bytes].concat();
    let len = u16::try_from(other.len()).unwrap();
    other[2..4].copy_from_slice(&len.to_be_bytes());
    assert!(matches!(refused(&mut pair, &other), InboundError::NotNested(_)));
    assert_eq!(pair.b.received.len(), received);
    pair.b.take(now, &of_the_other).unwrap();
    assert_eq!(pair.b.received.len(), received + 1);
    // The forger can do what the peer can: put the right thing in AH.
    let right = forger.sign(2000, &bare);
    pair.b.take(now, &right).unwrap();
    assert_eq!(pair.b.received.len(), received + 2);
    assert!(pair.b.take(now, &whole).is_err(), "repeated");
}

/// The payloads of the messages that `side` has sent after `from` datagrams: what a peer that has the keys reads.
fn said_by(pair: &Pair<'_>, side: Side, from: usize) -> Vec<Clear> {
    let said: Vec<&[u8]> = pair.link.tap().iter().map(|c| &c.datagram.bytes[..]).collect();
    let address = if side == Side::A { pair.a.address } else { pair.b.address };
    let sent = pair.link.tap()[from..]
        .iter()
        .filter(|c| c.datagram.source.address == address && c.datagram.transport == Transport::Udp);
    let keys = pair.a.isakmp_keys();
    sent.filter_map(|c| keys.open::<Toy>(&said, &c.datagram.bytes)).collect()
}

/// A Delete payload. Of the IPsec DOI, AH is protocol 2, and ESP is 3.
fn delete(protocol: u8, spi: Spi) -> Vec<u8> {
    [&[0, 0, 0, 16, 0, 0, 0, 1, protocol, 4, 0, 1][..], &spi.get().to_be_bytes()].concat()
}

/// RFC 2408 section 3.15: a Delete payload for each protocol, each in a message, since racoon takes no two. A peer that
/// deletes one of the two has deleted both.
#[test]
fn the_end_of_either_is_the_end_of_both() {
    for protocol in [2, 3] {
        let mut setup = bundle(13);
        setup.a.config.ike.key_log = true;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.ping();
        let agreed = pair.a.events.iter().find_map(|(_, event)| match event {
            GatewayEvent::ChildUp { agreed, .. } => Some(*agreed),
            _ => None,
        });
        let agreed = agreed.unwrap();
        let around = agreed.around.unwrap();
        let spi = if protocol == 2 { around.inbound_spi } else { agreed.inbound_spi };
        // Another SPI deletes nothing; nor does this one as one of the other protocol.
        for (id, protocol, spi, gone) in [
            (1, protocol, Spi::new(0x0101_0101).unwrap(), false),
            (2, 5 - protocol, spi, false),
            (3, protocol, spi, true),
        ] {
            let said: Vec<&[u8]> = pair.link.tap().iter().map(|c| &c.datagram.bytes[..]).collect();
            let payloads = delete(protocol, spi);
            let clear = Clear { exchange: 5, flags: 0, id, first: 12, payloads };
            let message = pair.a.isakmp_keys().seal::<Toy>(&said, None, &clear).unwrap();
            let end = |address| Endpoint::new(address, 500);
            let datagram = Datagram::udp(end(pair.a.address), end(pair.b.address), message);
            let now = pair.now();
            pair.b.take(now, &datagram).unwrap();
            pair.flush(Side::B);
            assert_eq!(pair.b.is_up(), !gone, "{protocol} {spi}");
        }
        let used = pair.b.statistics();
        assert_eq!((used.children, used.inbound_sas, used.outbound_sas), (0, 0, 0));
        // And this is how we say it ourselves.
        let sent = pair.link.tap().len();
        pair.close(Side::A).unwrap();
        let deletes = said_by(&pair, Side::A, sent);
        let both = [delete(2, around.inbound_spi), delete(3, agreed.inbound_spi)];
        assert!(deletes.iter().map(|d| &d.payloads).eq(&both), "{deletes:?}");
        pair.run_for(MINUTE);
        pair.close_and_check(Side::B);
    }
}

/// The peer makes another IKE SA from behind a NAT: its children follow it there, and so do both SAs of a bundle. AH covers
/// the addresses, so that nothing gets in until the peer is back.
#[test]
fn both_follow_a_peer_that_has_moved() {
    let elsewhere = v4(203, 0, 113, 66);
    let mut setup = bundle(16).peers(|peer| peer.liveness = None);
    setup.b.peers[0].remote = None;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let a = setup.a.address;
    pair.link.set_hook(move |_, datagram| {
        if datagram.source.address == a {
            datagram.source.address = elsewhere;
        } else if datagram.destination.address == elsewhere {
            datagram.destination.address = a;
        }
        Verdict::Pass
    });
    pair.rekey_ike(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.b.ike_rekeys(), 1, "{}", pair.log());
    let moved = |e: &GatewayEvent| matches!(e, GatewayEvent::ChildMoved { .. });
    assert_eq!(pair.b.count(moved), 1, "{}", pair.log());
    let sad = pair.b.gateway.sad();
    let outbound = sad.outbound_sas().map(|sa| sa.protection.path);
    let inbound = sad.inbound_sas().map(|sa| sa.protection.path);
    let there: Vec<_> = outbound.chain(inbound).map(|path| path.remote.address).collect();
    assert_eq!(there, [elsewhere; 4]);
}

/// The end of an IKE SA is told even if all contexts keep something, as they do a moment after both SAs of a bundle have been
/// replaced and deleted.
#[test]
fn the_end_is_told_in_little_room() {
    for after in 0..40 {
        let setup = bundle(14).sizes(|sizes| sizes.exchanges = 4);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.rekey(Side::A).unwrap();
        pair.run_for(after * SECOND / 10);
        pair.close_all(Side::A);
        pair.run_for(SECOND);
        assert_eq!(pair.b.ike_downs(), [DownReason::Deleted], "{after}\n{}", pair.log());
        let used = pair.b.statistics();
        assert_eq!((used.children, used.inbound_sas, used.outbound_sas), (0, 0, 0), "{after}");
    }
}

/// The end of a bundle is told of both of its SAs, or later: of one alone, a peer may keep the other.
#[test]
fn the_end_is_told_of_both_or_of_none() {
    const QUICK_MODE: u8 = 32;
    for exchanges in [2, 3, 4] {
        let around: fn(&mut ipsec::Child<'static>) = |c| c.around = &[Integ::HMAC_SHA2_256_128];
        let mut setup = bundle(15).tunnels(4).children(around).sizes(|sizes| {
            (sizes.exchanges, sizes.children, sizes.manual) = (exchanges, 10, 10);
        });
        setup.a.config.ike.key_log = true;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.run_for(MINUTE);
        // A wants others, of which B does not hear: they take the room.
        let a = pair.a.address;
        pair.link.set_hook(move |_, d| {
            let quick = d.bytes.get(18) == Some(&QUICK_MODE) && d.source.address == a;
            if quick { Verdict::Drop } else { Verdict::Pass }
        });
        for child in [1, 2, 3] {
            let config = ChildRef { peer: 0, child };
            pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, config)).unwrap();
        }
        let agreed = pair.a.events.iter().find_map(|(_, event)| match event {
            GatewayEvent::ChildUp { agreed, .. } => Some(*agreed),
            _ => None,
        });
        let agreed = agreed.unwrap();
        let around = agreed.around.unwrap();
        let both = [delete(2, around.inbound_spi), delete(3, agreed.inbound_spi)];
        let sent = pair.link.tap().len();
        pair.close(Side::A).unwrap();
        let deletes = |pair: &Pair<'_>| {
            let said = said_by(pair, Side::A, sent).into_iter().map(|message| message.payloads);
            said.filter(|payloads| both.contains(payloads)).collect::<Vec<_>>()
        };
        for _ in 0..200 {
            let said = deletes(&pair);
            assert!(said.is_empty() || said == both, "{exchanges}: {said:?}");
            pair.run_for(SECOND);
        }
        assert_eq!(deletes(&pair), both, "{exchanges}\n{}", pair.log());
    }
}

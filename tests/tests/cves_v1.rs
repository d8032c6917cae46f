//! The classes of attack that others had to publish a CVE for, tried on IKEv1: each by name. `cves.rs` has those of IKEv2;
//! those of certificates and signatures are there too, or in the tests of the crates that have them.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use ipsec::{
    Auth, ChildProposal, ChildRef, DownReason, Endpoint, Failure, GatewayEvent, Group,
    Phase1Proposal, PrfId, Suite, V1, Versions,
};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::isakmp::Clear;
use ipsec_testkit::link::{Datagram, Verdict};
use ipsec_testkit::pair::{Memory, Pair};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::setup::{ADDRESS_A, ADDRESS_B, Setup, Side};
use ipsec_testkit::toy::Toy;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

const MAIN: u8 = 2;
const AGGRESSIVE: u8 = 4;
const INFORMATIONAL: u8 = 5;
const TRANSACTION: u8 = 6;
const QUICK: u8 = 32;

const SA: u8 = 1;
const KE: u8 = 4;
const ID: u8 = 5;
const HASH: u8 = 8;
const NONCE: u8 = 10;
const NOTIFY: u8 = 11;
const DELETE: u8 = 12;
const NAT_D: u8 = 20;
const FRAGMENT: u8 = 132;

type Payloads = Vec<(u8, Vec<u8>)>;

fn main_mode(seed: u64) -> Setup {
    Setup::new(seed).peers(|peer| peer.versions = Versions::V1(V1::MAIN))
}

fn aggressive(seed: u64) -> Setup {
    Setup::new(seed).peers(|peer| peer.versions = Versions::V1(V1::AGGRESSIVE))
}

fn from(side: Side, bytes: Vec<u8>) -> Datagram {
    let (a, b) = (Endpoint::new(ADDRESS_A, 500), Endpoint::new(ADDRESS_B, 500));
    match side {
        Side::A => Datagram::udp(a, b, bytes),
        Side::B => Datagram::udp(b, a, bytes),
    }
}

/// Payloads one behind the other, and the type of the first.
fn chain(payloads: &[(u8, Vec<u8>)]) -> (u8, Vec<u8>) {
    let mut all = Vec::new();
    for (i, (_, body)) in payloads.iter().enumerate() {
        all.extend([payloads.get(i + 1).map_or(0, |next| next.0), 0]);
        all.extend((4 + body.len() as u16).to_be_bytes());
        all.extend(body);
    }
    (payloads.first().map_or(0, |first| first.0), all)
}

/// A message in the clear.
fn clear(cookies: [u64; 2], exchange: u8, payloads: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let (first, payloads) = chain(payloads);
    let mut message = cookies.map(u64::to_be_bytes).concat();
    message.extend([first, 0x10, exchange, 0, 0, 0, 0, 0]);
    message.extend((28 + payloads.len() as u32).to_be_bytes());
    message.extend(payloads);
    message
}

/// The cookie of somebody else.
const COOKIE: u64 = 0x0909_0909_0909_0909;

fn first_message(exchange: u8, payloads: &[(u8, Vec<u8>)]) -> Datagram {
    from(Side::A, clear([COOKIE, 0], exchange, payloads))
}

/// The payloads of a message in the clear.
fn payloads_of(message: &[u8]) -> Payloads {
    let (mut kind, mut at, mut all) = (message[16], 28, Vec::new());
    while kind != 0 {
        let len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        all.push((kind, message[at + 4..at + len].to_vec()));
        (kind, at) = (message[at], at + len);
    }
    all
}

/// What A begins with.
fn request(setup: &Setup) -> Payloads {
    let mut memory = Memory::<Toy>::of(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    payloads_of(&pair.link.tap()[0].datagram.bytes)
}

/// B, with a tunnel to A, gets these datagrams in between; the tunnel lives, what they have taken is given back, and
/// new keys come about. Gives how many were refused.
fn unharmed(setup: &Setup, datagrams: impl IntoIterator<Item = Datagram>) -> usize {
    let mut memory = Memory::<Toy>::of(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.bring_up();
    let mut refused = 0;
    for datagram in datagrams {
        let now = pair.now();
        refused += usize::from(pair.b.take(now, &datagram).is_err());
        pair.flush(Side::B);
        pair.run_for(MOMENT);
    }
    pair.ping();
    pair.run_for(2 * MINUTE);
    assert_eq!((pair.b.statistics().ike_sas, pair.b.statistics().handshakes), (1, 0));
    for side in Side::BOTH {
        pair.rekey(side).unwrap();
        pair.run_for(SECOND);
        pair.ping();
    }
    assert_eq!(pair.b.child_rekeys(), 2, "{}", pair.log());
    pair.close_and_check(Side::B);
    refused
}

/// The next message of an exchange, under the keys that A has.
fn sealed(pair: &Pair<'_, Toy>, exchange: u8, id: u32, payloads: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let marker = |d: &Datagram| if d.bytes.starts_with(&[0; 4]) { 4 } else { 0 };
    let said = pair.link.tap().iter().map(|c| &c.datagram);
    let said: Vec<&[u8]> = said.filter_map(|d| d.bytes.get(marker(d)..)).collect();
    let (first, payloads) = chain(payloads);
    let message = Clear { exchange, flags: 0, id, first, payloads };
    pair.a.isakmp_keys().seal::<Toy>(&said, None, &message).unwrap()
}

/// B gets these messages of its authenticated peer, each an exchange of its own, and keeps IKE SA and tunnel. Gives how
/// many were refused, or answered by a notify, and not by the second message of Quick Mode.
fn survives(messages: impl IntoIterator<Item = (u8, Payloads)>) -> usize {
    let mut setup = main_mode(79).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut refused = 0;
    for (id, (exchange, payloads)) in (1u32..).zip(messages) {
        let message = sealed(&pair, exchange, id, &payloads);
        let sent = pair.link.tap().len();
        let now = pair.now();
        let result = pair.b.take(now, &from(Side::A, message));
        pair.flush(Side::B);
        let answered = pair.link.tap()[sent..].iter().any(|c| c.datagram.bytes[18] == QUICK);
        refused += usize::from(result.is_err() || !answered);
        pair.run_for(MOMENT);
        assert!(pair.b.is_up() && pair.b.ike_downs().is_empty(), "{payloads:?}");
    }
    pair.ping();
    // Exchanges that were begun come to their end, and nothing stays behind.
    pair.run_for(3 * MINUTE);
    pair.ping();
    pair.close_and_check(Side::A);
    refused
}

/// The body of an SA payload.
fn offer(protocol: u8, spi: &[u8], transforms: &[(u8, &[(u16, u16)])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (i, (id, attributes)) in transforms.iter().enumerate() {
        all.extend([if i + 1 < transforms.len() { 3 } else { 0 }, 0]);
        all.extend((8 + 4 * attributes.len() as u16).to_be_bytes());
        all.extend([i as u8 + 1, *id, 0, 0]);
        for (kind, value) in *attributes {
            all.extend((0x8000 | kind).to_be_bytes());
            all.extend(value.to_be_bytes());
        }
    }
    let mut body = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0];
    body.extend((8 + spi.len() as u16 + all.len() as u16).to_be_bytes());
    body.extend([1, protocol, spi.len() as u8, transforms.len() as u8]);
    body.extend(spi);
    body.extend(all);
    body
}

/// Encryption, its key length, hash, authentication, group, and a lifetime: what B takes.
const PHASE1: [(u16, u16); 7] = [(1, 7), (14, 256), (2, 4), (3, 1), (4, 19), (11, 1), (12, 28800)];
/// A lifetime, tunnel mode, the key length.
const PHASE2: [(u16, u16); 4] = [(1, 1), (2, 3600), (4, 1), (6, 128)];
const AES_GCM: u8 = 20;

fn with(attributes: &[(u16, u16)], kind: u16, value: u16) -> Vec<(u16, u16)> {
    attributes.iter().map(|(k, v)| (*k, if *k == kind { value } else { *v })).collect()
}

fn network(kind: u8, data: &[u8]) -> (u8, Vec<u8>) {
    (ID, [&[kind, 0, 0, 0], data].concat())
}

/// A request for a child that B grants.
fn child() -> Payloads {
    vec![
        (SA, offer(3, &[0, 0, 0x77, 1], &[(AES_GCM, &PHASE2)])),
        (NONCE, vec![5; 32]),
        network(4, &[192, 168, 1, 0, 255, 255, 255, 0]),
        network(4, &[192, 168, 2, 0, 255, 255, 255, 0]),
    ]
}

/// What is made up here is what B takes, unless a test changes it.
#[test]
fn what_is_made_up_is_good() {
    assert_eq!(survives([(QUICK, child())]), 0);
    let first = first_message(MAIN, &[(SA, offer(1, &[], &[(1, &PHASE1)]))]);
    assert_eq!(unharmed(&main_mode(70), [first]), 0);
}

/// RFC 2407 section 4.5, RFC 3947 section 5.1: who asks for another mode than is possible or permitted is told why.
#[test]
fn the_mode_that_is_not_possible() {
    let refused = [
        (main_mode(104), 2, Failure::TunnelRequired),
        (main_mode(105), 3, Failure::NatMismatch { ours: false }),
        (main_mode(106).behind_nat(), 1, Failure::NatMismatch { ours: true }),
    ];
    for (setup, mode, failure) in refused {
        let mut setup = setup.peers(|peer| peer.liveness = None);
        setup.a.config.ike.key_log = true;
        let mut memory = Memory::<Toy>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let mut payloads = child();
        payloads[0].1 = offer(3, &[0, 0, 0x77, 1], &[(AES_GCM, &with(&PHASE2, 4, mode))]);
        let message = sealed(&pair, QUICK, 1, &payloads);
        // On the path that the IKE SA uses.
        let mut known = pair.link.tap().iter().rev().map(|c| &c.datagram);
        let last =
            known.find(|d| d.destination.address == ADDRESS_B && d.bytes.len() > 50).unwrap();
        let marker = if last.destination.port == 4500 { &[0; 4][..] } else { &[] };
        let bytes = [marker, &message].concat();
        let datagram = Datagram::udp(last.source, last.destination, bytes);
        let now = pair.now();
        assert!(pair.b.take(now, &datagram).is_err());
        pair.run_for(SECOND);
        assert_eq!(pair.b.failures(), [failure]);
    }
}

/// RFC 2408 section 3.1: the commit bit changes nothing for who can receive before it says so, and CONNECTED is no error.
#[test]
fn the_commit_bit() {
    let mut setup = main_mode(69).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let connected = (NOTIFY, vec![0, 0, 0, 1, 3, 4, 0x40, 0, 0, 0, 0x77, 1]);
    for (exchange, payloads) in [(QUICK, child()), (INFORMATIONAL, vec![connected])] {
        let said: Vec<&[u8]> = pair.link.tap().iter().map(|c| &c.datagram.bytes[..]).collect();
        let (first, payloads) = chain(&payloads);
        let message = Clear { exchange, flags: 2, id: exchange.into(), first, payloads };
        let message = pair.a.isakmp_keys().seal::<Toy>(&said, None, &message).unwrap();
        let now = pair.now();
        pair.b.take(now, &from(Side::A, message)).unwrap();
        pair.flush(Side::B);
    }
    assert!(pair.link.tap().iter().any(|c| c.datagram.bytes[18] == QUICK
        && c.datagram.bytes[23] == QUICK
        && c.datagram.source.address == ADDRESS_B));
    pair.ping();
}

/// Unknown payloads, more than any array has room for, in the clear and behind a good hash.
#[test]
fn cve_2026_12413_many_unknown_payloads() {
    let unknown = |count, last: Option<u8>| {
        let mut all = vec![(100, vec![]); count];
        all.extend(last.map(|kind| (kind, vec![7; 60])));
        all
    };
    let counts = [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 300];
    let mut datagrams = Vec::new();
    for (count, last) in
        counts.iter().flat_map(|n| [None, Some(HASH), Some(FRAGMENT)].map(|l| (*n, l)))
    {
        for exchange in [MAIN, AGGRESSIVE, INFORMATIONAL, QUICK] {
            datagrams.push(first_message(exchange, &unknown(count, last)));
        }
    }
    let all = datagrams.len();
    assert_eq!(unharmed(&main_mode(71), datagrams), all);
    let messages = counts.map(|n| (INFORMATIONAL, unknown(n, None)));
    assert_eq!(survives(messages), counts.len());
}

/// Fragments, which nothing authenticates, of messages that are never whole, in any number and order.
#[test]
fn cve_2016_10396_cve_2022_34721_fragments_without_end() {
    let mut chance = SeededRng::new(1);
    let fragments = (0..2000).map(move |_| {
        let (id, number) = (chance.next() as u8, chance.next() as u8);
        let mut body = vec![0, id & 3, number, chance.next() as u8 & 1];
        body.extend(vec![3; chance.next() as usize & 63]);
        first_message(MAIN, &[(FRAGMENT, body)])
    });
    assert_eq!(unharmed(&main_mode(72), fragments), 2000);
}

/// Payloads of IKEv2, and whole messages under the other version's number.
#[test]
fn cve_2015_3991_payloads_of_the_other_version() {
    let setup = main_mode(73);
    let mut datagrams = Vec::new();
    for kind in 33..=53 {
        for exchange in [MAIN, AGGRESSIVE, INFORMATIONAL, QUICK, 34, 35, 36, 37] {
            let mut payloads = request(&setup);
            payloads.insert(0, (kind, vec![0; 20]));
            payloads.retain(|(kind, _)| *kind != SA);
            let datagram = first_message(exchange, &payloads);
            let mut other = datagram.clone();
            other.bytes[17] = 0x20;
            datagrams.extend([datagram, other]);
        }
    }
    let all = datagrams.len();
    assert_eq!(unharmed(&setup, datagrams), all);
    // A header of IKEv2 with the cookies of an SA of IKEv1, and the reverse.
    for (setup, version) in [(main_mode(74), 0x20), (Setup::new(74), 0x10)] {
        let mut memory = Memory::<Toy>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let said: Vec<_> = pair.link.tap().iter().map(|c| c.datagram.clone()).collect();
        for mut datagram in said.into_iter().filter(|d| d.destination.address == ADDRESS_B) {
            for exchange in [MAIN, INFORMATIONAL, QUICK, 34, 35, 36, 37] {
                (datagram.bytes[17], datagram.bytes[18]) = (version, exchange);
                let now = pair.now();
                assert!(pair.b.take(now, &datagram).is_err());
            }
        }
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

/// Groups from private ranges, and those that are not allowed, wherever a group is named.
#[test]
fn cve_2014_9221_groups_of_private_ranges() {
    let groups = [0u16, 3, 1024, 1025, 1030, 32767, 32768, 65535];
    let datagrams = groups.map(|group| {
        let attributes = with(&PHASE1, 4, group);
        first_message(MAIN, &[(SA, offer(1, &[], &[(1, &attributes)]))])
    });
    assert_eq!(unharmed(&main_mode(75), datagrams), groups.len());
    let messages = groups.into_iter().flat_map(|group| {
        [true, false].map(|ke| {
            let mut payloads = child();
            let attributes = [&PHASE2[..], &[(3, group)]].concat();
            payloads[0].1 = offer(3, &[0, 0, 0x77, 1], &[(AES_GCM, &attributes)]);
            if ke {
                payloads.insert(2, (KE, vec![7; 64]));
            }
            (QUICK, payloads)
        })
    });
    // 0 is none, and then there is no key exchange.
    assert_eq!(survives(messages), 2 * groups.len() - 1);
}

const MODP: &[Phase1Proposal<'static>] =
    &[Phase1Proposal { groups: &[Group::MODP_2048], ..Phase1Proposal::DEFAULT[0] }];

/// 0, 1 and p-1 as public values (RFC 2412 appendix E has the prime), of either side.
fn degenerate() -> [Vec<u8>; 3] {
    let (zero, mut one) = (vec![0; 256], vec![0; 256]);
    one[255] = 1;
    // p ends in ...FFFFFFFF FFFFFFFF: p-1 in ...FE.
    let text = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
        EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
        EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
        83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
        E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
        15728E5A8AACAA68FFFFFFFFFFFFFFFE";
    let last = (0..256).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap());
    [zero, one, last.collect()]
}

/// A public value that makes the secret known: of the initiator, in the third message, and of the responder, in the
/// fourth. Nothing comes up by it; a forged one does not keep the true one out.
#[test]
fn cve_2015_3240_degenerate_public_values() {
    let proposals = V1 { proposals: MODP, ..V1::MAIN };
    for value in degenerate() {
        for victim in Side::BOTH {
            let setup = main_mode(76).peers(|peer| peer.versions = Versions::V1(proposals));
            let mut memory = Memory::<RustCrypto>::of(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            let (forged, mut times) = (value.clone(), 1);
            pair.link.set_hook(move |_, datagram| {
                let has_key = datagram.bytes[16] == KE && datagram.bytes[30..32] == [1, 4];
                let to = if datagram.destination.address == ADDRESS_A { Side::A } else { Side::B };
                if has_key && to == victim && times > 0 {
                    times -= 1;
                    datagram.bytes[32..32 + 256].copy_from_slice(&forged);
                }
                Verdict::Pass
            });
            pair.initiate(Side::A).unwrap();
            assert!(pair.wait(10 * SECOND, Pair::is_up), "{victim:?}\n{}", pair.log());
            pair.close_and_check(Side::A);
        }
    }
}

/// A value of the key exchange that is longer or shorter than its group's.
#[test]
fn cve_2023_41913_lengths_of_key_exchanges() {
    let lens = || (0..80).chain([128, 256, 1000]).filter(|len| *len != 64);
    let setup = aggressive(77);
    let request = request(&setup);
    let with_len = |len: usize| {
        let mut payloads = request.clone();
        payloads.iter_mut().filter(|(kind, _)| *kind == KE).for_each(|(_, b)| b.resize(len, 9));
        first_message(AGGRESSIVE, &payloads)
    };
    assert_eq!(unharmed(&setup, lens().map(with_len)), lens().count());
    // In Main Mode, in the third and in the fourth message: the true one still counts.
    for (kind, len) in [(3, 0), (3, 63), (3, 65), (4, 0), (4, 63), (4, 65), (4, 256)] {
        let setup = main_mode(77);
        let mut memory = Memory::<Toy>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut count = 0;
        pair.link.set_hook(move |_, datagram| {
            count += 1;
            if count == kind {
                let mut payloads = payloads_of(&datagram.bytes);
                payloads[0].1.resize(len, 9);
                let (_, chained) = chain(&payloads);
                datagram.bytes.truncate(28);
                datagram.bytes.extend(chained);
                let total = datagram.bytes.len() as u32;
                datagram.bytes[24..28].copy_from_slice(&total.to_be_bytes());
            }
            Verdict::Pass
        });
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(10 * SECOND, Pair::is_up), "{kind} {len}\n{}", pair.log());
        assert_eq!(pair.a.errors.len() + pair.b.errors.len(), 1, "{}", pair.log());
        pair.close_and_check(Side::A);
    }
}

/// Messages without the payloads, and proposals without the attributes, that they must have.
#[test]
fn cve_2016_5391_cve_2013_6467_missing_payloads_and_attributes() {
    let setup = aggressive(78);
    let whole = request(&setup);
    let mut datagrams = Vec::new();
    for missing in [SA, KE, NONCE, ID] {
        let payloads: Vec<_> = whole.iter().filter(|(kind, _)| *kind != missing).cloned().collect();
        assert!(payloads.len() < whole.len());
        datagrams.push(first_message(AGGRESSIVE, &payloads));
    }
    for missing in [1, 14, 2, 3, 4] {
        let attributes: Vec<_> = PHASE1.into_iter().filter(|(kind, _)| *kind != missing).collect();
        datagrams.push(first_message(MAIN, &[(SA, offer(1, &[], &[(1, &attributes)]))]));
    }
    datagrams.push(first_message(MAIN, &[(SA, offer(1, &[], &[]))]));
    datagrams.push(first_message(MAIN, &[]));
    assert_eq!(unharmed(&setup, datagrams), 11);
    let mut messages = vec![];
    for missing in 0..4 {
        let mut payloads = child();
        payloads.remove(missing);
        messages.push((QUICK, payloads));
    }
    for attributes in [&[][..], &PHASE2[..2], &PHASE2[2..3]] {
        let mut payloads = child();
        payloads[0].1 = offer(3, &[0, 0, 0x77, 1], &[(AES_GCM, attributes)]);
        messages.push((QUICK, payloads));
    }
    let mut payloads = child();
    payloads[0].1 = offer(3, &[0, 0, 0x77, 1], &[]);
    messages.push((QUICK, payloads));
    messages.push((QUICK, vec![]));
    assert_eq!(survives(messages), 9);
}

/// Algorithms that are registered and not implemented, or not allowed, are not chosen: AES-XCBC, and AES-GMAC, which
/// would not encrypt; DES, MD5, and encryption with RSA keys, whose padding tells (CVE-2018-0131, CVE-2018-5389).
#[test]
fn cve_2016_3071_cve_2024_3652_cve_2018_0131_nothing_else_is_chosen() {
    let known = |kind, value| {
        matches!((kind, value), (1, 7) | (14, 128 | 256) | (2, 4..=6) | (3, 1) | (4, 14 | 19 | 20))
    };
    let values = || (0..=40).chain([64, 128, 192, 256, 65001, 65005, 65535]);
    let all = [1u16, 14, 2, 3, 4].into_iter().flat_map(|kind| values().map(move |v| (kind, v)));
    let bad: Vec<_> = all.filter(|(kind, value)| !known(*kind, *value)).collect();
    let datagrams = bad.iter().map(|(kind, value)| {
        first_message(MAIN, &[(SA, offer(1, &[], &[(1, &with(&PHASE1, *kind, *value))]))])
    });
    assert_eq!(unharmed(&main_mode(79), datagrams), bad.len());
    let messages = (0..=255u8).filter(|id| *id != AES_GCM).map(|id| {
        let mut payloads = child();
        payloads[0].1 = offer(3, &[0, 0, 0x77, 1], &[(id, &PHASE2)]);
        (QUICK, payloads)
    });
    assert_eq!(survives(messages), 255);
    // Both sides name what neither has.
    const PROPOSALS: &[Phase1Proposal<'static>] = &[Phase1Proposal {
        suites: &[Suite { encr: ipsec_core::crypto::Encr(999), ..Suite::AES_128_GCM }],
        prfs: &[PrfId(999)],
        groups: &[Group(999)],
    }];
    let v1 = Versions::V1(V1 { proposals: PROPOSALS, ..V1::MAIN });
    let setup = Setup::new(80).peers(|peer| peer.versions = v1);
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    assert!(pair.initiate(Side::A).is_err());
    assert!(pair.link.tap().is_empty());
}

/// Names where an address is expected, and addresses of another length than their type has.
#[test]
fn cve_2023_38711_cve_2023_23009_identities_of_quick_mode() {
    let mut bad = vec![
        network(2, b"gateway.example"),
        network(3, b"a@b.example"),
        network(9, &[0x30, 0]),
        network(11, &[1, 2, 3]),
        network(0, &[]),
        network(255, &[0; 8]),
        // A mask with holes, a range that ends before it begins.
        network(4, &[192, 168, 1, 0, 255, 0, 255, 0]),
        network(7, &[192, 168, 1, 9, 192, 168, 1, 1]),
        (ID, vec![]),
        (ID, vec![4, 0, 0]),
    ];
    for kind in [1, 4, 5, 6, 7, 8] {
        bad.extend(
            (0..40)
                .filter(|len| ![4, 8, 16, 32].contains(len))
                .map(|len| network(kind, &vec![1; len])),
        );
    }
    let count = bad.len();
    let messages = bad.into_iter().flat_map(|id| {
        [2, 3].map(|at| {
            let mut payloads = child();
            payloads[at] = id.clone();
            (QUICK, payloads)
        })
    });
    assert_eq!(survives(messages), 2 * count);
}

/// What follows a deletion in the same message, and questions after an SA that is gone: nothing is left behind.
#[test]
fn cve_2023_38712_cve_2009_0790_a_deletion_and_more() {
    let mut setup = main_mode(82).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let keys = pair.a.isakmp_keys();
    let cookies = [keys.cookies.0.to_be_bytes(), keys.cookies.1.to_be_bytes()].concat();
    let ike = (DELETE, [&[0, 0, 0, 1, 1, 16, 0, 1][..], &cookies].concat());
    let esp = (DELETE, vec![0, 0, 0, 1, 3, 4, 0, 2, 0, 0, 0x77, 1, 0, 0, 0x77, 2]);
    let there = (NOTIFY, [&[0, 0, 0, 1, 1, 16, 0x8d, 0x28][..], &cookies, &[0, 0, 0, 9]].concat());
    let error = (NOTIFY, vec![0, 0, 0, 1, 1, 0, 0, 14]);
    let all = [error.clone(), ike.clone(), there.clone(), esp, ike, there.clone(), error];
    let message = sealed(&pair, INFORMATIONAL, 7, &all);
    let later = sealed(&pair, INFORMATIONAL, 8, &[there]);
    let asked = sealed(&pair, QUICK, 9, &child());
    pair.deliver(Side::B, &from(Side::A, message.clone()));
    assert!(!pair.b.is_up() && pair.b.ike_downs().len() == 1, "{}", pair.log());
    for again in [later, asked, message] {
        let now = pair.now();
        assert!(pair.b.take(now, &from(Side::A, again)).is_err());
    }
    pair.run_for(20 * MINUTE);
    assert_eq!(pair.b.ike_downs().len(), 1);
    pair.b.assert_empty();
}

/// Aggressive Mode that fails leaves no state that a later message could use.
#[test]
fn cve_2023_30570_half_made_states_are_not_reused() {
    let mut setup = aggressive(83);
    setup.b.peers[0].auth = Auth::psk(b"of somebody else");
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    assert_eq!(pair.a.failures(), [Failure::AuthenticationFailed], "{}", pair.log());
    let said: Vec<_> = pair.link.tap().iter().map(|c| c.datagram.clone()).collect();
    for datagram in said.iter().filter(|d| d.bytes[8..16] != [0; 8]) {
        let mut datagram = datagram.clone();
        for exchange in [MAIN, AGGRESSIVE, INFORMATIONAL, QUICK] {
            datagram.bytes[18] = exchange;
            let now = pair.now();
            let node =
                if datagram.destination.address == ADDRESS_A { &mut pair.a } else { &mut pair.b };
            assert!(node.take(now, &datagram).is_err());
        }
    }
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// Informationals and Quick Modes for a handshake that has no keys yet, in the clear and not: hints at most.
#[test]
fn cve_2019_12312_cve_2020_1763_cve_2022_23094_cve_2014_2338_before_anybody_is_authenticated() {
    for steps in 0..6 {
        let setup = main_mode(84);
        let mut memory = Memory::<Toy>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut count = 0;
        pair.link.set_hook(move |_, _| {
            count += 1;
            if count > steps { Verdict::Drop } else { Verdict::Pass }
        });
        pair.initiate(Side::A).unwrap();
        pair.run_for(SECOND / 10);
        let known = &pair.link.tap().last().unwrap().datagram.bytes;
        let cookies = [0, 8].map(|at| u64::from_be_bytes(known[at..at + 8].try_into().unwrap()));
        let isakmp = cookies.map(u64::to_be_bytes).concat();
        let bodies = [
            (DELETE, [&[0, 0, 0, 1, 1, 16, 0, 1][..], &isakmp].concat()),
            (NOTIFY, vec![0, 0, 0, 1, 1, 0, 0x60, 2]),
            (NOTIFY, vec![0, 0, 0, 1, 1, 0, 0, 24]),
            (HASH, vec![7; 32]),
        ];
        for (exchange, body) in [INFORMATIONAL, QUICK, 6, 33]
            .into_iter()
            .flat_map(|exchange| bodies.clone().map(|body| (exchange, body)))
        {
            for (flags, id) in [(0, 0), (0, 5), (1, 0), (1, 5), (3, 5)] {
                let mut message = clear(cookies, exchange, core::slice::from_ref(&body));
                message.resize(message.len().next_multiple_of(16) + 12, 0);
                let len = message.len() as u32;
                message[19] = flags;
                message[23] = id;
                message[24..28].copy_from_slice(&len.to_be_bytes());
                let now = pair.now();
                for (node, side) in [(&mut pair.b, Side::A), (&mut pair.a, Side::B)] {
                    assert!(node.take(now, &from(side, message.clone())).is_err());
                }
            }
        }
        pair.link.clear_hook();
        assert!(pair.wait(MINUTE, Pair::is_up), "{steps}\n{}", pair.log());
        pair.close_and_check(Side::A);
    }
}

/// Our own configuration is at fault: the same message again finds the same answer, or none.
#[test]
fn cve_2024_2357_repeated_requests_after_a_failure_of_our_own() {
    let mut setup = main_mode(85);
    setup.b.peers[0].auth = Auth::psk(b"of somebody else");
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND / 10);
    let fifth = pair.link.tap()[4].datagram.clone();
    for _ in 0..5 {
        let now = pair.now();
        assert!(pair.b.take(now, &fifth).is_err());
        pair.flush(Side::B);
        pair.run_for(SECOND / 10);
    }
    pair.run_for(20 * MINUTE);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// Datagrams shorter than a header, and lengths of payloads that lead nowhere, or nowhere on (CVE-2004-0392).
#[test]
fn cve_2013_4564_cve_2004_0392_cut_and_endless_messages() {
    let whole = clear([COOKIE, 0], MAIN, &request(&main_mode(86)));
    let mut datagrams = Vec::new();
    for len in 0..whole.len() {
        let mut bytes = whole[..len].to_vec();
        datagrams.push(from(Side::A, bytes.clone()));
        // And where the header says that this is all.
        if let Some(field) = bytes.get_mut(24..28) {
            field.copy_from_slice(&(len as u32).to_be_bytes());
        }
        datagrams.push(from(Side::A, bytes));
    }
    for value in [0u16, 1, 2, 3, 5, 0x7fff, 0xffff] {
        // Of the SA payload, of the proposal, of the first transform.
        for at in [30, 42, 50] {
            let mut bytes = whole.clone();
            bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
            datagrams.push(from(Side::A, bytes));
        }
    }
    for version in (0..=255).filter(|version| version >> 4 != 1) {
        let mut bytes = whole.clone();
        bytes[17] = version;
        datagrams.push(from(Side::A, bytes));
    }
    // A few are shorter messages that are whole: without the last vendor IDs.
    let all = datagrams.len();
    let refused = unharmed(&main_mode(86), datagrams);
    assert!(refused + 20 >= all, "{refused} of {all}");
}

/// Domains of interpretation and situations that nobody has assigned.
#[test]
fn cve_2015_3204_unassigned_domains_and_situations() {
    let bits = (0..32).map(|bit| 1u32 << bit).chain([0, u32::MAX]);
    let bad: Vec<_> = bits.filter(|value| *value != 1).flat_map(|v| [(0, v), (4, v)]).collect();
    let with = |(at, value): (usize, u32)| {
        let mut body = offer(1, &[], &[(1, &PHASE1)]);
        body[at..at + 4].copy_from_slice(&value.to_be_bytes());
        body
    };
    let datagrams = bad.iter().map(|change| first_message(MAIN, &[(SA, with(*change))]));
    assert_eq!(unharmed(&main_mode(87), datagrams), bad.len());
}

/// An Informational under the right key, with a hash that is not the right one, or is not there, or not in front.
#[test]
fn cve_2019_10155_the_hash_of_an_informational() {
    let mut setup = main_mode(88).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let keys = pair.a.isakmp_keys();
    let cookies = [keys.cookies.0.to_be_bytes(), keys.cookies.1.to_be_bytes()].concat();
    let delete = (DELETE, [&[0, 0, 0, 1, 1, 16, 0, 1][..], &cookies].concat());
    let message = sealed(&pair, INFORMATIONAL, 7, &[delete]);
    // The toy's cipher turns a bit of the text for one of the message: first type, header of the hash, hash, delete.
    for at in [16, 28, 29, 30, 31, 32, 40, 63, 64, 67, 72, 80] {
        for bit in 0..8 {
            let mut changed = message.clone();
            changed[at] ^= 1 << bit;
            let now = pair.now();
            let _ = pair.b.take(now, &from(Side::A, changed));
            assert!(pair.b.ike_downs().is_empty(), "{at} {bit}");
        }
    }
    // Cut to what has no delete, in the clear, and with another message ID.
    for (len, flags, id) in [(60, 1, 7), (message.len(), 0, 7), (message.len(), 1, 8)] {
        let mut changed = message[..len].to_vec();
        (changed[19], changed[23]) = (flags, id);
        changed[24..28].copy_from_slice(&(len as u32).to_be_bytes());
        let now = pair.now();
        assert!(pair.b.take(now, &from(Side::A, changed)).is_err());
    }
    pair.ping();
    let delete = (DELETE, [&[0, 0, 0, 1, 1, 16, 0, 1][..], &cookies].concat());
    let message = sealed(&pair, INFORMATIONAL, 9, &[delete]);
    pair.deliver(Side::B, &from(Side::A, message));
    assert_eq!(pair.b.ike_downs().len(), 1);
}

/// Identities of every length, in the clear, before anything is proven; and none reaches a log, or a shell behind it, as
/// it is (CVE-2023-28771).
#[test]
fn cve_2025_9242_cve_2025_14733_cve_2013_6075_identities() {
    let setup = aggressive(89);
    let request = request(&setup);
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let hostile = b"$(reboot);`id`\n\"';|&<>\\\x1b[2J\x00\x7f\xe9";
    let lens = (0..70).chain([127, 128, 129, 255, 256, 257, 520, 521, 1000, 1300]);
    let mut shown = 0;
    for len in lens {
        for kind in [1, 2, 3, 5, 9, 11, 99] {
            let data: Vec<u8> = hostile.iter().copied().cycle().take(len).collect();
            let mut payloads = request.clone();
            payloads.iter_mut().filter(|p| p.0 == ID).for_each(|p| {
                p.1 = [&[kind, 0, 0, 0], &data[..]].concat();
            });
            let now = pair.now();
            assert!(pair.b.take(now, &first_message(AGGRESSIVE, &payloads)).is_err());
            pair.flush(Side::B);
            pair.run_for(MOMENT);
        }
    }
    for failure in pair.b.failures() {
        let said = failure.to_string();
        assert!(
            said.len() < 1000 && said.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
            "{said:?}"
        );
        shown += usize::from(matches!(failure, Failure::UnknownIdentity { .. }));
    }
    assert!(shown >= 250, "{shown}");
    pair.run_for(2 * MINUTE);
    pair.b.assert_empty();
}

/// What a spoofed message makes us send: once, and hardly more than it has itself; nothing is repeated by the clock.
#[test]
fn cve_2016_5361_a_responder_does_not_amplify() {
    let small = vec![(SA, offer(1, &[], &[(1, &PHASE1)]))];
    let refused = vec![(SA, offer(1, &[], &[(1, &with(&PHASE1, 4, 1025))]))];
    for payloads in [request(&main_mode(90)), small, refused] {
        let setup = main_mode(90);
        let mut memory = Memory::<Toy>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let message = first_message(MAIN, &payloads);
        pair.deliver(Side::B, &message);
        pair.run_for(10 * MINUTE);
        let answers: Vec<_> =
            pair.link.tap().iter().filter(|c| c.datagram.source.address == ADDRESS_B).collect();
        assert_eq!(answers.len(), 1);
        let (asked, said) = (message.bytes.len(), answers[0].datagram.bytes.len());
        assert!(said <= asked, "{said} for {asked}");
        pair.b.assert_empty();
    }
    // Aggressive Mode, which has a proof to send: once more by the clock, to the one address.
    let setup = aggressive(91);
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let message = first_message(AGGRESSIVE, &request(&setup));
    pair.deliver(Side::B, &message);
    pair.run_for(10 * MINUTE);
    let answers = pair.link.tap().iter().filter(|c| c.datagram.source.address == ADDRESS_B);
    let bytes: Vec<_> = answers.map(|c| c.datagram.bytes.len()).collect();
    assert_eq!(bytes.len(), 2);
    assert!(bytes.iter().all(|len| *len <= message.bytes.len()), "{bytes:?}");
    pair.b.assert_empty();
}

const PFS: &[ChildProposal<'static>] =
    &[ChildProposal { groups: &[Group::P256], ..ChildProposal::DEFAULT[0] }];

/// Floods of first messages from everywhere: the tunnels that are up stay, and what was taken is given back.
#[test]
fn strangers_without_number() {
    let setup = main_mode(92).children(|child| child.proposals = PFS);
    let mut chance = SeededRng::new(2);
    let datagrams = (0..3000u32).map(move |n| {
        let payloads = [(SA, offer(1, &[], &[(1, &PHASE1)]))];
        let message = clear([chance.next(), 0], MAIN, &payloads);
        let from = Endpoint::new(ADDRESS_A, 1024 + (n % 60_000) as u16);
        Datagram::udp(from, Endpoint::new(ADDRESS_B, 500), message)
    });
    assert!(unharmed(&setup, datagrams) > 2900);
}

fn is_encrypted(message: &[u8]) -> bool {
    message[19] & 1 != 0
}

/// A tunnel comes up, gets new keys from either side, and ends, while somebody who sees each message sends altered ones
/// that arrive just before it. Nothing has to be said twice.
fn outrun(setup: &Setup, alter: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) {
    let mut memory = Memory::<Toy>::of(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.on_arrival = Some(Box::new(move |node, now, datagram| {
        if datagram.bytes.get(17) != Some(&0x10) {
            return;
        }
        for bytes in alter(&datagram.bytes) {
            let _ = node.take(now, &Datagram { bytes, ..datagram.clone() });
        }
    }));
    pair.initiate(Side::A).unwrap();
    assert!(pair.wait(SECOND, Pair::is_up), "{}", pair.log());
    for (count, side) in [(1, Side::A), (2, Side::B)] {
        pair.rekey(side).unwrap();
        let rekeyed =
            |pair: &Pair<'_>| pair.a.child_rekeys() == count && pair.b.child_rekeys() == count;
        assert!(pair.wait(SECOND, rekeyed), "{side:?}\n{}", pair.log());
        pair.ping();
    }
    pair.run_for(5 * MINUTE);
    assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty(), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::A);
}

/// No hash covers padding, and its last block is the vector of the next message (RFC 2409 appendix B): blocks that somebody
/// appends are none of the peer's.
#[test]
fn blocks_appended_on_the_way() {
    let append = |message: &[u8]| {
        if !is_encrypted(message) {
            return Vec::new();
        }
        let appended = |blocks: usize| {
            let mut message = message.to_vec();
            message.extend((0..16 * blocks).map(|i| i as u8));
            let len = message.len() as u32;
            message[24..28].copy_from_slice(&len.to_be_bytes());
            message
        };
        [1, 2, 5].map(appended).to_vec()
    };
    for setup in [main_mode(93), aggressive(94), main_mode(95).children(|c| c.proposals = PFS)] {
        outrun(&setup, append);
    }
}

/// HASH(1) of Quick Mode, of an Informational exchange and of a Transaction are the same (RFC 2409 sections 5.5 and 5.7), and
/// cover no header: a message under another exchange's name does not use up the message ID.
#[test]
fn messages_renamed_on_the_way() {
    let rename = |message: &[u8]| {
        if !is_encrypted(message) {
            return Vec::new();
        }
        let own = message[18];
        let others = [MAIN, AGGRESSIVE, INFORMATIONAL, TRANSACTION, QUICK, 33];
        let renamed = others.into_iter().filter(|other| *other != own).map(|other| {
            let mut message = message.to_vec();
            message[18] = other;
            message
        });
        renamed.collect()
    };
    for setup in [main_mode(96), aggressive(97), main_mode(98).children(|c| c.proposals = PFS)] {
        outrun(&setup, rename);
    }
}

/// No hash covers what the two say of their endpoints (RFC 3947 section 3.2): if only one of them believes in a NAT, the two
/// agree by the port that the initiator moves to, or not (RFC 3947 section 4), and children are encapsulated on both sides.
#[test]
fn nat_detection_altered_on_the_way() {
    // Which of the two messages of Main Mode; in Aggressive Mode only one has it in the clear.
    for (setup, messages) in [(main_mode(102), 2), (aggressive(103), 1)] {
        for (message, hash) in (0..messages).flat_map(|message| [(message, 0), (message, 1)]) {
            let (seen, altered) = (Cell::new(0), Rc::new(Cell::new(0)));
            let count = altered.clone();
            outrun(&setup, move |bytes| {
                let bytes = with_another_nat_d(bytes, hash)
                    .filter(|_| seen.replace(seen.get() + 1) == message);
                count.set(count.get() + bytes.iter().count());
                bytes.into_iter().collect()
            });
            assert_eq!(altered.get(), 1);
        }
    }
}

/// A message in the clear with another NAT-D, if it has so many.
fn with_another_nat_d(message: &[u8], number: usize) -> Option<Vec<u8>> {
    let mut altered = message.to_vec();
    let (mut next, mut at) = (message[16], 28);
    let mut found = 0;
    while next != 0 && !is_encrypted(message) {
        let len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        if next == NAT_D {
            if found == number {
                altered[at + len - 1] ^= 1;
                return Some(altered);
            }
            found += 1;
        }
        (next, at) = (message[at], at + len);
    }
    None
}

/// HASH(1) is the same in both directions: what we have said ourselves, sent back, is not the peer's. Not the question whether
/// it lives, nor a Delete, nor a request for a child, nor an error.
#[test]
fn messages_sent_back() {
    for setup in [main_mode(99), aggressive(100), main_mode(101).behind_nat()] {
        let setup = setup.tunnels(2).peers(|peer| peer.liveness = Some(20 * SECOND));
        let mut memory = Memory::<Toy>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let second = ChildRef { peer: 0, child: 1 };
        pair.with(Side::A, |g, now, rng| g.initiate(now, rng, second)).unwrap();
        let (mut reflected, mut informational) = (0, 0);
        for round in 0..600 {
            pair.run_for(SECOND / 2);
            match round {
                100 => pair.rekey(Side::A).unwrap(),
                200 => pair.rekey(Side::B).unwrap(),
                300 => pair.rekey_ike(Side::A).unwrap(),
                _ => {}
            }
            for captured in pair.link.take_tap() {
                let Datagram { source, destination, bytes, .. } = captured.datagram;
                let from = Side::BOTH.into_iter().find(|s| pair.node(*s).address == source.address);
                let ike =
                    if source.port == 500 { &bytes[..] } else { bytes.get(4..).unwrap_or(&[]) };
                let encrypted = ike.get(19).is_some_and(|flags| flags & 1 != 0);
                let Some(from) = from.filter(|_| encrypted && source.port % 4000 == 500) else {
                    continue;
                };
                informational += u32::from(ike[18] == INFORMATIONAL);
                reflected += 1;
                let back = Datagram::udp(destination, source, bytes.clone());
                let now = pair.now();
                let node = pair.node(from);
                assert!(node.take(now, &back).is_err(), "{from:?}: {}", ike[18]);
            }
        }
        assert!(reflected > 20 && informational > 10, "{reflected} {informational}");
        for node in [&pair.a, &pair.b] {
            let quiet = |why: &DownReason| *why == DownReason::Rekeyed;
            assert!(node.ike_downs().iter().all(quiet) && node.child_downs().iter().all(quiet));
            assert_eq!(node.failures(), []);
            assert_eq!(node.count(|e| matches!(e, GatewayEvent::ChildMoved { .. })), 0);
        }
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

/// Recorded first messages of Quick Mode, more than are remembered, again and again: they never make a child, take few places,
/// and keep the peer's true ones out for a moment only. New keys for the IKE SA make them worthless.
#[test]
fn old_first_messages_in_a_circle() {
    // One tunnel may have four children, and as many that take their places; a peer eight that are unconfirmed.
    for (tunnels, places) in [(1, 7), (4, 8)] {
        let mut setup = main_mode(81).tunnels(tunnels).peers(|peer| peer.liveness = None);
        setup = setup.sizes(|sizes| (sizes.children, sizes.exchanges) = (16, 24));
        setup.a.config.ike.key_log = true;
        let mut memory = Memory::<Toy>::of(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let recorded = (1..=40).map(|id| from(Side::A, sealed(&pair, QUICK, id, &child())));
        let recorded: Vec<Datagram> = recorded.collect();
        let again = |pair: &mut Pair<'_, Toy>, datagram: &Datagram| {
            let now = pair.now();
            let taken = pair.b.take(now, datagram).is_ok();
            pair.flush(Side::B);
            assert!(pair.b.statistics().children <= places + 3, "{:?}", pair.b.statistics());
            usize::from(taken)
        };
        let taken: usize = recorded.iter().map(|datagram| again(&mut pair, datagram)).sum();
        assert_eq!(taken, places);
        let mut taken = 0;
        for _ in 0..3 {
            for datagram in &recorded {
                pair.run_for(SECOND / 2);
                taken += again(&mut pair, datagram);
            }
            pair.rekey(Side::A).unwrap();
            pair.run_for(2 * SECOND);
            pair.ping();
        }
        assert!((10..60).contains(&taken), "{taken}");
        assert_eq!(pair.a.child_rekeys(), 3, "{}", pair.log());
        assert!(pair.b.child_rekeys() == 3 && pair.b.ike_rekeys() >= 1, "{}", pair.log());
        // The keys that they were made with are gone.
        pair.run_for(MINUTE);
        assert_eq!(recorded.iter().map(|datagram| again(&mut pair, datagram)).sum::<usize>(), 0);
        pair.close_and_check(Side::A);
    }
}

/// A fragment that is not kept takes no buffer.
#[test]
fn fragments_that_are_refused_hold_nothing() {
    let setup = main_mode(107).peers(|peer| {
        peer.liveness = None;
        peer.fragment_size = Some(576);
    });
    let mut memory = Memory::<Toy>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.run_for(10 * MINUTE);
    let free = pair.b.statistics().buffers_free;
    let mut said = pair.link.tap().iter().map(|c| &c.datagram.bytes);
    let quick = said.find(|message| message[18] == QUICK).unwrap();
    let cookies = [0, 8].map(|at| u64::from_be_bytes(*quick[at..].first_chunk().unwrap()));
    for number in [33, 255] {
        let message = clear(cookies, MAIN, &[(FRAGMENT, vec![0, 1, number, 0, 5, 5, 5, 5])]);
        let now = pair.now();
        assert!(pair.b.take(now, &from(Side::A, message)).is_err());
        assert_eq!(pair.b.statistics().buffers_free, free, "{number}");
    }
}

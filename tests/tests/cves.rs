//! The classes of attack that others had to publish a CVE for, and that can be tried on IKEv2: each by name. Those of
//! certificates are in `ipsec-ike/tests/x509.rs`, those of signatures in `crypto/rustcrypto/tests/signatures.rs`; more are
//! in `attacks.rs`, `exhaustion.rs` and `signatures.rs` here, and some of the names below only say which.

use core::time::Duration;

use ipsec::{Endpoint, Failure, IkeProposal, InboundError, PrfId, Suite};
use ipsec_ike::identity::ClaimedId;
use ipsec_ike::wire::{IdPayload, IdType, NotifyType};
use ipsec_testkit::insider::Insider;
use ipsec_testkit::link::{Datagram, Verdict};
use ipsec_testkit::pair::{Memory, Pair};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::setup::{ADDRESS_A, ADDRESS_B, Setup, Side};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const SA_INIT: u8 = 34;
const AUTH: u8 = 35;
const CREATE_CHILD: u8 = 36;
const INFORMATIONAL: u8 = 37;

const SA: u8 = 33;
const KE: u8 = 34;
const IDI: u8 = 35;
const NONCE: u8 = 40;
const NOTIFY: u8 = 41;
const DELETE: u8 = 42;
const TSI: u8 = 44;
const TSR: u8 = 45;
const CP: u8 = 47;
const EAP: u8 = 48;

fn from_a(bytes: Vec<u8>) -> Datagram {
    Datagram::udp(Endpoint::new(ADDRESS_A, 500), Endpoint::new(ADDRESS_B, 500), bytes)
}

/// Payloads one behind the other, and the type of the first. The generic headers are written here.
fn chain(payloads: &[(u8, Vec<u8>)]) -> (u8, Vec<u8>) {
    let mut all = Vec::new();
    for (i, (_, body)) in payloads.iter().enumerate() {
        all.extend([payloads.get(i + 1).map_or(0, |next| next.0), 0]);
        all.extend((4 + body.len() as u16).to_be_bytes());
        all.extend(body);
    }
    (payloads.first().map_or(0, |first| first.0), all)
}

/// A message in clear, of an initiator.
fn clear(version: u8, exchange: u8, (first, payloads): &(u8, Vec<u8>)) -> Vec<u8> {
    let mut message = vec![9; 8];
    message.extend([0; 8]);
    message.extend([*first, version, exchange, 0x08, 0, 0, 0, 0]);
    message.extend((28 + payloads.len() as u32).to_be_bytes());
    message.extend(payloads);
    message
}

/// The payloads of a message in clear.
fn payloads_of(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut kind, mut at, mut all) = (message[16], 28, Vec::new());
    while kind != 0 {
        let len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        all.push((kind, message[at + 4..at + len].to_vec()));
        (kind, at) = (message[at], at + len);
    }
    all
}

/// What A begins with.
fn request() -> Vec<(u8, Vec<u8>)> {
    let setup = Setup::new(77);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    payloads_of(&pair.link.tap()[0].datagram.bytes)
}

/// B, with a tunnel to A, gets these datagrams in between; the tunnel lives, what they have taken is given back, and
/// new keys come about. Gives how many were refused.
fn unharmed(datagrams: impl IntoIterator<Item = Datagram>) -> usize {
    let setup = Setup::new(78);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut refused = 0;
    for datagram in datagrams {
        let now = pair.now();
        refused += usize::from(pair.b.take(now, &datagram).is_err());
        pair.flush(Side::B);
        pair.run_for(Duration::from_millis(1));
    }
    pair.ping();
    pair.run_for(2 * MINUTE);
    assert_eq!((pair.b.statistics().ike_sas, pair.b.statistics().handshakes), (1, 0));
    for side in Side::BOTH {
        pair.rekey(side).unwrap();
        pair.run_for(SECOND);
        pair.rekey_ike(side).unwrap();
        pair.run_for(SECOND);
    }
    assert_eq!((pair.b.child_rekeys(), pair.b.ike_rekeys()), (2, 2), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::B);
    refused
}

/// B gets these messages of its authenticated peer, each with the next message ID; it answers each, or refuses it, and
/// keeps IKE SA and tunnel. Gives how many were answered.
fn survives(messages: impl IntoIterator<Item = (u8, Vec<(u8, Vec<u8>)>)>) -> usize {
    let whole = messages.into_iter().map(|(exchange, payloads)| {
        let (first, mut text) = chain(&payloads);
        text.push(0);
        (exchange, first, text)
    });
    survives_text(whole)
}

/// As [`survives`], of decrypted text with its padding.
fn survives_text(messages: impl IntoIterator<Item = (u8, u8, Vec<u8>)>) -> usize {
    let mut setup = Setup::new(79).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut insider = Insider::of(&pair.a, true);
    let mut answered = 0;
    for (exchange, first, text) in messages {
        let message = insider.padded(exchange, 0, 2 + answered as u32, first, &text);
        let sent = pair.link.tap().len();
        pair.deliver(Side::B, &from_a(message));
        answered += usize::from(pair.link.tap().len() > sent);
        // Its answer would only confuse A.
        pair.link.set_hook(|_, _| Verdict::Drop);
        pair.run_for(Duration::from_millis(1));
        pair.link.clear_hook();
        assert!(pair.b.is_up() && pair.b.ike_downs().is_empty(), "{first}: {text:?}");
    }
    pair.ping();
    answered
}

/// A proposal with these transforms, as the body of an SA payload.
fn proposal(protocol: u8, spi: &[u8], transforms: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for (i, transform) in transforms.iter().enumerate() {
        all.extend([if i + 1 < transforms.len() { 3 } else { 0 }, 0]);
        all.extend((4 + transform.len() as u16).to_be_bytes());
        all.extend(*transform);
    }
    let mut body = vec![0, 0];
    body.extend((8 + spi.len() as u16 + all.len() as u16).to_be_bytes());
    body.extend([1, protocol, spi.len() as u8, transforms.len() as u8]);
    body.extend(spi);
    body.extend(all);
    body
}

const AES_128_GCM: &[u8] = &[1, 0, 0, 20, 0x80, 14, 0, 128];
const PRF_SHA256: &[u8] = &[2, 0, 0, 5];
const X25519: &[u8] = &[4, 0, 0, 31];
const NO_ESN: &[u8] = &[5, 0, 0, 0];

fn ts(start: [u8; 4], end: [u8; 4]) -> Vec<u8> {
    let mut body = vec![1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 0xff, 0xff];
    body.extend(start);
    body.extend(end);
    body
}

/// A request for a child that B grants.
fn child() -> Vec<(u8, Vec<u8>)> {
    vec![
        (SA, proposal(3, &[0, 0, 0x77, 1], &[AES_128_GCM, NO_ESN])),
        (NONCE, vec![5; 32]),
        (TSI, ts([192, 168, 1, 0], [192, 168, 1, 255])),
        (TSR, ts([192, 168, 2, 0], [192, 168, 2, 255])),
    ]
}

/// Unknown payloads, more than any array has room for, in clear, and beside an encrypted one or an encrypted fragment.
#[test]
fn cve_2026_12413_many_unknown_payloads() {
    let unknown = |count, last: Option<u8>| {
        let mut all = vec![(200, vec![]); count];
        all.extend(last.map(|kind| (kind, vec![7; 60])));
        all
    };
    let mut datagrams = Vec::new();
    for count in [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 300] {
        for last in [None, Some(46), Some(53)] {
            for exchange in [SA_INIT, AUTH, INFORMATIONAL] {
                datagrams.push(from_a(clear(0x20, exchange, &chain(&unknown(count, last)))));
            }
        }
        let with_rest = [unknown(count, None), request()].concat();
        datagrams.push(from_a(clear(0x20, SA_INIT, &chain(&with_rest))));
    }
    assert!(unharmed(datagrams) >= 15 * 9);
    // And inside, where the peer has proven who it is.
    let answered = survives([1, 16, 17, 64, 256].map(|n| (INFORMATIONAL, unknown(n, None))));
    assert_eq!(answered, 5);
}

/// Fragments of messages that are never whole, in any number and order: no memory, no work, no state.
#[test]
fn cve_2016_10396_cve_2016_1344_fragments_without_end() {
    let mut chance = SeededRng::new(1);
    let fragments = (0..2000).map(move |_| {
        let [number, total] = [chance.next() as u16, chance.next() as u16 | 0x8000];
        let mut body = [number.to_be_bytes(), total.to_be_bytes()].concat();
        body.extend([3; 40]);
        from_a(clear(0x20, AUTH, &(53, chain(&[(53, body)]).1)))
    });
    assert_eq!(unharmed(fragments), 2000);
}

/// Payloads of the other version of IKE, in either direction.
#[test]
fn cve_2015_3991_payloads_of_the_other_version() {
    let mut datagrams = Vec::new();
    for kind in (1..=20).chain(130..=133) {
        let with = |exchange, version| {
            let mut payloads = request();
            payloads.insert(1, (kind, vec![0; 20]));
            from_a(clear(version, exchange, &chain(&payloads)))
        };
        datagrams.extend([with(SA_INIT, 0x20), with(SA_INIT, 0x10)]);
        // Identity Protection, Aggressive, Informational, Quick Mode, with payloads of IKEv2.
        datagrams.extend([2, 4, 5, 32].map(|exchange| with(exchange, 0x10)));
        datagrams.extend([2, 4, 5, 32].map(|exchange| with(exchange, 0x20)));
    }
    assert!(unharmed(datagrams) >= 24 * 9);
}

/// Groups from private ranges, which another had used for something internal, wherever a group is named.
#[test]
fn cve_2014_9221_groups_of_private_ranges() {
    let groups = [0u16, 1024, 1025, 1026, 1030, 0x7fff, 0x8000, 0xffff];
    let mut datagrams = Vec::new();
    for group in groups {
        for in_offer in [false, true] {
            let mut payloads = request();
            for (kind, body) in &mut payloads {
                if *kind == KE {
                    body[..2].copy_from_slice(&group.to_be_bytes());
                }
                if *kind == SA && in_offer {
                    let ke = [&[4, 0], &group.to_be_bytes()[..]].concat();
                    *body = proposal(1, &[], &[AES_128_GCM, PRF_SHA256, &ke]);
                }
            }
            datagrams.push(from_a(clear(0x20, SA_INIT, &chain(&payloads))));
        }
    }
    assert_eq!(unharmed(datagrams), 16);
    // In a child's own key exchange, where 0 is none.
    let messages = groups.into_iter().skip(1).map(|group| {
        let mut payloads = child();
        let ke = [&[4, 0], &group.to_be_bytes()[..]].concat();
        payloads[0].1 = proposal(3, &[0, 0, 0x77, 1], &[AES_128_GCM, &ke, NO_ESN]);
        payloads.insert(2, (KE, [&group.to_be_bytes()[..], &[0, 0], &[7; 32]].concat()));
        (CREATE_CHILD, payloads)
    });
    assert_eq!(survives(messages), 7);
}

/// A value of the key exchange that is longer or shorter than its group's costs nothing, and in an answer it does not
/// keep the true one out.
#[test]
fn cve_2023_41913_lengths_of_key_exchanges() {
    let lens = (0..80).chain([256, 1000]);
    let with_len = |len: usize| {
        let mut payloads = request();
        for (kind, body) in &mut payloads {
            if *kind == KE {
                body.resize(4 + len, 9);
            }
        }
        from_a(clear(0x20, SA_INIT, &chain(&payloads)))
    };
    assert_eq!(unharmed(lens.clone().filter(|len| *len != 32).map(with_len)), 81);
    for len in [0usize, 1, 31, 33, 64, 256] {
        let setup = Setup::new(80);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut first = true;
        pair.link.set_hook(move |_, datagram| {
            if datagram.source.address == ADDRESS_B && core::mem::take(&mut first) {
                let mut payloads = payloads_of(&datagram.bytes);
                let ke = payloads.iter_mut().find(|(kind, _)| *kind == KE).unwrap();
                ke.1.resize(4 + len, 9);
                let (_, payloads) = chain(&payloads);
                datagram.bytes.truncate(28);
                datagram.bytes.extend(payloads);
                let total = datagram.bytes.len() as u32;
                datagram.bytes[24..28].copy_from_slice(&total.to_be_bytes());
            }
            Verdict::Pass
        });
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(2 * SECOND, Pair::is_up), "{len}\n{}", pair.log());
        assert_eq!(pair.a.errors.len(), 1, "{len}\n{}", pair.log());
        pair.close_and_check(Side::A);
    }
}

/// Messages without the payloads, and proposals without the transforms, that they must have.
#[test]
fn cve_2016_5391_cve_2013_6467_missing_payloads_and_transforms() {
    let whole = request();
    let mut datagrams = Vec::new();
    for missing in [SA, KE, NONCE] {
        let payloads: Vec<_> = whole.iter().filter(|(kind, _)| *kind != missing).cloned().collect();
        assert!(payloads.len() < whole.len());
        datagrams.push(from_a(clear(0x20, SA_INIT, &chain(&payloads))));
    }
    let transforms = [AES_128_GCM, PRF_SHA256, X25519];
    for mask in 0..7 {
        let chosen: Vec<_> = (0..3).filter(|i| mask >> i & 1 == 1).map(|i| transforms[i]).collect();
        let mut payloads = whole.clone();
        payloads[0].1 = proposal(1, &[], &chosen);
        datagrams.push(from_a(clear(0x20, SA_INIT, &chain(&payloads))));
    }
    assert_eq!(whole[0].0, SA);
    assert_eq!(unharmed(datagrams), 10);
    let mut messages = vec![];
    for missing in 0..4 {
        let mut payloads = child();
        payloads.remove(missing);
        messages.push((CREATE_CHILD, payloads));
    }
    for transforms in [&[][..], &[AES_128_GCM], &[NO_ESN]] {
        let mut payloads = child();
        payloads[0].1 = proposal(3, &[0, 0, 0x77, 1], transforms);
        messages.push((CREATE_CHILD, payloads));
    }
    assert_eq!(survives(messages), 7);
}

/// Algorithms that are registered and not implemented are neither chosen nor offered, also where the policy names them.
#[test]
fn cve_2016_3071_cve_2018_10811_cve_2024_3652_nothing_is_chosen_that_is_not_implemented() {
    let request = request();
    let with = |kind: u8, id: u16| {
        let other = [&[kind, 0], &id.to_be_bytes()[..]].concat();
        let mut transforms = vec![AES_128_GCM, PRF_SHA256, X25519];
        transforms[usize::from(kind / 2)] = &other;
        let mut payloads = request.clone();
        payloads[0].1 = proposal(1, &[], &transforms);
        from_a(clear(0x20, SA_INIT, &chain(&payloads)))
    };
    let ids = (0..200).chain([1023, 1024, 0xffff]);
    let known = |kind, id: u16| matches!((kind, id), (1, 28) | (2, 5..=7) | (4, 14 | 19 | 31));
    let all = [1, 2, 4].into_iter().flat_map(|kind| ids.clone().map(move |id| (kind, id)));
    let unknown: Vec<_> = all.filter(|(kind, id)| !known(*kind, *id)).collect();
    let refused = unharmed(unknown.iter().map(|(kind, id)| with(*kind, *id)));
    assert_eq!(refused, unknown.len());
    // Both sides name what neither has.
    const PROPOSALS: &[IkeProposal<'static>] = &[IkeProposal {
        suites: &[Suite { encr: ipsec_core::crypto::Encr(999), ..Suite::AES_128_GCM }],
        prfs: &[PrfId(999)],
        groups: &[ipsec::Group(999)],
        additional: &[],
    }];
    let setup = Setup::new(81).peers(|peer| peer.proposals = PROPOSALS);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    assert!(pair.initiate(Side::A).is_err());
    pair.run_for(MINUTE);
    assert!(pair.link.tap().is_empty());
}

/// Traffic selectors with lengths, counts and types that do not fit each other.
#[test]
fn cve_2023_23009_malformed_traffic_selectors() {
    let good = ts([192, 168, 1, 0], [192, 168, 1, 255]);
    let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
    for (at, value) in [(0, 0), (0, 2), (0, 255), (4, 8), (4, 9), (4, 0), (6, 255), (7, 0), (7, 8)]
    {
        let mut body = good.clone();
        body[at] = value;
        bad.push(body);
    }
    bad.push([&good[..], &[0]].concat());
    let count = bad.len();
    let messages = bad.into_iter().flat_map(|body| {
        [2, 3].map(|at| {
            let mut payloads = child();
            payloads[at].1.clone_from(&body);
            (CREATE_CHILD, payloads)
        })
    });
    assert_eq!(survives(messages), 2 * count);
}

/// REKEY_SA with protocols and SPIs that no child has.
#[test]
fn cve_2023_38710_rekey_of_what_is_not_there() {
    let messages = [0u8, 1, 2, 3, 4, 255].into_iter().flat_map(|protocol| {
        [0usize, 1, 3, 4, 5, 8].map(|len| {
            let mut notify = vec![protocol, len as u8];
            notify.extend(NotifyType::REKEY_SA.0.to_be_bytes());
            notify.extend(vec![0x66; len]);
            let mut payloads = child();
            payloads.insert(0, (NOTIFY, notify));
            (CREATE_CHILD, payloads)
        })
    });
    assert_eq!(survives(messages), 36);
}

/// What follows a deletion in the same message is of an SA that is about to go.
#[test]
fn cve_2023_38712_cve_2009_0790_a_deletion_and_more() {
    let mut setup = Setup::new(82).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut insider = Insider::of(&pair.a, true);
    let notify = (NOTIFY, [&[0, 0], &16384u16.to_be_bytes()[..]].concat());
    let ike = (DELETE, vec![1, 0, 0, 0]);
    let esp = (DELETE, vec![3, 4, 0, 2, 0, 0, 0x77, 1, 0, 0, 0x77, 2]);
    let all = [notify.clone(), ike.clone(), notify.clone(), esp.clone(), ike, esp, notify];
    let (first, payloads) = chain(&all);
    let message = insider.message(INFORMATIONAL, 0, 2, first, &payloads);
    pair.deliver(Side::B, &from_a(message.clone()));
    assert!(!pair.b.is_up() && pair.b.ike_downs().len() == 1, "{}", pair.log());
    // Liveness asked of an SA that is gone, and the same again.
    for id in [2, 3] {
        let message = insider.message(INFORMATIONAL, 0, id, first, &payloads);
        pair.deliver(Side::B, &from_a(message));
    }
    pair.deliver(Side::B, &from_a(message));
    pair.run_for(20 * MINUTE);
    assert_eq!(pair.b.ike_downs().len(), 1);
    pair.b.assert_empty();
}

/// Our own configuration is at fault, so that the answer is an error: its repetition finds that answer.
#[test]
fn cve_2024_2357_repeated_requests_after_a_failure_of_our_own() {
    let mut setup = Setup::new(83);
    setup.b.peers[0].auth = ipsec::Auth::psk(b"of somebody else");
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(Duration::from_millis(100));
    let request = pair.link.tap()[2].datagram.clone();
    let answer = pair.link.tap()[3].datagram.bytes.clone();
    for _ in 0..5 {
        let sent = pair.link.tap().len();
        pair.deliver(Side::B, &request);
        assert_eq!(pair.link.tap()[sent].datagram.bytes, answer);
        pair.run_for(Duration::from_millis(100));
    }
    assert_eq!(pair.b.failures(), [Failure::AuthenticationFailed]);
    pair.run_for(20 * MINUTE);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

/// Datagrams shorter than a header, of every version.
#[test]
fn cve_2013_4564_shorter_than_a_header() {
    let whole = clear(0x20, SA_INIT, &chain(&request()));
    let mut datagrams = Vec::new();
    for len in 0..29 {
        for version in (0..=0xf0).step_by(16) {
            let mut bytes = whole[..len].to_vec();
            if let Some(byte) = bytes.get_mut(17) {
                *byte = version as u8;
            }
            datagrams.push(from_a(bytes));
        }
    }
    assert_eq!(unharmed(datagrams), 29 * 16);
}

/// A rekeying of the IKE SA before IKE_AUTH: another took the new SA for an established one.
#[test]
fn cve_2014_2338_a_rekeying_does_not_stand_for_a_proof() {
    let mut setup = Setup::new(84);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(
        |_, datagram| {
            if datagram.bytes[18] == AUTH { Verdict::Drop } else { Verdict::Pass }
        },
    );
    pair.initiate(Side::A).unwrap();
    pair.run_for(Duration::from_millis(100));
    let mut insider = Insider::of(&pair.a, true);
    let offer = proposal(1, &[7; 8], &[AES_128_GCM, PRF_SHA256, X25519]);
    let ke = [&31u16.to_be_bytes()[..], &[0, 0], &[7; 32]].concat();
    let (first, rekey) = chain(&[(SA, offer), (NONCE, vec![5; 32]), (KE, ke)]);
    let (of_child, new_child) = chain(&child());
    for (first, payloads) in [(first, rekey), (of_child, new_child)] {
        for id in [1, 2] {
            let now = pair.now();
            let message = insider.message(CREATE_CHILD, 0, id, first, &payloads);
            assert!(pair.b.take(now, &from_a(message)).is_err());
            pair.flush(Side::B);
        }
    }
    assert!(pair.b.events.iter().all(|(_, e)| matches!(e, ipsec::GatewayEvent::IkeKeys(_))));
    assert_eq!(pair.b.statistics().inbound_sas, 0);
    pair.link.clear_hook();
    assert!(pair.wait(5 * SECOND, Pair::is_up));
    pair.close_and_check(Side::A);
}

/// EAP-Success, or any EAP, in place of a proof, in either direction; its lengths may be anything.
#[test]
fn cve_2021_45079_cve_2015_8023_cve_2025_62291_eap_is_no_proof() {
    let bodies: Vec<Vec<u8>> = vec![
        vec![],
        vec![3],
        vec![3, 1, 0, 4],
        vec![3, 1, 0xff, 0xff],
        vec![1, 1, 0, 5, 1],
        vec![2, 1, 0, 9, 26, 4, 1, 0, 0],
        vec![1, 1, 0, 12, 18, 10, 0, 0, 10, 0, 0, 0],
    ];
    let id = (IDI, [&[2, 0, 0, 0], &b"kolkata.example"[..]].concat());
    for body in &bodies {
        let mut setup = Setup::new(85);
        setup.a.config.ike.key_log = true;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.link.set_hook(
            |_, datagram| {
                if datagram.bytes[18] == AUTH { Verdict::Drop } else { Verdict::Pass }
            },
        );
        pair.initiate(Side::A).unwrap();
        pair.run_for(Duration::from_millis(100));
        // To the initiator: nothing comes up, and the true answer still counts.
        let (first, payloads) = chain(&[(36, id.1.clone()), (EAP, body.clone())]);
        let answer = Insider::of(&pair.a, false).message(AUTH, 0x20, 1, first, &payloads);
        let to_a =
            Datagram::udp(Endpoint::new(ADDRESS_B, 500), Endpoint::new(ADDRESS_A, 500), answer);
        let now = pair.now();
        assert!(pair.a.take(now, &to_a).is_err());
        assert!(!pair.a.is_up());
        // To the responder: it is over.
        let (first, payloads) = chain(&[id.clone(), (EAP, body.clone())]);
        let message = Insider::of(&pair.a, true).message(AUTH, 0, 1, first, &payloads);
        pair.deliver(Side::B, &from_a(message));
        assert_eq!(pair.b.failures(), [Failure::Protocol], "{body:?}");
        pair.run_for(20 * MINUTE);
        assert_eq!((pair.b.statistics().ike_sas, pair.b.statistics().inbound_sas), (0, 0));
    }
    assert_eq!(survives(bodies.into_iter().map(|body| (INFORMATIONAL, vec![(EAP, body)]))), 7);
}

/// Identities of every length, before anything is proven.
#[test]
fn cve_2025_9242_cve_2025_14733_lengths_of_identities() {
    let mut shown = 0;
    for len in (0..70).chain([127, 128, 129, 255, 256, 257, 520, 521, 1000, 1300]) {
        for kind in [1, 2, 3, 5, 9, 11, 99] {
            let mut setup = Setup::new(86);
            setup.a.config.ike.key_log = true;
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.link.set_hook(|_, datagram| {
                if datagram.bytes[18] == AUTH { Verdict::Drop } else { Verdict::Pass }
            });
            pair.initiate(Side::A).unwrap();
            pair.run_for(Duration::from_millis(30));
            let id = [&[kind, 0, 0, 0], &vec![0x41; len][..]].concat();
            let auth = [&[2, 0, 0, 0], &[5; 32][..]].concat();
            let (first, payloads) = chain(&[(IDI, id), (39, auth)]);
            let message = Insider::of(&pair.a, true).message(AUTH, 0, 1, first, &payloads);
            pair.deliver(Side::B, &from_a(message));
            assert!(!pair.b.is_up());
            let failures = pair.b.failures();
            if let [Failure::UnknownIdentity { .. }] = failures[..] {
                assert!(failures[0].to_string().len() < 1000);
                shown += 1;
            }
        }
    }
    assert!(shown >= 400, "{shown}");
}

/// Nothing that a peer says reaches a log, or a shell behind it, as it is.
#[test]
fn cve_2023_28771_what_a_peer_says_is_escaped() {
    let hostile = "$(reboot);`id`\n\"';|&<>\\\u{1b}[2J\u{0}\u{7f}\u{e9}";
    let claimed = ClaimedId::of(&IdPayload::new(IdType::FQDN, hostile.as_bytes()));
    let said = Failure::UnknownIdentity { claimed }.to_string();
    let shown = said.rsplit("that it is ").next().unwrap();
    assert!(shown.bytes().all(|b| b.is_ascii_graphic()), "{shown}");
    assert!(!said.contains('\n') && !said.contains('\u{1b}'));
    for notify in [0u16, 45, 8191, 8192, 16383, 40959, 40960, 65535] {
        let said = Failure::Refused(NotifyType(notify)).to_string();
        assert!(said.bytes().all(|b| b.is_ascii_graphic() || b == b' '), "{said}");
    }
}

/// A spoofed request is answered once, with no more than it takes to answer, and nothing is repeated by the clock.
#[test]
fn cve_2016_5361_a_responder_does_not_amplify() {
    let setup = Setup::new(87);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let message = clear(0x20, SA_INIT, &chain(&request()));
    let len = message.len();
    pair.deliver(Side::B, &from_a(message));
    pair.run_for(10 * MINUTE);
    let answers: Vec<_> =
        pair.link.tap().iter().filter(|c| c.datagram.source.address == ADDRESS_B).collect();
    assert_eq!(answers.len(), 1);
    assert!(answers[0].datagram.bytes.len() <= len + 64);
    pair.b.assert_empty();
}

/// free5gc issues 938 to 997: lengths inside an authenticated message that lead beyond its end.
#[test]
fn free5gc_938_to_997_lengths_that_lead_beyond_the_end() {
    // Padding as long as the text, longer, and none at all.
    let mut texts = vec![];
    for pad in [0u8, 1, 3, 4, 5, 8, 200, 255] {
        texts.push((INFORMATIONAL, 0, vec![pad]));
        texts.push((INFORMATIONAL, 0, vec![0, 0, 0, pad]));
        texts.push((INFORMATIONAL, NOTIFY, vec![0, 0, 0, 8, 0, 0, 0x40, 0, pad]));
    }
    texts.push((INFORMATIONAL, 0, vec![]));
    // What is authentic is answered, with an error where it is wrong; only what has no padding length at all is not.
    let count = texts.len();
    assert_eq!(survives_text(texts), count - 1);
    let mut messages = vec![];
    // Transform attributes cut, empty proposals, attributes of the configuration payload of one to three bytes.
    for cut in 1..8 {
        let mut payloads = child();
        let transform = &AES_128_GCM[..cut];
        payloads[0].1 = proposal(3, &[0, 0, 0x77, 1], &[transform, NO_ESN]);
        messages.push((CREATE_CHILD, payloads));
        messages.push((INFORMATIONAL, vec![(CP, vec![1; cut])]));
        messages.push((INFORMATIONAL, vec![(CP, [&[1, 0, 0, 0], &vec![0; cut][..]].concat())]));
        messages.push((INFORMATIONAL, vec![(NOTIFY, vec![3; cut])]));
        messages.push((INFORMATIONAL, vec![(DELETE, vec![3; cut])]));
    }
    for body in [vec![], vec![0; 3], vec![0; 8], vec![0, 0, 0, 8, 1, 3, 255, 255]] {
        let mut payloads = child();
        payloads[0].1 = body;
        messages.push((CREATE_CHILD, payloads));
    }
    let count = messages.len();
    assert_eq!(survives(messages), count);
}

/// A request whose response SPI is set, or that pretends to be a response, begins nothing (CVE-2023-30570 reused a state
/// that was half made).
#[test]
fn cve_2023_30570_half_made_states_are_not_reused() {
    let whole = clear(0x20, SA_INIT, &chain(&request()));
    let with = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        from_a(bytes)
    };
    let datagrams = [with(8, 1), with(15, 1), with(19, 0x28), with(19, 0), with(23, 1)];
    assert_eq!(unharmed(datagrams), 5);
    // And an IKE_AUTH for a handshake that has been refused.
    let setup = Setup::new(88);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let now = pair.now();
    let auth = clear(0x20, AUTH, &chain(&[(46, vec![7; 60])]));
    assert!(matches!(pair.b.take(now, &from_a(auth)), Err(InboundError::Ike(_))));
    pair.b.assert_empty();
}

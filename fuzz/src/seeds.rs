//! Inputs to begin with.
//!
//! `cargo run --example seeds` writes them to `seeds/`, where a test compares them with what is made here.

use ipsec_core::crypto::{HashId, SignatureScheme};
use ipsec_core::wire::{Ipv4Header, Ipv6Header, UdpHeader, protocol};
use ipsec_ike::wire::{Message, PayloadType};
use zerocopy::IntoBytes;

use crate::pair::{Pair, Pools, Shape};
use crate::signatures;

/// Messages of strongSwan and scapy.
#[path = "../../ipsec-ike/src/wire/testdata.rs"]
#[expect(dead_code, reason = "the tests over there need more of it")]
mod testdata;

/// Conversations of strongSwan in IKEv1.
#[path = "../../ipsec-ike/src/wire/v1/testdata.rs"]
#[expect(dead_code, reason = "the tests over there need more of it")]
mod testdata_v1;

/// One input.
pub struct Seed {
    /// What it is for.
    pub target: &'static str,
    /// A name for people, unique in its target.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// All of them.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, all: Vec<(String, Vec<u8>)>| {
        seeds.extend(all.into_iter().map(|(name, bytes)| Seed { target, name, bytes }));
    };
    add("ike_message", ike_messages());
    add("ike_v1_message", ike_v1_messages());
    add("ike_engine", ike_engine());
    add("ike_v1_engine", ike_v1_engine());
    add("certificates", certificates());
    add("esp_open", esp_open());
    add("esp_modes", esp_modes());
    add("bit_flip", bit_flip());
    add("export_import", export_import());
    add("fragments", fragments());
    add("ip_parsers", ip_parsers());
    add("signatures", signature_vectors());
    add("spd", spd());
    seeds
}

fn named(name: impl ToString, bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_string(), bytes.into())
}

/// Chains and lists of another implementation, as an IKE_AUTH message carries them.
fn certificates() -> Vec<(String, Vec<u8>)> {
    use crate::certificates::certificate;
    let chain = |choice: u8, certs: &[&str], lists: &[&str]| {
        let certs = certs.iter().map(|name| (4, certificate(name)));
        let lists = lists.iter().map(|name| (7, certificate(name)));
        let mut bytes = vec![choice, PayloadType::CERT.0];
        for (encoding, der) in certs.chain(lists) {
            bytes.extend([PayloadType::CERT.0, 0]);
            bytes.extend(u16::try_from(der.len() + 5).unwrap().to_be_bytes());
            bytes.push(encoding);
            bytes.extend(der);
        }
        // The signature, with its algorithm, and what is asked for.
        let algorithm = SignatureScheme::Ecdsa(HashId::Sha256).algorithm_identifier().unwrap();
        let request = [&[0, 0, 0, 25, 4][..], &[7; 20]].concat();
        let last = [&[PayloadType::AUTH.0, 0, 0, 8, 15, 1, 2, 3][..]].concat();
        let len = u8::try_from(9 + algorithm.len() + 8).unwrap();
        let auth = [&[PayloadType::CERTREQ.0, 0, 0, len, 14, 0, 0, 0, 12], algorithm, &[1; 8]];
        [bytes, last, auth.concat(), request].concat()
    };
    vec![
        named("good", chain(4, &["good"], &[])),
        named("mail", chain(0, &["good"], &[])),
        named("address", chain(1, &["no-subject"], &[])),
        named("name", chain(3, &["good"], &[])),
        named("three-links", chain(4, &["third", "issuer-2", "issuer-1"], &[])),
        named("constrained", chain(4, &["inside", "constrained"], &[])),
        named("revoked", chain(4, &["revoked"], &["crl-root"])),
        named(
            "strict",
            chain(20, &["third", "issuer-2", "issuer-1"], &["crl-root", "crl-issuer-1"]),
        ),
        named("no-clock", chain(12, &["of-old-issuer", "old-issuer"], &[])),
        named("tls", chain(36, &["eku-tls"], &[])),
    ]
}

/// Real messages, and the insides of encrypted ones behind the type of their first payload.
fn ike_messages() -> Vec<(String, Vec<u8>)> {
    let mut all = vec![named("scapy-sa-init", testdata::SA_INIT_REQUEST)];
    for (number, sample) in testdata::SAMPLES.iter().enumerate() {
        let bytes = sample.datagram();
        let encrypted = Message::parse(&bytes).unwrap().collect().unwrap().encrypted;
        match (sample.plain(), encrypted) {
            (Some(plain), Some(encrypted)) => {
                let inner = [&[encrypted.first.0][..], &plain].concat();
                all.push(named(format!("strongswan-{number:02}-inner"), inner));
            }
            _ => all.push(named(format!("strongswan-{number:02}"), bytes)),
        }
    }
    for (what, shape) in [("plain", 0), ("cookie-other-group", 0b10_0010), ("pfs-cbc", 0b1_0100)] {
        for (number, (bytes, inner)) in conversation(Shape::of(shape)).into_iter().enumerate() {
            let bytes = inner.map_or(bytes, |(first, inner)| [&[first][..], &inner].concat());
            all.push(named(format!("own-{what}-{number:02}"), bytes));
        }
    }
    all
}

/// The messages of these conversations, the encrypted ones decrypted, behind the type of their first payload.
fn ike_v1_messages() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (number, conversation) in testdata_v1::CONVERSATIONS.iter().enumerate() {
        for (message, said) in conversation.said.iter().enumerate() {
            let (bytes, plain) = (said.datagram(), said.plain());
            let bytes = if plain.is_empty() { bytes } else { [&bytes[16..17], &plain].concat() };
            all.push(named(format!("strongswan-{number}-{message:02}"), bytes));
        }
    }
    // What strongSwan does not say unasked.
    let fragment = [&[0x11; 16][..], &[0x84, 0x10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 40]].concat();
    all.push(named("fragment", [fragment, vec![0, 0, 0, 12, 0, 1, 1, 1, 9, 8, 7, 6]].concat()));
    let delete = [&[12, 0, 0, 0, 28, 0, 0, 0, 1, 1, 16, 0, 1][..], &[0x22; 16]].concat();
    all.push(named("delete-isakmp", delete));
    let original =
        [21, 21, 0, 0, 12, 1, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 12, 1, 0, 0, 0, 10, 0, 0, 2];
    all.push(named("nat-oa", original));
    let cert = [6, 7, 0, 0, 8, 4, 1, 2, 3, 9, 0, 0, 5, 4, 0, 0, 0, 8, 1, 2, 3, 4];
    all.push(named("certificates", cert));
    // libreswan fills messages in the clear up to a multiple of four octets, and its attributes payloads.
    let vendor = [&[0x33; 8][..], &[0; 8], &[13, 0x10, 4, 0, 0, 0, 0, 0, 0, 0, 0, 36]].concat();
    all.push(named("aligned", [&vendor[..], &[0, 0, 0, 5, 7, 0, 0, 0]].concat()));
    let given = [2, 0, 0, 7, 0, 1, 0, 4, 10, 3, 0, 1, 0x70, 4, 0, 6, 192, 168, 2, 0, 255, 255];
    all.push(named("attributes-aligned", [&[14, 0, 0, 0, 28][..], &given, &[0, 0]].concat()));
    all
}

/// A datagram, and what is in it if it is encrypted.
type Said = (Vec<u8>, Option<(u8, Vec<u8>)>);

/// What two engines say to bring up a tunnel, to renew its keys, and to end it.
fn conversation(shape: Shape) -> Vec<Said> {
    let mut pools = [Pools::new(shape), Pools::new(shape)];
    let mut pair = Pair::new(shape, &mut pools, 0);
    pair.bring_up();
    let now = pair.now;
    let child = pair.sides[0].children[0];
    pair.sides[0].with(now, |e, env| e.rekey_child(env, child)).unwrap();
    pair.talk();
    let ike = pair.sides[1].ikes[0];
    pair.sides[1].with(now, |e, env| e.rekey_ike(env, ike)).unwrap();
    pair.talk();
    pair.sides[1].with(now, |e, env| e.close_all(env));
    pair.talk();
    let keys: Vec<_> = pair.sides[0].keys.clone();
    let mut said: Vec<Said> = Vec::new();
    for datagram in &pair.history {
        let plain = keys.iter().find_map(|keys| keys.open(&datagram.bytes));
        said.push((datagram.bytes.clone(), plain.map(|plain| (plain.first, plain.inner))));
    }
    said
}

/// Programs of the target; its steps are numbered there.
fn ike_engine() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, game: u8, shape: u16, steps: &[&[u8]]| {
        let [high, low] = shape.to_be_bytes();
        let program = [&[high * 3 + game, low][..], &steps.concat()].concat();
        all.push(named(name, program));
    };
    let (outsider, insider, stranger) = (0, 1, 2);
    let outside = [
        ("plain", 0),
        ("nat", 1),
        ("pfs", 4),
        ("cbc", 16),
        ("other-group", 32),
        ("fragments", 128),
        ("fragments-cbc", 148),
        ("signatures-pfs", 0x104),
        ("signatures-of-a-store", 0x300),
        ("store-cookie", 0x202),
        ("ppk", 0x400),
        ("ppk-signatures-hybrid", 0x514),
        ("childless-pfs", 0x804),
        ("mobike", 0x1000),
        ("mobike-nat", 0x1001),
        ("address", 0x2000),
        ("address-childless", 0x2800),
    ];
    for (name, shape) in outside {
        let steps: [&[u8]; 7] = [
            &[5, 0, 0],                 // rekey the child
            &[8, 0],                    // do the jobs
            &[1, 0, 0, 0, 0, 40, 7, 0], // change a byte of what is on the wire
            &[7],                       // the true one arrives
            &[3, 2, 1, 9, 7, 7],        // an old one from elsewhere
            &[5, 1, 1],                 // the other side rekeys the IKE SA
            &[4, 0, 3, 0, 60],          // a splice
        ];
        add(&format!("outsider-{name}"), outsider, shape, &steps);
    }
    let nonsense = [&[0, 1, 0, 0, 0, 40][..], &[0x21; 40], &[1]].concat();
    add("outsider-nonsense", outsider, 0, &[&nonsense]);
    for side in [0, 1] {
        let rekeys: [&[u8]; 8] = [
            &[21, side, 2, 0], // rekey the child
            &[9, side],        // do the jobs
            &[21, 1 - side, 2, 0],
            &[9, 1 - side],
            &[15], // talk
            &[21, side, 5, 0],
            &[21, 1 - side, 5, 0],
            &[15],
        ];
        add(&format!("both-rekey-{side}"), insider, 0, &rekeys);
        add(&format!("both-rekey-pfs-{side}"), insider, 4, &rekeys);
        add(&format!("both-rekey-fragments-{side}"), insider, 132, &rekeys);
        let ends: [&[u8]; 6] = [
            &[21, side, 4, 0], // close the child
            &[21, 1 - side, 2, 0],
            &[15],
            &[21, side, 0, 0], // bring it up again
            &[15],
            &[21, 1 - side, 7, 0], // close the IKE SA
        ];
        add(&format!("ends-{side}"), insider, 1, &ends);
    }
    add("short-lives", insider, 8, &[&[16, 200], &[7], &[16, 100]]);
    add("lossy-short-lives", insider, 8, &[&[14, 20, 0], &[7], &[14, 20, 0], &[7], &[16, 40]]);
    add(
        "installs-fail",
        insider,
        0,
        &[&[13, 0, 1], &[21, 0, 2, 0], &[15], &[13, 1, 2], &[21, 0, 2, 0], &[15]],
    );
    add(
        "jobs-fail",
        insider,
        4,
        &[&[21, 0, 2, 0], &[11, 0, 0, 1, 1], &[15], &[21, 1, 5, 0], &[11, 1, 0, 1, 0], &[15]],
    );
    // Both sides move, there and back, by a command for all and for one, during a rekey and after.
    let moves: [&[u8]; 10] = [
        &[21, 0, 14, 0, 1],
        &[15],
        &[21, 0, 5, 0],
        &[9, 0],
        &[21, 1, 14, 0, 1],
        &[21, 0, 15, 0, 0, 1],
        &[15],
        &[21, 0, 15, 1, 1, 0],
        &[16, 30],
        &[21, 0, 14, 0, 0],
    ];
    for (name, shape) in [("moves", 0x1000), ("moves-nat", 0x1001), ("moves-hybrid", 0x1014)] {
        add(name, insider, shape, &moves);
    }
    add("authenticates-again", insider, 0x108, &[&[16, 80], &[7], &[16, 200]]);
    let bring_up: [&[u8]; 1] = [&[21, 0, 0, 0]];
    for (name, shape) in [
        ("plain", 0),
        ("cookie", 2),
        ("other-group", 32),
        ("nat", 1),
        ("small", 64),
        ("fragments", 192),
        ("signatures", 0x100),
        ("signatures-of-a-store", 0x300),
        ("store-small", 0x240),
        ("ppk", 0x400),
        ("ppk-hybrid-fragments", 0x494),
        ("childless-mobike", 0x1800),
        ("address", 0x2000),
    ] {
        let steps =
            [&bring_up[..], &[&[9, 0], &[4], &[9, 1], &[4], &[9, 0], &[4], &[9, 1], &[4], &[9, 0]]]
                .concat();
        add(&format!("stranger-{name}"), stranger, shape, &steps);
        let attacked = [
            &bring_up[..],
            &[&[9, 0], &[1, 0, 0, 0, 0, 60, 1, 0], &[4], &[9, 1], &[1, 0, 0, 0, 0, 8, 1, 0]],
            &[&[1, 0, 0, 1, 0, 40, 9, 0], &[4], &[9, 0], &[17, 0, 0, 0, 0, 0, 9, 1], &[4], &[15]],
        ]
        .concat();
        add(&format!("stranger-attacked-{name}"), stranger, shape, &attacked);
    }
    // An INFORMATIONAL request in fragments: of 3, the last first; of 2, once more; and then of 4, without an end.
    let part = |number: u8, total: u8, first: u8| {
        let head = [20, 1, 0, 9, 3, 2, first, number | total << 3];
        [&head[..], &[0, 8], &[0, 0, 0, 16, 0, 0, 0x9c, 0x40]].concat()
    };
    let parts = [
        (3, 3, 0),
        (1, 3, 41),
        (2, 3, 0),
        (1, 2, 41),
        (1, 2, 41),
        (2, 2, 0),
        (4, 4, 0),
        (1, 4, 41),
    ];
    let parts = parts.map(|(number, total, first)| part(number, total, first));
    add("mad-fragments", insider, 128, &parts.each_ref().map(Vec::as_slice));
    // What each side says inside the encryption, said again by a peer gone mad.
    for (number, (_, inner)) in conversation(Shape::of(4)).into_iter().enumerate() {
        let Some((first, inner)) = inner else { continue };
        let exchange = [35, 35, 36, 36, 37, 37][number % 6] - 34;
        let len = u16::try_from(inner.len()).unwrap().to_be_bytes();
        let to = (number % 2) as u8;
        let head = [20, to, 0, 1 - to, exchange, 2, first];
        add(
            &format!("mad-{number:02}"),
            insider,
            4,
            &[&head, &len, &inner, &[15], &[20, 1 - to, 0, to, exchange, 0, first], &len, &inner],
        );
    }
    all
}

/// Programs of the target, in the same steps.
fn ike_v1_engine() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, game: u8, shape: u16, steps: &[&[u8]]| {
        let [high, low] = shape.to_be_bytes();
        let program = [&[high * 3 + game, low][..], &steps.concat()].concat();
        all.push(named(name, program));
    };
    let (outsider, insider, stranger) = (0, 1, 2);
    let shapes = [
        ("main", 0),
        ("main-nat", 1),
        ("main-pfs", 4),
        ("main-sha1", 16),
        ("main-other-group", 32),
        ("aggressive", 2),
        ("aggressive-nat-pfs", 7),
        ("small", 64),
        ("user", 0x200),
        ("user-address-nat", 0x2201),
        ("user-address-push-aggressive", 0x2602),
        ("user-address-small", 0x2240),
        ("address", 0x2000),
        ("address-push", 0x2400),
        ("bundle", 0x1000),
        ("bundle-pfs-small", 0x1044),
    ];
    for (name, shape) in shapes {
        let steps: [&[u8]; 7] = [
            &[5, 0, 0],                 // rekey the child
            &[8, 0],                    // do the jobs
            &[1, 0, 0, 0, 0, 40, 7, 0], // change a byte of what is on the wire
            &[7],                       // the true one arrives
            &[3, 2, 1, 9, 7, 7],        // an old one from elsewhere
            &[5, 1, 1],                 // another IKE SA
            &[4, 0, 3, 0, 60],          // a splice
        ];
        add(&format!("outsider-{name}"), outsider, shape, &steps);
        let up: [&[u8]; 8] = [&[21, 0, 0, 0], &[9, 0], &[4], &[9, 1], &[4], &[9, 0], &[4], &[9, 1]];
        add(&format!("stranger-{name}"), stranger, shape, &[&up.concat(), &[4], &[9, 0], &[15]]);
        let attacked: [&[u8]; 8] = [
            &[21, 0, 0, 0],
            &[9, 0],
            &[1, 0, 0, 0, 0, 60, 1, 0],
            &[4],
            &[9, 1],
            &[1, 0, 0, 0, 0, 8, 1, 0],
            &[1, 0, 0, 1, 0, 40, 9, 0],
            &[15],
        ];
        add(&format!("stranger-attacked-{name}"), stranger, shape, &attacked);
        let rekeys: [&[u8]; 8] = [
            &[21, 0, 2, 0],
            &[9, 0],
            &[21, 1, 2, 0],
            &[9, 1],
            &[15],
            &[21, 0, 5, 0],
            &[21, 1, 5, 0],
            &[15],
        ];
        add(&format!("both-rekey-{name}"), insider, shape, &rekeys);
    }
    add("short-lives", insider, 8, &[&[16, 200], &[7], &[16, 100]]);
    add("lossy-short-lives", insider, 10, &[&[14, 20, 0], &[7], &[14, 20, 0], &[7], &[16, 40]]);
    add("installs-fail", insider, 0, &[&[13, 0, 1], &[21, 0, 2, 0], &[15], &[13, 1, 2], &[15]]);
    add("jobs-fail", insider, 4, &[&[21, 0, 2, 0], &[11, 0, 0, 1, 1], &[15], &[21, 1, 5, 0]]);
    // What a peer gone mad may say: which side hears it, exchange, first payload, payloads.
    let isakmp = [&[0, 0, 0, 28, 0, 0, 0, 1, 1, 16, 0, 1][..], &[0x22; 16]].concat();
    let esp = [0, 0, 0, 16, 0, 0, 0, 1, 3, 4, 0, 1, 0, 0, 0x10, 1];
    let there = [&[0, 0, 0, 32, 0, 0, 0, 1, 1, 16, 0x8d, 0x28][..], &[0x22; 16], &[0, 0, 0, 9]];
    let refusal = [0, 0, 0, 12, 0, 0, 0, 1, 1, 0, 0, 14];
    let said = [(12, &isakmp[..]), (12, &esp), (11, &there.concat()), (11, &refusal)];
    for (number, (first, payloads)) in said.into_iter().enumerate() {
        for to in [0, 1] {
            let len = u16::try_from(payloads.len()).unwrap().to_be_bytes();
            let head = [20, to, 0, 0, 0, 7, 1, first];
            let program = [&head[..], &len, payloads].concat();
            add(&format!("mad-{number}-{to}"), insider, 0, &[&[21, to, 2, 0], &program, &[15]]);
        }
    }
    // True messages, changed a little.
    for number in 0..16 {
        let changed = [17, number, 0, 0, 0, 0, number, 1];
        let moved = [17, number, 17, 3, 0, 1, 0, 9, 1];
        add(
            &format!("changed-{number:02}"),
            insider,
            4,
            &[&[21, 0, 2, 0], &changed, &[15], &moved],
        );
    }
    all
}

/// One program for each suite, and some for the kinds of SA.
fn esp_open() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let steps: [&[u8]; 16] = [
        &[0, 0, 0, 5, 1, 2, 3, 4, 5], // seal an IPv4 packet
        &[2, 0, 0],                   // it arrives
        &[2, 0, 2],                   // and once more
        &[0, 0, 1, 0],                // an empty IPv6 packet
        &[4, 0, 0, 0, 0, 0, 30, 1],   // with a changed byte
        &[10, 0],                     // begin with it
        &[2, 0, 1],
        &[11, 0],                                     // and finish
        &[7, 0, 0, 70],                               // leave out numbers
        &[8, 0, 1, 6, 0x60, 0, 0, 0, 0, 0],           // sealed nonsense
        &[8, 0, 2, 0, 0, 0, 2, 65],                   // sealed and nearly right
        &[8, 0, 3, 0, 1, 0, 6, 59],                   //
        &[6, 0, 2, 1, 0, 40, 1, 2, 3, 4, 5, 6, 7, 8], // nonsense at the SPI
        &[0, 0, 0, 0],
        &[2, 0, 0],
        &[2, 1, 0],
    ];
    let steps = steps.concat();
    for (suite, name) in
        ["gcm", "cbc", "chacha", "gcm-iiv", "ccm-8", "null", "ctr"].iter().enumerate()
    {
        for (kind, bits) in [("ip4", 0x30), ("udp4-esn", 0x1d), ("ip6-esn", 0x26)] {
            let head = [0, suite as u8, bits];
            all.push(named(format!("{name}-{kind}"), [&head[..], &steps].concat()));
        }
    }
    let wrap =
        [&[0, 0, 0x34][..], &steps, &[7, 0, 3], &steps, &[7, 0, 2, 0xff, 0xff, 0xff, 0xf0], &steps];
    all.push(named("esn-wraps", wrap.concat()));
    let last = [&[0, 0, 0x30][..], &steps, &[7, 0, 3], &steps];
    all.push(named("last-number", last.concat()));
    let off = [&[1, 0, 0x33, 1, 0x2b][..], &steps, &[0, 1, 0, 0, 2, 0, 1, 2, 0, 1]];
    all.push(named("window-off", off.concat()));
    all
}

/// Every mode of both protocols.
fn esp_modes() -> Vec<(String, Vec<u8>)> {
    let udp = [0x10, 0, 0x20, 0, 0, 12, 0, 0, 1, 2, 3, 4];
    let routing = [17, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    let steps: [&[u8]; 14] = [
        &[0, 1, 0, 12], // an ordinary packet
        &udp,
        &[2, 0],           // it arrives
        &[2, 0],           // and again
        &[0, 0x1d, 0, 12], // with options and link padding
        &udp,
        &[3, 0, 0, 0, 0, 8, 1, 0],  // changed: the time to live
        &[3, 0, 0, 0, 0, 40, 1, 0], // changed: the payload
        &[2, 0],
        &[0, 1, 4, 12], // with a routing header
        &routing,
        &[2, 0],
        &[5, 40], // a dummy
        &[0, 0, 0, 0, 24, 0x45, 0, 0, 24, 0, 0, 0, 0, 64, 47, 0, 0],
    ];
    let steps = steps.concat();
    let mut all = Vec::new();
    for (protocol, kinds) in [("esp", [0u8, 2]), ("ah", [1, 3])] {
        for (mode, name) in ["tunnel", "transport", "beet"].iter().enumerate() {
            for (family, bits) in [("4", 0u8), ("6", 0b1100), ("46", 0b0100)] {
                for kind in kinds {
                    if protocol == "ah" && *name == "beet" {
                        continue;
                    }
                    let config = kind | bits | (mode as u8) << 4;
                    let head: &[u8] = if *name == "tunnel" { &[0, 0x05] } else { &[0] };
                    let bytes = [&[config], head, &steps].concat();
                    all.push(named(format!("{protocol}-{name}-{family}-{kind}"), bytes));
                }
            }
        }
    }
    all
}

fn fragments() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for v6 in [0, 1] {
        for (mtu, order) in [(20u8, 0u8), (60, 1), (200, 0)] {
            let program = [2, v6, 3, 0xe8, mtu, order, 2, order, 0, order];
            let twice = [&program[..], &[3, 20], &program, &[1, v6, 3, 0, 80, 1, 0, 0, 6, 1]];
            all.push(named(format!("cut-v{}-{mtu}-{order}", 4 + 2 * v6), twice.concat()));
        }
    }
    let first = [0x45, 0, 0, 28, 0, 7, 0x20, 0, 64, 50, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let last = [0x45, 0, 0, 25, 0, 7, 0, 1, 64, 50, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let both = [&[0, 0, 28][..], &first, &[1; 8], &[0, 0, 25], &last, &[2; 5]];
    all.push(named("noise-v4", both.concat()));
    all
}

fn ip_parsers() -> Vec<(String, Vec<u8>)> {
    let v4 = |proto, offset: u16, body: &[u8]| {
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut header = Ipv4Header::new(a, b, proto, 2, 64, body.len()).unwrap();
        header.flags_offset = offset.into();
        header.update_checksum();
        [&[0], header.as_bytes(), body].concat()
    };
    let v6 = |next, body: &[u8]| {
        let (a, b) = ([0xfdu16; 8].into(), [0u16, 0, 0, 0, 0, 0, 0, 1].into());
        let header = Ipv6Header::new(a, b, next, 2, 64, body.len()).unwrap();
        [&[0], header.as_bytes(), body].concat()
    };
    let udp = UdpHeader::new(4500, 53, 4).unwrap();
    let udp = [udp.as_bytes(), &[1, 2, 3, 4]].concat();
    let fragment = |offset: u8, next| [next, 0, 0, offset, 0, 0, 0, 7];
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let mut with_options = v4(protocol::UDP, 0, &udp);
    with_options[1] = 0x46;
    with_options[4] += 4;
    with_options.splice(21..21, [1, 1, 1, 0]);
    let chain = [&options(protocol::ROUTING)[..], &options(60), &options(17), &udp].concat();
    let middle = [&fragment(8, protocol::UDP)[..], &udp].concat();
    let first = [&options(44)[..], &fragment(1, protocol::UDP), &udp].concat();
    let mut all = vec![
        named("ip4-udp", v4(protocol::UDP, 0, &udp)),
        named("ip4-options", with_options),
        named("ip4-esp", v4(protocol::ESP, 0, &[0, 0, 1, 0, 0, 0, 0, 1, 9, 9, 9, 9])),
        named("ip4-icmp", v4(protocol::ICMP, 0x4000, &[8, 0, 1, 2])),
        named("ip4-first-fragment", v4(protocol::UDP, 0x2000, &udp)),
        named("ip4-later-fragment", v4(protocol::UDP, 0x0003, &udp)),
        named("ip4-tcp-cut", v4(protocol::TCP, 0, &[1, 2, 3])),
        named("ip6-udp", v6(protocol::UDP, &udp)),
        named("ip6-none", v6(protocol::NONE, &[])),
        named("ip6-extensions", v6(protocol::HOP_BY_HOP, &chain)),
        named("ip6-first-fragment", v6(protocol::HOP_BY_HOP, &first)),
        named("ip6-later-fragment", v6(protocol::FRAGMENT, &middle)),
        named("ip6-mobility", v6(protocol::MOBILITY, &[59, 1, 5, 0, 0, 0, 0, 0])),
        named("udp-ike", [2, 0, 0, 0, 0, 7]),
        named("udp-esp", [2, 0, 0, 1, 0, 0, 0, 0, 1]),
        named("udp-keepalive", [2, 0xff]),
    ];
    let names = [
        "10.1.2.3",
        "fd00::1:0:0",
        "::ffff:10.0.0.1",
        "user@host.example",
        "@gw.example",
        "%any",
        "1:2:3:4:5:6:7:8",
        "010.0.0.1",
    ];
    for (number, name) in names.iter().enumerate() {
        all.push(named(format!("identity-{number}"), [&[3], name.as_bytes()].concat()));
    }
    for kind in 0..8u8 {
        // Two selectors of the same kind, and flows about them.
        let one = [kind << 1, 1, 0, 9, 24, 0, 0, 1, 0, 80, 0, 90];
        let program = [&[4][..], &one, &one, &[0x12, 1, 0, 9, 1, 0, 9, 0, 80, 0, 85].repeat(4)];
        all.push(named(format!("selectors-{kind}"), program.concat()));
    }
    let helper = [5, 3, 9, 12, 1, 2, 3, 4, 5, 0, 3];
    all.push(named("helpers", [&helper[..], &(1..=60).collect::<Vec<u8>>()].concat()));
    all.push(named("helpers-padding", [&helper[..], &[7, 7, 7, 1, 2, 3, 3, 4]].concat()));
    all
}

fn spd() -> Vec<(String, Vec<u8>)> {
    // One selector a side: all of IPv4, any protocol and port, or a network, UDP.
    let any = [0x0c, 0, 0, 0, 3, 0xff, 0xff];
    let udp = [0x2c | 2, 1, 0, 0, 8];
    let policy = |a: &[u8], b: &[u8], action: u8| [&[1], a, &[1], b, &[action, 7]].concat();
    let flow = [0x10, 1, 0, 1, 2, 0, 1];
    let mut all = Vec::new();
    // No index and no cache, a small index, one that is large enough.
    for (memory, [index, buckets, cache]) in [[0; 3], [9, 3, 1], [200u8, 32, 16]].iter().enumerate()
    {
        let memory_of = [*index, *buckets, *cache];
        for action in 0..3 {
            let two = [
                &memory_of[..],
                &[0],
                &policy(&any, &any, action),
                &[4],
                &flow,
                &[1, 0],
                &policy(&udp, &any, 1),
                &[4],
                &flow,
                &[1, 2],
                &policy(&udp, &udp, 2),
                &[4],
                &flow,
                &[2, 0, 4],
                &flow,
            ];
            all.push(named(format!("memory-{memory}-two-{action}"), two.concat()));
        }
        let mut many = memory_of.to_vec();
        for prefix in 0..45 {
            let network = [0x2c | 2, 1, 0, 0, prefix];
            many.extend([&[0][..], &policy(&network, &udp, prefix % 3), &[4], &flow].concat());
        }
        many.extend([&[3, 0, 4][..], &flow].concat());
        all.push(named(format!("memory-{memory}-many"), many));
    }
    all
}

/// The bytes of a hexadecimal string.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The vectors of `ipsec-rustcrypto`: a good signature of each kind of key in each scheme, some bad ones, private keys, and
/// ciphertexts.
fn signature_vectors() -> Vec<(String, Vec<u8>)> {
    let keys: Vec<Vec<_>> = include_str!("../../crypto/rustcrypto/tests/vectors/keys.txt")
        .lines()
        .map(|row| row.split(' ').collect())
        .collect();
    let mut all = Vec::new();
    for key in keys.iter().filter(|key| ["rsa2048", "p256", "p521", "ed25519"].contains(&key[0])) {
        all.push(named(
            format!("{}-pkcs8", key[0]),
            [vec![signatures::SIGN], hex(key[1])].concat(),
        ));
        if key[2] != "-" {
            all.push(named(
                format!("{}-old", key[0]),
                [vec![signatures::SIGN], hex(key[2])].concat(),
            ));
        }
    }
    let mut seen = Vec::new();
    let rows = include_str!("../../crypto/rustcrypto/tests/vectors/signatures.txt").lines();
    for (number, row) in rows.enumerate() {
        let fields: Vec<_> = row.split('|').collect();
        let key = keys.iter().find(|key| key[0] == fields[2]);
        let kind = (fields[1], fields[2], fields[5]);
        if number % 40 != 0 && (fields[5] != "good" || key.is_none() || seen.contains(&kind)) {
            continue;
        }
        seen.push(kind);
        let scheme = [
            "rsa-sha256",
            "rsa-sha384",
            "rsa-sha512",
            "",
            "pss-sha256",
            "pss-sha384",
            "pss-sha512",
            "rsa-ikev1",
            "ecdsa-sha256",
            "ecdsa-sha384",
            "ecdsa-sha512",
            "ecdsa-p256",
            "ecdsa-p384",
            "ecdsa-p521",
            "ed25519",
        ];
        let scheme = scheme.iter().position(|name| *name == fields[1]).unwrap() as u8;
        let (spki, signature) = (hex(key.map_or(fields[2], |key| key[3])), hex(fields[4]));
        let len = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes();
        let head = [&[signatures::VERIFY, scheme][..], &len(&spki), &len(&signature)].concat();
        let bytes = [head, spki, signature, hex(fields[3])].concat();
        all.push(named(format!("{}-{number:03}", fields[1]), bytes));
    }
    for (number, scheme) in signatures::SCHEMES.iter().enumerate() {
        if let Some(der) = scheme.algorithm_identifier() {
            all.push(named(format!("id-{number:02}"), [&[signatures::IDENTIFY], der].concat()));
        }
    }
    let rows = include_str!("../../crypto/rustcrypto/tests/vectors/ml_kem.txt").lines();
    for (number, row) in rows.enumerate().step_by(3) {
        let fields: Vec<_> = row.split(' ').collect();
        let group = if fields[0] == "36" { 0 } else { 2 };
        let bytes = [vec![signatures::ENCAPSULATE, group], hex(fields[3])].concat();
        all.push(named(format!("ml-kem-{number:02}"), bytes));
    }
    all
}

/// One packet of every mode of both protocols, with a few bits to change.
fn bit_flip() -> Vec<(String, Vec<u8>)> {
    let body = [0x10, 0, 0x20, 0, 0, 12, 0, 0, 1, 2, 3, 4];
    // Kind, upper protocol, and body, as in esp_modes.
    let packets: [(&str, Vec<u8>); 4] = [
        ("udp", [&[1, 0, 12][..], &body].concat()),
        ("options", [&[0x35, 0, 12][..], &body].concat()),
        ("hop-by-hop", [&[1, 3, 16, 17, 0, 0x3e, 4][..], &body[..4], &body[..8]].concat()),
        ("router-alert", [&[1, 3, 16, 17, 0, 5, 2, 0, 0, 1, 0][..], &body[..8]].concat()),
    ];
    let mut all = Vec::new();
    for (mode, name) in ["tunnel", "transport", "beet"].iter().enumerate() {
        for (family, bits) in [("4", 0u8), ("6", 0b1100)] {
            for (what, packet) in &packets {
                for protocol in [0u8, 1] {
                    let config = bits | protocol | (mode as u8) << 4 | (mode as u8 & 1) << 6;
                    let choice = (mode * 7 + packet.len()) as u8;
                    let mode_bytes: &[u8] = if *name == "tunnel" { &[5] } else { &[] };
                    let bytes = [&[config, choice], mode_bytes, packet, &[3, 1, 9, 0, 80, 1, 100]];
                    let protocol = ["esp", "ah"][usize::from(protocol)];
                    all.push(named(format!("{protocol}-{name}-{family}-{what}"), bytes.concat()));
                }
            }
        }
    }
    all
}

/// Lives of SAs, and records.
fn export_import() -> Vec<(String, Vec<u8>)> {
    let seal = [0u8];
    let deliver = [1, 0];
    let export = [2, 0b111, 8, 3, 0b111, 8];
    let crash = [4u8];
    let life = [
        &seal[..],
        &seal,
        &deliver,
        &export,
        &seal,
        &seal,
        &seal,
        &deliver,
        &crash,
        &seal,
        &export,
        &seal,
        &deliver,
        &crash,
        &export,
        &seal,
    ]
    .concat();
    let mut all = Vec::new();
    for (name, head) in [("gcm", [0, 0]), ("esn-cbc", [1, 1]), ("ah", [0, 9])] {
        all.push(named(format!("life-{name}"), [&[0], &head[..], &life].concat()));
        let wraps = [&[0], &head[..], &[5, 0xff, 0xff, 0xff, 0xf4], &life].concat();
        all.push(named(format!("end-of-low-half-{name}"), wraps));
        for (side, record) in crate::export_import::records(head).into_iter().enumerate() {
            all.push(named(format!("record-{name}-{side}"), [&[1], &record[..]].concat()));
            all.push(named(format!("body-{name}-{side}"), [&[2], &record[4..]].concat()));
        }
    }
    all
}

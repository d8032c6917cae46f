//! Packets that others made: scapy (`vectors/make.py`) and RFC 7634.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use std::fmt::Write as _;

use common::{Memory, NOW, Setup, seal_copy, udp6_checksum_ok, v4_path, v6_path};
use ipsec_core::crypto::{Encr, Provider, Suite};
use ipsec_core::mode::{AddressPair, Mode};
use ipsec_core::sa::Encapsulation;
use ipsec_core::wire::IpPacket;
use ipsec_esp::{Inbound, inbound_ip, open};
use ipsec_rustcrypto::RustCrypto;

/// One block of `vectors/esp.txt` or `vectors/ah.txt`.
struct Vector {
    setup: Setup,
    name: String,
    sequence: u64,
    inner: Vec<u8>,
    outer: Vec<u8>,
    arrived: Vec<u8>,
    opened: Vec<u8>,
}

fn vectors(file: &str) -> Vec<Vector> {
    file.trim().split("\n\n").map(Vector::parse).collect()
}

fn esp_vectors() -> Vec<Vector> {
    let all = vectors(include_str!("vectors/esp.txt"));
    assert_eq!(all.len(), 210);
    all
}

fn ah_vectors() -> Vec<Vector> {
    let all = vectors(include_str!("vectors/ah.txt"));
    assert_eq!(all.len(), 60);
    all
}

impl Vector {
    fn parse(block: &str) -> Self {
        let find = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let field = |name: &str| find(name).unwrap().trim();
        let outer = hex(field("outer "));
        let udp = find("udp ").is_some_and(|udp| udp == "yes");
        let (local, remote) = if udp { (4500, 61_000) } else { (0, 0) };
        let v4 = outer[0] >> 4 == 4;
        let path = if v4 { v4_path(local, remote) } else { v6_path(local, remote) };
        let addresses = AddressPair { local: path.local.address, remote: path.remote.address };
        let (setup, name) = match find("integrity ") {
            Some(name) => {
                let integ =
                    RustCrypto::INTEGS.iter().find(|integ| integ.to_string() == name).unwrap();
                (Setup::ah(*integ), name)
            }
            None => {
                let name = field("suite ");
                let suite =
                    RustCrypto::SUITES.iter().find(|suite| suite.to_string() == name).unwrap();
                (Setup::new(*suite), name)
            }
        };
        let setup = Setup {
            mode: match field("mode ") {
                "tunnel" => Mode::TUNNEL,
                // No NAT has changed an address.
                _ => Mode::Transport { original: Some(addresses) },
            },
            keymat: hex(field("keymat ")),
            spi: u32::from_str_radix(field("spi "), 16).unwrap(),
            esn: field("esn ") == "yes",
            encapsulation: if udp { Encapsulation::Udp } else { Encapsulation::Ip },
            path,
            ..setup
        };
        let sequence = u64::from_str_radix(field("sequence "), 16).unwrap();
        let inner = hex(field("inner "));
        let arrived = find("arrived ").map_or_else(|| outer.clone(), hex);
        let opened = find("opened ").map_or_else(|| inner.clone(), hex);
        Self { setup, name: name.into(), sequence, inner, outer, arrived, opened }
    }

    /// The UDP checksum, where we have one and scapy leaves it out.
    fn udp6_checksum(&self) -> Option<std::ops::Range<usize>> {
        let udp6 = self.setup.encapsulation == Encapsulation::Udp && self.outer[0] >> 4 == 6;
        udp6.then_some(46..48)
    }

    fn describe(&self) -> String {
        format!("{} {:?} {:x}", self.name, self.setup.mode, self.sequence)
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn opens_what_scapy_seals() {
    let (esp, ah) = (esp_vectors(), ah_vectors());
    for vectors in [&esp, &ah] {
        assert!(vectors.iter().any(|v| v.setup.esn && v.sequence >> 32 == 5));
    }
    for vector in esp.iter().chain(&ah) {
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let id = vector.setup.install_inbound(&mut sad);
        if vector.sequence > 100 {
            // Earlier packets tell where the sequence number is.
            sad.accept(NOW, id, vector.sequence - 9, 0, None).unwrap().unwrap();
        }
        let mut outer = vector.arrived.clone();
        if vector.setup.encapsulation == Encapsulation::Udp {
            // For us to receive it, it must come to our port.
            let upper = IpPacket::parse(&outer).unwrap().upper;
            outer[upper..upper + 4].copy_from_slice(&[0xee, 0x48, 0x11, 0x94]);
        }
        match inbound_ip(&mut sad, NOW, &mut outer) {
            Ok(Inbound::Packet { opened, packet }) => {
                assert_eq!(packet, vector.opened, "{}", vector.describe());
                assert_eq!(opened.sequence, vector.sequence);
            }
            other => panic!("{}: {other:?}", vector.describe()),
        }
    }
}

#[test]
fn seals_the_same_bytes_as_scapy() {
    let mut made = String::new();
    for vector in esp_vectors().iter().chain(&ah_vectors()) {
        let Vector { setup, name, sequence, inner, .. } = vector;
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let id = setup.install_outbound(&mut sad);
        sad.skip_sequence(id, sequence - 1);
        let (sealed, outer) = seal_copy(&mut sad, id, inner).unwrap();
        assert_eq!(sealed.sequence, *sequence);

        let mut comparable = outer.clone();
        if let Some(checksum) = vector.udp6_checksum() {
            assert!(udp6_checksum_ok(&outer));
            comparable[checksum].fill(0);
        }
        assert_eq!(comparable, vector.outer, "{}", vector.describe());

        let yes_no = |yes| if yes { "yes" } else { "no" };
        let udp = yes_no(setup.encapsulation == Encapsulation::Udp);
        let kind = if setup.ah.is_some() { "integrity" } else { "suite" };
        let mode = if matches!(setup.mode, Mode::Tunnel(_)) { "tunnel" } else { "transport" };
        writeln!(made, "{kind} {name}\nmode {mode}\nspi {:x}", setup.spi).unwrap();
        writeln!(made, "sequence {sequence:x}\nesn {}\nudp {udp}", yes_no(setup.esn)).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        writeln!(made, "inner {}\nouter {}\n", hex(inner), hex(&outer)).unwrap();
    }
    // For `vectors/make.py --check`.
    if let Ok(path) = std::env::var("ESP_SEALED") {
        std::fs::write(path, made).unwrap();
    }
}

/// The same algorithm with an IV that is not sent (RFC 8750).
fn implicit(suite: Suite) -> Option<Suite> {
    let encr = match suite.encr {
        Encr::AES_GCM_16 => Encr::AES_GCM_16_IIV,
        Encr::AES_CCM_8 => Encr::AES_CCM_8_IIV,
        Encr::CHACHA20_POLY1305 => Encr::CHACHA20_POLY1305_IIV,
        _ => return None,
    };
    Some(Suite { encr, ..suite }).filter(|suite| RustCrypto::has_suite(*suite))
}

#[test]
fn an_implicit_iv_makes_the_packet_of_scapy_without_the_iv() {
    // RFC 8750 section 4: our explicit IV is the sequence number, so only those 8 bytes differ.
    let mut compared = 0;
    for vector in esp_vectors() {
        let Some(suite) = implicit(vector.setup.suite) else { continue };
        compared += 1;
        let setup = Setup { suite, ..vector.setup.clone() };
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        let id = setup.install_outbound(&mut sad);
        sad.skip_sequence(id, vector.sequence - 1);
        let (sealed, outer) = seal_copy(&mut sad, id, &vector.inner).unwrap();
        let mut scapys = vector.outer[sealed.esp.start..].to_vec();
        assert_eq!(scapys.drain(8..16).collect::<Vec<_>>(), vector.sequence.to_be_bytes());
        assert_eq!(outer[sealed.esp], scapys, "{}", vector.describe());
    }
    // AES-GCM-16 with three key sizes, AES-CCM-8 with three, ChaCha20-Poly1305: those in daily use have 12 vectors.
    assert_eq!(compared, 3 * 12 + 4 * 5);
}

#[test]
fn the_example_of_rfc_7634() {
    // RFC 7634 appendix A
    let inner = hex(
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f
         101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637",
    );
    let mut esp = hex("01020304 00000005 1011121314151617
         24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95df
         ab4c02f72aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0
         76aaa8266b7fb0f7b11b369907e1ad43");
    let mut keymat: Vec<u8> = (0x80..0xa0).collect();
    keymat.extend_from_slice(&[0xa0, 0xa1, 0xa2, 0xa3]);
    let setup = Setup { keymat, spi: 0x0102_0304, ..Setup::new(Suite::CHACHA20_POLY1305) };
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    setup.install_inbound(&mut sad);
    let opened = open(&mut sad, NOW, &setup.arrival(), &mut esp).unwrap();
    assert_eq!((opened.sequence, &esp[opened.range]), (5, &inner[..]));
}

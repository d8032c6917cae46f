//! The capture files and key files of the test kit, read by the tool they are for.
//!
//! Without `tshark` these tests say that they were skipped; with `IPSEC_REQUIRE_TOOLS` in the environment they fail.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ipsec::{GatewayEvent, V1, Versions};
use ipsec_core::crypto::{Integ, PacketCipher, Provider, Shape, Suite, Work};
use ipsec_core::path::Endpoint;
use ipsec_core::time::Instant;
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::keylog::{EspKeys, IkeKeys};
use ipsec_testkit::link::Datagram;
use ipsec_testkit::pair::{Memory, Pair};
use ipsec_testkit::pcap::{Pcap, packet};
use ipsec_testkit::setup::Setup;

type Cipher = <RustCrypto as Provider>::Cipher;

const SUITES: [Suite; 4] =
    [Suite::AES_128_GCM, Suite::AES_256_GCM, Suite::AES_128_CBC_SHA256, Suite::AES_256_CBC_SHA256];

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

/// A run of `tshark` with a configuration of its own.
struct Tshark {
    folder: PathBuf,
}

impl Tshark {
    /// `None` if the tool is missing.
    fn new(test: &str) -> Option<Self> {
        if Command::new("tshark").arg("--version").output().is_err() {
            assert!(std::env::var_os("IPSEC_REQUIRE_TOOLS").is_none(), "tshark is missing");
            eprintln!("{test}: SKIPPED: tshark is not installed");
            return None;
        }
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
        fs::create_dir_all(&folder).unwrap();
        Some(Self { folder })
    }

    fn keys(&self, file: &str, lines: &[String]) {
        fs::write(self.folder.join(file), lines.join("\n") + "\n").unwrap();
    }

    /// One line for each packet that `filter` lets through, with the given fields, separated by spaces.
    fn read(&self, pcap: &Pcap, filter: &str, fields: &[&str]) -> Vec<String> {
        let file = self.folder.join("capture.pcap");
        pcap.write_to(&file).unwrap();
        let mut command = Command::new("tshark");
        command.env("WIRESHARK_CONFIG_DIR", &self.folder).arg("-n").arg("-r").arg(&file);
        for preference in [
            "ip.check_checksum:TRUE",
            "udp.check_checksum:TRUE",
            "esp.enable_encryption_decode:TRUE",
            "esp.enable_authentication_check:TRUE",
        ] {
            command.args(["-o", preference]);
        }
        command.args(["-Y", filter, "-T", "fields", "-E", "separator=/s"]);
        for field in fields {
            command.args(["-e", field]);
        }
        let output = command.output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        assert!(!complaints.contains("rror"), "{complaints}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

#[test]
fn headers_are_read_and_their_checksums_are_good() {
    let Some(tshark) = Tshark::new("headers") else { return };
    let mut pcap = Pcap::new();
    let (a, b) = (endpoint("192.0.2.1:500"), endpoint("198.51.100.7:4500"));
    pcap.datagram(Instant::from_millis(1500), &Datagram::udp(a, b, *b"odd"));
    let (a, b) = (endpoint("[2001:db8::1]:500"), endpoint("[2001:db8::2]:4500"));
    pcap.datagram(Instant::from_millis(2500), &Datagram::udp(a, b, *b"even"));
    let fields = ["frame.time_epoch", "ip.src", "ip.checksum.status", "ipv6.dst", "udp.srcport"];
    let fields = [&fields[..], &["udp.dstport", "udp.checksum.status", "udp.length"]].concat();
    assert_eq!(
        tshark.read(&pcap, "udp", &fields),
        ["1.500000000 192.0.2.1 1  500 4500 1 11", "2.500000000   2001:db8::2 500 4500 1 12"]
    );
    // The check can fail: one bit of the contents is changed after the checksum was made.
    let mut broken = packet(&Datagram::udp(a, b, *b"even"));
    *broken.last_mut().unwrap() ^= 1;
    let mut pcap = Pcap::new();
    pcap.packet(Instant::ZERO, &broken);
    assert_eq!(tshark.read(&pcap, "udp", &["udp.checksum.status"]), ["0"]);
}

/// A key, a salt and a MAC key, all of them recognisable.
fn keys(shape: &Shape, mark: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![mark; shape.key_len + shape.salt_len], vec![mark ^ 0xff; shape.integ_key_len])
}

struct Sealer {
    shape: Shape,
    cipher: Cipher,
    salt: Vec<u8>,
}

impl Sealer {
    fn new(suite: Suite, encr: &[u8], integ: &[u8]) -> Self {
        let shape = suite.shape().unwrap();
        let (key, salt) = encr.split_at(shape.key_len);
        Self { shape, cipher: Cipher::new(suite, key, integ).unwrap(), salt: salt.to_vec() }
    }

    /// `head`, IV, encrypted `text`, integrity check value.
    fn seal(&self, head: &[u8], mut text: Vec<u8>) -> Vec<u8> {
        let iv = vec![7; self.shape.iv_len];
        let mut icv = vec![0; self.shape.icv_len];
        let nonce = [&self.salt[..], &iv].concat();
        let work = Work { nonce: &nonce, head, text: &mut text, tail: &[], icv: &mut icv };
        self.cipher.seal(work).unwrap();
        [head, &iv, &text, &icv].concat()
    }
}

#[test]
fn esp_is_decrypted_with_logged_keys() {
    let Some(tshark) = Tshark::new("esp") else { return };
    let (mut pcap, mut lines, mut expected) = (Pcap::new(), Vec::new(), Vec::new());
    let inner = packet(&Datagram::udp(endpoint("10.1.0.1:7"), endpoint("10.2.0.1:9"), *b"inside"));
    for (i, suite) in SUITES.into_iter().enumerate() {
        for (source, destination) in
            [("192.0.2.1:0", "198.51.100.7:0"), ("[2001:db8::1]:0", "[2001:db8::2]:0")]
        {
            let (source, destination) = (endpoint(source).address, endpoint(destination).address);
            let shape = suite.shape().unwrap();
            let (encr_key, integ_key) = keys(&shape, 1 + i as u8);
            let spi = 0x1000 + i as u32;
            let log = EspKeys {
                source,
                destination,
                spi,
                suite,
                encr_key: &encr_key,
                integ_key: &integ_key,
            };
            lines.push(log.line().unwrap());

            // RFC 4303 section 2.4: padding 1, 2, 3..., its length, and the next header, here IPv4.
            let mut text = inner.clone();
            let pad = (1u8..=255)
                .find(|&pad| (text.len() + usize::from(pad) + 2).is_multiple_of(16))
                .unwrap();
            text.extend(1..=pad);
            text.extend([pad, 4]);
            let head = [spi.to_be_bytes(), 1u32.to_be_bytes()].concat();
            let esp = Sealer::new(suite, &encr_key, &integ_key).seal(&head, text);
            pcap.datagram(Instant::ZERO, &Datagram::ip(source, destination, 50, esp.clone()));
            expected.push(format!("0x{spi:08x} 1 9"));
            // Damaged.
            let mut esp = esp;
            *esp.last_mut().unwrap() ^= 1;
            pcap.datagram(Instant::ZERO, &Datagram::ip(source, destination, 50, esp));
        }
    }
    tshark.keys("esp_sa", &lines);
    let fields = ["esp.spi", "esp.icv_good", "udp.dstport"];
    assert_eq!(tshark.read(&pcap, "esp.icv_good == 1 && esp.protocol == 4", &fields), expected);
    assert_eq!(tshark.read(&pcap, "esp.icv_bad == 1", &["esp.icv_bad"]).len(), expected.len());
}

#[test]
fn ike_is_decrypted_with_logged_keys() {
    let Some(tshark) = Tshark::new("ike") else { return };
    let (mut pcap, mut lines, mut expected) = (Pcap::new(), Vec::new(), Vec::new());
    let (a, b) = (endpoint("192.0.2.1:500"), endpoint("198.51.100.7:500"));
    let mut damaged = Vec::new();
    for (i, suite) in SUITES.into_iter().enumerate() {
        let shape = suite.shape().unwrap();
        let ((sk_ei, sk_ai), (sk_er, sk_ar)) =
            (keys(&shape, 0x10 + i as u8), keys(&shape, 0x20 + i as u8));
        let (spi_i, spi_r) = (0x0102_0304_0506_0700 + i as u64, 0x1112_1314_1516_1700 + i as u64);
        let log = IkeKeys {
            spi_i,
            spi_r,
            suite,
            sk_ei: &sk_ei,
            sk_er: &sk_er,
            sk_ai: &sk_ai,
            sk_ar: &sk_ar,
        };
        lines.push(log.line().unwrap());
        let directions =
            [(a, b, 0x08, &sk_ei, &sk_ai, 16_384u16), (b, a, 0x20, &sk_er, &sk_ar, 16_391)];
        for (source, destination, flags, encr, integ, notify) in directions {
            // One Notify payload, padding, and its length (RFC 7296 sections 3.10 and 3.14).
            let mut text = vec![0, 0, 0, 8, 0, 0];
            text.extend(notify.to_be_bytes());
            text.extend([0; 7]);
            text.push(7);
            let body = 4 + shape.iv_len + text.len() + shape.icv_len;
            let mut head = [spi_i.to_be_bytes(), spi_r.to_be_bytes()].concat();
            head.extend([46, 0x20, 37, flags, 0, 0, 0, 2]);
            head.extend((28 + body as u32).to_be_bytes());
            head.extend([41, 0]);
            head.extend((body as u16).to_be_bytes());
            let message = Sealer::new(suite, encr, integ).seal(&head, text);
            let mut bad = message.clone();
            bad[40] ^= 1;
            damaged.push(Datagram::udp(source, destination, bad));
            pcap.datagram(Instant::ZERO, &Datagram::udp(source, destination, message));
            expected.push(format!("{spi_i:016x} 37 {notify}"));
        }
    }
    tshark.keys("ikev2_decryption_table", &lines);
    let fields = ["isakmp.ispi", "isakmp.exchangetype", "isakmp.notify.msgtype"];
    assert_eq!(tshark.read(&pcap, "isakmp", &fields), expected);
    let complaints = tshark.read(&pcap, "isakmp && _ws.expert", &["_ws.expert.message"]);
    assert_eq!(complaints, [""; 0]);
    assert!(!damaged.is_empty());
    for message in damaged {
        let mut pcap = Pcap::new();
        pcap.datagram(Instant::ZERO, &message);
        let complaints = tshark.read(&pcap, "isakmp && _ws.expert", &["_ws.expert.message"]);
        assert_eq!(complaints.len(), 1, "a damaged message goes unnoticed");
    }
}

/// RFC 2408 section 4.2: AH and ESP of a bundle are two proposals of one number, in what we offer and in what we answer.
#[test]
fn a_bundle_is_two_proposals_of_one_number() {
    let Some(tshark) = Tshark::new("bundle") else { return };
    let mut setup = Setup::new(1)
        .peers(|peer| peer.versions = Versions::V1(V1::MAIN))
        .children(|child| child.around = &[Integ::HMAC_SHA2_256_128])
        .sizes(|sizes| sizes.manual = sizes.children);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::<RustCrypto>::of(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    let keys = pair.a.events.iter().find_map(|(_, event)| match event {
        GatewayEvent::IkeKeys(keys) => Some(keys),
        _ => None,
    });
    let keys = keys.unwrap();
    let line = IkeKeys {
        spi_i: keys.initiator_spi,
        spi_r: keys.responder_spi,
        suite: keys.suite,
        sk_ei: keys.encryption_i(),
        sk_er: keys.encryption_r(),
        sk_ai: keys.integrity_i(),
        sk_ar: keys.integrity_r(),
    };
    tshark.keys("ikev1_decryption_table", &[line.line_v1()]);
    let capture = pair.transcript();
    let fields = ["isakmp.prop.number", "isakmp.prop.protoid", "isakmp.ipsec.attr.encap_mode"];
    let quick = "isakmp.exchangetype == 32 && isakmp.prop.number";
    // AH is protocol 2, ESP is 3; tunnel mode is 1, transport mode is 2. There are three suites of ESP.
    assert_eq!(tshark.read(&capture, quick, &fields)[1..], ["1,1 2,3 1,1"]);
    let offered = &tshark.read(&capture, quick, &fields)[0];
    assert!(offered.starts_with("1,1,2,2 2,3,2,3 1,1"), "{offered}");
    let packets = tshark.read(&capture, "ah", &["ip.proto", "ah.next_header", "esp.sequence"]);
    assert!(packets.len() >= 2 && packets.iter().all(|p| p.starts_with("51 50 ")), "{packets:?}");
}

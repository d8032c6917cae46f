//! AH and ESP together on one packet, in either order (RFC 4301 section 4.1, RFC 4302 section 3.1.1), opposite scapy.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Memory, NOW, Setup, v4_path, v6_path};
use ipsec_core::crypto::Provider;
use ipsec_core::mode::Mode;
use ipsec_core::packet::PacketBuf;
use ipsec_core::wire::IpPacket;
use ipsec_esp::{Inbound, OpenError, Overhead, inbound_ip, seal};
use ipsec_rustcrypto::RustCrypto;

/// One block of `vectors/bundle.txt`.
struct Vector {
    /// In the order in which a sender applies them.
    setups: [Setup; 2],
    name: String,
    sequence: u64,
    inner: Vec<u8>,
    outer: Vec<u8>,
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn vectors() -> Vec<Vector> {
    let all: Vec<_> =
        include_str!("vectors/bundle.txt").trim().split("\n\n").map(Vector::parse).collect();
    assert_eq!(all.len(), 80);
    all
}

impl Vector {
    fn parse(block: &str) -> Self {
        let field =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let (inner, outer) = (hex(field("inner ")), hex(field("outer ")));
        let path = if outer[0] >> 4 == 4 { v4_path(0, 0) } else { v6_path(0, 0) };
        let suite = RustCrypto::SUITES.iter().find(|s| s.to_string() == field("suite ")).unwrap();
        let integ =
            RustCrypto::INTEGS.iter().find(|i| i.to_string() == field("integrity ")).unwrap();
        let setup = |base: Setup, key: &str| {
            let (spi, keymat) = key.split_at(8);
            let spi = u32::from_str_radix(spi, 16).unwrap();
            let esn = field("esn ") == "yes";
            Setup { spi, keymat: hex(keymat), esn, path, mode: Mode::TRANSPORT, ..base }
        };
        let (esp, ah) =
            (setup(Setup::new(*suite), field("esp ")), setup(Setup::ah(*integ), field("ah ")));
        let mut setups = match field("order ") {
            "ah-outside" => [esp, ah],
            _ => [ah, esp],
        };
        if field("mode ") == "tunnel" {
            setups[0].mode = Mode::TUNNEL;
        }
        let sequence = u64::from_str_radix(field("sequence "), 16).unwrap();
        let name = block.lines().take(4).collect::<Vec<_>>().join(", ");
        Self { setups, name, sequence, inner, outer }
    }
}

#[test]
fn seals_the_same_bytes_as_scapy() {
    for Vector { setups, name, sequence, inner, outer } in vectors() {
        let mut memory = Memory::<RustCrypto>::new(2);
        let mut sad = memory.sad();
        let ids = setups.each_ref().map(|setup| setup.install_outbound(&mut sad));
        let mut buf = vec![0xa5; inner.len() + 300];
        buf[150..150 + inner.len()].copy_from_slice(&inner);
        let mut packet = PacketBuf::new(&mut buf, 150..150 + inner.len()).unwrap();
        let mut room = (0, 0);
        for id in ids {
            sad.skip_sequence(id, sequence - 1);
            let overhead = Overhead::of(&sad.outbound(id).unwrap().protection);
            room = (room.0 + overhead.headroom(), room.1 + overhead.tailroom());
            let sealed = seal(&mut sad, NOW, id, &mut packet).unwrap();
            assert_eq!(sealed.sequence, sequence);
        }
        assert_eq!(packet.payload(), outer, "{name}");
        // The room for one and then the other is enough for both.
        assert!(packet.range().start + room.0 >= 150);
        assert!(packet.range().end <= 150 + inner.len() + room.1);
    }
}

#[test]
fn opens_what_scapy_seals_and_nothing_that_was_changed() {
    for Vector { setups, name, sequence, inner, outer } in vectors() {
        let open = |packet: &[u8]| -> Result<Vec<u8>, OpenError> {
            let mut packet = packet.to_vec();
            // From the outside to the inside, until nothing is protected any more.
            for setup in setups.iter().rev() {
                let mut memory = Memory::<RustCrypto>::new(1);
                let mut sad = memory.sad();
                let id = setup.install_inbound(&mut sad);
                if sequence > 100 {
                    sad.accept(NOW, id, sequence - 9, 0, None).unwrap().unwrap();
                }
                packet = match inbound_ip(&mut sad, NOW, &mut packet)? {
                    Inbound::Packet { opened, packet } => {
                        assert_eq!(opened.sequence, sequence);
                        packet.to_vec()
                    }
                    other => panic!("{other:?}"),
                };
            }
            Ok(packet)
        };
        assert_eq!(open(&outer), Ok(inner), "{name}");
        let upper = IpPacket::parse(&outer).unwrap().upper;
        for byte in upper..outer.len() {
            let mut changed = outer.clone();
            changed[byte] ^= 0x10;
            assert!(open(&changed).is_err(), "{name}: byte {byte}");
        }
    }
}

#[test]
fn the_inner_of_two_is_not_opened_before_the_outer() {
    let vector = &vectors()[0];
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    vector.setups[0].install_inbound(&mut sad);
    let refused = inbound_ip(&mut sad, NOW, &mut vector.outer.clone()).map(|_| ());
    assert!(matches!(refused, Err(OpenError::UnknownSpi(_))));
}

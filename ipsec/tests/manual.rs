//! SAs with manual keys: installed, used, changed and removed, without IKE.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use core::net::IpAddr;
use core::time::Duration;

use ipsec::ipsec_core::crypto::{Encr, Integ};
use ipsec::ipsec_core::mode::AddressPair;
use ipsec::ipsec_core::sa::{AhAlign, Protocol};
use ipsec::ipsec_core::selector::SelectorList;
use ipsec::ipsec_core::wire::{Checksum, Ipv4Header, Ipv6Header, UdpHeader};
use ipsec::*;
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::rng::SeededRng;
use zerocopy::IntoBytes;

const NOW: Instant = Instant::from_secs(10);
const V4: [&str; 2] = ["203.0.113.1", "198.51.100.1"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8:1::1"];
const HOSTS: [&str; 2] = ["192.168.1.9", "192.168.2.9"];
const KEY: [u8; 128] = {
    let mut key = [0; 128];
    let mut i = 1;
    while i < 128 {
        key[i] = key[i - 1] + 1;
        i += 1;
    }
    key
};

type Memory = ipsec::resources!(RustCrypto; ike_sas: 1, handshakes: 1, exchanges: 1, children: 2, manual: 3,
    policies: 2, buffers: 4, buffer_len: 1280, window: 64);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn between(here: &str, there: &str) -> Selectors {
    let side = |address| {
        let mut list = SelectorList::new();
        list.push(TrafficSelector::addresses(AddressRange::host(ip(address)))).unwrap();
        list
    };
    Selectors { local: side(here), remote: side(there) }
}

/// A UDP packet with room around it that is enough for two protections.
fn packet(from: &str, to: &str, len: usize) -> (Vec<u8>, core::ops::Range<usize>) {
    let mut buf = vec![0; 2 * MAX_HEADROOM];
    let data: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
    let mut udp = UdpHeader::new(7, 8, len).unwrap();
    match (ip(from), ip(to)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ip = Ipv4Header::new(from, to, 17, 1, 64, UdpHeader::LEN + len).unwrap();
            buf.extend_from_slice(ip.as_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let total = UdpHeader::LEN + len;
            let ip = Ipv6Header::new(from, to, 17, 0, 64, total).unwrap();
            buf.extend_from_slice(ip.as_bytes());
            let sum = Checksum::new().pseudo_v6(from, to, 17, total.try_into().unwrap());
            udp.checksum = sum.bytes(udp.as_bytes()).bytes(&data).finish_udp().into();
        }
        _ => panic!("one version"),
    }
    buf.extend_from_slice(udp.as_bytes());
    buf.extend(data);
    let range = 2 * MAX_HEADROOM..buf.len();
    buf.extend_from_slice(&[0; 2 * MAX_TAILROOM]);
    (buf, range)
}

/// Two gateways, and the hosts between which they protect packets.
struct Two<'r> {
    gateways: [Gateway<'r, RustCrypto>; 2],
    hosts: [&'static str; 2],
    rng: SeededRng,
}

impl Two<'_> {
    /// Seals a packet from one side to the other.
    fn seal(&mut self, side: usize, len: usize) -> Result<Vec<u8>, String> {
        let (mut buf, range) = packet(self.hosts[side], self.hosts[1 - side], len);
        let packet = PacketBuf::new(&mut buf, range).unwrap();
        match self.gateways[side].outbound(NOW, &mut self.rng, packet) {
            Ok(Outbound::Send(sent)) => Ok(sent.outer().to_vec()),
            Ok(other) => Err(format!("{other:?}")),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Opens one that came from the other side.
    fn open(&mut self, side: usize, wire: &[u8]) -> Result<(Vec<u8>, Via), InboundError> {
        let mut bytes = wire.to_vec();
        match self.gateways[side].inbound_ip(NOW, &mut self.rng, &mut bytes)? {
            Inbound::Packet(received) => {
                let (packet, range, via) = (received.packet.to_vec(), received.range, received.via);
                assert_eq!(packet, bytes[range]);
                Ok((packet, via))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Carries a packet of each side to the other.
    fn carry(&mut self) {
        for side in [0, 1] {
            for len in [0, 1, 7, 500] {
                let wire = self.seal(side, len).unwrap();
                let (received, via) = self.open(1 - side, &wire).unwrap();
                let (buf, range) = packet(self.hosts[side], self.hosts[1 - side], len);
                assert_eq!(received, buf[range]);
                assert!(matches!(via, Via::Manual(_)));
            }
        }
    }

    fn events(&mut self, side: usize) -> Vec<GatewayEvent> {
        let mut all = Vec::new();
        self.gateways[side].settle(NOW, &mut self.rng, |event| all.push(event));
        all
    }
}

/// Runs `body` with two gateways that protect what goes between these hosts, and have no keys.
fn run(hosts: [&'static str; 2], body: impl for<'r> FnOnce(&mut Two<'r>)) {
    let (mut one, mut two) = (Memory::new(), Memory::new());
    let mut rng = SeededRng::new(1);
    let manual = [[between(hosts[0], hosts[1])], [between(hosts[1], hosts[0])]];
    let ike = Config::new(&[]);
    let config = [0, 1].map(|i| GatewayConfig { manual: &manual[i], ..GatewayConfig::new(ike) });
    let gateways = [
        Gateway::new(&config[0], one.lend(), &mut rng).unwrap(),
        Gateway::new(&config[1], two.lend(), &mut rng).unwrap(),
    ];
    body(&mut Two { gateways, hosts, rng });
}

fn path(addresses: [&str; 2], port: u16) -> Path {
    Path::new(Endpoint::new(ip(addresses[0]), port), Endpoint::new(ip(addresses[1]), port))
}

/// Both directions, as one side sees them. SPIs are 0x1001 from side 0 to side 1, and 0x1002 back.
fn sas(side: usize, protection: Algorithms, from: usize) -> ManualSas<'static> {
    let key = |number: u32| {
        let len = protection.keymat_len().unwrap();
        let at = from + number as usize;
        Some(ManualKey { spi: Spi::new(0x1001 + number).unwrap(), keymat: &KEY[at..at + len] })
    };
    let (there, back) = (key(0), key(1));
    let (inbound, outbound) = if side == 0 { (back, there) } else { (there, back) };
    ManualSas { protection, inbound, outbound }
}

fn manual(side: usize, protection: Algorithms, outer: [&str; 2]) -> Manual<'static> {
    let outer = if side == 0 { outer } else { [outer[1], outer[0]] };
    Manual {
        mode: Mode::TUNNEL,
        path: path(outer, 0),
        encapsulation: Encapsulation::Ip,
        esn: false,
        replay_window: 64,
        lifetime: Lifetime::UNLIMITED,
        sequence: 0,
        sas: sas(side, protection, 0),
        around: None,
    }
}

fn esp(words: &str) -> Algorithms {
    Algorithms::Esp(words.parse().unwrap())
}

#[test]
fn every_suite_and_mode_carries_packets() {
    let suites = RustCrypto::SUITES.iter().map(|suite| Algorithms::Esp(*suite));
    let integs = RustCrypto::INTEGS.iter().map(|integ| Algorithms::ah(*integ));
    let mut cells = 0;
    for protection in suites.chain(integs) {
        for (outer, hosts) in [(V4, HOSTS), (V6, HOSTS), (V4, V4), (V6, V6)] {
            let is_esp = protection.protocol() == Protocol::Esp;
            for (esn, udp) in [(false, false), (true, false), (false, is_esp)] {
                run(hosts, |two| {
                    for side in [0, 1] {
                        let mut manual = manual(side, protection, outer);
                        manual.esn = esn;
                        if outer == hosts {
                            manual.mode = Mode::TRANSPORT;
                        }
                        if udp {
                            manual.encapsulation = Encapsulation::Udp;
                            manual.path = manual.path.with_ports(4500, 4500);
                        }
                        two.gateways[side].install_manual(NOW, 0, &manual).unwrap();
                    }
                    two.carry();
                });
                cells += 1;
            }
        }
    }
    assert!(cells > 500, "{cells}");
}

#[test]
fn the_greatest_room_is_enough_for_every_protection_and_no_more() {
    let tunnel = Mode::TUNNEL;
    let beet = |host: &str| Mode::Beet(AddressPair { local: ip(host), remote: ip(host) });
    let mut all = Vec::new();
    for (v4, mode) in [V4[0], V6[0]]
        .into_iter()
        .flat_map(|host| [tunnel, Mode::TRANSPORT, beet(host)])
        .flat_map(|mode| [(true, mode), (false, mode)])
    {
        for suite in RustCrypto::SUITES {
            for encapsulation in [Encapsulation::Ip, Encapsulation::Udp] {
                let overhead = Overhead::new(&suite.shape().unwrap(), encapsulation, v4);
                all.push(overhead.in_mode(&mode, v4));
            }
        }
        for integ in RustCrypto::INTEGS {
            for align in [AhAlign::Standard, AhAlign::Eight] {
                let icv_len = integ.icv_len().unwrap();
                let overhead = Overhead::ah(integ.iv_len(), icv_len, align, v4);
                all.push(overhead.in_mode(&mode, v4));
            }
        }
    }
    assert_eq!(all.iter().map(Overhead::headroom).max(), Some(MAX_HEADROOM));
    assert_eq!(all.iter().map(Overhead::tailroom).max(), Some(MAX_TAILROOM));
}

#[test]
fn the_greatest_room_is_what_sealing_needs() {
    let ah = Algorithms::ah(Integ::HMAC_SHA2_512_256);
    let cbc = esp("aes256-sha512");
    let seal = |first, around: Option<Algorithms>, headroom: usize, tailroom: usize| {
        let mut result = Ok(0);
        run(HOSTS, |two| {
            let mut manual = manual(0, first, V6);
            manual.around = around.map(|around| {
                let mut second = sas(0, around, 10);
                for key in [&mut second.inbound, &mut second.outbound].into_iter().flatten() {
                    key.spi = Spi::new(key.spi.get() + 0x1000).unwrap();
                }
                second
            });
            let id = two.gateways[0].install_manual(NOW, 0, &manual).unwrap();
            let (first, second) = two.gateways[0].manual_overhead(id).unwrap();
            let (buf, range) = packet(HOSTS[0], HOSTS[1], 3);
            let mut room = vec![0; headroom];
            room.extend_from_slice(&buf[range]);
            let end = room.len();
            room.resize(end + tailroom, 0);
            let packet = PacketBuf::new(&mut room, headroom..end).unwrap();
            let sent = two.gateways[0].outbound(NOW, &mut two.rng, packet);
            result = match sent {
                Ok(Outbound::Send(_)) => {
                    Ok(first.headroom() + second.map_or(0, |second| second.headroom()))
                }
                Ok(other) => panic!("{other:?}"),
                Err(e) => Err(e.to_string()),
            };
        });
        result
    };
    assert_eq!(seal(ah, None, MAX_HEADROOM, MAX_TAILROOM), Ok(MAX_HEADROOM));
    assert!(seal(ah, None, MAX_HEADROOM - 1, MAX_TAILROOM).is_err());
    assert_eq!(seal(cbc, None, MAX_HEADROOM, MAX_TAILROOM), Ok(64));
    // Around another protection, it is its header alone; and that is what `manual_overhead` tells.
    for (first, around, needed) in [(ah, ah, 88 + 48), (cbc, ah, 64 + 48), (ah, cbc, 88 + 24)] {
        let tailroom = 2 * MAX_TAILROOM;
        assert_eq!(seal(first, Some(around), 2 * MAX_HEADROOM, tailroom), Ok(needed));
        assert_eq!(seal(first, Some(around), needed, tailroom), Ok(needed));
        assert!(seal(first, Some(around), needed - 1, tailroom).is_err());
    }
}

/// A router says that an IPv4 packet is too big, and quotes so many bytes of it.
fn too_big(outer: &[u8], quoted: usize) -> Vec<u8> {
    let mut out = vec![0; 600];
    let from = [192, 0, 2, 1].into();
    let len = ipsec_esp::icmp::packet_too_big(outer, 1200, from, &mut out).unwrap();
    out.truncate(len.min(28 + quoted));
    let len = u16::try_from(out.len()).unwrap();
    out[2..4].copy_from_slice(&len.to_be_bytes());
    for (at, range) in [(10, 0..20), (22, 20..out.len())] {
        out[at..at + 2].fill(0);
        let sum = Checksum::new().bytes(&out[range]).finish();
        out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    out
}

#[test]
fn a_guessed_spi_lowers_no_path_mtu() {
    // RFC 4301 section 6.1.1, RFC 4301 section 8.2.1
    const SENT: u64 = 1 << 14;
    for (protection, udp, sequence) in [
        (esp("aes128-sha256"), false, 24),
        (esp("aes128-sha256"), true, 32),
        (Algorithms::ah(Integ::HMAC_SHA2_256_128), false, 28),
    ] {
        run(HOSTS, |two| {
            let mut manual = manual(0, protection, V4);
            manual.sequence = SENT;
            if udp {
                manual.encapsulation = Encapsulation::Udp;
                manual.path = manual.path.with_ports(4500, 4500);
            }
            two.gateways[0].learn_path_mtu(
                Box::leak(Box::new([PathMtuSlot::EMPTY; 8])),
                Box::leak(Box::new([0; 16])),
            );
            two.gateways[0].install_manual(NOW, 0, &manual).unwrap();
            let outer = two.seal(0, 1000).unwrap();
            let number = |number: u32| {
                let mut outer = outer.clone();
                outer[sequence..sequence + 4].copy_from_slice(&number.to_be_bytes());
                outer
            };
            let last = u32::try_from(SENT).unwrap() + 1;
            assert_eq!(number(last), outer);
            let gateway = &mut two.gateways[0];
            // Numbers that were not sent lately, and those that were not sent yet.
            for other in [0, 1, last + 1, last + 2, u32::MAX] {
                let told = too_big(&number(other), 600);
                assert_eq!(gateway.handle_too_big(NOW, &told), None, "{other}");
            }
            let of_ah = protection.protocol() == Protocol::Ah;
            let told = too_big(&outer, sequence);
            assert_eq!(gateway.handle_too_big(NOW, &told), of_ah.then_some(1200));
            if !of_ah {
                let told = too_big(&outer, sequence + 3);
                assert_eq!(gateway.handle_too_big(NOW, &told), None);
                let told = too_big(&number(last - (1 << 14) + 1), sequence + 4);
                assert_eq!(gateway.handle_too_big(NOW, &told), Some(1200));
            }
        });
    }
}

#[test]
fn beet_mode() {
    run(HOSTS, |two| {
        for side in [0, 1] {
            let mut manual = manual(side, esp("aes128-sha256"), V4);
            let pair = AddressPair { local: ip(HOSTS[side]), remote: ip(HOSTS[1 - side]) };
            manual.mode = Mode::Beet(pair);
            two.gateways[side].install_manual(NOW, 0, &manual).unwrap();
        }
        two.carry();
    });
}

#[test]
fn one_protection_goes_around_another() {
    let ah = Algorithms::ah(Integ::HMAC_SHA2_256_128);
    for (first, around) in [(esp("aes128gcm16"), ah), (ah, esp("aes128gcm16")), (ah, ah)] {
        for (outer, hosts) in [(V4, HOSTS), (V6, HOSTS), (V4, V4)] {
            run(hosts, |two| {
                let mut ids = Vec::new();
                for side in [0, 1] {
                    let mut manual = manual(side, first, outer);
                    if outer == hosts {
                        manual.mode = Mode::TRANSPORT;
                    }
                    let mut second = sas(side, around, 10);
                    // Two SAs of one protocol have different SPIs.
                    for key in [&mut second.inbound, &mut second.outbound].into_iter().flatten() {
                        key.spi = Spi::new(key.spi.get() + 0x1000).unwrap();
                    }
                    manual.around = Some(second);
                    ids.push(two.gateways[side].install_manual(NOW, 0, &manual).unwrap());
                }
                two.carry();
                let wire = two.seal(0, 10).unwrap();
                let next = if outer == V4 { 9 } else { 6 };
                assert_eq!(wire[next], around.protocol().number());
                // Only one of the two protections is not enough.
                two.gateways[0].remove_manual(ids[0]);
                let mut bare = manual(0, first, outer);
                if outer == hosts {
                    bare.mode = Mode::TRANSPORT;
                }
                bare.sequence = 100;
                two.gateways[0].install_manual(NOW, 0, &bare).unwrap();
                let wire = two.seal(0, 10).unwrap();
                let refused = two.open(1, &wire).unwrap_err();
                assert!(matches!(refused, InboundError::NotNested(_)), "{refused}");
                assert_eq!(two.gateways[1].counters().dropped(DropReason::InSelectors), 1);
                assert!(two.gateways[1].remove_manual(ids[1]));
                assert_eq!(two.gateways[1].statistics().inbound_sas, 0);
                assert_eq!(two.gateways[1].statistics().outbound_sas, 0);
            });
        }
    }
}

#[test]
fn the_outer_protection_alone_carries_nothing() {
    let ah = Algorithms::ah(Integ::HMAC_SHA1_96);
    run(V4, |two| {
        let mut both = manual(1, esp("aes128gcm16"), V4);
        both.mode = Mode::TRANSPORT;
        both.around = Some(sas(1, ah, 10));
        two.gateways[1].install_manual(NOW, 0, &both).unwrap();
        let mut only = manual(0, ah, V4);
        only.mode = Mode::TRANSPORT;
        only.sas = sas(0, ah, 10);
        two.gateways[0].install_manual(NOW, 0, &only).unwrap();
        let wire = two.seal(0, 10).unwrap();
        // UDP is not what AH is to go around.
        let refused = two.open(1, &wire).unwrap_err();
        assert!(matches!(refused, InboundError::Open(OpenError::Selectors(..))), "{refused}");
    });
}

#[test]
fn without_keys_nothing_passes() {
    run(HOSTS, |two| {
        assert_eq!(two.seal(0, 10).unwrap_err(), "Discard(NoKeys)");
        let one =
            two.gateways[0].install_manual(NOW, 0, &manual(0, esp("aes128gcm16"), V4)).unwrap();
        let other =
            two.gateways[1].install_manual(NOW, 0, &manual(1, esp("aes128gcm16"), V4)).unwrap();
        two.carry();
        let report = two.gateways[0].manual(one).unwrap();
        assert_eq!((report.policy, report.sent.0, report.received.0), (0, 4, 4));
        assert_eq!(report.sequence, 4);
        let late = two.seal(0, 10).unwrap();
        assert!(two.gateways[0].remove_manual(one) && !two.gateways[0].remove_manual(one));
        assert!(two.gateways[1].remove_manual(other));
        assert_eq!(two.gateways[0].manual(one), None);
        assert_eq!(two.seal(0, 10).unwrap_err(), "Discard(NoKeys)");
        let refused = two.open(1, &late).unwrap_err();
        assert!(matches!(refused, InboundError::Open(OpenError::UnknownSpi(_))), "{refused}");
        assert_eq!(two.gateways[0].counters().dropped(DropReason::OutNoKeys), 2);
        assert_eq!(two.gateways[0].statistics().inbound_sas, 0);
        assert_eq!(two.gateways[0].statistics().outbound_sas, 0);
        // In clear, it may not come in either.
        let (buf, range) = packet(HOSTS[1], HOSTS[0], 10);
        let clear = two.gateways[0].inbound_clear(NOW, &buf[range]).unwrap_err();
        assert_eq!(clear, InboundError::Clear(ClearError::NotProtected));
    });
}

#[test]
fn keys_are_changed_without_a_gap() {
    run(HOSTS, |two| {
        let old: Vec<ManualId> = [0, 1]
            .iter()
            .map(|side| {
                let manual = manual(*side, esp("aes128gcm16"), V4);
                two.gateways[*side].install_manual(NOW, 0, &manual).unwrap()
            })
            .collect();
        let new = |side, receive: bool| {
            let mut manual = manual(side, esp("chacha20poly1305"), V4);
            let sas = &mut manual.sas;
            for key in [&mut sas.inbound, &mut sas.outbound].into_iter().flatten() {
                key.spi = Spi::new(key.spi.get() + 0x100).unwrap();
            }
            *(if receive { &mut sas.outbound } else { &mut sas.inbound }) = None;
            manual
        };
        let spi = |wire: &[u8]| u32::from_be_bytes(wire[20..24].try_into().unwrap());
        two.carry();
        for side in [0, 1] {
            two.gateways[side].install_manual(NOW, 0, &new(side, true)).unwrap();
            two.carry();
            assert_eq!(spi(&two.seal(0, 9).unwrap()), 0x1001, "the new one is only to receive on");
        }
        for side in [0, 1] {
            two.gateways[side].install_manual(NOW, 0, &new(side, false)).unwrap();
            two.carry();
        }
        assert_eq!(spi(&two.seal(0, 9).unwrap()), 0x1101);
        let full = two.gateways[0].install_manual(NOW, 0, &manual(0, esp("aes256gcm16"), V4));
        assert_eq!(full, Err(ManualError::Full));
        for side in [0, 1] {
            assert!(two.gateways[side].remove_manual(old[side]));
        }
        two.carry();
    });
}

#[test]
fn limits_are_told_once_and_end_the_sa() {
    run(HOSTS, |two| {
        let limits = |packets| Limits { packets, ..Limits::NONE };
        let mut short = manual(0, esp("aes128gcm16"), V4);
        short.lifetime = Lifetime { soft: limits(2), hard: limits(3) };
        let id = two.gateways[0].install_manual(NOW, 0, &short).unwrap();
        let told = |two: &mut Two<'_>| -> Vec<bool> {
            let limits = two.events(0).into_iter().map(|event| match event {
                GatewayEvent::ManualLimit { id: of, policy: 0, hard } if of == id => hard,
                other => panic!("{other:?}"),
            });
            limits.collect()
        };
        two.seal(0, 1).unwrap();
        assert!(told(two).is_empty());
        two.seal(0, 1).unwrap();
        two.seal(0, 1).unwrap();
        assert_eq!(told(two), [false]);
        let error = two.seal(0, 1).unwrap_err();
        assert!(error.contains("lifetime is over"), "{error}");
        assert_eq!(told(two), [true]);
        assert_eq!(two.seal(0, 1).unwrap_err(), "Discard(NoKeys)");
        assert!(told(two).is_empty());
        assert!(two.gateways[0].remove_manual(id));
    });
    // What was not told yet is forgotten with the SA.
    run(HOSTS, |two| {
        let hard = Limits { time: Duration::ZERO, ..Limits::NONE };
        let mut over = manual(0, esp("aes128gcm16"), V4);
        over.lifetime = Lifetime { soft: Limits::NONE, hard };
        let first = two.gateways[0].install_manual(NOW, 0, &over).unwrap();
        let mut second = manual(0, esp("aes128gcm16"), V4);
        second.lifetime = over.lifetime;
        second.sas.inbound = None;
        two.seal(0, 1).unwrap_err();
        let second = two.gateways[0].install_manual(NOW, 0, &second).unwrap();
        two.seal(0, 1).unwrap_err();
        assert!(two.gateways[0].remove_manual(first));
        let told = two.events(0);
        assert!(
            matches!(told[..], [GatewayEvent::ManualLimit { id, hard: true, .. }] if id == second)
        );
    });
}

#[test]
fn sequence_numbers_go_on_where_they_were() {
    run(HOSTS, |two| {
        let mut manual = manual(0, esp("aes128gcm16"), V4);
        manual.sequence = 0x1234;
        two.gateways[0].install_manual(NOW, 0, &manual).unwrap();
        let wire = two.seal(0, 1).unwrap();
        assert_eq!(wire[24..28], [0, 0, 0x12, 0x35]);
        assert_eq!(wire[28..36], [0, 0, 0, 0, 0, 0, 0x12, 0x35], "the IV is a counter as well");
    });
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing_behind() {
    run(HOSTS, |two| {
        let good = || manual(0, esp("aes128gcm16"), V4);
        let mut install = |policy, manual: &Manual<'_>| {
            let gateway = &mut two.gateways[0];
            let error = gateway.install_manual(NOW, policy, manual).unwrap_err();
            let statistics = gateway.statistics();
            assert_eq!((statistics.inbound_sas, statistics.outbound_sas), (0, 0), "{error}");
            assert!(!error.to_string().is_empty());
            error
        };
        assert_eq!(install(1, &good()), ManualError::Policy);
        let mut none = good();
        (none.sas.inbound, none.sas.outbound) = (None, None);
        assert_eq!(install(0, &none), ManualError::Nothing);
        let mut mixed = good();
        mixed.path.remote = Endpoint::new(ip(V6[0]), 0);
        assert_eq!(install(0, &mixed), ManualError::Path);
        let mut udp = good();
        udp.encapsulation = Encapsulation::Udp;
        assert_eq!(install(0, &udp), ManualError::Path);
        udp.path = udp.path.with_ports(4500, 4500);
        udp.around = Some(sas(0, Algorithms::ah(Integ::HMAC_SHA1_96), 0));
        assert_eq!(install(0, &udp), ManualError::Around);
        let mut half = good();
        half.around =
            Some(ManualSas { inbound: None, ..sas(0, Algorithms::ah(Integ::HMAC_SHA1_96), 0) });
        assert_eq!(install(0, &half), ManualError::Around);
        let mut window = good();
        window.replay_window = 10_000;
        let error = ManualError::Sa(Direction::Inbound, InstallError::WindowTooLarge);
        assert_eq!(install(0, &window), error);
        // RFC 4303 section 3.4.3
        (window.replay_window, window.esn) = (0, true);
        let error = ManualError::Sa(Direction::Inbound, InstallError::EsnWithoutReplay);
        assert_eq!(install(0, &window), error);
        // RFC 4303 section 3.2: encryption without integrity
        let suite = Suite::aead(Encr::AES_CBC, 128);
        let bare = Manual {
            sas: ManualSas { protection: Algorithms::Esp(suite), ..good().sas },
            ..good()
        };
        assert!(matches!(install(0, &bare), ManualError::Sa(_, InstallError::Crypto(_))));
        let mut short = good();
        if let Some(key) = &mut short.sas.outbound {
            key.keymat = &key.keymat[1..];
        }
        assert!(matches!(
            install(0, &short),
            ManualError::Sa(Direction::Outbound, InstallError::Crypto(_))
        ));
        // The second protection is refused: the first one goes as well.
        let mut twice = good();
        twice.around = Some(ManualSas { protection: esp("aes128gcm16"), ..good().sas });
        let error = ManualError::Sa(Direction::Inbound, InstallError::Spi);
        assert_eq!(install(0, &twice), error);

        two.gateways[0].install_manual(NOW, 0, &good()).unwrap();
        let again = two.gateways[0].install_manual(NOW, 0, &good());
        assert_eq!(again, Err(error), "the SPI is in use");
    });
}

#[test]
fn a_replayed_packet_is_refused_unless_the_window_is_off() {
    for (window, passes) in [(64, false), (0, true)] {
        run(HOSTS, |two| {
            for side in [0, 1] {
                let mut manual = manual(side, esp("aes128-sha1"), V4);
                manual.replay_window = window;
                two.gateways[side].install_manual(NOW, 0, &manual).unwrap();
            }
            let wire = two.seal(0, 1).unwrap();
            two.open(1, &wire).unwrap();
            assert_eq!(two.open(1, &wire).is_ok(), passes);
        });
    }
}

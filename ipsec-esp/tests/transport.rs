//! Transport and BEET mode: what stays outside, what a NAT does, and packets that do not belong.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{
    Memory, NOW, Setup, ip_packet, reversed, seal_copy, udp6_checksum_ok, v4_path, v6_path,
};
use ipsec_core::crypto::{Provider, Suite};
use ipsec_core::mode::{AddressPair, Mode};
use ipsec_core::sa::Encapsulation;
use ipsec_core::wire::{Checksum, IpError, IpPacket, Ipv4Header, Ipv6Header, UdpHeader};
use ipsec_esp::{
    Before, Inbound, OpenError, Overhead, SealError, Sealed, inbound_ip, inbound_udp, open,
};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::toy::Toy;
use zerocopy::FromBytes;

/// A UDP datagram between the ends of the path, with correct checksums.
fn own_packet(v4: bool, len: usize) -> Vec<u8> {
    let path = if v4 { v4_path(0, 0) } else { v6_path(0, 0) };
    let mut packet = ip_packet(path.local.address, path.remote.address, 0xb9, len);
    write_checksum(&mut packet, 17);
    packet
}

/// Where the checksum of TCP or UDP stands in the packet.
fn checksum_at(packet: &[u8]) -> usize {
    let parsed = IpPacket::parse(packet).unwrap();
    parsed.upper + if parsed.flow.protocol == 6 { 16 } else { 6 }
}

/// The sum over upper layer and pseudo header; 0 where the checksum is right.
fn sum(packet: &[u8]) -> u16 {
    let parsed = IpPacket::parse(packet).unwrap();
    let upper = &packet[parsed.upper..parsed.len];
    let (len, protocol) = (upper.len(), parsed.flow.protocol);
    let sum = match (parsed.flow.source, parsed.flow.destination) {
        (std::net::IpAddr::V4(a), std::net::IpAddr::V4(b)) => {
            Checksum::new().pseudo_v4(a, b, protocol, len.try_into().unwrap())
        }
        (std::net::IpAddr::V6(a), std::net::IpAddr::V6(b)) => {
            Checksum::new().pseudo_v6(a, b, protocol, len.try_into().unwrap())
        }
        ends => panic!("{ends:?}"),
    };
    sum.bytes(upper).finish()
}

fn write_checksum(packet: &mut [u8], protocol: u8) {
    let v4 = packet[0] >> 4 == 4;
    packet[if v4 { 9 } else { 6 }] = protocol;
    if v4 {
        let (header, _) = Ipv4Header::mut_from_prefix(packet).unwrap();
        header.update_checksum();
    }
    let at = checksum_at(packet);
    packet[at..at + 2].fill(0);
    let right = sum(packet).to_be_bytes();
    packet[at..at + 2].copy_from_slice(&right);
}

fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut packet = [&packet[..20], options, &packet[20..]].concat();
    packet[0] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    let len = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[10..12].fill(0);
    let header_len = 20 + options.len();
    let right = Checksum::new().bytes(&packet[..header_len]).finish();
    packet[10..12].copy_from_slice(&right.to_be_bytes());
    packet
}

/// Puts extension headers, the last of which says `UDP`, behind an IPv6 header that is to say `first`.
fn with_extensions(packet: &[u8], first: u8, extensions: &[u8]) -> Vec<u8> {
    let mut packet = [&packet[..40], extensions, &packet[40..]].concat();
    packet[6] = first;
    let len = u16::try_from(packet.len() - 40).unwrap();
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    packet
}

fn setups(suite: Suite) -> Vec<Setup> {
    let mut all = Vec::new();
    for (encapsulation, path) in [
        (Encapsulation::Ip, v4_path(0, 0)),
        (Encapsulation::Ip, v6_path(0, 0)),
        (Encapsulation::Udp, v4_path(4500, 4500)),
        (Encapsulation::Udp, v6_path(4500, 4500)),
    ] {
        for esn in [false, true] {
            let original =
                Some(AddressPair { local: path.local.address, remote: path.remote.address });
            let mode = Mode::Transport { original };
            all.push(Setup { encapsulation, path, esn, mode, ..Setup::new(suite) });
        }
    }
    all
}

/// The sender's outer packet, and what comes of it at the receiver.
fn through<P: Provider>(
    setup: &Setup,
    inner: &[u8],
) -> (Sealed, Vec<u8>, Result<Vec<u8>, OpenError>) {
    let (mut a, mut b) = (Memory::<P>::new(1), Memory::<P>::new(1));
    let (mut sender, mut receiver) = (a.sad(), b.sad());
    let out = setup.install_outbound(&mut sender);
    setup.install_inbound(&mut receiver);
    let (sealed, outer) = seal_copy(&mut sender, out, inner).unwrap();
    let mut arrived = outer.clone();
    let result = inbound_ip(&mut receiver, NOW, &mut arrived).map(|inbound| match inbound {
        Inbound::Packet { packet, .. } => {
            assert_eq!(IpPacket::parse(packet).unwrap().len, packet.len());
            packet.to_vec()
        }
        other => panic!("{other:?}"),
    });
    (sealed, outer, result)
}

fn every_suite<P: Provider>() {
    for suite in P::SUITES {
        for setup in setups(*suite) {
            let v4 = setup.path.local.address.is_ipv4();
            let mut memory = Memory::<P>::new(1);
            let mut sad = memory.sad();
            let id = setup.install_outbound(&mut sad);
            let overhead = Overhead::of(&sad.outbound(id).unwrap().protection);
            for len in 50..54 {
                let inner = own_packet(v4, len);
                let (sealed, outer, opened) = through::<P>(&setup, &inner);
                assert_eq!(opened.unwrap(), inner, "{suite} {len}");
                assert_eq!(outer.len(), overhead.sealed_len(len), "{suite} {len}");
                assert_eq!(sealed.esp.end, outer.len());
            }
        }
    }
}

#[test]
fn every_suite_of_rustcrypto() {
    every_suite::<RustCrypto>();
}

#[test]
fn every_suite_of_the_toy_provider() {
    every_suite::<Toy>();
}

#[test]
fn the_packet_keeps_its_ipv4_header() {
    // RFC 4303 section 3.1.1
    let setup = Setup::new(Suite::AES_128_GCM).transport();
    let inner = with_options(&own_packet(true, 60), &[148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 1]);
    let (sealed, outer, opened) = through::<RustCrypto>(&setup, &inner);
    assert_eq!(opened.unwrap(), inner);
    let ip = Ipv4Header::parse(&outer).unwrap();
    assert!(ip.checksum_ok());
    assert_eq!((ip.header.protocol, ip.header.tos, ip.header.ttl), (50, 0xb9, 63));
    assert_eq!((ip.options, sealed.esp.start), (&inner[20..32], 32));
    assert_eq!(outer[32..36], [0x12, 0x34, 0x56, 0x78]);
    // RFC 3948 section 2.1
    let udp = Setup { encapsulation: Encapsulation::Udp, path: v4_path(4500, 4500), ..setup };
    let (sealed, outer, _) = through::<RustCrypto>(&udp, &inner);
    let ip = Ipv4Header::parse(&outer).unwrap();
    assert!(ip.checksum_ok());
    let (header, esp) = UdpHeader::parse(ip.payload).unwrap();
    assert_eq!((ip.header.protocol, header.checksum.get(), sealed.esp.start), (17, 0, 40));
    assert_eq!(esp.len(), outer.len() - 40);
}

#[test]
fn where_esp_stands_among_ipv6_extension_headers() {
    // RFC 4303 section 3.1.1: behind hop-by-hop, routing and fragment headers, before destination options for the end.
    let plain = own_packet(false, 70);
    let hop = [0u8, 0, 1, 4, 0, 0, 0, 0];
    let options = hop;
    let mut routing = vec![0, 2, 2, 0, 0, 0, 0, 0];
    routing.extend([9; 16]);
    let fragment = [0u8, 0, 0, 0, 0, 0, 0, 7];
    let chain = |headers: &[(u8, &[u8])]| {
        let mut bytes = Vec::new();
        for (i, (_, header)) in headers.iter().enumerate() {
            let mut header = header.to_vec();
            header[0] = headers.get(i + 1).map_or(17, |(next, _)| *next);
            bytes.extend(header);
        }
        with_extensions(&plain, headers[0].0, &bytes)
    };
    for (headers, stays) in [
        (vec![(0, &hop[..])], 8),
        (vec![(60, &options[..])], 0),
        (vec![(0, &hop), (60, &options)], 8),
        (vec![(0, &hop), (60, &options), (43, &routing), (60, &options)], 40),
        (vec![(43, &routing), (44, &fragment), (60, &options)], 32),
        (vec![(44, &fragment)], 8),
    ] {
        for encapsulation in [Encapsulation::Ip, Encapsulation::Udp] {
            let path = match encapsulation {
                Encapsulation::Ip => v6_path(0, 0),
                Encapsulation::Udp => v6_path(4500, 4500),
            };
            let inner = chain(&headers);
            let setup = Setup { path, encapsulation, ..Setup::new(Suite::AES_128_GCM).transport() };
            let (sealed, outer, opened) = through::<RustCrypto>(&setup, &inner);
            let udp = if encapsulation == Encapsulation::Udp { 8 } else { 0 };
            assert_eq!(sealed.esp.start, 40 + stays + udp, "{headers:?}");
            let upper = Ipv6Header::parse(&outer).unwrap().upper().unwrap();
            assert_eq!(upper.protocol, if udp > 0 { 17 } else { 50 });
            let mut opened = opened.unwrap();
            if udp > 0 {
                // Without the addresses of IKE, checksums are computed anew: they were right.
                assert_eq!(sum(&opened), 0);
                let at = checksum_at(&opened);
                opened[at..at + 2].copy_from_slice(&inner[at..at + 2]);
            }
            assert_eq!(opened, inner, "{headers:?}");
            assert!(udp == 0 || stays > 0 || udp6_checksum_ok(&outer));
        }
    }
}

#[test]
fn a_daemon_gets_a_header_made_from_the_path() {
    for (v4, path, room) in [(true, v4_path(4500, 4500), 0), (false, v6_path(4500, 4500), 6)] {
        let setup = Setup {
            path,
            encapsulation: Encapsulation::Udp,
            ..Setup::new(Suite::AES_128_GCM).transport()
        };
        let inner = own_packet(v4, 77);
        let (sealed, outer, _) = through::<RustCrypto>(&setup, &inner);
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        setup.install_inbound(&mut sad);
        // Too little room: nothing has changed.
        let mut arrival = setup.arrival();
        arrival.traffic_class = 0xb9;
        arrival.before = Before::Room(0);
        let mut bytes = outer[sealed.esp.clone()].to_vec();
        if v4 {
            let result = inbound_udp(&mut sad, NOW, reversed(path), 0xb9, &mut bytes);
            let Ok(Inbound::Packet { packet, .. }) = result else { panic!("{result:?}") };
            assert_eq!(packet.len(), inner.len());
            assert_eq!((packet[1], &packet[28..]), (0xb9, &inner[28..]));
            continue;
        }
        let refused = open(&mut sad, NOW, &arrival, &mut bytes);
        assert!(matches!(refused, Err(OpenError::NoRoom(_))));
        assert_eq!(bytes, outer[sealed.esp.clone()]);
        let mut bytes = [&vec![0xee; room], &outer[sealed.esp]].concat();
        arrival.before = Before::Room(room);
        let opened = open(&mut sad, NOW, &arrival, &mut bytes).unwrap();
        let packet = &bytes[opened.range];
        assert_eq!(packet[8..46], inner[8..46]);
        assert_eq!(packet[48..], inner[48..]);
        let inner = IpPacket::parse(packet).unwrap();
        assert_eq!((sum(packet), inner.traffic_class), (0, 0xb9));
    }
}

/// The receiver sees a packet of `inner` come from another address, at another one of its own.
fn behind_nat(inner: &[u8], original: Option<AddressPair>) -> Vec<u8> {
    let v4 = inner[0] >> 4 == 4;
    let path = if v4 { v4_path(4500, 4500) } else { v6_path(4500, 4500) };
    let setup = Setup {
        path,
        encapsulation: Encapsulation::Udp,
        mode: Mode::Transport { original },
        ..Setup::new(Suite::AES_128_GCM)
    };
    let (mut a, mut b) = (Memory::<RustCrypto>::new(1), Memory::<RustCrypto>::new(1));
    let (mut sender, mut receiver) = (a.sad(), b.sad());
    let out = setup.install_outbound(&mut sender);
    setup.install_inbound(&mut receiver);
    let (_, mut outer) = seal_copy(&mut sender, out, inner).unwrap();
    let ends = if v4 { 12..20 } else { 8..40 };
    for byte in &mut outer[ends] {
        *byte = byte.wrapping_mul(7).wrapping_add(0x35);
    }
    match inbound_ip(&mut receiver, NOW, &mut outer).unwrap() {
        Inbound::Packet { packet, .. } => packet.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn checksums_behind_a_nat() {
    // RFC 3948 section 3.1.2
    for v4 in [true, false] {
        let path = if v4 { v4_path(0, 0) } else { v6_path(0, 0) };
        let original = AddressPair { local: path.local.address, remote: path.remote.address };
        for len in 70..90 {
            let udp = own_packet(v4, len);
            let mut tcp = udp.clone();
            write_checksum(&mut tcp, 6);
            for packet in [&udp, &tcp] {
                assert_eq!(sum(packet), 0);
                assert_eq!(sum(&behind_nat(packet, Some(original))), 0);
            }
            assert_eq!(sum(&behind_nat(&tcp, None)), 0);
            let mended = behind_nat(&udp, None);
            let at = checksum_at(&mended);
            if v4 {
                assert_eq!(mended[at..at + 2], [0, 0]);
            } else {
                assert_eq!(sum(&mended), 0);
            }
        }
    }
    let path = v4_path(0, 0);
    let original = AddressPair { local: path.local.address, remote: path.remote.address };
    // Where there was none, there is none.
    let mut none = own_packet(true, 60);
    none[26..28].fill(0);
    assert_eq!(behind_nat(&none, Some(original))[26..28], [0, 0]);
    // What was wrong before stays wrong.
    let mut wrong = own_packet(true, 60);
    wrong[40] ^= 0x55;
    assert_ne!(sum(&behind_nat(&wrong, Some(original))), 0);
    // Too short for a checksum: left alone.
    let mut short = own_packet(true, 28);
    short.truncate(25);
    short[3] = 25;
    assert_eq!(behind_nat(&short, None)[20..], short[20..]);
}

#[test]
fn packets_of_others_are_refused() {
    let setup = Setup::new(Suite::AES_128_GCM).transport();
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    let own = own_packet(true, 60);
    for at in [12, 16] {
        let mut other = own.clone();
        other[at] ^= 1;
        let refused = seal_copy(&mut sad, id, &other).map(|_| ());
        assert_eq!(refused, Err(SealError::Addresses));
    }
    let refused = seal_copy(&mut sad, id, &own_packet(false, 60)).map(|_| ());
    assert_eq!(refused, Err(SealError::Addresses));
    // RFC 4301 section 7
    for fragment in [[0x20, 0], [0, 1]] {
        let mut part = own.clone();
        part[6..8].copy_from_slice(&fragment);
        let refused = seal_copy(&mut sad, id, &part).map(|_| ());
        assert_eq!(refused, Err(SealError::Fragment));
    }
    // A source route ends at the peer, wherever it goes first.
    let mut routed = own.clone();
    routed[16..20].copy_from_slice(&[10, 0, 0, 9]);
    let routed = with_options(&routed, &[131, 7, 4, 203, 0, 113, 2, 0]);
    let lies = with_options(&own, &[131, 77, 4, 0]);
    assert_eq!(seal_copy(&mut sad, id, &lies).map(|_| ()), Err(SealError::Inner(IpError::Length)));
    assert_eq!(sad.outbound(id).unwrap().sequence(), 0);
    assert_eq!(seal_copy(&mut sad, id, &routed).unwrap().0.sequence, 1);
}

#[test]
fn the_restored_packet_must_fit_the_selectors() {
    // RFC 4301 section 5.2
    use ipsec_core::selector::{PortRange, Selectors, TrafficSelector};
    let mut setup = Setup::new(Suite::AES_128_GCM).transport();
    let only = |port| TrafficSelector {
        protocol: 17,
        ports: PortRange::single(port),
        ..TrafficSelector::ANY_V4
    };
    setup.selectors = Selectors::pair(only(1111), only(2222));
    assert!(through::<RustCrypto>(&setup, &own_packet(true, 60)).2.is_ok());
    let mut other = own_packet(true, 60);
    other[21] ^= 1;
    let refused = through::<RustCrypto>(&setup, &other).2;
    assert!(matches!(refused, Err(OpenError::Selectors(..))));
}

fn beet(inner_v4: bool, outer_v4: bool) -> (Setup, AddressPair) {
    let pair = if inner_v4 {
        AddressPair { local: [10, 9, 8, 7].into(), remote: [10, 9, 8, 6].into() }
    } else {
        AddressPair { local: "fd09::7".parse().unwrap(), remote: "fd09::6".parse().unwrap() }
    };
    let path = if outer_v4 { v4_path(0, 0) } else { v6_path(0, 0) };
    (Setup { path, mode: Mode::Beet(pair), ..Setup::new(Suite::AES_128_GCM) }, pair)
}

#[test]
fn beet_leaves_the_addresses_out() {
    for (inner_v4, outer_v4) in [(true, true), (true, false), (false, true), (false, false)] {
        let (setup, pair) = beet(inner_v4, outer_v4);
        for udp in [false, true] {
            let ports = if udp { 4500 } else { 0 };
            let encapsulation = if udp { Encapsulation::Udp } else { Encapsulation::Ip };
            let path = setup.path.with_ports(ports, ports);
            let setup = Setup { encapsulation, path, ..setup.clone() };
            for len in [48, 49, 61] {
                let inner = ip_packet(pair.local, pair.remote, 0x2e, len);
                let (sealed, outer, opened) = through::<RustCrypto>(&setup, &inner);
                assert_eq!(opened.unwrap(), inner, "{inner_v4} {outer_v4} {udp} {len}");
                let ip = IpPacket::parse(&outer).unwrap();
                assert_eq!((ip.traffic_class, ip.hop_limit), (0x2e, 63));
                assert_eq!(ip.flow.destination, setup.path.remote.address);
                let mut memory = Memory::<RustCrypto>::new(1);
                let mut sad = memory.sad();
                let id = setup.install_outbound(&mut sad);
                let overhead = Overhead::of(&sad.outbound(id).unwrap().protection);
                assert_eq!(outer.len(), overhead.sealed_len(len));
                assert_eq!(sealed.esp.end, outer.len());
            }
        }
    }
}

#[test]
fn beet_carries_ipv4_options_behind_a_pseudo_header() {
    for outer_v4 in [true, false] {
        let (setup, pair) = beet(true, outer_v4);
        for options_len in (4..=40).step_by(4) {
            let mut options = vec![1; options_len];
            options[0] = 148;
            options[1] = 4;
            let inner = with_options(&ip_packet(pair.local, pair.remote, 0, 60), &options);
            let (_, outer, opened) = through::<RustCrypto>(&setup, &inner);
            assert_eq!(opened.unwrap(), inner, "{options_len}");
            // ESP and IV, a pseudo header that makes the options a multiple of 8, padding and ICV.
            let pseudo = if options_len % 8 == 0 { 8 } else { 4 };
            let text = (40 + options_len + pseudo + 2usize).next_multiple_of(4);
            assert_eq!(outer.len(), if outer_v4 { 20 } else { 40 } + 16 + text + 16);
        }
    }
}

#[test]
fn beet_seals_only_its_own() {
    let (setup, pair) = beet(true, true);
    let mut memory = Memory::<RustCrypto>::new(1);
    let mut sad = memory.sad();
    let id = setup.install_outbound(&mut sad);
    for (from, to) in [
        (pair.remote, pair.local),
        (pair.local, pair.local),
        (setup.path.local.address, setup.path.remote.address),
    ] {
        let refused = seal_copy(&mut sad, id, &ip_packet(from, to, 0, 60)).map(|_| ());
        assert_eq!(refused, Err(SealError::Addresses));
    }
    let mut fragment = ip_packet(pair.local, pair.remote, 0, 60);
    fragment[6] = 0x20;
    assert_eq!(seal_copy(&mut sad, id, &fragment).map(|_| ()), Err(SealError::Fragment));
    assert_eq!(sad.outbound(id).unwrap().sequence(), 0);
}

#[test]
fn a_peer_that_lies_inside_is_refused() {
    // Every plaintext of some bytes, authentic: a pseudo header, extension headers, or nothing.
    use ipsec_core::crypto::{PacketCipher, Work};
    let (v4, _) = beet(true, true);
    let (v6, _) = beet(false, true);
    let transport = Setup::new(Suite::AES_128_GCM).transport();
    let mut opened = 0;
    for setup in [&v4, &v6, &transport] {
        for next in [94, 0, 43, 60, 44, 4, 41, 59, 17, 255] {
            for first in [[17, 0, 4, 0], [17, 0, 0, 0], [17, 255, 0, 0], [17, 1, 255, 0]] {
                for len in [0, 4, 8, 16, 40] {
                    let mut text = vec![0; len];
                    let fits = len.min(4);
                    text[..fits].copy_from_slice(&first[..fits]);
                    text.extend([1, 2, 2, next]);
                    let mut memory = Memory::<RustCrypto>::new(1);
                    let mut sad = memory.sad();
                    let id = setup.install_inbound(&mut sad);
                    let keys = sad.inbound(id).unwrap().protection.esp().unwrap();
                    let mut head = setup.spi.to_be_bytes().to_vec();
                    head.extend([0, 0, 0, 1]);
                    let nonce = [keys.salt(), &[0; 7], &[1]].concat();
                    let mut icv = [0; 16];
                    let work = Work {
                        nonce: &nonce,
                        head: &head,
                        text: &mut text,
                        tail: &[],
                        icv: &mut icv,
                    };
                    keys.cipher.seal(work).unwrap();
                    let mut packet = [&[0xee; 40][..], &head, &nonce[4..], &text, &icv].concat();
                    let mut arrival = setup.arrival();
                    arrival.before = Before::Room(40);
                    match open(&mut sad, NOW, &arrival, &mut packet) {
                        Ok(found) => {
                            let bytes = &packet[found.range.clone()];
                            assert_eq!(IpPacket::parse(bytes).unwrap().len, bytes.len());
                            opened += 1;
                        }
                        Err(OpenError::Inner(..) | OpenError::Dummy(_)) => {
                            assert!(packet[56..].iter().all(|b| *b == 0), "wiped");
                        }
                        Err(other) => panic!("{next} {first:?} {len}: {other}"),
                    }
                }
            }
        }
    }
    assert!(opened > 100, "{opened}");
}

#[test]
fn one_changed_bit_of_esp_is_refused() {
    for setup in [Setup::new(Suite::AES_128_GCM).transport(), beet(true, true).0] {
        let inner = match setup.mode {
            Mode::Beet(pair) => ip_packet(pair.local, pair.remote, 0, 50),
            _ => own_packet(true, 50),
        };
        let (sealed, outer, _) = through::<RustCrypto>(&setup, &inner);
        let mut memory = Memory::<RustCrypto>::new(1);
        let mut sad = memory.sad();
        setup.install_inbound(&mut sad);
        for bit in sealed.esp.start * 8..outer.len() * 8 {
            let mut changed = outer.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(inbound_ip(&mut sad, NOW, &mut changed).is_err(), "{bit}");
        }
        for len in 0..outer.len() {
            assert!(inbound_ip(&mut sad, NOW, &mut outer[..len].to_vec()).is_err(), "{len}");
        }
        assert!(inbound_ip(&mut sad, NOW, &mut outer.clone()).is_ok());
    }
}

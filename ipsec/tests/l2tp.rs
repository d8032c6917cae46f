//! A gateway for L2TP clients that have one address behind one NAT (RFC 3948 section 5.2): by manual keys, in transport
//! mode, in UDP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use core::net::{IpAddr, Ipv4Addr};

use ipsec::ipsec_core::mode::{AddressPair, Mode};
use ipsec::ipsec_core::sa::Algorithms;
use ipsec::ipsec_core::wire::{Checksum, Ipv4Header, UdpHeader};
use ipsec::*;
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::rng::SeededRng;
use zerocopy::{FromBytes, IntoBytes};

struct Vecs;

impl Store for Vecs {
    type Of<T> = Vec<T>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
        items.collect()
    }
}

const NOW: Instant = Instant::from_secs(10);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const NAT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// What both clients believe to have.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
const NAT_PORTS: [u16; 2] = [4501, 4502];
const PROTECTION: Algorithms = Algorithms::Esp(Suite::AES_128_GCM);
static KEYS: [[u8; 20]; 4] = [[1; 20], [2; 20], [3; 20], [4; 20]];

fn l2tp(local: Ipv4Addr, remote: Ipv4Addr) -> Selectors {
    let end = |address: Ipv4Addr| TrafficSelector {
        addresses: AddressRange::host(address.into()),
        protocol: 17,
        ports: PortRange::single(1701),
    };
    Selectors::pair(end(local), end(remote))
}

/// An L2TP packet with room around it, and correct checksums.
fn packet(from: Ipv4Addr, to: Ipv4Addr, text: &[u8]) -> (Vec<u8>, core::ops::Range<usize>) {
    let ip = Ipv4Header::new(from, to, 17, 0, 64, 8 + text.len()).unwrap();
    let mut udp = UdpHeader::new(1701, 1701, text.len()).unwrap();
    let len = u16::try_from(8 + text.len()).unwrap();
    let sum = Checksum::new().pseudo_v4(from, to, 17, len).bytes(udp.as_bytes()).bytes(text);
    udp.checksum = sum.finish_udp().into();
    let mut buf = vec![0; MAX_HEADROOM];
    buf.extend_from_slice(ip.as_bytes());
    buf.extend_from_slice(udp.as_bytes());
    buf.extend_from_slice(text);
    let range = MAX_HEADROOM..buf.len();
    buf.extend_from_slice(&[0; MAX_TAILROOM]);
    (buf, range)
}

fn checksum_ok(packet: &[u8]) -> bool {
    let ip = Ipv4Header::parse(packet).unwrap();
    let len = ip.payload.len().try_into().unwrap();
    let sum = Checksum::new().pseudo_v4(ip.header.source(), ip.header.destination(), 17, len);
    sum.bytes(ip.payload).finish() == 0
}

/// What the NAT makes of a packet that goes out, or comes in.
fn translate(outer: &mut [u8], out: bool, address: Ipv4Addr, port: u16) {
    let (address_at, port_at) = if out { (12, 20) } else { (16, 22) };
    outer[address_at..address_at + 4].copy_from_slice(&address.octets());
    outer[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
    Ipv4Header::mut_from_prefix(outer).unwrap().0.update_checksum();
}

/// The SAs of one client, as the server or the client has them.
fn manual(client: usize, at_server: bool) -> Manual<'static> {
    let end = |address: Ipv4Addr, port| Endpoint::new(address.into(), port);
    let key = |number: usize| {
        let spi = Spi::new(0x1000 + u32::try_from(number).unwrap()).unwrap();
        Some(ManualKey { spi, keymat: &KEYS[number] })
    };
    let (to_server, to_client) = (key(2 * client), key(2 * client + 1));
    let (path, local, remote) = if at_server {
        (Path::new(end(SERVER, 4500), end(NAT, NAT_PORTS[client])), SERVER, CLIENT)
    } else {
        (Path::new(end(CLIENT, 4500), end(SERVER, 4500)), NAT, SERVER)
    };
    let original = Some(AddressPair { local: local.into(), remote: remote.into() });
    let (inbound, outbound) =
        if at_server { (to_server, to_client) } else { (to_client, to_server) };
    Manual {
        mode: Mode::Transport { original },
        path,
        encapsulation: Encapsulation::Udp,
        esn: false,
        replay_window: 64,
        lifetime: Lifetime::UNLIMITED,
        sequence: 0,
        sas: ManualSas { protection: PROTECTION, inbound, outbound },
        around: None,
    }
}

#[test]
fn the_answer_goes_back_the_way_of_the_question() {
    let mut rng = SeededRng::new(1);
    let mut pools = [(); 3]
        .map(|()| Pools::<RustCrypto, Vecs>::new(&Sizes { manual: 2, ..Sizes::for_tunnels(1) }));
    let [pool_s, pool_1, pool_2] = &mut pools;
    let at_server = [l2tp(SERVER, NAT)];
    let at_client = [l2tp(CLIENT, SERVER)];
    let config = |manual| GatewayConfig { manual, ..GatewayConfig::new(Config::new(&[])) };
    let mut server = Gateway::new(&config(&at_server), pool_s.lend(), &mut rng).unwrap();
    let mut clients = [
        Gateway::new(&config(&at_client), pool_1.lend(), &mut rng).unwrap(),
        Gateway::new(&config(&at_client), pool_2.lend(), &mut rng).unwrap(),
    ];
    let mut ids = Vec::new();
    for (i, client) in clients.iter_mut().enumerate() {
        ids.push(server.install_manual(NOW, 0, &manual(i, true)).unwrap());
        client.install_manual(NOW, 0, &manual(i, false)).unwrap();
    }

    for i in [0, 1, 1, 0] {
        let (mut buf, range) = packet(CLIENT, SERVER, b"start");
        let question = PacketBuf::new(&mut buf, range).unwrap();
        let Ok(Outbound::Send(sent)) = clients[i].outbound(NOW, &mut rng, question) else {
            panic!("not sent");
        };
        let outer = sent.into_outer();
        translate(outer, true, NAT, NAT_PORTS[i]);
        let Ok(Inbound::Packet(received)) = server.inbound_ip(NOW, &mut rng, outer) else {
            panic!("not received");
        };
        assert_eq!(received.via, Via::Manual(ids[i]));
        assert!(checksum_ok(received.packet));
        assert_eq!(IpPacket::parse(received.packet).unwrap().flow.source, IpAddr::V4(NAT));

        let (mut buf, range) = packet(SERVER, NAT, b"reply");
        let answer = PacketBuf::new(&mut buf, range).unwrap();
        let Ok(Outbound::Send(sent)) = server.outbound_via(NOW, &mut rng, received.via, answer)
        else {
            panic!("not sent");
        };
        assert_eq!(sent.path().remote, Endpoint::new(NAT.into(), NAT_PORTS[i]));
        let outer = sent.into_outer();
        translate(outer, false, CLIENT, 4500);
        let Ok(Inbound::Packet(received)) = clients[i].inbound_ip(NOW, &mut rng, outer) else {
            panic!("not received");
        };
        assert!(checksum_ok(received.packet));
        assert_eq!(received.packet[28..], *b"reply");
    }

    // Without the way back, it would be a guess.
    let (mut buf, range) = packet(SERVER, NAT, b"reply");
    let answer = PacketBuf::new(&mut buf, range.clone()).unwrap();
    let Ok(Outbound::Send(sent)) = server.outbound(NOW, &mut rng, answer) else {
        panic!("not sent");
    };
    assert_eq!(sent.path().remote.port, NAT_PORTS[1], "the newest");
    assert!(server.remove_manual(ids[0]));
    let (mut buf, range) = packet(SERVER, NAT, b"reply");
    let answer = PacketBuf::new(&mut buf, range).unwrap();
    let gone = server.outbound_via(NOW, &mut rng, Via::Manual(ids[0]), answer);
    assert!(matches!(gone, Ok(Outbound::Discard(Discard::Gone))));
}

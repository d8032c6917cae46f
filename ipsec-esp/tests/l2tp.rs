//! L2TP and GRE in transport mode, and two clients behind one NAT (RFC 3948 section 5.2).

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::std_instead_of_core,
    clippy::unwrap_used,
    reason = "a test panics to fail"
)]

mod common;

use common::{Fixed, Memory, NOW, Setup, ip_packet, reversed, seal_copy, v4_path, v6_path};
use ipsec_core::crypto::Suite;
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::{AddressPair, Mode};
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{Algorithms, Encapsulation, SaParams, Spi};
use ipsec_core::sad::{InboundId, OutboundId, Sad, SpiAllocator};
use ipsec_core::selector::{AddressRange, PortRange, Selectors, TrafficSelector};
use ipsec_core::wire::{Checksum, IpPacket, Ipv4Header};
use ipsec_esp::{
    Inbound, OpenError, inbound_ip, inbound_ip_on, inbound_udp, inbound_udp_with_room,
};
use ipsec_rustcrypto::RustCrypto;
use std::net::{IpAddr, Ipv4Addr};
use zerocopy::FromBytes;

const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const NAT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// What both clients believe to have.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
const L2TP: u16 = 1701;
const KEYS: [[u8; 20]; 2] = [[1; 20], [2; 20]];

fn host(address: Ipv4Addr, protocol: u8, ports: PortRange) -> TrafficSelector {
    TrafficSelector { addresses: AddressRange::host(address.into()), protocol, ports }
}

fn l2tp(local: Ipv4Addr, remote: Ipv4Addr) -> Selectors {
    let port = PortRange::single(L2TP);
    Selectors::pair(host(local, 17, port), host(remote, 17, port))
}

/// A whole L2TP packet with correct checksums.
fn packet(from: Ipv4Addr, to: Ipv4Addr, text: &[u8]) -> Vec<u8> {
    let mut packet = ip_packet(from.into(), to.into(), 0, 28 + text.len());
    packet[20..22].copy_from_slice(&L2TP.to_be_bytes());
    packet[22..24].copy_from_slice(&L2TP.to_be_bytes());
    packet[28..].copy_from_slice(text);
    let sum = udp_sum(&packet);
    packet[26..28].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(udp_sum(&packet), 0);
    packet
}

fn udp_sum(packet: &[u8]) -> u16 {
    let ip = Ipv4Header::parse(packet).unwrap();
    let len = ip.payload.len().try_into().unwrap();
    let pseudo = Checksum::new().pseudo_v4(ip.header.source(), ip.header.destination(), 17, len);
    pseudo.bytes(ip.payload).finish()
}

/// What the NAT makes of a datagram: another source, or another destination.
fn translate(outer: &mut [u8], source: Option<(Ipv4Addr, u16)>, to: Option<(Ipv4Addr, u16)>) {
    if let Some((address, port)) = source {
        outer[12..16].copy_from_slice(&address.octets());
        outer[20..22].copy_from_slice(&port.to_be_bytes());
    }
    if let Some((address, port)) = to {
        outer[16..20].copy_from_slice(&address.octets());
        outer[22..24].copy_from_slice(&port.to_be_bytes());
    }
    Ipv4Header::mut_from_prefix(outer).unwrap().0.update_checksum();
}

/// The two SAs of one end, whose packets to it and from it have the keys `KEYS[client]`.
fn install(
    sad: &mut Sad<'_, RustCrypto>,
    inbound: Spi,
    outbound: Spi,
    client: usize,
    path: Path,
    original: AddressPair,
) -> (InboundId, OutboundId) {
    let (IpAddr::V4(local), IpAddr::V4(remote)) = (path.local.address, path.remote.address) else {
        panic!("IPv6");
    };
    let selectors = l2tp(local, remote);
    let params = |spi| SaParams {
        spi,
        protection: Algorithms::Esp(Suite::AES_128_GCM),
        mode: Mode::Transport { original: Some(original) },
        keymat: &KEYS[client],
        path,
        encapsulation: Encapsulation::Udp,
        esn: false,
        replay_window: 64,
        lifetime: Lifetime::UNLIMITED,
        selectors: &selectors,
        tag: u32::try_from(client).unwrap(),
    };
    let inbound = sad.install_inbound(NOW, &params(inbound)).unwrap();
    (inbound, sad.install_outbound(NOW, &params(outbound)).unwrap())
}

#[test]
fn two_clients_with_one_address_behind_one_nat() {
    // RFC 3948 section 5.2: the selectors of both SAs are the same, and so are their packets. The SA that a packet came
    // through is the way back.
    let mut server_memory = Memory::<RustCrypto>::new(2);
    let mut server = server_memory.sad();
    let mut client_memory = [(); 2].map(|()| Memory::<RustCrypto>::new(1));
    let mut clients = client_memory.each_mut().map(Memory::sad);
    let nat_ports = [4501, 4502];
    let mut ends = Vec::new();
    for (i, client) in clients.iter_mut().enumerate() {
        let port = nat_ports[i];
        let to_server = server.reserve(&mut Fixed(0x1000)).unwrap();
        let to_client = client.reserve(&mut Fixed(0x2000)).unwrap();
        let here = AddressPair { local: SERVER.into(), remote: CLIENT.into() };
        let there = AddressPair { local: NAT.into(), remote: SERVER.into() };
        let path = |a: Ipv4Addr, p, b: Ipv4Addr, q| {
            Path::new(Endpoint::new(a.into(), p), Endpoint::new(b.into(), q))
        };
        let at_server = path(SERVER, 4500, NAT, port);
        let at_client = path(CLIENT, 4500, SERVER, 4500);
        let server_ids = install(&mut server, to_server, to_client, i, at_server, here);
        let client_ids = install(client, to_client, to_server, i, at_client, there);
        ends.push((server_ids, client_ids));
    }
    let mut flows = Vec::new();
    for round in 0..6 {
        let i = round & 1;
        let ((server_in, server_out), (client_in, client_out)) = ends[i];
        let question = packet(CLIENT, SERVER, b"start-control-connection");
        let (_, mut outer) = seal_copy(&mut clients[i], client_out, &question).unwrap();
        translate(&mut outer, Some((NAT, nat_ports[i])), None);
        let Inbound::Packet { opened, packet: arrived } =
            inbound_ip(&mut server, NOW, &mut outer).unwrap()
        else {
            panic!("no packet");
        };
        // The server sees a correct packet of the NAT (RFC 3948 section 3.1.2).
        assert_eq!(udp_sum(arrived), 0);
        assert_eq!((opened.id, opened.tag), (server_in, u32::try_from(i).unwrap()));
        let flow = IpPacket::parse(arrived).unwrap().flow;
        assert_eq!(flow.source, IpAddr::V4(NAT));
        flows.push(flow);

        // The answer goes where the question came from.
        let answer = packet(SERVER, NAT, b"start-control-reply");
        let chosen = ends.iter().find(|((id, _), _)| *id == opened.id).unwrap().0.1;
        assert_eq!(chosen, server_out);
        let (sealed, mut outer) = seal_copy(&mut server, chosen, &answer).unwrap();
        assert_eq!(sealed.path.remote, Endpoint::new(NAT.into(), nat_ports[i]));
        let port = u16::from_be_bytes([outer[22], outer[23]]);
        assert_eq!(port, nat_ports[i]);
        translate(&mut outer, None, Some((CLIENT, 4500)));
        let other = inbound_ip(&mut clients[1 - i], NOW, &mut outer.clone()).map(|_| ());
        assert!(other.is_err(), "the other client has other keys");
        let Inbound::Packet { opened, packet: arrived } =
            inbound_ip(&mut clients[i], NOW, &mut outer).unwrap()
        else {
            panic!("no packet");
        };
        assert_eq!((opened.id, udp_sum(arrived)), (client_in, 0));
        assert_eq!(&arrived[28..], b"start-control-reply");
    }
    assert!(flows.iter().all(|flow| *flow == flows[0]), "nothing else tells the clients apart");
}

#[test]
fn gre_in_transport_mode() {
    let path = v4_path(0, 0);
    let IpAddr::V4(from) = path.local.address else { panic!("IPv6") };
    let IpAddr::V4(to) = path.remote.address else { panic!("IPv6") };
    let selectors = Selectors::pair(host(from, 47, PortRange::ANY), host(to, 47, PortRange::ANY));
    let setup = Setup { selectors, ..Setup::new(Suite::AES_128_GCM).transport() };
    let mut gre = ip_packet(from.into(), to.into(), 0, 60);
    gre[9] = 47;
    Ipv4Header::mut_from_prefix(&mut gre).unwrap().0.update_checksum();
    let mut tcp = gre.clone();
    tcp[9] = 6;
    for (inner, fits) in [(gre, true), (tcp, false)] {
        let (mut a, mut b) = (Memory::<RustCrypto>::new(1), Memory::<RustCrypto>::new(1));
        let (mut sender, mut receiver) = (a.sad(), b.sad());
        let out = setup.install_outbound(&mut sender);
        setup.install_inbound(&mut receiver);
        let (_, mut outer) = seal_copy(&mut sender, out, &inner).unwrap();
        match inbound_ip(&mut receiver, NOW, &mut outer) {
            Ok(Inbound::Packet { packet, .. }) => assert!(fits && packet == inner),
            Err(OpenError::Selectors(..)) => assert!(!fits),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_datagram_without_its_headers_needs_room_for_new_ones() {
    for (path, room, fits) in [
        (v4_path(4500, 4500), 0, true),
        (v6_path(4500, 4500), 0, false),
        (v6_path(4500, 4500), 40, true),
        (v4_path(4500, 4500), 40, true),
    ] {
        let setup = Setup {
            path,
            encapsulation: Encapsulation::Udp,
            ..Setup::new(Suite::AES_128_GCM).transport()
        };
        let inner = ip_packet(path.local.address, path.remote.address, 0, 90);
        let (mut a, mut b) = (Memory::<RustCrypto>::new(1), Memory::<RustCrypto>::new(1));
        let (mut sender, mut receiver) = (a.sad(), b.sad());
        let out = setup.install_outbound(&mut sender);
        setup.install_inbound(&mut receiver);
        let (sealed, outer) = seal_copy(&mut sender, out, &inner).unwrap();
        let mut data = vec![0xee; room];
        data.extend_from_slice(&outer[sealed.esp]);
        let from = reversed(path);
        let opened = inbound_udp_with_room(&mut receiver, NOW, from, 0, room, &mut data);
        match opened {
            Ok(Inbound::Packet { packet, .. }) => {
                assert!(fits);
                let upper = packet.len() - 54;
                assert_eq!(packet[upper..], inner[inner.len() - 54..]);
                let flow = IpPacket::parse(packet).unwrap().flow;
                assert_eq!(
                    (flow.source, flow.destination),
                    (path.local.address, path.remote.address)
                );
            }
            Err(OpenError::NoRoom(_)) => assert!(!fits),
            other => panic!("{other:?}"),
        }
        // Keepalives and IKE are behind the room, too.
        let keepalive = &mut [&vec![0; room][..], &[0xff]].concat();
        let found = inbound_udp_with_room(&mut receiver, NOW, from, 0, room, keepalive);
        assert!(matches!(found, Ok(Inbound::Keepalive)));
        let ike = &mut [&vec![0xff; room][..], &[0, 0, 0, 0, 7, 7]].concat();
        let found = inbound_udp_with_room(&mut receiver, NOW, from, 0, room, ike);
        assert!(matches!(found, Ok(Inbound::Ike { message: [7, 7], .. })));
        assert!(inbound_udp(&mut receiver, NOW, from, 0, &mut [0; 3]).is_err());
    }
}

#[test]
fn the_ports_of_ike_may_be_others() {
    let path = v4_path(14_500, 14_500);
    let encapsulation = Encapsulation::Udp;
    let setup = Setup { path, encapsulation, ..Setup::new(Suite::AES_128_GCM) };
    let (mut a, mut b) = (Memory::<RustCrypto>::new(1), Memory::<RustCrypto>::new(1));
    let (mut sender, mut receiver) = (a.sad(), b.sad());
    let out = setup.install_outbound(&mut sender);
    setup.install_inbound(&mut receiver);
    let inner = packet(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), b"inner");
    let (_, outer) = seal_copy(&mut sender, out, &inner).unwrap();
    let standard = inbound_ip(&mut receiver, NOW, &mut outer.clone()).map(|i| format!("{i:?}"));
    assert!(standard.unwrap().starts_with("Clear"));
    match inbound_ip_on(&mut receiver, NOW, (10_500, 14_500), &mut outer.clone()) {
        Ok(Inbound::Packet { packet, .. }) => assert_eq!(packet, inner),
        other => panic!("{other:?}"),
    }
    // What is for IKE's own port is handed to IKE, whatever it is.
    match inbound_ip_on(&mut receiver, NOW, (14_500, 4500), &mut outer.clone()) {
        Ok(Inbound::Ike { path, .. }) => assert_eq!(path.local.port, 14_500),
        other => panic!("{other:?}"),
    }
}

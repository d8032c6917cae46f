//! What policy makes of packets in a gateway: clear traffic, fragments, ICMP errors, and peers that look alike.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use core::net::{IpAddr, Ipv4Addr};
use std::collections::VecDeque;

use ipsec::ipsec_core::fragments::FragmentSlot;
use ipsec::ipsec_core::wire::Ipv4Header;
use ipsec::*;
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::toy::Toy;
use zerocopy::IntoBytes;

struct Vecs;

impl Store for Vecs {
    type Of<T> = Vec<T>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
        items.collect()
    }
}

const NOW: Instant = Instant::from_secs(10);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
const KEY: &[u8] = b"a very long secret";

fn net(third: u8) -> TrafficSelector {
    TrafficSelector::network([192, 168, third, 0].into(), 24).unwrap()
}

fn udp_port(port: u16, ts: TrafficSelector) -> TrafficSelector {
    TrafficSelector { protocol: 17, ports: PortRange::single(port), ..ts }
}

/// An IPv4 packet from host 9 of one LAN to host 9 of another; `flags_offset` makes it a fragment.
fn ip(from: u8, to: u8, protocol: u8, flags_offset: u16, payload: &[u8]) -> Vec<u8> {
    let (from, to) = ([192, 168, from, 9].into(), [192, 168, to, 9].into());
    let mut header = Ipv4Header::new(from, to, protocol, 0, 64, payload.len()).unwrap();
    header.flags_offset = flags_offset.into();
    header.id = 77.into();
    header.update_checksum();
    [header.as_bytes(), payload].concat()
}

fn udp(from: u8, to: u8, port: u16) -> Vec<u8> {
    let [a, b] = port.to_be_bytes();
    ip(from, to, 17, 0, &[a, b, a, b, 0, 12, 0, 0, 1, 2, 3, 4])
}

type Wire = VecDeque<(Path, Vec<u8>)>;

struct Site<'r> {
    address: IpAddr,
    gateway: Gateway<'r, Toy>,
    rng: SeededRng,
    events: Vec<GatewayEvent>,
    /// What came out, and through what.
    delivered: Vec<(Via, Vec<u8>)>,
    refused: Vec<InboundError>,
}

impl<'r> Site<'r> {
    fn new(address: Ipv4Addr, config: &GatewayConfig<'r>, pools: &'r mut Pools<Toy, Vecs>) -> Self {
        let mut rng = SeededRng::new(u32::from(address).into());
        let gateway = Gateway::new(config, pools.lend(), &mut rng).unwrap();
        let (events, delivered, refused) = (Vec::new(), Vec::new(), Vec::new());
        Self { address: address.into(), gateway, rng, events, delivered, refused }
    }

    fn send(&mut self, now: Instant, via: Option<Via>, inner: &[u8], wire: &mut Wire) -> String {
        let mut buf = vec![0; MAX_HEADROOM];
        buf.extend_from_slice(inner);
        buf.extend_from_slice(&[0; MAX_TAILROOM]);
        let packet = PacketBuf::new(&mut buf, MAX_HEADROOM..MAX_HEADROOM + inner.len()).unwrap();
        let (gateway, rng) = (&mut self.gateway, &mut self.rng);
        let result = match via {
            None => gateway.outbound(now, rng, packet),
            Some(via) => gateway.outbound_via(now, rng, via, packet),
        };
        let told = match result {
            Ok(Outbound::Send(sent)) => {
                wire.push_back((sent.path(), sent.esp().to_vec()));
                "sent".into()
            }
            Ok(Outbound::Bypass(_)) => "bypass".into(),
            Ok(Outbound::Discard(why)) => why.to_string(),
            Ok(Outbound::Acquire(_)) => "acquire".into(),
            Ok(Outbound::Pending(_)) => "pending".into(),
            Err(e) => e.to_string(),
        };
        self.settle(now, wire);
        told
    }

    fn receive(&mut self, now: Instant, path: Path, data: &mut [u8], wire: &mut Wire) {
        let (gateway, rng) = (&mut self.gateway, &mut self.rng);
        match if path.local.port == 0 {
            gateway.inbound_esp(now, rng, path, 0, data)
        } else {
            gateway.inbound_udp(now, rng, path, 0, data)
        } {
            Ok(Inbound::Packet(packet)) => {
                self.delivered.push((packet.via, packet.packet.to_vec()));
            }
            Ok(_) => {}
            Err(e) => self.refused.push(e),
        }
        self.settle(now, wire);
    }

    fn settle(&mut self, now: Instant, wire: &mut Wire) {
        self.gateway.settle(now, &mut self.rng, |event| self.events.push(event));
        let mut buf = [0; 2000];
        while let Some(transmit) = self.gateway.poll_transmit(&mut buf).unwrap() {
            wire.push_back((transmit.path, buf[..transmit.len].to_vec()));
        }
    }
}

/// Carries what is on the wire until it is empty.
fn deliver(now: Instant, sites: &mut [&mut Site<'_>], wire: &mut Wire) {
    let mut rounds = 0;
    while let Some((path, mut data)) = wire.pop_front() {
        let to = sites.iter_mut().find(|site| site.address == path.remote.address).unwrap();
        to.receive(now, Path::new(path.remote, path.local), &mut data, wire);
        rounds += 1;
        assert!(rounds < 1000, "the wire does not come to rest");
    }
}

/// A gateway with LAN 1, and one with LAN 2; their tunnel is up if `first` brings it up from the former.
fn pair(
    (local, remote): (&[TrafficSelector], &[TrafficSelector]),
    before: &[Policy],
    first: Option<&[u8]>,
    body: impl for<'s> FnOnce(&mut Site<'s>, &mut Site<'s>, &mut Wire),
) {
    let mut pools = [(); 2].map(|()| Pools::<Toy, Vecs>::new(&Sizes::for_tunnels(2)));
    let [pool_a, pool_b] = &mut pools;
    let ids = [Identity::Fqdn("a.example"), Identity::Fqdn("b.example")];
    let (at_a, at_b) = (Some(SERVER.into()), Some(CLIENTS[0].into()));
    let (here, there) = ([Child::new("lan", local, remote)], [Child::new("lan", remote, local)]);
    let a = [Peer { children: &here, ..Peer::psk((at_a, ids[0]), (at_b, ids[1]), KEY) }];
    let b = [Peer { children: &there, ..Peer::psk((at_b, ids[1]), (at_a, ids[0]), KEY) }];
    let config = GatewayConfig { before, ..GatewayConfig::new(Config::new(&a)) };
    let mut a = Site::new(SERVER, &config, pool_a);
    let mut b = Site::new(CLIENTS[0], &GatewayConfig::new(Config::new(&b)), pool_b);
    let mut wire = Wire::new();
    if let Some(first) = first {
        assert_eq!(a.send(NOW, None, first, &mut wire), "acquire");
        deliver(NOW, &mut [&mut a, &mut b], &mut wire);
        assert_eq!(a.send(NOW, None, first, &mut wire), "sent");
        deliver(NOW, &mut [&mut a, &mut b], &mut wire);
        assert_eq!(b.delivered.pop().unwrap().1, first);
    }
    body(&mut a, &mut b, &mut wire);
}

/// An ICMP error (destination unreachable) from a router to host 9 of a LAN, about `packet`.
fn unreachable(to: u8, packet: &[u8]) -> Vec<u8> {
    let message = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &packet[..28]].concat();
    let (from, to) = ([172, 31, 0, 1].into(), [192, 168, to, 9].into());
    let header = Ipv4Header::new(from, to, 1, 0, 64, message.len()).unwrap();
    [header.as_bytes(), &message].concat()
}

#[test]
fn an_icmp_error_goes_back_the_way_of_its_cause() {
    // RFC 4301 section 6.2
    let (local, remote) = ([udp_port(53, net(1))], [net(2)]);
    let dns = udp(1, 2, 53);
    pair((&local, &remote), &[], None, |a, _, wire| {
        // No SA is made for it.
        let error = unreachable(2, &udp(2, 1, 53));
        assert_eq!(a.send(NOW, None, &error, wire), Discard::NoPolicy.to_string());
        assert!(wire.is_empty());
    });
    pair((&local, &remote), &[], Some(&dns), |a, b, wire| {
        let error = unreachable(2, &udp(2, 1, 53));
        assert_eq!(a.send(NOW, None, &error, wire), "sent");
        deliver(NOW, &mut [a, b], wire);
        assert_eq!(b.delivered.pop().unwrap().1, error);
        // About something that did not come through this tunnel, or that our own side sent.
        for cause in [udp(2, 1, 54), udp(3, 1, 53), udp(1, 2, 53)] {
            let to = cause[14];
            let told = a.send(NOW, None, &unreachable(to, &cause), wire);
            assert_eq!(told, Discard::NoPolicy.to_string());
        }
        assert!(wire.is_empty());
        assert_eq!(a.gateway.counters().dropped(DropReason::OutNoPolicy), 3);
    });
}

#[test]
fn fragments_follow_policy_for_some_ports_only_with_their_first() {
    // RFC 4301 section 7.1, RFC 4301 section 7.4
    let dns = |local, remote| Selectors::pair(udp_port(53, net(local)), udp_port(53, net(remote)));
    let before = [Policy::new(dns(1, 2), Action::Bypass), Policy::new(dns(1, 3), Action::Discard)];
    let first = |from, to| ip(from, to, 17, 0x2000, &[0, 53, 0, 53, 0, 24, 0, 0]);
    let later = |from, to| ip(from, to, 17, 0x0001, &[9; 16]);
    let (lan_1, lan_2) = ([net(1)], [net(2), net(3)]);
    let mut slots = [FragmentSlot::EMPTY; 4];
    pair((&lan_1, &lan_2), &before, Some(&udp(1, 2, 99)), |a, b, wire| {
        // All that is known of it is that it is protected.
        assert_eq!(a.send(NOW, None, &first(1, 2), wire), "bypass");
        assert_eq!(a.send(NOW, None, &later(1, 2), wire), "sent");
        deliver(NOW, &mut [a, b], wire);
        assert_eq!(b.delivered.pop().unwrap().1, later(1, 2));
        assert!(a.gateway.inbound_clear(NOW, &first(2, 1)).is_ok());
        assert!(a.gateway.inbound_clear(NOW, &later(2, 1)).is_err());
    });
    pair((&lan_1, &lan_2), &before, Some(&udp(1, 2, 99)), move |a, _, wire| {
        // The slots must live as long as the gateway.
        a.gateway.track_fragments(Box::leak(Box::new(slots)));
        slots.fill(FragmentSlot::EMPTY);
        assert_eq!(a.send(NOW, None, &later(1, 2), wire), "sent", "before the first");
        assert_eq!(a.send(NOW, None, &first(1, 2), wire), "bypass");
        assert_eq!(a.send(NOW, None, &later(1, 2), wire), "bypass");
        assert_eq!(a.send(NOW, None, &first(1, 3), wire), Discard::Policy.to_string());
        assert_eq!(a.send(NOW, None, &later(1, 3), wire), Discard::Policy.to_string());
        for (packet, passes) in [
            (later(2, 1), false),
            (first(2, 1), true),
            (later(2, 1), true),
            (first(3, 1), false),
            (later(3, 1), false),
        ] {
            assert_eq!(a.gateway.inbound_clear(NOW, &packet).is_ok(), passes);
            let mut packet = packet;
            let mut rng = SeededRng::new(1);
            let whole = a.gateway.inbound_ip(NOW, &mut rng, &mut packet);
            assert_eq!(whole.is_ok(), passes, "{whole:?}");
        }
    });
}

#[test]
fn a_tunnel_for_one_port_carries_no_later_fragment() {
    // RFC 4301 section 7: neither protected by an SA that is not for it, nor in clear.
    let (local, remote) = ([udp_port(53, net(1))], [net(2)]);
    let later = ip(1, 2, 17, 0x0001, &[9; 16]);
    pair((&local, &remote), &[], Some(&udp(1, 2, 53)), |a, _, wire| {
        assert_eq!(a.send(NOW, None, &later, wire), Discard::NoPolicy.to_string());
        a.gateway.track_fragments(Box::leak(Box::new([FragmentSlot::EMPTY; 2])));
        let first = ip(1, 2, 17, 0x2000, &[0, 53, 0, 53, 0, 24, 0, 0]);
        assert_eq!(a.send(NOW, None, &first, wire), "sent");
        assert_eq!(a.send(NOW, None, &later, wire), Discard::Fragment.to_string());
        assert_eq!(a.gateway.counters().dropped(DropReason::OutFragment), 1);
    });
}

/// A server, and two clients whose networks have the same addresses.
fn alike(apart: bool) {
    let (lan, server_lan) = ([net(1)], [net(2)]);
    let ids = [Identity::Fqdn("one.example"), Identity::Fqdn("two.example")];
    let us = (Some(SERVER.into()), Identity::Fqdn("server.example"));
    let there = [Child::new("lan", &server_lan, &lan)];
    let here = [Child::new("lan", &lan, &server_lan)];
    let peer = |remote| Peer { children: &there, ..Peer::psk(us, remote, KEY) };
    // Both in one entry, or each in one of its own.
    let one_entry = [peer((None, Identity::Any))];
    let two_entries = [0, 1].map(|i| peer((Some(CLIENTS[i].into()), ids[i])));
    let peers = if apart { &two_entries[..] } else { &one_entry[..] };
    let client_peers = [0, 1].map(|i| {
        [Peer { children: &here, ..Peer::psk((Some(CLIENTS[i].into()), ids[i]), us, KEY) }]
    });
    let mut pools = [(); 3].map(|()| Pools::<Toy, Vecs>::new(&Sizes::for_tunnels(4)));
    let [pool_s, pool_1, pool_2] = &mut pools;
    let config = |peers| GatewayConfig::new(Config::new(peers));
    let mut server = Site::new(SERVER, &config(peers), pool_s);
    let mut one = Site::new(CLIENTS[0], &config(&client_peers[0]), pool_1);
    let mut two = Site::new(CLIENTS[1], &config(&client_peers[1]), pool_2);
    let mut wire = Wire::new();

    let question = udp(1, 2, 1701);
    for client in [&mut one, &mut two] {
        assert_eq!(client.send(NOW, None, &question, &mut wire), "acquire");
        deliver(NOW, &mut [&mut server, client], &mut wire);
        assert_eq!(client.send(NOW, None, &question, &mut wire), "sent");
        deliver(NOW, &mut [&mut server, client], &mut wire);
    }
    let children: Vec<_> = server.delivered.iter().map(|(child, _)| *child).collect();
    assert_eq!(server.delivered[0].1, server.delivered[1].1, "nothing else tells them apart");
    let answer = udp(2, 1, 1701);
    for round in 0..4 {
        let index = round & 1;
        assert_eq!(server.send(NOW, Some(children[index]), &answer, &mut wire), "sent");
        deliver(NOW, &mut [&mut server, &mut one, &mut two], &mut wire);
        let got = [one.delivered.len(), two.delivered.len()];
        assert_eq!(got, [usize::from(index == 0), usize::from(index == 1)]);
        one.delivered.clear();
        two.delivered.clear();
    }

    // Only for what was agreed on.
    let other = udp(2, 3, 1701);
    let told = server.send(NOW, Some(children[0]), &other, &mut wire);
    assert_eq!(told, Discard::NoPolicy.to_string());

    // New keys: the event names the successor, and the old one is of no use any more.
    server.events.clear();
    let mut rng = SeededRng::new(9);
    one.gateway.rekey(NOW, &mut rng, ChildRef { peer: 0, child: 0 }).unwrap();
    one.settle(NOW, &mut wire);
    deliver(NOW, &mut [&mut server, &mut one, &mut two], &mut wire);
    let Via::Child { child: old, .. } = children[0] else { panic!("manual keys") };
    let successor = server.events.iter().find_map(|event| match *event {
        GatewayEvent::ChildRekeyed { child, config, replaces, .. } if replaces == old => {
            Some(Via::Child { config, child })
        }
        _ => None,
    });
    let told = server.send(NOW, Some(children[0]), &answer, &mut wire);
    assert_eq!(told, Discard::Gone.to_string());
    assert_eq!(server.gateway.counters().dropped(DropReason::OutGone), 1);
    assert_eq!(server.send(NOW, Some(successor.unwrap()), &answer, &mut wire), "sent");
    deliver(NOW, &mut [&mut server, &mut one, &mut two], &mut wire);
    assert_eq!((one.delivered.len(), two.delivered.len()), (1, 0));
    assert!(one.refused.is_empty() && two.refused.is_empty());
}

#[test]
fn peers_with_the_same_addresses_are_told_apart_by_their_child() {
    // RFC 3948 section 5.1
    alike(false);
    alike(true);
}

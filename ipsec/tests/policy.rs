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
fn fragments_that_may_not_pass_push_no_others_out() {
    // RFC 4301 section 7.4
    let dns = |local, remote| Selectors::pair(udp_port(53, net(local)), udp_port(53, net(remote)));
    let before = [Policy::new(dns(1, 2), Action::Bypass)];
    let part = |from, to, port, flags_offset| {
        ip(from, to, 17, flags_offset, &[0, port, 0, port, 0, 24, 0, 0])
    };
    let (first, later) = (0x2000, 0x0001);
    pair((&[net(1)], &[net(2)]), &before, Some(&udp(1, 2, 99)), |a, _, wire| {
        a.gateway.track_fragments(Box::leak(Box::new([FragmentSlot::EMPTY; 2])));
        assert_eq!(a.send(NOW, None, &part(1, 2, 53, first), wire), "bypass");
        assert!(a.gateway.inbound_clear(NOW, &part(2, 1, 53, first)).is_ok());
        // Of strangers, and of what is to be protected.
        for stranger in 2..99 {
            assert!(a.gateway.inbound_clear(NOW, &part(stranger, 1, 54, first)).is_err());
        }
        assert_eq!(a.send(NOW, None, &part(1, 2, 53, later), wire), "bypass");
        assert!(a.gateway.inbound_clear(NOW, &part(2, 1, 53, later)).is_ok());
        // What is remembered of a datagram is no pass for another first fragment of it.
        assert!(a.gateway.inbound_clear(NOW, &part(2, 1, 54, first)).is_err());
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

/// Two gateways with these children, as the first of them sees them.
fn with_children(
    change: impl Fn(bool, &mut Vec<Child<'_>>),
    body: impl for<'s> FnOnce(&mut Site<'s>, &mut Site<'s>, &mut Wire),
) {
    let mut pools = [(); 2].map(|()| Pools::<Toy, Vecs>::new(&Sizes::for_tunnels(8)));
    let [pool_a, pool_b] = &mut pools;
    let ids = [Identity::Fqdn("a.example"), Identity::Fqdn("b.example")];
    let (at_a, at_b) = (Some(SERVER.into()), Some(CLIENTS[0].into()));
    let (lan_1, lan_2) = ([net(1)], [net(2)]);
    let mut here = vec![Child::new("lan", &lan_1, &lan_2)];
    let mut there = vec![Child::new("lan", &lan_2, &lan_1)];
    change(true, &mut here);
    change(false, &mut there);
    let a = [Peer { children: &here, ..Peer::psk((at_a, ids[0]), (at_b, ids[1]), KEY) }];
    let b = [Peer { children: &there, ..Peer::psk((at_b, ids[1]), (at_a, ids[0]), KEY) }];
    let mut a = Site::new(SERVER, &GatewayConfig::new(Config::new(&a)), pool_a);
    let mut b = Site::new(CLIENTS[0], &GatewayConfig::new(Config::new(&b)), pool_b);
    body(&mut a, &mut b, &mut Wire::new());
}

/// The selectors of all SAs to receive on, in order.
fn inbound_selectors(site: &Site<'_>) -> Vec<String> {
    let sas = site.gateway.sad().inbound_sas();
    let mut all: Vec<_> = sas
        .map(|sa| {
            let side = |list: &[TrafficSelector]| {
                assert_eq!(list.len(), 1);
                list[0].to_string()
            };
            format!("{} - {}", side(&sa.selectors.local), side(&sa.selectors.remote))
        })
        .collect();
    all.sort_unstable();
    all
}

fn packets() -> &'static mut [Flow] {
    Box::leak(Box::new([Flow::UNSPECIFIED; 64]))
}

#[test]
fn each_combination_of_a_packet_has_its_sa() {
    // RFC 4301 section 4.4.1.2
    let change = |first, children: &mut Vec<Child<'_>>| {
        let from_packet = FromPacket { local_port: true, ..FromPacket::ADDRESSES };
        children[0].combinations = 3;
        // The peer follows what it is asked for.
        if first {
            children[0].from_packet = from_packet;
        }
    };
    with_children(change, |a, b, wire| {
        let told = a.send(Instant::from_secs(1), None, &udp(1, 2, 53), wire);
        assert_eq!(told, OutboundError::Start(CommandError::NoRoom).to_string(), "no memory");
        a.gateway.remember_packets(packets());
        for (round, port) in [(0, 53), (1, 54), (2, 55)] {
            let question = udp(1, 2, port);
            assert_eq!(a.send(NOW, None, &question, wire), "acquire");
            assert_eq!(a.send(NOW, None, &question, wire), "pending");
            deliver(NOW, &mut [a, b], wire);
            assert_eq!(a.send(NOW, None, &question, wire), "sent");
            deliver(NOW, &mut [a, b], wire);
            assert_eq!(b.delivered.pop().unwrap().1, question);
            // The answer has an SA without being asked for one.
            let answer = udp(2, 1, port);
            assert_eq!(b.send(NOW, None, &answer, wire), "sent");
            deliver(NOW, &mut [a, b], wire);
            assert_eq!(a.delivered.pop().unwrap().1, answer);
            assert_eq!(a.gateway.statistics().outbound_sas, round + 1);
        }
        let all =
            ["53", "54", "55"].map(|port| format!("192.168.1.9[17/{port}] - 192.168.2.9[17]"));
        assert_eq!(inbound_selectors(a), all);
        // What has an SA uses it; the peer checks that it does.
        for port in [53, 54, 55] {
            assert_eq!(a.send(NOW, None, &udp(1, 2, port), wire), "sent");
            assert_eq!(b.send(NOW, None, &udp(2, 1, port), wire), "sent");
        }
        deliver(NOW, &mut [a, b], wire);
        assert_eq!((a.delivered.len(), b.delivered.len()), (3, 3));
        assert!(a.refused.is_empty() && b.refused.is_empty());
        let via = b.delivered.iter().map(|(via, _)| *via).collect::<std::collections::HashSet<_>>();
        assert_eq!(via.len(), 3);

        // New keys are for the same traffic.
        let mut rng = SeededRng::new(5);
        a.gateway.rekey(NOW, &mut rng, ChildRef { peer: 0, child: 0 }).unwrap();
        a.settle(NOW, wire);
        deliver(NOW, &mut [a, b], wire);
        let later = NOW.after(core::time::Duration::from_secs(7));
        for site in [&mut *a, &mut *b] {
            site.gateway.handle_timeout(later, &mut rng);
            site.settle(later, wire);
        }
        assert_eq!(inbound_selectors(a), all);

        // The oldest of them gives way to the next.
        assert_eq!(a.send(later, None, &udp(1, 2, 56), wire), "acquire");
        deliver(later, &mut [a, b], wire);
        assert_eq!(a.send(later, None, &udp(1, 2, 56), wire), "sent");
        assert_eq!(a.gateway.statistics().outbound_sas, 3);
        assert!(inbound_selectors(a).contains(&"192.168.1.9[17/56] - 192.168.2.9[17]".to_string()));
        // It was the first; it comes back when it is asked for.
        assert_eq!(a.send(later, None, &udp(1, 2, 53), wire), "acquire");
        deliver(later, &mut [a, b], wire);
        assert_eq!(a.send(later, None, &udp(1, 2, 53), wire), "sent");
        assert_eq!(a.gateway.statistics().outbound_sas, 3);
    });
}

#[test]
fn both_sides_may_take_selectors_from_packets() {
    let change = |_, children: &mut Vec<Child<'_>>| {
        children[0].combinations = 8;
        children[0].from_packet = FromPacket::ALL;
    };
    with_children(change, |a, b, wire| {
        a.gateway.remember_packets(packets());
        b.gateway.remember_packets(packets());
        for port in [53, 54] {
            assert_eq!(a.send(NOW, None, &udp(1, 2, port), wire), "acquire");
            deliver(NOW, &mut [a, b], wire);
            assert_eq!(b.send(NOW, None, &udp(2, 1, port), wire), "sent");
        }
        assert_eq!(b.send(NOW, None, &udp(2, 1, 99), wire), "acquire");
        deliver(NOW, &mut [a, b], wire);
        let all = ["53", "54", "99"]
            .map(|port| format!("192.168.1.9[17/{port}] - 192.168.2.9[17/{port}]"));
        assert_eq!(inbound_selectors(a), all);
        // Whoever gives new keys keeps to what was agreed: here, the side that was asked.
        let mut rng = SeededRng::new(5);
        b.gateway.rekey(NOW, &mut rng, ChildRef { peer: 0, child: 0 }).unwrap();
        b.settle(NOW, wire);
        deliver(NOW, &mut [a, b], wire);
        let later = NOW.after(core::time::Duration::from_secs(7));
        for site in [&mut *a, &mut *b] {
            site.gateway.handle_timeout(later, &mut rng);
            site.settle(later, wire);
            assert_eq!(site.gateway.statistics().inbound_sas, 3);
        }
        assert_eq!(inbound_selectors(a), all);
    });
}

#[test]
fn parallel_sas_are_chosen_by_dscp() {
    // RFC 4301 section 4.1, RFC 4301 section 4.4.2.1
    let change = |_, children: &mut Vec<Child<'_>>| {
        let urgent = Child { dscp: DscpSet::of(&[46]), ..children[0] };
        children.insert(0, urgent);
    };
    with_children(change, |a, b, wire| {
        let with_dscp = |from, to, dscp: u8| {
            let mut packet = udp(from, to, 53);
            packet[1] = dscp << 2;
            packet[10..12].fill(0);
            packet
        };
        for dscp in [46, 0] {
            assert_eq!(a.send(NOW, None, &with_dscp(1, 2, dscp), wire), "acquire");
            deliver(NOW, &mut [a, b], wire);
        }
        let (urgent, other) = (ChildRef { peer: 0, child: 0 }, ChildRef { peer: 0, child: 1 });
        for _ in 0..5 {
            for dscp in [46, 0, 10] {
                assert_eq!(a.send(NOW, None, &with_dscp(1, 2, dscp), wire), "sent");
            }
        }
        let sent = |config| a.gateway.tunnel(config).unwrap().sent.0;
        assert_eq!((sent(urgent), sent(other)), (5, 10));
        // The receiver takes them as they come.
        deliver(NOW, &mut [a, b], wire);
        assert_eq!(b.delivered.len(), 15);
        let via = b.delivered.iter().map(|(via, _)| *via).collect::<std::collections::HashSet<_>>();
        assert_eq!(via.len(), 2);
        assert!(b.refused.is_empty());
    });
}

/// Seals a packet of this many bytes that must not be fragmented. Gives the outer packet, or the MTU that is too small.
fn sealed(site: &mut Site<'_>, now: Instant, len: usize) -> Result<Vec<u8>, usize> {
    let mut inner = ip(1, 2, 17, 0x4000, &vec![7; len - 20]);
    inner.resize(len, 0);
    let mut buf = vec![0; MAX_HEADROOM];
    buf.extend_from_slice(&inner);
    buf.extend_from_slice(&[0; MAX_TAILROOM]);
    let packet = PacketBuf::new(&mut buf, MAX_HEADROOM..MAX_HEADROOM + len).unwrap();
    match site.gateway.outbound(now, &mut site.rng, packet) {
        Ok(Outbound::Send(sent)) => Ok(sent.outer().to_vec()),
        Err(OutboundError::TooBig { mtu }) => Err(mtu),
        other => panic!("{other:?}"),
    }
}

/// What a router on the way says of an outer packet.
fn router_says(outer: &[u8], mtu: u16) -> Vec<u8> {
    let mut out = [0; 600];
    let from = [192, 0, 2, 1].into();
    let len = ipsec_esp::icmp::packet_too_big(outer, mtu, from, &mut out).unwrap();
    out[..len].to_vec()
}

#[test]
fn a_path_mtu_is_learned_believed_with_care_and_forgotten() {
    // RFC 4301 section 8.2.1, RFC 4301 section 8.2.2, RFC 4301 section 6.1.1
    let (lan_1, lan_2) = ([net(1)], [net(2)]);
    let tunnel = ChildRef { peer: 0, child: 0 };
    pair((&lan_1, &lan_2), &[], Some(&udp(1, 2, 53)), |a, b, wire| {
        let outer = sealed(a, NOW, 1300).unwrap();
        let too_big = router_says(&outer, 1200);
        assert_eq!(a.gateway.handle_too_big(NOW, &too_big), None, "no memory");
        a.gateway.learn_path_mtu(
            Box::leak(Box::new([PathMtuSlot::EMPTY; 20])),
            Box::leak(Box::new([0; 40])),
        );
        let whole = a.gateway.effective_mtu(NOW, tunnel).unwrap();
        assert_eq!(a.gateway.path_mtu(NOW, tunnel), Some(1500));

        // Of another SA, other addresses, or a packet that was not sent.
        for byte in [28 + 12, 28 + 16, 28 + 20, 28 + 24, 28 + 27] {
            let mut forged = outer.clone();
            forged[byte - 28] ^= 0x40;
            let forged = router_says(&forged, 1200);
            assert_eq!(a.gateway.handle_too_big(NOW, &forged), None, "byte {byte}");
        }
        // Nothing that is no such error.
        assert_eq!(a.gateway.handle_too_big(NOW, &outer), None);
        assert_eq!(a.gateway.handle_too_big(NOW, &router_says(&outer, 1500)), None, "no news");
        assert_eq!(a.gateway.path_mtu(NOW, tunnel), Some(1500));

        assert_eq!(a.gateway.handle_too_big(NOW, &too_big), Some(1200));
        assert_eq!(a.gateway.path_mtu(NOW, tunnel), Some(1200));
        let mtu = a.gateway.effective_mtu(NOW, tunnel).unwrap();
        assert_eq!(mtu, a.gateway.overhead(tunnel).unwrap().effective_mtu(1200));
        assert_eq!(a.gateway.tcp_mss(NOW, tunnel, true), Some(mtu - 40));
        assert_eq!(sealed(a, NOW, mtu + 1), Err(mtu));
        assert_eq!(sealed(a, NOW, mtu).unwrap().len().div_ceil(4), 300);
        // It never rises by what somebody says.
        assert_eq!(a.gateway.handle_too_big(NOW, &router_says(&outer, 1400)), None);
        assert_eq!(a.gateway.path_mtu(NOW, tunnel), Some(1200));

        // New keys on the same path.
        a.gateway.rekey(NOW, &mut SeededRng::new(5), tunnel).unwrap();
        a.settle(NOW, wire);
        deliver(NOW, &mut [a, b], wire);
        assert_eq!(a.gateway.path_mtu(NOW, tunnel), Some(1200));
        assert_eq!(a.gateway.handle_too_big(NOW, &too_big), None, "the old SA is gone");
        let outer = sealed(a, NOW, 600).unwrap();

        // It is not believed to be tiny, and forgotten after ten minutes.
        let later = NOW.after(core::time::Duration::from_secs(300));
        assert_eq!(a.gateway.handle_too_big(later, &router_says(&outer, 100)), Some(576));
        let end = later.after(core::time::Duration::from_secs(600));
        let before = Instant::from_micros(end.as_micros() - 1);
        assert_eq!(a.gateway.path_mtu(before, tunnel), Some(576));
        assert_eq!(a.gateway.path_mtu(end, tunnel), Some(1500));
        assert_eq!(a.gateway.effective_mtu(end, tunnel), Some(whole));
    });
}

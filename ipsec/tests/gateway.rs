//! Two gateways in one program: what the paved road promises, with the toy provider.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::collections::VecDeque;

use ipsec::ipsec_core::wire::{Ipv4Header, UdpHeader};
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

const KOLKATA: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const DELHI: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const TUNNEL: ChildRef = ChildRef { peer: 0, child: 0 };

fn net(third: u8) -> TrafficSelector {
    TrafficSelector::network([192, 168, third, 0].into(), 24).unwrap()
}

/// A UDP packet from LAN `from` to LAN `to`, in a buffer with room around it.
fn packet(from: u8, to: u8, len: usize) -> (Vec<u8>, core::ops::Range<usize>) {
    let udp = UdpHeader::new(7, 8, len).unwrap();
    let ip = Ipv4Header::new(
        [192, 168, from, 9].into(),
        [192, 168, to, 9].into(),
        17,
        0,
        64,
        UdpHeader::LEN + len,
    );
    let mut buf = vec![0; MAX_HEADROOM];
    buf.extend_from_slice(ip.unwrap().as_bytes());
    buf.extend_from_slice(udp.as_bytes());
    buf.extend((0..len).map(|i| i.to_le_bytes()[0]));
    let range = MAX_HEADROOM..buf.len();
    buf.extend_from_slice(&[0; MAX_TAILROOM]);
    (buf, range)
}

/// One gateway, and what became known of it.
struct Site<'r> {
    gateway: Gateway<'r, Toy>,
    rng: SeededRng,
    events: Vec<GatewayEvent>,
    /// Inner packets that came out.
    delivered: Vec<Vec<u8>>,
}

/// What lies on the wire: a UDP payload, or an ESP packet with ports 0, seen from its sender.
type Wire = VecDeque<(Path, Vec<u8>)>;

impl<'r> Site<'r> {
    fn new(config: &GatewayConfig<'r>, pools: &'r mut Pools<Toy, Vecs>, seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let gateway = Gateway::new(config, pools.lend(), &mut rng).unwrap();
        Self { gateway, rng, events: Vec::new(), delivered: Vec::new() }
    }

    /// Step 2.
    fn send(&mut self, now: Instant, from: u8, to: u8, len: usize, wire: &mut Wire) -> String {
        let (mut buf, range) = packet(from, to, len);
        let packet = PacketBuf::new(&mut buf, range).unwrap();
        let told = match self.gateway.outbound(now, &mut self.rng, packet) {
            Ok(Outbound::Send(sent)) => {
                wire.push_back((sent.path(), sent.esp().to_vec()));
                "sent".into()
            }
            Ok(Outbound::Bypass(packet)) => format!("bypass {}", packet.len()),
            Ok(Outbound::Discard(why)) => why.to_string(),
            Ok(Outbound::Acquire(config)) => format!("acquire {}", config.child),
            Ok(Outbound::Pending(config)) => format!("pending {}", config.child),
            Err(e) => e.to_string(),
        };
        self.settle(now, wire);
        told
    }

    /// Step 3.
    fn receive(&mut self, now: Instant, path: Path, data: &[u8], wire: &mut Wire) -> String {
        let mut padded = vec![0; 3];
        padded.extend_from_slice(data);
        let data = &mut padded[3..];
        let here = Path::new(path.remote, path.local);
        let (gateway, rng) = (&mut self.gateway, &mut self.rng);
        let told = match if path.local.port == 0 {
            gateway.inbound_esp(now, rng, here, 0, data)
        } else {
            gateway.inbound_udp(now, rng, here, 0, data)
        } {
            Ok(Inbound::Packet(received)) => {
                let inner = IpPacket::parse(received.packet).unwrap();
                assert_eq!(inner.len, received.packet.len());
                self.delivered.push(received.packet.to_vec());
                let range = received.range;
                assert_eq!(self.delivered.last().unwrap(), &padded[3..][range]);
                "packet".into()
            }
            Ok(Inbound::Ike) => "ike".into(),
            Ok(Inbound::Keepalive) => "keepalive".into(),
            Ok(Inbound::Clear(_)) => "clear".into(),
            Err(e) => e.to_string(),
        };
        self.settle(now, wire);
        told
    }

    /// Steps 5 and 6.
    fn settle(&mut self, now: Instant, wire: &mut Wire) {
        self.gateway.settle(now, &mut self.rng, |event| self.events.push(event));
        let mut buf = [0; 2000];
        while let Some(transmit) = self.gateway.poll_transmit(&mut buf).unwrap() {
            wire.push_back((transmit.path, buf[..transmit.len].to_vec()));
        }
    }

    /// Step 4.
    fn timeout(&mut self, now: Instant, wire: &mut Wire) {
        if self.gateway.next_timeout().is_some_and(|at| at <= now) {
            self.gateway.handle_timeout(now, &mut self.rng);
            self.settle(now, wire);
        }
    }

    fn events(&mut self) -> Vec<String> {
        self.events.drain(..).map(|e| name(&e)).collect()
    }
}

fn name(event: &GatewayEvent) -> String {
    match event {
        GatewayEvent::IkeUp { .. } => "ike up".into(),
        GatewayEvent::IkeRekeyed { .. } => "ike rekeyed".into(),
        GatewayEvent::IkeDown { reason, .. } => format!("ike down: {reason}"),
        GatewayEvent::ChildUp { .. } => "child up".into(),
        GatewayEvent::ChildRekeyed { .. } => "child rekeyed".into(),
        GatewayEvent::ChildDown { reason, tunnel_up, .. } => {
            format!("child down: {reason}, tunnel {}", if *tunnel_up { "up" } else { "down" })
        }
        GatewayEvent::Failed { failure, .. } => format!("failed: {failure}"),
        other => format!("{other:?}"),
    }
}

/// Carries what is on the wire until it is empty. Gives what was told of each.
fn deliver<'s>(now: Instant, sites: [&mut Site<'s>; 2], wire: &mut Wire) -> Vec<String> {
    let [kolkata, delhi] = sites;
    let mut told = Vec::new();
    while let Some((path, data)) = wire.pop_front() {
        let to = if path.remote.address == DELHI { &mut *delhi } else { &mut *kolkata };
        told.push(to.receive(now, path, &data, wire));
        assert!(told.len() < 1000, "the wire does not come to rest");
    }
    told
}

/// Runs `body` with the two gateways; `change` may alter the configuration of one of them.
fn run(
    change: impl Fn(bool, &mut Peer<'_>, &mut Child<'_>),
    extra: &[Policy],
    key_log: bool,
    body: impl for<'s> FnOnce(&mut Site<'s>, &mut Site<'s>, &mut Wire),
) {
    let mut pools = [(); 2].map(|()| Pools::<Toy, Vecs>::new(&Sizes::for_tunnels(2)));
    let [pool_a, pool_b] = &mut pools;
    let (lan_1, lan_2) = ([net(1)], [net(2)]);
    let mut child_a = Child::new("lan", &lan_1, &lan_2);
    let mut child_b = Child::new("lan", &lan_2, &lan_1);
    let ids = [Identity::Fqdn("kolkata.example"), Identity::Fqdn("delhi.example")];
    let mut a = Peer::psk((Some(KOLKATA), ids[0]), (Some(DELHI), ids[1]), b"a very long secret");
    let mut b = Peer::psk((Some(DELHI), ids[1]), (Some(KOLKATA), ids[0]), b"a very long secret");
    change(true, &mut a, &mut child_a);
    change(false, &mut b, &mut child_b);
    let (children_a, children_b) = ([child_a], [child_b]);
    a.children = &children_a;
    b.children = &children_b;
    let (peers_a, peers_b) = ([a], [b]);
    let config = |peers| {
        let ike = Config { key_log, ..Config::new(peers) };
        GatewayConfig { before: extra, ..GatewayConfig::new(ike) }
    };
    let mut a = Site::new(&config(&peers_a), pool_a, 1);
    let mut b = Site::new(&config(&peers_b), pool_b, 2);
    body(&mut a, &mut b, &mut Wire::new());
}

const NOW: Instant = Instant::from_secs(10);

#[test]
fn the_first_packet_brings_the_tunnel_up() {
    run(
        |_, _, _| {},
        &[],
        false,
        |a, b, wire| {
            assert_eq!(a.send(NOW, 1, 2, 10, wire), "acquire 0");
            assert_eq!(a.send(NOW, 1, 2, 10, wire), "pending 0");
            assert!(a.gateway.tunnel(TUNNEL).unwrap().negotiating);
            assert_eq!(deliver(NOW, [a, b], wire), ["ike"; 4]);
            assert_eq!(a.events(), ["ike up", "child up"]);
            assert_eq!(b.events(), ["ike up", "child up"]);
            for round in 0..5 {
                assert_eq!(a.send(NOW, 1, 2, round, wire), "sent");
                assert_eq!(b.send(NOW, 2, 1, round, wire), "sent");
            }
            assert_eq!(deliver(NOW, [a, b], wire), ["packet"; 10]);
            let (buf, range) = packet(1, 2, 4);
            assert_eq!(b.delivered.last().unwrap(), &buf[range]);
            assert!(a.events.is_empty() && b.events.is_empty());
            let tunnel = a.gateway.tunnel(TUNNEL).unwrap();
            assert!(!tunnel.negotiating && tunnel.child.is_some());
            assert_eq!((tunnel.sent.0, tunnel.received.0), (5, 5));
            let counters = a.gateway.counters();
            assert_eq!((counters.sealed, counters.opened), (5, 5));
            assert_eq!(counters.drops().collect::<Vec<_>>(), [(DropReason::OutNoSa, 2)]);
            assert_eq!(a.gateway.tunnels().count(), 1);
        },
    );
}

#[test]
fn a_command_brings_the_tunnel_up_and_takes_it_down() {
    run(
        |_, _, _| {},
        &[],
        false,
        |a, b, wire| {
            let mut rng = SeededRng::new(3);
            let unknown = ChildRef { peer: 0, child: 1 };
            assert_eq!(a.gateway.initiate(NOW, &mut rng, unknown), Err(CommandError::Unknown));
            assert_eq!(a.gateway.close(NOW, &mut rng, TUNNEL), Err(CommandError::Unknown));
            assert_eq!(a.gateway.rekey(NOW, &mut rng, TUNNEL), Err(CommandError::Unknown));
            a.gateway.initiate(NOW, &mut rng, TUNNEL).unwrap();
            a.gateway.initiate(NOW, &mut rng, TUNNEL).unwrap();
            a.settle(NOW, wire);
            assert_eq!(deliver(NOW, [a, b], wire), ["ike"; 4]);
            a.gateway.initiate(NOW, &mut rng, TUNNEL).unwrap();
            a.settle(NOW, wire);
            assert!(wire.is_empty());
            let _ = (a.events(), b.events());

            a.gateway.close(NOW, &mut rng, TUNNEL).unwrap();
            a.settle(NOW, wire);
            deliver(NOW, [a, b], wire);
            assert_eq!(a.events(), ["child down: closed, tunnel down"]);
            assert_eq!(b.events(), ["child down: deleted by the peer, tunnel down"]);
            assert!(!a.gateway.is_idle(), "the IKE SA is still there");

            // Traffic brings it up again, on the same IKE SA.
            assert_eq!(b.send(NOW, 2, 1, 10, wire), "acquire 0");
            deliver(NOW, [a, b], wire);
            assert_eq!(b.events(), ["child up"]);
            assert_eq!(b.send(NOW, 2, 1, 10, wire), "sent");
            assert_eq!(deliver(NOW, [a, b], wire), ["packet"]);

            b.gateway.close_all(NOW, &mut rng);
            b.settle(NOW, wire);
            deliver(NOW, [a, b], wire);
            for site in [a, b] {
                assert!(site.gateway.is_idle());
                let in_use = site.gateway.statistics();
                assert_eq!((in_use.children, in_use.inbound_sas, in_use.outbound_sas), (0, 0, 0));
            }
        },
    );
}

#[test]
fn no_packet_is_lost_to_a_rekey() {
    // RFC 7296 section 2.8
    for who in [true, false] {
        run(
            |_, _, _| {},
            &[],
            false,
            |a, b, wire| {
                a.send(NOW, 1, 2, 10, wire);
                deliver(NOW, [a, b], wire);
                let _ = (a.events(), b.events());
                let (mut sent, mut rng) = (0, SeededRng::new(3));
                let rekeyer = if who { &mut *a } else { &mut *b };
                rekeyer.gateway.rekey(NOW, &mut rng, TUNNEL).unwrap();
                rekeyer.settle(NOW, wire);
                // Traffic both ways between all messages.
                while let Some((path, data)) = wire.pop_front() {
                    sent += 2;
                    assert_eq!(a.send(NOW, 1, 2, sent, wire), "sent");
                    assert_eq!(b.send(NOW, 2, 1, sent, wire), "sent");
                    let to = if path.remote.address == DELHI { &mut *b } else { &mut *a };
                    let told = to.receive(NOW, path, &data, wire);
                    assert!(matches!(told.as_str(), "ike" | "packet"), "{told}");
                    if sent > 20 {
                        break;
                    }
                }
                for told in deliver(NOW, [a, b], wire) {
                    assert!(matches!(told.as_str(), "ike" | "packet"), "{told}");
                }
                let mut received = [a.delivered.len(), b.delivered.len()];
                received.sort_unstable();
                assert_eq!(received, [sent / 2; 2]);
                for site in [a, b] {
                    assert_eq!(
                        site.events(),
                        ["child rekeyed", "child down: rekeyed, tunnel up"],
                        "{who}"
                    );
                    assert_eq!(site.gateway.counters().rekeys, 1);
                    // The old SA receives a little longer what the deletion has overtaken.
                    let in_use = site.gateway.statistics();
                    assert_eq!((in_use.inbound_sas, in_use.outbound_sas), (2, 1));
                    let later = NOW.after(Duration::from_secs(6));
                    site.gateway.handle_timeout(later, &mut rng);
                    site.settle(later, wire);
                    let in_use = site.gateway.statistics();
                    assert_eq!((in_use.inbound_sas, in_use.outbound_sas), (1, 1));
                    assert!(site.events().is_empty());
                }
            },
        );
    }
}

#[test]
fn a_limit_of_bytes_rekeys_the_tunnel() {
    let short = |_, _: &mut Peer<'_>, child: &mut Child<'_>| {
        child.lifetime.soft.bytes = 2000;
    };
    run(short, &[], false, |a, b, wire| {
        a.send(NOW, 1, 2, 10, wire);
        deliver(NOW, [a, b], wire);
        for _ in 0..10 {
            assert_eq!(a.send(NOW, 1, 2, 900, wire), "sent");
            deliver(NOW, [a, b], wire);
        }
        assert_eq!(b.delivered.len(), 10);
        assert!(a.gateway.counters().rekeys >= 3, "{}", a.gateway.counters().rekeys);
        assert_eq!(a.gateway.statistics().outbound_sas, 1);
    });
}

#[test]
fn an_sa_whose_life_is_over_sends_nothing_more() {
    let short = |_, _: &mut Peer<'_>, child: &mut Child<'_>| {
        child.lifetime.hard.packets = 3;
        child.lifetime.soft.packets = 100;
    };
    run(short, &[], false, |a, b, wire| {
        a.send(NOW, 1, 2, 10, wire);
        deliver(NOW, [a, b], wire);
        // The soft limit is below the hard one, whatever is configured; without the peer it leads nowhere.
        let mut lost = Wire::new();
        let told: Vec<_> = (0..5).map(|_| a.send(NOW, 1, 2, 10, &mut lost)).collect();
        assert_eq!(told[..3], ["sent"; 3]);
        assert!(told[3].ends_with("lifetime is over"), "{}", told[3]);
        assert_eq!(told[4], "acquire 0");
        assert_eq!(a.gateway.counters().dropped(DropReason::OutExpired), 1);
    });
}

#[test]
fn policies_around_the_tunnels() {
    // RFC 4301 section 5.1 and section 5.2
    let dns = TrafficSelector { ports: PortRange::single(8), protocol: 17, ..net(3) };
    let before = [
        Policy::new(Selectors::pair(net(1), dns), Action::Bypass),
        Policy::new(Selectors::pair(net(1), net(4)), Action::Discard),
    ];
    run(
        |_, _, _| {},
        &before,
        false,
        |a, _, wire| {
            assert_eq!(a.send(NOW, 1, 3, 10, wire), "bypass 38");
            assert_eq!(a.send(NOW, 1, 4, 10, wire), "policy discards it");
            assert_eq!(a.send(NOW, 1, 5, 10, wire), "no policy matches");
            assert!(wire.is_empty());
            let (buf, range) = packet(3, 1, 10);
            let clear = a.gateway.inbound_clear(NOW, &buf[range]);
            assert_eq!(clear, Err(InboundError::Clear(ClearError::NoPolicy)));
            let (buf, range) = packet(2, 1, 10);
            let clear = a.gateway.inbound_clear(NOW, &buf[range]);
            assert_eq!(clear, Err(InboundError::Clear(ClearError::NotProtected)));
            let (mut buf, range) = packet(4, 1, 10);
            let mut rng = SeededRng::new(3);
            let clear = a.gateway.inbound_ip(NOW, &mut rng, &mut buf[range]);
            assert_eq!(clear.err(), Some(InboundError::Clear(ClearError::Discard)));
            assert_eq!(a.gateway.counters().bypassed, 1);
            assert_eq!(a.gateway.counters().dropped(DropReason::ClearPolicy), 1);
        },
    );
}

#[test]
fn the_peer_may_agree_to_less() {
    // RFC 7296 section 2.9
    static WIDE: std::sync::LazyLock<[TrafficSelector; 1]> = std::sync::LazyLock::new(|| {
        [TrafficSelector::network([192, 168, 0, 0].into(), 16).unwrap()]
    });
    let wide = |first, _: &mut Peer<'_>, child: &mut Child<'_>| {
        if first {
            child.remote = &*WIDE;
        }
    };
    run(wide, &[], false, |a, b, wire| {
        assert_eq!(a.send(NOW, 1, 2, 10, wire), "acquire 0");
        deliver(NOW, [a, b], wire);
        assert_eq!(a.send(NOW, 1, 2, 10, wire), "sent");
        assert_eq!(a.send(NOW, 1, 7, 10, wire), Discard::NotAgreed.to_string());
        assert_eq!(a.gateway.counters().dropped(DropReason::OutNotAgreed), 1);
    });
}

#[test]
fn what_is_too_big_is_refused_with_the_mtu() {
    run(
        |_, _, _| {},
        &[],
        false,
        |a, b, wire| {
            assert_eq!(a.gateway.overhead(TUNNEL), None);
            a.send(NOW, 1, 2, 10, wire);
            deliver(NOW, [a, b], wire);
            let mtu = a.gateway.overhead(TUNNEL).unwrap().effective_mtu(1500);
            assert_eq!(a.send(NOW, 1, 2, mtu - 28, wire), "sent");
            assert!(wire.pop_front().unwrap().1.len() <= 1480);
            let told = a.send(NOW, 1, 2, mtu - 27, wire);
            assert_eq!(told, OutboundError::TooBig { mtu }.to_string());
            assert_eq!(a.gateway.counters().dropped(DropReason::OutTooBig), 1);
        },
    );
}

#[test]
fn a_failed_negotiation_is_not_repeated_at_once() {
    let silent = |_, peer: &mut Peer<'_>, _: &mut Child<'_>| peer.retransmission.tries = 1;
    run(silent, &[], false, |a, _, wire| {
        assert_eq!(a.send(NOW, 1, 2, 10, wire), "acquire 0");
        let mut now = NOW;
        while a.events.is_empty() {
            now = a.gateway.next_timeout().expect("a retransmission").max(now);
            a.timeout(now, wire);
        }
        assert!(a.events()[0].starts_with("failed: no answer to"));
        assert!(!a.gateway.tunnel(TUNNEL).unwrap().negotiating);
        assert_eq!(a.send(now, 1, 2, 10, wire), "pending 0");
        now = now.after(Duration::from_secs(5));
        assert_eq!(a.send(now, 1, 2, 10, wire), "acquire 0");
    });
}

#[test]
fn a_wrong_secret_is_told_on_both_sides() {
    let wrong = |first, peer: &mut Peer<'_>, _: &mut Child<'_>| {
        if first {
            peer.auth = Auth::psk(b"another secret");
        }
    };
    run(wrong, &[], false, |a, b, wire| {
        assert_eq!(a.send(NOW, 1, 2, 10, wire), "acquire 0");
        deliver(NOW, [a, b], wire);
        // The answer of another, who has the secret, may still be on its way.
        let later = a.gateway.next_timeout().expect("an end of waiting");
        assert!(later <= NOW.after(Duration::from_secs(1)));
        a.timeout(later, wire);
        let (a_told, b_told) = (a.events(), b.events());
        assert_eq!((a_told.len(), b_told.len()), (1, 1), "{a_told:?} {b_told:?}");
        assert!(a_told[0].starts_with("failed: authentication refused"), "{a_told:?}");
        assert!(b_told[0].starts_with("failed: authentication failed"), "{b_told:?}");
        assert_eq!(a.gateway.statistics().inbound_sas, 0);
        assert_eq!(b.gateway.statistics().inbound_sas, 0);
    });
}

#[test]
fn both_sides_log_the_same_keys() {
    run(
        |_, _, _| {},
        &[],
        true,
        |a, b, wire| {
            a.send(NOW, 1, 2, 10, wire);
            deliver(NOW, [a, b], wire);
            let keys = |site: &mut Site<'_>| {
                let (mut ike, mut esp) = (Vec::new(), Vec::new());
                for event in site.events.drain(..) {
                    match event {
                        GatewayEvent::IkeKeys(k) => ike.push((
                            (k.initiator_spi, k.responder_spi, k.suite),
                            (k.encryption_i().to_vec(), k.encryption_r().to_vec()),
                            (k.integrity_i().to_vec(), k.integrity_r().to_vec()),
                        )),
                        GatewayEvent::EspKeys(k) => {
                            assert_eq!(k.encryption().len(), 20);
                            assert_eq!(k.integrity().len(), 0);
                            esp.push((k.spi, k.encryption().to_vec()));
                        }
                        _ => {}
                    }
                }
                esp.sort();
                (ike, esp)
            };
            let (of_a, of_b) = (keys(a), keys(b));
            assert_eq!((of_a.0.len(), of_a.1.len()), (1, 2));
            assert_eq!(of_a, of_b);
            assert_ne!(of_a.1[0].1, of_a.1[1].1);
        },
    );
}

#[test]
fn whole_packets_go_through_as_well() {
    run(
        |_, peer, _| peer.force_encapsulation = true,
        &[],
        false,
        |a, b, _| {
            let mut rng = SeededRng::new(9);
            a.gateway.initiate(NOW, &mut rng, TUNNEL).unwrap();
            let mut buf = [0; 2000];
            let mut moved = true;
            while moved {
                moved = false;
                for to_delhi in [true, false] {
                    let (from, to) = if to_delhi { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
                    from.gateway.settle(NOW, &mut rng, drop);
                    while let Some(packet) = from.gateway.poll_transmit_ip(&mut buf).unwrap() {
                        moved = true;
                        let header = Ipv4Header::parse(packet).unwrap();
                        assert_eq!(header.header_len() + header.payload.len(), packet.len());
                        let inbound = to.gateway.inbound_ip(NOW, &mut rng, packet);
                        assert!(matches!(inbound, Ok(Inbound::Ike)), "{inbound:?}");
                    }
                }
            }
            let (mut buf, range) = packet(1, 2, 10);
            let inner = buf[range.clone()].to_vec();
            let packet = PacketBuf::new(&mut buf, range).unwrap();
            let Ok(Outbound::Send(sent)) = a.gateway.outbound(NOW, &mut rng, packet) else {
                panic!("the tunnel is not up");
            };
            assert_eq!(sent.encapsulation(), Encapsulation::Udp);
            let outer = sent.into_outer();
            let Ok(Inbound::Packet(received)) = b.gateway.inbound_ip(NOW, &mut rng, outer) else {
                panic!("the packet did not come out");
            };
            assert_eq!(received.packet, inner);
            assert_eq!(received.range.start, 20 + 8 + 8 + 8);
        },
    );
}

#[test]
fn each_packet_finds_its_tunnel_among_many() {
    let here = [net(1)];
    let there: Vec<_> = (10..90).map(|third| [net(third)]).collect();
    let children: Vec<_> = there.iter().map(|net| Child::new("lan", &here, net)).collect();
    let ids = [Identity::Fqdn("kolkata.example"), Identity::Fqdn("delhi.example")];
    let peer = Peer::psk((Some(KOLKATA), ids[0]), (Some(DELHI), ids[1]), b"a very long secret");
    let (first, second) = children.split_at(30);
    let peers = [Peer { children: first, ..peer }, Peer { children: second, ..peer }];
    let mut pools = Pools::<Toy, Vecs>::new(&Sizes::for_tunnels(80));
    let mut site = Site::new(&GatewayConfig::new(Config::new(&peers)), &mut pools, 1);
    assert_eq!(site.gateway.tunnels().count(), 80);
    for third in 10..90u8 {
        let (mut buf, range) = packet(1, third, 10);
        let packet = PacketBuf::new(&mut buf, range).unwrap();
        let told = site.gateway.outbound(NOW, &mut site.rng, packet);
        let number = u16::from(third - 10);
        let expected = if number < 30 {
            ChildRef { peer: 0, child: number }
        } else {
            ChildRef { peer: 1, child: number - 30 }
        };
        let asked = matches!(told, Ok(Outbound::Acquire(config)) if config == expected);
        let full = matches!(told, Err(OutboundError::Start(CommandError::NoRoom)));
        assert!(asked || full, "{third}: {told:?}");
        assert_eq!(site.gateway.tunnel(expected).unwrap().config, expected);
        assert_eq!(site.gateway.tunnel(expected).unwrap().negotiating, asked);
    }
}

#[test]
fn a_gateway_that_cannot_be_is_refused() {
    let mut rng = SeededRng::new(1);
    let lan = [net(1)];
    let five = [net(1); 5];
    let try_it = |child: Child<'_>, before: &[Policy], sizes: &Sizes, rng: &mut SeededRng| {
        let mut pools = Pools::<Toy, Vecs>::new(sizes);
        let id = Identity::Any;
        let children = [child];
        let peer =
            Peer { children: &children, ..Peer::psk((None, id), (Some(DELHI), id), b"secret") };
        let peers = [peer];
        let config = GatewayConfig { before, ..GatewayConfig::new(Config::new(&peers)) };
        Gateway::new(&config, pools.lend(), rng).err()
    };
    let good = Child::new("lan", &lan, &lan);
    let sizes = Sizes { policies: 1, ..Sizes::for_tunnels(1) };
    assert_eq!(try_it(good, &[], &sizes, &mut rng), None);
    let none = Child { remote: &[], ..good };
    let many = Child { remote: &five, ..good };
    for bad in [none, many] {
        assert_eq!(try_it(bad, &[], &sizes, &mut rng), Some(SetupError::Selectors(TUNNEL)));
    }
    let wide = Child { replay_window: 4096, ..good };
    assert!(matches!(try_it(wide, &[], &sizes, &mut rng), Some(SetupError::Window(TUNNEL, _))));
    let extra = [Policy::EMPTY];
    assert_eq!(try_it(good, &extra, &sizes, &mut rng), Some(SetupError::Policies(2)));
    let protect = [Policy { action: Action::Protect(0), ..Policy::EMPTY }];
    assert_eq!(try_it(good, &protect, &sizes, &mut rng), Some(SetupError::Protect));

    let mut pools = Pools::<Toy, Vecs>::new(&sizes);
    let mut memory = pools.lend();
    memory.pairs = &mut [];
    let refused = Gateway::new(&GatewayConfig::new(Config::new(&[])), memory, &mut rng);
    let needed = sizes.children;
    assert_eq!(refused.err(), Some(SetupError::Memory(Part::Pairs, needed)));
}

#[test]
fn resources_have_the_sizes_that_were_named() {
    type Small = resources!(
        Toy;
        ike_sas: 2,
        handshakes: 1,
        exchanges: 2,
        children: 2,
        policies: 1,
        buffers: 4,
        buffer_len: 1280,
        window: 64,
    );
    let mut resources = Small::new();
    let memory = resources.lend();
    assert_eq!((memory.ike.sas.len(), memory.ike.handshakes.len()), (2, 1));
    assert_eq!((memory.ike.exchanges.len(), memory.ike.children.len()), (2, 2));
    assert_eq!((memory.ike.buffers.len(), memory.ike.buffer_len), (4 * 1280, 1280));
    assert_eq!((memory.spd.policies.len(), memory.tunnels.len(), memory.pairs.len()), (1, 1, 2));
    assert_eq!((memory.sad.inbound.len(), memory.sad.outbound.len()), (2, 2));
    let config = GatewayConfig::new(Config::new(&[]));
    let gateway = Gateway::new(&config, memory, &mut SeededRng::new(1)).unwrap();
    assert!(gateway.sad().max_window() >= 64);
    assert!(gateway.is_idle());
}

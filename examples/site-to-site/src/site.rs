//! One site: a gateway and the host behind it, with the six calls of the driving loop.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use ipsec::ipsec_core::sa::Protocol;
use ipsec::{
    Config, Encapsulation, Gateway, GatewayConfig, GatewayEvent, IkeId, Inbound, Instant, Manual,
    ManualId, Memory, Outbound, OutboundError, Path, Peer, Selectors, Sizes, Store,
};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::link::{Datagram, Transport};
use ipsec_testkit::pcap;
use ipsec_testkit::rng::SeededRng;

use crate::lan::{Host, count_down_hops};
use crate::plan::Side;
use crate::report::Report;
use crate::wan::{self, Wan};

/// The IP protocol numbers of ESP and AH.
const ESP: u8 = 50;
const AH: u8 = 51;

/// Room before the payload of a datagram, for the header that transport mode makes.
const ROOM: usize = 40;

/// The gateway's memory, from the heap.
pub type Pools = ipsec::Pools<RustCrypto, Vecs>;

/// What a growable store is.
pub struct Vecs;

impl Store for Vecs {
    type Of<T> = Vec<T>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Vec<T> {
        items.collect()
    }
}

/// Memory for one gateway.
pub fn pools() -> Pools {
    // AH around ESP: with manual keys, or negotiated for each child SA.
    let usual = Sizes::for_tunnels(1);
    Pools::new(&Sizes { manual: usual.children, ..usual })
}

/// What a site does in this example.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its host speaks first.
    Begins,
    /// It answers. Its gateway hands out its keys, so that the capture can be read: no NAT is before it, and it sees
    /// addresses as the capture has them.
    AnswersAndLogs,
}

/// A gateway and the host behind it.
pub struct Site<'r> {
    /// What it does.
    pub role: Role,
    /// Where it is.
    pub side: &'r Side,
    /// Its gateway's address now.
    pub address: IpAddr,
    /// The gateway.
    pub gateway: Gateway<'r, RustCrypto>,
    /// The host.
    pub host: Host,
    /// The IKE SA, while it is up.
    pub ike: Option<IkeId>,
    /// The SAs with manual keys, if there are any.
    pub manual: Option<ManualId>,
    /// The gateway is its own host, and forwards nothing.
    transport: bool,
    rng: SeededRng,
}

impl<'r> Site<'r> {
    /// A site whose gateway has these peers, or protects with manual keys what these selectors match.
    pub fn new(
        now: Instant,
        side: &'r Side,
        peers: &'r [Peer<'r>],
        manual: &'r [Selectors],
        memory: Memory<'r, RustCrypto>,
        role: Role,
        mut rng: SeededRng,
    ) -> Result<Self> {
        let ike = Config { key_log: role == Role::AnswersAndLogs, ..Config::new(peers) };
        let config = GatewayConfig { path_mtu: wan::MTU, manual, ..GatewayConfig::new(ike) };
        let host = Host::new(now, side.host.0, side.host.1, wan::MTU, rng.next());
        let mut gateway = Gateway::new(&config, memory, &mut rng)
            .with_context(|| format!("the gateway of {} cannot be made", side.name))?;
        gateway.support_mobike();
        let address = side.address;
        let transport = side.host.0 == side.address;
        Ok(Self { role, side, address, gateway, host, ike: None, manual: None, transport, rng })
    }

    /// Gives the gateway its manual keys, and tells the host what fits into the tunnel.
    pub fn install(&mut self, now: Instant, manual: &Manual<'_>) -> Result<()> {
        let id = self.gateway.install_manual(now, 0, manual)?;
        self.manual = Some(id);
        let overhead = self.gateway.manual_overhead(id);
        let (first, around) = overhead.context("there is no SA to send on")?;
        let room = around.map_or(wan::MTU, |around| around.effective_mtu(wan::MTU));
        self.host.set_mtu(now, first.effective_mtu(room));
        Ok(())
    }

    /// Step 2: packets of the protected side. `false` when there are none left.
    pub fn protected(&mut self, now: Instant, wan: &mut Wan, report: &mut Report) -> Result<bool> {
        let name = self.side.name;
        let Some(mut packet) = self.host.take_packet() else { return Ok(false) };
        let Some(mut packet) = packet.as_buf() else { return Ok(true) };
        if !self.transport && !count_down_hops(packet.payload_mut()) {
            return Ok(true);
        }
        match self.gateway.outbound(now, &mut self.rng, packet) {
            Ok(Outbound::Send(sent)) => {
                let Path { local, remote } = sent.path();
                wan.send(
                    now,
                    match (sent.encapsulation(), sent.sealed.protocol) {
                        (Encapsulation::Udp, _) => Datagram::udp(local, remote, sent.esp()),
                        (Encapsulation::Ip, Protocol::Esp) => {
                            Datagram::ip(local.address, remote.address, ESP, sent.esp())
                        }
                        // AH covers the header: the whole packet travels.
                        (Encapsulation::Ip, Protocol::Ah) => {
                            Datagram::ip(local.address, remote.address, AH, sent.outer())
                        }
                    },
                );
            }
            Ok(Outbound::Acquire(_)) => {
                report.acquire(now);
                report.line(now, name, "interesting traffic, and no tunnel: the gateway negotiates; the packet is dropped");
            }
            // Counted by the gateway.
            Ok(Outbound::Pending(_)) => {}
            Ok(Outbound::Discard(why)) => bail!("{name}: a packet of the host was dropped: {why}"),
            Ok(Outbound::Bypass(_)) => bail!("{name}: a packet of the host would leave in clear"),
            Err(OutboundError::TooBig { mtu }) => {
                bail!("{name}: the host sent a packet longer than {mtu} bytes")
            }
            Err(error) => {
                report.line(now, name, &format!("a packet of the host was dropped: {error}"))
            }
        }
        Ok(true)
    }

    /// Step 3: a datagram of the unprotected side.
    pub fn unprotected(&mut self, now: Instant, datagram: Datagram) {
        let path = Path::new(datagram.destination, datagram.source);
        let mut bytes;
        let arrived = match datagram.transport {
            Transport::Udp => {
                bytes = [&[0; ROOM], &datagram.bytes[..]].concat();
                self.gateway.inbound_udp_with_room(now, &mut self.rng, path, 0, ROOM, &mut bytes)
            }
            Transport::Ip(ESP | AH) => {
                bytes = pcap::packet(&datagram);
                self.gateway.inbound_ip(now, &mut self.rng, &mut bytes)
            }
            Transport::Ip(_) => return,
        };
        // What was dropped is counted by the gateway. Much is on such a network: every repetition, to begin with.
        if let Ok(Inbound::Packet(received)) = arrived
            && (self.transport || count_down_hops(received.packet))
        {
            self.host.give_packet(received.packet);
        }
    }

    /// Step 4: the time has come.
    pub fn timeout(&mut self, now: Instant) -> bool {
        let due = self.gateway.next_timeout().is_some_and(|at| at <= now);
        if due {
            self.gateway.handle_timeout(now, &mut self.rng);
        }
        due
    }

    /// Step 5: what happened.
    pub fn settle(&mut self, now: Instant) -> Vec<GatewayEvent> {
        let mut events = Vec::new();
        let proof = &self.side.proof;
        self.gateway.settle_with(now, &mut self.rng, proof, |event| events.push(event));
        for event in &events {
            match event {
                GatewayEvent::IkeUp { ike, .. } | GatewayEvent::IkeRekeyed { ike, .. } => {
                    self.ike = Some(*ike);
                }
                GatewayEvent::IkeDown { ike, .. } if self.ike == Some(*ike) => self.ike = None,
                _ => {}
            }
        }
        events
    }

    /// Step 6: what IKE has to send.
    pub fn transmit(&mut self, now: Instant, wan: &mut Wan) -> Result<()> {
        let mut buffer = [0; 2048];
        while let Some(message) = self.gateway.poll_transmit(&mut buffer)? {
            let Path { local, remote } = message.path;
            wan.send(now, Datagram::udp(local, remote, &buffer[..message.len]));
        }
        Ok(())
    }

    /// The gateway has another address: it tells its peer (MOBIKE).
    pub fn move_to(&mut self, now: Instant, to: IpAddr) {
        let from = std::mem::replace(&mut self.address, to);
        self.gateway.move_address(now, &mut self.rng, from, to);
    }

    /// Gives the IKE SA new keys.
    pub fn rekey_ike(&mut self, now: Instant) -> Result<()> {
        let ike = self.ike.context("there is no IKE SA to rekey")?;
        Ok(self.gateway.rekey_ike(now, &mut self.rng, ike)?)
    }

    /// Ends everything, on both sides.
    pub fn close(&mut self, now: Instant) {
        if let Some(id) = self.manual.take() {
            self.gateway.remove_manual(id);
        }
        self.gateway.close_all(now, &mut self.rng);
    }
}

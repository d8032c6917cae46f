//! The two gateways, the wire between them, and the driving loop. Its numbers are those of the front page of `ipsec`.

use core::net::Ipv4Addr;
use core::time::Duration;

use ipsec::ipsec_core::wire::{Ipv4Header, UdpHeader, protocol};
use ipsec::{
    Gateway, GatewayConfig, GatewayEvent, Inbound, Instant, MAX_HEADROOM, MAX_TAILROOM, Outbound,
    PacketBuf,
};
use static_cell::{ConstStaticCell, StaticCell};
use zerocopy::IntoBytes;

use crate::config::{self, BUFFERS, TUNNEL};
use crate::crypto::Crypto;
use crate::proof::Proof;
use crate::rng::PredictableRng;
use crate::{Failed, because};

/// One gateway.
pub struct Site {
    pub name: &'static str,
    /// A host in the LAN behind it.
    pub host: Ipv4Addr,
    pub gateway: &'static mut Gateway<'static, Crypto>,
    pub rng: PredictableRng,
    proof: Proof,
    /// The smallest number of message buffers that were free.
    pub buffers_free: usize,
}

impl Site {
    /// Makes a gateway where it is to stay.
    #[inline(never)]
    pub fn new(
        name: &'static str,
        host: Ipv4Addr,
        config: &GatewayConfig<'static>,
        memory: &'static ConstStaticCell<config::Memory>,
        place: &'static StaticCell<Gateway<'static, Crypto>>,
        number: usize,
    ) -> Result<Self, Failed> {
        // `try_take` gives the memory once; unlike `take`, it links no panic.
        let memory = memory.try_take().ok_or(Failed("the memory is taken"))?.lend();
        let mut rng = PredictableRng(number as u64 + 1);
        let gateway = Gateway::new(config, memory, &mut rng).map_err(because("no gateway"))?;
        let gateway = place.try_init(gateway).ok_or(Failed("the gateway exists"))?;
        let proof = Proof::new(number)?;
        Ok(Self { name, host, gateway, rng, proof, buffers_free: BUFFERS })
    }

    /// Whether the tunnel is up, with one child SA.
    pub fn is_settled(&self) -> bool {
        let tunnel = self.gateway.tunnel(TUNNEL);
        tunnel.is_some_and(|t| t.child.is_some()) && self.gateway.statistics().children == 1
    }

    /// Whether nothing is left: every slot and every buffer is free.
    pub fn is_empty(&self) -> bool {
        let in_use = self.gateway.statistics();
        self.gateway.is_idle()
            && in_use.buffers_free == BUFFERS
            && [in_use.ike_sas, in_use.children, in_use.handshakes, in_use.exchanges] == [0; 4]
            && [in_use.inbound_sas, in_use.outbound_sas] == [0; 2]
    }

    /// 5. What happened is told, and key exchanges are computed, until nothing is left.
    pub fn settle(&mut self, now: Instant) {
        let (name, free) = (self.name, self.gateway.statistics().buffers_free);
        let Self { gateway, rng, proof, .. } = self;
        proof.settle(gateway, now, rng, |event| tell(now, name, &event));
        self.buffers_free = self.buffers_free.min(free).min(self.gateway.statistics().buffers_free);
    }

    /// 3. A packet of the unprotected side. What comes out, if anything, is for the protected side.
    fn receive<'b>(&mut self, now: Instant, packet: &'b mut [u8]) -> &'b [u8] {
        let inbound = self.gateway.inbound_ip(now, &mut self.rng, packet);
        let received: &[u8] = match inbound {
            Ok(Inbound::Packet(received)) => received.packet,
            Ok(Inbound::Ike | Inbound::Keepalive | Inbound::Clear(_)) => &[],
            // It is dropped, and nothing is lost by it: who sent it in good faith hears why, or sends it again.
            Err(error) => {
                say!("{:>8} us  {}: {}", now.as_micros(), self.name, error);
                &[]
            }
        };
        self.settle(now);
        received
    }
}

/// The longest outer packet.
const MTU: usize = 1500;
/// A buffer for one packet on its way, with room for what sealing adds.
pub type Frame = [u8; MAX_HEADROOM + MTU + MAX_TAILROOM];

/// Both gateways, and what is common to them.
pub struct Net {
    pub now: Instant,
    pub sites: [Site; 2],
    pub frame: &'static mut Frame,
    /// How many of the next IKE datagrams the wire loses.
    pub lose: u32,
}

impl Net {
    /// The driving loop of both gateways, until both are `done`.
    pub fn drive(&mut self, done: fn(&Site) -> bool) -> Result<(), Failed> {
        for _ in 0..100 {
            while self.transmit(0)? || self.transmit(1)? {}
            if self.sites.iter().all(done) {
                return Ok(());
            }
            // 1. Nothing is on the wire: wait. Here, that is a matter of a moment.
            let times = self.sites.iter().filter_map(|site| site.gateway.next_timeout());
            self.now = self.now.max(times.min().ok_or(Failed("nothing will happen any more"))?);
            for site in &mut self.sites {
                if site.gateway.next_timeout().is_some_and(|at| at <= self.now) {
                    // 4. The time has come.
                    site.gateway.handle_timeout(self.now, &mut site.rng);
                    site.settle(self.now);
                }
            }
            // 7. Back to 1.
        }
        Err(Failed("it takes too long"))
    }

    /// 6. Sends all IKE datagrams that a site has ready, and says whether there were any. The other site receives them.
    fn transmit(&mut self, from: usize) -> Result<bool, Failed> {
        let (from, to) = pair(&mut self.sites, from);
        let mut any = false;
        while let Some(packet) =
            from.gateway.poll_transmit_ip(self.frame).map_err(because("the frame is too short"))?
        {
            any = true;
            if self.lose > 0 {
                self.lose -= 1;
                say!(
                    "{:>8} us  {} sends a datagram, which is lost",
                    self.now.as_micros(),
                    from.name
                );
                continue;
            }
            self.now = self.now.after(Duration::from_millis(1));
            to.receive(self.now, packet);
        }
        Ok(any)
    }

    /// A host behind a site sends a UDP packet of `len` bytes in all to the host behind the other. Says whether it
    /// arrived, as it was.
    pub fn send(&mut self, from: usize, len: usize) -> Result<bool, Failed> {
        self.now = self.now.after(Duration::from_millis(1));
        let (from, to) = pair(&mut self.sites, from);
        let bytes = udp(from.host, to.host, len).ok_or(Failed("UDP is not that long or short"))?;
        let range = MAX_HEADROOM..MAX_HEADROOM.saturating_add(len);
        let mut packet =
            PacketBuf::new(self.frame, range).ok_or(Failed("the frame is too short"))?;
        packet.payload_mut().iter_mut().zip(bytes.clone()).for_each(|(to, from)| *to = from);
        // 2. A packet of the protected side.
        let outbound = from.gateway.outbound(self.now, &mut from.rng, packet);
        let told = outbound.map_err(because("a packet could not leave"))?;
        let outer = match told {
            Outbound::Send(sent) => Some(sent.into_outer()),
            Outbound::Acquire(_) | Outbound::Pending(_) => None,
            Outbound::Bypass(_) | Outbound::Discard(_) => {
                return Err(Failed("the policy is wrong"));
            }
        };
        from.settle(self.now);
        match outer {
            Some(outer) => Ok(to.receive(self.now, outer).iter().copied().eq(bytes)),
            None => Ok(false),
        }
    }
}

/// The site that is meant, and the other one.
fn pair(sites: &mut [Site; 2], from: usize) -> (&mut Site, &mut Site) {
    let [kolkata, delhi] = sites;
    if from == 0 { (kolkata, delhi) } else { (delhi, kolkata) }
}

/// The bytes of a UDP packet of `len` bytes in all. `None` if UDP over IPv4 cannot have so many or so few.
fn udp(from: Ipv4Addr, to: Ipv4Addr, len: usize) -> Option<impl Iterator<Item = u8> + Clone> {
    let len = len.checked_sub(Ipv4Header::LEN)?;
    let ip = Ipv4Header::new(from, to, protocol::UDP, 0, 64, len)?;
    let len = len.checked_sub(UdpHeader::LEN)?;
    let udp = UdpHeader::new(7, 7, len)?;
    let ip: [u8; Ipv4Header::LEN] = ip.as_bytes().try_into().ok()?;
    let udp: [u8; UdpHeader::LEN] = udp.as_bytes().try_into().ok()?;
    Some(ip.into_iter().chain(udp).chain((0..=u8::MAX).cycle().take(len)))
}

/// Prints what happened. A product sends this to its log.
fn tell(now: Instant, name: &str, event: &GatewayEvent) {
    use GatewayEvent as E;
    let at = now.as_micros();
    match event {
        E::IkeUp { path, agreed: a, .. } => {
            say!(
                "{at:>8} us  {name}: IKE SA with {}: {}, {}, {}",
                path.remote,
                a.suite,
                a.prf,
                a.group
            );
        }
        E::ChildUp { agreed: a, .. } => {
            say!(
                "{at:>8} us  {name}: tunnel up: {}, SPIs {} {}",
                a.suite,
                a.inbound_spi,
                a.outbound_spi
            );
        }
        E::ChildRekeyed { agreed: a, .. } => {
            say!(
                "{at:>8} us  {name}: new keys: {}, SPIs {} {}",
                a.suite,
                a.inbound_spi,
                a.outbound_spi
            );
        }
        E::ChildDown { reason, .. } => say!("{at:>8} us  {name}: child SA down: {reason}"),
        E::IkeDown { reason, .. } => say!("{at:>8} us  {name}: IKE SA down: {reason}"),
        E::Failed { failure, .. } => say!("{at:>8} us  {name}: failed: {failure}"),
        E::InstallFailed { error, .. } => say!("{at:>8} us  {name}: not installed: {error}"),
        _ => say!("{at:>8} us  {name}: something else happened"),
    }
}

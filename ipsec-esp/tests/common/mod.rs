//! Two ends of a tunnel for the tests, and IP packets to send through it.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::convert::Infallible;
use std::net::IpAddr;

use ipsec_core::crypto::{Integ, Provider, Suite};
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::{AddressPair, Mode};
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::replay;
use ipsec_core::sa::{AhAlign, Algorithms, Encapsulation, SaParams, Spi};
use ipsec_core::sad::{
    InboundId, InboundSlot, OutboundId, OutboundSlot, Sad, SadMemory, Shard, SpiAllocator,
};
use ipsec_core::selector::{Selectors, TrafficSelector};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Checksum, Ipv4Header, Ipv6Header, UdpHeader};
use ipsec_esp::{Arrival, Before, SealError, Sealed, seal};
use rand_core::{TryCryptoRng, TryRng};
use zerocopy::IntoBytes;

/// When everything happens.
pub const NOW: Instant = Instant::from_secs(1000);

/// Memory for SADs of two SAs each direction.
pub struct Memory<P: Provider> {
    inbound: Vec<InboundSlot<P>>,
    outbound: Vec<OutboundSlot<P>>,
    windows: Vec<u32>,
    links: Vec<u32>,
    foreign: Vec<u32>,
}

impl<P: Provider> Memory<P> {
    pub fn new(slots: usize) -> Self {
        Self {
            inbound: (0..slots).map(|_| InboundSlot::EMPTY).collect(),
            outbound: (0..slots).map(|_| OutboundSlot::EMPTY).collect(),
            windows: vec![0; slots * replay::words_for(64)],
            links: vec![0; slots * 4],
            foreign: vec![0; slots * 2],
        }
    }

    pub fn sad(&mut self) -> Sad<'_, P> {
        self.shard(Shard::ALONE)
    }

    /// One of several SADs.
    pub fn shard(&mut self, shard: Shard) -> Sad<'_, P> {
        let memory = SadMemory {
            inbound: &mut self.inbound,
            outbound: &mut self.outbound,
            windows: &mut self.windows,
            links: &mut self.links,
            foreign: &mut self.foreign,
        };
        Sad::new_shard(memory, shard)
    }

    /// A SAD whose SPIs are all its own.
    pub fn sad_without_foreign(&mut self) -> Sad<'_, P> {
        self.foreign.clear();
        self.sad()
    }
}

/// What the tests vary.
#[derive(Clone)]
pub struct Setup {
    pub suite: Suite,
    /// Instead of `suite`.
    pub ah: Option<(Integ, AhAlign)>,
    /// As the sender sees it.
    pub mode: Mode,
    pub keymat: Vec<u8>,
    pub spi: u32,
    pub esn: bool,
    pub encapsulation: Encapsulation,
    /// From the sender to the receiver.
    pub path: Path,
    pub lifetime: Lifetime,
    pub replay_window: u32,
    /// As the sender sees them.
    pub selectors: Selectors,
}

impl Setup {
    /// A tunnel over IPv4 that lets everything through.
    pub fn new(suite: Suite) -> Self {
        let keymat_len = suite.shape().unwrap().keymat_len();
        let mut selectors = Selectors::pair(TrafficSelector::ANY_V4, TrafficSelector::ANY_V4);
        selectors.local.push(TrafficSelector::ANY_V6).unwrap();
        selectors.remote.push(TrafficSelector::ANY_V6).unwrap();
        Self {
            suite,
            ah: None,
            mode: Mode::TUNNEL,
            keymat: (0..keymat_len).map(|i| u8::try_from(i).unwrap()).collect(),
            spi: 0x1234_5678,
            esn: false,
            encapsulation: Encapsulation::Ip,
            path: v4_path(0, 0),
            lifetime: Lifetime::UNLIMITED,
            replay_window: 64,
            selectors,
        }
    }

    /// The same with AH.
    pub fn ah(integ: Integ) -> Self {
        let len = Algorithms::ah(integ).keymat_len().unwrap();
        Self {
            ah: Some((integ, AhAlign::Standard)),
            keymat: (0..len).map(|i| u8::try_from(i).unwrap()).collect(),
            ..Self::new(Suite::AES_128_GCM)
        }
    }

    /// The same in transport mode.
    #[must_use]
    pub fn transport(self) -> Self {
        Self { mode: Mode::TRANSPORT, ..self }
    }

    fn params<'k>(
        &'k self,
        spi: Spi,
        mode: Mode,
        path: Path,
        selectors: &'k Selectors,
    ) -> SaParams<'k> {
        let protection = match self.ah {
            Some((integ, align)) => Algorithms::Ah(integ, align),
            None => Algorithms::Esp(self.suite),
        };
        SaParams {
            spi,
            protection,
            mode,
            keymat: &self.keymat,
            path,
            encapsulation: self.encapsulation,
            esn: self.esn,
            replay_window: self.replay_window,
            lifetime: self.lifetime,
            selectors,
            tag: 7,
        }
    }

    /// Installs the sender's end.
    pub fn install_outbound<P: Provider>(&self, sad: &mut Sad<'_, P>) -> OutboundId {
        let spi = Spi::new(self.spi).unwrap();
        let params = self.params(spi, self.mode, self.path, &self.selectors);
        sad.install_outbound(NOW, &params).unwrap()
    }

    /// Installs the receiver's end. The SAD must have one slot, so that the SPI can be any number.
    pub fn install_inbound<P: Provider>(&self, sad: &mut Sad<'_, P>) -> InboundId {
        let spi = sad.reserve(&mut Fixed(self.spi)).unwrap();
        assert_eq!(spi.get(), self.spi, "a SAD of one slot takes any SPI");
        self.with_inbound(|params| sad.install_inbound(NOW, params)).unwrap()
    }

    /// Calls `f` with what the receiver's end is made of.
    pub fn with_inbound<R>(&self, f: impl FnOnce(&SaParams<'_>) -> R) -> R {
        let path = reversed(self.path);
        let selectors = Selectors {
            local: self.selectors.remote.clone(),
            remote: self.selectors.local.clone(),
        };
        let swap = |pair: AddressPair| AddressPair { local: pair.remote, remote: pair.local };
        let mode = match self.mode {
            Mode::Tunnel(tunnel) => Mode::Tunnel(tunnel),
            Mode::Transport { original } => Mode::Transport { original: original.map(swap) },
            Mode::Beet(pair) => Mode::Beet(swap(pair)),
        };
        f(&self.params(Spi::new(self.spi).unwrap(), mode, path, &selectors))
    }

    /// How the receiver sees a packet come.
    pub fn arrival(&self) -> Arrival {
        Arrival {
            path: reversed(self.path),
            encapsulation: self.encapsulation,
            traffic_class: 0,
            before: Before::Room(0),
        }
    }
}

pub fn v4_path(local: u16, remote: u16) -> Path {
    Path::new(
        Endpoint::new([198, 51, 100, 1].into(), local),
        Endpoint::new([203, 0, 113, 2].into(), remote),
    )
}

pub fn v6_path(local: u16, remote: u16) -> Path {
    Path::new(
        Endpoint::new("2001:db8::1".parse().unwrap(), local),
        Endpoint::new("2001:db8::2".parse().unwrap(), remote),
    )
}

pub fn reversed(path: Path) -> Path {
    Path::new(path.remote, path.local)
}

/// A "random" number chosen by the test.
pub struct Fixed(pub u32);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.into())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill(0);
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

/// A UDP datagram in IP, with `len` bytes in all.
pub fn ip_packet(source: IpAddr, destination: IpAddr, tos: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    let (head, upper) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let upper = len - Ipv4Header::LEN;
            let header = Ipv4Header::new(source, destination, 17, tos, 63, upper).unwrap();
            (header.as_bytes().to_vec(), upper)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let upper = len - Ipv6Header::LEN;
            let header = Ipv6Header::new(source, destination, 17, tos, 63, upper).unwrap();
            (header.as_bytes().to_vec(), upper)
        }
        _ => panic!("two versions"),
    };
    packet[..head.len()].copy_from_slice(&head);
    let udp = UdpHeader::new(1111, 2222, upper - UdpHeader::LEN).unwrap();
    packet[head.len()..head.len() + 8].copy_from_slice(udp.as_bytes());
    for (i, byte) in packet[head.len() + 8..].iter_mut().enumerate() {
        *byte = u8::try_from(i & 0xff).unwrap();
    }
    packet
}

pub fn v4_packet(len: usize) -> Vec<u8> {
    ip_packet([192, 168, 1, 5].into(), [192, 168, 2, 6].into(), 0, len)
}

pub fn v6_packet(len: usize) -> Vec<u8> {
    ip_packet("fd01::5".parse().unwrap(), "fd02::6".parse().unwrap(), 0, len)
}

/// Seals a copy of `inner` with room around it; gives the whole outer packet.
pub fn seal_copy<P: Provider>(
    sad: &mut Sad<'_, P>,
    id: OutboundId,
    inner: &[u8],
) -> Result<(Sealed, Vec<u8>), SealError> {
    let mut memory = vec![0xa5; inner.len() + 200];
    memory[100..100 + inner.len()].copy_from_slice(inner);
    let mut packet = PacketBuf::new(&mut memory, 100..100 + inner.len()).unwrap();
    let sealed = seal(sad, NOW, id, &mut packet)?;
    Ok((sealed, packet.payload().to_vec()))
}

/// Whether the UDP checksum of an IPv6 packet is right.
pub fn udp6_checksum_ok(packet: &[u8]) -> bool {
    let ip = Ipv6Header::parse(packet).unwrap();
    let (source, destination) = (ip.header.source(), ip.header.destination());
    let len = u32::try_from(ip.payload.len()).unwrap();
    Checksum::new().pseudo_v6(source, destination, 17, len).bytes(ip.payload).finish() == 0
}

//! One SA with a provider of choice, both ends of it, and a batch of packets to send through it.

use std::hint::black_box;

use ipsec_core::crypto::suite::MAX_KEYMAT;
use ipsec_core::crypto::{Provider, Suite};
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::Mode;
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{Encapsulation, SaParams};
use ipsec_core::sad::{InboundSlot, OutboundId, OutboundSlot, Sad, SadMemory, SpiAllocator};
use ipsec_core::selector::{Selectors, TrafficSelector};
use ipsec_core::spd::{Action, Policy, Spd};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Ipv4Header, protocol};
use ipsec_esp::{Arrival, Before, Inbound, Outbound, Overhead, inbound_ip, open, outbound, seal};
use ipsec_testkit::rng::SeededRng;
use zerocopy::IntoBytes;

/// Keying material: a benchmark has no secrets.
pub const KEYMAT: [u8; MAX_KEYMAT] = [0x5a; MAX_KEYMAT];

const NOW: Instant = Instant::from_secs(1);

/// An SA database with one SA of each direction, and a policy that leads to it.
pub struct Tunnel<P: Provider> {
    sad: Sad<'static, P>,
    spd: Spd<'static>,
    id: OutboundId,
    arrival: Arrival,
    overhead: Overhead,
}

impl<P: Provider> Tunnel<P> {
    /// ESP as IP protocol 50, IPv4 in IPv4, with an anti-replay window of 64 packets. Its memory is leaked.
    pub fn new(suite: Suite) -> Self {
        let mut sad = Sad::new(SadMemory {
            inbound: Vec::leak(vec![InboundSlot::EMPTY]),
            outbound: Vec::leak(vec![OutboundSlot::EMPTY]),
            windows: Vec::leak(vec![0; 4]),
            links: Vec::leak(vec![0; 4]),
            foreign: &mut [],
        });
        let mut spd = Spd::new(Vec::leak(vec![Policy::EMPTY]));
        let side = |third| TrafficSelector::network([192, 168, third, 0].into(), 24).unwrap();
        let selectors = Selectors::pair(side(1), side(2));
        let reversed = Selectors::pair(side(2), side(1));
        let ends = [[192, 0, 2, 1], [198, 51, 100, 2]].map(|a| Endpoint::new(a.into(), 0));
        let mut params = SaParams {
            spi: sad.reserve(&mut SeededRng::new(1)).unwrap(),
            protection: suite.into(),
            mode: Mode::TUNNEL,
            keymat: &KEYMAT[..suite.shape().unwrap().keymat_len()],
            path: Path::new(ends[0], ends[1]),
            encapsulation: Encapsulation::Ip,
            esn: false,
            replay_window: 64,
            lifetime: Lifetime::UNLIMITED,
            selectors: &selectors,
            tag: 0,
        };
        let id = sad.install_outbound(NOW, &params).unwrap();
        params.path = Path::new(ends[1], ends[0]);
        params.selectors = &reversed;
        sad.install_inbound(NOW, &params).unwrap();
        spd.push(Policy::new(selectors.clone(), Action::Protect(0))).unwrap();
        let overhead = Overhead::of(&sad.outbound(id).unwrap().protection);
        let arrival = Arrival {
            path: params.path,
            encapsulation: Encapsulation::Ip,
            traffic_class: 0,
            before: Before::Room(0),
        };
        Self { sad, spd, id, arrival, overhead }
    }

    /// Room for so many packets of `len` bytes and all that sealing adds, with the packets in their place.
    pub fn batch(&self, count: usize, len: usize) -> Batch {
        let head = self.overhead.headroom();
        let size = self.overhead.sealed_len(len);
        Batch { packet: packet(len), head, buffers: vec![vec![0; size]; count] }
    }

    /// Does nothing to any packet: what of the calls below is not the library.
    pub fn none(&mut self, batch: &mut Batch) {
        let range = batch.head..batch.head + batch.packet.len();
        for buffer in &mut batch.buffers {
            black_box(PacketBuf::new(buffer, range.clone()).expect("it was made so"));
        }
    }

    /// Seals every packet: SA, sequence number, headers, padding, cipher.
    ///
    /// # Panics
    /// If one is not sealed.
    pub fn seal(&mut self, batch: &mut Batch) {
        let range = batch.head..batch.head + batch.packet.len();
        for buffer in &mut batch.buffers {
            let mut packet = PacketBuf::new(buffer, range.clone()).expect("it was made so");
            let sealed = seal(&mut self.sad, NOW, self.id, &mut packet);
            assert!(black_box(&sealed).is_ok());
        }
    }

    /// The same, and the policy that says which SA it is.
    ///
    /// # Panics
    /// If one is not sealed.
    pub fn send(&mut self, batch: &mut Batch) {
        let range = batch.head..batch.head + batch.packet.len();
        let id = self.id;
        for buffer in &mut batch.buffers {
            let mut packet = PacketBuf::new(buffer, range.clone()).expect("it was made so");
            let sealed = outbound(&mut self.sad, &mut self.spd, NOW, &mut packet, |_, _| Some(id));
            assert!(matches!(black_box(&sealed), Ok(Outbound::Sealed(_))));
        }
    }

    /// Opens every packet: SA, window, cipher, padding, selectors.
    ///
    /// # Panics
    /// If one is not opened.
    pub fn open(&mut self, batch: &mut Batch) {
        for buffer in &mut batch.buffers {
            let esp = buffer.get_mut(Ipv4Header::LEN..).expect("it was sealed");
            let opened = open(&mut self.sad, NOW, &self.arrival, esp);
            assert!(black_box(&opened).is_ok());
        }
    }

    /// Seals every packet, eight at a time with the provider.
    ///
    /// # Panics
    /// If one is not sealed.
    pub fn seal_batch(&mut self, batch: &mut Batch) {
        let (range, id) = (batch.head..batch.head + batch.packet.len(), self.id);
        let in_place =
            |buffer| (id, PacketBuf::new(buffer, range.clone()).expect("it was made so"));
        let mut packets: Vec<_> = batch.buffers.iter_mut().map(|b| in_place(b)).collect();
        ipsec_esp::seal_batch::<_, 8>(&mut self.sad, NOW, &mut packets, |_, _, sealed| {
            assert!(black_box(&sealed).is_ok());
        });
    }

    /// Opens every packet, eight at a time with the provider.
    ///
    /// # Panics
    /// If one is not opened.
    pub fn open_batch(&mut self, batch: &mut Batch) {
        let esp = |buffer| <[u8]>::get_mut(buffer, Ipv4Header::LEN..).expect("it was sealed");
        let mut packets: Vec<_> =
            batch.buffers.iter_mut().map(|b| (self.arrival, esp(b))).collect();
        ipsec_esp::open_batch::<_, 8>(&mut self.sad, NOW, &mut packets, |_, _, opened| {
            assert!(black_box(&opened).is_ok());
        });
    }

    /// The same, and the outer header that says that it is ESP.
    ///
    /// # Panics
    /// If one is not opened.
    pub fn receive(&mut self, batch: &mut Batch) {
        for buffer in &mut batch.buffers {
            let opened = inbound_ip(&mut self.sad, NOW, buffer);
            assert!(matches!(black_box(&opened), Ok(Inbound::Packet { .. })));
        }
    }
}

/// Buffers with a packet each.
pub struct Batch {
    packet: Vec<u8>,
    head: usize,
    /// The buffers: room, the packet, and room again.
    pub buffers: Vec<Vec<u8>>,
}

impl Batch {
    /// Puts the packets in clear back into their places.
    pub fn refill(&mut self) {
        for buffer in &mut self.buffers {
            buffer[self.head..][..self.packet.len()].copy_from_slice(&self.packet);
        }
    }

    /// Gives each sealed packet the next sequence number, for a receiver whose cipher does not mind.
    pub fn renumber(&mut self, sequence: &mut u32) {
        for buffer in &mut self.buffers {
            *sequence += 1;
            buffer[Ipv4Header::LEN + 4..][..4].copy_from_slice(&sequence.to_be_bytes());
        }
    }

    /// Bytes of each packet.
    pub fn packet_len(&self) -> usize {
        self.packet.len()
    }

    /// Where in each buffer the packet lies.
    pub fn packet_start(&self) -> usize {
        self.head
    }
}

/// A UDP packet of `len` bytes, from one network to the other.
fn packet(len: usize) -> Vec<u8> {
    let body = len - Ipv4Header::LEN;
    let (a, b) = ([192, 168, 1, 7].into(), [192, 168, 2, 8].into());
    let header = Ipv4Header::new(a, b, protocol::UDP, 0, 64, body).unwrap();
    let mut packet = header.as_bytes().to_vec();
    packet.extend((0..body).map(|i| i.to_le_bytes()[0]));
    packet
}

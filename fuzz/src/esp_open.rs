//! A gateway that receives ESP, and somebody who changes, repeats and makes up packets.
//!
//! What was sealed opens, once, if the window still takes it, and is what it was; what was changed does not, and
//! leaves the SA as it was. A model of RFC 4303 section 3.4.3 says which sequence numbers may pass.

use std::collections::BTreeSet;

use ipsec_core::crypto::suite::MAX_KEYMAT;
use ipsec_core::crypto::{Encr, PacketCipher, Suite, Work};
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::Mode;
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{Encapsulation, SaParams};
use ipsec_core::sad::{
    InboundId, InboundSlot, OutboundId, OutboundSlot, Sad, SadMemory, SpiAllocator,
};
use ipsec_core::selector::{Selectors, TrafficSelector};
use ipsec_core::time::Instant;
use ipsec_core::wire::{IpPacket, Ipv4Header, Ipv6Header, protocol};
use ipsec_esp::{
    Arrival, Before, Inbound, OpenError, OpenJob, Overhead, inbound_ip, inbound_udp, open,
    open_begin, open_finish, seal,
};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::toy::{Toy, ToyCipher};

use crate::input::Input;

const NOW: Instant = Instant::from_secs(5);
/// Words of bitmap for each SA.
const WORDS: usize = 4;
const SAS: usize = 6;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut sending = Memory::new();
    let mut receiving = Memory::new();
    let mut world = World::new(&mut input, sending.lend(), receiving.lend());
    let mut steps = 0;
    while let Some(step) = input.step() {
        steps += 1;
        if steps > 300 {
            break;
        }
        match step % 12 {
            0 | 1 => world.seal(&mut input),
            2 | 3 => world.deliver(&mut input),
            4 | 5 => world.deliver_changed(&mut input),
            6 => world.deliver_nonsense(&mut input),
            7 => world.skip(&mut input),
            8 | 9 => world.deliver_inner(&mut input),
            10 => world.begin(&mut input),
            _ => world.finish(&mut input),
        }
    }
    world.still_opens();
}

struct Memory {
    inbound: Vec<InboundSlot<Toy>>,
    outbound: Vec<OutboundSlot<Toy>>,
    windows: Vec<u32>,
    links: Vec<u32>,
}

impl Memory {
    fn new() -> Self {
        Self {
            inbound: (0..SAS).map(|_| InboundSlot::EMPTY).collect(),
            outbound: (0..SAS).map(|_| OutboundSlot::EMPTY).collect(),
            windows: vec![0; SAS * WORDS],
            links: vec![0; 4 * SAS],
        }
    }

    fn lend(&mut self) -> Sad<'_, Toy> {
        Sad::new(SadMemory {
            inbound: &mut self.inbound,
            outbound: &mut self.outbound,
            windows: &mut self.windows,
            links: &mut self.links,
            foreign: &mut [],
        })
    }
}

/// One SA, from its sender to its receiver, and what the receiver should have accepted.
struct Sa {
    from: OutboundId,
    to: InboundId,
    esn: bool,
    window: u32,
    suite: Suite,
    encapsulation: Encapsulation,
    outer_v4: bool,
    accepted: BTreeSet<u64>,
}

impl Sa {
    fn top(&self) -> u64 {
        self.accepted.last().copied().unwrap_or(0)
    }

    /// Whether the receiver would take a packet with the low half of `sequence` for this one, and accept it.
    fn welcomes(&self, sequence: u64) -> bool {
        self.recovered(sequence) == sequence && self.is_free(sequence)
    }

    /// Whether the window has room for `sequence`.
    fn is_free(&self, sequence: u64) -> bool {
        self.window == 0
            || sequence > self.top()
            || (self.top() - sequence < u64::from(self.window)
                && !self.accepted.contains(&sequence))
    }

    /// What the receiver takes the low half of `sequence` for: RFC 4303 appendix A2, by trying.
    fn recovered(&self, sequence: u64) -> u64 {
        let low = sequence & u64::from(u32::MAX);
        if !self.esn {
            return low;
        }
        let bottom = self.top().saturating_sub(u64::from(self.window) - 1);
        let high = bottom >> 32;
        let candidates = [high, high.saturating_add(1)].map(|high| high << 32 | low);
        candidates.into_iter().find(|candidate| *candidate >= bottom).unwrap_or(u64::MAX)
    }
}

/// A packet as it was sent.
#[derive(Clone)]
struct Packet {
    sa: usize,
    sequence: u64,
    inner: Vec<u8>,
    outer: Vec<u8>,
    esp: std::ops::Range<usize>,
}

struct World<'m> {
    sender: Sad<'m, Toy>,
    receiver: Sad<'m, Toy>,
    sas: Vec<Sa>,
    sent: Vec<Packet>,
    open: Vec<(OpenJob, Vec<u8>, usize)>,
    keymat: [u8; MAX_KEYMAT],
}

impl<'m> World<'m> {
    fn new(input: &mut Input<'_>, sender: Sad<'m, Toy>, receiver: Sad<'m, Toy>) -> Self {
        let mut rng = SeededRng::new(input.seed());
        let mut keymat = [0; MAX_KEYMAT];
        rng.fill(&mut keymat);
        let (sas, sent, open) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = Self { sender, receiver, sas, sent, open, keymat };
        for _ in 0..=input.below(SAS) {
            world.install(input, &mut rng);
        }
        world
    }

    fn install(&mut self, input: &mut Input<'_>, rng: &mut SeededRng) {
        let suite = input.one_of(&[
            Suite::AES_128_GCM,
            Suite::AES_128_CBC_SHA256,
            Suite::CHACHA20_POLY1305,
            Suite::aead(Encr::AES_GCM_16_IIV, 128),
            Suite::aead(Encr::AES_CCM_8, 256),
            Suite { encr: Encr::NULL, key_bits: 0, ..Suite::AES_128_CBC_SHA256 },
            Suite { encr: Encr::AES_CTR, ..Suite::AES_256_CBC_SHA256 },
        ]);
        let bits = input.u8();
        let window = [32, 64, 96, 0][usize::from(bits & 3)];
        let esn = bits & 4 != 0 && window != 0;
        let encapsulation = if bits & 8 != 0 { Encapsulation::Udp } else { Encapsulation::Ip };
        let outer_v4 = bits & 16 != 0;
        let any_inner = bits & 32 != 0;
        let port = if encapsulation == Encapsulation::Udp { 4500 } else { 0 };
        let [here, there] = if outer_v4 {
            [[192, 0, 2, 1].into(), [198, 51, 100, 2].into()]
        } else {
            [[0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 2].into()]
        };
        let path = Path::new(Endpoint::new(here, port), Endpoint::new(there, port));
        let mut selectors = Selectors::EMPTY;
        for list in [&mut selectors.local, &mut selectors.remote] {
            let _ = list.push(if any_inner {
                TrafficSelector::ANY_V4
            } else {
                TrafficSelector::network([10, 0, 0, 0].into(), 8).unwrap()
            });
            let _ = list.push(TrafficSelector::ANY_V6);
        }
        let spi = self.receiver.reserve(rng).unwrap();
        let mut params = SaParams {
            spi,
            protection: suite.into(),
            mode: Mode::TUNNEL,
            keymat: &self.keymat[..suite.shape().unwrap().keymat_len()],
            path,
            encapsulation,
            esn,
            replay_window: window,
            lifetime: Lifetime::UNLIMITED,
            selectors: &selectors,
            tag: 9,
        };
        let from = self.sender.install_outbound(NOW, &params).unwrap();
        params.path = Path::new(path.remote, path.local);
        let to = self.receiver.install_inbound(NOW, &params).unwrap();
        let accepted = BTreeSet::new();
        self.sas.push(Sa { from, to, esn, window, suite, encapsulation, outer_v4, accepted });
    }

    fn arrival(&self, sa: usize) -> Arrival {
        let path = self.receiver.inbound(self.sas[sa].to).unwrap().protection.path;
        Arrival {
            path,
            encapsulation: self.sas[sa].encapsulation,
            traffic_class: 0,
            before: Before::Room(0),
        }
    }

    /// Seals a packet and keeps it.
    fn seal(&mut self, input: &mut Input<'_>) {
        let index = input.below(self.sas.len());
        let v6 = input.flag();
        let body = input.string();
        let inner = ip_packet(v6, body);
        self.seal_packet(index, inner);
    }

    fn seal_packet(&mut self, index: usize, inner: Vec<u8>) -> Option<usize> {
        let sa = &self.sas[index];
        let overhead = Overhead::of(&self.sender.outbound(sa.from).unwrap().protection);
        let (head, tail) = (overhead.headroom(), overhead.tailroom_for(inner.len()));
        let mut buf = vec![0xee; head + inner.len() + tail];
        buf[head..][..inner.len()].copy_from_slice(&inner);
        let mut packet = PacketBuf::new(&mut buf, head..head + inner.len()).unwrap();
        let before = self.sender.outbound(sa.from).unwrap().sequence();
        match seal(&mut self.sender, NOW, sa.from, &mut packet) {
            Ok(sealed) => {
                assert_eq!(sealed.sequence, before + 1);
                assert_eq!(packet.range(), 0..buf.len());
                assert_eq!(buf.len(), overhead.sealed_len(inner.len()));
                let sequence = sealed.sequence;
                self.sent.push(Packet { sa: index, sequence, inner, outer: buf, esp: sealed.esp });
                Some(self.sent.len() - 1)
            }
            Err(_) => {
                assert_eq!(before, if sa.esn { u64::MAX } else { u32::MAX.into() });
                None
            }
        }
    }

    fn pick(&self, input: &mut Input<'_>) -> Option<Packet> {
        let index = usize::from(input.u8()).checked_rem(self.sent.len())?;
        // Mostly the latest.
        Some(self.sent[self.sent.len() - 1 - index].clone())
    }

    /// A packet as it was sent, by any of the entries.
    fn deliver(&mut self, input: &mut Input<'_>) {
        let Some(packet) = self.pick(input) else { return };
        let entry = input.u8();
        self.deliver_packet(packet, entry);
    }

    fn deliver_packet(&mut self, packet: Packet, entry: u8) {
        let Packet { sa: index, sequence, inner, mut outer, esp } = packet;
        let arrival = self.arrival(index);
        let welcome = self.sas[index].welcomes(sequence);
        let udp = self.sas[index].encapsulation == Encapsulation::Udp;
        let result = match entry % 3 {
            0 => inbound_ip(&mut self.receiver, NOW, &mut outer).map(inner_of),
            1 if udp => {
                inbound_udp(&mut self.receiver, NOW, arrival.path, 0, &mut outer[esp]).map(inner_of)
            }
            _ => {
                let opened = open(&mut self.receiver, NOW, &arrival, &mut outer[esp.clone()]);
                opened.map(|opened| (opened.sequence, outer[esp][opened.range].to_vec()))
            }
        };
        match result {
            Ok((opened, packet)) => {
                assert!(welcome, "{opened} was accepted before or is too old");
                assert_eq!((opened, packet), (sequence, inner));
                self.sas[index].accepted.insert(sequence);
            }
            Err(error) => {
                assert!(!welcome, "{sequence} was refused: {error:?}");
                let refused = matches!(error, OpenError::Replay(..) | OpenError::Integrity(..));
                assert!(refused, "{error:?}");
            }
        }
        self.check();
    }

    /// A packet with changes in its ESP part, or in its outer headers.
    fn deliver_changed(&mut self, input: &mut Input<'_>) {
        let Some(packet) = self.pick(input) else { return };
        let arrival = self.arrival(packet.sa);
        let mut esp = packet.outer[packet.esp.clone()].to_vec();
        let whole = input.flag();
        if whole {
            let mut outer = packet.outer.clone();
            input.mutate(&mut outer);
            let same = outer.get(packet.esp.clone()) == Some(&esp[..]);
            if same {
                return;
            }
            // Changes before the ESP part may leave it as it was; then it is the true packet, which another step does.
            if contains(&outer, &esp) {
                return;
            }
            let result = inbound_ip(&mut self.receiver, NOW, &mut outer);
            assert!(!matches!(result, Ok(Inbound::Packet { .. })), "a changed packet passes");
        } else {
            input.mutate(&mut esp);
            if esp == packet.outer[packet.esp.clone()] {
                return;
            }
            self.must_not_open(&arrival, &mut esp);
        }
        self.check();
    }

    fn must_not_open(&mut self, arrival: &Arrival, esp: &mut [u8]) {
        let known = self.sent.iter().any(|p| p.outer[p.esp.clone()] == *esp);
        if known {
            return;
        }
        let before = esp.to_vec();
        let job = open_begin(&self.receiver, arrival, esp);
        let shape = job
            .as_ref()
            .ok()
            .map(|job| self.receiver.inbound(job.id()).expect("it was found"))
            .and_then(|sa| sa.protection.esp().map(|esp| esp.shape));
        let error =
            open(&mut self.receiver, NOW, arrival, esp).expect_err("a changed packet passes");
        match shape {
            Some(shape) => {
                assert!(matches!(error, OpenError::Integrity(..)), "{error:?}");
                let text = 8 + shape.iv_len..esp.len() - shape.icv_len;
                assert!(esp[text].iter().all(|byte| *byte == 0), "refused text is wiped");
            }
            None => assert_eq!(esp, before, "refused before anything was touched"),
        }
    }

    /// Any bytes, perhaps with an SPI that exists.
    fn deliver_nonsense(&mut self, input: &mut Input<'_>) {
        let index = input.below(self.sas.len());
        let arrival = self.arrival(index);
        let (entry, with_spi) = (input.u8(), input.flag());
        let mut bytes = input.long_string().to_vec();
        if with_spi && bytes.len() >= 8 {
            let sa = self.receiver.inbound(self.sas[index].to).unwrap();
            bytes[..4].copy_from_slice(&sa.protection.spi.to_be_bytes());
            let near = sa.window().top().wrapping_add(u64::from(bytes[7]));
            bytes[4..8].copy_from_slice(&near.to_be_bytes()[4..]);
        }
        match entry % 3 {
            0 => {
                let result = inbound_ip(&mut self.receiver, NOW, &mut bytes);
                assert!(!matches!(result, Ok(Inbound::Packet { .. })));
            }
            1 => {
                let result = inbound_udp(&mut self.receiver, NOW, arrival.path, 3, &mut bytes);
                assert!(!matches!(result, Ok(Inbound::Packet { .. })));
            }
            _ => self.must_not_open(&arrival, &mut bytes),
        }
        self.check();
    }

    /// The sender leaves out sequence numbers.
    fn skip(&mut self, input: &mut Input<'_>) {
        let sa = &self.sas[input.below(self.sas.len())];
        let at = self.sender.outbound(sa.from).unwrap().sequence();
        let step = match input.u8() % 4 {
            0 => input.u8().into(),
            1 => input.u16().into(),
            2 => input.u32().into(),
            _ => u64::from(u32::MAX) - at.min(u32::MAX.into()),
        };
        let limit = if sa.esn { u64::MAX } else { u32::MAX.into() };
        assert!(self.sender.skip_sequence(sa.from, at.saturating_add(step).min(limit)));
    }

    /// The sender, who has the keys, seals what is no proper packet.
    fn deliver_inner(&mut self, input: &mut Input<'_>) {
        let index = input.below(self.sas.len());
        let arrival = self.arrival(index);
        let entry = input.u8();
        let Some(number) = self.seal_packet(index, ip_packet(entry & 1 != 0, b"replaced")) else {
            return;
        };
        let packet = self.sent.swap_remove(number);
        let sa = &self.sas[index];
        let shape = sa.suite.shape().unwrap();
        let mut text = match entry & 2 {
            0 => input.string().to_vec(),
            _ => {
                // Nearly right.
                let mut text = packet.inner.clone();
                let next = if entry & 1 != 0 { protocol::IPV6 } else { protocol::IPV4 };
                text.extend_from_slice(&[1, 2, 2, next]);
                input.mutate(&mut text);
                text
            }
        };
        let align = shape.block_len.max(4);
        text.resize(text.len().next_multiple_of(align).max(align), 0);
        let mut esp = packet.outer[packet.esp.clone()][..8 + shape.iv_len].to_vec();
        let iv = match shape.iv {
            ipsec_core::crypto::Iv::Implicit => packet.sequence.to_be_bytes().to_vec(),
            _ => esp[8..].to_vec(),
        };
        let header = esp.len();
        let keymat = &self.keymat[..shape.keymat_len()];
        let (key, rest) = keymat.split_at(shape.key_len);
        let (salt, integ_key) = rest.split_at(shape.salt_len);
        let cipher = ToyCipher::new(sa.suite, key, integ_key).unwrap();
        let high = (packet.sequence >> 32) as u32;
        let mut head = esp[..4].to_vec();
        if sa.esn && shape.aead {
            head.extend_from_slice(&high.to_be_bytes());
        }
        head.extend_from_slice(&esp[4..8]);
        let tail = if sa.esn && !shape.aead { high.to_be_bytes().to_vec() } else { Vec::new() };
        let mut icv = vec![0; shape.icv_len];
        let plain = text.clone();
        let nonce = [salt, &iv].concat();
        let work = Work { nonce: &nonce, head: &head, text: &mut text, tail: &tail, icv: &mut icv };
        cipher.seal(work).unwrap();
        esp.extend_from_slice(&text);
        esp.extend_from_slice(&icv);

        let welcome = sa.welcomes(packet.sequence);
        let result = open(&mut self.receiver, NOW, &arrival, &mut esp);
        match result {
            Ok(opened) => {
                assert!(welcome);
                let inner = &esp[opened.range.clone()];
                let parsed = IpPacket::parse(inner).unwrap();
                assert_eq!(inner.len(), parsed.len);
                assert!(plain.starts_with(inner), "the packet is what was sealed");
                let sa = self.receiver.inbound(self.sas[index].to).unwrap();
                assert!(sa.selectors.match_inbound(&parsed.flow));
            }
            Err(OpenError::Replay(..) | OpenError::Integrity(..)) => assert!(!welcome),
            Err(_) => {
                assert!(welcome);
                let text = &esp[header..esp.len() - shape.icv_len];
                assert!(text.iter().all(|b| *b == 0), "refused text is wiped");
            }
        }
        if welcome {
            // It was authentic, whatever was in it: its number is spent.
            self.sas[index].accepted.insert(packet.sequence);
        }
        self.check();
    }

    /// Begins to open a packet, for later.
    fn begin(&mut self, input: &mut Input<'_>) {
        let Some(packet) = self.pick(input) else { return };
        let arrival = self.arrival(packet.sa);
        let esp = packet.outer[packet.esp.clone()].to_vec();
        let welcome = self.sas[packet.sa].welcomes(packet.sequence);
        match open_begin(&self.receiver, &arrival, &esp) {
            Ok(job) => self.open.push((job, esp, packet.sa)),
            Err(_) => assert!(!welcome),
        }
        self.check();
    }

    /// Completes the opening of a packet, among others that came meanwhile.
    fn finish(&mut self, input: &mut Input<'_>) {
        let Some(index) = usize::from(input.u8()).checked_rem(self.open.len()) else { return };
        let (job, mut esp, sa) = self.open.swap_remove(index);
        let result = job.run(&self.receiver, &mut esp);
        let verified = result.is_ok();
        match open_finish(&mut self.receiver, NOW, job, result, &mut esp) {
            Ok(opened) => {
                assert!(verified && self.sas[sa].is_free(opened.sequence));
                self.sas[sa].accepted.insert(opened.sequence);
            }
            Err(OpenError::Replay(..)) => assert!(verified),
            Err(OpenError::Integrity(..)) => assert!(!verified),
            Err(error) => panic!("{error:?}"),
        }
        self.check();
    }

    /// Each SA is as the model says.
    fn check(&mut self) {
        for sa in &self.sas {
            let live = self.receiver.inbound(sa.to).expect("it is not removed");
            assert_eq!(live.window().top(), sa.top());
            assert!(sa.window == 0 || live.protection.usage.packets == sa.accepted.len() as u64);
            let top = sa.top();
            for sequence in top.saturating_sub(100)..top.saturating_add(3) {
                let taken = self.receiver.check_replay(sa.to, sequence).unwrap().is_ok();
                assert_eq!(taken, sa.is_free(sequence) && sequence != 0, "{sequence} of {top}");
            }
        }
        let mut events = 0;
        while self.receiver.poll_event().is_some() {
            events += 1;
            assert!(events < 100);
        }
    }

    /// What is sealed now opens.
    fn still_opens(&mut self) {
        for index in 0..self.sas.len() {
            let inner = ip_packet(self.sas[index].outer_v4, b"the last one");
            let Some(number) = self.seal_packet(index, inner) else { continue };
            let packet = self.sent[number].clone();
            let sequence = packet.sequence;
            // A sender that leapt over half of the numbers is not understood (RFC 4303 appendix A2.2).
            let reachable = self.sas[index].recovered(sequence) == sequence;
            self.deliver_packet(packet, 0);
            assert_eq!(self.sas[index].accepted.contains(&sequence), reachable);
        }
    }
}

fn inner_of(inbound: Inbound<'_>) -> (u64, Vec<u8>) {
    match inbound {
        Inbound::Packet { opened, packet } => (opened.sequence, packet.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// An IP packet inside the selectors.
fn ip_packet(v6: bool, body: &[u8]) -> Vec<u8> {
    use zerocopy::IntoBytes;
    let mut packet = if v6 {
        let (a, b) = ([0xfd, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd, 0, 0, 0, 0, 0, 0, 2].into());
        Ipv6Header::new(a, b, protocol::ICMPV6, 0, 64, body.len()).unwrap().as_bytes().to_vec()
    } else {
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        Ipv4Header::new(a, b, protocol::ICMP, 0, 64, body.len()).unwrap().as_bytes().to_vec()
    };
    packet.extend_from_slice(body);
    packet
}

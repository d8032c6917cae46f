//! ESP and AH in every mode, with whatever IP packet, and somebody who changes packets on the way.
//!
//! What is sealed comes out with the same ends and the same payload. What was changed comes out only if nothing that
//! matters was: then it is still the same.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipsec_core::crypto::suite::MAX_KEYMAT;
use ipsec_core::crypto::{Encr, Integ, Suite};
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::{AddressPair, DontFragment, Dscp, EcnIngress, Mode, Tunnel};
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{AhAlign, Algorithms, Encapsulation, SaParams};
use ipsec_core::sad::{
    InboundId, InboundSlot, OutboundId, OutboundSlot, Sad, SadMemory, SpiAllocator,
};
use ipsec_core::selector::{AddressRange, Flow, Selectors, TrafficSelector};
use ipsec_core::time::Instant;
use ipsec_core::wire::{IpPacket, Ipv4Header, Ipv6Header, protocol};
use ipsec_esp::{Inbound, OpenError, inbound_ip, seal, seal_dummy};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::toy::Toy;
use zerocopy::IntoBytes;

use crate::input::Input;

pub(crate) const NOW: Instant = Instant::from_secs(5);

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut inbound, mut outbound) = ([InboundSlot::EMPTY], [OutboundSlot::EMPTY]);
    let (mut windows, mut links) = ([0; 4], [0; 4]);
    let sad = Sad::new(SadMemory {
        inbound: &mut inbound,
        outbound: &mut outbound,
        windows: &mut windows,
        links: &mut links,
        foreign: &mut [],
    });
    let Some(mut world) = World::new(&mut input, sad) else { return };
    for _ in 0..50 {
        let Some(step) = input.step() else { break };
        match step % 6 {
            0 | 1 => {
                let packet = world.packet(&mut input);
                world.seal(&packet);
            }
            2 => {
                if let Some(sent) = world.pick(&mut input) {
                    world.deliver(&sent, &sent.outer);
                }
            }
            3 | 4 => {
                if let Some(sent) = world.pick(&mut input) {
                    let mut outer = sent.outer.clone();
                    input.mutate(&mut outer);
                    world.deliver(&sent, &outer);
                }
            }
            _ => world.dummy(input.u8().into()),
        }
    }
    // Whatever came before, an ordinary packet passes.
    let ordinary = world.ordinary();
    world.seal(&ordinary);
    let sent = world.sent.last().expect("an ordinary packet is sealed").clone();
    assert_eq!(sent.inner, ordinary);
    assert!(world.deliver(&sent, &sent.outer));
}

/// A packet as it was sent.
#[derive(Clone)]
pub(crate) struct Sent {
    sequence: u64,
    inner: Vec<u8>,
    pub(crate) outer: Vec<u8>,
    /// Where ESP or AH begins.
    pub(crate) header_at: usize,
}

/// One SA to oneself.
pub(crate) struct World<'m> {
    pub(crate) sad: Sad<'m, Toy>,
    id: OutboundId,
    pub(crate) into: InboundId,
    pub(crate) protection: Algorithms,
    mode: Mode,
    encapsulation: Encapsulation,
    /// From whom to whom inner packets go.
    ends: [IpAddr; 2],
    pub(crate) sent: Vec<Sent>,
    accepted: BTreeSet<u64>,
}

impl<'m> World<'m> {
    fn new(input: &mut Input<'_>, sad: Sad<'m, Toy>) -> Option<Self> {
        let bits = input.u8();
        let bit = |n: u8| bits >> n & 1 != 0;
        let protection = if bit(0) {
            let integ = input.one_of(&[
                Integ::HMAC_SHA2_256_128,
                Integ::HMAC_SHA1_96,
                Integ::HMAC_SHA2_512_256,
                Integ::AES_128_GMAC,
            ]);
            let align = if bit(1) { AhAlign::Standard } else { AhAlign::Eight };
            Algorithms::Ah(integ, align)
        } else {
            Algorithms::Esp(input.one_of(&[
                Suite::AES_128_GCM,
                Suite::AES_128_CBC_SHA256,
                Suite::aead(Encr::AES_GCM_16_IIV, 128),
                Suite { encr: Encr::NULL, key_bits: 0, ..Suite::AES_128_CBC_SHA256 },
            ]))
        };
        Self::with(input, sad, bits, protection)
    }

    /// An SA whose mode, addresses and so on are as `bits` say.
    pub(crate) fn with(
        input: &mut Input<'_>,
        mut sad: Sad<'m, Toy>,
        bits: u8,
        protection: Algorithms,
    ) -> Option<Self> {
        let bit = |n: u8| bits >> n & 1 != 0;
        let udp = bit(1) && matches!(protection, Algorithms::Esp(_));
        let encapsulation = if udp { Encapsulation::Udp } else { Encapsulation::Ip };
        let outer = addresses(bit(2), 1);
        let inner = addresses(bit(3), 9);
        let pair = |[local, remote]: [IpAddr; 2]| AddressPair { local, remote };
        let (mode, ends) = match bits >> 4 & 3 {
            0 => (Mode::Tunnel(tunnel(input)), inner),
            1 => (Mode::TRANSPORT, outer),
            2 => (Mode::Beet(pair(inner)), inner),
            _ => (Mode::TUNNEL, inner),
        };
        let port = if udp { 4500 } else { 0 };
        let path = Path::new(Endpoint::new(outer[0], port), Endpoint::new(outer[1], port));
        let host = |address| TrafficSelector::addresses(AddressRange::host(address));
        let selectors = Selectors::pair(host(ends[0]), host(ends[1]));
        let reversed = Selectors::pair(host(ends[1]), host(ends[0]));
        let mut rng = SeededRng::new(input.seed());
        let mut keymat = [0; MAX_KEYMAT];
        rng.fill(&mut keymat);
        let mut params = SaParams {
            spi: sad.reserve(&mut rng)?,
            protection,
            mode,
            keymat: keymat.get(..protection.keymat_len()?)?,
            path,
            encapsulation,
            esn: bit(6),
            replay_window: 64,
            lifetime: Lifetime::UNLIMITED,
            selectors: &selectors,
            tag: 0,
        };
        let id = sad.install_outbound(NOW, &params).ok()?;
        params.path = Path::new(path.remote, path.local);
        params.selectors = &reversed;
        if let Mode::Beet(pair) = mode {
            params.mode = Mode::Beet(AddressPair { local: pair.remote, remote: pair.local });
        }
        let into = sad.install_inbound(NOW, &params).ok()?;
        let (sent, accepted) = (Vec::new(), BTreeSet::new());
        Some(Self { sad, id, into, protection, mode, encapsulation, ends, sent, accepted })
    }

    pub(crate) fn ordinary(&self) -> Vec<u8> {
        headed(self.ends, protocol::UDP, b"\x10\x00\x20\x00\x00\x0c\x00\x00last")
    }

    /// A packet between the two ends: ordinary, with options or extension headers, or any bytes.
    pub(crate) fn packet(&self, input: &mut Input<'_>) -> Vec<u8> {
        let kind = input.u8();
        let upper = input.one_of(&[
            protocol::UDP,
            protocol::TCP,
            protocol::ICMP,
            protocol::HOP_BY_HOP,
            protocol::ROUTING,
            protocol::DESTINATION_OPTIONS,
            protocol::FRAGMENT,
            protocol::AH,
            47,
        ]);
        if kind & 3 != 0 {
            let body = input.string();
            let mut packet = headed(self.ends, upper, body);
            if kind & 4 != 0 && packet[0] == 0x45 {
                // Options: as many words as the body begins with.
                let words = 1 + usize::from(kind >> 4 & 3);
                let options = [&[7, 4 * words as u8, 4][..], &[1; 16]].concat();
                packet.splice(20..20, options[..4 * words].iter().copied());
                packet[0] += words as u8;
                packet[3] = packet[3].wrapping_add(4 * words as u8);
            }
            if kind & 8 != 0 {
                packet.extend_from_slice(&[0xee; 7]); // the padding of a link
            }
            return packet;
        }
        let mut packet = input.long_string().to_vec();
        let at = if self.ends[0].is_ipv4() { 12 } else { 8 };
        let mut addresses = Vec::new();
        for end in self.ends {
            match end {
                IpAddr::V4(a) => addresses.extend(a.octets()),
                IpAddr::V6(a) => addresses.extend(a.octets()),
            }
        }
        if let Some(room) = packet.get_mut(at..at + addresses.len()) {
            room.copy_from_slice(&addresses);
        }
        packet
    }

    pub(crate) fn seal(&mut self, inner: &[u8]) {
        const ROOM: usize = 128;
        let mut buf = [&[0xdd; ROOM][..], inner, &[0xdd; 600]].concat();
        let before = buf.clone();
        let mut packet = PacketBuf::new(&mut buf, ROOM..ROOM + inner.len()).unwrap();
        let sequence = self.sad.outbound(self.id).unwrap().sequence();
        match seal(&mut self.sad, NOW, self.id, &mut packet) {
            Ok(sealed) => {
                assert_eq!(sealed.sequence, sequence + 1);
                let outer = packet.payload().to_vec();
                let parsed = IpPacket::parse(&outer).expect("the outer packet is one");
                assert_eq!(parsed.len, outer.len());
                let len = IpPacket::parse(inner).expect("it was sealed").len;
                let inner = inner[..len].to_vec();
                let header_at = sealed.esp.start;
                self.sent.push(Sent { sequence: sealed.sequence, inner, outer, header_at });
            }
            Err(_) => {
                assert_eq!(buf, before, "nothing has changed");
                assert_eq!(self.sad.outbound(self.id).unwrap().sequence(), sequence);
            }
        }
    }

    fn dummy(&mut self, len: usize) {
        let mut buf = vec![7; 700];
        let mut packet = PacketBuf::new(&mut buf, 128..128 + len).unwrap();
        if seal_dummy(&mut self.sad, NOW, self.id, &mut packet).is_ok() {
            let result = inbound_ip(&mut self.sad, NOW, packet.payload_mut());
            assert!(matches!(result, Err(OpenError::Dummy(_))), "{result:?}");
        }
    }

    fn pick(&self, input: &mut Input<'_>) -> Option<Sent> {
        let index = usize::from(input.u8()).checked_rem(self.sent.len())?;
        Some(self.sent[self.sent.len() - 1 - index].clone())
    }

    /// Hands over `outer`, which is that of `sent`, or was once. Says whether it passed.
    pub(crate) fn deliver(&mut self, sent: &Sent, outer: &[u8]) -> bool {
        let same = outer == sent.outer;
        let mut bytes = outer.to_vec();
        let inner = IpPacket::parse(&sent.inner).unwrap();
        match inbound_ip(&mut self.sad, NOW, &mut bytes) {
            Ok(Inbound::Packet { opened, packet }) => {
                // What was changed may be another one that was sent.
                let other = self.sent.iter().find(|s| s.sequence == opened.sequence);
                let (sent, inner) = match other {
                    Some(other) => (other.clone(), IpPacket::parse(&other.inner).unwrap()),
                    None => (sent.clone(), inner),
                };
                assert_eq!(opened.sequence, sent.sequence);
                assert!(self.accepted.insert(sent.sequence), "accepted twice");
                let parsed = IpPacket::parse(packet).expect("an IP packet comes out");
                assert_eq!(parsed.len, packet.len());
                assert_eq!(
                    (parsed.flow.source, parsed.flow.destination),
                    (inner.flow.source, inner.flow.destination,)
                );
                if same || !matches!(self.mode, Mode::Transport { .. }) {
                    self.compare(&sent.inner, &inner, packet, &parsed);
                }
                true
            }
            Err(error) => {
                if same && !self.accepted.contains(&sent.sequence) {
                    self.excused(&inner, &sent.inner, &error);
                }
                // Headers that nothing protects may be changed so that a true packet is refused: its number is spent.
                if let OpenError::Padding(audit)
                | OpenError::NextHeader(audit, _)
                | OpenError::Inner(audit, _)
                | OpenError::Selectors(audit, _)
                | OpenError::Dummy(audit)
                | OpenError::Congestion(audit) = error
                {
                    assert!(self.accepted.insert(audit.sequence), "accepted twice");
                }
                false
            }
            Ok(_) => {
                assert!(!same);
                false
            }
        }
    }

    /// The packet that came out is the one that was sealed.
    fn compare(&self, sent: &[u8], sent_as: &IpPacket, came: &[u8], came_as: &IpPacket) {
        match self.mode {
            Mode::Tunnel(_) => {
                let mut came = came.to_vec();
                // The traffic class, and with it the checksum, may follow the outer one.
                came[0] = came[0] & 0xf0 | sent[0] & 0x0f;
                if sent[0] >> 4 == 4 {
                    came[1] = sent[1];
                    came[10..12].copy_from_slice(&sent[10..12]);
                } else {
                    came[1] = came[1] & 0x0f | sent[1] & 0xf0;
                }
                assert_eq!(came, sent);
            }
            Mode::Transport { .. } | Mode::Beet(_) => {
                let mends = self.encapsulation == Encapsulation::Udp;
                let (a, b) = (&sent[sent_as.upper..sent_as.len], &came[came_as.upper..]);
                assert_eq!(ends(&sent_as.flow), ends(&came_as.flow));
                assert_eq!(a.len(), b.len());
                assert!(mends || a == b, "the payload is the same");
            }
        }
    }

    /// A true packet may be refused only for what its own headers are.
    fn excused(&self, inner: &IpPacket, bytes: &[u8], error: &OpenError) {
        let ah = matches!(self.protection, Algorithms::Ah(..));
        let extensions = inner.upper > if inner.is_ipv4() { 20 } else { 40 };
        let ecn = matches!(error, OpenError::Congestion(_));
        let foreign = matches!(error, OpenError::Selectors(..))
            && [inner.flow.source, inner.flow.destination] != self.ends;
        // What has no next header cannot be told from a dummy.
        let empty = matches!(error, OpenError::Dummy(_)) && inner.flow.protocol == protocol::NONE;
        // An IPv6 header may need more room than an IPv4 header, ESP and a short ICV leave.
        let tight =
            matches!((error, self.mode), (OpenError::NoRoom(_), Mode::Beet(_))) && !inner.is_ipv4();
        let odd = ah && extensions || ecn || foreign || empty || tight;
        assert!(odd, "{error:?} {:?} {bytes:02x?}", self.mode);
    }
}

fn ends(flow: &Flow) -> (IpAddr, IpAddr, u8) {
    (flow.source, flow.destination, flow.protocol)
}

fn addresses(v6: bool, last: u8) -> [IpAddr; 2] {
    [1, 2].map(|side: u8| {
        if v6 {
            IpAddr::from([0xfd00, 0, 0, u16::from(side), 0, 0, 0, u16::from(last)])
        } else {
            IpAddr::from([10, 0, side, last])
        }
    })
}

fn tunnel(input: &mut Input<'_>) -> Tunnel {
    let bits = input.u8();
    let bit = |n: u8| bits >> n & 1 != 0;
    Tunnel {
        dscp: if bit(0) { Dscp::Copy } else { Dscp::Set(bits >> 2) },
        copy_dscp_in: bit(1),
        ecn: if bit(2) { EcnIngress::Normal } else { EcnIngress::Compatibility },
        dont_fragment: [DontFragment::Copy, DontFragment::Set, DontFragment::Clear]
            [usize::from(bits >> 3 & 3).min(2)],
        hop_limit: bits,
        copy_flow_label: bit(5),
        pad_to: if bit(6) { 200 } else { 0 },
    }
}

fn headed(ends: [IpAddr; 2], upper: u8, body: &[u8]) -> Vec<u8> {
    let header = match ends {
        [IpAddr::V4(a), IpAddr::V4(b)] => {
            Ipv4Header::new(a, b, upper, 0, 64, body.len()).unwrap().as_bytes().to_vec()
        }
        [IpAddr::V6(a), IpAddr::V6(b)] => {
            Ipv6Header::new(a, b, upper, 0, 64, body.len()).unwrap().as_bytes().to_vec()
        }
        _ => unreachable!("both ends have one version"),
    };
    [&header[..], body].concat()
}

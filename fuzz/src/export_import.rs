//! Records of SAs: any bytes may be imported, and whatever happens to a device that exports, loses power and imports, no
//! sequence number is sent or accepted twice.

use std::collections::BTreeSet;
use std::time::Duration;

use ipsec_core::crypto::suite::MAX_KEYMAT;
use ipsec_core::crypto::{Integ, Suite};
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::Mode;
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::{Algorithms, Encapsulation, SaParams, Spi};
use ipsec_core::sad::{
    FoundBy, ImportError, InboundSlot, OutboundSlot, RECORD_LEN, SaId, Sad, SadMemory,
    SequenceError,
};
use ipsec_core::selector::{Selectors, TrafficSelector};
use ipsec_core::time::Instant;
use ipsec_core::wire::Ipv4Header;
use ipsec_esp::{Inbound, inbound_ip, seal};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::toy::Toy;
use zerocopy::IntoBytes;

use crate::input::Input;

const NOW: Instant = Instant::from_secs(5);

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        0 => life(&mut input),
        1 => any_bytes(input.rest()),
        _ => {
            // The beginning and the checksum are put right.
            let mut record = [0; RECORD_LEN];
            record[..4].copy_from_slice(b"SA\r\x01");
            let body = input.rest();
            let len = body.len().min(RECORD_LEN - 8);
            record[4..4 + len].copy_from_slice(&body[..len]);
            let crc = crc32(&record[..RECORD_LEN - 4]);
            record[RECORD_LEN - 4..].copy_from_slice(&crc.to_be_bytes());
            any_bytes(&record);
        }
    }
}

/// The records of an SA of either direction: to begin with.
pub(crate) fn records(head: [u8; 2]) -> [[u8; RECORD_LEN]; 2] {
    let mut memory = Memory::new();
    let mut life = Life::new(&mut Input::new(&head), memory.sad());
    [0, 1].map(|side| {
        let mut record = [0; RECORD_LEN];
        let made = life.sad.export(NOW, life.ids[side], &life.keymat, 7, &mut record);
        let _ = made.expect("it has a window");
        record
    })
}

struct Memory {
    inbound: [InboundSlot<Toy>; 2],
    outbound: [OutboundSlot<Toy>; 2],
    windows: [u32; 8],
    links: [u32; 8],
    foreign: [u32; 4],
}

impl Memory {
    fn new() -> Self {
        Self {
            inbound: [InboundSlot::EMPTY, InboundSlot::EMPTY],
            outbound: [OutboundSlot::EMPTY, OutboundSlot::EMPTY],
            windows: [0; 8],
            links: [0; 8],
            foreign: [0; 4],
        }
    }

    fn sad(&mut self) -> Sad<'_, Toy> {
        Sad::new(SadMemory {
            inbound: &mut self.inbound,
            outbound: &mut self.outbound,
            windows: &mut self.windows,
            links: &mut self.links,
            foreign: &mut self.foreign,
        })
    }
}

/// What is imported uses nothing that it says is used, and says the same when it is exported again.
fn any_bytes(record: &[u8]) {
    let mut memory = Memory::new();
    let mut sad = memory.sad();
    let id = match sad.import(NOW, Duration::from_secs(1), record) {
        Ok(id) => id,
        Err(error) => {
            assert_eq!((sad.inbound_in_use(), sad.outbound_in_use()), (0, 0));
            assert!(record.len() == RECORD_LEN || matches!(error, ImportError::Record(_)));
            return;
        }
    };
    assert!(sad.import(NOW, Duration::ZERO, record).is_err() || matches!(id, SaId::Outbound(_)));
    match id {
        SaId::Outbound(id) => {
            let refused = sad.next_sequence(NOW, id, 100).map(|_| ());
            assert!(refused.is_err() && refused != Err(SequenceError::NoSa), "{refused:?}");
        }
        SaId::Inbound(id) => {
            let top = sad.inbound(id).unwrap().window().top();
            for back in 0..200 {
                let number = top.saturating_sub(back);
                assert!(sad.check_replay(id, number).unwrap().is_err());
                assert!(sad.accept(NOW, id, number, 0, None).unwrap().is_err());
            }
            if top < u64::MAX {
                assert!(sad.accept(NOW, id, top + 1, 0, None).unwrap().is_err(), "not set aside");
            }
        }
    }
    let protection = match id {
        SaId::Outbound(id) => &sad.outbound(id).unwrap().protection,
        SaId::Inbound(id) => &sad.inbound(id).unwrap().protection,
    };
    let mut keymat = [0; MAX_KEYMAT];
    let len = protection.algorithms().keymat_len().unwrap();
    let keymat = &mut keymat[..len];
    let mut again = [0; RECORD_LEN];
    let made = sad.export(NOW, id, keymat, 0, &mut again).unwrap();
    let mut other = Memory::new();
    let mut other = other.sad();
    assert!(other.import(NOW, Duration::ZERO, &again).is_ok());
    assert!(sad.commit(made) && sad.stop_exports(id));
}

/// A device with an SA to itself.
struct Life<'m> {
    sad: Sad<'m, Toy>,
    keymat: Vec<u8>,
    /// Outbound and inbound.
    ids: [SaId; 2],
    durable: [Option<[u8; RECORD_LEN]>; 2],
    used: BTreeSet<u64>,
    accepted: BTreeSet<u64>,
    wire: Vec<Vec<u8>>,
}

fn life(input: &mut Input<'_>) {
    let mut memory = Memory::new();
    let mut life = Life::new(input, memory.sad());
    for _ in 0..200 {
        let Some(step) = input.step() else { break };
        match step % 7 {
            0 => life.send(),
            1 => life.deliver(input.u8()),
            2 | 3 => life.export(usize::from(step % 7 - 2), input),
            4 => life.crash(),
            5 => life.leap(input.u32()),
            _ => life.mutate(input),
        }
        while life.sad.poll_event().is_some() {}
    }
    life.still_passes();
}

impl<'m> Life<'m> {
    fn new(input: &mut Input<'_>, mut sad: Sad<'m, Toy>) -> Self {
        let (esn, choice) = (input.flag(), input.u8());
        let protection = if choice & 8 != 0 {
            Algorithms::ah([Integ::HMAC_SHA2_256_128, Integ::AES_128_GMAC][usize::from(choice & 1)])
        } else {
            Algorithms::Esp(
                [Suite::AES_128_GCM, Suite::AES_128_CBC_SHA256][usize::from(choice & 1)],
            )
        };
        let mut keymat = vec![0; protection.keymat_len().unwrap()];
        SeededRng::new(input.seed()).fill(&mut keymat);
        let selectors = Selectors::pair(TrafficSelector::ANY_V4, TrafficSelector::ANY_V4);
        let end = |last| Endpoint::new([192, 0, 2, last].into(), 0);
        let params = SaParams {
            spi: Spi::new(0x1000).unwrap(),
            path: Path::new(end(1), end(2)),
            ..SaParams {
                spi: Spi::new(0x1000).unwrap(),
                protection,
                mode: Mode::TUNNEL,
                keymat: &keymat,
                path: Path::new(end(1), end(2)),
                encapsulation: Encapsulation::Ip,
                esn,
                replay_window: 64,
                lifetime: Lifetime::UNLIMITED,
                selectors: &selectors,
                tag: 3,
            }
        };
        let out = sad.install_outbound(NOW, &params).unwrap();
        let path = Path::new(end(2), end(1));
        let params = SaParams { path, ..params };
        let into = sad.install_inbound_as(NOW, &params, FoundBy::Spi).unwrap();
        Self {
            sad,
            ids: [SaId::Outbound(out), SaId::Inbound(into)],
            durable: [None, None],
            used: BTreeSet::new(),
            accepted: BTreeSet::new(),
            wire: Vec::new(),
            keymat,
        }
    }

    fn send(&mut self) {
        let SaId::Outbound(id) = self.ids[0] else { return };
        let header = Ipv4Header::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 17, 0, 9, 8);
        let inner = [header.unwrap().as_bytes(), &[0, 1, 0, 2, 0, 8, 0, 0]].concat();
        let mut buf = [&[0; 100][..], &inner, &[0; 100]].concat();
        let mut packet = PacketBuf::new(&mut buf, 100..100 + inner.len()).unwrap();
        if let Ok(sealed) = seal(&mut self.sad, NOW, id, &mut packet) {
            assert!(self.used.insert(sealed.sequence), "sent twice: {}", sealed.sequence);
            self.wire.push(packet.payload().to_vec());
        }
    }

    /// One of the latest packets arrives.
    fn deliver(&mut self, back: u8) {
        let Some(at) = self.wire.len().checked_sub(1 + usize::from(back)) else { return };
        let mut packet = self.wire[at].clone();
        if let Ok(Inbound::Packet { opened, .. }) = inbound_ip(&mut self.sad, NOW, &mut packet) {
            assert!(self.accepted.insert(opened.sequence), "accepted twice: {}", opened.sequence);
        }
    }

    fn export(&mut self, side: usize, input: &mut Input<'_>) {
        let (how, ahead) = (input.u8(), input.u8());
        self.write(side, ahead.into(), how);
    }

    /// Exports. The power may fail before the record is durable, or before the commit.
    fn write(&mut self, side: usize, ahead: u32, how: u8) {
        let mut record = [0; RECORD_LEN];
        let made = self.sad.export(NOW, self.ids[side], &self.keymat, ahead, &mut record).unwrap();
        if how & 1 != 0 {
            self.durable[side] = Some(record);
            if how & 2 != 0 {
                assert!(self.sad.commit(made));
            }
        }
    }

    /// Both SAs are lost, and come back if both were written.
    fn crash(&mut self) {
        let [Some(out), Some(into)] = self.durable else { return };
        self.remove();
        self.ids = [out, into].map(|r| self.sad.import(NOW, Duration::ZERO, &r).unwrap());
    }

    fn remove(&mut self) {
        for id in self.ids {
            assert!(match id {
                SaId::Outbound(id) => self.sad.remove_outbound(id),
                SaId::Inbound(id) => self.sad.remove_inbound(id),
            });
        }
    }

    /// The sender leaves out numbers, no further than a receiver can follow.
    fn leap(&mut self, to: u32) {
        let SaId::Outbound(id) = self.ids[0] else { return };
        let at = self.sad.outbound(id).unwrap().sequence();
        let high = at & !u64::from(u32::MAX);
        if high | u64::from(to) > at && at.abs_diff(high | u64::from(to)) < 1 << 31 {
            self.sad.skip_sequence(id, high | u64::from(to));
        }
    }

    /// Whatever came before: behind what the receiver has closed, and with exports of both sides, a packet passes, unless
    /// the numbers are used up or the sender has left the receiver too far behind (RFC 4303 appendix A2.2).
    fn still_passes(&mut self) {
        let [SaId::Outbound(out), SaId::Inbound(into)] = self.ids else { return };
        let closed = self.sad.inbound(into).unwrap().window().top();
        self.sad.skip_sequence(out, closed);
        let at = self.sad.outbound(out).unwrap().sequence();
        if at & u64::from(u32::MAX) > 0xffff_0000 || at - closed > 1 << 31 {
            return;
        }
        self.write(0, 4, 0b111);
        for _ in 0..2 {
            // The first may lie beyond what the receiver has set aside: then the export reaches beyond it.
            self.write(1, 4, 0b111);
            self.send();
            self.deliver(0);
        }
        assert!(self.accepted.contains(&(at + 2)), "nothing passes any more");
    }

    /// A record that was changed is no record.
    fn mutate(&mut self, input: &mut Input<'_>) {
        let side = usize::from(input.flag());
        let Some(record) = self.durable[side] else { return };
        let mut changed = record.to_vec();
        input.mutate(&mut changed);
        let mut memory = Memory::new();
        let result = memory.sad().import(NOW, Duration::ZERO, &changed);
        assert_eq!(result.is_ok(), changed == record);
    }
}

/// CRC-32 by table, unlike that of the library.
fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] = std::array::from_fn(|i| {
        (0..8).fold(i as u32, |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })
    });
    !bytes.iter().fold(!0, |crc, b| table[(crc as u8 ^ b) as usize] ^ (crc >> 8))
}

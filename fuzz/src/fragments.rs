//! Outer packets cut to the size of a path, and put together again, among fragments of anybody.

use std::time::Duration;

use ipsec_core::time::Instant;
use ipsec_core::wire::{Fragment, IpPacket, Ipv4Header, Ipv6Header, protocol};
use ipsec_esp::fragment::Fragments;
use ipsec_esp::reassembly::{Reassembled, Reassembler, ReassemblySlot};
use zerocopy::IntoBytes;

use crate::input::Input;

/// Bytes for each packet.
const SHARE: usize = 2048;

/// Where the packets of strangers come from.
const HERE: [u8; 4] = [10, 0, 0, 1];

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut slots = [const { ReassemblySlot::EMPTY }; 3];
    let mut buffer = vec![0; 3 * SHARE];
    let mut reassembler = Reassembler::new(&mut slots, &mut buffer);
    // Strangers do not know it.
    let own = (input.seed() as u32).to_be_bytes();
    let mut now = Instant::from_secs(100);
    for number in 0..20 {
        let Some(step) = input.step() else { break };
        match step % 4 {
            0 => noise(&mut reassembler, now, input.long_string()),
            1 => {
                // Nearly right: a fragment of ours, changed.
                let packet = packet(&mut input, number, &HERE);
                let mut pieces = cut(&packet, 40 + usize::from(input.u8()), number);
                let index = usize::from(input.u8()).checked_rem(pieces.len());
                if let Some(piece) = index.map(|index| pieces.swap_remove(index)) {
                    let mut piece = piece;
                    input.mutate(&mut piece);
                    noise(&mut reassembler, now, &piece);
                }
            }
            2 => {
                let packet = packet(&mut input, number, &own);
                let mtu = 40 + 8 * usize::from(input.u8());
                round_trip(&mut reassembler, now, &packet, mtu, number, &mut input);
            }
            _ => now = now.after(Duration::from_secs(input.u8().into())),
        }
    }
}

/// A whole packet that may be fragmented, from `source`.
fn packet(input: &mut Input<'_>, number: u16, source: &[u8; 4]) -> Vec<u8> {
    let (v6, len) = (input.flag(), usize::from(input.u16()) % (SHARE - 80));
    let body: Vec<u8> = (0..len).map(|i| (i as u8) ^ (i >> 8) as u8).collect();
    let header = if v6 {
        let source = source.map(u16::from);
        let (a, b) = ([&source[..], &[0xfd; 4]].concat(), [0xfeu16; 8].into());
        let a = <[u16; 8]>::try_from(a).unwrap().into();
        Ipv6Header::new(a, b, protocol::ESP, 0, 64, len).unwrap().as_bytes().to_vec()
    } else {
        let (a, b) = ((*source).into(), [10, 0, 0, 2].into());
        let header = Ipv4Header::new(a, b, protocol::ESP, 0, 64, len).unwrap();
        header.fragmentable(number).as_bytes().to_vec()
    };
    [header, body].concat()
}

/// The fragments of a packet; none if it cannot be cut so small.
fn cut(packet: &[u8], mtu: usize, number: u16) -> Vec<Vec<u8>> {
    let Ok(mut fragments) = Fragments::new(packet, mtu, number.into()) else { return Vec::new() };
    let mut all = Vec::new();
    let mut room = vec![0; fragments.buffer_len()];
    while let Some(len) = fragments.next_into(&mut room) {
        let len = len.expect("the buffer is as long as asked for");
        let piece = &room[..len];
        assert!(len <= mtu);
        let parsed = IpPacket::parse(piece).expect("a fragment is an IP packet");
        assert_eq!(parsed.len, len);
        all.push(piece.to_vec());
        assert!(all.len() < 1000);
    }
    let kinds = all.iter().map(|f| IpPacket::parse(f).unwrap().fragment);
    if all.len() == 1 {
        assert!(all[0] == packet);
    } else {
        assert!(kinds.enumerate().all(|(i, kind)| match i {
            0 => kind == Fragment::First,
            _ => kind == Fragment::Later,
        }));
    }
    all
}

fn noise(reassembler: &mut Reassembler<'_>, now: Instant, bytes: &[u8]) {
    match reassembler.accept(now, bytes) {
        Ok(Reassembled::Complete(packet)) => {
            // Its header may have extensions that are wrong, but its length is right.
            let len = packet.len();
            match Ipv4Header::parse(packet) {
                Ok(ip) => assert!(ip.checksum_ok() && ip.header_len() + ip.payload.len() == len),
                Err(_) => {
                    let ip = Ipv6Header::parse(packet).expect("a whole packet");
                    assert_eq!(Ipv6Header::LEN + ip.payload.len(), len);
                }
            }
        }
        Ok(Reassembled::NotAFragment) => {
            assert!(!matches!(
                IpPacket::parse(bytes).map(|p| p.fragment),
                Ok(Fragment::First | Fragment::Later)
            ));
        }
        Ok(Reassembled::Waiting) | Err(_) => {}
    }
}

/// Every order of the fragments gives the packet.
fn round_trip(
    reassembler: &mut Reassembler<'_>,
    now: Instant,
    packet: &[u8],
    mtu: usize,
    number: u16,
    input: &mut Input<'_>,
) {
    let mut pieces = cut(packet, mtu, number);
    // More pieces that do not touch than a slot has room for are refused.
    let in_order = pieces.len() > 16;
    while !pieces.is_empty() {
        let index = if in_order { 0 } else { input.below(pieces.len()) };
        let piece = pieces.remove(index);
        match reassembler.accept(now, &piece) {
            Ok(Reassembled::NotAFragment) => assert!(piece == packet),
            Ok(Reassembled::Waiting) => assert!(!pieces.is_empty(), "the last one is there"),
            Ok(Reassembled::Complete(whole)) => {
                assert!(pieces.is_empty());
                // Only what fragmentation says of itself differs.
                let mut whole = whole.to_vec();
                if whole[0] == 0x45 {
                    whole[4..12].copy_from_slice(&packet[4..12]);
                }
                assert!(whole == packet, "the same packet");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

//! TCP's maximum segment size, lowered on its way through (RFC 9293 section 3.7.1).
//!
//! A tunnel makes packets larger. Two hosts that learn in their handshake how much fits need no "packet too big".

use ipsec_core::bytes;
use ipsec_core::wire::{Fragment, IpPacket, checksum, protocol};

/// Bytes of a TCP header without options.
const HEADER: usize = 20;
/// Where the flags are, and the bit of SYN.
const FLAGS: usize = 13;
const SYN: u8 = 0x02;
/// Where the checksum is.
const CHECKSUM: usize = 16;
/// Option kinds: the end, a filler, and the maximum segment size with its length.
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: [u8; 2] = [2, 4];

/// Lowers the maximum segment size that a SYN in `packet` announces to `max`, and repairs its checksum.
///
/// Gives the size that was announced, if it was lowered. Anything else passes unchanged: other packets, fragments after
/// the first, segments without the option (RFC 9293 section 3.7.1 then says 536), and malformed ones. The effective size
/// for a tunnel is [`Overhead::tcp_mss`](crate::Overhead::tcp_mss).
pub fn clamp_mss(packet: &mut [u8], max: u16) -> Option<u16> {
    let ip = IpPacket::parse(packet).ok()?;
    if ip.flow.protocol != protocol::TCP || ip.fragment == Fragment::Later {
        return None;
    }
    let segment = packet.get_mut(ip.upper..ip.len)?;
    if segment.get(FLAGS)? & SYN == 0 {
        return None;
    }
    let header = usize::from(segment.get(12)? >> 4) * 4;
    let at = find_mss(segment.get(HEADER..header)?)?.checked_add(HEADER)?;
    let announced = u16_at(segment, at)?;
    if announced <= max {
        return None;
    }
    let sum = u16_at(segment, CHECKSUM)?;
    // The option may stand at an odd place, where its bytes count the other way round.
    let sum = if at.is_multiple_of(2) {
        checksum::adjust(sum, announced, max)
    } else {
        checksum::adjust(sum, announced.swap_bytes(), max.swap_bytes())
    };
    bytes::copy(segment.get_mut(at..at.checked_add(2)?)?, &max.to_be_bytes())?;
    bytes::copy(segment.get_mut(CHECKSUM..CHECKSUM + 2)?, &sum.to_be_bytes())?;
    Some(announced)
}

/// Where in the options the value is.
fn find_mss(options: &[u8]) -> Option<usize> {
    let mut rest = bytes::Reader::new(options);
    while !rest.is_empty() {
        let at = options.len().checked_sub(rest.rest().len())?;
        match rest.u8()? {
            END => return None,
            NOP => {}
            kind => {
                let len = rest.u8()?;
                let value = usize::from(len).checked_sub(2)?;
                rest.take(value)?;
                if [kind, len] == MSS {
                    return at.checked_add(2);
                }
            }
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use ipsec_core::wire::{Checksum, Ipv4Header};
    use zerocopy::IntoBytes;

    use super::*;

    /// A SYN with these options, in IPv4, with a good checksum.
    fn syn(options: &[u8], flags: u8) -> Vec<u8> {
        let mut tcp = std::vec![0u8; HEADER];
        tcp[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
        tcp[12] = u8::try_from((HEADER + options.len()) / 4).unwrap() << 4;
        tcp[FLAGS] = flags;
        tcp.extend_from_slice(options);
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let len = u16::try_from(tcp.len()).unwrap();
        let sum = Checksum::new().pseudo_v4(a, b, protocol::TCP, len).bytes(&tcp).finish();
        tcp[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        let header = Ipv4Header::new(a, b, protocol::TCP, 0, 64, tcp.len()).unwrap();
        let mut packet = header.as_bytes().to_vec();
        packet.extend_from_slice(&tcp);
        packet
    }

    fn checksum_is_good(packet: &[u8]) -> bool {
        let tcp = &packet[Ipv4Header::LEN..];
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let len = u16::try_from(tcp.len()).unwrap();
        Checksum::new().pseudo_v4(a, b, protocol::TCP, len).bytes(tcp).finish() == 0
    }

    #[test]
    fn a_syn_is_lowered_wherever_the_option_stands() {
        for options in [
            &[2, 4, 0x05, 0xb4][..],
            &[1, 2, 4, 0x05, 0xb4, 0, 0, 0],
            &[4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4, 0x05, 0xb4],
        ] {
            let mut packet = syn(options, SYN);
            assert!(checksum_is_good(&packet));
            assert_eq!(clamp_mss(&mut packet, 1360), Some(1460));
            assert!(checksum_is_good(&packet), "{options:?}");
            assert_eq!(clamp_mss(&mut packet, 1360), None);
            assert!(packet.windows(4).any(|w| w == [2, 4, 0x05, 0x50]));
        }
    }

    #[test]
    fn what_is_small_enough_or_no_syn_or_malformed_passes_unchanged() {
        let good = [2, 4, 0x05, 0xb4];
        let mut fragment = syn(&good, SYN);
        fragment[7] = 1;
        for packet in [
            syn(&[2, 4, 0x02, 0x18], SYN),
            syn(&good, 0x10),
            syn(&[], SYN),
            syn(&[0, 0, 2, 4], SYN),
            syn(&[2, 0, 5, 0xb4], SYN),
            syn(&[8, 200, 2, 4], SYN),
            syn(&[2, 3, 5, 1], SYN),
            fragment,
        ] {
            let mut changed = packet.clone();
            assert_eq!(clamp_mss(&mut changed, 1360), None);
            assert_eq!(changed, packet);
        }
    }

    #[test]
    fn a_cut_packet_is_no_trouble() {
        let packet = syn(&[2, 4, 0x05, 0xb4], SYN);
        for len in 0..packet.len() {
            assert_eq!(clamp_mss(&mut packet[..len].to_vec(), 100), None);
        }
    }
}

//! How much an SA adds to a packet, and what that leaves of a link's MTU.

use ipsec_core::crypto::{Provider, Shape};
use ipsec_core::sa::{Encapsulation, Protection};
use ipsec_core::wire::{Ipv4Header, Ipv6Header, UdpHeader};

use crate::padding;
use crate::wire::{EspHeader, EspTrailer};

/// The sizes of everything that tunnel mode puts around an IP packet, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Overhead {
    /// Outer IP header, and UDP header if there is one.
    pub outer: usize,
    /// ESP header and IV.
    pub header: usize,
    /// What the encrypted part is aligned to: a power of two.
    pub align: usize,
    /// Integrity check value.
    pub icv: usize,
}

impl Overhead {
    /// For an SA as it is now. It changes when a NAT is found or lost, and when the peer moves to the other IP version.
    pub const fn of<P: Provider>(protection: &Protection<P>) -> Self {
        Self::new(
            &protection.shape,
            protection.encapsulation,
            protection.path.remote.address.is_ipv4(),
        )
    }

    /// For an SA to be.
    pub const fn new(shape: &Shape, encapsulation: Encapsulation, outer_ipv4: bool) -> Self {
        let ip = if outer_ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
        let udp = match encapsulation {
            Encapsulation::Ip => 0,
            Encapsulation::Udp => UdpHeader::LEN,
        };
        let block = shape.block_len;
        Self {
            outer: ip.saturating_add(udp),
            header: EspHeader::LEN.saturating_add(shape.iv_len),
            align: if block > padding::MIN_ALIGN { block } else { padding::MIN_ALIGN },
            icv: shape.icv_len,
        }
    }

    /// Room that sealing needs before the packet.
    pub const fn headroom(&self) -> usize {
        self.outer.saturating_add(self.header)
    }

    /// Room that sealing may need behind a packet of any length.
    pub const fn tailroom(&self) -> usize {
        self.align.saturating_sub(1).saturating_add(EspTrailer::LEN).saturating_add(self.icv)
    }

    /// Room that sealing needs behind a packet of `len` bytes.
    pub const fn tailroom_for(&self, len: usize) -> usize {
        padding::trailer_len(len, self.align).saturating_add(self.icv)
    }

    /// The length of the outer packet around a packet of `len` bytes.
    pub const fn sealed_len(&self, len: usize) -> usize {
        self.headroom().saturating_add(len).saturating_add(self.tailroom_for(len))
    }

    /// The longest packet whose outer packet has at most `path_mtu` bytes; 0 if there is none.
    pub const fn effective_mtu(&self, path_mtu: usize) -> usize {
        let text = path_mtu.saturating_sub(self.headroom()).saturating_sub(self.icv);
        let mask = self.align.saturating_sub(1);
        (text & !mask).saturating_sub(EspTrailer::LEN)
    }

    /// The largest TCP segment, options left out, that goes through without fragmentation: what the MSS option of a SYN
    /// should say at most (RFC 9293 section 3.7.1).
    pub const fn tcp_mss(&self, path_mtu: usize, inner_ipv4: bool) -> usize {
        let ip = if inner_ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
        self.effective_mtu(path_mtu).saturating_sub(ip).saturating_sub(TCP_HEADER)
    }
}

/// A TCP header without options.
const TCP_HEADER: usize = 20;

#[cfg(test)]
mod tests {
    use ipsec_core::crypto::Suite;

    use super::*;

    const SUITES: [Suite; 3] =
        [Suite::AES_128_GCM, Suite::CHACHA20_POLY1305, Suite::AES_256_CBC_SHA256];

    fn all() -> impl Iterator<Item = Overhead> {
        SUITES.iter().flat_map(|suite| {
            [Encapsulation::Ip, Encapsulation::Udp].into_iter().flat_map(|encapsulation| {
                [true, false].map(|v4| Overhead::new(&suite.shape().unwrap(), encapsulation, v4))
            })
        })
    }

    #[test]
    fn the_effective_mtu_is_the_longest_that_fits() {
        for overhead in all() {
            for path_mtu in 200..1600 {
                let mtu = overhead.effective_mtu(path_mtu);
                assert!(overhead.sealed_len(mtu) <= path_mtu, "{overhead:?} {path_mtu}");
                assert!(overhead.sealed_len(mtu + 1) > path_mtu, "{overhead:?} {path_mtu}");
            }
        }
    }

    #[test]
    fn known_sizes() {
        let gcm = |e, v4| Overhead::new(&Suite::AES_128_GCM.shape().unwrap(), e, v4);
        let plain = gcm(Encapsulation::Ip, true);
        assert_eq!((plain.headroom(), plain.tailroom()), (36, 21));
        assert_eq!((plain.effective_mtu(1500), plain.tcp_mss(1500, true)), (1446, 1406));
        let nat = gcm(Encapsulation::Udp, true);
        assert_eq!((nat.effective_mtu(1500), nat.tcp_mss(1500, true)), (1438, 1398));
        assert_eq!(gcm(Encapsulation::Ip, false).tcp_mss(1500, false), 1366);
        let cbc = Suite::AES_128_CBC_SHA256.shape().unwrap();
        let cbc = Overhead::new(&cbc, Encapsulation::Ip, true);
        assert_eq!((cbc.headroom(), cbc.tailroom(), cbc.effective_mtu(1500)), (44, 33, 1438));
    }

    #[test]
    fn a_tiny_mtu_gives_nothing() {
        for overhead in all() {
            assert_eq!((overhead.effective_mtu(0), overhead.tcp_mss(60, true)), (0, 0));
        }
    }
}

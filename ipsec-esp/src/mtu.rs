//! How much an SA adds to a packet, and what that leaves of a link's MTU.

use ipsec_core::crypto::{Provider, Shape};
use ipsec_core::mode::Mode;
#[cfg(doc)]
use ipsec_core::mode::Tunnel;
use ipsec_core::sa::{AhAlign, Encapsulation, Protection, Transform};
use ipsec_core::wire::{Ipv4Header, Ipv6Header, UdpHeader};

use crate::padding;
use crate::wire::{AhHeader, EspHeader, EspTrailer};

/// The sizes of everything that an SA puts around an IP packet, in bytes.
///
/// In transport and BEET mode they are those of a packet without IPv4 options or IPv6 extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Overhead {
    /// Outer IP header, and UDP header if there is one.
    pub outer: usize,
    /// ESP header and IV, or AH with its integrity check value.
    pub header: usize,
    /// What the encrypted part is aligned to: a power of two, 1 for AH.
    pub align: usize,
    /// Pad length and next header of ESP.
    pub trailer: usize,
    /// Integrity check value of ESP.
    pub icv: usize,
    /// The packet's own IP header, where it is not part of what is protected or not sent: 0 in tunnel mode.
    pub stripped: usize,
    /// Shorter packets are padded to this length ([`Tunnel::pad_to`]).
    pub pad_to: usize,
}

impl Overhead {
    /// For an SA as it is now. It changes when a NAT is found or lost, and when the peer moves to the other IP version.
    pub const fn of<P: Provider>(protection: &Protection<P>) -> Self {
        let outer_ipv4 = protection.path.remote.address.is_ipv4();
        let sizes = match &protection.transform {
            Transform::Esp(esp) => Self::new(&esp.shape, protection.encapsulation, outer_ipv4),
            Transform::Ah(ah) => Self::ah(ah.integ.iv_len(), ah.icv_len, ah.align, outer_ipv4),
        };
        sizes.in_mode(&protection.mode, outer_ipv4)
    }

    /// For an SA of AH in tunnel mode, of so many bytes of IV and integrity check value.
    pub const fn ah(iv_len: usize, icv_len: usize, align: AhAlign, outer_ipv4: bool) -> Self {
        Self {
            outer: ip_header(outer_ipv4),
            header: AhHeader::padded_len(iv_len.saturating_add(icv_len), align, outer_ipv4),
            align: 1,
            trailer: 0,
            icv: 0,
            stripped: 0,
            pad_to: 0,
        }
    }

    /// The same in another mode.
    #[must_use]
    pub const fn in_mode(self, mode: &Mode, outer_ipv4: bool) -> Self {
        match mode {
            Mode::Tunnel(tunnel) if self.trailer > 0 => {
                Self { stripped: 0, pad_to: tunnel.pad_to as usize, ..self }
            }
            Mode::Tunnel(_) => Self { stripped: 0, pad_to: 0, ..self },
            Mode::Transport { .. } => Self { stripped: ip_header(outer_ipv4), pad_to: 0, ..self },
            Mode::Beet(inner) => {
                Self { stripped: ip_header(inner.remote.is_ipv4()), pad_to: 0, ..self }
            }
        }
    }

    /// For an SA of ESP in tunnel mode.
    pub const fn new(shape: &Shape, encapsulation: Encapsulation, outer_ipv4: bool) -> Self {
        let udp = match encapsulation {
            Encapsulation::Ip => 0,
            Encapsulation::Udp => UdpHeader::LEN,
        };
        let block = shape.block_len;
        Self {
            outer: ip_header(outer_ipv4).saturating_add(udp),
            header: EspHeader::LEN.saturating_add(shape.iv_len),
            align: if block > padding::MIN_ALIGN { block } else { padding::MIN_ALIGN },
            trailer: EspTrailer::LEN,
            icv: shape.icv_len,
            stripped: 0,
            pad_to: 0,
        }
    }

    /// The same with AH around it, in transport mode: its header comes between the outer IP header and that of ESP.
    #[must_use]
    pub const fn inside(self, ah: &Self) -> Self {
        Self { header: self.header.saturating_add(ah.header), ..self }
    }

    /// Room that sealing needs before the packet.
    pub const fn headroom(&self) -> usize {
        self.front().saturating_sub(self.stripped)
    }

    /// Outer headers, and the header of ESP or AH.
    const fn front(&self) -> usize {
        self.outer.saturating_add(self.header)
    }

    /// Padding behind a packet of `len` bytes that hides its length.
    pub(crate) const fn hidden(&self, len: usize) -> usize {
        self.pad_to.saturating_sub(len)
    }

    /// Room that sealing may need behind a packet of any length.
    pub const fn tailroom(&self) -> usize {
        let padding = self.align.saturating_sub(1).saturating_add(self.pad_to);
        padding.saturating_add(self.trailer).saturating_add(self.icv)
    }

    /// Room that sealing needs behind a packet of `len` bytes.
    pub const fn tailroom_for(&self, len: usize) -> usize {
        let hidden = self.hidden(len);
        let payload = len.saturating_add(hidden).saturating_sub(self.stripped);
        let padding = padding::pad_len(payload.saturating_add(self.trailer), self.align);
        hidden.saturating_add(padding).saturating_add(self.trailer).saturating_add(self.icv)
    }

    /// The length of the outer packet around a packet of `len` bytes.
    pub const fn sealed_len(&self, len: usize) -> usize {
        let payload = len.saturating_sub(self.stripped);
        self.front().saturating_add(payload).saturating_add(self.tailroom_for(len))
    }

    /// The longest packet whose outer packet has at most `path_mtu` bytes; 0 if there is none.
    pub const fn effective_mtu(&self, path_mtu: usize) -> usize {
        let Some(text) = path_mtu.checked_sub(self.front().saturating_add(self.icv)) else {
            return 0;
        };
        let mask = self.align.saturating_sub(1);
        let Some(payload) = (text & !mask).checked_sub(self.trailer) else { return 0 };
        if payload < self.pad_to { 0 } else { payload.saturating_add(self.stripped) }
    }

    /// The largest TCP segment, options left out, that goes through without fragmentation: what the MSS option of a SYN
    /// should say at most (RFC 9293 section 3.7.1).
    pub const fn tcp_mss(&self, path_mtu: usize, inner_ipv4: bool) -> usize {
        let ip = if inner_ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN };
        self.effective_mtu(path_mtu).saturating_sub(ip).saturating_sub(TCP_HEADER)
    }
}

const fn ip_header(ipv4: bool) -> usize {
    if ipv4 { Ipv4Header::LEN } else { Ipv6Header::LEN }
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
    fn the_effective_mtu_in_every_mode() {
        use core::net::IpAddr;
        use ipsec_core::mode::{AddressPair, Tunnel};
        let (v4, v6) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]));
        let modes = [
            Mode::Tunnel(Tunnel { pad_to: 128, ..Tunnel::DEFAULT }),
            Mode::TRANSPORT,
            Mode::Beet(AddressPair { local: v4, remote: v4 }),
            Mode::Beet(AddressPair { local: v6, remote: v6 }),
        ];
        let ah = [AhAlign::Standard, AhAlign::Eight]
            .into_iter()
            .flat_map(|align| [true, false].map(|v4| (Overhead::ah(0, 12, align, v4), v4)));
        let esp = all().map(|o| (o, o.outer < Ipv6Header::LEN));
        for (overhead, v4) in esp.chain(ah) {
            for overhead in modes.map(|mode| overhead.in_mode(&mode, v4)) {
                for path_mtu in 300..700 {
                    let mtu = overhead.effective_mtu(path_mtu);
                    assert!(overhead.sealed_len(mtu) <= path_mtu, "{overhead:?} {path_mtu}");
                    assert!(overhead.sealed_len(mtu + 1) > path_mtu, "{overhead:?} {path_mtu}");
                }
                assert_eq!(overhead.effective_mtu(40), 0, "{overhead:?}");
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

//! The path MTU of each SA, as the network tells it (RFC 4301 section 8.2).
//!
//! Nobody vouches for an ICMP error. It is believed if it quotes the SPI and the addresses of an SA that sends there, and
//! a sequence number that was used lately; it only lowers the path MTU of this SA, not below a limit, and it is
//! forgotten after a while. So a forger who sees the traffic can slow it down for a while. Others would have to guess the
//! SPI: manual ones should be random.

use ipsec_core::crypto::Provider;
use ipsec_core::index::HashIndex;
use ipsec_core::sa::{Encapsulation, OutboundSa, Transform};
use ipsec_core::time::Instant;
use ipsec_esp::icmp::TooBig;
use ipsec_ike::event::ChildRef;

use crate::gateway::Gateway;
use crate::tunnel::PairSlot;

/// Memory for the path MTU of one pair of SAs. All zero is empty.
#[derive(Clone, Copy, Debug)]
pub struct PathMtuSlot {
    /// The SPI that it is found by.
    spi: u32,
    /// In bytes; 0 if nothing was learned.
    mtu: u32,
    /// When it is forgotten.
    until: Instant,
}

impl PathMtuSlot {
    /// Nothing.
    pub const EMPTY: Self = Self { spi: 0, mtu: 0, until: Instant::ZERO };
}

/// How many packets may have been sent since the one that was too big.
const LATELY: u32 = 1 << 14;

/// The least MTU of a link of IPv6 (RFC 8200 section 5).
const LEAST_V6: usize = 1280;

/// What is known of the paths of SAs, by the number of their pair.
pub(crate) struct PathMtus<'r> {
    slots: &'r mut [PathMtuSlot],
    /// By the SPI of the SA to send on. An SA that is gone may still be in it.
    index: HashIndex<'r>,
}

impl<'r> PathMtus<'r> {
    pub(crate) fn new(slots: &'r mut [PathMtuSlot], links: &'r mut [u32]) -> Self {
        slots.fill(PathMtuSlot::EMPTY);
        let (buckets, next) = links.split_at_mut_checked(slots.len()).unwrap_or_default();
        Self { slots, index: HashIndex::new(buckets, next) }
    }

    /// What was learned of the path of a pair, in bytes.
    pub(crate) fn of(&self, now: Instant, number: u32) -> Option<usize> {
        let slot = self.slots.get(number as usize)?;
        (slot.mtu > 0 && now < slot.until).then_some(slot.mtu as usize)
    }

    /// A pair has a new SA to send on. Nothing is known of its path.
    pub(crate) fn installed(&mut self, number: u32, spi: u32) {
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        self.index.remove(key(slot.spi), number);
        *slot = PathMtuSlot { spi, ..PathMtuSlot::EMPTY };
        self.index.insert(key(spi), number);
    }

    /// Another pair takes the place of one, on the same path.
    pub(crate) fn inherited(&mut self, from: usize, to: u32) {
        let Some(PathMtuSlot { mtu, until, .. }) = self.slots.get(from).copied() else { return };
        if let Some(slot) = self.slots.get_mut(to as usize) {
            (slot.mtu, slot.until) = (mtu, until);
        }
    }

    /// The path of a pair is another one.
    pub(crate) fn moved(&mut self, number: u32) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.mtu = 0;
        }
    }
}

impl<'r, P: Provider> Gateway<'r, P> {
    /// Lends memory for path MTUs that [`Gateway::handle_too_big`] learns: a slot for each child SA and each manual pair,
    /// and two links for each slot.
    pub fn learn_path_mtu(&mut self, slots: &'r mut [PathMtuSlot], links: &'r mut [u32]) {
        let numbers = 0..u32::try_from(slots.len()).unwrap_or(u32::MAX);
        self.path_mtus = PathMtus::new(slots, links);
        for number in numbers {
            let outbound = self.tunnels.pair(number).and_then(PairSlot::outermost);
            if let Some(sa) = outbound.and_then(|id| self.sad.outbound(id)) {
                self.path_mtus.installed(number, sa.protection.spi.get());
            }
        }
    }

    /// Takes an ICMP error from the unprotected network, a whole IP packet: "fragmentation needed", or "packet too big",
    /// about an ESP or AH packet of ours. Gives the path MTU of its SA, in bytes, if it was believed and is less than
    /// it was. The next packets that do not fit are refused with [`OutboundError::TooBig`](crate::OutboundError::TooBig).
    ///
    /// It is at least [`GatewayConfig::least_path_mtu`](crate::GatewayConfig::least_path_mtu), and is forgotten after
    /// [`GatewayConfig::path_mtu_kept`](crate::GatewayConfig::path_mtu_kept), or when the peer moves (RFC 4301 section
    /// 8.2.2). Nothing is believed without [`Gateway::learn_path_mtu`].
    pub fn handle_too_big(&mut self, now: Instant, packet: &[u8]) -> Option<usize> {
        let told = TooBig::parse(packet)?;
        let number = self.path_mtus.index.find(key(told.spi.get())).find(|number| {
            let outbound = self.tunnels.pair(*number).and_then(PairSlot::outermost);
            outbound.and_then(|id| self.sad.outbound(id)).is_some_and(|sa| is_about(&told, sa))
        })?;
        let least = if told.destination.is_ipv4() { 0 } else { LEAST_V6 };
        let mtu = usize::from(told.mtu).max(least).max(self.least_path_mtu);
        if mtu >= self.path_mtu_of(now, number) {
            return None;
        }
        let until = now.after(self.path_mtu_kept);
        let slot = self.path_mtus.slots.get_mut(number as usize)?;
        (slot.mtu, slot.until) = (u32::try_from(mtu).ok()?, until);
        Some(mtu)
    }

    /// The longest outer packet that the path of a tunnel carries, as far as it is known, in bytes; `None` while the
    /// tunnel is down.
    pub fn path_mtu(&self, now: Instant, config: ChildRef) -> Option<usize> {
        let (number, _) = self.tunnels.current(self.tunnels.number(config)?)?;
        Some(self.path_mtu_of(now, number))
    }

    /// The longest packet that goes through a tunnel without being fragmented, in bytes; `None` while the tunnel is down.
    pub fn effective_mtu(&self, now: Instant, config: ChildRef) -> Option<usize> {
        Some(self.overhead(config)?.effective_mtu(self.path_mtu(now, config)?))
    }

    /// What the MSS option of a SYN through a tunnel should say at most; `None` while the tunnel is down.
    pub fn tcp_mss(&self, now: Instant, config: ChildRef, inner_ipv4: bool) -> Option<usize> {
        Some(self.overhead(config)?.tcp_mss(self.path_mtu(now, config)?, inner_ipv4))
    }

    /// The path MTU of a pair.
    pub(crate) fn path_mtu_of(&self, now: Instant, number: u32) -> usize {
        self.path_mtus.of(now, number).map_or(self.path_mtu, |learned| learned.min(self.path_mtu))
    }
}

/// What an SPI is found by. Peers choose them, and some count in steps: their low bits alone do not tell them apart.
fn key(spi: u32) -> u64 {
    u64::from(spi).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Whether an error is about a packet of an SA.
fn is_about<P: Provider>(told: &TooBig, sa: &OutboundSa<P>) -> bool {
    let protection = &sa.protection;
    let path = &protection.path;
    let ports = match protection.encapsulation {
        Encapsulation::Ip => None,
        Encapsulation::Udp => Some((path.local.port, path.remote.port)),
    };
    let lately = match told.sequence {
        Some(sequence) => {
            let [.., a, b, c, d] = sa.sequence().to_be_bytes();
            let ago = u32::from_be_bytes([a, b, c, d]).wrapping_sub(sequence);
            ago < LATELY && u64::from(ago) < sa.sequence()
        }
        // RFC 792 asks routers to quote eight bytes. Those of ESP have the number, and those of AH end before it.
        None => matches!(protection.transform, Transform::Ah(_)),
    };
    protection.spi == told.spi
        && path.local.address == told.source
        && path.remote.address == told.destination
        && ports == told.ports
        && lately
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn spis_that_share_their_low_bits_do_not_share_a_bucket() {
        for step in [1, 1 << 8, 1 << 16, 1 << 24] {
            let (mut slots, mut links) = (vec![PathMtuSlot::EMPTY; 256], vec![0; 512]);
            let mut known = PathMtus::new(&mut slots, &mut links);
            let spi = |number: u32| number.wrapping_mul(step).wrapping_add(step);
            (0..256).for_each(|number| known.installed(number, spi(number)));
            for number in 0..256 {
                let met = known.index.find(key(spi(number)));
                assert!(met.take(8).any(|found| found == number), "{step} {number}");
            }
            // A new SPI in the place of each.
            (0..256).for_each(|number| known.installed(number, !spi(number)));
            for number in 0..256 {
                assert!(known.index.find(key(!spi(number))).any(|found| found == number));
                assert!(known.index.find(key(spi(number))).count() <= 8);
            }
        }
    }
}

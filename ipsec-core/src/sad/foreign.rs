//! Inbound SAs at SPIs that somebody else chose: manual, imported and multicast ones (RFC 4301 section 4.1).
//!
//! Their SPIs do not carry a slot, so they are found through a hash index in memory that was lent for it
//! ([`SadMemory::foreign`](super::SadMemory::foreign)). A look-up costs one hash for a unicast packet whose SPI is not one of
//! ours, and up to two more for a multicast packet, however many SAs there are. The hash has no key: whoever installs SAs
//! is trusted, and a packet can only ask.

use core::net::IpAddr;

use super::{InboundId, InboundState, InstallError, Sad, check_inbound};
use crate::crypto::Provider;
use crate::path::Path;
use crate::sa::{Encapsulation, Protocol, SaParams, Spi};
use crate::spd::{mix, mix_wide};
use crate::time::Instant;

/// By what the packets of an inbound SA are found whose SPI we did not choose. Two SAs of the same protocol may share an
/// SPI if they are found by different things; the longest match counts (RFC 4301 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum FoundBy {
    /// SPI and protocol: a unicast SA.
    Spi = 1,
    /// SPI and destination: a multicast SA for the group [`Path::local`], whoever sends. Its senders share the sequence
    /// numbers, or it has no anti-replay window (RFC 4303 section 2.2).
    Destination = 2,
    /// SPI, destination and source: a multicast SA for the group [`Path::local`], sent by [`Path::remote`].
    DestinationAndSource = 3,
}

impl FoundBy {
    /// What a slot stores of an SA at an SPI of our own.
    pub(super) const SLOT: u8 = 0;
    /// What it stores of one that no packet finds.
    pub(super) const NOTHING: u8 = 4;

    pub(super) const fn of(stored: u8) -> Option<Self> {
        match stored {
            1 => Some(Self::Spi),
            2 => Some(Self::Destination),
            3 => Some(Self::DestinationAndSource),
            _ => None,
        }
    }

    fn hash(self, protocol: Protocol, spi: Spi, path: &Path) -> u64 {
        let hash = mix(u64::from(self as u8), spi.get().into());
        let hash = match self {
            Self::Spi => mix(hash, protocol.number().into()),
            Self::Destination => mix_wide(hash, wide(path.local.address)),
            Self::DestinationAndSource => {
                mix_wide(mix_wide(hash, wide(path.local.address)), wide(path.remote.address))
            }
        };
        hash >> 32
    }

    /// Whether these are of the same SA, as far as the SA is found by them.
    fn same(self, (protocol, path): (Protocol, &Path), (other, by): (Protocol, &Path)) -> bool {
        match self {
            Self::Spi => protocol == other,
            // RFC 4301 section 4.1: the protocol does not matter for multicast SAs.
            Self::Destination => path.local.address == by.local.address,
            Self::DestinationAndSource => {
                path.local.address == by.local.address && path.remote.address == by.remote.address
            }
        }
    }
}

impl<P: Provider> Sad<'_, P> {
    /// Installs an SA to receive on, at an SPI that was not reserved here: a manual, an imported or a multicast one.
    ///
    /// The SPIs 0 to 255 are no [`Spi`]. Once installed, packets, handles and events are those of any other SA.
    ///
    /// # Errors
    /// [`InstallError::NoIndex`] if no memory was lent for it; [`InstallError::Spi`] if another SA is found by the same, or
    /// the SPI is reserved; [`InstallError::Group`] if a multicast SA is not for a group, or is in UDP.
    pub fn install_inbound_as(
        &mut self,
        now: Instant,
        params: &SaParams<'_>,
        found_by: FoundBy,
    ) -> Result<InboundId, InstallError> {
        check_inbound(params, self.max_window())?;
        if found_by != FoundBy::Spi && !is_group(params, found_by) {
            return Err(InstallError::Group);
        }
        if self.foreign.capacity() < self.inbound.len() {
            return Err(InstallError::NoIndex);
        }
        let protocol = params.protection.protocol();
        let taken = match found_by {
            FoundBy::Spi => {
                self.is_reserved(params.spi)
                    || self.lookup(protocol, params.spi).is_some()
                    || self.hidden(protocol, params.spi).is_some()
            }
            _ => self.probe(found_by, protocol, params.spi, &params.path).is_some(),
        };
        if taken {
            return Err(InstallError::Spi);
        }
        let number = self.free_inbound.first().ok_or(InstallError::Full)?;
        let id = self.fill_inbound(now, number, params, found_by as u8)?;
        let _ = self.free_inbound.pop();
        self.foreign.insert(found_by.hash(protocol, params.spi, &params.path), number);
        Ok(id)
    }

    /// The name of the [receiver](Sad::receiver) of a packet.
    pub fn find(&self, protocol: Protocol, spi: Spi, path: &Path) -> Option<InboundId> {
        self.receiver(protocol, spi, path).map(|receiver| receiver.id)
    }

    /// Hides an SA at an SPI of our own from packets, or shows it again: its packets are only taken from inside of another
    /// SA's. Until it is shown, nothing of it is looked at, and so neither window nor counter changes, and it is not
    /// [exported](Sad::export). Says whether there is such an SA.
    pub fn hide_inbound(&mut self, id: InboundId, hidden: bool) -> bool {
        let Some(slot) = self.inbound_slot(id) else { return false };
        let ours = matches!(slot.found_by, FoundBy::SLOT | FoundBy::NOTHING);
        let live = matches!(slot.state, InboundState::Live(_));
        if ours && live {
            slot.found_by = if hidden { FoundBy::NOTHING } else { FoundBy::SLOT };
        }
        ours && live
    }

    /// The [hidden](Sad::hide_inbound) SA of this protocol with this SPI.
    pub fn hidden(&self, protocol: Protocol, spi: Spi) -> Option<InboundId> {
        let number = self.slot_of(spi);
        let slot = self.inbound.get(number as usize)?;
        let InboundState::Live(sa) = &slot.state else { return None };
        let same = slot.found_by == FoundBy::NOTHING
            && sa.protection.spi == spi
            && sa.protection.protocol() == protocol;
        same.then_some(InboundId { slot: number, generation: slot.generation })
    }

    #[inline(never)]
    pub(super) fn find_group(
        &self,
        protocol: Protocol,
        spi: Spi,
        path: &Path,
    ) -> Option<InboundId> {
        self.probe(FoundBy::DestinationAndSource, protocol, spi, path)
            .or_else(|| self.probe(FoundBy::Destination, protocol, spi, path))
    }

    /// Whether a unicast SA of either protocol has an SPI that we did not choose.
    pub(super) fn is_foreign(&self, spi: Spi) -> bool {
        [Protocol::Esp, Protocol::Ah].iter().any(|p| self.lookup_foreign(*p, spi).is_some())
    }

    /// A unicast SA at an SPI that we did not choose.
    #[inline(never)]
    pub(super) fn lookup_foreign(&self, protocol: Protocol, spi: Spi) -> Option<InboundId> {
        self.probe(FoundBy::Spi, protocol, spi, &Path::UNSPECIFIED)
    }

    /// Takes the SA of a slot, which is still there, out of the index.
    pub(super) fn forget_foreign(&mut self, number: u32) {
        let Some(slot) = self.inbound.get(number as usize) else { return };
        if let (InboundState::Live(sa), Some(by)) = (&slot.state, FoundBy::of(slot.found_by)) {
            let protection = &sa.protection;
            let hash = by.hash(protection.protocol(), protection.spi, &protection.path);
            self.foreign.remove(hash, number);
        }
    }

    fn probe(&self, by: FoundBy, protocol: Protocol, spi: Spi, path: &Path) -> Option<InboundId> {
        let mut slots = self.foreign.find(by.hash(protocol, spi, path));
        slots.find_map(|number| {
            let slot = self.inbound.get(number as usize)?;
            let InboundState::Live(sa) = &slot.state else { return None };
            let p = &sa.protection;
            let same = slot.found_by == by as u8
                && p.spi == spi
                && by.same((p.protocol(), &p.path), (protocol, path));
            same.then_some(InboundId { slot: number, generation: slot.generation })
        })
    }
}

/// Whether the path is that of a multicast SA. Such an SA is not in UDP, whose receivers would take it for a peer that
/// moves.
fn is_group(params: &SaParams<'_>, found_by: FoundBy) -> bool {
    let Path { local, remote } = params.path;
    let source = found_by != FoundBy::DestinationAndSource
        || local.address.is_ipv4() == remote.address.is_ipv4() && !remote.address.is_multicast();
    local.address.is_multicast() && source && params.encapsulation == Encapsulation::Ip
}

fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec;

    use crate::path::Endpoint;

    /// The most SAs that fall into one of `count` buckets.
    fn longest_chain(count: u32, key: impl Fn(u32) -> (FoundBy, Spi, Path)) -> u32 {
        let mut buckets = vec![0; count as usize];
        for i in 0..count {
            let (by, spi, path) = key(i);
            let bucket = by.hash(Protocol::Esp, spi, &path) & u64::from(count - 1);
            buckets[usize::try_from(bucket).unwrap()] += 1;
        }
        buckets.into_iter().max().unwrap()
    }

    #[test]
    fn numbers_that_people_choose_spread_over_the_buckets() {
        let spi = |number| Spi::new(number).unwrap();
        for count in [16, 1024, 131_072] {
            for stride in [1, 2, 3, 0x10, 0x100, 0x111, 1000, 0x4000] {
                let by_spi = |i| (FoundBy::Spi, spi(256 + i * stride), Path::UNSPECIFIED);
                assert!(longest_chain(count, by_spi) <= 10, "{count} {stride}");
            }
            let end = |high: u32, i: u32| Endpoint::new((high + i).to_be_bytes().into(), 0);
            let groups = |i| {
                let path = Path::new(end(0xef00_0000, i), Endpoint::UNSPECIFIED);
                (FoundBy::Destination, spi(256), path)
            };
            assert!(longest_chain(count, groups) <= 10, "{count}");
            let sources = |i| {
                let path = Path::new(end(0xe800_0000, 0), end(0x0a00_0000, i));
                (FoundBy::DestinationAndSource, spi(256), path)
            };
            assert!(longest_chain(count, sources) <= 10, "{count}");
        }
    }
}

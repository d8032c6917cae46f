//! Several databases, one for each worker thread.

use crate::sa::Spi;

/// Which of several databases one is. The SPIs that it reserves carry its number in their lowest bits, below that of
/// their slot, so that whoever receives packets can hand each to the thread whose database has its SA.
///
/// Each thread owns a [`Sad`](super::Sad) and shares nothing of it. Whoever negotiates, and needs an
/// [`SpiAllocator`](super::SpiAllocator), asks the database of a shard of its choice, behind a lock that is taken for
/// this alone, or keeps SPIs that the threads reserved in advance. Outbound, a packet goes to the thread that has the SA
/// of its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shard {
    number: u8,
    bits: u32,
}

impl Shard {
    /// The only one.
    pub const ALONE: Self = Self { number: 0, bits: 0 };

    /// Number `number`, from 0, of `count`; `None` if there are not as many.
    pub const fn new(number: u8, count: u8) -> Option<Self> {
        if number < count { Some(Self { number, bits: bits_for(count) }) } else { None }
    }

    /// The number of the shard, of `count`, that has the inbound SA with this SPI. An SPI that was not
    /// [reserved](super::SpiAllocator::reserve) is to be installed there too.
    pub const fn of(spi: Spi, count: u8) -> u8 {
        let [.., low] = spi.to_be_bytes();
        let number = match u8::MAX.checked_shr(8u32.saturating_sub(bits_for(count))) {
            Some(mask) => low & mask,
            None => 0,
        };
        if number < count { number } else { number.saturating_sub(count) }
    }

    /// The low bits of the SPI of this slot.
    pub(super) const fn low_bits(self, slot: u32) -> u32 {
        slot.wrapping_shl(self.bits) | self.number as u32
    }

    /// The slot whose number an SPI carries, if it is one of this shard.
    pub(super) const fn slot(self, spi: Spi, slot_mask: u32) -> u32 {
        spi.get().wrapping_shr(self.bits) & slot_mask
    }

    /// Which bits of an SPI are not random.
    pub(super) const fn low_mask(self, slot_mask: u32) -> u32 {
        slot_mask.wrapping_shl(self.bits) | 1u32.wrapping_shl(self.bits).wrapping_sub(1)
    }
}

/// How many bits hold the numbers below `count`.
const fn bits_for(count: u8) -> u32 {
    8u32.saturating_sub(count.saturating_sub(1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_finds_its_own_spis() {
        for count in 1..=u8::MAX {
            for number in 0..count {
                let shard = Shard::new(number, count).unwrap();
                for slot in [0, 1, 7, 1000] {
                    let spi = Spi::new(shard.low_bits(slot) | 0xa000_0000).unwrap();
                    assert_eq!(Shard::of(spi, count), number);
                    assert_eq!(shard.slot(spi, 1023), slot);
                    assert_eq!(shard.low_bits(slot) & !shard.low_mask(1023), 0);
                }
            }
            assert_eq!(Shard::new(count, count), None);
        }
    }

    #[test]
    fn every_spi_has_a_shard() {
        for count in 1..=u8::MAX {
            assert!((256..1024).all(|n| Shard::of(Spi::new(n).unwrap(), count) < count));
        }
        assert_eq!(Shard::of(Spi::new(u32::MAX).unwrap(), 1), 0);
    }
}

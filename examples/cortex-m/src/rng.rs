//! Random numbers for a demonstration. NOT FOR PRODUCTS: whoever reads this file knows every key.

use core::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// A counter, mixed (SplitMix64). A product gives the library its hardware's generator, or a CSPRNG seeded by it.
pub struct PredictableRng(pub u64);

impl TryRng for PredictableRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|n| (n >> 32) as u32)
    }

    #[inline(never)]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }

    #[inline(never)]
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            let random = self.try_next_u64()?.to_le_bytes();
            chunk.iter_mut().zip(random).for_each(|(byte, random)| *byte = random);
        }
        Ok(())
    }
}

/// It is none. The library asks for a type that says it is.
impl TryCryptoRng for PredictableRng {}

//! A provider whose cipher leaves the packet as it is, so that only what is around it takes time.

use std::hint::black_box;

use ipsec_core::crypto::{
    CryptoError, Group, HashId, Integ, PacketCipher, PrfId, Provider, Suite, Work,
};
use ipsec_testkit::toy::{Toy, ToyKx, ToyMac, ToyPrf};

/// The provider.
pub enum NoCipher {}

/// Its cipher.
pub struct Nothing;

impl PacketCipher for Nothing {
    fn new(_: Suite, _: &[u8], _: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self)
    }

    fn unpredictable_iv(&self, _: u64, _: &mut [u8]) -> Result<(), CryptoError> {
        Ok(())
    }

    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        black_box(&work);
        Ok(())
    }

    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        black_box(&work);
        Ok(())
    }
}

impl Provider for NoCipher {
    type Cipher = Nothing;
    type Mac = ToyMac;
    type Prf = ToyPrf;
    type Kx = ToyKx;

    const SUITES: &'static [Suite] = Toy::SUITES;
    const INTEGS: &'static [Integ] = Toy::INTEGS;
    const PRFS: &'static [PrfId] = Toy::PRFS;
    const GROUPS: &'static [Group] = Toy::GROUPS;

    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        Toy::hash(id, parts, out)
    }
}

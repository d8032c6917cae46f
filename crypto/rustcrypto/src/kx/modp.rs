//! Diffie-Hellman modulo a safe prime, with generator 2: RFC 3526.

use core::marker::PhantomData;

use crypto_bigint::Uint;
use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use ipsec_core::crypto::CryptoError;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Initiator;
use crate::number::{decode, encode};

#[path = "modp_groups.rs"]
mod groups;

pub(crate) use groups::*;

/// A private exponent of `EXPONENT` bytes modulo the prime of `P`, which has `LEN` bytes. Wiped on drop.
pub(crate) struct Private<P, const LIMBS: usize, const LEN: usize, const EXPONENT: usize> {
    exponent: Zeroizing<[u8; EXPONENT]>,
    group: PhantomData<P>,
}

impl<P, const LIMBS: usize, const LEN: usize, const EXPONENT: usize>
    Private<P, LIMBS, LEN, EXPONENT>
where
    P: ConstMontyParams<LIMBS>,
{
    /// Almost Montgomery multiplication takes two thirds of the stack of the plain kind. Its results are below 2^n and not
    /// always below p until the end, where p is subtracted at most twice: here p is above 2^(n-1), so once is enough.
    fn power(&self, base: &Uint<LIMBS>) -> Zeroizing<Uint<LIMBS>> {
        let base = ConstMontyForm::<P, LIMBS>::new(base);
        let exponent = Zeroizing::new(decode(&*self.exponent));
        let power = Zeroizing::new(base.pow_amm_bounded_exp(&exponent, Self::EXPONENT_BITS));
        Zeroizing::new(power.retrieve())
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 512")]
    const EXPONENT_BITS: u32 = EXPONENT as u32 * 8;
}

impl<P, const LIMBS: usize, const LEN: usize, const EXPONENT: usize> Initiator
    for Private<P, LIMBS, LEN, EXPONENT>
where
    P: ConstMontyParams<LIMBS>,
{
    type Secret = Zeroizing<[u8; LEN]>;

    fn generate(rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        let mut exponent = Zeroizing::new([0; EXPONENT]);
        rng.fill_bytes(&mut *exponent);
        // The top bit is set: the exponent has its full length, and is neither 0 nor so small that g^x is below p.
        if let Some(top) = exponent.first_mut() {
            *top |= 0x80;
        }
        Ok(Self { exponent, group: PhantomData })
    }

    // RFC 7296 section 3.4: the public value is as long as the prime, zeros prepended.
    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        let out = out.get_mut(..LEN).ok_or(CryptoError::Length)?;
        encode(&self.power(&Uint::from_u8(2)), out);
        Ok(LEN)
    }

    // RFC 7296 section 2.14: so is the secret.
    fn agree(&self, peer: &[u8]) -> Result<Self::Secret, CryptoError> {
        let peer = <&[u8; LEN]>::try_from(peer).map_err(|_| CryptoError::PeerValue)?;
        let peer = parse::<P, LIMBS>(peer).ok_or(CryptoError::PeerValue)?;
        let mut secret = Zeroizing::new([0; LEN]);
        encode(&self.power(&peer), &mut *secret);
        Ok(secret)
    }
}

/// A public value `y`, if 1 < y < p-1 (RFC 6989 section 2.1). The prime is safe, so that these are all the values whose
/// order is not small.
fn parse<P: ConstMontyParams<LIMBS>, const LIMBS: usize>(peer: &[u8]) -> Option<Uint<LIMBS>> {
    let value = decode(peer);
    let last = P::PARAMS.modulus().wrapping_sub(&Uint::ONE);
    (value > Uint::ONE && value < last).then_some(value)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use crypto_bigint::Limb;

    /// The two ways of exponentiation agree, at the ends of the range of bases and in between.
    fn almost_montgomery_is_montgomery<
        P: ConstMontyParams<LIMBS>,
        const LIMBS: usize,
        const LEN: usize,
        const EXPONENT: usize,
    >(
        _: PhantomData<Private<P, LIMBS, LEN, EXPONENT>>,
        rounds: usize,
    ) {
        assert_eq!(LEN, LIMBS * Limb::BYTES);
        let p = P::PARAMS.modulus().get();
        assert_eq!(p.bits() as usize, LEN * 8);
        let mut base = Uint::from_u8(2);
        let mut exponent = [0xff; EXPONENT];
        for _ in 0..rounds {
            for base in [base, p.wrapping_sub(&base)] {
                let private = Private::<P, LIMBS, LEN, EXPONENT> {
                    exponent: Zeroizing::new(exponent),
                    group: PhantomData,
                };
                let plain = ConstMontyForm::<P, LIMBS>::new(&base);
                let exponent: Uint<LIMBS> = decode(&exponent);
                let plain = plain.pow_bounded_exp(&exponent, EXPONENT as u32 * 8);
                assert_eq!(*private.power(&base), plain.retrieve());
            }
            base = base.square_mod_vartime(P::PARAMS.modulus().as_nz_ref());
            exponent.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(251).wrapping_add(3));
        }
    }

    #[test]
    fn almost_montgomery_is_montgomery_in_every_group() {
        almost_montgomery_is_montgomery(PhantomData::<Modp2048>, 10);
        almost_montgomery_is_montgomery(PhantomData::<Modp3072>, 1);
        almost_montgomery_is_montgomery(PhantomData::<Modp4096>, 1);
        almost_montgomery_is_montgomery(PhantomData::<Modp6144>, 1);
        almost_montgomery_is_montgomery(PhantomData::<Modp8192>, 1);
        #[cfg(feature = "legacy")]
        {
            almost_montgomery_is_montgomery(PhantomData::<Modp768>, 10);
            almost_montgomery_is_montgomery(PhantomData::<Modp1024>, 10);
            almost_montgomery_is_montgomery(PhantomData::<Modp1536>, 10);
        }
    }
}

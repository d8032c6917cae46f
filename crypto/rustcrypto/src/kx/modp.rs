//! Diffie-Hellman modulo a safe prime, with generator 2: RFC 3526.

use core::marker::PhantomData;

use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams, FixedMontyParams};
use crypto_bigint::{Limb, Odd, U256, U2048, Uint, Word};
use ipsec_core::crypto::CryptoError;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{DiffieHellman, Secret};

/// The 2048-bit group: RFC 3526 section 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modp2048;

impl Modp2048 {
    /// Words of a number modulo the prime.
    pub(crate) const LIMBS: usize = U2048::LIMBS;
}

impl ConstMontyParams<{ Self::LIMBS }> for Modp2048 {
    const LIMBS: usize = U2048::LIMBS;
    const PARAMS: FixedMontyParams<{ Self::LIMBS }> =
        FixedMontyParams::new_vartime(Odd::<U2048>::from_be_hex(concat!(
            "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
            "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
            "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
            "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
            "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
            "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
            "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
            "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
        )));
}

/// A private exponent modulo the prime of `P`. Wiped on drop.
///
/// RFC 3526 section 8 asks for exponents of twice the strength of the group, 220 to 320 bits for the 2048-bit group. One
/// of full length would cost eight times as much and gain nothing.
pub(crate) struct Private<P, const LIMBS: usize> {
    exponent: Zeroizing<U256>,
    group: PhantomData<P>,
}

impl<P: ConstMontyParams<LIMBS>, const LIMBS: usize> Private<P, LIMBS> {
    /// Bytes of the prime, and so of every public value and secret.
    const LEN: usize = LIMBS * Limb::BYTES;

    /// Almost Montgomery multiplication takes two thirds of the stack of the plain kind. Its results are below 2^n and not
    /// always below p until the end, where p is subtracted at most twice: here p is above 2^(n-1), so once is enough.
    fn power(&self, base: &Uint<LIMBS>) -> Zeroizing<Uint<LIMBS>> {
        let base = ConstMontyForm::<P, LIMBS>::new(base);
        let exponent = Zeroizing::new(self.exponent.resize::<LIMBS>());
        let power = Zeroizing::new(base.pow_amm_bounded_exp(&exponent, U256::BITS));
        Zeroizing::new(power.retrieve())
    }
}

impl<P: ConstMontyParams<LIMBS>, const LIMBS: usize> DiffieHellman for Private<P, LIMBS> {
    fn generate(rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        let mut draw = Zeroizing::new([0; U256::BYTES]);
        rng.fill_bytes(&mut *draw);
        // The top bit is set: the exponent has its full length, and is neither 0 nor so small that g^x is below p.
        if let Some(top) = draw.first_mut() {
            *top |= 0x80;
        }
        let exponent = Zeroizing::new(decode(&*draw).ok_or(CryptoError::Failed)?);
        Ok(Self { exponent, group: PhantomData })
    }

    // RFC 7296 section 3.4: the public value is as long as the prime, zeros prepended.
    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        let out = out.get_mut(..Self::LEN).ok_or(CryptoError::Length)?;
        encode(&self.power(&Uint::from_u8(2)), out);
        Ok(Self::LEN)
    }

    // RFC 7296 section 2.14: so is the secret.
    fn agree(&self, peer: &[u8]) -> Result<Secret, CryptoError> {
        let peer = parse::<P, LIMBS>(peer).ok_or(CryptoError::PeerValue)?;
        Secret::write(Self::LEN, |out| encode(&self.power(&peer), out))
    }
}

/// A public value `y`, if 1 < y < p-1 (RFC 6989 section 2.1). The prime is safe, so that these are all the values whose
/// order is not small.
fn parse<P: ConstMontyParams<LIMBS>, const LIMBS: usize>(peer: &[u8]) -> Option<Uint<LIMBS>> {
    let value = decode(peer)?;
    let last = P::PARAMS.modulus().wrapping_sub(&Uint::ONE);
    (value > Uint::ONE && value < last).then_some(value)
}

/// A number from exactly as many bytes as it has, the most significant first.
fn decode<const LIMBS: usize>(bytes: &[u8]) -> Option<Uint<LIMBS>> {
    let (words, []) = bytes.as_chunks::<{ Limb::BYTES }>() else { return None };
    if words.len() != LIMBS {
        return None;
    }
    let mut value = Uint::ZERO;
    for (limb, word) in value.as_mut_limbs().iter_mut().rev().zip(words) {
        *limb = Limb(Word::from_be_bytes(*word));
    }
    Some(value)
}

/// The bytes of a number, the most significant first.
fn encode<const LIMBS: usize>(value: &Uint<LIMBS>, out: &mut [u8]) {
    let (words, _) = out.as_chunks_mut::<{ Limb::BYTES }>();
    for (word, limb) in words.iter_mut().zip(value.as_limbs().iter().rev()) {
        *word = limb.0.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two ways of exponentiation agree, at the ends of the range of bases and in between.
    #[test]
    fn almost_montgomery_is_montgomery() {
        let p = Modp2048::PARAMS.modulus().get();
        let mut base = Uint::from_u8(2);
        let mut exponent = U256::MAX;
        for _ in 0..50 {
            for base in [base, p.wrapping_sub(&base)] {
                let private = Private::<Modp2048, { Modp2048::LIMBS }> {
                    exponent: Zeroizing::new(exponent),
                    group: PhantomData,
                };
                let plain = ConstMontyForm::<Modp2048, { Modp2048::LIMBS }>::new(&base);
                assert_eq!(*private.power(&base), plain.pow(&exponent).retrieve());
            }
            base = base.square_mod_vartime(Modp2048::PARAMS.modulus().as_nz_ref());
            exponent = exponent.wrapping_mul(&U256::from_u8(251));
        }
    }
}

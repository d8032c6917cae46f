//! RSA: RFC 8017, with moduli of 2048 to 4096 bits.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{NonZero, Odd, U1024, U1536, U2048, U3072, U4096, Uint};
use ipsec_core::bytes::Reader;
use ipsec_core::crypto::CryptoError;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::der;
use crate::number::{decode, encode};
use crate::select::{Select, Switch};

/// Bytes of the longest modulus.
pub(super) const MAX_LEN: usize = U4096::BYTES;

pub(super) type Private2048 = Private<{ U2048::LIMBS }, { U1024::LIMBS }>;
pub(super) type Private3072 = Private<{ U3072::LIMBS }, { U1536::LIMBS }>;
pub(super) type Private4096 = Private<{ U4096::LIMBS }, { U2048::LIMBS }>;

/// A public key, in the bytes that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Public<'a> {
    /// Without zeros in front; odd.
    modulus: &'a [u8],
    /// Odd, at least 3.
    exponent: u32,
}

/// The lengths of moduli that are compiled apart, since a longer one takes more stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Bits2048,
    Bits3072,
    Bits4096,
}

impl<'a> Public<'a> {
    /// Reads an RSAPublicKey (RFC 8017 appendix A.1.1).
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut key = Reader::new(der::sole(der, der::SEQUENCE)?);
        let public = Self::read(&mut key)?;
        key.is_empty().then_some(public)
    }

    /// Reads the two numbers. Moduli that are even, shorter than 2048 bits or longer than 4096 are refused, and so are exponents
    /// that are even, 1, or longer than 32 bits.
    fn read(key: &mut Reader<'a>) -> Option<Self> {
        let (modulus, exponent) = (der::unsigned(key)?, der::unsigned(key)?);
        let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        if !odd(modulus) || !odd(exponent) || exponent.len() > 4 {
            return None;
        }
        let exponent = exponent.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
        let public = Self { modulus, exponent };
        (exponent >= 3 && matches!(public.bits(), 2048..=4096)).then_some(public)
    }

    /// Bits of the modulus.
    pub(super) fn bits(&self) -> usize {
        let zeros = self.modulus.first().map_or(0, |first| first.leading_zeros());
        (self.modulus.len() * 8).saturating_sub(zeros as usize)
    }

    /// Bytes of the modulus, so of a signature.
    pub(super) const fn len(&self) -> usize {
        self.modulus.len()
    }

    pub(super) fn size(&self) -> Size {
        match self.bits() {
            0..=2048 => Size::Bits2048,
            2049..=3072 => Size::Bits3072,
            _ => Size::Bits4096,
        }
    }

    /// The message representative of a signature, which has exactly [`Public::len`] bytes (RFC 8017 section 5.2.2).
    pub(super) fn open<S: Select>(
        &self,
        signature: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        if signature.len() != self.len() {
            return Err(CryptoError::Signature);
        }
        match self.size() {
            Size::Bits2048 if S::Rsa2048::ON => open::<{ U2048::LIMBS }>(self, signature, out),
            Size::Bits3072 if S::Rsa3072::ON => open::<{ U3072::LIMBS }>(self, signature, out),
            Size::Bits4096 if S::Rsa4096::ON => open::<{ U4096::LIMBS }>(self, signature, out),
            _ => return Err(CryptoError::Unsupported),
        }
        .ok_or(CryptoError::Signature)
    }
}

#[inline(never)]
fn open<const LIMBS: usize>(key: &Public<'_>, signature: &[u8], out: &mut [u8]) -> Option<()> {
    let (modulus, signature) = (decode::<LIMBS>(key.modulus), decode(signature));
    if signature >= modulus {
        return None;
    }
    let params = FixedMontyParams::new_vartime(Odd::new(modulus).into_option()?);
    encode(&power(&FixedMontyForm::new(&signature, &params), key.exponent).retrieve(), out);
    Some(())
}

/// By squaring and multiplying alone: a public exponent is short, and a table of powers would take stack.
fn power<const LIMBS: usize>(base: &FixedMontyForm<LIMBS>, exponent: u32) -> FixedMontyForm<LIMBS> {
    let mut power = *base;
    for bit in (0..exponent.checked_ilog2().unwrap_or(0)).rev() {
        power = power.square();
        if exponent >> bit & 1 == 1 {
            power = power.mul(base);
        }
    }
    power
}

/// A private key with a modulus of at most `N` limbs and two primes of at most `P`. Wiped on drop.
pub(super) struct Private<const N: usize, const P: usize> {
    modulus: Odd<Uint<N>>,
    exponent: u32,
    /// Bits of the modulus.
    bits: usize,
    secret: Zeroizing<Secret<P>>,
}

/// The second representation of RFC 8017 section 3.2, for two primes.
#[derive(Zeroize)]
struct Secret<const P: usize> {
    p: Uint<P>,
    q: Uint<P>,
    /// The private exponents modulo p-1 and q-1.
    d_p: Uint<P>,
    d_q: Uint<P>,
    /// The inverse of q modulo p.
    q_inv: Uint<P>,
}

/// The numbers of an RSAPrivateKey, as bytes.
pub(super) struct PrivateParts<'a> {
    public: Public<'a>,
    /// p, q, d_p, d_q, q_inv.
    secret: [&'a [u8]; 5],
}

impl<'a> PrivateParts<'a> {
    /// Reads the contents of an RSAPrivateKey with two primes (RFC 8017 appendix A.1.2).
    pub(super) fn parse(contents: &'a [u8]) -> Option<Self> {
        let mut key = Reader::new(contents);
        der::unsigned(&mut key)?.is_empty().then_some(())?; // version 0
        let public = Public::read(&mut key)?;
        der::unsigned(&mut key)?; // the whole private exponent, which is not used
        let mut secret: [&[u8]; 5] = [&[]; 5];
        for number in &mut secret {
            *number = der::unsigned(&mut key)?;
        }
        key.is_empty().then_some(Self { public, secret })
    }

    pub(super) fn size(&self) -> Size {
        self.public.size()
    }
}

impl<const N: usize, const P: usize> Private<N, P> {
    /// Takes a key whose two primes have at most half as many bits as its size, and whose product is the modulus.
    #[inline(never)]
    pub(super) fn new(parts: &PrivateParts<'_>) -> Result<Self, CryptoError> {
        if parts.secret.iter().any(|number| number.len() > Uint::<P>::BYTES) {
            return Err(CryptoError::Key);
        }
        let [p, q, d_p, d_q, q_inv] = parts.secret.map(decode);
        let secret = Zeroizing::new(Secret { p, q, d_p, d_q, q_inv });
        let modulus = decode(parts.public.modulus);
        if secret.p.resize::<N>().wrapping_mul(&secret.q.resize::<N>()) != modulus {
            return Err(CryptoError::Key);
        }
        Ok(Self {
            modulus: Odd::new(modulus).into_option().ok_or(CryptoError::Key)?,
            exponent: parts.public.exponent,
            bits: parts.public.bits(),
            secret,
        })
    }

    pub(super) const fn bits(&self) -> usize {
        self.bits
    }

    /// Whether this is the other half.
    pub(super) fn fits(&self, public: &Public<'_>) -> bool {
        self.exponent == public.exponent
            && public.bits() == self.bits
            && decode(public.modulus) == self.modulus.get()
    }

    /// The signature of a message representative below the modulus, in its place (RFC 8017 section 5.2.1).
    ///
    /// What is raised to a secret power is blinded, so that its time tells nothing. The result is verified before anybody sees
    /// it: one that a fault made wrong modulo one prime only would tell the primes.
    pub(super) fn seal(
        &self,
        rng: &mut dyn CryptoRng,
        message: &mut [u8],
    ) -> Result<(), CryptoError> {
        let number = decode(message);
        if number >= self.modulus.get() {
            return Err(CryptoError::Length);
        }
        let signature = self.blinded(&number, rng).ok_or(CryptoError::Failed)?;
        if !self.is_signature(&signature, &number) {
            return Err(CryptoError::Failed);
        }
        encode(&signature, message);
        Ok(())
    }

    /// m^d = (m * r^e)^d / r modulo n, for a random r.
    #[inline(never)]
    fn blinded(&self, number: &Uint<N>, rng: &mut dyn CryptoRng) -> Option<Uint<N>> {
        let params = FixedMontyParams::new_vartime(self.modulus);
        let mut bytes = Zeroizing::new([0; MAX_LEN]);
        rng.fill_bytes(&mut *bytes);
        let random = Zeroizing::new(decode::<N>(bytes.get(..Uint::<N>::BYTES)?));
        let random = Zeroizing::new(random.rem(self.modulus.as_nz_ref()));
        let random = Zeroizing::new(FixedMontyForm::new(&random, &params));
        let inverse = Zeroizing::new(random.invert().into_option()?);
        let mask = Zeroizing::new(power(&random, self.exponent));
        let masked = mask.mul(&FixedMontyForm::new(number, &params)).retrieve();
        let signature = self.private(&masked)?;
        Some(FixedMontyForm::new(&signature, &params).mul(&inverse).retrieve())
    }

    /// m^d modulo n, from its remainders modulo the primes.
    #[inline(never)]
    fn private(&self, number: &Uint<N>) -> Option<Uint<N>> {
        let Secret { p, q, d_p, d_q, q_inv } = &*self.secret;
        let (s_p, s_q) = (private_power(number, p, d_p)?, private_power(number, q, d_q)?);
        combine(p, q, q_inv, &s_p, &s_q)
    }

    #[inline(never)]
    fn is_signature(&self, signature: &Uint<N>, number: &Uint<N>) -> bool {
        let params = FixedMontyParams::new_vartime(self.modulus);
        power(&FixedMontyForm::new(signature, &params), self.exponent).retrieve() == *number
    }
}

#[inline(never)]
fn private_power<const N: usize, const P: usize>(
    number: &Uint<N>,
    prime: &Uint<P>,
    exponent: &Uint<P>,
) -> Option<Zeroizing<Uint<P>>> {
    let remainder = Zeroizing::new(number.rem(&NonZero::new(*prime).into_option()?));
    let params = Zeroizing::new(FixedMontyParams::new(Odd::new(*prime).into_option()?));
    let base = Zeroizing::new(FixedMontyForm::new(&remainder, &params));
    let power = Zeroizing::new(base.pow_amm(exponent));
    Some(Zeroizing::new(power.retrieve()))
}

/// s_q + q * ((s_p - s_q) / q modulo p).
#[inline(never)]
fn combine<const N: usize, const P: usize>(
    p: &Uint<P>,
    q: &Uint<P>,
    q_inv: &Uint<P>,
    s_p: &Uint<P>,
    s_q: &Uint<P>,
) -> Option<Uint<N>> {
    let prime = NonZero::new(*p).into_option()?;
    let params = Zeroizing::new(FixedMontyParams::new(Odd::new(*p).into_option()?));
    let form = |value: &Uint<P>| {
        let value = Zeroizing::new(value.rem(&prime));
        Zeroizing::new(FixedMontyForm::new(&value, &params))
    };
    let difference = Zeroizing::new(form(s_p).sub(&form(s_q)));
    let quotient = Zeroizing::new(difference.mul(&form(q_inv)).retrieve());
    let product = quotient.resize::<N>().wrapping_mul(&q.resize::<N>());
    Some(product.wrapping_add(&s_q.resize::<N>()))
}

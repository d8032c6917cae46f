//! ML-KEM: FIPS 203, for IKEv2 draft-ietf-ipsecme-ikev2-mlkem. A key encapsulation mechanism: the responder's public value is
//! a ciphertext.

use core::marker::PhantomData;

use ipsec_core::bytes;
use ipsec_core::crypto::CryptoError;
use ml_kem::array::sizes::{U32, U64};
use ml_kem::kem::{
    Ciphertext, Decapsulator, Encapsulate, Kem, Key, KeyExport, KeyInit, KeySizeUser,
    TryDecapsulate, TryKeyInit,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Encapsulator, Initiator};

/// The two seeds of a key pair: the pair itself is thirty times as large, and is made again when it is needed. Wiped on drop.
pub(crate) struct Private<K>(Zeroizing<[u8; 64]>, PhantomData<fn() -> K>);

pub(crate) type MlKem512 = Private<ml_kem::MlKem512>;
pub(crate) type MlKem768 = Private<ml_kem::MlKem768>;
pub(crate) type MlKem1024 = Private<ml_kem::MlKem1024>;

impl<K> Private<K>
where
    K: Kem<SharedKeySize = U32>,
    K::DecapsulationKey: KeyInit + KeySizeUser<KeySize = U64>,
{
    // Neither this nor what is done with the result is inlined: each takes much stack, one after the other.
    #[inline(never)]
    fn pair(&self) -> K::DecapsulationKey {
        KeyInit::new(<&Key<K::DecapsulationKey>>::from(&*self.0))
    }
}

impl<K> Initiator for Private<K>
where
    K: Kem<SharedKeySize = U32>,
    K::DecapsulationKey: KeyInit + KeySizeUser<KeySize = U64>,
{
    type Secret = Zeroizing<[u8; 32]>;

    fn generate(rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        let mut seed = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *seed);
        Ok(Self(seed, PhantomData))
    }

    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        let pair = self.pair();
        let key = pair.encapsulation_key().to_bytes();
        bytes::copy_prefix(out, &key).ok_or(CryptoError::Length)?;
        Ok(key.len())
    }

    // FIPS 203 section 7.3: only the length can be wrong. What was not encapsulated for us gives a secret that nobody knows.
    fn agree(&self, peer: &[u8]) -> Result<Self::Secret, CryptoError> {
        let ciphertext = <&Ciphertext<K>>::try_from(peer).map_err(|_| CryptoError::PeerValue)?;
        decapsulate::<K>(&self.pair(), ciphertext)
    }
}

impl<K> Encapsulator for Private<K>
where
    K: Kem<SharedKeySize = U32>,
    K::DecapsulationKey: KeyInit + KeySizeUser<KeySize = U64>,
{
    // FIPS 203 section 7.2: a key of the wrong length, or with a number that is not below q, is refused.
    fn encapsulate(
        rng: &mut dyn CryptoRng,
        peer: &[u8],
        out: &mut [u8],
    ) -> Result<(Self::Secret, usize), CryptoError> {
        let key =
            <&Key<K::EncapsulationKey>>::try_from(peer).map_err(|_| CryptoError::PeerValue)?;
        encapsulate::<K>(&read::<K>(key)?, rng, out)
    }
}

#[inline(never)]
fn read<K: Kem>(key: &Key<K::EncapsulationKey>) -> Result<K::EncapsulationKey, CryptoError> {
    TryKeyInit::new(key).map_err(|_| CryptoError::PeerValue)
}

#[inline(never)]
fn encapsulate<K: Kem<SharedKeySize = U32>>(
    key: &K::EncapsulationKey,
    rng: &mut dyn CryptoRng,
    out: &mut [u8],
) -> Result<(Zeroizing<[u8; 32]>, usize), CryptoError> {
    let (ciphertext, secret) = key.encapsulate_with_rng(rng);
    let secret = Zeroizing::new(secret.into());
    bytes::copy_prefix(out, &ciphertext).ok_or(CryptoError::Length)?;
    Ok((secret, ciphertext.len()))
}

#[inline(never)]
fn decapsulate<K: Kem<SharedKeySize = U32>>(
    key: &K::DecapsulationKey,
    ciphertext: &Ciphertext<K>,
) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    let secret = key.try_decapsulate(ciphertext).map_err(|_| CryptoError::PeerValue)?;
    Ok(Zeroizing::new(secret.into()))
}

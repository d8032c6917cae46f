//! Ciphers with a separate MAC over the ciphertext (RFC 4303 section 3.3.2.1): CBC, CTR, and none at all.

use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit,
};
use ipsec_core::bytes::Writer;
use ipsec_core::crypto::{CryptoError, Work};

use crate::aes_key::{AesKey, Forward, apply, key_stream};
use crate::cipher::Packets;
use crate::mac::Auth;
use crate::select::Select;

/// CBC mode of some block cipher: RFC 3602, RFC 2405, RFC 2451.
pub(crate) struct Cbc<C, S: Select> {
    cipher: C,
    auth: Auth<S>,
}

/// AES in counter mode: RFC 3686.
pub(crate) struct Ctr<S: Select> {
    aes: AesKey<S, Forward>,
    auth: Auth<S>,
}

/// No encryption: RFC 2410.
pub(crate) struct Null<S: Select> {
    auth: Auth<S>,
}

impl<C, S: Select> Cbc<C, S> {
    pub(crate) const fn new(cipher: C, auth: Auth<S>) -> Self {
        Self { cipher, auth }
    }

    pub(crate) const fn cipher(&self) -> &C {
        &self.cipher
    }
}

impl<C, S> Packets for Cbc<C, S>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt,
    S: Select,
{
    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let iv =
            <&Array<u8, C::BlockSize>>::try_from(work.nonce).map_err(|_| CryptoError::Length)?;
        // Every length is known to be right before the first byte changes.
        self.auth.check_length(work.icv)?;
        let (blocks, rest) = Array::slice_as_chunks_mut(work.text);
        if !rest.is_empty() {
            return Err(CryptoError::Length);
        }
        cbc::Encryptor::inner_iv_init(&self.cipher, iv).encrypt_blocks(blocks);
        self.auth.sign(&[work.head, work.nonce, work.text, work.tail], work.icv)
    }

    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let iv =
            <&Array<u8, C::BlockSize>>::try_from(work.nonce).map_err(|_| CryptoError::Length)?;
        self.auth.check_length(work.icv)?;
        if !Array::<u8, C::BlockSize>::slice_as_chunks(work.text).1.is_empty() {
            return Err(CryptoError::Length);
        }
        self.auth.verify(&[work.head, work.nonce, work.text, work.tail], work.icv)?;
        let (blocks, _) = Array::slice_as_chunks_mut(work.text);
        cbc::Decryptor::inner_iv_init(&self.cipher, iv).decrypt_blocks(blocks);
        Ok(())
    }
}

impl<S: Select> Ctr<S> {
    pub(crate) fn new(key: &[u8], auth: Auth<S>) -> Result<Self, CryptoError> {
        Ok(Self { aes: AesKey::new(key)?, auth })
    }
}

impl<S: Select> Packets for Ctr<S> {
    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let (counter, iv) = counter(work.nonce)?;
        self.auth.check_length(work.icv)?;
        apply(key_stream(&self.aes, counter), work.text)?;
        self.auth.sign(&[work.head, iv, work.text, work.tail], work.icv)
    }

    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let (counter, iv) = counter(work.nonce)?;
        self.auth.verify(&[work.head, iv, work.text, work.tail], work.icv)?;
        apply(key_stream(&self.aes, counter), work.text)
    }
}

/// The first counter block (RFC 3686 section 4: salt, IV, and a counter from 1), and the IV, which is all of it that is sent.
fn counter(nonce: &[u8]) -> Result<([u8; 16], &[u8]), CryptoError> {
    let nonce = <&[u8; 12]>::try_from(nonce).map_err(|_| CryptoError::Length)?;
    let mut block = [0; 16];
    let mut out = Writer::new(&mut block);
    let written = out.bytes(nonce).and_then(|()| out.u32(1));
    let iv = nonce.get(4..).unwrap_or_default();
    written.map(|()| (block, iv)).ok_or(CryptoError::Length)
}

impl<S: Select> Null<S> {
    pub(crate) const fn new(auth: Auth<S>) -> Self {
        Self { auth }
    }
}

// RFC 2410 section 2.3: there is no IV.
impl<S: Select> Packets for Null<S> {
    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        if !work.nonce.is_empty() {
            return Err(CryptoError::Length);
        }
        self.auth.sign(&[work.head, work.text, work.tail], work.icv)
    }

    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        if !work.nonce.is_empty() {
            return Err(CryptoError::Length);
        }
        self.auth.verify(&[work.head, work.text, work.tail], work.icv)
    }
}

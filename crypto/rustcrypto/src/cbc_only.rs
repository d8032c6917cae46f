//! CBC mode without integrity: messages of IKEv1 (RFC 2409 appendix B).

use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit,
};
use ipsec_core::crypto::{CryptoError, Encr};

use crate::aes_key::{AesKey, Both};
use crate::select::{Select, Switch};

/// Runs one of the two functions below with whichever cipher it is.
macro_rules! with_cipher {
    ($encr:expr, $key:expr, $run:ident($iv:expr, $text:expr)) => {
        match $encr {
            Encr::AES_CBC => {
                let cipher = <S::AesCbc>::make(|| AesKey::<S, Both>::new($key))?;
                $run(<S::AesCbc>::get::<AesKey<S, Both>>(&cipher), $iv, $text)
            }
            #[cfg(feature = "legacy")]
            Encr::DES3 => {
                let cipher = <S::TripleDes>::make(|| crate::aes_key::prepare($key))?;
                $run(<S::TripleDes>::get::<des::TdesEde3>(&cipher), $iv, $text)
            }
            #[cfg(feature = "legacy")]
            Encr::DES => {
                let cipher = <S::Des>::make(|| crate::aes_key::prepare($key))?;
                $run(<S::Des>::get::<des::Des>(&cipher), $iv, $text)
            }
            _ => Err(CryptoError::Unsupported),
        }
    };
}

pub(crate) fn encrypt<S: Select>(
    encr: Encr,
    key: &[u8],
    iv: &[u8],
    text: &mut [u8],
) -> Result<(), CryptoError> {
    with_cipher!(encr, key, forwards(iv, text))
}

pub(crate) fn decrypt<S: Select>(
    encr: Encr,
    key: &[u8],
    iv: &[u8],
    text: &mut [u8],
) -> Result<(), CryptoError> {
    with_cipher!(encr, key, backwards(iv, text))
}

fn forwards<C: BlockCipherEncrypt>(
    cipher: &C,
    iv: &[u8],
    text: &mut [u8],
) -> Result<(), CryptoError> {
    let (iv, blocks) = whole_blocks::<C>(iv, text)?;
    cbc::Encryptor::inner_iv_init(cipher, iv).encrypt_blocks(blocks);
    Ok(())
}

fn backwards<C: BlockCipherEncrypt + BlockCipherDecrypt>(
    cipher: &C,
    iv: &[u8],
    text: &mut [u8],
) -> Result<(), CryptoError> {
    let (iv, blocks) = whole_blocks::<C>(iv, text)?;
    cbc::Decryptor::inner_iv_init(cipher, iv).decrypt_blocks(blocks);
    Ok(())
}

type Block<C> = Array<u8, <C as aes::cipher::BlockSizeUser>::BlockSize>;

fn whole_blocks<'a, C: BlockCipherEncrypt>(
    iv: &'a [u8],
    text: &'a mut [u8],
) -> Result<(&'a Block<C>, &'a mut [Block<C>]), CryptoError> {
    let iv = <&Block<C>>::try_from(iv).map_err(|_| CryptoError::Length)?;
    let (blocks, rest) = Array::slice_as_chunks_mut(text);
    if rest.is_empty() { Ok((iv, blocks)) } else { Err(CryptoError::Length) }
}

//! AES with a key of whichever size was selected and asked for.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncClosure, BlockCipherEncrypt,
    BlockSizeUser, InnerIvInit, KeyInit, StreamCipherCore,
};
use aes::{Aes128, Aes128Enc, Aes192, Aes192Enc, Aes256, Aes256Enc};
use ctr::CtrCore;
use ctr::flavors::Ctr32BE;
use ipsec_core::crypto::CryptoError;

use crate::select::{If, Select, Switch};

/// What AES works on.
pub(crate) type Block = Array<u8, U16>;

/// Counter mode: the last four bytes of the block count.
pub(crate) type KeyStream<'a, C> = CtrCore<&'a C, Ctr32BE>;

/// A prepared key.
pub(crate) enum AesKey<S: Select, D: Direction> {
    K128(If<S::Aes128, D::K128>),
    K192(If<S::Aes192, D::K192>),
    K256(If<S::Aes256, D::K256>),
}

/// Which directions of the block cipher a mode needs: some targets keep half of the key schedule for one alone.
pub(crate) trait Direction {
    type K128: KeyInit + BlockCipherEncrypt<BlockSize = U16>;
    type K192: KeyInit + BlockCipherEncrypt<BlockSize = U16>;
    type K256: KeyInit + BlockCipherEncrypt<BlockSize = U16>;
}

/// Only forwards: the counter modes and the MACs.
pub(crate) enum Forward {}

impl Direction for Forward {
    type K128 = Aes128Enc;
    type K192 = Aes192Enc;
    type K256 = Aes256Enc;
}

/// Forwards and backwards: CBC.
pub(crate) enum Both {}

impl Direction for Both {
    type K128 = Aes128;
    type K192 = Aes192;
    type K256 = Aes256;
}

impl<S: Select, D: Direction> AesKey<S, D> {
    pub(crate) fn new(key: &[u8]) -> Result<Self, CryptoError> {
        Ok(match key.len() {
            16 => Self::K128(<S::Aes128>::make(|| prepare(key))?),
            24 => Self::K192(<S::Aes192>::make(|| prepare(key))?),
            32 => Self::K256(<S::Aes256>::make(|| prepare(key))?),
            _ => return Err(CryptoError::Length),
        })
    }
}

/// A cipher from a key of exactly its length.
pub(crate) fn prepare<C: KeyInit>(key: &[u8]) -> Result<C, CryptoError> {
    C::new_from_slice(key).map_err(|_| CryptoError::Length)
}

/// The key stream that begins with this counter block.
pub(crate) fn key_stream<C>(aes: &C, counter: [u8; 16]) -> KeyStream<'_, C>
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    KeyStream::inner_iv_init(aes, &Block::from(counter))
}

/// Encrypts or decrypts `text`, unless it is longer than the counter allows.
pub(crate) fn apply<C>(stream: KeyStream<'_, C>, text: &mut [u8]) -> Result<(), CryptoError>
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    stream.try_apply_keystream_partial(text.into()).map_err(|_| CryptoError::Length)
}

impl<S: Select, D: Direction> BlockSizeUser for AesKey<S, D> {
    type BlockSize = U16;
}

impl<S: Select, D: Direction> BlockCipherEncrypt for AesKey<S, D> {
    #[inline]
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
        match self {
            Self::K128(key) => <S::Aes128>::get::<D::K128>(key).encrypt_with_backend(f),
            Self::K192(key) => <S::Aes192>::get::<D::K192>(key).encrypt_with_backend(f),
            Self::K256(key) => <S::Aes256>::get::<D::K256>(key).encrypt_with_backend(f),
        }
    }
}

impl<S: Select> BlockCipherDecrypt for AesKey<S, Both> {
    #[inline]
    fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
        match self {
            Self::K128(key) => <S::Aes128>::get::<Aes128>(key).decrypt_with_backend(f),
            Self::K192(key) => <S::Aes192>::get::<Aes192>(key).decrypt_with_backend(f),
            Self::K256(key) => <S::Aes256>::get::<Aes256>(key).decrypt_with_backend(f),
        }
    }
}

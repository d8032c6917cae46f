//! Packet protection: AEADs, and AES-CBC with a separate MAC.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit,
    KeyInit,
};
use aes::{Aes128, Aes128Enc, Aes192, Aes192Enc, Aes256, Aes256Enc};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, Nonce};
use chacha20poly1305::ChaCha20Poly1305;
use ipsec_core::bytes;
use ipsec_core::crypto::{self, CryptoError, Encr, Integ, PacketCipher, Suite, Work};

use crate::mac::Mac;

const fn cbc(key_bits: u16, integ: Integ) -> Suite {
    Suite { encr: Encr::AES_CBC, key_bits, integ }
}

/// The packet suites of [`Cipher`].
pub(crate) const SUITES: &[Suite] = &[
    Suite::AES_128_GCM,
    Suite::aead(Encr::AES_GCM_16, 192),
    Suite::AES_256_GCM,
    Suite::CHACHA20_POLY1305,
    cbc(128, Integ::HMAC_SHA2_256_128),
    cbc(192, Integ::HMAC_SHA2_256_128),
    cbc(256, Integ::HMAC_SHA2_256_128),
    cbc(128, Integ::HMAC_SHA2_384_192),
    cbc(192, Integ::HMAC_SHA2_384_192),
    cbc(256, Integ::HMAC_SHA2_384_192),
    cbc(128, Integ::HMAC_SHA2_512_256),
    cbc(192, Integ::HMAC_SHA2_512_256),
    cbc(256, Integ::HMAC_SHA2_512_256),
    cbc(128, Integ::HMAC_SHA1_96),
    cbc(192, Integ::HMAC_SHA1_96),
    cbc(256, Integ::HMAC_SHA1_96),
];

/// The keys of one direction of one security association, prepared for packets.
///
/// The key schedule lies inline, so a cipher is large (some hundred bytes) and should stay where it was made.
pub struct Cipher(Keys);

/// GCM only ever encrypts with AES, so it keeps half of the key schedule.
enum Keys {
    Gcm128(AesGcm<Aes128Enc, U12>),
    Gcm192(AesGcm<Aes192Enc, U12>),
    Gcm256(AesGcm<Aes256Enc, U12>),
    ChaCha20Poly1305(ChaCha20Poly1305),
    Cbc128(Aes128, Mac),
    Cbc192(Aes192, Mac),
    Cbc256(Aes256, Mac),
}

/// AES-CBC works on whole blocks.
type Block = Array<u8, U16>;

impl Cipher {
    fn unseal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        match &self.0 {
            Keys::Gcm128(aead) => open_aead(aead, work),
            Keys::Gcm192(aead) => open_aead(aead, work),
            Keys::Gcm256(aead) => open_aead(aead, work),
            Keys::ChaCha20Poly1305(aead) => open_aead(aead, work),
            Keys::Cbc128(aes, mac) => open_cbc(aes, mac, work),
            Keys::Cbc192(aes, mac) => open_cbc(aes, mac, work),
            Keys::Cbc256(aes, mac) => open_cbc(aes, mac, work),
        }
    }
}

impl PacketCipher for Cipher {
    fn new(suite: Suite, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError> {
        let Some(shape) = suite.shape().filter(|_| SUITES.contains(&suite)) else {
            return Err(CryptoError::Unsupported);
        };
        if shape.aead && !integ_key.is_empty() {
            return Err(CryptoError::Length);
        }
        let mac = || <Mac as crypto::Mac>::new(suite.integ, integ_key);
        Ok(Self(match (suite.encr, shape.key_len) {
            (Encr::AES_GCM_16, 16) => Keys::Gcm128(prepare(encr_key)?),
            (Encr::AES_GCM_16, 24) => Keys::Gcm192(prepare(encr_key)?),
            (Encr::AES_GCM_16, 32) => Keys::Gcm256(prepare(encr_key)?),
            (Encr::CHACHA20_POLY1305, 32) => Keys::ChaCha20Poly1305(prepare(encr_key)?),
            (Encr::AES_CBC, 16) => Keys::Cbc128(prepare(encr_key)?, mac()?),
            (Encr::AES_CBC, 24) => Keys::Cbc192(prepare(encr_key)?, mac()?),
            (Encr::AES_CBC, 32) => Keys::Cbc256(prepare(encr_key)?, mac()?),
            _ => return Err(CryptoError::Unsupported),
        }))
    }

    // RFC 3602 section 3: the IV must not be predictable. NIST SP 800-38A appendix C: encrypt a nonce with the same key.
    fn unpredictable_iv(&self, counter: u64, iv: &mut [u8]) -> Result<(), CryptoError> {
        let mut block = Block::from((u128::from(counter)).to_be_bytes());
        match &self.0 {
            Keys::Cbc128(aes, _) => aes.encrypt_block(&mut block),
            Keys::Cbc192(aes, _) => aes.encrypt_block(&mut block),
            Keys::Cbc256(aes, _) => aes.encrypt_block(&mut block),
            _ => return Err(CryptoError::Unsupported),
        }
        bytes::copy(iv, &block).ok_or(CryptoError::Length)
    }

    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        match &self.0 {
            Keys::Gcm128(aead) => seal_aead(aead, work),
            Keys::Gcm192(aead) => seal_aead(aead, work),
            Keys::Gcm256(aead) => seal_aead(aead, work),
            Keys::ChaCha20Poly1305(aead) => seal_aead(aead, work),
            Keys::Cbc128(aes, mac) => seal_cbc(aes, mac, work),
            Keys::Cbc192(aes, mac) => seal_cbc(aes, mac, work),
            Keys::Cbc256(aes, mac) => seal_cbc(aes, mac, work),
        }
    }

    fn open(&self, mut work: Work<'_>) -> Result<(), CryptoError> {
        let result = self.unseal(work.reborrow());
        if result.is_err() {
            work.text.fill(0);
        }
        result
    }
}

pub(crate) fn prepare<C: KeyInit>(key: &[u8]) -> Result<C, CryptoError> {
    C::new_from_slice(key).map_err(|_| CryptoError::Length)
}

pub(crate) fn seal_aead<A: AeadInOut<TagSize = U16>>(
    aead: &A,
    work: Work<'_>,
) -> Result<(), CryptoError> {
    let nonce = <&Nonce<A>>::try_from(work.nonce).map_err(|_| CryptoError::Length)?;
    let icv = <&mut Block>::try_from(work.icv).map_err(|_| CryptoError::Length)?;
    if !work.tail.is_empty() {
        return Err(CryptoError::Length);
    }
    *icv = aead
        .encrypt_inout_detached(nonce, work.head, InOutBuf::from(work.text))
        .map_err(|_| CryptoError::Length)?;
    Ok(())
}

/// Both AEADs verify before they decrypt, so a forged packet costs one pass.
pub(crate) fn open_aead<A: AeadInOut<TagSize = U16>>(
    aead: &A,
    work: Work<'_>,
) -> Result<(), CryptoError> {
    let nonce = <&Nonce<A>>::try_from(work.nonce).map_err(|_| CryptoError::Length)?;
    let icv = <&Block>::try_from(&*work.icv).map_err(|_| CryptoError::Length)?;
    if !work.tail.is_empty() {
        return Err(CryptoError::Length);
    }
    aead.decrypt_inout_detached(nonce, work.head, InOutBuf::from(work.text), icv)
        .map_err(|_| CryptoError::Integrity)
}

fn seal_cbc<C>(aes: &C, mac: &Mac, work: Work<'_>) -> Result<(), CryptoError>
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    let iv = <&Block>::try_from(work.nonce).map_err(|_| CryptoError::Length)?;
    // Every length is known to be right before the first byte changes.
    if work.icv.len() != mac.icv_len() {
        return Err(CryptoError::Length);
    }
    let (blocks, rest) = Block::slice_as_chunks_mut(work.text);
    if !rest.is_empty() {
        return Err(CryptoError::Length);
    }
    cbc::Encryptor::inner_iv_init(aes, iv).encrypt_blocks(blocks);
    mac.compute(&[work.head, work.nonce, work.text, work.tail], work.icv)
}

fn open_cbc<C>(aes: &C, mac: &Mac, work: Work<'_>) -> Result<(), CryptoError>
where
    C: BlockCipherDecrypt<BlockSize = U16>,
{
    let iv = <&Block>::try_from(work.nonce).map_err(|_| CryptoError::Length)?;
    if !Block::slice_as_chunks(work.text).1.is_empty() {
        return Err(CryptoError::Length);
    }
    mac.check(&[work.head, work.nonce, work.text, work.tail], work.icv)?;
    let (blocks, _) = Block::slice_as_chunks_mut(work.text);
    cbc::Decryptor::inner_iv_init(aes, iv).decrypt_blocks(blocks);
    Ok(())
}

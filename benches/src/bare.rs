//! Ciphers as their crates have them: what a program without ESP would call.
//!
//! An AEAD is one call of its crate. Encryption and integrity are the two calls that make ESP's order: encrypt, then
//! authenticate what was encrypted.

use aes::cipher::consts::{U8, U11, U12, U16};
use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt,
    BlockSizeUser, InnerIvInit, KeyInit, StreamCipher,
};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, Nonce, Tag, inout::InOutBuf};
use ccm::Ccm;
use chacha20poly1305::ChaCha20Poly1305;
use ctr::Ctr32BE;
use hmac::{Hmac, Mac};
use ipsec_core::crypto::{Encr, Integ, Suite};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// A cipher, with its key.
pub trait Bare {
    /// Encrypts `text`, and writes as much of the tag as `icv` has room for.
    fn seal(&self, nonce: &[u8], head: &[u8], text: &mut [u8], icv: &mut [u8]);

    /// The opposite.
    ///
    /// # Panics
    /// If the tag is wrong.
    fn open(&self, nonce: &[u8], head: &[u8], text: &mut [u8], icv: &[u8]);
}

/// What stands beside the ESP of `suite`; `None` where no crate has it (AES-XCBC), or has it no other way than ours
/// (GMAC, shortened ICVs).
///
/// # Panics
/// If `keymat` is too short.
pub fn bare(suite: Suite, keymat: &[u8]) -> Option<Box<dyn Bare>> {
    let shape = suite.shape()?;
    let (key, rest) = keymat.split_at(shape.key_len);
    match (suite.encr, suite.key_bits) {
        (Encr::AES_GCM_16, 128) => aead::<AesGcm<Aes128, U12>>(key),
        (Encr::AES_GCM_16, 192) => aead::<AesGcm<Aes192, U12>>(key),
        (Encr::AES_GCM_16, 256) => aead::<AesGcm<Aes256, U12>>(key),
        (Encr::AES_GCM_12, 128) => aead::<AesGcm<Aes128, U12, U12>>(key),
        (Encr::AES_GCM_12, 192) => aead::<AesGcm<Aes192, U12, U12>>(key),
        (Encr::AES_GCM_12, 256) => aead::<AesGcm<Aes256, U12, U12>>(key),
        (Encr::AES_CCM_16, 128) => aead::<Ccm<Aes128, U16, U11>>(key),
        (Encr::AES_CCM_16, 192) => aead::<Ccm<Aes192, U16, U11>>(key),
        (Encr::AES_CCM_16, 256) => aead::<Ccm<Aes256, U16, U11>>(key),
        (Encr::AES_CCM_12, 128) => aead::<Ccm<Aes128, U12, U11>>(key),
        (Encr::AES_CCM_12, 192) => aead::<Ccm<Aes192, U12, U11>>(key),
        (Encr::AES_CCM_12, 256) => aead::<Ccm<Aes256, U12, U11>>(key),
        (Encr::AES_CCM_8, 128) => aead::<Ccm<Aes128, U8, U11>>(key),
        (Encr::AES_CCM_8, 192) => aead::<Ccm<Aes192, U8, U11>>(key),
        (Encr::AES_CCM_8, 256) => aead::<Ccm<Aes256, U8, U11>>(key),
        (Encr::CHACHA20_POLY1305, _) => aead::<ChaCha20Poly1305>(key),
        (Encr::AES_CBC, 128) => with_mac(suite.integ, rest, Cbc::<Aes128>(new(key))),
        (Encr::AES_CBC, 192) => with_mac(suite.integ, rest, Cbc::<Aes192>(new(key))),
        (Encr::AES_CBC, 256) => with_mac(suite.integ, rest, Cbc::<Aes256>(new(key))),
        (Encr::AES_CTR, 128) => with_mac(suite.integ, &rest[4..], Ctr::<Aes128>(new(key))),
        (Encr::AES_CTR, 192) => with_mac(suite.integ, &rest[4..], Ctr::<Aes192>(new(key))),
        (Encr::AES_CTR, 256) => with_mac(suite.integ, &rest[4..], Ctr::<Aes256>(new(key))),
        (Encr::NULL, _) => with_mac(suite.integ, rest, Null),
        _ => None,
    }
}

fn new<C: KeyInit>(key: &[u8]) -> C {
    C::new_from_slice(key).expect("it is as long as the suite says")
}

struct Aead<A>(A);

fn aead<A: KeyInit + AeadInOut + 'static>(key: &[u8]) -> Option<Box<dyn Bare>> {
    Some(Box::new(Aead(new::<A>(key))))
}

impl<A: AeadInOut> Bare for Aead<A> {
    fn seal(&self, nonce: &[u8], head: &[u8], text: &mut [u8], icv: &mut [u8]) {
        let nonce = <&Nonce<A>>::try_from(nonce).expect("it is as long as the suite says");
        let tag = self.0.encrypt_inout_detached(nonce, head, InOutBuf::from(text));
        icv.copy_from_slice(&tag.expect("it cannot fail"));
    }

    fn open(&self, nonce: &[u8], head: &[u8], text: &mut [u8], icv: &[u8]) {
        let nonce = <&Nonce<A>>::try_from(nonce).expect("it is as long as the suite says");
        let tag = <&Tag<A>>::try_from(icv).expect("it is as long as the suite says");
        let opened = self.0.decrypt_inout_detached(nonce, head, InOutBuf::from(text), tag);
        opened.expect("it was sealed");
    }
}

/// A cipher that knows nothing of integrity.
trait Encryption {
    /// Bytes of salt in the nonce.
    const SALT: usize;

    fn encrypt(&self, nonce: &[u8], text: &mut [u8]);
    fn decrypt(&self, nonce: &[u8], text: &mut [u8]);
}

struct Cbc<C>(C);

impl<C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>> Encryption
    for Cbc<C>
{
    const SALT: usize = 0;

    fn encrypt(&self, nonce: &[u8], text: &mut [u8]) {
        let iv = <&Array<u8, U16>>::try_from(nonce).expect("it is a block");
        let (blocks, []) = Array::slice_as_chunks_mut(text) else {
            panic!("not a number of blocks")
        };
        cbc::Encryptor::inner_iv_init(&self.0, iv).encrypt_blocks(blocks);
    }

    fn decrypt(&self, nonce: &[u8], text: &mut [u8]) {
        let iv = <&Array<u8, U16>>::try_from(nonce).expect("it is a block");
        let (blocks, []) = Array::slice_as_chunks_mut(text) else {
            panic!("not a number of blocks")
        };
        cbc::Decryptor::inner_iv_init(&self.0, iv).decrypt_blocks(blocks);
    }
}

struct Ctr<C>(C);

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Encryption for Ctr<C> {
    const SALT: usize = 4;

    fn encrypt(&self, nonce: &[u8], text: &mut [u8]) {
        let mut counter = [0; 16];
        counter[..12].copy_from_slice(nonce);
        counter[15] = 1;
        let core =
            ctr::CtrCore::<_, ctr::flavors::Ctr32BE>::inner_iv_init(&self.0, &counter.into());
        Ctr32BE::<&C>::from_core(core).apply_keystream(text);
    }

    fn decrypt(&self, nonce: &[u8], text: &mut [u8]) {
        self.encrypt(nonce, text);
    }
}

struct Null;

impl Encryption for Null {
    const SALT: usize = 0;

    fn encrypt(&self, _: &[u8], _: &mut [u8]) {}
    fn decrypt(&self, _: &[u8], _: &mut [u8]) {}
}

struct EncryptThenMac<E, M> {
    encryption: E,
    mac: M,
}

fn with_mac<E: Encryption + 'static>(
    integ: Integ,
    key: &[u8],
    encryption: E,
) -> Option<Box<dyn Bare>> {
    fn boxed<E: Encryption + 'static, M: KeyInit + Mac + Clone + 'static>(
        encryption: E,
        key: &[u8],
    ) -> Option<Box<dyn Bare>> {
        Some(Box::new(EncryptThenMac { encryption, mac: new::<M>(key) }))
    }
    let key = &key[..integ.key_len()?];
    match integ {
        Integ::HMAC_SHA1_96 => boxed::<E, Hmac<Sha1>>(encryption, key),
        Integ::HMAC_SHA2_256_128 => boxed::<E, Hmac<Sha256>>(encryption, key),
        Integ::HMAC_SHA2_384_192 => boxed::<E, Hmac<Sha384>>(encryption, key),
        Integ::HMAC_SHA2_512_256 => boxed::<E, Hmac<Sha512>>(encryption, key),
        Integ::AES_CMAC_96 => boxed::<E, cmac::Cmac<Aes128>>(encryption, key),
        _ => None,
    }
}

impl<E: Encryption, M: Mac + Clone> EncryptThenMac<E, M> {
    fn tag(&self, nonce: &[u8], head: &[u8], text: &[u8]) -> M {
        let mut mac = self.mac.clone();
        Mac::update(&mut mac, head);
        Mac::update(&mut mac, &nonce[E::SALT..]);
        Mac::update(&mut mac, text);
        mac
    }
}

impl<E: Encryption, M: Mac + Clone> Bare for EncryptThenMac<E, M> {
    fn seal(&self, nonce: &[u8], head: &[u8], text: &mut [u8], icv: &mut [u8]) {
        self.encryption.encrypt(nonce, text);
        let tag = self.tag(nonce, head, text).finalize().into_bytes();
        icv.copy_from_slice(&tag[..icv.len()]);
    }

    fn open(&self, nonce: &[u8], head: &[u8], text: &mut [u8], icv: &[u8]) {
        self.tag(nonce, head, text).verify_truncated_left(icv).expect("it was sealed");
        self.encryption.decrypt(nonce, text);
    }
}

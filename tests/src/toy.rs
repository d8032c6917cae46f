//! A crypto provider with NO SECURITY, for tests, fuzzing and images in which only the glue matters.
//!
//! It implements every suite that has a [shape](Suite::shape), every MAC and pseudo-random function, and five groups,
//! all with the lengths of the real ones and none of their strength. What it keeps of the real ones is what a protocol
//! can get wrong: another key, nonce, order, bit or length gives another result; a text is wiped when its integrity
//! check fails; both sides of a key exchange agree, a changed public value makes them disagree, and a degenerate one
//! is refused. Everybody who sees a public value can compute the secret.
//!
//! State is small (a key is 16 bytes), there is no heap, and no panic is linked.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ipsec_core::crypto::{
    CryptoError, Encr, Group, HashId, Integ, Iv, KeyExchange, Mac, PacketCipher, Prf, PrfId,
    Provider, Shape, Suite, Work,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// The provider. NO SECURITY.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toy;

impl Provider for Toy {
    type Cipher = ToyCipher;
    type Mac = ToyMac;
    type Prf = ToyPrf;
    type Kx = ToyKx;

    const SUITES: &'static [Suite] = &SUITES;
    const INTEGS: &'static [Integ] = &[
        Integ::HMAC_SHA2_256_128,
        Integ::HMAC_SHA2_384_192,
        Integ::HMAC_SHA2_512_256,
        Integ::HMAC_SHA1_96,
        Integ::AES_XCBC_96,
        Integ::AES_CMAC_96,
        Integ::HMAC_MD5_96,
        Integ::AES_128_GMAC,
        Integ::AES_192_GMAC,
        Integ::AES_256_GMAC,
    ];
    const PRFS: &'static [PrfId] = &[
        PrfId::HMAC_SHA2_256,
        PrfId::HMAC_SHA2_384,
        PrfId::HMAC_SHA2_512,
        PrfId::HMAC_SHA1,
        PrfId::AES128_XCBC,
        PrfId::AES128_CMAC,
        PrfId::HMAC_MD5,
    ];
    const GROUPS: &'static [Group] =
        &[Group::X25519, Group::P256, Group::MODP_2048, Group::ML_KEM_768, Group::ML_KEM_512];

    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        if out.len() != id.output_len() {
            return Err(CryptoError::Length);
        }
        let mut mixer = Mixer::new(Key::default(), Purpose::Hash);
        mixer.number(id.output_len());
        mixer.parts(parts);
        mixer.finish().fill(out);
        Ok(())
    }

    fn cbc_encrypt(encr: Encr, key: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
        match block_len(encr, key, iv, text)? {
            16 => Cbc::<16>::new(encr, key, iv).encrypt(text),
            _ => Cbc::<8>::new(encr, key, iv).encrypt(text),
        }
        Ok(())
    }

    fn cbc_decrypt(encr: Encr, key: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
        match block_len(encr, key, iv, text)? {
            16 => Cbc::<16>::new(encr, key, iv).decrypt(text),
            _ => Cbc::<8>::new(encr, key, iv).decrypt(text),
        }
        Ok(())
    }
}

fn block_len(encr: Encr, key: &[u8], iv: &[u8], text: &[u8]) -> Result<usize, CryptoError> {
    let (fits, len) = match encr {
        Encr::AES_CBC => (matches!(key.len(), 16 | 24 | 32), 16),
        Encr::DES3 => (key.len() == 24, 8),
        Encr::DES => (key.len() == 8, 8),
        _ => return Err(CryptoError::Unsupported),
    };
    let whole = iv.len() == len && text.len().checked_rem(len) == Some(0);
    if fits && whole { Ok(len) } else { Err(CryptoError::Length) }
}

/// Blocks of N octets in CBC mode. The cipher is a Feistel network of four rounds: as with a real one, who changes one bit
/// of a block changes all of it.
struct Cbc<const N: usize> {
    key: Key,
    /// The block before, encrypted.
    before: [u8; N],
}

impl<const N: usize> Cbc<N> {
    fn new(encr: Encr, key: &[u8], iv: &[u8]) -> Self {
        let mut mixer = Mixer::new(Key::default(), Purpose::CipherKey);
        mixer.number(usize::from(encr.0));
        mixer.bytes(key);
        let mut before = [0; N];
        xor(&mut before, iv);
        Self { key: *mixer.finish().key(), before }
    }

    fn encrypt(&mut self, text: &mut [u8]) {
        for block in text.as_chunks_mut::<N>().0 {
            xor(block, &self.before);
            self.rounds(block, [0, 1, 2, 3]);
            self.before = *block;
        }
    }

    fn decrypt(&mut self, text: &mut [u8]) {
        for block in text.as_chunks_mut::<N>().0 {
            let encrypted = *block;
            self.rounds(block, [3, 2, 1, 0]);
            xor(block, &self.before);
            self.before = encrypted;
        }
    }

    fn rounds(&self, block: &mut [u8; N], numbers: [u64; 4]) {
        let Some((left, right)) = block.split_at_mut_checked(N / 2) else { return };
        for number in numbers {
            let (half, other) =
                if number & 1 == 0 { (&*left, &mut *right) } else { (&*right, &mut *left) };
            let mut mixer = Mixer::new(self.key, Purpose::Round);
            mixer.word(number);
            mixer.bytes(half);
            mixer.finish().xor(other);
        }
    }
}

fn xor(octets: &mut [u8], with: &[u8]) {
    for (octet, with) in octets.iter_mut().zip(with) {
        *octet ^= with;
    }
}

/// The integrity algorithms that a cipher can be combined with, which are those that need no nonce.
const COMBINABLE: [Integ; 7] = [
    Integ::HMAC_SHA2_256_128,
    Integ::HMAC_SHA2_384_192,
    Integ::HMAC_SHA2_512_256,
    Integ::HMAC_SHA1_96,
    Integ::AES_XCBC_96,
    Integ::AES_CMAC_96,
    Integ::HMAC_MD5_96,
];

const CIPHERS: [(Encr, u16); 9] = [
    (Encr::AES_CBC, 128),
    (Encr::AES_CBC, 256),
    (Encr::AES_CBC, 192),
    (Encr::AES_CTR, 128),
    (Encr::AES_CTR, 256),
    (Encr::AES_CTR, 192),
    (Encr::NULL, 0),
    (Encr::DES3, 0),
    (Encr::DES, 0),
];

const AEADS: [Encr; 9] = [
    Encr::AES_GCM_16,
    Encr::AES_GCM_12,
    Encr::AES_GCM_8,
    Encr::AES_CCM_16,
    Encr::AES_CCM_12,
    Encr::AES_CCM_8,
    Encr::AES_GCM_16_IIV,
    Encr::AES_CCM_8_IIV,
    Encr::NULL_AES_GMAC,
];

const AEAD_KEY_BITS: [u16; 3] = [128, 256, 192];

const SUITE_COUNT: usize = 2 + AEADS.len() * AEAD_KEY_BITS.len() + CIPHERS.len() * COMBINABLE.len();

const SUITES: [Suite; SUITE_COUNT] = suites();

#[expect(clippy::indexing_slicing, reason = "runs in the compiler only")]
const fn suites() -> [Suite; SUITE_COUNT] {
    let mut all = [Suite::CHACHA20_POLY1305; SUITE_COUNT];
    let mut n = 0;
    let mut i = 0;
    while i < AEADS.len() * AEAD_KEY_BITS.len() {
        all[n] =
            Suite::aead(AEADS[i / AEAD_KEY_BITS.len()], AEAD_KEY_BITS[i % AEAD_KEY_BITS.len()]);
        n += 1;
        i += 1;
    }
    all[n] = Suite::CHACHA20_POLY1305;
    all[n + 1] = Suite::aead(Encr::CHACHA20_POLY1305_IIV, 0);
    n += 2;
    let mut i = 0;
    while i < CIPHERS.len() * COMBINABLE.len() {
        let (encr, key_bits) = CIPHERS[i / COMBINABLE.len()];
        all[n] = Suite { encr, key_bits, integ: COMBINABLE[i % COMBINABLE.len()] };
        n += 1;
        i += 1;
    }
    all
}

/// Packet protection: a key stream and a keyed mixing. NO SECURITY.
pub struct ToyCipher {
    key: Zeroizing<Key>,
    suite: Suite,
}

impl ToyCipher {
    /// The sizes of the suite, if the parts of `work` have them.
    fn fitting(&self, work: &Work<'_>) -> Result<Shape, CryptoError> {
        let shape = self.suite.shape().ok_or(CryptoError::Unsupported)?;
        let fits = work.nonce.len() == shape.nonce_len()
            && work.text.len().checked_rem(shape.block_len) == Some(0)
            && work.icv.len() == shape.icv_len
            && (work.tail.is_empty() || !shape.aead);
        if fits { Ok(shape) } else { Err(CryptoError::Length) }
    }

    /// Encrypts and decrypts.
    fn apply_key_stream(&self, nonce: &[u8], text: &mut [u8]) {
        if matches!(self.suite.encr, Encr::NULL | Encr::NULL_AES_GMAC) {
            return;
        }
        let mut mixer = Mixer::new(*self.key, Purpose::Stream);
        mixer.bytes(nonce);
        mixer.finish().xor(text);
    }

    fn icv(&self, shape: &Shape, work: &Work<'_>) -> Stream {
        let mut mixer = Mixer::new(*self.key, Purpose::Icv);
        if shape.aead {
            mixer.bytes(work.nonce);
            // With the total that `finish` adds, this tells where the head ends.
            mixer.number(work.text.len());
            mixer.parts(&[work.head, work.text]);
        } else {
            let iv = work.nonce.get(shape.salt_len..).unwrap_or_default();
            mixer.parts(&[work.head, iv, work.text, work.tail]);
        }
        mixer.finish()
    }
}

impl PacketCipher for ToyCipher {
    /// So that whoever takes batches apart is tested.
    const INTERLEAVES: bool = true;

    fn new(suite: Suite, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError> {
        if !SUITES.contains(&suite) {
            return Err(CryptoError::Unsupported);
        }
        let shape = suite.shape().ok_or(CryptoError::Unsupported)?;
        if encr_key.len() != shape.key_len || integ_key.len() != shape.integ_key_len {
            return Err(CryptoError::Length);
        }
        let mut mixer = Mixer::new(Key::default(), Purpose::CipherKey);
        for number in [suite.encr.0, suite.key_bits, suite.integ.0] {
            mixer.number(usize::from(number));
        }
        mixer.parts(&[encr_key, integ_key]);
        Ok(Self { key: mixer.finish().key(), suite })
    }

    fn unpredictable_iv(&self, counter: u64, iv: &mut [u8]) -> Result<(), CryptoError> {
        let shape = self.suite.shape().ok_or(CryptoError::Unsupported)?;
        if shape.iv != Iv::Unpredictable {
            return Err(CryptoError::Unsupported);
        }
        if iv.len() != shape.iv_len {
            return Err(CryptoError::Length);
        }
        let mut mixer = Mixer::new(*self.key, Purpose::Iv);
        mixer.bytes(&counter.to_le_bytes());
        mixer.finish().fill(iv);
        Ok(())
    }

    fn seal(&self, mut work: Work<'_>) -> Result<(), CryptoError> {
        let shape = self.fitting(&work)?;
        self.apply_key_stream(work.nonce, work.text);
        let mut stream = self.icv(&shape, &work.reborrow());
        stream.fill(work.icv);
        Ok(())
    }

    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let verified = self.fitting(&work).and_then(|shape| {
            let mut stream = self.icv(&shape, &work);
            if stream.matches(work.icv) { Ok(()) } else { Err(CryptoError::Integrity) }
        });
        match verified {
            Ok(()) => self.apply_key_stream(work.nonce, work.text),
            Err(_) => work.text.fill(0),
        }
        verified
    }
}

/// Integrity alone: a keyed mixing. NO SECURITY.
pub struct ToyMac {
    key: Zeroizing<Key>,
    integ: Integ,
}

impl ToyMac {
    fn mix(&self, nonce: &[u8], parts: &[&[u8]], icv_len: usize) -> Result<Stream, CryptoError> {
        let gmac =
            matches!(self.integ, Integ::AES_128_GMAC | Integ::AES_192_GMAC | Integ::AES_256_GMAC);
        let nonce_len = if gmac { 12 } else { 0 };
        if self.integ.icv_len() != Some(icv_len) || nonce.len() != nonce_len {
            return Err(CryptoError::Length);
        }
        let mut mixer = Mixer::new(*self.key, Purpose::Icv);
        mixer.bytes(nonce);
        mixer.parts(parts);
        Ok(mixer.finish())
    }
}

impl Mac for ToyMac {
    fn new(integ: Integ, key: &[u8]) -> Result<Self, CryptoError> {
        let key_len = integ.key_len().ok_or(CryptoError::Unsupported)?;
        if key.len() != key_len {
            return Err(CryptoError::Length);
        }
        let mut mixer = Mixer::new(Key::default(), Purpose::MacKey);
        mixer.number(usize::from(integ.0));
        mixer.bytes(key);
        Ok(Self { key: mixer.finish().key(), integ })
    }

    fn sign(&self, nonce: &[u8], parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError> {
        self.mix(nonce, parts, icv.len())?.fill(icv);
        Ok(())
    }

    fn verify(&self, nonce: &[u8], parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError> {
        let mut stream = self.mix(nonce, parts, icv.len())?;
        if stream.matches(icv) { Ok(()) } else { Err(CryptoError::Integrity) }
    }
}

/// A keyed mixing under the name of a pseudo-random function. NO SECURITY.
pub struct ToyPrf {
    key: Zeroizing<Key>,
    id: PrfId,
}

impl Prf for ToyPrf {
    fn new(id: PrfId, key: &[u8]) -> Result<Self, CryptoError> {
        id.output_len().ok_or(CryptoError::Unsupported)?;
        let mut mixer = Mixer::new(Key::default(), Purpose::PrfKey);
        mixer.number(usize::from(id.0));
        mixer.bytes(key);
        Ok(Self { key: mixer.finish().key(), id })
    }

    fn compute(&self, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        if self.id.output_len() != Some(out.len()) {
            return Err(CryptoError::Length);
        }
        let mut mixer = Mixer::new(*self.key, Purpose::Prf);
        mixer.parts(parts);
        mixer.finish().fill(out);
        Ok(())
    }
}

/// The same without key encapsulation, for images whose size is measured: nothing of additional key exchanges is linked.
/// NO SECURITY.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainToy;

impl Provider for PlainToy {
    type Cipher = ToyCipher;
    type Mac = ToyMac;
    type Prf = ToyPrf;
    type Kx = ToyKx;

    const SUITES: &'static [Suite] = Toy::SUITES;
    const INTEGS: &'static [Integ] = Toy::INTEGS;
    const PRFS: &'static [PrfId] = Toy::PRFS;
    const GROUPS: &'static [Group] = &[Group::X25519, Group::P256, Group::MODP_2048];

    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        Toy::hash(id, parts, out)
    }
}

/// Diffie-Hellman modulo 2^61 - 1. NO SECURITY.
///
/// A public value ends with the group element, big-endian in 8 bytes, and begins with padding that follows from it.
/// The padding of P-256 is verified, as a stand-in for being on the curve; any other is accepted with whatever padding
/// it has. The secret depends on every byte of both public values. With the lengths of ML-KEM, this is the stand-in for it.
pub struct ToyKx {
    private: Zeroizing<u64>,
    group: Group,
}

/// The longest public value of the groups.
const MAX_PUBLIC: usize = 1184;
/// The longest secret.
const MAX_SECRET: usize = 256;
/// The Mersenne prime 2^61 - 1.
const MODULUS: u64 = (1 << 61) - 1;
/// A primitive root modulo [`MODULUS`].
const GENERATOR: u64 = 37;

impl ToyKx {
    fn random(group: Group, rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        public_len(group)?;
        // Odd and below half the order of the generator, so that the public value is neither 1 nor p - 1.
        let private = Zeroizing::new((rng.next_u64() >> 5) | 1);
        Ok(Self { private, group })
    }

    /// Writes the public value of so many bytes; gives their number.
    fn write_public(&self, len: usize, public: &mut [u8]) -> Result<usize, CryptoError> {
        let public = public.get_mut(..len).ok_or(CryptoError::Length)?;
        let element = power(GENERATOR, *self.private);
        let (padding, last) = public.split_last_chunk_mut::<8>().ok_or(CryptoError::Length)?;
        public_padding(self.group, element).fill(padding);
        *last = element.to_be_bytes();
        Ok(len)
    }

    /// The secret of our private value and the peer's public one of `len` bytes; `initiator` and `responder` are the public values.
    fn agree(
        &self,
        (len, peer): (usize, &[u8]),
        initiator: &[u8],
        responder: &[u8],
    ) -> Result<ToySecret, CryptoError> {
        let shared = power(element_of(self.group, len, peer)?, *self.private);
        if shared < 2 {
            return Err(CryptoError::PeerValue);
        }
        let mut mixer = Mixer::new([shared, 0], Purpose::Secret);
        mixer.parts(&[initiator, responder]);
        let mut secret =
            ToySecret { bytes: Zeroizing::new([0; MAX_SECRET]), len: secret_len(self.group)? };
        let room = secret.bytes.get_mut(..secret.len).ok_or(CryptoError::Length)?;
        mixer.finish().fill(room);
        Ok(secret)
    }
}

impl KeyExchange for ToyKx {
    type Secret = ToySecret;

    fn start(
        group: Group,
        rng: &mut dyn CryptoRng,
        public: &mut [u8],
    ) -> Result<(Self, usize), CryptoError> {
        let kx = Self::random(group, rng)?;
        let len = kx.write_public(public_len(group)?, public)?;
        Ok((kx, len))
    }

    fn respond(
        group: Group,
        rng: &mut dyn CryptoRng,
        peer: &[u8],
        public: &mut [u8],
    ) -> Result<(ToySecret, usize), CryptoError> {
        let kx = Self::random(group, rng)?;
        let len = kx.write_public(answer_len(group)?, public)?;
        let own = public.get(..len).ok_or(CryptoError::Length)?;
        Ok((kx.agree((public_len(group)?, peer), peer, own)?, len))
    }

    fn finish(&self, peer: &[u8]) -> Result<ToySecret, CryptoError> {
        let mut own = [0; MAX_PUBLIC];
        let len = self.write_public(public_len(self.group)?, &mut own)?;
        let peer_len = answer_len(self.group)?;
        self.agree((peer_len, peer), own.get(..len).ok_or(CryptoError::Length)?, peer)
    }
}

/// What both sides of a key exchange share, and everybody who listened. NO SECURITY.
pub struct ToySecret {
    bytes: Zeroizing<[u8; MAX_SECRET]>,
    len: usize,
}

impl AsRef<[u8]> for ToySecret {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn public_len(group: Group) -> Result<usize, CryptoError> {
    if Toy::GROUPS.contains(&group) { group.public_len() } else { None }
        .ok_or(CryptoError::Unsupported)
}

fn answer_len(group: Group) -> Result<usize, CryptoError> {
    public_len(group)?;
    group.answer_len().ok_or(CryptoError::Unsupported)
}

/// Of a point on a curve only one coordinate is the secret (RFC 5903 section 7).
fn secret_len(group: Group) -> Result<usize, CryptoError> {
    let public_len = public_len(group)?;
    Ok(match group {
        Group::P256 => public_len / 2,
        group if group.is_kem() => 32,
        _ => public_len,
    })
}

fn public_padding(group: Group, element: u64) -> Stream {
    Mixer::new([element, u64::from(group.0)], Purpose::Padding).finish()
}

/// The group element of a public value: neither 0 nor 1 nor p - 1 nor beyond.
fn element_of(group: Group, len: usize, public: &[u8]) -> Result<u64, CryptoError> {
    if public.len() != len {
        return Err(CryptoError::PeerValue);
    }
    let (padding, last) = public.split_last_chunk::<8>().ok_or(CryptoError::PeerValue)?;
    let element = u64::from_be_bytes(*last);
    let in_range = (2..MODULUS - 1).contains(&element);
    let on_curve = group != Group::P256 || public_padding(group, element).matches(padding);
    if in_range && on_curve { Ok(element) } else { Err(CryptoError::PeerValue) }
}

fn power(base: u64, exponent: u64) -> u64 {
    let (mut result, mut square, mut rest) = (1, base, exponent);
    while rest != 0 {
        if rest & 1 == 1 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        rest >>= 1;
    }
    result
}

/// a * b mod 2^61 - 1, for factors below the modulus: the bits above the 61st count once more.
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    let sum = (product as u64 & MODULUS).wrapping_add((product >> 61) as u64);
    if sum >= MODULUS { sum.wrapping_sub(MODULUS) } else { sum }
}

type Key = [u64; 2];

/// Keeps apart what is computed with one key.
#[derive(Clone, Copy)]
enum Purpose {
    Hash = 1,
    CipherKey,
    MacKey,
    PrfKey,
    Stream,
    Icv,
    Iv,
    Prf,
    Secret,
    Padding,
    Round,
}

/// Takes bytes in. The rounds are those of SipHash; how they are used is not.
struct Mixer {
    state: [u64; 4],
    /// Bytes not yet taken in, the first one lowest.
    pending: u64,
    total: u64,
}

impl Mixer {
    fn new(key: Key, purpose: Purpose) -> Self {
        let [a, b] = key;
        let state = [
            a ^ 0x4e4f_2053_4543_5552,
            b ^ 0x4954_5920_4845_5245,
            a ^ 0x544f_5920_4349_5048,
            b ^ 0x4552_204f_4e4c_5921,
        ];
        let mut mixer = Self { state, pending: 0, total: 0 };
        mixer.word(purpose as u64);
        mixer
    }

    fn number(&mut self, number: usize) {
        self.bytes(&(number as u64).to_le_bytes());
    }

    /// Where one part ends and the next begins does not matter.
    fn parts(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes(part);
        }
    }

    fn bytes(&mut self, mut bytes: &[u8]) {
        if self.total & 7 == 0 {
            let (words, rest) = bytes.as_chunks::<8>();
            for word in words {
                self.word(u64::from_le_bytes(*word));
                self.total = self.total.wrapping_add(8);
            }
            bytes = rest;
        }
        for byte in bytes {
            self.pending |= u64::from(*byte) << ((self.total & 7) * 8);
            self.total = self.total.wrapping_add(1);
            if self.total & 7 == 0 {
                self.word(self.pending);
                self.pending = 0;
            }
        }
    }

    fn word(&mut self, word: u64) {
        let [a, b, c, d] = self.state;
        let [a, b, c, d] = round(round([a, b, c, d ^ word]));
        self.state = [a ^ word, b, c, d];
    }

    fn finish(mut self) -> Stream {
        self.word(self.pending);
        self.word(self.total);
        let [a, b, c, d] = self.state;
        Stream { state: round(round([a, b, c ^ 0xff, d])), count: 0 }
    }
}

/// Gives bytes out, as many as wanted.
struct Stream {
    state: [u64; 4],
    count: u64,
}

impl Stream {
    fn next(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        let [a, b, c, d] = self.state;
        self.state = round(round([a, b, c, d ^ self.count]));
        let [a, b, c, d] = self.state;
        a ^ b ^ c ^ d
    }

    fn key(mut self) -> Zeroizing<Key> {
        Zeroizing::new([self.next(), self.next()])
    }

    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.xor(out);
    }

    fn xor(&mut self, text: &mut [u8]) {
        for chunk in text.chunks_mut(8) {
            for (byte, key) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *byte ^= key;
            }
        }
    }

    /// Whether the next bytes are `expected`.
    fn matches(&mut self, expected: &[u8]) -> bool {
        let mut difference = 0;
        for chunk in expected.chunks(8) {
            for (byte, ours) in chunk.iter().zip(self.next().to_le_bytes()) {
                difference |= byte ^ ours;
            }
        }
        difference == 0
    }
}

fn round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32).wrapping_add(d);
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    d = d.rotate_left(21) ^ a;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_a_shape_and_stands_once() {
        for (i, suite) in SUITES.iter().enumerate() {
            assert!(suite.shape().is_some(), "{suite}");
            assert!(!SUITES[i + 1..].contains(suite), "{suite}");
        }
    }

    #[test]
    fn the_generator_is_a_primitive_root() {
        // The prime factors of 2^61 - 2.
        let factors = [2, 3, 5, 7, 11, 13, 31, 41, 61, 151, 331, 1321];
        let mut rest = MODULUS - 1;
        for factor in factors {
            assert_ne!(power(GENERATOR, (MODULUS - 1) / factor), 1, "{factor}");
            while u64::is_multiple_of(rest, factor) {
                rest /= factor;
            }
        }
        assert_eq!(rest, 1);
        assert_eq!(power(GENERATOR, MODULUS - 1), 1);
    }

    #[test]
    fn multiplication_agrees_with_the_definition() {
        for a in [0, 1, 2, 12_345, 1 << 60, MODULUS - 2, MODULUS - 1] {
            for b in [0, 1, 3, 0x1234_5678_9abc_def0, MODULUS - 1] {
                let expected = (u128::from(a) * u128::from(b)) % u128::from(MODULUS);
                assert_eq!(u128::from(multiply(a, b)), expected, "{a} * {b}");
            }
        }
    }

    #[test]
    fn a_changed_public_value_makes_the_sides_disagree() {
        let mut rng = crate::rng::SeededRng::new(1);
        let (mut public_i, mut public_r) = ([0; 32], [0; 32]);
        let (kx, _) = ToyKx::start(Group::X25519, &mut rng, &mut public_i).unwrap();
        public_i[0] ^= 1;
        let (secret, _) =
            ToyKx::respond(Group::X25519, &mut rng, &public_i, &mut public_r).unwrap();
        assert_ne!(kx.finish(&public_r).unwrap().as_ref(), secret.as_ref());
    }
}

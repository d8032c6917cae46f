//! The traits a crypto provider implements.
//!
//! Everything is inline state and associated types: no `dyn`, no box. Every buffer belongs to the caller, every
//! algorithm is chosen at run time by its IANA number, and an unknown one is [`CryptoError::Unsupported`], never a
//! panic. Secrets held by these types are wiped when they are dropped.

use core::marker::PhantomData;

use rand_core::CryptoRng;

use super::suite::{Encr, Group, Integ, PrfId, SignatureHash, Suite};

/// Why a cryptographic operation gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CryptoError {
    /// The provider does not implement this algorithm or key size.
    Unsupported,
    /// A key, nonce, text or output has a length that the algorithm does not allow.
    Length,
    /// The integrity check value is wrong. The text has been wiped.
    Integrity,
    /// The peer's key-exchange value is malformed, out of range, or gives a degenerate secret.
    PeerValue,
    /// The signature is wrong or malformed.
    Signature,
    /// The public or private key is malformed, too weak, or of another kind than the algorithm.
    Key,
    /// The hardware or the random source failed.
    Failed,
}

impl core::fmt::Display for CryptoError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "algorithm not supported by the provider",
            Self::Length => "length not allowed by the algorithm",
            Self::Integrity => "integrity check failed",
            Self::PeerValue => "invalid key-exchange value from the peer",
            Self::Signature => "wrong or malformed signature",
            Self::Key => "malformed, weak or unfitting key",
            Self::Failed => "cryptographic hardware or random source failed",
        })
    }
}

impl core::error::Error for CryptoError {}

/// A hash function: of a signature, and of the few places where a protocol hashes without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HashId {
    /// MD5, 16 bytes: IKEv1 with peers that have nothing else. Never of a signature.
    Md5,
    /// SHA-1, 20 bytes: NAT detection (RFC 7296 section 2.23).
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl HashId {
    /// Bytes of output.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Its number among the hash functions of signatures (RFC 7427 section 4); MD5 has none, and gives the reserved zero.
    pub const fn signature_hash(self) -> SignatureHash {
        match self {
            Self::Md5 => SignatureHash(0),
            Self::Sha1 => SignatureHash::SHA1,
            Self::Sha256 => SignatureHash::SHA2_256,
            Self::Sha384 => SignatureHash::SHA2_384,
            Self::Sha512 => SignatureHash::SHA2_512,
        }
    }
}

/// The parts of one packet, as an accelerator wants them.
///
/// An AEAD authenticates `head` and `text`. A cipher with a separate MAC encrypts `text` and authenticates `head`, the
/// IV as it stands on the wire (the nonce without the salt), the ciphertext, and `tail`, in that order
/// (encrypt-then-MAC). AEADs take the high half of an extended sequence number in `head`, MACs take it in `tail`
/// (RFC 4303 section 2.2.1).
///
/// - NULL has an empty nonce: `text` stays as it is, and the MAC covers `head`, `text` and `tail` (RFC 2410).
/// - AES-CTR encrypts with the counter block nonce, then a 32-bit counter that begins at 1; the nonce is 4 bytes of salt
///   and 8 of IV, of which the MAC covers the IV (RFC 3686 section 4).
/// - AES-CCM has a salt of 3 bytes, so a nonce of 11 (RFC 4309 section 4).
/// - [`Encr::NULL_AES_GMAC`] leaves `text` as it is. It authenticates `head`, the IV as it stands on the wire (the last 8
///   bytes of the nonce), and `text`, in that order, all as additional data of AES-GCM under the whole nonce, with
///   nothing encrypted (RFC 4543 section 3.3). On failure `text` is wiped all the same.
/// - An implicit IV is in the nonce like any other, and not in `head` (RFC 8750 section 4).
pub struct Work<'a> {
    /// Salt followed by the IV on the wire; [`Shape::salt_len`](super::Shape::salt_len) tells where one ends.
    pub nonce: &'a [u8],
    /// Authenticated, not encrypted, before the text.
    pub head: &'a [u8],
    /// Encrypted or decrypted in place. A multiple of the cipher's block.
    pub text: &'a mut [u8],
    /// Authenticated, not encrypted, not sent, after the text. Empty for an AEAD.
    pub tail: &'a [u8],
    /// The integrity check value: written by `seal`, verified by `open`. Its length is the suite's.
    pub icv: &'a mut [u8],
}

impl Work<'_> {
    /// The same work, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> Work<'_> {
        Work { nonce: self.nonce, head: self.head, text: self.text, tail: self.tail, icv: self.icv }
    }
}

/// One key pair of encryption and integrity, ready for packets: one object, so that a provider may stitch the two
/// passes or hand both to one hardware engine.
///
/// Cloning is not asked for: a key stays where it was made. Dropping wipes it.
pub trait PacketCipher: Sized {
    /// Prepares keys. `encr_key` has no salt; `integ_key` is empty for an AEAD.
    fn new(suite: Suite, encr_key: &[u8], integ_key: &[u8]) -> Result<Self, CryptoError>;

    /// Writes an IV that nobody without the key can predict, for suites whose [`Iv`](super::Iv) is `Unpredictable`.
    ///
    /// `counter` never repeats under one key. The usual way is to encrypt it, zero-padded to a block, with the packet
    /// key itself (NIST SP 800-38A appendix C). `iv` has exactly the suite's length.
    fn unpredictable_iv(&self, counter: u64, iv: &mut [u8]) -> Result<(), CryptoError>;

    /// Encrypts `text` and writes `icv`.
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError>;

    /// Verifies `icv` in constant time and decrypts `text`. On any error the text is wiped.
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError>;

    /// Whether [`seal_batch`](Self::seal_batch) and [`open_batch`](Self::open_batch) gain by seeing several packets at once.
    /// Where they do not, packets that come in a batch are given to [`seal`](Self::seal) and [`open`](Self::open) one by one,
    /// which spares keeping the state of many.
    const INTERLEAVES: bool = false;

    /// Seals many packets of many keys in one call, so that a provider can interleave them. One result each.
    fn seal_batch(jobs: &mut [(&Self, Work<'_>, Result<(), CryptoError>)]) {
        for (cipher, work, result) in jobs {
            *result = cipher.seal(work.reborrow());
        }
    }

    /// Opens many packets of many keys in one call. One result each.
    fn open_batch(jobs: &mut [(&Self, Work<'_>, Result<(), CryptoError>)]) {
        for (cipher, work, result) in jobs {
            *result = cipher.open(work.reborrow());
        }
    }
}

/// The parts of one packet of AH: what [`Mac::sign`] and [`Mac::verify`] take.
///
/// The parts follow each other without gap or mark; some may be empty, and their lengths are arbitrary. They are the IP
/// headers with what may change on the way zeroed, the fixed fields of AH, zeros for IV and integrity check value, the
/// rest of the packet, and the high half of an extended sequence number.
pub struct MacWork<'a> {
    /// For GMAC, salt and IV (RFC 4543 section 4); otherwise empty.
    pub nonce: &'a [u8],
    /// What is authenticated, in order.
    pub parts: [&'a [u8]; 5],
    /// The integrity check value: written by `sign`, verified by `verify`. Its length is the algorithm's.
    pub icv: &'a mut [u8],
}

/// A keyed integrity function over parts that need not be contiguous: AH.
pub trait Mac: Sized {
    /// Prepares a key of [`Integ::key_len`] bytes (GMAC: its salt excluded).
    fn new(integ: Integ, key: &[u8]) -> Result<Self, CryptoError>;

    /// Writes the integrity check value over `parts`, in order. `nonce` is empty but for GMAC.
    fn sign(&self, nonce: &[u8], parts: &[&[u8]], icv: &mut [u8]) -> Result<(), CryptoError>;

    /// Verifies `icv` over `parts` in constant time.
    fn verify(&self, nonce: &[u8], parts: &[&[u8]], icv: &[u8]) -> Result<(), CryptoError>;
}

/// A pseudo-random function with its key set: RFC 7296 section 2.13.
pub trait Prf: Sized {
    /// Takes a key of any length.
    fn new(id: PrfId, key: &[u8]) -> Result<Self, CryptoError>;

    /// Writes prf(key, parts...) to `out`, which has exactly [`PrfId::output_len`] bytes.
    fn compute(&self, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError>;
}

/// One side of a key exchange: Diffie-Hellman, or a KEM.
///
/// The initiator calls `start`, sends the public value, and calls `finish` with what came back. The responder calls
/// `respond`, which for a KEM is the encapsulation. The value itself holds the private part, and wipes it on drop.
pub trait KeyExchange: Sized {
    /// The shared secret, wiped on drop. MODP secrets keep their leading zeros (RFC 7296 section 2.14).
    type Secret: AsRef<[u8]>;

    /// Makes a private value and writes the public one; the length written is returned and is
    /// [`Group::public_len`] for the initiator.
    fn start(
        group: Group,
        rng: &mut dyn CryptoRng,
        public: &mut [u8],
    ) -> Result<(Self, usize), CryptoError>;

    /// Answers `peer`: writes the public value and gives the secret; the length written is returned and is
    /// [`Group::answer_len`].
    ///
    /// # Errors
    /// [`CryptoError::PeerValue`] for a value of the wrong length, out of range (0, 1, p-1), not on the curve, or that
    /// gives an all-zero secret (RFC 6989, RFC 7748 section 6).
    fn respond(
        group: Group,
        rng: &mut dyn CryptoRng,
        peer: &[u8],
        public: &mut [u8],
    ) -> Result<(Self::Secret, usize), CryptoError>;

    /// Completes with the responder's public value. Errors as for [`KeyExchange::respond`].
    ///
    /// It borrows, so that a second, genuine answer can be tried after a forged one.
    fn finish(&self, peer: &[u8]) -> Result<Self::Secret, CryptoError>;
}

const fn has_kem(groups: &[Group]) -> bool {
    match groups.split_first() {
        Some((first, rest)) => first.is_kem() || has_kem(rest),
        None => false,
    }
}

const fn longest_public(groups: &[Group]) -> usize {
    let Some((first, rest)) = groups.split_first() else { return 0 };
    let mut longest = longest_public(rest);
    if let (Some(public), Some(answer)) = (first.public_len(), first.answer_len()) {
        longest = if public > longest { public } else { longest };
        longest = if answer > longest { answer } else { longest };
    }
    longest
}

/// All the cryptography of a program, named once as a type.
pub trait Provider: 'static {
    /// Packet protection: ESP and the encrypted payload of IKEv2.
    type Cipher: PacketCipher;
    /// Integrity alone: AH.
    type Mac: Mac;
    /// Pseudo-random functions of IKE.
    type Prf: Prf;
    /// Key exchange of IKE.
    type Kx: KeyExchange;

    /// The packet suites that `Cipher` implements.
    const SUITES: &'static [Suite];
    /// The integrity algorithms that `Mac` implements.
    const INTEGS: &'static [Integ];
    /// The pseudo-random functions that `Prf` implements.
    const PRFS: &'static [PrfId];
    /// The groups that `Kx` implements.
    const GROUPS: &'static [Group];
    /// Whether IKE may do a key exchange after another one (RFC 9370): true if a group is a key encapsulation mechanism.
    /// Where it is false, nothing of that is linked.
    const HYBRID: bool = has_kem(Self::GROUPS);
    /// Whether there is AH: false if there is no integrity algorithm. Then nothing of it is linked.
    const AH: bool = !Self::INTEGS.is_empty();
    /// Bytes of the longest public value of the groups.
    const LONGEST_PUBLIC: usize = longest_public(Self::GROUPS);

    /// Hashes `parts`, in order, into `out`, which has exactly [`HashId::output_len`] bytes.
    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError>;

    /// Encrypts `text`, whole blocks, in CBC mode and does nothing else: IKEv1, whose messages have no integrity check
    /// value (RFC 2409 appendix B). The length of `key` says which key size is meant; `iv` is a block.
    ///
    /// A provider that is not used for IKEv1 leaves it as it is.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] if `encr` has no CBC mode here, [`CryptoError::Length`] if a length does not fit; then
    /// `text` is as it was.
    fn cbc_encrypt(encr: Encr, key: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
        let _ = (encr, key, iv, text);
        Err(CryptoError::Unsupported)
    }

    /// Decrypts what [`Provider::cbc_encrypt`] has made. Errors as there.
    fn cbc_decrypt(encr: Encr, key: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
        let _ = (encr, key, iv, text);
        Err(CryptoError::Unsupported)
    }

    /// Whether `suite` is implemented.
    fn has_suite(suite: Suite) -> bool {
        Self::SUITES.contains(&suite)
    }

    /// Whether `encr` is implemented with any key size.
    fn has_encr(encr: Encr) -> bool {
        Self::SUITES.iter().any(|s| s.encr == encr)
    }
}

/// A provider without AH: of a program that names it, nothing that only AH needs is linked.
///
/// `P` may be one that has an integrity algorithm for other reasons, as that of a pseudo-random function.
pub struct WithoutAh<P>(PhantomData<P>);

impl<P: Provider> Provider for WithoutAh<P> {
    type Cipher = P::Cipher;
    type Mac = NoMac;
    type Prf = P::Prf;
    type Kx = P::Kx;

    const SUITES: &'static [Suite] = P::SUITES;
    const INTEGS: &'static [Integ] = &[];
    const PRFS: &'static [PrfId] = P::PRFS;
    const GROUPS: &'static [Group] = P::GROUPS;

    fn hash(id: HashId, parts: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        P::hash(id, parts, out)
    }

    fn cbc_encrypt(encr: Encr, key: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
        P::cbc_encrypt(encr, key, iv, text)
    }

    fn cbc_decrypt(encr: Encr, key: &[u8], iv: &[u8], text: &mut [u8]) -> Result<(), CryptoError> {
        P::cbc_decrypt(encr, key, iv, text)
    }
}

/// The integrity algorithm of [`WithoutAh`]: there is none.
pub enum NoMac {}

impl Mac for NoMac {
    fn new(_: Integ, _: &[u8]) -> Result<Self, CryptoError> {
        Err(CryptoError::Unsupported)
    }

    fn sign(&self, _: &[u8], _: &[&[u8]], _: &mut [u8]) -> Result<(), CryptoError> {
        match *self {}
    }

    fn verify(&self, _: &[u8], _: &[&[u8]], _: &[u8]) -> Result<(), CryptoError> {
        match *self {}
    }
}

//! Keying material of IKEv1 (RFC 2409 section 5 and appendix B): SKEYID and what follows from it, initialization vectors,
//! and the hashes that prove and protect.

use core::net::IpAddr;

use ipsec_core::bytes::{self, Writer};
use ipsec_core::crypto::suite::MAX_PRF;
use ipsec_core::crypto::{CryptoError, Encr, HashId, Prf, PrfId, Provider, Suite};
use ipsec_core::path::Endpoint;
use ipsec_core::sa::{Algorithms, Spi};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keymat::{ChildKeys, Role};
use crate::wire::v1::{IdPayload, MAX_NONCE, ProtocolId};

/// The largest key of a cipher of phase 1.
const MAX_KEY: usize = 32;
/// The largest block of a cipher of phase 1.
const MAX_BLOCK: usize = 16;

/// Encryption and hash of phase 1: what keys depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protection {
    /// The cipher, in CBC mode.
    pub(crate) encr: Encr,
    /// Bits of its key, 0 where it has only one size.
    pub(crate) key_bits: u16,
    /// HMAC of the hash.
    pub(crate) prf: PrfId,
}

impl Protection {
    /// The hash whose HMAC is the pseudo-random function; `None` if it is no HMAC.
    pub(crate) const fn hash(&self) -> Option<HashId> {
        Some(match self.prf {
            PrfId::HMAC_MD5 => HashId::Md5,
            PrfId::HMAC_SHA1 => HashId::Sha1,
            PrfId::HMAC_SHA2_256 => HashId::Sha256,
            PrfId::HMAC_SHA2_384 => HashId::Sha384,
            PrfId::HMAC_SHA2_512 => HashId::Sha512,
            _ => return None,
        })
    }

    /// Bytes of the cipher's key and of its block; `None` if it has no CBC mode, or no such key.
    pub(crate) const fn sizes(&self) -> Option<(usize, usize)> {
        match (self.encr, self.key_bits) {
            (Encr::DES, 0) => Some((8, 8)),
            (Encr::DES3, 0) => Some((24, 8)),
            (Encr::AES_CBC, 128 | 192 | 256) => Some((self.key_bits as usize / 8, 16)),
            _ => None,
        }
    }
}

/// The output of a hash or of a pseudo-random function.
#[derive(Clone, Copy, Zeroize)]
pub(crate) struct Digest {
    bytes: [u8; MAX_PRF],
    len: u8,
}

impl Digest {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self { bytes: [0; MAX_PRF], len: 0 };

    /// It.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }

    /// Whether it is what the peer sent, compared in constant time. Nothing equals what is empty.
    pub(crate) fn matches(&self, theirs: &[u8]) -> bool {
        self.len != 0 && bool::from(self.bytes().ct_eq(theirs))
    }

    fn of_prf<P: Provider>(
        &mut self,
        id: PrfId,
        key: &[u8],
        parts: &[&[u8]],
    ) -> Result<(), CryptoError> {
        let len = id.output_len().ok_or(CryptoError::Unsupported)?;
        let out = self.bytes.get_mut(..len).ok_or(CryptoError::Length)?;
        P::Prf::new(id, key)?.compute(parts, out)?;
        self.len = u8::try_from(len).map_err(|_| CryptoError::Length)?;
        Ok(())
    }

    fn of_hash<P: Provider>(id: HashId, parts: &[&[u8]]) -> Result<Self, CryptoError> {
        let mut digest = Self::EMPTY;
        let len = id.output_len();
        P::hash(id, parts, digest.bytes.get_mut(..len).ok_or(CryptoError::Length)?)?;
        digest.len = u8::try_from(len).map_err(|_| CryptoError::Length)?;
        Ok(digest)
    }
}

/// SKEYID, which phase 1 needs and nothing after it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Skeyid(Digest);

#[expect(clippy::wrong_self_convention, reason = "keys are made where they stay")]
impl Skeyid {
    /// None yet: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self(Digest::EMPTY);

    /// SKEYID = prf (pre-shared key, Ni_b | Nr_b) (RFC 2409 section 5).
    pub(crate) fn from_psk<P: Provider>(
        &mut self,
        prf: PrfId,
        psk: &[u8],
        ni: &[u8],
        nr: &[u8],
    ) -> Result<(), CryptoError> {
        self.0.of_prf::<P>(prf, psk, &[ni, nr])
    }

    /// SKEYID = prf (Ni_b | Nr_b, g^xy), with signatures (RFC 2409 section 5).
    pub(crate) fn from_secret<P: Provider>(
        &mut self,
        prf: PrfId,
        ni: &[u8],
        nr: &[u8],
        secret: &[u8],
    ) -> Result<(), CryptoError> {
        let mut key = [0; 2 * MAX_NONCE];
        let mut w = Writer::new(&mut key);
        w.bytes(ni).and_then(|()| w.bytes(nr)).ok_or(CryptoError::Length)?;
        self.0.of_prf::<P>(prf, w.written(), &[secret])
    }

    /// HASH_I or HASH_R: what `sender` proves to know, or signs (RFC 2409 section 5).
    pub(crate) fn proof<P: Provider>(
        &self,
        prf: PrfId,
        sender: Role,
        seen: &Seen<'_>,
        id: &IdPayload<'_>,
    ) -> Result<Digest, CryptoError> {
        let (i, r) = ((seen.g_xi, seen.cookie_i), (seen.g_xr, seen.cookie_r));
        let (own, other) = match sender {
            Role::Initiator => (i, r),
            Role::Responder => (r, i),
        };
        let mut digest = Digest::EMPTY;
        digest.of_prf::<P>(
            prf,
            self.0.bytes(),
            &[
                own.0,
                other.0,
                &own.1.to_be_bytes(),
                &other.1.to_be_bytes(),
                seen.sa_i,
                &id.head(),
                id.data,
            ],
        )?;
        Ok(digest)
    }
}

/// What both sides have seen of phase 1, and prove.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The initiator's key-exchange value.
    pub(crate) g_xi: &'a [u8],
    /// The responder's key-exchange value.
    pub(crate) g_xr: &'a [u8],
    /// The initiator's cookie.
    pub(crate) cookie_i: u64,
    /// The responder's cookie.
    pub(crate) cookie_r: u64,
    /// SAi_b: the body of the SA payload that the initiator offered.
    pub(crate) sa_i: &'a [u8],
}

/// The keys that an ISAKMP SA needs for all its life: SKEYID_d, SKEYID_a, and the key of the cipher.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Phase1Keys {
    d: Digest,
    a: Digest,
    key: [u8; MAX_KEY],
    key_len: u8,
}

impl Phase1Keys {
    /// No keys: what an empty slot holds.
    pub(crate) const EMPTY: Self =
        Self { d: Digest::EMPTY, a: Digest::EMPTY, key: [0; MAX_KEY], key_len: 0 };

    /// Derives them (RFC 2409 section 5 and appendix B). On an error no key is left.
    pub(crate) fn derive<P: Provider>(
        &mut self,
        protection: Protection,
        skeyid: &Skeyid,
        secret: &[u8],
        cookie_i: u64,
        cookie_r: u64,
    ) -> Result<(), CryptoError> {
        let derived = self.fill::<P>(
            protection,
            skeyid.0.bytes(),
            secret,
            &cookie_i.to_be_bytes(),
            &cookie_r.to_be_bytes(),
        );
        if derived.is_err() {
            self.zeroize();
        }
        derived
    }

    /// SKEYID_d, from which the keys of phase 2 are derived.
    pub(crate) fn skeyid_d(&self) -> &[u8] {
        self.d.bytes()
    }

    /// SKEYID_a, which authenticates the messages of phase 2.
    pub(crate) fn skeyid_a(&self) -> &[u8] {
        self.a.bytes()
    }

    /// The key of the cipher. It is also what a key log shows.
    pub(crate) fn key(&self) -> &[u8] {
        self.key.get(..self.key_len.into()).unwrap_or_default()
    }

    fn fill<P: Provider>(
        &mut self,
        protection: Protection,
        skeyid: &[u8],
        secret: &[u8],
        cookie_i: &[u8],
        cookie_r: &[u8],
    ) -> Result<(), CryptoError> {
        let prf = protection.prf;
        let (key_len, _) = protection.sizes().ok_or(CryptoError::Unsupported)?;
        self.d.of_prf::<P>(prf, skeyid, &[secret, cookie_i, cookie_r, &[0]])?;
        self.a.of_prf::<P>(prf, skeyid, &[self.d.bytes(), secret, cookie_i, cookie_r, &[1]])?;
        let mut e = Zeroizing::new(Digest::EMPTY);
        e.of_prf::<P>(prf, skeyid, &[self.a.bytes(), secret, cookie_i, cookie_r, &[2]])?;
        let key = self.key.get_mut(..key_len).ok_or(CryptoError::Length)?;
        if let Some(enough) = e.bytes().get(..key_len) {
            bytes::copy(key, enough).ok_or(CryptoError::Length)?;
        } else {
            // RFC 2409 appendix B: Ka = K1 | K2 | K3, where K1 = prf (SKEYID_e, 0) and Kn = prf (SKEYID_e, Kn-1).
            chain::<P>(prf, e.bytes(), &[&[0]], &[], key)?;
        }
        self.key_len = u8::try_from(key_len).map_err(|_| CryptoError::Length)?;
        Ok(())
    }
}

/// Fills `out` with K1 | K2 | ..., where K1 = prf (key, first) and Kn = prf (key, Kn-1 | further).
fn chain<P: Provider>(
    id: PrfId,
    key: &[u8],
    first: &[&[u8]],
    further: &[&[u8]],
    out: &mut [u8],
) -> Result<(), CryptoError> {
    let len = id.output_len().ok_or(CryptoError::Unsupported)?;
    let prf = P::Prf::new(id, key)?;
    let mut block = Zeroizing::new([0; MAX_PRF]);
    let mut w = Writer::new(out);
    prf.compute(first, block.get_mut(..len).ok_or(CryptoError::Length)?)?;
    loop {
        let room = w.room().len();
        let piece = block.get(..len.min(room)).ok_or(CryptoError::Length)?;
        w.bytes(piece).ok_or(CryptoError::Length)?;
        if room <= len {
            return Ok(());
        }
        let mut next = Zeroizing::new([0; MAX_PRF]);
        let mut parts = heapless::Vec::<&[u8], 8>::new();
        let previous = block.get(..len).unwrap_or_default();
        for part in [previous].into_iter().chain(further.iter().copied()) {
            parts.push(part).map_err(|_| CryptoError::Length)?;
        }
        prf.compute(&parts, next.get_mut(..len).ok_or(CryptoError::Length)?)?;
        drop(parts);
        // Copied, not moved: what is moved from is not wiped.
        bytes::copy(&mut *block, &*next).ok_or(CryptoError::Length)?;
    }
}

/// The initialization vector of the next message of an exchange: the last block that went either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Iv {
    bytes: [u8; MAX_BLOCK],
    len: u8,
}

impl Iv {
    /// None yet: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self { bytes: [0; MAX_BLOCK], len: 0 };

    /// That of phase 1: hash (g^xi | g^xr) (RFC 2409 appendix B).
    pub(crate) fn of_phase_1<P: Provider>(
        protection: Protection,
        g_xi: &[u8],
        g_xr: &[u8],
    ) -> Result<Self, CryptoError> {
        Self::of_hash::<P>(protection, &[g_xi, g_xr])
    }

    /// That of an exchange of phase 2: hash (last block of phase 1 | M-ID) (RFC 2409 appendix B). `self` is that of
    /// phase 1, after its last message.
    pub(crate) fn of_phase_2<P: Provider>(
        &self,
        protection: Protection,
        message_id: u32,
    ) -> Result<Self, CryptoError> {
        Self::of_hash::<P>(protection, &[self.bytes(), &message_id.to_be_bytes()])
    }

    /// It: a block.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }

    /// The last block of `ciphertext`; `None` if that is shorter.
    pub(crate) fn after(&self, ciphertext: &[u8]) -> Option<Self> {
        let at = ciphertext.len().checked_sub(self.len.into())?;
        let mut next = *self;
        bytes::copy_prefix(&mut next.bytes, ciphertext.get(at..)?)?;
        Some(next)
    }

    fn of_hash<P: Provider>(protection: Protection, parts: &[&[u8]]) -> Result<Self, CryptoError> {
        let (_, block_len) = protection.sizes().ok_or(CryptoError::Unsupported)?;
        let hash = protection.hash().ok_or(CryptoError::Unsupported)?;
        let digest = Digest::of_hash::<P>(hash, parts)?;
        let mut iv = Self::EMPTY;
        let block = digest.bytes().get(..block_len).ok_or(CryptoError::Length)?;
        bytes::copy_prefix(&mut iv.bytes, block).ok_or(CryptoError::Length)?;
        iv.len = u8::try_from(block_len).map_err(|_| CryptoError::Length)?;
        Ok(iv)
    }
}

/// HASH(1) of Quick Mode, the hash of an Informational or a Mode Config message: prf (SKEYID_a, M-ID | what follows the
/// hash payload) (RFC 2409 sections 5.5 and 5.7).
pub(crate) fn hash_1<P: Provider>(
    prf: PrfId,
    skeyid_a: &[u8],
    message_id: u32,
    after: &[u8],
) -> Result<Digest, CryptoError> {
    let mut digest = Digest::EMPTY;
    digest.of_prf::<P>(prf, skeyid_a, &[&message_id.to_be_bytes(), after])?;
    Ok(digest)
}

/// HASH(2) of Quick Mode: prf (SKEYID_a, M-ID | Ni_b | what follows the hash payload) (RFC 2409 section 5.5).
pub(crate) fn hash_2<P: Provider>(
    prf: PrfId,
    skeyid_a: &[u8],
    message_id: u32,
    ni: &[u8],
    after: &[u8],
) -> Result<Digest, CryptoError> {
    let mut digest = Digest::EMPTY;
    digest.of_prf::<P>(prf, skeyid_a, &[&message_id.to_be_bytes(), ni, after])?;
    Ok(digest)
}

/// HASH(3) of Quick Mode: prf (SKEYID_a, 0 | M-ID | Ni_b | Nr_b) (RFC 2409 section 5.5).
pub(crate) fn hash_3<P: Provider>(
    prf: PrfId,
    skeyid_a: &[u8],
    message_id: u32,
    ni: &[u8],
    nr: &[u8],
) -> Result<Digest, CryptoError> {
    let mut digest = Digest::EMPTY;
    digest.of_prf::<P>(prf, skeyid_a, &[&[0], &message_id.to_be_bytes(), ni, nr])?;
    Ok(digest)
}

/// What the keys of phase 2 are made of, besides protocol and SPI.
#[derive(Clone, Copy)]
pub(crate) struct Phase2Seed<'a> {
    /// The pseudo-random function of phase 1.
    pub(crate) prf: PrfId,
    /// SKEYID_d.
    pub(crate) skeyid_d: &'a [u8],
    /// The shared secret of the exchange's own key exchange, with perfect forward secrecy.
    pub(crate) secret: Option<&'a [u8]>,
    /// The initiator's nonce.
    pub(crate) ni: &'a [u8],
    /// The responder's nonce.
    pub(crate) nr: &'a [u8],
}

impl Phase2Seed<'_> {
    /// Fills `out` with the keying material of the SA that has this SPI, which its receiver chose: KEYMAT = K1 | K2 | ...,
    /// where K1 = prf (SKEYID_d, \[g(qm)^xy |\] protocol | SPI | Ni_b | Nr_b) and each further one has the one before it in
    /// front (RFC 2409 section 5.5).
    pub(crate) fn keymat<P: Provider>(
        &self,
        protocol: ProtocolId,
        spi: Spi,
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let secret = self.secret.unwrap_or_default();
        let (protocol, spi) = ([protocol.0], spi.get().to_be_bytes());
        let seed = [secret, &protocol, &spi, self.ni, self.nr];
        chain::<P>(self.prf, self.skeyid_d, &seed, &seed, out)
    }

    /// Derives the keys of both SAs of a child: of the one that the initiator of the exchange sends on, whose SPI the
    /// responder chose, and of the other. On an error no key is left.
    pub(crate) fn child<P: Provider>(
        &self,
        keys: &mut ChildKeys,
        suite: Suite,
        to_responder: Spi,
        to_initiator: Spi,
    ) -> Result<(), CryptoError> {
        let protocol = if suite.is_ah() { ProtocolId::AH } else { ProtocolId::ESP };
        let len = Algorithms::from(suite).keymat_len().ok_or(CryptoError::Unsupported)?;
        let derived = keys.room(len).ok_or(CryptoError::Length).and_then(|(from_i, from_r)| {
            self.keymat::<P>(protocol, to_responder, from_i)?;
            self.keymat::<P>(protocol, to_initiator, from_r)
        });
        if derived.is_err() {
            keys.zeroize();
        }
        derived
    }
}

/// The body of a NAT-D payload: hash (CKY-I | CKY-R | address | port) (RFC 3947 section 3.2).
pub(crate) fn nat_d<P: Provider>(
    hash: HashId,
    cookie_i: u64,
    cookie_r: u64,
    endpoint: Endpoint,
) -> Result<Digest, CryptoError> {
    let (v4, v6);
    let address: &[u8] = match endpoint.address {
        IpAddr::V4(a) => {
            v4 = a.octets();
            &v4
        }
        IpAddr::V6(a) => {
            v6 = a.octets();
            &v6
        }
    };
    let (cookie_i, cookie_r) = (cookie_i.to_be_bytes(), cookie_r.to_be_bytes());
    Digest::of_hash::<P>(hash, &[&cookie_i, &cookie_r, address, &endpoint.port.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::protect;
    use crate::wire::HEADER_LEN;
    use crate::wire::v1::testdata::{CONVERSATIONS, Conversation, PSK, bytes as hex};
    use crate::wire::v1::{Collected, ExchangeType, Message, Payloads};
    use ipsec_rustcrypto::RustCrypto;

    extern crate std;
    use std::vec::Vec;

    /// NIST's component test vectors for SP 800-135, IKEv1 with signatures and SHA-1, the first one
    /// (`ikev1_dsa`: Ni of 64 bits, Nr of 64 bits, g^xy of 1024 bits).
    #[test]
    fn nist_vector_of_signatures() {
        let secret = hex(
            "2a2e0bbe8da3657a83f3d35826e49e2d38e557e912a1b9e6c30c63577b3eab715466202862027f2c26f3090743555579\
             611771db0b92bef93834432a3a7762fc8a0f4889fd281d6082770d10a40d7bad61e832f041e620d6787e7f62ab2861dd\
             fbe272e0d9d3cdec5f1bbf750e24b8b32d6d714968ad69ce5086c32ad2742ebc",
        );
        let prf = PrfId::HMAC_SHA1;
        let (ni, nr) = (hex("ced5635da6796075"), hex("6244b427712fb776"));
        let mut skeyid = Skeyid::EMPTY;
        skeyid.from_secret::<RustCrypto>(prf, &ni, &nr, &secret).unwrap();
        assert_eq!(skeyid.0.bytes(), hex("dc37ac99de6dcfbd1ee74af7fb36f9b4b0a7829d"));
        let mut keys = Phase1Keys::EMPTY;
        let aes = Protection { encr: Encr::AES_CBC, key_bits: 128, prf };
        let cookies = (0x382e_5c8b_0a3f_a307, 0xba4b_7616_700a_2413);
        keys.derive::<RustCrypto>(aes, &skeyid, &secret, cookies.0, cookies.1).unwrap();
        assert_eq!(keys.skeyid_d(), hex("486293ed547adb562cefdaf43d3d8457b196f2b6"));
        assert_eq!(keys.skeyid_a(), hex("f4053b5ca07e59bb41b8f401037ca90b72b3917e"));
        // SKEYID_e, of which AES-128 takes the beginning.
        assert_eq!(keys.key(), &hex("49a1d53a80fb77e663552964fbbcb45092021473")[..16]);
    }

    /// One conversation of strongSwan with itself, followed by someone who knows the pre-shared key and the shared secrets.
    struct Follower {
        protection: Protection,
        keys: Phase1Keys,
        skeyid: Skeyid,
        phase_1: Iv,
        /// The vectors of exchanges of phase 2.
        ivs: Vec<(u32, Iv)>,
    }

    impl Follower {
        fn open(&mut self, datagram: &mut [u8], message_id: u32) {
            let known = self.ivs.iter().position(|(id, _)| *id == message_id);
            let iv = match known {
                Some(at) => self.ivs.remove(at).1,
                None if message_id == 0 => self.phase_1,
                None => self.phase_1.of_phase_2::<RustCrypto>(self.protection, message_id).unwrap(),
            };
            let mut again = datagram.to_vec();
            let next = protect::open::<RustCrypto>(self.protection, self.keys.key(), &iv, datagram)
                .unwrap();
            if message_id == 0 {
                self.phase_1 = next;
            } else {
                self.ivs.push((message_id, next));
            }
            // And back.
            let sealed = again.clone();
            bytes::copy(&mut again, datagram).unwrap();
            let sealing =
                protect::seal::<RustCrypto>(self.protection, self.keys.key(), &iv, &mut again)
                    .unwrap();
            assert_eq!((again, sealing), (sealed, next));
        }
    }

    fn follow(conversation: &Conversation) {
        let what = conversation.what;
        let prf = conversation.prf;
        let (encr, key_bits) = conversation.cipher;
        let protection = Protection { encr, key_bits, prf };
        let secrets = conversation.secrets.map(hex);
        let expected = conversation.keys.map(hex);
        let mut sa_i = Vec::new();
        let (mut ke, mut nonce) = (Vec::<Vec<u8>>::new(), Vec::<Vec<u8>>::new());
        let (mut quick_nonces, mut quick_spis) = (Vec::<Vec<u8>>::new(), Vec::new());
        let mut proofs = 0;
        let mut follower: Option<Follower> = None;
        for said in conversation.said {
            let mut datagram = said.datagram();
            let header = Message::parse(&datagram).unwrap().header;
            let id = header.message_id;
            if header.is_encrypted() {
                let follower = follower.as_mut().unwrap();
                follower.open(&mut datagram, id);
                assert_eq!(datagram[HEADER_LEN..], said.plain(), "{what}");
            }
            let all =
                Collected::collect(Payloads::padded(header.next_payload, &datagram[HEADER_LEN..]))
                    .unwrap();
            if id == 0 {
                sa_i.extend(
                    all.sa.iter().take(usize::from(sa_i.is_empty())).flat_map(|sa| sa.body()),
                );
                ke.extend(all.ke.map(<[u8]>::to_vec));
                nonce.extend(all.nonce.map(<[u8]>::to_vec));
                if ke.len() == 2 && follower.is_none() {
                    let (cookie_i, cookie_r) = (header.initiator_cookie, header.responder_cookie);
                    let mut skeyid = Skeyid::EMPTY;
                    skeyid.from_psk::<RustCrypto>(prf, PSK, &nonce[0], &nonce[1]).unwrap();
                    assert_eq!(skeyid.0.bytes(), expected[0], "{what}");
                    let mut keys = Phase1Keys::EMPTY;
                    keys.derive::<RustCrypto>(protection, &skeyid, &secrets[0], cookie_i, cookie_r)
                        .unwrap();
                    let derived = [keys.skeyid_d(), keys.skeyid_a(), keys.key()];
                    assert_eq!(derived, [&expected[1][..], &expected[2], &expected[3]], "{what}");
                    let phase_1 = Iv::of_phase_1::<RustCrypto>(protection, &ke[0], &ke[1]).unwrap();
                    assert_eq!(phase_1.bytes(), expected[4], "{what}");
                    follower =
                        Some(Follower { protection, keys, skeyid, phase_1, ivs: Vec::new() });
                }
                // The proofs: Main Mode's are encrypted, and the responder's of Aggressive Mode is not.
                if let (Some(hash), Some(follower)) = (all.hash, &follower) {
                    let seen = Seen {
                        g_xi: &ke[0],
                        g_xr: &ke[1],
                        cookie_i: header.initiator_cookie,
                        cookie_r: header.responder_cookie,
                        sa_i: &sa_i,
                    };
                    let sent =
                        conversation.said.iter().position(|s| core::ptr::eq(s, said)).unwrap();
                    let sender = if sent % 2 == 0 { Role::Initiator } else { Role::Responder };
                    // Aggressive Mode: the initiator's identity was in its first message.
                    let first = conversation.said[0].datagram();
                    let first = Message::parse(&first).unwrap().collect().unwrap();
                    let identity = all.id.or(first.id).unwrap();
                    let proof =
                        follower.skeyid.proof::<RustCrypto>(prf, sender, &seen, &identity).unwrap();
                    assert!(proof.matches(hash), "{what}: {sender:?}");
                    proofs += 1;
                }
                continue;
            }
            let follower = follower.as_ref().unwrap();
            let (a, hash) = (follower.keys.skeyid_a(), all.hash.unwrap());
            assert_eq!(all.first, crate::wire::v1::PayloadType::HASH);
            let covered = all.after_first;
            let (ni, nr) = (quick_nonces.first(), quick_nonces.get(1));
            let expected = match (header.exchange, ni, nr) {
                (ExchangeType::QUICK_MODE, Some(ni), None) => {
                    hash_2::<RustCrypto>(prf, a, id, ni, covered)
                }
                (ExchangeType::QUICK_MODE, Some(ni), Some(nr)) => {
                    hash_3::<RustCrypto>(prf, a, id, ni, nr)
                }
                _ => hash_1::<RustCrypto>(prf, a, id, covered),
            };
            assert!(expected.unwrap().matches(hash), "{what}: {}", header.exchange);
            let nonce: Option<Vec<u8>> = all.nonce.map(<[u8]>::to_vec);
            quick_nonces.extend(nonce);
            let spi = all.sa.and_then(|sa| Spi::new(sa.single()?.spi_u32()?));
            quick_spis.extend(spi);
        }
        assert_eq!((proofs, quick_spis.len()), (2, 2), "{what}");
        let follower = follower.unwrap();
        let seed = Phase2Seed {
            prf,
            skeyid_d: follower.keys.skeyid_d(),
            secret: (!secrets[1].is_empty()).then_some(&secrets[1]),
            ni: &quick_nonces[0],
            nr: &quick_nonces[1],
        };
        let mut child = ChildKeys::EMPTY;
        let [to_initiator, to_responder] = quick_spis[..] else { panic!() };
        seed.child::<RustCrypto>(&mut child, conversation.suite, to_responder, to_initiator)
            .unwrap();
        let expected = conversation.child.map(hex);
        assert_eq!(child.of(Role::Initiator), expected[0], "{what}");
        assert_eq!(child.of(Role::Responder), expected[1], "{what}");
    }

    /// RFC 2409 sections 5, 5.5, 5.7 and appendix B, as strongSwan understands them: keys, vectors, hashes, and every
    /// message in clear.
    #[test]
    fn conversations_of_strongswan() {
        let has = |c: &&Conversation| {
            let (encr, key_bits) = c.cipher;
            RustCrypto::SUITES.iter().any(|s| s.encr == encr && s.key_bits == key_bits)
        };
        let followed = CONVERSATIONS.iter().filter(has).map(follow).count();
        assert!(followed >= 3, "without `legacy` all but one");
    }

    /// RFC 3947 section 3.2: the hash of phase 1 over cookies, address and port.
    #[test]
    fn nat_discovery_of_strongswan() {
        let of = |at: usize| CONVERSATIONS[0].said[at].datagram();
        let (request, answer) = (of(2), of(3));
        let (request, answer) =
            (Message::parse(&request).unwrap(), Message::parse(&answer).unwrap());
        let header = request.header;
        let digest = |address: [u8; 4], port| {
            let endpoint = Endpoint { address: address.into(), port };
            let cookies = (header.initiator_cookie, header.responder_cookie);
            nat_d::<RustCrypto>(HashId::Sha1, cookies.0, cookies.1, endpoint).unwrap()
        };
        let (sun, moon) = (digest([192, 0, 2, 2], 500), digest([192, 0, 2, 1], 500));
        let sent =
            |m: &Message<'_>| m.collect().unwrap().nat_d().map(<[u8]>::to_vec).collect::<Vec<_>>();
        // kernel-libipsec pretends that there is a NAT, by a wrong hash of the sender's endpoint.
        assert!(sun.matches(&sent(&request)[0]) && moon.matches(&sent(&answer)[0]));
        assert!(!sun.matches(&sent(&request)[1]) && !moon.matches(&sent(&request)[1]));
    }

    #[test]
    fn a_failure_leaves_no_key() {
        let mut skeyid = Skeyid::EMPTY;
        skeyid.from_psk::<RustCrypto>(PrfId::HMAC_SHA1, b"key", b"ni", b"nr").unwrap();
        let aes = Protection { encr: Encr::AES_CBC, key_bits: 128, prf: PrfId::HMAC_SHA1 };
        let mut keys = Phase1Keys::EMPTY;
        keys.derive::<RustCrypto>(aes, &skeyid, b"secret", 1, 2).unwrap();
        for broken in [
            Protection { encr: Encr::AES_CTR, ..aes },
            Protection { key_bits: 0, ..aes },
            Protection { prf: PrfId(u16::MAX), ..aes },
        ] {
            assert!(keys.derive::<RustCrypto>(broken, &skeyid, b"secret", 1, 2).is_err());
            assert!(keys.key().is_empty() && keys.skeyid_d().is_empty());
        }
        assert!(!Digest::EMPTY.matches(&[]));
    }
}

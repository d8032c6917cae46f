//! Keying material of IKE SAs and of their children (RFC 7296 sections 2.13, 2.14, 2.17, 2.18).
//!
//! Keys are kept raw and in place: they are derived into the slot that holds them, and wiped there.

use ipsec_core::bytes::{self, Writer};
use ipsec_core::crypto::suite::{MAX_KEYMAT, MAX_PRF};
use ipsec_core::crypto::{CryptoError, Prf, PrfId, Provider, Suite};
use ipsec_core::sa::Algorithms;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::proposal::IkeChoice;
use crate::wire::IdPayload;
use crate::wire::nonce::MAX_NONCE;

/// A side of an IKE SA, or of the exchange that made a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Who sent the first request.
    Initiator,
    /// Who answered it.
    Responder,
}

impl Role {
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Initiator => 0,
            Self::Responder => 1,
        }
    }
}

/// What SKEYSEED is made from.
#[derive(Clone, Copy)]
pub(crate) enum Skeyseed<'a> {
    /// The first key exchange of two peers.
    Initial {
        /// The shared secret.
        secret: &'a [u8],
    },
    /// The rekeying of an IKE SA.
    Rekey {
        /// The shared secrets of further key exchanges (RFC 9370 section 2.2.4).
        more: &'a [u8],
        /// The pseudo-random function of the SA that is replaced.
        old_prf: PrfId,
        /// SK_d of the SA that is replaced.
        old_sk_d: &'a [u8],
        /// The shared secret of the new key exchange.
        secret: &'a [u8],
    },
    /// It was made before.
    Known(&'a Seed),
}

/// A SKEYSEED that is kept until its keys are taken.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Seed {
    bytes: [u8; MAX_PRF],
    len: u8,
}

impl Seed {
    /// None: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self { bytes: [0; MAX_PRF], len: 0 };

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps SKEYSEED of an SA with this function.
    pub(crate) fn keep<P: Provider>(
        &mut self,
        seed: &Skeyseed<'_>,
        prf: PrfId,
        nonces: (&[u8], &[u8]),
    ) -> Result<(), CryptoError> {
        self.len = stored_len(seed.compute::<P>(prf, nonces, &mut self.bytes)?)?;
        Ok(())
    }
}

/// The keys that an IKE SA needs for all its life: SK_d, SK_ai, SK_ar, SK_ei, SK_er, of an AEAD with their salts.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct IkeKeys {
    bytes: [u8; MAX_PRF + 2 * MAX_KEYMAT],
    sk_d_len: u8,
    integrity_len: u8,
    encryption_len: u8,
}

impl IkeKeys {
    /// No keys: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self {
        bytes: [0; MAX_PRF + 2 * MAX_KEYMAT],
        sk_d_len: 0,
        integrity_len: 0,
        encryption_len: 0,
    };

    /// Derives all keys of an IKE SA: {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} =
    /// prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr) (RFC 7296 section 2.14).
    ///
    /// On an error no key is left, neither here nor in `auth`.
    pub(crate) fn derive<P: Provider>(
        &mut self,
        auth: &mut AuthKeys,
        choice: &IkeChoice,
        skeyseed: Skeyseed<'_>,
        ni: &[u8],
        nr: &[u8],
        spi_i: u64,
        spi_r: u64,
    ) -> Result<(), CryptoError> {
        let seed = [ni, nr, &spi_i.to_be_bytes(), &spi_r.to_be_bytes()];
        let derived = self.fill::<P>(auth, choice, skeyseed, (ni, nr), &seed);
        if derived.is_err() {
            self.zeroize();
            auth.zeroize();
        }
        derived
    }

    /// SK_d, from which the keys of children and of the next IKE SA are derived.
    pub(crate) fn sk_d(&self) -> &[u8] {
        self.part(0, self.sk_d_len)
    }

    /// SK_ai or SK_ar: authenticates the messages of `sender`. Empty for an AEAD.
    pub(crate) fn integrity(&self, sender: Role) -> &[u8] {
        let len = usize::from(self.integrity_len);
        let at = usize::from(self.sk_d_len).saturating_add(sender.index().saturating_mul(len));
        self.part(at, self.integrity_len)
    }

    /// SK_ei or SK_er: encrypts the messages of `sender`. The key, then the salt.
    pub(crate) fn encryption(&self, sender: Role) -> &[u8] {
        let len = usize::from(self.encryption_len);
        let at = usize::from(self.sk_d_len)
            .saturating_add(usize::from(self.integrity_len).saturating_mul(2))
            .saturating_add(sender.index().saturating_mul(len));
        self.part(at, self.encryption_len)
    }

    /// SK_d = prf+ (PPK, SK_d') (RFC 8784 section 3).
    pub(crate) fn mix<P: Provider>(&mut self, prf: PrfId, ppk: &[u8]) -> Result<(), CryptoError> {
        let sk_d = self.bytes.get_mut(..self.sk_d_len.into()).ok_or(CryptoError::Length)?;
        mix_in::<P>(prf, ppk, sk_d)
    }

    fn part(&self, at: usize, len: u8) -> &[u8] {
        self.bytes.get(at..at.saturating_add(len.into())).unwrap_or_default()
    }

    fn fill<P: Provider>(
        &mut self,
        auth: &mut AuthKeys,
        choice: &IkeChoice,
        skeyseed: Skeyseed<'_>,
        nonces: (&[u8], &[u8]),
        seed: &[&[u8]],
    ) -> Result<(), CryptoError> {
        let shape = choice.suite.shape().ok_or(CryptoError::Unsupported)?;
        let prf_len = choice.prf.output_len().ok_or(CryptoError::Unsupported)?;
        let encryption_len = shape.key_len.saturating_add(shape.salt_len);
        let len =
            [prf_len, shape.integ_key_len, shape.integ_key_len, encryption_len, encryption_len]
                .into_iter()
                .fold(0usize, usize::saturating_add);

        let mut key = Zeroizing::new([0; MAX_PRF]);
        let key_len = skeyseed.compute::<P>(choice.prf, nonces, &mut key)?;
        let prf = P::Prf::new(choice.prf, key.get(..key_len).ok_or(CryptoError::Length)?)?;
        let mut stream = PrfPlus::<P>::new(&prf, choice.prf, seed)?;
        stream.fill(self.bytes.get_mut(..len).ok_or(CryptoError::Length)?)?;
        auth.len = stored_len(prf_len)?;
        auth.mixed = [false; 2];
        stream.fill(auth.bytes.get_mut(..prf_len.saturating_mul(2)).ok_or(CryptoError::Length)?)?;
        self.sk_d_len = stored_len(prf_len)?;
        self.integrity_len = stored_len(shape.integ_key_len)?;
        self.encryption_len = stored_len(encryption_len)?;
        Ok(())
    }
}

/// The keys of an IKE SA, whichever version of IKE it speaks.
#[cfg(feature = "ikev1")]
#[repr(u8)]
pub(crate) enum SaKeys {
    None = 0,
    V2(IkeKeys),
    V1(crate::v1::Phase1),
}

#[cfg(feature = "ikev1")]
impl SaKeys {
    /// No keys: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self::None;

    /// Those of IKEv2; empty if there are none.
    pub(crate) const fn v2(&self) -> &IkeKeys {
        const NONE: &IkeKeys = &IkeKeys::EMPTY;
        if let Self::V2(keys) = self { keys } else { NONE }
    }

    /// Where those of IKEv2 are put; `None` in an SA of IKEv1.
    pub(crate) fn v2_mut(&mut self) -> Option<&mut IkeKeys> {
        if matches!(self, Self::None) {
            *self = Self::V2(IkeKeys::EMPTY);
        }
        if let Self::V2(keys) = self { Some(keys) } else { None }
    }

    /// What an SA of IKEv1 holds.
    pub(crate) const fn v1(&self) -> Option<&crate::v1::Phase1> {
        if let Self::V1(phase1) = self { Some(phase1) } else { None }
    }

    /// What an SA of IKEv1 holds.
    pub(crate) const fn v1_mut(&mut self) -> Option<&mut crate::v1::Phase1> {
        if let Self::V1(phase1) = self { Some(phase1) } else { None }
    }

    pub(crate) const fn is_v1(&self) -> bool {
        matches!(self, Self::V1(_))
    }
}

/// The keys of an IKE SA.
#[cfg(not(feature = "ikev1"))]
pub(crate) type SaKeys = IkeKeys;

#[cfg(not(feature = "ikev1"))]
impl IkeKeys {
    /// These.
    pub(crate) const fn v2(&self) -> &Self {
        self
    }

    /// These.
    pub(crate) const fn v2_mut(&mut self) -> Option<&mut Self> {
        Some(self)
    }

    #[expect(clippy::unused_self, reason = "with IKEv1 it depends")]
    pub(crate) const fn is_v1(&self) -> bool {
        false
    }
}

/// SK_pi and SK_pr, which only IKE_AUTH needs.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct AuthKeys {
    bytes: [u8; 2 * MAX_PRF],
    len: u8,
    /// Into which of the two a PPK has been mixed.
    mixed: [bool; 2],
}

impl AuthKeys {
    /// No keys: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self { bytes: [0; 2 * MAX_PRF], len: 0, mixed: [false; 2] };

    /// SK_p = prf+ (PPK, SK_p') of one side, once (RFC 8784 section 3). Before [`AuthKeys::bind`].
    pub(crate) fn mix<P: Provider>(
        &mut self,
        prf: PrfId,
        side: Role,
        ppk: &[u8],
    ) -> Result<(), CryptoError> {
        let mixed = self.mixed.get_mut(side.index()).ok_or(CryptoError::Length)?;
        if core::mem::replace(mixed, true) {
            return Ok(());
        }
        let len = usize::from(self.len);
        let at = side.index().saturating_mul(len);
        let sk_p = self.bytes.get_mut(at..at.saturating_add(len)).ok_or(CryptoError::Length)?;
        mix_in::<P>(prf, ppk, sk_p)
    }

    /// Whether a PPK has been mixed into SK_p of this side.
    pub(crate) fn is_mixed(&self, side: Role) -> bool {
        self.mixed.get(side.index()).copied().unwrap_or_default()
    }

    /// Puts prf (SK_p, ID') in place of SK_p: the last part of what is signed (RFC 7296 section 2.15). `head` and `data`
    /// are the identity of `sender`, as sent. A signature needs SK_p for nothing else.
    pub(crate) fn bind<P: Provider>(
        &mut self,
        prf: PrfId,
        sender: Role,
        id: &IdPayload<'_>,
    ) -> Result<(), CryptoError> {
        let mut maced = Zeroizing::new([0; MAX_PRF]);
        let maced = maced.get_mut(..self.len.into()).ok_or(CryptoError::Length)?;
        P::Prf::new(prf, self.sk_p(sender))?.compute(&[&id.head(), id.data], maced)?;
        self.put(sender, maced)
    }

    /// What [`AuthKeys::bind`] would put there if this key were mixed in, which changes nothing. Gives its length.
    pub(crate) fn bound_with<P: Provider>(
        &self,
        prf: PrfId,
        sender: Role,
        id: &IdPayload<'_>,
        ppk: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let len = usize::from(self.len);
        let mut sk_p = Zeroizing::new([0; MAX_PRF]);
        let sk_p = sk_p.get_mut(..len).ok_or(CryptoError::Length)?;
        bytes::copy(sk_p, self.sk_p(sender)).ok_or(CryptoError::Length)?;
        mix_in::<P>(prf, ppk, sk_p)?;
        let out = out.get_mut(..len).ok_or(CryptoError::Length)?;
        P::Prf::new(prf, sk_p)?.compute(&[&id.head(), id.data], out)?;
        Ok(len)
    }

    /// Takes what [`AuthKeys::bound_with`] gave: from now on, the key is mixed in.
    pub(crate) fn take_bound(&mut self, sender: Role, bound: &[u8]) -> Result<(), CryptoError> {
        *self.mixed.get_mut(sender.index()).ok_or(CryptoError::Length)? = true;
        self.put(sender, bound)
    }

    fn put(&mut self, sender: Role, bound: &[u8]) -> Result<(), CryptoError> {
        let at = sender.index().saturating_mul(self.len.into());
        let place = self.bytes.get_mut(at..).ok_or(CryptoError::Length)?;
        bytes::copy_prefix(place, bound).ok_or(CryptoError::Length)
    }

    /// SK_pi or SK_pr: goes into the proof of `sender` (RFC 7296 section 2.15).
    pub(crate) fn sk_p(&self, sender: Role) -> &[u8] {
        one_of_two(&self.bytes, self.len, sender)
    }
}

/// The keying material of both SAs of a child.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct ChildKeys {
    bytes: [u8; 2 * MAX_KEYMAT],
    len: u8,
}

impl ChildKeys {
    /// No keys: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self { bytes: [0; 2 * MAX_KEYMAT], len: 0 };

    /// Derives KEYMAT = prf+ (SK_d, \[g^ir |\] Ni | Nr \[| more\]), the shared secret being that of the child's own key exchange,
    /// if it had one. Nonces and roles are those of the exchange that made the child (RFC 7296 section 2.17).
    ///
    /// `more` are the shared secrets of further key exchanges (RFC 9370 section 2.2.4). On an error no key is left.
    pub(crate) fn derive<P: Provider>(
        &mut self,
        prf: PrfId,
        sk_d: &[u8],
        secret: Option<&[u8]>,
        (ni, nr): (&[u8], &[u8]),
        more: &[u8],
        suite: Suite,
    ) -> Result<(), CryptoError> {
        let seed = [secret.unwrap_or_default(), ni, nr, more];
        let derived = self.fill::<P>(prf, sk_d, &seed, suite);
        if derived.is_err() {
            self.zeroize();
        }
        derived
    }

    /// The keying material of the SA that carries data from `sender`: key, salt, integrity key. RFC 7296 section 2.17:
    /// the SA from the initiator takes its keys first, and the encryption key comes before the integrity key.
    pub(crate) fn of(&self, sender: Role) -> &[u8] {
        one_of_two(&self.bytes, self.len, sender)
    }

    /// Room for the keying material of the SA that carries data from the initiator of the exchange, and of the other, each
    /// of `len` bytes. `None` if that is too much.
    #[cfg(feature = "ikev1")]
    pub(crate) fn room(&mut self, len: usize) -> Option<(&mut [u8], &mut [u8])> {
        self.len = u8::try_from(len).ok()?;
        self.bytes.get_mut(..len.checked_mul(2)?)?.split_at_mut_checked(len)
    }

    fn fill<P: Provider>(
        &mut self,
        id: PrfId,
        sk_d: &[u8],
        seed: &[&[u8]],
        suite: Suite,
    ) -> Result<(), CryptoError> {
        let len = Algorithms::from(suite).keymat_len().ok_or(CryptoError::Unsupported)?;
        let keymat = self.bytes.get_mut(..len.saturating_mul(2)).ok_or(CryptoError::Length)?;
        prf_plus::<P>(&P::Prf::new(id, sk_d)?, id, seed, keymat)?;
        self.len = stored_len(len)?;
        Ok(())
    }
}

/// RFC 7296 section 2.13: prf+ (K, S) = T1 | T2 | T3 | ..., where T1 = prf (K, S | 0x01) and
/// Tn = prf (K, Tn-1 | S | n).
///
/// `prf` has K, `seed_parts` are S.
///
/// # Errors
/// [`CryptoError::Length`] for more than 255 blocks of output, or more than six parts.
pub(crate) fn prf_plus<P: Provider>(
    prf: &P::Prf,
    id: PrfId,
    seed_parts: &[&[u8]],
    out: &mut [u8],
) -> Result<(), CryptoError> {
    PrfPlus::<P>::new(prf, id, seed_parts)?.fill(out)
}

/// The output of prf+, taken piece by piece.
struct PrfPlus<'s, P: Provider> {
    prf: &'s P::Prf,
    seed: &'s [&'s [u8]],
    /// The latest block.
    block: Zeroizing<[u8; MAX_PRF]>,
    block_len: usize,
    /// How much of the latest block has been given out.
    taken: usize,
    /// The number of the latest block, 0 before the first.
    number: u8,
}

impl<'s, P: Provider> PrfPlus<'s, P> {
    fn new(prf: &'s P::Prf, id: PrfId, seed: &'s [&'s [u8]]) -> Result<Self, CryptoError> {
        let block_len = id.output_len().ok_or(CryptoError::Unsupported)?;
        let block = Zeroizing::new([0; MAX_PRF]);
        Ok(Self { prf, seed, block, block_len, taken: block_len, number: 0 })
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), CryptoError> {
        let mut w = Writer::new(out);
        loop {
            let room = w.room().len();
            if room == 0 {
                return Ok(());
            }
            if self.taken >= self.block_len {
                self.next_block()?;
            }
            let end = self.taken.saturating_add(room).min(self.block_len);
            let fresh = self.block.get(self.taken..end).ok_or(CryptoError::Length)?;
            w.bytes(fresh).ok_or(CryptoError::Length)?;
            self.taken = end;
        }
    }

    fn next_block(&mut self) -> Result<(), CryptoError> {
        let previous = if self.number == 0 { None } else { self.block.get(..self.block_len) };
        let number = [self.number.checked_add(1).ok_or(CryptoError::Length)?];
        let mut parts = heapless::Vec::<&[u8], 8>::new();
        for part in previous.into_iter().chain(self.seed.iter().copied()).chain([&number[..]]) {
            parts.push(part).map_err(|_| CryptoError::Length)?;
        }
        let mut next = Zeroizing::new([0; MAX_PRF]);
        let out = next.get_mut(..self.block_len).ok_or(CryptoError::Length)?;
        self.prf.compute(&parts, out)?;
        drop(parts);
        // Copied, not moved: what is moved from is not wiped.
        bytes::copy(&mut *self.block, &*next).ok_or(CryptoError::Length)?;
        [self.number] = number;
        self.taken = 0;
        Ok(())
    }
}

impl Skeyseed<'_> {
    /// Writes SKEYSEED to `out` and gives its length.
    fn compute<P: Provider>(
        &self,
        prf: PrfId,
        (ni, nr): (&[u8], &[u8]),
        out: &mut [u8; MAX_PRF],
    ) -> Result<usize, CryptoError> {
        let id = match self {
            Self::Initial { .. } | Self::Known(_) => prf,
            Self::Rekey { old_prf, .. } => *old_prf,
        };
        let len = id.output_len().ok_or(CryptoError::Unsupported)?;
        let out = out.get_mut(..len).ok_or(CryptoError::Length)?;
        match *self {
            Self::Initial { secret } => {
                let mut key = [0; 2 * MAX_NONCE];
                let key = nonces_as_key(id, ni, nr, &mut key).ok_or(CryptoError::Length)?;
                P::Prf::new(id, key)?.compute(&[secret], out)?;
            }
            // RFC 7296 section 2.18: SKEYSEED = prf (SK_d (old), g^ir (new) | Ni | Nr), by the old function.
            Self::Rekey { old_sk_d, secret, more, .. } => {
                P::Prf::new(id, old_sk_d)?.compute(&[secret, ni, nr, more], out)?;
            }
            Self::Known(seed) => {
                let seed = seed.bytes.get(..seed.len.into()).unwrap_or_default();
                bytes::copy(out, seed).ok_or(CryptoError::Length)?;
            }
        }
        Ok(len)
    }
}

/// The key of SKEYSEED = prf (Ni | Nr, g^ir). RFC 7296 section 2.14: of the functions of AES only the first eight
/// bytes of each nonce count here.
fn nonces_as_key<'k>(
    prf: PrfId,
    ni: &[u8],
    nr: &[u8],
    room: &'k mut [u8; 2 * MAX_NONCE],
) -> Option<&'k [u8]> {
    let (ni, nr) = match prf {
        PrfId::AES128_XCBC | PrfId::AES128_CMAC => (ni.get(..8)?, nr.get(..8)?),
        _ => (ni, nr),
    };
    let mut w = Writer::new(room);
    w.bytes(ni)?;
    w.bytes(nr)?;
    let len = w.len();
    room.get(..len)
}

/// Replaces a key by prf+ (PPK, key).
fn mix_in<P: Provider>(prf: PrfId, ppk: &[u8], key: &mut [u8]) -> Result<(), CryptoError> {
    let mut mixed = Zeroizing::new([0; MAX_PRF]);
    let mixed = mixed.get_mut(..key.len()).ok_or(CryptoError::Length)?;
    prf_plus::<P>(&P::Prf::new(prf, ppk)?, prf, &[key], mixed)?;
    bytes::copy(key, mixed).ok_or(CryptoError::Length)
}

fn one_of_two(bytes: &[u8], len: u8, which: Role) -> &[u8] {
    let len = usize::from(len);
    let at = which.index().saturating_mul(len);
    bytes.get(at..at.saturating_add(len)).unwrap_or_default()
}

fn stored_len(len: usize) -> Result<u8, CryptoError> {
    u8::try_from(len).map_err(|_| CryptoError::Length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipsec_core::crypto::{Encr, Group, Integ};
    use ipsec_rustcrypto::RustCrypto;

    extern crate std;
    use std::vec::Vec;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    // NIST CAVP, "Component Testing", SP 800-135 key derivation: the first IKEv2 test with SHA-1.
    const NI: &str = "3651fef5c9c35e93";
    const NR: &str = "c09a8b90a3f04d59";
    const SPI_I: u64 = 0x8e5c_3ae5_0722_1684;
    const SPI_R: u64 = 0xb1f2_01bb_155c_3acd;
    const SECRET: &str = "d084a30166a50fb7325c3960874a839449ef9741c2f4f947d0201dd8c1269273
        d79509f37e3ca3eb4fa2fe2a28254e289cd3f34dad4eb4df1a07685a4b8a94fa
        61e2491f7598b3ce65547ff133b3f63d1ac4175eaa695033f3cedb026a6873a3
        6455172a8540b8a5d23a0143bed0390ee49b168269d75fffee9fb62be965993c";
    const NEW_SECRET: &str = "52f00ab174c25d5b7139ae5ff4e8e9eddee5992d2e36adf8a559ffd90dab1442
        e4fbe429d320c0f33552a17d1557fa41ea70e8fb916c4fa27ed52b5f8ebd8461
        afa78f1159159a64055ac5f6319e29c28eae58cbc6847770f32c3fed1d047504
        84f854790f95e9ec01bc5bc461f24966462e359511329305038e94deb6dd42c2";
    const SKEYSEED: &str = "cd2e8050137832245f1dbacc6e4f0a92f94d45d6";
    const DKM: &str = "6f1b12cad3cbe097b35430356d869d54cddb0198ec859174d53ceb92dddedbe2
        436db69f60977c58fa63bbb667f8d36920b109baae8f6c61a9ac49feda018432
        25d080ec5539d5881a25521ffb2a0a91874a9c0a27fcc2d717eb8963a9e3a89c
        7ab264757284c28cf8c3ca40576f4220b052b1fb8e9ad60ba3c80557323331a8
        cbb89f20";
    const DKM_CHILD: &str = "4727dc0ef94eb326ce131cf282fb652faa638ad0ddae3786a11bcc0309876009
        f8c485de011ad962c5b1ca8a41ff8145445749079c5686e26ffebbc342f06981
        f3da745e11ca0976424d1f8caec623d59dc7186deb20a27b411d1dcb70a36544
        0bf7de905088b0692e8addc094e18d1939bdb67e89798ca6b239e2ccb81c2409
        dac0106c";
    const DKM_CHILD_KE: &str = "b109c21ad4c0797768c1cec9e63554681e48f224bca7f23c20c4ea7041983451
        e9aa1d5408656c8a975ff1b9d9a12c75ffeb64bdecb30174664cccb4e14f1c37
        7b7f6d1525af77c7092aac3e47f917ebae8297fb5539d2008ce830823a09cc19
        7361d4a289c72745f6ce9fefe812be5bf55b3200fbb82e41a4a40877d3fe106d
        b909707b";
    const SKEYSEED_REKEY: &str = "3b03bce748c96d5e8306918d2ff89b68f0648da3";

    const AES_128_CBC_SHA1: Suite =
        Suite { encr: Encr::AES_CBC, key_bits: 128, integ: Integ::HMAC_SHA1_96 };

    fn choice(suite: Suite, prf: PrfId) -> IkeChoice {
        IkeChoice { suite, prf, group: Group::MODP_1024, ..IkeChoice::EMPTY }
    }

    fn derive(choice: IkeChoice, skeyseed: Skeyseed<'_>) -> (IkeKeys, AuthKeys) {
        let (mut keys, mut auth) = (IkeKeys::EMPTY, AuthKeys::EMPTY);
        keys.derive::<RustCrypto>(&mut auth, &choice, skeyseed, &hex(NI), &hex(NR), SPI_I, SPI_R)
            .unwrap();
        (keys, auth)
    }

    fn concatenated((keys, auth): &(IkeKeys, AuthKeys)) -> Vec<u8> {
        use Role::{Initiator, Responder};
        [
            keys.sk_d(),
            keys.integrity(Initiator),
            keys.integrity(Responder),
            keys.encryption(Initiator),
            keys.encryption(Responder),
            auth.sk_p(Initiator),
            auth.sk_p(Responder),
        ]
        .concat()
    }

    /// RFC 7296 section 2.14: SKEYSEED, and the order of the seven keys.
    #[test]
    fn keys_of_an_ike_sa() {
        let secret = hex(SECRET);
        let skeyseed = Skeyseed::Initial { secret: &secret };
        let mut out = [0; MAX_PRF];
        let nonces = (&hex(NI)[..], &hex(NR)[..]);
        let len = skeyseed.compute::<RustCrypto>(PrfId::HMAC_SHA1, nonces, &mut out).unwrap();
        assert_eq!(out[..len], hex(SKEYSEED));

        // Seven keys that take up the 132 bytes of the test exactly.
        let keys = derive(choice(AES_128_CBC_SHA1, PrfId::HMAC_SHA1), skeyseed);
        assert_eq!(concatenated(&keys), hex(DKM));
        assert_eq!(keys.0.sk_d().len(), 20);
        assert_eq!(keys.0.encryption(Role::Responder), &hex(DKM)[76..92]);
        assert_eq!(keys.1.sk_p(Role::Initiator), &hex(DKM)[92..112]);
    }

    /// An AEAD has no integrity keys, and its salts follow its keys (RFC 5282 section 7.1).
    #[test]
    fn keys_of_an_aead() {
        let secret = hex(SECRET);
        let skeyseed = Skeyseed::Initial { secret: &secret };
        let keys = derive(choice(Suite::AES_128_GCM, PrfId::HMAC_SHA1), skeyseed);
        assert_eq!(concatenated(&keys), &hex(DKM)[..3 * 20 + 2 * 20]);
        assert!(keys.0.integrity(Role::Initiator).is_empty());
        assert_eq!(keys.0.encryption(Role::Initiator), &hex(DKM)[20..40]);
    }

    /// RFC 8784 section 3: each of the three keys is prf+ (PPK, key). The value is HMAC-SHA-256 (PPK, key | 0x01), computed
    /// with Python's `hmac`.
    #[test]
    fn a_post_quantum_pre_shared_key() {
        const MIXED: &str = "a1b3d7f2ca7d9bbd6b2217c61f49e632693490646833d382f34860beeb37e324";
        let prf = PrfId::HMAC_SHA2_256;
        let ppk: Vec<u8> = (0..32).collect();
        let mut auth = AuthKeys { bytes: [7; 2 * MAX_PRF], len: 32, mixed: [false; 2] };
        // A second time changes nothing.
        for _ in 0..2 {
            auth.mix::<RustCrypto>(prf, Role::Responder, &ppk).unwrap();
            assert_eq!(auth.sk_p(Role::Initiator), [7; 32]);
            assert_eq!(auth.sk_p(Role::Responder), hex(MIXED));
        }
        assert!(auth.is_mixed(Role::Responder) && !auth.is_mixed(Role::Initiator));
        let bytes = [7; MAX_PRF + 2 * MAX_KEYMAT];
        let mut keys = IkeKeys { bytes, sk_d_len: 32, integrity_len: 16, encryption_len: 0 };
        keys.mix::<RustCrypto>(prf, &ppk).unwrap();
        assert_eq!(keys.sk_d(), hex(MIXED));
        assert_eq!(keys.integrity(Role::Initiator), [7; 16]);
    }

    /// RFC 7296 section 2.18: the old function makes SKEYSEED, the new one the keys.
    #[test]
    fn keys_of_a_rekeyed_ike_sa() {
        let dkm = hex(DKM);
        let secret = hex(NEW_SECRET);
        let old_prf = PrfId::HMAC_SHA1;
        let skeyseed =
            Skeyseed::Rekey { more: &[], old_prf, old_sk_d: &dkm[..20], secret: &secret };
        let mut out = [0; MAX_PRF];
        let nonces = (&hex(NI)[..], &hex(NR)[..]);
        let len = skeyseed.compute::<RustCrypto>(PrfId::HMAC_SHA2_256, nonces, &mut out).unwrap();
        assert_eq!(out[..len], hex(SKEYSEED_REKEY));

        let keys = derive(choice(Suite::AES_256_GCM, PrfId::HMAC_SHA2_256), skeyseed);
        let id = PrfId::HMAC_SHA2_256;
        let prf = <RustCrypto as Provider>::Prf::new(id, &hex(SKEYSEED_REKEY)).unwrap();
        let mut expected = [0; 32 + 2 * 36 + 64];
        let seed = [&hex(NI)[..], &hex(NR), &SPI_I.to_be_bytes(), &SPI_R.to_be_bytes()];
        prf_plus::<RustCrypto>(&prf, id, &seed, &mut expected).unwrap();
        assert_eq!(concatenated(&keys), expected);
    }

    /// RFC 7296 section 2.17: the initiator's SA takes its keys first; a key exchange of its own comes before the
    /// nonces.
    #[test]
    fn keys_of_a_child() {
        let sk_d = hex(DKM)[..20].to_vec();
        let secret = hex(NEW_SECRET);
        for (secret, expected) in [(None, DKM_CHILD), (Some(&secret[..]), DKM_CHILD_KE)] {
            let mut keys = ChildKeys::EMPTY;
            keys.derive::<RustCrypto>(
                PrfId::HMAC_SHA1,
                &sk_d,
                secret,
                (&hex(NI), &hex(NR)),
                &[],
                Suite::AES_256_CBC_SHA256,
            )
            .unwrap();
            assert_eq!(keys.of(Role::Initiator), &hex(expected)[..64]);
            assert_eq!(keys.of(Role::Responder), &hex(expected)[64..128]);
        }
    }

    /// RFC 7296 section 2.13: the counter is one byte, so there are at most 255 blocks.
    #[test]
    fn prf_plus_is_bounded_and_independent_of_the_pieces_taken() {
        let id = PrfId::HMAC_SHA1;
        let prf = <RustCrypto as Provider>::Prf::new(id, b"key").unwrap();
        let mut whole = [0; 255 * 20];
        prf_plus::<RustCrypto>(&prf, id, &[b"se", b"ed"], &mut whole).unwrap();
        let mut pieces = [0; 255 * 20];
        let seed = [&b"seed"[..]];
        let mut stream = PrfPlus::<RustCrypto>::new(&prf, id, &seed).unwrap();
        for piece in pieces.chunks_mut(7) {
            stream.fill(piece).unwrap();
        }
        assert_eq!(whole, pieces);
        assert_eq!(stream.fill(&mut [0]), Err(CryptoError::Length));
        let too_long = &mut [0; 255 * 20 + 1];
        assert_eq!(prf_plus::<RustCrypto>(&prf, id, &seed, too_long), Err(CryptoError::Length));
    }

    /// RFC 7296 section 2.14: AES-XCBC and AES-CMAC take 64 bits of each nonce as the key of SKEYSEED.
    #[test]
    fn nonces_become_the_key_of_skeyseed() {
        let (ni, nr) = ([1; 16], [2; MAX_NONCE]);
        let key = |prf| nonces_as_key(prf, &ni, &nr, &mut [0; 512]).unwrap().to_vec();
        assert_eq!(key(PrfId::HMAC_SHA2_256), [&ni[..], &nr].concat());
        for prf in [PrfId::AES128_XCBC, PrfId::AES128_CMAC] {
            assert_eq!(key(prf), [[1; 8], [2; 8]].concat());
        }
        assert_eq!(nonces_as_key(PrfId::HMAC_SHA1, &[0; 257], &nr, &mut [0; 512]), None);
    }

    #[test]
    fn a_failure_leaves_no_key() {
        let secret = hex(SECRET);
        let skeyseed = Skeyseed::Initial { secret: &secret };
        let (mut keys, mut auth) = derive(choice(Suite::AES_128_GCM, PrfId::HMAC_SHA1), skeyseed);
        let unsupported = choice(Suite::AES_128_GCM, PrfId(u16::MAX));
        let nonce = [0; 16];
        assert_eq!(
            keys.derive::<RustCrypto>(&mut auth, &unsupported, skeyseed, &nonce, &nonce, 1, 2),
            Err(CryptoError::Unsupported)
        );
        assert!(keys.bytes.iter().chain(&auth.bytes).all(|b| *b == 0));
        assert!(keys.sk_d().is_empty() && auth.sk_p(Role::Initiator).is_empty());
    }

    #[test]
    fn the_largest_keys_fit() {
        let suite = Suite { encr: Encr::AES_CTR, key_bits: 256, integ: Integ::HMAC_SHA2_512_256 };
        let secret = hex(SECRET);
        let skeyseed = Skeyseed::Initial { secret: &secret };
        let keys = derive(choice(suite, PrfId::HMAC_SHA2_512), skeyseed);
        assert_eq!(concatenated(&keys).len(), 64 * 5 + 36 * 2);
        let mut child = ChildKeys::EMPTY;
        child
            .derive::<RustCrypto>(
                PrfId::HMAC_SHA2_512,
                keys.0.sk_d(),
                None,
                (b"i", b"r"),
                &[],
                suite,
            )
            .unwrap();
        assert_eq!(child.of(Role::Responder).len(), 100);
    }
}

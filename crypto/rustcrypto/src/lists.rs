//! What a selection has, as the lists of a provider.

use core::marker::PhantomData;

use ipsec_core::crypto::{Encr, Group, Integ, PrfId, Suite};

use crate::kx;
use crate::select::{Select, Switch};

/// The lists of `S`, computed by the compiler, each in the order of preference.
pub(crate) struct Lists<S>(PhantomData<S>);

impl<S: Select> Lists<S> {
    const ALL_SUITES: &'static List<Suite, 96> = &suites::<S>();
    const FEW_SUITES: &'static List<Suite, 8> = &Self::ALL_SUITES.cut(Suite::AES_128_GCM);
    const ALL_INTEGS: &'static List<Integ, 10> = &integs::<S>();
    const ALL_PRFS: &'static List<PrfId, 7> = &prfs::<S>();
    const ALL_GROUPS: &'static List<Group, 15> = &kx::groups::<S>();

    /// The packet suites. A short list does not take the room of the longest.
    pub(crate) const SUITES: &'static [Suite] =
        if Self::ALL_SUITES.len <= 8 { Self::FEW_SUITES.slice() } else { Self::ALL_SUITES.slice() };

    /// The integrity algorithms.
    pub(crate) const INTEGS: &'static [Integ] = Self::ALL_INTEGS.slice();

    /// The pseudo-random functions.
    pub(crate) const PRFS: &'static [PrfId] = Self::ALL_PRFS.slice();

    /// The groups.
    pub(crate) const GROUPS: &'static [Group] = Self::ALL_GROUPS.slice();
}

/// A list of at most `N`. A longer one does not compile.
pub(crate) struct List<T, const N: usize> {
    items: [T; N],
    len: usize,
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler only")]
impl<T: Copy, const N: usize> List<T, N> {
    /// None; the places are filled with something.
    pub(crate) const fn new(filling: T) -> Self {
        Self { items: [filling; N], len: 0 }
    }

    /// Adds `item` if it is selected.
    pub(crate) const fn push(&mut self, on: bool, item: T) {
        if on {
            self.items[self.len] = item;
            self.len += 1;
        }
    }

    /// The same list with fewer places; what does not fit is left out.
    const fn cut<const M: usize>(&self, filling: T) -> List<T, M> {
        let mut cut = List::new(filling);
        while cut.len < M && cut.len < self.len {
            cut.push(true, self.items[cut.len]);
        }
        cut
    }

    pub(crate) const fn slice(&self) -> &[T] {
        self.items.split_at(self.len).0
    }
}

/// AEADs before the others, and among both the longer integrity check value and the stronger MAC first; legacy last.
#[expect(clippy::indexing_slicing, reason = "runs in the compiler only")]
const fn suites<S: Select>() -> List<Suite, 96> {
    let mut list = List::new(Suite::AES_128_GCM);
    let aeads = [
        (S::AesGcm::ON, Encr::AES_GCM_16),
        (S::ChaCha20Poly1305::ON, Encr::CHACHA20_POLY1305),
        (S::AesCcm::ON, Encr::AES_CCM_16),
        (S::AesGcm::ON, Encr::AES_GCM_12),
        (S::AesCcm::ON, Encr::AES_CCM_12),
        (S::AesGcm::ON, Encr::AES_GCM_8),
        (S::AesCcm::ON, Encr::AES_CCM_8),
        (S::AesGcm::ON, Encr::AES_GCM_16_IIV),
        (S::ChaCha20Poly1305::ON, Encr::CHACHA20_POLY1305_IIV),
        (S::AesCcm::ON, Encr::AES_CCM_8_IIV),
    ];
    let ciphers = [(S::AesCbc::ON, Encr::AES_CBC), (S::AesCtr::ON, Encr::AES_CTR)];
    let legacy = [(LEGACY && S::TripleDes::ON, Encr::DES3), (LEGACY && S::Des::ON, Encr::DES)];
    let mut i = 0;
    while i < aeads.len() {
        push_sizes::<S>(&mut list, aeads[i], Integ::NONE);
        i += 1;
    }
    i = 0;
    while i < ciphers.len() {
        push_integs::<S>(&mut list, ciphers[i]);
        i += 1;
    }
    push_sizes::<S>(&mut list, (S::AesGmac::ON, Encr::NULL_AES_GMAC), Integ::NONE);
    push_integs::<S>(&mut list, (S::Null::ON, Encr::NULL));
    i = 0;
    while i < legacy.len() {
        push_integs::<S>(&mut list, legacy[i]);
        i += 1;
    }
    list
}

/// One cipher with each of the MACs.
#[expect(clippy::indexing_slicing, reason = "runs in the compiler only")]
const fn push_integs<S: Select>(list: &mut List<Suite, 96>, encr: (bool, Encr)) {
    let auths = auths::<S>();
    let mut i = 0;
    while i < auths.len {
        push_sizes::<S>(list, encr, auths.items[i]);
        i += 1;
    }
}

/// One cipher with each of its key sizes.
const fn push_sizes<S: Select>(list: &mut List<Suite, 96>, (on, encr): (bool, Encr), integ: Integ) {
    if encr.has_key_length() {
        list.push(on && S::Aes128::ON, Suite { encr, key_bits: 128, integ });
        list.push(on && S::Aes192::ON, Suite { encr, key_bits: 192, integ });
        list.push(on && S::Aes256::ON, Suite { encr, key_bits: 256, integ });
    } else {
        list.push(on, Suite { encr, key_bits: 0, integ });
    }
}

/// The MACs that need no nonce.
const fn auths<S: Select>() -> List<Integ, 10> {
    let mut list = List::new(Integ::NONE);
    list.push(S::HmacSha256::ON, Integ::HMAC_SHA2_256_128);
    list.push(S::HmacSha384::ON, Integ::HMAC_SHA2_384_192);
    list.push(S::HmacSha512::ON, Integ::HMAC_SHA2_512_256);
    list.push(S::HmacSha1::ON, Integ::HMAC_SHA1_96);
    list.push(S::AesCmac::ON, Integ::AES_CMAC_96);
    list.push(S::AesXcbc::ON, Integ::AES_XCBC_96);
    list.push(LEGACY && S::HmacMd5::ON, Integ::HMAC_MD5_96);
    list
}

const fn integs<S: Select>() -> List<Integ, 10> {
    let mut list = auths::<S>();
    list.push(S::AesGmac::ON && S::Aes128::ON, Integ::AES_128_GMAC);
    list.push(S::AesGmac::ON && S::Aes192::ON, Integ::AES_192_GMAC);
    list.push(S::AesGmac::ON && S::Aes256::ON, Integ::AES_256_GMAC);
    list
}

const fn prfs<S: Select>() -> List<PrfId, 7> {
    let mut list = List::new(PrfId::HMAC_SHA2_256);
    list.push(S::HmacSha256::ON, PrfId::HMAC_SHA2_256);
    list.push(S::HmacSha384::ON, PrfId::HMAC_SHA2_384);
    list.push(S::HmacSha512::ON, PrfId::HMAC_SHA2_512);
    list.push(S::HmacSha1::ON, PrfId::HMAC_SHA1);
    list.push(S::AesCmac::ON, PrfId::AES128_CMAC);
    list.push(S::AesXcbc::ON, PrfId::AES128_XCBC);
    list.push(LEGACY && S::HmacMd5::ON, PrfId::HMAC_MD5);
    list
}

/// Whether the crate's feature is on.
pub(crate) const LEGACY: bool = cfg!(feature = "legacy");

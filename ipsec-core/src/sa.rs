//! Security associations: what protects packets in one direction (RFC 4301 section 4.1).

use zeroize::Zeroize;

use crate::bytes;
use crate::crypto::suite::MAX_SALT;
use crate::crypto::{CryptoError, Integ, Iv, Mac, PacketCipher, Provider, Shape, Suite};
use crate::lifetime::{Lifetime, Usage};
use crate::mode::Mode;
use crate::path::Path;
use crate::replay::Window;
use crate::sad::{DropCause, Drops};
use crate::selector::Selectors;
use crate::seq;
use crate::time::Instant;

#[cfg(any(not(target_os = "none"), ipsec_quick))]
mod usual;

#[cfg(any(not(target_os = "none"), ipsec_quick))]
pub use usual::{UsualIn, UsualOut};

/// A security parameters index, never one of the reserved numbers 0 to 255 (RFC 4303 section 2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Spi(u32);

impl Spi {
    /// `None` for a reserved number.
    pub const fn new(number: u32) -> Option<Self> {
        if number < 256 { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// As on the wire.
    pub const fn to_be_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl core::fmt::Debug for Spi {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::fmt::Display for Spi {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The two protocols of IPsec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Protocol {
    /// Encapsulating Security Payload (RFC 4303).
    Esp,
    /// Authentication Header (RFC 4302).
    Ah,
}

impl Protocol {
    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Esp => crate::wire::protocol::ESP,
            Self::Ah => crate::wire::protocol::AH,
        }
    }
}

/// The protocol of an SA with its algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Algorithms {
    /// ESP: encryption and integrity.
    Esp(Suite),
    /// AH: integrity.
    Ah(Integ, AhAlign),
}

impl Algorithms {
    /// AH with the header aligned as RFC 4302 section 3.3.3.2.1 says.
    pub const fn ah(integ: Integ) -> Self {
        Self::Ah(integ, AhAlign::Standard)
    }

    /// Which protocol it is.
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Esp(_) => Protocol::Esp,
            Self::Ah(..) => Protocol::Ah,
        }
    }

    /// The bytes of [`SaParams::keymat`]; `None` if an algorithm is unknown or does not fit.
    pub const fn keymat_len(&self) -> Option<usize> {
        match self {
            Self::Esp(suite) => match suite.shape() {
                Some(shape) => Some(shape.keymat_len()),
                None => None,
            },
            Self::Ah(integ, _) => match integ.key_len() {
                Some(key_len) => Some(key_len.saturating_add(integ.salt_len())),
                None => None,
            },
        }
    }
}

impl From<Suite> for Algorithms {
    fn from(suite: Suite) -> Self {
        if suite.is_ah() { Self::ah(suite.integ) } else { Self::Esp(suite) }
    }
}

/// To how many bytes an AH that we send over IPv4 is padded. Any length is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AhAlign {
    /// Four over IPv4 and eight over IPv6 (RFC 4302 section 3.3.3.2.1).
    #[default]
    Standard,
    /// Eight over both: what Linux sends, and wants to see, where its SA has not the flag `align4`.
    Eight,
}

/// How an ESP packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Encapsulation {
    /// As IP protocol 50.
    Ip,
    /// In UDP, between the ports of the SA's path (RFC 3948).
    Udp,
}

/// What a security association is made of. Its keys stay with the caller, who wipes them.
#[derive(Clone)]
pub struct SaParams<'k> {
    /// Chosen by whoever receives the packets.
    pub spi: Spi,
    /// ESP or AH, and the algorithms.
    pub protection: Algorithms,
    /// What of a packet is protected.
    pub mode: Mode,
    /// Key, salt and integrity key, in this order: exactly [`Algorithms::keymat_len`] bytes (RFC 7296 section 2.17).
    pub keymat: &'k [u8],
    /// Outer addresses, and ports where [`SaParams::encapsulation`] is UDP.
    pub path: Path,
    /// How its packets travel. AH does not travel in UDP.
    pub encapsulation: Encapsulation,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Size of the anti-replay window of an inbound SA, in packets. 0 turns it off, which ESN does not allow.
    pub replay_window: u32,
    /// Soft and hard limits.
    pub lifetime: Lifetime,
    /// What may go through.
    pub selectors: &'k Selectors,
    /// The caller's word for what the SA belongs to; handed back in events and lookups.
    pub tag: u32,
}

/// What both directions have in common.
pub struct Protection<P: Provider> {
    /// The SPI.
    pub spi: Spi,
    /// The prepared keys, and what they are for.
    pub transform: Transform<P>,
    /// What of a packet is protected.
    pub mode: Mode,
    /// Extended sequence numbers.
    pub esn: bool,
    /// The account against the lifetime.
    pub usage: Usage,
    /// Outer addresses and ports.
    pub path: Path,
    /// How packets travel.
    pub encapsulation: Encapsulation,
    /// The caller's word.
    pub tag: u32,
}

impl<P: Provider> Protection<P> {
    pub(crate) fn new(now: Instant, params: &SaParams<'_>) -> Result<Self, CryptoError> {
        Ok(Self {
            spi: params.spi,
            transform: Transform::new(params.protection, params.keymat)?,
            mode: params.mode,
            esn: params.esn,
            usage: Usage::new(now, &params.lifetime, params.esn),
            path: params.path,
            encapsulation: params.encapsulation,
            tag: params.tag,
        })
    }

    pub(crate) fn move_to(&mut self, path: Path) {
        self.path = path;
        self.encapsulation =
            if path.remote.port == 0 { Encapsulation::Ip } else { Encapsulation::Udp };
    }

    /// ESP or AH.
    pub const fn protocol(&self) -> Protocol {
        match self.transform {
            Transform::Esp(_) => Protocol::Esp,
            Transform::Ah(_) => Protocol::Ah,
        }
    }

    /// The algorithms.
    pub const fn algorithms(&self) -> Algorithms {
        match &self.transform {
            Transform::Esp(esp) => Algorithms::Esp(esp.suite),
            Transform::Ah(ah) => Algorithms::Ah(ah.integ, ah.align),
        }
    }

    /// The keys of ESP; `None` for AH.
    pub const fn esp(&self) -> Option<&EspTransform<P>> {
        match &self.transform {
            Transform::Esp(esp) => Some(esp),
            Transform::Ah(_) => None,
        }
    }

    /// The keys of AH; `None` for ESP.
    pub const fn ah(&self) -> Option<&AhTransform<P>> {
        match &self.transform {
            Transform::Ah(ah) if P::AH => Some(ah),
            _ => None,
        }
    }
}

/// Prepared keys.
pub enum Transform<P: Provider> {
    /// Of ESP.
    Esp(EspTransform<P>),
    /// Of AH.
    Ah(AhTransform<P>),
}

impl<P: Provider> Transform<P> {
    fn new(algorithms: Algorithms, keymat: &[u8]) -> Result<Self, CryptoError> {
        let len = algorithms.keymat_len().ok_or(CryptoError::Unsupported)?;
        if keymat.len() != len {
            return Err(CryptoError::Length);
        }
        let mut reader = bytes::Reader::new(keymat);
        Ok(match algorithms {
            Algorithms::Esp(suite) => {
                let shape = suite.shape().ok_or(CryptoError::Unsupported)?;
                let key = reader.take(shape.key_len).ok_or(CryptoError::Length)?;
                let salt = Salt::new(reader.take(shape.salt_len))?;
                let cipher = P::Cipher::new(suite, key, reader.rest())?;
                let counts = shape.aead && shape.iv == Iv::Counter && shape.salt_len == 4;
                Self::Esp(EspTransform { suite, shape, cipher, salt, counts })
            }
            Algorithms::Ah(..) if !P::AH => return Err(CryptoError::Unsupported),
            Algorithms::Ah(integ, align) => {
                let icv_len = integ.icv_len().ok_or(CryptoError::Unsupported)?;
                let key_len = integ.key_len().ok_or(CryptoError::Unsupported)?;
                let key = reader.take(key_len).ok_or(CryptoError::Length)?;
                let salt = Salt::new(reader.take(integ.salt_len()))?;
                let mac = P::Mac::new(integ, key)?;
                Self::Ah(AhTransform { integ, icv_len, align, mac, salt })
            }
        })
    }
}

/// The prepared keys of ESP.
pub struct EspTransform<P: Provider> {
    /// Encryption and integrity.
    pub suite: Suite,
    /// The sizes of the suite.
    pub shape: Shape,
    /// The keys.
    pub cipher: P::Cipher,
    salt: Salt,
    counts: bool,
}

impl<P: Provider> EspTransform<P> {
    /// The salt of an AEAD whose nonce is four bytes of that, and a counter of eight that is sent with the packet, as AES-GCM
    /// and ChaCha20-Poly1305 have it (RFC 4106 section 4, RFC 7634 section 2). `None` for all others.
    #[inline]
    pub const fn salt_of_counter(&self) -> Option<&[u8; 4]> {
        if self.counts { self.salt.bytes.first_chunk() } else { None }
    }

    /// The first part of every nonce.
    pub fn salt(&self) -> &[u8] {
        self.salt.bytes()
    }
}

/// The prepared key of AH.
pub struct AhTransform<P: Provider> {
    /// Integrity.
    pub integ: Integ,
    /// Bytes of the integrity check value.
    pub icv_len: usize,
    /// To what the header is padded over IPv4.
    pub align: AhAlign,
    /// The key.
    pub mac: P::Mac,
    salt: Salt,
}

impl<P: Provider> AhTransform<P> {
    /// The first part of every nonce, empty but for GMAC.
    pub fn salt(&self) -> &[u8] {
        self.salt.bytes()
    }
}

/// Wiped when it is dropped.
struct Salt {
    bytes: [u8; MAX_SALT],
    len: u8,
}

impl Salt {
    fn new(salt: Option<&[u8]>) -> Result<Self, CryptoError> {
        let salt = salt.ok_or(CryptoError::Length)?;
        let len = u8::try_from(salt.len()).map_err(|_| CryptoError::Length)?;
        let mut this = Self { bytes: [0; MAX_SALT], len };
        bytes::copy_prefix(&mut this.bytes, salt).ok_or(CryptoError::Length)?;
        Ok(this)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Drop for Salt {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The sequence numbers that may be used until the next export of the SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Reserve {
    /// The last one.
    pub(crate) up_to: u64,
    /// When fewer than this many are left, the owner is to export again. 0 once it has been told.
    pub(crate) low: u32,
}

impl Reserve {
    /// An SA that has not been exported.
    pub(crate) const ALL: Self = Self { up_to: u64::MAX, low: 0 };

    /// The same, of which no number beyond `last` may be used.
    pub(crate) const fn at_most(self, last: u64) -> Self {
        Self { up_to: if self.up_to < last { self.up_to } else { last }, ..self }
    }

    /// Whether another number than `used` may be used too, and nobody is to be told.
    pub(crate) const fn is_ample(&self, used: u64) -> bool {
        self.low == 0 && used < self.up_to
    }

    /// Notes that `used` was used. Whether the owner is to be told that few are left.
    pub(crate) fn runs_low(&mut self, used: u64) -> bool {
        let low = self.up_to.saturating_sub(used) < self.low.into();
        if low {
            self.low = 0;
        }
        low
    }
}

/// An SA that protects packets we send.
pub struct OutboundSa<P: Provider> {
    /// Keys, path and account.
    pub protection: Protection<P>,
    /// The last sequence number given out.
    pub(crate) sequence: u64,
    /// What an export has set aside of the sequence numbers, or all of them: never one beyond the [last](seq::last).
    pub(crate) reserved: Reserve,
    /// The IPv4 identification of the next outer header that needs one.
    pub(crate) identification: u16,
    #[cfg(any(not(target_os = "none"), ipsec_quick))]
    usual: Option<UsualOut>,
}

impl<P: Provider> OutboundSa<P> {
    pub(crate) fn new(protection: Protection<P>) -> Self {
        Self {
            #[cfg(any(not(target_os = "none"), ipsec_quick))]
            usual: UsualOut::of(&protection),
            sequence: 0,
            reserved: Reserve::ALL.at_most(seq::last(protection.esn)),
            protection,
            identification: 0,
        }
    }

    pub(crate) fn move_to(&mut self, path: Path) {
        self.protection.move_to(path);
        #[cfg(any(not(target_os = "none"), ipsec_quick))]
        {
            self.usual = UsualOut::of(&self.protection);
        }
    }

    /// The outer header of packets, if the SA is of the usual kind.
    #[cfg(any(not(target_os = "none"), ipsec_quick))]
    #[inline]
    pub const fn usual(&self) -> Option<&UsualOut> {
        self.usual.as_ref()
    }

    /// The last sequence number given out, 0 before the first.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// An SA that opens packets we receive.
pub struct InboundSa<P: Provider> {
    /// Keys, path and account.
    pub protection: Protection<P>,
    /// What may come out.
    pub selectors: Selectors,
    pub(crate) window: Window,
    pub(crate) drops: Drops<{ DropCause::OF_SA }>,
    /// What an export has set aside of the sequence numbers.
    pub(crate) reserved: Reserve,
    #[cfg(any(not(target_os = "none"), ipsec_quick))]
    usual: Option<UsualIn>,
}

impl<P: Provider> InboundSa<P> {
    pub(crate) fn new(protection: Protection<P>, selectors: Selectors, window: Window) -> Self {
        Self {
            #[cfg(any(not(target_os = "none"), ipsec_quick))]
            usual: UsualIn::of(&protection, &selectors),
            protection,
            selectors,
            window,
            drops: Drops::NONE,
            reserved: Reserve::ALL,
        }
    }

    /// What may come out, if the SA is of the usual kind.
    #[cfg(any(not(target_os = "none"), ipsec_quick))]
    #[inline]
    pub const fn usual(&self) -> Option<&UsualIn> {
        self.usual.as_ref()
    }

    /// The anti-replay window.
    pub const fn window(&self) -> &Window {
        &self.window
    }

    /// How many of its packets were dropped, and why.
    pub const fn drops(&self) -> &Drops<{ DropCause::OF_SA }> {
        &self.drops
    }
}

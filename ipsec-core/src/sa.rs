//! Security associations: what protects packets in one direction (RFC 4301 section 4.1).

use zeroize::Zeroize;

use crate::bytes;
use crate::crypto::suite::MAX_SALT;
use crate::crypto::{CryptoError, PacketCipher, Provider, Shape, Suite};
use crate::lifetime::{Lifetime, Usage};
use crate::path::Path;
use crate::replay::Window;
use crate::selector::Selectors;
use crate::time::Instant;

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
    /// Encryption and integrity.
    pub suite: Suite,
    /// Key, salt and integrity key, in this order: exactly [`Shape::keymat_len`] bytes (RFC 7296 section 2.17).
    pub keymat: &'k [u8],
    /// Outer addresses, and ports where [`SaParams::encapsulation`] is UDP.
    pub path: Path,
    /// How its packets travel.
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
    /// Encryption and integrity.
    pub suite: Suite,
    /// The sizes of the suite.
    pub shape: Shape,
    /// The prepared keys.
    pub cipher: P::Cipher,
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
    salt: [u8; MAX_SALT],
}

impl<P: Provider> Protection<P> {
    pub(crate) fn new(now: Instant, params: &SaParams<'_>) -> Result<Self, CryptoError> {
        let shape = params.suite.shape().ok_or(CryptoError::Unsupported)?;
        if params.keymat.len() != shape.keymat_len() {
            return Err(CryptoError::Length);
        }
        let mut reader = bytes::Reader::new(params.keymat);
        let (key, salt_bytes) = (reader.take(shape.key_len), reader.take(shape.salt_len));
        let (Some(key), Some(salt_bytes)) = (key, salt_bytes) else {
            return Err(CryptoError::Length);
        };
        let mut salt = [0; MAX_SALT];
        bytes::copy_prefix(&mut salt, salt_bytes).ok_or(CryptoError::Length)?;
        Ok(Self {
            spi: params.spi,
            suite: params.suite,
            shape,
            cipher: P::Cipher::new(params.suite, key, reader.rest())?,
            esn: params.esn,
            usage: Usage::new(now, &params.lifetime, params.esn),
            path: params.path,
            encapsulation: params.encapsulation,
            tag: params.tag,
            salt,
        })
    }

    /// The first part of every nonce.
    pub fn salt(&self) -> &[u8] {
        self.salt.get(..self.shape.salt_len).unwrap_or_default()
    }
}

impl<P: Provider> Drop for Protection<P> {
    fn drop(&mut self) {
        self.salt.zeroize(); // the cipher wipes itself
    }
}

/// An SA that protects packets we send.
pub struct OutboundSa<P: Provider> {
    /// Keys, path and account.
    pub protection: Protection<P>,
    /// The last sequence number given out.
    pub(crate) sequence: u64,
    /// The IPv4 identification of the next outer header that needs one.
    pub(crate) identification: u16,
}

impl<P: Provider> OutboundSa<P> {
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
}

impl<P: Provider> InboundSa<P> {
    /// The anti-replay window.
    pub const fn window(&self) -> &Window {
        &self.window
    }
}

//! Key exchange: one file per family of groups.

mod ecp;
mod modp;
pub(crate) mod x25519;

use ipsec_core::bytes;
use ipsec_core::crypto::{CryptoError, Group, KeyExchange};
use p256::NistP256;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use modp::Modp2048;

/// The groups of [`Kx`].
pub(crate) const GROUPS: &[Group] = &[Group::X25519, Group::P256, Group::MODP_2048];

/// The longest secret of any group in [`GROUPS`]: MODP-2048.
const MAX_SECRET: usize = 256;

/// The private side of a key exchange that was begun. It is small (the public value is not kept), and is wiped on drop.
///
/// See the front page of the crate for the stack that each group needs.
pub struct Kx(Private);

enum Private {
    X25519(x25519::Private),
    P256(ecp::Private<NistP256>),
    Modp2048(modp::Private<Modp2048, { Modp2048::LIMBS }>),
}

/// A shared secret, wiped on drop. Its length is fixed by the group: leading zeros are kept.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret {
    bytes: [u8; MAX_SECRET],
    len: usize,
}

impl Secret {
    /// A secret of `len` bytes, at most [`MAX_SECRET`], that `fill` writes in place.
    fn write(len: usize, fill: impl FnOnce(&mut [u8])) -> Result<Self, CryptoError> {
        let mut secret = Self { bytes: [0; MAX_SECRET], len };
        fill(secret.bytes.get_mut(..len).ok_or(CryptoError::Failed)?);
        Ok(secret)
    }

    /// A secret that another type computed.
    fn copy(from: &[u8]) -> Result<Self, CryptoError> {
        let mut secret = Self { bytes: [0; MAX_SECRET], len: from.len() };
        bytes::copy_prefix(&mut secret.bytes, from).ok_or(CryptoError::Failed)?;
        Ok(secret)
    }
}

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What the groups have in common: all of them are Diffie-Hellman.
pub(crate) trait DiffieHellman: Sized {
    /// Draws a private value. It takes a bounded number of draws.
    fn generate(rng: &mut dyn CryptoRng) -> Result<Self, CryptoError>;

    /// Computes the public value into the beginning of `out`, and says its length.
    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError>;

    /// Checks the peer's public value, and only then computes the secret.
    fn agree(&self, peer: &[u8]) -> Result<Secret, CryptoError>;
}

impl Kx {
    fn generate(group: Group, rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
        Ok(Self(match group {
            Group::X25519 => Private::X25519(DiffieHellman::generate(rng)?),
            Group::P256 => Private::P256(DiffieHellman::generate(rng)?),
            Group::MODP_2048 => Private::Modp2048(DiffieHellman::generate(rng)?),
            _ => return Err(CryptoError::Unsupported),
        }))
    }

    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
        match &self.0 {
            Private::X25519(private) => private.public(out),
            Private::P256(private) => private.public(out),
            Private::Modp2048(private) => private.public(out),
        }
    }
}

impl KeyExchange for Kx {
    type Secret = Secret;

    fn start(
        group: Group,
        rng: &mut dyn CryptoRng,
        public: &mut [u8],
    ) -> Result<(Self, usize), CryptoError> {
        let private = Self::generate(group, rng)?;
        let len = private.public(public)?;
        Ok((private, len))
    }

    fn respond(
        group: Group,
        rng: &mut dyn CryptoRng,
        peer: &[u8],
        public: &mut [u8],
    ) -> Result<(Secret, usize), CryptoError> {
        let private = Self::generate(group, rng)?;
        // First the secret: a bad value from the peer must not cost us the public value too.
        let secret = private.finish(peer)?;
        let len = private.public(public)?;
        Ok((secret, len))
    }

    fn finish(&self, peer: &[u8]) -> Result<Secret, CryptoError> {
        match &self.0 {
            Private::X25519(private) => private.agree(peer),
            Private::P256(private) => private.agree(peer),
            Private::Modp2048(private) => private.agree(peer),
        }
    }
}

//! Key exchange: one file per family of groups.

mod ecp;
mod ml_kem;
mod modp;
mod x25519;

use ipsec_core::crypto::{CryptoError, Group, KeyExchange};
use rand_core::CryptoRng;

use crate::lists::List;
use crate::select::{All, If, Select, Switch};

/// The private side of a key exchange that was begun. It is small (the public value is not kept), and is wiped on drop.
///
/// See the front page of the crate for the stack that each group needs.
pub struct Kx<S: Select = All>(Private<S>);

/// A shared secret, wiped on drop. Its length is fixed by the group: leading zeros are kept.
pub struct Secret<S: Select = All>(Shared<S>);

/// What the groups have in common: the side that begins. In Diffie-Hellman the other side does the same.
trait Initiator: Sized {
    /// The bytes of a shared secret, wiped on drop.
    type Secret: AsRef<[u8]>;

    /// Draws a private value. It takes a bounded number of draws.
    fn generate(rng: &mut dyn CryptoRng) -> Result<Self, CryptoError>;

    /// Computes the public value into the beginning of `out`, and says its length.
    fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError>;

    /// Checks the peer's public value, and only then computes the secret.
    fn agree(&self, peer: &[u8]) -> Result<Self::Secret, CryptoError>;
}

/// The other side of a key encapsulation mechanism.
trait Encapsulator: Initiator {
    /// Checks the peer's public key, draws a secret, writes its ciphertext, and says the length of that.
    fn encapsulate(
        rng: &mut dyn CryptoRng,
        peer: &[u8],
        out: &mut [u8],
    ) -> Result<(Self::Secret, usize), CryptoError>;
}

// Not inlined: all groups in one function would take the stack of all of them.

#[inline(never)]
fn generate<D: Initiator>(rng: &mut dyn CryptoRng) -> Result<D, CryptoError> {
    D::generate(rng)
}

#[inline(never)]
fn public<D: Initiator>(private: &D, out: &mut [u8]) -> Result<usize, CryptoError> {
    private.public(out)
}

#[inline(never)]
fn agree<D: Initiator>(private: &D, peer: &[u8]) -> Result<D::Secret, CryptoError> {
    private.agree(peer)
}

#[inline(never)]
fn encapsulate<K: Encapsulator>(
    rng: &mut dyn CryptoRng,
    peer: &[u8],
    out: &mut [u8],
) -> Result<(K::Secret, usize), CryptoError> {
    K::encapsulate(rng, peer, out)
}

/// The groups in the order of preference: the number, the switch, the type of a private value.
macro_rules! groups {
    ($($(#[$meta:meta])* $group:ident, $name:ident, $private:ty;)*) => {
        enum Private<S: Select> {
            $($(#[$meta])* $name(If<S::$name, $private>),)*
        }

        enum Shared<S: Select> {
            $($(#[$meta])* $name(If<S::$name, <$private as Initiator>::Secret>),)*
        }

        /// The groups that `S` has.
        pub(crate) const fn groups<S: Select>() -> List<Group, 15> {
            let mut list = List::new(Group::NONE);
            $($(#[$meta])* list.push(S::$name::ON, Group::$group);)*
            list
        }

        impl<S: Select> Kx<S> {
            fn generate(group: Group, rng: &mut dyn CryptoRng) -> Result<Self, CryptoError> {
                Ok(Self(match group {
                    $(
                        $(#[$meta])*
                        Group::$group => Private::$name(
                            <S::$name>::make(|| generate::<$private>(rng))?
                        ),
                    )*
                    _ => return Err(CryptoError::Unsupported),
                }))
            }

            fn public(&self, out: &mut [u8]) -> Result<usize, CryptoError> {
                match &self.0 {
                    $(
                        $(#[$meta])*
                        Private::$name(key) => public(<S::$name>::get::<$private>(key), out),
                    )*
                }
            }

            fn agree(&self, peer: &[u8]) -> Result<Secret<S>, CryptoError> {
                Ok(Secret(match &self.0 {
                    $(
                        $(#[$meta])*
                        Private::$name(key) => Shared::$name(
                            <S::$name>::make(|| agree(<S::$name>::get::<$private>(key), peer))?
                        ),
                    )*
                }))
            }
        }

        impl<S: Select> AsRef<[u8]> for Secret<S> {
            fn as_ref(&self) -> &[u8] {
                match &self.0 {
                    $(
                        $(#[$meta])*
                        Shared::$name(secret) => {
                            <S::$name>::get::<<$private as Initiator>::Secret>(secret).as_ref()
                        }
                    )*
                }
            }
        }
    };
}

groups! {
    X25519, X25519, x25519::Private;
    P256, P256, ecp::P256;
    P384, P384, ecp::P384;
    P521, P521, ecp::P521;
    MODP_3072, Modp3072, modp::Modp3072;
    MODP_4096, Modp4096, modp::Modp4096;
    MODP_2048, Modp2048, modp::Modp2048;
    MODP_6144, Modp6144, modp::Modp6144;
    MODP_8192, Modp8192, modp::Modp8192;
    #[cfg(feature = "legacy")]
    MODP_1536, Modp1536, modp::Modp1536;
    #[cfg(feature = "legacy")]
    MODP_1024, Modp1024, modp::Modp1024;
    #[cfg(feature = "legacy")]
    MODP_768, Modp768, modp::Modp768;
    // Not alone, but after another exchange (RFC 9370).
    ML_KEM_768, MlKem768, ml_kem::MlKem768;
    ML_KEM_1024, MlKem1024, ml_kem::MlKem1024;
    ML_KEM_512, MlKem512, ml_kem::MlKem512;
}

/// Those of the groups that are key encapsulation mechanisms.
macro_rules! mechanisms {
    ($($group:ident, $name:ident, $private:ty;)*) => {
        impl<S: Select> Secret<S> {
            #[inline(never)]
            fn encapsulate(
                group: Group,
                rng: &mut dyn CryptoRng,
                peer: &[u8],
                out: &mut [u8],
            ) -> Result<(Self, usize), CryptoError> {
                let mut len = 0;
                let secret = match group {
                    $(
                        Group::$group => Shared::$name(<S::$name>::make(|| {
                            let (secret, written) = encapsulate::<$private>(rng, peer, out)?;
                            len = written;
                            Ok(secret)
                        })?),
                    )*
                    _ => return Err(CryptoError::Unsupported),
                };
                Ok((Self(secret), len))
            }
        }
    };
}

mechanisms! {
    ML_KEM_768, MlKem768, ml_kem::MlKem768;
    ML_KEM_1024, MlKem1024, ml_kem::MlKem1024;
    ML_KEM_512, MlKem512, ml_kem::MlKem512;
}

impl<S: Select> KeyExchange for Kx<S> {
    type Secret = Secret<S>;

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
    ) -> Result<(Secret<S>, usize), CryptoError> {
        if group.is_kem() {
            return Secret::encapsulate(group, rng, peer, public);
        }
        let private = Self::generate(group, rng)?;
        // First the secret: a bad value from the peer must not cost us the public value too.
        let secret = private.finish(peer)?;
        let len = private.public(public)?;
        Ok((secret, len))
    }

    fn finish(&self, peer: &[u8]) -> Result<Secret<S>, CryptoError> {
        self.agree(peer)
    }
}

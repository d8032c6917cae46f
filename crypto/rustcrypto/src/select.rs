//! Which algorithms a program links: chosen by a type, so that two programs of one build may choose differently.

use core::convert::Infallible;

use ipsec_core::crypto::CryptoError;

/// Whether one algorithm is selected: [`On`] or [`Off`].
///
/// What is off has an uninhabited type wherever its keys would lie, so it takes no memory, and the code behind it cannot be
/// reached and is not linked.
pub trait Switch: sealed::Sealed + 'static {
    /// Whether it is on.
    const ON: bool;

    /// `T`, or the type without values.
    #[doc(hidden)]
    type Of<T>;

    /// Makes a value, if that can be.
    #[doc(hidden)]
    fn make<T>(make: impl FnOnce() -> Result<T, CryptoError>) -> Result<Self::Of<T>, CryptoError>;

    /// The value, which proves by being there that it is on.
    #[doc(hidden)]
    fn get<T>(of: &Self::Of<T>) -> &T;
}

/// Selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {}

/// Left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::On {}
    impl Sealed for super::Off {}
}

impl Switch for On {
    const ON: bool = true;

    type Of<T> = T;

    #[inline]
    fn make<T>(make: impl FnOnce() -> Result<T, CryptoError>) -> Result<T, CryptoError> {
        make()
    }

    #[inline]
    fn get<T>(of: &T) -> &T {
        of
    }
}

impl Switch for Off {
    const ON: bool = false;

    type Of<T> = Infallible;

    #[inline]
    fn make<T>(_: impl FnOnce() -> Result<T, CryptoError>) -> Result<Infallible, CryptoError> {
        Err(CryptoError::Unsupported)
    }

    #[inline]
    fn get<T>(of: &Infallible) -> &T {
        match *of {}
    }
}

/// `T` if `C` is on, else nothing.
pub(crate) type If<C, T> = <C as Switch>::Of<T>;

/// A selection of algorithms: [`All`], [`Minimal`], or one made by [`selection!`](crate::selection).
///
/// A suite is there if its cipher, its key size and its integrity algorithm are selected; a signature scheme is there if its
/// kind of key is selected, and the HMAC of its hash function. The algorithms that are marked
/// as legacy have no effect without the crate's feature `legacy`. Later versions may add algorithms to this trait: implement
/// it by the macro, which leaves out what it is not told.
pub trait Select: 'static {
    /// AES-GCM with ICVs of 16, 12 and 8 bytes (RFC 4106), and with an implicit IV (RFC 8750).
    type AesGcm: Switch;
    /// AES-CCM with ICVs of 16, 12 and 8 bytes (RFC 4309), and with an implicit IV (RFC 8750).
    type AesCcm: Switch;
    /// ChaCha20-Poly1305 (RFC 7634), also with an implicit IV (RFC 8750).
    type ChaCha20Poly1305: Switch;
    /// AES-CBC with each selected integrity algorithm (RFC 3602).
    type AesCbc: Switch;
    /// AES-CTR with each selected integrity algorithm (RFC 3686).
    type AesCtr: Switch;
    /// AES-GMAC: packets that are authenticated and not encrypted, for ESP and for AH (RFC 4543).
    type AesGmac: Switch;
    /// No encryption, with each selected integrity algorithm (RFC 2410).
    type Null: Switch;
    /// Triple DES in CBC mode (RFC 2451). Legacy.
    type TripleDes: Switch;
    /// DES in CBC mode (RFC 2405). Legacy.
    type Des: Switch;

    /// 128-bit keys of the AES ciphers above.
    type Aes128: Switch;
    /// 192-bit keys of the AES ciphers above.
    type Aes192: Switch;
    /// 256-bit keys of the AES ciphers above.
    type Aes256: Switch;

    /// HMAC-SHA2-256: integrity and pseudo-random function (RFC 4868).
    type HmacSha256: Switch;
    /// HMAC-SHA2-384: integrity and pseudo-random function (RFC 4868).
    type HmacSha384: Switch;
    /// HMAC-SHA2-512: integrity and pseudo-random function (RFC 4868).
    type HmacSha512: Switch;
    /// HMAC-SHA1: integrity (RFC 2404) and pseudo-random function.
    type HmacSha1: Switch;
    /// AES-XCBC: integrity (RFC 3566) and pseudo-random function (RFC 4434).
    type AesXcbc: Switch;
    /// AES-CMAC: integrity (RFC 4494) and pseudo-random function (RFC 4615).
    type AesCmac: Switch;
    /// HMAC-MD5: integrity (RFC 2403) and pseudo-random function. Legacy.
    type HmacMd5: Switch;

    /// Curve25519 (RFC 8031).
    type X25519: Switch;
    /// The 256-bit random ECP group (RFC 5903).
    type P256: Switch;
    /// The 384-bit random ECP group (RFC 5903).
    type P384: Switch;
    /// The 521-bit random ECP group (RFC 5903).
    type P521: Switch;
    /// The 2048-bit MODP group (RFC 3526).
    type Modp2048: Switch;
    /// The 3072-bit MODP group.
    type Modp3072: Switch;
    /// The 4096-bit MODP group.
    type Modp4096: Switch;
    /// The 6144-bit MODP group.
    type Modp6144: Switch;
    /// The 8192-bit MODP group.
    type Modp8192: Switch;
    /// The 1536-bit MODP group (RFC 3526). Legacy.
    type Modp1536: Switch;
    /// The 1024-bit MODP group (RFC 2409). Legacy.
    type Modp1024: Switch;
    /// The 768-bit MODP group (RFC 2409). Legacy.
    type Modp768: Switch;
    /// ML-KEM-512 (FIPS 203), a key encapsulation mechanism.
    type MlKem512: Switch;
    /// ML-KEM-768.
    type MlKem768: Switch;
    /// ML-KEM-1024.
    type MlKem1024: Switch;

    /// Signatures on P-256.
    type EcdsaP256: Switch;
    /// Signatures on P-384.
    type EcdsaP384: Switch;
    /// Signatures on P-521.
    type EcdsaP521: Switch;
    /// Signatures of Ed25519 (RFC 8032), with the SHA-512 that they have in them.
    type Ed25519: Switch;
    /// Signatures of RSA with a modulus of 2048 bits.
    type Rsa2048: Switch;
    /// Signatures of RSA with a modulus of 2049 to 3072 bits.
    type Rsa3072: Switch;
    /// Signatures of RSA with a modulus of 3073 to 4096 bits.
    type Rsa4096: Switch;
}

/// Defines a type that selects the named algorithms, which are those of [`Select`], and no others.
///
/// ```
/// use ipsec_core::crypto::{Group, Provider, Suite};
///
/// ipsec_rustcrypto::selection! {
///     /// What the other end of our one tunnel speaks.
///     pub enum Ours { AesCbc, Aes256, HmacSha256, Modp2048 }
/// }
///
/// type Crypto = ipsec_rustcrypto::Only<Ours>;
/// assert_eq!(Crypto::SUITES, [Suite::AES_256_CBC_SHA256]);
/// assert_eq!(Crypto::GROUPS, [Group::MODP_2048]);
/// ```
///
/// A name that is no algorithm does not compile:
///
/// ```compile_fail
/// ipsec_rustcrypto::selection! { enum Ours { AesGcm, Aes129 } }
/// ```
#[macro_export]
macro_rules! selection {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($on:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {}

        impl $crate::Select for $name {
            type AesGcm = $crate::__switch!(AesGcm: $($on)*);
            type AesCcm = $crate::__switch!(AesCcm: $($on)*);
            type ChaCha20Poly1305 = $crate::__switch!(ChaCha20Poly1305: $($on)*);
            type AesCbc = $crate::__switch!(AesCbc: $($on)*);
            type AesCtr = $crate::__switch!(AesCtr: $($on)*);
            type AesGmac = $crate::__switch!(AesGmac: $($on)*);
            type Null = $crate::__switch!(Null: $($on)*);
            type TripleDes = $crate::__switch!(TripleDes: $($on)*);
            type Des = $crate::__switch!(Des: $($on)*);
            type Aes128 = $crate::__switch!(Aes128: $($on)*);
            type Aes192 = $crate::__switch!(Aes192: $($on)*);
            type Aes256 = $crate::__switch!(Aes256: $($on)*);
            type HmacSha256 = $crate::__switch!(HmacSha256: $($on)*);
            type HmacSha384 = $crate::__switch!(HmacSha384: $($on)*);
            type HmacSha512 = $crate::__switch!(HmacSha512: $($on)*);
            type HmacSha1 = $crate::__switch!(HmacSha1: $($on)*);
            type AesXcbc = $crate::__switch!(AesXcbc: $($on)*);
            type AesCmac = $crate::__switch!(AesCmac: $($on)*);
            type HmacMd5 = $crate::__switch!(HmacMd5: $($on)*);
            type X25519 = $crate::__switch!(X25519: $($on)*);
            type P256 = $crate::__switch!(P256: $($on)*);
            type P384 = $crate::__switch!(P384: $($on)*);
            type P521 = $crate::__switch!(P521: $($on)*);
            type Modp2048 = $crate::__switch!(Modp2048: $($on)*);
            type Modp3072 = $crate::__switch!(Modp3072: $($on)*);
            type Modp4096 = $crate::__switch!(Modp4096: $($on)*);
            type Modp6144 = $crate::__switch!(Modp6144: $($on)*);
            type Modp8192 = $crate::__switch!(Modp8192: $($on)*);
            type Modp1536 = $crate::__switch!(Modp1536: $($on)*);
            type Modp1024 = $crate::__switch!(Modp1024: $($on)*);
            type Modp768 = $crate::__switch!(Modp768: $($on)*);
            type MlKem512 = $crate::__switch!(MlKem512: $($on)*);
            type MlKem768 = $crate::__switch!(MlKem768: $($on)*);
            type MlKem1024 = $crate::__switch!(MlKem1024: $($on)*);
            type EcdsaP256 = $crate::__switch!(EcdsaP256: $($on)*);
            type EcdsaP384 = $crate::__switch!(EcdsaP384: $($on)*);
            type EcdsaP521 = $crate::__switch!(EcdsaP521: $($on)*);
            type Ed25519 = $crate::__switch!(Ed25519: $($on)*);
            type Rsa2048 = $crate::__switch!(Rsa2048: $($on)*);
            type Rsa3072 = $crate::__switch!(Rsa3072: $($on)*);
            type Rsa4096 = $crate::__switch!(Rsa4096: $($on)*);
        }

        const _: () = {
            $(let _ = ::core::marker::PhantomData::<<$name as $crate::Select>::$on>;)*
        };
    };
}

/// `On` if the algorithm before the colon is among those after it.
#[doc(hidden)]
#[macro_export]
macro_rules! __switch {
    (AesGcm: AesGcm $($rest:ident)*) => { $crate::On };
    (AesCcm: AesCcm $($rest:ident)*) => { $crate::On };
    (ChaCha20Poly1305: ChaCha20Poly1305 $($rest:ident)*) => { $crate::On };
    (AesCbc: AesCbc $($rest:ident)*) => { $crate::On };
    (AesCtr: AesCtr $($rest:ident)*) => { $crate::On };
    (AesGmac: AesGmac $($rest:ident)*) => { $crate::On };
    (Null: Null $($rest:ident)*) => { $crate::On };
    (TripleDes: TripleDes $($rest:ident)*) => { $crate::On };
    (Des: Des $($rest:ident)*) => { $crate::On };
    (Aes128: Aes128 $($rest:ident)*) => { $crate::On };
    (Aes192: Aes192 $($rest:ident)*) => { $crate::On };
    (Aes256: Aes256 $($rest:ident)*) => { $crate::On };
    (HmacSha256: HmacSha256 $($rest:ident)*) => { $crate::On };
    (HmacSha384: HmacSha384 $($rest:ident)*) => { $crate::On };
    (HmacSha512: HmacSha512 $($rest:ident)*) => { $crate::On };
    (HmacSha1: HmacSha1 $($rest:ident)*) => { $crate::On };
    (AesXcbc: AesXcbc $($rest:ident)*) => { $crate::On };
    (AesCmac: AesCmac $($rest:ident)*) => { $crate::On };
    (HmacMd5: HmacMd5 $($rest:ident)*) => { $crate::On };
    (X25519: X25519 $($rest:ident)*) => { $crate::On };
    (P256: P256 $($rest:ident)*) => { $crate::On };
    (P384: P384 $($rest:ident)*) => { $crate::On };
    (P521: P521 $($rest:ident)*) => { $crate::On };
    (Modp2048: Modp2048 $($rest:ident)*) => { $crate::On };
    (Modp3072: Modp3072 $($rest:ident)*) => { $crate::On };
    (Modp4096: Modp4096 $($rest:ident)*) => { $crate::On };
    (Modp6144: Modp6144 $($rest:ident)*) => { $crate::On };
    (Modp8192: Modp8192 $($rest:ident)*) => { $crate::On };
    (Modp1536: Modp1536 $($rest:ident)*) => { $crate::On };
    (Modp1024: Modp1024 $($rest:ident)*) => { $crate::On };
    (Modp768: Modp768 $($rest:ident)*) => { $crate::On };
    (MlKem512: MlKem512 $($rest:ident)*) => { $crate::On };
    (MlKem768: MlKem768 $($rest:ident)*) => { $crate::On };
    (MlKem1024: MlKem1024 $($rest:ident)*) => { $crate::On };
    (EcdsaP256: EcdsaP256 $($rest:ident)*) => { $crate::On };
    (EcdsaP384: EcdsaP384 $($rest:ident)*) => { $crate::On };
    (EcdsaP521: EcdsaP521 $($rest:ident)*) => { $crate::On };
    (Ed25519: Ed25519 $($rest:ident)*) => { $crate::On };
    (Rsa2048: Rsa2048 $($rest:ident)*) => { $crate::On };
    (Rsa3072: Rsa3072 $($rest:ident)*) => { $crate::On };
    (Rsa4096: Rsa4096 $($rest:ident)*) => { $crate::On };
    ($want:ident: $other:ident $($rest:ident)*) => { $crate::__switch!($want: $($rest)*) };
    ($want:ident:) => { $crate::Off };
}

selection! {
    /// Every algorithm of this crate.
    pub enum All {
        AesGcm,
        AesCcm,
        ChaCha20Poly1305,
        AesCbc,
        AesCtr,
        AesGmac,
        Null,
        TripleDes,
        Des,
        Aes128,
        Aes192,
        Aes256,
        HmacSha256,
        HmacSha384,
        HmacSha512,
        HmacSha1,
        AesXcbc,
        AesCmac,
        HmacMd5,
        X25519,
        P256,
        P384,
        P521,
        Modp2048,
        Modp3072,
        Modp4096,
        Modp6144,
        Modp8192,
        Modp1536,
        Modp1024,
        Modp768,
        MlKem512,
        MlKem768,
        MlKem1024,
        EcdsaP256,
        EcdsaP384,
        EcdsaP521,
        Ed25519,
        Rsa2048,
        Rsa3072,
        Rsa4096,
    }
}

selection! {
    /// What two ends that agreed on it need, and no more: AES-GCM with 128 and 256-bit keys, HMAC-SHA2-256 as pseudo-random
    /// function, and X25519.
    pub enum Minimal { AesGcm, Aes128, Aes256, HmacSha256, X25519 }
}

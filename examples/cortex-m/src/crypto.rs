//! The cryptography of this firmware.

#[cfg(feature = "toy")]
pub use ipsec_testkit::toy::PlainToy as Crypto;

/// An image has the algorithms that its provider selects, and no others; HMAC-SHA2-256 only as a function of IKE.
#[cfg(not(any(feature = "all-algorithms", feature = "toy")))]
pub type Crypto = ipsec::WithoutAh<ipsec_rustcrypto::Only<Ours>>;

#[cfg(all(feature = "all-algorithms", not(feature = "toy")))]
pub type Crypto = ipsec_rustcrypto::RustCrypto;

#[cfg(not(any(
    feature = "all-algorithms",
    feature = "toy",
    feature = "certificates",
    feature = "ikev1",
    feature = "ml-kem"
)))]
ipsec_rustcrypto::selection! {
    /// What both ends of our tunnel have.
    pub enum Ours { AesGcm, Aes128, HmacSha256, X25519 }
}

#[cfg(all(feature = "certificates", not(feature = "ml-kem")))]
ipsec_rustcrypto::selection! {
    /// With what certificates take.
    pub enum Ours { AesGcm, Aes128, HmacSha256, X25519, EcdsaP256 }
}

#[cfg(feature = "ikev1")]
ipsec_rustcrypto::selection! {
    /// With what IKEv1 takes.
    pub enum Ours { AesGcm, AesCbc, Aes128, HmacSha256, X25519, P256 }
}

#[cfg(all(feature = "ml-kem", not(feature = "certificates")))]
ipsec_rustcrypto::selection! {
    /// With a second key exchange, against quantum computers.
    pub enum Ours { AesGcm, Aes128, HmacSha256, X25519, MlKem768 }
}

#[cfg(all(feature = "certificates", feature = "ml-kem"))]
ipsec_rustcrypto::selection! {
    /// With both.
    pub enum Ours { AesGcm, Aes128, HmacSha256, X25519, EcdsaP256, MlKem768 }
}

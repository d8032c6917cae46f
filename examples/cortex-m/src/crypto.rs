//! The cryptography of this firmware.

#[cfg(feature = "toy")]
pub use ipsec_testkit::toy::Toy as Crypto;

/// An image has the algorithms that its provider selects, and no others.
#[cfg(not(any(feature = "all-algorithms", feature = "toy")))]
pub type Crypto = ipsec_rustcrypto::Only<Ours>;

#[cfg(all(feature = "all-algorithms", not(feature = "toy")))]
pub type Crypto = ipsec_rustcrypto::RustCrypto;

#[cfg(not(any(feature = "all-algorithms", feature = "toy")))]
ipsec_rustcrypto::selection! {
    /// What both ends of our tunnel have.
    pub enum Ours { AesGcm, Aes128, HmacSha256, X25519 }
}

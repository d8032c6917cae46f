//! What the protocol asks of cryptography, without linking any.
//!
//! [`suite`] names algorithms by their IANA numbers and tells their sizes; [`provider`] is the trait that a crypto
//! crate implements. A program names its [`Provider`] once, as a type; which of its algorithms a security association
//! uses is negotiated at run time. [`sign`] has the traits of signatures, which are no part of a provider;
//! [`keyword`] the words of administrators for algorithms.

pub mod keyword;
pub mod provider;
pub mod sign;
pub mod suite;

pub use keyword::{SuiteKeyword, SuiteKeywordError};
pub use provider::{
    CryptoError, HashId, KeyExchange, Mac, MacWork, NoMac, PacketCipher, Prf, Provider, WithoutAh,
    Work,
};
pub use sign::{Curve, MAX_SIGNATURE_LEN, SignatureScheme, SignatureVerifier, Signer};
pub use suite::{Encr, Group, Integ, Iv, PrfId, Shape, SignatureHash, Suite};

//! How the two sides prove who they are, one method a file.
//!
//! Whatever the method, the proof of a side covers its own IKE_SA_INIT message, the nonce of the other side, and its
//! identity (RFC 7296 section 2.15).

pub(crate) mod psk;

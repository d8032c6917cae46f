//! Encryption of messages: CBC mode, whose vector is the last block of the message before (RFC 2409 appendix B).
//!
//! Nothing here authenticates: a message that decrypts to nonsense has been encrypted with another key, or changed. The
//! hash inside tells.

use ipsec_core::crypto::{CryptoError, Provider};

use super::keymat::{Iv, Protection};
use crate::wire::HEADER_LEN;

/// Encrypts what follows the header of `message`, which has been padded to whole blocks: by
/// [`MessageWriter::finish_padded`](crate::wire::v1::MessageWriter::finish_padded), with the flag of encryption in its
/// header. Gives the vector of the next message.
pub(crate) fn seal<P: Provider>(
    protection: Protection,
    key: &[u8],
    iv: &Iv,
    message: &mut [u8],
) -> Result<Iv, CryptoError> {
    let text = message.get_mut(HEADER_LEN..).ok_or(CryptoError::Length)?;
    P::cbc_encrypt(protection.encr, key, iv.bytes(), text)?;
    iv.after(text).ok_or(CryptoError::Length)
}

/// Decrypts what follows the header of `message`, in place. Gives the vector of the next message, which counts only if this
/// message turns out to be genuine: so the old one stays with the caller until then.
///
/// # Errors
/// [`CryptoError::Length`] if that is not whole blocks, or nothing; the message is then as it was.
pub(crate) fn open<P: Provider>(
    protection: Protection,
    key: &[u8],
    iv: &Iv,
    message: &mut [u8],
) -> Result<Iv, CryptoError> {
    let text = message.get_mut(HEADER_LEN..).ok_or(CryptoError::Length)?;
    let next = iv.after(text).ok_or(CryptoError::Length)?;
    P::cbc_decrypt(protection.encr, key, iv.bytes(), text)?;
    Ok(next)
}

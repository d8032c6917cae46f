//! ChaCha20-Poly1305: RFC 7634, and RFC 8750.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, Nonce, Tag};
use ipsec_core::crypto::{CryptoError, Work};

use crate::cipher::Packets;

impl Packets for ChaCha20Poly1305 {
    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let nonce = <&Nonce<Self>>::try_from(work.nonce).map_err(|_| CryptoError::Length)?;
        let icv = <&mut Tag<Self>>::try_from(work.icv).map_err(|_| CryptoError::Length)?;
        if !work.tail.is_empty() {
            return Err(CryptoError::Length);
        }
        *icv = self
            .encrypt_inout_detached(nonce, work.head, InOutBuf::from(work.text))
            .map_err(|_| CryptoError::Length)?;
        Ok(())
    }

    /// It verifies before it decrypts, so a forged packet costs one pass.
    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let nonce = <&Nonce<Self>>::try_from(work.nonce).map_err(|_| CryptoError::Length)?;
        let icv = <&Tag<Self>>::try_from(&*work.icv).map_err(|_| CryptoError::Length)?;
        if !work.tail.is_empty() {
            return Err(CryptoError::Length);
        }
        self.decrypt_inout_detached(nonce, work.head, InOutBuf::from(work.text), icv)
            .map_err(|_| CryptoError::Integrity)
    }
}

//! The nonce payload (RFC 7296 section 3.9).

use super::WireError;
use super::iana::PayloadType;

/// Bytes of the shortest nonce (RFC 7296 section 3.9).
pub const MIN_NONCE: usize = 16;
/// Bytes of the longest nonce (RFC 7296 section 3.9).
pub const MAX_NONCE: usize = 256;

/// The nonce that is the body of a nonce payload: [`MIN_NONCE`] to [`MAX_NONCE`] bytes.
pub fn parse(body: &[u8]) -> Result<&[u8], WireError> {
    if (MIN_NONCE..=MAX_NONCE).contains(&body.len()) {
        Ok(body)
    } else {
        Err(WireError::Malformed(PayloadType::NONCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7296 section 3.9: 16 to 256 bytes.
    #[test]
    fn the_size_of_a_nonce() {
        let bytes = [7; 257];
        for len in [0, 1, 15, 257] {
            assert_eq!(parse(&bytes[..len]), Err(WireError::Malformed(PayloadType::NONCE)));
        }
        for len in [16, 32, 256] {
            assert_eq!(parse(&bytes[..len]), Ok(&bytes[..len]));
        }
    }
}

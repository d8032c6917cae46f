//! The certificate payload (RFC 7296 section 3.6).

use ipsec_core::bytes::Reader;

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{CertEncoding, PayloadType};

/// The most certificate payloads in one message: the end entity's and its issuers'. Bounds the work that a peer can ask
/// for.
pub const MAX_CERTS: usize = 4;

/// A certificate payload. The first one of a message holds the key that its AUTH payload is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertPayload<'a> {
    /// How to read [`CertPayload::data`].
    pub encoding: CertEncoding,
    /// The certificate or key, not empty.
    pub data: &'a [u8],
}

impl<'a> CertPayload<'a> {
    /// Parses the body of a payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::CERT))
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let encoding = CertEncoding(r.u8()?);
        (!r.is_empty()).then(|| Self { encoding, data: r.rest() })
    }
}

impl MessageWriter<'_> {
    /// Appends a certificate payload.
    pub fn cert(&mut self, encoding: CertEncoding, data: &[u8]) -> Result<(), NoRoom> {
        self.payload(PayloadType::CERT, |w| {
            w.u8(encoding.0)?;
            w.bytes(data)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7296 section 3.6: the encoding, then the data.
    #[test]
    fn encoding_then_data() {
        let cert = CertPayload::parse(&[4, 0x30, 0]).unwrap();
        assert_eq!(cert, CertPayload { encoding: CertEncoding::X509_SIGNATURE, data: &[0x30, 0] });
        for cut in [&[][..], &[4]] {
            assert_eq!(CertPayload::parse(cut), Err(WireError::Malformed(PayloadType::CERT)));
        }
    }
}

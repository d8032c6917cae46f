//! The certificate request payload (RFC 7296 section 3.7): which certificates its sender can verify. A hint.

use ipsec_core::bytes::{Reader, Writer};

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{CertEncoding, PayloadType};

/// A certificate request payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertReqPayload<'a> {
    /// The kind of certificate that is asked for.
    pub encoding: CertEncoding,
    /// Of X.509: the SHA-1 hashes of the keys of those whom the sender trusts. Of raw public keys: empty
    /// (RFC 7670 section 3).
    pub authority: &'a [u8],
}

impl<'a> CertReqPayload<'a> {
    /// Parses the body of a payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let encoding = r.u8().ok_or(WireError::Malformed(PayloadType::CERTREQ))?;
        Ok(Self { encoding: CertEncoding(encoding), authority: r.rest() })
    }

    /// The whole hashes in it.
    pub fn hashes(&self) -> impl Iterator<Item = &'a [u8; 20]> + use<'a> {
        self.authority.as_chunks().0.iter()
    }
}

impl<'b> MessageWriter<'b> {
    /// Appends a certificate request payload, whose authority `authority` writes.
    pub fn cert_req(
        &mut self,
        encoding: CertEncoding,
        authority: impl FnOnce(&mut Writer<'b>) -> Option<()>,
    ) -> Result<(), NoRoom> {
        self.payload(PayloadType::CERTREQ, |w| {
            w.u8(encoding.0)?;
            authority(w)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7296 section 3.7: hashes of 20 bytes, one after the other.
    #[test]
    fn encoding_then_hashes() {
        let mut body = [7; 41];
        body[0] = 4;
        let request = CertReqPayload::parse(&body).unwrap();
        assert_eq!(request.encoding, CertEncoding::X509_SIGNATURE);
        assert!(request.hashes().eq([&[7; 20], &[7; 20]]));
        let raw = CertReqPayload::parse(&[15]).unwrap();
        assert_eq!((raw.encoding, raw.hashes().count()), (CertEncoding::RAW_PUBLIC_KEY, 0));
        assert_eq!(CertReqPayload::parse(&body[..30]).unwrap().hashes().count(), 1);
        assert_eq!(CertReqPayload::parse(&[]), Err(WireError::Malformed(PayloadType::CERTREQ)));
    }
}

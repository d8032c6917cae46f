//! Writing messages: header, payloads one after another, and padding in front of encryption.

use ipsec_core::bytes::Writer;

use super::super::compose::{self, NoRoom};
use super::iana::{CertEncoding, PayloadType};
use super::message::Header;

/// Writes a message into the caller's buffer.
///
/// The methods for particular payloads are in their files.
#[derive(Debug)]
pub struct MessageWriter<'b>(compose::MessageWriter<'b>);

impl<'b> MessageWriter<'b> {
    /// Begins a message with its header, whose first payload and length are ignored.
    pub fn new(buf: &'b mut [u8], header: &Header) -> Result<Self, NoRoom> {
        compose::MessageWriter::new(buf, &header.as_common()).map(Self)
    }

    /// Appends a payload whose body `body` writes.
    pub fn payload(
        &mut self,
        kind: PayloadType,
        body: impl FnOnce(&mut Writer<'b>) -> Option<()>,
    ) -> Result<(), NoRoom> {
        self.0.payload(super::super::PayloadType(kind.0), body)
    }

    /// Appends a payload with this body: KE, NONCE, HASH, SIG, NAT_D, VENDOR_ID have no structure of their own.
    pub fn raw(&mut self, kind: PayloadType, body: &[u8]) -> Result<(), NoRoom> {
        self.payload(kind, |w| w.bytes(body))
    }

    /// Appends a certificate (RFC 2408 section 3.9).
    pub fn cert(&mut self, encoding: CertEncoding, data: &[u8]) -> Result<(), NoRoom> {
        self.encoded(PayloadType::CERT, encoding, data)
    }

    /// Appends a certificate request: the distinguished name of an authority in DER, or nothing (RFC 2408 section 3.10).
    pub fn cert_req(&mut self, encoding: CertEncoding, authority: &[u8]) -> Result<(), NoRoom> {
        self.encoded(PayloadType::CERTREQ, encoding, authority)
    }

    /// Bytes written so far: where the next payload will begin.
    pub const fn len(&self) -> usize {
        self.0.written_len()
    }

    /// Never: the header is there from the beginning.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Ends a message in the clear. Gives its length.
    pub fn finish(self) -> Result<usize, NoRoom> {
        self.0.finish()
    }

    /// Ends a message that is to be encrypted: zeros up to a multiple of `block_len` after the header, and none where it is
    /// one already (RFC 2409 appendix B). Gives the length without and with them.
    pub fn finish_padded(mut self, block_len: usize) -> Result<(usize, usize), NoRoom> {
        let len = self.0.written_len();
        let padded = self.0.pad(super::super::HEADER_LEN, block_len).ok_or(NoRoom)?;
        self.0.finish()?;
        Ok((len, padded))
    }

    fn encoded(
        &mut self,
        kind: PayloadType,
        encoding: CertEncoding,
        data: &[u8],
    ) -> Result<(), NoRoom> {
        self.payload(kind, |w| {
            w.u8(encoding.0)?;
            w.bytes(data)
        })
    }
}

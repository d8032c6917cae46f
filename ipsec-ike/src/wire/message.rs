//! A whole message: header and payload chain (RFC 7296 section 3).

use super::header::{HEADER_LEN, Header, Version};
use super::{Collected, Payloads, WireError};

/// A datagram that is an IKEv2 message, its payloads not yet looked at.
///
/// On port 4500 the non-ESP marker has been taken off before (RFC 3948 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    bytes: &'a [u8],
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Checks the header: version 2, the length that of the datagram, an initiator's SPI that is not zero (RFC 7296
    /// section 3.1). Reserved flags and the minor version are ignored, as they must be.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        let header = Header::parse(datagram)?;
        let body = datagram.get(HEADER_LEN..).ok_or(WireError::Truncated)?;
        if header.version.major != Version::IKEV2.major {
            return Err(WireError::MajorVersion(header.version.major));
        }
        if usize::try_from(header.length) != Ok(datagram.len()) {
            return Err(WireError::DatagramLength);
        }
        if header.initiator_spi == 0 {
            return Err(WireError::ZeroSpi);
        }
        Ok(Self { header, bytes: datagram, body })
    }

    /// The whole datagram, as AUTH signs it.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The payloads.
    pub const fn payloads(&self) -> Payloads<'a> {
        Payloads::new(self.header.next_payload, self.body)
    }

    /// All payloads, parsed and sorted.
    pub fn collect(&self) -> Result<Collected<'a>, WireError> {
        Collected::collect(self.payloads())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testdata::SA_INIT_REQUEST;

    fn patched(at: usize, value: u8) -> [u8; SA_INIT_REQUEST.len()] {
        let mut bytes = SA_INIT_REQUEST;
        bytes[at] = value;
        bytes
    }

    #[test]
    fn headers_that_are_refused() {
        assert_eq!(Message::parse(&patched(17, 0x10)), Err(WireError::MajorVersion(1)));
        assert_eq!(Message::parse(&patched(17, 0x30)), Err(WireError::MajorVersion(3)));
        let mut zero_spi = SA_INIT_REQUEST;
        zero_spi[..8].fill(0);
        assert_eq!(Message::parse(&zero_spi), Err(WireError::ZeroSpi));
        assert_eq!(
            Message::parse(&patched(27, SA_INIT_REQUEST[27] ^ 1)),
            Err(WireError::DatagramLength)
        );
        assert_eq!(Message::parse(&patched(24, 0xff)), Err(WireError::DatagramLength));
    }

    /// RFC 7296 section 3.1: the minor version and reserved flags are ignored.
    #[test]
    fn what_a_later_version_may_set_is_ignored() {
        assert!(Message::parse(&patched(17, 0x2f)).unwrap().collect().is_ok());
        assert!(Message::parse(&patched(19, 0xcf)).unwrap().collect().is_ok());
    }

    #[test]
    fn a_cut_datagram_is_an_error_at_every_byte() {
        for len in 0..SA_INIT_REQUEST.len() {
            assert!(Message::parse(&SA_INIT_REQUEST[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_cut_datagram_with_a_matching_length_is_an_error_at_every_byte() {
        for len in HEADER_LEN..SA_INIT_REQUEST.len() {
            let mut bytes = SA_INIT_REQUEST;
            bytes[24..28].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
            let message = Message::parse(&bytes[..len]).unwrap();
            assert!(message.collect().is_err(), "{len}");
        }
    }
}

//! The header (RFC 2408 section 3.1), and a whole message.

use super::super::header;
use super::WireError;
use super::chain::Payloads;
use super::collect::Collected;
use super::iana::{ExchangeType, Flags, PayloadType};

/// The header of an IKEv1 message: the fields are those of [`wire::Header`](header::Header), the numbers in them are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// The initiator's cookie, not zero.
    pub initiator_cookie: u64,
    /// The responder's cookie, zero in the first message.
    pub responder_cookie: u64,
    /// The type of the first payload.
    pub next_payload: PayloadType,
    /// The exchange that the message belongs to.
    pub exchange: ExchangeType,
    /// The flags.
    pub flags: Flags,
    /// Zero in phase 1; in phase 2, what tells exchanges apart.
    pub message_id: u32,
    /// Bytes of the whole message, this header and padding included.
    pub length: u32,
}

impl Header {
    /// The header of a message to be written; its first payload and length are found while writing.
    pub const fn new(
        initiator_cookie: u64,
        responder_cookie: u64,
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        Self {
            initiator_cookie,
            responder_cookie,
            next_payload: PayloadType::NONE,
            exchange,
            flags,
            message_id,
            length: 0,
        }
    }

    /// Whether what follows is encrypted.
    pub const fn is_encrypted(&self) -> bool {
        self.flags.contains(Flags::ENCRYPTION)
    }

    /// Reads the numbers as IKEv1 has them. The minor version is ignored.
    pub const fn of(header: &header::Header) -> Result<Self, WireError> {
        if header.version.major != header::Version::IKEV1.major {
            return Err(WireError::MajorVersion(header.version.major));
        }
        Ok(Self {
            initiator_cookie: header.initiator_spi,
            responder_cookie: header.responder_spi,
            next_payload: PayloadType(header.next_payload.0),
            exchange: ExchangeType(header.exchange.0),
            flags: Flags(header.flags.0),
            message_id: header.message_id,
            length: header.length,
        })
    }

    pub(super) const fn as_common(&self) -> header::Header {
        header::Header {
            initiator_spi: self.initiator_cookie,
            responder_spi: self.responder_cookie,
            next_payload: super::super::PayloadType(self.next_payload.0),
            version: header::Version::IKEV1,
            exchange: super::super::ExchangeType(self.exchange.0),
            flags: super::super::Flags(self.flags.0),
            message_id: self.message_id,
            length: self.length,
        }
    }
}

/// A datagram that is an IKEv1 message, its payloads not yet looked at, and perhaps encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    bytes: &'a [u8],
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Checks the header: version 1, the length that of the datagram, an initiator's cookie that is not zero. On port 4500
    /// the non-ESP marker has been taken off before.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, WireError> {
        let common = header::Header::parse(datagram).map_err(|_| WireError::Truncated)?;
        let body = datagram.get(header::HEADER_LEN..).ok_or(WireError::Truncated)?;
        let header = Header::of(&common)?;
        if usize::try_from(header.length) != Ok(datagram.len()) {
            return Err(WireError::DatagramLength);
        }
        if header.initiator_cookie == 0 {
            return Err(WireError::ZeroCookie);
        }
        Ok(Self { header, bytes: datagram, body })
    }

    /// The whole datagram.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header: payloads, or their ciphertext.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The payloads of a message that is not encrypted.
    pub const fn payloads(&self) -> Payloads<'a> {
        Payloads::new(self.header.next_payload, self.body)
    }

    /// All payloads of a message that is not encrypted, parsed and sorted.
    pub fn collect(&self) -> Result<Collected<'a>, WireError> {
        Collected::collect(self.payloads())
    }
}

//! The IKE header (RFC 7296 section 3.1).

use ipsec_core::bytes::{Reader, Writer};

use super::WireError;
use super::iana::{ExchangeType, Flags, PayloadType};

/// Bytes of an IKE header.
pub const HEADER_LEN: usize = 28;

/// Where the type of the first payload stands in the header.
pub(super) const NEXT_PAYLOAD_AT: usize = 16;
/// Where the length stands in the header.
pub(super) const LENGTH_AT: usize = 24;

/// A version of IKE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Version {
    /// Says what the bytes mean.
    pub major: u8,
    /// Ignored in what was received (RFC 7296 section 3.1).
    pub minor: u8,
}

impl Version {
    /// Version 2.0.
    pub const IKEV2: Self = Self { major: 2, minor: 0 };
    /// Version 1.0 (RFC 2408).
    pub const IKEV1: Self = Self { major: 1, minor: 0 };
}

/// An IKE header.
///
/// The same for every version: who speaks it is decided by [`Header::version`].
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                    initiator's SPI (8 bytes)                  |
/// |                    responder's SPI (8 bytes)                  |
/// +---------------+-------+-------+---------------+---------------+
/// | next payload  | major | minor | exchange type |     flags     |
/// +---------------+-------+-------+---------------+---------------+
/// |                           message ID                          |
/// |                             length                            |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// The initiator's SPI, not zero.
    pub initiator_spi: u64,
    /// The responder's SPI, zero in the first message of an IKE SA.
    pub responder_spi: u64,
    /// The type of the first payload.
    pub next_payload: PayloadType,
    /// The version.
    pub version: Version,
    /// The exchange that the message belongs to.
    pub exchange: ExchangeType,
    /// The flags.
    pub flags: Flags,
    /// The message ID.
    pub message_id: u32,
    /// Bytes of the whole message, this header included.
    pub length: u32,
}

impl Header {
    /// The header of an IKEv2 message to be written; its first payload and length are found while writing.
    pub const fn new(
        initiator_spi: u64,
        responder_spi: u64,
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        Self {
            initiator_spi,
            responder_spi,
            next_payload: PayloadType::NONE,
            version: Version::IKEV2,
            exchange,
            flags,
            message_id,
            length: 0,
        }
    }

    /// The header at the front of a datagram, of whatever version and length; fails only with
    /// [`WireError::Truncated`].
    pub fn parse(datagram: &[u8]) -> Result<Self, WireError> {
        Self::read(&mut Reader::new(datagram)).ok_or(WireError::Truncated)
    }

    /// Whether the message is a response.
    pub const fn is_response(&self) -> bool {
        self.flags.contains(Flags::RESPONSE)
    }

    /// Whether the sender is the original initiator of the IKE SA.
    pub const fn from_initiator(&self) -> bool {
        self.flags.contains(Flags::INITIATOR)
    }

    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let initiator_spi = r.u64()?;
        let responder_spi = r.u64()?;
        let [next_payload, version, exchange, flags] = r.array()?;
        Some(Self {
            initiator_spi,
            responder_spi,
            next_payload: PayloadType(next_payload),
            version: Version { major: version >> 4, minor: version & 0x0f },
            exchange: ExchangeType(exchange),
            flags: Flags(flags),
            message_id: r.u32()?,
            length: r.u32()?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) -> Option<()> {
        w.u64(self.initiator_spi)?;
        w.u64(self.responder_spi)?;
        let version = self.version.major << 4 | self.version.minor & 0x0f;
        w.bytes(&[self.next_payload.0, version, self.exchange.0, self.flags.0])?;
        w.u32(self.message_id)?;
        w.u32(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testdata::SA_INIT_REQUEST;

    #[test]
    fn a_header_survives_the_round_trip() {
        let header = Header {
            length: 0x1234,
            next_payload: PayloadType::SA,
            ..Header::new(
                0x0102_0304_0506_0708,
                9,
                ExchangeType::IKE_AUTH,
                Flags::RESPONSE.union(Flags::INITIATOR),
                7,
            )
        };
        let mut buf = [0; HEADER_LEN];
        header.write(&mut Writer::new(&mut buf)).unwrap();
        assert_eq!(Header::parse(&buf), Ok(header));
        assert_eq!(&buf[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(buf[NEXT_PAYLOAD_AT..20], [33, 0x20, 35, 0x28]);
        assert_eq!(buf[LENGTH_AT..], [0, 0, 0x12, 0x34]);
        assert!(header.is_response() && header.from_initiator());
    }

    #[test]
    fn a_cut_header_is_an_error_at_every_byte() {
        for len in 0..HEADER_LEN {
            assert_eq!(Header::parse(&SA_INIT_REQUEST[..len]), Err(WireError::Truncated));
        }
    }

    #[test]
    fn the_header_of_a_real_message() {
        let header = Header::parse(&SA_INIT_REQUEST).unwrap();
        assert_eq!(header.version, Version::IKEV2);
        assert_eq!(header.exchange, ExchangeType::IKE_SA_INIT);
        assert_eq!(header.flags, Flags::INITIATOR);
        assert_eq!((header.message_id, header.responder_spi), (0, 0));
        assert_eq!(header.length as usize, SA_INIT_REQUEST.len());
    }
}

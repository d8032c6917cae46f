//! The notify payload (RFC 7296 section 3.10).

use ipsec_core::bytes::Reader;

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{NotifyType, PayloadType, ProtocolId};

/// A notify payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    /// The protocol of [`Notify::spi`]; to be ignored where that is empty (RFC 7296 section 3.10).
    pub protocol: ProtocolId,
    /// The SPI of the SA that this is about, empty if about none or about the IKE SA itself.
    pub spi: &'a [u8],
    /// What is notified.
    pub kind: NotifyType,
    /// Data, as the type has it.
    pub data: &'a [u8],
}

impl<'a> Notify<'a> {
    /// A notify about no SA, or about the IKE SA it is sent on.
    pub const fn new(kind: NotifyType, data: &'a [u8]) -> Self {
        Self { protocol: ProtocolId::NONE, spi: &[], kind, data }
    }

    /// A notify about the SA of `protocol` that has `spi`.
    pub const fn with_spi(
        protocol: ProtocolId,
        spi: &'a [u8],
        kind: NotifyType,
        data: &'a [u8],
    ) -> Self {
        Self { protocol, spi, kind, data }
    }

    /// Parses the body of a payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::NOTIFY))
    }

    /// The SPI of ESP or AH, if that is what it is by its length.
    pub fn spi_u32(&self) -> Option<u32> {
        self.spi.try_into().ok().map(u32::from_be_bytes)
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let [protocol, spi_len] = r.array()?;
        let kind = NotifyType(r.u16()?);
        let spi = r.take(spi_len.into())?;
        Some(Self { protocol: ProtocolId(protocol), spi, kind, data: r.rest() })
    }
}

impl MessageWriter<'_> {
    /// Appends a notify payload.
    pub fn notify(&mut self, notify: &Notify<'_>) -> Result<(), NoRoom> {
        self.payload(PayloadType::NOTIFY, |w| {
            let spi_len = u8::try_from(notify.spi.len()).ok()?;
            w.bytes(&[notify.protocol.0, spi_len])?;
            w.u16(notify.kind.0)?;
            w.bytes(notify.spi)?;
            w.bytes(notify.data)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7296 section 3.10: protocol, SPI size, type, SPI, data.
    #[test]
    fn a_notify_may_name_an_sa() {
        let n = Notify::parse(&[3, 4, 0x40, 0x09, 1, 2, 3, 4, 9]).unwrap();
        assert_eq!(n.kind, NotifyType::REKEY_SA);
        assert_eq!(
            (n.protocol, n.spi_u32(), n.data),
            (ProtocolId::ESP, Some(0x0102_0304), &[9][..])
        );
        let n = Notify::parse(&[0, 0, 0x40, 0x06]).unwrap();
        assert_eq!(n, Notify::new(NotifyType::COOKIE, &[]));
        assert_eq!(n.spi_u32(), None);
    }

    #[test]
    fn an_spi_size_that_lies_is_malformed() {
        for body in [
            &[][..],
            &[3, 4, 0x40],
            &[3, 4, 0x40, 0x09],
            &[3, 4, 0x40, 0x09, 1, 2, 3],
            &[3, 255, 0x40, 0x09, 1, 2, 3, 4],
        ] {
            assert_eq!(Notify::parse(body), Err(WireError::Malformed(PayloadType::NOTIFY)));
        }
    }
}

//! The notification payload (RFC 2408 section 3.14).

use ipsec_core::bytes::Reader;

use super::super::NoRoom;
use super::WireError;
use super::compose::MessageWriter;
use super::iana::{DOI_IPSEC, NotifyType, PayloadType, ProtocolId};

/// A notification payload of the IPsec DOI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    /// The protocol of [`Notify::spi`].
    pub protocol: ProtocolId,
    /// The SPI: four bytes of ESP or AH, both cookies of the ISAKMP SA, or nothing.
    pub spi: &'a [u8],
    /// What is notified.
    pub kind: NotifyType,
    /// Data, as the type has it.
    pub data: &'a [u8],
}

impl<'a> Notify<'a> {
    /// A notify about the ISAKMP SA, whose `spi` are both cookies (16 bytes) or nothing.
    pub const fn new(kind: NotifyType, spi: &'a [u8], data: &'a [u8]) -> Self {
        Self { protocol: ProtocolId::ISAKMP, spi, kind, data }
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

    /// Parses the body of a payload. DOI 0, of ISAKMP itself, is taken for that of IPsec, as errors of phase 1 are sent so
    /// (RFC 2408 section 3.14).
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let (doi, notify) = Self::read(body).ok_or(WireError::Malformed(PayloadType::NOTIFY))?;
        if matches!(doi, 0 | DOI_IPSEC) { Ok(notify) } else { Err(WireError::Doi(doi)) }
    }

    /// The SPI of ESP or AH, if that is what it is by its length.
    pub fn spi_u32(&self) -> Option<u32> {
        self.spi.try_into().ok().map(u32::from_be_bytes)
    }

    /// The number of an R_U_THERE or of its answer (RFC 3706 section 5.3).
    pub fn sequence(&self) -> Option<u32> {
        self.data.try_into().ok().map(u32::from_be_bytes)
    }

    fn read(body: &'a [u8]) -> Option<(u32, Self)> {
        let mut r = Reader::new(body);
        let doi = r.u32()?;
        let [protocol, spi_len] = r.array()?;
        let kind = NotifyType(r.u16()?);
        let spi = r.take(spi_len.into())?;
        Some((doi, Self { protocol: ProtocolId(protocol), spi, kind, data: r.rest() }))
    }
}

impl MessageWriter<'_> {
    /// Appends a notification payload.
    pub fn notify(&mut self, notify: &Notify<'_>) -> Result<(), NoRoom> {
        self.payload(PayloadType::NOTIFY, |w| {
            let spi_len = u8::try_from(notify.spi.len()).ok()?;
            w.u32(DOI_IPSEC)?;
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

    /// RFC 2408 section 3.14, RFC 3706 section 5.3.
    #[test]
    fn a_notify_has_a_doi_an_spi_and_data() {
        let body = [&[0, 0, 0, 1, 1, 16, 0x8d, 0x28][..], &[7; 16], &[0, 0, 1, 0]].concat();
        let n = Notify::parse(&body).unwrap();
        assert_eq!((n.protocol, n.kind), (ProtocolId::ISAKMP, NotifyType::R_U_THERE));
        assert_eq!((n.spi, n.sequence(), n.spi_u32()), (&[7; 16][..], Some(256), None));
        assert!(!n.kind.is_error());
        let n = Notify::parse(&[0, 0, 0, 0, 3, 4, 0, 14, 1, 2, 3, 4]).unwrap();
        assert_eq!((n.spi_u32(), n.kind.is_error()), (Some(0x0102_0304), true));
    }

    #[test]
    fn sizes_that_lie_and_other_dois_are_refused() {
        for body in [
            &[][..],
            &[0, 0, 0, 1, 3, 4, 0],
            &[0, 0, 0, 1, 3, 4, 0, 14, 1, 2, 3],
            &[0, 0, 0, 1, 3, 255, 0, 14, 1, 2, 3, 4],
        ] {
            assert_eq!(Notify::parse(body), Err(WireError::Malformed(PayloadType::NOTIFY)));
        }
        assert_eq!(Notify::parse(&[0, 0, 0, 2, 1, 0, 0, 1]), Err(WireError::Doi(2)));
    }
}

//! The delete payload (RFC 2408 section 3.15).

use ipsec_core::bytes::Reader;

use super::super::NoRoom;
use super::WireError;
use super::compose::MessageWriter;
use super::iana::{DOI_IPSEC, PayloadType, ProtocolId};

const COOKIES_LEN: u8 = 16;

/// A delete payload: SAs of one protocol that the sender has deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletePayload<'a> {
    /// ISAKMP, or ESP or AH.
    pub protocol: ProtocolId,
    spi_len: usize,
    spis: &'a [u8],
}

impl<'a> DeletePayload<'a> {
    /// Parses the body of a payload: ISAKMP SAs are named by their two cookies, the others by four bytes; any other
    /// protocol is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let (doi, delete) = Self::read(body).ok_or(WireError::Malformed(PayloadType::DELETE))?;
        if matches!(doi, 0 | DOI_IPSEC) { Ok(delete) } else { Err(WireError::Doi(doi)) }
    }

    /// The SPIs of ESP or AH, which the sender expected in packets that it received; none where the protocol is ISAKMP.
    pub fn spis(&self) -> impl Iterator<Item = u32> + use<'a> {
        let spis = if self.spi_len == 4 { self.spis } else { &[] };
        spis.as_chunks::<4>().0.iter().copied().map(u32::from_be_bytes)
    }

    /// The ISAKMP SAs: the initiator's cookie, then the responder's; none for another protocol.
    pub fn cookies(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let spis = if self.spi_len == 16 { self.spis } else { &[] };
        spis.as_chunks::<8>().0.as_chunks::<2>().0.iter().map(|[initiator, responder]| {
            (u64::from_be_bytes(*initiator), u64::from_be_bytes(*responder))
        })
    }

    fn read(body: &'a [u8]) -> Option<(u32, Self)> {
        let mut r = Reader::new(body);
        let doi = r.u32()?;
        let [protocol, spi_len] = r.array()?;
        let count = usize::from(r.u16()?);
        let protocol = ProtocolId(protocol);
        let spis = r.rest();
        let sound = match protocol {
            ProtocolId::ISAKMP => spi_len == COOKIES_LEN,
            ProtocolId::AH | ProtocolId::ESP => spi_len == 4,
            _ => false,
        };
        let spi_len = usize::from(spi_len);
        let whole = count.checked_mul(spi_len) == Some(spis.len());
        (sound && whole).then_some((doi, Self { protocol, spi_len, spis }))
    }
}

impl MessageWriter<'_> {
    /// Appends a delete payload for the ISAKMP SA with these cookies.
    pub fn delete_isakmp(&mut self, initiator: u64, responder: u64) -> Result<(), NoRoom> {
        self.payload(PayloadType::DELETE, |w| {
            w.u32(DOI_IPSEC)?;
            w.bytes(&[ProtocolId::ISAKMP.0, COOKIES_LEN])?;
            w.u16(1)?;
            w.u64(initiator)?;
            w.u64(responder)
        })
    }

    /// Appends a delete payload for SAs of `protocol`, ESP or AH, by the SPIs that the sender received on.
    pub fn delete(&mut self, protocol: ProtocolId, spis: &[u32]) -> Result<(), NoRoom> {
        self.payload(PayloadType::DELETE, |w| {
            w.u32(DOI_IPSEC)?;
            w.bytes(&[protocol.0, 4])?;
            w.u16(u16::try_from(spis.len()).ok()?)?;
            spis.iter().try_for_each(|spi| w.u32(*spi))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    /// RFC 2408 section 3.15: several SPIs of one protocol, of the length that the protocol has.
    #[test]
    fn what_is_deleted() {
        let body = [0, 0, 0, 1, 3, 4, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0];
        let d = DeletePayload::parse(&body).unwrap();
        assert_eq!((d.protocol, d.cookies().count()), (ProtocolId::ESP, 0));
        assert_eq!(d.spis().collect::<Vec<_>>(), [0x100, 0x200]);
        let body = [&[0, 0, 0, 1, 1, 16, 0, 1][..], &[0, 0, 0, 0, 0, 0, 0, 5], &[0; 7], &[6]];
        let body = body.concat();
        let d = DeletePayload::parse(&body).unwrap();
        assert_eq!(d.cookies().collect::<Vec<_>>(), [(5, 6)]);
        assert_eq!(d.spis().count(), 0);
    }

    #[test]
    fn counts_and_sizes_that_lie_are_malformed() {
        for body in [
            &[][..],
            &[0, 0, 0, 1, 3, 4, 0],
            &[0, 0, 0, 1, 3, 4, 0, 1],
            &[0, 0, 0, 1, 3, 4, 0, 1, 0, 0, 1],
            &[0, 0, 0, 1, 3, 4, 0, 2, 0, 0, 1, 0],
            &[0, 0, 0, 1, 3, 4, 0, 1, 0, 0, 1, 0, 0],
            &[0, 0, 0, 1, 3, 8, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0],
            &[0, 0, 0, 1, 3, 0, 0, 9],
            &[0, 0, 0, 1, 1, 0, 0, 0],
            &[0, 0, 0, 1, 1, 4, 0, 1, 0, 0, 1, 0],
            &[0, 0, 0, 1, 9, 4, 0, 1, 0, 0, 1, 0],
        ] {
            let error = WireError::Malformed(PayloadType::DELETE);
            assert_eq!(DeletePayload::parse(body), Err(error), "{body:?}");
        }
        let other = [0, 0, 0, 9, 3, 4, 0, 1, 0, 0, 1, 0];
        assert_eq!(DeletePayload::parse(&other), Err(WireError::Doi(9)));
    }
}

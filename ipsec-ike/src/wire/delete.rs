//! The delete payload (RFC 7296 section 3.11).

use ipsec_core::bytes::Reader;

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{PayloadType, ProtocolId};

/// A delete payload: SAs of one protocol that the sender has deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletePayload<'a> {
    /// IKE, which means the IKE SA that the message came on, or ESP or AH.
    pub protocol: ProtocolId,
    spis: &'a [[u8; 4]],
}

impl<'a> DeletePayload<'a> {
    /// Parses the body of a payload. The IKE SA is deleted without an SPI, the others with SPIs of four bytes; any
    /// other protocol is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::DELETE))
    }

    /// The SPIs that the sender expected in packets that it received; none where the protocol is IKE.
    pub fn spis(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.spis.iter().copied().map(u32::from_be_bytes)
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let [protocol, spi_len] = r.array()?;
        let count = usize::from(r.u16()?);
        let protocol = ProtocolId(protocol);
        let (spis, cut) = r.rest().as_chunks::<4>();
        let sound = match protocol {
            ProtocolId::IKE => spi_len == 0 && count == 0 && spis.is_empty(),
            ProtocolId::AH | ProtocolId::ESP => spi_len == 4 && count == spis.len(),
            _ => false,
        };
        (sound && cut.is_empty()).then_some(Self { protocol, spis })
    }
}

impl MessageWriter<'_> {
    /// Appends a delete payload for the IKE SA that the message is sent on.
    pub fn delete_ike(&mut self) -> Result<(), NoRoom> {
        self.raw(PayloadType::DELETE, &[ProtocolId::IKE.0, 0, 0, 0])
    }

    /// Appends a delete payload for SAs of `protocol`, ESP or AH, by the SPIs of the sender's inbound half (RFC 7296
    /// section 1.4.1).
    pub fn delete(&mut self, protocol: ProtocolId, spis: &[u32]) -> Result<(), NoRoom> {
        self.payload(PayloadType::DELETE, |w| {
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

    /// RFC 7296 section 3.11: SPIs of four bytes, and none for the IKE SA.
    #[test]
    fn what_is_deleted() {
        let d = DeletePayload::parse(&[3, 4, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0]).unwrap();
        assert_eq!(d.protocol, ProtocolId::ESP);
        assert_eq!(d.spis().collect::<Vec<_>>(), [0x100, 0x200]);
        let d = DeletePayload::parse(&[1, 0, 0, 0]).unwrap();
        assert_eq!((d.protocol, d.spis().count()), (ProtocolId::IKE, 0));
    }

    #[test]
    fn counts_and_sizes_that_lie_are_malformed() {
        for body in [
            &[][..],
            &[3, 4, 0],
            &[3, 4, 0, 1],
            &[3, 4, 0, 1, 0, 0, 1],
            &[3, 4, 0, 2, 0, 0, 1, 0],
            &[3, 4, 0, 1, 0, 0, 1, 0, 0],
            &[3, 4, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0],
            &[3, 8, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0],
            &[3, 0, 0, 1, 0, 0, 1, 0],
            &[1, 0, 0, 1],
            &[1, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 4, 0, 1, 0, 0, 1, 0],
            &[9, 4, 0, 1, 0, 0, 1, 0],
        ] {
            let error = WireError::Malformed(PayloadType::DELETE);
            assert_eq!(DeletePayload::parse(body), Err(error), "{body:?}");
        }
    }
}

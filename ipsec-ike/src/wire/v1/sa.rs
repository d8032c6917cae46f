//! The security association payload: proposals, transforms, attributes (RFC 2408 sections 3.4 to 3.6, RFC 2407 section
//! 4.6.1).

use ipsec_core::bytes::{Reader, Writer};

use super::super::NoRoom;
use super::super::sa::{MORE_PROPOSALS, MORE_TRANSFORMS, patch_length, substructure};
use super::WireError;
use super::attributes::{Attributes, AttributesWriter};
use super::compose::MessageWriter;
use super::iana::{DOI_IPSEC, PayloadType, ProtocolId, SITUATION_IDENTITY_ONLY};

/// A security association payload of the IPsec DOI: at least one proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaPayload<'a> {
    body: &'a [u8],
    proposals: &'a [u8],
}

impl<'a> SaPayload<'a> {
    /// Parses the body of a payload. All lengths, counts and last markers must agree, and a proposal has at least one
    /// transform. Unknown protocols, transforms and attributes do not fail here.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        const MALFORMED: WireError = WireError::Malformed(PayloadType::SA);
        let mut r = Reader::new(body);
        let doi = r.u32().ok_or(MALFORMED)?;
        if doi != DOI_IPSEC {
            return Err(WireError::Doi(doi));
        }
        let situation = r.u32().ok_or(MALFORMED)?;
        if situation != SITUATION_IDENTITY_ONLY {
            return Err(WireError::Situation(situation));
        }
        let proposals = r.rest();
        loop {
            Proposal::read(&mut r).filter(Proposal::is_sound).ok_or(MALFORMED)?;
            if r.is_empty() {
                return Ok(Self { body, proposals });
            }
        }
    }

    /// SAi_b: what the hashes of phase 1 cover (RFC 2409 section 5).
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The proposals, at least one, in the order of the sender's preference. Those that follow each other with the same
    /// number are wanted together (RFC 2408 section 4.2).
    pub fn proposals(&self) -> impl Iterator<Item = Proposal<'a>> + Clone + use<'a> {
        let mut r = Reader::new(self.proposals);
        core::iter::from_fn(move || Proposal::read(&mut r))
    }

    /// The only proposal; `None` if there are more.
    pub fn single(&self) -> Option<Proposal<'a>> {
        let mut proposals = self.proposals();
        let first = proposals.next()?;
        proposals.next().is_none().then_some(first)
    }
}

/// A proposal: one protocol and the transforms it could use, of which one is to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// Its number; an answer repeats that of the offer it accepts.
    pub number: u8,
    /// The protocol.
    pub protocol: ProtocolId,
    /// The sender's inbound SPI: four bytes for ESP and AH; for ISAKMP whatever its sender likes, and ignored.
    pub spi: &'a [u8],
    count: u8,
    transforms: &'a [u8],
}

impl<'a> Proposal<'a> {
    /// The transforms, at least one, in the order of the sender's preference.
    pub fn transforms(&self) -> impl Iterator<Item = Transform<'a>> + use<'a> {
        let mut r = Reader::new(self.transforms);
        core::iter::from_fn(move || Transform::read(&mut r))
    }

    /// The only transform, as an answer must have it; `None` if there are more.
    pub fn single(&self) -> Option<Transform<'a>> {
        if self.count == 1 { self.transforms().next() } else { None }
    }

    /// The SPI of ESP or AH.
    pub fn spi_u32(&self) -> Option<u32> {
        self.spi.try_into().ok().map(u32::from_be_bytes)
    }

    fn read(r: &mut Reader<'a>) -> Option<Self> {
        let mut r = substructure(r, MORE_PROPOSALS)?;
        let [number, protocol, spi_len, count] = r.array()?;
        let spi = r.take(spi_len.into())?;
        let protocol = ProtocolId(protocol);
        Some(Self { number, protocol, spi, count, transforms: r.rest() })
    }

    fn is_sound(&self) -> bool {
        // RFC 2408 section 3.5 for ISAKMP: 0 to 16, all of it ignored.
        let spi_fits = match self.protocol {
            ProtocolId::ISAKMP => self.spi.len() <= 16,
            ProtocolId::AH | ProtocolId::ESP => self.spi.len() == 4,
            _ => true,
        };
        let mut r = Reader::new(self.transforms);
        let all_read = (0..self.count).all(|_| Transform::read(&mut r).is_some());
        spi_fits && self.count > 0 && all_read && r.is_empty()
    }
}

/// A transform: a whole choice of algorithms, described by its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transform<'a> {
    /// Its number; an answer repeats it.
    pub number: u8,
    /// [`IsakmpTransform`](super::IsakmpTransform), [`EspTransform`](super::EspTransform) or
    /// [`AhTransform`](super::AhTransform), as the protocol has it.
    pub id: u8,
    /// What describes it.
    pub attributes: Attributes<'a>,
}

impl<'a> Transform<'a> {
    fn read(r: &mut Reader<'a>) -> Option<Self> {
        let mut r = substructure(r, MORE_TRANSFORMS)?;
        let [number, id, _, _] = r.array()?;
        Some(Self { number, id, attributes: Attributes::parse(r.rest())? })
    }
}

/// Writes the proposals of a security association payload.
#[derive(Debug)]
pub struct SaWriter<'w, 'b> {
    w: &'w mut Writer<'b>,
    previous: Option<usize>,
}

impl<'b> SaWriter<'_, 'b> {
    /// Begins a proposal, to which transforms are then added.
    pub fn proposal(
        &mut self,
        number: u8,
        protocol: ProtocolId,
        spi: &[u8],
    ) -> Result<ProposalWriter<'_, 'b>, NoRoom> {
        self.begin(number, protocol, spi).ok_or(NoRoom)
    }

    fn begin(
        &mut self,
        number: u8,
        protocol: ProtocolId,
        spi: &[u8],
    ) -> Option<ProposalWriter<'_, 'b>> {
        if let Some(previous) = self.previous {
            self.w.patch(previous, &[MORE_PROPOSALS])?;
        }
        let start = self.w.len();
        self.previous = Some(start);
        self.w.bytes(&[0; 4])?;
        self.w.bytes(&[number, protocol.0, u8::try_from(spi.len()).ok()?, 0])?;
        self.w.bytes(spi)?;
        patch_length(self.w, start)?;
        Some(ProposalWriter { w: self.w, start, previous: None, count: 0 })
    }
}

/// Writes the transforms of a proposal.
#[derive(Debug)]
pub struct ProposalWriter<'w, 'b> {
    w: &'w mut Writer<'b>,
    start: usize,
    previous: Option<usize>,
    count: u8,
}

/// Writes the attributes of a transform.
pub type TransformWriter<'w, 'b> = AttributesWriter<'w, 'b>;

impl<'b> ProposalWriter<'_, 'b> {
    /// Appends a transform, whose attributes `attributes` writes. Transforms are numbered from 1.
    pub fn transform(
        &mut self,
        id: u8,
        attributes: impl FnOnce(&mut TransformWriter<'_, 'b>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        let number = self.count.checked_add(1).ok_or(NoRoom)?;
        self.append(number, id, attributes).ok_or(NoRoom)
    }

    /// Appends a transform as it was received, number and all: an answer (RFC 2408 section 4.2).
    pub fn again(&mut self, transform: &Transform<'_>) -> Result<(), NoRoom> {
        self.append(transform.number, transform.id, |w| w.again(&transform.attributes))
            .ok_or(NoRoom)
    }

    fn append(
        &mut self,
        number: u8,
        id: u8,
        attributes: impl FnOnce(&mut TransformWriter<'_, 'b>) -> Result<(), NoRoom>,
    ) -> Option<()> {
        if let Some(previous) = self.previous {
            self.w.patch(previous, &[MORE_TRANSFORMS])?;
        }
        let start = self.w.len();
        self.previous = Some(start);
        self.w.bytes(&[0, 0, 0, 0, number, id, 0, 0])?;
        attributes(&mut AttributesWriter::new(self.w)).ok()?;
        patch_length(self.w, start)?;
        self.count = self.count.checked_add(1)?;
        self.w.patch(self.start.checked_add(7)?, &[self.count])?;
        patch_length(self.w, self.start)
    }
}

impl<'b> MessageWriter<'b> {
    /// Appends a security association payload, whose proposals `proposals` writes.
    pub fn sa(
        &mut self,
        proposals: impl FnOnce(&mut SaWriter<'_, 'b>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        self.payload(PayloadType::SA, |w| {
            w.u32(DOI_IPSEC)?;
            w.u32(SITUATION_IDENTITY_ONLY)?;
            proposals(&mut SaWriter { w, previous: None }).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::{Cipher, IkeAttribute, LifeType};

    extern crate std;
    use std::vec::Vec;

    /// DOI, situation, one proposal of IKE with one transform: AES-128, 28800 seconds.
    const BODY: [u8; 44] = [
        0, 0, 0, 1, 0, 0, 0, 1, // DOI, situation
        0, 0, 0, 36, 1, 1, 0, 1, // proposal
        0, 0, 0, 28, 1, 1, 0, 0, // transform
        0x80, 1, 0, 7, 0x80, 14, 0, 128, 0x80, 11, 0, 1, 0, 12, 0, 4, 0, 0, 0x70, 0x80,
    ];

    fn patched(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut body = BODY.to_vec();
        changes.iter().for_each(|(at, value)| body[*at] = *value);
        body
    }

    /// RFC 2408 sections 3.4 to 3.6, RFC 2409 appendix A.
    #[test]
    fn proposals_hold_transforms_and_these_attributes() {
        let sa = SaPayload::parse(&BODY).unwrap();
        assert_eq!(sa.body(), BODY);
        let proposal = sa.single().unwrap();
        assert_eq!((proposal.number, proposal.protocol), (1, ProtocolId::ISAKMP));
        let transform = proposal.single().unwrap();
        let value = |kind: IkeAttribute| transform.attributes.first(kind.0).map(|a| a.number());
        assert_eq!(value(IkeAttribute::ENCRYPTION), Some(Cipher::AES_CBC.0.into()));
        assert_eq!(value(IkeAttribute::KEY_LENGTH), Some(128));
        assert_eq!(value(IkeAttribute::LIFE_TYPE), Some(LifeType::SECONDS.0.into()));
        assert_eq!(value(IkeAttribute::LIFE_DURATION), Some(28_800));
        assert_eq!(value(IkeAttribute::HASH), None);
    }

    #[test]
    fn lengths_counts_and_markers_that_lie_are_malformed() {
        for (what, body) in [
            ("empty", Vec::new()),
            ("no situation", BODY[..6].to_vec()),
            ("no proposal", BODY[..8].to_vec()),
            ("cut", BODY[..43].to_vec()),
            ("longer", [&BODY[..], &[0]].concat()),
            ("more marker on last", patched(&[(8, 2)])),
            ("unknown marker", patched(&[(8, 1)])),
            ("proposal length 3", patched(&[(11, 3)])),
            ("proposal too short", patched(&[(11, 35)])),
            ("proposal too long", patched(&[(11, 37)])),
            ("SPI size past the end", patched(&[(14, 255)])),
            ("SPI size 0 for ESP", patched(&[(13, 3)])),
            ("SPI size 17 for ISAKMP", patched(&[(14, 17)])),
            ("no transforms", patched(&[(15, 0)])),
            ("more transforms than counted", patched(&[(15, 2)])),
            ("more marker on last transform", patched(&[(16, 3)])),
            ("transform length 7", patched(&[(19, 7)])),
            ("attribute cut", patched(&[(19, 27)])),
            ("attribute length past the end", patched(&[(39, 5)])),
            ("attribute length before the end", patched(&[(39, 3)])),
        ] {
            let error = WireError::Malformed(PayloadType::SA);
            assert_eq!(SaPayload::parse(&body), Err(error), "{what}");
        }
        assert_eq!(SaPayload::parse(&patched(&[(3, 0)])), Err(WireError::Doi(0)));
        assert_eq!(SaPayload::parse(&patched(&[(7, 3)])), Err(WireError::Situation(3)));
    }
}

//! The security association payload: proposals, transforms, attributes (RFC 7296 section 3.3).

use ipsec_core::bytes::{Reader, Writer};

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{AttributeType, PayloadType, ProtocolId, TransformType};

/// Says in the first byte of a proposal that another follows; zero says that it is the last.
pub(super) const MORE_PROPOSALS: u8 = 2;
/// The same of a transform.
pub(super) const MORE_TRANSFORMS: u8 = 3;
/// Says that an attribute has a value of two bytes in place of a length.
pub(super) const ATTRIBUTE_FORMAT: u16 = 0x8000;

/// A security association payload: at least one proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaPayload<'a> {
    proposals: &'a [u8],
}

impl<'a> SaPayload<'a> {
    /// Parses the body of a payload. All lengths, counts and last markers must agree; SPIs must have the size of
    /// their protocol, numbers must rise, and a proposal has at least one transform. What is well formed but unknown
    /// does not fail here: [`Transform::understood`] tells it (RFC 7296 section 3.3.6).
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::SA))
    }

    /// The proposals, at least one, in the order of the sender's preference.
    pub fn proposals(&self) -> impl Iterator<Item = Proposal<'a>> + use<'a> {
        let mut r = Reader::new(self.proposals);
        core::iter::from_fn(move || Proposal::read(&mut r))
    }

    /// The only proposal, as an answer must have it (RFC 7296 section 2.7); `None` if there are more.
    pub fn single(&self) -> Option<Proposal<'a>> {
        let mut proposals = self.proposals();
        let first = proposals.next()?;
        proposals.next().is_none().then_some(first)
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let mut number = 0;
        loop {
            let proposal = Proposal::read(&mut r)?;
            if proposal.number <= number || !proposal.is_sound() {
                return None;
            }
            number = proposal.number;
            if r.is_empty() {
                return Some(Self { proposals: body });
            }
        }
    }
}

/// A proposal: one protocol and the transforms it could use. One transform of each type is to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// Its number, from 1; an answer repeats that of the offer it accepts.
    pub number: u8,
    /// The protocol.
    pub protocol: ProtocolId,
    /// The sender's inbound SPI: four bytes for ESP and AH; for IKE none in the first exchange, eight in a rekey.
    pub spi: &'a [u8],
    count: u8,
    transforms: &'a [u8],
}

impl<'a> Proposal<'a> {
    /// The transforms, at least one.
    pub fn transforms(&self) -> impl Iterator<Item = Transform> + use<'a> {
        let mut r = Reader::new(self.transforms);
        core::iter::from_fn(move || Transform::read(&mut r))
    }

    /// The SPI of ESP or AH.
    pub fn spi_u32(&self) -> Option<u32> {
        self.spi.try_into().ok().map(u32::from_be_bytes)
    }

    /// The SPI of IKE.
    pub fn spi_u64(&self) -> Option<u64> {
        self.spi.try_into().ok().map(u64::from_be_bytes)
    }

    fn read(r: &mut Reader<'a>) -> Option<Self> {
        let mut r = substructure(r, MORE_PROPOSALS)?;
        let [number, protocol, spi_len, count] = r.array()?;
        let spi = r.take(spi_len.into())?;
        let protocol = ProtocolId(protocol);
        Some(Self { number, protocol, spi, count, transforms: r.rest() })
    }

    fn is_sound(&self) -> bool {
        // RFC 7296 section 3.3.1: the SPI size is that of the protocol.
        let spi_fits = match self.protocol {
            ProtocolId::IKE => matches!(self.spi.len(), 0 | 8),
            ProtocolId::AH | ProtocolId::ESP => self.spi.len() == 4,
            _ => true,
        };
        let mut r = Reader::new(self.transforms);
        let all_read = (0..self.count).all(|_| Transform::read(&mut r).is_some());
        spi_fits && self.count > 0 && all_read && r.is_empty()
    }
}

/// A transform: one algorithm of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Transform {
    /// What it is for.
    pub kind: TransformType,
    /// The algorithm, numbered by type.
    pub id: u16,
    /// Bits of the key, where the algorithm has keys of several sizes.
    pub key_bits: Option<u16>,
    /// Whether all attributes were understood. If not, this transform must not be chosen, but others of its type may
    /// be (RFC 7296 section 3.3.6).
    pub understood: bool,
}

impl Transform {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let mut r = substructure(r, MORE_TRANSFORMS)?;
        let [kind, _] = r.array()?;
        let id = r.u16()?;
        let kind = TransformType(kind);
        let mut transform = Self { kind, id, key_bits: None, understood: true };
        while !r.is_empty() {
            transform.read_attribute(&mut r)?;
        }
        Some(transform)
    }

    /// RFC 7296 section 3.3.5: type and value in four bytes, or type, length and value.
    fn read_attribute(&mut self, r: &mut Reader<'_>) -> Option<()> {
        const KEY_LENGTH: u16 = AttributeType::KEY_LENGTH.0 | ATTRIBUTE_FORMAT;
        let kind = r.u16()?;
        let value = r.u16()?;
        if kind & ATTRIBUTE_FORMAT == 0 {
            r.take(value.into())?;
        }
        if kind == KEY_LENGTH && self.key_bits.is_none() {
            self.key_bits = Some(value);
        } else {
            self.understood = false;
        }
        Some(())
    }
}

/// The contents of a proposal or transform. Its marker must say rightly whether it is the last.
pub(super) fn substructure<'a>(r: &mut Reader<'a>, more: u8) -> Option<Reader<'a>> {
    let [marker, _] = r.array()?;
    let len = usize::from(r.u16()?);
    let contents = r.take(len.checked_sub(4)?)?;
    let expected = if r.is_empty() { 0 } else { more };
    (marker == expected).then(|| Reader::new(contents))
}

/// Writes the proposals of a security association payload.
#[derive(Debug)]
pub struct SaWriter<'w, 'b> {
    w: &'w mut Writer<'b>,
    previous: Option<usize>,
}

impl<'b> SaWriter<'_, 'b> {
    /// Begins a proposal, to which transforms are then added. Numbers begin with 1 and rise by one (RFC 7296 section
    /// 3.3.1), but an answer has the number of the offer it accepts.
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

impl ProposalWriter<'_, '_> {
    /// Appends a transform. `key_bits` is for algorithms whose keys have several sizes, and only for them (RFC 7296
    /// section 3.3.5).
    pub fn transform(
        &mut self,
        kind: TransformType,
        id: u16,
        key_bits: Option<u16>,
    ) -> Result<(), NoRoom> {
        self.append(kind, id, key_bits).ok_or(NoRoom)
    }

    fn append(&mut self, kind: TransformType, id: u16, key_bits: Option<u16>) -> Option<()> {
        if let Some(previous) = self.previous {
            self.w.patch(previous, &[MORE_TRANSFORMS])?;
        }
        let start = self.w.len();
        self.previous = Some(start);
        self.w.bytes(&[0, 0, 0, 0, kind.0, 0])?;
        self.w.u16(id)?;
        if let Some(bits) = key_bits {
            self.w.u16(AttributeType::KEY_LENGTH.0 | ATTRIBUTE_FORMAT)?;
            self.w.u16(bits)?;
        }
        patch_length(self.w, start)?;
        self.count = self.count.checked_add(1)?;
        self.w.patch(self.start.checked_add(7)?, &[self.count])?;
        patch_length(self.w, self.start)
    }
}

pub(super) fn patch_length(w: &mut Writer<'_>, start: usize) -> Option<()> {
    let len = u16::try_from(w.len().checked_sub(start)?).ok()?;
    w.patch(start.checked_add(2)?, &len.to_be_bytes())
}

impl<'b> MessageWriter<'b> {
    /// Appends a security association payload, whose proposals `proposals` writes.
    pub fn sa(
        &mut self,
        proposals: impl FnOnce(&mut SaWriter<'_, 'b>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        self.payload(PayloadType::SA, |w| proposals(&mut SaWriter { w, previous: None }).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipsec_core::crypto::{Encr, Group, PrfId};

    extern crate std;
    use std::vec::Vec;

    fn written(f: impl FnOnce(&mut SaWriter<'_, '_>) -> Result<(), NoRoom>) -> Vec<u8> {
        let mut buf = [0xee; 512];
        let mut w = Writer::new(&mut buf);
        f(&mut SaWriter { w: &mut w, previous: None }).unwrap();
        w.written().to_vec()
    }

    const fn transform(kind: TransformType, id: u16, key_bits: Option<u16>) -> Transform {
        Transform { kind, id, key_bits, understood: true }
    }

    /// One ESP proposal: AES-GCM-16 with 128 bits, no ESN.
    const ESP: [u8; 32] = [
        0, 0, 0, 32, 1, 3, 4, 2, 0xaa, 0xbb, 0xcc, 0xdd, // proposal
        3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 0, 128, // AES-GCM-16, 128 bits
        0, 0, 0, 8, 5, 0, 0, 0, // no ESN
    ];

    fn patched(patches: &[(usize, u8)]) -> Vec<u8> {
        let mut body = ESP.to_vec();
        patches.iter().for_each(|&(at, value)| body[at] = value);
        body
    }

    /// RFC 7296 section 3.3.1 and RFC 7296 section 3.3.2: the fields of proposals and transforms.
    #[test]
    fn a_proposal_is_written_as_it_is_read() {
        let body = written(|sa| {
            let mut p = sa.proposal(1, ProtocolId::ESP, &[0xaa, 0xbb, 0xcc, 0xdd])?;
            p.transform(TransformType::ENCR, Encr::AES_GCM_16.0, Some(128))?;
            p.transform(TransformType::ESN, 0, None)
        });
        assert_eq!(body, ESP);
        let sa = SaPayload::parse(&body).unwrap();
        let p = sa.single().unwrap();
        assert_eq!((p.number, p.protocol), (1, ProtocolId::ESP));
        assert_eq!((p.spi_u32(), p.spi_u64()), (Some(0xaabb_ccdd), None));
        assert_eq!(
            p.transforms().collect::<Vec<_>>(),
            [
                transform(TransformType::ENCR, Encr::AES_GCM_16.0, Some(128)),
                transform(TransformType::ESN, 0, None)
            ]
        );
    }

    /// RFC 7296 section 2.7: what has several proposals is not an answer.
    #[test]
    fn several_proposals_survive_the_round_trip() {
        let body = written(|sa| {
            let mut p = sa.proposal(1, ProtocolId::IKE, &[])?;
            p.transform(TransformType::PRF, PrfId::HMAC_SHA2_256.0, None)?;
            p.transform(TransformType::KE, Group::X25519.0, None)?;
            let mut p = sa.proposal(2, ProtocolId::IKE, &[1, 2, 3, 4, 5, 6, 7, 8])?;
            p.transform(TransformType::ENCR, Encr::AES_CBC.0, Some(256))
        });
        let sa = SaPayload::parse(&body).unwrap();
        assert_eq!(sa.single(), None);
        let [first, second] = sa.proposals().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!((first.number, first.spi_u64(), first.transforms().count()), (1, None, 2));
        assert_eq!((second.number, second.spi_u64()), (2, Some(0x0102_0304_0506_0708)));
    }

    #[test]
    fn a_cut_payload_is_malformed_at_every_byte() {
        for len in 0..ESP.len() {
            assert!(SaPayload::parse(&ESP[..len]).is_err(), "{len}");
        }
    }

    /// RFC 7296 section 3.3.1: lengths, counts and markers agree, and SPIs have the size of their protocol.
    #[test]
    fn malformed_proposals() {
        for (what, body) in [
            ("no proposal", Vec::new()),
            ("no transform", Vec::from([0, 0, 0, 12, 1, 3, 4, 0, 1, 2, 3, 4])),
            ("no transform, but counted", Vec::from([0, 0, 0, 12, 1, 3, 4, 1, 1, 2, 3, 4])),
            ("last marker on more", [&ESP[..], &ESP[..]].concat()),
            ("more marker on last", patched(&[(0, 2)])),
            ("unknown marker", patched(&[(0, 1)])),
            ("proposal length 0", patched(&[(3, 0)])),
            ("proposal length 3", patched(&[(3, 3)])),
            ("proposal length 4", patched(&[(3, 4)])),
            ("proposal too short", patched(&[(3, 31)])),
            ("proposal too long", patched(&[(3, 33)])),
            ("number 0", patched(&[(4, 0)])),
            ("SPI size 0 for ESP", patched(&[(6, 0)])),
            ("SPI size 8 for ESP", patched(&[(6, 8)])),
            ("SPI size 255", patched(&[(6, 255)])),
            ("SPI size 4 for IKE", patched(&[(5, 1)])),
            ("fewer transforms than counted", patched(&[(7, 3)])),
            ("more transforms than counted", patched(&[(7, 1)])),
            ("255 transforms", patched(&[(7, 255)])),
            ("last marker on first transform", patched(&[(12, 0)])),
            ("more marker on last transform", patched(&[(24, 3)])),
            ("proposal marker on a transform", patched(&[(12, 2)])),
            ("transform length 0", patched(&[(15, 0)])),
            ("transform length 7", patched(&[(27, 7)])),
            ("attribute cut after one byte", patched(&[(15, 9)])),
            ("attribute cut after two bytes", patched(&[(15, 10)])),
            ("attribute cut after three bytes", patched(&[(15, 11)])),
            ("attribute length past the end", patched(&[(20, 0)])),
        ] {
            let error = WireError::Malformed(PayloadType::SA);
            assert_eq!(SaPayload::parse(&body), Err(error), "{what}");
        }
    }

    #[test]
    fn numbers_that_do_not_rise_are_malformed() {
        for (first, second, sound) in [(1, 2, true), (1, 1, false), (2, 1, false), (3, 4, true)] {
            let body = [patched(&[(0, 2), (4, first)]), patched(&[(4, second)])].concat();
            assert_eq!(SaPayload::parse(&body).is_ok(), sound, "{first} {second}");
        }
    }

    /// RFC 7296 section 3.3.5: the formats of attributes. RFC 7296 section 3.3.6: an unknown attribute makes its
    /// transform unacceptable, and nothing else.
    #[test]
    fn unknown_attributes_are_tolerated_and_told() {
        for attributes in [
            &[0x80, 99, 0, 1][..],                     // an unknown one in four bytes
            &[0, 99, 0, 2, 1, 2],                      // with a length
            &[0, 99, 0, 0],                            // empty
            &[0, 14, 0, 2, 0, 128],                    // key length in the wrong format
            &[0x80, 14, 0, 128, 0x80, 14, 1, 0],       // two key lengths
            &[0x80, 14, 0, 128, 0, 99, 0, 3, 0, 0, 0], // a known and an unknown one
        ] {
            let mut body = Vec::from([0, 0, 0, 0, 1, 3, 4, 1, 1, 2, 3, 4, 0, 0, 0, 0, 1, 0, 0, 20]);
            body.extend_from_slice(attributes);
            body[3] = u8::try_from(body.len()).unwrap();
            body[15] = u8::try_from(body.len() - 12).unwrap();
            let transform = SaPayload::parse(&body).unwrap().single().unwrap().transforms().next();
            assert!(!transform.unwrap().understood, "{attributes:?}");
        }
    }

    /// RFC 7296 section 3.3.6: proposals for unknown protocols are skipped, not refused.
    #[test]
    fn unknown_protocols_and_types_are_carried() {
        let body = patched(&[(5, 77), (16, 200)]);
        let p = SaPayload::parse(&body).unwrap().single().unwrap();
        assert_eq!(p.protocol, ProtocolId(77));
        assert_eq!(p.transforms().next().unwrap().kind, TransformType(200));
    }
}

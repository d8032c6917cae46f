//! Data attributes (RFC 2408 section 3.3), which describe transforms, and the attributes payload made of them: Mode Config
//! and XAUTH.

use ipsec_core::bytes::{Reader, Writer};

use super::super::NoRoom;
use super::super::sa::ATTRIBUTE_FORMAT;
use super::WireError;
use super::chain::ALIGNMENT;
use super::compose::MessageWriter;
use super::iana::{ConfigAttribute, ConfigType, PayloadType};

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its number, of [`IkeAttribute`](super::IkeAttribute), [`IpsecAttribute`](super::IpsecAttribute) or
    /// [`ConfigAttribute`], as its place has it.
    pub kind: u16,
    /// Its value: two bytes of a short one.
    pub value: &'a [u8],
}

impl Attribute<'_> {
    /// The value as a number, whatever its length: lifetimes have four bytes or more. What is too large is the largest.
    pub fn number(&self) -> u64 {
        self.value.iter().fold(0u64, |number, byte| {
            if number >> 56 != 0 { u64::MAX } else { number << 8 | u64::from(*byte) }
        })
    }
}

/// Attributes, in order, perhaps none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Attributes that fill `bytes`; `None` if one is cut.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        while !r.is_empty() {
            read(&mut r)?;
        }
        Some(Self { bytes })
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let mut r = Reader::new(self.bytes);
        core::iter::from_fn(move || read(&mut r))
    }

    /// The first of this number.
    pub fn first(&self, kind: u16) -> Option<Attribute<'a>> {
        self.iter().find(|attribute| attribute.kind == kind)
    }

    /// As they were sent.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// RFC 2408 section 3.3: type and value in four bytes, or type, length and value.
fn read<'a>(r: &mut Reader<'a>) -> Option<Attribute<'a>> {
    let kind = r.u16()?;
    if kind & ATTRIBUTE_FORMAT != 0 {
        return Some(Attribute { kind: kind & !ATTRIBUTE_FORMAT, value: r.take(2)? });
    }
    let len = r.u16()?;
    Some(Attribute { kind, value: r.take(len.into())? })
}

/// Writes attributes.
#[derive(Debug)]
pub struct AttributesWriter<'w, 'b> {
    w: &'w mut Writer<'b>,
}

impl<'w, 'b> AttributesWriter<'w, 'b> {
    pub(super) const fn new(w: &'w mut Writer<'b>) -> Self {
        Self { w }
    }

    /// Appends an attribute with a value of two bytes.
    pub fn short(&mut self, kind: u16, value: u16) -> Result<(), NoRoom> {
        self.append(kind | ATTRIBUTE_FORMAT, &value.to_be_bytes()).ok_or(NoRoom)
    }

    /// Appends an attribute of any length.
    pub fn long(&mut self, kind: u16, value: &[u8]) -> Result<(), NoRoom> {
        let len = u16::try_from(value.len()).map_err(|_| NoRoom)?;
        self.append(kind & !ATTRIBUTE_FORMAT, &len.to_be_bytes()).ok_or(NoRoom)?;
        self.w.bytes(value).ok_or(NoRoom)
    }

    /// Appends a number: short if it fits, else in four bytes.
    pub fn number(&mut self, kind: u16, value: u32) -> Result<(), NoRoom> {
        match u16::try_from(value) {
            Ok(value) => self.short(kind, value),
            Err(_) => self.long(kind, &value.to_be_bytes()),
        }
    }

    /// Appends attributes as they were received.
    pub fn again(&mut self, attributes: &Attributes<'_>) -> Result<(), NoRoom> {
        self.w.bytes(attributes.bytes()).ok_or(NoRoom)
    }

    fn append(&mut self, kind: u16, value_or_len: &[u8; 2]) -> Option<()> {
        self.w.u16(kind)?;
        self.w.bytes(value_or_len)
    }
}

/// An attributes payload: Mode Config and XAUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributesPayload<'a> {
    /// What it is.
    pub kind: ConfigType,
    /// What an answer repeats.
    pub identifier: u16,
    /// The attributes; one that is asked for is empty.
    pub attributes: Attributes<'a>,
}

impl<'a> AttributesPayload<'a> {
    /// Parses the body of a payload. What is in the attributes is looked at by who reads them.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::ATTRIBUTES))
    }

    /// The first value of an attribute.
    pub fn value(&self, wanted: ConfigAttribute) -> Option<&'a [u8]> {
        self.attributes.first(wanted.0).map(|attribute| attribute.value)
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let [kind, _] = r.array()?;
        let identifier = r.u16()?;
        let attributes = (0..ALIGNMENT).find_map(|padding| without(r.rest(), padding))?;
        Some(Self { kind: ConfigType(kind), identifier, attributes })
    }
}

/// Attributes before so many octets of zero. libreswan before 5.2 has what aligns its message (RFC 2408 section 3.6) within its
/// payload.
fn without(bytes: &[u8], padding: usize) -> Option<Attributes<'_>> {
    let (attributes, padding) = bytes.split_at_checked(bytes.len().checked_sub(padding)?)?;
    if padding.iter().all(|octet| *octet == 0) { Attributes::parse(attributes) } else { None }
}

impl<'b> MessageWriter<'b> {
    /// Appends an attributes payload, whose attributes `attributes` writes.
    pub fn attributes(
        &mut self,
        kind: ConfigType,
        identifier: u16,
        attributes: impl FnOnce(&mut AttributesWriter<'_, 'b>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        self.payload(PayloadType::ATTRIBUTES, |w| {
            w.bytes(&[kind.0, 0])?;
            w.u16(identifier)?;
            attributes(&mut AttributesWriter::new(w)).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    /// RFC 2408 section 3.3: the highest bit says that the value stands in place of the length.
    #[test]
    fn short_and_long_attributes() {
        let bytes = [0x80, 11, 0, 1, 0, 12, 0, 4, 0, 1, 0x51, 0x80, 0, 9, 0, 0];
        let attributes = Attributes::parse(&bytes).unwrap();
        let all: Vec<_> = attributes.iter().map(|a| (a.kind, a.number(), a.value.len())).collect();
        assert_eq!(all, [(11, 1, 2), (12, 86_400, 4), (9, 0, 0)]);
    }

    /// RFC 2407 section 4.5: a duration may have any length.
    #[test]
    fn numbers_of_any_length() {
        let number = |value: &[u8]| Attribute { kind: 2, value }.number();
        assert_eq!(number(&[0, 0, 0, 0, 0, 0, 0, 0, 0x70, 0x80]), 28_800);
        assert_eq!(number(&[0xff; 8]), u64::MAX);
        assert_eq!(number(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), u64::MAX);
        assert_eq!(number(&[1, 2]), 258);
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        for bytes in [&[0x80][..], &[0x80, 1, 0], &[0, 1, 0], &[0, 1, 0, 1], &[0, 1, 255, 255, 1]] {
            assert_eq!(Attributes::parse(bytes), None, "{bytes:?}");
            let body = [&[1, 0, 0, 7][..], bytes].concat();
            let error = WireError::Malformed(PayloadType::ATTRIBUTES);
            assert_eq!(AttributesPayload::parse(&body), Err(error));
        }
        assert!(AttributesPayload::parse(&[1, 0, 0]).is_err());
    }
    /// What libreswan 4.10 answers to Mode Config: two octets behind the last attribute (RFC 2408 section 3.6).
    #[test]
    fn attributes_that_are_aligned() {
        let body = [
            2, 0, 0xd0, 0x57, 0, 1, 0, 4, 10, 3, 0, 1, 0, 2, 0, 4, 255, 255, 255, 0, 0, 3, 0, 4,
            10, 3, 0, 53, 0x70, 4, 0, 14, 192, 168, 2, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let payload = AttributesPayload::parse(&body).unwrap();
        assert_eq!(payload.value(ConfigAttribute::INTERNAL_IP4_ADDRESS), Some(&[10, 3, 0, 1][..]));
        assert_eq!(payload.attributes.iter().count(), 4);
        let mut other = body;
        other[47] = 1;
        assert!(AttributesPayload::parse(&other).is_err());
    }
}

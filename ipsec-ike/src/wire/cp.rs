//! The configuration payload (RFC 7296 section 3.15).

use ipsec_core::bytes::{Reader, Writer};

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{ConfigAttribute, ConfigType, PayloadType};

/// A configuration payload: attributes that are asked for, or given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigPayload<'a> {
    /// What it is.
    pub kind: ConfigType,
    attributes: &'a [u8],
}

impl<'a> ConfigPayload<'a> {
    /// Parses the body of a payload. Attributes must fill it exactly; what is in them is looked at by who reads them.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::CP))
    }

    /// The attributes, perhaps none: each with its value, empty where one is asked for.
    pub fn attributes(&self) -> impl Iterator<Item = (ConfigAttribute, &'a [u8])> + use<'a> {
        let mut r = Reader::new(self.attributes);
        core::iter::from_fn(move || read_attribute(&mut r))
    }

    /// The first value of an attribute.
    pub fn value(&self, wanted: ConfigAttribute) -> Option<&'a [u8]> {
        self.attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let [kind, _, _, _] = r.array()?;
        let attributes = r.rest();
        while !r.is_empty() {
            read_attribute(&mut r)?;
        }
        Some(Self { kind: ConfigType(kind), attributes })
    }
}

fn read_attribute<'a>(r: &mut Reader<'a>) -> Option<(ConfigAttribute, &'a [u8])> {
    // The highest bit is reserved, and ignored.
    let kind = ConfigAttribute(r.u16()? & 0x7fff);
    let len = r.u16()?;
    Some((kind, r.take(len.into())?))
}

/// Writes the attributes of a configuration payload.
#[derive(Debug)]
pub struct ConfigWriter<'w, 'b> {
    w: &'w mut Writer<'b>,
}

impl ConfigWriter<'_, '_> {
    /// Appends an attribute, with the parts of its value one after another.
    pub fn attribute(&mut self, kind: ConfigAttribute, value: &[&[u8]]) -> Result<(), NoRoom> {
        self.append(kind, value).ok_or(NoRoom)
    }

    fn append(&mut self, kind: ConfigAttribute, value: &[&[u8]]) -> Option<()> {
        let len = value.iter().try_fold(0usize, |sum, part| sum.checked_add(part.len()))?;
        self.w.u16(kind.0)?;
        self.w.u16(u16::try_from(len).ok()?)?;
        value.iter().try_for_each(|part| self.w.bytes(part))
    }
}

impl<'b> MessageWriter<'b> {
    /// Appends a configuration payload, whose attributes `attributes` writes.
    pub fn config(
        &mut self,
        kind: ConfigType,
        attributes: impl FnOnce(&mut ConfigWriter<'_, 'b>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        self.payload(PayloadType::CP, |w| {
            w.bytes(&[kind.0, 0, 0, 0])?;
            attributes(&mut ConfigWriter { w }).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ExchangeType, Flags, Header, Message};

    extern crate std;
    use std::vec::Vec;

    /// RFC 7296 section 3.15: a type, three reserved bytes, attributes of type, length and value.
    #[test]
    fn attributes_survive_the_round_trip() {
        let header = Header::new(1, 2, ExchangeType::IKE_AUTH, Flags::RESPONSE, 1);
        let mut buf = [0; 128];
        let mut w = MessageWriter::new(&mut buf, &header).unwrap();
        w.config(ConfigType::REPLY, |w| {
            w.attribute(ConfigAttribute::INTERNAL_IP4_ADDRESS, &[&[10, 3, 0, 1]])?;
            w.attribute(ConfigAttribute::INTERNAL_IP6_ADDRESS, &[&[0xfd; 16], &[64]])?;
            w.attribute(ConfigAttribute::INTERNAL_IP4_DNS, &[])
        })
        .unwrap();
        let len = w.finish().unwrap();
        assert_eq!(
            buf[28..44],
            [0, 0, 0, 41, 2, 0, 0, 0, 0, 1, 0, 4, 10, 3, 0, 1],
            "the payload's header, then its body"
        );
        let message = Message::parse(&buf[..len]).unwrap();
        let config = message.collect().unwrap().config.unwrap();
        assert_eq!(config.kind, ConfigType::REPLY);
        let all: Vec<_> = config.attributes().map(|(kind, value)| (kind.0, value.len())).collect();
        assert_eq!(all, [(1, 4), (8, 17), (3, 0)]);
        assert_eq!(config.value(ConfigAttribute::INTERNAL_IP4_ADDRESS), Some(&[10, 3, 0, 1][..]));
        assert_eq!(config.value(ConfigAttribute::INTERNAL_IP4_NETMASK), None);
    }

    #[test]
    fn the_reserved_bit_is_ignored() {
        let body = [1, 0, 0, 0, 0x80, 1, 0, 0];
        let all: Vec<_> = ConfigPayload::parse(&body).unwrap().attributes().collect();
        assert_eq!(all, [(ConfigAttribute::INTERNAL_IP4_ADDRESS, &[][..])]);
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        for body in [
            &[][..],
            &[1, 0, 0],
            &[1, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 1, 0],
            &[1, 0, 0, 0, 0, 1, 0, 1],
            &[1, 0, 0, 0, 0, 1, 0, 4, 1, 2, 3],
            &[1, 0, 0, 0, 0, 1, 0xff, 0xff, 1, 2, 3, 4],
        ] {
            let error = Err(WireError::Malformed(PayloadType::CP));
            assert_eq!(ConfigPayload::parse(body), error, "{body:?}");
        }
    }
}

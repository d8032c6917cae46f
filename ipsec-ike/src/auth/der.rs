//! A reader of DER (X.690), for the few fields of a certificate that are looked at here. What it accepts is well formed
//! as far as it was read, and no more.

use ipsec_core::bytes::Reader;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

#[cfg(feature = "x509")]
mod tags {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    /// `[3]`, constructed.
    pub(crate) const CONTEXT_3: u8 = 0xa3;
}
#[cfg(feature = "x509")]
pub(crate) use tags::*;

/// One element: tag, contents, and the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Elements, one after the other.
#[derive(Clone)]
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) const fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// The next element. `None` at the end, and where it is malformed.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let mut r = Reader::new(self.0);
        let tag = r.u8()?;
        if tag & 0x1f == 0x1f {
            // No tag of a certificate has a number of more than one byte.
            return None;
        }
        let len = match r.u8()? {
            short @ 0..=0x7f => usize::from(short),
            0x81 => usize::from(r.u8().filter(|len| *len >= 0x80)?),
            0x82 => usize::from(r.u16().filter(|len| *len >= 0x100)?),
            _ => return None,
        };
        let contents = r.take(len)?;
        let len = self.0.len().checked_sub(r.rest().len())?;
        let (whole, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Element { tag, contents, whole })
    }

    /// The next element, if it has this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = self.clone();
        let element = ahead.any().filter(|e| e.tag == tag)?;
        *self = ahead;
        Some(element)
    }
}

/// The fields of a certificate that follow its validity (RFC 5280 section 4.1).
pub(crate) struct Fields<'a> {
    /// The whole Name.
    pub(crate) subject: &'a [u8],
    /// The whole SubjectPublicKeyInfo.
    pub(crate) public_key: &'a [u8],
    /// What follows: unique identifiers, extensions.
    #[cfg_attr(not(feature = "x509"), expect(dead_code, reason = "identities in certificates"))]
    pub(crate) rest: Der<'a>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut outside = Der::new(Der::new(certificate).take(SEQUENCE)?.contents);
        let mut tbs = Der::new(outside.take(SEQUENCE)?.contents);
        let _version = tbs.take(CONTEXT_0);
        let _serial = tbs.take(INTEGER)?;
        let _algorithm = tbs.take(SEQUENCE)?;
        let _issuer = tbs.take(SEQUENCE)?;
        let _validity = tbs.take(SEQUENCE)?;
        let subject = tbs.take(SEQUENCE)?.whole;
        let public_key = tbs.take(SEQUENCE)?.whole;
        Some(Self { subject, public_key, rest: tbs })
    }

    /// The contents of an extension, by the contents of its OBJECT IDENTIFIER (RFC 5280 section 4.1.2.9).
    #[cfg(feature = "x509")]
    pub(crate) fn extension(&self, id: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.rest.clone();
        while let Some(element) = rest.any() {
            if element.tag != CONTEXT_3 {
                continue;
            }
            let mut extensions = Der::new(Der::new(element.contents).take(SEQUENCE)?.contents);
            while let Some(extension) = extensions.take(SEQUENCE) {
                let mut extension = Der::new(extension.contents);
                if extension.take(OBJECT_IDENTIFIER)?.contents != id {
                    continue;
                }
                let _critical = extension.take(BOOLEAN);
                return Some(extension.take(OCTET_STRING)?.contents);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// X.690 section 10.1: a length has one spelling, and does not lead outside.
    #[test]
    fn lengths() {
        fn take(der: &[u8]) -> Option<usize> {
            Der::new(der).take(INTEGER).map(|e| e.contents.len())
        }
        let mut long = [0; 0x10003];
        for (head, len) in [
            (&[2, 0][..], Some(0)),
            (&[2, 0x7f], Some(0x7f)),
            (&[2, 0x81, 0x80], Some(0x80)),
            (&[2, 0x81, 0xff], Some(0xff)),
            (&[2, 0x82, 1, 0], Some(0x100)),
            (&[2, 0x82, 0xff, 0xff], Some(0xffff)),
            (&[2, 0x81, 0x7f], None),
            (&[2, 0x82, 0, 0xff], None),
            (&[2, 0x80], None),
            (&[2, 0x83, 1, 0, 0], None),
            (&[0x1f, 2, 0], None),
            (&[3, 0], None),
        ] {
            long[..head.len()].copy_from_slice(head);
            assert_eq!(take(&long), len, "{head:x?}");
            if let Some(len) = len {
                assert_eq!(take(&long[..head.len() + len]), Some(len));
                let cut = &long[..(head.len() + len).saturating_sub(1)];
                assert_eq!(take(cut), None, "{head:x?}");
            }
        }
    }
}

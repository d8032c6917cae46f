//! A reader of DER (X.690), for the few fields of a certificate that are looked at here. What it accepts is well formed
//! as far as it was read, and no more.

use ipsec_core::bytes::Reader;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

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

/// The SubjectPublicKeyInfo of a certificate (RFC 5280 section 4.1).
pub(crate) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut outside = Der::new(Der::new(certificate).take(SEQUENCE)?.contents);
    let mut tbs = Der::new(outside.take(SEQUENCE)?.contents);
    let _version = tbs.take(CONTEXT_0);
    let _serial = tbs.take(INTEGER)?;
    let _algorithm = tbs.take(SEQUENCE)?;
    let _issuer = tbs.take(SEQUENCE)?;
    let _validity = tbs.take(SEQUENCE)?;
    let _subject = tbs.take(SEQUENCE)?;
    Some(tbs.take(SEQUENCE)?.whole)
}

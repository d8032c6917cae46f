//! As much DER as keys and signatures are made of.

use ipsec_core::bytes::{Reader, Writer};
use ipsec_core::crypto::Curve;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const CONTEXT_0: u8 = 0xa0;

/// The contents of the next element, whose length is spelled as shortly as can be.
pub(super) fn element<'a>(reader: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    let mut ahead = *reader;
    (ahead.u8()? == tag).then_some(())?;
    let len = match ahead.u8()? {
        0x81 => Some(u16::from(ahead.u8()?)).filter(|len| *len >= 0x80)?,
        0x82 => Some(ahead.u16()?).filter(|len| *len > 0xff)?,
        short => Some(u16::from(short)).filter(|len| *len < 0x80)?,
    };
    let contents = ahead.take(len.into())?;
    *reader = ahead;
    Some(contents)
}

/// The contents of the one element of `der`.
pub(super) fn sole(der: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(der);
    let contents = element(&mut reader, tag)?;
    reader.is_empty().then_some(contents)
}

/// The next element, an INTEGER that is not negative, without the zeros in front. It has one spelling.
pub(super) fn unsigned<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match element(reader, INTEGER)? {
        [] | [0x80..=0xff, ..] => None,
        [0] => Some(&[]),
        [0, rest @ ..] => rest.first().filter(|first| **first >= 0x80).map(|_| rest),
        number => Some(number),
    }
}

/// The one element of `der`, a BIT STRING of whole bytes.
pub(super) fn bit_string(der: &[u8]) -> Option<&[u8]> {
    sole(der, BIT_STRING)?.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
}

/// A SEQUENCE of two numbers that are not negative: a signature of ECDSA, of at most 0x8b bytes.
pub(super) fn write_pair(w: &mut Writer<'_>, pair: [&[u8]; 2]) -> Option<()> {
    let pair = pair.map(|number| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number.get(zeros..).unwrap_or_default()
    });
    let size = |number: &[u8]| {
        number.len() + usize::from(number.first().is_none_or(|first| *first >= 0x80))
    };
    let len = u8::try_from(pair.map(size).iter().sum::<usize>() + 4).ok()?;
    w.u8(SEQUENCE)?;
    if len >= 0x80 {
        w.u8(0x81)?;
    }
    w.u8(len)?;
    for number in pair {
        w.u8(INTEGER)?;
        w.u8(u8::try_from(size(number)).ok()?)?;
        if size(number) > number.len() {
            w.u8(0)?;
        }
        w.bytes(number)?;
    }
    Some(())
}

/// What kind of key an AlgorithmIdentifier names (RFC 3279, RFC 5480, RFC 8410). Every byte of it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// rsaEncryption, with NULL.
    Rsa,
    /// id-RSASSA-PSS; the identifier may say more.
    RsaPss,
    /// id-ecPublicKey, with a named curve.
    Ec(Curve),
    /// Without parameters.
    Ed25519,
}

impl Kind {
    /// Reads the contents of an AlgorithmIdentifier.
    pub(super) fn parse(contents: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(contents);
        let id = element(&mut reader, OBJECT_IDENTIFIER)?;
        match (id, reader.rest()) {
            (ID_RSA, [5, 0]) => Some(Self::Rsa),
            (ID_PSS, _) => Some(Self::RsaPss),
            (ID_EC, curve) => curve_of(sole(curve, OBJECT_IDENTIFIER)?).map(Self::Ec),
            (ID_ED25519, []) => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// The curve of a name.
pub(super) fn curve_of(id: &[u8]) -> Option<Curve> {
    match id {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => Some(Curve::P256),
        [0x2b, 0x81, 0x04, 0x00, 0x22] => Some(Curve::P384),
        [0x2b, 0x81, 0x04, 0x00, 0x23] => Some(Curve::P521),
        _ => None,
    }
}

const ID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ID_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const ID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_spelling() {
        let of = |der: &[u8]| sole(der, 4).map(<[u8]>::len);
        assert_eq!(of(&[4, 0]), Some(0));
        assert_eq!(of(&[4, 1, 9]), Some(1));
        assert_eq!(of(&[4, 0x81, 1, 9]), None);
        assert_eq!(of(&[4, 0x80, 0, 0]), None);
        assert_eq!(of(&[5, 0]), None);
        assert_eq!(of(&[4, 1]), None);
        assert_eq!(of(&[4, 1, 9, 9]), None);
        let mut long = [0; 0x104];
        for (head, len) in [(&[4, 0x81, 0x80][..], 0x80), (&[4, 0x82, 1, 0], 0x100)] {
            long[..head.len()].copy_from_slice(head);
            assert_eq!(of(&long[..head.len() + len]), Some(len));
        }
        long[..4].copy_from_slice(&[4, 0x82, 0, 0x80]);
        assert_eq!(of(&long[..0x84]), None);
    }

    #[test]
    fn numbers_have_one_spelling() {
        let of = |der: &'static [u8]| unsigned(&mut Reader::new(der));
        assert_eq!(of(&[2, 1, 0]), Some(&[][..]));
        assert_eq!(of(&[2, 2, 0, 0x80]), Some(&[0x80][..]));
        assert_eq!(of(&[2, 1, 0x7f]), Some(&[0x7f][..]));
        for bad in [&[2, 0][..], &[2, 1, 0x80], &[2, 2, 0, 0x7f], &[2, 2, 0, 0], &[2, 1]] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn pairs_are_written_as_they_are_read() {
        let mut full = [0xff; 66];
        full[0] = 1; // as long as those of P-521 can be
        let pairs: [[&[u8]; 2]; 4] =
            [[&[0, 0, 1], &[0x80]], [&[], &[0]], [&full, &full], [&full[..60], &full[..60]]];
        for pair in pairs {
            let mut out = [0; 0x8b];
            let mut w = Writer::new(&mut out);
            write_pair(&mut w, pair).unwrap();
            let mut reader = Reader::new(sole(w.written(), SEQUENCE).unwrap());
            for number in pair {
                let zeros = number.iter().take_while(|byte| **byte == 0).count();
                assert_eq!(unsigned(&mut reader), Some(&number[zeros..]));
            }
            assert!(reader.is_empty());
        }
    }
}

//! The encrypted payload (RFC 7296 section 3.14) and the encrypted fragment (RFC 7383 section 2.5): where their parts
//! lie. Sealing and opening is the caller's.

use core::ops::Range;

use ipsec_core::bytes::Reader;
use ipsec_core::crypto::Shape;

use super::iana::PayloadType;
use super::{Payload, WireError};

/// Which part of a message an encrypted fragment is (RFC 7383 section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fragment {
    /// Its number, from 1 to [`Fragment::total`].
    pub number: u16,
    /// How many there are.
    pub total: u16,
}

/// An encrypted payload or encrypted fragment that was found in a message, still encrypted.
///
/// It borrows nothing, so that the message can be opened in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Encrypted {
    /// The type of the first payload inside; zero in every fragment but the first.
    pub first: PayloadType,
    /// Set if this is a fragment.
    pub fragment: Option<Fragment>,
    kind: PayloadType,
    sealed_len: usize,
}

impl Encrypted {
    /// Reads a payload of type [`PayloadType::SK`] or [`PayloadType::SKF`].
    pub fn parse(payload: &Payload<'_>) -> Result<Self, WireError> {
        let malformed = WireError::Malformed(payload.kind);
        let mut r = Reader::new(payload.body);
        let fragment = match payload.kind {
            PayloadType::SK => None,
            PayloadType::SKF => Some(read_fragment(&mut r).ok_or(malformed)?),
            _ => return Err(malformed),
        };
        let sealed_len = r.rest().len();
        Ok(Self { first: payload.next, fragment, kind: payload.kind, sealed_len })
    }

    /// Where IV, text and ICV lie in the message of `message_len` bytes, whose last payload this is. Malformed if
    /// they do not fit, if the text is empty, or if it is not a multiple of the cipher's block.
    pub fn layout(&self, message_len: usize, shape: &Shape) -> Result<SkLayout, WireError> {
        self.locate(message_len, shape).ok_or(WireError::Malformed(self.kind))
    }

    fn locate(&self, message_len: usize, shape: &Shape) -> Option<SkLayout> {
        let text_len = self.sealed_len.checked_sub(shape.iv_len)?.checked_sub(shape.icv_len)?;
        let iv = message_len.checked_sub(self.sealed_len)?;
        let text = iv.checked_add(shape.iv_len)?;
        let icv = text.checked_add(text_len)?;
        let whole_blocks = text_len.checked_rem(shape.block_len)? == 0;
        (text_len > 0 && whole_blocks).then_some(SkLayout { iv, text, icv, end: message_len })
    }
}

fn read_fragment(r: &mut Reader<'_>) -> Option<Fragment> {
    let fragment = Fragment { number: r.u16()?, total: r.u16()? };
    (1..=fragment.total).contains(&fragment.number).then_some(fragment)
}

/// Where the parts of a message with an encrypted payload lie, as offsets from the first byte of the IKE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SkLayout {
    pub(super) iv: usize,
    pub(super) text: usize,
    pub(super) icv: usize,
    pub(super) end: usize,
}

impl SkLayout {
    /// From the IKE header to the header of the encrypted payload: what an AEAD authenticates besides the text
    /// (RFC 5282 section 5.1), and what a MAC authenticates before the IV.
    pub const fn head(&self) -> Range<usize> {
        0..self.iv
    }

    /// The IV.
    pub const fn iv(&self) -> Range<usize> {
        self.iv..self.text
    }

    /// What is encrypted: inner payloads, padding, pad length.
    pub const fn text(&self) -> Range<usize> {
        self.text..self.icv
    }

    /// The integrity check value.
    pub const fn icv(&self) -> Range<usize> {
        self.icv..self.end
    }

    /// Bytes of the whole message.
    #[expect(clippy::len_without_is_empty, reason = "a message is never empty")]
    pub const fn len(&self) -> usize {
        self.end
    }

    /// The parts of `message`, which this is the layout of; `None` if it is shorter.
    pub fn parts<'m>(&self, message: &'m mut [u8]) -> Option<SkParts<'m>> {
        let (rest, icv) = message.get_mut(..self.end)?.split_at_mut_checked(self.icv)?;
        let (rest, text) = rest.split_at_mut_checked(self.text)?;
        let (head, iv) = rest.split_at_mut_checked(self.iv)?;
        Some(SkParts { head, iv, text, icv })
    }
}

/// A message with an encrypted payload, taken apart to be sealed or opened in place.
pub struct SkParts<'m> {
    /// [`SkLayout::head`].
    pub head: &'m [u8],
    /// [`SkLayout::iv`].
    pub iv: &'m mut [u8],
    /// [`SkLayout::text`].
    pub text: &'m mut [u8],
    /// [`SkLayout::icv`].
    pub icv: &'m mut [u8],
}

/// Decrypted text without padding and pad length: the chain for [`Payloads::inner`](super::Payloads::inner), which
/// begins with [`Encrypted::first`]. Padding of any length and content is accepted (RFC 7296 section 3.14).
pub fn strip_padding(text: &[u8]) -> Result<&[u8], WireError> {
    let (pad_len, rest) = text.split_last().ok_or(WireError::Padding)?;
    let len = rest.len().checked_sub(usize::from(*pad_len)).ok_or(WireError::Padding)?;
    rest.get(..len).ok_or(WireError::Padding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipsec_core::crypto::Suite;

    const ZEROS: [u8; 128] = [0; 128];

    fn sk(len: usize) -> Encrypted {
        let body = &ZEROS[..len];
        let next = PayloadType::IDI;
        Encrypted::parse(&Payload { kind: PayloadType::SK, critical: false, next, body }).unwrap()
    }

    /// RFC 5282 section 5.1: what precedes the IV is the associated data.
    #[test]
    fn the_parts_of_an_encrypted_payload() {
        let shape = Suite::AES_128_GCM.shape().unwrap();
        let layout = sk(8 + 20 + 16).layout(32 + 44, &shape).unwrap();
        assert_eq!((layout.head(), layout.iv()), (0..32, 32..40));
        assert_eq!((layout.text(), layout.icv(), layout.len()), (40..60, 60..76, 76));
        let mut message = [0; 80];
        let parts = layout.parts(&mut message).unwrap();
        assert_eq!((parts.head.len(), parts.iv.len()), (32, 8));
        assert_eq!((parts.text.len(), parts.icv.len()), (20, 16));
        assert!(layout.parts(&mut message[..75]).is_none());
    }

    #[test]
    fn encrypted_payloads_too_short_for_their_suite_are_malformed() {
        let malformed = Err(WireError::Malformed(PayloadType::SK));
        let gcm = Suite::AES_128_GCM.shape().unwrap();
        for len in 0..=24 {
            assert_eq!(sk(len).layout(32 + len, &gcm), malformed, "{len}");
        }
        assert!(sk(25).layout(32 + 25, &gcm).is_ok());
        let cbc = Suite::AES_256_CBC_SHA256.shape().unwrap();
        for len in 0..80 {
            assert_eq!(sk(len).layout(32 + len, &cbc).is_ok(), matches!(len, 48 | 64), "{len}");
        }
        assert_eq!(sk(25).layout(24, &gcm), malformed);
    }

    /// RFC 7383 section 2.5: fragments are numbered from one, and there is no number past the total.
    #[test]
    fn fragments_are_numbered_from_one() {
        for (number, total, sound) in
            [(1, 1, true), (2, 3, true), (3, 3, true), (0, 1, false), (4, 3, false), (0, 0, false)]
        {
            let body = [0, number, 0, total, 1, 2, 3];
            let payload = Payload {
                kind: PayloadType::SKF,
                critical: false,
                next: PayloadType::NONE,
                body: &body,
            };
            let parsed = Encrypted::parse(&payload);
            assert_eq!(parsed.is_ok(), sound, "{number}/{total}");
            if let Ok(encrypted) = parsed {
                let fragment = Fragment { number: number.into(), total: total.into() };
                assert_eq!(encrypted.fragment, Some(fragment));
                assert_eq!(encrypted.sealed_len, 3);
            }
        }
        let cut = Payload {
            kind: PayloadType::SKF,
            critical: false,
            next: PayloadType::NONE,
            body: &[0, 1, 0],
        };
        assert_eq!(Encrypted::parse(&cut), Err(WireError::Malformed(PayloadType::SKF)));
    }

    /// RFC 7296 section 3.14: padding may have any content and any length that fits.
    #[test]
    fn padding_is_stripped_and_never_longer_than_the_text() {
        assert_eq!(strip_padding(&[1, 2, 3, 0]), Ok(&[1, 2, 3][..]));
        assert_eq!(strip_padding(&[1, 9, 9, 2]), Ok(&[1][..]));
        assert_eq!(strip_padding(&[9, 9, 9, 3]), Ok(&[][..]));
        assert_eq!(strip_padding(&[9, 9, 9, 4]), Err(WireError::Padding));
        assert_eq!(strip_padding(&[255; 255]), Err(WireError::Padding));
        assert_eq!(strip_padding(&[255; 256]), Ok(&[][..]));
        assert_eq!(strip_padding(&[0]), Ok(&[][..]));
        assert_eq!(strip_padding(&[1]), Err(WireError::Padding));
        assert_eq!(strip_padding(&[]), Err(WireError::Padding));
    }
}

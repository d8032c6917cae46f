//! What the provider needs to know of one ESP packet: ranges and copies, no borrow.

use core::ops::Range;

use ipsec_core::bytes::Writer;
use ipsec_core::crypto::suite::MAX_NONCE;
use ipsec_core::crypto::{Provider, Work};
use ipsec_core::sa::{EspTransform, Protection};
use zerocopy::IntoBytes;
use zeroize::Zeroize;

/// SPI and sequence number, the latter perhaps extended.
const MAX_HEAD: usize = 12;

/// The authenticated and encrypted parts of one packet. It is small, since it is made for every packet.
pub(crate) struct Parts {
    /// Salt and IV. Words, which are wiped faster than bytes.
    nonce: [u32; MAX_NONCE / 4],
    head: [u8; MAX_HEAD],
    /// The high half of the sequence number.
    tail: [u8; 4],
    nonce_len: u8,
    head_len: u8,
    tail_len: u8,
    icv_len: u8,
    /// Where in the packet the encrypted part lies. The integrity check value follows it.
    pub(crate) text: Range<usize>,
}

impl Parts {
    /// `None` if `iv` is longer than any.
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub(crate) fn new<P: Provider>(
        protection: &Protection<P>,
        esp: &EspTransform<P>,
        sequence: u64,
        iv: &[u8],
        text: Range<usize>,
    ) -> Option<Self> {
        let mut parts = Self {
            nonce: [0; MAX_NONCE / 4],
            head: [0; MAX_HEAD],
            tail: [0; 4],
            nonce_len: 0,
            head_len: 8,
            tail_len: 0,
            icv_len: u8::try_from(esp.shape.icv_len).ok()?,
            text,
        };
        match (<&[u8; 4]>::try_from(esp.salt()), <&[u8; 8]>::try_from(iv)) {
            // The lengths of nearly all suites, without a loop.
            (Ok(salt), Ok([a, b, c, d, rest @ ..])) => {
                parts.nonce = [
                    u32::from_ne_bytes(*salt),
                    u32::from_ne_bytes([*a, *b, *c, *d]),
                    u32::from_ne_bytes(*rest),
                    0,
                ];
                parts.nonce_len = 12;
            }
            _ => {
                let mut nonce = Writer::new(parts.nonce.as_mut_bytes());
                nonce.bytes(esp.salt())?;
                nonce.bytes(iv)?;
                parts.nonce_len = u8::try_from(nonce.len()).ok()?;
            }
        }

        // RFC 4303 section 2.2.1: an AEAD takes the extended number in its place (RFC 4106 section 5), a separate
        // integrity algorithm takes the high half behind everything else.
        let [s, p, i, n] = protection.spi.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
        parts.head = [s, p, i, n, e, f, g, h, 0, 0, 0, 0];
        if protection.esn {
            if esp.shape.aead {
                parts.head = [s, p, i, n, a, b, c, d, e, f, g, h];
                parts.head_len = 12;
            } else {
                parts.tail = [a, b, c, d];
                parts.tail_len = 4;
            }
        }
        Some(parts)
    }

    /// The work on `packet`; `None` if it is shorter than it was.
    pub(crate) fn work<'a>(&'a self, packet: &'a mut [u8]) -> Option<Work<'a>> {
        let (text, rest) =
            packet.get_mut(self.text.start..)?.split_at_mut_checked(self.text.len())?;
        Some(Work {
            nonce: self.nonce.as_bytes().get(..self.nonce_len.into())?,
            head: self.head.get(..self.head_len.into())?,
            text,
            tail: self.tail.get(..self.tail_len.into())?,
            icv: rest.get_mut(..self.icv_len.into())?,
        })
    }

    /// The length of the packet.
    pub(crate) fn end(&self) -> usize {
        self.text.end.saturating_add(self.icv_len.into())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.nonce.zeroize(); // the salt is keying material
    }
}

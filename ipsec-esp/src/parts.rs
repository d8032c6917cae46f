//! What the provider needs to know of one ESP packet: ranges and copies, no borrow.

use core::ops::Range;

use ipsec_core::bytes::Writer;
use ipsec_core::crypto::suite::MAX_NONCE;
use ipsec_core::crypto::{Provider, Work};
use ipsec_core::sa::{EspTransform, Protection};
use zeroize::Zeroize;

/// SPI and sequence number, the latter perhaps extended.
const MAX_HEAD: usize = 12;

/// The authenticated and encrypted parts of one packet.
pub(crate) struct Parts {
    /// Salt and IV.
    nonce: [u8; MAX_NONCE],
    nonce_len: usize,
    head: [u8; MAX_HEAD],
    head_len: usize,
    /// The high half of the sequence number.
    tail: [u8; 4],
    tail_len: usize,
    /// Where in the packet the encrypted part lies. The integrity check value follows it.
    pub(crate) text: Range<usize>,
    icv_len: usize,
}

impl Parts {
    /// `None` if `iv` is longer than any.
    pub(crate) fn new<P: Provider>(
        protection: &Protection<P>,
        esp: &EspTransform<P>,
        sequence: u64,
        iv: &[u8],
        text: Range<usize>,
    ) -> Option<Self> {
        let mut parts = Self {
            nonce: [0; MAX_NONCE],
            nonce_len: 0,
            head: [0; MAX_HEAD],
            head_len: 0,
            tail: [0; 4],
            tail_len: 0,
            text,
            icv_len: esp.shape.icv_len,
        };
        let mut nonce = Writer::new(&mut parts.nonce);
        nonce.bytes(esp.salt())?;
        nonce.bytes(iv)?;
        parts.nonce_len = nonce.len();

        // RFC 4303 section 2.2.1: an AEAD takes the extended number in its place (RFC 4106 section 5), a separate
        // integrity algorithm takes the high half behind everything else.
        let [a, b, c, d, low @ ..] = sequence.to_be_bytes();
        let high = [a, b, c, d];
        let mut head = Writer::new(&mut parts.head);
        head.bytes(&protection.spi.to_be_bytes())?;
        if protection.esn && esp.shape.aead {
            head.bytes(&high)?;
        }
        head.bytes(&low)?;
        parts.head_len = head.len();
        if protection.esn && !esp.shape.aead {
            parts.tail = high;
            parts.tail_len = high.len();
        }
        Some(parts)
    }

    /// The work on `packet`; `None` if it is shorter than it was.
    pub(crate) fn work<'a>(&'a self, packet: &'a mut [u8]) -> Option<Work<'a>> {
        let (text, rest) =
            packet.get_mut(self.text.start..)?.split_at_mut_checked(self.text.len())?;
        Some(Work {
            nonce: self.nonce.get(..self.nonce_len)?,
            head: self.head.get(..self.head_len)?,
            text,
            tail: self.tail.get(..self.tail_len)?,
            icv: rest.get_mut(..self.icv_len)?,
        })
    }

    /// The length of the packet.
    pub(crate) const fn end(&self) -> usize {
        self.text.end.saturating_add(self.icv_len)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.nonce.zeroize(); // the salt is keying material
    }
}

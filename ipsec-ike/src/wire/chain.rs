//! The chain of payloads, each naming the type of the next (RFC 7296 section 3.2).

use ipsec_core::bytes::Reader;

use super::WireError;
use super::iana::PayloadType;

/// The most payloads in one chain: bounds the work a datagram can ask for.
pub const MAX_PAYLOADS: usize = 64;

/// Bytes of the generic payload header.
pub(super) const PAYLOAD_HEADER_LEN: usize = 4;

const CRITICAL: u8 = 0x80;

/// One payload: its generic header and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// What it is.
    pub kind: PayloadType,
    /// Whether a receiver that does not know [`Payload::kind`] must reject the message.
    pub critical: bool,
    /// What comes next; in an encrypted payload, the type of the first payload inside it.
    pub next: PayloadType,
    /// What follows the generic header.
    pub body: &'a [u8],
}

/// The payloads of a chain, in order. Ends after the first error.
///
/// Payloads of unknown type come out if they are not critical, to be ignored, and are
/// [`WireError::UnsupportedCritical`] if they are (RFC 7296 section 2.5).
#[derive(Clone, Debug)]
pub struct Payloads<'a> {
    next: PayloadType,
    rest: Reader<'a>,
    left: usize,
    inner: bool,
    done: bool,
}

impl<'a> Payloads<'a> {
    /// The chain of a message. An encrypted payload ends it, and must end the message (RFC 7296 section 3.14).
    pub const fn new(first: PayloadType, body: &'a [u8]) -> Self {
        Self { next: first, rest: Reader::new(body), left: MAX_PAYLOADS, inner: false, done: false }
    }

    /// The chain inside an encrypted payload, padding stripped. Another encrypted payload in it is an error.
    pub const fn inner(first: PayloadType, body: &'a [u8]) -> Self {
        Self { inner: true, ..Self::new(first, body) }
    }

    fn step(&mut self) -> Result<Option<Payload<'a>>, WireError> {
        let kind = self.next;
        if kind == PayloadType::NONE {
            return if self.rest.is_empty() { Ok(None) } else { Err(WireError::TrailingData) };
        }
        self.left = self.left.checked_sub(1).ok_or(WireError::TooManyPayloads)?;
        let payload = read(kind, &mut self.rest).ok_or(WireError::PayloadLength(kind))?;
        if payload.critical && !kind.is_known() {
            return Err(WireError::UnsupportedCritical(kind));
        }
        self.next = payload.next;
        if kind.is_encrypted() {
            if self.inner {
                return Err(WireError::Unexpected(kind));
            }
            self.next = PayloadType::NONE;
        }
        Ok(Some(payload))
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<Payload<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl core::iter::FusedIterator for Payloads<'_> {}

fn read<'a>(kind: PayloadType, r: &mut Reader<'a>) -> Option<Payload<'a>> {
    let [next, flags] = r.array()?;
    let body_len = usize::from(r.u16()?).checked_sub(PAYLOAD_HEADER_LEN)?;
    let body = r.take(body_len)?;
    Some(Payload { kind, critical: flags & CRITICAL != 0, next: PayloadType(next), body })
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    fn walk(first: u8, body: &[u8]) -> Result<Vec<(u8, usize)>, WireError> {
        Payloads::new(PayloadType(first), body)
            .map(|p| p.map(|p| (p.kind.0, p.body.len())))
            .collect()
    }

    #[test]
    fn a_chain_names_its_types_one_ahead() {
        let body = [41, 0, 0, 6, 1, 2, 0, 0, 0, 4];
        assert_eq!(walk(40, &body), Ok(Vec::from([(40, 2), (41, 0)])));
        assert_eq!(walk(0, &[]), Ok(Vec::new()));
    }

    #[test]
    fn malformed_chains() {
        for (first, body, error) in [
            (40, &[][..], WireError::PayloadLength(PayloadType::NONCE)),
            (40, &[0, 0, 0][..], WireError::PayloadLength(PayloadType::NONCE)),
            (40, &[0, 0, 0, 0][..], WireError::PayloadLength(PayloadType::NONCE)),
            (40, &[0, 0, 0, 1][..], WireError::PayloadLength(PayloadType::NONCE)),
            (40, &[0, 0, 0, 2][..], WireError::PayloadLength(PayloadType::NONCE)),
            (40, &[0, 0, 0, 3][..], WireError::PayloadLength(PayloadType::NONCE)),
            (40, &[0, 0, 0, 5][..], WireError::PayloadLength(PayloadType::NONCE)),
            (40, &[0, 0, 0xff, 0xff][..], WireError::PayloadLength(PayloadType::NONCE)),
            (40, &[41, 0, 0, 4][..], WireError::PayloadLength(PayloadType::NOTIFY)),
            (40, &[0, 0, 0, 4, 0][..], WireError::TrailingData),
            (0, &[0][..], WireError::TrailingData),
        ] {
            assert_eq!(walk(first, body), Err(error), "{first} {body:?}");
        }
    }

    #[test]
    fn an_error_ends_the_walk() {
        let mut chain = Payloads::new(PayloadType::NONCE, &[0, 0, 0, 0]);
        assert!(chain.next().unwrap().is_err());
        assert_eq!(chain.next(), None);
    }

    /// RFC 7296 section 2.5: the critical bit counts only in payloads of unknown type.
    #[test]
    fn the_critical_bit() {
        assert_eq!(
            walk(200, &[0, 0x80, 0, 4]),
            Err(WireError::UnsupportedCritical(PayloadType(200)))
        );
        assert_eq!(walk(200, &[0, 0x7f, 0, 4]), Ok(Vec::from([(200, 0)])));
        assert_eq!(walk(40, &[0, 0x80, 0, 4]), Ok(Vec::from([(40, 0)])));
        // A payload type of IKEv1 is just as unknown.
        assert_eq!(walk(1, &[0, 0x80, 0, 4]), Err(WireError::UnsupportedCritical(PayloadType(1))));
    }

    /// RFC 7296 section 3.14: the encrypted payload is the last one, and its next payload is the first inside.
    #[test]
    fn an_encrypted_payload_ends_the_chain() {
        assert_eq!(walk(46, &[35, 0, 0, 6, 1, 2]), Ok(Vec::from([(46, 2)])));
        assert_eq!(walk(46, &[35, 0, 0, 6, 1, 2, 0, 0, 0, 4]), Err(WireError::TrailingData));
        for kind in [PayloadType::SK, PayloadType::SKF] {
            let mut chain = Payloads::inner(kind, &[0, 0, 0, 6, 1, 2]);
            assert_eq!(chain.next(), Some(Err(WireError::Unexpected(kind))));
        }
    }

    #[test]
    fn the_number_of_payloads_is_bounded() {
        let chain = |n: usize| -> Vec<u8> {
            (0..n).flat_map(|i| [if i + 1 == n { 0 } else { 43 }, 0, 0, 4]).collect()
        };
        assert_eq!(walk(43, &chain(MAX_PAYLOADS)).unwrap().len(), MAX_PAYLOADS);
        assert_eq!(walk(43, &chain(MAX_PAYLOADS + 1)), Err(WireError::TooManyPayloads));
    }
}

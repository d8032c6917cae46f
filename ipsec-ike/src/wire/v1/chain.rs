//! The chain of payloads, each naming the type of the next (RFC 2408 section 3.2).

use ipsec_core::bytes::Reader;

use super::super::MAX_PAYLOADS;
use super::super::chain::PAYLOAD_HEADER_LEN;
use super::WireError;
use super::iana::PayloadType;

/// Of the length of a message.
pub(super) const ALIGNMENT: usize = 4;

/// One payload: its type and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// What it is.
    pub kind: PayloadType,
    /// What follows the generic header.
    pub body: &'a [u8],
}

/// The payloads of a chain, in order. Ends after the first error. Payloads of unknown type come out, to be skipped.
#[derive(Clone, Debug)]
pub struct Payloads<'a> {
    next: PayloadType,
    rest: Reader<'a>,
    left: usize,
    /// So many octets may follow the last payload.
    padding: usize,
    done: bool,
}

impl<'a> Payloads<'a> {
    /// The chain of a message in the clear. Up to three octets of any value may follow the last payload: with them, libreswan makes the
    /// length of its messages a multiple of four (RFC 2408 section 3.6). Whether they do so is not looked at.
    pub const fn new(first: PayloadType, body: &'a [u8]) -> Self {
        let rest = Reader::new(body);
        Self { next: first, rest, left: MAX_PAYLOADS, padding: ALIGNMENT - 1, done: false }
    }

    /// The chain of a message that has been decrypted: whatever follows the last payload is padding (RFC 2409 appendix B), of any
    /// content and length here. [`Collected::padding`](super::Collected::padding) is for those who want to know more of it.
    pub const fn padded(first: PayloadType, body: &'a [u8]) -> Self {
        Self { padding: usize::MAX, ..Self::new(first, body) }
    }

    /// What has not been walked through yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest.rest()
    }

    fn step(&mut self) -> Result<Option<Payload<'a>>, WireError> {
        let kind = self.next;
        if kind == PayloadType::NONE {
            let whole = self.rest.rest().len() <= self.padding;
            return if whole { Ok(None) } else { Err(WireError::TrailingData) };
        }
        self.left = self.left.checked_sub(1).ok_or(WireError::TooManyPayloads)?;
        let (next, body) = read(&mut self.rest).ok_or(WireError::PayloadLength(kind))?;
        self.next = next;
        Ok(Some(Payload { kind, body }))
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

fn read<'a>(r: &mut Reader<'a>) -> Option<(PayloadType, &'a [u8])> {
    let [next, _reserved] = r.array()?;
    let body_len = usize::from(r.u16()?).checked_sub(PAYLOAD_HEADER_LEN)?;
    Some((PayloadType(next), r.take(body_len)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    type P = PayloadType;

    fn walk(payloads: Payloads<'_>) -> Result<Vec<(u8, usize)>, WireError> {
        payloads.map(|p| p.map(|p| (p.kind.0, p.body.len()))).collect()
    }

    /// RFC 2408 section 3.2. What follows the last payload aligns the message (RFC 2408 section 3.6), or fills the last block of
    /// a cipher (RFC 2409 appendix B).
    #[test]
    fn chains_end_with_their_last_payload_or_padding() {
        let chain = [10, 0, 0, 6, 1, 2, 0, 7, 0, 4];
        assert_eq!(walk(Payloads::new(P::HASH, &chain)), Ok([(8, 2), (10, 0)].to_vec()));
        let aligned = [&chain[..], &[0; 3]].concat();
        assert_eq!(walk(Payloads::new(P::HASH, &aligned)), Ok([(8, 2), (10, 0)].to_vec()));
        let padded = [&chain[..], &[9, 9, 9, 3]].concat();
        assert_eq!(walk(Payloads::new(P::HASH, &padded)), Err(WireError::TrailingData));
        let mut walked = Payloads::padded(P::HASH, &padded);
        assert_eq!(walked.by_ref().count(), 2);
        assert_eq!(walked.rest(), [9, 9, 9, 3]);
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        for body in [&[][..], &[0], &[0, 0, 0], &[0, 0, 0, 3], &[0, 0, 0, 5], &[0, 0, 255, 255, 1]]
        {
            assert_eq!(walk(Payloads::new(P::KE, body)), Err(WireError::PayloadLength(P::KE)));
            assert_eq!(walk(Payloads::padded(P::KE, body)), Err(WireError::PayloadLength(P::KE)));
        }
    }

    #[test]
    fn a_chain_has_an_end() {
        let chain = [13, 0, 0, 4].repeat(MAX_PAYLOADS + 1);
        assert_eq!(walk(Payloads::padded(P::VENDOR_ID, &chain)), Err(WireError::TooManyPayloads));
    }
}

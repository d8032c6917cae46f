//! The fragment payload: no RFC, but what Cisco and Microsoft deployed and others understand.

use ipsec_core::bytes::Reader;

use super::super::NoRoom;
use super::WireError;
use super::compose::MessageWriter;
use super::iana::PayloadType;

const LAST: u8 = 1;

/// A piece of a message, alone behind a header in the clear. Nothing authenticates it.
///
/// The pieces, one after another, are a whole message with a header of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPayload<'a> {
    /// Tells the fragments of different messages apart.
    pub id: u16,
    /// The place of this piece, from 1.
    pub number: u8,
    /// Whether no other follows.
    pub last: bool,
    /// The piece, not empty.
    pub data: &'a [u8],
}

impl<'a> FragmentPayload<'a> {
    /// Parses the body of a payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::FRAGMENT))
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let id = r.u16()?;
        let [number, flags] = r.array()?;
        let fragment = Self { id, number, last: flags & LAST != 0, data: r.rest() };
        (number != 0 && !fragment.data.is_empty()).then_some(fragment)
    }
}

impl MessageWriter<'_> {
    /// Appends a fragment, which must be the only payload.
    pub fn fragment(&mut self, fragment: &FragmentPayload<'_>) -> Result<(), NoRoom> {
        self.payload(PayloadType::FRAGMENT, |w| {
            w.u16(fragment.id)?;
            w.bytes(&[fragment.number, u8::from(fragment.last) * LAST])?;
            w.bytes(fragment.data)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_a_number_and_data() {
        let fragment = FragmentPayload { id: 0x0102, number: 3, last: true, data: &[9] };
        assert_eq!(FragmentPayload::parse(&[1, 2, 3, 1, 9]), Ok(fragment));
        for body in [&[][..], &[0, 1, 1], &[0, 1, 1, 0], &[0, 1, 0, 0, 9]] {
            let error = WireError::Malformed(PayloadType::FRAGMENT);
            assert_eq!(FragmentPayload::parse(body), Err(error));
        }
    }
}

//! The key exchange payload (RFC 7296 section 3.4).

use ipsec_core::bytes::Reader;
use ipsec_core::crypto::Group;

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::PayloadType;

/// A key exchange payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KePayload<'a> {
    /// The method.
    pub group: Group,
    /// The public value, not empty. Whether its length and value suit the group, the key exchange decides.
    pub data: &'a [u8],
}

impl<'a> KePayload<'a> {
    /// Parses the body of a payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::KE))
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let group = Group(r.u16()?);
        r.u16()?;
        (!r.is_empty()).then(|| Self { group, data: r.rest() })
    }
}

impl MessageWriter<'_> {
    /// Appends a key exchange payload.
    pub fn ke(&mut self, group: Group, data: &[u8]) -> Result<(), NoRoom> {
        self.payload(PayloadType::KE, |w| {
            w.u16(group.0)?;
            w.u16(0)?;
            w.bytes(data)
        })
    }

    /// Appends a nonce payload; the nonce has [`MIN_NONCE`](super::nonce::MIN_NONCE) to
    /// [`MAX_NONCE`](super::nonce::MAX_NONCE) bytes.
    pub fn nonce(&mut self, nonce: &[u8]) -> Result<(), NoRoom> {
        self.raw(PayloadType::NONCE, nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7296 section 3.4: group, two reserved bytes, value.
    #[test]
    fn group_then_value() {
        let ke = KePayload::parse(&[0, 31, 0xaa, 0xbb, 1, 2]).unwrap();
        assert_eq!(ke, KePayload { group: Group::X25519, data: &[1, 2] });
    }

    #[test]
    fn a_cut_or_empty_value_is_malformed() {
        for len in 0..=4 {
            let body = &[0, 31, 0, 0][..len];
            assert_eq!(KePayload::parse(body), Err(WireError::Malformed(PayloadType::KE)));
        }
    }
}

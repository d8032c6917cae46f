//! The identification payloads IDi and IDr (RFC 7296 section 3.5).

use ipsec_core::bytes::Reader;

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{IdType, PayloadType};

/// An identification payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPayload<'a> {
    /// How to read [`IdPayload::data`].
    pub kind: IdType,
    /// The identity. An address has the length of its family, a name is neither empty nor contains control
    /// characters. Any other length is possible: whoever copies it compares it with the room first.
    pub data: &'a [u8],
    reserved: [u8; 3],
}

impl<'a> IdPayload<'a> {
    /// An identity to be sent.
    pub const fn new(kind: IdType, data: &'a [u8]) -> Self {
        Self { kind, data, reserved: [0; 3] }
    }

    /// Parses the body of a payload of type `payload`, IDi or IDr.
    pub fn parse(payload: PayloadType, body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).filter(Self::is_sound).ok_or(WireError::Malformed(payload))
    }

    /// The first four bytes of the body, as sent: followed by [`IdPayload::data`] they are what AUTH covers (RFC 7296
    /// section 2.15).
    pub const fn head(&self) -> [u8; 4] {
        let [a, b, c] = self.reserved;
        [self.kind.0, a, b, c]
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let kind = IdType(r.u8()?);
        let reserved = r.array()?;
        Some(Self { kind, data: r.rest(), reserved })
    }

    /// RFC 7296 section 3.5: the sizes of addresses, and names without terminators. RFC 7619 section 2.2: ID_NULL is
    /// empty.
    fn is_sound(&self) -> bool {
        match self.kind {
            IdType::IPV4_ADDR => self.data.len() == 4,
            IdType::IPV6_ADDR => self.data.len() == 16,
            IdType::FQDN | IdType::RFC822_ADDR => {
                !self.data.is_empty() && !self.data.iter().any(u8::is_ascii_control)
            }
            IdType::NULL => self.data.is_empty(),
            _ => true,
        }
    }
}

impl MessageWriter<'_> {
    /// Appends an identification payload; `payload` is [`PayloadType::IDI`] or [`PayloadType::IDR`].
    pub fn id(&mut self, payload: PayloadType, id: &IdPayload<'_>) -> Result<(), NoRoom> {
        self.payload(payload, |w| {
            w.bytes(&id.head())?;
            w.bytes(id.data)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Result<IdPayload<'_>, WireError> {
        IdPayload::parse(PayloadType::IDI, body)
    }

    /// RFC 7296 section 2.15: AUTH covers the identity as it was sent, reserved bytes included.
    #[test]
    fn identities_keep_their_reserved_bytes_for_auth() {
        let id = parse(b"\x02\x01\x02\x03delhi.example").unwrap();
        assert_eq!((id.kind, id.data), (IdType::FQDN, &b"delhi.example"[..]));
        assert_eq!(id.head(), [2, 1, 2, 3]);
        assert_eq!(IdPayload::new(IdType::KEY_ID, b"k").head(), [11, 0, 0, 0]);
    }

    /// RFC 7296 section 3.5: addresses have their size, names no terminators. RFC 7619 section 2.2: NULL is empty.
    #[test]
    fn malformed_identities() {
        for body in [
            &b""[..],
            b"\x02",
            b"\x02\0\0",
            b"\x02\0\0\0",
            b"\x02\0\0\0a\0b",
            b"\x03\0\0\0a@b\r",
            b"\x01\0\0\0\x0a\0\0",
            b"\x01\0\0\0\x0a\0\0\x01\x02",
            b"\x05\0\0\0\x0a\0\0\x01",
            b"\x0d\0\0\0x",
        ] {
            assert_eq!(parse(body), Err(WireError::Malformed(PayloadType::IDI)), "{body:?}");
        }
    }

    /// An identity as long as a payload can be is lent, never copied.
    #[test]
    fn an_oversized_identity_is_only_borrowed() {
        let mut body = [b'a'; 65_531];
        body[..4].copy_from_slice(&[2, 0, 0, 0]);
        assert_eq!(parse(&body).unwrap().data.len(), 65_527);
    }

    #[test]
    fn unknown_types_are_carried() {
        assert_eq!(parse(&[201, 0, 0, 0]).unwrap().kind, IdType(201));
    }
}

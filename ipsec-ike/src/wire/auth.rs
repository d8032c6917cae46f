//! The authentication payload (RFC 7296 section 3.8).

use ipsec_core::bytes::Reader;

use super::WireError;
use super::compose::{MessageWriter, NoRoom};
use super::iana::{AuthMethod, PayloadType};

/// An authentication payload.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthPayload<'a> {
    /// How the sender proves its identity.
    pub method: AuthMethod,
    /// The proof, not empty.
    pub data: &'a [u8],
}

impl<'a> AuthPayload<'a> {
    /// Parses the body of a payload.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        Self::read(body).ok_or(WireError::Malformed(PayloadType::AUTH))
    }

    fn read(body: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(body);
        let [method, _, _, _] = r.array()?;
        (!r.is_empty()).then(|| Self { method: AuthMethod(method), data: r.rest() })
    }
}

/// What an authentication payload of method [`AuthMethod::DIGITAL_SIGNATURE`] holds (RFC 7427 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigitalSignature<'a> {
    /// An AlgorithmIdentifier in DER.
    pub algorithm: &'a [u8],
    /// The signature, not empty.
    pub signature: &'a [u8],
}

impl<'a> DigitalSignature<'a> {
    /// Takes [`AuthPayload::data`] apart. `None` if it is cut.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let mut r = Reader::new(data);
        let len = r.u8()?;
        let algorithm = r.take(len.into())?;
        (!r.is_empty()).then(|| Self { algorithm, signature: r.rest() })
    }
}

impl core::fmt::Debug for AuthPayload<'_> {
    /// Without the data: a guessed pre-shared key could be tried on it.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AuthPayload").field("method", &self.method).finish_non_exhaustive()
    }
}

impl MessageWriter<'_> {
    /// Appends an authentication payload.
    pub fn auth(&mut self, method: AuthMethod, data: &[u8]) -> Result<(), NoRoom> {
        self.payload(PayloadType::AUTH, |w| {
            w.bytes(&[method.0, 0, 0, 0])?;
            w.bytes(data)
        })
    }

    /// Appends an authentication payload of method [`AuthMethod::DIGITAL_SIGNATURE`].
    pub fn digital_signature(&mut self, parts: &DigitalSignature<'_>) -> Result<(), NoRoom> {
        self.payload(PayloadType::AUTH, |w| {
            w.bytes(&[AuthMethod::DIGITAL_SIGNATURE.0, 0, 0, 0])?;
            w.u8(u8::try_from(parts.algorithm.len()).ok()?)?;
            w.bytes(parts.algorithm)?;
            w.bytes(parts.signature)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7296 section 3.8: method, three reserved bytes, proof.
    #[test]
    fn method_then_proof() {
        let auth = AuthPayload::parse(&[2, 9, 9, 9, 5, 6]).unwrap();
        assert_eq!(auth, AuthPayload { method: AuthMethod::SHARED_KEY, data: &[5, 6] });
        for len in 0..=4 {
            let cut = &[2, 0, 0, 0][..len];
            assert_eq!(AuthPayload::parse(cut), Err(WireError::Malformed(PayloadType::AUTH)));
        }
    }

    /// RFC 7427 section 3: the length of the AlgorithmIdentifier, it, and the signature.
    #[test]
    fn a_signature_names_its_algorithm() {
        let parts = DigitalSignature::parse(&[2, 8, 9, 5, 6]).unwrap();
        assert_eq!(parts, DigitalSignature { algorithm: &[8, 9], signature: &[5, 6] });
        for cut in [&[][..], &[0], &[2], &[2, 8], &[2, 8, 9], &[255, 1, 2]] {
            assert_eq!(DigitalSignature::parse(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn the_proof_is_not_printed() {
        extern crate std;
        let auth = AuthPayload { method: AuthMethod::SHARED_KEY, data: &[0xab; 4] };
        assert_eq!(std::format!("{auth:?}"), "AuthPayload { method: SHARED_KEY, .. }");
    }
}

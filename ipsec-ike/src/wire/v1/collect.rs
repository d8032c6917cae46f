//! The payloads of a message, parsed and sorted.

use super::super::Certs;
use super::WireError;
use super::attributes::AttributesPayload;
use super::chain::{Payload, Payloads};
use super::delete::DeletePayload;
use super::fragment::FragmentPayload;
use super::iana::{CertEncoding, NotifyType, PayloadType};
use super::id::IdPayload;
use super::nat_oa::NatOa;
use super::notify::Notify;
use super::sa::SaPayload;

/// Bytes of the shortest nonce (RFC 2409 section 5).
pub const MIN_NONCE: usize = 8;
/// Bytes of the longest nonce (RFC 2409 section 5).
pub const MAX_NONCE: usize = 256;

/// All payloads of a chain: those that may be there once as fields, the others by iterators.
///
/// Every payload has been parsed. Payloads of unknown type are skipped.
#[derive(Clone, Debug)]
pub struct Collected<'a> {
    /// The type of the first payload.
    pub first: PayloadType,
    /// Security association.
    pub sa: Option<SaPayload<'a>>,
    /// The key-exchange value.
    pub ke: Option<&'a [u8]>,
    /// The nonce.
    pub nonce: Option<&'a [u8]>,
    /// Identification of the sender in phase 1, of the initiator's traffic in phase 2.
    pub id: Option<IdPayload<'a>>,
    /// Identification of the responder's traffic in phase 2.
    pub second_id: Option<IdPayload<'a>>,
    /// The hash.
    pub hash: Option<&'a [u8]>,
    /// The signature.
    pub sig: Option<&'a [u8]>,
    /// The initiator's original address, and the responder's (RFC 3947 section 5.2).
    pub nat_oa: (Option<NatOa>, Option<NatOa>),
    /// Mode Config and XAUTH.
    pub attributes: Option<AttributesPayload<'a>>,
    /// A piece of a message.
    pub fragment: Option<FragmentPayload<'a>>,
    /// What follows the first payload, without padding. Where the first payload is the hash, this is what it covers in
    /// phase 2 (RFC 2409 section 5.5).
    pub after_first: &'a [u8],
    /// What follows the last payload, to fill a block of a cipher.
    pub padding: &'a [u8],
    payloads: Payloads<'a>,
}

impl<'a> Collected<'a> {
    /// Walks the whole chain. Gives the first error in the order of the payloads.
    pub fn collect(payloads: Payloads<'a>) -> Result<Self, WireError> {
        let mut all = Self {
            first: PayloadType::NONE,
            sa: None,
            ke: None,
            nonce: None,
            id: None,
            second_id: None,
            hash: None,
            sig: None,
            nat_oa: (None, None),
            attributes: None,
            fragment: None,
            after_first: &[],
            padding: &[],
            payloads: payloads.clone(),
        };
        let mut walk = payloads;
        if let Some(first) = walk.next() {
            let first = first?;
            all.first = first.kind;
            all.after_first = walk.rest();
            all.take(&first)?;
        }
        for payload in walk.by_ref() {
            all.take(&payload?)?;
        }
        all.padding = walk.rest();
        let len = all.after_first.len().saturating_sub(all.padding.len());
        all.after_first = all.after_first.get(..len).unwrap_or_default();
        Ok(all)
    }

    /// The notifies, in order.
    pub fn notifies(&self) -> impl Iterator<Item = Notify<'a>> + use<'a> {
        self.bodies(PayloadType::NOTIFY).filter_map(|body| Notify::parse(body).ok())
    }

    /// The first notify of this type.
    pub fn notify(&self, kind: NotifyType) -> Option<Notify<'a>> {
        self.notifies().find(|notify| notify.kind == kind)
    }

    /// The first notify that reports an error.
    pub fn error(&self) -> Option<Notify<'a>> {
        self.notifies().find(|notify| notify.kind.is_error())
    }

    /// The delete payloads, in order.
    pub fn deletes(&self) -> impl Iterator<Item = DeletePayload<'a>> + use<'a> {
        self.bodies(PayloadType::DELETE).filter_map(|body| DeletePayload::parse(body).ok())
    }

    /// The certificates, in order, each with its encoding, whose numbers are those of IKEv2.
    pub fn certs(&self) -> Certs<'a> {
        Certs::of_v1(self.payloads.clone())
    }

    /// The certificate requests, in order: an encoding and the name of an authority, which may be empty.
    pub fn cert_reqs(&self) -> impl Iterator<Item = (CertEncoding, &'a [u8])> + use<'a> {
        self.bodies(PayloadType::CERTREQ).filter_map(encoded)
    }

    /// The vendor IDs, in order.
    pub fn vendor_ids(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bodies(PayloadType::VENDOR_ID)
    }

    /// The hashes of addresses, those of RFC 3947 and of the drafts: of the receiver's endpoint first, then of those that
    /// the sender may have (RFC 3947 section 3.2).
    pub fn nat_d(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let of_kind =
            |p: &Payload<'_>| matches!(p.kind, PayloadType::NAT_D | PayloadType::NAT_D_DRAFT);
        self.payloads.clone().filter_map(Result::ok).filter(of_kind).map(|p| p.body)
    }

    fn bodies(&self, kind: PayloadType) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let of_kind = move |payload: &Payload<'_>| payload.kind == kind;
        self.payloads.clone().filter_map(Result::ok).filter(of_kind).map(|payload| payload.body)
    }

    fn take(&mut self, payload: &Payload<'a>) -> Result<(), WireError> {
        let Payload { kind, body } = *payload;
        match kind {
            PayloadType::SA => once(kind, &mut self.sa, SaPayload::parse(body)?),
            PayloadType::KE => once(kind, &mut self.ke, not_empty(kind, body)?),
            PayloadType::NONCE => once(kind, &mut self.nonce, nonce(body)?),
            PayloadType::ID => {
                let id = IdPayload::parse(body)?;
                let second = self.id.is_some();
                once(kind, if second { &mut self.second_id } else { &mut self.id }, id)
            }
            PayloadType::HASH => once(kind, &mut self.hash, not_empty(kind, body)?),
            PayloadType::SIG => once(kind, &mut self.sig, not_empty(kind, body)?),
            PayloadType::NAT_OA | PayloadType::NAT_OA_DRAFT => {
                let address = NatOa::parse(body)?;
                let (first, second) = &mut self.nat_oa;
                once(kind, if first.is_some() { second } else { first }, address)
            }
            PayloadType::ATTRIBUTES => {
                once(kind, &mut self.attributes, AttributesPayload::parse(body)?)
            }
            PayloadType::FRAGMENT => once(kind, &mut self.fragment, FragmentPayload::parse(body)?),
            PayloadType::CERT | PayloadType::CERTREQ => not_empty(kind, body).map(|_| ()),
            PayloadType::NOTIFY => Notify::parse(body).map(|_| ()),
            PayloadType::DELETE => DeletePayload::parse(body).map(|_| ()),
            _ => Ok(()),
        }
    }
}

fn encoded(body: &[u8]) -> Option<(CertEncoding, &[u8])> {
    let (encoding, data) = body.split_first()?;
    Some((CertEncoding(*encoding), data))
}

fn not_empty(kind: PayloadType, body: &[u8]) -> Result<&[u8], WireError> {
    if body.is_empty() { Err(WireError::Malformed(kind)) } else { Ok(body) }
}

/// RFC 2409 section 5: 8 to 256 bytes.
fn nonce(body: &[u8]) -> Result<&[u8], WireError> {
    if (MIN_NONCE..=MAX_NONCE).contains(&body.len()) {
        Ok(body)
    } else {
        Err(WireError::Malformed(PayloadType::NONCE))
    }
}

fn once<T>(kind: PayloadType, field: &mut Option<T>, value: T) -> Result<(), WireError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(WireError::Duplicate(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    type P = PayloadType;

    fn sound_body(kind: P) -> Vec<u8> {
        match kind {
            P::SA => {
                [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 16, 1, 1, 0, 1, 0, 0, 0, 8, 1, 1, 0, 0].to_vec()
            }
            P::NONCE => [6; 8].to_vec(),
            P::ID | P::NAT_OA | P::NAT_OA_DRAFT => [1, 0, 0, 0, 10, 0, 0, 1].to_vec(),
            P::ATTRIBUTES => [1, 0, 0, 7].to_vec(),
            P::NOTIFY => [0, 0, 0, 1, 1, 0, 0, 14].to_vec(),
            P::DELETE => [0, 0, 0, 1, 3, 4, 0, 1, 0, 0, 1, 0].to_vec(),
            P::FRAGMENT => [0, 1, 1, 0, 9].to_vec(),
            _ => [1, 2, 3].to_vec(),
        }
    }

    fn chain(bodies: &[(P, Vec<u8>)]) -> Vec<u8> {
        let next = bodies.iter().skip(1).map(|(kind, _)| *kind).chain([P::NONE]);
        let mut bytes = Vec::new();
        for ((_, body), next) in bodies.iter().zip(next) {
            bytes.extend_from_slice(&[next.0, 0]);
            bytes.extend_from_slice(&u16::try_from(body.len() + 4).unwrap().to_be_bytes());
            bytes.extend_from_slice(body);
        }
        bytes
    }

    fn sound(kinds: &[P]) -> Vec<u8> {
        chain(&kinds.iter().map(|kind| (*kind, sound_body(*kind))).collect::<Vec<_>>())
    }

    /// RFC 2409 section 5.5: HASH(1) covers what follows it, without the padding.
    #[test]
    fn what_the_hash_covers() {
        let chain = sound(&[P::HASH, P::SA, P::NONCE, P::ID, P::ID]);
        let padded = [&chain[..], &[0; 7]].concat();
        let all = Collected::collect(Payloads::padded(P::HASH, &padded)).unwrap();
        assert_eq!((all.first, all.hash), (P::HASH, Some(&[1, 2, 3][..])));
        assert_eq!((all.after_first, all.padding), (&chain[7..], &[0; 7][..]));
        assert!(all.sa.is_some() && all.id.is_some() && all.second_id.is_some());
        let alone = Collected::collect(Payloads::padded(P::HASH, &padded[..0]));
        assert!(alone.is_err());
    }

    #[test]
    fn what_may_be_there_once() {
        for kind in [P::SA, P::KE, P::NONCE, P::HASH, P::SIG, P::ATTRIBUTES, P::FRAGMENT] {
            assert!(Collected::collect(Payloads::new(kind, &sound(&[kind]))).is_ok(), "{kind}");
            let twice = sound(&[kind, kind]);
            let error = Collected::collect(Payloads::new(kind, &twice)).unwrap_err();
            assert_eq!(error, WireError::Duplicate(kind));
        }
        for kind in [P::ID, P::NAT_OA, P::NAT_OA_DRAFT] {
            assert!(Collected::collect(Payloads::new(kind, &sound(&[kind; 2]))).is_ok());
            let thrice = sound(&[kind; 3]);
            let error = Collected::collect(Payloads::new(kind, &thrice)).unwrap_err();
            assert_eq!(error, WireError::Duplicate(kind));
        }
    }

    #[test]
    fn what_may_repeat() {
        let kinds =
            [P::CERT, P::CERTREQ, P::NOTIFY, P::DELETE, P::VENDOR_ID, P::NAT_D, P::NAT_D_DRAFT];
        let bytes = sound(&[&kinds[..], &kinds[..], &[PayloadType(99)]].concat());
        let all = Collected::collect(Payloads::new(P::CERT, &bytes)).unwrap();
        assert_eq!((all.certs().count(), all.cert_reqs().count()), (2, 2));
        assert_eq!((all.notifies().count(), all.deletes().count()), (2, 2));
        assert_eq!((all.vendor_ids().count(), all.nat_d().count()), (2, 4));
        assert_eq!(all.error().unwrap().kind, NotifyType::NO_PROPOSAL_CHOSEN);
    }

    #[test]
    fn a_malformed_payload_anywhere_spoils_the_message() {
        for (kind, bad) in [
            (P::SA, &[][..]),
            (P::KE, &[]),
            (P::NONCE, &[1; 7]),
            (P::NONCE, &[1; 257]),
            (P::ID, &[1, 0, 0, 0]),
            (P::HASH, &[]),
            (P::SIG, &[]),
            (P::CERT, &[]),
            (P::CERTREQ, &[]),
            (P::NAT_OA, &[]),
            (P::NOTIFY, &[]),
            (P::DELETE, &[]),
            (P::ATTRIBUTES, &[]),
            (P::FRAGMENT, &[]),
        ] {
            let bytes = chain(&[(P::VENDOR_ID, Vec::new()), (kind, bad.to_vec())]);
            let error = Collected::collect(Payloads::new(P::VENDOR_ID, &bytes)).unwrap_err();
            assert_eq!(error, WireError::Malformed(kind));
        }
    }

    #[test]
    fn a_cut_chain_is_an_error_at_every_byte() {
        let bytes = sound(&[P::HASH, P::SA, P::NONCE, P::KE, P::ID, P::ID, P::NOTIFY]);
        for len in 0..bytes.len() {
            for payloads in [Payloads::new, Payloads::padded] {
                assert!(Collected::collect(payloads(P::HASH, &bytes[..len])).is_err(), "{len}");
            }
        }
    }
}

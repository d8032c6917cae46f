//! The payloads of a message, parsed and sorted.

use super::iana::{NotifyType, PayloadType};
use super::{
    AuthPayload, DeletePayload, Encrypted, IdPayload, KePayload, Notify, Payload, Payloads,
    SaPayload, TsPayload, WireError, nonce,
};

/// All payloads of a chain: those that may be there once as fields, the others by iterators.
///
/// Every payload has been parsed. Their order is not looked at (RFC 7296 section 2.5). Payloads of unknown type are
/// skipped, and so are those that are not supported yet: certificates and their requests, configuration, EAP.
#[derive(Clone, Debug)]
pub struct Collected<'a> {
    /// Security association.
    pub sa: Option<SaPayload<'a>>,
    /// Key exchange.
    pub ke: Option<KePayload<'a>>,
    /// The nonce.
    pub nonce: Option<&'a [u8]>,
    /// Identification of the initiator.
    pub id_i: Option<IdPayload<'a>>,
    /// Identification of the responder.
    pub id_r: Option<IdPayload<'a>>,
    /// Authentication.
    pub auth: Option<AuthPayload<'a>>,
    /// Traffic selectors of the initiator.
    pub ts_i: Option<TsPayload<'a>>,
    /// Traffic selectors of the responder.
    pub ts_r: Option<TsPayload<'a>>,
    /// The encrypted payload or fragment. What else is in such a message is authenticated with it, but came in the
    /// clear.
    pub encrypted: Option<Encrypted>,
    payloads: Payloads<'a>,
}

impl<'a> Collected<'a> {
    /// Walks the whole chain. Gives the first error in the order of the payloads.
    pub fn collect(payloads: Payloads<'a>) -> Result<Self, WireError> {
        let mut all = Self {
            sa: None,
            ke: None,
            nonce: None,
            id_i: None,
            id_r: None,
            auth: None,
            ts_i: None,
            ts_r: None,
            encrypted: None,
            payloads: payloads.clone(),
        };
        for payload in payloads {
            all.take(&payload?)?;
        }
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

    /// The vendor IDs, in order.
    pub fn vendor_ids(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bodies(PayloadType::VENDOR_ID)
    }

    fn bodies(&self, kind: PayloadType) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let of_kind = move |payload: &Payload<'_>| payload.kind == kind;
        self.payloads.clone().filter_map(Result::ok).filter(of_kind).map(|payload| payload.body)
    }

    fn take(&mut self, payload: &Payload<'a>) -> Result<(), WireError> {
        let Payload { kind, body, .. } = *payload;
        match kind {
            PayloadType::SA => once(kind, &mut self.sa, SaPayload::parse(body)?),
            PayloadType::KE => once(kind, &mut self.ke, KePayload::parse(body)?),
            PayloadType::NONCE => once(kind, &mut self.nonce, nonce::parse(body)?),
            PayloadType::IDI => once(kind, &mut self.id_i, IdPayload::parse(kind, body)?),
            PayloadType::IDR => once(kind, &mut self.id_r, IdPayload::parse(kind, body)?),
            PayloadType::AUTH => once(kind, &mut self.auth, AuthPayload::parse(body)?),
            PayloadType::TSI => once(kind, &mut self.ts_i, TsPayload::parse(kind, body)?),
            PayloadType::TSR => once(kind, &mut self.ts_r, TsPayload::parse(kind, body)?),
            PayloadType::SK | PayloadType::SKF => {
                once(kind, &mut self.encrypted, Encrypted::parse(payload)?)
            }
            PayloadType::NOTIFY => Notify::parse(body).map(|_| ()),
            PayloadType::DELETE => DeletePayload::parse(body).map(|_| ()),
            _ => Ok(()),
        }
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

    /// A sound body of each type that may be there once, and of those that may repeat.
    fn sound_body(kind: PayloadType) -> Vec<u8> {
        let ts = [1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255];
        Vec::from(match kind {
            PayloadType::SA => &[0, 0, 0, 16, 1, 1, 0, 1, 0, 0, 0, 8, 2, 0, 0, 5][..],
            PayloadType::KE => &[0, 31, 0, 0, 9],
            PayloadType::NONCE => &[6; 16],
            PayloadType::IDI | PayloadType::IDR => &[11, 0, 0, 0, 1],
            PayloadType::AUTH => &[2, 0, 0, 0, 1],
            PayloadType::TSI | PayloadType::TSR => &ts,
            PayloadType::NOTIFY => &[0, 0, 0x40, 0],
            PayloadType::DELETE => &[1, 0, 0, 0],
            _ => &[1, 2, 3],
        })
    }

    fn chain(kinds: &[PayloadType]) -> Vec<u8> {
        let next = kinds.iter().skip(1).chain([&PayloadType::NONE]);
        let mut bytes = Vec::new();
        for (kind, next) in kinds.iter().zip(next) {
            let body = sound_body(*kind);
            bytes.extend_from_slice(&[next.0, 0, 0, u8::try_from(body.len() + 4).unwrap()]);
            bytes.extend_from_slice(&body);
        }
        bytes
    }

    fn collect<'a>(kinds: &[PayloadType], bytes: &'a [u8]) -> Result<Collected<'a>, WireError> {
        Collected::collect(Payloads::new(kinds[0], bytes))
    }

    const ONCE: [PayloadType; 8] = [
        PayloadType::SA,
        PayloadType::KE,
        PayloadType::NONCE,
        PayloadType::IDI,
        PayloadType::IDR,
        PayloadType::AUTH,
        PayloadType::TSI,
        PayloadType::TSR,
    ];

    #[test]
    fn payloads_that_are_single_may_not_repeat() {
        for kind in ONCE {
            let bytes = chain(&[kind, PayloadType::NOTIFY, kind]);
            let error = collect(&[kind], &bytes).err();
            assert_eq!(error, Some(WireError::Duplicate(kind)), "{kind}");
        }
    }

    /// RFC 7296 section 2.5: payloads may come in any order.
    #[test]
    fn all_are_found_in_any_order() {
        for rotation in 0..ONCE.len() {
            let mut kinds = ONCE;
            kinds.rotate_left(rotation);
            let bytes = chain(&kinds);
            let all = collect(&kinds, &bytes).unwrap();
            assert!(all.sa.is_some() && all.ke.is_some() && all.nonce.is_some());
            assert!(all.id_i.is_some() && all.id_r.is_some() && all.auth.is_some());
            assert!(all.ts_i.is_some() && all.ts_r.is_some() && all.encrypted.is_none());
        }
    }

    #[test]
    fn others_may_repeat_and_the_unknown_are_skipped() {
        let unknown = PayloadType(201);
        let kinds = [
            unknown,
            PayloadType::NOTIFY,
            PayloadType::CERT,
            PayloadType::NOTIFY,
            PayloadType::CERT,
            PayloadType::DELETE,
            PayloadType::VENDOR_ID,
            PayloadType::VENDOR_ID,
            unknown,
            PayloadType::SK,
        ];
        let bytes = chain(&kinds);
        let all = collect(&kinds, &bytes).unwrap();
        assert_eq!((all.notifies().count(), all.deletes().count()), (2, 1));
        assert_eq!(all.vendor_ids().count(), 2);
        assert!(all.encrypted.is_some());
        assert_eq!(all.error(), None);
        assert_eq!(all.notify(NotifyType::INITIAL_CONTACT).unwrap().data, []);
        assert_eq!(all.notify(NotifyType::COOKIE), None);
    }

    #[test]
    fn an_error_notify_is_found() {
        let bytes = [41, 0, 0, 8, 0, 0, 0x40, 0, 0, 0, 0, 8, 0, 0, 0, 14];
        let all = Collected::collect(Payloads::new(PayloadType::NOTIFY, &bytes)).unwrap();
        assert_eq!(all.error().unwrap().kind, NotifyType::NO_PROPOSAL_CHOSEN);
    }

    #[test]
    fn a_malformed_payload_of_every_type_is_found() {
        let repeated = [PayloadType::NOTIFY, PayloadType::DELETE];
        for kind in ONCE.into_iter().chain(repeated) {
            let bytes = [43, 0, 0, 4, kind.0, 0, 0, 4, 0, 0, 0, 5, 1];
            let error = Collected::collect(Payloads::new(PayloadType::VENDOR_ID, &bytes)).err();
            assert_eq!(error, Some(WireError::Malformed(kind)));
        }
    }
}

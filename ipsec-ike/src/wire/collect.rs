//! The payloads of a message, parsed and sorted.

use super::iana::{NotifyType, PayloadType};
use super::{
    AuthPayload, CertPayload, CertReqPayload, ConfigPayload, DeletePayload, Encrypted, IdPayload,
    KePayload, Notify, Payload, Payloads, SaPayload, TsPayload, WireError, nonce,
};

/// All payloads of a chain: those that may be there once as fields, the others by iterators.
///
/// Every payload has been parsed. Their order is not looked at (RFC 7296 section 2.5). Payloads of unknown type are
/// skipped, and so is EAP, which is not supported.
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
    /// Configuration.
    pub config: Option<ConfigPayload<'a>>,
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
            config: None,
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

    /// The certificates, in order: as many as were sent, of which no more than
    /// [`MAX_CERTS`](super::MAX_CERTS) are ever looked at.
    pub fn certs(&self) -> Certs<'a> {
        Certs(Sent::V2(self.payloads.clone()))
    }

    /// The certificate requests, in order.
    pub fn cert_reqs(&self) -> impl Iterator<Item = CertReqPayload<'a>> + use<'a> {
        self.bodies(PayloadType::CERTREQ).filter_map(|body| CertReqPayload::parse(body).ok())
    }

    /// The vendor IDs, in order.
    pub fn vendor_ids(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bodies(PayloadType::VENDOR_ID)
    }

    /// The body of the configuration payload.
    pub(crate) fn config_body(&self) -> Option<&'a [u8]> {
        self.bodies(PayloadType::CP).next()
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
            PayloadType::CP => once(kind, &mut self.config, ConfigPayload::parse(body)?),
            PayloadType::SK | PayloadType::SKF => {
                once(kind, &mut self.encrypted, Encrypted::parse(payload)?)
            }
            PayloadType::CERT => CertPayload::parse(body).map(|_| ()),
            PayloadType::CERTREQ => CertReqPayload::parse(body).map(|_| ()),
            PayloadType::NOTIFY => Notify::parse(body).map(|_| ()),
            PayloadType::DELETE => DeletePayload::parse(body).map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// The certificate payloads of a message, in order, of whichever version of IKE.
#[derive(Clone, Debug)]
pub struct Certs<'a>(Sent<'a>);

#[derive(Clone, Debug)]
enum Sent<'a> {
    V2(Payloads<'a>),
    #[cfg(feature = "ikev1")]
    V1(super::v1::Payloads<'a>),
}

#[cfg(feature = "ikev1")]
impl<'a> Certs<'a> {
    pub(super) const fn of_v1(payloads: super::v1::Payloads<'a>) -> Self {
        Self(Sent::V1(payloads))
    }
}

impl<'a> Iterator for Certs<'a> {
    type Item = CertPayload<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let body = match &mut self.0 {
                Sent::V2(payloads) => payloads
                    .find_map(|p| p.ok().filter(|p| p.kind == PayloadType::CERT).map(|p| p.body)),
                #[cfg(feature = "ikev1")]
                Sent::V1(payloads) => payloads.find_map(|p| {
                    p.ok().filter(|p| p.kind == super::v1::PayloadType::CERT).map(|p| p.body)
                }),
            };
            if let Ok(cert) = CertPayload::parse(body?) {
                return Some(cert);
            }
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
    use crate::wire::iana::{AuthMethod, IdType, ProtocolId, TransformType};
    use crate::wire::testdata::SAMPLES;
    use crate::wire::{Message, Selector};
    use ipsec_core::crypto::{Encr, Group};
    use ipsec_core::selector::TrafficSelector;

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
        assert_eq!((all.vendor_ids().count(), all.certs().count()), (2, 2));
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
        for kind in ONCE.into_iter().chain(repeated).chain([PayloadType::CERT]) {
            let bytes = [43, 0, 0, 4, kind.0, 0, 0, 4, 0, 0, 0, 5, 1];
            let error = Collected::collect(Payloads::new(PayloadType::VENDOR_ID, &bytes)).err();
            assert_eq!(error, Some(WireError::Malformed(kind)));
        }
    }

    /// Looks at everything there is in a chain, and counts it.
    fn read_all(payloads: Payloads<'_>) -> Result<usize, WireError> {
        let all = Collected::collect(payloads)?;
        let proposals = all.sa.iter().flat_map(|sa| sa.proposals());
        let transforms: usize = proposals.map(|p| p.transforms().count()).sum();
        let selectors = [all.ts_i, all.ts_r].into_iter().flatten().flat_map(|ts| ts.selectors());
        let known = selectors.filter(|s| matches!(s, Selector::Known(_))).count();
        let deleted: usize = all.deletes().map(|d| d.spis().count()).sum();
        let others = all.notifies().count() + all.vendor_ids().count() + deleted;
        Ok(transforms + known + others)
    }

    /// Each sample in the clear: its own chain, or that which was inside its encrypted payload.
    fn clear_chains() -> impl Iterator<Item = (PayloadType, Vec<u8>)> {
        SAMPLES.iter().map(|sample| {
            let datagram = sample.datagram();
            let message = Message::parse(&datagram).unwrap();
            match (message.collect().unwrap().encrypted, sample.plain()) {
                (Some(encrypted), Some(plain)) => (encrypted.first, plain),
                (None, None) => (message.header.next_payload, datagram[28..].to_vec()),
                _ => panic!("{}", sample.what),
            }
        })
    }

    #[test]
    fn a_real_chain_cut_anywhere_is_an_error() {
        for (first, chain) in clear_chains() {
            assert!(read_all(Payloads::inner(first, &chain)).is_ok());
            for len in 0..chain.len() {
                assert!(read_all(Payloads::inner(first, &chain[..len])).is_err(), "{first} {len}");
            }
        }
    }

    /// Every bit of every sample is flipped, and every byte takes both extremes: some are still sound, many are not,
    /// none does harm.
    #[test]
    fn a_real_chain_with_any_byte_changed_is_read_or_refused() {
        let (mut sound, mut refused) = (0, 0);
        for (first, mut chain) in clear_chains() {
            for at in 0..chain.len() {
                let original = chain[at];
                let flipped = (0..8).map(|bit| original ^ 1 << bit);
                for value in flipped.chain([0, 255]) {
                    chain[at] = value;
                    match read_all(Payloads::inner(first, &chain)) {
                        Ok(_) => sound += 1,
                        Err(_) => refused += 1,
                    }
                }
                chain[at] = original;
            }
        }
        assert!(sound > 1_000 && refused > 1_000, "{sound} {refused}");
    }

    #[test]
    fn what_is_in_a_real_request() {
        let samples: Vec<_> = clear_chains().collect();
        let (first, sa_init) = &samples[0];
        let all = Collected::collect(Payloads::new(*first, sa_init)).unwrap();
        assert_eq!(all.ke.unwrap().group, Group::X25519);
        assert_eq!((all.ke.unwrap().data.len(), all.nonce.unwrap().len()), (32, 32));
        let proposal = all.sa.unwrap().single().unwrap();
        assert_eq!((proposal.number, proposal.protocol), (1, ProtocolId::IKE));
        let encr = proposal.transforms().find(|t| t.kind == TransformType::ENCR).unwrap();
        assert_eq!((encr.id, encr.key_bits), (Encr::AES_GCM_16.0, Some(256)));
        let nat = all.notify(NotifyType::NAT_DETECTION_SOURCE_IP).unwrap();
        assert_eq!(nat.data.len(), 20);

        let (first, auth) = &samples[2];
        let all = Collected::collect(Payloads::inner(*first, auth)).unwrap();
        assert_eq!(all.id_i.unwrap(), IdPayload::new(IdType::FQDN, b"a.test"));
        assert_eq!(all.id_r.unwrap(), IdPayload::new(IdType::FQDN, b"b.test"));
        assert_eq!(all.auth.unwrap().method, AuthMethod::SHARED_KEY);
        assert_eq!(all.auth.unwrap().data.len(), 32);
        let local = TrafficSelector::network([192, 168, 1, 1].into(), 32).unwrap();
        let remote = TrafficSelector::network([192, 168, 2, 1].into(), 32).unwrap();
        assert_eq!(all.ts_i.unwrap().list().unwrap(), [local]);
        assert_eq!(all.ts_r.unwrap().list().unwrap(), [remote]);
        assert!(all.notify(NotifyType::INITIAL_CONTACT).is_some() && all.error().is_none());

        let (first, rekey) = &samples[4];
        let all = Collected::collect(Payloads::inner(*first, rekey)).unwrap();
        let rekeyed = all.notify(NotifyType::REKEY_SA).unwrap();
        assert_eq!(rekeyed.protocol, ProtocolId::ESP);
        assert!(rekeyed.spi_u32().is_some_and(|spi| spi > 255));

        let (first, delete) = &samples[6];
        let all = Collected::collect(Payloads::inner(*first, delete)).unwrap();
        let [delete] = all.deletes().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!((delete.protocol, delete.spis().next()), (ProtocolId::ESP, rekeyed.spi_u32()));
    }
}

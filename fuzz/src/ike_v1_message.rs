//! Any bytes as an IKEv1 message, and as what one holds after decryption.
//!
//! What parses can be walked to its end, has what its types promise, and can be written again: then it is the same message
//! to a second reader.

use ipsec_ike::identity::{DisplayId, Identity};
use ipsec_ike::wire::NoRoom;
use ipsec_ike::wire::v1::{
    AttributesPayload, Collected, DeletePayload, ExchangeType, Flags, FragmentPayload, Header,
    IdPayload, Message, MessageWriter, NatOa, Notify, Payload, PayloadType, Payloads, ProtocolId,
    SaPayload, SelectorId,
};
use ipsec_ike::wire::{self, MAX_PAYLOADS};

/// Runs the target.
pub fn run(data: &[u8]) {
    // No message is of both versions.
    assert!(Message::parse(data).is_err() || wire::Message::parse(data).is_err());
    if let Ok(message) = Message::parse(data) {
        assert_eq!(message.bytes(), data);
        assert_eq!(message.body().len() + wire::HEADER_LEN, data.len());
        if !message.header.is_encrypted() {
            look_at(message.payloads());
            rewrite_twice(&message.header, message.payloads());
        }
    }
    if let [first, rest @ ..] = data {
        let payloads = Payloads::padded(PayloadType(*first), rest);
        look_at(payloads.clone());
        rewrite_twice(&Header::new(1, 2, ExchangeType::QUICK_MODE, Flags(0), 3), payloads);
    }
}

/// Uses everything that a chain gives.
fn look_at(payloads: Payloads<'_>) {
    assert!(payloads.clone().count() <= MAX_PAYLOADS + 1);
    if let Some(Err(error)) = payloads.clone().last() {
        let _ = (error.notify(), error.to_string());
    }
    let Ok(all) = Collected::collect(payloads.clone()) else { return };
    let sum: usize = payloads.clone().flatten().map(|p| p.body.len() + 4).sum();
    let first = payloads.flatten().next().map_or(0, |p| p.body.len() + 4);
    assert_eq!(all.after_first.len(), sum - first);
    if let Some(sa) = all.sa {
        assert!(sa.proposals().count() > 0);
        for proposal in sa.proposals() {
            assert!(proposal.transforms().count() > 0);
            assert_eq!(proposal.single().is_some(), proposal.transforms().count() == 1);
            let numbers = proposal.transforms().flat_map(|t| t.attributes.iter());
            let _ = (proposal.spi_u32(), numbers.map(|a| a.number()).max());
        }
        assert_eq!(sa.single().is_some(), sa.proposals().count() == 1);
    }
    for id in all.id.into_iter().chain(all.second_id) {
        let _ = id.is_of_phase_1();
        if let Some(same) = id.identity() {
            assert!(Identity::Any.matches(&same));
            let shown = DisplayId(same).to_string();
            assert!(shown.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{shown:?}");
        }
        if let Some(selector) = id.selector() {
            let again = SelectorId::of(&selector).expect("what was said can be said");
            assert_eq!(again.payload().selector(), Some(selector));
        }
    }
    if let Some(config) = all.attributes {
        let kinds = config.attributes.iter().map(|a| (a.kind, a.number())).last();
        assert!(kinds.is_none_or(|(kind, _)| kind < 0x8000));
    }
    let _ = all.deletes().map(|d| d.spis().count() + d.cookies().count()).sum::<usize>();
    all.notifies().for_each(|n| drop((n.kind.to_string(), n.spi_u32(), n.sequence())));
    assert!(all.error().is_none_or(|n| n.kind.is_error()));
    let _ = all.vendor_ids().count() + all.nat_d().count();
    let _ = all.certs().count() + all.cert_reqs().count();
}

/// Writes a chain anew, reads that, and writes it once more: both are the same.
fn rewrite_twice(header: &Header, payloads: Payloads<'_>) {
    if Collected::collect(payloads.clone()).is_err() {
        return;
    }
    let mut first = [0; 8192];
    let Ok(len) = rewrite(&mut first, header, payloads.clone()) else { return };
    let first = &first[..len];
    let message = Message::parse(first).expect("what was written can be read");
    let again = &message.header;
    let fixed =
        |h: &Header| (h.initiator_cookie, h.responder_cookie, h.exchange, h.flags, h.message_id);
    assert_eq!(fixed(again), fixed(header));
    let kinds = |p: Payloads<'_>| p.flatten().map(|p| p.kind).collect::<Vec<_>>();
    assert_eq!(kinds(message.payloads()), kinds(payloads));
    message.collect().expect("what was written can be parsed");
    let mut second = [0; 8192];
    let len = rewrite(&mut second, again, message.payloads()).expect("it had room before");
    assert_eq!(first, &second[..len]);
}

fn rewrite(buf: &mut [u8], header: &Header, payloads: Payloads<'_>) -> Result<usize, NoRoom> {
    let mut writer = MessageWriter::new(buf, header)?;
    for payload in payloads {
        write(&mut writer, &payload.expect("looked at before"))?;
    }
    writer.finish()
}

/// Writes a payload from its parsed form.
fn write(m: &mut MessageWriter<'_>, payload: &Payload<'_>) -> Result<(), NoRoom> {
    let Payload { kind, body } = *payload;
    match kind {
        PayloadType::SA => {
            let sa = SaPayload::parse(body).unwrap();
            m.sa(|w| {
                for offer in sa.proposals() {
                    let mut p = w.proposal(offer.number, offer.protocol, offer.spi)?;
                    for t in offer.transforms() {
                        p.again(&t)?;
                    }
                }
                Ok(())
            })
        }
        PayloadType::ID => m.id(&IdPayload::parse(body).unwrap()),
        PayloadType::NOTIFY => m.notify(&Notify::parse(body).unwrap()),
        PayloadType::NAT_OA | PayloadType::NAT_OA_DRAFT => {
            m.nat_oa(kind, NatOa::parse(body).unwrap().address)
        }
        PayloadType::FRAGMENT => m.fragment(&FragmentPayload::parse(body).unwrap()),
        PayloadType::ATTRIBUTES => {
            let config = AttributesPayload::parse(body).unwrap();
            m.attributes(config.kind, config.identifier, |w| w.again(&config.attributes))
        }
        PayloadType::DELETE => {
            let delete = DeletePayload::parse(body).unwrap();
            let spis: Vec<u32> = delete.spis().collect();
            let mut cookies = delete.cookies();
            match (delete.protocol, cookies.next(), cookies.next()) {
                (ProtocolId::ISAKMP, Some((i, r)), None) => m.delete_isakmp(i, r),
                (ProtocolId::ISAKMP, _, _) => m.raw(kind, body),
                (protocol, _, _) => m.delete(protocol, &spis),
            }
        }
        _ => m.raw(kind, body),
    }
}

//! Any bytes as an IKE message, and as the inside of an encrypted one.
//!
//! What parses can be walked to its end, has what its types promise, and can be written again: then it is the same
//! message to a second reader.

use ipsec_core::crypto::Suite;
use ipsec_ike::identity::{DisplayId, Identity};
use ipsec_ike::wire::{
    AuthPayload, Collected, DeletePayload, Header, IdPayload, KePayload, MAX_PAYLOADS, Message,
    MessageWriter, NoRoom, Notify, Payload, PayloadType, Payloads, ProtocolId, SaPayload,
    TsPayload, nonce, strip_padding,
};

/// Runs the target.
pub fn run(data: &[u8]) {
    if let Ok(message) = Message::parse(data) {
        assert_eq!(message.bytes(), data);
        look_at(message.payloads());
        rewrite_twice(&message.header, message.payloads());
        if let Ok(collected) = message.collect()
            && let Some(encrypted) = collected.encrypted
        {
            for suite in [Suite::AES_128_GCM, Suite::AES_256_CBC_SHA256] {
                let shape = suite.shape().unwrap();
                let Ok(layout) = encrypted.layout(data.len(), &shape) else { continue };
                assert_eq!(layout.len(), data.len());
                let mut copy = data.to_vec();
                let parts = layout.parts(&mut copy).unwrap();
                assert_eq!(parts.iv.len(), shape.iv_len);
                assert_eq!(parts.icv.len(), shape.icv_len);
                assert!(!parts.text.is_empty() && parts.text.len() % shape.block_len == 0);
                if let Ok(inner) = strip_padding(parts.text) {
                    look_at(Payloads::inner(encrypted.first, inner));
                }
            }
        }
    }
    if let [first, rest @ ..] = data {
        let payloads = Payloads::inner(PayloadType(*first), rest);
        look_at(payloads.clone());
        let (exchange, flags) = (ipsec_ike::wire::ExchangeType(37), ipsec_ike::wire::Flags(8));
        rewrite_twice(&Header::new(1, 2, exchange, flags, 3), payloads);
    }
}

/// Uses everything that a chain gives.
fn look_at(payloads: Payloads<'_>) {
    assert!(payloads.clone().count() <= MAX_PAYLOADS + 1);
    if let Some(Err(error)) = payloads.clone().last() {
        let _ = (error.notify(), error.to_string());
    }
    let Ok(all) = Collected::collect(payloads) else { return };
    if let Some(sa) = all.sa {
        assert!(sa.proposals().count() > 0);
        for proposal in sa.proposals() {
            assert!(proposal.transforms().count() > 0);
            let _ = (proposal.spi_u32(), proposal.spi_u64());
        }
        assert_eq!(sa.single().is_some(), sa.proposals().count() == 1);
    }
    for ts in all.ts_i.into_iter().chain(all.ts_r) {
        assert!(ts.selectors().count() > 0);
        assert!(ts.known().count() <= ts.selectors().count());
        if let Some(list) = ts.list() {
            assert!(ts.known().eq(list.iter().copied()));
        }
        ts.known().for_each(|selector| drop(selector.to_string()));
    }
    for id in all.id_i.into_iter().chain(all.id_r) {
        assert!(Identity::Any.matches(&id));
        let shown = DisplayId(id).to_string();
        assert!(shown.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{shown:?}");
    }
    let _ = all.deletes().flat_map(|d| d.spis()).count();
    all.notifies().for_each(|n| drop((n.kind.to_string(), n.spi_u32())));
    assert!(all.error().is_none_or(|n| n.kind.is_error()));
    let _ = all.vendor_ids().count();
}

/// Writes a chain anew, reads that, and writes it once more: both are the same.
fn rewrite_twice(header: &Header, payloads: Payloads<'_>) {
    if payloads.clone().any(|p| p.is_err()) {
        return;
    }
    let encrypted = payloads.clone().flatten().any(|p| p.kind.is_encrypted());
    if encrypted || Collected::collect(payloads.clone()).is_err() {
        return;
    }
    let mut first = [0; 8192];
    let Ok(len) = rewrite(&mut first, header, payloads.clone()) else { return };
    let first = &first[..len];
    let message = Message::parse(first).expect("what was written can be read");
    let again = &message.header;
    assert_eq!(
        (again.initiator_spi, again.responder_spi, again.exchange, again.flags, again.message_id),
        (
            header.initiator_spi,
            header.responder_spi,
            header.exchange,
            header.flags,
            header.message_id
        )
    );
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

/// Writes a payload from its parsed form, where all of it was understood.
fn write(m: &mut MessageWriter<'_>, payload: &Payload<'_>) -> Result<(), NoRoom> {
    let Payload { kind, body, .. } = *payload;
    match kind {
        PayloadType::SA => {
            let sa = SaPayload::parse(body).unwrap();
            if sa.proposals().any(|p| p.transforms().any(|t| !t.understood)) {
                return m.raw(kind, body);
            }
            m.sa(|w| {
                for offer in sa.proposals() {
                    let mut p = w.proposal(offer.number, offer.protocol, offer.spi)?;
                    for t in offer.transforms() {
                        p.transform(t.kind, t.id, t.key_bits)?;
                    }
                }
                Ok(())
            })
        }
        PayloadType::KE => {
            let ke = KePayload::parse(body).unwrap();
            m.ke(ke.group, ke.data)
        }
        PayloadType::NONCE => m.nonce(nonce::parse(body).unwrap()),
        PayloadType::IDI | PayloadType::IDR => m.id(kind, &IdPayload::parse(kind, body).unwrap()),
        PayloadType::AUTH => {
            let auth = AuthPayload::parse(body).unwrap();
            m.auth(auth.method, auth.data)
        }
        PayloadType::NOTIFY => m.notify(&Notify::parse(body).unwrap()),
        PayloadType::DELETE => {
            let delete = DeletePayload::parse(body).unwrap();
            let spis: Vec<u32> = delete.spis().collect();
            match delete.protocol {
                ProtocolId::IKE => m.delete_ike(),
                protocol => m.delete(protocol, &spis),
            }
        }
        PayloadType::TSI | PayloadType::TSR => {
            let ts = TsPayload::parse(kind, body).unwrap();
            match ts.list() {
                Some(list) if list.len() == ts.selectors().count() => m.ts(kind, &list),
                _ => m.raw(kind, body),
            }
        }
        _ => m.raw(kind, body),
    }
}

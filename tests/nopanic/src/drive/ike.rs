//! `ipsec-ike`.

use ::core::fmt::{Debug, Display};
use ::core::ops::{Deref, DerefMut};

use ipsec_core::bytes::Writer;
use ipsec_ike::wire::{
    AttributeType, AuthMethod, AuthPayload, Collected, DeletePayload, Encrypted, EsnId,
    ExchangeType, Flags, HashAlgorithm, Header, IdPayload, IdType, KePayload, Message,
    MessageWriter, NoRoom, Notify, NotifyType, Payload, PayloadType, Payloads, Proposal,
    ProposalWriter, ProtocolId, SaPayload, SaWriter, SkLayout, SkWriter, Transform, TransformType,
    TsPayload, TsType, WireError, nonce, strip_padding,
};

use super::reach;

/// Every public function.
pub fn all() {
    read();
    write();
    names();
}

fn read() {
    reach! {
        fn(_) -> _: Message::parse, Message::bytes, Message::payloads, Message::collect;
        fn(_) -> _: Header::parse, Header::is_response, Header::from_initiator;
        fn(_, _) -> _: Payloads::new, Payloads::inner;
        fn(_) -> _: <Payloads<'_> as Iterator>::next;
        fn(_) -> _: Collected::collect, Collected::error, notifies, deletes, vendor_ids;
        fn(_, _) -> _: Collected::notify;
        fn(_) -> _: AuthPayload::parse, DeletePayload::parse, spis, KePayload::parse, nonce::parse;
        fn(_, _) -> _: IdPayload::parse;
        fn(_) -> _: IdPayload::head;
        fn(_) -> _: Notify::parse, Notify::spi_u32;
        fn(_) -> _: SaPayload::parse, proposals, SaPayload::single;
        fn(_) -> _: transforms, Proposal::spi_u32, Proposal::spi_u64;
        fn(_) -> _: Encrypted::parse, SkLayout::head, SkLayout::iv, SkLayout::text, SkLayout::icv, SkLayout::len;
        fn(_, _, _) -> _: Encrypted::layout;
        fn(_, _) -> _: SkLayout::parts;
        fn(_) -> _: strip_padding;
        fn(_, _) -> _: TsPayload::parse;
        fn(_) -> _: selectors, known, TsPayload::list;
        fn(_, _) -> _: <WireError as Display>::fmt, <WireError as Debug>::fmt, <AuthPayload<'_> as Debug>::fmt;
        fn(_, _) -> _: <Payload<'_> as Debug>::fmt, <Notify<'_> as Debug>::fmt, <Transform as Debug>::fmt;
    }
}

fn notifies(all: &Collected<'_>) -> usize {
    all.notifies().count()
}

fn deletes(all: &Collected<'_>) -> usize {
    all.deletes().count()
}

fn vendor_ids(all: &Collected<'_>) -> usize {
    all.vendor_ids().count()
}

fn spis(delete: &DeletePayload<'_>) -> usize {
    delete.spis().count()
}

fn proposals(sa: &SaPayload<'_>) -> usize {
    sa.proposals().count()
}

fn transforms(proposal: &Proposal<'_>) -> usize {
    proposal.transforms().count()
}

fn selectors(ts: &TsPayload<'_>) -> usize {
    ts.selectors().count()
}

fn known(ts: &TsPayload<'_>) -> usize {
    ts.known().count()
}

fn write() {
    reach! {
        fn(_, _, _, _, _) -> _: Header::new;
        fn(_, _) -> _: MessageWriter::new, MessageWriter::begin_sk;
        fn(_) -> _: MessageWriter::finish, SkWriter::finish;
        fn(_) -> _: <SkWriter<'_> as Deref>::deref, <SkWriter<'_> as DerefMut>::deref_mut;
        fn(_, _, _) -> _: payload, MessageWriter::raw, MessageWriter::auth, MessageWriter::delete;
        fn(_) -> _: MessageWriter::delete_ike;
        fn(_, _, _) -> _: MessageWriter::id, MessageWriter::ke, MessageWriter::ts;
        fn(_, _) -> _: MessageWriter::nonce, MessageWriter::notify, MessageWriter::vendor_id, sa;
        fn(_, _, _, _) -> _: SaWriter::proposal, ProposalWriter::transform;
        fn(_, _) -> _: IdPayload::new, Notify::new;
        fn(_, _, _, _) -> _: Notify::with_spi;
        fn(_, _) -> _: <NoRoom as Display>::fmt;
    }
}

type Body<'b> = fn(&mut Writer<'b>) -> Option<()>;

fn payload<'b>(m: &mut MessageWriter<'b>, kind: PayloadType, body: Body<'b>) -> Result<(), NoRoom> {
    m.payload(kind, body)
}

type Proposals<'b> = fn(&mut SaWriter<'_, 'b>) -> Result<(), NoRoom>;

fn sa<'b>(m: &mut MessageWriter<'b>, proposals: Proposals<'b>) -> Result<(), NoRoom> {
    m.sa(proposals)
}

fn names() {
    reach! {
        fn(_) -> _: PayloadType::is_known, PayloadType::is_encrypted, NotifyType::is_error;
        fn(_, _) -> _: Flags::contains, Flags::union, <Flags as Debug>::fmt;
        fn(_) -> _: ExchangeType::name, PayloadType::name, ProtocolId::name, TransformType::name, EsnId::name;
        fn(_) -> _: AttributeType::name, IdType::name, AuthMethod::name, HashAlgorithm::name, TsType::name;
        fn(_) -> _: NotifyType::name;
        fn(_, _) -> _: <ExchangeType as Display>::fmt, <PayloadType as Display>::fmt, <ProtocolId as Display>::fmt;
        fn(_, _) -> _: <TransformType as Display>::fmt, <IdType as Display>::fmt, <AuthMethod as Display>::fmt;
        fn(_, _) -> _: <TsType as Display>::fmt, <NotifyType as Display>::fmt, <NotifyType as Debug>::fmt;
    }
}

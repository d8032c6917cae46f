//! `ipsec-ike`: the bytes of IKEv1.

use ::core::fmt::{Debug, Display};
use ::core::net::IpAddr;

use ipsec_core::bytes::Writer;
use ipsec_ike::auth::{Authenticator, Credentials};
use ipsec_ike::config::{Peer, User, V1, Versions, Xauth};
use ipsec_ike::event::{Parameter, Phase1Mismatch};
use ipsec_ike::wire::NoRoom;
use ipsec_ike::wire::v1::{
    AhTransform, Attribute, Attributes, AttributesPayload, AttributesWriter, AuthAlgorithm,
    AuthMethod, CertEncoding, Cipher, Collected, ConfigAttribute, ConfigType, DeletePayload,
    Encapsulation, EspTransform, ExchangeType, Flags, FragmentPayload, Hash, Header, IdPayload,
    IdType, IkeAttribute, IpsecAttribute, IsakmpTransform, LifeType, Message, MessageWriter, NatOa,
    Notify, NotifyType, Payload, PayloadType, Payloads, Proposal, ProposalWriter, ProtocolId,
    SaPayload, SaWriter, SelectorId, Transform, TransformWriter, WireError, XauthType,
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
        fn(_) -> _: Message::parse, Message::bytes, Message::body, Message::payloads, Message::collect;
        fn(_) -> _: Header::is_encrypted, Header::of;
        fn(_, _) -> _: Payloads::new, Payloads::padded;
        fn(_) -> _: <Payloads<'_> as Iterator>::next;
        fn(_) -> _: Collected::collect, Collected::error, lists;
        fn(_, _) -> _: Collected::notify;
        fn(_) -> _: AttributesPayload::parse, Attributes::parse, Attributes::bytes, attributes, Attribute::number;
        fn(_, _) -> _: AttributesPayload::value, Attributes::first;
        fn(_) -> _: DeletePayload::parse, spis, FragmentPayload::parse, NatOa::parse;
        fn(_) -> _: IdPayload::parse, IdPayload::head, IdPayload::identity, IdPayload::is_of_phase_1, IdPayload::selector;
        fn(_) -> _: SelectorId::of, SelectorId::payload;
        fn(_) -> _: Notify::parse, Notify::spi_u32, Notify::sequence;
        fn(_) -> _: SaPayload::parse, SaPayload::body, proposals, SaPayload::single;
        fn(_) -> _: transforms, Proposal::single, Proposal::spi_u32;
        fn(_) -> _: WireError::notify, Versions::v1, Peer::has_v1_method;
        fn(_, _) -> _: <WireError as Display>::fmt, <WireError as Debug>::fmt, <Parameter as Display>::fmt;
        fn(_, _) -> _: <Credentials<'_> as Authenticator>::check_user, <User<'_> as Debug>::fmt, <Xauth<'_> as Debug>::fmt;
        fn(_, _) -> _: <V1<'_> as Debug>::fmt;
        fn(_, _) -> _: <Payload<'_> as Debug>::fmt, <Phase1Mismatch as Display>::fmt, <Transform<'_> as Debug>::fmt;
    }
}

fn lists(all: &Collected<'_>) -> usize {
    let counts = [
        all.notifies().count(),
        all.deletes().count(),
        all.certs().count(),
        all.cert_reqs().count(),
        all.vendor_ids().count(),
        all.nat_d().count(),
    ];
    counts.into_iter().fold(0, usize::wrapping_add)
}

fn attributes(all: &Attributes<'_>) -> usize {
    all.iter().count()
}

fn spis(delete: &DeletePayload<'_>) -> usize {
    delete.spis().count().wrapping_add(delete.cookies().count())
}

fn proposals(sa: &SaPayload<'_>) -> usize {
    sa.proposals().count()
}

fn transforms(proposal: &Proposal<'_>) -> usize {
    proposal.transforms().count()
}

fn write() {
    reach! {
        fn(_, _, _, _, _) -> _: Header::new;
        fn(_, _) -> _: MessageWriter::new, MessageWriter::finish_padded, sa;
        fn(_) -> _: MessageWriter::finish, MessageWriter::len, MessageWriter::is_empty;
        fn(_, _, _) -> _: payload, MessageWriter::raw, MessageWriter::cert, MessageWriter::cert_req;
        fn(_, _, _) -> _: MessageWriter::delete, MessageWriter::delete_isakmp;
        fn(_, _) -> _: MessageWriter::id, MessageWriter::notify, MessageWriter::fragment;
        fn(&'static mut MessageWriter<'static>, PayloadType, IpAddr) -> _: MessageWriter::nat_oa;
        fn(_, _, _, _) -> _: SaWriter::proposal, mode_config;
        fn(_, _, _) -> _: transform, AttributesWriter::short, AttributesWriter::long, AttributesWriter::number;
        fn(_, _) -> _: ProposalWriter::again, AttributesWriter::again;
        fn(_, _) -> _: IdPayload::new;
        fn(_, _, _) -> _: Notify::new;
        fn(_, _, _, _) -> _: Notify::with_spi;
    }
}

type Body<'b> = fn(&mut Writer<'b>) -> Option<()>;
type Proposals<'b> = fn(&mut SaWriter<'_, 'b>) -> Result<(), NoRoom>;
type Described<'b> = fn(&mut TransformWriter<'_, 'b>) -> Result<(), NoRoom>;

fn payload<'b>(m: &mut MessageWriter<'b>, kind: PayloadType, body: Body<'b>) -> Result<(), NoRoom> {
    m.payload(kind, body)
}

fn sa<'b>(m: &mut MessageWriter<'b>, proposals: Proposals<'b>) -> Result<(), NoRoom> {
    m.sa(proposals)
}

fn transform<'b>(
    w: &mut ProposalWriter<'_, 'b>,
    id: u8,
    attributes: Described<'b>,
) -> Result<(), NoRoom> {
    w.transform(id, attributes)
}

fn mode_config<'b>(
    m: &mut MessageWriter<'b>,
    kind: ConfigType,
    identifier: u16,
    attributes: Described<'b>,
) -> Result<(), NoRoom> {
    m.attributes(kind, identifier, attributes)
}

fn names() {
    reach! {
        fn(_) -> _: AuthMethod::is_psk, Encapsulation::is_udp, Encapsulation::is_transport, NotifyType::is_error;
        fn(_, _, _) -> _: Encapsulation::of;
        fn(_, _) -> _: Flags::contains, Flags::union, <Flags as Debug>::fmt;
        fn(_) -> _: ExchangeType::name, PayloadType::name, ProtocolId::name, IsakmpTransform::name, EspTransform::name;
        fn(_) -> _: AhTransform::name, AuthAlgorithm::name, IkeAttribute::name, IpsecAttribute::name, Cipher::name;
        fn(_) -> _: Hash::name, AuthMethod::name, LifeType::name, Encapsulation::name, IdType::name, CertEncoding::name;
        fn(_) -> _: NotifyType::name, ConfigType::name, ConfigAttribute::name, XauthType::name;
        fn(_, _) -> _: <ExchangeType as Display>::fmt, <PayloadType as Display>::fmt, <NotifyType as Display>::fmt;
        fn(_, _) -> _: <Cipher as Display>::fmt, <Hash as Display>::fmt, <AuthMethod as Display>::fmt;
    }
}

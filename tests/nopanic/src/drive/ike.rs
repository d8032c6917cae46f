//! `ipsec-ike`.

use ::core::fmt::{Debug, Display};
use ::core::net::IpAddr;
use ::core::ops::{Deref, DerefMut};

use ipsec_core::bytes::Writer;
use ipsec_core::crypto::SignatureScheme;
use ipsec_ike::auth::{self, Authenticator, Credentials, SignatureHashes, Untrusted, VerifyJob};
use ipsec_ike::config::{Auth, Child, Config, Peer};
use ipsec_ike::diagnosis;
use ipsec_ike::event::{AuthKind, ChildId, DownReason, Failure, Given, Offered};
use ipsec_ike::identity::{ClaimedId, DisplayId, Identity};
use ipsec_ike::jobs::{run_jobs, run_jobs_with, with_scratch};
use ipsec_ike::wire::{
    AttributeType, AuthMethod, AuthPayload, CertEncoding, CertPayload, CertReqPayload, Certs,
    Collected, ConfigAttribute, ConfigPayload, ConfigType, ConfigWriter, DeletePayload,
    DigitalSignature, Encrypted, EsnId, ExchangeType, Flags, HashAlgorithm, Header, IdPayload,
    IdType, KePayload, Message, MessageWriter, NoRoom, Notify, NotifyType, Payload, PayloadType,
    Payloads, Proposal, ProposalWriter, ProtocolId, SaPayload, SaWriter, SkLayout, SkWriter,
    Transform, TransformType, TsPayload, TsType, WireError, nonce, strip_padding,
};
use ipsec_ike::{BufferTooSmall, CommandError, DatagramError};

use super::reach;
use crate::toy::Toy;

type Ike<'r> = ipsec_ike::Ike<'r, Toy>;
type IkeMemory<'r> = ipsec_ike::IkeMemory<'r, Toy>;
type Job<'a> = ipsec_ike::jobs::Job<'a, Toy>;

/// Every public function.
pub fn all() {
    read();
    write();
    names();
    engine();
    proofs();
    identity();
}

fn proofs() {
    reach! {
        fn(_, _, _) -> _: run_jobs_with::<Toy>;
        fn(_) -> _: with_scratch::<Toy>;
        fn(_, _, _, _) -> _: Job::run_with, <Credentials<'_> as Authenticator>::sign;
        fn(_, _, _) -> _: <Credentials<'_> as Authenticator>::look_up;
        fn(_, _) -> _: <Credentials<'_> as Authenticator>::verify, <Untrusted as Display>::fmt;
        fn(_, _, _) -> _: VerifyJob::verify_signature;
        fn(_) -> _: certificates, schemes, hashes, Auth::psk, auth::public_key, auth::subject;
        fn(_, _) -> _: SignatureHashes::contains, <SignatureHashes as Display>::fmt, <AuthKind as Display>::fmt;
        fn(_, _) -> _: <SignatureHashes as Debug>::fmt;
    }
}

fn certificates(job: &VerifyJob<'_>) -> usize {
    job.certificates().count()
}

fn schemes(job: &VerifyJob<'_>) -> Option<SignatureScheme> {
    job.schemes().next()
}

fn hashes(set: SignatureHashes) -> usize {
    set.iter().count()
}

fn engine() {
    reach! {
        fn(_) -> _: Config::new;
        fn(_, _, _) -> _: Peer::psk, Child::new;
        fn(_) -> _: Child::takes_from_packet;
        fn(_, _, _, _, _) -> _: IkeMemory::links;
        fn(_, _, _) -> _: Ike::new;
        fn(_) -> _: Ike::config, Ike::sas_in_use, Ike::established, Ike::established_children;
        fn(_) -> _: Ike::children_in_use, Ike::handshakes_in_use, Ike::exchanges_in_use, Ike::buffers_free;
        fn(_, _, _, _) -> _: Ike::handle_datagram;
        fn(_, _) -> _: Ike::handle_timeout, Ike::poll_transmit;
        fn(_) -> _: Ike::next_timeout, Ike::poll_event, Ike::poll_job, Ike::is_idle;
        fn(_, _) -> _: Ike::job, Ike::close_all, run_jobs::<Toy>;
        fn(_, _, _) -> _: Job::run;
        fn(_, _, _, _) -> _: Ike::handle_job, Ike::expired;
        fn(_, _, _, _, _) -> _: Ike::installed;
        fn(_, _, _, _) -> _: Ike::initiate_for;
        fn(_, _) -> _: Ike::remember_packets, Ike::packets_for, Ike::remember_addresses;
        fn(_, _, _) -> _: Ike::initiate, Ike::rekey_child, Ike::close_child, Ike::rekey_ike, Ike::close_ike;
        fn(_, _, _) -> _: Ike::heard, Ike::peer_moved, Ike::skip_message_ids, Ike::handle_unknown_spi;
        fn(_) -> _: Ike::support_mobike;
        fn(_, _, _, _) -> _: Ike::move_ike, Ike::move_address;
        fn(_) -> _: ChildId::index, <DatagramError as From<WireError>>::from;
        fn(_, _) -> _: <DatagramError as Display>::fmt, <CommandError as Display>::fmt;
        fn(_, _) -> _: <BufferTooSmall as Display>::fmt, <DownReason as Display>::fmt;
        fn(_, _) -> _: <Offered as Display>::fmt, <Failure as Display>::fmt;
        fn(_) -> _: diagnosis::ike_offer, diagnosis::child_offer, diagnosis::phase1_offer;
        fn(_, _) -> _: diagnosis::in_dispute;
    }
}

fn identity() {
    reach! {
        fn(_) -> _: Identity::parse, <Identity<'_> as From<IpAddr>>::from;
        fn(_, _) -> _: Identity::or_address, Identity::payload, Identity::matches;
        fn(_, _) -> _: <Identity<'_> as Display>::fmt, <DisplayId<'_> as Display>::fmt;
        fn(_, _) -> _: <DisplayId<'_> as Debug>::fmt, <ClaimedId as Display>::fmt, <ClaimedId as Debug>::fmt;
        fn(_) -> _: ClaimedId::of;
    }
}

fn read() {
    reach! {
        fn(_) -> _: Message::parse, Message::bytes, Message::payloads, Message::collect;
        fn(_) -> _: Header::parse, Header::is_response, Header::from_initiator;
        fn(_, _) -> _: Payloads::new, Payloads::inner;
        fn(_) -> _: <Payloads<'_> as Iterator>::next;
        fn(_) -> _: Collected::collect, Collected::error, notifies, deletes, vendor_ids;
        fn(_) -> _: Collected::certs, cert_reqs, <Certs<'_> as Iterator>::next, CertPayload::parse;
        fn(_) -> _: CertReqPayload::parse, authorities, DigitalSignature::parse;
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
        fn(_) -> _: ConfigPayload::parse, attributes, Given::of;
        fn(_, _) -> _: ConfigPayload::value;
        fn(_, _) -> _: TsPayload::parse;
        fn(_) -> _: selectors, known, TsPayload::list;
        fn(_, _) -> _: <WireError as Display>::fmt, <WireError as Debug>::fmt, <AuthPayload<'_> as Debug>::fmt;
        fn(_, _) -> _: <Payload<'_> as Debug>::fmt, <Notify<'_> as Debug>::fmt, <Transform as Debug>::fmt;
    }
}

fn notifies(all: &Collected<'_>) -> usize {
    all.notifies().count()
}

fn cert_reqs(all: &Collected<'_>) -> usize {
    all.cert_reqs().count()
}

fn authorities(request: &CertReqPayload<'_>) -> usize {
    request.hashes().count()
}

fn attributes(config: &ConfigPayload<'_>) -> usize {
    config.attributes().count()
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
        fn(_, _) -> _: MessageWriter::new, MessageWriter::begin_sk, SkWriter::keep;
        fn(_, _, _, _) -> _: MessageWriter::begin_skf;
        fn(_) -> _: MessageWriter::finish, SkWriter::finish;
        fn(_) -> _: <SkWriter<'_> as Deref>::deref, <SkWriter<'_> as DerefMut>::deref_mut;
        fn(_, _, _) -> _: payload, MessageWriter::raw, MessageWriter::auth, MessageWriter::delete;
        fn(_) -> _: MessageWriter::delete_ike;
        fn(_, _, _) -> _: MessageWriter::cert, cert_req;
        fn(_, _) -> _: MessageWriter::digital_signature;
        fn(_, _, _) -> _: MessageWriter::id, MessageWriter::ke, MessageWriter::ts;
        fn(_, _) -> _: MessageWriter::nonce, MessageWriter::notify, MessageWriter::vendor_id, sa;
        fn(_, _, _, _) -> _: SaWriter::proposal, ProposalWriter::transform;
        fn(_, _) -> _: IdPayload::new, Notify::new;
        fn(_, _, _, _) -> _: Notify::with_spi;
        fn(_, _) -> _: <NoRoom as Display>::fmt;
        fn(_, _, _) -> _: config, ConfigWriter::attribute;
    }
}

type Attributes<'b> = fn(&mut ConfigWriter<'_, 'b>) -> Result<(), NoRoom>;

fn config<'b>(
    m: &mut MessageWriter<'b>,
    kind: ConfigType,
    attributes: Attributes<'b>,
) -> Result<(), NoRoom> {
    m.config(kind, attributes)
}

type Body<'b> = fn(&mut Writer<'b>) -> Option<()>;

fn payload<'b>(m: &mut MessageWriter<'b>, kind: PayloadType, body: Body<'b>) -> Result<(), NoRoom> {
    m.payload(kind, body)
}

fn cert_req<'b>(
    m: &mut MessageWriter<'b>,
    encoding: CertEncoding,
    body: Body<'b>,
) -> Result<(), NoRoom> {
    m.cert_req(encoding, body)
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
        fn(_) -> _: AttributeType::name, IdType::name, AuthMethod::name, HashAlgorithm::name, TsType::name, CertEncoding::name;
        fn(_) -> _: NotifyType::name, ConfigType::name, ConfigAttribute::name;
        fn(_, _) -> _: <ExchangeType as Display>::fmt, <PayloadType as Display>::fmt, <ProtocolId as Display>::fmt;
        fn(_, _) -> _: <TransformType as Display>::fmt, <IdType as Display>::fmt, <AuthMethod as Display>::fmt;
        fn(_, _) -> _: <TsType as Display>::fmt, <NotifyType as Display>::fmt, <NotifyType as Debug>::fmt;
    }
}

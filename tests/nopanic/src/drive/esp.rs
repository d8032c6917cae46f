//! `ipsec-esp`.

use ::core::fmt::Display;

use ipsec_core::packet::PacketBuf;
use ipsec_core::sad::OutboundId;
use ipsec_core::spd::Spd;
use ipsec_core::time::Instant;
use ipsec_esp::ah::{SignJob, VerifyJob, sign, sign_begin, sign_finish};
use ipsec_esp::audit::AuditEntry;
use ipsec_esp::batch::{open_batch, seal_batch};
use ipsec_esp::fragment::{FragmentError, Fragments};
use ipsec_esp::icmp::{self, IcmpError, TooBig};
use ipsec_esp::mss;
use ipsec_esp::mtu::Overhead;
use ipsec_esp::open::Arrival;
use ipsec_esp::reassembly::{Reassembler, ReassemblyError};
use ipsec_esp::tunnel::{self, Ecn, OuterFields};
use ipsec_esp::wire::{AhHeader, EspHeader, udp_encap};
use ipsec_esp::{
    Audit, Before, OpenError, OpenJob, Outbound, SealError, SealJob, ah, inbound_ip, inbound_ip_on,
    inbound_udp, inbound_udp_with_room, open, open_begin, open_finish, padding, seal, seal_begin,
    seal_dummy, seal_finish,
};

use super::reach;
use crate::toy::Toy;

type Sad<'r> = ipsec_core::sad::Sad<'r, Toy>;

/// Every public function.
pub fn all() {
    flows();
    jobs();
    sizes();
    fragments();
    errors();
}

fn fragments() {
    reach! {
        fn(_, _, _) -> _: Fragments::new, Reassembler::accept;
        fn(_) -> _: Fragments::buffer_len, TooBig::parse;
        fn(_, _) -> _: Fragments::next_into, mss::clamp_mss, Reassembler::new;
        fn(_, _, _, _) -> _: icmp::packet_too_big;
        fn(_, _) -> _: <FragmentError as Display>::fmt, <IcmpError as Display>::fmt, <ReassemblyError as Display>::fmt;
    }
}

fn flows() {
    reach! {
        fn(_, _, _, _) -> _: outbound;
        fn(_, _, _) -> _: inbound_ip::<Toy>;
        fn(_, _, _, _) -> _: inbound_ip_on::<Toy>;
        fn(_, _, _, _, _, _) -> _: inbound_udp_with_room::<Toy>;
        fn(_, _, _, _, _) -> _: inbound_udp::<Toy>;
        fn(_) -> _: udp_encap::classify;
    }
}

/// With whatever SA the caller chooses.
fn outbound(
    sad: &mut Sad<'_>,
    spd: &mut Spd<'_>,
    packet: &mut PacketBuf<'_>,
    id: Option<OutboundId>,
) -> Result<Outbound, SealError> {
    ipsec_esp::outbound(sad, spd, Instant::ZERO, packet, |_, _| id)
}

fn jobs() {
    reach! {
        fn(_, _, _, _) -> _: seal::<Toy>, seal_begin::<Toy>, seal_finish::<Toy>, open::<Toy>;
        fn(_, _, _, _) -> _: seal_dummy::<Toy>;
        fn(_, _, _) -> _: open_begin::<Toy>, SealJob::run::<Toy>, OpenJob::run::<Toy>;
        fn(_, _, _, _, _) -> _: open_finish::<Toy>;
        fn(_) -> _: SealJob::id, OpenJob::id, drop::<SealJob>, drop::<OpenJob>;
        fn(_) -> _: Before::len, Before::is_empty;
        fn(_, _, _, _) -> _: sign::<Toy>, sign_begin::<Toy>;
        fn(_, _, _) -> _: sign_finish::<Toy>, ah::open::<Toy>;
        fn(_, _) -> _: ah::open_begin::<Toy>;
        fn(_, _, _, _, _) -> _: ah::open_finish::<Toy>;
        fn(_, _, _) -> _: SignJob::run::<Toy>, VerifyJob::run::<Toy>;
        fn(_) -> _: SignJob::id, VerifyJob::id, drop::<SignJob>, drop::<VerifyJob>;
        fn(_, _) -> _: SignJob::mac::<Toy>, VerifyJob::mac::<Toy>, SignJob::work, VerifyJob::work;
        fn(_, _) -> _: SealJob::cipher::<Toy>, OpenJob::cipher::<Toy>, SealJob::work, OpenJob::work;
        fn(_, _, _) -> _: sealed_together, opened_together;
    }
}

fn sealed_together(
    sad: &mut Sad<'_>,
    packets: &mut [(OutboundId, PacketBuf<'_>)],
    results: &mut [bool],
) {
    seal_batch::<Toy, 4>(sad, Instant::ZERO, packets, |place, _, result| {
        if let Some(slot) = results.get_mut(place) {
            *slot = result.is_ok();
        }
    });
}

fn opened_together(sad: &mut Sad<'_>, packets: &mut [(Arrival, &mut [u8])], results: &mut [bool]) {
    open_batch::<Toy, 4>(sad, Instant::ZERO, packets, |place, _, result| {
        if let Some(slot) = results.get_mut(place) {
            *slot = result.is_ok();
        }
    });
}

fn sizes() {
    reach! {
        fn(_) -> _: Overhead::of::<Toy>, Overhead::headroom, Overhead::tailroom;
        fn(_, _) -> _: Overhead::inside, Overhead::tailroom_for, Overhead::sealed_len, Overhead::effective_mtu;
        fn(_, _, _) -> _: Overhead::new, Overhead::tcp_mss, Overhead::in_mode;
        fn(_, _, _, _) -> _: Overhead::ah;
        fn(_) -> _: AhHeader::total_len, AhHeader::payload_len_of;
        fn(_, _) -> _: EspHeader::new;
        fn(_, _, _) -> _: AhHeader::padded_len;
        fn(_) -> _: padding::strip;
        fn(_, _) -> _: padding::trailer_len, padding::write;
        fn(_) -> _: Ecn::of;
        fn(_, _) -> _: OuterFields::of, tunnel::decapsulate_ecn;
    }
}

fn errors() {
    reach! {
        fn(_) -> _: SealError::fault, SealError::audit, OpenError::fault, OpenError::audit, OpenError::cause;
        fn(_, _) -> _: AuditEntry::of_packet, AuditEntry::of_payload, <AuditEntry as Display>::fmt;
        fn(_, _, _) -> _: AuditEntry::of_seal;
        fn(_, _) -> _: <SealError as Display>::fmt, <OpenError as Display>::fmt, <Audit as Display>::fmt;
    }
}

//! `ipsec-core`.

use ::core::fmt::{Debug, Display};
use ::core::net::SocketAddr;

use ipsec_core::bytes::{self, Reader, Writer};
use ipsec_core::crypto::{
    CryptoError, Encr, Group, HashId, Integ, PacketCipher, PrfId, Provider, Shape, Suite, Work,
};
use ipsec_core::lifetime::Usage;
use ipsec_core::list::{Deadlines, SlotList};
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::replay::{self, Window};
use ipsec_core::selector::{AddressRange, Flow, PortRange, Selectors, TrafficSelector};
use ipsec_core::seq;
use ipsec_core::time::{self, Instant};

use super::reach;
use crate::toy::{Toy, ToyCipher};

/// Every public function.
pub fn all() {
    bytes();
    crypto();
    lifetime();
    list();
    path();
    replay();
    selector();
    time();
}

fn bytes() {
    reach! {
        fn(_, _) -> _: bytes::copy, bytes::copy_prefix;
        fn(_, _, _, _) -> _: bytes::move_within;
        fn(_) -> _: Reader::new, Reader::rest, Reader::is_empty, Reader::u8, Reader::u16, Reader::u32, Reader::u64;
        fn(_) -> _: Reader::array::<0>, Reader::array::<1>, Reader::array::<16>;
        fn(_, _) -> _: Reader::take;
        fn(_) -> _: Writer::new, Writer::len, Writer::is_empty, Writer::written, Writer::room;
        fn(_, _) -> _: Writer::at, Writer::reserve, Writer::advance, Writer::bytes;
        fn(_, _) -> _: Writer::u8, Writer::u16, Writer::u32, Writer::u64;
        fn(_, _, _) -> _: Writer::patch;
    }
}

fn crypto() {
    reach! {
        fn(_, _) -> _: <CryptoError as Display>::fmt, <CryptoError as Debug>::fmt;
        fn(_) -> _: HashId::output_len;
        fn(_) -> _: Work::reborrow;
        fn(_) -> _: <ToyCipher as PacketCipher>::seal_batch, <ToyCipher as PacketCipher>::open_batch;
        fn(_) -> _: <Toy as Provider>::has_suite, <Toy as Provider>::has_encr;
        fn(_) -> _: Shape::keymat_len, Shape::nonce_len;
        fn(_, _) -> _: <Shape as Debug>::fmt;
        fn(_) -> _: Suite::shape;
        fn(_, _) -> _: Suite::aead, <Suite as Display>::fmt, <Suite as Debug>::fmt;
        fn(_) -> _: Encr::is_aead, Encr::has_key_length, Encr::name;
        fn(_) -> _: Integ::key_len, Integ::icv_len, Integ::name;
        fn(_) -> _: PrfId::output_len, PrfId::name;
        fn(_) -> _: Group::public_len, Group::name;
        fn(_, _) -> _: <Encr as Display>::fmt, <Integ as Display>::fmt, <PrfId as Display>::fmt, <Group as Display>::fmt;
        fn(_, _) -> _: <Encr as Debug>::fmt, <Integ as Debug>::fmt, <PrfId as Debug>::fmt, <Group as Debug>::fmt;
    }
}

fn lifetime() {
    reach! {
        fn(_, _, _) -> _: Usage::new, Usage::age;
        fn(_, _) -> _: Usage::count;
    }
}

fn list() {
    reach! {
        fn(_) -> _: SlotList::new, SlotList::slots, SlotList::pop, SlotList::first, SlotList::is_empty;
        fn(_, _) -> _: SlotList::push, SlotList::contains;
        fn(_) -> _: Deadlines::new, Deadlines::next;
        fn(_, _) -> _: Deadlines::take_due;
        fn(_, _, _) -> _: Deadlines::set;
    }
}

fn path() {
    reach! {
        fn(_, _) -> _: Endpoint::new, Endpoint::with_port, Path::new;
        fn(_, _, _) -> _: Path::with_ports;
        fn(_) -> _: <Endpoint as From<SocketAddr>>::from, <SocketAddr as From<Endpoint>>::from;
        fn(_, _) -> _: <Endpoint as Display>::fmt, <Path as Display>::fmt, <Path as Debug>::fmt;
    }
}

fn replay() {
    reach! {
        fn(_) -> _: replay::words_for, replay::capacity, Window::top, Window::size;
        fn(_, _) -> _: Window::new;
        fn(_, _, _) -> _: Window::check, Window::mark, seq::recover;
    }
}

fn selector() {
    reach! {
        fn(_) -> _: AddressRange::host, AddressRange::start, AddressRange::end;
        fn(_, _) -> _: AddressRange::new, AddressRange::network, AddressRange::contains;
        fn(_, _) -> _: AddressRange::covers, AddressRange::intersection, <AddressRange as Display>::fmt;
        fn(_) -> _: PortRange::single, PortRange::is_any, PortRange::is_opaque;
        fn(_, _) -> _: PortRange::contains, PortRange::covers, PortRange::intersection;
        fn(_) -> _: TrafficSelector::addresses;
        fn(_, _) -> _: TrafficSelector::network, TrafficSelector::covers, TrafficSelector::intersection;
        fn(_, _) -> _: <TrafficSelector as Display>::fmt, <TrafficSelector as Debug>::fmt;
        fn(_, _, _, _) -> _: TrafficSelector::contains;
        fn(_) -> _: Flow::reversed;
        fn(_, _) -> _: Selectors::pair, Selectors::match_outbound, Selectors::match_inbound, <Selectors as Debug>::fmt;
    }
}

fn time() {
    reach! {
        fn(_) -> _: Instant::from_micros, Instant::from_millis, Instant::from_secs, Instant::as_micros;
        fn(_, _) -> _: Instant::after, Instant::since, time::earliest;
    }
}

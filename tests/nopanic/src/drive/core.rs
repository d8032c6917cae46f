//! `ipsec-core`.
//!
//! `Debug` is reached where it is written by hand, and where it is derived and `core` can do it without a panic: not
//! for more than five fields, and not for a `Duration`. A firmware that prints those links panics of `core::fmt`.

use ::core::fmt::{Debug, Display};
use ::core::net::SocketAddr;
use ::core::str::FromStr;

use ipsec_core::address::AddressText;
use ipsec_core::bytes::{self, Reader, Writer};
use ipsec_core::crypto::{
    CryptoError, Curve, Encr, Group, HashId, Integ, Mac, NoMac, PacketCipher, PrfId, Provider,
    Shape, SignatureHash, SignatureScheme, Suite, SuiteKeyword, SuiteKeywordError, WithoutAh, Work,
};
use ipsec_core::fragments::FragmentTable;
use ipsec_core::index::HashIndex;
use ipsec_core::lifetime::Usage;
use ipsec_core::list::{Deadlines, SlotList};
use ipsec_core::mode::Tunnel;
use ipsec_core::packet::{NoRoom, PacketBuf};
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::replay::{self, Replay, Window};
use ipsec_core::sa::{self, Algorithms, Protocol, Spi, UsualIn, UsualOut};
use ipsec_core::sad::{
    self, DropCause, Drops, ExportError, ImportError, InstallError, RecordError, Reservation,
    SadEvent, Shard, SpiAllocator,
};
use ipsec_core::selector::{
    AddressRange, DscpSet, Flow, FromPacket, PortRange, Selectors, TrafficSelector,
};
use ipsec_core::seq;
use ipsec_core::spd::{ClearError, Policy, Spd, SpdError};
use ipsec_core::time::{self, Instant};
use ipsec_core::wire::checksum::{self, Checksum};
use ipsec_core::wire::icmp;
use ipsec_core::wire::ipv4::Ipv4Packet;
use ipsec_core::wire::ipv6::{FragmentHeader, Ipv6Packet};
use ipsec_core::wire::{IpError, IpPacket, Ipv4Header, Ipv6Header, UdpHeader};

use super::reach;
use crate::toy::{Toy, ToyCipher};

type Sad<'r> = sad::Sad<'r, Toy>;
type OutboundSa = sa::OutboundSa<Toy>;
type InboundSa = sa::InboundSa<Toy>;
type Protection = sa::Protection<Toy>;
type Receiver<'s> = sad::Receiver<'s, Toy>;

/// Every public function.
pub fn all() {
    bytes();
    crypto();
    index();
    lifetime();
    list();
    packet();
    path();
    replay();
    sa();
    sad();
    selector();
    spd();
    time();
    wire();
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
        fn(_) -> _: HashId::output_len, HashId::signature_hash;
        fn(_) -> _: SignatureScheme::hash, SignatureScheme::algorithm_identifier;
        fn(_) -> _: SignatureScheme::from_algorithm_identifier;
        fn(_) -> _: Curve::hash, Curve::order_len;
        fn(_, _) -> _: <SignatureScheme as Debug>::fmt, <SignatureHash as Debug>::fmt, <SignatureHash as Display>::fmt;
        fn(_) -> _: SignatureHash::name;
        fn(_) -> _: Work::reborrow;
        fn(_) -> _: <ToyCipher as PacketCipher>::seal_batch, <ToyCipher as PacketCipher>::open_batch;
        fn(_) -> _: <Toy as Provider>::has_suite, <Toy as Provider>::has_encr;
        fn(_, _, _) -> _: <WithoutAh<Toy> as Provider>::hash;
        fn(_, _, _, _) -> _: <NoMac as Mac>::sign, <NoMac as Mac>::verify;
        fn(_, _) -> _: <NoMac as Mac>::new;
        fn(_, _, _, _) -> _: <WithoutAh<Toy> as Provider>::cbc_encrypt, <WithoutAh<Toy> as Provider>::cbc_decrypt;
        fn(_, _, _, _) -> _: <Toy as Provider>::cbc_encrypt, <Toy as Provider>::cbc_decrypt;
        fn(_) -> _: Shape::keymat_len, Shape::nonce_len;
        fn(_) -> _: Suite::shape, Suite::ah, Suite::is_ah, Suite::keyword, Suite::encrypts, <Suite as FromStr>::from_str;
        fn(_, _) -> _: <SuiteKeyword as Display>::fmt, <SuiteKeywordError as Display>::fmt;
        fn(_) -> _: Encr::from_keyword, Integ::from_keyword, Integ::keyword, Integ::prf;
        fn(_) -> _: PrfId::from_keyword, PrfId::keyword, Group::from_keyword, Group::keyword;
        fn(_, _) -> _: Encr::keyword;
        fn(_) -> _: Suite::ah, Suite::is_ah;
        fn(_, _) -> _: Suite::aead, <Suite as Display>::fmt, <Suite as Debug>::fmt;
        fn(_) -> _: Encr::is_aead, Encr::has_key_length, Encr::name;
        fn(_) -> _: Integ::key_len, Integ::icv_len, Integ::name, Integ::salt_len, Integ::iv_len, Integ::is_gmac;
        fn(_) -> _: PrfId::output_len, PrfId::name;
        fn(_) -> _: Group::public_len, Group::answer_len, Group::is_kem, Group::name;
        fn(_, _) -> _: <Encr as Display>::fmt, <Integ as Display>::fmt, <PrfId as Display>::fmt, <Group as Display>::fmt;
        fn(_, _) -> _: <Encr as Debug>::fmt, <Integ as Debug>::fmt, <PrfId as Debug>::fmt, <Group as Debug>::fmt;
    }
}

fn index() {
    reach! {
        fn(_, _) -> _: HashIndex::new;
        fn(_) -> _: HashIndex::capacity;
        fn(_, _, _) -> _: HashIndex::insert, HashIndex::remove;
        fn(_, _) -> _: found;
    }
}

fn found(index: &HashIndex<'_>, hash: u64) -> usize {
    index.find(hash).count()
}

fn lifetime() {
    reach! {
        fn(_, _, _) -> _: Usage::new, Usage::age, Usage::count_young;
        fn(_, _) -> _: Usage::count, Usage::limits;
    }
}

fn list() {
    reach! {
        fn(_) -> _: SlotList::new, SlotList::slots, SlotList::len, SlotList::pop, SlotList::first, SlotList::is_empty;
        fn(_, _) -> _: SlotList::push, SlotList::contains;
        fn(_) -> _: Deadlines::new, Deadlines::next;
        fn(_, _) -> _: Deadlines::take_due;
        fn(_, _, _) -> _: Deadlines::set;
    }
}

fn packet() {
    reach! {
        fn(_) -> _: PacketBuf::whole, PacketBuf::len, PacketBuf::is_empty, PacketBuf::headroom, PacketBuf::tailroom;
        fn(_) -> _: PacketBuf::range, PacketBuf::payload, PacketBuf::payload_mut, PacketBuf::into_slice;
        fn(_) -> _: PacketBuf::reborrow;
        fn(_, _) -> _: PacketBuf::new, PacketBuf::prepend, PacketBuf::append, PacketBuf::trim_front;
        fn(_, _) -> _: PacketBuf::trim_back, PacketBuf::truncate;
        fn(_, _, _, _) -> _: PacketBuf::reshape, PacketBuf::reshaped;
        fn(_, _, _) -> _: PacketBuf::require;
        fn(_, _) -> _: <PacketBuf<'_> as Debug>::fmt, <NoRoom as Display>::fmt, <NoRoom as Debug>::fmt;
    }
}

fn path() {
    reach! {
        fn(_, _) -> _: Endpoint::new, Endpoint::with_port, Path::new;
        fn(_, _, _) -> _: Path::with_ports;
        fn(_) -> _: <Endpoint as From<SocketAddr>>::from, <SocketAddr as From<Endpoint>>::from;
        fn(_, _) -> _: <Endpoint as Display>::fmt, <Path as Display>::fmt, <Path as Debug>::fmt;
        fn(_, _) -> _: <Endpoint as Debug>::fmt, <AddressText as Display>::fmt, <AddressText as Debug>::fmt;
    }
}

fn replay() {
    reach! {
        fn(_) -> _: replay::words_for, replay::capacity, Window::top, Window::size;
        fn(_, _) -> _: Window::new;
        fn(_, _, _) -> _: Window::closed;
        fn(_, _, _) -> _: Window::check, Window::mark, seq::recover;
        fn(_, _) -> _: <Window as Debug>::fmt, <Replay as Debug>::fmt;
    }
}

fn sa() {
    reach! {
        fn(_) -> _: Spi::new, Spi::get, Spi::to_be_bytes, OutboundSa::sequence, InboundSa::window;
        fn(_) -> _: Protection::protocol, Protection::algorithms, Protection::esp, Protection::ah;
        fn(_) -> _: sa::EspTransform::<Toy>::salt, sa::AhTransform::<Toy>::salt;
        fn(_) -> _: sa::EspTransform::<Toy>::salt_of_counter, OutboundSa::usual, InboundSa::usual;
        fn(_, _, _) -> _: UsualOut::header, UsualIn::matches;
        fn(_, _) -> _: Tunnel::outer_class, Receiver::sequence, Receiver::check_replay;
        fn() -> _: <Tunnel as Default>::default;
        fn(_) -> _: <Algorithms as From<Suite>>::from;
        fn(_) -> _: Protocol::number, Algorithms::ah, Algorithms::protocol, Algorithms::keymat_len;
        fn(_) -> _: drop::<Protection>;
        fn(_, _) -> _: <Spi as Display>::fmt, <Spi as Debug>::fmt;
    }
}

fn sad() {
    reach! {
        fn(_) -> _: Sad::new, Sad::max_window, Sad::inbound_in_use, Sad::outbound_in_use, Sad::poll_event;
        fn(_) -> _: inbound_sas, outbound_sas;
        fn(_, _) -> _: Sad::remove_inbound, Sad::remove_outbound, Sad::inbound, Sad::outbound;
        fn(_, _, _) -> _: Sad::lookup, Sad::hidden, Sad::hide_inbound;
        fn(_, _, _, _) -> _: Sad::find, Sad::receiver, Sad::install_inbound_as, Sad::import;
        fn(_, _, _, _, _, _) -> _: Sad::export;
        fn(_, _) -> _: Sad::new_shard, Shard::new, Shard::of;
        fn(_, _) -> _: Sad::commit, Sad::stop_exports;
        fn(_) -> _: Reservation::edge, Sad::drops, InboundSa::drops, DropCause::name, dropped;
        fn(_, _, _) -> _: Sad::count_drop;
        fn(_, _) -> _: Drops::<4>::count, <DropCause as Display>::fmt;
        fn(_, _) -> _: <RecordError as Display>::fmt, <ExportError as Display>::fmt, <ImportError as Display>::fmt;
        fn(_, _) -> _: Sad::next_identification;
        fn(_, _, _) -> _: Sad::install_inbound, Sad::install_outbound, Sad::move_outbound, Sad::move_inbound;
        fn(_, _, _) -> _: Sad::check_replay, Sad::skip_sequence;
        fn(_, _, _, _) -> _: Sad::next_sequence;
        fn(_, _, _, _, _, _) -> _: Sad::accept;
        fn(_, _) -> _: <Sad<'_> as SpiAllocator>::reserve, <Sad<'_> as SpiAllocator>::release;
        fn(_, _) -> _: <InstallError as Display>::fmt, <InstallError as Debug>::fmt, <SadEvent as Debug>::fmt;
    }
}

fn dropped(drops: &Drops<4>) -> usize {
    drops.iter().count()
}

fn inbound_sas(sad: &Sad<'_>) -> usize {
    sad.inbound_sas().count()
}

fn outbound_sas(sad: &Sad<'_>) -> usize {
    sad.outbound_sas().count()
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
        fn(_) -> _: Flow::reversed, FromPacket::is_none, DscpSet::of, DscpSet::is_any;
        fn(_, _) -> _: DscpSet::contains;
        fn(_, _, _) -> _: FromPacket::narrow;
        fn(_) -> _: FragmentTable::new;
        fn(_, _, _) -> _: FragmentTable::complete;
        fn(_, _) -> _: Selectors::pair, Selectors::match_outbound, Selectors::match_inbound, <Selectors as Debug>::fmt;
        fn(_, _) -> _: <AddressRange as Debug>::fmt, <Flow as Debug>::fmt, <Flow as Display>::fmt, <PortRange as Debug>::fmt;
    }
}

fn spd() {
    reach! {
        fn(_) -> _: Spd::with_index, Spd::new, Spd::policies, Spd::capacity, Spd::clear;
        fn(_, _) -> _: Policy::new, Spd::push, Spd::remove;
        fn(_, _, _) -> _: Spd::insert, Spd::lookup, Spd::lookup_cached, Spd::inbound_clear_packet;
        fn(_, _, _, _) -> _: Spd::lookup_packet;
        fn(_, _) -> _: Policy::sa_selectors;
        fn(_, _) -> _: <SpdError as Display>::fmt, <SpdError as Debug>::fmt, <ClearError as Display>::fmt;
        fn(_, _) -> _: <ClearError as Debug>::fmt, <Policy as Debug>::fmt;
    }
}

fn time() {
    reach! {
        fn(_) -> _: Instant::from_micros, Instant::from_millis, Instant::from_secs, Instant::as_micros;
        fn(_, _) -> _: Instant::after, Instant::since, time::earliest, <Instant as Debug>::fmt;
    }
}

fn wire() {
    reach! {
        fn() -> _: Checksum::new;
        fn(_, _) -> _: Checksum::u32;
        fn(_) -> _: Checksum::finish, Checksum::finish_udp;
        fn(_, _) -> _: Checksum::bytes, Checksum::u16;
        fn(_, _, _) -> _: checksum::adjust;
        fn(_, _, _, _, _) -> _: Checksum::pseudo_v4, Checksum::pseudo_v6;
        fn(_) -> _: IpPacket::parse, IpPacket::is_ipv4;
        fn(_, _) -> _: icmp::quoted_flow;
        fn(_) -> _: Ipv4Header::parse, Ipv4Header::source, Ipv4Header::destination, Ipv4Header::dont_fragment;
        fn(_) -> _: Ipv4Header::more_fragments, Ipv4Header::fragment_offset, Ipv4Header::update_checksum;
        fn(_) -> _: Ipv4Packet::header_len, Ipv4Packet::checksum_ok;
        fn(_, _) -> _: Ipv4Header::fragmentable;
        fn(_, _, _, _, _, _) -> _: Ipv4Header::new, Ipv6Header::new;
        fn(_) -> _: Ipv6Header::parse, Ipv6Header::source, Ipv6Header::destination, Ipv6Header::traffic_class;
        fn(_) -> _: Ipv6Header::flow_label, Ipv6Packet::upper, FragmentHeader::offset;
        fn(_) -> _: FragmentHeader::more_fragments;
        fn(_, _) -> _: Ipv6Header::set_traffic_class, Ipv6Header::set_flow_label;
        fn(_, _) -> _: Ipv6Header::set_destination, Ipv4Header::set_destination;
        fn(_) -> _: UdpHeader::parse;
        fn(_, _, _) -> _: UdpHeader::new;
        fn(_, _) -> _: <IpError as Display>::fmt, <IpError as Debug>::fmt;
        fn(_, _) -> _: <FragmentHeader as Debug>::fmt, <UdpHeader as Debug>::fmt;
    }
}

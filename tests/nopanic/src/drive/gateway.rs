//! `ipsec`.

use ::core::fmt::{Debug, Display};

use ipsec::diagnosis::OneWay;
use ipsec::{
    AhKeysLog, Authenticator, Counters, DatagramError, Discard, DropReason, EspKeysLog,
    GatewayConfig, GatewayEvent, IkeKeysLog, Inbound, InboundError, Instant, ManualError,
    OpenError, OutboundError, Part, Sent, SetupError, Sizes, Store,
};
use rand_core::CryptoRng;

use super::reach;
use crate::toy::Toy;

type Gateway<'r> = ipsec::Gateway<'r, Toy>;
type Resources = ipsec::resources!(
    Toy;
    ike_sas: 2,
    handshakes: 1,
    exchanges: 2,
    children: 2,
    manual: 2,
    policies: 2,
    buffers: 4,
    buffer_len: 1280,
    window: 64,
);
type Pools = ipsec::Pools<Toy, Slots>;

/// Arrays instead of a heap.
struct Slots;

impl Store for Slots {
    type Of<T> = heapless::Vec<T, 4>;

    fn collect<T>(items: impl Iterator<Item = T>) -> Self::Of<T> {
        let mut all = heapless::Vec::new();
        for item in items {
            let _ = all.push(item);
        }
        all
    }
}

/// Every public function.
pub fn all() {
    memory();
    commands();
    manual();
    packets();
    polls();
    reports();
}

fn memory() {
    reach! {
        fn(_, _, _, _) -> _: OneWay::look;
        fn(_) -> _: Sizes::for_tunnels, Sizes::links::<Toy>, Sizes::deadlines, Sizes::window_words,
            Sizes::policy_index, Sizes::policy_cache, Sizes::sas, Sizes::foreign;
        fn() -> _: Resources::new, <Resources as Default>::default;
        fn(_, _) -> _: Pools::with_leases;
        fn(_) -> _: Resources::lend, Pools::new, Pools::lend, drop::<Resources>, drop::<Pools>;
    }
}

fn commands() {
    reach! {
        fn(_) -> _: GatewayConfig::new;
        fn(_, _, _) -> _: Gateway::new, Gateway::close_all;
        fn(_, _, _, _) -> _: Gateway::initiate, Gateway::rekey, Gateway::rekey_ike, Gateway::close, Gateway::close_ike;
        fn(_) -> _: Gateway::support_mobike;
        fn(_, _) -> _: Gateway::remember_addresses;
        fn(_, _, _, _, _) -> _: Gateway::move_ike, Gateway::move_address;
        fn(_) -> _: Gateway::is_idle, Gateway::statistics, tunnels, Gateway::sad, Gateway::spd, Gateway::ike;
        fn(_) -> _: Gateway::config, Gateway::counters;
        fn(_, _) -> _: Gateway::tunnel, Gateway::overhead, Gateway::child, <SetupError as Display>::fmt;
        fn(_, _) -> _: <Part as Display>::fmt;
        fn(_) -> _: drop::<Gateway<'_>>;
    }
}

fn tunnels(gateway: &Gateway<'_>) -> usize {
    gateway.tunnels().count()
}

fn manual() {
    reach! {
        fn(_, _, _, _) -> _: Gateway::install_manual;
        fn(_, _) -> _: Gateway::remove_manual, Gateway::manual, Gateway::manual_overhead, <ManualError as Display>::fmt;
    }
}

fn packets() {
    reach! {
        fn(_, _, _, _) -> _: Gateway::outbound, Gateway::inbound_ip;
        fn(_, _, _, _, _, _) -> _: Gateway::inbound_udp, Gateway::inbound_esp;
        fn(_, _, _) -> _: Gateway::inbound_clear;
        fn(_, _, _, _, _, _, _) -> _: Gateway::inbound_udp_with_room, Gateway::inbound_esp_with_room;
        fn(_, _, _, _, _) -> _: Gateway::outbound_via;
        fn(_, _, _) -> _: Gateway::learn_path_mtu, Gateway::handle_too_big, Gateway::path_mtu, Gateway::effective_mtu;
        fn(_, _, _, _) -> _: Gateway::tcp_mss;
        fn(_, _) -> _: Gateway::track_fragments, Gateway::remember_packets;
        fn(_) -> _: Sent::outer, Sent::into_outer, Sent::esp, Sent::path, Sent::encapsulation;
        fn(_, _) -> _: <Discard as Display>::fmt, <OutboundError as Display>::fmt, <InboundError as Display>::fmt;
        fn(_) -> _: drop::<Inbound<'_>>;
    }
}

fn polls() {
    reach! {
        fn(_, _, _) -> _: Gateway::handle_timeout, Gateway::poll_event, Gateway::run_jobs, settle;
        fn(_, _, _, _) -> _: Gateway::run_jobs_with, settle_with;
        fn(_) -> _: Gateway::next_timeout, Gateway::poll_job;
        fn(_, _) -> _: Gateway::job, Gateway::poll_transmit, Gateway::poll_transmit_ip;
        fn(_, _, _, _, _) -> _: Gateway::handle_job;
    }
}

fn settle(gateway: &mut Gateway<'_>, rng: &mut dyn CryptoRng, on_event: fn(GatewayEvent)) {
    gateway.settle(Instant::ZERO, rng, on_event);
}

fn settle_with(
    gateway: &mut Gateway<'_>,
    rng: &mut dyn CryptoRng,
    authenticator: &dyn Authenticator,
    on_event: fn(GatewayEvent),
) {
    Gateway::settle_with(gateway, Instant::ZERO, rng, authenticator, on_event);
}

fn reports() {
    reach! {
        fn(_) -> _: DropReason::name, drops;
        fn(_, _) -> _: Counters::dropped, <DropReason as Display>::fmt;
        fn(_) -> _: <DropReason as From<Discard>>::from, <DropReason as From<&OutboundError>>::from;
        fn(_) -> _: <DropReason as From<&InboundError>>::from, <DropReason as From<&OpenError>>::from;
        fn(_) -> _: <DropReason as From<&DatagramError>>::from;
        fn(_) -> _: IkeKeysLog::encryption_i, IkeKeysLog::encryption_r, IkeKeysLog::integrity_i;
        fn(_) -> _: IkeKeysLog::integrity_r, EspKeysLog::encryption, EspKeysLog::integrity, AhKeysLog::key;
        fn(_, _) -> _: <IkeKeysLog as Debug>::fmt, <EspKeysLog as Debug>::fmt, <AhKeysLog as Debug>::fmt;
    }
}

fn drops(counters: &Counters) -> usize {
    counters.drops().count()
}

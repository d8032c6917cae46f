//! An IPsec gateway: ESP and IKE wired together, and nothing else.
//!
//! A [`Gateway`] stands between a protected side and an unprotected one. IP packets of the protected side go in and come
//! out sealed; what arrives from the unprotected side goes in and comes out opened, or goes to IKE. SAs are negotiated
//! when traffic asks for them, installed, replaced and removed without any help.
//!
//! It does no input or output. The program that owns it owns the sockets, the clock, the random numbers and the memory,
//! and calls it in a loop.
//!
//! # The driving loop
//!
//! 1. **Wait** for a packet, a datagram, a command, or the time of [`Gateway::next_timeout`].
//! 2. **A packet of the protected side**: [`Gateway::outbound`]. It says what to do with it.
//! 3. **A datagram of the unprotected side**: [`Gateway::inbound_udp`], [`Gateway::inbound_esp`] or
//!    [`Gateway::inbound_ip`]. A packet that comes out goes to the protected side.
//! 4. **The time has come**: [`Gateway::handle_timeout`].
//! 5. **After each of them**: [`Gateway::settle`] tells what happened and does slow cryptography, until nothing is left.
//! 6. **Then** [`Gateway::poll_transmit`] until it gives `None`, and send each.
//! 7. **Back to 1.**
//!
//! What is left out goes wrong in this way:
//!
//! | left out | what happens |
//! |---|---|
//! | 4 on time | requests are repeated late, SAs are replaced or ended late; nothing breaks |
//! | 5 | no SA is ever installed: the negotiation stops there and times out |
//! | 6 | the peer hears nothing, and both sides give up after their retransmissions |
//! | a clock that never goes back | lifetimes and retransmissions stretch |
//! | randomness that nobody can guess | no security at all |
//! | the memory's size | newcomers are refused with an error that says which pool; what exists goes on |
//!
//! # Slow cryptography elsewhere
//!
//! [`Gateway::settle`] does key exchanges at once, which takes milliseconds on a small processor. A program that must not
//! wait calls [`Gateway::poll_event`], [`Gateway::poll_job`], [`Gateway::job`] and [`Gateway::handle_job`] instead. A
//! job that is answered late, or never, does no harm.
//!
//! # Memory
//!
//! [`resources!`] names a type that holds only arrays, for a `static`; [`Pools`] holds growable stores, for daemons.
//! Both lend [`Memory`] to [`Gateway::new`].
//!
//! # Example
//!
//! The [README](https://crates.io/crates/ipsec) has two gateways in thirty lines; the tests compile and run them.
#![no_std]

pub mod counters;
pub mod event;
pub mod gateway;
pub mod inbound;
pub mod memory;
pub mod outbound;

mod poll;
mod tunnel;

pub use ipsec_core;
pub use ipsec_esp;
pub use ipsec_ike;

pub use ipsec_core::crypto::{Group, PrfId, Provider, Suite};
pub use ipsec_core::lifetime::{Lifetime, Limits};
pub use ipsec_core::packet::{NoRoom, PacketBuf};
pub use ipsec_core::path::{Endpoint, Path};
pub use ipsec_core::sa::{Encapsulation, Spi};
pub use ipsec_core::sad::InstallError;
pub use ipsec_core::selector::{AddressRange, Flow, PortRange, Selectors, TrafficSelector};
pub use ipsec_core::spd::{Action, ClearError, Policy};
pub use ipsec_core::time::Instant;
pub use ipsec_core::wire::{IpError, IpPacket};
pub use ipsec_esp::{Audit, Fault, OpenError, Opened, Overhead, SealError, Sealed};
pub use ipsec_ike::config::{
    Auth, Child, ChildProposal, Config, IkeProposal, Peer, Ports, Retransmission,
};
pub use ipsec_ike::event::{
    ChildAgreed, ChildId, ChildRef, Direction, DownReason, Failure, IkeAgreed, IkeId,
};
pub use ipsec_ike::identity::Identity;
pub use ipsec_ike::jobs::{Answer, Job, JobId};
pub use ipsec_ike::{BufferTooSmall, CommandError, DatagramError, Transmit};

pub use counters::{Counters, DropReason};
pub use event::{EspKeysLog, GatewayEvent, IkeKeysLog};
pub use gateway::{Gateway, GatewayConfig, SetupError, Statistics, Tunnel};
pub use inbound::{Inbound, InboundError, Received};
pub use memory::{Memory, Pools, Resources, Sizes, Store};
pub use outbound::{Discard, Outbound, OutboundError, Sent};
pub use tunnel::{PairSlot, TunnelSlot};

/// Room before a packet that is enough for every SA: IPv6, UDP, ESP and the longest IV.
pub const MAX_HEADROOM: usize = 40 + 8 + 8 + 16;

/// Room behind a packet that is enough for every SA: padding to the longest block, trailer, and the longest ICV.
pub const MAX_TAILROOM: usize = 15 + 2 + 32;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

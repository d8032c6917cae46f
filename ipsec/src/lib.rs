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
//! Two gateways in one process. The first packet starts the negotiation and is dropped; sent again, it arrives. Here,
//! ESP is IP protocol 50, and the whole outer packet is handed over; a program on a kernel's sockets hands over
//! payloads, as the example in the README of the repository does.
//!
//! ```
//! use ipsec::*;
//! use ipsec_rustcrypto::RustCrypto;
//!
//! // For each gateway: one peer, one tunnel.
//! type Memory = ipsec::resources!(RustCrypto; ike_sas: 3, handshakes: 1, exchanges: 2, children: 2,
//!     policies: 1, buffers: 6, buffer_len: 1280, window: 64);
//!
//! // From 192.168.1.10 to 192.168.2.10: IPv4 and UDP headers, "hello".
//! const PACKET: [u8; 33] = *b"\x45\x00\x00\x21\x00\x01\x00\x00\x40\x11\xf6\x66\xc0\xa8\x01\x0a\xc0\xa8\x02\x0a\
//!     \x30\x39\x00\x07\x00\x0d\x00\x00hello";
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `rng` is any `CryptoRng` of `rand_core` 0.10. The one of this test is not random.
//! # let rng = &mut ipsec_testkit::rng::SeededRng::new(1);
//! let lan = |third| TrafficSelector::network([192, 168, third, 0].into(), 24).map(|n| [n]);
//! let (one, two) = (lan(1).ok_or("prefix")?, lan(2).ok_or("prefix")?);
//! let kolkata = (Some([203, 0, 113, 1].into()), Identity::Fqdn("kolkata.example"));
//! let delhi = (Some([198, 51, 100, 1].into()), Identity::Fqdn("delhi.example"));
//! let key = b"at least 16 bytes that are random";
//!
//! // Each side names its own first: what is local here is remote there.
//! let (here, there) = ([Child::new("lan", &one, &two)], [Child::new("lan", &two, &one)]);
//! let peers_of_kolkata = [Peer { children: &here, ..Peer::psk(kolkata, delhi, key) }];
//! let peers_of_delhi = [Peer { children: &there, ..Peer::psk(delhi, kolkata, key) }];
//!
//! let (mut memory_of_kolkata, mut memory_of_delhi) = (Memory::new(), Memory::new());
//! let config = GatewayConfig::new(Config::new(&peers_of_kolkata));
//! let mut kolkata = Gateway::new(&config, memory_of_kolkata.lend(), rng)?;
//! let config = GatewayConfig::new(Config::new(&peers_of_delhi));
//! let mut delhi = Gateway::new(&config, memory_of_delhi.lend(), rng)?;
//!
//! let mut arrived = false;
//! for second in 0..2 {
//!     let now = Instant::from_secs(second);
//!     let mut buf = [0; 256];
//!     let range = MAX_HEADROOM..MAX_HEADROOM + PACKET.len();
//!     buf[range.clone()].copy_from_slice(&PACKET);
//!     let packet = PacketBuf::new(&mut buf, range).ok_or("the range is in the buffer")?;
//!     match kolkata.outbound(now, rng, packet)? {
//!         Outbound::Acquire(_) => assert_eq!(second, 0),
//!         Outbound::Send(sent) => {
//!             let Inbound::Packet(received) = delhi.inbound_ip(now, rng, sent.into_outer())? else {
//!                 return Err("not an ESP packet".into());
//!             };
//!             assert_eq!(received.packet, PACKET);
//!             arrived = true;
//!         }
//!         other => return Err(format!("{other:?}").into()),
//!     }
//!
//!     // Steps 5 and 6 for both, until neither has anything to say.
//!     let mut buf = [0; 2048];
//!     for _ in 0..8 {
//!         for turn in 0..2 {
//!             let (from, to) = if turn == 0 { (&mut kolkata, &mut delhi) } else { (&mut delhi, &mut kolkata) };
//!             from.settle(now, rng, |event| println!("{event:?}"));
//!             while let Some(ike) = from.poll_transmit(&mut buf)? {
//!                 // A path is always "ours, the peer's": the receiver sees it the other way round.
//!                 let path = Path::new(ike.path.remote, ike.path.local);
//!                 match to.inbound_udp(now, rng, path, 0, &mut buf[..ike.len]) {
//!                     Ok(_) => {}
//!                     // For a log. `DatagramError::Challenged` is among them, which is no fault: a gateway whose
//!                     // room for half-open exchanges is small asks for a cookie first.
//!                     Err(error) => println!("{error}"),
//!                 }
//!             }
//!         }
//!     }
//! }
//! assert!(arrived);
//! # Ok(())
//! # }
//! ```
#![no_std]

pub mod counters;
pub mod diagnosis;
pub mod event;
pub mod gateway;
pub mod inbound;
pub mod manual;
pub mod memory;
pub mod outbound;

#[cfg(feature = "ikev1")]
mod bundle;
mod nested;
mod path_mtu;
mod poll;
mod tunnel;

pub use ipsec_core;
pub use ipsec_esp;
pub use ipsec_ike;

pub use ipsec_core::crypto::{Group, PrfId, Provider, Suite, WithoutAh};
pub use ipsec_core::lifetime::{Lifetime, Limits};
pub use ipsec_core::mode::Mode;
pub use ipsec_core::packet::{NoRoom, PacketBuf};
pub use ipsec_core::path::{Endpoint, Path};
pub use ipsec_core::sa::{Algorithms, Encapsulation, Spi};
pub use ipsec_core::sad::InstallError;
pub use ipsec_core::selector::{
    AddressRange, DscpSet, Flow, FromPacket, PortRange, Selectors, TrafficSelector,
};
pub use ipsec_core::spd::{Action, ClearError, Policy};
pub use ipsec_core::time::Instant;
pub use ipsec_core::wire::{IpError, IpPacket};
pub use ipsec_esp::{Audit, Fault, OpenError, Opened, Overhead, SealError, Sealed};
#[cfg(feature = "ikev1")]
pub use ipsec_ike::auth::UserJob;
pub use ipsec_ike::auth::{
    Authenticator, CertVerifier, Credentials, SignJob, Untrusted, VerifyJob,
};
pub use ipsec_ike::config::{
    Ask, Auth, Child, ChildProposal, Config, IkeProposal, LocalAuth, Mobike, ModePolicy, Peer,
    Pool, Ports, Ppk, RemoteAuth, Retransmission, SIGNATURE_SCHEMES, SigningKey,
};
#[cfg(feature = "ikev1")]
pub use ipsec_ike::config::{Phase1Mode, Phase1Proposal, User, V1, Versions, Xauth};
#[cfg(feature = "ikev1")]
pub use ipsec_ike::event::AgreedAh;
pub use ipsec_ike::event::{
    AuthKind, ChildAgreed, ChildId, ChildRef, Direction, DownReason, Failure, Given, IkeAgreed,
    IkeId,
};
pub use ipsec_ike::identity::Identity;
pub use ipsec_ike::jobs::{Answer, Job, JobId};
pub use ipsec_ike::{BufferTooSmall, CommandError, DatagramError, PeerAddresses, Transmit};

pub use counters::{Counters, DropReason};
#[cfg(feature = "ikev1")]
pub use event::AhKeysLog;
pub use event::{EspKeysLog, GatewayEvent, IkeKeysLog};
pub use gateway::{Gateway, GatewayConfig, Part, SetupError, Statistics, Tunnel};
pub use inbound::{Inbound, InboundError, Received, Via};
pub use manual::{Manual, ManualError, ManualId, ManualKey, ManualReport, ManualSas};
pub use memory::{Memory, Pools, Resources, Sizes, Store};
pub use outbound::{Discard, Outbound, OutboundError, Sent};
pub use path_mtu::PathMtuSlot;
pub use tunnel::{PairSlot, TunnelSlot};

/// Room before a packet that is enough for every SA: IPv6, and AH with the longest ICV, padded. That is more than IPv6, UDP,
/// ESP and the longest IV need. Where one manual protection goes around another ([`Manual::around`]), twice as much
/// is enough; [`Gateway::manual_overhead`] tells what is needed.
pub const MAX_HEADROOM: usize = 40 + 12 + 32 + 4;

/// Room behind a packet that is enough for every SA: padding to the longest block, trailer, and the longest ICV. To that
/// comes [`Tunnel::pad_to`](ipsec_core::mode::Tunnel::pad_to), and the same once more for a second protection
/// ([`Manual::around`]).
pub const MAX_TAILROOM: usize = 15 + 2 + 32;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

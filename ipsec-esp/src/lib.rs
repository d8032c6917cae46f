//! ESP and AH, in place: packets are sealed and opened inside the caller's buffer (RFC 4303, RFC 4302,
//! RFC 4301 section 5).
//!
//! # A packet that leaves
//!
//! [`outbound()`](outbound::outbound) asks the policy, picks the SA and calls [`seal()`](seal::seal): the packet grows
//! by its tunnel header, perhaps a UDP header, the ESP header, padding and ICV into the room that the caller left
//! around it. [`mtu::Overhead`] tells how much that is.
//!
//! # A packet that arrives
//!
//! [`inbound_ip()`](inbound::inbound_ip) takes a whole IP packet, [`inbound_udp()`](inbound::inbound_udp) the payload
//! of a datagram on port 4500. What comes out is a packet for the protected side, or a message for IKE.
//!
//! # Modes
//!
//! An SA is of [ESP or AH](ipsec_core::sa::Algorithms), in [tunnel, transport or BEET mode](ipsec_core::mode::Mode).
//! [`seal()`](seal::seal) looks at the SA and does what it says; in transport mode the packet's own IP header moves to
//! the front and stays. What arrives is told apart by its protocol number: [`open()`](open::open) is for ESP,
//! [`ah::open`] for AH, which needs the whole packet, since it covers the IP header. A packet with AH and ESP comes out
//! of the first with the second inside: give it to [`inbound_ip()`](inbound::inbound_ip) again.
//!
//! # Cryptography elsewhere
//!
//! Both [`seal()`](seal::seal) and [`open()`](open::open) are three calls: begin, the provider's work, finish; so are
//! [`ah::sign`] and [`ah::open`]. A program that has an accelerator or other threads makes those calls itself;
//! [`seal_batch()`](batch::seal_batch) and [`open_batch()`](batch::open_batch) make them for many packets at once.
#![no_std]

pub mod ah;
pub mod audit;
pub mod batch;
pub mod error;
pub mod fragment;
pub mod icmp;
pub mod inbound;
pub mod mss;
pub mod mtu;
pub mod open;
pub mod outbound;
pub mod padding;
pub mod reassembly;
pub mod seal;
pub mod tunnel;
pub mod wire;

mod beet;
mod inner;
mod layout;
mod mutable;
mod parts;
#[cfg(any(not(target_os = "none"), ipsec_quick))]
mod quick;
mod transport;

pub use audit::AuditEntry;
pub use batch::{open_batch, seal_batch};
pub use error::{Audit, Fault, OpenError, SealError};
pub use inbound::{Inbound, inbound_ip, inbound_ip_on, inbound_udp, inbound_udp_with_room};
pub use mtu::Overhead;
pub use open::{Arrival, Before, OpenJob, Opened, open, open_begin, open_finish};
pub use outbound::{Outbound, outbound};
pub use seal::{SealJob, Sealed, seal, seal_begin, seal_dummy, seal_finish};

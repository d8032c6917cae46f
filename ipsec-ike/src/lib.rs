//! IKEv2 as a state machine without sockets, clock, heap or threads.
//!
//! [`Ike`] is an engine for any number of peers, in both roles. It is given datagrams, the time, random numbers and
//! memory; it gives back datagrams, events and jobs:
//!
//! 1. something happened: a datagram, a command, or the time of [`Ike::next_timeout`] has come;
//! 2. tell the engine: `handle_*`, [`Ike::installed`], or a command;
//! 3. do the slow cryptography: [`jobs::run_jobs`], or [`Ike::poll_job`] and [`Ike::handle_job`];
//! 4. [`Ike::poll_event`] until there is none; install what it asks for, and go back to 3 if there was one;
//! 5. [`Ike::poll_transmit`] until there is none; send;
//! 6. wait until [`Ike::next_timeout`], or something else happens.
//!
//! Unauthenticated input changes no SA: see [`DatagramError`]. What an exchange does is in one file for each exchange.
#![no_std]

pub mod auth;
mod buffers;
mod child_sa;
mod command;
pub mod config;
mod cookie;
pub mod diagnosis;
mod engine;
mod error;
pub mod event;
mod exchange;
mod fragment;
mod from_packet;
pub mod identity;
mod ike_sa;
mod index;
pub mod jobs;
mod keymat;
mod nat;
mod poll;
mod pool;
mod proposal;
mod protect;
mod retransmit;
mod selectors;
mod task;
mod timer;
#[cfg(feature = "ikev1")]
mod v1;
mod v2;
pub mod wire;

pub use child_sa::ChildSlot;
pub use engine::{Env, Ike, IkeMemory, Transmit};
pub use error::{BufferTooSmall, CommandError, DatagramError};
pub use exchange::{ExchangeSlot, HandshakeSlot};
pub use ike_sa::IkeSlot;
pub use pool::Lease;
pub use v2::mobike::PeerAddresses;

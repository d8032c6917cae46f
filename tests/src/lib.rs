//! The test kit of the ipsec crates. Nothing here belongs in a product.
//!
//! | | |
//! |---|---|
//! | [`toy`] | a crypto provider with NO SECURITY, small and fast, that detects every change |
//! | [`rng`] | random numbers from a seed: equal seeds, equal runs |
//! | [`clock`] | time that moves when told to |
//! | [`link`] | a network that loses, repeats, reorders and delays, with middleboxes that translate addresses |
//! | [`setup`] | two gateways and a network, as most tests want them |
//! | [`pair`] | the two gateways, driven by virtual time |
//! | [`engines`] | two bare IKE engines, for what a gateway does not let through |
//! | [`insider`], [`isakmp`] | somebody who has the keys of an IKE SA, of either version |
//! | [`collisions`] | both sides do something at once, in every way |
//! | [`soak`] | days in the life of two gateways |
//! | [`trace`] | what was said on the way, in words |
//! | [`pcap`] | what the network carried, as a capture file |
//! | [`keylog`] | keys, as the files with which Wireshark decrypts such a capture |
//! | [`conformance`] | the checks that every crypto provider must pass |
//!
//! Without the default feature `std` only [`toy`] and [`rng`] remain. They need no heap and link no panic, for fuzzing
//! and for images of firmware.
#![no_std]

#[cfg(feature = "std")]
extern crate std;

pub mod rng;
pub mod toy;
#[cfg(feature = "std")]
pub mod toy_keys;

#[cfg(feature = "std")]
pub mod clock;
#[cfg(feature = "std")]
pub mod collisions;
#[cfg(feature = "std")]
pub mod conformance;
#[cfg(feature = "std")]
pub mod engines;
#[cfg(feature = "std")]
pub mod insider;
#[cfg(feature = "std")]
pub mod isakmp;
#[cfg(feature = "std")]
pub mod keylog;
#[cfg(feature = "std")]
pub mod link;
#[cfg(feature = "std")]
pub mod pair;
#[cfg(feature = "std")]
pub mod pcap;
#[cfg(feature = "std")]
pub mod setup;
#[cfg(feature = "std")]
pub mod soak;
#[cfg(feature = "std")]
pub mod trace;

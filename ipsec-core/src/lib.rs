//! What a security association is, and where associations live.
//!
//! This crate transforms no packet and links no cryptography: it holds what ESP, AH and IKE share. `no_std`, no heap,
//! no `unsafe`; time, randomness and memory are arguments.
#![no_std]

pub mod address;
pub mod bytes;
pub mod crypto;
pub mod fragments;
pub mod index;
pub mod lifetime;
pub mod list;
pub mod mode;
pub mod packet;
pub mod path;
pub mod replay;
pub mod sa;
pub mod sad;
pub mod selector;
pub mod seq;
pub mod spd;
pub mod time;
pub mod wire;

//! What the fuzz targets do, as functions of the input, so that a test can replay the seeds without a fuzzer.
//!
//! Each module is one target. [`seeds`] makes the inputs to begin with.

pub mod bit_flip;
pub mod certificates;
pub mod esp_modes;
pub mod esp_open;
pub mod export_import;
pub mod fragments;
pub mod ike_engine;
pub mod ike_message;
pub mod ike_v1_engine;
pub mod ike_v1_message;
pub mod ip_parsers;
pub mod seeds;
pub mod signatures;
pub mod spd;

/// Whoever has the keys of an SA of IKEv1. The rest of the test kit is left out here.
#[path = "../../tests/src/isakmp.rs"]
pub mod isakmp;

mod input;
mod insider;
mod pair;

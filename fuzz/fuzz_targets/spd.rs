//! See `ipsec_fuzz::spd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsec_fuzz::spd::run(data));

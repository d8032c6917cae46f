//! See `ipsec_fuzz::ike_v1_engine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsec_fuzz::ike_v1_engine::run(data));

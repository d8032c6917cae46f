//! See `ipsec_fuzz::bit_flip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsec_fuzz::bit_flip::run(data));

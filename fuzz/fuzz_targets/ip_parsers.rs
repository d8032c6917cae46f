//! See `ipsec_fuzz::ip_parsers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsec_fuzz::ip_parsers::run(data));

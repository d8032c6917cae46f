//! See `ipsec_fuzz::export_import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsec_fuzz::export_import::run(data));

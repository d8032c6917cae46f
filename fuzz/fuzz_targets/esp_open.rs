//! See `ipsec_fuzz::esp_open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsec_fuzz::esp_open::run(data));

//! See `ipsec_fuzz::esp_modes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsec_fuzz::esp_modes::run(data));

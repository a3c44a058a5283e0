//! See `gateward_fuzz::properties::filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::filter::hold(input));

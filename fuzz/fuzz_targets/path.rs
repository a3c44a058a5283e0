//! See `gateward_fuzz::properties::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::path::hold(input));

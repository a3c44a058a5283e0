//! See `gateward_fuzz::properties::words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::words::hold(input));

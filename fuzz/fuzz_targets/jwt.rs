//! See `gateward_fuzz::properties::jwt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::jwt::hold(input));

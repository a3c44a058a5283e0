//! See `gateward_fuzz::properties::proof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::proof::hold(input));

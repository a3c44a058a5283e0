//! See `gateward_fuzz::properties::form`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::form::hold(input));

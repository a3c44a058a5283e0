//! See `gateward_fuzz::properties::decide`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::decide::hold(input));

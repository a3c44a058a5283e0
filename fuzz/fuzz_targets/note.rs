//! See `gateward_fuzz::properties::note`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::note::hold(input));

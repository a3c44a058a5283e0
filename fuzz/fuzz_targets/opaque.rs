//! See `gateward_fuzz::properties::opaque`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::opaque::hold(input));

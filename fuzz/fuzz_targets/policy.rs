//! See `gateward_fuzz::properties::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::policy::hold(input));

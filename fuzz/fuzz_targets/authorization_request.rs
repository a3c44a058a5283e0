//! See `gateward_fuzz::properties::authorization_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateward_fuzz::properties::authorization_request::hold(input));

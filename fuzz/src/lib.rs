//! What must hold of every parser of untrusted input, whatever the bytes. A property is a function of bytes that panics where it
//! does not hold; libFuzzer looks for such bytes, and a plain test replays what it kept.
//!
//! No parser may be judged by itself: what it accepts is put together again, read a second time, or read by a parser of
//! another make.
#![forbid(unsafe_code)]

pub mod properties;
pub mod seeds;

/// What must hold of an input.
pub type Property = fn(&[u8]);

/// Every property with the name of its target and of its corpus.
pub const TARGETS: [(&str, Property); 11] = [
    ("authorization_request", properties::authorization_request::hold),
    ("decide", properties::decide::hold),
    ("filter", properties::filter::hold),
    ("form", properties::form::hold),
    ("jwt", properties::jwt::hold),
    ("note", properties::note::hold),
    ("opaque", properties::opaque::hold),
    ("path", properties::path::hold),
    ("policy", properties::policy::hold),
    ("proof", properties::proof::hold),
    ("words", properties::words::hold),
];

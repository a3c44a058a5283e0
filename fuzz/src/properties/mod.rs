//! The properties, one module for each fuzz target.

pub mod authorization_request;
pub mod decide;
pub mod filter;
pub mod form;
pub mod jwt;
pub mod note;
pub mod opaque;
pub mod path;
pub mod policy;
pub mod proof;
pub mod words;

/// The text of an input before its first line end, and what follows.
fn split_line(input: &[u8]) -> Option<(&str, &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    Some((core::str::from_utf8(&input[..end]).ok()?, &input[end + 1..]))
}

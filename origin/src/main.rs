//! The inner door's binary.

fn main() {}

//! The outer door.

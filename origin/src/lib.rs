//! The inner door.

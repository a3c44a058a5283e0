//! Gateward's book of rules.
#![no_std]

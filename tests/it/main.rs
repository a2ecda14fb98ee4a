//! The built binary, a real disk, real sockets, real clients: what a user relies on, shown from outside. Blip is
//! the sandbox's stand-in Desk, a process of its own.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of a test crate")]

mod clients;
mod commands;
mod configuration;
mod events;
mod faults;
mod sandbox;
mod shutdown;
mod support;
mod webhook;

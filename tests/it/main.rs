//! The built binary, a real disk, real sockets, real clients: what a user relies on, shown from outside. Blip is
//! the sandbox's stand-in Desk, a process of its own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "helpers of a test crate: it fails by panic, prints its findings, and has no gateway to spawn through"
)]

mod alerts;
mod blip;
mod bombs;
mod clients;
mod commands;
mod configuration;
mod content;
mod crowd;
mod desk;
mod directory;
mod drain;
mod events;
mod failpoints;
mod faults;
mod group_operator;
mod groups;
mod groups_faults;
mod history;
mod matrix;
mod media;
mod metrics;
mod mistakes;
mod operator;
mod outbox;
mod quarantine;
mod rate;
mod recipes;
mod reconcile;
mod retention;
mod sandbox;
mod shutdown;
mod sizes;
mod support;
mod tickets;
mod unreached;
mod webhook;

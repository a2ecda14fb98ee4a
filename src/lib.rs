//! Deskgate: the gRPC gateway between Take Blip's Desk and a company's own contact-center systems.
//!
//! Two flows, one log in the middle. **In:** Blip posts LIME envelopes to [`webhook`]; `gateway::ingest` turns
//! each into an event, the [`store`] makes it durable, and only then Blip hears 200; `grpc` streams it to every
//! subscriber. **Out:** an rpc becomes an action, `gateway::desk` records it in the ledger before anything is
//! sent, [`blip`] carries it, and its end is recorded together with the event that tells the log's readers.

pub mod admin;
pub mod app;
pub mod auth;
pub mod blip;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod gateway;
pub mod grpc;
pub mod lime;
pub mod sandbox;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod webhook;

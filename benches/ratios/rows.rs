//! One module a row, or a few that share a measurement.

pub(crate) mod commands;
pub(crate) mod fanout;
pub(crate) mod group;
pub(crate) mod idle;
pub(crate) mod ingest;
pub(crate) mod latency;
pub(crate) mod naive;
pub(crate) mod replay;

//! The gRPC edge.

pub mod pb;

//! Deskgate: the gRPC gateway between Blip Desk and a company's own systems.

pub mod grpc;

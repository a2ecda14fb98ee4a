//! The API as generated from `proto/`. It is included here and nowhere else, and nothing is added to it:
//! conversions live in `convert.rs`.

#![allow(
    clippy::allow_attributes,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    missing_docs,
    unreachable_pub,
    reason = "generated code; the comments in proto/ are its documentation"
)]

tonic::include_proto!("deskgate.v1");

/// The descriptor set of the whole API with its imports and comments, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("deskgate_descriptor");

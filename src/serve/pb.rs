//! The types of the wire, generated from `proto/`. Nobody outside of this room names them.
#![allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the protos hold its documentation"
)]

tonic::include_proto!("tenure.v1");

/// The descriptors of all services, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tenure_descriptor.bin"));

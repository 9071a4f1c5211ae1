//! Compiles the protos with protox (no protoc on the machine) and writes the descriptor set
//! for reflection; nothing else.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const PROTOS: &[&str] = &[
    "tenure/v1/scoring.proto",
    "tenure/v1/event.proto",
    "tenure/v1/customer.proto",
    "tenure/v1/model.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(
        std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?,
    );
    std::fs::write(out.join("tenure_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds(descriptors)?;
    Ok(())
}

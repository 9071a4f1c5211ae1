//! Compiles the protos with protox (no protoc on the machine) and writes the descriptor set
//! for reflection; and the scoring service once more, for answers that are written by hand.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;
use tonic_prost_build::FileDescriptorSet;

const PROTOS: &[&str] = &[
    "tenure/v1/scoring.proto",
    "tenure/v1/event.proto",
    "tenure/v1/customer.proto",
    "tenure/v1/model.proto",
];

/// Answers that hold scores.
const ANSWERS: &[&str] = &[
    "ScoreCustomerResponse",
    "BatchScoreCustomersResponse",
    "ScoreStreamResponse",
    "ExplainScoreResponse",
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
        .compile_fds(descriptors.clone())?;
    compile_with_answers(descriptors, &out.join("answers"))
}

/// The server's side of the scoring service, whose answers `src/serve/answers.rs` holds; all other
/// messages are those that were compiled above.
fn compile_with_answers(
    mut descriptors: FileDescriptorSet,
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    for file in &mut descriptors.file {
        file.service.retain(|service| service.name() == "ScoringService");
    }
    std::fs::create_dir_all(out)?;
    let mut builder = tonic_prost_build::configure()
        .build_client(false)
        .out_dir(out)
        .extern_path(".google.rpc", "::tonic_types::pb")
        .extern_path(".tenure.v1", "crate::serve::pb");
    for name in ANSWERS {
        let message = format!(".tenure.v1.{name}");
        builder = builder.extern_path(message, format!("crate::serve::answers::{name}"));
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

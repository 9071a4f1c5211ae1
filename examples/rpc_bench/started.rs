//! How long a server takes from its start to its first answer, and the memory it holds then.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};

use super::beside::{connect, median, serve};
use super::{Base, Kind, Raw, Server, drive, kinds, prepare, root};

/// Starts of each kind.
const STARTS: usize = 15;

/// Prints the table: an empty store and one with households.
pub(super) async fn run(base: Base, time: Duration) -> Result<()> {
    let work = root().join("target/rpc_bench");
    prepare(base, &work)?;
    let all = kinds(base)?;
    let kind = all.first().context("a kind of call")?;
    println!("| store | ms to the first answer | most ms | MiB then | MiB under calls |");
    println!("| --- | --- | --- | --- | --- |");
    rows("2,500 households", &work, kind, time).await?;
    std::fs::remove_dir_all(work.join("store"))?;
    rows("empty", &work, kind, time).await
}

async fn rows(name: &str, work: &Path, kind: &Kind<'_>, time: Duration) -> Result<()> {
    let (mut took, mut held) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let (server, ms) = first_answer(work, kind).await?;
        took.push(ms);
        held.push(resident_mib(server.child.id())?);
    }
    let (server, _) = first_answer(work, kind).await?;
    let loaded = if name == "empty" {
        "-".to_owned()
    } else {
        drive(&server.address, server.child.id(), kind, time).await?;
        format!("{:.0}", resident_mib(server.child.id())?)
    };
    let most = took.iter().copied().fold(0.0, f64::max);
    let (took, held) = (median(took.into_iter())?, median(held.into_iter())?);
    println!("| {name} | {took:.0} | {most:.0} | {held:.0} | {loaded} |");
    Ok(())
}

/// Starts a server and asks it at once; the milliseconds until it has answered.
async fn first_answer(work: &Path, kind: &Kind<'_>) -> Result<(Server, f64)> {
    let mut command = serve(work)?;
    command.args(["--log", "error"]);
    let begun = Instant::now();
    let server = Server::start(command)?;
    let mut client = Grpc::new(connect(&server, None).await?);
    client.ready().await?;
    let path: PathAndQuery = kind.method.parse()?;
    let message = kind.messages.first().context("a message")?.clone();
    match client.unary(Request::new(message), path, Raw).await {
        Ok(_) => {}
        // The empty store knows nobody, and says so.
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(status.into()),
    }
    Ok((server, begun.elapsed().as_secs_f64() * 1e3))
}

/// Memory of a process that is in use.
fn resident_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1_024.0)
}

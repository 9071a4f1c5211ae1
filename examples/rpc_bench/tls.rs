//! What TLS costs: a server without it, one with it, and one that asks for certificates too.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::beside::{Side, connect, in_turns};
use super::{Base, Kind, Raw, cpu_seconds, kinds, prepare, root};

/// Connections that are made to tell what one costs.
const HANDSHAKES: usize = 500;
/// The calls that are made over each server, by the beginning of their names.
const CALLS: [&str; 3] = ["ScoreCustomer by id, 64", "ScoreStream", "ScoreMatrix x1000"];

fn pem(name: &str) -> PathBuf {
    root().join("tests/golden/tls").join(name)
}

/// Prints the table of calls, and then what a connection with one call costs.
pub(super) async fn run(base: Base, time: Duration) -> Result<()> {
    let work = root().join("target/rpc_bench");
    prepare(base, &work)?;
    let read = |name: &str| std::fs::read(pem(name));
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("authority.pem")?))
        .domain_name("localhost");
    let mutual = tls.clone().identity(Identity::from_pem(read("other.pem")?, read("other.key")?));
    let text =
        |name: &str| Ok::<_, anyhow::Error>(pem(name).to_str().context("a path")?.to_owned());
    let (cert, key, authority) = (text("server.pem")?, text("server.key")?, text("authority.pem")?);
    let quiet = ["--log", "error"];
    let with_tls = ["--log", "error", "--tls-cert", &cert, "--tls-key", &key];
    let with_mutual = [&with_tls[..], &["--tls-client-ca", &authority]].concat();
    let sides = [
        Side::start((&work, "plain"), &quiet, None).await?,
        Side::start((&work, "TLS"), &with_tls, Some(&tls)).await?,
        Side::start((&work, "mTLS"), &with_mutual, Some(&mutual)).await?,
    ];
    let is_wanted = |kind: &Kind<'_>| CALLS.iter().any(|name| kind.name.starts_with(name));
    let kinds: Vec<Kind<'_>> = kinds(base)?.into_iter().filter(is_wanted).collect();
    in_turns(&sides, &kinds, time).await?;
    println!("\n| a connection with one call | server CPU us |\n| --- | --- |");
    let first = kinds.first().context("a kind of call")?;
    for (side, tls) in sides.iter().zip([None, Some(&tls), Some(&mutual)]) {
        let us = one_by_one(side, tls, first).await?;
        println!("| {} | {us:.0} |", side.name);
    }
    Ok(())
}

/// Processor time of the server for a connection with one call, in microseconds.
async fn one_by_one(side: &Side, tls: Option<&ClientTlsConfig>, kind: &Kind<'_>) -> Result<f64> {
    let path: PathAndQuery = kind.method.parse()?;
    let group = side.server.child.id();
    let before = cpu_seconds(group)?;
    for message in kind.messages.iter().cycle().take(HANDSHAKES) {
        let mut client = Grpc::new(connect(&side.server, tls).await?);
        client.ready().await?;
        client.unary(Request::new(message.clone()), path.clone(), Raw).await?;
    }
    Ok((cpu_seconds(group)? - before) / HANDSHAKES as f64 * 1e6)
}

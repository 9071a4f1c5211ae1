//! The same server under several settings at once, driven in turns, so that whatever else the
//! machine does meets all of them alike.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tonic::transport::{Channel, ClientTlsConfig};

use super::{CONNECTIONS, Kind, Line, Server, copy, drive_over, programs};

/// How often each server has its turn.
const ROUNDS: usize = 5;

/// One server and the connections to it.
pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) channels: Vec<Channel>,
}

impl Side {
    /// Starts a server on models and store of its own, copied from `work`.
    pub(super) async fn start(
        (work, name): (&Path, &'static str),
        settings: &[&str],
        tls: Option<&ClientTlsConfig>,
    ) -> Result<Self> {
        let own = work.with_file_name(format!("rpc_bench-{}", name.replace(' ', "-")));
        if own.try_exists()? {
            std::fs::remove_dir_all(&own)?;
        }
        copy(work, &own)?;
        let mut command = serve(&own)?;
        command.args(settings);
        let server = Server::start(command)?;
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(connect(&server, tls).await?);
        }
        Ok(Self { name, server, channels })
    }
}

/// The command of a server that listens anywhere and has models and store in a folder.
pub(super) fn serve(dir: &Path) -> Result<Command> {
    let mut command = Command::new(programs()?.join("tenure-serve"));
    command.args(["--name", "demo", "--listen", "127.0.0.1:0"]);
    command.arg("--models").arg(dir.join("models")).arg("--store").arg(dir.join("store"));
    Ok(command)
}

/// One connection.
pub(super) async fn connect(server: &Server, tls: Option<&ClientTlsConfig>) -> Result<Channel> {
    let Some(tls) = tls else {
        return Ok(Channel::from_shared(server.address.clone())?.connect().await?);
    };
    let address = server.address.replacen("http:", "https:", 1);
    Ok(Channel::from_shared(address)?.tls_config(tls.clone())?.connect().await?)
}

/// Drives all servers in turns with each kind of call, and prints medians beside the first.
pub(super) async fn in_turns(sides: &[Side], kinds: &[Kind<'_>], time: Duration) -> Result<()> {
    println!("| call | server | calls/s | server CPU us a call | ratio | p50 us | p99 us |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for kind in kinds {
        let mut found: Vec<Vec<Line>> = sides.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (side, lines) in sides.iter().zip(&mut found) {
                lines.push(drive_over(&side.channels, side.server.child.id(), kind, time).await?);
            }
        }
        for (at, side) in sides.iter().enumerate() {
            let middle = |of: fn(&Line) -> f64| median(found[at].iter().map(of));
            let pairs = found[at].iter().zip(&found[0]);
            let ratio = median(pairs.map(|(one, first)| one.cpu_us / first.cpu_us))?;
            println!(
                "| {} | {} | {:.0} | {:.1} | {ratio:.2} | {:.0} | {:.0} |",
                kind.name,
                side.name,
                middle(|line| line.calls_per_second)?,
                middle(|line| line.cpu_us)?,
                middle(|line| line.p50_us)?,
                middle(|line| line.p99_us)?,
            );
        }
    }
    Ok(())
}

/// The middle of some numbers.
pub(super) fn median(numbers: impl Iterator<Item = f64>) -> Result<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().context("no number")
}

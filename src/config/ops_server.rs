//! Which running server is asked, how it is trusted, and who asks.
//!
//! In: the flags that every such command of `tenure-ops` shares. Out: one [`ServerConfig`],
//! whether the server must be named (`--addr`) or may be (`--from-server`). The rule about keys in
//! the clear is here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::log::said;
use super::ops::Given;
use super::raw::Reader;

/// Settings that only these commands use.
pub(super) const KEYS: [&str; 9] = [
    "addr",
    "from_server",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "tls_name",
    "key_file",
    "insecure",
    "timeout_ms",
];

/// Time to connect, and for the next answer on a stream: a busy server makes callers wait there.
pub(super) const STREAM_TIMEOUT_MS: u64 = 60_000;
const TIMEOUT_MS_MAX: u64 = 600_000;

/// Flags that say how a server is trusted, and who asks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The server")]
struct TrustArgs {
    /// Authorities of the server's certificate, in PEM: the connection is then encrypted
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// The client's own certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Name in the server's certificate [default: the host of its address]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// A file that holds the key to show, and nothing else
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// Shows the key unencrypted to another machine
    #[arg(long)]
    insecure: bool,
    /// How long the next answer may take, in milliseconds [default: 60000; of health 2000]
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<String>,
}

impl TrustArgs {
    fn given(&self) -> Given {
        vec![
            ("tls_ca", self.tls_ca.clone()),
            ("tls_cert", self.tls_cert.clone()),
            ("tls_key", self.tls_key.clone()),
            ("tls_name", self.tls_name.clone()),
            ("key_file", self.key_file.clone()),
            ("insecure", said(self.insecure)),
            ("timeout_ms", self.timeout_ms.clone()),
        ]
    }
}

/// The server of a command that is nothing without one.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The server")]
pub(super) struct AddrArgs {
    /// Host and port of the server
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl AddrArgs {
    pub(super) fn given(&self) -> Given {
        [vec![("addr", self.addr.clone())], self.trust.given()].concat()
    }
}

/// The server that an export may come from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The server")]
pub(super) struct FromServerArgs {
    /// Takes it from a running server, such as 127.0.0.1:50051; the caller needs the role admin
    #[arg(long, value_name = "HOST:PORT")]
    from_server: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl FromServerArgs {
    pub(super) fn given(&self) -> Given {
        [vec![("from_server", self.from_server.clone())], self.trust.given()].concat()
    }
}

/// The certificate that a client shows, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Which server, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Host and port.
    pub addr: String,
    /// Authorities of its certificate, in PEM; without them nothing is encrypted.
    pub tls_ca: Option<PathBuf>,
    /// The client's own certificate.
    pub tls_own: Option<OwnCertificate>,
    /// Name in the server's certificate, if not the host.
    pub tls_name: Option<String>,
    /// The file that holds the key to show.
    pub key_file: Option<PathBuf>,
    /// How long connecting, and the next answer, may take.
    pub timeout: Duration,
}

/// The server that has to be named; none where it is not, which ends the reading.
pub(super) fn read_addr(reader: &mut Reader, timeout_ms: u64) -> Option<ServerConfig> {
    let addr = reader.required_parsed("addr", host_and_port);
    read_trust(reader, addr, timeout_ms)
}

/// The server that an export comes from; none where none is named.
pub(super) fn read_from_server(reader: &mut Reader) -> Option<ServerConfig> {
    let addr = reader.optional_parsed("from_server", host_and_port);
    read_trust(reader, addr, STREAM_TIMEOUT_MS)
}

fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("host and port, such as 127.0.0.1:50051".to_owned()),
    }
}

fn read_trust(reader: &mut Reader, addr: Option<String>, timeout_ms: u64) -> Option<ServerConfig> {
    let file = |reader: &mut Reader, key| reader.optional(key).map(PathBuf::from);
    let tls_ca = file(reader, "tls_ca");
    let tls_own = match (file(reader, "tls_cert"), file(reader, "tls_key")) {
        (Some(cert), Some(key)) => Some(OwnCertificate { cert, key }),
        (None, None) => None,
        _ => {
            reader.conflict("tls_cert and tls_key go together: give both or none".to_owned());
            None
        }
    };
    let tls_name = reader.optional("tls_name");
    let key_file = file(reader, "key_file");
    let insecure = reader.flag("insecure");
    let timeout_ms = reader.number("timeout_ms", timeout_ms, 1..=TIMEOUT_MS_MAX);
    // The environment may hold the rest for other commands: without a server it says nothing.
    let addr = addr?;
    if tls_ca.is_none() && (tls_own.is_some() || tls_name.is_some()) {
        reader.conflict("tls_ca is missing: without it nothing is encrypted".to_owned());
    }
    if key_file.is_some() && tls_ca.is_none() && !is_here(&addr) && !insecure {
        reader.conflict(format!(
            "the key would go to {addr} unencrypted: give --tls-ca, or say --insecure"
        ));
    }
    let timeout = Duration::from_millis(timeout_ms);
    Some(ServerConfig { addr, tls_ca, tls_own, tls_name, key_file, timeout })
}

/// Whether an address is this machine's own.
fn is_here(addr: &str) -> bool {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    type Read = fn(&mut Reader) -> Option<ServerConfig>;

    fn read(way: Read, flags: &[(&str, &str)]) -> Result<Option<ServerConfig>, String> {
        let flags = flags.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        let mut reader = Reader::new(Layers { flags: flags.collect(), ..Layers::default() });
        let found = way(&mut reader);
        reader.finish().map(|_| found).map_err(|error| error.to_string())
    }

    /// Both ways to name a server: its flag, and how it is read.
    const WAYS: [(&str, Read); 2] =
        [("addr", |reader| read_addr(reader, 2_000)), ("from_server", read_from_server)];

    #[test]
    fn a_key_is_not_sent_in_the_clear_to_another_machine() {
        let key = ("key_file", "key");
        for (flag, way) in WAYS {
            for near in ["127.0.0.1:1", "[::1]:1", "localhost:50051"] {
                assert_eq!(read(way, &[(flag, near), key]).unwrap().unwrap().addr, near);
            }
            for far in ["models.example:50051", "10.0.0.7:1", "localhost.example:1"] {
                let far = (flag, far);
                assert!(read(way, &[far, key]).unwrap_err().contains("unencrypted"), "{far:?}");
                assert!(read(way, &[far, key, ("insecure", "true")]).is_ok());
                assert!(read(way, &[far, key, ("tls_ca", "ca.pem")]).is_ok());
            }
        }
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        for (flag, way) in WAYS {
            let far = (flag, "models.example:50051");
            let fails = |flags: &[(&str, &str)], with: &str| {
                let error = read(way, flags).unwrap_err();
                assert!(error.contains(with), "{flag}: {error}");
            };
            fails(&[(flag, "nobody")], "host and port");
            fails(&[far, ("tls_cert", "c"), ("tls_ca", "a")], "tls_key");
            fails(&[far, ("tls_cert", "c"), ("tls_key", "k")], "tls_ca is missing");
            fails(&[far, ("tls_name", "n")], "tls_ca is missing");
            fails(&[far, ("timeout_ms", "0")], "600000");
        }
    }

    #[test]
    fn an_export_need_not_come_from_a_server_and_time_is_given_to_it() {
        assert_eq!(read(read_from_server, &[("tls_name", "n"), ("key_file", "k")]), Ok(None));
        assert!(read(WAYS[0].1, &[]).unwrap_err().contains("addr is missing"));
        for ((flag, way), most) in WAYS.into_iter().zip([2_000, STREAM_TIMEOUT_MS]) {
            let near = (flag, "127.0.0.1:1");
            let of = |flags: &[_]| read(way, flags).unwrap().unwrap().timeout.as_millis();
            assert_eq!(of(&[near]), u128::from(most));
            assert_eq!(of(&[near, ("timeout_ms", "7")]), 7);
        }
    }
}

//! The settings of programs that ask a running server.

use std::path::PathBuf;

use clap::Args;

use super::log::said;
use super::ops::Given;
use super::raw::Reader;

/// Settings that only these commands use.
pub(super) const KEYS: [&str; 6] =
    ["from_server", "tls_ca", "tls_cert", "tls_key", "key_file", "insecure"];

/// The certificate that a client shows, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Which server is asked, and how it is trusted and convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Host and port.
    pub address: String,
    /// Authorities that its certificate must be of, in PEM; none: the connection is plain.
    pub tls_ca: Option<PathBuf>,
    /// What is shown to it.
    pub tls_own: Option<OwnCertificate>,
    /// The file of the key that is sent along.
    pub key_file: Option<PathBuf>,
}

/// An export that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchConfig {
    /// From whom.
    pub remote: RemoteConfig,
    /// Into which new directory.
    pub out: PathBuf,
}

#[derive(Debug, Clone, Default, Args)]
pub(super) struct RemoteArgs {
    /// Takes it from a running server, such as 127.0.0.1:50051; the caller needs the role admin
    #[arg(long, value_name = "HOST:PORT")]
    from_server: Option<String>,
    /// The authority of the server's certificate, in PEM; without it the connection is plain
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// A certificate to show to the server, in PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// A file with the key to show to the server
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// Sends the key unencrypted to another machine
    #[arg(long)]
    insecure: bool,
}

impl RemoteArgs {
    pub(super) fn given(&self) -> Given {
        vec![
            ("from_server", self.from_server.clone()),
            ("tls_ca", self.tls_ca.clone()),
            ("tls_cert", self.tls_cert.clone()),
            ("tls_key", self.tls_key.clone()),
            ("key_file", self.key_file.clone()),
            ("insecure", said(self.insecure)),
        ]
    }
}

/// Which server is asked; none where none is named.
pub(super) fn read_remote(reader: &mut Reader) -> Option<RemoteConfig> {
    let address = reader.optional_parsed("from_server", |text| match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("a host and port such as 127.0.0.1:50051".to_owned()),
    });
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
    let key_file = file(reader, "key_file");
    let insecure = reader.flag("insecure");
    let address = address?;
    if tls_own.is_some() && tls_ca.is_none() {
        let text = "a certificate is shown on encrypted connections only: give --tls-ca".to_owned();
        reader.conflict(text);
    }
    if key_file.is_some() && tls_ca.is_none() && !is_here(&address) && !insecure {
        reader.conflict(format!(
            "the key would go to {address} unencrypted: give --tls-ca, or say --insecure"
        ));
    }
    Some(RemoteConfig { address, tls_ca, tls_own, key_file })
}

/// Whether an address is this machine's own.
fn is_here(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn read(flags: &[(&str, &str)]) -> Result<Option<RemoteConfig>, String> {
        let flags = flags.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        let mut reader = Reader::new(Layers { flags: flags.collect(), ..Layers::default() });
        let found = read_remote(&mut reader);
        reader.finish().map(|_| found).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_not_sent_in_the_clear_to_another_machine() {
        let key = ("key_file", "key");
        for near in ["127.0.0.1:1", "[::1]:1", "localhost:50051"] {
            assert_eq!(read(&[("from_server", near), key]).unwrap().unwrap().address, near);
        }
        let far = ("from_server", "models.example:50051");
        assert!(read(&[far, key]).unwrap_err().contains("--tls-ca"));
        assert!(read(&[far, key, ("insecure", "true")]).is_ok());
        assert!(read(&[far, key, ("tls_ca", "ca.pem")]).is_ok());
        assert!(read(&[("from_server", "nobody")]).unwrap_err().contains("a host and port"));
        assert!(read(&[far, ("tls_cert", "c"), ("tls_ca", "a")]).unwrap_err().contains("tls_key"));
        assert_eq!(read(&[]), Ok(None));
    }
}

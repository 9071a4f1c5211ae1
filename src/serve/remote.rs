//! A connection to a server, for programs that ask one.
//!
//! In: where it listens, and how it is trusted and convinced. Out: a channel, and the key that goes
//! along with every call. It deliberately retries nothing: what may be repeated is known to those
//! who call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tonic::metadata::{AsciiMetadataValue, errors::InvalidMetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::config::RemoteConfig;
use crate::store::TransferError;

/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How often a silent connection is asked whether it is still there.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);

/// Why a server gave nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// A file of certificates or the key cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file of the key holds none.
    #[error("{}: not a key: one line of printable characters is wanted", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// No connection.
    #[error("{address}: {detail}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        detail: String,
    },
    /// The server refused or broke off.
    #[error("{address}: {reason}: {message}")]
    Refused {
        /// Who.
        address: String,
        /// Its reason, a stable code.
        reason: String,
        /// In words.
        message: String,
        /// Whether trying again later may help.
        is_for_later: bool,
    },
    /// What the server sent makes no sense.
    #[error("{address}: {what}")]
    Nonsense {
        /// Who.
        address: String,
        /// What is wrong.
        what: &'static str,
    },
    /// What came cannot be written down.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The system gave no runtime.
    #[error("starting: {0}")]
    Runtime(#[source] std::io::Error),
}

impl RemoteError {
    /// The program's exit code: 64 for settings, 75 where trying again later may help, else 65, or
    /// 1 where this machine failed.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Key { .. } => 64,
            Self::Connect { .. } | Self::Refused { is_for_later: true, .. } => 75,
            Self::Runtime(_) | Self::Transfer(TransferError::Io { .. }) => 1,
            Self::Refused { .. } | Self::Nonsense { .. } | Self::Transfer(_) => 65,
        }
    }

    /// The error of a call.
    pub(super) fn of(address: &str, status: &Status) -> Self {
        let reason = status
            .get_details_error_info()
            .map_or_else(|| format!("{:?}", status.code()), |info| info.reason);
        Self::Refused {
            address: address.to_owned(),
            reason,
            message: status.message().to_owned(),
            is_for_later: matches!(status.code(), Code::Unavailable | Code::Aborted),
        }
    }
}

/// Puts the caller's key on every call.
#[derive(Debug, Clone)]
pub(super) struct WithKey(Option<AsciiMetadataValue>);

impl Interceptor for WithKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// The key of a configuration.
pub(super) fn key(config: &RemoteConfig) -> Result<WithKey, RemoteError> {
    let Some(path) = &config.key_file else { return Ok(WithKey(None)) };
    let text = String::from_utf8(read(path)?).unwrap_or_default();
    let bad = |_: InvalidMetadataValue| RemoteError::Key { path: path.clone() };
    if text.trim().is_empty() {
        return Err(RemoteError::Key { path: path.clone() });
    }
    let mut value: AsciiMetadataValue = format!("Bearer {}", text.trim()).parse().map_err(bad)?;
    value.set_sensitive(true);
    Ok(WithKey(Some(value)))
}

/// Connects, encrypted where an authority is named.
pub(super) async fn connect(config: &RemoteConfig) -> Result<Channel, RemoteError> {
    let address = &config.address;
    let failed = |error: &tonic::transport::Error| {
        // The reason stands at the end of the chain.
        let mut detail = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            detail = format!("{detail}: {next}");
            cause = next.source();
        }
        RemoteError::Connect { address: address.clone(), detail }
    };
    let scheme = if config.tls_ca.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"));
    let mut endpoint = endpoint
        .map_err(|error| failed(&error))?
        .connect_timeout(CONNECT_TIME)
        .http2_keep_alive_interval(KEEPALIVE_EVERY);
    if let Some(authority) = &config.tls_ca {
        let mut tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(authority)?));
        if let Some(files) = &config.tls_own {
            tls = tls.identity(Identity::from_pem(read(&files.cert)?, read(&files.key)?));
        }
        endpoint = endpoint.tls_config(tls).map_err(|error| failed(&error))?;
    }
    endpoint.connect().await.map_err(|error| failed(&error))
}

fn read(path: &Path) -> Result<Vec<u8>, RemoteError> {
    std::fs::read(path).map_err(|source| RemoteError::File { path: path.to_owned(), source })
}

//! A way to a server: address, encryption, and the key that is shown with every call.

use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::ClientError;
use crate::config::ServerConfig;

/// A channel that shows a key.
pub(super) type Connection = InterceptedService<Channel, ShowKey>;

/// Shows a key with each call.
#[derive(Clone)]
pub(super) struct ShowKey(Option<MetadataValue<Ascii>>);

impl Interceptor for ShowKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

/// The way to a server. Nothing is connected before the first call.
pub(super) fn connection(server: &ServerConfig) -> Result<Connection, ClientError> {
    let ServerConfig { addr, tls_ca, tls_own, tls_name, key_file, timeout } = server;
    let refused = |detail: String| ClientError::Address { addr: addr.clone(), detail };
    let scheme = if tls_ca.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{addr}"));
    let mut endpoint = endpoint
        .map_err(|error| refused(error.to_string()))?
        .connect_timeout(*timeout)
        // A peer that is gone without a word is noticed also while nothing is sent.
        .http2_keep_alive_interval(*timeout)
        .keep_alive_timeout(*timeout);
    if let Some(ca) = tls_ca {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
        if let Some((cert, key)) = tls_own {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        if let Some(name) = tls_name {
            tls = tls.domain_name(name);
        }
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| refused(with_causes(error.to_string(), &error)))?;
    }
    let key = key_file.as_deref().map(read_key).transpose()?;
    Ok(InterceptedService::new(endpoint.connect_lazy(), ShowKey(key)))
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|source| ClientError::File { path: path.to_owned(), source })
}

fn read_key(path: &Path) -> Result<MetadataValue<Ascii>, ClientError> {
    let no_key = || ClientError::NoKey { path: path.to_owned() };
    let text = String::from_utf8(read(path)?).map_err(|_| no_key())?;
    let key = text.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(no_key());
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {key}").parse().map_err(|_| no_key())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A text with what is behind it, which says where it happened.
pub(super) fn with_causes(text: String, error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (text, error.source());
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

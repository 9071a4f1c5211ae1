//! Who calls, and whether that may be: keys, certificates, roles, quotas.
//!
//! In: a request's headers and what is known of its connection. Out: it may go on, or why not.
//! A key comes as `authorization: Bearer KEY` or `x-api-key: KEY`; without one a verified
//! certificate speaks for its owner. The file of keys is read again when it changes, and the old
//! one holds as long as the new one has errors. It deliberately knows no message.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use thiserror::Error;
use tokio::time::Instant;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;
use tonic::codegen::http::HeaderMap;

use super::status::ServeError;
use crate::config::{Grant, GuardConfig, KeyFile, KeyFileError, Role};

/// What every caller with a verified certificate may do where no file of keys says more.
const BY_CERTIFICATE: [Role; 2] = [Role::Score, Role::Ingest];

/// Why the keys cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file has errors.
    #[error("{}: {source}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// All of them.
        source: KeyFileError,
    },
}

/// What is known of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    certificate: Option<Arc<Certificate>>,
}

/// A verified certificate, and whom it was found to belong to by which file of keys.
#[derive(Debug)]
struct Certificate {
    der: CertificateDer<'static>,
    found: ArcSwapOption<(Arc<Rules>, Option<Arc<Caller>>)>,
}

impl Peer {
    /// Of a connection whose certificate has been verified, if it has one.
    pub(super) fn new(certificate: Option<CertificateDer<'static>>) -> Self {
        let certificate = certificate
            .map(|der| Arc::new(Certificate { der, found: ArcSwapOption::const_empty() }));
        Self { certificate }
    }
}

/// One caller with what is left of the quota.
#[derive(Debug)]
struct Caller {
    grant: Grant,
    bucket: Mutex<Option<Bucket>>,
}

/// A bucket of calls that fills at the allowed rate and holds one second's worth.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    calls: f64,
    at: Instant,
}

impl Caller {
    fn new(grant: Grant) -> Arc<Self> {
        Arc::new(Self { grant, bucket: Mutex::new(None) })
    }

    /// Takes one call out of the quota.
    fn take(&self) -> Result<(), ServeError> {
        let Some(limit) = self.grant.calls_per_second else { return Ok(()) };
        let (now, rate) = (Instant::now(), f64::from(limit));
        // Nothing in here panics.
        let mut held = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Bucket { calls: rate, at: now };
        let before = held.unwrap_or(full);
        let gained = rate * (now - before.at).as_secs_f64();
        let calls = (before.calls + gained).min(rate);
        let is_left = calls >= 1.0;
        *held = Some(Bucket { calls: if is_left { calls - 1.0 } else { calls }, at: now });
        if is_left {
            return Ok(());
        }
        Err(ServeError::QuotaUsed { caller: self.grant.name.clone(), limit })
    }
}

/// The file of keys with its callers.
#[derive(Debug)]
struct Rules {
    file: KeyFile,
    by_key: BTreeMap<String, Arc<Caller>>,
    by_certificate: Vec<(ServerName<'static>, Arc<Caller>)>,
}

impl Rules {
    fn new(file: KeyFile) -> Result<Self, KeyFileError> {
        let by_key =
            file.keys().map(|grant| (grant.name.clone(), Caller::new(grant.clone()))).collect();
        let (mut by_certificate, mut problems) = (Vec::new(), Vec::new());
        for grant in file.certificates() {
            match ServerName::try_from(grant.name.clone()) {
                Ok(name) => by_certificate.push((name, Caller::new(grant.clone()))),
                Err(_) => problems.push(format!("{:?} is no DNS name", grant.name)),
            }
        }
        if problems.is_empty() {
            Ok(Self { file, by_key, by_certificate })
        } else {
            Err(KeyFileError(problems))
        }
    }

    fn of_key(&self, key: &str) -> Option<&Arc<Caller>> {
        self.by_key.get(&self.file.find(key)?.name)
    }

    fn of_certificate(&self, der: &CertificateDer<'_>) -> Option<Arc<Caller>> {
        let certificate = ParsedCertificate::try_from(der).ok()?;
        let fits = |name: &ServerName<'_>| verify_server_name(&certificate, name).is_ok();
        let found = self.by_certificate.iter().find(|(name, _)| fits(name));
        found.map(|(_, caller)| Arc::clone(caller))
    }
}

/// Who may call.
#[derive(Debug, Default)]
pub(super) struct Access {
    path: Option<PathBuf>,
    rules: ArcSwapOption<Rules>,
    by_certificate: bool,
}

impl Access {
    /// As it is configured.
    pub(super) fn open(guard: &GuardConfig) -> Result<Self, AccessError> {
        let rules = guard.keys.as_deref().map(read).transpose()?;
        Ok(Self {
            path: guard.keys.clone(),
            rules: ArcSwapOption::from_pointee(rules),
            by_certificate: guard.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
        })
    }

    /// Reads the file of keys again; the old one holds where that fails.
    pub(super) fn reload(&self) -> Result<(), AccessError> {
        if let Some(path) = &self.path {
            self.rules.store(Some(Arc::new(read(path)?)));
        }
        Ok(())
    }

    /// Whether everybody may do everything.
    fn is_open(&self) -> bool {
        self.path.is_none() && !self.by_certificate
    }

    /// Whether a caller may use a role; none: whether the caller is known at all, which takes
    /// nothing out of the quota.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        role: Option<Role>,
    ) -> Result<(), ServeError> {
        if self.is_open() {
            return Ok(());
        }
        let rules = self.rules.load();
        let certificate = peer.and_then(|peer| peer.certificate.as_deref());
        let Some(rules) = rules.as_ref() else {
            // Only certificates: the handshake has verified this one.
            return match (certificate, role) {
                (None, _) => Err(ServeError::Unauthenticated { is_wrong: false }),
                (Some(_), Some(role)) if !BY_CERTIFICATE.contains(&role) => {
                    Err(ServeError::Forbidden { caller: "its certificate".to_owned(), role })
                }
                (Some(_), _) => Ok(()),
            };
        };
        let caller = match (key(headers), certificate) {
            (Some(key), _) => {
                let caller = rules.of_key(key).cloned();
                caller.ok_or(ServeError::Unauthenticated { is_wrong: true })?
            }
            (None, Some(certificate)) => caller_by(certificate, rules)
                .ok_or(ServeError::Unauthenticated { is_wrong: false })?,
            (None, None) => return Err(ServeError::Unauthenticated { is_wrong: false }),
        };
        let Some(role) = role else { return Ok(()) };
        if !caller.grant.allows(role) {
            return Err(ServeError::Forbidden { caller: caller.grant.name.clone(), role });
        }
        caller.take()
    }
}

/// The owner of a certificate, looked up once a connection and file of keys.
fn caller_by(certificate: &Certificate, rules: &Arc<Rules>) -> Option<Arc<Caller>> {
    if let Some(found) = certificate.found.load().as_deref()
        && Arc::ptr_eq(&found.0, rules)
    {
        return found.1.clone();
    }
    let caller = rules.of_certificate(&certificate.der);
    certificate.found.store(Some(Arc::new((Arc::clone(rules), caller.clone()))));
    caller
}

/// The key that a request shows.
fn key(headers: &HeaderMap) -> Option<&str> {
    if let Some(text) = headers.get("authorization") {
        // Something that is no bearer token is a key that nobody has.
        let text = text.to_str().unwrap_or_default();
        let bearer = text.split_once(' ').filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        return Some(bearer.map_or("", |(_, key)| key.trim()));
    }
    Some(headers.get("x-api-key")?.to_str().unwrap_or_default())
}

fn read(path: &Path) -> Result<Rules, AccessError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| AccessError::Read { path: path.to_owned(), source })?;
    KeyFile::parse(&text)
        .and_then(Rules::new)
        .map_err(|source| AccessError::Keys { path: path.to_owned(), source })
}

//! Encryption: certificate, key and authorities of clients from PEM files, read again without a
//! restart.
//!
//! In: the paths of the files. Out: what the next handshake uses. Files that cannot be used leave
//! the present ones in place. It deliberately looks at no expiry date: clients do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::TlsFiles;

/// HTTP/2, the only protocol spoken.
const ALPN: &[u8] = b"h2";

/// Why files cannot be used for TLS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is no PEM, or not the right one.
    #[error("{}: {wanted} in PEM is wanted ({source})", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What the parser says.
        source: pem::Error,
    },
    /// A file of certificates has none.
    #[error("{}: there is no certificate in it", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// Certificate and key cannot be used, or do not belong together.
    #[error("{} with {}: {source}", cert.display(), key.display())]
    Unusable {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the library says.
        source: tokio_rustls::rustls::Error,
    },
    /// The authorities of clients cannot be used.
    #[error("{}: {what}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why not.
        what: String,
    },
}

/// What handshakes use, and the files that it is from.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(load(files)?);
        Ok(Self { files: files.clone(), current })
    }

    /// Reads the files again; connections that are open stay as they are.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(load(&self.files)?));
        Ok(())
    }

    /// For the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

fn load(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let TlsFiles { cert, key, client_ca } = files;
    let chain = certificates(cert)?;
    let text = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|source| TlsError::Pem {
        path: key.clone(),
        wanted: "a private key",
        source,
    })?;
    let unusable = |source| TlsError::Unusable { cert: cert.clone(), key: key.clone(), source };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let authorities = |what: String| TlsError::Authorities { path: path.clone(), what };
            let mut roots = RootCertStore::empty();
            for root in certificates(path)? {
                roots.add(root).map_err(|error| authorities(error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let verifier =
                verifier.map_err(|error: VerifierBuilderError| authorities(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, private).map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        wanted: "certificates",
        source,
    })?;
    if found.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned() });
    }
    Ok(found)
}

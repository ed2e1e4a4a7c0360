//! Certificates and keys from PEM files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// Who the agent is, and whom it lets in: TLS 1.2 and 1.3, with *ring*.
#[derive(Debug)]
pub struct ServerIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Arc<dyn ClientCertVerifier>,
    /// For messages.
    files: (PathBuf, PathBuf),
}

impl ServerIdentity {
    /// The agent's certificate with its chain, its own first, and its private key (PKCS #8,
    /// PKCS #1 or SEC 1, not encrypted). Both may be in one file, as HAProxy has it.
    ///
    /// # Errors
    /// [`TlsError`] for files that cannot be read or hold nothing of the kind.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        Ok(Self {
            chain: certificates(certificate)?,
            key: PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
                pem::Error::NoItemsFound => TlsError::NoKey(key.to_owned()),
                error => unreadable(key, error),
            })?,
            clients: WebPkiClientVerifier::no_client_auth(),
            files: (certificate.to_owned(), key.to_owned()),
        })
    }

    /// Lets in those only whose certificate one of these authorities has signed.
    ///
    /// # Errors
    /// [`TlsError`] for a file that cannot be read or holds no usable authority.
    pub fn with_client_ca(mut self, authorities: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = authorities.as_ref();
        let refused = |reason: String| TlsError::ClientCa {
            path: path.to_owned(),
            reason,
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(path)? {
            roots
                .add(authority)
                .map_err(|error| refused(error.to_string()))?;
        }
        self.clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(self)
    }

    /// What [`TlsListener::new`](super::TlsListener::new) takes.
    ///
    /// # Errors
    /// [`TlsError::Identity`] when certificate and key are unusable, or not of one pair.
    pub fn into_config(self) -> Result<Arc<ServerConfig>, TlsError> {
        let (certificate, key) = self.files;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(self.clients)
                    .with_single_cert(self.chain, self.key)
            });
        config.map(Arc::new).map_err(|source| TlsError::Identity {
            certificate,
            key,
            source,
        })
    }
}

/// Named, rather than whichever the process has as its default: it may have none.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(path, error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Read { path, source },
        source => TlsError::Pem { path, source },
    }
}

/// A file for TLS is unusable. Each is one line that names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not PEM.
    #[error("{} is not a PEM file: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// It holds no certificate.
    #[error("{} holds no certificate (BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    /// It holds no private key.
    #[error("{} holds no private key (BEGIN PRIVATE KEY); an encrypted one is not read", .0.display())]
    NoKey(PathBuf),
    /// It holds a certificate that cannot be used as an authority.
    #[error("{} holds an unusable certificate authority: {reason}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key cannot be used together.
    #[error("{} and {} cannot be used: {source}", certificate.display(), key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

//! TLS towards the servers (`valkeys://`, `rediss://`): whom to believe, and as whom to
//! appear. Checked as a whole before anything connects.
//!
//! Without a word on whom to believe, those are the public authorities that browsers believe,
//! as of this build; the system's are not read. A server's certificate has to be valid for the
//! host that it is reached by: for the nodes of a cluster, the one that they announce.

use std::sync::Arc;

use redis::{Client, ClientTlsConfig, ConnectionInfo, RedisError, TlsCertificates};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// What the connections to TLS servers are made with. Its [`Debug`] form shows no key.
#[derive(Debug, Clone)]
pub struct Tls {
    certificates: TlsCertificates,
}

/// What is wrong with the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificates of those to believe.
    #[error("{0}")]
    Authorities(String),
    /// The certificate to appear with.
    #[error("{0}")]
    Certificate(String),
    /// Its key.
    #[error("{0}")]
    Key(String),
}

impl Tls {
    /// To believe whom the PEM certificates in `authorities` vouch for and nobody else, and
    /// to appear with the PEM certificate chain and the PEM key in `identity` to servers that
    /// ask for one.
    ///
    /// # Errors
    /// If a text holds nothing of what it should or what it holds is broken, or if the key is
    /// not the certificate's.
    pub fn new(
        authorities: Option<Vec<u8>>,
        identity: Option<(Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(authorities) = &authorities {
            for certificate in certificates(authorities).map_err(TlsError::Authorities)? {
                let added = roots.add(certificate);
                added.map_err(|error| TlsError::Authorities(error.to_string()))?;
            }
        }
        if let Some((chain, key)) = &identity {
            let chain = certificates(chain).map_err(TlsError::Certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
                TlsError::Key(match error {
                    pem::Error::NoItemsFound => {
                        "it holds no private key in PEM, or an encrypted one".to_owned()
                    }
                    error => format!("it is no PEM: {error}"),
                })
            })?;
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .and_then(|config| {
                    config
                        .with_root_certificates(roots)
                        .with_client_auth_cert(chain, key)
                })
                .map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => {
                        TlsError::Key("it is not the key of the certificate".to_owned())
                    }
                    error @ rustls::Error::InvalidCertificate(_) => {
                        TlsError::Certificate(error.to_string())
                    }
                    error => TlsError::Key(error.to_string()),
                })?;
        }
        Ok(Self {
            certificates: TlsCertificates {
                client_tls: identity.map(|(client_cert, client_key)| ClientTlsConfig {
                    client_cert,
                    client_key,
                }),
                root_cert: authorities,
            },
        })
    }

    /// The same server, connected to with these certificates.
    ///
    /// # Errors
    /// If it is not a TLS server.
    pub fn apply(&self, node: ConnectionInfo) -> Result<ConnectionInfo, RedisError> {
        let client = Client::build_with_tls(node, self.certificates.clone())?;
        Ok(client.get_connection_info().clone())
    }
}

/// Makes ring do the cryptography of this process, unless something else does already.
pub(super) fn provide_cryptography() {
    // An error is what was there before.
    let _ = ring::default_provider().install_default();
}

/// At least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(read) if read.is_empty() => Err("it holds no certificate in PEM".to_owned()),
        Ok(read) => Ok(read),
        Err(error) => Err(format!("it is no PEM: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn signed() -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["valkey.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem().into(), key.serialize_pem().into())
    }

    #[test]
    fn what_fits_together_is_taken() {
        let (certificate, key) = signed();
        let tls = Tls::new(Some(certificate.clone()), Some((certificate, key))).unwrap();
        let node: ConnectionInfo = "rediss://h:1".parse().unwrap();
        let node = tls.apply(node).unwrap();
        assert_eq!(node.addr().to_string(), "h:1");
        assert!(tls.apply("redis://h:1".parse().unwrap()).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file_that_it_is_wrong_with() {
        let (certificate, key) = signed();
        let (_, other) = signed();
        let garbage = b"-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n";
        let no_x509 = b"-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n";
        for bad in [&b""[..], b"no PEM", &key, garbage, no_x509] {
            let error = Tls::new(Some(bad.to_vec()), None).unwrap_err();
            assert!(matches!(error, TlsError::Authorities(_)), "{error:?}");
            let identity = Some((bad.to_vec(), key.clone()));
            let error = Tls::new(None, identity).unwrap_err();
            assert!(matches!(error, TlsError::Certificate(_)), "{error:?}");
        }
        for bad in [&b""[..], &certificate, &other] {
            let identity = Some((certificate.clone(), bad.to_vec()));
            let error = Tls::new(None, identity).unwrap_err();
            assert!(matches!(error, TlsError::Key(_)), "{error:?}");
        }
    }

    #[test]
    fn no_key_is_shown() {
        let (certificate, key) = signed();
        let text = String::from_utf8(key.clone()).unwrap();
        let secret = text.lines().nth(1).unwrap();
        let tls = Tls::new(None, Some((certificate, key))).unwrap();
        assert!(!format!("{tls:?}").contains(secret));
        let node = tls.apply("rediss://h:1".parse().unwrap()).unwrap();
        assert!(!format!("{node:?}").contains(secret));
    }
}

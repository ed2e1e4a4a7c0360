//! Certificates for the tests: two authorities, and files as an operator has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use spop_server::tls::ServerIdentity;
use spop_server::tls::rustls::crypto::ring;
use spop_server::tls::rustls::pki_types::pem::PemObject as _;
use spop_server::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use spop_server::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

/// A directory with `ca.pem`, and `agent.pem`, `haproxy.pem` and `stranger.pem`, each with
/// certificate and key. The stranger's is signed by another authority.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ours = authority("ours");
        let others = authority("others");
        fs::write(dir.path().join("ca.pem"), ours.pem()).unwrap();
        for (name, issuer) in [("agent", &ours), ("haproxy", &ours), ("stranger", &others)] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let certificate = params.signed_by(&key, issuer).unwrap();
            let pem = certificate.pem() + &key.serialize_pem();
            fs::write(dir.path().join(format!("{name}.pem")), pem).unwrap();
        }
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// For an agent that lets in whom the first authority has signed.
    pub(crate) fn mutual(&self) -> Arc<ServerConfig> {
        ServerIdentity::from_pem_files(self.path("agent.pem"), self.path("agent.pem"))
            .unwrap()
            .with_client_ca(self.path("ca.pem"))
            .unwrap()
            .into_config()
            .unwrap()
    }

    /// For a client that trusts the first authority, and is somebody or nobody.
    pub(crate) fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(read_certificates(&self.path("ca.pem")));
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let path = self.path(name);
                let key = PrivateKeyDer::from_pem_file(&path).unwrap();
                builder
                    .with_client_auth_cert(read_certificates(&path), key)
                    .unwrap()
            }
        })
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    // By its name first, an authority is recognised.
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn read_certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(path).unwrap();
    certificates.collect::<Result<_, _>>().unwrap()
}

//! Files that are not what they should be: one line that names the file.

use std::fs;
use std::path::Path;

use spop_server::tls::{ServerIdentity, TlsError};

use crate::authority::Files;

#[test]
fn each_mistake_names_its_file() {
    let files = Files::new();
    let agent = files.path("agent.pem");
    let missing = files.path("missing.pem");
    let text = files.path("text.pem");
    fs::write(&text, "no PEM at all").unwrap();
    let torn = files.path("torn.pem");
    let whole = fs::read_to_string(&agent).unwrap();
    fs::write(&torn, &whole[..200]).unwrap();

    let refused = |certificate: &Path, key: &Path| {
        ServerIdentity::from_pem_files(certificate, key).unwrap_err()
    };
    let error = refused(&missing, &agent);
    assert!(matches!(error, TlsError::Read { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read {}: No such file or directory (os error 2)",
            missing.display()
        )
    );
    let error = refused(&agent, &missing);
    assert!(matches!(error, TlsError::Read { .. }));
    let error = refused(&text, &agent);
    assert_eq!(
        error.to_string(),
        format!(
            "{} holds no certificate (BEGIN CERTIFICATE)",
            text.display()
        )
    );
    let error = refused(&agent, &files.path("ca.pem"));
    assert!(matches!(error, TlsError::NoKey(_)));
    assert!(error.to_string().contains("ca.pem holds no private key"));
    let error = refused(&torn, &agent);
    assert!(matches!(error, TlsError::Pem { .. }));
    assert!(error.to_string().contains("torn.pem is not a PEM file"));

    let identity = ServerIdentity::from_pem_files(&agent, files.path("haproxy.pem")).unwrap();
    let error = identity.into_config().unwrap_err();
    assert!(matches!(error, TlsError::Identity { .. }));
    assert!(error.to_string().contains("agent.pem and "), "{error}");

    let identity = ServerIdentity::from_pem_files(&agent, &agent).unwrap();
    let error = identity.with_client_ca(&text).unwrap_err();
    assert!(matches!(error, TlsError::NoCertificate(_)));
    let nonsense = files.path("nonsense.pem");
    fs::write(
        &nonsense,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let identity = ServerIdentity::from_pem_files(&agent, &agent).unwrap();
    let error = identity.with_client_ca(&nonsense).unwrap_err();
    assert!(matches!(error, TlsError::ClientCa { .. }));
    assert!(error.to_string().contains("nonsense.pem holds an unusable"));
}

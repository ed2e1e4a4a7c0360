//! Credentials and certificates: where they may come from, and that no secret is shown.

use std::fs;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// Settings under which the servers are asked, beside further ones.
fn asking(nodes: &str, further: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    load(&[&[("VALKEY_NODES", nodes)], further].concat())
}

fn refusal(nodes: &str, further: &[(&str, &str)]) -> String {
    let error = asking(nodes, further).unwrap_err();
    assert_eq!(error.name(), further.last().unwrap().0, "{error}");
    let line = error.to_string();
    assert!(!line.contains('\n') && !line.contains("hunter2"), "{line}");
    line
}

/// A file with this content.
fn file(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn credentials(settings: &Settings) -> Vec<(Option<&str>, Option<&str>)> {
    let settings = settings
        .valkey
        .iter()
        .map(|node| node.info.redis_settings());
    settings
        .map(|node| (node.username(), node.password()))
        .collect()
}

#[test]
fn one_set_of_credentials_is_for_all_servers() {
    let password = ("VALKEY_PASSWORD", "hunter2");
    let settings = asking("a:1,b:2", &[password]).unwrap();
    assert_eq!(credentials(&settings), [(None, Some("hunter2")); 2]);

    let settings = asking("a:1,b:2", &[password, ("VALKEY_USERNAME", "ann")]).unwrap();
    assert_eq!(credentials(&settings), [(Some("ann"), Some("hunter2")); 2]);
    let shown = settings.summary();
    assert!(shown.contains("  VALKEY_USERNAME       ann\n"), "{shown}");
    assert!(shown.contains("  VALKEY_PASSWORD       set\n"), "{shown}");
    for shown in [shown, format!("{settings:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_password_may_be_in_a_file_with_a_line_end() {
    let dir = TempDir::new().unwrap();
    for (content, expected) in [
        ("hunter2", "hunter2"),
        ("hunter2\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        (" hunter2 \n\n", " hunter2 \n"),
    ] {
        let path = file(&dir, "password", content);
        let settings = asking("a:1", &[("VALKEY_PASSWORD_FILE", &path)]).unwrap();
        assert_eq!(credentials(&settings), [(None, Some(expected))]);
        assert!(settings.summary().contains(&path));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
    for bad in [&b""[..], b"\n", b"\xffhunter2"] {
        let path = file(&dir, "password", bad);
        refusal("a:1", &[("VALKEY_PASSWORD_FILE", &path)]);
    }
    let gone = dir.path().join("gone");
    let line = refusal("a:1", &[("VALKEY_PASSWORD_FILE", gone.to_str().unwrap())]);
    assert!(line.contains("cannot read it"), "{line}");
    let directory = dir.path().to_str().unwrap();
    refusal("a:1", &[("VALKEY_PASSWORD_FILE", directory)]);
    let large = file(&dir, "large", vec![b'x'; 1024 * 1024 + 1]);
    refusal("a:1", &[("VALKEY_PASSWORD_FILE", &large)]);
}

#[test]
fn credentials_come_from_one_place() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "password", "hunter2");
    let in_file = ("VALKEY_PASSWORD_FILE", &*path);
    let password = ("VALKEY_PASSWORD", "hunter2");
    let line = refusal("a:1", &[password, in_file]);
    assert!(line.contains("VALKEY_PASSWORD is set as well"), "{line}");
    for nodes in ["valkey://:hunter2@a:1", "b:2,valkey://ann:hunter2@a:1"] {
        let line = refusal(nodes, &[in_file]);
        assert!(line.contains("valkey://a:1 in VALKEY_NODES has"), "{line}");
        let line = refusal(nodes, &[password]);
        assert!(line.starts_with("VALKEY_PASSWORD=\"***\": "), "{line}");
    }
    let line = refusal("a:1", &[("VALKEY_USERNAME", "ann")]);
    assert!(line.contains("VALKEY_PASSWORD_FILE"), "{line}");
}

#[test]
fn empty_is_as_good_as_unset_and_without_servers_nothing_counts() {
    let names = [
        "VALKEY_USERNAME",
        "VALKEY_PASSWORD",
        "VALKEY_PASSWORD_FILE",
        "VALKEY_CA_FILE",
        "VALKEY_CERT_FILE",
        "VALKEY_KEY_FILE",
    ];
    let settings = asking("a:1", &names.map(|name| (name, " "))).unwrap();
    assert_eq!(settings.valkey_access, Access::default());
    assert_eq!(settings.not_followed().count(), 0);
    let settings = asking("", &names.map(|name| (name, "/nowhere"))).unwrap();
    assert_eq!(settings.valkey_access, Access::default());
    assert!(settings.not_followed().eq(names));
    let settings = asking("", &names.map(|name| (name, " "))).unwrap();
    assert_eq!(settings.not_followed().count(), 0);
    // Another one is followed, with servers or without.
    let settings = load(&[("SPOA_SHADOW", "true")]).unwrap();
    assert_eq!(settings.not_followed().count(), 0);
}

#[test]
fn certificates_are_read_and_checked() {
    let dir = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let cert = file(&dir, "cert.pem", certificate.pem());
    let key = file(&dir, "key.pem", key.serialize_pem());
    let other = file(
        &dir,
        "other.pem",
        KeyPair::generate().unwrap().serialize_pem(),
    );
    let garbage = file(&dir, "garbage.pem", "hunter2");
    let (ca_file, cert_file) = (("VALKEY_CA_FILE", &*cert), ("VALKEY_CERT_FILE", &*cert));
    let key_file = ("VALKEY_KEY_FILE", &*key);
    let tls = "valkeys://a:1,rediss://b:2";

    let settings = asking(tls, &[ca_file, cert_file, key_file]).unwrap();
    let shown = format!("{settings:?}{}", settings.summary());
    assert!(shown.contains(&cert) && shown.contains(&key), "{shown}");
    let secret = fs::read_to_string(&key).unwrap();
    assert!(!shown.contains(secret.lines().nth(1).unwrap()));

    for (given, said) in [
        (&[("VALKEY_CA_FILE", &*garbage)][..], "no certificate"),
        (&[("VALKEY_CA_FILE", "/nowhere")], "cannot read it"),
        (&[cert_file], "VALKEY_KEY_FILE is not set"),
        (&[key_file], "VALKEY_CERT_FILE is not set"),
        (
            &[key_file, ("VALKEY_CERT_FILE", &garbage)],
            "no certificate",
        ),
        (
            &[cert_file, ("VALKEY_KEY_FILE", &garbage)],
            "no private key",
        ),
        (&[cert_file, ("VALKEY_KEY_FILE", &other)], "not the key of"),
    ] {
        let line = refusal(tls, given);
        assert!(line.contains(said), "{line}");
    }
    // What nothing would be done with is a mistake about something else.
    let line = refusal("a:1", &[ca_file]);
    assert!(
        line.contains("valkey://a:1 in VALKEY_NODES is without TLS"),
        "{line}"
    );
}

#[test]
fn a_password_that_is_not_text_is_not_shown() {
    let error = Settings::load(|name| match name {
        "VALKEY_NODES" => Some("a:1".into()),
        "VALKEY_PASSWORD" => Some(OsString::from_vec(b"hunter2\xff".to_vec())),
        _ => None,
    });
    let line = error.unwrap_err().to_string();
    assert!(
        line.starts_with("VALKEY_PASSWORD=\"***\": not UTF-8"),
        "{line}"
    );
}

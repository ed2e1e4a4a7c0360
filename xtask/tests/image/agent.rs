//! The agent's image: the same bytes each time, the files and the settings that are promised.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tar::EntryType;
use tempfile::TempDir;
use xtask::image::{Built, assemble};

use crate::opened::Opened;

pub(crate) const AGENT: &str = "spoa-gcra";
const PROGRAM: &[u8] = b"\x7fELF, or so";

/// The agent's image in `dir`, around a program with this mode and age.
pub(crate) async fn image(dir: &Path, mode: u32, age: Duration) -> Built {
    image_of(AGENT, dir, mode, age).await
}

async fn image_of(agent: &str, dir: &Path, mode: u32, age: Duration) -> Built {
    let program = dir.join("program");
    fs::write(&program, PROGRAM).unwrap();
    let file = File::options().write(true).open(&program).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
    file.set_permissions(PermissionsExt::from_mode(mode))
        .unwrap();
    let path = dir.join("made/here/agent.oci.tar");
    assemble(agent, &program, &path).await.unwrap()
}

#[tokio::test]
async fn two_assemblies_give_the_same_bytes() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let first = image(one.path(), 0o755, Duration::from_secs(100_000)).await;
    let second = image(other.path(), 0o500, Duration::ZERO).await;
    assert_eq!(first.archive.digest, second.archive.digest);
    assert_eq!(first.archive.id, second.archive.id);
    let same = |one: &Path, other: &Path| fs::read(one).unwrap() == fs::read(other).unwrap();
    assert!(same(&first.archive.path, &second.archive.path));
    assert!(same(&first.sbom, &second.sbom));
}

#[tokio::test]
async fn it_holds_the_program_and_what_programs_look_for_and_no_shell() {
    let dir = TempDir::new().unwrap();
    let built = image(dir.path(), 0o755, Duration::ZERO).await;
    let image = Opened::read(&built.archive.path);
    assert_eq!(built.archive.digest, image.manifest_digest);

    let (licences, others): (Vec<_>, Vec<_>) = image
        .entries
        .iter()
        .partition(|entry| entry.path.starts_with("licenses/"));
    let others: Vec<(&str, u32)> = others
        .iter()
        .map(|entry| (entry.path.as_str(), entry.mode))
        .collect();
    assert_eq!(
        others,
        [
            ("etc/", 0o755),
            ("etc/group", 0o644),
            ("etc/nsswitch.conf", 0o644),
            ("etc/passwd", 0o644),
            ("etc/ssl/", 0o755),
            ("etc/ssl/certs/", 0o755),
            ("etc/ssl/certs/ca-certificates.crt", 0o644),
            ("spoa-gcra", 0o755),
            ("tmp/", 0o1777),
        ]
    );
    assert_eq!(image.entry("spoa-gcra").content, PROGRAM);
    for entry in &image.entries {
        assert_eq!((entry.owner, entry.time), ((0, 0), 0), "{}", entry.path);
    }
    for entry in licences {
        let expected = match entry.kind {
            EntryType::Directory => 0o755,
            EntryType::Regular => 0o644,
            other => panic!("{} is {other:?}", entry.path),
        };
        assert_eq!(entry.mode, expected, "{}", entry.path);
    }
    assert!(
        !image
            .entry("licenses/spoa-gcra/LICENSE-MIT")
            .content
            .is_empty()
    );
    let of_crates = image.paths().into_iter();
    let of_crates = of_crates.filter(|path| path.starts_with("licenses/tokio-1."));
    assert_eq!(of_crates.count(), 2, "a directory and a licence");

    let certificates = &image.entry("etc/ssl/certs/ca-certificates.crt").content;
    let certificates = pem::parse_many(certificates).unwrap();
    assert!(certificates.len() > 100, "{}", certificates.len());
    let passwd = String::from_utf8(image.entry("etc/passwd").content.clone()).unwrap();
    assert!(passwd.contains("\nnonroot:x:65532:65532:"), "{passwd}");
}

#[tokio::test]
async fn a_container_of_it_is_run_as_promised() {
    let dir = TempDir::new().unwrap();
    let built = image(dir.path(), 0o755, Duration::ZERO).await;
    let image = Opened::read(&built.archive.path);

    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.entrypoint().as_ref().unwrap()[..], ["/spoa-gcra"]);
    assert_eq!(config.user().as_deref(), Some("65532:65532"));
    assert_eq!(config.exposed_ports().as_ref().unwrap()[..], ["9000/tcp"]);
    assert_eq!(config.stop_signal().as_deref(), Some("SIGTERM"));
    assert_eq!((config.cmd(), config.env()), (&None, &None));
    let labels = config.labels().as_ref().unwrap();
    let label = |name: &str| labels[&format!("org.opencontainers.image.{name}")].as_str();
    assert_eq!(label("title"), AGENT);
    // Of all packages of the workspace.
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), "Apache-2.0 OR MIT");
    assert!(label("description").contains("rate limiter"));
    let check = json!({ "Test": ["CMD", "/spoa-gcra", "healthcheck"] });
    assert_eq!(image.config_json["config"]["Healthcheck"], check);

    let annotations = image.index.manifests()[0].annotations().as_ref().unwrap();
    let name = format!("localhost/{AGENT}:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(annotations["org.opencontainers.image.ref.name"], name);
    assert_eq!(built.archive.reference, name);
}

#[tokio::test]
async fn the_other_agent_has_an_image_of_its_own() {
    let dir = TempDir::new().unwrap();
    let built = image_of("spoa-ip-reputation", dir.path(), 0o755, Duration::ZERO).await;
    let image = Opened::read(&built.archive.path);
    assert_eq!(image.entry("spoa-ip-reputation").content, PROGRAM);
    let paths = image.paths();
    assert!(paths.contains(&"licenses/spoa-ip-reputation/LICENSE-MIT"));
    assert!(
        paths
            .iter()
            .any(|path| path.starts_with("licenses/tokio-1."))
    );
    assert!(
        !paths.iter().any(|path| path.contains("redis")),
        "{paths:?}"
    );

    let config = image.config.config().as_ref().unwrap();
    let program = "/spoa-ip-reputation";
    assert_eq!(config.entrypoint().as_ref().unwrap()[..], [program]);
    let check = json!({ "Test": ["CMD", program, "healthcheck"] });
    assert_eq!(image.config_json["config"]["Healthcheck"], check);
    let description = "org.opencontainers.image.description";
    assert!(config.labels().as_ref().unwrap()[description].contains("lists of networks"));
    let name = format!("localhost/spoa-ip-reputation:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(built.archive.reference, name);
}

#[tokio::test]
async fn an_agent_that_does_not_exist_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.oci.tar");
    let error = assemble("spoa-none", Path::new("/dev/null"), &path).await;
    assert!(error.unwrap_err().to_string().contains("spoa-none"));
    assert!(!path.exists());
}

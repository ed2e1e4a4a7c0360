//! To a real registry and back.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use spop_testkit::port;
use spop_testkit::process::Process;
use spop_testkit::tools;
use tempfile::TempDir;
use tokio::net::TcpStream;
use xtask::image::push;

use crate::agent::image;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_registry_keeps_the_digest() {
    let dir = TempDir::new().unwrap();
    let built = image(dir.path(), 0o755, Duration::ZERO).await;
    let (_registry, address) = registry(dir.path()).await;
    let reference = format!("{address}/some/agent:1.2");
    push(&built.archive, &reference, true).await.unwrap();
    assert_eq!(remote_digest(&reference), built.archive.digest);

    // What comes back is what was pushed.
    let back = dir.path().join("back.oci.tar");
    let by_digest = format!("docker://{address}/some/agent@{}", built.archive.digest);
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        &by_digest,
        &format!("oci-archive:{}", back.display()),
    ]);
    let opened = crate::opened::Opened::read(&back);
    assert_eq!(opened.manifest_digest, built.archive.digest);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_an_error() {
    let dir = TempDir::new().unwrap();
    let built = image(dir.path(), 0o755, Duration::ZERO).await;
    let reference = format!("{}/agent", port::free_addr().unwrap());
    let error = push(&built.archive, &reference, true).await.unwrap_err();
    assert!(error.to_string().contains(&reference), "{error:#}");
}

/// A registry that keeps its images in `dir`, and its address.
async fn registry(dir: &Path) -> (Process, String) {
    let address = port::free_addr().unwrap().to_string();
    let config = dir.join("registry.yml");
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
        dir.join("storage").display()
    );
    fs::write(&config, text).unwrap();
    let program = tools::registry().unwrap();
    let registry = Process::spawn("registry", &program, |command| {
        command.arg("serve").arg(&config);
    });
    let registry = registry.unwrap();
    let answers = async || TcpStream::connect(&address).await.is_ok();
    registry.ready(PATIENCE, answers).await.unwrap();
    (registry, address)
}

fn remote_digest(reference: &str) -> String {
    let reference = format!("docker://{reference}");
    let format = "--format={{.Digest}}";
    skopeo(&["inspect", "--tls-verify=false", format, &reference])
}

fn skopeo(words: &[&str]) -> String {
    let mut command: Command = tools::skopeo().unwrap().command();
    command.arg("--insecure-policy").args(words);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

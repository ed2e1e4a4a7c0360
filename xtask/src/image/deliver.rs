//! Brings an image to where it is run: into podman or docker, or to a registry.

use std::ffi::OsString;
use std::fs;

use anyhow::{Context as _, Result, bail};
use spop_testkit::tools::{self, Program};
use tokio::process::Command;

use super::Archive;
use super::program::{exists, run, said};

/// What loads images on this machine: podman, else docker.
///
/// # Errors
/// When neither is here, or it does not work.
pub(super) async fn engine() -> Result<&'static str> {
    for name in ["podman", "docker"] {
        if exists(name).await {
            // Of docker, the program may be here and the daemon not.
            said(Command::new(name).arg("version")).await?;
            return Ok(name);
        }
    }
    bail!("neither podman nor docker is here to load an image; type: apt-get install podman")
}

/// Loads it and says its id there.
pub(super) async fn load(engine: &str, archive: &Archive) -> Result<()> {
    let mut command = Command::new(engine);
    command.args(["load", "--input"]).arg(&archive.path);
    run(&mut command).await?;
    let mut inspect = Command::new(engine);
    inspect.args(["image", "inspect", "--format", "{{.Id}}"]);
    let id = said(inspect.arg(&archive.reference)).await?;
    println!("{} in {engine}: id {id}", archive.reference);
    Ok(())
}

/// What copies images to registries: the skopeo that is installed, else one that is unpacked.
///
/// # Errors
/// When it is missing and cannot be had.
pub(super) async fn skopeo() -> Result<Program> {
    tokio::task::spawn_blocking(tools::skopeo).await?
}

/// Pushes an image to a registry as `reference`, as it is, and says what to pull. `insecure`
/// registries speak plain HTTP or have a certificate that nobody vouches for.
///
/// # Errors
/// When the registry refuses it, or has another image afterwards.
pub async fn push(archive: &Archive, reference: &str, insecure: bool) -> Result<()> {
    let skopeo = skopeo().await?;
    let result = tempfile::NamedTempFile::new()?;
    let mut source = OsString::from("oci-archive:");
    source.push(&archive.path);

    let mut command = Command::from(skopeo.command());
    // The policy of this machine is about images that come from elsewhere.
    command.args(["copy", "--insecure-policy", "--preserve-digests"]);
    if insecure {
        command.arg("--dest-tls-verify=false");
    }
    command.arg("--digestfile").arg(result.path());
    command.arg(source).arg(format!("docker://{reference}"));
    run(&mut command)
        .await
        .with_context(|| format!("{} cannot be pushed to {reference}", archive.path.display()))?;

    let digest = fs::read_to_string(result.path())?;
    if digest.trim() != archive.digest {
        bail!(
            "{reference} is {digest} and not {}: the registry changed it",
            archive.digest
        );
    }
    println!("pull it as {}@{digest}", repository(reference));
    Ok(())
}

/// `reference`, with `tag` if it has neither tag nor digest.
pub(super) fn with_tag(reference: &str, tag: &str) -> String {
    if repository(reference) == reference {
        format!("{reference}:{tag}")
    } else {
        reference.to_owned()
    }
}

/// A reference without tag and digest. The colon of a port comes before the last slash.
fn repository(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_added_where_there_is_none() {
        let with_tag = |reference| with_tag(reference, "1.0");
        assert_eq!(with_tag("example.com/agent"), "example.com/agent:1.0");
        assert_eq!(with_tag("127.0.0.1:5000/a/b"), "127.0.0.1:5000/a/b:1.0");
        assert_eq!(with_tag("127.0.0.1:5000/a:2"), "127.0.0.1:5000/a:2");
        assert_eq!(with_tag("a@sha256:00"), "a@sha256:00");
        assert_eq!(
            repository("127.0.0.1:5000/a:2@sha256:0"),
            "127.0.0.1:5000/a"
        );
    }
}

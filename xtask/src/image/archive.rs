//! An OCI image with one layer, written as an archive that podman, docker, skopeo and
//! containerd load. The same tree and settings always give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Tree;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// All that is made has this date.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// An image to be written.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it is called where it is loaded, such as `localhost/spoa-gcra:0.1.0`.
    pub reference: String,
    /// Its root file system.
    pub tree: Tree,
    /// How it is run.
    pub config: Config,
}

/// How a container of the image is run. What is left empty is left unsaid.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The program, and arguments that are always given.
    pub entrypoint: Vec<String>,
    /// Arguments that `podman run IMAGE …` replaces; program and arguments if there is no
    /// entrypoint.
    pub command: Vec<String>,
    /// Such as `PATH=/usr/bin`.
    pub environment: Vec<String>,
    /// Such as `65532:65532`.
    pub user: String,
    /// Such as `/var/lib/valkey`.
    pub working_dir: String,
    /// Such as `9000/tcp`.
    pub ports: Vec<String>,
    /// Such as `org.opencontainers.image.title`.
    pub labels: BTreeMap<String, String>,
    /// Such as `SIGTERM`.
    pub stop_signal: String,
    /// Docker's and podman's health check: program and arguments. Not a part of the OCI
    /// specification; Kubernetes has its own probes.
    pub health_check: Vec<String>,
}

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called where it is loaded.
    pub reference: String,
    /// The manifest's digest, such as `sha256:…`: what registries go by.
    pub digest: String,
    /// The configuration's digest: what podman and docker call the image's id.
    pub id: String,
    /// Bytes to transfer.
    pub compressed: u64,
    /// Bytes on the disk of who runs it.
    pub uncompressed: u64,
}

impl Image {
    /// Writes the archive, whose directory is created if need be.
    ///
    /// # Errors
    /// When a file of the tree cannot be read, or the archive not be written.
    pub fn write(&self, path: &Path) -> Result<Archive> {
        let mut tar = Vec::new();
        self.tree.write(&mut tar)?;
        // Neither a time nor a file name in its header.
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        gzip.write_all(&tar)?;

        let layer = Blob::new(LAYER, gzip.finish()?);
        let config = Blob::json(CONFIG, &self.config_document(&digest(&tar)))?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::json(MANIFEST, &manifest)?;
        let named = json!({
            "mediaType": MANIFEST,
            "digest": manifest.digest,
            "size": manifest.content.len(),
            "annotations": {
                "io.containerd.image.name": self.reference,
                "org.opencontainers.image.ref.name": self.reference,
            },
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [named] });
        // What `docker load` reads where it does not know OCI archives.
        let for_docker = json!([{
            "Config": config.path(),
            "RepoTags": [self.reference],
            "Layers": [layer.path()],
        }]);

        let archive = Archive {
            path: path.to_path_buf(),
            reference: self.reference.clone(),
            digest: manifest.digest.clone(),
            id: config.digest.clone(),
            compressed: [&layer, &config, &manifest]
                .iter()
                .map(|blob| blob.content.len() as u64)
                .sum(),
            uncompressed: tar.len() as u64,
        };
        let mut files = Tree::new();
        files.file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        files.file("index.json", 0o644, serde_json::to_vec(&index)?)?;
        files.file("manifest.json", 0o644, serde_json::to_vec(&for_docker)?)?;
        for blob in [layer, config, manifest] {
            files.file(blob.path(), 0o644, blob.content)?;
        }
        write_whole(path, |file| files.write(file))?;
        Ok(archive)
    }

    fn config_document(&self, layer_digest: &str) -> Value {
        let config = &self.config;
        let mut execution = Map::new();
        let mut say = |field: &str, value: Value| {
            let unsaid = value == json!("") || value == json!([]) || value == json!({});
            if !unsaid {
                execution.insert(field.to_owned(), value);
            }
        };
        let ports: BTreeMap<_, _> = config.ports.iter().map(|port| (port, json!({}))).collect();
        say("User", json!(config.user));
        say("ExposedPorts", json!(ports));
        say("Env", json!(config.environment));
        say("Entrypoint", json!(config.entrypoint));
        say("Cmd", json!(config.command));
        say("WorkingDir", json!(config.working_dir));
        say("Labels", json!(config.labels));
        say("StopSignal", json!(config.stop_signal));
        if let [_, ..] = config.health_check.as_slice() {
            let words = ["CMD"].into_iter();
            let words = words.chain(config.health_check.iter().map(String::as_str));
            say("Healthcheck", json!({ "Test": words.collect::<Vec<_>>() }));
        }
        json!({
            "created": EPOCH,
            "architecture": architecture(),
            "os": "linux",
            "config": execution,
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
            "history": [{ "created": EPOCH, "created_by": "cargo xtask image" }],
        })
    }
}

/// Writes a file that is there as a whole or not at all.
pub(super) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut fs::File) -> Result<()>,
) -> Result<()> {
    let dir = path.parent().context("a file has a directory")?;
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)
        .with_context(|| dir.display().to_string())?;
    write(file.as_file_mut())?;
    file.persist(path)?;
    Ok(())
}

/// `sha256:` and the hash of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut digest = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        digest.push_str(&format!("{byte:02x}"));
    }
    digest
}

/// This machine's, as Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// A part of the image, known by its hash.
struct Blob {
    media_type: &'static str,
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        Self {
            media_type,
            digest: digest(&content),
            content,
        }
    }

    fn json(media_type: &'static str, document: &Value) -> Result<Self> {
        Ok(Self::new(media_type, serde_json::to_vec(document)?))
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.content.len(),
        })
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replacen(':', "/", 1))
    }
}

//! An image archive, taken apart by its specification: nothing of the code that wrote it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use sha2::{Digest as _, Sha256};

/// A file of the image's layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: tar::EntryType,
    pub(crate) mode: u32,
    /// Owner and group.
    pub(crate) owner: (u64, u64),
    pub(crate) time: u64,
    /// Of a link.
    pub(crate) target: Option<String>,
    pub(crate) content: Vec<u8>,
}

/// All of an archive.
pub(crate) struct Opened {
    pub(crate) index: ImageIndex,
    pub(crate) manifest_digest: String,
    pub(crate) config: ImageConfiguration,
    /// The configuration with what the OCI specification does not know.
    pub(crate) config_json: serde_json::Value,
    /// In the layer's order.
    pub(crate) entries: Vec<Entry>,
}

impl Opened {
    /// Reads it, and checks every hash and size on the way.
    pub(crate) fn read(archive: &Path) -> Self {
        let files: BTreeMap<String, Vec<u8>> = untar(File::open(archive).unwrap())
            .into_iter()
            .map(|entry| (entry.path, entry.content))
            .collect();
        let blob = |descriptor: &Descriptor| {
            let digest = descriptor.digest().to_string();
            let blob = &files[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(digest, sha256(blob));
            assert_eq!(descriptor.size(), blob.len() as u64);
            blob.clone()
        };
        assert!(files.contains_key("oci-layout"));
        let index = ImageIndex::from_reader(&files["index.json"][..]).unwrap();
        let [manifest] = &index.manifests()[..] else {
            panic!("one image, not {:?}", index.manifests());
        };
        let manifest_digest = manifest.digest().to_string();
        let manifest = ImageManifest::from_reader(&blob(manifest)[..]).unwrap();
        let config = blob(manifest.config());
        let [layer] = &manifest.layers()[..] else {
            panic!("one layer, not {:?}", manifest.layers());
        };

        let mut tar = Vec::new();
        GzDecoder::new(&blob(layer)[..])
            .read_to_end(&mut tar)
            .unwrap();
        let configuration = ImageConfiguration::from_reader(&config[..]).unwrap();
        assert_eq!(*configuration.rootfs().diff_ids(), [sha256(&tar)]);
        Self {
            index,
            manifest_digest,
            config: configuration,
            config_json: serde_json::from_slice(&config).unwrap(),
            entries: untar(&tar[..]),
        }
    }

    pub(crate) fn entry(&self, path: &str) -> &Entry {
        let found = self.entries.iter().find(|entry| entry.path == path);
        found.unwrap_or_else(|| panic!("there is no {path}"))
    }

    pub(crate) fn paths(&self) -> Vec<&str> {
        self.entries
            .iter()
            .map(|entry| entry.path.as_str())
            .collect()
    }
}

fn untar(tar: impl Read) -> Vec<Entry> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let text = |path: &Path| path.to_str().unwrap().to_owned();
            let header = entry.header();
            Entry {
                path: text(&entry.path().unwrap()),
                kind: header.entry_type(),
                mode: header.mode().unwrap(),
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                time: header.mtime().unwrap(),
                target: entry.link_name().unwrap().map(|target| text(&target)),
                content,
            }
        })
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

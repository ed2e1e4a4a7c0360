//! What is in an agent's image, and how a container of it is run.
//!
//! `deploy/Containerfile` says the same; a test compares.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::project::{Parts, Project};
use super::{Config, Tree};

/// Who runs it unless the platform says otherwise, user and group; not in any file of the
/// machine below, and without any right there.
const NOBODY: u32 = 65532;
/// Where the agent listens unless told otherwise.
const PORT: &str = "9000/tcp";
/// The crate with the certificates of public authorities.
pub(super) const AUTHORITIES: &str = "webpki-root-certs";

const TITLE: &str = "org.opencontainers.image.title";
const DESCRIPTION: &str = "org.opencontainers.image.description";
const VERSION: &str = "org.opencontainers.image.version";
const LICENSES: &str = "org.opencontainers.image.licenses";
const SOURCE: &str = "org.opencontainers.image.source";
const REVISION: &str = "org.opencontainers.image.revision";

/// The root file system: the program `binary`, which needs nothing else, and what programs
/// expect to find.
pub(super) fn tree(project: &Project, parts: &Parts, binary: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let program = fs::read(binary).with_context(|| binary.display().to_string())?;
    tree.file(&project.agent, 0o755, program)?;
    tree.file(
        "etc/passwd",
        0o644,
        format!(
            "root:x:0:0:root:/:/sbin/nologin\n\
             nonroot:x:{NOBODY}:{NOBODY}:nonroot:/:/sbin/nologin\n"
        ),
    )?;
    tree.file(
        "etc/group",
        0o644,
        format!("root:x:0:\nnonroot:x:{NOBODY}:\n"),
    )?;
    // What the C library does without this file, for all who look.
    tree.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n")?;
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, authorities())?;
    tree.directory("tmp", 0o1777)?;
    licences(&mut tree, project, parts)?;
    Ok(tree)
}

/// How it is run. `revision` is the commit that it was built from, if it was.
pub(super) fn config(project: &Project, revision: Option<String>) -> Result<Config> {
    let agent = project.package(&project.agent)?;
    let program = format!("/{}", agent.name);
    let mut labels = BTreeMap::from([
        (TITLE.to_owned(), agent.name.clone()),
        (DESCRIPTION.to_owned(), agent.description.clone()),
        (VERSION.to_owned(), agent.version.clone()),
        (LICENSES.to_owned(), agent.license.clone()),
    ]);
    let known = [(SOURCE, agent.repository.clone()), (REVISION, revision)];
    for (label, value) in known {
        labels.extend(value.map(|value| (label.to_owned(), value)));
    }
    Ok(Config {
        entrypoint: vec![program.clone()],
        user: format!("{NOBODY}:{NOBODY}"),
        ports: vec![PORT.to_owned()],
        labels,
        stop_signal: "SIGTERM".to_owned(),
        health_check: vec![program, "healthcheck".to_owned()],
        ..Config::default()
    })
}

/// The certificates of the authorities that browsers trust, as the file that OpenSSL and
/// others read. From a crate and not from this machine, whose own may be others.
fn authorities() -> String {
    let certificates: Vec<pem::Pem> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|certificate| pem::Pem::new("CERTIFICATE", certificate.as_ref()))
        .collect();
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_many_config(&certificates, unix)
}

/// The licences of all that is compiled in ask to be handed on with it.
fn licences(tree: &mut Tree, project: &Project, parts: &Parts) -> Result<()> {
    let own = Path::new("licenses").join(&project.agent);
    copy_licences(tree, &project.root, &own)?;
    let authorities = project.package(AUTHORITIES)?;
    // Crates of the workspace, which have no checksum, are under the licence above.
    let foreign = parts.packages.iter().filter(|part| part.checksum.is_some());
    for package in foreign.chain([authorities]) {
        let name = format!("{}-{}", package.name, package.version);
        copy_licences(tree, &package.dir, &Path::new("licenses").join(name))?;
    }
    Ok(())
}

fn copy_licences(tree: &mut Tree, from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let lower = name.to_string_lossy().to_lowercase();
        let kinds = ["licen", "copying", "copyright", "notice", "unlicense"];
        if entry.file_type()?.is_file() && kinds.iter().any(|kind| lower.starts_with(kind)) {
            tree.file(to.join(&name), 0o644, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

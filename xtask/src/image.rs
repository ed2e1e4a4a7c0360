//! `cargo xtask image`: an agent as an OCI image, built without a container daemon and without
//! a base image. Tests use the same to make images of other files:
//!
//! ```no_run
//! use xtask::image::{Config, Image, Tree};
//!
//! let mut tree = Tree::new();
//! tree.link("lib", "usr/lib")?;              // what comes to /lib now lands in /usr/lib
//! tree.copy("target/tools/valkey", "/")?;    // a directory and all below it
//! tree.file("etc/motd", 0o644, "hello\n")?;
//! tree.directory("tmp", 0o1777)?;
//! let image = Image {
//!     reference: "localhost/valkey:test".into(),
//!     tree,
//!     config: Config {
//!         entrypoint: vec!["/usr/bin/valkey-server".into()],
//!         ..Config::default()
//!     },
//! };
//! let archive = image.write("target/image/valkey.oci.tar".as_ref())?;
//! println!("podman load -i {}", archive.path.display());
//! # anyhow::Ok(())
//! ```
//!
//! [`agent()`] is an agent's own image, compiled and all; [`assemble`] the same around a program
//! that is there already; [`push`] brings one to a registry.

mod agent;
mod archive;
mod binary;
mod deliver;
mod program;
mod project;
mod revision;
mod sbom;
mod tree;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use spop_testkit::tools::workspace_root;
use tempfile::TempDir;

use binary::Compiler;
use project::Project;
use revision::revision;

pub use archive::{Archive, Config, Image};
pub use deliver::push;
pub use tree::Tree;

/// What an operator's mistake ends with.
const MISTAKE: u8 = 2;
/// The profile of what is handed on.
const RELEASE: &str = "release";

/// Build an agent as a container image, without a container daemon and without a base image
///
/// The image holds one static program, the certificates of public authorities, the licences
/// of all that is in it, and no shell. It runs as any user, with a read-only root file system
/// and without capabilities. The same sources and the same compiler give the same digest, in
/// whatever directory, whenever.
///
/// It is written to target/image as an OCI archive, and beside it a list of what it is made of
/// (SBOM, CycloneDX). The release build that it begins with takes some minutes at first.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Which agent: a directory below agents/
    #[arg(long, value_name = "NAME", default_value = "spoa-gcra")]
    agent: String,

    /// What the image is tagged with, as localhost/NAME:TAG [default: the agent's version]
    #[arg(long)]
    tag: Option<String>,

    /// Load it into podman, or into docker where there is no podman
    #[arg(long)]
    load: bool,

    /// Push it to a registry, with the digest that it has here, by skopeo (unpacked below
    /// target/tools if need be) and with what `podman login` or `docker login` knows; the
    /// agent's version is the tag if none is given
    #[arg(long, value_name = "REGISTRY/NAME[:TAG]")]
    push: Option<String>,

    /// Push over plain HTTP, or to a registry with a certificate that nobody vouches for
    #[arg(long, requires = "push")]
    insecure: bool,

    /// Build it a second time, from a copy of the sources in another directory, and compare
    #[arg(long)]
    verify: bool,

    /// The Cargo profile to build with; `dev` builds faster and runs slower
    #[arg(long, value_name = "PROFILE", default_value = RELEASE)]
    profile: String,
}

const EXAMPLES: &str = "Examples:
  cargo xtask image --load
  podman run --rm --read-only --cap-drop=ALL -p 9000:9000 localhost/spoa-gcra:0.1.0

  cargo xtask image --push registry.example.com/spoa-gcra";

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let root = workspace_root();
    let agents = agents(&root)?;
    if !agents.contains(&options.agent) {
        let (name, agents) = (&options.agent, agents.join(", "));
        eprintln!("error: there is no agent {name:?}; there are {agents}");
        return Ok(ExitCode::from(MISTAKE));
    }
    // What is missing is said before the build and not after it.
    let engine = match options.load {
        true => Some(deliver::engine().await?),
        false => None,
    };
    if options.push.is_some() {
        deliver::skopeo().await?;
    }

    let compiler = Compiler::find().await?;
    let project = Project::find(&root, &options.agent, &compiler.target).await?;
    let build = Build {
        profile: &options.profile,
        tag: options.tag.as_deref(),
        revision: revision(&root).await,
    };
    let built = build.image(&project, &compiler).await?;
    if options.verify {
        verify(&build, &project, &compiler, &built).await?;
    }
    report(&built);
    if let Some(engine) = engine {
        deliver::load(engine, &built.archive).await?;
    }
    if let Some(reference) = &options.push {
        let version = &project.package(&options.agent)?.version;
        let reference = deliver::with_tag(reference, version);
        push(&built.archive, &reference, options.insecure).await?;
    }
    if engine.is_none() && options.push.is_none() {
        next(&options, &built.archive);
    }
    Ok(ExitCode::SUCCESS)
}

/// An image, and the list of what it is made of.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image.
    pub archive: Archive,
    /// The list, a CycloneDX document.
    pub sbom: PathBuf,
}

/// Builds the agent `name` in `profile` and writes its image, `localhost/NAME:TAG`, to
/// target/image; what the command does.
///
/// # Errors
/// When there is no such agent, or it cannot be built.
pub async fn agent(name: &str, profile: &str, tag: &str) -> Result<Built> {
    let root = workspace_root();
    let compiler = Compiler::find().await?;
    let project = Project::find(&root, name, &compiler.target).await?;
    let build = Build {
        profile,
        tag: Some(tag),
        revision: revision(&root).await,
    };
    build.image(&project, &compiler).await
}

/// Writes the image of the agent `name` to `path`, and the list of what it is made of beside
/// it, with `program` as the agent's program.
///
/// # Errors
/// When there is no such agent, or a file cannot be read or written.
pub async fn assemble(name: &str, program: &Path, path: &Path) -> Result<Built> {
    let compiler = Compiler::find().await?;
    let project = Project::find(&workspace_root(), name, &compiler.target).await?;
    write(&project, &compiler, program, None, None, path).await
}

/// How a workspace's agent is made into an image.
struct Build<'a> {
    profile: &'a str,
    tag: Option<&'a str>,
    revision: Option<String>,
}

impl Build<'_> {
    async fn image(&self, project: &Project, compiler: &Compiler) -> Result<Built> {
        let name = &project.agent;
        eprintln!(
            "Building {name} (profile {}) in {}",
            self.profile,
            project.root.display()
        );
        let program = binary::build(project, compiler, self.profile).await?;
        let version = &project.package(name)?.version;
        let suffix = match self.profile {
            RELEASE => String::new(),
            other => format!("-{other}"),
        };
        let file = format!("{name}-{version}{suffix}.oci.tar");
        let path = project.image_dir.join(file);
        let revision = self.revision.clone();
        write(project, compiler, &program, self.tag, revision, &path).await
    }
}

async fn write(
    project: &Project,
    compiler: &Compiler,
    program: &Path,
    tag: Option<&str>,
    revision: Option<String>,
    path: &Path,
) -> Result<Built> {
    let parts = project.parts(&compiler.target).await?;
    let version = &project.package(&project.agent)?.version;
    let tag = tag.unwrap_or(version);
    let image = Image {
        reference: format!("localhost/{}:{tag}", project.agent),
        tree: agent::tree(project, &parts, program)?,
        config: agent::config(project, revision)?,
    };
    let archive = image.write(path)?;

    let document = sbom::document(project, &parts, compiler, program).await?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".oci.tar").unwrap_or(&name);
    let sbom = path.with_file_name(format!("{name}.cdx.json"));
    archive::write_whole(&sbom, |file| Ok(file.write_all(document.as_bytes())?))?;
    Ok(Built { archive, sbom })
}

/// Builds it once more elsewhere.
async fn verify(
    build: &Build<'_>,
    project: &Project,
    compiler: &Compiler,
    first: &Built,
) -> Result<()> {
    let elsewhere = TempDir::with_prefix("image-verify-")?;
    let root = elsewhere.path().canonicalize()?.join("another/directory");
    binary::copy_sources(&project.root, &root)?;
    let mut copy = Project::find(&root, &project.agent, &compiler.target).await?;
    // Not where the first one was built, even if CARGO_TARGET_DIR says so.
    copy.image_dir = root.join("target/image");
    let second = build.image(&copy, compiler).await?;
    if second.archive.digest != first.archive.digest {
        bail!(
            "the build in {} gave {}, the one in {} {}",
            project.root.display(),
            first.archive.digest,
            root.display(),
            second.archive.digest
        );
    }
    let same_list = fs::read(&first.sbom)? == fs::read(&second.sbom)?;
    if !same_list || fs::read(&first.archive.path)? != fs::read(&second.archive.path)? {
        bail!("the digests are the same, the archives or lists of components are not");
    }
    println!("verified: the same digest from {}", root.display());
    Ok(())
}

/// The agents' names.
fn agents(root: &Path) -> Result<Vec<String>> {
    let dir = root.join("agents");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn report(built: &Built) {
    let Built { archive, sbom } = built;
    println!("image   {}", shown(&archive.path));
    println!("sbom    {}", shown(sbom));
    println!("name    {}", archive.reference);
    println!("digest  {}", archive.digest);
    println!(
        "size    {} compressed, {} unpacked",
        megabytes(archive.compressed),
        megabytes(archive.uncompressed)
    );
}

fn next(options: &Options, archive: &Archive) {
    let (name, reference) = (&options.agent, &archive.reference);
    println!("\nTo run it, or to push it where others can:");
    println!("  podman load -i {}", shown(&archive.path));
    println!("  podman run --rm --read-only --cap-drop=ALL -p 9000:9000 {reference}");
    println!("  cargo xtask image --agent {name} --push registry.example.com/{name}");
}

/// As short as it can be typed here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal place")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

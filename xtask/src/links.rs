//! What the documentation points at is there: the targets of its links, and the files, commands,
//! options and environment variables that it names.
//!
//! Links between items of rustdoc are rustdoc's to judge (`cargo doc`). Addresses of other sites
//! are only looked at, since a test that depends on a network would fail for its own reasons.

mod commands;
mod document;
mod files;
mod paths;
mod programs;
mod shell;
mod targets;
mod variables;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use spop_testkit::tools::workspace_root;

use commands::Commands;
use document::Document;
use files::Files;
use variables::Variables;

/// A mistake in a page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Broken {
    /// Relative to the root.
    pub(crate) file: String,
    line: usize,
    /// What is wrong.
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Check what the documentation points at
///
/// Links of all Markdown pages and their anchors lead somewhere; files, commands, options, packages
/// and environment variables that they name are there. Each mistake is one line,
/// `FILE:LINE: what is wrong`. Exit code 1 if there is any.
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) async fn run(_: Options) -> Result<ExitCode> {
    // As the tests build them.
    check(&["--all-features"]).await.map(|()| ExitCode::SUCCESS)
}

/// Checks every page of this workspace, for which its commands are built and asked for their
/// help. `features` are those that Cargo is given, so that a caller need not compile twice.
///
/// # Errors
/// When there is any mistake. Each has been printed, one line each.
pub(crate) async fn check(features: &[&str]) -> Result<()> {
    let files = Files::below(&workspace_root());
    let commands = Commands::of(programs::all(features).await?);
    let variables = Variables::of(&files, commands.help());
    let mut broken = Vec::new();
    let mut pages = 0;
    for file in files.pages() {
        let page = Document::parse(&files.read(file)?);
        broken.extend(in_itself(&files, file, &page));
        let named = [commands.unknown(&page, &files), variables.unknown(&page)];
        broken.extend(named.concat().into_iter().map(|(line, what)| Broken {
            file: file.to_owned(),
            line,
            what,
        }));
        pages += 1;
    }
    broken.sort();
    for broken in &broken {
        println!("{broken}");
    }
    match broken.len() {
        0 => println!("{pages} pages: links, files, commands and variables are there"),
        count => bail!("{count} mistakes in {pages} pages, see above"),
    }
    Ok(())
}

/// Links and paths of the pages below `root`: what can be checked without building anything.
pub(crate) fn of_files(root: &Path) -> Result<Vec<Broken>> {
    let files = Files::below(root);
    let mut broken = Vec::new();
    for file in files.pages() {
        let page = Document::parse(&files.read(file)?);
        broken.extend(in_itself(&files, file, &page));
    }
    Ok(broken)
}

fn in_itself(files: &Files, file: &str, page: &Document) -> Vec<Broken> {
    let found = [
        targets::broken(files, file, page),
        paths::missing(files, file, page),
    ];
    let found = found.concat().into_iter();
    found
        .map(|(line, what)| Broken {
            file: file.to_owned(),
            line,
            what,
        })
        .collect()
}

/// What is wrong, and in which line.
type Mistake = (usize, String);

/// A pattern that is written here.
fn regex(pattern: &str) -> regex::Regex {
    #[expect(clippy::expect_used, reason = "tests run every one of them")]
    regex::Regex::new(pattern).expect("a pattern of this program")
}

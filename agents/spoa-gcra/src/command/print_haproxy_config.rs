//! `spoa-gcra print-haproxy-config`: HAProxy's two files, for the policies in force.

mod render;
mod routes;
mod values;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use tracing::warn;

use self::render::Files;
use self::routes::Routes;
use self::values::{Agent, Bind, PathOf, Prefix, Version};
use super::configuration::Configuration;
use super::{Config, Failure};

/// Print a haproxy.cfg that limits a web service by the policies in force, and the SPOE file
/// that it loads. Comments in them say what to change.
///
/// Messages that policies claim are sent for the requests that --path gives them.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) config: Config,
    /// The version of HAProxy that is to read them, 2.6 to 3.4. Without it the file asks the
    /// version itself, and suits all of these and later ones.
    #[arg(long, value_name = "VERSION")]
    haproxy: Option<Version>,
    /// Where HAProxy finds an agent, for each of them. Without it that is SPOE_ADDR on this
    /// host.
    #[arg(long = "agent", value_name = "ADDRESS")]
    agents: Vec<Agent>,
    /// Where the web service is that HAProxy protects.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    web: Agent,
    /// Where clients connect to HAProxy.
    #[arg(long, value_name = "ADDRESS", default_value = ":80")]
    bind: Bind,
    /// What HAProxy puts before the names of the agent's variables: `txn.PREFIX.ip_score`.
    #[arg(long, value_name = "NAME", default_value = "rl")]
    prefix: Prefix,
    /// What becomes of a request when no agent answers in time.
    #[arg(long, value_name = "HOW", default_value = "open")]
    fail: Fail,
    /// Requests whose path begins so are asked about in this message, or are under this
    /// policy, such as `check-login=/login`. The longest counts. Can be given for several.
    #[arg(long = "path", value_name = "NAME=/PATH")]
    paths: Vec<PathOf>,
    /// What to print.
    #[arg(long, value_name = "PART", default_value = "both")]
    part: Part,
    /// Write haproxy.cfg and spoe-rate-limit.conf into this directory instead of printing
    /// them. Files that are there already are left alone.
    #[arg(long, value_name = "DIR", conflicts_with = "part")]
    output: Option<PathBuf>,
}

/// Without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fail {
    /// It passes.
    Open,
    /// It is refused with status 503.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// haproxy.cfg.
    Haproxy,
    /// The file that it loads, spoe-rate-limit.conf.
    Spoe,
    /// One after the other, each after a line with its name.
    Both,
}

/// Why nothing is printed. One line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "SPOE_ADDR={addr}: {missing}; say where the agent is with --agent, such as --agent 127.0.0.1:9000"
    )]
    Where { addr: String, missing: &'static str },
    #[error(
        "--path {0}: no message and no policy that has to be asked for is called so; there are: {1}"
    )]
    NoRoute(PathOf, String),
    #[error("--path {0}: {1:?} has a path already; there can be one for each")]
    PathTwice(PathOf, String),
    #[error(
        "{one:?} and {other:?} are both for {path}; say which paths they are for: --path {one}=/PATH"
    )]
    SamePath {
        one: String,
        other: String,
        path: String,
    },
    #[error("cannot write {}: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
}

const HAPROXY: &str = "haproxy.cfg";
const SPOE: &str = "spoe-rate-limit.conf";

pub(super) fn execute(options: &Options, configuration: &Configuration) -> Result<(), Failure> {
    let routes = Routes::new(&configuration.policies, &options.paths)?;
    for route in routes.guessed() {
        warn!(
            "for {} the path {} is a guess from its name: --path {}=/PATH says what is right",
            route.name, route.path, route.name
        );
    }
    let Files { haproxy, spoe } = render::files(options, configuration, &routes)?;
    if let Some(dir) = &options.output {
        return Ok(write(dir, &[(HAPROXY, &haproxy), (SPOE, &spoe)])?);
    }
    let text = match options.part {
        Part::Haproxy => haproxy,
        Part::Spoe => spoe,
        Part::Both => format!("### {HAPROXY}\n{haproxy}\n### {SPOE}\n{spoe}"),
    };
    super::print(text.as_bytes())
}

/// All of them, or none if one is there already.
fn write(dir: &Path, files: &[(&str, &str)]) -> Result<(), Refused> {
    let refused = |path: &Path, error| Refused::Write {
        path: path.to_owned(),
        error,
    };
    for (name, _) in files {
        let path = dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(refused(&path, io::ErrorKind::AlreadyExists.into()));
        }
    }
    for (name, text) in files {
        let path = dir.join(name);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| refused(&path, error))?;
    }
    Ok(())
}

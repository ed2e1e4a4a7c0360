//! The settings that every agent has, as clap reads them.

use std::io::{self, Write as _};
use std::process::exit;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, value_parser};

use crate::log::{Directives, Format};
use crate::serve::worker_threads;
use crate::{AdminAddr, Listen};

/// To be flattened into an agent's own arguments: environment variables, or options of the
/// same name. A variable that is set and empty is as bad as any other value that cannot be
/// read, except `RUST_LOG`, which then has its default.
///
/// `healthcheck` reads them all, too, so give an option of the agent's own a default, or make it
/// an [`Option`], and ask for it in [`run`](crate::run)'s `prepare`.
#[derive(Debug, Clone, Args)]
#[non_exhaustive]
pub struct Options {
    /// What to do; none: serve.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Where to listen: ADDRESS:PORT, HOST:PORT, unix@PATH, abns@NAME or fd@NAME.
    #[arg(long, env, global = true, default_value = "0.0.0.0:9000")]
    pub spoe_addr: Listen,

    /// Where metrics and health are shown: ADDRESS:PORT, HOST:PORT, or off. Unset:
    /// 127.0.0.1:9001, or nowhere if that is in use.
    #[arg(long, env)]
    pub spoa_admin_addr: Option<AdminAddr>,

    /// ms for which health checks fail, at the end, before connections close, 0 to 600000;
    /// more than HAProxy's `inter` x `fall`.
    #[arg(long, env, default_value_t = 0, value_parser = value_parser!(u64).range(..=600_000))]
    pub spoa_lame_duck: u64,

    /// Threads that serve, 1 to 1024; set it to the CPU limit.
    #[arg(long, env, default_value_t = threads(), value_parser = value_parser!(u16).range(1..=1024))]
    pub tokio_worker_threads: u16,

    /// What is logged: off, error, warn, info, debug, trace, or TARGET=LEVEL,…; what is not
    /// named is at warn.
    #[arg(long, env, default_value_t)]
    pub rust_log: Directives,

    /// How it is logged: text or json.
    #[arg(long, env, default_value_t)]
    pub spoa_log_format: Format,
}

impl Options {
    /// `SPOA_LAME_DUCK`.
    pub fn lame_duck(&self) -> Duration {
        Duration::from_millis(self.spoa_lame_duck)
    }

    /// `SPOA_ADMIN_ADDR`, or its default.
    pub fn admin_addr(&self) -> AdminAddr {
        self.spoa_admin_addr.clone().unwrap_or_default()
    }
}

/// The commands that every agent has.
#[derive(Debug, Clone, Copy, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Ask the agent at SPOE_ADDR whether it is healthy, as HAProxy's `option spop-check` does:
    /// exit code 0 if it is, 1 if not.
    Healthcheck,
}

/// What was typed, and what the environment has. Ends the process, with one line of the agent
/// called `name` and exit code 2, if an option, a command or a value is not acceptable; and for
/// `--help`.
pub fn parse<A: Parser>(name: &str) -> A {
    A::try_parse().unwrap_or_else(|error| match mistake(name, &error) {
        Some(line) => {
            // The exit code says it to who does not read.
            let _ = writeln!(io::stderr(), "{name}: {line}");
            exit(2);
        }
        None => error.exit(),
    })
}

/// What is wrong, and what may have been meant, in one line. `None`: help is to be shown.
fn mistake(name: &str, error: &clap::Error) -> Option<String> {
    let kind = error.kind();
    if !error.use_stderr() || kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    // A paragraph, others with what may have been meant, and the usage.
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim);
    let what = lines.by_ref().take_while(|line| !line.is_empty());
    let what = what.collect::<Vec<_>>().join(" ");
    let mut parts = vec![what.trim_start_matches("error: ").to_owned()];
    parts.extend(lines.filter_map(|line| Some(line.strip_prefix("tip: ")?.to_owned())));
    let unknown = matches!(
        kind,
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
    );
    if unknown && parts.len() == 1 {
        parts.push(format!("see {name} --help"));
    }
    Some(parts.join("; "))
}

fn threads() -> u16 {
    worker_threads().try_into().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent's own arguments.
    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    fn options(words: &[&str]) -> Result<Options, ErrorKind> {
        let words = ["agent"].iter().chain(words);
        let parsed = Arguments::try_parse_from(words);
        parsed.map(|own| own.options).map_err(|error| error.kind())
    }

    #[test]
    fn an_agent_has_them_beside_its_own() {
        let words = ["--spoe-addr=unix@/run/a", "--spoa-lame-duck=20"];
        let read = options(&words).unwrap();
        assert_eq!(read.spoe_addr.to_string(), "unix@/run/a");
        assert_eq!(read.lame_duck(), Duration::from_millis(20));
        assert!(read.command.is_none());
        let read = options(&["--spoa-admin-addr=off"]).unwrap();
        assert_eq!(read.admin_addr(), AdminAddr::off());
    }

    #[test]
    fn the_command_may_come_before_the_address_or_after_it() {
        for words in [
            ["healthcheck", "--spoe-addr=[::1]:7"],
            ["--spoe-addr=[::1]:7", "healthcheck"],
        ] {
            let read = options(&words).unwrap();
            assert!(matches!(read.command, Some(Command::Healthcheck)));
            assert_eq!(read.spoe_addr.to_string(), "[::1]:7");
        }
    }

    #[test]
    fn a_mistake_is_one_line_and_says_what_may_have_been_meant() {
        for (words, line) in [
            (
                &["--spoe-adr=[::1]:7"][..],
                "unexpected argument '--spoe-adr' found; a similar argument exists: '--spoe-addr'",
            ),
            (
                &["--nonsense"],
                "unexpected argument '--nonsense' found; see agent --help",
            ),
            (
                &["healthchek"],
                "unrecognized subcommand 'healthchek'; a similar subcommand exists: 'healthcheck'",
            ),
            (
                &["serve"],
                "unrecognized subcommand 'serve'; see agent --help",
            ),
            (
                &["--rust-log=info", "--rust-log=warn"],
                "the argument '--rust-log <RUST_LOG>' cannot be used multiple times",
            ),
        ] {
            let words = ["agent"].iter().chain(words);
            let error = Arguments::try_parse_from(words).err().unwrap();
            assert_eq!(mistake("agent", &error).as_deref(), Some(line));
        }
        for help in ["--help", "help"] {
            let error = Arguments::try_parse_from(["agent", help]).err().unwrap();
            assert_eq!(mistake("agent", &error), None, "{help}");
        }
    }

    #[test]
    fn what_is_empty_or_out_of_range_is_refused() {
        for bad in [
            "--spoe-addr=",
            "--spoa-admin-addr=",
            "--spoa-lame-duck=",
            "--spoa-lame-duck=600001",
            "--tokio-worker-threads=0",
            "--tokio-worker-threads=1025",
            "--spoa-log-format=",
        ] {
            let kind = options(&[bad]).unwrap_err();
            assert_eq!(kind, ErrorKind::ValueValidation, "{bad}");
        }
        assert_eq!(
            options(&["--rust-log="]).unwrap().rust_log,
            Directives::default()
        );
    }
}

//! `spop conform`: does an agent do all that HAProxy relies on?

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};
use spop_client::conform::{Agent, Case, Group, Outcome, Run, Summary, groups};
use spop_client::spop_codec::TooManyArgs;

use super::CliError;
use super::address::Address;
use super::argument::Argument;

/// Tries a running agent, in whatever language, on the edge cases of the protocol.
///
/// Each case opens connections of its own, does what some version of HAProxy, or a peer that
/// is none, would do, and looks at what comes back. The agent need not know anything of this:
/// the message that is sent is one that no agent knows, and an answer without actions is right.
/// With --message, cases that look at actions have something to look at.
///
/// The agent should not be in use meanwhile: it sees a few thousand connections and messages,
/// and many that are broken.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Conform {
    /// Where the agent listens: HOST:PORT, or unix:PATH for a Unix socket
    #[arg(value_name = "ADDR", required_unless_present = "list")]
    address: Option<Address>,

    /// A message that the agent knows, to ask with
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    message: Option<String>,

    /// An argument of that message: NAME=VALUE, NAME:TYPE=VALUE or NAME:null, as in `spop
    /// notify`
    #[arg(long = "arg", value_name = "ARG", requires = "message")]
    arguments: Vec<Argument>,

    /// Run only the cases whose id is this (H3.1) or begins with it (H, H3), or whose
    /// description holds it; may be given several times
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    only: Vec<String>,

    /// Run also the cases that wait for the agent to lose its patience, up to a minute each
    #[arg(long)]
    slow: bool,

    /// Print each case as one JSON object on a line of its own, and a last one that counts them
    #[arg(long)]
    json: bool,

    /// Print the cases instead of running them
    #[arg(long)]
    list: bool,

    /// How long to wait for each step: to connect, for each answer, for the end of a connection
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    timeout: u64,
}

const EXAMPLES: &str = "\
Examples:
  spop conform 127.0.0.1:9000
  spop conform 127.0.0.1:9000 --message check-rate --arg ip_src=192.0.2.7
  spop conform unix:/run/agent.sock --only H --only \"health check\" --json
  spop conform --list

Prints:
  Framing
    pass  F1.1   must    a HELLO that comes byte by byte is answered
    FAIL  F12    should  frames of unknown types are skipped
                         expected the ACK for stream-id 1, frame-id 1
                         got the agent closed the connection without a word
                         reference SPOE.txt 3.2.2
    ...
  104 passed, 1 failed, 10 skipped in 1.3 s

must: the protocol text demands it, or HAProxy loses requests, connections or health checks.
should: what a sound agent does about a peer that HAProxy is not.

Exit status:
  0  no case that is a must failed
  1  one did, or the agent did not survive a case, or nobody listens
  2  the command line is wrong";

/// How long the slow cases wait for the agent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the text of an outcome begins, under the titles.
const INDENT: &str = "                       ";

impl Conform {
    pub(super) async fn run(&self, out: &mut impl Write) -> Result<(), CliError> {
        let Some(address) = self.address.as_ref().filter(|_| !self.list) else {
            return self.print_list(out);
        };
        let failed = |error| CliError::Agent {
            address: address.clone(),
            error,
        };
        let agent = self.agent(address).map_err(|error| failed(error.into()))?;
        let begin = Instant::now();
        let cases = groups().iter().flat_map(|group| self.chosen(group));
        let mut run = Run::start(&agent, cases).await.map_err(failed)?;
        let mut heading = "";
        loop {
            let start = Instant::now();
            let Some((case, outcome)) = run.next().await else {
                break;
            };
            if self.json {
                writeln!(out, "{}", object(case, &outcome, start.elapsed()))?;
            } else {
                heading = print_heading(case, heading, out)?;
                print_outcome(case, &outcome, out)?;
            }
            out.flush()?;
        }
        let summary = run.summary();
        if self.json {
            writeln!(out, "{}", totals(&summary, begin.elapsed()))?;
        } else {
            writeln!(out, "{}", counts(&summary, begin.elapsed()))?;
        }
        if summary.conforms() {
            return Ok(());
        }
        Err(CliError::Conform {
            address: address.clone(),
            summary,
        })
    }

    fn agent(&self, address: &Address) -> Result<Agent, TooManyArgs> {
        let mut agent = match address {
            Address::Tcp(addr) => Agent::tcp(addr),
            #[cfg(unix)]
            Address::Unix(path) => Agent::unix(path),
        };
        if let Some(message) = &self.message {
            agent = agent.with_message(message, self.arguments.iter().map(Argument::as_pair))?;
        }
        if self.slow {
            agent = agent.with_patience(PATIENCE);
        }
        Ok(agent.with_timeout(Duration::from_millis(self.timeout)))
    }

    /// The cases of a group that were asked for.
    fn chosen(&self, group: &Group) -> impl Iterator<Item = &'static Case> {
        group.cases().filter(|case| {
            self.only.is_empty() || self.only.iter().any(|pattern| case.matches(pattern))
        })
    }

    fn print_list(&self, out: &mut impl Write) -> Result<(), CliError> {
        let mut heading = "";
        for case in groups().iter().flat_map(|group| self.chosen(group)) {
            if self.json {
                writeln!(out, "{}", Value::Object(description(case)))?;
                continue;
            }
            heading = print_heading(case, heading, out)?;
            let (id, severity, title) = (case.id(), case.severity().as_str(), case.title());
            let slow = if case.is_slow() { " (--slow)" } else { "" };
            writeln!(out, "  {id:<5}  {severity:<6}  {title}{slow}")?;
            writeln!(out, "                 {}", case.reference())?;
        }
        Ok(())
    }
}

/// Accepts what some case matches.
fn pattern(text: &str) -> Result<String, String> {
    let mut cases = groups().iter().flat_map(Group::cases);
    if cases.any(|case| case.matches(text)) {
        return Ok(text.to_owned());
    }
    Err("no case has such an id or description; `spop conform --list` shows them".to_owned())
}

/// What stands in the one line of an agent that does not conform.
pub(super) fn verdict(summary: &Summary) -> String {
    let must = summary.failed_must;
    if summary.gone {
        return "the agent did not survive the last case".to_owned();
    }
    let cases = if must == 1 { "case" } else { "cases" };
    format!("{must} {cases} failed that every agent must pass")
}

/// `103 passed, 2 failed (1 must), 10 skipped in 1.3 s`.
fn counts(summary: &Summary, time: Duration) -> String {
    let (must, should) = (summary.failed_must, summary.failed_should);
    let of_those = match must {
        0 => String::new(),
        must => format!(" ({must} must)"),
    };
    format!(
        "{} passed, {} failed{of_those}, {} skipped in {:.1} s",
        summary.passed,
        must + should,
        summary.skipped,
        time.as_secs_f64()
    )
}

/// The title of the case's group, unless it stands above already.
fn print_heading(
    case: &Case,
    above: &'static str,
    out: &mut impl Write,
) -> Result<&'static str, CliError> {
    let group = groups()
        .iter()
        .find(|group| case.id().starts_with(group.letter()));
    let heading = group.map_or("", Group::title);
    if heading != above {
        writeln!(out, "{heading}")?;
    }
    Ok(heading)
}

fn print_outcome(case: &Case, outcome: &Outcome, out: &mut impl Write) -> Result<(), CliError> {
    let word = match outcome {
        Outcome::Passed => "pass",
        Outcome::Failed { .. } => "FAIL",
        Outcome::Skipped { .. } => "skip",
    };
    let (id, severity, title) = (case.id(), case.severity().as_str(), case.title());
    writeln!(out, "  {word}  {id:<5}  {severity:<6}  {title}")?;
    match outcome {
        Outcome::Passed => {}
        Outcome::Failed { expected, got } => {
            writeln!(out, "{INDENT}expected {expected}")?;
            writeln!(out, "{INDENT}got {got}")?;
            writeln!(out, "{INDENT}reference {}", case.reference())?;
        }
        Outcome::Skipped { reason } => writeln!(out, "{INDENT}{reason}")?,
    }
    Ok(())
}

fn description(case: &Case) -> serde_json::Map<String, Value> {
    let group = case.id().get(..1).unwrap_or_default();
    let mut object = serde_json::Map::new();
    object.insert("case".to_owned(), case.id().into());
    object.insert("group".to_owned(), group.into());
    object.insert("title".to_owned(), case.title().into());
    object.insert("reference".to_owned(), case.reference().into());
    object.insert("severity".to_owned(), case.severity().as_str().into());
    object
}

fn object(case: &Case, outcome: &Outcome, time: Duration) -> Value {
    let mut object = description(case);
    let mut insert = |key: &str, value: &str| object.insert(key.to_owned(), value.into());
    match outcome {
        Outcome::Passed => {
            insert("outcome", "pass");
        }
        Outcome::Failed { expected, got } => {
            insert("outcome", "fail");
            insert("expected", expected);
            insert("got", got);
        }
        Outcome::Skipped { reason } => {
            insert("outcome", "skip");
            insert("reason", reason);
        }
    }
    object.insert("milliseconds".to_owned(), milliseconds(time));
    Value::Object(object)
}

fn totals(summary: &Summary, time: Duration) -> Value {
    json!({
        "conforms": summary.conforms(),
        "passed": summary.passed,
        "failed_must": summary.failed_must,
        "failed_should": summary.failed_should,
        "skipped": summary.skipped,
        "survived": !summary.gone,
        "milliseconds": milliseconds(time),
    })
}

fn milliseconds(time: Duration) -> Value {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

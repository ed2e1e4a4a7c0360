//! The agent itself, which is asked what it knows instead of a list being kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};
use spop_client::Client;
use spop_client::spop_codec::{Ack, Action, TypedData};
use spop_testkit::agent;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::cargo::{Profile, build_agent};

/// One request a day for each client, and a policy that does not deny.
const POLICIES: &str = "
[policy.default]
rate = \"1/d\"
burst = 1

[policy.trial]
rate = \"1/d\"
burst = 1
shadow = true
";

/// A proxy on the same machine, whose headers are believed.
const PROXY: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The built agent, and one that runs.
pub(super) struct Agent {
    binary: PathBuf,
    settings: BTreeMap<String, Option<String>>,
    variables: BTreeSet<Variable>,
    running: agent::Agent,
    /// The next address that no question was about.
    strangers: AtomicU32,
    _dir: TempDir,
}

/// A variable's scope and name, such as `txn` and `ip_score`.
pub(super) type Variable = (&'static str, String);

impl Agent {
    /// Builds it, reads its `--help` and sees what it answers to clients within and above their
    /// limit.
    pub(super) async fn start() -> Result<Self> {
        let binary = build_agent(Profile::Own).await?;
        let help = Command::new(&binary).arg("--help").output()?;
        let settings = settings(&String::from_utf8_lossy(&help.stdout));
        if settings.is_empty() {
            bail!("{} --help lists no settings", binary.display());
        }
        let dir = TempDir::with_prefix("deploy-agent-")?;
        let policies = dir.path().join("policies.toml");
        std::fs::write(&policies, POLICIES)?;
        let running = agent::Setup::new(&binary)
            .set("SPOA_CONFIG", policies.display())
            // A day's state must be kept for a day.
            .set("SPOA_RATE_TTL", 86_400)
            .start()
            .await?;
        let mut agent = Self {
            binary,
            settings,
            variables: BTreeSet::new(),
            running,
            strangers: AtomicU32::new(Ipv4Addr::new(198, 18, 0, 1).to_bits()),
            _dir: dir,
        };
        let mut client = agent.client().await?;
        let source = ("ip_src", TypedData::Ipv4(PROXY));
        for policy in ["default", "default", "trial", "trial"] {
            let policy = ("policy", TypedData::from(policy));
            let answer = client.notify("check-rate", [source, policy]).await?;
            agent.variables.extend(variables(&answer));
        }
        Ok(agent)
    }

    /// What can be set, with the default if there is one.
    pub(super) fn settings(&self) -> &BTreeMap<String, Option<String>> {
        &self.settings
    }

    /// All that it ever sets.
    pub(super) fn variables(&self) -> &BTreeSet<Variable> {
        &self.variables
    }

    /// What it has against an environment: its exit code is 2, or it names a variable that it
    /// does not know.
    pub(super) fn complaint(&self, environment: &[(String, String)]) -> Result<Option<String>> {
        let mut command = Command::new(&self.binary);
        command.arg("check").env_clear();
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.env("RUST_LOG", "warn").env("NO_COLOR", "1");
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said
            .lines()
            .find(|line| !output.status.success() || line.contains("no setting of"));
        Ok(line.map(|line| line.trim_start_matches("spoa-gcra: ").to_owned()))
    }

    /// Whether it answers this message with anything.
    pub(super) async fn knows_message(&self, message: &str) -> Result<bool> {
        let source = ("ip_src", TypedData::Ipv4(PROXY));
        let answer = self.client().await?.notify(message, [source]).await?;
        Ok(!variables(&answer).is_empty())
    }

    /// Whether this argument makes any difference to the answer: a client that is above its
    /// limit is another one, has another policy or spends nothing because of it.
    pub(super) async fn reads_argument(&self, message: &str, argument: &str) -> Result<bool> {
        let mut client = self.client().await?;
        let source = ("ip_src", TypedData::Ipv4(PROXY));
        client.notify(message, [source]).await?;
        let denied = decision(&client.notify(message, [source]).await?);
        // Nobody asked about this one yet.
        let other = self.strangers.fetch_add(1, Ordering::Relaxed);
        let other = Ipv4Addr::from_bits(other);
        for value in [TypedData::Ipv4(other), "trial".into(), TypedData::Int64(0)] {
            let answer = client.notify(message, [source, (argument, value)]).await?;
            if decision(&answer) != denied {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn client(&self) -> Result<Client<TcpStream>> {
        Ok(Client::connect(self.running.addr()).await?)
    }
}

fn variables(answer: &Ack) -> BTreeSet<Variable> {
    let mut variables = BTreeSet::new();
    for action in answer.actions() {
        if let Action::SetVar { scope, name, .. } = action {
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            variables.insert((scope.as_str(), name));
        }
    }
    variables
}

/// What does not change with time.
fn decision(answer: &Ack) -> Vec<String> {
    let mut decision = Vec::new();
    for action in answer.actions() {
        if let Action::SetVar { name, value, .. } = action
            && matches!(name.as_bytes(), b"allowed" | b"policy")
        {
            decision.push(format!("{value:?}"));
        }
    }
    decision
}

/// `  SPOA_LAME_DUCK  how long…` and below it `(0 to 600000 ms; default 0)`
fn settings(help: &str) -> BTreeMap<String, Option<String>> {
    let mut settings = BTreeMap::new();
    let mut last = None;
    for line in help.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        let is_name = word.len() > 3
            && word.contains('_')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit());
        if is_name && line.starts_with("  ") {
            settings.insert(word.to_owned(), None);
            last = Some(word.to_owned());
        } else if let Some((_, default)) = line.split_once("; default ")
            && let Some(name) = &last
        {
            settings.insert(name.clone(), Some(default.trim_end_matches(')').to_owned()));
        }
    }
    settings
}

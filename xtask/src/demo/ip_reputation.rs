//! `cargo xtask demo --agent ip-reputation`: a client on the list is refused and another one
//! passes; then the list changes, and so does what becomes of them.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use spop_testkit::agent::{self, Agent};
use spop_testkit::haproxy::Server;
use spop_testkit::http::Client;
use spop_testkit::tools::{Haproxy, workspace_root};
use spop_testkit::web::Web;
use tempfile::TempDir;

use super::find_haproxy;
use crate::cargo::{Profile, build_agent};

/// The clients. All of 127.0.0.0/8 is this machine.
const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A changed list is in force after two seconds; the rest is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(keep: bool) -> Result<ExitCode> {
    let haproxy = find_haproxy().await?;
    let binary = build_agent("spoa-ip-reputation", Profile::Own).await?;
    let site = Site::start(&haproxy, &binary).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", site.picture(&haproxy))?;

    writeln!(out, "client      listed   score   HTTP")?;
    let mut right = site.ask_as_both(ONE).await?;
    let begin = Instant::now();
    site.change_list(OTHER).await?;
    let took = begin.elapsed().as_secs_f64();
    writeln!(
        out,
        "-- {OTHER} takes the place of {ONE} in the list: in force after {took:.1} s"
    )?;
    right &= site.ask_as_both(OTHER).await?;

    writeln!(out, "\n{}", verdict(right))?;
    if keep {
        site.keep().await?;
    }
    Ok(match right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// HAProxy, agent and web service, all of which end with it.
struct Site {
    haproxy: Server,
    agent: Agent,
    web: Web,
    dir: TempDir,
}

impl Site {
    /// With the first client on the list.
    async fn start(haproxy: &Haproxy, binary: &Path) -> Result<Self> {
        let dir = TempDir::with_prefix("ip-reputation-")?;
        let list = list_in(&dir);
        fs::write(&list, format!("{ONE}\n"))?;
        let agent = agent::Setup::new(binary)
            .set("SPOA_IP_LISTS", format!("100={}", list.display()))
            .set("SPOA_ADMIN_ADDR", "127.0.0.1:0")
            .start()
            .await?;
        let web = Web::start().await?;
        let [config, engine] = files(&agent, &web)?;
        let files = [
            ("haproxy.cfg", &*config),
            ("spoe-ip-reputation.conf", &*engine),
        ];
        Ok(Self {
            haproxy: Server::start_with(haproxy, &files).await?,
            agent,
            web,
            dir,
        })
    }

    fn picture(&self, haproxy: &Haproxy) -> String {
        format!(
            "
  client ──HTTP──▶ HAProxy {version}, {url} ──HTTP──▶ web service, {web}
                      │
                     SPOP
                      ▼
                   spoa-ip-reputation, {agent}: score 100 for {list}
",
            version = haproxy.version(),
            url = self.haproxy.url(),
            web = self.web.addr(),
            agent = self.agent.addr(),
            list = list_in(&self.dir).display(),
        )
    }

    /// Shows what becomes of a request of each client, of which one is `listed`; true if that
    /// is what it should be.
    async fn ask_as_both(&self, listed: Ipv4Addr) -> Result<bool> {
        let mut right = true;
        for client in [ONE, OTHER] {
            let answer = Client::from(client).get(self.haproxy.url()).send().await?;
            let score = answer.header("X-IP-Score").unwrap_or("none");
            let (word, expected) = match client == listed {
                true => ("yes", ("100", 403)),
                false => ("no", ("0", 200)),
            };
            let as_expected = (score, answer.status) == expected;
            right &= as_expected;
            let (status, note) = (answer.status, if as_expected { "" } else { "   WRONG" });
            let mut out = std::io::stdout();
            writeln!(out, "{client}   {word:<6}   {score:>5}    {status}{note}")?;
        }
        Ok(right)
    }

    /// Puts a list with this client in the place of the one before, and waits until the agent
    /// says that it is in force.
    async fn change_list(&self, listed: Ipv4Addr) -> Result<()> {
        let readings = || {
            let log = self.agent.log();
            let read = |line: &&String| line.starts_with("lists in force:");
            log.iter().filter(read).count()
        };
        let before = readings();
        let new = self.dir.path().join("new");
        fs::write(&new, format!("{listed}\n"))?;
        fs::rename(new, list_in(&self.dir))?;
        let agent = self.agent.process();
        agent.ready(PATIENCE, async || readings() > before).await
    }

    /// Prints where everything is, and leaves it running.
    async fn keep(&self) -> Result<()> {
        let (url, list) = (self.haproxy.url(), list_in(&self.dir));
        let metrics = self.agent.process().line("metrics at ", PATIENCE).await?;
        let metrics = metrics.trim_start_matches("metrics at ");
        writeln!(
            std::io::stdout(),
            "
Still running, until Ctrl-C:
  the web service           {url}
  HAProxy's statistics      {stats}
  the agent's metrics       {metrics}
  the list                  {list}
Such as:
  curl -i --interface {OTHER} {url}
  echo 127.0.0.1 >> {list}; sleep 3; curl -i {url}
  cargo run --quiet -p spop-client --bin spop -- notify {agent} check-ip ip_src={ONE}",
            stats = self.haproxy.stats_url(),
            list = list.display(),
            agent = self.agent.addr(),
        )?;
        std::future::pending().await
    }
}

fn list_in(dir: &TempDir) -> PathBuf {
    dir.path().join("block.txt")
}

/// The agent's own files, told where everything is, and to show each answer's score.
fn files(agent: &Agent, web: &Web) -> Result<[String; 2]> {
    let dir = workspace_root().join("agents/spoa-ip-reputation/haproxy");
    let read = |name: &str, changes: &[(&str, &str)]| {
        let path = dir.join(name);
        let shown = path.display().to_string();
        let mut text = fs::read_to_string(path).with_context(|| shown.clone())?;
        for (old, new) in changes {
            anyhow::ensure!(text.contains(old), "{shown} has no {old:?}");
            text = text.replace(old, new);
        }
        Ok(text)
    };
    let (agent, web) = (agent.addr().to_string(), web.addr().to_string());
    let config = [
        ("spoe-agent:9000", &*agent),
        ("web:80", &*web),
        (
            "    default_backend web",
            "    http-after-response set-header X-IP-Score \"%[var(txn.iprep.ip_score)]\"\n    \
             default_backend web",
        ),
    ];
    // What is answered is the question here, not how fast a busy machine does it.
    let engine = [("\"${SPOE_TIMEOUT-15ms}\"", "10s")];
    Ok([
        read("haproxy.cfg", &config)?,
        read("spoe-ip-reputation.conf", &engine)?,
    ])
}

fn verdict(right: bool) -> &'static str {
    if !right {
        return "Not every answer was as the list says: the demo FAILED.";
    }
    "Every answer was as the list says.

Next:
  cargo xtask demo --agent ip-reputation --keep   leaves it running, to try it by hand
  agents/spoa-ip-reputation/README.md             run it yourself
  agents/spoa-ip-reputation/haproxy/              the HAProxy files that this used"
}

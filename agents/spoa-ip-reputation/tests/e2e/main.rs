//! End to end: HTTP requests through a real HAProxy to a real agent, with the files that the
//! README names, and with each SPOE engine of HAProxy that this machine has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use spop_testkit::agent::{self, Agent};
use spop_testkit::haproxy::Server;
use spop_testkit::http::{Client, Response};
use spop_testkit::process::Signal;
use spop_testkit::tools::Haproxy;
use spop_testkit::web::Web;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// How long anything may take that is only a question of time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Client, HAProxy, agent and web service, all of which end with it.
struct Site {
    haproxy: Server,
    agent: Agent,
    lists: TempDir,
    _web: Web,
}

impl Site {
    /// With a list of score 100 and one of score 50.
    async fn start(haproxy: &Haproxy, block: &str, suspicious: &str) -> Self {
        let lists = tempfile::tempdir().unwrap();
        let path = |name: &str| lists.path().join(name).display().to_string();
        fs::write(path("block"), block).unwrap();
        fs::write(path("suspicious"), suspicious).unwrap();
        let sources = format!("100={},50={}", path("block"), path("suspicious"));
        let agent = agent::Setup::new(env!("CARGO_BIN_EXE_spoa-ip-reputation"))
            .set("SPOA_IP_LISTS", sources)
            .set("RUST_LOG", "info");
        let agent = agent.start().await.unwrap();
        let web = Web::start().await.unwrap();

        let shown = "    default_backend web\n    http-after-response set-header X-IP-Score \
                     \"%[var(txn.iprep.ip_score)],%[var(sess.iprep.ip_score)]\"";
        let config = include_str!("../../haproxy/haproxy.cfg")
            .replace("spoe-agent:9000", &agent.addr().to_string())
            .replace("web:80", &web.addr().to_string())
            .replace("    default_backend web", shown);
        // What is answered is the question here, not how fast a busy machine does it.
        let engine = include_str!("../../haproxy/spoe-ip-reputation.conf")
            .replace("\"${SPOE_TIMEOUT-15ms}\"", "10s");
        let files = [
            ("haproxy.cfg", &*config),
            ("spoe-ip-reputation.conf", &*engine),
        ];
        Self {
            haproxy: Server::start_with(haproxy, &files).await.unwrap(),
            agent,
            lists,
            _web: web,
        }
    }

    async fn get(&self, last: u8) -> Response {
        let client = Client::from([127, 0, 0, last]);
        client.get(self.haproxy.url()).send().await.unwrap()
    }

    /// Puts another list in the place of the one before, as a whole.
    fn replace(&self, name: &str, list: &str) {
        let new = self.lists.path().join("new");
        fs::write(&new, list).unwrap();
        fs::rename(new, self.lists.path().join(name)).unwrap();
    }

    /// How often the lists were read.
    fn readings(&self) -> usize {
        let log = self.agent.log();
        let read = |line: &&String| line.starts_with("lists in force:");
        log.iter().filter(read).count()
    }

    /// The lines of HAProxy's log in which the agent gave no answer.
    fn unanswered(&self) -> Vec<String> {
        let mut lines = self.haproxy.log();
        lines.retain(|line| line.contains(" err=") && !line.ends_with(" err=-"));
        lines
    }
}

/// Every engine there is. Never none.
fn engines() -> Vec<Haproxy> {
    let engines = Haproxy::engines().unwrap();
    assert!(!engines.is_empty());
    engines
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("gave up waiting: {what}"));
}

#[test]
fn haproxy_takes_the_files_without_a_warning() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/haproxy/haproxy.cfg");
    for haproxy in Haproxy::all().unwrap() {
        let mut command = haproxy.program().command();
        command.args(["-c", "-dW", "-f", config]);
        command.envs([
            ("SPOE_AGENT", "127.0.0.1:9000"),
            ("WEB_BACKEND", "127.0.0.1:80"),
        ]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", haproxy.version());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_denies_by_score() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, "127.0.0.2\n", "127.0.0.0/29\n").await;
        for (last, status, score) in [(2, 403, "100,100"), (3, 200, "50,50"), (8, 200, "0,0")] {
            let answer = site.get(last).await;
            let found = (answer.status, answer.header("X-IP-Score"));
            assert_eq!(found, (status, Some(score)), "127.0.0.{last}");
        }
        assert_eq!(site.unanswered(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_no_decision() {
    // So many that reading them takes a while.
    let mut many = String::new();
    for i in 0_u32..100_000 {
        let [_, a, b, c] = i.to_be_bytes();
        writeln!(many, "10.{a}.{b}.{c}").unwrap();
    }
    // Client 1 is in it, or not; both pass.
    let [without, with] = [many.clone(), many + "127.0.0.1\n"];
    for haproxy in engines() {
        let site = Site::start(&haproxy, "", &without).await;
        let stop = Arc::new(AtomicBool::new(false));
        let seen: Arc<[AtomicUsize; 2]> = Arc::default();
        let load = (0..8).map(|_| {
            let (stop, seen, url) = (Arc::clone(&stop), Arc::clone(&seen), site.haproxy.url());
            tokio::spawn(async move {
                let client = Client::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&url).send().await.unwrap();
                    let scores = ["0,0", "50,50"];
                    let score = answer.header("X-IP-Score");
                    let which = scores.iter().position(|known| score == Some(known));
                    let which = which.unwrap_or_else(|| panic!("no decision: {answer:?}"));
                    seen.get(which).unwrap().fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let load: Vec<_> = load.collect();
        let count = |which: usize| seen.get(which).unwrap().load(Ordering::Relaxed);
        // Answers with this score, again and again.
        let decided = async |which| {
            let before = count(which);
            until("the score is given", async || count(which) > before + 50).await;
        };
        decided(0).await;
        for round in 1..=4 {
            let listed = round % 2;
            let before = site.readings();
            site.replace("suspicious", if listed == 1 { &with } else { &without });
            if round > 2 {
                site.agent.signal(Signal::HUP).unwrap();
            }
            until("the lists are read", async || site.readings() > before).await;
            decided(listed).await;
        }
        // The old ones stay in force.
        site.replace("suspicious", "nonsense\n");
        let said = site
            .agent
            .process()
            .line("lists stay as they were", PATIENCE);
        said.await.unwrap();
        decided(0).await;
        stop.store(true, Ordering::Relaxed);
        for worker in load {
            worker.await.unwrap();
        }
        assert_eq!(site.unanswered(), [""; 0]);
    }
}

//! Policies from a file: which one a request is under, what each does with it, and how the
//! file is changed while requests come.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use spop_testkit::agent::Agent;
use spop_testkit::haproxy;
use spop_testkit::http::{Client, Response};
use spop_testkit::process::Signal;
use spop_testkit::tools::{Haproxy, workspace_root};
use spop_testkit::valkey::{Cluster, Server};
use spop_testkit::web::Web;
use tempfile::TempDir;

use crate::site::{PATIENCE, agent, client, engines, until};

/// Limits that do not refill while a test runs.
const POLICIES: &str = r#"
[policy.default]
rate = "1/m"
burst = 3

[policy.login]
messages = ["check-login"]
limits = [
    { name = "few", rate = "1/m", burst = 2 },
    { name = "many", rate = "1/m", burst = 5 },
]

[policy.api]
rate = "1/m"
burst = 4
cost = 2

[policy.lists]
rate = "1/m"
burst = 1
allow = ["127.0.0.64/26"]
deny = ["127.0.0.66"]

[policy.tried]
rate = "1/m"
burst = 1
shadow = true

[policy.free]
unlimited = true
"#;

/// HAProxy in front of an agent with a file of policies. Requests choose one by the header
/// `X-Policy`, and say what they cost in `X-Cost`; those for `/login` and `/new` are asked
/// about in messages of their own. Answers tell what was decided, in headers.
struct Site {
    haproxy: haproxy::Server,
    agent: Agent,
    file: PathBuf,
    _dir: TempDir,
    _web: Web,
}

impl Site {
    async fn start(haproxy: &Haproxy, settings: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("policies-").unwrap();
        let file = dir.path().join("policies.toml");
        fs::write(&file, POLICIES).unwrap();
        let agent = agent(settings).set("SPOA_CONFIG", file.display());
        let agent = agent.start().await.unwrap();
        let web = Web::start().await.unwrap();
        let (config, engine) = haproxy_files(&agent, &web);
        let files = [
            ("haproxy.cfg", config.as_str()),
            ("spoe-rate-limit.conf", engine.as_str()),
        ];
        Self {
            haproxy: haproxy::Server::start_with(haproxy, &files).await.unwrap(),
            agent,
            file,
            _dir: dir,
            _web: web,
        }
    }

    /// A request for `path` with these headers.
    async fn get(&self, client: &Client, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = client.get(self.haproxy.url() + path);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        request.send().await.unwrap()
    }

    /// The statuses of `count` requests under this policy.
    async fn statuses(&self, client: &Client, policy: &str, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            let answer = self.get(client, "", &[("X-Policy", policy)]).await;
            statuses.push(answer.status);
        }
        statuses
    }

    fn said(&self, text: &str) -> usize {
        let log = self.agent.log();
        log.iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until the agent has said so, for that may come later than its answers, and fails
    /// if it has said so again.
    async fn said_once(&self, text: &str) {
        until(text, async || self.said(text) > 0).await;
        assert_eq!(self.said(text), 1);
    }

    #[track_caller]
    fn all_answered(&self) {
        let mut lines = self.haproxy.log();
        lines.retain(|line| line.contains(" err=") && !line.contains(" err=-"));
        assert!(lines.is_empty(), "{lines:#?}");
    }
}

/// The shipped files, changed as little as can be.
fn haproxy_files(agent: &Agent, web: &Web) -> (String, String) {
    let read = |name: &str| {
        let path = workspace_root().join("deploy/haproxy").join(name);
        fs::read_to_string(path).unwrap()
    };
    let replace = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "no {from:?}");
        text.replacen(from, to, 1)
    };
    let config = read("haproxy.cfg");
    let addr = format!("setenv SPOE_AGENT {}", agent.addr());
    let config = replace(config, "presetenv SPOE_AGENT   spoe-agent:9000", &addr);
    // What is answered is the question here, not how fast a busy machine does it.
    let web = format!(
        "setenv WEB_BACKEND {}\n    setenv SPOE_TIMEOUT 2s",
        web.addr()
    );
    let config = replace(config, "presetenv WEB_BACKEND  web:80", &web);
    let told = ["policy", "source", "remaining", "shadow", "ip_score"].map(|name| {
        format!(
            "    http-after-response set-header X-Rl-{name} %[var(txn.rl.{name})] \
             if {{ var(txn.rl.{name}) -m found }}\n"
        )
    });
    let place = "    default_backend web\n";
    let config = replace(config, place, &(told.concat() + place));

    let engine = read("spoe-rate-limit.conf");
    let engine = replace(
        engine,
        "messages check-rate",
        "messages check-rate check-login check-new",
    );
    let args = "ip_src=src";
    let engine = replace(
        engine,
        args,
        "ip_src=src policy=req.hdr(x-policy) cost=req.hdr(x-cost),add(0)",
    );
    let event = "event on-frontend-http-request";
    let other = format!("{event} unless {{ path /login /new }}");
    let engine = replace(engine, event, &other);
    let engine = ["login", "new"].iter().fold(engine, |engine, name| {
        engine
            + &format!(
                "\nspoe-message check-{name}\n    args {args}\n    {event} if {{ path /{name} }}\n"
            )
    });
    (config, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_under_the_policy_that_it_names() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &[]).await;
        let client = client(2);
        // Each has a state of its own.
        let default = async || site.statuses(&client, "default", 2).await;
        assert_eq!(default().await, [200, 200]);
        assert_eq!(
            site.statuses(&client, "api", 3).await,
            [200, 200, 429],
            "at a cost of 2"
        );
        assert_eq!(default().await, [200, 429]);

        let by_message = async || site.get(&client, "login", &[]).await;
        for _ in 0..2 {
            let answer = by_message().await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("X-Rl-policy"), Some("login"));
        }
        let denied = by_message().await;
        assert_eq!(denied.status, 429);
        assert!(
            denied
                .header("RateLimit")
                .unwrap()
                .starts_with("\"login.few\";r=0;")
        );
        assert_eq!(
            denied.header("RateLimit-Policy"),
            Some("\"login.few\";q=2;w=120, \"login.many\";q=5;w=300")
        );
        // The same policy by its name.
        assert_eq!(site.statuses(&client, "login", 1).await, [429]);

        // A name that there is not is the default's, which is said once.
        for _ in 0..3 {
            let answer = site.get(&client, "", &[("X-Policy", "lgoin")]).await;
            assert_eq!(answer.status, 429);
            assert_eq!(answer.header("X-Rl-policy"), Some("default"));
        }
        site.said_once("no policy is called so").await;

        // A message that is nobody's has no answer, which HAProxy does not wait for.
        for _ in 0..3 {
            let answer = site.get(&client, "new", &[]).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("X-Rl-policy"), None);
        }
        site.said_once("no policy answers a message").await;
        site.all_answered();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_shadow_and_no_limit() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &[]).await;
        for (last, statuses, source) in [
            (2, [200, 429, 429], "memory"),
            (65, [200, 200, 200], "list"),
            (66, [429, 429, 429], "list"),
        ] {
            for status in statuses {
                let answer = site.get(&client(last), "", &[("X-Policy", "lists")]).await;
                assert_eq!(answer.status, status, "{last}");
                assert_eq!(answer.header("X-Rl-source"), Some(source), "{last}");
                assert_eq!(answer.header("RateLimit").is_some(), source == "memory");
            }
        }
        for would_be_denied in ["0", "1", "1"] {
            let answer = site.get(&client(2), "", &[("X-Policy", "tried")]).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("X-Rl-shadow"), Some(would_be_denied));
            assert_eq!(answer.header("X-Rl-ip_score"), Some("0"));
            assert_eq!(answer.header("RateLimit"), None);
        }
        for _ in 0..3 {
            let answer = site.get(&client(2), "", &[("X-Policy", "free")]).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("X-Rl-source"), Some("unlimited"));
            assert_eq!(answer.header("X-Rl-shadow"), None);
            assert_eq!(answer.header("RateLimit"), None);
        }
        site.all_answered();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_costs_what_it_says() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &[]).await;
        let ask = async |cost: &'static str| {
            let headers = [("X-Policy", "api"), ("X-Cost", cost)];
            let answer = site.get(&client(2), "", &headers).await;
            let remaining = answer.header("X-Rl-remaining").unwrap();
            (answer.status, remaining.parse::<u64>().unwrap())
        };
        assert_eq!(ask("0").await, (200, 4));
        assert_eq!(ask("1").await, (200, 3));
        assert_eq!(ask("99999999999").await, (429, 3));
        // As if it said nothing.
        assert_eq!(ask("-3").await, (200, 1));
        assert_eq!(ask("1").await, (200, 0));
        assert_eq!(ask("1").await, (429, 0));
        assert_eq!(ask("0").await, (200, 0));
        site.all_answered();
    }
}

/// Where a policy's state is in Valkey.
const KEYS: [&str; 2] = ["gcra:{127.0.0.2}:login.few", "gcra:{127.0.0.2}:login.many"];

#[tokio::test(flavor = "multi_thread")]
async fn several_limits_are_spent_from_together_or_not_at_all() {
    let server = Server::start().await.unwrap();
    let cluster = Cluster::start(3).await.unwrap();
    for haproxy in engines() {
        together(&haproxy, &server.url(), &[&server]).await;
        let nodes: Vec<_> = cluster.nodes().iter().collect();
        together(&haproxy, &cluster.urls(), &nodes).await;
    }
}

async fn together(haproxy: &Haproxy, urls: &str, nodes: &[&Server]) {
    for node in nodes {
        node.cli(&["FLUSHALL"]).await.unwrap();
    }
    let settings = [
        ("VALKEY_NODES", urls),
        ("SPOA_FAILURE", "closed"),
        ("SPOA_DECISION_BUDGET", "1000"),
        // Each denial is to be Valkey's.
        ("SPOA_DENIAL_CACHE", "0"),
    ];
    let site = Site::start(haproxy, &settings).await;
    until("the agent finds Valkey", async || {
        let answer = site.get(&client(250), "login", &[]).await;
        answer.header("X-Rl-source") == Some("valkey")
    })
    .await;

    // Of many at once, as many as the smaller limit has room for.
    let client = client(2);
    let answers = (0..20).map(|_| site.get(&client, "login", &[]));
    let answers = futures_util::future::join_all(answers).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(passed, 2);
    assert!(
        answers
            .iter()
            .all(|answer| answer.header("X-Rl-source") == Some("valkey"))
    );

    // Both keys are on one node, and nothing was spent from the larger limit in vain: its
    // TAT is two minutes ahead, not twenty.
    let mut tats = Vec::new();
    for node in nodes {
        for key in KEYS {
            let here = node.cli(&["KEYS", "*"]).await.unwrap();
            if here.lines().any(|found| found.trim() == key) {
                let tat = node.cli(&["GET", key]).await.unwrap();
                tats.push((node.port(), tat.trim().parse::<i64>().unwrap()));
            }
        }
    }
    let [(one, few), (other, many)] = tats[..] else {
        panic!("{tats:?}");
    };
    assert_eq!(one, other);
    assert_eq!(few, many);
    site.all_answered();
}

/// Requests for the default policy and for `/login`, without a pause, until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(site: &Site) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let worker = |number: u8| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            let path = if number.is_multiple_of(2) {
                ""
            } else {
                "login"
            };
            let (url, client) = (site.haproxy.url() + path, client(100 + number));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&url).send().await.unwrap();
                    assert!(matches!(answer.status, 200 | 429), "{}", answer.status);
                    // Somebody decided.
                    assert!(answer.header("X-Rl-source").is_some());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let workers = (0..4).map(worker).collect();
        Self {
            stop,
            served,
            workers,
        }
    }

    async fn some_more(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until("load", async || {
            self.served.load(Ordering::Relaxed) > before + 20
        })
        .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_changed_under_load_and_no_decision_is_lost() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &[]).await;
        let load = Load::start(&site);
        assert_eq!(
            site.statuses(&client(2), "default", 4).await,
            [200, 200, 200, 429]
        );
        load.some_more().await;

        // By signal: a message more, and a limit of one request more.
        let more = "\n[policy.new]\nmessages = ['check-new']\nrate = '1/m'\nburst = 1\n";
        let changed = POLICIES.replacen("burst = 3", "burst = 4", 1) + more;
        fs::write(&site.file, &changed).unwrap();
        site.agent.signal(Signal::HUP).unwrap();
        until("the new policies", async || {
            site.said("policies read again: changed default, added new") == 1
        })
        .await;
        load.some_more().await;
        let new = async || site.get(&client(3), "new", &[]).await;
        assert_eq!(new().await.status, 200);
        assert_eq!(new().await.status, 429);
        // What was spent is still spent.
        assert_eq!(site.statuses(&client(2), "default", 2).await, [200, 429]);

        // A bad file changes nothing, and says what is wrong, by signal and by itself.
        fs::write(&site.file, changed.replacen("burst = 4", "burst = 0", 1)).unwrap();
        site.agent.signal(Signal::HUP).unwrap();
        let bad = format!(
            "policies stay as they were: {}:4: policy \"default\": burst = 0",
            site.file.display()
        );
        until("the mistake is told", async || site.said(&bad) > 0).await;
        load.some_more().await;
        assert_eq!(new().await.status, 429);

        // By the file alone, replaced as editors do.
        replace(&site.file, &format!("{changed}messages_ = 1"));
        until("the other mistake is told", async || {
            site.said("unknown field `messages_`") == 1
        })
        .await;
        assert_eq!(new().await.status, 429);
        replace(&site.file, POLICIES);
        until("the first policies", async || {
            site.said("policies read again: changed default, removed new") == 1
        })
        .await;
        load.some_more().await;
        assert_eq!(new().await.header("X-Rl-policy"), None);

        load.end().await;
        site.all_answered();
        site.agent.signal(Signal::TERM).unwrap();
        let ended = site.agent.process().wait(PATIENCE).await.unwrap();
        assert!(ended.success(), "{ended}");
    }
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_a_hangup_does_no_harm() {
    let agent = agent(&[]).start().await.unwrap();
    agent.signal(Signal::HUP).unwrap();
    agent
        .process()
        .line("policies read again: nothing changed", PATIENCE)
        .await
        .unwrap();
}

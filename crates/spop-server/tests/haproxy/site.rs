//! What a test sets up: a HAProxy that asks agents about each request and shows in its own
//! answer what it was told.

use std::net::SocketAddr;
use std::time::Duration;

use spop_testkit::haproxy::Server;
use spop_testkit::http::{Client, Response};
use spop_testkit::tools::Haproxy;

/// How long anything may take that is only a question of time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The SPOE section of most tests: one message, `ask`. HAProxy logs what goes wrong, and only
/// that.
pub(crate) const ASK: &str = "
[e]
spoe-agent e
    log global
    option dontlog-normal
    messages ask
    option var-prefix e
    option set-on-error error
    timeout hello 5s
    timeout idle 30s
    timeout processing 5s
    use-backend spoe-agents

spoe-message ask
    args id=req.hdr(id) path=path
    event on-frontend-http-request
";

/// The rule of most tests: HAProxy answers by itself, and shows the variables that [`ASK`]'s
/// agent sets.
pub(crate) const SHOW: &str = "http-request return status 200 content-type text/plain \
    string ok hdr answer %[var(txn.e.answer)] hdr failure %[var(txn.e.failure)] \
    hdr error %[var(txn.e.error)]";

/// [`ASK`] with a group for the rules of [`SHOW_AGAIN`]: HAProxy sees that a question was
/// lost with its connection, but asks no second time by itself.
pub(crate) const ASK_AGAIN: &str = "
[e]
spoe-agent e
    log global
    option dontlog-normal
    messages ask
    groups again
    option var-prefix e
    option set-on-error error
    # Without it, one question that is lost is the last of this request.
    option continue-on-error
    timeout hello 5s
    timeout idle 30s
    timeout processing 5s
    use-backend spoe-agents

spoe-message ask
    args id=req.hdr(id) path=path
    event on-frontend-http-request

spoe-group again
    messages ask-again
spoe-message ask-again
    args id=req.hdr(id) path=path
";

/// The rules for [`ASK_AGAIN`], before those of [`SHOW`].
pub(crate) const SHOW_AGAIN: &str =
    "http-request send-spoe-group e again unless { var(txn.e.answer) -m found }
    http-request send-spoe-group e again unless { var(txn.e.answer) -m found }
    http-request return status 200 content-type text/plain \
    string ok hdr answer %[var(txn.e.answer)] hdr error %[var(txn.e.error)]";

/// A server is out after two failed checks, in again after one that succeeds.
pub(crate) const SPOP_CHECK: &str = "option spop-check
    default-server check inter 100ms fastinter 100ms downinter 100ms fall 2 rise 1";

/// What a HAProxy is told.
pub(crate) struct Plan {
    /// `agent1`, `agent2`, …
    pub(crate) agents: Vec<SocketAddr>,
    /// Lines of the section `global`.
    pub(crate) global: &'static str,
    /// The SPOE file.
    pub(crate) engine: String,
    /// Lines of the frontend, behind the filter.
    pub(crate) rules: &'static str,
    /// Lines of the agents' backend.
    pub(crate) backend: &'static str,
    /// The web service, if the rules need one.
    pub(crate) web: Option<SocketAddr>,
}

impl Plan {
    /// [`ASK`] and [`SHOW`], without health checks.
    pub(crate) fn new(agents: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            agents: agents.into_iter().collect(),
            global: "",
            engine: ASK.to_owned(),
            rules: SHOW,
            backend: "",
            web: None,
        }
    }

    pub(crate) async fn start(&self, haproxy: &Haproxy) -> Server {
        let config = self.config();
        let files = [
            ("haproxy.cfg", config.as_str()),
            ("spoe.conf", self.engine.as_str()),
        ];
        Server::start_with(haproxy, &files).await.unwrap()
    }

    fn config(&self) -> String {
        let Self {
            global,
            rules,
            backend,
            ..
        } = self;
        let agents: String = (1..)
            .zip(&self.agents)
            .map(|(number, addr)| format!("    server agent{number} {addr}\n"))
            .collect();
        let web = match self.web {
            Some(addr) => format!("default_backend web\nbackend web\n    server web {addr}\n"),
            None => String::new(),
        };
        format!(
            "
global
    log stdout format raw daemon
    stats socket \"$RUNTIME_SOCKET\" mode 600 level admin expose-fd listeners
    default-path config
    {global}

defaults
    mode http
    log global
    timeout connect 5s
    timeout client 30s
    timeout server 30s

listen stats
    bind \"$STATS_BIND\"
    no log
    stats enable
    stats uri /

frontend http-in
    bind \"$HTTP_BIND\"
    no log
    filter spoe engine e config spoe.conf
    {rules}
    {web}

backend spoe-agents
    mode tcp
    timeout connect 5s
    timeout server 60s
    timeout check 5s
    balance roundrobin
    {backend}
{agents}
"
        )
    }
}

/// Every HAProxy there is. Never none.
pub(crate) fn versions() -> Vec<Haproxy> {
    let versions = Haproxy::all().unwrap();
    assert!(!versions.is_empty());
    versions
}

/// Asks about `path`.
pub(crate) async fn ask(client: &Client, server: &Server, path: &str, id: &str) -> Response {
    let request = client.get(server.url() + path).header("id", id);
    request.send().await.unwrap()
}

/// A header that a rule sets to a variable: empty if the variable is not set.
pub(crate) fn shown<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.header(name).unwrap_or_default()
}

/// What HAProxy's log says went wrong with its questions.
pub(crate) fn spoe_errors(log: &[String]) -> Vec<&String> {
    log.iter().filter(|line| line.contains("SPOE")).collect()
}

/// Waits until HAProxy thinks so of a server.
pub(crate) async fn until_status(server: &Server, agent: &str, status: &str) {
    until(status, async || {
        let said = server.status_of("spoe-agents", agent).await;
        said.is_ok_and(|said| said.starts_with(status))
    })
    .await;
}

/// Waits until HAProxy's last health check of a server came to this.
pub(crate) async fn until_check(server: &Server, agent: &str, result: &str) {
    until(result, async || {
        let said = server.last_check_of("spoe-agents", agent).await;
        said.is_ok_and(|said| said == result)
    })
    .await;
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn until(
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let wait = async move {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("gave up waiting, at {caller}: {what}");
        }
    }
}

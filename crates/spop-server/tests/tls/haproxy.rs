//! Real HAProxys, with certificates of their own; and over Unix sockets.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spop_server::tls::TlsListener;
use spop_server::{Actions, Config, Endpoint, Request, Router, Scope, UnixListener, serve};
use spop_testkit::haproxy::Server;
use spop_testkit::http::Client;
use spop_testkit::tools::Haproxy;
use tokio::net::TcpListener;
use tracing_subscriber::fmt::MakeWriter;

use crate::Ends;
use crate::authority::Files;

const SPOE: &str = "
[e]
spoe-agent e
    messages ask
    option var-prefix e
    option set-on-error error
    timeout hello 5s
    timeout idle 30s
    timeout processing 5s
    use-backend agents

spoe-message ask
    args id=req.hdr(id)
    event on-frontend-http-request
";

fn config(server: &str) -> String {
    format!(
        "
global
    log stdout format raw daemon
    default-path config

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

backend agents
    mode tcp
    option spop-check
    timeout server 60s
    timeout check 5s
    server agent {server} check inter 30s fall 1 rise 1

frontend http-in
    bind \"$HTTP_BIND\"
    no log
    filter spoe engine e config spoe.conf
    http-request return status 200 content-type text/plain string ok hdr answer %[var(txn.e.answer)] hdr error %[var(txn.e.error)]
"
    )
}

async fn haproxy(version: &Haproxy, server: &str) -> Server {
    let config = config(server);
    let files = [("haproxy.cfg", config.as_str()), ("spoe.conf", SPOE)];
    Server::start_with(version, &files).await.unwrap()
}

fn echo() -> Router {
    Router::new().message("ask", async |request: Request| {
        Actions::new().set_var(Scope::Transaction, "answer", request.arg("id"))
    })
}

/// Waits until HAProxy's health checks say so.
async fn until_status(server: &Server, status: &str) {
    let wait = async {
        while !(server.status_of("agents", "agent").await).is_ok_and(|is| is.starts_with(status)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "{status}: {:#?}", server.log());
}

/// 60 questions, up to 20 of them at a time.
async fn is_answered(server: &Server) {
    for round in 0..3 {
        let users = (0..20).map(|user| async move {
            let id = format!("{round}-{user}");
            let answer = Client::new()
                .get(server.url())
                .header("id", &id)
                .send()
                .await;
            let answer = answer.unwrap();
            let log = server.log();
            assert_eq!(answer.header("answer"), Some(&*id), "{answer:?}: {log:#?}");
        });
        futures_util::future::join_all(users).await;
    }
}

/// The agent's warnings, of the thread that a test runs on.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<u8>>>);

impl io::Write for Warnings {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Warnings {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn haproxy_and_agent_know_each_other_by_certificate() {
    let warnings = Warnings::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(warnings.clone())
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    for version in Haproxy::engines().unwrap() {
        let files = Files::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::new(Ends::default());
        let config = Config::new().with_observer(Arc::clone(&ends) as _);
        let server = serve(TlsListener::new(listener, files.mutual()), echo());
        let served = tokio::spawn(server.with_config(config).into_future());

        let [ca, known, stranger] =
            ["ca.pem", "haproxy.pem", "stranger.pem"].map(|name| files.path(name));
        let ca = format!("ssl ca-file {} verify required", ca.display());
        let line = format!("{address} {ca} crt {}", known.display());
        let known = haproxy(&version, &line).await;
        // The first check is made at once; another need not disturb.
        while !ends.wait(1).await.iter().any(|end| end == "health-check") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        until_status(&known, "UP").await;
        is_answered(&known).await;
        let said = String::from_utf8(warnings.0.lock().unwrap().clone()).unwrap();
        assert_eq!(said, "", "HAProxy {}", version.version());

        // The wrong certificate, and none.
        let stranger = format!("crt {}", stranger.display());
        for (certificate, why) in [(&*stranger, "UnknownIssuer"), ("", "no certificates")] {
            let line = format!("{address} {ca} {certificate}");
            let stranger = haproxy(&version, &line).await;
            until_status(&stranger, "DOWN").await;
            let answer = Client::new().get(stranger.url()).send().await.unwrap();
            let unanswered = answer.header("answer").is_none() && answer.header("error").is_some();
            assert!(unanswered, "{answer:?}");
            drop(stranger);
            let ends = ends.0.lock().unwrap().clone();
            let refused = ends.iter().filter(|end| end.contains(why)).count();
            assert!(refused > 0, "HAProxy {}: {ends:?}", version.version());
        }
        is_answered(&known).await;

        // One line for each that was refused.
        let said = String::from_utf8(std::mem::take(&mut *warnings.0.lock().unwrap())).unwrap();
        let ends = ends.0.lock().unwrap().clone();
        let refused = ends.iter().filter(|end| end.contains("certificate"));
        assert_eq!(said.lines().count(), refused.count(), "{said}\n{ends:#?}");
        served.abort();
    }
}

#[tokio::test]
async fn haproxy_asks_over_unix_sockets() {
    for version in Haproxy::engines().unwrap() {
        let files = Files::new();
        let path = files.path("agent.sock");
        let file = UnixListener::bind(&path).await.unwrap();
        let name = format!("abns@spop-test-{}", std::process::id());
        let named = name.parse::<Endpoint>().unwrap().bind().await.unwrap();
        let served = tokio::spawn(serve(file, echo()).and(named).into_future());
        for address in [format!("unix@{}", path.display()), name] {
            let server = haproxy(&version, &address).await;
            until_status(&server, "UP").await;
            is_answered(&server).await;
        }
        served.abort();
        served.await.unwrap_err();
        assert!(!path.exists());
    }
}

//! The admin listener of a running agent: its metrics, over a real Valkey too, and what is
//! written about them; who is denied most; its health, and what it does with those who ask too
//! much.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod documents;
mod exposition;
mod health;
mod metrics;
mod outages;
mod top;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use spop_client::Client as Haproxy;
use spop_client::spop_codec::TypedData;
use spop_testkit::agent::{self, Agent};
use tempfile::{NamedTempFile, TempPath};
use tokio::time::sleep;

use crate::exposition::Exposition;

/// How long anything may take that is only a question of time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A policy that denies nobody, and would deny the second request.
const TRIAL: &str = "[policy.trial]\ninterval_us = 1_000_000_000\nburst = 1\nshadow = true\n";

/// A policy that denies by list alone.
const LISTED: &str = "[policy.listed]\nunlimited = true\ndeny = ['192.0.2.66']\n";

/// A file of policies, for `SPOA_CONFIG`.
fn policies(text: &str) -> TempPath {
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    fs::write(file.path(), text).unwrap();
    file.into_temp_path()
}

/// An agent with an admin listener.
struct Watched {
    agent: Agent,
    admin: SocketAddr,
}

impl Watched {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let setup = agent::Setup::new(env!("CARGO_BIN_EXE_spoa-gcra"))
            .set("RUST_LOG", "info")
            .set("SPOA_ADMIN_ADDR", "127.0.0.1:0");
        let setup = settings
            .iter()
            .fold(setup, |setup, (name, value)| setup.set(name, value));
        let agent = setup.start().await.unwrap();
        let line = agent.process().line("metrics at http://", PATIENCE).await;
        let line = line.unwrap();
        let addr = line.split_once("http://").unwrap().1;
        let admin = addr.strip_suffix("/metrics").unwrap().parse().unwrap();
        Self { agent, admin }
    }

    fn get(&self, path: &str) -> Answer {
        request(self.admin, "GET", path)
    }

    fn metrics(&self) -> Exposition {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200);
        Exposition::parse(&answer.body)
    }

    async fn haproxy(&self) -> Haproxy<tokio::net::TcpStream> {
        Haproxy::connect(self.agent.addr()).await.unwrap()
    }

    /// Waits until the metrics are as they should be.
    async fn until(&self, what: &str, condition: impl Fn(&Exposition) -> bool) {
        self.until_asking(what, async || {}, condition).await;
    }

    /// The same, doing something meanwhile.
    async fn until_asking(
        &self,
        what: &str,
        mut ask: impl AsyncFnMut(),
        condition: impl Fn(&Exposition) -> bool,
    ) {
        let since = Instant::now();
        loop {
            ask().await;
            let metrics = self.metrics();
            if condition(&metrics) {
                return;
            }
            if since.elapsed() > PATIENCE {
                panic!(
                    "gave up waiting: {what}\n{metrics:#?}\n{:#?}",
                    self.agent.log()
                );
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// One request of a client, under a policy.
async fn ask(haproxy: &mut Haproxy<tokio::net::TcpStream>, last: u8, policy: &str) {
    let args = [
        ("ip_src", TypedData::Ipv4([192, 0, 2, last].into())),
        ("policy", TypedData::from(policy)),
    ];
    haproxy.notify("check-rate", args).await.unwrap();
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn request(addr: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

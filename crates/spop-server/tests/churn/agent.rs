//! The agent that is churned: this test's binary once more, as a process of its own.

use std::env;
use std::net::SocketAddr;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spop_server::{
    Actions, AgentConfig, ConnectionEnd, Failure, Observer, Peer, Router, Scope, serve,
};
use spop_testkit::process::Process;
use spop_testkit::tools::Program;
use tokio::net::TcpListener;
use tokio::runtime::{self, Handle};

use crate::PATIENCE;
use crate::support::{answer, obedient, telling};

/// Set in the child.
pub(crate) const CHILD: &str = "SPOP_CHURN_CHILD";

const LISTENING: &str = "listening on ";

pub(crate) struct Agent {
    process: Process,
    address: SocketAddr,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    pub(crate) async fn start() -> Self {
        let program = Program::at(env::current_exe().unwrap());
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaints);
        let configure = |command: &mut std::process::Command| {
            let test = "churn_leaves_nothing_behind";
            command
                .args(["--exact", test, "--nocapture"])
                .env(CHILD, "");
        };
        let process = Process::spawn_watched("the agent", &program, configure, move |line| {
            if line.contains("panicked") || line.contains("ERROR") {
                heard.lock().unwrap().push(line.to_owned());
            }
        })
        .unwrap();
        let line = process.line(LISTENING, PATIENCE).await.unwrap();
        let (_, address) = line.split_once(LISTENING).unwrap();
        Self {
            address: address.parse().unwrap(),
            process,
            complaints,
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        self.process.cpu_time().unwrap()
    }

    /// Handlers may panic; they do so without a word. Anything else that panics is a defect.
    pub(crate) fn must_be_silent(&self) {
        let complaints = self.complaints.lock().unwrap();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

/// The child: serves until it is killed.
pub(crate) fn run() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or("", |place| place.file());
        if !place.ends_with("support/mod.rs") {
            report(panic);
        }
    }));
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::ERROR)
        .init();
    let mut runtime = runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{LISTENING}{}", listener.local_addr().unwrap());
        let counts = Arc::new(Counts::default());
        let config = telling()
            .with_agent(AgentConfig::new().with_fragmentation(20_000))
            .with_handler_timeout(Duration::from_millis(250))
            .with_observer(Arc::clone(&counts) as _);
        serve(listener, handlers(&counts))
            .with_config(config)
            .await
            .unwrap();
    });
}

fn handlers(counts: &Arc<Counts>) -> Router {
    let counts = Arc::clone(counts);
    obedient()
        .message("elsewhere", async || {
            tokio::spawn(tokio::task::yield_now()).await.unwrap();
            answer("elsewhere")
        })
        .message("stats", move || std::future::ready(counts.tell()))
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    closed: AtomicU64,
    received: AtomicU64,
    answered: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    fn tell(&self) -> Actions {
        let tasks = Handle::current().metrics().num_alive_tasks() as u64;
        let counts = [
            ("accepted", self.accepted.load(Relaxed)),
            ("closed", self.closed.load(Relaxed)),
            ("received", self.received.load(Relaxed)),
            ("answered", self.answered.load(Relaxed)),
            ("lost", self.lost.load(Relaxed)),
            ("tasks", tasks),
        ];
        counts
            .into_iter()
            .fold(Actions::new(), |actions, (name, count)| {
                actions.set_var(Scope::Transaction, name, count.to_string().as_str())
            })
    }
}

impl Observer for Counts {
    fn accepted(&self, _: &Peer) {
        self.accepted.fetch_add(1, Relaxed);
    }

    fn closed(&self, _: &ConnectionEnd, in_flight: usize) {
        self.closed.fetch_add(1, Relaxed);
        self.lost.fetch_add(in_flight as u64, Relaxed);
    }

    fn received(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    fn answered(&self, _: Option<Failure>, _: Duration) {
        self.answered.fetch_add(1, Relaxed);
    }
}

//! Traces that are left when the process ends.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use spoa_process::{Agent, Options, run};
use spop_client::Client;
use spop_client::spop_codec::TypedData;
use spop_server::{Config, Router};
use tokio::runtime::Runtime;

/// Set in the child: this test, started anew, is the agent then.
const CHILD: &str = "TEST_CHILD";

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[test]
fn a_collector_that_never_answers_does_not_keep_it() {
    if env::var_os(CHILD).is_some() {
        let Arguments { options } = Arguments::parse_from(["agent"]);
        let config = Config::new().with_drain_timeout(Duration::MAX);
        let agent = Agent::new(Router::new()).with_config(config);
        let ended = run::<Arguments>("agent", options, async |_log| Ok(agent));
        assert_eq!(ended, ExitCode::SUCCESS);
        return;
    }
    // Whoever connects is in its queue.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_collector_that_never_answers_does_not_keep_it")
        .env(CHILD, "1")
        .env("SPOE_ADDR", "127.0.0.1:0")
        .env("SPOA_ADMIN_ADDR", "off")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")
        // Nothing is sent before the end.
        .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let addr = output.find_map(|line| {
        let line = line.unwrap();
        let (_, addr) = line.split_once("spoe agent listening on ")?;
        Some(addr.to_owned())
    });
    let ask = async {
        let mut client = Client::connect(addr.unwrap()).await.unwrap();
        let source = ("ip_src", TypedData::Ipv4([192, 0, 2, 7].into()));
        client.notify("check", [source]).await.unwrap();
    };
    Runtime::new().unwrap().block_on(ask);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let stopped = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if stopped.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        sleep(Duration::from_millis(5));
    };
    let mut log = String::new();
    child.stderr.unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("the last traces are lost"), "{log}");
    // It was asked.
    collector.set_nonblocking(true).unwrap();
    collector.accept().unwrap();
}

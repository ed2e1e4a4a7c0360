//! The agent against the conformance suite, as `spop conform` runs it, and what it logs
//! meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

use spop_client::conform::{Agent, Case, Group, Outcome, Run, groups};
use spop_client::spop_codec::TypedData;
use spop_testkit::agent::{self, Setup};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an agent without fragmentation leaves out.
const FRAGMENTS: [&str; 7] = ["G1", "G2", "G3", "G4", "G5", "G7", "X6"];

fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_spoa-gcra"))
}

fn under_test(agent: &agent::Agent) -> Agent {
    Agent::tcp(agent.addr()).with_timeout(PATIENCE)
}

/// Asks with the agent's own message.
fn with_its_message(agent: &agent::Agent) -> Agent {
    let ip = TypedData::Ipv4([192, 0, 2, 7].into());
    let agent = under_test(agent).with_message("check-rate", [("ip_src", ip)]);
    agent.unwrap()
}

/// Runs the cases, none of which may fail. The ids of those that were skipped.
async fn skipped(agent: &Agent, cases: impl Iterator<Item = &'static Case>) -> Vec<&'static str> {
    let mut skipped = Vec::new();
    let mut run = Run::start(agent, cases).await.unwrap();
    while let Some((case, outcome)) = run.next().await {
        match outcome {
            Outcome::Passed => {}
            Outcome::Skipped { .. } => skipped.push(case.id()),
            Outcome::Failed { .. } => panic!("{} {}: {outcome:?}", case.id(), case.title()),
        }
    }
    assert!(run.summary().conforms());
    skipped
}

fn all() -> impl Iterator<Item = &'static Case> {
    groups().iter().flat_map(Group::cases)
}

fn picked(ids: &[&str]) -> impl Iterator<Item = &'static Case> {
    all().filter(|case| ids.iter().any(|id| case.matches(id)))
}

/// The lines of its log, which has nothing below warnings, once there are `count` of them.
async fn news(agent: &agent::Agent, count: usize) -> Vec<String> {
    let news = || {
        let mut lines = agent.log();
        lines.retain(|line| {
            ["WARN", "ERROR", "panicked"]
                .iter()
                .any(|word| line.contains(word))
        });
        lines
    };
    let begin = Instant::now();
    while news().len() < count && begin.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A line too many may be on its way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    news()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_every_case() {
    let agent = setup().start().await.unwrap();
    let known = with_its_message(&agent);
    let quick = all().filter(|case| !case.is_slow());
    assert_eq!(skipped(&known, quick).await, FRAGMENTS);
    // Its patience is 5 s: all that wait for its end wait together.
    let patient = known.with_patience(PATIENCE);
    let slow = all().filter(|case| case.is_slow());
    let slow = slow.map(|case| async { (case.id(), case.run(&patient).await) });
    for (id, outcome) in futures_util::future::join_all(slow).await {
        assert_eq!(outcome, Outcome::Passed, "{id}");
    }
    let panics = agent
        .log()
        .iter()
        .filter(|line| line.contains("panicked"))
        .count();
    assert_eq!(panics, 0, "{:?}", agent.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_with_a_message_that_it_does_not_know() {
    let agent = setup().start().await.unwrap();
    let quick = all().filter(|case| !case.is_slow());
    let without_actions = ["N12", "N13", "N14", "N15"];
    let mut expected = [&without_actions[..], &FRAGMENTS].concat();
    let mut skipped = skipped(&under_test(&agent), quick).await;
    expected.sort_unstable();
    skipped.sort_unstable();
    assert_eq!(skipped, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_haproxy_does_all_day_is_not_news() {
    let agent = setup().start().await.unwrap();
    let cases = picked(&["H1", "H13", "H15", "N1", "C", "D1", "D3", "D4", "X8"]);
    // D1.1 says status 2, "a timeout occurred": that is one line.
    let cases = cases.filter(|case| case.id() != "D1.1");
    assert!(skipped(&with_its_message(&agent), cases).await.is_empty());
    let news = news(&agent, 0).await;
    assert!(news.is_empty(), "{news:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_haproxy_is_one_line() {
    let agent = setup().start().await.unwrap();
    // It refuses twice, with different statuses.
    assert!(
        skipped(&with_its_message(&agent), picked(&["H14"]))
            .await
            .is_empty()
    );
    let news = news(&agent, 2).await;
    let [one, other] = &news[..] else {
        panic!("{news:?}");
    };
    assert!(
        one.contains("HAProxy disconnected") && one.contains("8 (unsupported"),
        "{one}"
    );
    assert!(
        other.contains("HAProxy disconnected") && other.contains("9 ("),
        "{other}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_open() {
    let agent = setup().start().await.unwrap();
    let descriptors = || {
        let list = std::fs::read_dir(format!("/proc/{}/fd", agent.process().id()));
        list.unwrap().count()
    };
    let before = descriptors();
    skipped(
        &with_its_message(&agent),
        all().filter(|case| !case.is_slow()),
    )
    .await;
    // The agent waits up to a second for each peer to have read its last words.
    let begin = Instant::now();
    while descriptors() > before {
        assert!(begin.elapsed() < PATIENCE, "{} of {before}", descriptors());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

//! The conformance suite against agents: a sound one, which passes every case; one on another
//! codec, which fails some; and broken ones, one for each thing that a case is there to find,
//! so that no case is one that cannot fail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../agent/mod.rs"]
mod agent;
mod broken;
mod command;
mod crate_spop;
mod faults;
mod page;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use broken::sound;
use faults::Fault;
use futures_util::future::join_all;
use spop_client::conform::{Agent, Case, Group, Outcome, Run, Severity, groups};
use spop_codec::{Actions, AgentConfig, Scope};

/// Long enough for any machine. Only agents that do not answer take it.
const PATIENCE: Duration = Duration::from_secs(20);

/// For agents that never answer.
const IMPATIENCE: Duration = Duration::from_secs(1);

fn all() -> impl Iterator<Item = &'static Case> {
    groups().iter().flat_map(Group::cases)
}

fn case(id: &str) -> &'static Case {
    all().find(|case| case.id() == id).unwrap()
}

async fn outcomes(
    agent: &Agent,
    cases: impl IntoIterator<Item = &'static Case>,
) -> BTreeMap<&'static str, Outcome> {
    let mut outcomes = BTreeMap::new();
    let mut run = Run::start(agent, cases).await.unwrap();
    while let Some((case, outcome)) = run.next().await {
        outcomes.insert(case.id(), outcome);
    }
    outcomes
}

/// The cases with any other outcome than a pass.
async fn others(agent: &Agent, cases: impl Fn(&Case) -> bool) -> Vec<(&'static str, Outcome)> {
    let cases = all().filter(|case| cases(case));
    let outcomes = outcomes(agent, cases).await.into_iter();
    outcomes
        .filter(|(_, outcome)| *outcome != Outcome::Passed)
        .collect()
}

fn ids<'a>(outcomes: impl IntoIterator<Item = &'a (&'static str, Outcome)>) -> Vec<&'static str> {
    outcomes.into_iter().map(|(id, _)| *id).collect()
}

/// One action of each kind of value.
fn actions() -> Actions {
    Actions::new()
        .set_var(Scope::Session, "ip_score", -5)
        .set_var(Scope::Transaction, "reason", "too many")
        .set_var(Scope::Transaction, "allowed", false)
        .unset_var(Scope::Request, "old")
}

#[tokio::test]
async fn a_sound_agent_passes_every_case() {
    let addr = sound().with_answer(|_| actions()).listen().await;
    let agent = Agent::tcp(addr).with_timeout(PATIENCE);
    let agent = agent.with_message("known", [("ip", "192.0.2.7".into())]);
    let others = others(&agent.unwrap(), |case| !case.is_slow()).await;
    // It takes fragments, so it cannot refuse them.
    assert_eq!(ids(&others), ["G6"], "{others:?}");

    // A short patience is for those alone that wait for its end.
    let impatient = AgentConfig::new()
        .with_hello_timeout(Duration::from_millis(500))
        .with_frame_timeout(Duration::from_millis(500));
    let addr = sound().with_config(impatient).listen().await;
    let agent = Agent::tcp(addr)
        .with_timeout(PATIENCE)
        .with_patience(PATIENCE);
    let others = self::others(&agent, Case::is_slow).await;
    assert_eq!(others, []);
}

#[tokio::test]
async fn an_agent_that_knows_no_message_passes_too() {
    let addr = sound().with_config(AgentConfig::new()).listen().await;
    let agent = Agent::tcp(addr).with_timeout(PATIENCE);
    let others = others(&agent, |_| true).await;
    assert_eq!(
        ids(&others),
        [
            "G1", "G2", "G3", "G4", "G5", "G7", "H12.1", "H12.2", "N12", "N13", "N14", "N15", "X3",
            "X6"
        ],
        "{others:?}"
    );
    for (id, outcome) in others {
        assert!(
            matches!(outcome, Outcome::Skipped { .. }),
            "{id}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_agent_without_pipelining_passes_too() {
    let config = AgentConfig::new().with_pipelining(false);
    let addr = sound().with_config(config).listen().await;
    let agent = Agent::tcp(addr).with_timeout(PATIENCE);
    let others = others(&agent, |case| case.matches("P") || case.matches("F")).await;
    assert_eq!(ids(&others), ["F7", "P1", "P3", "P9"], "{others:?}");
    for (id, outcome) in others {
        assert!(
            matches!(outcome, Outcome::Skipped { .. }),
            "{id}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_agent_on_another_codec_fails_what_it_gets_wrong() {
    let addr = crate_spop::listen().await;
    let agent = Agent::tcp(addr).with_timeout(Duration::from_secs(3));
    let agent = agent.with_message(crate_spop::MESSAGE, []).unwrap();
    let outcomes = outcomes(&agent, all().filter(|case| !case.is_slow())).await;
    let failed = |id: &str, why: &str| match &outcomes[id] {
        Outcome::Failed { got, .. } => assert!(got.contains(why), "{id}: {got}"),
        other => panic!("{id}: {other:?}"),
    };
    let without_a_word = "closed the connection without a word";
    // Reserved flags, ABORT and unknown types end the connection.
    for id in ["F10", "F11", "F12"] {
        failed(id, without_a_word);
    }
    // What cannot be parsed ends it without AGENT-DISCONNECT.
    for id in [
        "F3", "F4.1", "F4.2", "F8.3", "F9", "F13", "H2.5", "H3.3", "D6", "X1",
    ] {
        failed(id, without_a_word);
    }
    // Its author, not its codec, is to look after these.
    failed("H10.2", "AGENT-HELLO");
    failed("H11.1", "AGENT-HELLO");
    failed("H10.1", "an ACK, then nothing");

    // HAProxy itself is served well.
    for case in all().filter(|case| case.severity() == Severity::Must) {
        let id = case.id();
        if !["H2.5", "H3.3"].contains(&id) {
            assert_eq!(outcomes[id], Outcome::Passed, "{id}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_dies_ends_the_run() {
    let addr = sound().dying_of_resets().listen().await;
    let agent = Agent::tcp(addr).with_timeout(PATIENCE);
    let cases = ["H1.1", "H13.1", "H14"].map(case);
    let mut run = Run::start(&agent, cases).await.unwrap();
    assert_eq!(run.next().await, Some((cases[0], Outcome::Passed)));
    assert!(run.summary().conforms());
    let (died, outcome) = run.next().await.unwrap();
    assert_eq!(died.id(), "H13.1");
    let Outcome::Failed { expected, got } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(expected, "the agent to go on serving new connections");
    assert!(got.contains("cannot connect"), "{got}");
    assert_eq!(run.next().await, None);
    assert!(run.summary().gone && !run.summary().conforms());
    assert!(Run::start(&agent, cases).await.is_err());
}

/// Tries the cases that are to find something, all at once.
async fn found(faults: Vec<Fault>) {
    join_all(faults.into_iter().map(async |fault| {
        let addr = fault.agent.listen().await;
        let cases = fault.finds.into_iter();
        join_all(cases.map(async |(id, why)| find(addr, id, fault.what, why).await)).await;
    }))
    .await;
}

/// The case fails, and says `why`.
async fn find(addr: SocketAddr, id: &str, what: &str, why: &str) {
    // Only what does not come is not waited for long.
    let timeout = match ["nothing", "stays open"]
        .iter()
        .any(|words| why.contains(words))
    {
        true => IMPATIENCE,
        false => PATIENCE,
    };
    let agent = Agent::tcp(addr).with_timeout(timeout);
    let outcome = case(id).run(&agent.with_patience(IMPATIENCE)).await;
    let Outcome::Failed { got, .. } = &outcome else {
        panic!("{id} does not see that an agent {what}: {outcome:?}");
    };
    assert!(got.contains(why), "{id}, an agent that {what}: {outcome:?}");
}

#[tokio::test]
async fn faults_in_framing() {
    found(faults::framing()).await;
}

#[tokio::test]
async fn faults_in_the_hello() {
    found(faults::hellos()).await;
}

#[tokio::test]
async fn faults_in_the_handshake() {
    found(faults::handshakes()).await;
}

#[tokio::test]
async fn faults_with_notifies() {
    found(faults::notifies()).await;
}

#[tokio::test]
async fn faults_in_answers() {
    found(faults::answers()).await;
}

#[tokio::test]
async fn faults_with_many_at_once() {
    found(faults::pipelining()).await;
}

#[tokio::test]
async fn faults_with_fragments() {
    found(faults::fragments()).await;
}

#[tokio::test]
async fn faults_with_health_checks() {
    found(faults::checks()).await;
}

#[tokio::test]
async fn faults_at_the_end() {
    found(faults::ends()).await;
}

#[test]
fn every_case_is_seen_to_fail() {
    let faults = [
        faults::framing(),
        faults::hellos(),
        faults::handshakes(),
        faults::notifies(),
        faults::answers(),
        faults::pipelining(),
        faults::fragments(),
        faults::checks(),
        faults::ends(),
    ];
    let found: BTreeSet<_> = faults
        .iter()
        .flatten()
        .flat_map(|fault| fault.finds.iter().map(|(id, _)| *id))
        .collect();
    let cases: BTreeSet<_> = all().map(Case::id).collect();
    let never: Vec<_> = cases.difference(&found).collect();
    assert!(never.is_empty(), "no fault makes these fail: {never:?}");
}

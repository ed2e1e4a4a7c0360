//! Exactly one ACK for each NOTIFY, whatever the schedule: random connections, questions,
//! handlers, limits, readers and ends, in virtual time. `acks.rs` has the single cases.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agent;
mod peer;
mod schedule;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use spop_client::spop_codec::Status;
use spop_server::{Actions, Config, FailurePolicy, Notify, serve};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tower::ServiceBuilder;
use tower_service::Service;

use agent::{Counts, Pipes, handlers, settings};
use peer::Transcript;
use schedule::{DEADLINE, Ending, Message, Plan, Question, Schedule};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn of_any_schedule(schedule in schedule::random()) {
        run(schedule);
    }
}

/// Far more at once than are taken in, none of which is ever ready: they are answered by
/// deadline, a batch after the other.
#[test]
fn of_a_window_far_above_the_limit() {
    let question = |message: Message| Question::of(vec![message]);
    let mut schedule = Schedule::of(vec![
        Plan::of(vec![question(Message::Never); 200]),
        Plan::of(vec![question(Message::Ready); 2000]),
    ]);
    schedule.max_in_flight = 20;
    run(schedule);
}

/// What had come in before the drain is answered, though it has to wait in the socket for
/// room, and though there is a moment when nothing is in flight.
#[test]
fn of_a_drain_while_more_waits_than_is_taken_in() {
    // One read of 4 KiB takes in as many as may be in flight, and not a byte more.
    let question = Question {
        size: 128,
        ..Question::of(vec![Message::Never])
    };
    let mut plan = Plan::of(vec![question; 128]);
    plan.batches.insert(0, (Vec::new(), 1));
    let mut schedule = Schedule::of(vec![plan]);
    schedule.max_in_flight = 32;
    schedule.drain_after = Some(DEADLINE / 2);
    run(schedule);
}

/// Two handlers of one connection panic while the server's end drops them.
#[test]
fn a_drain_that_takes_too_long_survives_what_panics_when_it_is_dropped() {
    let stuck = Question::of(vec![Message::StuckBomb]);
    let mut schedule = Schedule::of(vec![Plan::of(vec![stuck; 5]); 2]);
    schedule.drain_after = Some(Duration::from_millis(10));
    schedule.drain_timeout = Duration::from_millis(20);
    run(schedule);
}

/// The policy is the user's code as well.
#[tokio::test(start_paused = true)]
async fn of_a_policy_that_panics() {
    let policy = FailurePolicy::from_fn(|_| std::panic::resume_unwind(Box::new("on request")));
    let config = Config::new().with_failure_policy(policy);
    let mut client = support::connect(support::obedient(), config).await;
    for message in ["never", "void", "huge", "ready"] {
        let ack = client.notify(message, []).await.unwrap();
        assert_eq!(ack.actions().count(), usize::from(message == "ready"));
    }
}

fn run(schedule: Schedule) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let counts = Arc::new(Counts::default());
    let router = handlers(&counts);
    runtime.block_on(async {
        match schedule.gate {
            None => play(&schedule, router, &counts).await,
            Some(permits) => {
                let gated = ServiceBuilder::new()
                    .concurrency_limit(permits)
                    .service(router);
                play(&schedule, gated, &counts).await;
            }
        }
    });
}

/// Serves the schedule's connections with `service`, and checks what each of them got.
async fn play<S>(schedule: &Schedule, service: S, counts: &Arc<Counts>)
where
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let begin = Instant::now();
    let (pipes, peers): (Pipes, Vec<_>) = schedule
        .connections
        .iter()
        .map(|plan| tokio::io::duplex(plan.reader.pipe()))
        .unzip();
    let (stop, stopped) = oneshot::channel::<()>();
    let drain_after = schedule.drain_after.unwrap_or(Duration::MAX);
    let server = serve(pipes, service)
        .with_config(settings(schedule, counts))
        .with_shutdown(async move {
            tokio::select! {
                () = sleep(drain_after) => {}
                _ = stopped => {}
            }
        });
    let served = tokio::spawn(server.into_future());
    let plans = schedule.connections.iter().zip(peers);
    let transcripts = join_all(plans.map(|(plan, io)| peer::play(plan, io))).await;
    stop.send(()).ok();
    served.await.unwrap().unwrap();

    let drained_at = schedule.drain_after.map(|after| begin + after);
    for (plan, transcript) in schedule.connections.iter().zip(&transcripts) {
        check(schedule, plan, transcript, drained_at);
    }
    check_counts(schedule, &transcripts, counts);
}

/// One connection: nothing that was not asked, nothing twice, and all that had to come.
fn check(schedule: &Schedule, plan: &Plan, transcript: &Transcript, drained_at: Option<Instant>) {
    let mut answers = BTreeMap::new();
    for (ids, text) in &transcript.acks {
        let sent = transcript.sent.get(ids);
        let question = &sent
            .unwrap_or_else(|| panic!("nobody asked {ids:?}"))
            .question;
        let allowed = schedule.answers_to(question);
        assert!(
            allowed.contains(text),
            "{question:?}: {text:?} is not of {allowed:?}"
        );
        let twice = answers.insert(*ids, text);
        assert_eq!(twice, None, "{ids:?} was answered twice");
    }
    let in_time = |drained_at: Option<Instant>, written: Option<Instant>| match drained_at {
        Some(drained_at) => written.is_some_and(|written| written < drained_at),
        None => true,
    };
    if plan.ending == Ending::Stay && schedule.drain_timeout > 10 * DEADLINE {
        for (ids, sent) in &transcript.sent {
            let must = in_time(drained_at, sent.written);
            assert!(
                !must || answers.contains_key(ids),
                "{ids:?} {sent:?} was not answered"
            );
        }
        assert_eq!(transcript.goodbye, Some(Status::NORMAL));
        assert!(!transcript.cut_short);
    }
    if plan.ending == Ending::Disconnect && schedule.drain_after.is_none() {
        assert_eq!(transcript.goodbye, Some(Status::NORMAL));
    }
}

/// The metrics tell the same as the peers.
fn check_counts(schedule: &Schedule, transcripts: &[Transcript], counts: &Counts) {
    let connections = schedule.connections.len();
    assert_eq!(counts.accepted.load(SeqCst), connections);
    assert_eq!(counts.closed.load(SeqCst), connections);
    assert_eq!(
        counts.running.load(SeqCst),
        0,
        "handlers that were not dropped"
    );
    let received = counts.received.load(SeqCst);
    let failures = counts.failures.lock().unwrap().clone();
    let answered = counts.succeeded.load(SeqCst) + failures.values().sum::<usize>();
    let lost = counts.lost.load(SeqCst);
    assert_eq!(
        received,
        answered + lost,
        "{answered} answered, {lost} lost"
    );

    let undisturbed = schedule.drain_after.is_none()
        && schedule
            .connections
            .iter()
            .all(|plan| plan.ending == Ending::Stay);
    if undisturbed {
        let asked = transcripts
            .iter()
            .flat_map(|transcript| transcript.sent.values());
        // One with ABORT is nobody's question.
        let asked = asked.filter(|sent| !sent.question.aborted).count();
        assert_eq!((received, lost), (asked, 0));
        let mut told = BTreeMap::new();
        for (_, text) in transcripts.iter().flat_map(|transcript| &transcript.acks) {
            if let Some(failure) = text.strip_prefix("failure=") {
                *told.entry(failure.to_owned()).or_insert(0) += 1;
            }
        }
        assert_eq!(failures, told);
        let read: usize = transcripts.iter().map(|transcript| transcript.bytes).sum();
        assert_eq!(counts.written.load(SeqCst), read);
    }
}

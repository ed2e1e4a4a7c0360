//! A connection that runs late: its handlers' time is over, and tokio has not looked at its
//! timers yet, as happens on a busy machine. What a handler has to say then is heard, once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};
use std::time::Duration;

use spop_client::spop_codec::NotifyBuilder;
use spop_client::{Client, ClientError};
use spop_server::layer::{DeadlineLayer, RescueLayer};
use spop_server::{Actions, FailurePolicy, Request, Router, Scope};
use support::{answer, connect, notify, only, telling, variables};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, advance};
use tower::{BoxError, ServiceBuilder, service_fn};

const BUDGET: Duration = Duration::from_millis(8);
const HANDLER_TIMEOUT: Duration = Duration::from_millis(12);
/// When the connection runs again.
const LATE: Duration = Duration::from_millis(100);

/// What an agent with these routes answers to messages with these names, in this order, if it
/// runs when all times are over and tokio's timers are where they were.
async fn late<const N: usize>(router: Router, names: [&str; N]) -> [String; N] {
    late_after(router, names, || {}).await
}

/// As [`late`], with something that happens before.
async fn late_after<const N: usize>(
    router: Router,
    names: [&str; N],
    before: impl FnOnce(),
) -> [String; N] {
    let router = router.message_ref("quick", |_| answer("quick"));
    let config = telling().with_handler_timeout(HANDLER_TIMEOUT);
    let mut client = connect(router, config).await;
    for (stream_id, name) in (1..).zip(names) {
        client.queue(&notify(stream_id, name)).unwrap();
    }
    client.flush().await.unwrap();
    yield_now().await; // the agent starts the handlers
    before();
    run_late(&mut client).await;
    let mut answers = names.map(|_| None);
    for _ in names {
        let ack = client.recv_ack().await.unwrap();
        let place = usize::try_from(ack.stream_id()).unwrap() - 1;
        assert_eq!(answers[place].replace(only(&ack)), None, "answered twice");
    }
    let quick = client.recv_ack().await.unwrap();
    assert_eq!(
        (quick.stream_id(), only(&quick).as_str()),
        (0, "sess.how=quick")
    );
    client.set_timeout(Some(Duration::from_secs(2)));
    let more = client.recv().await;
    assert!(matches!(more, Err(ClientError::Timeout { .. })), "{more:?}");
    answers.map(Option::unwrap)
}

/// The agent has something to read, so that it runs before anybody looks at the timers.
async fn run_late(client: &mut Client<DuplexStream>) {
    client.send(&notify(0, "quick")).await.unwrap();
    advance(LATE).await;
}

/// Answers once its budget is over, whether it is woken then or not.
async fn impatient() -> Actions {
    let due = Instant::now() + BUDGET;
    let is_due = move |_: &mut Context<'_>| match due <= Instant::now() {
        true => Poll::Ready(answer("by itself")),
        false => Poll::Pending,
    };
    poll_fn(is_due).await
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_looks_at_the_clock_answers_itself() {
    let router = Router::new().message("impatient", impatient);
    assert_eq!(
        late(router, ["impatient"; 3]).await,
        ["sess.how=by itself"; 3]
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_asked_once_more_and_then_given_up() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let router = Router::new().message("never", move || {
        let polls = Arc::clone(&counted);
        poll_fn(move |_| {
            polls.fetch_add(1, SeqCst);
            Poll::<Actions>::Pending
        })
    });
    assert_eq!(late(router, ["never"]).await, ["sess.failure=deadline"]);
    assert_eq!(polls.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_then_is_its_own_only() {
    let router = Router::new()
        .message("impatient", impatient)
        .message("never", pending::<Actions>)
        .message("panic", async || -> Actions {
            let _ = impatient().await;
            panic!("on request, when it is overdue")
        });
    let answers = late(router, ["panic", "impatient", "never", "panic"]).await;
    let expected = [
        "failure=panic",
        "how=by itself",
        "failure=deadline",
        "failure=panic",
    ];
    assert_eq!(answers, expected.map(|answer| format!("sess.{answer}")));
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_at_once_is_not_lost() {
    let router = Router::new()
        .message("impatient", impatient)
        .message_ref("quick", |_| {
            Actions::new().set_var(Scope::Session, "quick", true)
        });
    let mut client = connect(router, telling().with_handler_timeout(HANDLER_TIMEOUT)).await;
    let both = NotifyBuilder::new()
        .message("quick", [])
        .and_then(|notify| notify.message("impatient", []))
        .unwrap()
        .build(1, 1);
    client.send(&both).await.unwrap();
    yield_now().await;
    run_late(&mut client).await;
    let ack = client.recv_ack().await.unwrap();
    assert_eq!(ack.stream_id(), 1);
    let variables = variables(&ack);
    assert!(
        variables.keys().eq(["sess.how", "sess.quick"]),
        "{variables:?}"
    );
}

/// What four calls of a handler that takes one at a time are answered, all of them late, and how
/// many of them were started.
async fn started_of_4<F>(
    handler: impl Fn() -> F + Clone + Send + Sync + 'static,
    before_late: impl FnOnce(),
) -> ([String; 4], usize)
where
    F: Future<Output = Actions> + Send + 'static,
{
    let started = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&started);
    let handler = service_fn(move |_: Request| {
        counted.fetch_add(1, SeqCst);
        let answer = handler();
        async { Ok::<_, Infallible>(answer.await) }
    });
    let one_at_a_time = ServiceBuilder::new().concurrency_limit(1).service(handler);
    let router = Router::new().message_service("one", one_at_a_time);
    let answers = late_after(router, ["one"; 4], before_late).await;
    (answers, started.load(SeqCst))
}

/// Of four answers.
fn first_and_deadlines(first: &str) -> [String; 4] {
    let late = "failure=deadline";
    [first, late, late, late].map(|answer| format!("sess.{answer}"))
}

/// Those that end leave their places to others.
#[tokio::test(start_paused = true)]
async fn nothing_is_started_for_what_is_given_up() {
    let stuck = started_of_4(pending, || {}).await;
    assert_eq!(stuck, (first_and_deadlines("failure=deadline"), 1));
    let done = started_of_4(impatient, || {}).await;
    assert_eq!(done, (first_and_deadlines("how=by itself"), 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_behind_one_that_was_woken() {
    let wake = Arc::new(Notify::new());
    let woken = Arc::clone(&wake);
    let handler = move || {
        let woken = Arc::clone(&woken);
        async move {
            woken.notified().await;
            answer("woken")
        }
    };
    let done = started_of_4(handler, || wake.notify_waiters()).await;
    assert_eq!(done, (first_and_deadlines("how=woken"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_layer_answers_before_the_engine() {
    let policy = FailurePolicy::from_fn(|failure| {
        Actions::new().set_var(Scope::Session, "rescued", failure.as_str())
    });
    let stack = ServiceBuilder::new()
        .layer(RescueLayer::new(policy))
        .layer(DeadlineLayer::new(BUDGET))
        .service(service_fn(async |_: Request| {
            pending::<Result<Actions, BoxError>>().await
        }));
    let router = Router::new().message_service("stuck", stack);
    assert_eq!(
        late(router, ["stuck"; 2]).await,
        ["sess.rescued=deadline"; 2]
    );
}

//! The layer around a store whose every answer, delay and readiness the test decides.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use tokio::time::advance;
use tower::{BoxError, Service as _, ServiceExt as _, service_fn};
use tower_test::mock;

use super::*;
use crate::gcra::{Decision, Quota};
use crate::policy::Policy;
use crate::store::Client;
use crate::store::valkey::StoreError;

const BUDGET: Duration = Duration::from_millis(8);

type Mock = mock::Mock<Check, Verdict>;
type Handle = mock::Handle<Check, Verdict>;

fn check(failure: FailurePolicy) -> Check {
    let quota = Quota::new(10_000, 200_000).unwrap();
    limited(quota, failure)
}

fn limited(quota: Quota, failure: FailurePolicy) -> Check {
    Check {
        client: Client(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        policy: Arc::new(Policy::of_one(quota).with_failure(failure)),
        cost: 1,
        count: 1,
        deadline: (Instant::now() + BUDGET).into_std(),
    }
}

fn full() -> Decision {
    Decision {
        allowed: true,
        limit: 20,
        remaining: 20,
        reset_after: 0,
        retry_after: None,
    }
}

fn from_valkey() -> Verdict {
    Verdict {
        decision: full(),
        limit: 0,
        granted: 1,
        source: Source::Valkey,
    }
}

/// A layer over a mock that accepts as many calls as come.
fn store() -> (FailureService<Mock>, Handle, FailureStats) {
    let (mock, mut handle) = mock::pair();
    handle.allow(1000);
    let layer = FailureLayer::new(MemoryStore::new(100), BUDGET);
    (layer.layer(mock), handle, layer.stats())
}

/// One check, answered by the mock as `answer` says.
async fn ask(
    policy: FailurePolicy,
    service: &FailureService<Mock>,
    handle: &mut Handle,
    answer: impl FnOnce(mock::SendResponse<Verdict>),
) -> Verdict {
    let call = tokio::spawn(service.clone().oneshot(check(policy)));
    let (_, response) = handle.next_request().await.unwrap();
    answer(response);
    call.await.unwrap().unwrap()
}

fn refuse(response: mock::SendResponse<Verdict>) {
    response.send_error("connection refused");
}

impl NoVerdict for BoxError {
    fn is_late(&self) -> bool {
        matches!(self.downcast_ref(), Some(StoreError::NoAnswer { .. }))
    }
}

impl NoVerdict for io::Error {
    fn is_late(&self) -> bool {
        false
    }
}

impl NoVerdict for Infallible {
    fn is_late(&self) -> bool {
        match *self {}
    }
}

#[tokio::test]
async fn too_little_time_counts_as_that_whoever_notices() {
    let (service, mut handle, stats) = store();
    let node = Arc::from("10.0.0.5:6379");
    let late = |response: mock::SendResponse<Verdict>| {
        response.send_error(StoreError::NoAnswer { node });
    };
    ask(FailurePolicy::Open, &service, &mut handle, late).await;
    assert_eq!((stats.errors(), stats.timeouts()), (0, 1));
    ask(FailurePolicy::Open, &service, &mut handle, refuse).await;
    assert_eq!((stats.errors(), stats.timeouts()), (1, 1));
    assert!(StoreError::Deadline { node: "".into() }.is_late());
}

fn answer(response: mock::SendResponse<Verdict>) {
    response.send_response(from_valkey());
}

#[test]
fn policies_have_a_text_form() {
    use FailurePolicy::{Closed, Local, Open};

    for policy in [Local, Open, Closed] {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert_eq!(FailurePolicy::default(), Local);
    for text in ["", "Local", "LOCAL", " open", "close", "fail-open"] {
        assert_eq!(text.parse::<FailurePolicy>(), Err(UnknownPolicy), "{text}");
    }
}

#[tokio::test]
async fn an_answer_in_time_passes_unchanged() {
    let (service, mut handle, stats) = store();
    assert_eq!(
        ask(FailurePolicy::Closed, &service, &mut handle, answer).await,
        from_valkey()
    );
    assert_eq!(stats.fallbacks(), 0);
    assert!(!stats.is_falling_back());
}

#[tokio::test]
async fn open_allows_and_promises_the_whole_limit() {
    let (service, mut handle, _) = store();
    for _ in 0..30 {
        let verdict = ask(FailurePolicy::Open, &service, &mut handle, refuse).await;
        assert_eq!(verdict.decision, full());
        assert_eq!(verdict.source, Source::Fallback);
    }
}

#[tokio::test]
async fn closed_denies_for_one_interval() {
    let (service, mut handle, _) = store();
    let denied = Decision {
        allowed: false,
        limit: 20,
        remaining: 0,
        reset_after: 200_000,
        retry_after: Some(10_000),
    };
    for _ in 0..2 {
        let verdict = ask(FailurePolicy::Closed, &service, &mut handle, refuse).await;
        assert_eq!(verdict.decision, denied);
        assert_eq!(verdict.source, Source::Fallback);
    }
}

#[tokio::test]
async fn local_limits_in_memory() {
    let (mock, mut handle) = mock::pair();
    handle.allow(1000);
    let memory = MemoryStore::new(100);
    let service = FailureLayer::new(memory.clone(), BUDGET).layer(mock);
    let hour = Quota::new(3_600_000_000, 2 * 3_600_000_000).unwrap();
    for allowed in [true, true, false] {
        let check = limited(hour, FailurePolicy::Local);
        let call = tokio::spawn(service.clone().oneshot(check));
        refuse(handle.next_request().await.unwrap().1);
        let verdict = call.await.unwrap().unwrap();
        assert_eq!(verdict.decision.allowed, allowed);
        assert_eq!(verdict.source, Source::Fallback);
    }
    assert_eq!(memory.len(), 1);
}

#[tokio::test]
async fn answers_of_the_store_leave_the_memory_alone() {
    let (mock, mut handle) = mock::pair();
    handle.allow(1);
    let memory = MemoryStore::new(100);
    let service = FailureLayer::new(memory.clone(), BUDGET).layer(mock);
    ask(FailurePolicy::Local, &service, &mut handle, answer).await;
    assert!(memory.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_answer_until_the_deadline_is_answered_at_the_deadline() {
    let (service, mut handle, stats) = store();
    let started = Instant::now();
    let call = tokio::spawn(service.clone().oneshot(check(FailurePolicy::Open)));
    let (_, _response) = handle.next_request().await.unwrap();
    let verdict = call.await.unwrap().unwrap();
    assert_eq!(verdict.source, Source::Fallback);
    // tokio's timers round up to the next millisecond.
    let waited = started.elapsed();
    assert!(waited >= BUDGET && waited <= BUDGET + Duration::from_millis(1));
    assert_eq!((stats.timeouts(), stats.errors()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_inner_call_is_dropped_when_the_policy_answers() {
    let held = Arc::new(());
    let inner = {
        let held = Arc::clone(&held);
        service_fn(move |_: Check| {
            let mine = Arc::clone(&held);
            async move {
                std::future::pending::<()>().await;
                drop(mine);
                Ok::<_, Infallible>(from_valkey())
            }
        })
    };
    let layer = FailureLayer::new(MemoryStore::new(100), BUDGET);
    let mut service = layer.layer(inner);
    let mut call = std::pin::pin!(service.call(check(FailurePolicy::Open)));
    call.as_mut().await.unwrap();
    drop(service);
    // `call` itself still lives.
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_just_before_the_deadline_counts() {
    let (service, mut handle, stats) = store();
    let call = tokio::spawn(service.clone().oneshot(check(FailurePolicy::Open)));
    let (_, response) = handle.next_request().await.unwrap();
    advance(BUDGET - Duration::from_millis(1)).await;
    answer(response);
    assert_eq!(call.await.unwrap().unwrap(), from_valkey());
    assert_eq!(stats.fallbacks(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_the_wait_whatever_the_deadline() {
    let (service, _handle, _) = store();
    let started = Instant::now();
    let far = Check {
        deadline: (started + Duration::from_secs(3600)).into_std(),
        ..check(FailurePolicy::Open)
    };
    service.oneshot(far).await.unwrap();
    assert!(started.elapsed() <= BUDGET + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_already_past_is_answered_at_once() {
    let (service, _handle, stats) = store();
    let late = check(FailurePolicy::Closed);
    advance(Duration::from_secs(1)).await;
    let started = Instant::now();
    let verdict = service.oneshot(late).await.unwrap();
    assert_eq!(verdict.source, Source::Fallback);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(stats.timeouts(), 1);
}

/// On a busy machine the last poll comes before tokio has looked at its timers.
#[tokio::test(start_paused = true)]
async fn the_clock_says_when_it_is_over_and_not_the_timer() {
    let (mut service, _handle, stats) = store();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut call = std::pin::pin!(service.call(check(FailurePolicy::Closed)));
    assert!(call.as_mut().poll(&mut cx).is_pending());
    // The clock moves at the first poll of it, the timers only after the second.
    let mut passing = std::pin::pin!(advance(BUDGET));
    assert!(passing.as_mut().poll(&mut cx).is_pending());
    let Poll::Ready(Ok(verdict)) = call.as_mut().poll(&mut cx) else {
        panic!("it waits on");
    };
    assert!(!verdict.decision.allowed);
    assert_eq!(stats.timeouts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_not_ready_neither_blocks_nor_decides() {
    let (mock, mut handle) = mock::pair::<Check, Verdict>();
    handle.allow(0);
    let layer = FailureLayer::new(MemoryStore::new(100), BUDGET);
    let mut service = layer.layer(mock);
    let ready = std::future::poll_fn(|cx| Poll::Ready(service.poll_ready(cx))).await;
    assert!(ready.is_ready());
    let verdict = service.call(check(FailurePolicy::Open)).await.unwrap();
    assert_eq!(verdict.source, Source::Fallback);
    assert_eq!(layer.stats().timeouts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_becomes_ready_in_time_decides() {
    let (mock, mut handle) = mock::pair::<Check, Verdict>();
    handle.allow(0);
    let layer = FailureLayer::new(MemoryStore::new(100), BUDGET);
    let call = tokio::spawn(layer.layer(mock).oneshot(check(FailurePolicy::Open)));
    advance(Duration::from_millis(3)).await;
    handle.allow(1);
    answer(handle.next_request().await.unwrap().1);
    assert_eq!(call.await.unwrap().unwrap(), from_valkey());
}

#[tokio::test]
async fn a_store_that_fails_to_become_ready_is_answered_for() {
    let (mock, mut handle) = mock::pair::<Check, Verdict>();
    handle.send_error("the pool is closed");
    let layer = FailureLayer::new(MemoryStore::new(100), BUDGET);
    let verdict = layer
        .layer(mock)
        .oneshot(check(FailurePolicy::Open))
        .await
        .unwrap();
    assert_eq!(verdict.source, Source::Fallback);
    assert_eq!(layer.stats().errors(), 1);
}

/// No timer, so no runtime is needed either.
#[test]
fn an_answer_at_the_first_poll_needs_no_timer() {
    let inner = service_fn(|_: Check| async { Ok::<_, Infallible>(from_valkey()) });
    let layer = FailureLayer::new(MemoryStore::new(100), BUDGET);
    let mut call = std::pin::pin!(layer.layer(inner).call(check(FailurePolicy::Open)));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert_eq!(call.as_mut().poll(&mut cx), Poll::Ready(Ok(from_valkey())));
    assert_eq!(call.as_mut().poll(&mut cx), Poll::Pending, "answered once");
}

/// Log lines of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(text).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_of_changes_not_of_requests() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let (service, mut handle, stats) = store();
    ask(FailurePolicy::Local, &service, &mut handle, answer).await;
    assert!(log.take().is_empty());

    for _ in 0..5 {
        ask(FailurePolicy::Local, &service, &mut handle, refuse).await;
    }
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN"));
    assert!(lines[0].contains("connection refused"));
    assert!(lines[0].contains("policy=local"));
    assert!(stats.is_falling_back());

    // What is known without Valkey says nothing of Valkey.
    advance(Duration::from_secs(2)).await;
    for source in [Source::Cache, Source::Lease] {
        let known = Verdict {
            source,
            ..from_valkey()
        };
        let answer = |response: mock::SendResponse<Verdict>| response.send_response(known);
        ask(FailurePolicy::Local, &service, &mut handle, answer).await;
        assert!(stats.is_falling_back());
    }

    // Half of the cluster answers: still failing.
    for _ in 0..10 {
        advance(Duration::from_millis(600)).await;
        ask(FailurePolicy::Local, &service, &mut handle, refuse).await;
        advance(Duration::from_millis(600)).await;
        ask(FailurePolicy::Local, &service, &mut handle, answer).await;
    }
    assert!(log.take().is_empty());

    advance(Duration::from_millis(400)).await;
    for _ in 0..5 {
        ask(FailurePolicy::Local, &service, &mut handle, answer).await;
    }
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN"));
    assert!(lines[0].contains("fallbacks=15"));
    assert!(!stats.is_falling_back());

    ask(FailurePolicy::Local, &service, &mut handle, refuse).await;
    assert_eq!(log.take().len(), 1, "and once more when it fails again");
}

//! Exactly one ACK for each NOTIFY, with its ids, whatever the handler does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use spop_client::spop_codec::{Frame, NotifyBuilder, Status, TypedData};
use spop_client::{Client, ClientError};
use spop_server::{Actions, AgentConfig, Config, Failure, Observer, Request, Router, Scope};
use support::{answer, connect, notify, obedient, only, slow, telling, variables};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tracing::Level;

/// The time of a handler that waits for nothing is its own, too.
#[tokio::test]
async fn the_observer_hears_how_long_an_answer_took() {
    const LONG: Duration = Duration::from_millis(5);
    struct Took(AtomicU64);
    impl Observer for Took {
        fn answered(&self, failure: Option<Failure>, elapsed: Duration) {
            assert_eq!(failure, None);
            let nanos = u64::try_from(elapsed.as_nanos()).unwrap();
            self.0.fetch_add(nanos, Ordering::Relaxed);
        }
    }
    let work = || {
        std::thread::sleep(LONG);
        answer("ready")
    };
    for router in [
        Router::new().message_ref("ready", move |_| work()),
        Router::new().message("ready", move || async move { work() }),
    ] {
        let took = Arc::new(Took(AtomicU64::default()));
        let config = Config::new().with_observer(Arc::clone(&took) as _);
        let mut client = connect(router, config).await;
        client.notify("ready", []).await.unwrap();
        let nanos = took.0.load(Ordering::Relaxed);
        assert!(u128::from(nanos) >= LONG.as_nanos(), "{nanos}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_handler_does() {
    let mut client = connect(obedient(), telling()).await;
    let cases = [
        ("ready", "sess.how=ready"),
        ("yield", "sess.how=yield"),
        ("slow", "sess.how=slow"),
        ("fail", ""),
        ("panic", "sess.failure=panic"),
        ("panic-later", "sess.failure=panic"),
        ("panic-at-once", "sess.failure=panic"),
        ("never", "sess.failure=deadline"),
        ("void", "sess.failure=void-actions"),
        ("huge", "sess.failure=ack-too-big"),
        ("no-such-message", ""),
    ];
    for (message, expected) in cases {
        let ack = client.notify(message, []).await.unwrap();
        assert_eq!(only(&ack), expected, "{message}");
    }
}

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes the log of a thread where it can be looked at.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_what_is_wrong_with_a_variable() {
    tracing_subscriber::fmt()
        .with_max_level(Level::WARN)
        .with_ansi(false)
        .with_writer(|| Lines)
        .init();
    let router = Router::new().message("void", async || {
        Actions::new().set_var(Scope::Transaction, "ip-score", 7)
    });
    let mut client = connect(router, Config::new()).await;
    for _ in 0..2 {
        let ack = client.notify("void", []).await.unwrap();
        assert_eq!(ack.actions().count(), 0);
    }
    let log = String::from_utf8(LINES.take()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    let why = "failure=void-actions error=a variable name holds letters, digits, `_` and `.` only";
    assert!(log.contains(why), "{log}");
}

#[tokio::test]
async fn ids_come_back_as_they_were() {
    let mut client = connect(obedient(), Config::new()).await;
    for (stream_id, frame_id) in [(0, 1), (1, 0), (u64::MAX, u64::MAX), (1 << 31, 7)] {
        let notify = NotifyBuilder::new().message("ready", []).unwrap();
        client
            .send(&notify.build(stream_id, frame_id))
            .await
            .unwrap();
        let ack = client.recv_ack().await.unwrap();
        assert_eq!((ack.stream_id(), ack.frame_id()), (stream_id, frame_id));
    }
}

#[tokio::test]
async fn an_empty_notify_is_answered() {
    let mut client = connect(obedient(), Config::new()).await;
    let ack = client
        .exchange(&NotifyBuilder::new().build(1, 1))
        .await
        .unwrap();
    assert_eq!(ack.actions().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_notify_run_together_and_answer_in_order() {
    let router = Router::new()
        .message("first", async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Actions::new().set_var(Scope::Session, "who", "first")
        })
        .message("second", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Actions::new().set_var(Scope::Session, "who", "second")
        });
    let mut client = connect(router, Config::new()).await;
    let notify = NotifyBuilder::new()
        .message("first", [])
        .and_then(|notify| notify.message("nobody", []))
        .and_then(|notify| notify.message("second", []))
        .unwrap()
        .build(1, 1);
    let begin = Instant::now();
    let ack = client.exchange(&notify).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_millis(300));
    let values: Vec<_> = ack.actions().map(|action| format!("{action:?}")).collect();
    assert!(matches!(&values[..], [first, second]
        if first.contains("first") && second.contains("second")));
}

#[tokio::test]
async fn arguments_arrive_as_they_were_sent() {
    let mut client = connect(obedient(), Config::new()).await;
    let ack = client
        .notify(
            "echo",
            [
                ("ip", TypedData::Ipv4([192, 0, 2, 7].into())),
                ("none", TypedData::Null),
                ("port", 443_i64.into()),
                ("bytes", TypedData::Binary(&[0, 255])),
            ],
        )
        .await
        .unwrap();
    let expected = [
        ("txn.bytes", "Binary([0, 255])"),
        ("txn.ip", "Ipv4(192.0.2.7)"),
        ("txn.none", "Null"),
        ("txn.port", "Int64(443)"),
    ];
    assert!(
        variables(&ack)
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .eq(expected)
    );
}

#[tokio::test(start_paused = true)]
async fn slow_ones_do_not_hold_up_fast_ones() {
    let mut client = connect(obedient(), Config::new()).await;
    client.queue(&slow(1, 500)).unwrap();
    for stream_id in (3..41).step_by(2) {
        client.queue(&notify(stream_id, "ready")).unwrap();
    }
    client.flush().await.unwrap();
    let begin = Instant::now();
    for stream_id in (3..41).step_by(2) {
        assert_eq!(client.recv_ack().await.unwrap().stream_id(), stream_id);
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(client.recv_ack().await.unwrap().stream_id(), 1);
    assert_eq!(begin.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn more_than_the_limit_in_flight_are_answered_in_turn() {
    let config = telling()
        .with_agent(AgentConfig::new().with_max_in_flight(20))
        .with_handler_timeout(Duration::from_millis(100));
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let router = {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        Router::new().message("never", move || {
            let guard = Running::new(&running);
            most.fetch_max(running.load(Ordering::SeqCst), Ordering::SeqCst);
            async move {
                let _guard = guard;
                std::future::pending::<Actions>().await
            }
        })
    };
    let mut client = connect(router, config).await;
    for stream_id in 0..100 {
        client.queue(&notify(stream_id, "never")).unwrap();
    }
    client.flush().await.unwrap();
    let expected = (0..100).map(|stream_id| (stream_id, "sess.failure=deadline"));
    collect(&mut client, expected.collect()).await;
    assert_eq!(most.load(Ordering::SeqCst), 20);
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_an_answer_by_policy() {
    let config = telling().with_handler_timeout(Duration::from_millis(50));
    let mut client = connect(obedient(), config).await;
    let ack = client.exchange(&slow(1, 60)).await.unwrap();
    assert_eq!(only(&ack), "sess.failure=deadline");
    client.set_timeout(Some(Duration::from_secs(10)));
    assert!(matches!(
        client.recv().await,
        Err(ClientError::Timeout { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_gives_up_by_itself_is_heard_however_late_the_machine() {
    let config = telling().with_handler_timeout(Duration::from_millis(12));
    let router = Router::new().message("impatient", async || {
        let never = std::future::pending::<Actions>();
        match tokio::time::timeout(Duration::from_millis(8), never).await {
            Ok(actions) => actions,
            Err(_) => answer("by itself"),
        }
    });
    let mut client = connect(router, config).await;
    for _ in 0..3 {
        client.send(&notify(1, "impatient")).await.unwrap();
        // The agent reads it, and next runs when both times are long past.
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(
            only(&client.recv_ack().await.unwrap()),
            "sess.how=by itself"
        );
    }
}

#[tokio::test]
async fn handlers_are_dropped_with_their_connection() {
    let running = Arc::new(AtomicUsize::new(0));
    let router = {
        let running = Arc::clone(&running);
        Router::new().message("never", move || {
            let guard = Running::new(&running);
            async move {
                let _guard = guard;
                std::future::pending::<Actions>().await
            }
        })
    };
    let mut client = connect(router.clone(), Config::new()).await;
    client.send(&notify(1, "never")).await.unwrap();
    until(|| running.load(Ordering::SeqCst) == 1).await;
    assert_eq!(
        client.disconnect(Status::NORMAL).await.unwrap().status,
        Status::NORMAL
    );
    until(|| running.load(Ordering::SeqCst) == 0).await;

    let mut client = connect(router, Config::new()).await;
    client.send(&notify(1, "never")).await.unwrap();
    until(|| running.load(Ordering::SeqCst) == 1).await;
    drop(client);
    until(|| running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_is_waited_for() {
    let one_at_a_time =
        tower::ServiceBuilder::new()
            .concurrency_limit(1)
            .service(tower::service_fn(async |_: Request| {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok::<_, std::convert::Infallible>(answer("in turn"))
            }));
    let router = Router::new().message_service("turn", one_at_a_time);
    let mut client = connect(router, Config::new()).await;
    for stream_id in 0..10 {
        client.queue(&notify(stream_id, "turn")).unwrap();
    }
    client.flush().await.unwrap();
    let begin = Instant::now();
    for _ in 0..10 {
        assert_eq!(only(&client.recv_ack().await.unwrap()), "sess.how=in turn");
    }
    assert_eq!(begin.elapsed(), Duration::from_millis(100));
}

/// What a handler is told to do, and the most an answer may take then.
#[derive(Debug, Clone, Copy)]
enum Order {
    Say(&'static str, &'static str),
    Sleep(u64),
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        4 => Just(Order::Say("ready", "sess.how=ready")),
        1 => Just(Order::Say("yield", "sess.how=yield")),
        1 => Just(Order::Say("fail", "")),
        1 => Just(Order::Say("panic", "sess.failure=panic")),
        1 => Just(Order::Say("panic-later", "sess.failure=panic")),
        1 => Just(Order::Say("never", "sess.failure=deadline")),
        1 => Just(Order::Say("void", "sess.failure=void-actions")),
        1 => Just(Order::Say("nobody", "")),
        // Never just at the deadline of 100 ms, where both answers are right.
        2 => (0..90_u64).prop_map(Order::Sleep),
        1 => (110..200_u64).prop_map(Order::Sleep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_schedules(batches in proptest::collection::vec(
        (proptest::collection::vec(order(), 0..40), 0..30_u64), 1..8))
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let config = telling().with_handler_timeout(Duration::from_millis(100));
            let mut client = connect(obedient(), config).await;
            let mut expected = BTreeMap::new();
            for (orders, pause) in batches {
                for order in orders {
                    let stream_id = client.next_stream_id();
                    let (frame, answer) = match order {
                        Order::Say(message, answer) => (notify(stream_id, message), answer),
                        Order::Sleep(ms) if ms < 100 => (slow(stream_id, ms), "sess.how=slow"),
                        Order::Sleep(ms) => (slow(stream_id, ms), "sess.failure=deadline"),
                    };
                    client.queue(&frame).unwrap();
                    expected.insert(stream_id, answer);
                }
                client.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            collect(&mut client, expected).await;
        });
    }
}

/// Reads exactly the expected answers, in any order, and then nothing.
async fn collect(client: &mut Client<DuplexStream>, mut expected: BTreeMap<u64, &'static str>) {
    while !expected.is_empty() {
        let ack = client.recv_ack().await.unwrap();
        let answer = expected.remove(&ack.stream_id());
        assert_eq!(
            answer,
            Some(only(&ack).as_str()),
            "stream {}",
            ack.stream_id()
        );
    }
    client.set_timeout(Some(Duration::from_secs(2)));
    match client.recv().await {
        Err(ClientError::Timeout { .. }) => {}
        Ok(Frame::Ack(ack)) => panic!("a second ACK for stream {}", ack.stream_id()),
        other => panic!("{other:?}"),
    }
}

struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn until(condition: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

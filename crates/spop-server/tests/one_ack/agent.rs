//! The agent: a handler for each kind of message, a listener for pipes, and an observer that
//! counts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, Ready, pending, ready};
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use spop_server::{
    Actions, AgentConfig, Config, ConnectionEnd, Failure, FailurePolicy, Listener, Observer, Peer,
    Request, Router, Scope,
};
use tokio::io::DuplexStream;
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::schedule::{DEADLINE, Message, Schedule};

pub(crate) fn settings(schedule: &Schedule, counts: &Arc<Counts>) -> Config {
    let config = Config::new()
        .with_agent(AgentConfig::new().with_max_in_flight(schedule.max_in_flight))
        .with_handler_timeout(DEADLINE)
        .with_drain_timeout(schedule.drain_timeout)
        .with_failure_policy(FailurePolicy::from_fn(|failure| {
            Actions::new().set_var(Scope::Session, "failure", failure.as_str())
        }))
        .with_observer(Arc::clone(counts) as _);
    if schedule.sheds {
        config.with_max_in_flight(20)
    } else {
        config
    }
}

/// What the observer was told, and how many handlers there are.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) accepted: AtomicUsize,
    pub(crate) closed: AtomicUsize,
    pub(crate) received: AtomicUsize,
    pub(crate) succeeded: AtomicUsize,
    pub(crate) failures: Mutex<BTreeMap<String, usize>>,
    pub(crate) lost: AtomicUsize,
    pub(crate) written: AtomicUsize,
    pub(crate) running: AtomicUsize,
}

impl Observer for Counts {
    fn accepted(&self, _: &Peer) {
        self.accepted.fetch_add(1, SeqCst);
    }

    fn closed(&self, _: &ConnectionEnd, in_flight: usize) {
        self.closed.fetch_add(1, SeqCst);
        self.lost.fetch_add(in_flight, SeqCst);
    }

    fn received(&self) {
        self.received.fetch_add(1, SeqCst);
    }

    fn answered(&self, failure: Option<Failure>, elapsed: Duration) {
        // Waiting, handling and policy together stay within the handlers' time.
        assert!(elapsed <= DEADLINE, "{failure:?} after {elapsed:?}");
        match failure {
            None => {
                self.succeeded.fetch_add(1, SeqCst);
            }
            Some(failure) => {
                let mut failures = self.failures.lock().unwrap();
                *failures.entry(failure.as_str().to_owned()).or_insert(0) += 1;
            }
        }
    }

    fn written(&self, bytes: usize) {
        self.written.fetch_add(bytes, SeqCst);
    }
}

/// Pipes that are there from the start, as connections.
#[derive(Default)]
pub(crate) struct Pipes(Vec<DuplexStream>);

impl Extend<DuplexStream> for Pipes {
    fn extend<T: IntoIterator<Item = DuplexStream>>(&mut self, pipes: T) {
        self.0.extend(pipes);
    }
}

impl Listener for Pipes {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.pop() {
            Some(pipe) => Ok((pipe, Peer::Local)),
            None => pending().await,
        }
    }
}

pub(crate) fn handlers(counts: &Arc<Counts>) -> Router {
    use Message as M;
    let name = |message: Message| message.name();
    let guard = {
        let counts = Arc::clone(counts);
        move || Running::new(&counts)
    };
    let stuck = guard.clone();
    let later = guard.clone();
    Router::new()
        .message(name(M::Ready), async || say(M::Ready))
        .message_ref(name(M::Borrowed), |_| say(M::Borrowed))
        .message(name(M::Fail), async || Err::<Actions, _>("no such luck"))
        .message(name(M::Void), async || {
            say(M::Void).set_var(Scope::Session, "not a name", 1)
        })
        .message(name(M::Huge), async || {
            Actions::new().set_var(Scope::Session, "huge", "x".repeat(2000).as_str())
        })
        .message(name(M::PanicAtCall), || -> Ready<Actions> { quiet_panic() })
        .message(name(M::PanicAtPoll), async || -> Actions { quiet_panic() })
        .message(name(M::Yield), async || {
            yield_now().await;
            say(M::Yield)
        })
        .message(name(M::PanicLater), move || {
            let running = later();
            async move {
                let _running = running;
                yield_now().await;
                quiet_panic::<Actions>()
            }
        })
        .message(name(M::Slow(0)), move |request: Request| {
            let running = guard();
            async move {
                let _running = running;
                let millis = request.arg("ms").to_u64().unwrap();
                sleep(Duration::from_millis(millis)).await;
                say(M::Slow(0))
            }
        })
        .message(name(M::Never), move || {
            let running = stuck();
            async move {
                let _running = running;
                pending::<Actions>().await
            }
        })
        .message(name(M::Bomb), || Bomb { polls: Some(1) })
        .message(name(M::StuckBomb), || Bomb { polls: None })
        .message_service(name(M::LateReady), Late::after(30, M::LateReady))
        .message_service(name(M::TooLateReady), Late::after(150, M::TooLateReady))
        .message_service(name(M::NeverReady), Late::after(u64::MAX, M::NeverReady))
        .message_service(name(M::PanicAtReady), Late::after(0, M::PanicAtReady))
}

fn say(message: Message) -> Actions {
    Actions::new().set_var(Scope::Session, "how", message.name())
}

/// Unwinds as a panic does, without a word on stderr.
fn quiet_panic<T>() -> T {
    std::panic::resume_unwind(Box::new("on request"))
}

/// Counts itself.
struct Running(Arc<Counts>);

impl Running {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.running.fetch_add(1, SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

/// Is ready after so many polls, or never, and panics when it is dropped, as a failed
/// assertion in a guard would.
struct Bomb {
    polls: Option<u32>,
}

impl Future for Bomb {
    type Output = Actions;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Actions> {
        match &mut self.polls {
            Some(0) => Poll::Ready(say(Message::Bomb)),
            Some(polls) => {
                *polls -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        quiet_panic()
    }
}

/// A service that is ready so many milliseconds after it is first asked.
struct Late {
    millis: u64,
    message: Message,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Late {
    const fn after(millis: u64, message: Message) -> Self {
        Self {
            millis,
            message,
            sleep: None,
        }
    }
}

impl Clone for Late {
    fn clone(&self) -> Self {
        Self::after(self.millis, self.message)
    }
}

impl Service<Request> for Late {
    type Response = Actions;
    type Error = Infallible;
    type Future = Ready<Result<Actions, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.message == Message::PanicAtReady {
            quiet_panic()
        }
        let millis = Duration::from_millis(self.millis);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(millis)));
        sleep.as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, _: Request) -> Self::Future {
        assert!(self.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed()));
        ready(Ok(say(self.message)))
    }
}

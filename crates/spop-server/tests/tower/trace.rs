//! What the trace layer says, and what it costs when nobody listens.

use std::future::{Ready, ready};
use std::io::{self, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use spop_client::spop_codec::NotifyBuilder;
use spop_server::layer::{CatchPanicLayer, DeadlineLayer, RescueLayer, TraceLayer};
use spop_server::{Actions, Notify, Request};
use tower::{BoxError, Service, ServiceBuilder, service_fn};
use tracing::{Level, debug_span, field};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{connect, notify, only, telling};
use crate::{obey, obey_notify, panic_or_obey, rescue};

/// A log in memory.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What is logged on this thread while the guard lives, from `level` on.
    fn start(level: Level) -> (Self, tracing::subscriber::DefaultGuard) {
        Self::with_span_events(level, FmtSpan::NONE)
    }

    fn with_span_events(
        level: Level,
        events: FmtSpan,
    ) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .with_span_events(events)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines that are in a span called `span`.
    fn lines(&self, span: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let inside = format!("{span}{{");
        log.lines()
            .filter(|line| line.contains(&inside))
            .map(|line| line.trim().to_owned())
            .collect()
    }
}

impl Log {
    /// As [`lines`](Self::lines), and forgets all.
    fn take(&self, span: &str) -> Vec<String> {
        let lines = self.lines(span);
        self.0.lock().unwrap().clear();
        lines
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_span_per_notify() {
    let (log, _guard) = Log::start(Level::DEBUG);
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new())
        .layer(RescueLayer::new(rescue()))
        .service(service_fn(obey_notify));
    let mut client = connect(service, telling()).await;
    let frame = NotifyBuilder::new()
        .message("ready", [("token", "secret".into())])
        .and_then(|notify| notify.message("new\nline", []))
        .unwrap()
        .build(7, 9);
    client.exchange(&frame).await.unwrap();
    let expected = "DEBUG notify{messages=ready,new\\nline stream_id=7 frame_id=9 \
                    engine_id=test-engine peer=local}: answered latency=0ns";
    assert_eq!(log.lines("notify"), [expected]);
}

#[tokio::test(start_paused = true)]
async fn a_span_per_message() {
    let (log, _guard) = Log::start(Level::INFO);
    let stack = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .layer(TraceLayer::new().level(Level::INFO))
        .layer(DeadlineLayer::new(Duration::from_millis(50)))
        .service(service_fn(async |request: Request| {
            tracing::info!("asked");
            obey(request).await
        }));
    let mut client = connect(crate::routes(stack), telling()).await;
    for name in ["ready", "fail"] {
        client.exchange(&notify(1, name)).await.unwrap();
    }
    let span = |name| format!("INFO message{{name={name} engine_id=test-engine peer=local}}");
    let expected = [
        format!("{}: asked", span("ready")),
        format!("{}: answered latency=0ns", span("ready")),
        format!("{}: asked", span("fail")),
        format!("{}: failed latency=0ns failure=error", span("fail")),
    ];
    assert_eq!(log.lines("message"), expected);
}

#[tokio::test]
async fn a_span_of_ones_own() {
    let (log, _guard) = Log::start(Level::DEBUG);
    let stack = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .layer(TraceLayer::new().make_span_with(|_: &Request| debug_span!("mine", why = "test")))
        .layer(CatchPanicLayer::new())
        .service(service_fn(obey));
    let mut client = connect(crate::routes(stack), telling()).await;
    client.exchange(&notify(1, "panic")).await.unwrap();
    let lines = log.lines("mine");
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert!(
        line.starts_with("DEBUG mine{why=\"test\"}: failed latency="),
        "{line}"
    );
    assert!(line.ends_with("failure=panic"), "{line}");
}

/// Those that OpenTelemetry reads, in a span that has them.
#[tokio::test]
async fn fields_for_what_failed() {
    let (log, _guard) = Log::with_span_events(Level::DEBUG, FmtSpan::CLOSE);
    let span = |_: &Request| {
        debug_span!(
            "mine",
            error.type = field::Empty,
            otel.status_code = field::Empty
        )
    };
    let mut stack = ServiceBuilder::new()
        .layer(TraceLayer::new().make_span_with(span))
        .layer(CatchPanicLayer::new())
        .service(service_fn(obey));
    let closed = || {
        let mut lines = log.lines("mine").into_iter();
        let line = lines.rfind(|line| line.ends_with(": close"));
        line.unwrap_or_default()
    };
    let failed = |why| format!("mine{{error.type=\"{why}\" otel.status_code=\"ERROR\"}}");
    let request = |name| Request::local(name, []).unwrap();

    assert!(stack.call(request("panic")).await.is_err());
    assert!(closed().contains(&failed("panic")), "{}", closed());
    drop(stack.call(request("ready")));
    assert!(closed().contains(&failed("dropped")), "{}", closed());
    // Such a span is no `mine{`.
    let before = closed();
    assert!(stack.call(request("ready")).await.is_ok());
    assert_eq!(closed(), before);
}

/// Nothing below catches it; the engine does.
#[tokio::test(start_paused = true)]
async fn a_panic_is_told_as_one() {
    let (log, _guard) = Log::with_span_events(Level::DEBUG, FmtSpan::CLOSE);
    let span = |_: &Notify| debug_span!("mine", error.type = field::Empty);
    let service = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .layer(TraceLayer::new().make_span_with(span))
        .service(service_fn(panic_or_obey));
    let mut client = connect(service, telling()).await;
    for name in ["panic-at-once", "panic", "panic-later"] {
        let ack = client.exchange(&notify(1, name)).await.unwrap();
        assert_eq!(only(&ack), "sess.failure=panic");
        let [failed, closed] = &log.take("mine")[..] else {
            panic!("{name}")
        };
        let span = "DEBUG mine{error.type=\"panic\"}: ";
        assert_eq!(failed, &format!("{span}failed latency=0ns failure=panic"));
        assert_eq!(closed, &format!("{span}close"));
    }
}

/// Below the level it is asked for, tracing makes nothing: no span, no text, no memory.
#[tokio::test]
async fn costs_nothing_when_nobody_listens() {
    let (log, _guard) = Log::start(Level::INFO);
    let at_once = |_: Request| -> Ready<Result<Actions, BoxError>> { ready(Ok(Actions::new())) };
    let mut traced = ServiceBuilder::new()
        .layer(TraceLayer::new())
        .layer(CatchPanicLayer::new())
        .layer(DeadlineLayer::new(Duration::from_secs(60)))
        .service(service_fn(at_once));
    let request = Request::local("check", []).unwrap();
    let mut ask = || {
        let mut answer = pin!(traced.call(request.clone()));
        let answer = answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(answer, Poll::Ready(Ok(_))));
    };
    ask();
    let cost = measure(|| (0..100).for_each(|_| ask()));
    assert_eq!(cost.count_total, 0);
    assert!(log.lines("message").is_empty());
}

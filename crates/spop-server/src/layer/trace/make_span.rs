//! What the spans are called and what they say.

use std::fmt;

use tracing::{Level, Span, field};

use crate::notify::{Notify, Request};

/// Makes the span of a request, for
/// [`TraceLayer::make_span_with`](super::TraceLayer::make_span_with). Functions of `&R` do.
pub trait MakeSpan<R> {
    /// The span. [`Span::none`] to have none.
    fn make_span(&self, request: &R) -> Span;
}

impl<R, F: Fn(&R) -> Span> MakeSpan<R> for F {
    fn make_span(&self, request: &R) -> Span {
        self(request)
    }
}

/// The spans that [`TraceLayer`](super::TraceLayer) makes unless told otherwise.
#[derive(Debug, Clone, Copy)]
pub struct DefaultMakeSpan {
    level: Level,
}

impl DefaultMakeSpan {
    pub(super) const fn new(level: Level) -> Self {
        Self { level }
    }
}

/// A macro of `tracing` at a level that is known when the program runs: it wants a constant.
macro_rules! at_level {
    ($macro:ident, $level:expr, $($what:tt)+) => {
        match $level {
            ::tracing::Level::TRACE => ::tracing::$macro!(::tracing::Level::TRACE, $($what)+),
            ::tracing::Level::DEBUG => ::tracing::$macro!(::tracing::Level::DEBUG, $($what)+),
            ::tracing::Level::INFO => ::tracing::$macro!(::tracing::Level::INFO, $($what)+),
            ::tracing::Level::WARN => ::tracing::$macro!(::tracing::Level::WARN, $($what)+),
            ::tracing::Level::ERROR => ::tracing::$macro!(::tracing::Level::ERROR, $($what)+),
        }
    };
}
pub(super) use at_level;

// The values below are only made if somebody wants the span.

impl MakeSpan<Notify> for DefaultMakeSpan {
    fn make_span(&self, notify: &Notify) -> Span {
        at_level!(
            span,
            self.level,
            "notify",
            messages = %Names(notify),
            stream_id = notify.frame().stream_id(),
            frame_id = notify.frame().frame_id(),
            engine_id = notify.connection().engine_id().map(field::display),
            peer = %notify.connection().peer(),
        )
    }
}

impl MakeSpan<Request> for DefaultMakeSpan {
    fn make_span(&self, request: &Request) -> Span {
        at_level!(
            span,
            self.level,
            "message",
            name = %request.name(),
            engine_id = request.connection().engine_id().map(field::display),
            peer = %request.connection().peer(),
        )
    }
}

/// The names of a NOTIFY's messages: `check-ip,check-rate`.
struct Names<'a>(&'a Notify);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, message) in self.0.messages().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", message.name())?;
        }
        Ok(())
    }
}

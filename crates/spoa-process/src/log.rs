//! What is logged, and how: to standard error, as text or JSON.

mod directives;
mod lines;
mod throttle;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::str::FromStr;
use std::sync::OnceLock;

use tracing::{Subscriber, info};
use tracing_subscriber::filter::{Directive, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt as formats};

pub use self::directives::{Directives, DirectivesError};
use self::lines::Stream;
use self::throttle::Throttle;
use crate::traces::{self, Traces};

/// The target of what is announced, which is shown whatever `RUST_LOG` says.
const ANNOUNCEMENT: &str = "spoa_process::announcement";

/// `SPOA_LOG_FORMAT`: what a line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// An object of JSON, for programs: `timestamp`, `level`, `target`, `message`, and the
    /// event's own fields beside them.
    Json,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("neither text nor json"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// The log of this process, once [started](start).
#[derive(Debug, Clone, Copy)]
#[must_use = "what is announced goes the way of the log"]
pub struct Log {
    format: Format,
}

/// From here on what is logged is shown. Once for each process: of a second call only the
/// [`Log`] counts.
///
/// Of each place in the source that warns or reports an error, ten lines in 10 s are shown; how many more there
/// were is said after that. One bad peer does not fill a disk.
///
/// A thread of its own writes it, so that whoever does not read it stops nobody: of a log that
/// nobody reads what exceeds 1 MiB is lost, and told of if somebody reads on. [`flush`] belongs at
/// the end of the process.
pub fn start(directives: &Directives, format: Format) -> Log {
    start_with(directives, format, &Traces::off())
}

/// The same, and from here on there are `traces`.
pub fn start_with(directives: &Directives, format: Format, traces: &Traces) -> Log {
    let throttle = Throttle::default();
    let subscriber = subscriber(directives, format, traces, throttle.clone());
    // Somebody else's subscriber stays.
    if subscriber.try_init().is_ok() {
        let _ = THROTTLE.set(throttle);
    }
    traces.warn_if_missing();
    Log { format }
}

/// Of the log that is shown.
static THROTTLE: OnceLock<Throttle> = OnceLock::new();

/// Waits until what was logged so far is written, and how many lines were not shown, but not for
/// long: at the end of the process, with which the rest is lost.
pub fn flush() {
    if let Some(throttle) = THROTTLE.get() {
        throttle.tell();
    }
    lines::flush();
}

/// [`flush`], and then `text` to standard error, as it is: what a process that fails ends with. If
/// nobody reads it, it is not waited for, either.
pub fn end_with(text: &str) {
    flush();
    Stream::Error.write(format!("{text}\n").as_bytes());
    lines::flush();
}

fn subscriber(
    directives: &Directives,
    format: Format,
    traces: &Traces,
    throttle: Throttle,
) -> impl Subscriber + use<> {
    let subscriber = tracing_subscriber::registry();
    #[cfg(feature = "otel")]
    let subscriber = subscriber.with(traces.layer());
    #[cfg(not(feature = "otel"))]
    let _ = traces;
    let filter = filter(directives, format);
    let shown = match format {
        Format::Text => {
            let lines = formats::layer().with_writer(|| Stream::Error);
            let lines = lines.with_ansi(io::stderr().is_terminal());
            filtered(lines, filter, throttle).boxed()
        }
        Format::Json => {
            let lines = formats::layer().with_writer(|| Stream::Error).json();
            let lines = lines.flatten_event(true).with_current_span(false);
            filtered(lines, filter, throttle).boxed()
        }
    };
    subscriber.with(shown)
}

fn filter(directives: &Directives, format: Format) -> EnvFilter {
    let filter = directives.filter().add_directive(hidden_lines());
    match format {
        Format::Text => filter,
        Format::Json => filter.add_directive(announcements()),
    }
}

fn filtered<S>(lines: impl Layer<S>, filter: EnvFilter, throttle: Throttle) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // Lines are the same whether there are traces or not.
    let no_trace = filter_fn(|metadata| metadata.target() != traces::TARGET)
        // Says nothing of levels, so that the other filter's limit counts.
        .with_max_level_hint(LevelFilter::TRACE);
    lines.with_filter(filter.and(no_trace).and(throttle))
}

fn announcements() -> Directive {
    always(ANNOUNCEMENT, LevelFilter::INFO)
}

/// What passed the filter, and was not shown for the throttle's sake, is told of.
fn hidden_lines() -> Directive {
    always(throttle::TARGET, LevelFilter::WARN)
}

/// More specific than what anybody sets for this crate.
fn always(target: &str, level: LevelFilter) -> Directive {
    let parsed = format!("{target}={level}").parse();
    parsed.unwrap_or_else(|_| level.into())
}

impl Log {
    /// Says what is for the operator to know whatever `RUST_LOG` says: at the start, and when
    /// something is in force that was not. As text it goes to standard output, as it is; as
    /// JSON it is the `message` of one line of the log.
    pub fn announce(self, text: &str) {
        match self.format {
            Format::Text => Stream::Output.write(format!("{text}\n").as_bytes()),
            Format::Json => info!(target: ANNOUNCEMENT, "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;
    use tracing::{Event, warn};
    use tracing_subscriber::layer::Context;
    use tracing_subscriber::registry;

    use super::*;

    #[test]
    fn formats_are_read_as_they_are_shown() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("JSON".parse::<Format>().is_err());
    }

    #[test]
    fn announcements_are_let_through_and_nothing_else() {
        assert_eq!(announcements().to_string(), format!("{ANNOUNCEMENT}=info"));
    }

    #[test]
    fn hidden_lines_are_told_of_whatever_is_shown() {
        for format in [Format::Text, Format::Json] {
            for directives in [
                "off",
                "error",
                "off,spop_server=warn",
                "spoa_process::log=off",
            ] {
                let directives = directives.parse().unwrap();
                let lines = Targets::default();
                let shown = filtered(
                    lines.clone(),
                    filter(&directives, format),
                    Throttle::default(),
                );
                with_default(registry().with(shown), || {
                    warn!(target: throttle::TARGET, "lines were not shown");
                    warn!(target: "spoa_process::log", "a line");
                });
                let shown = lines.0.lock().unwrap();
                assert_eq!(*shown, [throttle::TARGET], "{directives} {format}");
            }
        }
    }

    /// Of what is shown.
    #[derive(Clone, Default)]
    struct Targets(Arc<Mutex<Vec<&'static str>>>);

    impl<S: Subscriber> Layer<S> for Targets {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().target());
        }
    }

    /// What is below it costs one comparison, at each place that logs.
    #[test]
    fn the_limit_of_levels_is_known() {
        for format in [Format::Text, Format::Json] {
            for (directives, expected) in [
                ("off", LevelFilter::OFF),
                ("", LevelFilter::WARN),
                ("spop_server=debug", LevelFilter::DEBUG),
            ] {
                let directives = directives.parse().unwrap();
                let subscriber =
                    subscriber(&directives, format, &Traces::off(), Throttle::default());
                // What passes always.
                let least = match format {
                    Format::Text => LevelFilter::WARN,
                    Format::Json => LevelFilter::INFO,
                };
                let hint = subscriber.max_level_hint();
                assert_eq!(hint, Some(expected.max(least)), "{format}");
            }
        }
    }
}

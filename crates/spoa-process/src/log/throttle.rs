//! A limit on warnings that repeat: by the place in the source that they come from, of which
//! there is a fixed number.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, warn};
use tracing_subscriber::layer::{Context, Filter};

/// As long as the numbers below count.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines of one place that are shown in that time.
const SHOWN: u32 = 10;
/// Of the message of one that was not shown, so many characters.
const LONGEST: usize = 100;
/// The target of the lines that say what was not shown. They are not limited themselves: in
/// each window there is one for each place at most.
pub(super) const TARGET: &str = "spoa_process::log::throttle";

/// Lets warnings and errors pass up to the limit, and everything else.
#[derive(Debug, Clone, Default)]
pub(super) struct Throttle {
    places: Arc<Mutex<Places>>,
}

#[derive(Debug, Default)]
struct Places {
    counts: HashMap<Identifier, Count>,
    /// Whether a thread waits to say what was not shown.
    reporting: bool,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    shown: u32,
    hidden: Hidden,
}

/// What was not shown of a place.
#[derive(Debug, Clone, Default)]
struct Hidden {
    lines: u64,
    /// The module, and the message of the first.
    target: &'static str,
    message: String,
}

impl<S> Filter<S> for Throttle {
    fn enabled(&self, _metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let limited = *metadata.level() <= Level::WARN && metadata.target() != TARGET;
        !limited || self.shows(event, Instant::now())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

impl Throttle {
    fn shows(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        let mut places = self.lock();
        let count = places
            .counts
            .entry(metadata.callsite())
            .or_insert_with(|| Count {
                since: now,
                shown: 0,
                hidden: Hidden::default(),
            });
        if now.duration_since(count.since) >= WINDOW {
            count.since = now;
            count.shown = 0;
        }
        if count.shown < SHOWN {
            count.shown += 1;
            return true;
        }
        if count.hidden.lines == 0 {
            let mut message = Message::default();
            event.record(&mut message);
            count.hidden.message = message.0;
            count.hidden.target = metadata.target();
        }
        count.hidden.lines += 1;
        if !places.reporting {
            let throttle = self.clone();
            let thread = thread::Builder::new().name("log-throttle".to_owned());
            // Without a thread it is tried again, with the next line.
            places.reporting = thread.spawn(move || throttle.report()).is_ok();
        }
        false
    }

    /// Says what was not shown, each time a window is over, until there is nothing to say.
    fn report(&self) {
        loop {
            thread::sleep(WINDOW);
            if !self.tell() {
                return;
            }
        }
    }

    /// Says what was not shown so far. Whether there was anything.
    pub(super) fn tell(&self) -> bool {
        let hidden = self.take();
        let any = !hidden.is_empty();
        for Hidden {
            lines,
            target,
            message,
        } in hidden
        {
            warn!(
                target: TARGET,
                lines, of = target, like = message,
                "lines were not shown, because there were too many like it"
            );
        }
        any
    }

    fn take(&self) -> Vec<Hidden> {
        let mut places = self.lock();
        let counts = places.counts.values_mut();
        let hidden: Vec<Hidden> = counts
            .filter(|count| count.hidden.lines > 0)
            .map(|count| std::mem::take(&mut count.hidden))
            .collect();
        places.reporting = !hidden.is_empty();
        hidden
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Counts are good as they are.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event's message, which is fixed but for names of its own.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let message = format!("{value:?}");
            self.0 = message.chars().take(LONGEST).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tracing::{Subscriber, error, info, subscriber};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer, registry};

    use super::*;

    /// Counts what gets through.
    struct Counter(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn throttled(log: impl FnOnce()) -> (u32, Vec<Hidden>) {
        let throttle = Throttle::default();
        // Its own thread would take them, in 10 s.
        throttle.lock().reporting = true;
        let through = Arc::new(AtomicU32::new(0));
        let counter = Counter(Arc::clone(&through)).with_filter(throttle.clone());
        subscriber::with_default(registry().with(counter), log);
        (through.load(Ordering::Relaxed), throttle.take())
    }

    #[test]
    fn each_place_has_a_limit_of_its_own_and_the_rest_is_counted() {
        let (through, hidden) = throttled(|| {
            for peer in 0..100 {
                warn!(peer, "a bad peer");
                if peer < 9 {
                    error!("seldom");
                }
                // What is asked for is shown.
                info!("as often as it is");
            }
        });
        assert_eq!(through, 10 + 9 + 100);
        let [hidden] = &*hidden else {
            panic!("{hidden:?}");
        };
        assert_eq!((hidden.lines, &*hidden.message), (90, "a bad peer"));
        assert_eq!(hidden.target, module_path!());
    }

    #[test]
    fn a_new_window_shows_lines_again_and_forgets_no_count() {
        let throttle = Throttle::default();
        throttle.lock().reporting = true;
        let begin = Instant::now();
        let at = |after: Duration, times: usize| {
            let shown = Arc::new(AtomicU32::new(0));
            let asked = Asked {
                throttle: throttle.clone(),
                now: begin + after,
                shown: Arc::clone(&shown),
            };
            subscriber::with_default(registry().with(asked), || {
                (0..times).for_each(|_| place());
            });
            shown.load(Ordering::Relaxed)
        };
        assert_eq!(at(Duration::ZERO, 15), 10);
        assert_eq!(at(WINDOW - Duration::from_nanos(1), 5), 0);
        assert_eq!(at(WINDOW, 11), 10);
        let hidden = throttle.take();
        assert_eq!(hidden.iter().map(|of| of.lines).sum::<u64>(), 5 + 5 + 1);
        assert!(throttle.take().is_empty());
        assert!(!throttle.lock().reporting);
    }

    fn place() {
        warn!("again");
    }

    /// Asks at a time of the test's choice.
    struct Asked {
        throttle: Throttle,
        now: Instant,
        shown: Arc<AtomicU32>,
    }

    impl<S: Subscriber> Layer<S> for Asked {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            let shown = self.throttle.shows(event, self.now);
            self.shown.fetch_add(shown.into(), Ordering::Relaxed);
        }
    }
}

//! On a clock that moves when nothing else does. SIGHUP, which every test of a process hears,
//! is in `tests/hangup.rs`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, registry};

use super::*;
use crate::log::{self, Directives, Format};

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

struct Site {
    dir: TempDir,
    number: Arc<Watched<u32>>,
    readings: Arc<AtomicUsize>,
    /// Done before the next reading.
    before: Arc<Mutex<Option<Act>>>,
}

type Act = Box<dyn FnOnce() -> Result<(), Problem> + Send>;

impl Site {
    /// With a file that holds a number.
    fn start(text: &str) -> Result<Self, Problem> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), text).unwrap();
        Self::start_in(dir)
    }

    fn start_in(dir: TempDir) -> Result<Self, Problem> {
        let path = dir.path().join("file");
        let readings = Arc::new(AtomicUsize::new(0));
        let before = Arc::new(Mutex::new(None::<Act>));
        let (counted, acting) = (Arc::clone(&readings), Arc::clone(&before));
        let read = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let act = acting.lock().unwrap().take();
            act.map_or(Ok(()), |act| act())?;
            number(&path)
        };
        let files = vec![dir.path().join("file")];
        let log = log::start(&Directives::default(), Format::default());
        let number = Watched::start("numbers", files, log, read)?;
        Ok(Self {
            dir,
            number,
            readings,
            before,
        })
    }

    fn write(&self, text: &str) {
        fs::write(self.dir.path().join("file"), text).unwrap();
    }

    /// Puts another file in the place of the one before, as editors do.
    fn replace(&self, text: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.dir.path().join("file")).unwrap();
    }

    fn before_reading(&self, act: impl FnOnce() -> Result<(), Problem> + Send + 'static) {
        *self.before.lock().unwrap() = Some(Box::new(act));
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !condition(self) {
            assert!(begin.elapsed() < PATIENCE, "gave up waiting: {what}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_number(&self, number: u32) {
        let is = |site: &Self| **site.number.load() == number;
        self.until(&number.to_string(), is).await;
    }

    async fn until_failures(&self, failures: u64) {
        let are = |site: &Self| site.number.failures() == failures;
        self.until("it failed", are).await;
    }
}

/// What is logged, each line's message.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() == "spoa_process::watch" {
            event.record(&mut self.clone());
        }
    }
}

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        assert_eq!(field.name(), "message");
        self.0.lock().unwrap().push(format!("{value:?}"));
    }
}

fn number(path: &Path) -> Result<u32, Problem> {
    let text = fs::read_to_string(path)?;
    assert_ne!(text, "panic");
    Ok(text.trim().parse()?)
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_in_force_and_a_bad_one_is_not() {
    let site = Site::start("1").unwrap();
    assert_eq!(**site.number.load(), 1);

    site.write("22");
    site.until_number(22).await;
    site.replace("nonsense");
    site.until_failures(1).await;
    assert_eq!(**site.number.load(), 22);
    fs::remove_file(site.dir.path().join("file")).unwrap();
    site.until_failures(2).await;
    assert_eq!(**site.number.load(), 22);
    site.replace("3");
    site.until_number(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_once_for_each_change() {
    let site = Site::start("1").unwrap();
    sleep(10 * POLL).await;
    assert_eq!(site.readings.load(Ordering::Relaxed), 1);
    site.replace("nonsense");
    site.until_failures(1).await;
    sleep(RETRY - 10 * POLL).await;
    assert_eq!(site.readings.load(Ordering::Relaxed), 2);
    assert_eq!(site.number.failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_left_alone() {
    let site = Site::start("1").unwrap();
    // Between the looks, of which no two see the same.
    sleep(POLL / 2).await;
    let mut text = String::from("2");
    for _ in 0..10 {
        text.push(' ');
        site.write(&text);
        sleep(POLL).await;
    }
    assert_eq!(site.readings.load(Ordering::Relaxed), 1);
    site.until_number(2).await;
}

#[tokio::test(start_paused = true)]
async fn that_a_file_keeps_changing_is_told_each_minute() {
    let lines = Lines::default();
    let _guard = subscriber::set_default(registry().with(lines.clone()));
    let site = Site::start("1").unwrap();
    assert!(!site.number.is_stale());
    sleep(POLL / 2).await;
    let mut text = String::from("2");
    for _ in 0..150 {
        text.push(' ');
        site.write(&text);
        sleep(POLL).await;
    }
    assert!(site.number.is_stale());
    assert_eq!(site.readings.load(Ordering::Relaxed), 1);
    let line = "numbers keep changing, so those before stay in force; they are read once the files \
                are left alone for a second";
    assert_eq!(lines.all(), [line, line]);
    site.until_number(2).await;
    let fresh = |site: &Site| !site.number.is_stale();
    site.until("they are those of the file", fresh).await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_used_is_stale_until_it_can_be() {
    let site = Site::start("1").unwrap();
    site.replace("nonsense");
    site.until_failures(1).await;
    sleep(10 * RETRY).await;
    assert!(site.number.is_stale());
    assert_eq!(site.number.failures(), 1);
    site.replace("1");
    let fresh = |site: &Site| !site.number.is_stale();
    site.until("it can be used", fresh).await;
}

#[tokio::test(start_paused = true)]
async fn what_changed_while_it_was_read_is_told_and_read_again() {
    let lines = Lines::default();
    let _guard = subscriber::set_default(registry().with(lines.clone()));
    let site = Site::start("1").unwrap();
    let path = site.dir.path().join("file");
    site.before_reading(move || Ok(fs::write(path, "333")?));
    site.write("22");
    site.until_number(333).await;
    let line = "numbers changed while they were read, and are read again once they are left alone";
    assert_eq!(lines.all(), [line]);
    assert_eq!(site.readings.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_needs_no_change() {
    let site = Site::start("1").unwrap();
    site.before_reading(|| Err("too many open files".into()));
    site.write("22");
    site.until_failures(1).await;
    assert_eq!(**site.number.load(), 1);
    site.until_number(22).await;
    assert_eq!(site.number.failures(), 1);
    sleep(10 * RETRY).await;
    assert_eq!(site.readings.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_again_if_it_is_another_one() {
    let lines = Lines::default();
    let _guard = subscriber::set_default(registry().with(lines.clone()));
    let site = Site::start("1").unwrap();
    site.write("nonsense");
    let read = |times| move |site: &Site| site.readings.load(Ordering::Relaxed) == times;
    site.until("it was tried again", read(4)).await;
    site.before_reading(|| Err("too many open files".into()));
    site.until("and again", read(6)).await;
    let nonsense = "numbers stay as they were: invalid digit found in string";
    let open = "numbers stay as they were: too many open files";
    assert_eq!(lines.all(), [nonsense, open, nonsense]);
    assert_eq!(site.number.failures(), 3);
}

#[tokio::test(start_paused = true)]
async fn kubernetes_links_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for number in ["1", "2"] {
        fs::create_dir(at(number)).unwrap();
        fs::write(at(number).join("file"), number).unwrap();
    }
    symlink("1", at("..data")).unwrap();
    symlink("..data/file", at("file")).unwrap();
    let site = Site::start_in(dir).unwrap();
    assert_eq!(**site.number.load(), 1);
    let at = |name: &str| site.dir.path().join(name);
    symlink("2", at("..new")).unwrap();
    fs::rename(at("..new"), at("..data")).unwrap();
    site.until_number(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_panics_is_one_that_failed() {
    let site = Site::start("1").unwrap();
    site.replace("panic");
    site.until_failures(1).await;
    site.replace("2");
    site.until_number(2).await;
}

#[tokio::test]
async fn what_cannot_be_used_at_the_start_is_an_error() {
    let error = Site::start("nonsense").err().unwrap();
    assert_eq!(error.to_string(), "invalid digit found in string");
}

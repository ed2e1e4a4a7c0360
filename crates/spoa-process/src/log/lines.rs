//! The way out of what is logged: a thread of its own writes it, since a pipe that nobody reads
//! blocks whoever writes to it. Lines for which there is no room any more are lost, and counted.
//! (`tracing-appender` does the first, but the end of its thread prints to standard output when its
//! queue is full, and blocks there; and it tells nobody of what was lost.)

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use super::throttle;

/// Bytes that may wait to be written.
const ROOM: usize = 1 << 20;
/// How long the end of the process waits for who reads it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Standard output or standard error.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Output,
    Error,
}

impl Stream {
    /// Writes a line, as a whole.
    pub(super) fn write(self, line: &[u8]) {
        let lines = LINES.get_or_init(|| Lines::start(Self::write_now).ok());
        match lines {
            Some(lines) => lines.push(self, line),
            None => self.write_now(line),
        }
    }

    fn write_now(self, line: &[u8]) {
        // Nobody may be reading it any more.
        let _ = match self {
            Self::Output => io::stdout().write_all(line),
            Self::Error => io::stderr().write_all(line),
        };
    }
}

/// Each event is written at once.
impl Write for Stream {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        Self::write(*self, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until what is in the queue is written, but not for long.
pub(super) fn flush() {
    if let Some(Some(lines)) = LINES.get() {
        lines.flush(PATIENCE);
    }
}

/// `None`: there can be no thread.
static LINES: OnceLock<Option<Lines>> = OnceLock::new();

enum Item {
    Line(Stream, Vec<u8>),
    /// To be told when all before it is written.
    Flush(SyncSender<()>),
}

/// What waits to be written.
struct Lines {
    queue: Sender<Item>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Bytes.
    waiting: AtomicUsize,
    lost: AtomicU64,
}

impl Lines {
    fn start(write: impl Fn(Stream, &[u8]) + Send + 'static) -> io::Result<Self> {
        let (queue, items) = channel();
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || counting.write_all(&items, write))?;
        Ok(Self { queue, counts })
    }

    fn push(&self, stream: Stream, line: &[u8]) {
        let Counts { waiting, lost } = &*self.counts;
        if waiting.fetch_add(line.len(), Ordering::Relaxed) + line.len() > ROOM {
            waiting.fetch_sub(line.len(), Ordering::Relaxed);
            lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // The thread goes on for as long as there is somebody to send.
        let _ = self.queue.send(Item::Line(stream, line.to_vec()));
    }

    fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        // What is said of lost lines meanwhile comes behind the first.
        for _ in 0..2 {
            let (done, written) = sync_channel(1);
            if self.queue.send(Item::Flush(done)).is_ok() {
                let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
    }
}

impl Counts {
    fn write_all(&self, items: &Receiver<Item>, write: impl Fn(Stream, &[u8])) {
        for item in items {
            let flushed = match item {
                Item::Line(stream, line) => {
                    write(stream, &line);
                    self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    None
                }
                Item::Flush(done) => Some(done),
            };
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                warn!(target: throttle::TARGET, lines = lost, "lost: nobody read the log");
            }
            if let Some(done) = flushed {
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn who_does_not_read_stops_nobody_and_misses_what_there_is_no_room_for() {
        let reads = Arc::new(Mutex::new(()));
        let written = Arc::new(AtomicUsize::new(0));
        let (reading, counted) = (Arc::clone(&reads), Arc::clone(&written));
        let lines = Lines::start(move |_, line| {
            drop(reading.lock().unwrap());
            counted.fetch_add(line.len(), Ordering::Relaxed);
        });
        let lines = lines.unwrap();
        let line = [b'x'; 1024];
        let stalled = reads.lock().unwrap();
        for _ in 0..ROOM / line.len() + 7 {
            lines.push(Stream::Error, &line);
        }
        assert_eq!(lines.counts.lost.load(Ordering::Relaxed), 7);
        lines.flush(Duration::from_millis(1));
        assert_eq!(written.load(Ordering::Relaxed), 0);
        drop(stalled);
        lines.flush(Duration::from_secs(60));
        assert_eq!(written.load(Ordering::Relaxed), ROOM);
        assert_eq!(lines.counts.lost.load(Ordering::Relaxed), 0);
        // There is room again.
        lines.push(Stream::Output, &line);
        lines.flush(Duration::from_secs(60));
        assert_eq!(written.load(Ordering::Relaxed), ROOM + line.len());
    }
}

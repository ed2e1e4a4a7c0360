//! SIGHUP. A test program of its own, since every watch of a process hears it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use spoa_process::Watched;
use spoa_process::log::{self, Directives, Format};
use tokio::time::sleep;

/// For a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn files_are_read_each_time_that_somebody_asks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "good").unwrap();
    let readings = Arc::new(AtomicUsize::new(0));
    let (counted, read) = (Arc::clone(&readings), path.clone());
    let log = log::start(&Directives::default(), Format::default());
    let watched = Watched::start("words", vec![path.clone()], log, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let word = fs::read_to_string(&read).map_err(|error| error.to_string())?;
        if word == "bad" { Err(word) } else { Ok(word) }
    });
    let watched = watched.unwrap();
    let hang_up = async |until: &dyn Fn() -> bool| {
        kill_process(getpid(), Signal::HUP).unwrap();
        let begin = Instant::now();
        while !until() {
            assert!(begin.elapsed() < PATIENCE);
            sleep(Duration::from_millis(5)).await;
        }
    };
    // Though nothing has changed.
    hang_up(&|| readings.load(Ordering::Relaxed) == 2).await;
    assert_eq!(watched.failures(), 0);

    // Of a bad file it is said each time.
    fs::write(&path, "bad").unwrap();
    hang_up(&|| watched.failures() == 1).await;
    hang_up(&|| watched.failures() == 2).await;
    assert_eq!(**watched.load(), "good");
    fs::write(&path, "better").unwrap();
    hang_up(&|| **watched.load() == "better").await;
}

//! SIGHUP. A test program of its own, since every watch of a process hears it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::env;
use std::fs;
use std::iter;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use spoa_process::Watched;
use spoa_process::log::{self, Directives, Format};
use support::{PATIENCE, child, is_child};
use tokio::time::sleep;

/// systemd's socket, of which it tells a service in this way.
const SOCKET: &str = "NOTIFY_SOCKET";

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

/// What happened, in the order in which it did: what systemd was told, and each reading.
#[test]
fn systemd_waits_for_files_that_change_while_they_are_read() {
    if is_child() {
        reload_while_files_change(env::var_os(SOCKET).unwrap().into());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    let test = "systemd_waits_for_files_that_change_while_they_are_read";
    let output = child(test, "").env(SOCKET, &socket).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    told.set_nonblocking(true).unwrap();
    let next = || {
        let mut message = [0; 4096];
        let length = told.recv(&mut message).ok()?;
        let message = String::from_utf8_lossy(&message[..length]).into_owned();
        Some(message.lines().next()?.to_owned())
    };
    let all: Vec<String> = iter::from_fn(next).collect();
    let expected = ["read 1", "RELOADING=1", "read 2", "read 3", "READY=1"];
    assert_eq!(all, expected);
}

/// In the child, which tells `socket` of its readings, too.
#[tokio::main(flavor = "current_thread")]
async fn reload_while_files_change(socket: PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "first").unwrap();
    let (file, readings) = (path.clone(), AtomicUsize::new(0));
    let log = log::start(&Directives::default(), Format::default());
    let watched = Watched::start("words", vec![path], log, move || {
        let reading = readings.fetch_add(1, Ordering::Relaxed) + 1;
        let tell = UnixDatagram::unbound().unwrap();
        let message = format!("read {reading}");
        tell.send_to(message.as_bytes(), &socket).unwrap();
        if reading == 2 {
            fs::write(&file, "another").unwrap();
        }
        fs::read_to_string(&file)
    });
    let watched = watched.unwrap();
    kill_process(getpid(), Signal::HUP).unwrap();
    // On this thread nothing comes between what is in force and what systemd is told.
    let begin = Instant::now();
    while **watched.load() != "another" {
        assert!(begin.elapsed() < PATIENCE);
        sleep(Duration::from_millis(5)).await;
    }
}

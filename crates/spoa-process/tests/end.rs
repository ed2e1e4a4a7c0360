//! The end of a process that fails: what it said before, and then why.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{ErrorKind, Read as _, Write as _, pipe};
use std::process::{ExitCode, Stdio};

use rustix::io::ioctl_fionbio;
use support::{child, ended, is_child, live};
use tracing::warn;

#[test]
fn nothing_is_left_unsaid_and_the_reason_comes_last() {
    if is_child() {
        let ended = live(|| {
            for peer in 0..25 {
                warn!(peer, "a bad peer");
            }
            Err("no settings".to_owned())
        });
        assert_eq!(ended, ExitCode::from(2));
        return;
    }
    let mut child = child("nothing_is_left_unsaid_and_the_reason_comes_last", "");
    child.env_remove("RUST_LOG");
    let output = child.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 12, "{said}");
    assert!(lines[9].ends_with("a bad peer peer=9"), "{said}");
    assert!(lines[10].contains("lines were not shown"), "{said}");
    assert!(lines[10].contains("lines=15"), "{said}");
    assert_eq!(lines[11], "agent: no settings");
}

#[test]
fn it_comes_though_nobody_reads() {
    if is_child() {
        assert_eq!(live(|| Err("no settings".to_owned())), ExitCode::from(2));
        return;
    }
    let (mut reader, mut writer) = pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    let full = loop {
        if let Err(error) = writer.write(&[b'\n'; 512]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    ioctl_fionbio(&writer, false).unwrap();
    let mut child = child("it_comes_though_nobody_reads", "");
    let mut child = child.stderr(writer).stdout(Stdio::null()).spawn().unwrap();
    let status = ended(&mut child);
    // What the child asserts.
    assert!(status.success(), "{status}");
    drop(reader.read(&mut [0]));
}

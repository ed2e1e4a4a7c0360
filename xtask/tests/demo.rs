//! The demo is what a newcomer sees first.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// It ends with exit code 0 only if requests were limited as they should be.
#[test]
fn the_demo_limits_requests_through_a_real_haproxy() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["demo", "--seconds", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut output = BufReader::new(demo.stdout.take().unwrap());
    // The live view can be looked at from the first lines on.
    while !said.contains("live view: ") {
        assert_ne!(output.read_line(&mut said).unwrap(), 0, "{said}");
    }
    let (_, url) = said.split_once("live view: http://").unwrap();
    let page = page(url.trim().trim_end_matches('/'));
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("<title>spoa-gcra on "), "{page}");

    output.read_to_string(&mut said).unwrap();
    assert!(demo.wait().unwrap().success(), "{said}");
    assert!(said.contains("HAProxy") && said.contains("429"), "{said}");
}

/// Exit code 0 only if both clients were answered as the list said, before and after.
#[test]
fn the_demo_of_lists_denies_who_is_listed_through_a_real_haproxy() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["demo", "--agent", "ip-reputation"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let rows = |client: &str| {
        let rows = said.lines().filter(|line| line.starts_with(client));
        rows.map(|line| {
            line.split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(rows("127.0.0.2"), ["yes 100 403", "no 0 200"], "{said}");
    assert_eq!(rows("127.0.0.3"), ["no 0 200", "yes 100 403"], "{said}");
}

fn page(addr: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

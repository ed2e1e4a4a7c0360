//! The demo is what a newcomer sees first.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

/// It ends with exit code 0 only if requests were limited as they should be.
#[test]
fn the_demo_limits_requests_through_a_real_haproxy() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["demo", "--seconds", "2"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
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

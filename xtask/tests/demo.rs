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

//! Counting instructions with callgrind: user instructions of every thread, which do not
//! depend on what else the machine does.

use anyhow::{Result, bail};

pub(super) const PROGRAM: &str = "valgrind";
/// In front of the program to count, and its arguments. Only the total is of interest.
pub(super) const ARGUMENTS: [&str; 2] = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];

/// Whether instructions can be counted. Says so if not.
pub(super) fn is_here() -> bool {
    let version = std::process::Command::new(PROGRAM)
        .arg("--version")
        .output();
    if version.is_err() {
        eprintln!("no instruction counts: valgrind is not here (apt-get install valgrind)");
    }
    version.is_ok()
}

/// The total, from what callgrind says at the end.
pub(super) fn instructions(said: &str) -> Result<f64> {
    let line = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let Some((_, number)) = line else {
        bail!("callgrind says something else than usual:\n{said}");
    };
    Ok(number.trim().parse()?)
}

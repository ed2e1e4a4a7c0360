//! What a newcomer types from README.md works: its blocks are typed into a shell as they stand
//! there. Only addresses are others, and what is to be installed is there already.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod newcomer {
    pub(crate) mod readme;
    pub(crate) mod shell;
}

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spop_testkit::port::free_addr;
use spop_testkit::tools::{Haproxy, workspace_root};
use spop_testkit::web::Web;
use tempfile::TempDir;
use xtask::cargo::cargo;

use newcomer::readme::Readme;
use newcomer::shell::Shell;

/// Until a request is denied.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_agent_of_ones_own_answers_as_the_readme_says() {
    let readme = Readme::of_the_project();
    let dir = TempDir::with_prefix("newcomer-").unwrap();
    let programs = Programs::new(dir.path());
    let addr = free_addr().unwrap().to_string();
    let address = |line: &str| line.replace("127.0.0.1:9000", &addr);

    let agent = readme.block("rust,no_run", "serve(");
    assert!(agent.lines().count() <= 15, "the README promises 15 lines");
    let mut shell = Shell::start(&workspace_root(), &programs.dir);
    // Everything is there already, in the versions of this workspace.
    shell.set("CARGO_NET_OFFLINE", "true");
    shell.set("CARGO_TARGET_DIR", &target_dir().display().to_string());
    let place = dir.path().join("hello-agent");
    for line in readme.block("sh", "cargo new").lines() {
        shell.run(&line.replace("../hello-agent", &place.display().to_string()));
    }
    fs::copy(
        workspace_root().join("Cargo.lock"),
        place.join("Cargo.lock"),
    )
    .unwrap();
    fs::write(place.join("src/main.rs"), address(agent)).unwrap();

    let mut answers = Vec::new();
    for line in readme.block("sh", "spop notify").lines().map(address) {
        if line.starts_with("cargo run") {
            shell.run(&line);
            shell.wait_for(addr.parse().unwrap());
        } else if line.starts_with("spop notify") {
            answers = shell.run(&line);
        } else if line.starts_with("kill") {
            shell.run(&line);
        } else {
            // Installed already; figures and edge cases have tests of their own.
            let is_other = ["cargo install", "spop bench", "spop conform"];
            assert!(
                is_other.iter().any(|other| line.starts_with(other)),
                "{line}"
            );
        }
    }
    // But for the time that it took.
    let timeless = |line: &str| line.split(" after ").next().map(str::to_owned);
    let expected: Vec<_> = readme
        .block("console", "set-var")
        .lines()
        .map(timeless)
        .collect();
    let answers: Vec<_> = answers.iter().map(|line| timeless(line)).collect();
    assert_eq!(answers, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_behind_ones_own_haproxy_is_limited() {
    let readme = Readme::of_the_project();
    let dir = TempDir::with_prefix("newcomer-").unwrap();
    let programs = Programs::new(dir.path());
    programs.add_haproxy();
    let web = Web::start().await.unwrap();
    let [http, stats, agent] = [(); 3].map(|()| free_addr().unwrap());
    let address = |line: &str| {
        line.replace("127.0.0.1:8080", &web.addr().to_string())
            .replace("127.0.0.1:8000", &http.to_string())
    };

    tokio::task::block_in_place(|| {
        let mut shell = Shell::start(dir.path(), &programs.dir);
        // Where it would listen by itself, others may.
        shell.set("SPOE_ADDR", &agent.to_string());
        shell.set("SPOA_ADMIN_ADDR", "off");
        let mut seen = Vec::new();
        for line in readme
            .block("sh", "print-haproxy-config")
            .lines()
            .map(address)
        {
            // Installed already; and the web service is another one.
            if line.starts_with("cargo install") || line.starts_with("python3") {
                continue;
            }
            if !line.starts_with("curl") {
                shell.run(&line);
            }
            if line.contains("print-haproxy-config") {
                let file = dir.path().join("limited/haproxy.cfg");
                move_to(&file, "127.0.0.1:8404", stats);
            } else if line.starts_with("spoa-gcra") {
                shell.wait_for(agent);
            } else if line.starts_with("haproxy -f") {
                shell.wait_for(http);
            } else if line.starts_with("curl") {
                seen = until_denied(&mut shell, &line);
            }
        }
        let denied = seen.iter().filter(|line| *line == "429").count();
        let passed = seen.iter().filter(|line| *line == "200").count();
        assert!(denied > 0 && passed >= 5, "{seen:?}");
    });
}

/// Asks as often as it takes: a busy machine does not answer within HAProxy's 15 ms, and then
/// requests pass.
fn until_denied(shell: &mut Shell, line: &str) -> Vec<String> {
    let started = Instant::now();
    let mut seen = Vec::new();
    while started.elapsed() < PATIENCE {
        seen.extend(shell.run(line));
        if seen.iter().any(|line| line == "429") {
            break;
        }
    }
    seen
}

/// What HAProxy's file says of an address that the README does not give.
fn move_to(file: &Path, from: &str, to: SocketAddr) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from}", file.display());
    fs::write(file, text.replace(from, &to.to_string())).unwrap();
}

/// A directory with all that is installed.
struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// The project's own, as `cargo install` would have built them.
    fn new(dir: &Path) -> Self {
        let build = ["build", "--workspace", "--bins", "--all-features"];
        let built = cargo(build).into_std().status();
        assert!(built.unwrap().success());
        let dir = dir.join("bin");
        fs::create_dir(&dir).unwrap();
        let own = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap();
        for name in ["spoa-gcra", "spop"] {
            std::os::unix::fs::symlink(own.join(name), dir.join(name)).unwrap();
        }
        Self { dir }
    }

    /// This machine's, or the one that the tests unpacked.
    fn add_haproxy(&self) {
        let command = Haproxy::distribution().unwrap().program().command();
        let words: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let file = self.dir.join("haproxy");
        fs::write(
            &file,
            format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")),
        )
        .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(file, mode).unwrap();
    }
}

/// Where this was built, so that little is compiled again.
fn target_dir() -> &'static Path {
    let own = Path::new(env!("CARGO_BIN_EXE_xtask")).ancestors().nth(2);
    own.unwrap()
}

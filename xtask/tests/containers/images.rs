//! The images that the tests run.

use std::path::PathBuf;

use spop_testkit::containers::{Engine, Rootfs};
use spop_testkit::tools::{Busybox, Haproxy, Valkey};
use tokio::sync::OnceCell;

/// The agent's, as the compose files name it if nothing else is said.
pub(crate) const AGENT: &str = concat!("localhost/spoa-gcra:", env!("CARGO_PKG_VERSION"));
pub(crate) const HAPROXY: &str = "localhost/haproxy:test";
pub(crate) const VALKEY: &str = "localhost/valkey:test";

/// What create-cluster.sh calls, beside valkey-cli and getent.
const TOOLS: [&str; 8] = [
    "sh", "date", "grep", "sed", "sleep", "tail", "timeout", "tr",
];

/// The users that the published images run as.
const HAPROXY_USER: u32 = 99;
const VALKEY_USER: u32 = 999;

/// An OCI archive to test in place of the one that would be built.
const GIVEN: &str = "AGENT_ARCHIVE";

/// A container engine that has all of them. What is missing is built or unpacked.
pub(crate) fn engine() -> Engine {
    let engine = Engine::start().unwrap();
    // Not by `Engine::run`, where there is no network to fetch anything from.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        agent(&engine).await;
        haproxy(&engine).await;
        valkey(&engine).await;
    });
    engine
}

async fn agent(engine: &Engine) {
    static ARCHIVE: OnceCell<PathBuf> = OnceCell::const_new();
    let build = async || {
        if let Some(given) = std::env::var_os(GIVEN) {
            return given.into();
        }
        let version = env!("CARGO_PKG_VERSION");
        let built = xtask::image::agent("spoa-gcra", "release", version).await;
        built.unwrap().archive.path
    };
    let archive = ARCHIVE.get_or_init(build).await;
    let load = ["load", "--input", archive.to_str().unwrap()];
    engine.podman(load).await.unwrap();
}

/// As new as the published image that the compose files name.
async fn haproxy(engine: &Engine) {
    let haproxy = Haproxy::v3_2().unwrap();
    Rootfs::new()
        .unwrap()
        .program(haproxy.program(), "/usr/bin/haproxy")
        .unwrap()
        .import(engine, HAPROXY, &[&user(HAPROXY_USER), PATH])
        .await
        .unwrap();
}

/// With what a shell script needs.
async fn valkey(engine: &Engine) {
    let valkey = Valkey::find().unwrap();
    let tools = Busybox::find().unwrap();
    let rootfs = Rootfs::new()
        .unwrap()
        .program(&valkey.server, "/usr/bin/valkey-server")
        .unwrap()
        .program(&valkey.cli, "/usr/bin/valkey-cli")
        .unwrap()
        .program(&tools.busybox, "/usr/bin/busybox")
        .unwrap()
        .program(&tools.getent, "/usr/bin/getent")
        .unwrap()
        .directory("/data", VALKEY_USER)
        .unwrap();
    let rootfs = TOOLS.iter().fold(rootfs, |rootfs, name| {
        rootfs.link(&format!("/usr/bin/{name}"), "busybox").unwrap()
    });
    rootfs
        .import(engine, VALKEY, &[&user(VALKEY_USER), PATH])
        .await
        .unwrap();
}

const PATH: &str = "ENV PATH=/usr/bin";

fn user(id: u32) -> String {
    format!("USER {id}")
}

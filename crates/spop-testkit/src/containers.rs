//! A container engine that nobody else uses and that leaves nothing behind.
//!
//! [`Engine`] is a podman service in namespaces of its own. Its bridges and packet filter rules
//! are in its network namespace, its mounts in its mount namespace, and every container is a
//! process of its PID namespace: all of them go when that namespace's first process does, which
//! the kernel kills together with the test. Images and volumes are in a temporary directory, a [`Scratch`].
//!
//! [`Rootfs`] makes an image of programs of this machine, as no registry is asked.

mod rootfs;

pub use rootfs::Rootfs;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Resource, getrlimit, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime;

use crate::Scratch;
use crate::process::{Process, Signal};
use crate::tools::{Podman, Program};

/// The service is there within 0.5 s; the rest is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(20);

/// What the engine is kept apart in. The last makes the first process of the PID namespace end
/// with `unshare`, which ends with this process.
const NAMESPACES: [&str; 8] = [
    "--net",
    "--mount",
    "--mount-proc",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child",
];

/// Where podman writes down what it does, in the engine's directory.
const EVENTS: &str = "events";
/// Hexadecimal digits of a container's or pod's id.
const ID_LENGTH: usize = 64;

/// The first process of the namespaces. What podman would leave in the system's directories goes
/// to file systems that end with the mount namespace.
const SERVICE: &str = r#"
set -e
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work overlay /var/lib
ip link set lo up
podman system service --time=0 "unix://$ENGINE_SOCKET" &
# Not replaced by it: somebody must reap what containers leave.
wait $!
"#;

/// A running podman, ended with all its containers when dropped.
#[derive(Debug)]
pub struct Engine {
    process: Process,
    podman: Podman,
    environment: Vec<(&'static str, OsString)>,
    dir: Scratch,
}

impl Engine {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When podman cannot be had; when this machine cannot run containers; both in one line.
    pub fn start() -> Result<Self> {
        check_namespaces()?;
        let podman = Podman::find()?;
        let dir = Scratch::new("spop-containers-")?;
        let environment = configure(&podman, dir.path())?;
        let unshare = Program::at("/usr/bin/unshare");
        let process = Process::spawn("podman", &unshare, |command| {
            command.args(NAMESPACES).args(["--", "sh", "-c", SERVICE]);
            command.env("ENGINE_SOCKET", dir.path().join("socket"));
            command.envs(environment.iter().map(|(name, value)| (name, value)));
        })?;
        let engine = Self {
            process,
            podman,
            environment,
            dir,
        };
        engine.await_service()?;
        Ok(engine)
    }

    /// Runs `work` where the engine's network is: published ports are on 127.0.0.1, containers
    /// have their own addresses.
    ///
    /// # Errors
    /// When this process may not enter the namespace.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> Result<T> {
        // A thread can change its namespace, but not come back: this one ends with the work.
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let network = File::open(format!("/proc/{}/ns/net", self.process.id()))?;
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
                let runtime = runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                Ok(runtime.block_on(work()))
            });
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a podman command, such as `["ps", "--all"]`, to its end.
    ///
    /// # Errors
    /// When it cannot be started. That it failed is said in the output.
    pub async fn output<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command(self.podman.program()));
        command.arg("--remote").arg("--url").arg(self.url());
        command.args(arguments);
        Ok(command.output().await?)
    }

    /// Runs a podman command to its end and returns what it printed, standard output and error.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn podman<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        let arguments: Vec<OsString> = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect();
        let output = self.output(&arguments).await?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said += &String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let line: Vec<_> = arguments
                .iter()
                .map(|word| word.to_string_lossy())
                .collect();
            bail!("podman {}: {}", line.join(" "), said.trim());
        }
        Ok(said.trim().to_owned())
    }

    /// A command for another program that is to use this engine: it finds it by `DOCKER_HOST`,
    /// as docker's own tools do, by `CONTAINER_HOST`, as podman does, and podman on the `PATH`.
    pub fn command(&self, program: &Program) -> Command {
        let mut command = program.command();
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("DOCKER_HOST", self.url())
            .env("CONTAINER_HOST", self.url())
            .stdin(Stdio::null());
        command
    }

    /// A directory of the engine's, for files of a test's own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn url(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    fn await_service(&self) -> Result<()> {
        let started = Instant::now();
        let mut ping = self.command(self.podman.program());
        ping.args(["--remote", "--url", &self.url(), "version"]);
        while !ping.output()?.status.success() {
            let ended = self.process.exited()?.is_some();
            if ended || started.elapsed() > PATIENCE {
                // Its last lines may still be on their way.
                thread::sleep(POLL);
                bail!(
                    "the container engine does not start:\n{}",
                    self.process.log().join("\n")
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The first process of the PID namespace, by its number outside.
    fn first_process(&self) -> Option<Pid> {
        let unshare = self.process.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
        Pid::from_raw(children.ok()?.split_whitespace().next()?.parse().ok()?)
    }

    /// What the containers of a test that failed have to say.
    fn show_logs(&self) {
        let podman = |arguments: &[&str]| {
            let mut command = self.command(self.podman.program());
            command.args(["--remote", "--url", &self.url()]);
            match command.args(arguments).output() {
                Ok(output) => [output.stdout, output.stderr].concat(),
                Err(error) => error.to_string().into_bytes(),
            }
        };
        let show = |said: &[u8]| eprintln!("{}", String::from_utf8_lossy(said).trim_end());
        show(&podman(&["ps", "--all"]));
        for id in self.containers() {
            eprintln!("--- {id}");
            show(&podman(&["logs", "--tail=20", &id]));
        }
    }

    /// Containers that were not removed, by their ids.
    fn containers(&self) -> Vec<String> {
        let dir = self.dir.path().join("storage/overlay-containers");
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Containers and pods that there have ever been, by their ids.
    fn ever_started(&self) -> BTreeSet<String> {
        let events = fs::read_to_string(self.dir.path().join(EVENTS)).unwrap_or_default();
        let is_id = |word: &&str| {
            word.len() == ID_LENGTH && word.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        // JSON, in which an id stands between quotes.
        events.split('"').filter(is_id).map(String::from).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_logs();
        }
        // The kernel kills all others before this one is gone, and `unshare` waits for it.
        if let Some(first) = self.first_process() {
            let _ = kill_process(first, Signal::KILL);
            let started = Instant::now();
            while matches!(self.process.exited(), Ok(None)) && started.elapsed() < PATIENCE {
                thread::sleep(POLL);
            }
        }
        self.process.kill();
        // The one thing that no namespace takes along. Podman itself leaves those of pods.
        remove_control_groups(Path::new("/sys/fs/cgroup"), &self.ever_started());
    }
}

/// Whether this machine can do what [`Engine`] needs.
fn check_namespaces() -> Result<()> {
    let output = Command::new("/usr/bin/unshare")
        .args(NAMESPACES)
        .args(["--", "mount", "-t", "tmpfs", "tmpfs", "/run"])
        .stdin(Stdio::null())
        .output()
        .context("containers cannot be run here: there is no /usr/bin/unshare (util-linux)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "containers cannot be run here: {}; root and namespaces of its own are needed",
            said.trim().lines().next_back().unwrap_or("unshare failed")
        );
    }
    Ok(())
}

/// Writes podman's configuration, all paths of which lead into `dir`, and returns the
/// environment that makes podman and what it starts read it.
fn configure(podman: &Podman, dir: &Path) -> Result<Vec<(&'static str, OsString)>> {
    let user = dir.join(".config/containers");
    let temp = dir.join("tmp");
    fs::create_dir_all(&user)?;
    fs::create_dir_all(&temp)?;
    let shown = dir.display();
    let write = |name: &str, text: String| -> Result<OsString> {
        let path = dir.join(name);
        fs::write(&path, text)?;
        Ok(path.into_os_string())
    };
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{shown}/storage\"\n\
         runroot = \"/run/containers/storage\"\n"
    );
    let mut environment = podman.environment()?;
    // Where the policy on signatures is looked for first: images are made here.
    environment.push(("HOME", dir.into()));
    fs::write(
        user.join("policy.json"),
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )?;
    environment.push(("TMPDIR", temp.into_os_string()));
    environment.push(("CONTAINERS_STORAGE_CONF", write("storage.conf", storage)?));
    environment.push((
        "CONTAINERS_REGISTRIES_CONF",
        write("registries.conf", String::new())?,
    ));
    environment.push(("CONTAINERS_CONF", dir.join("containers.conf").into()));
    let text = settings(podman, dir, &environment);
    write("containers.conf", text)?;
    Ok(environment)
}

fn settings(podman: &Podman, dir: &Path, environment: &[(&'static str, OsString)]) -> String {
    let shown = dir.display();
    let environment: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("\"{name}={}\"", value.to_string_lossy()))
        .collect();
    // The two limits: podman would ask for more than it may have where root is not almighty.
    let (files, processes) = (most(Resource::Nofile), most(Resource::Nproc));
    let mut text = format!(
        "[containers]\n\
         default_ulimits = [\"nofile={files}:{files}\", \"nproc={processes}:{processes}\"]\n\
         [network]\n\
         network_backend = \"netavark\"\n\
         network_config_dir = \"{shown}/networks\"\n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"file\"\n\
         events_logfile_path = \"{shown}/{EVENTS}\"\n\
         conmon_env_vars = [{}]\n",
        environment.join(", ")
    );
    if let Some(helpers) = podman.helpers() {
        let helpers = helpers.display();
        text += &format!(
            "runtime = \"runc\"\n\
             conmon_path = [\"{helpers}/conmon\"]\n\
             helper_binaries_dir = [\"{helpers}\"]\n\
             [engine.runtimes]\n\
             runc = [\"{helpers}/runc\"]\n"
        );
    }
    text
}

/// As many as this process may have, or what podman itself would ask for.
fn most(resource: Resource) -> u64 {
    getrlimit(resource).maximum.unwrap_or(1 << 20).min(1 << 20)
}

/// Removes the control groups of these containers and pods, and podman's own. Those that hold a
/// process, or another group, stay.
fn remove_control_groups(dir: &Path, ids: &BTreeSet<String>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        remove_control_groups(&path, ids);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let id = name.rsplit('-').next().unwrap_or_default();
        if ids.contains(id) || path.ends_with("libpod_parent/conmon") || name == "libpod_parent" {
            let _ = fs::remove_dir(&path);
        }
    }
}

//! A server process: its output kept, its readiness awaited, its end certain.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, kill_process};
use tokio::time::sleep;

pub use rustix::process::Signal;

use crate::tools::Program;

/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(10);
/// The newest lines of output that are kept.
const LOG_LINES: usize = 20_000;
/// The lines that an error carries.
const TAIL_LINES: usize = 20;

/// A running child process. It is killed and reaped when dropped, by a panic, too; and the
/// kernel kills it when this process ends without that.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `program`; `configure` adds arguments and environment. `name` is what
    /// messages call it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(
        name: &str,
        program: &Program,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        Self::spawn_watched(name, program, configure, |_| {})
    }

    /// [`Process::spawn`], with each line of output also given to `on_line`, on a thread of
    /// its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_watched(
        name: &str,
        program: &Program,
        configure: impl FnOnce(&mut Command),
        on_line: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut command = ends_with_us(program);
        configure(&mut command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn_on_lasting_thread(command)
            .with_context(|| format!("{name} cannot be started"))?;

        let log = Arc::new(Log {
            lines: Mutex::default(),
            on_line: Box::new(on_line),
        });
        let mut readers = Vec::new();
        if let Some(output) = child.stdout.take() {
            readers.push(Log::collect(&log, output));
        }
        if let Some(output) = child.stderr.take() {
            readers.push(Log::collect(&log, output));
        }
        Ok(Self {
            name: name.to_owned(),
            child: Mutex::new(child),
            log,
            readers,
        })
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When the process ends first or `limit` passes; with the last lines that it wrote.
    pub async fn ready(&self, limit: Duration, ready: impl AsyncFn() -> bool) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                self.output_end().await;
                bail!("{} ended ({status}):\n{}", self.name, self.log.tail());
            }
            if ready().await {
                return Ok(());
            }
            if started.elapsed() > limit {
                bail!(
                    "{} was not ready after {limit:?}:\n{}",
                    self.name,
                    self.log.tail()
                );
            }
            sleep(POLL).await;
        }
    }

    /// Waits until a line of output contains `text`; lines already written count.
    ///
    /// # Errors
    /// As [`Process::ready`].
    pub async fn line(&self, text: &str, limit: Duration) -> Result<String> {
        self.ready(limit, async || self.log.find(text).is_some())
            .await?;
        self.log.find(text).context("the line is gone")
    }

    /// The operating system's id.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Sends a signal. One to a process that has already ended does nothing.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child();
        // Until it is reaped, which only happens under this lock, its id is nobody else's.
        if child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&child), signal)?;
        }
        Ok(())
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// The processor time that its threads have used so far, user and system.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn cpu_time(&self) -> Result<Duration> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            // A thread may end meanwhile.
            let Ok(stat) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let running = stat.split(' ').next().context("an empty schedstat")?;
            nanos += running.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Its exit status, once it has ended.
    ///
    /// # Errors
    /// When the system refuses to say.
    pub fn exited(&self) -> Result<Option<ExitStatus>> {
        Ok(self.child().try_wait()?)
    }

    /// Waits for its end, and for the last line of its output.
    ///
    /// # Errors
    /// When it is still running after `limit`.
    pub async fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                self.output_end().await;
                return Ok(status);
            }
            if started.elapsed() > limit {
                bail!("{} did not end within {limit:?}", self.name);
            }
            sleep(POLL).await;
        }
    }

    /// The newest lines of its output, standard output and error together.
    pub fn log(&self) -> Vec<String> {
        self.log.lines().iter().cloned().collect()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn output_end(&self) {
        // Bounded: a grandchild could hold the pipe open.
        for _ in 0..100 {
            if self.readers.iter().all(JoinHandle::is_finished) {
                return;
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Log {
    lines: Mutex<VecDeque<String>>,
    on_line: Box<dyn Fn(&str) + Send + Sync>,
}

impl Log {
    /// Reads on a thread, so that a process never waits for a busy test to take its output.
    fn collect(log: &Arc<Self>, output: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = Arc::clone(log);
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line);
                log.push(text.trim_end());
                line.clear();
            }
        })
    }

    fn push(&self, line: &str) {
        (self.on_line)(line);
        let mut lines = self.lines();
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, text: &str) -> Option<String> {
        self.lines()
            .iter()
            .find(|line| line.contains(text))
            .cloned()
    }

    fn tail(&self) -> String {
        let lines = self.lines();
        let skipped = lines.len().saturating_sub(TAIL_LINES);
        let tail: Vec<&str> = lines.iter().skip(skipped).map(String::as_str).collect();
        tail.join("\n")
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("lines", &self.lines().len())
            .finish()
    }
}

/// A command whose process the kernel kills when the thread that started it ends. `setpriv`
/// (part of every Debian) asks for that and then becomes the program, under the same id.
fn ends_with_us(program: &Program) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return program.command();
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"].map(OsStr::new));
    command.args(program.words());
    command
}

/// Starts it on a thread that lasts as long as this process: the thread of a test, or of a
/// runtime's pool, may end sooner than the child should.
fn spawn_on_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static JOBS: OnceLock<mpsc::Sender<Job>> = OnceLock::new();

    let jobs = JOBS.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    jobs.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

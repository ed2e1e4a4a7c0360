//! A whole agent, from what was typed to its exit code.

use std::convert::Infallible;
use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Arg, CommandFactory};
use spop_server::admin::{Admin, Counters, Exposition, PROMETHEUS};
use spop_server::{Actions, Config, Notify, ServeError, claim_inherited};
use tower_service::Service;
use tracing::warn;

use crate::environment::unknown_settings;
use crate::log::{self, Log};
use crate::options::{Command, Options};
use crate::serve::{Listening, runtime};
use crate::traces::Traces;
use crate::{healthcheck, listen};

/// For an agent's `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 after a clean stop, 1 for a failure while serving and \
                              for an agent that is not healthy, 2 for a bad setting or file.";

/// An agent that is ready to listen.
#[must_use = "it does nothing until it is run"]
pub struct Agent {
    serve: Serve,
    config: Config,
    version: Option<&'static str>,
    start: String,
    metrics: Box<dyn Fn(&mut Exposition) + Send + Sync>,
}

/// [`Listening::serve`], with a service whose type is forgotten.
type Serve = Box<dyn FnOnce(Listening, Config, Admin, Log, String) -> Serving + Send>;

type Serving = Pin<Box<dyn Future<Output = Result<(), ServeError>>>>;

impl Agent {
    /// One that answers what `service` says: a [`Router`](spop_server::Router), which the engine
    /// asks directly, or layers around one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use spoa_process::Agent;
    /// use spop_server::layer::{DeadlineLayer, RescueLayer, TraceLayer};
    /// use spop_server::{Actions, FailurePolicy, Request, Router};
    /// use tower::ServiceBuilder;
    ///
    /// async fn check(_request: Request) -> Actions {
    ///     Actions::new()
    /// }
    ///
    /// let stack = ServiceBuilder::new()
    ///     .layer(TraceLayer::new())
    ///     .layer(RescueLayer::new(FailurePolicy::default()))
    ///     .layer(DeadlineLayer::new(Duration::from_millis(8)))
    ///     .service(Router::new().message("check-ip", check));
    /// let agent = Agent::new(stack);
    /// # let _ = agent;
    /// ```
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let serve = |listening: Listening, config, admin, log, start: String| -> Serving {
            Box::pin(async move { listening.serve(service, config, admin, log, &start).await })
        };
        Self {
            serve: Box::new(serve),
            config: Config::new(),
            version: None,
            start: String::new(),
            metrics: Box::new(|_| {}),
        }
    }

    /// The engine's limits. Its observer and lame duck are not looked at.
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Its version, `env!("CARGO_PKG_VERSION")`, to be shown on `/metrics` as `build_info`.
    pub fn with_version(mut self, version: &'static str) -> Self {
        self.version = Some(version);
        self
    }

    /// Lines to announce at the start, behind those that every agent has. These begin with two
    /// spaces.
    pub fn with_start(mut self, lines: impl fmt::Display) -> Self {
        self.start = format!("\n{lines}");
        self
    }

    /// What to show on `/metrics` beside the engine's counters. Called, when somebody asks, on a
    /// thread where it may take its time.
    pub fn with_metrics(
        mut self,
        metrics: impl Fn(&mut Exposition) + Send + Sync + 'static,
    ) -> Self {
        self.metrics = Box::new(metrics);
        self
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("config", &self.config)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// Why a process ends, and with which code.
struct Failure(Box<dyn Error + Send + Sync>, u8);

impl Failure {
    /// Before there was an agent: it is for the operator to mend.
    fn at_start(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into(), 2)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self(error.into(), 1)
    }
}

/// Does what was typed: asks a running agent whether it is healthy, or serves what `prepare`
/// makes until SIGTERM or SIGINT. From `main`, outside any runtime.
///
/// `A` is what [`parse`](crate::parse) read, with `options` in it. A variable of the environment
/// that begins with `SPOE_` or `SPOA_` and is none of its settings gets a warning at the start.
///
/// `prepare` runs before anything listens, inside the runtime that will serve, and may start
/// tasks there; what it announces later goes to the log that it is given. What it fails with is
/// printed as one line, each error with the one behind it, and the exit code is 2.
///
/// Lines for operators begin with `name`, the agent's: letters, digits, `-` and `_`. Metrics are
/// named after it: `my-agent` has `my_agent_spop_notifies_total`.
pub fn run<A: CommandFactory>(
    name: &str,
    options: Options,
    prepare: impl AsyncFnOnce(Log) -> Result<Agent, Box<dyn Error + Send + Sync>>,
) -> ExitCode {
    // While this is the only thread.
    claim_inherited();
    let ended = match options.command {
        Some(Command::Healthcheck) => match healthcheck(&options.spoe_addr, "--spoe-addr") {
            Ok(line) => {
                // The exit code says it to who does not read.
                let _ = writeln!(io::stdout(), "{line}");
                Ok(())
            }
            Err(unhealthy) => Err(Failure(unhealthy.into(), 1)),
        },
        None => match runtime(options.tokio_worker_threads.into()) {
            Ok(runtime) => {
                let ended = runtime.block_on(serve::<A>(name, options, prepare));
                // A file system or a resolver that hangs is not waited for.
                runtime.shutdown_background();
                ended
            }
            Err(error) => Err(Failure::at_start(format!(
                "cannot start the runtime with TOKIO_WORKER_THREADS={}: {error}",
                options.tokio_worker_threads
            ))),
        },
    };
    let Err(Failure(error, code)) = ended else {
        log::flush();
        return ExitCode::SUCCESS;
    };
    log::end_with(&format!("{name}: {}", Chain(&*error)));
    ExitCode::from(code)
}

async fn serve<A: CommandFactory>(
    name: &str,
    options: Options,
    prepare: impl AsyncFnOnce(Log) -> Result<Agent, Box<dyn Error + Send + Sync>>,
) -> Result<(), Failure> {
    let started = SystemTime::now();
    let traces = Traces::from_env(name).map_err(Failure::at_start)?;
    let log = log::start_with(&options.rust_log, options.spoa_log_format, &traces);
    warn_of_unknown_settings(name, &A::command());
    let agent = prepare(log).await.map_err(Failure::at_start)?;
    let listening = listen(&options.spoe_addr, &options.admin_addr())
        .await
        .map_err(Failure::at_start)?
        .with_traces(traces);
    let mut start = format!(
        "spoe agent listening on {}\n  TOKIO_WORKER_THREADS  {}\n  RUST_LOG              {}{}",
        listening.addr(),
        options.tokio_worker_threads,
        options.rust_log,
        agent.start,
    );
    if let Some(addr) = listening.admin_addr() {
        start += &format!("\nmetrics at http://{addr}/metrics");
    }
    let counters = Arc::new(Counters::default());
    let config = agent.config.with_observer(counters.clone());
    let config = config.with_lame_duck(options.lame_duck());
    let prefix = name.replace('-', "_");
    let metrics = move || {
        let mut page = Exposition::new(&*prefix);
        page.start_time(started);
        if let Some(version) = agent.version {
            let version = [([("version", version)], 1)];
            page.gauge("build_info", "The version, as a label.", version);
        }
        (agent.metrics)(&mut page);
        page.text() + &counters.text(&prefix)
    };
    let admin = listening.admin().page("/metrics", PROMETHEUS, metrics);
    let served = (agent.serve)(listening, config, admin, log, start);
    Ok(served.await?)
}

fn warn_of_unknown_settings(name: &str, command: &clap::Command) {
    let settings = command.get_arguments().filter_map(Arg::get_env);
    let settings: Vec<&str> = settings.filter_map(OsStr::to_str).collect();
    for unknown in unknown_settings(&["SPOE_", "SPOA_"], &settings) {
        warn!("{unknown} is set but is no setting of {name}; see {name} --help");
    }
}

/// An error and what is behind it, in one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut behind = self.0.source();
        while let Some(error) = behind {
            write!(f, ": {error}")?;
            behind = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with another one behind it.
    #[derive(Debug, thiserror::Error)]
    #[error("the file cannot be used")]
    struct Outer(#[from] io::Error);

    #[test]
    fn an_error_is_shown_with_those_behind_it() {
        let error = Outer(io::Error::other("no reason"));
        assert_eq!(
            Chain(&error).to_string(),
            "the file cannot be used: no reason"
        );
    }
}

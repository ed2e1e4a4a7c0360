//! A primary as the lanes see it: its pool of connections, and whether it is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bb8::ManageConnection;
use bb8_redis::RedisConnectionManager;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{ConnectionInfo, RedisError};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::config::Config;
use super::layout::host_of;
use super::script::{ALL, ONE};

/// How long a connection may take to be made, handshake and script included.
pub(super) const CONNECT: Duration = Duration::from_millis(250);
/// Unacknowledged data for this long breaks the connection, whatever TCP still hopes for.
const USER_TIMEOUT: Duration = Duration::from_millis(500);
/// An idle connection is probed after this long, and again at this interval.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// One primary: a pool with a connection for each of its lanes.
#[derive(Debug)]
pub(super) struct Primary {
    /// `host:port`, for texts and as its identity.
    pub(super) name: Arc<str>,
    /// The host alone, which redirections may leave out.
    pub(super) host: Box<str>,
    pool: bb8::Pool<Connector>,
    failures: Failures,
    health: AtomicU8,
}

/// A connection for as long as its lane keeps it.
pub(super) type PooledLink = bb8::PooledConnection<'static, Connector>;

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

impl Primary {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// If redis-rs refuses the address.
    pub(super) fn new(info: &ConnectionInfo, config: &Config) -> Result<Self, RedisError> {
        let connector = Connector {
            manager: RedisConnectionManager::new(info.clone())?,
            budget: config.budget,
        };
        let failures = Failures(watch::Sender::default());
        let pool = bb8::Pool::builder()
            .max_size(u32::try_from(config.lanes).unwrap_or(u32::MAX))
            // A lane keeps its connection for as long as that works, and says when it does
            // not: nothing to test at a checkout, and nothing idle to reap.
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            // The lane retries by itself, at its own pace.
            .retry_connection(false)
            .connection_timeout(CONNECT)
            .error_sink(Box::new(failures.clone()))
            .build_unchecked(connector);
        Ok(Self {
            name: info.addr().to_string().into(),
            host: host_of(info).into(),
            pool,
            failures,
            health: AtomicU8::new(UNKNOWN),
        })
    }

    /// A connection for a lane to keep.
    ///
    /// # Errors
    /// The reason as text, as soon as connecting fails, or after [`CONNECT`].
    pub(super) async fn connect(&self) -> Result<PooledLink, Arc<str>> {
        // bb8 hands a failure to its error sink and lets whoever waits wait on.
        let mut failure = self.failures.0.subscribe();
        let link = tokio::select! {
            link = self.pool.get_owned() => link.map_err(|_timed_out| "no answer to connecting".into()),
            Ok(()) = failure.changed() => Err(failure.borrow_and_update().clone()),
        }?;
        if self.health.swap(UP, Ordering::Relaxed) != UP {
            info!(node = %self.name, "connected to Valkey");
        }
        Ok(link)
    }

    /// Takes note that it does not answer; says so once.
    pub(super) fn lost(&self, reason: &str) {
        if self.health.swap(DOWN, Ordering::Relaxed) != DOWN {
            warn!(node = %self.name, reason, "Valkey does not answer; its clients are on the failure policy");
        }
    }
}

/// bb8-redis's manager, and what a lane needs beyond it: the scripts are there before the
/// first check, answers are not waited for longer than the budget, and a connection that
/// its lane found broken is not handed out again.
#[derive(Debug)]
pub(super) struct Connector {
    manager: RedisConnectionManager,
    budget: Duration,
}

/// A connection and its lane's verdict on it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    pub(super) broken: bool,
}

impl ManageConnection for Connector {
    type Connection = Link;
    type Error = RedisError;

    async fn connect(&self) -> Result<Link, RedisError> {
        let connecting = async {
            let mut connection = self.manager.connect().await?;
            for script in [&*ONE, &*ALL] {
                match script.load_async(&mut connection).await {
                    // A user without the right to load still has the right to EVAL.
                    Err(error) if error.code().is_none() => return Err(error),
                    _ => {}
                }
            }
            connection.set_response_timeout(self.budget);
            Ok(Link {
                connection,
                broken: false,
            })
        };
        timeout(CONNECT, connecting)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
            })
    }

    async fn is_valid(&self, link: &mut Link) -> Result<(), RedisError> {
        self.manager.is_valid(&mut link.connection).await
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        link.broken
    }
}

/// Where bb8 leaves the reason that a connection could not be made.
#[derive(Debug, Clone)]
struct Failures(watch::Sender<Arc<str>>);

impl bb8::ErrorSink<RedisError> for Failures {
    fn sink(&self, error: RedisError) {
        self.0.send_replace(reason(&error).into());
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}

/// What an error says that may be logged: of a server's error only the code.
pub(super) fn reason(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("answered {code}"),
        None if error.is_io_error() => error.to_string(),
        None => error.category().to_owned(),
    }
}

/// The socket options that a decision within milliseconds needs.
pub(super) fn with_socket_options(info: ConnectionInfo) -> ConnectionInfo {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    let settings = TcpSettings::default()
        // Without it, a batch waits for the acknowledgement of the one before.
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    info.set_tcp_settings(settings)
}

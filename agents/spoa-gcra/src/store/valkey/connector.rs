//! How a connection to a primary is made, and what makes it fit for decisions within
//! milliseconds.
//!
//! | setting | value | why |
//! |---|---|---|
//! | `TCP_NODELAY` | on | else a batch waits for the acknowledgement of the one before |
//! | response timeout | the budget | what is not answered by then is not waited for |
//! | `TCP_USER_TIMEOUT` | 500 ms (Linux) | a cable that was cut ends the connection, not TCP's patience of 15 minutes; the watchdog has left it long before |
//! | keepalive | after 5 s, every 5 s | the kernel of a host that is gone answers nothing; again, only if the watchdog does not run |
//! | connect | 250 ms in all | name, TCP, TLS, credentials and scripts |
//!
//! A connection counts as made when the server has the scripts and has answered a `PING`
//! within the budget: a server that is too slow for checks is no better than none.

use std::sync::Arc;
use std::time::Duration;

use bb8::ManageConnection;
use bb8_redis::RedisConnectionManager;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{ConnectionInfo, RedisError, cmd};
use tokio::sync::watch;
use tokio::time::timeout;

use super::config::Config;
use super::script::Call;

/// How long a connection may take to be made, handshake and script included.
pub(super) const CONNECT: Duration = Duration::from_millis(250);
/// Unacknowledged data for this long breaks the connection, whatever TCP still hopes for.
const USER_TIMEOUT: Duration = Duration::from_millis(500);
/// An idle connection is probed after this long, and again at this interval.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A connection for as long as its lane keeps it.
pub(super) type PooledLink = bb8::PooledConnection<'static, Connector>;

/// The connections to one primary: one for each of its lanes.
#[derive(Debug)]
pub(super) struct Connections {
    pool: bb8::Pool<Connector>,
    failures: Failures,
}

impl Connections {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// If redis-rs refuses the address.
    pub(super) fn new(info: &ConnectionInfo, config: &Config) -> Result<Self, RedisError> {
        let connector = Connector {
            manager: RedisConnectionManager::new(info.clone())?,
            budget: config.budget,
            call: config.call,
        };
        let failures = Failures(watch::Sender::default());
        let pool = bb8::Pool::builder()
            .max_size(u32::try_from(config.lanes).unwrap_or(u32::MAX))
            // A lane keeps its connection for as long as that works, and says when it does
            // not: nothing to test at a checkout, and nothing idle to reap.
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(None)
            // When to try again is the breaker's to say.
            .retry_connection(false)
            // The connector ends by itself, and says why.
            .connection_timeout(2 * CONNECT)
            .error_sink(Box::new(failures.clone()))
            .build_unchecked(connector);
        Ok(Self { pool, failures })
    }

    /// Makes one. Only one may be in the making at a time.
    ///
    /// # Errors
    /// The reason as text, as soon as connecting fails, or after [`CONNECT`].
    pub(super) async fn make(&self) -> Result<PooledLink, Arc<str>> {
        // bb8 hands a failure to its error sink and lets whoever waits wait on.
        let mut failure = self.failures.0.subscribe();
        tokio::select! {
            link = self.pool.get_owned() => link.map_err(|_timed_out| "no answer to connecting".into()),
            Ok(()) = failure.changed() => Err(failure.borrow_and_update().clone()),
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
    call: Call,
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
            self.call.provide(&mut connection).await?;
            connection.set_response_timeout(self.budget);
            answers(&mut connection).await?;
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

/// Whether the server answers within the connection's response timeout. A user without the
/// right to `PING` is answered, too.
///
/// # Errors
/// If it does not, or if the connection is gone.
pub(super) async fn answers(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    match connection.send_packed_command(&cmd("PING")).await {
        Err(error) if error.code().is_none() => Err(error),
        _ => Ok(()),
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

/// The socket options of the table above.
pub(super) fn with_socket_options(info: ConnectionInfo) -> ConnectionInfo {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    info.set_tcp_settings(settings)
}

//! Why [`serve`](crate::serve()) ends other than by a shutdown.

use spop_codec::ConfigError;

/// The engine cannot run. Connections and handlers never cause this.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A protocol setting is outside its range.
    #[error("a setting is out of range: {0}")]
    Config(#[from] ConfigError),
    /// [`Config::with_max_connections`](crate::Config::with_max_connections) is zero.
    #[error("the limit of connections is 0, not 1 or more")]
    NoConnections,
    /// [`Config::with_max_in_flight`](crate::Config::with_max_in_flight) is below 20.
    #[error("the limit of waiting handlers is {0}, not 20 or more")]
    MaxInFlight(usize),
    /// The listening socket is unusable.
    #[error("the listening socket: {0}")]
    Listener(#[from] std::io::Error),
}

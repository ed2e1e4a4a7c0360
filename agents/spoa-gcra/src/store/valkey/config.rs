//! The few numbers that a Valkey store is set up with.

use std::time::Duration;

use redis::ConnectionInfo;

use super::error::ConfigError;
use super::script::Call;
use crate::gcra::MAX_MICROS;

/// The most connections to one primary.
pub const MAX_LANES: usize = 64;
/// The most checks in one pipeline.
pub const MAX_BATCH: usize = 4096;
/// The most pipelines on their way on one connection.
pub const MAX_PIPELINES: usize = 1024;
/// The longest that a key may be kept: as long as the longest burst.
pub const MAX_TTL: Duration = Duration::from_micros(MAX_MICROS);
/// The longest budget.
pub const MAX_BUDGET: Duration = Duration::from_secs(60);

/// How the store uses its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Connections to each primary, each with a task of its own: 1 to [`MAX_LANES`]. One
    /// carries about 100 000 checks a second; more cost the server more reads and writes.
    pub lanes: usize,
    /// The most checks in one pipeline, 1 to [`MAX_BATCH`]. Equal ones among them are decided
    /// by one run of the script.
    pub batch: usize,
    /// The most pipelines that wait for answers on one connection, 1 to [`MAX_PIPELINES`].
    pub pipelines: usize,
    /// How a server is told which script to run.
    pub call: Call,
    /// The longest that a client's state is kept, 1 ms to [`MAX_TTL`]. State is kept for as
    /// long as it matters, at most for the burst of the quota; a cap below that forgets
    /// debts early and so admits more than the limit.
    pub ttl: Duration,
    /// How long a node may take to answer, 1 ms to [`MAX_BUDGET`]. Nobody waits longer for
    /// a check than its own deadline; this frees what waits for the node's answer.
    pub budget: Duration,
}

/// One connection to a primary, 8 pipelines of 64 checks on it, state kept for at most 1800 s,
/// 8 ms to answer.
impl Default for Config {
    fn default() -> Self {
        Self {
            lanes: 1,
            batch: 64,
            pipelines: 8,
            call: Call::EvalSha,
            ttl: Duration::from_secs(1800),
            budget: Duration::from_millis(8),
        }
    }
}

impl Config {
    pub(super) fn validate(&self, nodes: &[ConnectionInfo]) -> Result<(), ConfigError> {
        if nodes.is_empty() {
            return Err(ConfigError::NoNodes);
        }
        if let Some(node) = nodes.iter().find(|node| !node.addr().is_supported()) {
            return Err(ConfigError::Unsupported(node.addr().to_string()));
        }
        if !(1..=MAX_LANES).contains(&self.lanes) {
            return Err(ConfigError::Lanes(self.lanes));
        }
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return Err(ConfigError::Batch(self.batch));
        }
        if !(1..=MAX_PIPELINES).contains(&self.pipelines) {
            return Err(ConfigError::Pipelines(self.pipelines));
        }
        let shortest = Duration::from_millis(1);
        if !(shortest..=MAX_TTL).contains(&self.ttl) {
            return Err(ConfigError::Ttl(self.ttl));
        }
        if !(shortest..=MAX_BUDGET).contains(&self.budget) {
            return Err(ConfigError::Budget(self.budget));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(url: &str) -> ConnectionInfo {
        url.parse().unwrap()
    }

    #[test]
    fn the_default_is_valid() {
        let nodes = [node("redis://127.0.0.1:6379")];
        assert_eq!(Config::default().validate(&nodes), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let nodes = [node("redis://127.0.0.1:6379")];
        let check = |config: Config| config.validate(&nodes).unwrap_err().to_string();
        let default = Config::default();

        assert_eq!(default.validate(&[]), Err(ConfigError::NoNodes));
        for lanes in [0, MAX_LANES + 1] {
            assert!(check(Config { lanes, ..default }).starts_with(&format!("{lanes} conn")));
        }
        for batch in [0, MAX_BATCH + 1] {
            assert!(check(Config { batch, ..default }).starts_with(&format!("{batch} checks")));
        }
        for pipelines in [0, MAX_PIPELINES + 1] {
            let said = check(Config {
                pipelines,
                ..default
            });
            assert!(said.starts_with(&format!("{pipelines} pipelines")));
        }
        for ttl in [Duration::ZERO, MAX_TTL + Duration::from_millis(1)] {
            assert!(check(Config { ttl, ..default }).starts_with("a key's life of"));
        }
        for budget in [Duration::from_micros(999), Duration::from_secs(61)] {
            assert!(check(Config { budget, ..default }).starts_with("a budget of"));
        }
    }
}

//! Why a check got no answer from Valkey, and why a store cannot be set up.

use std::sync::Arc;
use std::time::Duration;

use super::config::{MAX_BATCH, MAX_BUDGET, MAX_LANES, MAX_PIPELINES, MAX_TTL};
use crate::store::failure::NoVerdict;

/// Why a check got no decision. None of these says anything about the client: the failure
/// policy decides instead.
///
/// Nodes are named as the server advertises them (`10.0.0.5:6379`). Texts carry no key and
/// nothing else from a request, and of a server's error only its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No configured node has answered yet, so nobody is known to ask.
    #[error("no Valkey node has answered yet")]
    NoTopology,
    /// The cluster's slot map has a hole where this client's key belongs.
    #[error("no Valkey primary serves this client's hash slot")]
    NoPrimary,
    /// The queue to this node is full.
    #[error("Valkey {node}: too many checks are waiting")]
    Overloaded {
        /// The node whose queue it is.
        node: Arc<str>,
    },
    /// The node's breaker is open: it cannot be connected to or did not answer. The check was
    /// not sent.
    #[error("Valkey {node}: not connected")]
    Unreachable {
        /// The node that cannot be reached.
        node: Arc<str>,
    },
    /// The connection broke with the check on it. It may have been counted.
    #[error("Valkey {node}: the connection was lost")]
    ConnectionLost {
        /// The node at the other end.
        node: Arc<str>,
    },
    /// The node took longer than the budget. The check may be counted later.
    #[error("Valkey {node}: no answer within the budget")]
    NoAnswer {
        /// The node that was asked.
        node: Arc<str>,
    },
    /// The deadline passed before the check was sent. It was not counted.
    #[error("Valkey {node}: the deadline passed before the check was sent")]
    Deadline {
        /// The node that it was meant for.
        node: Arc<str>,
    },
    /// The node answered with an error.
    #[error("Valkey {node}: answered with the error {code}")]
    Refused {
        /// The node that answered.
        node: Arc<str>,
        /// The error's code, its first word: `READONLY`, `OOM`, `NOPERM`, …
        code: Arc<str>,
    },
    /// The node sent the check to one that is not connected yet, or the check was sent on
    /// too often. The slot map is being refreshed.
    #[error("Valkey {node}: this client's hash slot is moving")]
    Moving {
        /// The node that sent the check on last.
        node: Arc<str>,
    },
    /// The node answered with something that the script does not answer.
    #[error("Valkey {node}: an answer that is not a number")]
    Malformed {
        /// The node that answered.
        node: Arc<str>,
    },
    /// The store is shutting down.
    #[error("the Valkey store is closed")]
    Closed,
}

impl NoVerdict for StoreError {
    fn is_late(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Deadline { .. })
    }
}

#[cfg(feature = "otel")]
impl StoreError {
    /// A word for it, for traces.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::NoTopology => "no-topology",
            Self::NoPrimary => "no-primary",
            Self::Overloaded { .. } => "overloaded",
            Self::Unreachable { .. } => "unreachable",
            Self::ConnectionLost { .. } => "connection-lost",
            Self::NoAnswer { .. } => "no-answer",
            Self::Deadline { .. } => "deadline",
            Self::Refused { .. } => "refused",
            Self::Moving { .. } => "moving",
            Self::Malformed { .. } => "malformed",
            Self::Closed => "closed",
        }
    }
}

/// Why a [`Config`](super::Config) or the list of nodes cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No node to start from.
    #[error("at least one Valkey node is needed")]
    NoNodes,
    /// An address of a kind that this build cannot connect to.
    #[error("{0}: this build has no support for that kind of address")]
    Unsupported(String),
    /// Connections per primary out of range.
    #[error("{0} connections per primary: must be 1 to {MAX_LANES}")]
    Lanes(usize),
    /// Checks per pipeline out of range.
    #[error("{0} checks per pipeline: must be 1 to {MAX_BATCH}")]
    Batch(usize),
    /// Pipelines on their way out of range.
    #[error("{0} pipelines on a connection: must be 1 to {MAX_PIPELINES}")]
    Pipelines(usize),
    /// The longest life of a key out of range.
    #[error("a key's life of {0:?}: must be 1 ms to {MAX_TTL:?}")]
    Ttl(Duration),
    /// The budget out of range.
    #[error("a budget of {0:?}: must be 1 ms to {MAX_BUDGET:?}")]
    Budget(Duration),
}

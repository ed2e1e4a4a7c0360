//! Why a NOTIFY, or one message of it, has no answer of its handler, and what it gets then.

use std::fmt;
use std::sync::Arc;

use spop_codec::Actions;

/// Why something is answered by a [`FailurePolicy`] instead of by its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The handler did not answer in time
    /// ([`Config::with_handler_timeout`](crate::Config::with_handler_timeout), or a layer's).
    Deadline,
    /// The handler panicked.
    Panic,
    /// The handler set a variable that HAProxy would not accept
    /// ([`spop_codec::ActionError`]).
    VoidActions,
    /// The answer exceeds what HAProxy can take
    /// ([`AgentConfig::with_max_ack_size`](spop_codec::AgentConfig::with_max_ack_size)).
    AckTooBig,
    /// Too many handlers were waiting already
    /// ([`Config::with_max_in_flight`](crate::Config::with_max_in_flight), or a layer's limit).
    Overload,
    /// The handler, or a layer above it, returned an error.
    Error,
    /// The message's arguments were not what the handler takes.
    Rejected,
}

impl Failure {
    /// A word for it, for logs and metrics: `deadline`, `panic`, `void-actions`,
    /// `ack-too-big`, `overload`, `error`, `rejected`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Panic => "panic",
            Self::VoidActions => "void-actions",
            Self::AckTooBig => "ack-too-big",
            Self::Overload => "overload",
            Self::Error => "error",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What HAProxy gets when a handler gives nothing usable. It gets an ACK in any case; this is
/// what the ACK carries. The default is nothing.
///
/// ```
/// use spop_server::{Actions, Failure, FailurePolicy, Scope};
///
/// let closed = FailurePolicy::actions(Actions::new().set_var(Scope::Session, "ip_score", 100));
/// assert_eq!(closed.answer(Failure::Panic).iter().count(), 1);
///
/// let told = FailurePolicy::from_fn(|failure| {
///     Actions::new().set_var(Scope::Transaction, "failure", failure.as_str())
/// });
/// assert_eq!(told.answer(Failure::Deadline).iter().count(), 1);
/// ```
#[derive(Clone, Default)]
pub struct FailurePolicy(Option<Arc<dyn Fn(Failure) -> Actions + Send + Sync>>);

impl FailurePolicy {
    /// No actions: HAProxy finds none of the variables set.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// The same actions for each failure.
    pub fn actions(actions: Actions) -> Self {
        Self::from_fn(move |_| actions.clone())
    }

    /// Actions by failure. The function must not block; what it returns is sent as it is, or
    /// not at all if HAProxy could not take it.
    pub fn from_fn(actions: impl Fn(Failure) -> Actions + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(actions)))
    }

    /// The actions for `failure`.
    pub fn answer(&self, failure: Failure) -> Actions {
        self.0
            .as_ref()
            .map_or_else(Actions::new, |actions| actions(failure))
    }
}

impl fmt::Debug for FailurePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "FailurePolicy::empty",
            Some(_) => "FailurePolicy",
        })
    }
}

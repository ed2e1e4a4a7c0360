//! Why a handler has no actions.

use std::error::Error;
use std::fmt;

use tower::BoxError;

use crate::failure::Failure;

/// What a handler's `Err`, or arguments that did not fit, became. The
/// [`FailurePolicy`](crate::FailurePolicy) of the [`Router`](crate::Router) answers it, and
/// the log says it: once per route as a warning, then at debug level.
///
/// Handlers rarely name it: what they return as `Err` becomes one, and `?` in a handler that
/// returns `Result<Actions, BoxError>` takes any error. One that wants to say that it was asked
/// wrongly returns [`rejected`](Self::rejected), which a [`BoxError`] can hold, too:
///
/// ```
/// use spop_server::{Actions, HandlerError, Request, Router, Scope};
/// use tower::BoxError;
///
/// async fn check(request: Request) -> Result<Actions, BoxError> {
///     let path = request.arg("path").to_text();
///     let path = path.ok_or_else(|| HandlerError::rejected("no path"))?;
///     let depth: i64 = path.to_str()?.matches('/').count().try_into()?;
///     Ok(Actions::new().set_var(Scope::Transaction, "depth", depth))
/// }
///
/// let router: Router = Router::new().message("check-path", check);
/// ```
#[derive(Debug)]
pub struct HandlerError {
    failure: Failure,
    error: BoxError,
}

impl HandlerError {
    /// The handler, or a layer around it, failed: what [`Failure::of`] says, mostly
    /// [`Failure::Error`]. If `error` is an [`ArgsError`](crate::guide::typed_arguments), it was
    /// asked wrongly: [`Failure::Rejected`]. A `HandlerError` stays what it is.
    pub fn new(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(itself) => *itself,
            Err(error) if is_args_error(&error) => Self::rejected(error),
            Err(error) => Self {
                failure: Failure::of(&*error),
                error,
            },
        }
    }

    /// The message is not what the handler takes: [`Failure::Rejected`].
    pub fn rejected(reason: impl Into<BoxError>) -> Self {
        Self {
            failure: Failure::Rejected,
            error: reason.into(),
        }
    }

    /// What the policy is asked for.
    pub const fn failure(&self) -> Failure {
        self.failure
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for HandlerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

#[cfg(feature = "serde")]
fn is_args_error(error: &BoxError) -> bool {
    error.is::<crate::ArgsError>()
}

#[cfg(not(feature = "serde"))]
const fn is_args_error(_: &BoxError) -> bool {
    false
}

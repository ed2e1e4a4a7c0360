//! What a handler may return.

use spop_codec::Actions;
use tower::BoxError;

use crate::handler::HandlerError;

/// A handler's result, turned into the actions of the ACK.
///
/// * [`Actions`] as they are;
/// * `()` and `None`: no actions;
/// * `Err`: what the [`FailurePolicy`](crate::FailurePolicy) of the
///   [`Router`](crate::Router) says, and a line in the log with the error's text. Keep out of
///   it what clients send.
///
/// An error is whatever converts into a [`BoxError`]: a type that implements
/// [`Error`](std::error::Error), a string, a `BoxError` itself, `anyhow::Error`.
#[diagnostic::on_unimplemented(
    message = "a handler cannot answer with `{Self}`",
    note = "it may answer with `Actions`, `()`, an `Option` of these, or a `Result` of these \
            whose error implements `std::error::Error`, or is a string or a `tower::BoxError`"
)]
pub trait IntoActions {
    /// The actions.
    ///
    /// # Errors
    /// What the handler said instead.
    fn into_actions(self) -> Result<Actions, HandlerError>;
}

impl IntoActions for Actions {
    #[inline]
    fn into_actions(self) -> Result<Actions, HandlerError> {
        Ok(self)
    }
}

impl IntoActions for () {
    fn into_actions(self) -> Result<Actions, HandlerError> {
        Ok(Actions::new())
    }
}

impl<T: IntoActions> IntoActions for Option<T> {
    fn into_actions(self) -> Result<Actions, HandlerError> {
        self.map_or_else(|| Ok(Actions::new()), T::into_actions)
    }
}

impl<T: IntoActions, E: Into<BoxError>> IntoActions for Result<T, E> {
    fn into_actions(self) -> Result<Actions, HandlerError> {
        self.map_err(HandlerError::new)?.into_actions()
    }
}

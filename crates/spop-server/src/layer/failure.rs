//! Failures as errors, and errors as failures: what the layers tell each other.

use std::any::Any;
use std::error::Error;
use std::iter;

use tower::BoxError;
use tower::load_shed::error::Overloaded;

use crate::failure::Failure;
use crate::handler::HandlerError;

/// What the layers of [`layer`](crate::layer) return when they give up on a request.
impl Error for Failure {}

impl Failure {
    /// Which failure an error is. `error` or one of its sources decides:
    ///
    /// | | |
    /// |---|---|
    /// | a [`Failure`] | itself |
    /// | [`HandlerError`] | [its failure](HandlerError::failure) |
    /// | `Elapsed` of [`tower::timeout`] or [`tokio::time`] | [`Failure::Deadline`] |
    /// | `Overloaded` of [`tower::load_shed`] | [`Failure::Overload`] |
    /// | anything else | [`Failure::Error`] |
    ///
    /// ```
    /// use spop_server::Failure;
    ///
    /// let error = tower::timeout::error::Elapsed::new();
    /// assert_eq!(Failure::of(&error), Failure::Deadline);
    /// assert_eq!(Failure::of(&std::fmt::Error), Failure::Error);
    /// ```
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        iter::successors(Some(error), |&error| error.source())
            .find_map(known)
            .unwrap_or(Self::Error)
    }

    /// The same for an error whose type is only known to be some service's.
    pub(super) fn of_any<E: 'static>(error: &E) -> Self {
        let error: &dyn Any = error;
        // A `BoxError` is no `Error` itself, and the one that most stacks have.
        if let Some(boxed) = error.downcast_ref::<BoxError>() {
            return Self::of(boxed.as_ref());
        }
        if let Some(failure) = error.downcast_ref::<Self>() {
            return *failure;
        }
        error
            .downcast_ref()
            .map_or(Self::Error, HandlerError::failure)
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<Failure> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        Some(*failure)
    } else if let Some(error) = error.downcast_ref::<HandlerError>() {
        Some(error.failure())
    } else if error.is::<tower::timeout::error::Elapsed>()
        || error.is::<tokio::time::error::Elapsed>()
    {
        Some(Failure::Deadline)
    } else if error.is::<Overloaded>() {
        Some(Failure::Overload)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `Buffer` wraps the error that ended its service.
    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] BoxError);

    #[test]
    fn the_first_known_error_decides() {
        let of = |error: BoxError| Failure::of(error.as_ref());
        assert_eq!(of("no such luck".into()), Failure::Error);
        assert_eq!(of(Failure::Panic.into()), Failure::Panic);
        assert_eq!(of(Overloaded::new().into()), Failure::Overload);
        let rejected = HandlerError::rejected("no port");
        assert_eq!(of(rejected.into()), Failure::Rejected);
        let wrapped = Wrapped(tower::timeout::error::Elapsed::new().into());
        assert_eq!(of(Wrapped(wrapped.into()).into()), Failure::Deadline);
    }

    #[test]
    fn of_any_type() {
        assert_eq!(
            Failure::of_any(&BoxError::from(Failure::Panic)),
            Failure::Panic
        );
        assert_eq!(Failure::of_any(&Failure::Overload), Failure::Overload);
        assert_eq!(
            Failure::of_any(&HandlerError::rejected("no port")),
            Failure::Rejected
        );
        assert_eq!(Failure::of_any(&"text"), Failure::Error);
    }
}

//! What handlers take as arguments.

#[cfg(feature = "serde")]
mod args;
#[cfg(feature = "serde")]
mod arguments;
#[cfg(feature = "serde")]
mod error;
#[cfg(feature = "serde")]
mod fault;
mod state;
#[cfg(feature = "serde")]
mod value;

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use tower::BoxError;

#[cfg(feature = "serde")]
pub(crate) use args::read;
#[cfg(feature = "serde")]
pub use args::{Args, deserialize_text};
#[cfg(feature = "serde")]
pub use error::{ArgId, ArgsError};
pub use state::{FromRef, State};

use crate::notify::{ConnectionInfo, Request};
use crate::request_ref::RequestRef;

/// An argument of a [`Handler`](crate::Handler), taken out of the request.
///
/// | type | gives |
/// |---|---|
/// | [`Request`] | the message, to keep |
/// | [`Args<T>`](crate::guide::typed_arguments) | its arguments as a `T` (feature `serde`) |
/// | [`State<T>`] | the router's state, or a part of it |
/// | [`Connection`] | the connection it came on |
/// | `Option<E>` | an `E`, `None` if it was rejected |
/// | `Result<E, E::Rejection>` | the same, with the reason |
///
/// Everything is in memory by then, so taking it is synchronous. The order of a handler's
/// arguments has no meaning beyond this: the first that is rejected says why.
///
/// ```
/// use std::net::IpAddr;
///
/// use spop_server::{Actions, FromRequest, RequestRef, Router};
///
/// /// The argument `ip_src`, an address of either family.
/// struct Source(IpAddr);
///
/// impl<S> FromRequest<S> for Source {
///     type Rejection = &'static str;
///
///     fn from_request(request: &RequestRef<'_>, _: &S) -> Result<Self, &'static str> {
///         let ip = request.arg("ip_src").to_ip();
///         ip.map(Self).ok_or("argument \"ip_src\" is no address")
///     }
/// }
///
/// async fn check(Source(ip): Source) -> Actions {
///     Actions::new()
/// }
///
/// let router: Router = Router::new().message("check-ip", check);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    note = "arguments are `Request`, `Args<T>` (feature `serde`), `State<T>`, `Connection`, an \
            `Option` or `Result` of one, or a type of yours that implements `FromRequest`",
    note = "`State<T>` needs a router whose state is a `T`, or has one (`FromRef`)"
)]
pub trait FromRequest<S>: Sized {
    /// Why the request does not have it. Its text goes to the log, so it must hold no byte
    /// that the request came with.
    type Rejection: Into<BoxError>;

    /// Takes it.
    ///
    /// # Errors
    /// The rejection: the handler is not called, and the router's
    /// [`FailurePolicy`](crate::FailurePolicy) answers
    /// [`Failure::Rejected`](crate::Failure::Rejected).
    fn from_request(request: &RequestRef<'_>, state: &S) -> Result<Self, Self::Rejection>;
}

impl<S> FromRequest<S> for Request {
    type Rejection = Infallible;

    fn from_request(request: &RequestRef<'_>, _: &S) -> Result<Self, Infallible> {
        Ok(request.to_request())
    }
}

impl<E: FromRequest<S>, S> FromRequest<S> for Option<E> {
    type Rejection = Infallible;

    fn from_request(request: &RequestRef<'_>, state: &S) -> Result<Self, Infallible> {
        Ok(E::from_request(request, state).ok())
    }
}

impl<E: FromRequest<S>, S> FromRequest<S> for Result<E, E::Rejection> {
    type Rejection = Infallible;

    fn from_request(request: &RequestRef<'_>, state: &S) -> Result<Self, Infallible> {
        Ok(E::from_request(request, state))
    }
}

/// The connection a message came on.
#[derive(Debug, Clone)]
pub struct Connection(pub Arc<ConnectionInfo>);

impl Deref for Connection {
    type Target = ConnectionInfo;

    fn deref(&self) -> &ConnectionInfo {
        &self.0
    }
}

impl<S> FromRequest<S> for Connection {
    type Rejection = Infallible;

    fn from_request(request: &RequestRef<'_>, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Arc::clone(request.connection())))
    }
}

//! Functions that answer a message.

mod error;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use spop_codec::Actions;

pub use error::HandlerError;

use crate::extract::FromRequest;
use crate::into_actions::IntoActions;
use crate::request_ref::RequestRef;

/// An async function that answers a message, for [`Router::message`](crate::Router::message).
///
/// Implemented for functions and closures of up to eight arguments that each come
/// [`FromRequest`], and that return a `Send` future of something that turns
/// [`IntoActions`]:
///
/// ```
/// # #[cfg(feature = "serde")]
/// # mod example {
/// use std::net::IpAddr;
/// use std::sync::Arc;
///
/// use spop_server::{Actions, Args, Connection, Router, Scope, State};
///
/// struct Denied(Vec<IpAddr>);
///
/// async fn check(
///     State(denied): State<Arc<Denied>>,
///     Connection(connection): Connection,
///     Args((ip,)): Args<(IpAddr,)>,
/// ) -> Actions {
///     tracing::debug!(peer = %connection.peer(), "asked");
///     let score = if denied.0.contains(&ip) { 100 } else { 0 };
///     Actions::new().set_var(Scope::Session, "ip_score", score)
/// }
///
/// fn router() -> Router {
///     Router::new()
///         .message("check-ip", check)
///         .message("ping", async || {})
///         .with_state(Arc::new(Denied(Vec::new())))
/// }
/// # }
/// ```
///
/// `T` is the tuple of argument types, there to tell one implementation from another. `S` is
/// the router's state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of messages",
    label = "not a handler",
    note = "a handler is an async function of up to eight arguments that each implement \
            `FromRequest<{S}>`, and returns something that implements `IntoActions`",
    note = "its future must be `Send`, and closures must say the types of their arguments"
)]
pub trait Handler<T, S>: Send + Sync + 'static {
    /// The answer in progress.
    type Future: Future<Output = Result<Actions, HandlerError>> + Send + 'static;

    /// Takes the arguments out of the request, and starts to answer.
    fn call(&self, request: &RequestRef<'_>, state: &S) -> Self::Future;
}

pin_project! {
    /// The future of a function that is a [`Handler`].
    #[must_use = "futures do nothing unless polled"]
    pub struct HandlerFuture<F> {
        // None: the arguments did not fit.
        #[pin]
        answer: Option<F>,
        rejection: Option<HandlerError>,
    }
}

impl<F> HandlerFuture<F> {
    const fn running(answer: F) -> Self {
        Self {
            answer: Some(answer),
            rejection: None,
        }
    }

    const fn rejected(rejection: HandlerError) -> Self {
        Self {
            answer: None,
            rejection: Some(rejection),
        }
    }
}

impl<F: Future<Output: IntoActions>> Future for HandlerFuture<F> {
    type Output = Result<Actions, HandlerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.answer.as_pin_mut() {
            Some(answer) => answer.poll(cx).map(IntoActions::into_actions),
            // Ready once; polled again, which nobody may do, it never is.
            None => this
                .rejection
                .take()
                .map_or(Poll::Pending, |rejection| Poll::Ready(Err(rejection))),
        }
    }
}

impl<F> fmt::Debug for HandlerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerFuture")
            .field("rejection", &self.rejection)
            .finish_non_exhaustive()
    }
}

macro_rules! handler {
    ($($argument:ident),*) => {
        impl<F, R, S, $($argument),*> Handler<($($argument,)*), S> for F
        where
            F: Fn($($argument),*) -> R + Send + Sync + 'static,
            R: Future<Output: IntoActions> + Send + 'static,
            $($argument: FromRequest<S>,)*
        {
            type Future = HandlerFuture<R>;

            #[allow(non_snake_case, unused_variables, reason = "one name for type and value")]
            fn call(&self, request: &RequestRef<'_>, state: &S) -> HandlerFuture<R> {
                $(
                    let $argument = match $argument::from_request(request, state) {
                        Ok(argument) => argument,
                        Err(rejection) => {
                            return HandlerFuture::rejected(HandlerError::rejected(rejection));
                        }
                    };
                )*
                HandlerFuture::running(self($($argument),*))
            }
        }
    };
}

handler!();
handler!(A1);
handler!(A1, A2);
handler!(A1, A2, A3);
handler!(A1, A2, A3, A4);
handler!(A1, A2, A3, A4, A5);
handler!(A1, A2, A3, A4, A5, A6);
handler!(A1, A2, A3, A4, A5, A6, A7);
handler!(A1, A2, A3, A4, A5, A6, A7, A8);

//! One message, borrowed: what extractors read, and what a hot handler gets.

use std::sync::Arc;
use std::time::Instant;

use spop_codec::{Arg, Message, Text, TypedData};

use crate::notify::{ConnectionInfo, Notify, Request};

/// One message of a NOTIFY where it was read: a [`Request`] that owns nothing, so making one
/// copies nothing and counts no reference.
///
/// [`Router::message_ref`](crate::Router::message_ref) hands one to its handler, and every
/// [`FromRequest`](crate::FromRequest) reads from one. What it gives out lives as long as
/// the NOTIFY does, `'a`.
#[derive(Debug, Clone, Copy)]
pub struct RequestRef<'a>(Origin<'a>);

#[derive(Debug, Clone, Copy)]
enum Origin<'a> {
    Notify(&'a Notify, Message<'a>),
    Request(&'a Request, Option<Message<'a>>),
}

impl<'a> RequestRef<'a> {
    /// `message` of `notify`.
    pub(crate) const fn new(notify: &'a Notify, message: Message<'a>) -> Self {
        Self(Origin::Notify(notify, message))
    }

    /// The message's name.
    pub fn name(&self) -> Text<'a> {
        self.message()
            .map_or_else(Text::default, |message| message.name())
    }

    /// The value of the argument called `name`, of several the first; [`TypedData::Null`]
    /// when HAProxy had no value for it, or did not send it.
    pub fn arg(&self, name: &str) -> TypedData<'a> {
        self.message()
            .and_then(|message| message.arg(name))
            .unwrap_or_default()
    }

    /// The value of the argument at `index`, counted from 0 over all arguments, named or not;
    /// [`TypedData::Null`] when HAProxy had no value for it, or sent fewer.
    pub fn arg_at(&self, index: usize) -> TypedData<'a> {
        self.args()
            .nth(index)
            .map(|arg| arg.value)
            .unwrap_or_default()
    }

    /// All arguments in order, unnamed and repeated ones included.
    pub fn args(&self) -> impl Iterator<Item = Arg<'a>> + use<'a> {
        self.message()
            .into_iter()
            .flat_map(|message| message.args())
    }

    /// All arguments as a `T`, which may borrow from the NOTIFY. Needs the feature `serde`;
    /// [`Request::args_as`] says what reads into what.
    ///
    /// # Errors
    /// [`ArgsError`](crate::ArgsError), which says which argument does not fit, and why.
    #[cfg(feature = "serde")]
    pub fn args_as<T>(&self) -> Result<T, crate::ArgsError>
    where
        T: serde_core::Deserialize<'a>,
    {
        crate::extract::read(self.message())
    }

    /// The connection it came on.
    pub const fn connection(&self) -> &'a Arc<ConnectionInfo> {
        match self.0 {
            Origin::Notify(notify, _) => notify.connection(),
            Origin::Request(request, _) => request.connection(),
        }
    }

    /// When it was read from the socket: what a handler's time budget counts from.
    pub const fn received(&self) -> Instant {
        match self.0 {
            Origin::Notify(notify, _) => notify.received(),
            Origin::Request(request, _) => request.received(),
        }
    }

    /// The same message, to keep: two references counted, no byte copied.
    pub fn to_request(&self) -> Request {
        match self.0 {
            Origin::Notify(notify, message) => notify.request(&message),
            Origin::Request(request, _) => request.clone(),
        }
    }

    const fn message(&self) -> Option<Message<'a>> {
        match self.0 {
            Origin::Notify(_, message) => Some(message),
            Origin::Request(_, message) => message,
        }
    }
}

impl Request {
    /// The same request, borrowed: for calling a borrowing handler or an extractor by hand.
    ///
    /// ```
    /// use spop_server::{Actions, Request, RequestRef};
    ///
    /// fn check(request: &RequestRef<'_>) -> Actions {
    ///     assert_eq!(request.arg("port").to_u64(), Some(443));
    ///     Actions::new()
    /// }
    ///
    /// let request = Request::local("check-ip", [("port", 443.into())])?;
    /// assert!(check(&request.by_ref()).is_empty());
    /// # Ok::<(), spop_server::TooManyArgs>(())
    /// ```
    pub fn by_ref(&self) -> RequestRef<'_> {
        RequestRef(Origin::Request(self, self.message()))
    }
}

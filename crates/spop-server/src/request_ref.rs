//! One message, borrowed: what extractors read, and what a hot handler gets.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use spop_codec::{Arg, Message, Text, TypedData};

use crate::notify::{Arrival, ConnectionInfo, Notify, Request};

/// One message of a NOTIFY where it was read: a [`Request`] that owns nothing, so making one
/// copies nothing and counts no reference.
///
/// [`Router::message_ref`](crate::Router::message_ref) hands one to its handler, and every
/// [`FromRequest`](crate::FromRequest) reads from one. What it gives out lives as long as
/// the NOTIFY does, `'a`.
#[derive(Clone, Copy)]
pub struct RequestRef<'a> {
    /// There, unless a [`Request`] was made of nothing.
    message: Option<Message<'a>>,
    memory: Memory<'a>,
    arrival: &'a Arrival,
}

/// What the message is a part of.
#[derive(Debug, Clone, Copy)]
enum Memory<'a> {
    /// A frame in the read buffer: to keep it is to copy it.
    InPlace,
    Frame(&'a spop_codec::Notify),
    Own(&'a Bytes),
}

impl<'a> RequestRef<'a> {
    /// `message` where it was read.
    #[inline]
    pub(crate) const fn in_place(message: Message<'a>, arrival: &'a Arrival) -> Self {
        Self {
            message: Some(message),
            memory: Memory::InPlace,
            arrival,
        }
    }

    /// `message` of `notify`.
    pub(crate) const fn of_notify(notify: &'a Notify, message: Message<'a>) -> Self {
        Self {
            message: Some(message),
            memory: Memory::Frame(&notify.frame),
            arrival: &notify.arrival,
        }
    }

    /// The message's name.
    pub fn name(&self) -> Text<'a> {
        self.message
            .map_or_else(Text::default, |message| message.name())
    }

    /// The value of the argument called `name`, of several the first; [`TypedData::Null`]
    /// when HAProxy had no value for it, or did not send it.
    pub fn arg(&self, name: &str) -> TypedData<'a> {
        self.message
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
        self.message.into_iter().flat_map(|message| message.args())
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
        crate::extract::read(self.message)
    }

    /// The connection it came on.
    pub const fn connection(&self) -> &'a Arc<ConnectionInfo> {
        &self.arrival.connection
    }

    /// When it was read from the socket: what a handler's time budget counts from.
    pub const fn received(&self) -> Instant {
        self.arrival.received
    }

    /// The same message, to keep. In a handler of
    /// [`Router::message_ref`](crate::Router::message_ref) this copies its bytes; elsewhere two
    /// references are counted.
    pub fn to_request(&self) -> Request {
        let message = match (self.memory, &self.message) {
            (Memory::Own(bytes), _) => bytes.clone(),
            (Memory::Frame(frame), Some(message)) => frame.share(message),
            (Memory::InPlace, Some(message)) => Bytes::copy_from_slice(message.as_bytes()),
            (_, None) => Bytes::new(),
        };
        Request {
            message,
            arrival: self.arrival.clone(),
        }
    }

    /// By its name and arguments, whoever owns them.
    pub(crate) fn show(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct(kind);
        if let Some(message) = &self.message {
            shown.field("name", &message.name());
            shown.field("args", &message.args());
        }
        shown.field("connection", self.connection());
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for RequestRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("RequestRef", f)
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
        RequestRef {
            message: Message::from_bytes(&self.message),
            memory: Memory::Own(&self.message),
            arrival: &self.arrival,
        }
    }
}

//! What services are asked: a whole NOTIFY, or one message of it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use spop_codec::{Message, Messages, Negotiated, NotifyBuilder, Text, TooManyArgs, TypedData};

use crate::peer::Peer;
use crate::request_ref::RequestRef;

/// A NOTIFY as the engine hands it to its service. Cloning copies no payload.
///
/// It holds the read buffer's memory: copy what must outlive the answer.
#[derive(Debug, Clone)]
pub struct Notify {
    pub(crate) frame: spop_codec::Notify,
    pub(crate) arrival: Arrival,
}

/// Where and when something came: the same for all that one read brought.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) connection: Arc<ConnectionInfo>,
    pub(crate) received: Instant,
}

impl Arrival {
    /// On no connection, now.
    fn local() -> Self {
        Self {
            connection: Arc::new(ConnectionInfo::default()),
            received: Instant::now(),
        }
    }
}

impl Notify {
    /// The messages in the order HAProxy declares them. There may be none.
    pub fn messages(&self) -> Messages<'_> {
        self.frame.messages()
    }

    /// The frame with its ids.
    pub const fn frame(&self) -> &spop_codec::Notify {
        &self.frame
    }

    /// The connection it came on.
    pub const fn connection(&self) -> &Arc<ConnectionInfo> {
        &self.arrival.connection
    }

    /// When it was read from the socket: what a handler's time budget counts from.
    pub const fn received(&self) -> Instant {
        self.arrival.received
    }

    /// A NOTIFY that came on no connection, as of now: for calling a service by hand, in a
    /// test or behind another transport.
    ///
    /// ```
    /// use spop_server::{Actions, Notify, NotifyBuilder, Request, Router, Scope};
    /// use tower::ServiceExt;
    ///
    /// async fn check(request: Request) -> Actions {
    ///     let port = request.arg("port").to_u64();
    ///     Actions::new().set_var(Scope::Transaction, "safe", port == Some(443))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), spop_server::TooManyArgs> {
    /// let router: Router = Router::new().message("check-port", check);
    /// let frame = NotifyBuilder::new().message("check-port", [("port", 443.into())])?;
    /// let Ok(actions) = router.oneshot(Notify::local(frame.build(1, 1))).await;
    /// assert_eq!(actions, Actions::new().set_var(Scope::Transaction, "safe", true));
    /// # Ok(())
    /// # }
    /// ```
    pub fn local(frame: spop_codec::Notify) -> Self {
        Self {
            frame,
            arrival: Arrival::local(),
        }
    }

    /// One message of this NOTIFY, as a request of its own.
    pub fn request(&self, message: &Message<'_>) -> Request {
        RequestRef::of_notify(self, *message).to_request()
    }
}

/// One message, as a route gets it. Cloning copies no payload.
///
/// It holds the read buffer's memory: copy what must outlive the answer.
#[derive(Clone)]
pub struct Request {
    /// Name and arguments, checked when the frame was decoded.
    pub(crate) message: Bytes,
    pub(crate) arrival: Arrival,
}

impl Request {
    /// A message that came on no connection, as of now: for calling a handler or a layer by
    /// hand, in a test or behind another transport.
    ///
    /// # Errors
    /// [`TooManyArgs`] beyond 255 arguments.
    ///
    /// ```
    /// use spop_server::{Request, TypedData};
    ///
    /// let request = Request::local("check-ip", [("port", TypedData::Int64(443))])?;
    /// assert_eq!(request.arg("port").to_u64(), Some(443));
    /// let shown = format!("{request:?}");
    /// let expected = r#"Request { name: "check-ip", args: [Arg { name: "port", value: Int64(443) }]"#;
    /// assert!(shown.starts_with(expected), "{shown}");
    /// # Ok::<(), spop_server::TooManyArgs>(())
    /// ```
    pub fn local<'a>(
        name: &str,
        args: impl IntoIterator<Item = (&'a str, TypedData<'a>)>,
    ) -> Result<Self, TooManyArgs> {
        let frame = NotifyBuilder::new().message(name, args)?.build(0, 0);
        let message = frame.messages().next().map(|message| frame.share(&message));
        Ok(Self {
            message: message.unwrap_or_default(),
            arrival: Arrival::local(),
        })
    }

    /// The message's name.
    pub fn name(&self) -> Text<'_> {
        self.by_ref().name()
    }

    /// The value of the argument called `name`, of several the first; [`TypedData::Null`]
    /// when HAProxy had no value for it, or did not send it.
    pub fn arg(&self, name: &str) -> TypedData<'_> {
        self.by_ref().arg(name)
    }

    /// The value of the argument at `index`, counted from 0 over all arguments, named or not;
    /// [`TypedData::Null`] when HAProxy had no value for it, or sent fewer.
    pub fn arg_at(&self, index: usize) -> TypedData<'_> {
        self.by_ref().arg_at(index)
    }

    /// All arguments as a `T`: a struct or a map by their names, a tuple or a sequence by
    /// their positions. Needs the feature `serde`.
    ///
    /// Nothing is allocated that `T` does not own, and a `T` that borrows borrows from this
    /// request:
    ///
    /// ```
    /// use std::net::{IpAddr, Ipv4Addr};
    ///
    /// use serde::Deserialize;
    /// use spop_server::{Request, TypedData};
    ///
    /// #[derive(Deserialize)]
    /// struct CheckIp<'a> {
    ///     ip_src: IpAddr,
    ///     path: &'a str,
    ///     referer: Option<&'a str>,
    /// }
    ///
    /// let request = Request::local(
    ///     "check-ip",
    ///     [
    ///         ("ip_src", Ipv4Addr::LOCALHOST.into()),
    ///         ("path", "/".into()),
    ///         ("referer", TypedData::Null),
    ///     ],
    /// )?;
    /// let args: CheckIp<'_> = request.args_as()?;
    /// assert!(args.ip_src.is_loopback());
    /// assert_eq!((args.path, args.referer), ("/", None));
    ///
    /// let (ip, path): (Ipv4Addr, &str) = request.args_as()?;
    /// assert_eq!((ip, path), (Ipv4Addr::LOCALHOST, "/"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// | on the wire | reads into |
    /// |---|---|
    /// | INT32, UINT32, INT64, UINT64 | each integer type that holds the value; no float |
    /// | BOOL | `bool` |
    /// | IPV4, IPV6 | [`IpAddr`](std::net::IpAddr), the family's own type, `String` |
    /// | STRING, BINARY | `&[u8]`, `Vec<u8>`, `[u8; N]`, [`Text`] (by [`deserialize_text`](crate::deserialize_text)) |
    /// | the same, if UTF-8 | `&str`, `String`, an enum by the name of its variant, and what reads itself from text, as `IpAddr` does |
    /// | NULL | `None`; else as if it had not come |
    ///
    /// * An argument that did not come is `None` too, or the field's `#[serde(default)]`.
    ///   NULL is, in a struct or a map, an argument that did not come.
    /// * Of arguments with one name the first fills a struct's field. A map gets each.
    /// * Arguments without a field, or beyond a tuple's end, are ignored, unless the struct
    ///   says `#[serde(deny_unknown_fields)]`.
    /// * Unnamed arguments have a position only.
    ///
    /// # Errors
    /// [`ArgsError`](crate::ArgsError), which says which argument does not fit, and why.
    #[cfg(feature = "serde")]
    pub fn args_as<'de, T>(&'de self) -> Result<T, crate::ArgsError>
    where
        T: serde_core::Deserialize<'de>,
    {
        self.by_ref().args_as()
    }

    /// All arguments in order, unnamed and repeated ones included.
    pub fn args(&self) -> impl Iterator<Item = spop_codec::Arg<'_>> {
        self.by_ref().args()
    }

    /// The connection it came on.
    pub const fn connection(&self) -> &Arc<ConnectionInfo> {
        &self.arrival.connection
    }

    /// When it was read from the socket: what a handler's time budget counts from.
    pub const fn received(&self) -> Instant {
        self.arrival.received
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by_ref().show("Request", f)
    }
}

/// A connection that has shaken hands. The default is no connection at all.
#[derive(Debug, Clone, Default)]
pub struct ConnectionInfo {
    peer: Peer,
    engine_id: Option<Bytes>,
    negotiated: Option<Negotiated>,
}

impl ConnectionInfo {
    pub(crate) const fn new(peer: Peer, engine_id: Option<Bytes>, negotiated: Negotiated) -> Self {
        Self {
            peer,
            engine_id,
            negotiated: Some(negotiated),
        }
    }

    /// HAProxy's end.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// HAProxy's `engine-id`: the process that asks (up to 3.0: its thread). Shared by many
    /// connections, new after each reload, and no proof of anything.
    pub fn engine_id(&self) -> Option<Text<'_>> {
        self.engine_id.as_deref().map(Text::new)
    }

    /// What the HELLO frames agreed on, if there is a connection.
    pub const fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }
}

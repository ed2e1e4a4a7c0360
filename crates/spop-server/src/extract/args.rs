//! All arguments of a message as one type that derives `Deserialize`.

use serde_core::de::DeserializeOwned;
use serde_core::{Deserialize, Deserializer};
use spop_codec::{Message, Text};

use super::FromRequest;
use super::arguments::Arguments;
use super::error::ArgsError;
use crate::request_ref::RequestRef;

/// The arguments of the message as a `T`, a struct or a map by their names, a tuple or a
/// sequence by their positions. Needs the feature `serde`.
///
/// `T` owns what it holds. To borrow instead, take the [`Request`](crate::Request) and ask
/// [`args_as`](crate::Request::args_as), which also says what reads into what.
///
/// ```
/// use std::net::IpAddr;
///
/// use serde::Deserialize;
/// use spop_server::{Actions, Args, Router, Scope};
///
/// #[derive(Deserialize)]
/// struct CheckIp {
///     ip_src: IpAddr,
///     user_agent: Option<String>,
/// }
///
/// async fn check(Args(args): Args<CheckIp>) -> Actions {
///     let score = if args.user_agent.is_some() { 0 } else { 50 };
///     Actions::new().set_var(Scope::Session, "ip_score", score)
/// }
///
/// let router: Router = Router::new().message("check-ip", check);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Args<T>(pub T);

impl<T: DeserializeOwned, S> FromRequest<S> for Args<T> {
    type Rejection = ArgsError;

    fn from_request(request: &RequestRef<'_>, _: &S) -> Result<Self, ArgsError> {
        request.args_as().map(Self)
    }
}

/// What [`Request::args_as`](crate::Request::args_as) does, on any message.
pub(crate) fn read<'de, T>(message: Option<Message<'de>>) -> Result<T, ArgsError>
where
    T: Deserialize<'de>,
{
    T::deserialize(Arguments::new(message)).map_err(|fault| fault.into_error::<T>(message))
}

/// For a field of type [`Text`] or `Option<Text>`: STRING or BINARY, in UTF-8 or not,
/// borrowed from the request.
///
/// ```
/// use serde::Deserialize;
/// use spop_server::{Request, Text};
///
/// #[derive(Deserialize)]
/// struct Log<'a> {
///     #[serde(borrow, deserialize_with = "spop_server::deserialize_text")]
///     path: Text<'a>,
///     #[serde(borrow, default, deserialize_with = "spop_server::deserialize_text")]
///     referer: Option<Text<'a>>,
/// }
///
/// let request = Request::local("log", [("path", Text::new(b"/\xff").into())])?;
/// let log: Log<'_> = request.args_as()?;
/// assert_eq!(log.path.as_bytes(), b"/\xff");
/// assert_eq!(log.referer, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The deserializer's, when the value is neither.
pub fn deserialize_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: From<Text<'de>>,
{
    <&[u8]>::deserialize(deserializer).map(|bytes| Text::new(bytes).into())
}

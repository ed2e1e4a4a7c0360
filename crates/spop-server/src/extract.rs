//! A message's arguments as a type of the handler's own, by serde: no map in between, no
//! allocation, and nothing copied that the type can borrow.

mod arguments;
mod error;
mod fault;
mod value;

use serde_core::{Deserialize, Deserializer};
use spop_codec::{Message, Text};

use arguments::Arguments;
pub use error::{ArgId, ArgsError};

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

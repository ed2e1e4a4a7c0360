//! What serde reports while a message is read, until all is known that an [`ArgsError`]
//! says. No part of a value gets in here, so none gets out.

use std::any::type_name;
use std::fmt::Display;

use serde_core::de::{Error, Expected, Unexpected};
use spop_codec::{Message, Text, TypedData};

use super::error::{ArgId, ArgsError};

/// An [`ArgsError`] in the making.
#[derive(Debug, thiserror::Error)]
#[error("the arguments do not fit")]
pub(super) struct Fault {
    kind: Kind,
    argument: Option<ArgId>,
    expected: Option<Box<str>>,
    found: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Missing,
    WrongType,
    OutOfRange,
    Invalid,
    Unknown,
    Repeated,
}

/// What is found where it is not the value of one argument.
const ARGUMENTS: &str = "arguments";

impl Fault {
    /// Nothing came there.
    pub(super) fn missing(argument: ArgId) -> Self {
        Self {
            argument: Some(argument),
            ..Self::new(Kind::Missing)
        }
    }

    /// A STRING or BINARY that cannot be read as text.
    pub(super) fn not_utf8() -> Self {
        Self {
            expected: Some("UTF-8 text".into()),
            ..Self::new(Kind::Invalid)
        }
    }

    /// Adds which argument was being read into a `T`, and what came in it.
    pub(super) fn at<T>(mut self, argument: ArgId, value: &TypedData<'_>) -> Self {
        self.argument.get_or_insert(argument);
        self.expected.get_or_insert_with(short_name::<T>);
        self.found = value.type_name();
        self
    }

    /// Adds what was being read into a `T`.
    pub(super) fn into_error<T>(self, message: Option<Message<'_>>) -> ArgsError {
        let argument = self.argument;
        let expected = self.expected.unwrap_or_else(short_name::<T>);
        let found = self.found;
        let name = message.map_or_else(Text::default, |message| message.name());
        let is_null = |argument: &ArgId| match (argument, message) {
            (ArgId::Name(name), Some(message)) => {
                message.arg(name).is_some_and(|value| value.is_null())
            }
            _ => false,
        };
        let message = name.to_string().into();
        match self.kind {
            // A struct is not shown its NULLs, and misses them.
            Kind::Missing if argument.as_ref().is_some_and(is_null) => ArgsError::WrongType {
                message,
                argument,
                expected: "a value".into(),
                found: TypedData::Null.type_name(),
            },
            Kind::Missing => ArgsError::Missing { message, argument },
            Kind::WrongType => ArgsError::WrongType {
                message,
                argument,
                expected,
                found,
            },
            Kind::OutOfRange => ArgsError::OutOfRange {
                message,
                argument,
                expected,
                found,
            },
            Kind::Invalid => ArgsError::Invalid {
                message,
                argument,
                expected,
                found,
            },
            Kind::Unknown => ArgsError::Unknown { message, argument },
            Kind::Repeated => ArgsError::Repeated { message, argument },
        }
    }

    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            argument: None,
            expected: None,
            found: ARGUMENTS,
        }
    }

    fn mismatch(kind: Kind, found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self {
            expected: Some(expected.to_string().into()),
            found: kind_of(found),
            ..Self::new(kind)
        }
    }

    fn field(kind: Kind, name: &str) -> Self {
        // An unnamed argument is left to `at`, which knows its position.
        let name = Some(name).filter(|name| !name.is_empty());
        Self {
            argument: name.map(|name| ArgId::Name(Text::from(name).to_string().into())),
            ..Self::new(kind)
        }
    }
}

impl Error for Fault {
    /// The text may quote the value: it is dropped, and the type named instead.
    fn custom<T: Display>(_: T) -> Self {
        Self::new(Kind::Invalid)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::mismatch(Kind::WrongType, found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let kind = match found {
            Unexpected::Signed(_) | Unexpected::Unsigned(_) => Kind::OutOfRange,
            _ => Kind::Invalid,
        };
        Self::mismatch(kind, found, expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::mismatch(Kind::Invalid, Unexpected::Seq, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let names: Vec<_> = expected.iter().map(|name| format!("{name:?}")).collect();
        let names = format!("one of {}", names.join(", "));
        Self::mismatch(Kind::Invalid, Unexpected::Str(variant), &names.as_str())
    }

    fn unknown_field(name: &str, _: &'static [&'static str]) -> Self {
        Self::field(Kind::Unknown, name)
    }

    fn missing_field(name: &'static str) -> Self {
        Self::field(Kind::Missing, name)
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::field(Kind::Repeated, name)
    }
}

/// What is known of a value that serde has kept aside.
const fn kind_of(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Signed(_) | Unexpected::Unsigned(_) => "an integer",
        Unexpected::Str(_) | Unexpected::Char(_) => "text",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "NULL",
        _ => ARGUMENTS,
    }
}

/// `Option<IpAddr>` rather than `core::option::Option<core::net::ip_addr::IpAddr>`.
fn short_name<T>() -> Box<str> {
    let name = type_name::<T>();
    // What serde's derive wraps around a field with `deserialize_with`.
    if name.contains("__DeserializeWith") {
        return "a valid value".into();
    }
    name.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .map(|path| path.rsplit_once("::").map_or(path, |(_, last)| last))
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn types_without_their_modules() {
        assert_eq!(&*short_name::<u8>(), "u8");
        assert_eq!(&*short_name::<&[u8]>(), "&[u8]");
        assert_eq!(&*short_name::<Option<IpAddr>>(), "Option<IpAddr>");
        assert_eq!(&*short_name::<(IpAddr, String)>(), "(IpAddr, String)");
    }
}

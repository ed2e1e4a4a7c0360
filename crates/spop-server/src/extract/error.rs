//! Why a message's arguments do not make the type that a handler asked for.

use std::fmt;

/// The arguments of a message do not fit the type they were to be read into.
///
/// Each says in one line which message and which argument, what was expected and what was
/// found, by type: neither the text nor the fields hold any of an argument's value. Names
/// are escaped as [`Text`](crate::Text) prints them.
///
/// `argument` is `None` where the error is about all of them together, or where serde kept
/// a value aside before it was read (`flatten`, `untagged`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgsError {
    /// The message came without the argument: its name is not in `args` of the
    /// `spoe-message` section. (Sent as NULL it would be [`WrongType`](Self::WrongType).)
    #[error("{}", Missing(message, argument))]
    Missing {
        /// The message's name.
        message: Box<str>,
        /// What did not come.
        argument: Option<ArgId>,
    },
    /// The value is of a type that cannot be read so. NULL is one: the sample fetch had no
    /// value, and the field is not an `Option` and has no default.
    #[error("{}: expected {expected}, found {found}", Subject(message, argument))]
    WrongType {
        /// The message's name.
        message: Box<str>,
        /// The argument.
        argument: Option<ArgId>,
        /// The type asked for, as it describes itself.
        expected: Box<str>,
        /// The type on the wire, as the protocol text calls it.
        found: &'static str,
    },
    /// The integer is one that the type asked for cannot hold.
    #[error(
        "{}: expected {expected}, found {found} out of its range",
        Subject(message, argument)
    )]
    OutOfRange {
        /// The message's name.
        message: Box<str>,
        /// The argument.
        argument: Option<ArgId>,
        /// The type asked for, as it describes itself.
        expected: Box<str>,
        /// The type on the wire, as the protocol text calls it.
        found: &'static str,
    },
    /// The type on the wire is right, and the value is not one: text that is not UTF-8, no
    /// address, no name of a variant, or refused by the type's own `Deserialize`. What that
    /// said is left out, since it may quote the value.
    #[error(
        "{}: expected {expected}, found {found} that is none",
        Subject(message, argument)
    )]
    Invalid {
        /// The message's name.
        message: Box<str>,
        /// The argument.
        argument: Option<ArgId>,
        /// What was asked for.
        expected: Box<str>,
        /// The type on the wire, as the protocol text calls it.
        found: &'static str,
    },
    /// The type takes no such argument and denies unknown ones.
    #[error("{} is unknown here", Subject(message, argument))]
    Unknown {
        /// The message's name.
        message: Box<str>,
        /// What came.
        argument: Option<ArgId>,
    },
    /// One field came twice: by its name and by an alias, or repeated in a type that
    /// `flatten`s another.
    #[error("{} came twice", Subject(message, argument))]
    Repeated {
        /// The message's name.
        message: Box<str>,
        /// What came twice.
        argument: Option<ArgId>,
    },
}

/// An argument, by the way it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ArgId {
    /// By its name.
    Name(Box<str>),
    /// By its position among all arguments, named or not, from 0.
    Position(usize),
}

impl fmt::Display for ArgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "argument \"{name}\""),
            Self::Position(position) => write!(f, "argument at position {position}"),
        }
    }
}

/// What a line is about.
struct Subject<'a>(&'a str, &'a Option<ArgId>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(argument) = self.1 {
            write!(f, "{argument} of ")?;
        }
        write!(f, "message \"{}\"", self.0)
    }
}

struct Missing<'a>(&'a str, &'a Option<ArgId>);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message \"{}\" came without ", self.0)?;
        match self.1 {
            Some(argument) => write!(f, "{argument}"),
            None => f.write_str("an argument"),
        }
    }
}

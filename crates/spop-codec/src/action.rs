//! Actions: what an ACK makes HAProxy do to its variables (SPOE.txt §3.4).
//!
//! ```text
//! SET-VAR   = 0x01 0x03 scope:u8 name:string value:typed-data
//! UNSET-VAR = 0x02 0x02 scope:u8 name:string
//! ```

use core::fmt;
use core::iter::FusedIterator;

use alloc::vec::Vec;

use bytes::BufMut;

use crate::error::Malformed;
use crate::parse::{self, Parsed};
use crate::payload::Payload;
use crate::text::Text;
use crate::value::{TypedData, counted_len, put_counted};

/// The longest variable name that [`Actions`] accepts, in bytes. HAProxy drops (and before
/// 3.5 mishandles) a name of over 63 bytes *with* its scope and prefix, `txn.my_prefix.`,
/// and the agent does not know the prefix.
pub const MAX_NAME_LEN: usize = 40;

const SET_VAR: u8 = 1;
const UNSET_VAR: u8 = 2;

/// How long a variable lives in HAProxy (SPOE.txt §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The process. Only variables that HAProxy's configuration names can be set
    /// (`option force-set-var` or `register-var-names`).
    Process,
    /// The client's connection: shared by all requests on it, and kept between them.
    Session,
    /// The transaction, request and response.
    Transaction,
    /// The request.
    Request,
    /// The response.
    Response,
}

impl Scope {
    const ALL: [Self; 5] = [
        Self::Process,
        Self::Session,
        Self::Transaction,
        Self::Request,
        Self::Response,
    ];

    /// HAProxy's name for it: `proc`, `sess`, `txn`, `req`, `res`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "proc",
            Self::Session => "sess",
            Self::Transaction => "txn",
            Self::Request => "req",
            Self::Response => "res",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Process => 0,
            Self::Session => 1,
            Self::Transaction => 2,
            Self::Request => 3,
            Self::Response => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One action, borrowed from the frame or list that holds it (SPOE.txt §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Give a variable a value. NULL unsets it.
    SetVar {
        /// Where the variable lives.
        scope: Scope,
        /// Its name, without scope and prefix.
        name: Text<'a>,
        /// Its value.
        value: TypedData<'a>,
    },
    /// Remove a variable.
    UnsetVar {
        /// Where the variable lives.
        scope: Scope,
        /// Its name, without scope and prefix.
        name: Text<'a>,
    },
}

/// A list of actions in wire form, the payload of an ACK in the making (SPOE.txt §3.2.7,
/// §3.4).
///
/// HAProxy runs the actions in order and stops at the first bad one without a word, so a
/// bad one never gets in: the first mistake is kept in [`error`](Self::error), and from then
/// on the list is void.
///
/// The first 23 bytes, one short variable, are in the list itself; more are on the heap.
///
/// ```
/// use spop_codec::{Actions, Scope};
///
/// let actions = Actions::new()
///     .set_var(Scope::Session, "ip_score", 100)
///     .unset_var(Scope::Transaction, "reason");
/// assert_eq!(actions.iter().count(), 2);
/// assert!(Actions::new().set_var(Scope::Session, "no spaces", 1).error().is_some());
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Actions {
    payload: Payload,
    error: Option<ActionError>,
}

/// A variable that HAProxy would not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// The name is empty or longer than [`MAX_NAME_LEN`]; 65535 stands for whatever is more.
    #[error("a variable name has 1 to {MAX_NAME_LEN} bytes, not {0}")]
    NameLength(u16),
    /// The name holds a byte outside `A-Z a-z 0-9 _ .`.
    #[error("a variable name holds letters, digits, `_` and `.` only")]
    NameByte,
    /// HAProxy would read the number as a negative one.
    #[error("an unsigned value above 2^63-1 would turn negative in HAProxy")]
    Unsigned,
}

impl Actions {
    /// No actions. An empty ACK is a valid answer.
    pub const fn new() -> Self {
        Self {
            payload: Payload::new(),
            error: None,
        }
    }

    /// Adds SET-VAR: HAProxy sees the variable `scope.prefix.name`.
    ///
    /// `name` has 1 to [`MAX_NAME_LEN`] bytes of `A-Z a-z 0-9 _ .`, neither scope nor
    /// prefix. Integers arrive in HAProxy as signed 64-bit.
    pub fn set_var<'a>(
        mut self,
        scope: Scope,
        name: &str,
        value: impl Into<TypedData<'a>>,
    ) -> Self {
        let value = value.into();
        let refused = match value {
            TypedData::Uint64(_) if value.to_i64().is_none() => Some(ActionError::Unsigned),
            _ => None,
        };
        self.add(scope, name, Some(value), refused);
        self
    }

    /// Adds UNSET-VAR. `name` as in [`set_var`](Self::set_var).
    pub fn unset_var(mut self, scope: Scope, name: &str) -> Self {
        self.add(scope, name, None, None);
        self
    }

    /// Adds all of `other`'s actions behind this list's.
    pub fn append(&mut self, other: &Self) {
        self.error = self.error.or(other.error);
        self.payload.extend(other.payload.as_slice());
    }

    /// Empties the list and keeps its memory, for answering again without allocating.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.error = None;
    }

    /// Whether there is no action.
    pub fn is_empty(&self) -> bool {
        self.payload().is_none_or(<[u8]>::is_empty)
    }

    /// The mistake that made the list void, if any.
    pub const fn error(&self) -> Option<ActionError> {
        self.error
    }

    /// The actions, none if the list is void.
    pub fn iter(&self) -> ActionIter<'_> {
        ActionIter::new(self.payload().unwrap_or_default())
    }

    /// The payload of the ACK, unless the list is void.
    pub(crate) fn payload(&self) -> Option<&[u8]> {
        self.error.is_none().then(|| self.payload.as_slice())
    }

    /// Adds SET-VAR, or UNSET-VAR if there is no value, unless something is wrong with it or
    /// was before.
    #[inline]
    fn add(
        &mut self,
        scope: Scope,
        name: &str,
        value: Option<TypedData<'_>>,
        refused: Option<ActionError>,
    ) {
        self.error = self.error.or_else(|| check_name(name)).or(refused);
        if self.error.is_some() {
            return;
        }
        let value_len = value.map_or(0, |value| value.encoded_len());
        let size = 3 + counted_len(name.as_bytes()) + value_len;
        match self.payload.spot(size) {
            Some(mut room) => put(scope, name, value, &mut room),
            None => {
                let put = |heap: &mut Vec<u8>| put(scope, name, value, heap);
                self.payload.heap(size, put);
            }
        }
    }
}

#[inline]
fn put(scope: Scope, name: &str, value: Option<TypedData<'_>>, out: &mut impl BufMut) {
    let (action, args) = match value {
        Some(_) => (SET_VAR, 3),
        None => (UNSET_VAR, 2),
    };
    out.put_slice(&[action, args, scope.code()]);
    put_counted(name.as_bytes(), out);
    if let Some(value) = value {
        value.encode(out);
    }
}

impl<'a> IntoIterator for &'a Actions {
    type Item = Action<'a>;
    type IntoIter = ActionIter<'a>;

    fn into_iter(self) -> ActionIter<'a> {
        self.iter()
    }
}

/// The actions of an ACK or of an [`Actions`].
#[derive(Clone)]
pub struct ActionIter<'a> {
    rest: &'a [u8],
}

impl<'a> ActionIter<'a> {
    /// Over bytes that were checked, or written by [`Actions`].
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for ActionIter<'a> {
    type Item = Action<'a>;

    fn next(&mut self) -> Option<Action<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (rest, action) = parse(self.rest).ok()?;
        self.rest = rest;
        Some(action)
    }
}

impl FusedIterator for ActionIter<'_> {}

pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Action<'_>> {
    let Some((&[action, args, scope], rest)) = input.split_first_chunk() else {
        return parse::fail(Malformed::Truncated);
    };
    match (action, args) {
        (SET_VAR, 3) | (UNSET_VAR, 2) => {}
        (SET_VAR | UNSET_VAR, other) => return parse::fail(Malformed::ActionArguments(other)),
        (other, _) => return parse::fail(Malformed::ActionType(other)),
    }
    let Some(scope) = Scope::ALL.get(usize::from(scope)).copied() else {
        return parse::fail(Malformed::Scope(scope));
    };
    let (rest, name) = parse::text(rest)?;
    if action == UNSET_VAR {
        return Ok((rest, Action::UnsetVar { scope, name }));
    }
    let (rest, value) = parse::typed_data(rest)?;
    Ok((rest, Action::SetVar { scope, name, value }))
}

fn check_name(name: &str) -> Option<ActionError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    if name.is_empty() || name.len() > MAX_NAME_LEN {
        Some(ActionError::NameLength(
            u16::try_from(name.len()).unwrap_or(u16::MAX),
        ))
    } else if !name.bytes().all(allowed) {
        Some(ActionError::NameByte)
    } else {
        None
    }
}

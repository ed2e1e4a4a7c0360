//! The parsers that every frame shares, on nom's `complete` side: an item that runs past
//! the end of its frame is malformed, never "incomplete".

use nom::bytes::complete::take;
use nom::combinator::map;
use nom::{IResult, Parser as _};

use crate::error::{DecodeError, Malformed};
use crate::reader::Reader;
use crate::text::Text;
use crate::value::TypedData;
use crate::varint;

pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Malformed>;

/// Something else is wrong than the shape: the error for it.
pub(crate) fn fail<'a, T>(what: Malformed) -> Parsed<'a, T> {
    Err(nom::Err::Error(what))
}

pub(crate) fn integer(input: &[u8]) -> Parsed<'_, u64> {
    match varint::decode(input) {
        Ok((value, rest)) => Ok((rest, value)),
        Err(what) => fail(what),
    }
}

/// A varint length and as many bytes, which are text.
pub(crate) fn text(input: &[u8]) -> Parsed<'_, Text<'_>> {
    let (rest, length) = integer(input)?;
    // A length beyond the address space is beyond the frame as well.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    map(take(length), Text::new).parse(rest)
}

/// A type byte and its value (SPOE.txt §3.1).
pub(crate) fn typed_data(input: &[u8]) -> Parsed<'_, TypedData<'_>> {
    let mut reader = Reader::new(input);
    match reader.typed_data() {
        Some(value) => Ok((reader.rest(), value)),
        None => fail(why_not_typed_data(input)),
    }
}

/// What [`Reader::typed_data`] stumbled over.
fn why_not_typed_data(input: &[u8]) -> Malformed {
    let Some((tag, rest)) = input.split_first() else {
        return Malformed::Truncated;
    };
    match (tag & 0x0f, varint::decode(rest)) {
        (2..=5 | 8 | 9, Err(what)) => what,
        (2 | 3, Ok(_)) => Malformed::IntegerRange,
        (reserved @ 10.., _) => Malformed::DataType(reserved),
        _ => Malformed::Truncated,
    }
}

/// One entry of a KV-LIST (SPOE.txt §3.1): a key that is not empty and its value.
pub(crate) fn entry(input: &[u8]) -> Parsed<'_, (Text<'_>, TypedData<'_>)> {
    let (rest, key) = text(input)?;
    if key.is_empty() {
        return fail(Malformed::EmptyKey);
    }
    let (rest, value) = typed_data(rest)?;
    Ok((rest, (key, value)))
}

/// Runs `parser` over the whole of `payload`, item by item.
///
/// `offset` is where the payload starts in its frame: errors are placed at the item that
/// they are in.
pub(crate) fn each<'a, T>(
    payload: &'a [u8],
    offset: usize,
    parser: impl Fn(&'a [u8]) -> Parsed<'a, T>,
    mut visit: impl FnMut(T) -> Result<(), Malformed>,
) -> Result<(), DecodeError> {
    let mut input = payload;
    while !input.is_empty() {
        let at = |what| DecodeError::Malformed {
            what,
            offset: offset + (payload.len() - input.len()),
        };
        let (rest, item) = parser(input).map_err(|error| at(malformed(error)))?;
        visit(item).map_err(at)?;
        input = rest;
    }
    Ok(())
}

/// What a parser of this module complained about.
pub(crate) fn malformed(error: nom::Err<Malformed>) -> Malformed {
    match error {
        nom::Err::Error(what) | nom::Err::Failure(what) => what,
        // Streaming parsers answer this; none is used.
        nom::Err::Incomplete(_) => Malformed::Truncated,
    }
}

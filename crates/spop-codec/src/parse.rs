//! The parsers that every frame shares, on nom's `complete` side: an item that runs past
//! the end of its frame is malformed, never "incomplete".

use nom::IResult;
use nom::bytes::complete::take;
use nom::number::complete::u8 as byte;

use crate::error::{DecodeError, Malformed};
use crate::text::Text;
use crate::value::TypedData;
use crate::varint;

pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Malformed>;

/// Something else is wrong than the shape: the error for it.
pub(crate) fn fail<'a, T>(what: Malformed) -> Parsed<'a, T> {
    Err(nom::Err::Error(what))
}

#[inline]
pub(crate) fn integer(input: &[u8]) -> Parsed<'_, u64> {
    match varint::decode(input) {
        Ok((value, rest)) => Ok((rest, value)),
        Err(what) => fail(what),
    }
}

/// A varint length and as many bytes.
#[inline]
pub(crate) fn counted(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, length) = integer(input)?;
    // A length beyond the address space is beyond the frame as well.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    take(length)(rest)
}

#[inline]
pub(crate) fn text(input: &[u8]) -> Parsed<'_, Text<'_>> {
    let (rest, bytes) = counted(input)?;
    Ok((rest, Text::new(bytes)))
}

/// A type byte and its value (SPOE.txt §3.1).
pub(crate) fn typed_data(input: &[u8]) -> Parsed<'_, TypedData<'_>> {
    let (rest, tag) = byte(input)?;
    match tag & 0x0f {
        0 => Ok((rest, TypedData::Null)),
        1 => Ok((rest, TypedData::Bool(tag & 0x10 != 0))),
        2 => {
            let (rest, value) = integer(rest)?;
            match int32(value) {
                Some(value) => Ok((rest, TypedData::Int32(value))),
                None => fail(Malformed::IntegerRange),
            }
        }
        3 => {
            let (rest, value) = integer(rest)?;
            match u32::try_from(value) {
                Ok(value) => Ok((rest, TypedData::Uint32(value))),
                Err(_) => fail(Malformed::IntegerRange),
            }
        }
        4 => {
            let (rest, value) = integer(rest)?;
            Ok((rest, TypedData::Int64(value.cast_signed())))
        }
        5 => {
            let (rest, value) = integer(rest)?;
            Ok((rest, TypedData::Uint64(value)))
        }
        6 => {
            let (rest, bits) = nom::number::complete::be_u32(rest)?;
            Ok((rest, TypedData::Ipv4(bits.into())))
        }
        7 => {
            let (rest, bits) = nom::number::complete::be_u128(rest)?;
            Ok((rest, TypedData::Ipv6(bits.into())))
        }
        8 => {
            let (rest, bytes) = text(rest)?;
            Ok((rest, TypedData::String(bytes)))
        }
        9 => {
            let (rest, bytes) = counted(rest)?;
            Ok((rest, TypedData::Binary(bytes)))
        }
        other => fail(Malformed::DataType(other)),
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

/// A negative INT32 comes sign-extended to 64 bits, as HAProxy writes it, or in 32 bits.
fn int32(value: u64) -> Option<i32> {
    match u32::try_from(value) {
        Ok(value) => Some(value.cast_signed()),
        Err(_) => i32::try_from(value.cast_signed()).ok(),
    }
}

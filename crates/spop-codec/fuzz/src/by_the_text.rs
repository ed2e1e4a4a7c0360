//! A second reader of integers, values and messages, to compare the codec with: written from
//! the protocol text alone (SPOE.txt §3.1, §3.2.6), one item after the other and as plainly
//! as can be. Each takes what it reads off the front of its input.

use spop_codec::{Malformed, TypedData, varint};

/// A variable-length integer. In 128 bits, where ten bytes cannot overflow.
pub(crate) fn integer(input: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for index in 0..varint::MAX_LEN {
        let byte = byte(input)?;
        let shift = if index == 0 { 0 } else { 7 * index - 3 };
        value += u128::from(byte) << shift;
        // A sum beyond 64 bits is final: what follows can only add.
        let fits = u64::try_from(value).map_err(|_| Malformed::Varint)?;
        let last = if index == 0 { 240 } else { 128 };
        if byte < last {
            return Ok(fits);
        }
    }
    Err(Malformed::Varint)
}

/// A value with its type. Its flags are those of BOOL; those of other types are ignored.
pub(crate) fn typed_data<'a>(input: &mut &'a [u8]) -> Result<TypedData<'a>, Malformed> {
    let tag = byte(input)?;
    Ok(match tag & 0x0f {
        0 => TypedData::Null,
        1 => TypedData::Bool(tag >> 4 & 1 == 1),
        2 => {
            let value = integer(input)?;
            // Negative numbers have all 64 bits, or from a careless sender the lower 32.
            let whole = i32::try_from(value.cast_signed());
            let lower = u32::try_from(value).map(u32::cast_signed);
            let value = whole.or(lower).map_err(|_| Malformed::IntegerRange)?;
            TypedData::Int32(value)
        }
        3 => {
            let value = integer(input)?.try_into();
            TypedData::Uint32(value.map_err(|_| Malformed::IntegerRange)?)
        }
        4 => TypedData::Int64(integer(input)?.cast_signed()),
        5 => TypedData::Uint64(integer(input)?),
        6 => {
            let octets: [u8; 4] = bytes(4, input)?.try_into().expect("4 bytes");
            TypedData::Ipv4(octets.into())
        }
        7 => {
            let octets: [u8; 16] = bytes(16, input)?.try_into().expect("16 bytes");
            TypedData::Ipv6(octets.into())
        }
        8 => TypedData::String(spop_codec::Text::new(counted(input)?)),
        9 => TypedData::Binary(counted(input)?),
        reserved => return Err(Malformed::DataType(reserved)),
    })
}

/// A name and arguments with names.
pub(crate) type Message<'a> = (&'a [u8], Vec<(&'a [u8], TypedData<'a>)>);

/// A message of a NOTIFY.
pub(crate) fn message<'a>(input: &mut &'a [u8]) -> Result<Message<'a>, Malformed> {
    let name = counted(input)?;
    let mut args = Vec::new();
    for _ in 0..byte(input)? {
        args.push((counted(input)?, typed_data(input)?));
    }
    Ok((name, args))
}

/// A length and as many bytes.
fn counted<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    bytes(integer(input)?, input)
}

fn bytes<'a>(count: u64, input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    if count > input.len() as u64 {
        return Err(Malformed::Truncated);
    }
    let (bytes, rest) = input.split_at(count as usize);
    *input = rest;
    Ok(bytes)
}

fn byte(input: &mut &[u8]) -> Result<u8, Malformed> {
    Ok(bytes(1, input)?[0])
}

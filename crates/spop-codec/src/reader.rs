//! The primitives under every parser: items off the front of a slice, or nothing.
//!
//! They say only *that* an item is malformed, so that they melt into the loops that use them;
//! [`crate::parse`] says why. `inline(always)` because without it the compiler leaves some of
//! them as calls, depending on what else a program does, and a value then costs four times as
//! much (`cargo xtask bench codec`).

use crate::text::Text;
use crate::value::TypedData;
use crate::varint;

/// What is left of a payload. After a `None` it stands where the bad item began or inside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline(always)]
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    #[inline(always)]
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// A varint.
    #[inline(always)]
    pub(crate) fn integer(&mut self) -> Option<u64> {
        match *self.rest {
            [first, ref rest @ ..] if first < 240 => {
                self.rest = rest;
                Some(first.into())
            }
            [first, second, ref rest @ ..] if second < 128 => {
                self.rest = rest;
                Some(u64::from(first) + (u64::from(second) << 4))
            }
            // Stream-ids get there within minutes.
            [first, second, third, ref rest @ ..] if third < 128 => {
                self.rest = rest;
                let low = u64::from(first) + (u64::from(second) << 4);
                Some(low + (u64::from(third) << 11))
            }
            _ => self.long_integer(),
        }
    }

    /// A varint length and as many bytes.
    #[inline(always)]
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.integer()?;
        // A length beyond the address space is beyond the frame as well.
        let length = usize::try_from(length).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    #[inline(always)]
    pub(crate) fn text(&mut self) -> Option<Text<'a>> {
        self.counted().map(Text::new)
    }

    /// A type byte and its value (SPOE.txt §3.1).
    #[inline(always)]
    pub(crate) fn typed_data(&mut self) -> Option<TypedData<'a>> {
        let tag = self.byte()?;
        // The types that most arguments have, ahead of the table of all.
        match tag & 0x0f {
            8 => self.text().map(TypedData::String),
            4 => self
                .integer()
                .map(|value| TypedData::Int64(value.cast_signed())),
            6 => self
                .array()
                .map(|bytes| TypedData::Ipv4(u32::from_be_bytes(bytes).into())),
            0 => Some(TypedData::Null),
            _ => self.other_data(tag),
        }
    }

    /// What [`typed_data`](Self::typed_data) takes, without making a value of it.
    #[inline(always)]
    pub(crate) fn skip_data(&mut self) -> Option<()> {
        let tag = self.byte()?;
        match tag & 0x0f {
            8 | 9 => self.counted().map(drop),
            0 | 1 => Some(()),
            4 | 5 => self.integer().map(drop),
            6 => self.array::<4>().map(drop),
            _ => self.other_data(tag).map(drop),
        }
    }

    fn other_data(&mut self, tag: u8) -> Option<TypedData<'a>> {
        Some(match tag & 0x0f {
            1 => TypedData::Bool(tag & 0x10 != 0),
            2 => TypedData::Int32(int32(self.integer()?)?),
            3 => TypedData::Uint32(self.integer()?.try_into().ok()?),
            5 => TypedData::Uint64(self.integer()?),
            7 => TypedData::Ipv6(u128::from_be_bytes(self.array()?).into()),
            9 => TypedData::Binary(self.counted()?),
            _ => return None,
        })
    }

    #[inline(always)]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn long_integer(&mut self) -> Option<u64> {
        let (value, rest) = varint::decode(self.rest).ok()?;
        self.rest = rest;
        Some(value)
    }
}

/// A negative INT32 comes sign-extended to 64 bits, as HAProxy writes it, or in 32 bits.
fn int32(value: u64) -> Option<i32> {
    match u32::try_from(value) {
        Ok(value) => Some(value.cast_signed()),
        Err(_) => i32::try_from(value.cast_signed()).ok(),
    }
}

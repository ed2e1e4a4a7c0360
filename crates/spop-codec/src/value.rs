//! Typed data: the values of arguments, variables and HELLO keys (SPOE.txt §3.1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BufMut;

use crate::text::Text;
use crate::varint;

/// A value, borrowed from its frame (SPOE.txt §3.1).
///
/// One byte tags it, the low four bits with the type and the high four with flags:
///
/// | type | tag | on the wire after the tag |
/// |---|---|---|
/// | NULL | 0 | nothing |
/// | BOOL | 1 | nothing: `0x11` is true, `0x01` false |
/// | INT32, UINT32, INT64, UINT64 | 2, 3, 4, 5 | varint, negative numbers as 64-bit two's complement |
/// | IPV4 | 6 | 4 bytes |
/// | IPV6 | 7 | 16 bytes |
/// | STRING, BINARY | 8, 9 | varint length and the bytes |
///
/// HAProxy sends every integer as INT64, a failed sample fetch as NULL and a method as
/// STRING, so read integers with [`to_i64`](Self::to_i64) or [`to_u64`](Self::to_u64)
/// rather than by variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TypedData<'a> {
    /// Nothing: the sample fetch had no value.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed 32-bit integer.
    Int32(i32),
    /// An unsigned 32-bit integer.
    Uint32(u32),
    /// A signed 64-bit integer, the only integer that HAProxy sends.
    Int64(i64),
    /// An unsigned 64-bit integer. HAProxy reads values above 2^63-1 as negative.
    Uint64(u64),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// Text, UTF-8 or not.
    String(Text<'a>),
    /// Bytes.
    Binary(&'a [u8]),
}

impl<'a> TypedData<'a> {
    /// Whether there is no value.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    pub const fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, whichever of the four kinds carried it, if an `i64` holds it.
    pub fn to_i64(&self) -> Option<i64> {
        match *self {
            Self::Int32(value) => Some(value.into()),
            Self::Uint32(value) => Some(value.into()),
            Self::Int64(value) => Some(value),
            Self::Uint64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// The integer, whichever of the four kinds carried it, if a `u64` holds it.
    pub fn to_u64(&self) -> Option<u64> {
        match *self {
            Self::Uint64(value) => Some(value),
            _ => self.to_i64()?.try_into().ok(),
        }
    }

    /// The address, if it is one of either family.
    pub const fn to_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Self::Ipv6(ip) => Some(IpAddr::V6(*ip)),
            _ => None,
        }
    }

    /// The text, if it is STRING.
    pub const fn to_text(&self) -> Option<Text<'a>> {
        match self {
            Self::String(text) => Some(*text),
            _ => None,
        }
    }

    /// The bytes, if it is STRING or BINARY.
    pub const fn to_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::String(text) => Some(text.as_bytes()),
            Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The name of the type in the protocol text.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Bool(_) => "BOOL",
            Self::Int32(_) => "INT32",
            Self::Uint32(_) => "UINT32",
            Self::Int64(_) => "INT64",
            Self::Uint64(_) => "UINT64",
            Self::Ipv4(_) => "IPV4",
            Self::Ipv6(_) => "IPV6",
            Self::String(_) => "STRING",
            Self::Binary(_) => "BINARY",
        }
    }

    /// How many bytes [`encode`](Self::encode) appends.
    #[inline]
    pub const fn encoded_len(&self) -> usize {
        1 + match *self {
            Self::Null | Self::Bool(_) => 0,
            Self::Int32(value) => varint::encoded_len((value as i64).cast_unsigned()),
            Self::Uint32(value) => varint::encoded_len(value as u64),
            Self::Int64(value) => varint::encoded_len(value.cast_unsigned()),
            Self::Uint64(value) => varint::encoded_len(value),
            Self::Ipv4(_) => 4,
            Self::Ipv6(_) => 16,
            Self::String(text) => counted_len(text.as_bytes()),
            Self::Binary(bytes) => counted_len(bytes),
        }
    }

    /// Appends the tag and the value.
    #[inline]
    pub fn encode(&self, out: &mut impl BufMut) {
        match *self {
            Self::Null => out.put_u8(0),
            Self::Bool(value) => out.put_u8(if value { 0x11 } else { 0x01 }),
            Self::Int32(value) => {
                out.put_u8(2);
                varint::encode(i64::from(value).cast_unsigned(), out);
            }
            Self::Uint32(value) => {
                out.put_u8(3);
                varint::encode(value.into(), out);
            }
            Self::Int64(value) => {
                out.put_u8(4);
                varint::encode(value.cast_unsigned(), out);
            }
            Self::Uint64(value) => {
                out.put_u8(5);
                varint::encode(value, out);
            }
            Self::Ipv4(ip) => {
                out.put_u8(6);
                out.put_slice(&ip.octets());
            }
            Self::Ipv6(ip) => {
                out.put_u8(7);
                out.put_slice(&ip.octets());
            }
            Self::String(text) => {
                out.put_u8(8);
                put_counted(text.as_bytes(), out);
            }
            Self::Binary(bytes) => {
                out.put_u8(9);
                put_counted(bytes, out);
            }
        }
    }
}

/// How many bytes [`put_counted`] appends.
#[inline]
pub(crate) const fn counted_len(bytes: &[u8]) -> usize {
    varint::encoded_len(bytes.len() as u64) + bytes.len()
}

/// Appends a varint length and the bytes: a name, or the body of a STRING.
#[inline]
pub(crate) fn put_counted(bytes: &[u8], out: &mut impl BufMut) {
    varint::encode(bytes.len() as u64, out);
    out.put_slice(bytes);
}

macro_rules! from {
    ($($source:ty => |$value:ident| $data:expr),* $(,)?) => {$(
        impl<'a> From<$source> for TypedData<'a> {
            fn from($value: $source) -> Self {
                $data
            }
        }
    )*};
}

from! {
    bool => |value| Self::Bool(value),
    i8 => |value| Self::Int32(value.into()),
    i16 => |value| Self::Int32(value.into()),
    u8 => |value| Self::Uint32(value.into()),
    u16 => |value| Self::Uint32(value.into()),
    i32 => |value| Self::Int32(value),
    u32 => |value| Self::Uint32(value),
    i64 => |value| Self::Int64(value),
    u64 => |value| Self::Uint64(value),
    Ipv4Addr => |ip| Self::Ipv4(ip),
    Ipv6Addr => |ip| Self::Ipv6(ip),
    IpAddr => |ip| match ip {
        IpAddr::V4(ip) => Self::Ipv4(ip),
        IpAddr::V6(ip) => Self::Ipv6(ip),
    },
    &'a str => |text| Self::String(Text::from(text)),
    &'a alloc::string::String => |text| Self::String(Text::from(&**text)),
    Text<'a> => |text| Self::String(text),
    &'a [u8] => |bytes| Self::Binary(bytes),
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::error::Malformed;
    use crate::parse;

    fn encoded(value: TypedData<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        out
    }

    fn decoded(bytes: &[u8]) -> Result<TypedData<'_>, Malformed> {
        match parse::typed_data(bytes) {
            Ok((&[], value)) => Ok(value),
            Ok((rest, _)) => panic!("{} bytes left", rest.len()),
            Err(error) => Err(parse::malformed(error)),
        }
    }

    #[test]
    fn golden() {
        let vectors: &[(TypedData<'_>, &[u8])] = &[
            (TypedData::Null, &[0x00]),
            (true.into(), &[0x11]),
            (false.into(), &[0x01]),
            (100_i32.into(), &[0x02, 0x64]),
            (
                (-2_i32).into(),
                &[
                    0x02, 0xfe, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e,
                ],
            ),
            (16380_u32.into(), &[0x03, 0xfc, 0xf0, 0x06]),
            (
                (-1_i64).into(),
                &[
                    0x04, 0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e,
                ],
            ),
            (240_u64.into(), &[0x05, 0xf0, 0x00]),
            (Ipv4Addr::LOCALHOST.into(), &[0x06, 0x7f, 0, 0, 1]),
            (
                Ipv6Addr::LOCALHOST.into(),
                &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            ),
            ("ok".into(), &[0x08, 0x02, b'o', b'k']),
            (TypedData::Binary(&[0xff]), &[0x09, 0x01, 0xff]),
        ];
        for (value, bytes) in vectors {
            assert_eq!(encoded(*value), *bytes, "{value:?}");
            assert_eq!(decoded(bytes), Ok(*value), "{value:?}");
        }
    }

    #[test]
    fn thirty_two_bits() {
        // -2 in 32 bits only, as a peer that does not sign-extend would send it.
        assert_eq!(
            decoded(&[0x02, 0xfe, 0xf0, 0xfe, 0xfe, 0x7e]),
            Ok(TypedData::Int32(-2))
        );
        let two_to_the_32 = [0x02, 0xf0, 0xf1, 0xfe, 0xfe, 0x7e];
        assert_eq!(decoded(&two_to_the_32), Err(Malformed::IntegerRange));
        assert_eq!(
            decoded(&[0x03, 0xf0, 0xf1, 0xfe, 0xfe, 0x7e]),
            Err(Malformed::IntegerRange)
        );
    }

    #[test]
    fn integers_across_kinds() {
        assert_eq!(TypedData::Int64(7).to_u64(), Some(7));
        assert_eq!(TypedData::Int64(-7).to_u64(), None);
        assert_eq!(TypedData::Uint64(u64::MAX).to_i64(), None);
        assert_eq!(TypedData::Uint64(u64::MAX).to_u64(), Some(u64::MAX));
        assert_eq!(TypedData::Bool(true).to_i64(), None);
    }

    #[test]
    fn flags_of_other_types_are_ignored() {
        assert_eq!(decoded(&[0xf0]), Ok(TypedData::Null));
        assert_eq!(decoded(&[0x21]), Ok(TypedData::Bool(false)));
        assert_eq!(decoded(&[0x31]), Ok(TypedData::Bool(true)));
        for reserved in 10..16 {
            assert_eq!(decoded(&[reserved]), Err(Malformed::DataType(reserved)));
        }
    }

    #[test]
    fn lengths_beyond_the_frame() {
        assert_eq!(
            decoded(&[0x08, 0x03, b'o', b'k']),
            Err(Malformed::Truncated)
        );
        let all_ones = [
            0x09, 0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e, 0,
        ];
        assert_eq!(decoded(&all_ones), Err(Malformed::Truncated));
        assert_eq!(decoded(&[0x06, 127, 0, 0]), Err(Malformed::Truncated));
        assert_eq!(decoded(&[]), Err(Malformed::Truncated));
    }
}

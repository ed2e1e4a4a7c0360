//! Variable-length integers, the "peers" encoding of HAProxy (SPOE.txt §3.1).
//!
//! Values below 240 take one byte. Above, the first byte keeps the low four bits under
//! `0xf0`, and each byte after it seven more, the top bit telling that another follows:
//!
//! ```text
//!      0 ..      239   1 byte     XXXXXXXX            (below 0xf0)
//!    240 ..     2287   2 bytes    1111XXXX 0XXXXXXX
//!   2288 ..   264431   3 bytes    1111XXXX 1XXXXXXX 0XXXXXXX
//!    ...
//!   2^64-1            10 bytes
//! ```
//!
//! Each length starts counting where the shorter one ends, so a value has one encoding
//! only. HAProxy's reader has no bound; this one stops at ten bytes and never wraps.

use bytes::BufMut;

use crate::error::Malformed;

/// Bytes of the longest encoding, that of every value from 9 295 997 013 522 923 760 up.
pub const MAX_LEN: usize = 10;

/// Appends `value`, in 1 to [`MAX_LEN`] bytes.
///
/// ```
/// let mut out = Vec::new();
/// spop_codec::varint::encode(2288, &mut out);
/// assert_eq!(out, [0xf0, 0x80, 0x00]);
/// ```
#[inline]
pub fn encode(value: u64, out: &mut impl BufMut) {
    if value < 240 {
        out.put_u8(low_byte(value));
        return;
    }
    out.put_u8(low_byte(value) | 0xf0);
    let mut rest = (value - 240) >> 4;
    while rest >= 128 {
        out.put_u8(low_byte(rest) | 0x80);
        rest = (rest - 128) >> 7;
    }
    out.put_u8(low_byte(rest));
}

/// Writes `value` to the front of `out` and says how many bytes that took: what is beyond its
/// end is left out. For a few varints in a row this beats [`encode`] by far.
#[inline]
pub(crate) fn write(value: u64, out: Option<&mut [u8]>) -> usize {
    let Some((first, out)) = out.and_then(<[u8]>::split_first_mut) else {
        return 0;
    };
    if value < 240 {
        *first = low_byte(value);
        return 1;
    }
    *first = low_byte(value) | 0xf0;
    let mut rest = (value - 240) >> 4;
    let mut len = 1;
    for byte in out {
        len += 1;
        if rest < 128 {
            *byte = low_byte(rest);
            break;
        }
        *byte = low_byte(rest) | 0x80;
        rest = (rest - 128) >> 7;
    }
    len
}

/// How many bytes [`encode`] writes for `value`.
#[inline]
pub const fn encoded_len(value: u64) -> usize {
    if value < 240 {
        return 1;
    }
    let mut len = 2;
    let mut rest = (value - 240) >> 4;
    while rest >= 128 {
        rest = (rest - 128) >> 7;
        len += 1;
    }
    len
}

/// Reads one integer off the front of `input`; the second part is what follows it.
///
/// # Errors
/// [`Malformed::Truncated`] when `input` ends inside the integer, [`Malformed::Varint`]
/// when it is longer than ten bytes or above 2^64-1.
///
/// ```
/// let (value, rest) = spop_codec::varint::decode(&[0xf0, 0x80, 0x00, 0x2a])?;
/// assert_eq!((value, rest), (2288, &[0x2a][..]));
/// # Ok::<(), spop_codec::Malformed>(())
/// ```
#[inline]
pub fn decode(input: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    match input.split_first() {
        Some((&first, rest)) if first < 240 => Ok((u64::from(first), rest)),
        Some((&first, rest)) => decode_long(first, rest),
        None => Err(Malformed::Truncated),
    }
}

fn decode_long(first: u8, mut rest: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut value = u64::from(first);
    let mut shift = 4;
    loop {
        let (&byte, after) = rest.split_first().ok_or(Malformed::Truncated)?;
        // The tenth byte is shifted by 60: `checked_shl` ends an eleventh, the two other
        // checks whatever does not fit in 64 bits.
        let unit = 1_u64.checked_shl(shift).ok_or(Malformed::Varint)?;
        value = u64::from(byte)
            .checked_mul(unit)
            .and_then(|part| value.checked_add(part))
            .ok_or(Malformed::Varint)?;
        rest = after;
        shift += 7;
        if byte < 128 {
            return Ok((value, rest));
        }
    }
}

fn low_byte(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn golden() {
        let vectors: &[(u64, &[u8])] = &[
            (0, &[0x00]),
            (239, &[0xef]),
            (240, &[0xf0, 0x00]),
            (241, &[0xf1, 0x00]),
            (255, &[0xff, 0x00]),
            (256, &[0xf0, 0x01]),
            (2287, &[0xff, 0x7f]),
            (2288, &[0xf0, 0x80, 0x00]),
            (16380, &[0xfc, 0xf0, 0x06]),
            (264_431, &[0xff, 0xff, 0x7f]),
            (264_432, &[0xf0, 0x80, 0x80, 0x00]),
            (33_818_863, &[0xff, 0xff, 0xff, 0x7f]),
            (33_818_864, &[0xf0, 0x80, 0x80, 0x80, 0x00]),
            (4_328_786_159, &[0xff, 0xff, 0xff, 0xff, 0x7f]),
            (4_328_786_160, &[0xf0, 0x80, 0x80, 0x80, 0x80, 0x00]),
            ((1 << 31) - 1, &[0xff, 0xf0, 0xfe, 0xfe, 0x3e]),
            ((1 << 32) - 1, &[0xff, 0xf0, 0xfe, 0xfe, 0x7e]),
            (1 << 32, &[0xf0, 0xf1, 0xfe, 0xfe, 0x7e]),
            (
                (1 << 63) - 1,
                &[0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x06],
            ),
            (
                1 << 63,
                &[0xf0, 0xf1, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x06],
            ),
            (
                u64::MAX,
                &[0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e],
            ),
        ];
        for (value, bytes) in vectors {
            assert_eq!(encoded(*value), *bytes, "{value}");
            assert_eq!(decode(bytes), Ok((*value, &[][..])), "{value}");
        }
    }

    #[test]
    fn beyond_64_bits() {
        let two_to_the_64 = [0xf0, 0xf1, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e];
        assert_eq!(decode(&two_to_the_64), Err(Malformed::Varint));
        assert_eq!(decode(&[0xff; 9]), Err(Malformed::Truncated));
        assert_eq!(decode(&[0xff; 10]), Err(Malformed::Varint));
        let eleven = [
            0xf0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
        ];
        assert_eq!(decode(&eleven), Err(Malformed::Varint));
        assert_eq!(decode(&[]), Err(Malformed::Truncated));
    }

    proptest! {
        #[test]
        fn round_trip(value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            let bytes = encoded(value);
            prop_assert_eq!(bytes.len(), encoded_len(value));
            prop_assert_eq!(decode(&bytes), Ok((value, &[][..])));
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..cut]), Err(Malformed::Truncated));
            }
        }

        #[test]
        fn one_encoding_only(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok((value, rest)) = decode(&bytes) {
                let read = &bytes[..bytes.len() - rest.len()];
                prop_assert_eq!(read.to_vec(), encoded(value));
            }
        }
    }
}

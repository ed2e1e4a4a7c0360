//! Integers: the codec against the protocol text.

use spop_codec::{Malformed, varint};

use crate::by_the_text;

/// Reads `data` both ways, and writes back what it holds.
pub fn check(data: &[u8]) {
    let read = varint::decode(data);
    let mut rest = data;
    let expected = by_the_text::integer(&mut rest).map(|value| (value, rest));
    assert_eq!(read, expected);
    if let Ok((value, rest)) = read {
        let used = &data[..data.len() - rest.len()];
        assert_eq!(encoded(value), used, "{value} has one encoding");
    }
    if let Some(&bytes) = data.first_chunk() {
        let value = u64::from_le_bytes(bytes);
        let wire = encoded(value);
        assert_eq!(varint::decode(&wire), Ok((value, &[][..])));
        for cut in 0..wire.len() {
            assert_eq!(varint::decode(&wire[..cut]), Err(Malformed::Truncated));
        }
    }
}

fn encoded(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::encode(value, &mut out);
    assert_eq!(out.len(), varint::encoded_len(value));
    assert!(out.len() <= varint::MAX_LEN);
    out
}

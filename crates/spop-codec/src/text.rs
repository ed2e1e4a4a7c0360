//! Text as HAProxy sends it: bytes that are usually, but not always, UTF-8.

use core::fmt;
use core::str::Utf8Error;

/// A name or a STRING value (SPOE.txt §3.1), borrowed from its frame.
///
/// Two different byte strings never compare equal, so a `Text` can serve as a key where a
/// lossy conversion would let clients collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The bytes as text.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes as they came.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text, if it is UTF-8.
    ///
    /// # Errors
    /// Where it stops being UTF-8.
    pub const fn to_str(self) -> Result<&'a str, Utf8Error> {
        core::str::from_utf8(self.0)
    }

    /// Length in bytes.
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is no byte.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl PartialEq<str> for Text<'_> {
    #[inline]
    fn eq(&self, other: &str) -> bool {
        same(self.0, other.as_bytes())
    }
}

impl PartialEq<&str> for Text<'_> {
    #[inline]
    fn eq(&self, other: &&str) -> bool {
        same(self.0, other.as_bytes())
    }
}

/// Equality for names: of 4 to 16 bytes, as nearly all have, the first and the last bytes are
/// compared, which overlap, in two steps instead of a call of the C library.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
        a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
    }
    match (a.len(), b.len()) {
        (a, b) if a != b => false,
        (4..=7, _) => ends::<4>(a, b),
        (8..=16, _) => ends::<8>(a, b),
        _ => a == b,
    }
}

/// Printable: bytes that are not visible ASCII are escaped (`\n`, `\xff`), so that a log
/// line stays one line.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.escape_ascii(), f)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each length with each byte wrong in turn.
    #[test]
    fn equal_to_a_name_byte_for_byte() {
        let name = "abcdefghijklmnopqrstuvwxyz";
        for length in 0..=name.len() {
            let name = &name[..length];
            assert_eq!(Text::from(name), *name);
            for wrong in 0..length {
                let mut other = alloc::vec::Vec::from(name);
                other[wrong] = b'_';
                assert_ne!(Text::new(&other), *name, "{wrong} of {length}");
                assert_ne!(Text::new(&other[..wrong]), *name);
            }
        }
    }
}

//! The bytes of an ACK in the making: few on the spot, more on the heap.

use core::mem;

use alloc::vec::Vec;

/// Bytes that need no allocation: one short variable. More of them would cost every answer
/// more to move about than an allocation costs those that need one.
pub(crate) const SPOT: usize = 23;

/// Bytes that the first allocation holds: a dozen variables, without growing on the way.
const FIRST_CAPACITY: usize = 256;

/// A byte buffer that begins on the spot and moves to the heap when it has to.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Spot { len: u8, bytes: [u8; SPOT] },
    Heap(Vec<u8>),
}

impl Payload {
    pub(crate) const fn new() -> Self {
        Self::Spot {
            len: 0,
            bytes: [0; SPOT],
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Spot { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Heap(bytes) => bytes,
        }
    }

    /// Empties it and keeps its memory.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Spot { len, .. } => *len = 0,
            Self::Heap(bytes) => bytes.clear(),
        }
    }

    /// Makes it `size` bytes longer and gives these for writing, if they fit on the spot.
    #[inline]
    pub(crate) fn spot(&mut self, size: usize) -> Option<&mut [u8]> {
        let Self::Spot { len, bytes } = self else {
            return None;
        };
        let start = usize::from(*len);
        let end = start.checked_add(size)?;
        let room = bytes.get_mut(start..end)?;
        *len = u8::try_from(end).ok()?;
        Some(room)
    }

    /// Moves all bytes to the heap, if necessary, and lets `write` append `size` more there.
    pub(crate) fn heap(&mut self, size: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let mut heap = match mem::take(self) {
            Self::Heap(bytes) => bytes,
            Self::Spot { len, bytes } => {
                let len = usize::from(len);
                let mut heap = Vec::with_capacity((len + size).max(FIRST_CAPACITY));
                heap.extend_from_slice(bytes.get(..len).unwrap_or_default());
                heap
            }
        };
        write(&mut heap);
        *self = Self::Heap(heap);
    }

    pub(crate) fn extend(&mut self, more: &[u8]) {
        match self.spot(more.len()) {
            Some(room) => room.copy_from_slice(more),
            None => self.heap(more.len(), |heap| heap.extend_from_slice(more)),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Payload {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_to_the_heap_when_the_spot_is_full() {
        let mut payload = Payload::new();
        let mut expected = Vec::new();
        for byte in 0..=255 {
            payload.extend(&[byte; 3]);
            expected.extend_from_slice(&[byte; 3]);
            assert_eq!(payload.as_slice(), expected);
            let on_the_spot = matches!(payload, Payload::Spot { .. });
            assert_eq!(on_the_spot, expected.len() <= SPOT);
        }
        payload.clear();
        assert_eq!(payload, Payload::new());
    }
}

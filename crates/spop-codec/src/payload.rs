//! The bytes of an ACK in the making: few on the spot, more on the heap.

use alloc::vec::Vec;

/// Bytes that need no allocation: three short variables.
const SPOT: usize = 47;

/// Bytes that the first allocation holds: a dozen variables, without growing on the way.
const FIRST_CAPACITY: usize = 256;

/// A byte buffer that begins on the spot and moves to the heap when it has to.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    /// Bytes in use on the spot; none once there is a heap.
    len: u8,
    spot: [u8; SPOT],
    /// All bytes, if it has any capacity.
    heap: Vec<u8>,
}

impl Payload {
    pub(crate) const fn new() -> Self {
        Self {
            len: 0,
            spot: [0; SPOT],
            heap: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self.heap.capacity() {
            0 => self.spot.get(..usize::from(self.len)).unwrap_or_default(),
            _ => &self.heap,
        }
    }

    /// Empties it and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.heap.clear();
    }

    /// Makes it `size` bytes longer and gives these for writing, if they fit on the spot.
    #[inline]
    pub(crate) fn spot(&mut self, size: usize) -> Option<&mut [u8]> {
        if self.heap.capacity() > 0 {
            return None;
        }
        let start = usize::from(self.len);
        let end = start.checked_add(size)?;
        let room = self.spot.get_mut(start..end)?;
        self.len = u8::try_from(end).ok()?;
        Some(room)
    }

    /// All bytes on the heap, moved there if necessary, with room for `size` more.
    pub(crate) fn heap(&mut self, size: usize) -> &mut Vec<u8> {
        if self.heap.capacity() == 0 {
            let spot = self.as_slice();
            let mut heap = Vec::with_capacity((spot.len() + size).max(FIRST_CAPACITY));
            heap.extend_from_slice(spot);
            self.heap = heap;
            self.len = 0;
        }
        self.heap.reserve(size);
        &mut self.heap
    }

    pub(crate) fn extend(&mut self, more: &[u8]) {
        match self.spot(more.len()) {
            Some(room) => room.copy_from_slice(more),
            None => self.heap(more.len()).extend_from_slice(more),
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
            let on_the_spot = payload.heap.capacity() == 0;
            assert_eq!(on_the_spot, expected.len() <= SPOT);
        }
        payload.clear();
        assert_eq!(payload, Payload::new());
    }
}

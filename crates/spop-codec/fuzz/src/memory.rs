//! Counts what is allocated, so that a check can tell when a peer's bytes cost too much.

use std::alloc::System;

use cap::Cap;

/// Far above any need: an allocation by a length that the peer chose fails at once.
const LIMIT: usize = 64 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, LIMIT);

/// What was allocated when a check began.
pub(crate) struct Memory {
    before: usize,
}

impl Memory {
    pub(crate) fn begin() -> Self {
        Self {
            before: ALLOCATOR.allocated(),
        }
    }

    /// Fails the check if more than `bytes` have come on top since.
    #[track_caller]
    pub(crate) fn assert_at_most(&self, bytes: usize) {
        let held = ALLOCATOR.allocated().saturating_sub(self.before);
        assert!(held <= bytes, "{held} bytes are held, {bytes} at most");
    }
}

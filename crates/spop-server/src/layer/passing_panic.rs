//! Panics that a layer tells of and lets pass.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `run`, and `tell` before its panic goes on.
pub(super) fn on_panic<T>(run: impl FnOnce() -> T, tell: impl FnOnce()) -> T {
    // Unwind safe: the panic goes on.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        tell();
        resume_unwind(panic)
    })
}

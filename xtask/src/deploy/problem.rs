//! A mistake in a file.

use std::fmt;

/// One line for whoever has to correct it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    /// Relative to the root.
    pub(super) file: String,
    /// What is wrong, and what is expected.
    pub(super) what: String,
    /// The overlay in which it shows; empty if it has nothing to do with any.
    pub(super) overlay: String,
}

impl Problem {
    pub(super) fn new(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            what: what.into(),
            overlay: String::new(),
        }
    }

    /// The same, seen in one rendered overlay.
    pub(super) fn within(mut self, overlay: &str) -> Self {
        self.overlay = overlay.to_owned();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

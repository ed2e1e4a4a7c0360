//! Status codes of DISCONNECT frames (SPOE.txt §3.5).

use core::fmt;

/// A status-code (SPOE.txt §3.5). Any number may come from the peer; agents should send 0 to
/// 99 only, because HAProxy 3.1 and later index a table of a hundred reasons with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// Normal end.
    pub const NORMAL: Self = Self(0);
    /// I/O error.
    pub const IO: Self = Self(1);
    /// A timeout occurred.
    pub const TIMEOUT: Self = Self(2);
    /// A frame is too big.
    pub const TOO_BIG: Self = Self(3);
    /// An invalid frame.
    pub const INVALID_FRAME: Self = Self(4);
    /// HELLO without a version.
    pub const NO_VERSION: Self = Self(5);
    /// HELLO without max-frame-size.
    pub const NO_MAX_FRAME_SIZE: Self = Self(6);
    /// HELLO without capabilities.
    pub const NO_CAPABILITIES: Self = Self(7);
    /// No common version.
    pub const UNSUPPORTED_VERSION: Self = Self(8);
    /// max-frame-size too small or too big.
    pub const BAD_MAX_FRAME_SIZE: Self = Self(9);
    /// A fragment, though fragmentation is not supported.
    pub const FRAGMENTATION_NOT_SUPPORTED: Self = Self(10);
    /// Fragments of two frames mixed.
    pub const INTERLACED_FRAMES: Self = Self(11);
    /// An ACK for a frame-id that is not waited for.
    pub const FRAME_ID_NOT_FOUND: Self = Self(12);
    /// Out of some resource.
    pub const RESOURCE: Self = Self(13);
    /// Any other reason.
    pub const UNKNOWN: Self = Self(99);

    /// What the code means, in the words that travel in the `message` key.
    pub const fn reason(self) -> &'static str {
        match self.0 {
            0 => "normal",
            1 => "I/O error",
            2 => "a timeout occurred",
            3 => "frame is too big",
            4 => "invalid frame received",
            5 => "version value not found",
            6 => "max-frame-size value not found",
            7 => "capabilities value not found",
            8 => "unsupported version",
            9 => "max-frame-size too big or too small",
            10 => "fragmentation not supported",
            11 => "invalid interlaced frames",
            12 => "frame-id not found",
            13 => "resource allocation error",
            _ => "an unknown error occurred",
        }
    }
}

/// The number and its reason: `8 (unsupported version)`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.reason())
    }
}

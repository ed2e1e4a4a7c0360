//! Capabilities that a HELLO frame announces (SPOE.txt §3.2.1).

use core::fmt;

/// A set of capabilities (SPOE.txt §3.2.1). Tokens that nobody assigned are dropped when read.
///
/// ```
/// use spop_codec::Capabilities;
///
/// let announced = Capabilities::parse(b"async, pipelining ,pipelining2");
/// assert!(announced.contains(Capabilities::PIPELINING));
/// assert_eq!((announced & Capabilities::PIPELINING).to_string(), "pipelining");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    /// No capability: one NOTIFY in flight, whole frames only.
    pub const NONE: Self = Self(0);
    /// Several NOTIFY frames may wait for their ACK on one connection.
    pub const PIPELINING: Self = Self(1);
    /// Its sender reads frames in fragments. Spoken by HAProxy up to 3.0 only, and only so that
    /// it sends them.
    pub const FRAGMENTATION: Self = Self(2);
    /// An ACK may travel on another connection than its NOTIFY. Spoken by HAProxy up to 3.0
    /// only; this crate reads it and never announces it.
    pub const ASYNC: Self = Self(4);

    const NAMES: [(Self, &'static str); 3] = [
        (Self::PIPELINING, "pipelining"),
        (Self::FRAGMENTATION, "fragmentation"),
        (Self::ASYNC, "async"),
    ];

    /// Reads a comma-separated list. Spaces around tokens and unknown tokens are ignored.
    pub fn parse(list: &[u8]) -> Self {
        let mut found = Self::NONE;
        for token in list.split(|&byte| byte == b',') {
            let token = token.trim_ascii();
            for (capability, name) in Self::NAMES {
                if token == name.as_bytes() {
                    found = found | capability;
                }
            }
        }
        found
    }

    /// Whether every capability of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl core::ops::BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The wire form: a comma-separated list in a fixed order.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (capability, name) in Self::NAMES {
            if self.contains(capability) {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

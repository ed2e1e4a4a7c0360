//! HAPROXY-HELLO, AGENT-HELLO and what they agree on (SPOE.txt §3.2.4, §3.2.5).

use alloc::string::ToString;

use bytes::{Bytes, BytesMut};

use super::{FrameType, Header, RawFrame};
use crate::capability::Capabilities;
use crate::error::{DecodeError, Malformed};
use crate::parse;
use crate::status::Status;
use crate::value::{TypedData, put_counted};

/// The version of the protocol: the only one that HAProxy ever spoke (SPOE.txt §3.2.4).
pub const VERSION: &str = "2.0";

/// The smallest max-frame-size that may be announced or agreed on, in bytes (SPOE.txt §3.2).
pub const MIN_FRAME_SIZE: u32 = 256;

const SUPPORTED_VERSIONS: &str = "supported-versions";
const CURRENT_VERSION: &str = "version";
const MAX_FRAME_SIZE: &str = "max-frame-size";
const CAPABILITIES: &str = "capabilities";
const ENGINE_ID: &str = "engine-id";
const HEALTHCHECK: &str = "healthcheck";

/// HAProxy's first frame (SPOE.txt §3.2.4). A key that was absent is `None`; of a repeated
/// key the last wins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HaproxyHello {
    /// `supported-versions`: a comma-separated list, `2.0`.
    pub supported_versions: Option<Bytes>,
    /// `max-frame-size`: the largest frame HAProxy sends and accepts, in bytes.
    pub max_frame_size: Option<u64>,
    /// `capabilities`, empty when absent: a health check announces none.
    pub capabilities: Capabilities,
    /// `engine-id`: names the HAProxy process (up to 3.0: its thread). Absent in checks.
    pub engine_id: Option<Bytes>,
    /// `healthcheck`: the connection ends after the agent's HELLO.
    pub healthcheck: bool,
}

impl HaproxyHello {
    /// What HAProxy 3.1 and later open a connection with.
    pub fn new(max_frame_size: u32, engine_id: impl Into<Bytes>) -> Self {
        Self {
            supported_versions: Some(Bytes::from_static(VERSION.as_bytes())),
            max_frame_size: Some(max_frame_size.into()),
            capabilities: Capabilities::PIPELINING,
            engine_id: Some(engine_id.into()),
            healthcheck: false,
        }
    }

    /// The frame of `option spop-check`: no capabilities, no engine-id.
    pub fn health_check(max_frame_size: u32) -> Self {
        Self {
            capabilities: Capabilities::NONE,
            engine_id: None,
            healthcheck: true,
            ..Self::new(max_frame_size, Bytes::new())
        }
    }

    /// The agent's answer, given its own limit and capabilities.
    ///
    /// # Errors
    /// The status to disconnect with: no version (5) or max-frame-size (6), no version in
    /// common (8), a max-frame-size below [`MIN_FRAME_SIZE`] (9). Missing capabilities are
    /// not an error: health checks of all HAProxy versions come without.
    pub fn negotiate(
        &self,
        max_frame_size: u32,
        capabilities: Capabilities,
    ) -> Result<Negotiated, Status> {
        let versions = self.supported_versions.as_ref();
        if !supports_version_2(versions.ok_or(Status::NO_VERSION)?) {
            return Err(Status::UNSUPPORTED_VERSION);
        }
        let announced = self.max_frame_size.ok_or(Status::NO_MAX_FRAME_SIZE)?;
        if announced < MIN_FRAME_SIZE.into() {
            return Err(Status::BAD_MAX_FRAME_SIZE);
        }
        let announced = u32::try_from(announced).unwrap_or(u32::MAX);
        Ok(Negotiated {
            max_frame_size: announced.min(max_frame_size.max(MIN_FRAME_SIZE)),
            announced_frame_size: announced,
            capabilities: (self.capabilities & capabilities)
                | (capabilities & Capabilities::FRAGMENTATION),
        })
    }

    pub(super) fn decode(raw: &RawFrame) -> Result<Self, DecodeError> {
        let mut hello = Self {
            supported_versions: None,
            max_frame_size: None,
            capabilities: Capabilities::NONE,
            engine_id: None,
            healthcheck: false,
        };
        parse::each(
            &raw.payload,
            raw.payload_offset,
            parse::entry,
            |(key, value)| {
                if key == SUPPORTED_VERSIONS {
                    hello.supported_versions = Some(string(raw, SUPPORTED_VERSIONS, value)?);
                } else if key == MAX_FRAME_SIZE {
                    hello.max_frame_size = Some(frame_size(value)?);
                } else if key == CAPABILITIES {
                    hello.capabilities = Capabilities::parse(&string(raw, CAPABILITIES, value)?);
                } else if key == ENGINE_ID {
                    hello.engine_id = Some(string(raw, ENGINE_ID, value)?);
                } else if key == HEALTHCHECK {
                    hello.healthcheck = value.to_bool().ok_or(Malformed::ValueType(HEALTHCHECK))?;
                }
                Ok(())
            },
        )?;
        Ok(hello)
    }

    /// Appends the frame, with the keys in HAProxy's order.
    pub fn encode(&self, out: &mut BytesMut) {
        Header::new(FrameType::HAPROXY_HELLO, 0, 0).encode_frame(out, |out| {
            if let Some(versions) = &self.supported_versions {
                put_string(SUPPORTED_VERSIONS, versions, out);
            }
            if let Some(size) = self.max_frame_size {
                put_frame_size(size, out);
            }
            put_string(CAPABILITIES, self.capabilities.to_string().as_bytes(), out);
            if let Some(engine_id) = &self.engine_id {
                put_string(ENGINE_ID, engine_id, out);
            }
            if self.healthcheck {
                put_counted(HEALTHCHECK.as_bytes(), out);
                TypedData::Bool(true).encode(out);
            }
        });
    }
}

/// The agent's first frame (SPOE.txt §3.2.5). A key that was absent is `None`; of a repeated
/// key the last wins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentHello {
    /// `version`: the one version the agent chose.
    pub version: Option<Bytes>,
    /// `max-frame-size`: the limit agreed on, in bytes.
    pub max_frame_size: Option<u64>,
    /// `capabilities`; `None` when the key is absent, which fails HAProxy's checks.
    pub capabilities: Option<Capabilities>,
}

impl AgentHello {
    /// The frame that tells HAProxy what was agreed on.
    pub fn new(agreed: &Negotiated) -> Self {
        Self {
            version: Some(Bytes::from_static(VERSION.as_bytes())),
            max_frame_size: Some(agreed.max_frame_size.into()),
            capabilities: Some(agreed.capabilities),
        }
    }

    /// Judges this answer to HAProxy's `hello`, as HAProxy does: what any of its versions
    /// refuses is refused.
    ///
    /// # Errors
    /// The status to disconnect with: no version (5), max-frame-size (6) or, in answer to a
    /// health check, capabilities (7); a version other than 2.0 (8); a max-frame-size below
    /// [`MIN_FRAME_SIZE`] or above the one that `hello` announced (9). Also what
    /// [`HaproxyHello::negotiate`] says of a `hello` that no agent should have accepted.
    ///
    /// ```
    /// use spop_codec::{AgentHello, Capabilities, HaproxyHello, Status};
    ///
    /// let ours = HaproxyHello::new(16380, "an-engine");
    /// let mut theirs = AgentHello::new(&ours.negotiate(4096, Capabilities::PIPELINING)?);
    /// assert_eq!(theirs.check(&ours)?.max_frame_size, 4096);
    /// theirs.max_frame_size = Some(16384);
    /// assert_eq!(theirs.check(&ours), Err(Status::BAD_MAX_FRAME_SIZE));
    /// # Ok::<(), Status>(())
    /// ```
    pub fn check(&self, hello: &HaproxyHello) -> Result<Negotiated, Status> {
        let version = self.version.as_ref().ok_or(Status::NO_VERSION)?;
        if version_numbers(version) != Some((2, 0)) {
            return Err(Status::UNSUPPORTED_VERSION);
        }
        let announced = hello.max_frame_size.ok_or(Status::NO_MAX_FRAME_SIZE)?;
        let agreed = self.max_frame_size.ok_or(Status::NO_MAX_FRAME_SIZE)?;
        let agreed = match u32::try_from(agreed) {
            Ok(size) if size >= MIN_FRAME_SIZE && agreed <= announced => size,
            _ => return Err(Status::BAD_MAX_FRAME_SIZE),
        };
        if hello.healthcheck && self.capabilities.is_none() {
            return Err(Status::NO_CAPABILITIES);
        }
        hello.negotiate(agreed, self.capabilities.unwrap_or_default())
    }

    pub(super) fn decode(raw: &RawFrame) -> Result<Self, DecodeError> {
        let mut hello = Self {
            version: None,
            max_frame_size: None,
            capabilities: None,
        };
        parse::each(
            &raw.payload,
            raw.payload_offset,
            parse::entry,
            |(key, value)| {
                if key == CURRENT_VERSION {
                    hello.version = Some(string(raw, CURRENT_VERSION, value)?);
                } else if key == MAX_FRAME_SIZE {
                    hello.max_frame_size = Some(frame_size(value)?);
                } else if key == CAPABILITIES {
                    let list = string(raw, CAPABILITIES, value)?;
                    hello.capabilities = Some(Capabilities::parse(&list));
                }
                Ok(())
            },
        )?;
        Ok(hello)
    }

    /// Appends the frame. HAProxy's checks demand all three keys.
    pub fn encode(&self, out: &mut BytesMut) {
        Header::new(FrameType::AGENT_HELLO, 0, 0).encode_frame(out, |out| {
            if let Some(version) = &self.version {
                put_string(CURRENT_VERSION, version, out);
            }
            if let Some(size) = self.max_frame_size {
                put_frame_size(size, out);
            }
            if let Some(capabilities) = self.capabilities {
                put_string(CAPABILITIES, capabilities.to_string().as_bytes(), out);
            }
        });
    }
}

/// What the two HELLO frames agreed on (SPOE.txt §3.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Negotiated {
    /// The largest frame either side sends, in bytes: the smaller of the two limits.
    pub max_frame_size: u32,
    /// What HAProxy announced. HAProxy 3.1 exceeds the agreed size up to this one.
    pub announced_frame_size: u32,
    /// The capabilities that both announced, and fragmentation if the agent did: it says what
    /// its sender can read, whoever else can (SPOE.txt §3.2.1 up to HAProxy 3.0).
    pub capabilities: Capabilities,
}

/// Whether a version of major 2 is in the list: an older minor one is implied by a newer.
fn supports_version_2(list: &[u8]) -> bool {
    list.split(|&byte| byte == b',')
        .any(|version| matches!(version_numbers(version), Some((2, _))))
}

/// Major and minor, to be compared as numbers: `2.00` is 2.0. Spaces around are ignored.
fn version_numbers(version: &[u8]) -> Option<(u32, u32)> {
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let version = core::str::from_utf8(version.trim_ascii()).ok()?;
    let (major, minor) = version.split_once('.')?;
    Some((number(major)?, number(minor)?))
}

fn string(raw: &RawFrame, key: &'static str, value: TypedData<'_>) -> Result<Bytes, Malformed> {
    let text = value.to_text().ok_or(Malformed::ValueType(key))?;
    Ok(raw.payload.slice_ref(text.as_bytes()))
}

/// A negative size counts as 0, which is refused as too small, not as malformed.
fn frame_size(value: TypedData<'_>) -> Result<u64, Malformed> {
    match (value.to_u64(), value.to_i64()) {
        (Some(size), _) => Ok(size),
        (None, Some(_negative)) => Ok(0),
        (None, None) => Err(Malformed::ValueType(MAX_FRAME_SIZE)),
    }
}

fn put_frame_size(size: u64, out: &mut BytesMut) {
    put_counted(MAX_FRAME_SIZE.as_bytes(), out);
    match u32::try_from(size) {
        Ok(size) => TypedData::Uint32(size).encode(out),
        Err(_) => TypedData::Uint64(size).encode(out),
    }
}

fn put_string(key: &str, value: &[u8], out: &mut BytesMut) {
    put_counted(key.as_bytes(), out);
    TypedData::String(crate::Text::new(value)).encode(out);
}

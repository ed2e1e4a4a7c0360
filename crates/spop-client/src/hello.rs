//! The HAPROXY-HELLO to open with, and the judgement on the AGENT-HELLO. No I/O.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use spop_codec::{AgentHello, HaproxyHello, MIN_FRAME_SIZE, Negotiated, Status};

/// The max-frame-size that HAProxy announces at its default settings, in bytes
/// (`tune.bufsize` - 4), and always in health checks.
pub const MAX_FRAME_SIZE: u32 = 16_380;

/// What HAProxy 3.1 and later open a connection with at their default settings: version
/// 2.0, [`MAX_FRAME_SIZE`], pipelining, and an engine-id that stays the same for the life of
/// the process.
#[must_use]
pub fn haproxy_hello() -> HaproxyHello {
    static ENGINE_ID: OnceLock<String> = OnceLock::new();
    let engine_id = ENGINE_ID.get_or_init(random_uuid);
    HaproxyHello::new(MAX_FRAME_SIZE, engine_id.as_str())
}

/// Judges the agent's answer to `ours`: what any version of HAProxy refuses is refused, with
/// the status that HAProxy gives. Capabilities may be absent except in a health check.
pub(crate) fn judge(ours: &HaproxyHello, theirs: &AgentHello) -> Result<Negotiated, Status> {
    let version = theirs.version.as_ref().ok_or(Status::NO_VERSION)?;
    if !is_version_2_0(version) {
        return Err(Status::UNSUPPORTED_VERSION);
    }
    let announced = ours.max_frame_size.unwrap_or_else(|| MAX_FRAME_SIZE.into());
    let agreed = theirs.max_frame_size.ok_or(Status::NO_MAX_FRAME_SIZE)?;
    let agreed = match u32::try_from(agreed) {
        Ok(size) if size >= MIN_FRAME_SIZE && agreed <= announced => size,
        _ => return Err(Status::BAD_MAX_FRAME_SIZE),
    };
    if ours.healthcheck && theirs.capabilities.is_none() {
        return Err(Status::NO_CAPABILITIES);
    }
    ours.negotiate(agreed, theirs.capabilities.unwrap_or_default())
}

/// Compared as numbers: `2.00` is 2.0.
fn is_version_2_0(version: &[u8]) -> bool {
    let number = |digits: &str| -> Option<u32> {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let parse = || {
        let (major, minor) = str::from_utf8(version).ok()?.trim().split_once('.')?;
        Some((number(major)?, number(minor)?))
    };
    parse() == Some((2, 0))
}

/// A version 4 UUID. Its only use is to differ between processes, so the random keys of the
/// standard library's hasher are good enough.
fn random_uuid() -> String {
    let random = || RandomState::new().hash_one(0);
    let (high, low) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        (low >> 48) & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use spop_codec::Capabilities;

    use super::*;

    fn agent_hello() -> AgentHello {
        let agreed = haproxy_hello().negotiate(4096, Capabilities::PIPELINING);
        AgentHello::new(&agreed.unwrap())
    }

    #[test]
    fn hello_is_haproxys() {
        let hello = haproxy_hello();
        assert_eq!(hello, haproxy_hello(), "one engine-id for each process");
        let engine_id = hello.engine_id.unwrap();
        assert_eq!(engine_id.len(), 36);
        assert_ne!(random_uuid(), random_uuid());
        let groups: Vec<usize> = engine_id.split(|&b| b == b'-').map(<[u8]>::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
    }

    #[test]
    fn versions() {
        let verdict = |version: &'static str| {
            let mut hello = agent_hello();
            hello.version = Some(Bytes::from_static(version.as_bytes()));
            judge(&haproxy_hello(), &hello).err()
        };
        for version in ["2.0", " 2.0 ", "2.00"] {
            assert_eq!(verdict(version), None, "{version}");
        }
        for version in ["1.0", "2.1", "2", "2.", "2.+0", "2.0,1.0", "", "two"] {
            assert_eq!(
                verdict(version),
                Some(Status::UNSUPPORTED_VERSION),
                "{version}"
            );
        }
        let mut hello = agent_hello();
        hello.version = None;
        assert_eq!(judge(&haproxy_hello(), &hello), Err(Status::NO_VERSION));
    }

    #[test]
    fn frame_sizes() {
        let verdict = |size| {
            let mut hello = agent_hello();
            hello.max_frame_size = size;
            judge(&haproxy_hello(), &hello).map(|agreed| agreed.max_frame_size)
        };
        assert_eq!(verdict(Some(256)), Ok(256));
        assert_eq!(verdict(Some(16_380)), Ok(16_380));
        for size in [0, 255, 16_381, u64::MAX] {
            assert_eq!(
                verdict(Some(size)),
                Err(Status::BAD_MAX_FRAME_SIZE),
                "{size}"
            );
        }
        assert_eq!(verdict(None), Err(Status::NO_MAX_FRAME_SIZE));
    }

    #[test]
    fn capabilities() {
        let mut hello = agent_hello();
        hello.capabilities = None;
        let agreed = judge(&haproxy_hello(), &hello).unwrap();
        assert_eq!(agreed.capabilities, Capabilities::NONE);
        let check = HaproxyHello::health_check(MAX_FRAME_SIZE);
        assert_eq!(judge(&check, &hello), Err(Status::NO_CAPABILITIES));

        hello.capabilities = Some(Capabilities::PIPELINING | Capabilities::ASYNC);
        let agreed = judge(&haproxy_hello(), &hello).unwrap();
        assert_eq!(agreed.capabilities, Capabilities::PIPELINING);
    }
}

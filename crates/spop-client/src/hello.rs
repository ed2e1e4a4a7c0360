//! The HAPROXY-HELLO to open with. No I/O.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use spop_codec::HaproxyHello;

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
    use super::*;

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
}

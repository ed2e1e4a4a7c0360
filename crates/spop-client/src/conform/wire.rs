//! Frames as bytes: those that HAProxy writes, and those that it never would. No I/O.

use bytes::BufMut;
use spop_codec::{Flags, FrameType, TypedData, varint};

use crate::hello::MAX_FRAME_SIZE;

/// Stream-id and frame-id.
pub(super) type Ids = (u64, u64);

/// Bytes of the header of a frame whose ids are below 240.
pub(super) const SHORT_HEADER: usize = 7;

/// A frame of any type, with any flags, ids and payload.
pub(super) fn frame(frame_type: FrameType, flags: Flags, ids: Ids, payload: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.put_u8(frame_type.0);
    header.put_u32(flags.0);
    varint::encode(ids.0, &mut header);
    varint::encode(ids.1, &mut header);
    body(&[&header, payload].concat())
}

/// Whatever bytes behind a length field that counts them.
pub(super) fn body(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

/// A whole NOTIFY.
pub(super) fn notify(ids: Ids, payload: &[u8]) -> Vec<u8> {
    frame(FrameType::NOTIFY, Flags::FIN, ids, payload)
}

/// A NOTIFY for each of `ids`, one behind the other.
pub(super) fn notifies(ids: &[Ids], payload: &[u8]) -> Vec<u8> {
    ids.iter().flat_map(|&ids| notify(ids, payload)).collect()
}

/// Stream-ids as HAProxy 3.1 and later count them, 1, 3, 5, …, each with frame-id 1.
pub(super) fn odd_ids(count: u64) -> Vec<Ids> {
    (0..count).map(|index| (2 * index + 1, 1)).collect()
}

/// HAPROXY-DISCONNECT with `status` and a message.
pub(super) fn disconnect(status: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    put_pair("status-code", TypedData::Uint32(status), &mut payload);
    put_pair("message", "spop conform is done".into(), &mut payload);
    bye(&payload)
}

/// HAPROXY-DISCONNECT with any payload.
pub(super) fn bye(payload: &[u8]) -> Vec<u8> {
    frame(FrameType::HAPROXY_DISCONNECT, Flags::FIN, (0, 0), payload)
}

/// A message of a NOTIFY. As in HAProxy, the number of arguments is cut to eight bits.
pub(super) fn message(name: &[u8], args: &[(&[u8], TypedData<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_counted(name, &mut out);
    let [count, ..] = args.len().to_le_bytes();
    out.push(count);
    for (name, value) in args {
        put_counted(name, &mut out);
        value.encode(&mut out);
    }
    out
}

/// A NOTIFY of exactly `length` bytes, its length field not counted, whose message `name` has
/// a long STRING. `None` if the name alone is longer.
pub(super) fn notify_of_length(length: usize, ids: Ids, name: &[u8]) -> Option<Vec<u8>> {
    let with = |text: usize, more: &[(&[u8], TypedData<'_>)]| {
        let text = "x".repeat(text);
        let args = [&[(&b"text"[..], text.as_str().into())], more].concat();
        notify(ids, &message(name, &args))
    };
    // Where the varint of the text's length grows, one length is out of reach: a NULL more
    // gets around it.
    [&[][..], &[(&b""[..], TypedData::Null)]]
        .into_iter()
        .find_map(|more| {
            let rest = (length + 5).checked_sub(with(0, more).len())?;
            let text = (rest.saturating_sub(varint::MAX_LEN)..rest)
                .find(|&text| text + varint::encoded_len(text as u64) == rest)?;
            Some(with(text, more))
        })
}

/// The entries of a HELLO or DISCONNECT, in order.
#[derive(Debug, Clone)]
pub(super) struct Hello {
    pairs: Vec<(&'static str, Vec<u8>)>,
}

impl Hello {
    /// What HAProxy 3.1 and later open a connection with at their default settings.
    pub(super) fn new() -> Self {
        Self { pairs: Vec::new() }
            .set("supported-versions", "2.0")
            .set("max-frame-size", MAX_FRAME_SIZE)
            .set("capabilities", "pipelining")
            .set("engine-id", "5f5a1f7e-6a0b-4c3e-9d6e-2f1b7c0d9a48")
    }

    /// What HAProxy up to 3.0 opens a connection with.
    pub(super) fn old() -> Self {
        Self::new().set("capabilities", "pipelining,async")
    }

    /// What `option spop-check` sends, in every version.
    pub(super) fn health_check() -> Self {
        Self::new()
            .without("engine-id")
            .set("capabilities", "")
            .set("healthcheck", true)
    }

    /// Gives `key` another value, in its place; a new key goes last.
    pub(super) fn set<'a>(self, key: &'static str, value: impl Into<TypedData<'a>>) -> Self {
        let mut bytes = Vec::new();
        value.into().encode(&mut bytes);
        self.set_raw(key, &bytes)
    }

    /// As [`set`](Self::set), with bytes that need not be a value.
    pub(super) fn set_raw(mut self, key: &'static str, bytes: &[u8]) -> Self {
        match self.pairs.iter_mut().find(|(name, _)| *name == key) {
            Some((_, value)) => *value = bytes.to_vec(),
            None => self.pairs.push((key, bytes.to_vec())),
        }
        self
    }

    /// Adds an entry, even if there is one of the same key.
    pub(super) fn add<'a>(mut self, key: &'static str, value: impl Into<TypedData<'a>>) -> Self {
        let mut bytes = Vec::new();
        value.into().encode(&mut bytes);
        self.pairs.push((key, bytes));
        self
    }

    /// Takes a key out.
    pub(super) fn without(mut self, key: &str) -> Self {
        self.pairs.retain(|(name, _)| *name != key);
        self
    }

    /// The frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        self.frame_with(Flags::FIN, (0, 0))
    }

    /// The frame, with flags and ids that HAProxy does not use in a HELLO.
    pub(super) fn frame_with(&self, flags: Flags, ids: Ids) -> Vec<u8> {
        let mut payload = Vec::new();
        for (key, value) in &self.pairs {
            put_counted(key.as_bytes(), &mut payload);
            payload.extend_from_slice(value);
        }
        frame(FrameType::HAPROXY_HELLO, flags, ids, &payload)
    }
}

/// An entry of a KV-LIST.
pub(super) fn put_pair(key: &str, value: TypedData<'_>, out: &mut Vec<u8>) {
    put_counted(key.as_bytes(), out);
    value.encode(out);
}

/// A varint length and the bytes.
pub(super) fn put_counted(bytes: &[u8], out: &mut Vec<u8>) {
    varint::encode(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use spop_codec::{Frame, FrameDecoder, HaproxyHello, Notify};

    use super::*;

    fn decoded(bytes: &[u8]) -> Frame {
        let mut input = BytesMut::from(bytes);
        let raw = FrameDecoder::new(1 << 20).next(&mut input).unwrap();
        assert!(input.is_empty());
        Frame::decode(raw.unwrap()).unwrap()
    }

    #[track_caller]
    fn asked(bytes: &[u8]) -> Notify {
        match decoded(bytes) {
            Frame::Notify(notify) => notify,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hellos_are_haproxys() {
        let mut hello = BytesMut::new();
        HaproxyHello::new(16_380, "5f5a1f7e-6a0b-4c3e-9d6e-2f1b7c0d9a48").encode(&mut hello);
        assert_eq!(Hello::new().frame(), hello);
        assert_eq!(hello.len(), 4 + 0x7b);
        assert_eq!(Hello::old().frame().len(), 4 + 0x81);
        let mut check = BytesMut::new();
        HaproxyHello::health_check(16_380).encode(&mut check);
        assert_eq!(Hello::health_check().frame(), check);
        assert_eq!(check.len(), 82);
    }

    #[test]
    fn notifies_of_a_length() {
        for length in (20..3000).chain([16_380, 32_764]) {
            let bytes = notify_of_length(length, (1, 1), b"m").unwrap();
            assert_eq!(bytes.len(), 4 + length);
            assert_eq!(asked(&bytes).messages().count(), 1);
        }
        assert_eq!(notify_of_length(256, (1, 1), &[b'm'; 250]), None);
    }

    #[test]
    fn messages() {
        let bytes = notify((0, u64::MAX), &message(b"m", &[(b"", TypedData::Null)]));
        let notify = asked(&bytes);
        assert_eq!((notify.stream_id(), notify.frame_id()), (0, u64::MAX));
        let message = notify.messages().next().unwrap();
        assert_eq!(message.name(), "m");
        assert_eq!(message.args().count(), 1);
    }

    #[test]
    fn three_hundred_arguments_are_counted_as_44() {
        let args = [(&b"a"[..], TypedData::Null); 300];
        assert_eq!(message(b"m", &args)[2], 44);
    }
}

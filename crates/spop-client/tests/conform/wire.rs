//! Frames taken apart as far as a fault needs: by header, and a HELLO by its keys.

use bytes::{Buf, BufMut, BytesMut};
use spop_codec::{Frame, FrameDecoder, varint};

/// A frame, taken apart as far as its header.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) frame_type: u8,
    pub(crate) flags: u32,
    pub(crate) ids: (u64, u64),
    pub(crate) payload: Vec<u8>,
}

impl Wire {
    pub(crate) fn ack(ids: (u64, u64)) -> Self {
        Self {
            frame_type: 103,
            flags: 1,
            ids,
            payload: Vec::new(),
        }
    }

    /// The next frame, if it is whole and its header sound.
    pub(crate) fn cut(input: &mut BytesMut) -> Option<Self> {
        let length = u32::from_be_bytes(*input.first_chunk()?) as usize;
        let wire = Self::parse(input.get(4..4 + length)?)?;
        input.advance(4 + length);
        Some(wire)
    }

    fn parse(mut body: &[u8]) -> Option<Self> {
        if body.len() < 7 {
            return None;
        }
        let (frame_type, flags) = (body.get_u8(), body.get_u32());
        let (stream_id, rest) = varint::decode(body).ok()?;
        let (frame_id, payload) = varint::decode(rest).ok()?;
        Some(Self {
            frame_type,
            flags,
            ids: (stream_id, frame_id),
            payload: payload.to_vec(),
        })
    }

    /// Whether no more bytes will ever make a frame of it.
    pub(crate) fn is_broken(input: &[u8]) -> bool {
        let Some(length) = input.first_chunk().map(|field| u32::from_be_bytes(*field)) else {
            return false;
        };
        let whole = input.get(4..4 + length as usize);
        !(7..=65_536).contains(&length) || whole.is_some_and(|body| Self::parse(body).is_none())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = vec![self.frame_type];
        body.put_u32(self.flags);
        varint::encode(self.ids.0, &mut body);
        varint::encode(self.ids.1, &mut body);
        body.extend_from_slice(&self.payload);
        let length = u32::try_from(body.len()).unwrap();
        [&length.to_be_bytes(), &body[..]].concat()
    }

    pub(crate) fn decoded(&self) -> Option<Frame> {
        let mut input = BytesMut::from(&self.bytes()[..]);
        let raw = FrameDecoder::new(u32::MAX).next(&mut input).ok()??;
        Frame::decode(raw).ok()
    }

    /// The entries of a HELLO, each with its key in front, as far as they can be read. Only
    /// keys below 240 bytes, and of types that the suite sends.
    pub(crate) fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = Vec::new();
        let mut rest = &self.payload[..];
        while let Some((key, value, after)) = entry(rest) {
            pairs.push((key.to_vec(), value.to_vec()));
            rest = after;
        }
        pairs
    }

    pub(crate) fn set_pairs(&mut self, pairs: Vec<(Vec<u8>, Vec<u8>)>) {
        self.payload.clear();
        for (key, value) in pairs {
            varint::encode(key.len() as u64, &mut self.payload);
            self.payload.extend(key);
            self.payload.extend(value);
        }
    }

    /// The value of a key, with its type in front.
    pub(crate) fn value(&self, key: &str) -> Option<&[u8]> {
        let mut rest = &self.payload[..];
        while let Some((name, value, after)) = entry(rest) {
            if name == key.as_bytes() {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    /// The text of a key.
    pub(crate) fn text(&self, key: &str) -> Option<&[u8]> {
        let [8, rest @ ..] = self.value(key)? else {
            return None;
        };
        let (_, text) = varint::decode(rest).ok()?;
        Some(text)
    }

    /// Gives a key another value, or takes it out.
    pub(crate) fn set(&mut self, key: &str, value: Option<&[u8]>) {
        let mut pairs = self.pairs();
        let at = pairs.iter().position(|(name, _)| name == key.as_bytes());
        pairs.retain(|(name, _)| name != key.as_bytes());
        if let Some(value) = value {
            let at = at.unwrap_or(pairs.len());
            pairs.insert(at, (key.as_bytes().to_vec(), value.to_vec()));
        }
        self.set_pairs(pairs);
    }
}

/// A STRING as a value.
pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut value = vec![8];
    varint::encode(text.len() as u64, &mut value);
    value.extend_from_slice(text.as_bytes());
    value
}

/// A UINT32 as a value.
pub(crate) fn uint32(number: u32) -> Vec<u8> {
    let mut value = vec![3];
    varint::encode(number.into(), &mut value);
    value
}

/// Key, value with its type, and what follows.
fn entry(input: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = varint::decode(input).ok()?;
    let (key, value) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (&tag, after) = value.split_first()?;
    let after = match tag & 0x0f {
        0 | 1 | 10..=15 => after,
        2..=5 => varint::decode(after).ok()?.1,
        6 => after.get(4..)?,
        7 => after.get(16..)?,
        _ => {
            let (length, text) = varint::decode(after).ok()?;
            text.get(usize::try_from(length).ok()?..)?
        }
    };
    Some((key, &value[..value.len() - after.len()], after))
}

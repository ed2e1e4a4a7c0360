//! The NOTIFY that is sent over and over: encoded once, and copied with its stream-id.

use std::net::Ipv4Addr;

use bytes::{BufMut, BytesMut};
use fastrand::Rng;
use spop_client::spop_codec::{NotifyBuilder, TooManyArgs, TypedData, varint};

/// Bytes in front of the stream-id: length field, frame type, flags (SPOE.txt §3.2).
const BEFORE_STREAM_ID: usize = 9;

/// Bytes of the length field, which it does not count.
const LENGTH_FIELD: usize = 4;

/// The first address that [`Template::with_random_ip`] sends.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);

/// A NOTIFY with one message, as bytes.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// Frame type and flags.
    head: [u8; BEFORE_STREAM_ID - LENGTH_FIELD],
    /// What follows the stream-id: frame-id 1, then the message.
    tail: Vec<u8>,
    random_ip: Option<(u32, Rng)>,
}

impl Template {
    pub(super) fn new<'a>(
        message: &str,
        args: impl IntoIterator<Item = (&'a str, TypedData<'a>)>,
    ) -> Result<Self, TooManyArgs> {
        let mut frame = BytesMut::new();
        let notify = NotifyBuilder::new().message(message, args)?.build(0, 1);
        notify.encode(&mut frame);
        let mut head = [0; BEFORE_STREAM_ID - LENGTH_FIELD];
        head.copy_from_slice(&frame.split_to(BEFORE_STREAM_ID).split_off(LENGTH_FIELD));
        let tail = frame.split_off(varint::encoded_len(0)).to_vec();
        Ok(Self {
            head,
            tail,
            random_ip: None,
        })
    }

    /// Puts one of `count` addresses, from 10.0.0.0 on, into each NOTIFY. The message's last
    /// argument must be an IPv4 address: it is the one that changes.
    pub(super) fn with_random_ip(mut self, count: u32, rng: Rng) -> Self {
        self.random_ip = Some((count, rng));
        self
    }

    /// What the length field says of the longest frame: that with a stream-id of ten bytes.
    pub(super) const fn max_length(&self) -> usize {
        self.length(varint::MAX_LEN)
    }

    /// Appends the NOTIFY with `stream_id`, length field included.
    pub(super) fn encode(&mut self, stream_id: u64, out: &mut Vec<u8>) {
        let length = self.length(varint::encoded_len(stream_id));
        out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        out.put_slice(&self.head);
        varint::encode(stream_id, out);
        out.put_slice(&self.tail);
        if let Some((count, rng)) = &mut self.random_ip
            && let Some(address) = out.last_chunk_mut()
        {
            let random = u32::from(FIRST_ADDRESS).saturating_add(rng.u32(..*count));
            *address = random.to_be_bytes();
        }
    }

    const fn length(&self, stream_id_len: usize) -> usize {
        self.head.len() + stream_id_len + self.tail.len()
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;
    use spop_client::spop_codec::{Frame, FrameDecoder};

    use super::*;

    fn args() -> [(&'static str, TypedData<'static>); 2] {
        let placeholder = TypedData::Ipv4(Ipv4Addr::UNSPECIFIED);
        [("payload", "x".into()), ("ip_src", placeholder)]
    }

    proptest! {
        #[test]
        fn same_bytes_as_the_codec(stream_id: u64, shift in 0..64_u32) {
            let stream_id = stream_id >> shift;
            let mut template = Template::new("m", args()).unwrap();
            let mut out = vec![1, 2, 3];
            template.encode(stream_id, &mut out);

            let mut expected = BytesMut::from(&[1, 2, 3][..]);
            let notify = NotifyBuilder::new().message("m", args()).unwrap();
            notify.build(stream_id, 1).encode(&mut expected);
            prop_assert_eq!(&out, &expected);
            prop_assert!(out.len() - 3 - LENGTH_FIELD <= template.max_length());
        }
    }

    #[test]
    fn addresses_are_random_and_repeatable() {
        let addresses = |seed| -> Vec<Ipv4Addr> {
            let template = Template::new("m", args()).unwrap();
            let mut template = template.with_random_ip(1000, Rng::with_seed(seed));
            let mut out = Vec::new();
            (0..100).for_each(|stream_id| template.encode(stream_id, &mut out));
            let mut out = BytesMut::from(&out[..]);
            let mut decoder = FrameDecoder::new(16_380);
            let mut addresses = Vec::new();
            while let Some(raw) = decoder.next(&mut out).unwrap() {
                let Frame::Notify(notify) = Frame::decode(raw).unwrap() else {
                    panic!("not a NOTIFY");
                };
                let message = notify.messages().next().unwrap();
                match message.arg("ip_src").unwrap() {
                    TypedData::Ipv4(ip) => addresses.push(ip),
                    other => panic!("{other:?}"),
                }
            }
            addresses
        };
        let (mut first, other) = (addresses(1), addresses(2));
        assert_eq!(first.len(), 100);
        assert_eq!(first, addresses(1));
        assert_ne!(first, other);
        let end = Ipv4Addr::new(10, 0, 3, 232);
        assert!(first.iter().all(|ip| (FIRST_ADDRESS..end).contains(ip)));
        first.sort_unstable();
        first.dedup();
        assert!(first.len() > 50, "{}", first.len());
    }
}

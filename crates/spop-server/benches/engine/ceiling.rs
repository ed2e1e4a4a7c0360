//! The ceiling: what an agent on tokio costs that does no work. It reads the headers of frames,
//! copies their ids and answers with actions that were encoded beforehand; all answers to one
//! read leave in one write. It trusts its peer, keeps no limit, and is no agent to copy from.

use std::io;

use bytes::BytesMut;
use spop_codec::{
    Ack, Actions, AgentHello, Capabilities, Disconnect, Flags, Frame, FrameDecoder, FrameType,
    HaproxyHello, Scope, Status, varint,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::listen;

/// HAProxy's largest frame fits in four times.
const READ_SIZE: usize = 65_536;
const MAX_FRAME_SIZE: u32 = 16_380;

pub(crate) async fn run() -> io::Result<()> {
    listen::each(serve).await
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let hello = read_hello(&mut stream).await?;
    let mut output = BytesMut::new();
    let agreed = hello
        .negotiate(MAX_FRAME_SIZE, Capabilities::PIPELINING)
        .map_err(|status| io::Error::other(format!("status {status}")))?;
    Frame::AgentHello(AgentHello::new(&agreed)).encode(&mut output);
    stream.write_all(&output).await?;
    if hello.healthcheck {
        return Ok(());
    }
    let mut output = Vec::new();
    let answer = Answer::new();
    let mut input = vec![0; READ_SIZE];
    let mut filled = 0;
    loop {
        let free = input.get_mut(filled..).unwrap_or_default();
        let read = stream.read(free).await?;
        filled += read;
        let bytes = input.get(..filled).unwrap_or_default();
        let (rest, open) = answer.all(bytes, &mut output);
        let used = filled - rest;
        input.copy_within(used..filled, 0);
        filled = rest;
        stream.write_all(&output).await?;
        output.clear();
        if !open || read == 0 {
            return Ok(());
        }
    }
}

/// HAProxy sends nothing behind its HELLO before that is answered.
async fn read_hello(stream: &mut TcpStream) -> io::Result<HaproxyHello> {
    let mut input = BytesMut::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let raw = FrameDecoder::new(MAX_FRAME_SIZE).next(&mut input);
        let Some(raw) = raw.map_err(io::Error::other)? else {
            continue;
        };
        return match Frame::decode(raw).map_err(io::Error::other)? {
            Frame::HaproxyHello(hello) => Ok(hello),
            other => Err(io::Error::other(format!("a {}", other.frame_type()))),
        };
    }
}

/// What every NOTIFY is answered with.
struct Answer {
    /// Frame type and flags.
    head: [u8; 5],
    /// One action: set the session's `ip_score` to 0.
    actions: Vec<u8>,
    goodbye: BytesMut,
}

impl Answer {
    fn new() -> Self {
        let [a, b, c, d] = Flags::FIN.0.to_be_bytes();
        let actions = Actions::new().set_var(Scope::Session, "ip_score", 0);
        let mut ack = BytesMut::new();
        Ack::new(0, 0, &actions).encode(&mut ack);
        // The length field, what is in `head`, and two ids of one byte.
        let actions = ack.split_off(4 + 5 + 2).to_vec();
        let mut goodbye = BytesMut::new();
        Frame::AgentDisconnect(Disconnect::new(Status::NORMAL)).encode(&mut goodbye);
        Self {
            head: [FrameType::ACK.0, a, b, c, d],
            actions,
            goodbye,
        }
    }

    /// Answers every whole frame of `input`. Returns how many bytes of an incomplete one are
    /// left, and whether the connection stays open.
    fn all(&self, mut input: &[u8], output: &mut Vec<u8>) -> (usize, bool) {
        while let Some((length, rest)) = input.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((frame, rest)) = rest.split_at_checked(length) else {
                break;
            };
            input = rest;
            match frame.split_first_chunk() {
                Some((&[frame_type, _, _, _, _], ids)) if frame_type == FrameType::NOTIFY.0 => {
                    self.one(ids, output);
                }
                _ => {
                    output.extend_from_slice(&self.goodbye);
                    return (input.len(), false);
                }
            }
        }
        (input.len(), true)
    }

    /// `ids` begins with stream-id and frame-id.
    fn one(&self, ids: &[u8], output: &mut Vec<u8>) {
        let after = varint::decode(ids).and_then(|(_, rest)| varint::decode(rest));
        let ids_len = after.map_or(0, |(_, rest)| ids.len() - rest.len());
        let length = self.head.len() + ids_len + self.actions.len();
        output.extend_from_slice(&u32::try_from(length).unwrap_or_default().to_be_bytes());
        output.extend_from_slice(&self.head);
        output.extend_from_slice(ids.get(..ids_len).unwrap_or_default());
        output.extend_from_slice(&self.actions);
    }
}

//! Peers that say nothing, too little, too much or nonsense, read slowly or not at all, and
//! leave as they like. Whatever they do, what the agent says is whole frames in order.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;
use socket2::SockRef;
use spop_client::spop_codec::{DecodeError, Disconnect, Frame, FrameDecoder, HaproxyHello, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use crate::question::Question;

/// The longest that one stays, in any case.
const LONGEST: Duration = Duration::from_secs(15);

/// One connection to its end.
///
/// # Errors
/// When the agent says what is no frame.
pub(crate) async fn play(address: SocketAddr, rng: &mut Rng) -> Result<(), DecodeError> {
    let socket = TcpSocket::new_v4().unwrap();
    if rng.bool() {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    let mut stream = socket.connect(address).await.unwrap();
    let wire = wire(rng);
    let mut writing = rng.fork();
    let (input, output) = stream.split();
    let read = async {
        tokio::select! {
            () = write(&wire, output, &mut writing) => Ok(()),
            read = read(input, rng) => read,
        }
    };
    let read = timeout(LONGEST, read).await;
    if writing.bool() {
        let socket = SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
    read.unwrap_or(Ok(()))
}

/// What is said.
fn wire(rng: &mut Rng) -> Vec<u8> {
    let mut wire = BytesMut::new();
    match rng.u8(0..8) {
        0 => {}
        1 => HaproxyHello::health_check(16_380).encode(&mut wire),
        _ => {
            HaproxyHello::new(16_380, "rude").encode(&mut wire);
            // Mostly a few, sometimes far more than may be in flight.
            let most = 1 << rng.u32(1..11);
            for frame_id in 0..rng.u64(0..most) {
                let question = Question::random(rng, frame_id);
                if rng.u8(0..8) == 0 {
                    question.encode_fragments(rng, &mut wire);
                } else {
                    question.notify.encode(&mut wire);
                }
            }
            if rng.u8(0..4) == 0 {
                let bye = Disconnect::new(Status(rng.u32(0..12)));
                Frame::HaproxyDisconnect(bye).encode(&mut wire);
            }
        }
    }
    let mut wire = wire.to_vec();
    match rng.u8(0..4) {
        0 => {}
        1 => wire.truncate(rng.usize(0..=wire.len())),
        2 => {
            for _ in 0..rng.usize(1..8) {
                mutate(&mut wire, rng);
            }
        }
        _ => wire.extend(noise(rng)),
    }
    wire
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    let mut noise = vec![0; rng.usize(0..4096)];
    rng.fill(&mut noise);
    noise
}

fn mutate(wire: &mut Vec<u8>, rng: &mut Rng) {
    // The interesting places are at the front, too.
    let length = wire.len() >> rng.u32(0..12);
    if length == 0 {
        return wire.push(rng.u8(..));
    }
    let at = rng.usize(0..length);
    match rng.u8(0..4) {
        0 => wire[at] ^= 1 << rng.u32(0..8),
        1 => wire[at] = [0, 1, 127, 128, 239, 240, 255][rng.usize(0..7)],
        2 => drop(wire.drain(at..(at + rng.usize(1..64)).min(wire.len()))),
        _ => {
            let end = (at + rng.usize(1..512)).min(wire.len());
            let again = wire[at..end].to_vec();
            wire.splice(at..at, again);
        }
    }
}

/// All at once or in pieces; then waits a while.
async fn write(mut wire: &[u8], mut output: WriteHalf<'_>, rng: &mut Rng) {
    let piece = if rng.bool() {
        wire.len()
    } else {
        1 << rng.u32(0..12)
    };
    while !wire.is_empty() {
        let (first, rest) = wire.split_at(piece.min(wire.len()));
        if output.write_all(first).await.is_err() {
            break;
        }
        wire = rest;
        sleep(Duration::from_millis(rng.u64(0..5))).await;
    }
    if rng.u8(0..4) == 0 {
        output.shutdown().await.ok();
    }
    sleep(Duration::from_millis(1 << rng.u32(0..14))).await;
}

/// Fast, slowly or not at all, until the agent closes.
async fn read(mut input: ReadHalf<'_>, rng: &mut Rng) -> Result<(), DecodeError> {
    let (most, pause) = match rng.u8(0..4) {
        0 => return pending().await,
        1 => (1 << rng.u32(0..10), Duration::from_millis(rng.u64(1..50))),
        _ => (16_384, Duration::ZERO),
    };
    let mut decoder = FrameDecoder::new(16_380);
    let mut bytes = BytesMut::new();
    let mut piece = vec![0; most];
    let mut agent = Agent::Silent;
    loop {
        let Ok(read @ 1..) = input.read(&mut piece).await else {
            return Ok(());
        };
        bytes.extend_from_slice(&piece[..read]);
        while let Some(raw) = decoder.next(&mut bytes)? {
            agent = match (agent, Frame::decode(raw)?) {
                (Agent::Silent, Frame::AgentHello(_)) => Agent::Ready,
                (Agent::Ready, Frame::Ack(_)) => Agent::Ready,
                (Agent::Silent | Agent::Ready, Frame::AgentDisconnect(_)) => Agent::Done,
                (agent, frame) => panic!("{frame:?} from an agent that is {agent:?}"),
            };
        }
        sleep(pause).await;
    }
}

/// What the agent has said.
#[derive(Debug, Clone, Copy)]
enum Agent {
    Silent,
    Ready,
    Done,
}

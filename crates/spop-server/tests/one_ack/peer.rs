//! HAProxy's end of one connection: writes as planned, reads as planned, keeps everything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use spop_client::spop_codec::{
    Ack, Action, Disconnect, Frame, FrameDecoder, HaproxyHello, Status, TypedData,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};

use crate::schedule::{Ending, Plan, Question, Reader};

/// How long a peer that stays waits for its answers, and for those that must not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stream-id and frame-id.
type Ids = (u64, u64);

#[derive(Default)]
pub(crate) struct Transcript {
    pub(crate) sent: BTreeMap<Ids, Sent>,
    pub(crate) acks: Vec<(Ids, String)>,
    /// The status of the AGENT-DISCONNECT.
    pub(crate) goodbye: Option<Status>,
    /// Whether the last frame has no end.
    pub(crate) cut_short: bool,
    /// Bytes that were read.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) question: Question,
    /// When the last byte of it had gone out, if it did.
    pub(crate) written: Option<Instant>,
}

pub(crate) async fn play(plan: &Plan, io: DuplexStream) -> Transcript {
    let transcript = RefCell::new(Transcript::default());
    let (input, output) = tokio::io::split(io);
    let writing = write(plan, output, &transcript);
    let reading = read(plan.reader, input, &transcript);
    if plan.ending == Ending::Gone {
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    } else {
        tokio::join!(writing, reading);
    }
    transcript.into_inner()
}

/// Ends early if the agent hangs up.
async fn write(plan: &Plan, mut io: impl AsyncWrite + Unpin, transcript: &RefCell<Transcript>) {
    let mut wire = BytesMut::new();
    HaproxyHello::new(16_380, "test-engine").encode(&mut wire);
    let mut stream_id = 0;
    for (questions, pause) in &plan.batches {
        let mut batch = Vec::new();
        for question in questions {
            stream_id += 1;
            // Ids of all lengths; frame-ids alone tell nothing.
            let ids = (stream_id * stream_id * stream_id, stream_id % 3);
            question.encode(ids, &mut wire);
            let sent = Sent {
                question: question.clone(),
                written: None,
            };
            transcript.borrow_mut().sent.insert(ids, sent);
            batch.push(ids);
        }
        if io.write_all_buf(&mut wire).await.is_err() {
            return;
        }
        for ids in batch {
            let mut transcript = transcript.borrow_mut();
            transcript.sent.get_mut(&ids).unwrap().written = Some(Instant::now());
        }
        sleep(Duration::from_millis(*pause)).await;
    }
    match plan.ending {
        Ending::Stay => sleep(PATIENCE).await,
        Ending::Disconnect => {}
        Ending::Gone => return,
        Ending::HalfClose => {
            io.shutdown().await.ok();
            return;
        }
    }
    Frame::HaproxyDisconnect(Disconnect::new(Status::NORMAL)).encode(&mut wire);
    io.write_all_buf(&mut wire).await.ok();
}

/// Ends when the agent has closed.
async fn read(reader: Reader, mut io: impl AsyncRead + Unpin, transcript: &RefCell<Transcript>) {
    let mut decoder = FrameDecoder::new(16_380);
    let mut input = BytesMut::new();
    loop {
        let read = match reader {
            Reader::Fast => io.read_buf(&mut input).await,
            Reader::Slow(bytes) => {
                sleep(Duration::from_millis(1)).await;
                let mut piece = vec![0; bytes];
                let read = io.read(&mut piece).await;
                input.extend_from_slice(&piece[..*read.as_ref().unwrap_or(&0)]);
                read
            }
        };
        let mut transcript = transcript.borrow_mut();
        match read {
            Ok(0) | Err(_) => return transcript.cut_short = !input.is_empty(),
            Ok(read) => transcript.bytes += read,
        }
        while let Some(raw) = decoder.next(&mut input).unwrap() {
            assert_eq!(
                transcript.goodbye, None,
                "a frame behind the AGENT-DISCONNECT"
            );
            match Frame::decode(raw).unwrap() {
                Frame::AgentHello(_) => assert!(transcript.acks.is_empty()),
                Frame::Ack(ack) => {
                    let ids = (ack.stream_id(), ack.frame_id());
                    transcript.acks.push((ids, text(&ack)));
                }
                Frame::AgentDisconnect(bye) => transcript.goodbye = Some(bye.status),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The values an ACK sets, in order, and which failure if it says so.
fn text(ack: &Ack) -> String {
    let values = ack.actions().map(|action| match action {
        Action::SetVar {
            name,
            value: TypedData::String(value),
            ..
        } if name == "failure" => {
            format!("failure={value}")
        }
        Action::SetVar {
            value: TypedData::String(value),
            ..
        } => value.to_string(),
        other => panic!("{other:?}"),
    });
    values.collect::<Vec<_>>().join(" ")
}

//! Writes the frames that a real HAProxy sends into files, as test vectors.
//!
//! A scripted agent on std::net: it answers HELLO and every NOTIFY with as little as it can
//! and keeps what it read. `tests/vectors/README.md` says how to run HAProxy against it.

use std::collections::HashSet;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs, process, thread};

use bytes::BytesMut;
use spop_codec::{
    Ack, Actions, AgentHello, Capabilities, Disconnect, Flags, Frame, FrameDecoder, FrameType,
    HaproxyHello, Header, RawFrame, Reassembled, Reassembly, Status,
};

const USAGE: &str = "usage: capture ADDR DIR PREFIX [MAX-FRAME-SIZE]

Listens on ADDR and writes DIR/PREFIX-hello.hex, DIR/PREFIX-notify-MESSAGE.hex and so on, the
first frame of each kind. Announces pipelining, fragmentation and MAX-FRAME-SIZE, by default
HAProxy's own. A lower one gives fragments (HAProxy up to 3.0), a higher one a DISCONNECT.
";

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (addr, dir, prefix, size) = match &args[..] {
        [addr, dir, prefix] => (addr, dir, prefix, None),
        [addr, dir, prefix, size] => (addr, dir, prefix, Some(size)),
        _ => usage(),
    };
    let Ok(max_frame_size) = size.map(|size| size.parse()).transpose() else {
        usage();
    };
    let files = Arc::new(Files {
        dir: dir.into(),
        prefix: prefix.clone(),
        written: Mutex::default(),
    });
    let listener = TcpListener::bind(addr)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let (stream, files) = (stream?, Arc::clone(&files));
        thread::spawn(move || {
            if let Err(error) = serve(stream, &files, max_frame_size) {
                println!("connection ended: {error}");
            }
        });
    }
    Ok(())
}

fn usage() -> ! {
    eprint!("{USAGE}");
    process::exit(2);
}

/// Records every frame of one connection and answers it.
fn serve(mut stream: TcpStream, files: &Files, max_frame_size: Option<u64>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut decoder = FrameDecoder::new(1 << 20);
    let mut reassembly = Reassembly::new(1 << 20);
    let mut input = BytesMut::new();
    let mut fragments = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        input.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let mut output = BytesMut::new();
        while let Some(raw) = decoder.next(&mut input).map_err(io::Error::other)? {
            fragments.push(raw.clone());
            let frame = match reassembly.push(raw).map_err(io::Error::other)? {
                Reassembled::Frame(whole) => Frame::decode(whole).map_err(io::Error::other)?,
                Reassembled::Pending => continue,
                given_up => {
                    println!("{given_up:?}");
                    fragments.clear();
                    continue;
                }
            };
            files.write(&name(&frame, fragments.len()), &fragments)?;
            fragments.clear();
            answer(&frame, max_frame_size, &mut output);
        }
        stream.write_all(&output)?;
    }
}

fn name(frame: &Frame, fragments: usize) -> String {
    match frame {
        Frame::HaproxyHello(hello) if hello.healthcheck => "health-check".into(),
        Frame::HaproxyHello(_) => "hello".into(),
        Frame::HaproxyDisconnect(_) => "disconnect".into(),
        Frame::Notify(notify) => {
            let kind = if fragments > 1 { "fragments" } else { "notify" };
            match notify.messages().next() {
                Some(message) => format!("{kind}-{}", message.name()),
                None => format!("{kind}-empty"),
            }
        }
        other => format!("type-{}", other.frame_type().0),
    }
}

fn answer(frame: &Frame, max_frame_size: Option<u64>, out: &mut BytesMut) {
    match frame {
        Frame::HaproxyHello(hello) => answer_hello(hello, max_frame_size, out),
        Frame::Notify(notify) => {
            Ack::new(notify.stream_id(), notify.frame_id(), &Actions::new()).encode(out);
        }
        Frame::HaproxyDisconnect(_) => {
            Disconnect::new(Status::NORMAL).encode(FrameType::AGENT_DISCONNECT, out);
        }
        _ => {}
    }
}

fn answer_hello(hello: &HaproxyHello, max_frame_size: Option<u64>, out: &mut BytesMut) {
    let own = Capabilities::PIPELINING | Capabilities::FRAGMENTATION;
    match hello.negotiate(u32::MAX, own) {
        Ok(agreed) => {
            let mut answer = AgentHello::new(&agreed);
            // A check must succeed, or no connection follows.
            if !hello.healthcheck && max_frame_size.is_some() {
                answer.max_frame_size = max_frame_size;
            }
            answer.encode(out);
        }
        Err(status) => Disconnect::new(status).encode(FrameType::AGENT_DISCONNECT, out),
    }
}

/// Where the frames go.
struct Files {
    dir: PathBuf,
    prefix: String,
    written: Mutex<HashSet<String>>,
}

impl Files {
    /// Writes the frames, one to a line, unless some of the same name were written before.
    fn write(&self, name: &str, frames: &[RawFrame]) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if !written.insert(name.into()) {
            return Ok(());
        }
        let mut text = String::new();
        for frame in frames {
            let Header {
                frame_type,
                flags: Flags(flags),
                stream_id,
                frame_id,
            } = frame.header;
            let mut wire = BytesMut::new();
            frame.encode(&mut wire);
            text += &format!("# {frame_type}, flags {flags:#x}, stream-id {stream_id}, ");
            text += &format!("frame-id {frame_id}\n{wire:x}\n");
        }
        let path = self.dir.join(format!("{}-{name}.hex", self.prefix));
        println!("{}", path.display());
        fs::write(path, text)
    }
}

//! Writes `seeds/`: frames captured from real HAProxy versions (`../tests/vectors`), and what
//! these do not send, in the form that each fuzz target reads.

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use spop_codec::{
    Ack, Actions, AgentHello, Capabilities, Disconnect, Frame, FrameDecoder, HaproxyHello,
    NotifyBuilder, RawFrame, Scope, Status, TypedData, varint,
};

/// The last HAProxy that sends fragments, and a later one.
const VERSIONS: [&str; 2] = ["haproxy-3.0", "haproxy-3.4"];

fn main() -> Result<()> {
    captures()?;
    agents_frames()?;
    messages()?;
    values()?;
    agent_scripts()?;
    haproxy_scripts()?;
    pair_scripts()
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn save(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let dir = here().join("seeds").join(target);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(name), bytes)
}

/// What HAProxy sent: for `frame` as it is, for `message` the payloads of NOTIFY frames, for
/// `reassembly` fragments.
fn captures() -> Result<()> {
    for entry in fs::read_dir(here().join("../tests/vectors"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_hex = path.extension().is_some_and(|extension| extension == "hex");
        if !is_hex || !VERSIONS.iter().any(|version| name.starts_with(version)) {
            continue;
        }
        let wire = unhex(&fs::read_to_string(&path)?);
        save("frame", &name, &wire)?;
        let frames = frames(wire);
        match &frames[..] {
            [whole] if name.contains("notify") => save("message", &name, &whole.payload)?,
            [_] => {}
            fragments => save("reassembly", &name, script(fragments))?,
        }
    }
    Ok(())
}

/// The bytes of all lines that are no comment.
fn unhex(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u8> = lines.flat_map(str::bytes).collect();
    let value = |digit: u8| char::from(digit).to_digit(16).expect("a hex digit") as u8;
    let pairs = digits.chunks_exact(2);
    pairs
        .map(|pair| value(pair[0]) << 4 | value(pair[1]))
        .collect()
}

fn frames(wire: Vec<u8>) -> Vec<RawFrame> {
    let mut decoder = FrameDecoder::new(u32::MAX);
    let mut input = BytesMut::from(&wire[..]);
    let mut frames = Vec::new();
    while let Ok(Some(raw)) = decoder.next(&mut input) {
        frames.push(raw);
    }
    frames
}

/// Fragments in the form of `spop_codec_fuzz::reassembly`.
fn script(fragments: &[RawFrame]) -> Vec<u8> {
    let mut script = vec![255];
    for (index, fragment) in fragments.iter().enumerate() {
        let last = index + 1 == fragments.len();
        let len = u8::try_from(fragment.payload.len()).expect("of frames of 256 bytes");
        script.extend_from_slice(&[if last { 3 } else { 0 }, len]);
        script.extend_from_slice(&fragment.payload);
    }
    script
}

/// What agents write, and a frame that nobody does.
fn agents_frames() -> Result<()> {
    let hello = HaproxyHello::new(16_380, "engine");
    let agreed = hello.negotiate(16_380, Capabilities::PIPELINING);
    let agreed = agreed.expect("it is HAProxy's own");
    let actions = Actions::new()
        .set_var(Scope::Transaction, "v", "ok")
        .unset_var(Scope::Session, "v");
    let bye = Disconnect::with_message(Status::NORMAL, "bye");
    let frames = [
        ("agent-hello", Frame::AgentHello(AgentHello::new(&agreed))),
        ("agent-disconnect", Frame::AgentDisconnect(bye)),
        ("ack", Frame::Ack(Ack::new(1, 1, &actions))),
    ];
    let mut stream = BytesMut::new();
    for (name, frame) in &frames {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        save("frame", name, &wire)?;
        stream.extend_from_slice(&wire);
    }
    save("frame", "stream", &stream)?;
    save(
        "frame",
        "unassigned",
        b"\0\0\0\x09\x32\x80\0\0\x02\xf0\0\x05\xff",
    )
}

fn messages() -> Result<()> {
    save("message", "no-arguments", b"\x01m\0")?;
    save("message", "two", b"\x01m\x01\x01a\x04\x07\x01n\0")?;
    let most = NotifyBuilder::new().message("m", [("", TypedData::Null); 255]);
    let mut wire = BytesMut::new();
    let most = most.expect("255 arguments").build(1, 1);
    most.encode(&mut wire);
    save("message", "most", &wire[4 + 7..])
}

fn values() -> Result<()> {
    let values = [
        TypedData::Null,
        TypedData::Bool(true),
        TypedData::Int32(-2),
        TypedData::Uint32(16_380),
        TypedData::Int64(i64::MIN),
        TypedData::Uint64(u64::MAX),
        TypedData::Ipv4([127, 0, 0, 1].into()),
        TypedData::Ipv6([0x20; 16].into()),
        TypedData::from("ok"),
        TypedData::Binary(&[0xff]),
    ];
    for value in values {
        let mut wire = BytesMut::new();
        value.encode(&mut wire);
        save("value", &value.type_name().to_lowercase(), &wire)?;
    }
    save("value", "int32-short", b"\x02\xfe\xf0\xfe\xfe\x7e")?;
    for value in [
        0,
        239,
        240,
        2287,
        2288,
        16_380,
        1 << 32,
        (1 << 63) - 1,
        u64::MAX,
    ] {
        let mut wire = BytesMut::new();
        varint::encode(value, &mut wire);
        save("varint", &value.to_string(), &wire)?;
    }
    save(
        "varint",
        "beyond-64-bits",
        b"\xf0\xf1\xfe\xfe\xfe\xfe\xfe\xfe\xfe\x0e",
    )
}

/// Scripts in the form of `spop_codec_fuzz::connection` and `reassembly`.
fn agent_scripts() -> Result<()> {
    const SETTINGS: &[u8] = &[255, 46, 44, 1, 8];
    const HELLO: &[u8] = &[0, 2, 255, 1];
    const CHECK: &[u8] = &[0, 0, 255, 0];
    const DELIVER: &[u8] = &[7];
    const WRITE: &[u8] = &[12];
    const DRAIN: &[u8] = &[15, 1];
    const REFUSE: &[u8] = &[15, 0];
    const MINUTES: &[u8] = &[14, 0xff, 0x02];
    const ACK: &[u8] = &[9, 0, 1, 8, 0];
    const GOODBYE: &[u8] = &[5, 0, 0];
    const FRAGMENTS: &[u8] = b"\x10\x07\x01\x02\x02\x03\x05ch\x02ec\x02k\0";
    /// As many frames of a type that nobody assigned as are too many.
    const FLOOD: &[u8] = &[17, 0xaf, 0x04, 50, 1, 0, 0, 0];
    /// As many NOTIFY frames with ABORT, which are answered by themselves.
    const GIVEN_UP: &[u8] = &[17, 0xaf, 0x04, 3, 3, 250, 250, 0];
    let unwritten = [GIVEN_UP; 6].concat();
    let notify = |id: u8| [1, id, 1, 1, 2, 2, b'o', b'k'];
    let (one, three, five) = (notify(1), notify(3), notify(5));
    let scripts: [(&str, &[&[u8]]); 11] = [
        (
            "exchange",
            &[HELLO, DELIVER, &one, DELIVER, ACK, WRITE, GOODBYE, DELIVER],
        ),
        (
            "pipelined",
            &[
                HELLO, &one, &three, &five, DELIVER, ACK, ACK, WRITE, ACK, WRITE,
            ],
        ),
        ("health-check", &[CHECK, DELIVER, WRITE]),
        ("refused-check", &[REFUSE, CHECK, DELIVER, WRITE]),
        ("drain", &[HELLO, &one, DELIVER, DRAIN, ACK, WRITE]),
        ("silence", &[MINUTES]),
        ("idle", &[HELLO, DELIVER, MINUTES]),
        (
            "slow-frame",
            &[HELLO, DELIVER, &one, &[6, 5], MINUTES, DELIVER],
        ),
        ("fragments", &[HELLO, FRAGMENTS, DELIVER, ACK, WRITE]),
        ("flood", &[HELLO, FLOOD, DELIVER, WRITE]),
        ("unwritten", &[HELLO, &unwritten, DELIVER, WRITE, DELIVER]),
    ];
    for (name, steps) in scripts {
        save("connection", name, [SETTINGS, &steps.concat()].concat())?;
    }
    // Bytes as they are: a HELLO and a NOTIFY, then something that is neither.
    let mut wire = BytesMut::new();
    HaproxyHello::new(16_380, "engine").encode(&mut wire);
    let hello = counted(&wire);
    wire.clear();
    NotifyBuilder::new().build(0, 1).encode(&mut wire);
    let empty = counted(&wire);
    let steps = [
        SETTINGS,
        &hello,
        DELIVER,
        &empty,
        DELIVER,
        ACK,
        &[4, 2, 0, 0],
        DELIVER,
    ];
    save("connection", "raw", steps.concat())?;

    // A byte for the limit; then each a byte for the flags, a length and the payload.
    save("reassembly", "three", b"\0\0\x03\x05ch\0\x02ec\x03\x02k\0")?;
    save("reassembly", "whole", b"\0\x03\x07\x05check\0")?;
    save("reassembly", "aborted", b"\0\0\x03\x05ch\x06\0")?;
    let full = [&[0, 250], &[0; 250][..]].concat();
    let too_big = [&[0], &full[..], &full, &[3, 0], &[3, 7], b"\x05check\0"].concat();
    save("reassembly", "too-big", too_big)?;
    save("reassembly", "mixed", b"\0\0\x03\x05ch\x43\x07\x05check\0")
}

/// Scripts in the form of `spop_codec_fuzz::haproxy`: three bytes of settings, then steps.
fn haproxy_scripts() -> Result<()> {
    const ASK: &[u8] = &[9, 1, 2, 2, b'o', b'k'];
    const SETTINGS: &[u8] = &[2, 255, 20];
    const CHECK: &[u8] = &[0, 255, 20];
    const HELLO: &[u8] = &[0, 5, 255];
    const ACK: &[u8] = &[1, 0, 0, 1, 8, 0];
    const DELIVER: &[u8] = &[7];
    const SECONDS: &[u8] = &[13, 0xff, 0x7f];
    const GOODBYE: &[u8] = &[5, 0, 0];
    let scripts: [(&str, &[&[u8]]); 6] = [
        (
            "exchange",
            &[
                SETTINGS, HELLO, DELIVER, ASK, ACK, DELIVER, GOODBYE, DELIVER,
            ],
        ),
        (
            "late",
            &[
                SETTINGS, HELLO, DELIVER, ASK, ACK, SECONDS, DELIVER, ASK, SECONDS,
            ],
        ),
        (
            "with-ids",
            &[SETTINGS, HELLO, DELIVER, &[11, 0, 1, 1, 0, 0], ACK, DELIVER],
        ),
        ("health-check", &[CHECK, HELLO, DELIVER]),
        (
            "disconnect",
            &[SETTINGS, HELLO, DELIVER, ASK, &[14], GOODBYE, DELIVER],
        ),
        ("silence", &[SETTINGS, SECONDS]),
    ];
    for (name, steps) in scripts {
        save("haproxy", name, steps.concat())?;
    }
    Ok(())
}

/// Scripts in the form of `spop_codec_fuzz::pair`: five bytes of settings, then steps.
fn pair_scripts() -> Result<()> {
    const SETTINGS: &[u8] = &[1, 255, 255, 20, 46];
    const CHECK: &[u8] = &[0, 255, 255, 20, 46];
    const ASK: &[u8] = &[0, 1, 2, 2, b'o', b'k'];
    const OLD: &[u8] = &[0x21, 255, 255, 20, 46];
    /// The next frame of the same stream.
    const ASK_AS_OF_OLD: &[u8] = &[0, 1, 1, 0, 0];
    const THERE: &[u8] = &[9];
    const BACK: &[u8] = &[10];
    const ANSWER: &[u8] = &[4, 0, 1, 8, 0];
    const SECONDS: &[u8] = &[12, 2];
    let scripts: [(&str, &[&[u8]]); 6] = [
        (
            "exchange",
            &[SETTINGS, THERE, BACK, ASK, THERE, ANSWER, BACK],
        ),
        (
            "late",
            &[SETTINGS, THERE, BACK, ASK, THERE, SECONDS, ANSWER, BACK],
        ),
        (
            "as-of-old",
            &[
                OLD,
                THERE,
                BACK,
                ASK_AS_OF_OLD,
                ASK_AS_OF_OLD,
                THERE,
                ANSWER,
                BACK,
            ],
        ),
        ("health-check", &[CHECK, THERE, BACK]),
        (
            "drain",
            &[SETTINGS, THERE, BACK, ASK, THERE, &[13, 0], ANSWER, BACK],
        ),
        (
            "disconnect",
            &[SETTINGS, THERE, BACK, ASK, THERE, &[13, 1], ANSWER, BACK],
        ),
    ];
    for (name, steps) in scripts {
        save("pair", name, steps.concat())?;
    }
    Ok(())
}

/// The step that sends `wire`.
fn counted(wire: &[u8]) -> Vec<u8> {
    let len = u8::try_from(wire.len()).expect("a short frame");
    [&[4, len], wire].concat()
}

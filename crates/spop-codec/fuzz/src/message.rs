//! Messages: the codec against the protocol text. What a NOTIFY was checked for holds when it
//! is read, whole or message by message.

use spop_codec::{Arg, DecodeError, Frame, FrameType, Malformed, Message, Notify, NotifyBuilder};

use crate::by_the_text;
use crate::frame::{decoded, encoded, whole};

/// Bytes of the header in front of the payload.
const HEADER: usize = 7;

/// Reads `data` as the payload of a NOTIFY, and as a message that was shared.
pub fn check(data: &[u8]) {
    if let Some(message) = Message::from_bytes(data) {
        visit(&message);
    }
    let read = Frame::decode(whole(FrameType::NOTIFY, 1, [1, 1], data));
    let expected = match messages_by_the_text(data) {
        Ok(expected) => expected,
        Err((what, offset)) => {
            assert_eq!(read, Err(DecodeError::Malformed { what, offset }));
            return;
        }
    };
    let Ok(Frame::Notify(notify)) = read else {
        panic!("{read:?} instead of {expected:?}");
    };
    assert_eq!(notify.messages().count(), expected.len());
    for (message, (name, args)) in notify.messages().zip(expected) {
        assert_eq!(message.name().as_bytes(), name);
        let read = message.args();
        assert!(read.map(|arg| (arg.name.as_bytes(), arg.value)).eq(args));
    }
    let shared: Vec<u8> = notify
        .messages()
        .flat_map(|message| notify.share(&message))
        .collect();
    assert_eq!(shared, data, "the messages are the payload");
    visit_all(&notify);
    let frame = Frame::Notify(notify);
    assert_eq!(decoded(encoded(&frame)), frame);
}

/// All messages, or what is wrong, and in the message that begins where in the frame.
fn messages_by_the_text(data: &[u8]) -> Result<Vec<by_the_text::Message<'_>>, (Malformed, usize)> {
    let mut messages = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let begins = HEADER + data.len() - rest.len();
        messages.push(by_the_text::message(&mut rest).map_err(|what| (what, begins))?);
    }
    Ok(messages)
}

/// Reads every message of `notify` in each way there is.
pub(crate) fn visit_all(notify: &Notify) {
    for message in notify.messages() {
        visit(&message);
        let bytes = notify.share(&message);
        let again = Message::from_bytes(&bytes).expect("it is whole");
        assert_eq!(again.name(), message.name());
        assert!(again.args().eq(message.args()));
        if let Some(rebuilt) = rebuilt(&message) {
            let mut messages = rebuilt.messages();
            let first = messages.next().expect("one was written");
            assert_eq!(first.name(), message.name());
            assert!(first.args().eq(message.args()));
            assert!(messages.next().is_none());
        }
    }
}

fn visit(message: &Message<'_>) {
    let mut rest = message.args();
    let args: Vec<Arg<'_>> = rest.by_ref().collect();
    assert!(args.len() <= 255);
    assert_eq!(rest.next(), None, "the end is the end");
    for arg in &args {
        let Ok(name) = arg.name.to_str() else {
            continue;
        };
        let first = args.iter().find(|other| other.name == arg.name);
        assert_eq!(message.arg(name), first.map(|arg| arg.value));
    }
}

/// The same message written anew, if its names are text.
fn rebuilt(message: &Message<'_>) -> Option<Notify> {
    let mut args = Vec::new();
    for arg in message.args() {
        args.push((arg.name.to_str().ok()?, arg.value));
    }
    let name = message.name().to_str().ok()?;
    let builder = NotifyBuilder::new().message(name, args);
    Some(builder.expect("255 arguments at most").build(1, 1))
}

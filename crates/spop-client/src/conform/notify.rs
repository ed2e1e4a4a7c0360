//! N1 to N11: every NOTIFY gets an ACK, whatever is in it.

use spop_codec::{Message, Text, TypedData};

use super::wire::{self, Ids};
use super::{After, Agent, Case, Verdict, must, should};

pub(super) const CASES: &[Case] = &[
    must(
        "N1",
        "a NOTIFY with stream-id 0 is answered",
        "HAProxy up to 3.0 counts its streams from 0",
        |agent| Box::pin(echoed(agent, &[(0, 1), (0, 2)])),
    ),
    must(
        "N2.1",
        "ids up to 2^32-1 come back the same",
        "SPOE.txt 3.2.7",
        |agent| {
            let ids = &[(0x7fff_ffff, 1), (0xffff_ffff, 0x7fff_ffff)];
            Box::pin(echoed(agent, ids))
        },
    ),
    should(
        "N2.2",
        "ids up to 2^64-1 come back the same",
        "SPOE.txt 3.1, 3.2.7",
        |agent| {
            let ids = &[(1 << 32, 1), (1 << 63, u64::MAX), (u64::MAX, 1)];
            Box::pin(echoed(agent, ids))
        },
    ),
    must(
        "N3",
        "a NOTIFY without a message is answered",
        "HAProxy from 3.1 to 3.2 sends one when no message's condition holds",
        |agent| Box::pin(asked(agent, no_message)),
    ),
    must(
        "N4",
        "several messages in one NOTIFY get one ACK",
        "SPOE.txt 3.3: all messages of an event are in one NOTIFY",
        |agent| Box::pin(several_messages(agent)),
    ),
    must(
        "N5",
        "arguments without a name, and of the same name, are no error",
        "`args src dst` gives such",
        |agent| Box::pin(asked(agent, names)),
    ),
    must(
        "N6",
        "arguments without a value are no error",
        "HAProxy sends NULL when it has no value, such as for an absent header",
        |agent| Box::pin(asked(agent, nulls)),
    ),
    must(
        "N7",
        "a message that the agent does not know is answered",
        "SPOE.txt 3.2.6; HAProxy waits for the ACK",
        |agent| Box::pin(asked(agent, unknown)),
    ),
    must(
        "N8",
        "arguments of types that the agent does not expect are no reason not to answer",
        "SPOE.txt 3.2.6; the types are those of the sample fetches in HAProxy's configuration",
        |agent| Box::pin(asked(agent, other_types)),
    ),
    must(
        "N9.1",
        "a message without arguments is answered",
        "SPOE.txt 3.2",
        |agent| Box::pin(asked(agent, no_arguments)),
    ),
    must(
        "N9.2",
        "a message with 255 arguments is answered",
        "SPOE.txt 3.2: their number takes one byte",
        |agent| Box::pin(asked(agent, most_arguments)),
    ),
    should(
        "N9.3",
        "300 arguments, which HAProxy counts as 44, are answered or refused",
        "HAProxy sends that if its configuration says so",
        |agent| Box::pin(too_many_arguments(agent)),
    ),
    must(
        "N10.1",
        "every type that HAProxy sends is read, and negative numbers",
        "SPOE.txt 3.1; HAProxy sends integers as INT64",
        |agent| Box::pin(asked(agent, types_of_haproxy)),
    ),
    should(
        "N10.2",
        "the integer types that HAProxy does not send are read as well",
        "SPOE.txt 3.1",
        |agent| Box::pin(asked(agent, other_integers)),
    ),
    must(
        "N11",
        "text that is not UTF-8 is no error, nor are names",
        "HAProxy passes on what its client sent",
        |agent| Box::pin(asked(agent, not_utf8)),
    ),
];

/// A payload and what it is called.
type Named = (&'static str, Vec<u8>);

/// Each of `ids` comes back on one connection.
async fn echoed(agent: &Agent, ids: &[Ids]) -> Verdict {
    let mut probe = agent.greet().await?;
    for &ids in ids {
        probe.asks(ids, agent.question()).await?;
    }
    Ok(())
}

/// Each payload is answered, on one connection, and a usual one after them.
async fn asked(agent: &Agent, payloads: fn(&Agent) -> Vec<Named>) -> Verdict {
    let mut probe = agent.greet().await?;
    let mut payloads = payloads(agent);
    payloads.push(("the usual message", agent.question().to_vec()));
    for (stream_id, (what, payload)) in (1..).step_by(2).zip(payloads) {
        probe.asks((stream_id, 1), &payload).await.after(what)?;
    }
    Ok(())
}

async fn several_messages(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let other = wire::message(b"spop-conform-also", &[(b"", TypedData::Null)]);
    let payload = [agent.question(), &other, agent.question()].concat();
    // An ACK for each message would come in the place of the next one.
    for stream_id in [1, 3, 5] {
        probe.asks((stream_id, 1), &payload).await?;
    }
    Ok(())
}

async fn too_many_arguments(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    let notify = wire::notify((1, 1), &arguments(agent, 300));
    probe.send(&notify).await?;
    probe.ack_or_goodbye((1, 1)).await
}

fn arguments(agent: &Agent, count: usize) -> Vec<u8> {
    let names: Vec<_> = (0..count).map(|index| format!("argument{index}")).collect();
    let args: Vec<_> = names
        .iter()
        .map(|name| (name.as_bytes(), TypedData::Int64(1)))
        .collect();
    wire::message(agent.name(), &args)
}

fn no_message(_: &Agent) -> Vec<Named> {
    vec![("no message", Vec::new())]
}

fn unknown(_: &Agent) -> Vec<Named> {
    let name = b"spop-conform-unknown";
    vec![("an unknown message", wire::message(name, &[]))]
}

fn no_arguments(agent: &Agent) -> Vec<Named> {
    vec![("no argument", wire::message(agent.name(), &[]))]
}

fn most_arguments(agent: &Agent) -> Vec<Named> {
    vec![("255 arguments", arguments(agent, 255))]
}

fn names(agent: &Agent) -> Vec<Named> {
    let address = TypedData::Ipv4([192, 0, 2, 1].into());
    let unnamed = [
        (&b""[..], address),
        (b"", "text".into()),
        (b"", 7_i64.into()),
    ];
    let repeated = [
        (&b"a"[..], 1_i64.into()),
        (b"a", 2_i64.into()),
        (b"a", "3".into()),
    ];
    vec![
        ("no names", wire::message(agent.name(), &unnamed)),
        ("the same name", wire::message(agent.name(), &repeated)),
    ]
}

/// The usual arguments without values.
fn nulls(agent: &Agent) -> Vec<Named> {
    vec![("NULL", with_values(agent, TypedData::Null))]
}

/// The usual arguments with values of each other type.
fn other_types(agent: &Agent) -> Vec<Named> {
    let values = [
        true.into(),
        (-1_i64).into(),
        TypedData::Ipv6(1.into()),
        "".into(),
        "neither an address nor a number".into(),
        TypedData::Binary(&[0xff]),
    ];
    values
        .map(|value| (value.type_name(), with_values(agent, value)))
        .to_vec()
}

fn with_values(agent: &Agent, value: TypedData<'_>) -> Vec<u8> {
    let message = Message::from_bytes(agent.question());
    let mut args: Vec<_> = message
        .iter()
        .flat_map(Message::args)
        .map(|arg| (arg.name.as_bytes(), value))
        .collect();
    if args.is_empty() {
        args.push((b"argument", value));
    }
    wire::message(agent.name(), &args)
}

fn types_of_haproxy(agent: &Agent) -> Vec<Named> {
    let values = [
        ("NULL", TypedData::Null),
        ("true", true.into()),
        ("false", false.into()),
        ("0", 0_i64.into()),
        ("-1", (-1_i64).into()),
        ("-2^63", i64::MIN.into()),
        ("2^63-1", i64::MAX.into()),
        ("IPV4", TypedData::Ipv4([192, 0, 2, 1].into())),
        ("IPV6", TypedData::Ipv6(1.into())),
        ("STRING", "GET".into()),
        ("an empty STRING", "".into()),
        ("BINARY", TypedData::Binary(&[0, 0xff])),
        ("an empty BINARY", TypedData::Binary(&[])),
    ];
    each_and_all(agent, &values)
}

fn other_integers(agent: &Agent) -> Vec<Named> {
    let values = [
        ("INT32", i32::MAX.into()),
        ("a negative INT32", (-1_i32).into()),
        ("UINT32", u32::MAX.into()),
        ("UINT64", u64::MAX.into()),
    ];
    each_and_all(agent, &values)
}

/// A message with each value, and one with all of them.
fn each_and_all(agent: &Agent, values: &[(&'static str, TypedData<'_>)]) -> Vec<Named> {
    let args: Vec<_> = values
        .iter()
        .map(|(what, value)| (what.as_bytes(), *value))
        .collect();
    let each = values.iter().zip(&args);
    let each = each.map(|((what, _), arg)| (*what, wire::message(agent.name(), &[*arg])));
    let all = ("all of them", wire::message(agent.name(), &args));
    each.chain([all]).collect()
}

fn not_utf8(agent: &Agent) -> Vec<Named> {
    let text = TypedData::String(Text::new(b"caf\xe9\0\xff\xfe"));
    let names = [(&b"text"[..], text), (b"\xff\xfe", text)];
    vec![
        ("such values", with_values(agent, text)),
        ("names of arguments", wire::message(agent.name(), &names)),
        ("names of messages", wire::message(b"caf\xe9", &names)),
    ]
}

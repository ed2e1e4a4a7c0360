//! H1 to H9: what HAPROXY-HELLO may say, and what the AGENT-HELLO says to it.

use spop_codec::{Capabilities, Frame, Status, TypedData};

use super::agent::announces;
use super::probe::told;
use super::wire::Hello;
use super::{After, Agent, Case, Stop, Verdict, must, should};
use crate::hello::MAX_FRAME_SIZE;

pub(super) const CASES: &[Case] = &[
    must(
        "H1.1",
        "the HELLO of HAProxy from 3.1 on is answered with one that it accepts",
        "SPOE.txt 3.2.4, 3.2.5",
        |agent| Box::pin(accepted(agent, Hello::new())),
    ),
    must(
        "H1.2",
        "the HELLO of HAProxy up to 3.0 is answered with one that it accepts",
        "SPOE.txt 3.2.4, 3.2.5; it announces async, too",
        |agent| Box::pin(accepted(agent, Hello::old())),
    ),
    must(
        "H2.1",
        "version 2.0 is found in the list \"2.0,1.5\"",
        "SPOE.txt 3.2.4",
        |agent| {
            Box::pin(accepted(
                agent,
                Hello::new().set("supported-versions", "2.0,1.5"),
            ))
        },
    ),
    must(
        "H2.2",
        "version 2.0 is found in the list \" 1.0 , 2.0 \"",
        "SPOE.txt 3.2.4: spaces must be ignored",
        |agent| {
            let hello = Hello::new().set("supported-versions", " 1.0 , 2.0 ");
            Box::pin(accepted(agent, hello))
        },
    ),
    must(
        "H2.3",
        "version 1.0 alone is refused with status 8",
        "SPOE.txt 3.2.4, 3.5",
        |agent| {
            let hello = Hello::new().set("supported-versions", "1.0");
            Box::pin(refused(agent, hello, Status::UNSUPPORTED_VERSION))
        },
    ),
    must(
        "H2.4",
        "version 3.0 alone is refused with status 8",
        "SPOE.txt 3.2.4, 3.5",
        |agent| {
            let hello = Hello::new().set("supported-versions", "3.0");
            Box::pin(refused(agent, hello, Status::UNSUPPORTED_VERSION))
        },
    ),
    must(
        "H2.5",
        "a HELLO without versions is refused with status 5",
        "SPOE.txt 3.2.4, 3.5",
        |agent| {
            let hello = Hello::new().without("supported-versions");
            Box::pin(refused(agent, hello, Status::NO_VERSION))
        },
    ),
    must(
        "H3.1",
        "max-frame-size 256 is answered with 256",
        "SPOE.txt 3.2, 3.2.4: the lower value, and no one may ask for less than 256",
        |agent| Box::pin(smallest_size(agent)),
    ),
    must(
        "H3.2",
        "max-frame-size 255 is refused with status 9",
        "SPOE.txt 3.2, 3.5",
        |agent| {
            let hello = Hello::new().set("max-frame-size", 255_u32);
            Box::pin(refused(agent, hello, Status::BAD_MAX_FRAME_SIZE))
        },
    ),
    must(
        "H3.3",
        "a HELLO without max-frame-size is refused with status 6",
        "SPOE.txt 3.2.4, 3.5",
        |agent| {
            let hello = Hello::new().without("max-frame-size");
            Box::pin(refused(agent, hello, Status::NO_MAX_FRAME_SIZE))
        },
    ),
    must(
        "H3.4",
        "a huge max-frame-size is answered with that or less",
        "SPOE.txt 3.2.4: the lower value",
        |agent| {
            Box::pin(accepted(
                agent,
                Hello::new().set("max-frame-size", 1_u32 << 30),
            ))
        },
    ),
    should(
        "H4.1",
        "a max-frame-size that is INT32, INT64 or UINT64 is taken for a number",
        "SPOE.txt 3.1; HAProxy itself is as lenient",
        |agent| Box::pin(integer_types(agent)),
    ),
    should(
        "H4.2",
        "a max-frame-size that is a STRING is refused with status 4",
        "SPOE.txt 3.2.4, 3.5",
        |agent| {
            let hello = Hello::new().set("max-frame-size", "16380");
            Box::pin(refused(agent, hello, Status::INVALID_FRAME))
        },
    ),
    must(
        "H5.1",
        "HAProxy without any capability is served",
        "SPOE.txt 3.2.1; `no option pipelining`",
        |agent| Box::pin(served(agent, Hello::new().set("capabilities", ""))),
    ),
    should(
        "H5.2",
        "a HELLO without the key capabilities is served, or refused with status 7",
        "SPOE.txt 3.2.4, 3.5",
        |agent| Box::pin(no_capabilities_key(agent)),
    ),
    must(
        "H6.1",
        "unknown capabilities, and spaces between them, are ignored",
        "SPOE.txt 3.2.1, 3.2.4",
        |agent| {
            let list = " async , pipelining ,, teleportation";
            Box::pin(served(agent, Hello::new().set("capabilities", list)))
        },
    ),
    should(
        "H6.2",
        "pipelining2 is not taken for pipelining",
        "SPOE.txt 3.2.4: a list separated by commas",
        |agent| Box::pin(whole_tokens(agent)),
    ),
    should(
        "H7",
        "the agent does not announce async",
        "HAProxy from 3.1 on does not speak it; an ACK belongs on the connection of its NOTIFY",
        |agent| Box::pin(no_async(agent)),
    ),
    must(
        "H8.1",
        "keys that nobody knows, of every type, are skipped",
        "HAProxy added keys before: engine-id, healthcheck",
        |agent| Box::pin(accepted(agent, every_type())),
    ),
    should(
        "H8.2",
        "a key of a type that is not assigned is refused with status 4",
        "SPOE.txt 3.1, 3.5: its length cannot be known",
        |agent| Box::pin(reserved_types(agent)),
    ),
    should(
        "H9.1",
        "a key that comes twice is accepted or refused, the same way each time",
        "SPOE.txt 3.2.4 says nothing about it",
        |agent| Box::pin(twice(agent)),
    ),
    should(
        "H9.2",
        "an empty key is refused with status 4",
        "HAProxy refuses it in an AGENT-HELLO",
        |agent| {
            Box::pin(refused(
                agent,
                Hello::new().add("", 1_u32),
                Status::INVALID_FRAME,
            ))
        },
    ),
];

/// The agent answers `hello` with a HELLO that HAProxy accepts.
async fn accepted(agent: &Agent, hello: Hello) -> Verdict {
    agent.greet_with(&hello).await.map(drop)
}

/// The agent answers `hello`, and a NOTIFY after it.
pub(super) async fn served(agent: &Agent, hello: Hello) -> Verdict {
    let (mut probe, _) = agent.greet_with(&hello).await?;
    probe.asks((1, 1), agent.question()).await.map(drop)
}

/// The agent says goodbye to `hello` with `status`.
async fn refused(agent: &Agent, hello: Hello, status: Status) -> Verdict {
    let mut probe = agent.connect().await?;
    probe.send(&hello.frame()).await?;
    probe.refused(status).await
}

async fn smallest_size(agent: &Agent) -> Verdict {
    let hello = Hello::new().set("max-frame-size", 256_u32);
    let (_, answer) = agent.greet_with(&hello).await?;
    match answer.max_frame_size {
        Some(256) => Ok(()),
        other => Err(Stop::failed("max-frame-size 256", format!("{other:?}"))),
    }
}

async fn integer_types(agent: &Agent) -> Verdict {
    for size in [
        TypedData::Int32(MAX_FRAME_SIZE.cast_signed()),
        TypedData::Int64(MAX_FRAME_SIZE.into()),
        TypedData::Uint64(MAX_FRAME_SIZE.into()),
    ] {
        let accepted = accepted(agent, Hello::new().set("max-frame-size", size)).await;
        accepted.after(size.type_name())?;
    }
    Ok(())
}

async fn no_capabilities_key(agent: &Agent) -> Verdict {
    let mut probe = agent.connect().await?;
    let hello = Hello::new().without("capabilities").frame();
    probe.send(&hello).await?;
    let expected = "an AGENT-HELLO, or AGENT-DISCONNECT with status 7";
    match probe.frame(expected).await? {
        (_, Frame::AgentHello(_)) => Ok(()),
        (_, Frame::AgentDisconnect(bye)) if bye.status == Status::NO_CAPABILITIES => Ok(()),
        (raw, other) => Err(Stop::failed(expected, told(&raw, &other))),
    }
}

async fn whole_tokens(agent: &Agent) -> Verdict {
    let none = Hello::new().set("capabilities", "");
    let (_, answer) = agent.greet_with(&none).await?;
    if announces(&answer, Capabilities::PIPELINING) {
        let reason = "the agent announces pipelining whatever HAProxy announces";
        return Err(Stop::skipped(reason));
    }
    let other = Hello::new().set("capabilities", "pipelining2,notpipelining");
    let (_, answer) = agent.greet_with(&other).await?;
    if announces(&answer, Capabilities::PIPELINING) {
        let expected = "no pipelining, since HAProxy did not announce it";
        return Err(Stop::failed(expected, "pipelining"));
    }
    Ok(())
}

async fn no_async(agent: &Agent) -> Verdict {
    for hello in [Hello::new(), Hello::old()] {
        let (_, answer) = agent.greet_with(&hello).await?;
        if announces(&answer, Capabilities::ASYNC) {
            return Err(Stop::failed("no async", "async"));
        }
    }
    Ok(())
}

fn every_type() -> Hello {
    let unknown = Hello::new()
        .add("x-null", TypedData::Null)
        .add("x-true", true)
        .add("x-false", false)
        .add("x-int32", -1_i32)
        .add("x-uint32", u32::MAX)
        .add("x-int64", i64::MIN)
        .add("x-uint64", u64::MAX);
    unknown
        .add("x-ipv4", TypedData::Ipv4([192, 0, 2, 1].into()))
        .add("x-ipv6", TypedData::Ipv6(1.into()))
        .add("x-string", "any text")
        .add("x-binary", TypedData::Binary(&[0, 0xff]))
        .add("x-empty", "")
}

async fn reserved_types(agent: &Agent) -> Verdict {
    for tag in [10, 15] {
        let hello = Hello::new().set_raw("x-reserved", &[tag]);
        let refused = refused(agent, hello, Status::INVALID_FRAME).await;
        refused.after(format_args!("type {tag}"))?;
    }
    Ok(())
}

async fn twice(agent: &Agent) -> Verdict {
    let hello = Hello::new().add("max-frame-size", 300_u32).frame();
    let expected = "an AGENT-HELLO or AGENT-DISCONNECT";
    let mut answers = Vec::new();
    for _ in 0..4 {
        let mut probe = agent.connect().await?;
        probe.send(&hello).await?;
        let answer = match probe.frame(expected).await? {
            (_, Frame::AgentHello(hello)) => hello.max_frame_size.ok_or(Status::UNKNOWN),
            (_, Frame::AgentDisconnect(bye)) => Err(bye.status),
            (raw, other) => return Err(Stop::failed(expected, told(&raw, &other))),
        };
        answers.push(answer);
    }
    if answers.windows(2).any(|pair| pair.first() != pair.last()) {
        let expected = "the same answer to the same HELLO";
        return Err(Stop::failed(expected, format!("{answers:?}")));
    }
    Ok(())
}

//! F5 to F7: what the agent puts on the wire at once. HAProxy's reader has weak points here.

use std::time::{Duration, Instant};

use spop_codec::Capabilities;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::agent::announces;
use super::wire::{self, Hello, odd_ids};
use super::{Agent, Case, Stop, Verdict, must};

pub(super) const CASES: &[Case] = &[
    must(
        "F5",
        "the AGENT-HELLO leaves in one write",
        "HAProxy from 3.2 on resets the connection when it reads a part of it (haproxy #3478)",
        |agent| Box::pin(hello_in_one_write(agent)),
    ),
    must(
        "F6",
        "answers never pile up to 16 KiB that HAProxy has not read yet",
        "HAProxy from 3.1 on never reads a connection again after tune.bufsize bytes at once",
        |agent| Box::pin(pile_of_answers(agent)),
    ),
    must(
        "F7",
        "answers that are ready together do not mix on the wire",
        "SPOE.txt 3.2",
        |agent| Box::pin(whole_frames(agent)),
    ),
];

/// `tune.bufsize` by default.
const BUFSIZE: usize = 16_384;

/// HAProxy's own limit of what is in flight on a connection.
const IN_FLIGHT: u64 = 20;

async fn hello_in_one_write(agent: &Agent) -> Verdict {
    // What is written in two pieces now and then arrives as one.
    for _ in 0..10 {
        let (length, read) = first_read(agent, &Hello::new().frame()).await?;
        if read < length {
            let expected = format!("the first read to have all {length} bytes of it");
            return Err(Stop::failed(expected, format!("{read} bytes")));
        }
    }
    Ok(())
}

/// Opens with `hello`. The length of the AGENT-HELLO on the wire, and what the first read had.
pub(super) async fn first_read(agent: &Agent, hello: &[u8]) -> Verdict<(usize, usize)> {
    let failed = |got: String| Stop::failed("an AGENT-HELLO", got);
    let mut io = agent.open().await.map_err(|e| failed(e.to_string()))?;
    let mut buffer = vec![0; 4 * BUFSIZE];
    let read = async {
        io.write_all(hello).await?;
        let first = io.read(&mut buffer).await?;
        // Less than a length field says nothing about the rest.
        let field = buffer.first_chunk::<4>().filter(|_| first >= 4);
        Ok((field.map(|field| u32::from_be_bytes(*field)), first))
    };
    match tokio::time::timeout(agent.timeout(), read).await {
        Ok(Ok((Some(length), first))) => Ok((length as usize + 4, first)),
        Ok(Ok((None, first))) => Err(failed(format!("{first} bytes"))),
        Ok(Err::<_, std::io::Error>(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("nothing for {:?}", agent.timeout()))),
    }
}

async fn pile_of_answers(agent: &Agent) -> Verdict {
    let (probe, hello) = agent.greet_with(&Hello::new()).await?;
    drop(probe);
    let in_flight = if announces(&hello, Capabilities::PIPELINING) {
        IN_FLIGHT
    } else {
        1
    };
    // The known message as it is; else a long one, for agents that answer with what they got.
    let payload = if agent.knows_the_message() {
        agent.question().to_vec()
    } else {
        let text = "x".repeat(1024);
        wire::message(agent.name(), &[(b"text", text.as_str().into())])
    };
    let ids = odd_ids(in_flight);
    let questions = wire::notifies(&ids, &payload);

    // How long it takes when each answer is read as it comes.
    let mut probe = agent.greet().await?;
    let begin = Instant::now();
    probe.send(&questions).await?;
    probe.acks(&ids).await?;
    let settle = begin.elapsed() * 2 + Duration::from_millis(50);

    let expected = format!("less than {BUFSIZE} bytes to wait for HAProxy to read them");
    let failed = |got: String| Stop::failed(&expected, got);
    let mut io = agent.open().await.map_err(|e| failed(e.to_string()))?;
    let mut buffer = vec![0; 16 * BUFSIZE];
    let read = async {
        io.write_all(&Hello::new().frame()).await?;
        if io.read(&mut buffer).await? == 0 {
            return Ok(0);
        }
        io.write_all(&questions).await?;
        tokio::time::sleep(settle).await;
        io.read(&mut buffer).await
    };
    match tokio::time::timeout(agent.timeout() + settle, read).await {
        Ok(Ok(0)) => Err(failed("the end of the connection".to_owned())),
        Ok(Ok(1..BUFSIZE)) => Ok(()),
        Ok(Ok(bytes)) => Err(failed(format!("{bytes} bytes after {in_flight} questions"))),
        Ok(Err::<_, std::io::Error>(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("nothing for {:?}", agent.timeout()))),
    }
}

async fn whole_frames(agent: &Agent) -> Verdict {
    let mut probe = agent.greet_pipelining().await?;
    for _ in 0..20 {
        let ids = odd_ids(IN_FLIGHT);
        probe.send(&wire::notifies(&ids, agent.question())).await?;
        probe.acks(&ids).await?;
    }
    Ok(())
}

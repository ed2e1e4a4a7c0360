//! H10 to H16: the order of the handshake, its end before its time, and many at once.

use spop_codec::{Flags, Status};

use super::hello::served;
use super::wire::{self, Hello, Ids};
use super::{After, Agent, Case, Verdict, must, should, slow};

pub(super) const CASES: &[Case] = &[
    should(
        "H10.1",
        "a NOTIFY before the HELLO is refused with status 4",
        "SPOE.txt 3.2.4: HELLO is the first frame",
        |agent| Box::pin(notify_first(agent)),
    ),
    should(
        "H10.2",
        "a second HELLO is refused with status 4",
        "SPOE.txt 3.2.4: HELLO is the first frame",
        |agent| Box::pin(hello_again(agent)),
    ),
    should(
        "H11.1",
        "a HELLO with a stream-id or a frame-id is refused with status 4",
        "SPOE.txt 3.2.4: they must be 0",
        |agent| Box::pin(hello_with_ids(agent)),
    ),
    should(
        "H11.2",
        "a HELLO without FIN is refused with status 10",
        "SPOE.txt 3.2.4: it cannot be fragmented",
        |agent| Box::pin(hello_without_fin(agent)),
    ),
    slow(should(
        "H12.1",
        "a connection on which nothing is said is closed in the end",
        "plain TCP checks and port scanners open such",
        |agent| Box::pin(silent_peer(agent, 0)),
    )),
    slow(should(
        "H12.2",
        "a connection on which half a HELLO is said is closed in the end",
        "plain TCP checks and port scanners open such",
        |agent| Box::pin(silent_peer(agent, 20)),
    )),
    must(
        "H13.1",
        "connections that are reset before a word do no harm",
        "`check` without `option spop-check` makes one every few seconds",
        |agent| Box::pin(reset_at_once(agent)),
    ),
    must(
        "H13.2",
        "connections that are closed before a word do no harm",
        "other TCP checks",
        |agent| Box::pin(closed_at_once(agent)),
    ),
    must(
        "H14",
        "HAPROXY-DISCONNECT right after the handshake is answered, and the connection closed",
        "SPOE.txt 3.2.3, 3.2.8: HAProxy refused the AGENT-HELLO",
        |agent| Box::pin(haproxy_refuses(agent)),
    ),
    must(
        "H15",
        "60 connections shake hands at the same time",
        "HAProxy opens one for each request that waits after its start",
        |agent| Box::pin(many_at_once(agent)),
    ),
    must(
        "H16.1",
        "HAProxy without an engine-id is served",
        "SPOE.txt 3.2.4: the key is optional",
        |agent| Box::pin(served(agent, Hello::new().without("engine-id"))),
    ),
    must(
        "H16.2",
        "two connections with the same engine-id, and one with another, are served",
        "all connections of one HAProxy have the same; a reload changes it",
        |agent| Box::pin(engine_ids(agent)),
    ),
    should(
        "H16.3",
        "an engine-id of any bytes is no error",
        "SPOE.txt 3.2.4: it is a string that only has to be unique",
        |agent| {
            let odd = [0xff_u8; 1000];
            let hello = Hello::new().set("engine-id", spop_codec::Text::new(&odd));
            Box::pin(served(agent, hello))
        },
    ),
];

async fn notify_first(agent: &Agent) -> Verdict {
    let mut probe = agent.connect().await?;
    let notify = wire::notify((1, 1), agent.question());
    probe.send(&notify).await?;
    probe.refused(Status::INVALID_FRAME).await
}

async fn hello_again(agent: &Agent) -> Verdict {
    let mut probe = agent.greet().await?;
    probe.send(&Hello::new().frame()).await?;
    probe.refused(Status::INVALID_FRAME).await
}

async fn hello_with_ids(agent: &Agent) -> Verdict {
    let ids: [Ids; 2] = [(1, 0), (0, 1)];
    for ids in ids {
        let mut probe = agent.connect().await?;
        let hello = Hello::new().frame_with(Flags::FIN, ids);
        probe.send(&hello).await?;
        let refused = probe.refused(Status::INVALID_FRAME).await;
        refused.after(format_args!("stream-id {}, frame-id {}", ids.0, ids.1))?;
    }
    Ok(())
}

async fn hello_without_fin(agent: &Agent) -> Verdict {
    let mut probe = agent.connect().await?;
    let hello = Hello::new().frame_with(Flags(0), (0, 0));
    probe.send(&hello).await?;
    probe.refused(Status::FRAGMENTATION_NOT_SUPPORTED).await
}

async fn silent_peer(agent: &Agent, said: usize) -> Verdict {
    let mut probe = agent.connect().await?;
    let hello = Hello::new().frame();
    probe.send(hello.get(..said).unwrap_or_default()).await?;
    let patience = agent.patience().unwrap_or_default();
    probe.ended(patience, "the agent to give up").await
}

async fn reset_at_once(agent: &Agent) -> Verdict {
    for _ in 0..20 {
        agent.connect().await?.reset();
    }
    served(agent, Hello::new()).await
}

async fn closed_at_once(agent: &Agent) -> Verdict {
    for _ in 0..20 {
        let probe = agent.connect().await?;
        probe.finish(agent.timeout()).await?;
    }
    served(agent, Hello::new()).await
}

async fn haproxy_refuses(agent: &Agent) -> Verdict {
    for status in [Status::UNSUPPORTED_VERSION, Status::BAD_MAX_FRAME_SIZE] {
        let mut probe = agent.greet().await?;
        probe.send(&wire::disconnect(status.0)).await?;
        probe.goodbye().await?;
    }
    Ok(())
}

async fn many_at_once(agent: &Agent) -> Verdict {
    let hello = Hello::new().frame();
    let mut probes = Vec::new();
    for _ in 0..60 {
        probes.push(agent.connect().await?);
    }
    for probe in &mut probes {
        probe.send(&hello).await?;
    }
    for probe in &mut probes {
        probe.agent_hello().await?;
    }
    for probe in &mut probes {
        probe.asks((1, 1), agent.question()).await?;
    }
    Ok(())
}

async fn engine_ids(agent: &Agent) -> Verdict {
    let other = Hello::new().set("engine-id", "00000000-0000-4000-8000-000000000000");
    let mut probes = Vec::new();
    for hello in [Hello::new(), Hello::new(), other] {
        let (probe, _) = agent.greet_with(&hello).await?;
        probes.push(probe);
    }
    for probe in &mut probes {
        probe.asks((1, 1), agent.question()).await?;
    }
    Ok(())
}

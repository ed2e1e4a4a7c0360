//! C1 to C7: health checks, as HAProxy's `option spop-check` makes them.

use std::time::Duration;

use spop_codec::Flags;

use super::hello::served;
use super::probe::Probe;
use super::wire::Hello;
use super::writes::first_read;
use super::{Agent, Case, Stop, Verdict, must};

pub(super) const CASES: &[Case] = &[
    must(
        "C1",
        "a health check, which has no capabilities and no engine-id, is answered",
        "SPOE.txt 3.2.3, 3.2.4; `option spop-check`",
        |agent| Box::pin(answered(agent)),
    ),
    must(
        "C2",
        "nothing follows the AGENT-HELLO that answers a check",
        "HAProxy from 3.1 on takes it for a part of the HELLO, and the server is down",
        |agent| Box::pin(nothing_follows(agent)),
    ),
    must(
        "C3",
        "the answer to a check has all three keys, and the flag FIN alone",
        "SPOE.txt 3.2.5; without, the check fails in HAProxy from 3.1 on",
        |agent| Box::pin(complete(agent)),
    ),
    must(
        "C4",
        "the answer to a check has a max-frame-size from 256 to 16380",
        "SPOE.txt 3.2.5; a check always announces 16380",
        |agent| Box::pin(size_of_a_check(agent)),
    ),
    must(
        "C6",
        "checks that are reset after the answer do no harm",
        "so HAProxy ends them",
        |agent| Box::pin(reset_after_answer(agent)),
    ),
    must(
        "C7",
        "a HELLO with healthcheck=false opens a usual connection",
        "SPOE.txt 3.2.4",
        |agent| Box::pin(served(agent, Hello::new().set("healthcheck", false))),
    ),
];

/// What follows the HELLO sooner than this may reach HAProxy together with it.
const TOGETHER: Duration = Duration::from_millis(20);

async fn check(agent: &Agent) -> Verdict<Probe> {
    let mut probe = agent.connect().await?;
    probe.send(&Hello::health_check().frame()).await?;
    Ok(probe)
}

async fn answered(agent: &Agent) -> Verdict {
    check(agent).await?.agent_hello().await.map(drop)
}

async fn nothing_follows(agent: &Agent) -> Verdict {
    for _ in 0..5 {
        let (length, read) = first_read(agent, &Hello::health_check().frame()).await?;
        if read > length {
            let got = format!("{} bytes more with it", read - length);
            return Err(Stop::failed("the AGENT-HELLO alone", got));
        }
        let mut probe = check(agent).await?;
        probe.agent_hello().await?;
        probe
            .end_or_silence(TOGETHER, "the AGENT-HELLO alone")
            .await?;
    }
    Ok(())
}

async fn complete(agent: &Agent) -> Verdict {
    let (header, hello) = check(agent).await?.agent_hello_and_header().await?;
    super::agent::judge(&Hello::health_check().frame(), &hello)?;
    match header.flags {
        Flags::FIN => Ok(()),
        Flags(other) => Err(Stop::failed("flags 0x1", format!("{other:#x}"))),
    }
}

async fn size_of_a_check(agent: &Agent) -> Verdict {
    let hello = check(agent).await?.agent_hello().await?;
    match hello.max_frame_size {
        Some(256..=16_380) => Ok(()),
        other => Err(Stop::failed("256 to 16380", format!("{other:?}"))),
    }
}

async fn reset_after_answer(agent: &Agent) -> Verdict {
    for _ in 0..20 {
        let mut probe = check(agent).await?;
        probe.agent_hello().await?;
        probe.reset();
    }
    served(agent, Hello::new()).await
}

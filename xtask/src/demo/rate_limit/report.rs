//! What the demo says at its end.

use std::io::Write as _;

use anyhow::Result;
use spop_testkit::agent::Agent;
use spop_testkit::haproxy;

use super::{BURST, Limit, Shown};

/// Says what was shown; true if that is what it should be.
pub(crate) fn verdict(
    shown: &Shown,
    limit: Limit,
    server: Option<&haproxy::Server>,
) -> Result<bool> {
    let mut out = std::io::stdout();
    let tally = &shown.tally;
    let most = limit.most(shown.time);
    let kept = tally.allowed <= most;
    // Below that, something other than the limit held requests back. The agent's count, as
    // it may have allowed a request that HAProxy no longer waited for.
    let near = shown.decided.0 * 10 >= most * 8;
    writeln!(out)?;
    writeln!(
        out,
        "Admitted {} of {} requests; the limit allows {BURST} + {:.0}/s × {:.1} s = {most} at most: {}",
        tally.allowed,
        tally.requests(),
        limit.per_second,
        shown.time.as_secs_f64(),
        match (kept, near) {
            (true, true) => "kept, and used to the full.",
            (true, false) => "kept, but far from used. Is this machine very busy?",
            (false, _) => "NOT KEPT.",
        }
    )?;
    writeln!(
        out,
        "The agent says that it allowed {} and denied {}.",
        shown.decided.0, shown.decided.1
    )?;
    if tally.undecided > 0 {
        writeln!(
            out,
            "{} more passed undecided: the agent's answer did not come within HAProxy's 15 ms.",
            tally.undecided
        )?;
    }
    if let (Some(server), Some(refusal)) = (server, &tally.refusal) {
        writeln!(
            out,
            "\nA refused request:\n  $ curl -i {}\n{refusal}",
            server.url()
        )?;
    }
    if tally.denied == 0 || tally.allowed == 0 {
        writeln!(
            out,
            "Not both admitted and refused requests were seen: the demo FAILED."
        )?;
    }
    writeln!(
        out,
        "\nNext:
  cargo xtask demo --keep   leaves it running, to try it by hand
  README.md                 run it yourself; write an agent of your own
  deploy/haproxy/           the HAProxy files that this used, and how to fit them into yours"
    )?;
    Ok(kept && near && tally.denied > 0 && tally.allowed > 0)
}

/// Prints where everything is that is left running.
pub(crate) fn keep(server: Option<&haproxy::Server>, agent: &Agent, live_view: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "\nStill running, under light traffic, until Ctrl-C:")?;
    writeln!(out, "  the agent's live view     {live_view}")?;
    if let Some(server) = server {
        let url = server.url();
        writeln!(out, "  the web service, limited  {url}")?;
        writeln!(out, "  HAProxy's statistics      {}", server.stats_url())?;
        writeln!(out, "  spoa-gcra                 {}", agent.addr())?;
        writeln!(out, "Such as:")?;
        writeln!(
            out,
            "  for i in $(seq 30); do curl -s -o /dev/null -w '%{{http_code}} ' {url}; done"
        )?;
    }
    writeln!(
        out,
        "  cargo run --quiet -p spop-client --bin spop -- ping {}",
        agent.addr()
    )?;
    Ok(())
}

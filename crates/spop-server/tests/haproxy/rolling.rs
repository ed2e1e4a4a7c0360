//! Two agents are replaced one after the other, under load: every request is decided.
//!
//! What that takes of an operator:
//!
//! * `option spop-check`, and a lame duck ([`Config::with_lame_duck`]) that lasts longer than
//!   HAProxy's `inter` × `fall`, so that HAProxy has turned elsewhere before the agent closes
//!   anything.
//! * From 3.1 on that is all, and nothing goes wrong on the way. (The agents' backend comes
//!   after the proxies with the filter, or says `mode spop`; else HAProxy does not share
//!   connections between requests.)
//! * Up to 3.0 HAProxy goes on using the connections that it has to a server that is DOWN. A
//!   question that crosses the agent's goodbye is lost: one or two in a restart under load.
//!   HAProxy logs it (`st=256` or 257), and can be told to ask again: `option continue-on-error`, a
//!   `spoe-group`, and `http-request send-spoe-group … unless { var(…) -m found }`. That also
//!   covers an agent that crashes. (`no option pipelining` does not help, and 2.6 then leaves
//!   questions waiting until their timeout.)

use std::time::Duration;

use spop_server::Config;

use crate::agent::{Agent, echo};
use crate::load::Load;
use crate::site::{ASK_AGAIN, Plan, SHOW_AGAIN, SPOP_CHECK, spoe_errors, until_status, versions};

/// Far more than HAProxy takes to see two failed checks, 100 ms apart.
const LAME_DUCK: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_decision() {
    for haproxy in versions() {
        let config = || Config::new().with_lame_duck(LAME_DUCK);
        let mut agents = [(); 2].map(|()| Agent::start(echo(), config()));
        let mut plan = Plan {
            backend: SPOP_CHECK,
            ..Plan::new(agents.iter().map(Agent::addr))
        };
        if !haproxy.has_mux_engine() {
            plan.engine = ASK_AGAIN.to_owned();
            plan.rules = SHOW_AGAIN;
        }
        let server = plan.start(&haproxy).await;
        for name in ["agent1", "agent2"] {
            until_status(&server, name, "UP").await;
        }
        let load = Load::start(&server, true);
        load.more(200).await;
        for (agent, name) in agents.iter_mut().zip(["agent1", "agent2"]) {
            agent.stop();
            until_status(&server, name, "DOWN").await;
            agent.ended().await;
            load.more(200).await;
            assert_eq!(agent.warnings(), "", "{}", haproxy.version());
            *agent = Agent::start_at(agent.addr(), echo(), config());
            until_status(&server, name, "UP").await;
            load.more(200).await;
        }
        let (sent, wrong) = load.finish().await;
        let log = server.log();
        let errors = spoe_errors(&log);
        println!(
            "{}: {sent} requests, {} questions lost",
            haproxy.version(),
            errors.len()
        );
        assert_eq!(wrong, [""; 0], "{}", haproxy.version());
        if haproxy.has_mux_engine() {
            assert_eq!(errors, [""; 0], "{}", haproxy.version());
        }
        // What was lost was on its way; nothing waited for its timeout.
        for error in errors {
            let lost = error.contains("st=256") || error.contains("st=257");
            assert!(lost, "{}: {error}", haproxy.version());
        }
    }
}

//! Health checks: what makes a server UP and DOWN, and that no check is a reason to complain.

use std::time::Duration;

use spop_server::Config;
use spop_testkit::http::Client;
use tokio::net::TcpStream;

use crate::agent::{Agent, echo};
use crate::site::{PATIENCE, Plan, SPOP_CHECK, ask, shown, until_check, until_status, versions};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_agent_is_taken_out_before_its_listener_closes() {
    for haproxy in versions() {
        // So long that its end plays no part.
        let config = Config::new().with_lame_duck(Duration::from_secs(600));
        let mut agent = Agent::start(echo(), config);
        let plan = Plan {
            backend: SPOP_CHECK,
            ..Plan::new([agent.addr()])
        };
        let server = plan.start(&haproxy).await;
        until_check(&server, "agent1", "L7OK").await;

        agent.stop();
        until_status(&server, "agent1", "DOWN").await;
        // By a check that was refused, not by a connection that was.
        let down = "spoe-agents/agent1 is DOWN";
        let down = server.process().line(down, PATIENCE).await.unwrap();
        assert!(
            down.contains("reason: Layer7"),
            "{}: {down}",
            haproxy.version()
        );
        assert!(TcpStream::connect(agent.addr()).await.is_ok());
        assert_eq!(agent.warnings(), "", "{}", haproxy.version());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_check_makes_the_agent_complain() {
    const CONNECT_CHECK: &str = "default-server check inter 5ms";
    const SPOP_CHECK: &str = "option spop-check\ndefault-server check inter 5ms";

    for haproxy in versions() {
        for (backend, well) in [(CONNECT_CHECK, "L4OK"), (SPOP_CHECK, "L7OK")] {
            let agent = Agent::start(echo(), Config::new());
            let plan = Plan {
                backend,
                ..Plan::new([agent.addr()])
            };
            let server = plan.start(&haproxy).await;
            until_check(&server, "agent1", well).await;
            let client = Client::new();
            for id in 0..100 {
                let id = id.to_string();
                let answer = ask(&client, &server, "", &id).await;
                assert_eq!(shown(&answer, "answer"), id.as_str());
            }
            until_check(&server, "agent1", well).await;
            assert_eq!(agent.warnings(), "", "{} {backend}", haproxy.version());
            assert!(!server.log().join("\n").contains("DOWN"));
        }
    }
}

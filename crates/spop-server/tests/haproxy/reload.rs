//! HAProxy is reloaded under load: a new process takes the listeners over, the old one
//! finishes. Every request is decided, by either.

use spop_server::Config;

use crate::agent::{Agent, echo};
use crate::load::Load;
use crate::site::{PATIENCE, Plan, SPOP_CHECK, spoe_errors, versions};

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_loses_no_decision() {
    for haproxy in versions() {
        let agent = Agent::start(echo(), Config::new());
        let plan = Plan {
            backend: SPOP_CHECK,
            ..Plan::new([agent.addr()])
        };
        let mut server = plan.start(&haproxy).await;
        // A connection for each request: HAProxy closes those kept alive at a reload, and one
        // that a request is on its way on is the user's loss, with an agent or without.
        let load = Load::start(&server, false);
        load.more(200).await;
        for _ in 0..3 {
            let old = server.reload().unwrap();
            let ended = old.wait(PATIENCE).await;
            let log = old.log();
            assert!(ended.is_ok(), "{}: {log:#?}", haproxy.version());
            assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
            load.more(200).await;
        }
        let (sent, wrong) = load.finish().await;
        println!("{}: {sent} requests", haproxy.version());
        assert_eq!(wrong, [""; 0], "{}", haproxy.version());
        let log = server.log();
        assert_eq!(spoe_errors(&log), [""; 0], "{}", haproxy.version());
        assert_eq!(agent.warnings(), "", "{}", haproxy.version());
    }
}

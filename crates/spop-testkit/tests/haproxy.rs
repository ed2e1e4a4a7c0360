//! The shipped HAProxy files, run by each HAProxy that can be had, while the agent is away:
//! requests pass, as the files promise, and HAProxy says why.
#![cfg(feature = "e2e")]

use std::time::Duration;

use spop_testkit::haproxy::{Server, Setup};
use spop_testkit::http::Client;
use spop_testkit::port;
use spop_testkit::tools::Haproxy;
use spop_testkit::web::Web;

#[tokio::test]
async fn without_an_agent_requests_pass_and_the_log_says_so() {
    for haproxy in Haproxy::all().unwrap() {
        let web = Web::start().await.unwrap();
        let setup = Setup::new(port::free_addr().unwrap(), web.addr());
        let server = Server::start(&haproxy, &setup).await.unwrap();
        let client = Client::from([127, 0, 0, 9]);

        let answer = client.get(server.url()).send().await.unwrap();
        assert_eq!(answer.status, 200, "{}", haproxy.version());
        assert_eq!(answer.header("ratelimit"), None);

        server
            .process()
            .line("rl=- left=- by=- err=", Duration::from_secs(10))
            .await
            .unwrap();
        let line = server.log().join("\n");
        assert!(line.contains("127.0.0.9"), "{line}");
    }
}

#[tokio::test]
async fn a_dead_agent_is_taken_out() {
    for haproxy in Haproxy::all().unwrap() {
        let web = Web::start().await.unwrap();
        let setup = Setup::new(port::free_addr().unwrap(), web.addr());
        let server = Server::start(&haproxy, &setup).await.unwrap();
        server
            .process()
            .line("Server spoe-agents/agent1 is DOWN", Duration::from_secs(20))
            .await
            .unwrap();
        let status = server.status_of("spoe-agents", "agent1").await.unwrap();
        assert_eq!(status, "DOWN");
        // From 3.4 on "UP 0/3" before its first check.
        let status = server.status_of("web", "web").await.unwrap();
        assert!(status.starts_with("UP"), "{status}");
    }
}

//! The composition over a store that never answers, on a machine that runs it late.

use std::future::pending;
use std::io;
use std::time::Duration;

use spop_client::Client;
use spop_client::spop_codec::{Action, HaproxyHello, NotifyBuilder, TypedData};
use spop_server::{Config, Peer, serve_connection};
use tokio::task::yield_now;
use tokio::time::advance;
use tower::service_fn;

use super::*;
use crate::gcra::Quota;
use crate::policy::Policy;
use crate::store::failure::FailurePolicy;
use crate::top::Names;

/// As `spoa-gcra run` has it.
const BACKSTOP: Duration = Duration::from_millis(4);

/// Beyond the budget and the engine's own deadline, and before tokio has looked at its timers.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_looked_at_too_late_is_answered_by_the_failure_policy() {
    let settings = Settings::load(|_| None).unwrap();
    let budget = settings.decision_budget;
    let stuck = service_fn(|_: Check| pending::<Result<Verdict, io::Error>>());
    let store = ServiceBuilder::new()
        .layer(FailureLayer::new(MemoryStore::new(100), budget))
        .service(stuck);
    for (failure, score) in [
        (FailurePolicy::Closed, 100),
        (FailurePolicy::Open, 0),
        (FailurePolicy::Local, 0),
    ] {
        let policy = Policy::of_one(Quota::new(10_000, 200_000).unwrap()).with_failure(failure);
        let policies = Arc::new(ArcSwap::from_pointee(Policies::of_one(policy)));
        let router = limiter(&settings, policies, Top::new(Names::Off, 64), store.clone());
        let config = Config::new().with_handler_timeout(budget + BACKSTOP);
        let (haproxy, agent) = tokio::io::duplex(4096);
        tokio::spawn(serve_connection(agent, Peer::Local, router, config));
        let hello = HaproxyHello::new(16_380, "test-engine");
        let mut client = Client::handshake(haproxy, hello).await.unwrap();

        client.send(&ask(1, "192.0.2.7")).await.unwrap();
        yield_now().await; // the agent asks the store
        // Something to read makes the agent run as soon as the clock has moved.
        client.send(&ask(2, "192.0.2.8")).await.unwrap();
        advance(budget + 10 * BACKSTOP).await;
        let ack = client.recv_ack().await.unwrap();
        assert_eq!(ack.stream_id(), 1);
        let found = ack.actions().find_map(|action| match action {
            Action::SetVar { name, value, .. } if name == "ip_score" => value.to_i64(),
            _ => None,
        });
        assert_eq!(found, Some(score), "{failure}");
    }
}

fn ask(stream_id: u64, client: &str) -> spop_client::spop_codec::Notify {
    let ip_src: TypedData<'_> = client.parse::<std::net::IpAddr>().unwrap().into();
    let notify = NotifyBuilder::new().message(check_rate::MESSAGE, [("ip_src", ip_src)]);
    notify.unwrap().build(stream_id, 1)
}

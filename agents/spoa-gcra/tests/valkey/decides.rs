//! What is decided: as the oracle does, and never more than one limit allows.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use spoa_gcra::gcra::{Quota, decide, increment};
use spoa_gcra::store::valkey::{Config, SCRIPT};
use spoa_gcra::store::{Client, Source};
use spop_testkit::valkey::Server;

use super::{HOUR, allowed, ask, client, config, connection, ready, slow, store};

/// Takes the clock from ARGV and keeps the TTL in a key of its own instead of setting it, so
/// that a schedule runs in its own time. The script's text itself is the one that is shipped.
const SIMULATED: &str = r"
local redis = setmetatable({ call = function(command, ...)
  if command == 'TIME' then return { ARGV[5], ARGV[6] } end
  if command == 'SET' then
    local key, value, _, ttl = ...
    redis.call('SET', key .. ':ttl', ttl)
    return redis.call('SET', key, value)
  end
  return redis.call(command, ...)
end }, { __index = redis })
";

#[derive(Debug, Clone)]
struct Step {
    client: usize,
    /// µs; the clock may also be set back.
    advance: i64,
    quota: usize,
    cost: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let advance = prop_oneof![
        8 => 0..30_000i64,
        2 => 0..3_000_000i64,
        1 => -3_000_000..0i64,
    ];
    let cost = prop_oneof![6 => Just(1u64), 2 => 0..25u64, 1 => Just(1_000_000)];
    (0..3usize, advance, 0..20usize, cost).prop_map(|(client, advance, quota, cost)| Step {
        client,
        advance,
        // Mostly the same one, now and then a change of configuration.
        quota: quota.saturating_sub(16),
        cost,
    })
}

#[test]
fn the_script_decides_as_the_oracle_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start()).unwrap();
    let connection = runtime.block_on(connection(&server.url()));
    let quotas = [
        (10_000, 200_000),
        (7, 7),
        (333_334, 1_000_001),
        (31_622_400_000_000, 31_622_400_000_000),
    ]
    .map(|(interval, burst)| Quota::new(interval, burst).unwrap());
    let cap_millis = 150u64;
    let script = format!("{SIMULATED}{SCRIPT}");

    let mut runner = TestRunner::new(Cases {
        cases: 200,
        failure_persistence: None,
        ..Cases::default()
    });
    let schedules = prop::collection::vec(step(), 1..80);
    let outcome = runner.run(&schedules, |schedule| {
        let mut pipeline = redis::pipe();
        pipeline.cmd("FLUSHALL");
        let mut now = 1_760_000_000_999_999u64;
        let mut expected = Vec::new();
        let mut tats = HashMap::new();
        for step in &schedule {
            now = now.saturating_add_signed(step.advance);
            let quota = quotas[step.quota];
            let outcome = decide(quota, tats.get(&step.client).copied(), now, step.cost);
            if let Some(tat) = outcome.store {
                tats.insert(step.client, tat);
            }
            let ttl = outcome
                .store
                .map(|tat| ((tat - now) / 1000 + 1).min(cap_millis));
            expected.push((outcome.room, tats.get(&step.client).copied(), ttl));

            let key = format!("gcra:{}", step.client);
            let ttl_key = format!("{key}:ttl");
            pipeline.cmd("DEL").arg(&ttl_key);
            pipeline
                .cmd("EVAL")
                .arg(&script)
                .arg(1)
                .arg(&key)
                .arg(1)
                .arg(cap_millis)
                .arg(increment(quota, step.cost))
                .arg(quota.burst())
                .arg(now / 1_000_000)
                .arg(now % 1_000_000);
            pipeline.cmd("GET").arg(&key).cmd("GET").arg(&ttl_key);
        }
        let replies: Vec<redis::Value> = runtime
            .block_on(pipeline.query_async(&mut connection.clone()))
            .unwrap();
        for ((reply, expected), step) in replies[1..].chunks(4).zip(expected).zip(&schedule) {
            let number =
                |at: usize| -> Option<i64> { redis::from_redis_value(reply[at].clone()).unwrap() };
            let unsigned = |at: usize| number(at).map(i64::unsigned_abs);
            let decided = (number(1).unwrap(), unsigned(2), unsigned(3));
            prop_assert_eq!(decided, expected, "{:?}", step);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_client_has_exactly_its_burst() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;

    for left in (0..5).rev() {
        let verdict = ask(&store, client(1), slow(5), 1).await.unwrap();
        assert!(verdict.decision.allowed);
        assert_eq!(verdict.source, Source::Valkey);
        assert_eq!(verdict.decision.limit, 5);
        assert_eq!(verdict.decision.remaining, left);
        assert_eq!(verdict.decision.retry_after, None);
    }
    let denied = ask(&store, client(1), slow(5), 1).await.unwrap().decision;
    assert!(!denied.allowed);
    assert_eq!(denied.remaining, 0);
    assert!(denied.retry_after.unwrap() <= HOUR);
    assert!(denied.reset_after <= 5 * HOUR && denied.reset_after > 4 * HOUR);
    // One client's debt is not another's, and IPv6 clients have keys as well.
    assert!(allowed(&store, client(2), slow(5), 5).await);
    let v6 = Client("2001:db8:1:2::".parse().unwrap());
    assert!(allowed(&store, v6, slow(5), 5).await);
    assert!(!allowed(&store, v6, slow(5), 1).await);
    // Costs more than the burst: it never can.
    let never = ask(&store, client(3), slow(5), 6).await.unwrap().decision;
    assert!(!never.allowed);
    assert_eq!((never.remaining, never.retry_after), (5, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_wait_it_says_a_request_passes() {
    let server = Server::start().await.unwrap();
    let store = store(&server.url(), config());
    ready(&store, client(0)).await;
    let quota = Quota::new(300_000, 300_000).unwrap();

    assert!(allowed(&store, client(1), quota, 1).await);
    let mut waits = 0;
    loop {
        let verdict = ask(&store, client(1), quota, 1).await.unwrap();
        let Some(wait) = verdict.decision.retry_after else {
            break;
        };
        waits += 1;
        assert!(waits < 2, "denied again after the wait");
        tokio::time::sleep(Duration::from_micros(wait)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_agents_together_admit_what_one_limit_allows() {
    let server = Server::start().await.unwrap();
    let quota = Quota::new(10_000, 200_000).unwrap();
    let lanes = 3;
    let stores: Vec<_> = (0..4)
        .map(|_| store(&server.url(), Config { lanes, ..config() }))
        .collect();
    for store in &stores {
        ready(store, client(0)).await;
    }

    let since = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..32usize {
        let store = stores[task % stores.len()].clone();
        tasks.spawn(async move {
            let mut admitted = 0u64;
            for _ in 0..200 {
                admitted += u64::from(allowed(&store, client(1), quota, 1).await);
            }
            admitted
        });
    }
    let admitted: u64 = tasks.join_all().await.into_iter().sum();
    let elapsed = u64::try_from(since.elapsed().as_micros()).unwrap();
    let most = (quota.burst() + elapsed) / quota.interval();
    assert!(
        (20..=most).contains(&admitted),
        "{admitted} of at most {most}"
    );
}

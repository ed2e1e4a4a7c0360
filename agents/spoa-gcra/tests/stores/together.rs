//! Many askers at once, on several agents: what comes out is some order of one by one.

use std::time::{Duration, Instant};

use spoa_gcra::policy::Limit;
use spoa_gcra::store::Client;
use tokio::task::JoinSet;

use crate::checks::{HOUR, PATIENCE, check, client, limit, policy};
use crate::history::History;
use crate::on_every_site;
use crate::sites::{Site, Store, ask};

const TASKS: usize = 24;
const CHECKS: usize = 60;

/// Limits that refill while they are used, and two policies that have one in common.
const QUICK: [(u32, u64, u64); 3] = [(1, 700, 40), (2, 2_000, 25), (3, 3_100, 12)];
const POLICIES: [&[usize]; 4] = [&[0], &[1, 0], &[1, 2], &[2, 1, 0]];

on_every_site! {
    no_window_admits_too_much_and_none_too_little
    a_limit_that_does_not_refill_is_used_up_exactly
}

fn quick_limits() -> [Limit; 3] {
    QUICK.map(|(number, interval, n)| limit(number, interval, n))
}

async fn no_window_admits_too_much_and_none_too_little<S: Store>(site: Site<S>) {
    let (client, began) = (client(), Instant::now());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let agent = site.agents[task % site.agents.len()].clone();
        tasks.spawn(asker(agent, client, began));
    }
    let mut histories = no_histories(began);
    let patience = tokio::time::timeout(PATIENCE, tasks.join_all());
    for of_task in patience.await.unwrap() {
        for (history, more) in histories.iter_mut().zip(of_task) {
            history.append(more);
        }
    }
    for mut history in histories {
        history.no_window_has_more_than_burst_and_refill();
        history.nobody_was_denied_without_cause();
    }
}

fn no_histories(began: Instant) -> [History; 3] {
    quick_limits().map(|limit| History::new(limit.quota(), began))
}

/// One of those that ask, without a pause or as they are told to; and what it sees.
async fn asker<S: Store>(agent: S, client: Client, began: Instant) -> [History; 3] {
    let limits = quick_limits();
    let policies = POLICIES.map(|members| {
        let limits: Vec<Limit> = members.iter().map(|&at| limits[at].clone()).collect();
        policy(&limits)
    });
    let mut histories = no_histories(began);
    for _ in 0..CHECKS {
        let which = fastrand::usize(..POLICIES.len());
        let (cost, count) = (fastrand::u64(..4), fastrand::u32(1..4));
        let asked = Instant::now();
        let verdict = ask(agent.clone(), check(client, &policies[which], cost, count)).await;
        for &limit in POLICIES[which] {
            histories[limit].spent(asked, cost * u64::from(verdict.granted));
        }
        assert!(verdict.granted <= count);
        assert_eq!(verdict.decision.allowed, verdict.granted > 0);
        if !verdict.decision.allowed {
            histories[POLICIES[which][verdict.limit]].denied(asked, cost);
            let wait = Duration::from_micros(verdict.decision.retry_after.unwrap());
            if fastrand::bool() {
                tokio::time::sleep(wait).await;
            }
        }
        // An answer that needs no wait would not let the others have their turn.
        tokio::task::yield_now().await;
    }
    histories
}

async fn a_limit_that_does_not_refill_is_used_up_exactly<S: Store>(site: Site<S>) {
    const LONG: u64 = 301;
    const SHORT: u64 = 120;
    let client = client();
    let [long, short] = [limit(1, HOUR, LONG), limit(2, 2 * HOUR, SHORT)];
    let both = policy(&[short.clone(), long.clone()]);
    let [long, short] = [policy(&[long]), policy(&[short])];

    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let agent = site.agents[task % site.agents.len()].clone();
        let policy = if task % 2 == 0 { &both } else { &long }.clone();
        tasks.spawn(async move {
            let mut granted = 0;
            for at in 0..CHECKS {
                let check = check(client, &policy, 1, 1 + (at % 3) as u32);
                granted += u64::from(ask(agent.clone(), check).await.granted);
                tokio::task::yield_now().await;
            }
            (task % 2, granted)
        });
    }
    let mut granted = [0, 0];
    let patience = tokio::time::timeout(PATIENCE, tasks.join_all());
    for (kind, more) in patience.await.unwrap() {
        granted[kind] += more;
    }
    let [by_both, by_one] = granted;
    assert_eq!(by_both + by_one, LONG);
    assert!(by_both <= SHORT, "{by_both}");
    for (policy, left) in [(long, 0), (short, SHORT - by_both)] {
        let verdict = site.ask(0, check(client, &policy, 0, 1)).await;
        assert_eq!(verdict.decision.remaining, left);
    }
}

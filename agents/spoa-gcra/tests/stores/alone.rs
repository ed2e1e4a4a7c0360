//! One check after the other: what each is told, by whichever agent.

use std::slice;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::test_runner::{Config as Cases, TestCaseError, TestCaseResult, TestRunner};
use spoa_gcra::policy::Limit;
use spoa_gcra::store::{Check, Source, Verdict};
use tokio::runtime::Handle;

use crate::checks::{HOUR, check, client, limit, policy, slow_policy};
use crate::history::{apart, micros};
use crate::on_every_site;
use crate::oracle::{Expected, Oracle};
use crate::sites::{Site, Store};

on_every_site! {
    answers_as_the_oracle_does
    a_denial_spends_nothing_from_any_limit
    a_question_spends_nothing
    without_a_limit_everything_passes
    after_the_wait_it_was_told_a_request_passes_and_not_before
    after_reset_the_whole_burst_passes
}

/// Of limits that do not refill during a test, so that every number is known.
#[derive(Debug)]
struct Asked {
    agent: usize,
    limits: Vec<Limit>,
    cost: u64,
    count: u32,
}

fn asked() -> impl Strategy<Value = Asked> {
    let limits = [(1, 4), (2, 7), (3, 12), (1, 20)];
    let limits = limits.map(|(hours, n)| limit(u32::try_from(n).unwrap(), hours * HOUR, n));
    let limits = subsequence(Vec::from(limits), 1..=4).prop_shuffle();
    let cost = prop_oneof![5 => Just(1), 2 => 0..=3u64, 1 => Just(13)];
    (0..3usize, limits, cost, 1..=4u32).prop_map(|(agent, limits, cost, count)| Asked {
        agent,
        limits,
        cost,
        count,
    })
}

async fn answers_as_the_oracle_does<S: Store>(site: Site<S>) {
    for_all(vec(asked(), 1..25), async |schedule| {
        let (client, began) = (client(), Instant::now());
        let mut oracle = Oracle::default();
        for asked in schedule {
            let check = check(client, &policy(&asked.limits), asked.cost, asked.count);
            let expected = oracle.expect(&check);
            let verdict = site.ask(asked.agent, check.clone()).await;
            let elapsed = micros(began.elapsed());
            agrees(&check, &verdict, &expected, elapsed, site.source)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{asked:?}")))?;
        }
        Ok(())
    });
}

/// Everything that was said is what was to be expected, but for what has come back in the
/// meantime.
fn agrees(
    check: &Check,
    verdict: &Verdict,
    expected: &Expected,
    elapsed: u64,
    source: Source,
) -> TestCaseResult {
    let said = verdict.decision;
    let (is, fits) = expected.limits[verdict.limit];
    prop_assert_eq!((said.allowed, said.limit), (is.allowed, is.limit));
    prop_assert_eq!(verdict.granted, expected.granted);
    let now = |then: u64| then.saturating_sub(elapsed + apart(elapsed))..=then;
    prop_assert_eq!(said.retry_after.is_some(), is.retry_after.is_some());
    if verdict.source == Source::Cache {
        // One reason to deny is enough, and others may have spent since it was learnt.
        prop_assert!(!said.allowed && check.cost > 0);
        return Ok(());
    }
    prop_assert_eq!(verdict.source, source);
    prop_assert_eq!(said.remaining, is.remaining);
    prop_assert!(now(is.reset_after).contains(&said.reset_after));
    if let (Some(said), Some(is)) = (said.retry_after, is.retry_after) {
        prop_assert!(now(is).contains(&said));
    }
    // It is about the strictest.
    if said.allowed {
        let fewest = expected
            .limits
            .iter()
            .map(|(other, _)| other.remaining)
            .min();
        prop_assert_eq!(Some(said.remaining), fewest);
    } else {
        prop_assert!(!fits);
        let wait = |retry_after: Option<u64>| retry_after.unwrap_or(u64::MAX);
        let denying = expected.limits.iter().filter(|(_, fits)| !fits);
        let longest = denying.map(|(other, _)| wait(other.retry_after)).max();
        prop_assert_eq!(Some(wait(is.retry_after)), longest);
    }
    Ok(())
}

/// What agents say of each of these limits alone: remaining, and reset_after.
async fn state<S: Store>(site: &Site<S>, like: &Check) -> Vec<(u64, u64)> {
    let mut state = Vec::new();
    for (n, limit) in like.policy.limits().iter().enumerate() {
        let question = check(like.client, &policy(slice::from_ref(limit)), 0, 1);
        let decision = site.ask(n, question).await.decision;
        assert!(decision.allowed);
        state.push((decision.remaining, decision.reset_after));
    }
    state
}

async fn a_denial_spends_nothing_from_any_limit<S: Store>(site: Site<S>) {
    let [a, b, c] = [limit(1, HOUR, 3), limit(2, HOUR, 8), limit(3, 2 * HOUR, 5)];
    let check = |limits: &[&Limit], cost, count| {
        let limits: Vec<Limit> = limits.iter().copied().cloned().collect();
        check(client(), &policy(&limits), cost, count)
    };
    let began = Instant::now();
    let all = check(&[&b, &a, &c], 1, 4);
    let asking = |cost, count| Check {
        cost,
        count,
        ..all.clone()
    };
    // Four at once: the last is one too many for the smallest limit.
    let first = site.ask(0, all.clone()).await;
    assert_eq!((first.decision.allowed, first.granted), (true, 3));
    let before = state(&site, &all).await;
    assert_eq!([before[0].0, before[1].0, before[2].0], [5, 0, 2]);
    for (n, (cost, count)) in [(1, 1), (1, 5), (2, 1), (3, 3), (1_000_000, 2), (1, 1)]
        .into_iter()
        .enumerate()
    {
        let denied = site.ask(n, asking(cost, count)).await;
        assert_eq!((denied.decision.allowed, denied.granted), (false, 0));
    }
    let after = state(&site, &all).await;
    let elapsed = micros(began.elapsed());
    for (before, after) in before.into_iter().zip(after) {
        assert_eq!(before.0, after.0);
        assert!((before.1 - elapsed - apart(elapsed)..=before.1).contains(&after.1));
    }
}

async fn a_question_spends_nothing<S: Store>(site: Site<S>) {
    let limits = [limit(1, HOUR, 2), limit(2, HOUR, 9)];
    let question = check(client(), &policy(&limits), 0, 7);
    for (spend, left) in [(0, 2), (1, 1), (1, 0)] {
        let spent = Check {
            cost: spend,
            count: 1,
            ..question.clone()
        };
        assert!(site.ask(0, spent).await.decision.allowed);
        for n in 0..6 {
            let verdict = site.ask(n, question.clone()).await;
            assert!(verdict.decision.allowed);
            assert_eq!((verdict.granted, verdict.decision.remaining), (7, left));
        }
    }
}

async fn without_a_limit_everything_passes<S: Store>(site: Site<S>) {
    let client = client();
    for n in 0..6 {
        let verdict = site.ask(n, check(client, &policy(&[]), 5, 3)).await;
        assert_eq!((verdict.decision.allowed, verdict.granted), (true, 3));
        assert_eq!(verdict.decision.retry_after, None);
    }
    // And has not been counted anywhere.
    let verdict = site.ask(0, check(client, &slow_policy(1), 1, 1)).await;
    assert!(verdict.decision.allowed);
}

/// Of which the second alone denies.
fn quick_limits() -> [Limit; 2] {
    [limit(1, 10_000, 40), limit(2, 60_000, 2)]
}

async fn after_the_wait_it_was_told_a_request_passes_and_not_before<S: Store>(site: Site<S>) {
    let (client, policy) = (client(), policy(&quick_limits()));
    let mut denials = 0;
    // A denial and the moments between which a request passes again.
    let mut told: Option<(Source, Instant, Instant)> = None;
    for n in 0.. {
        let asked = Instant::now();
        let verdict = site.ask(n, check(client, &policy, 1, 1)).await;
        let answered = Instant::now();
        if let Some((source, not_before, certainly)) = told {
            let margin = Duration::from_micros(apart(60_000));
            if verdict.decision.allowed {
                assert!(answered + margin >= not_before, "allowed too early");
            } else if source != Source::Cache {
                // A denial out of the cache is over a little early: the next one is not.
                assert!(asked <= certainly + margin, "denied after the wait");
            }
        }
        if verdict.decision.allowed {
            told = None;
            if denials >= 8 {
                break;
            }
            continue;
        }
        denials += 1;
        let wait = Duration::from_micros(verdict.decision.retry_after.unwrap());
        assert!(wait <= Duration::from_millis(60));
        told = Some((verdict.source, asked + wait, answered + wait));
        // Half of the wait, and then all of it.
        let pause = if denials % 2 == 0 { wait } else { wait / 2 };
        tokio::time::sleep(pause).await;
    }
}

async fn after_reset_the_whole_burst_passes<S: Store>(site: Site<S>) {
    let [_, limit] = quick_limits();
    let policy = policy(&[limit]);
    for count in 1..=2 {
        let client = client();
        let spent = site.ask(0, check(client, &policy, 1, count)).await;
        assert_eq!(spent.granted, count);
        let reset = site.ask(0, check(client, &policy, 0, 1)).await.decision;
        assert!(reset.reset_after <= 60_000 * u64::from(count));
        tokio::time::sleep(Duration::from_micros(reset.reset_after)).await;
        let whole = site.ask(1, check(client, &policy, 1, 3)).await;
        assert_eq!(whole.granted, 2);
    }
}

/// Runs a test on random values, from within a runtime of several threads.
fn for_all<V: std::fmt::Debug>(
    values: impl Strategy<Value = V>,
    test: impl AsyncFn(V) -> TestCaseResult,
) {
    let mut runner = TestRunner::new(Cases {
        cases: 40,
        failure_persistence: None,
        ..Cases::default()
    });
    let run = |value| tokio::task::block_in_place(|| Handle::current().block_on(test(value)));
    let outcome = runner.run(&values, run);
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

//! Leases: what they spare the server, and what that costs, beside the bounds that the
//! module [`spoa_gcra::store::lease`] states.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spoa_gcra::gcra::Quota;
use spoa_gcra::policy::Policy;
use spoa_gcra::store::denial_cache::{DenialCache, DenialCacheLayer};
use spoa_gcra::store::lease::{Lease, LeaseLayer, LeaseStats, Leases};
use spoa_gcra::store::valkey::ValkeyStore;
use spoa_gcra::store::{Check, Verdict};
use spop_testkit::valkey::Server;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tower::{Layer, ServiceExt};

use super::floods::runs;
use super::{PATIENCE, client, config, ready, slow, store};

const AGENTS: usize = 4;
const MINUTE: Duration = Duration::from_secs(60);

/// An agent's store, as [`spoa_gcra::app`] composes it.
#[derive(Clone)]
struct Agent {
    store: Leases<DenialCache<ValkeyStore>>,
    stats: LeaseStats,
    policy: Arc<Policy>,
}

impl Agent {
    async fn start(server: &Server, policy: &Arc<Policy>) -> Self {
        let store = store(&server.url(), config());
        ready(&store, client(0)).await;
        let layer = LeaseLayer::new(4096);
        Self {
            store: layer.layer(DenialCacheLayer::new(65_536).layer(store)),
            stats: layer.stats(),
            policy: Arc::clone(policy),
        }
    }

    async fn ask(&self) -> Verdict {
        let check = Check {
            client: client(1),
            policy: Arc::clone(&self.policy),
            cost: 1,
            count: 1,
            deadline: Instant::now() + PATIENCE,
        };
        let verdict = tokio::time::timeout(PATIENCE, self.store.clone().oneshot(check));
        verdict.await.unwrap().unwrap()
    }

    /// Asks until it is denied; how often it was not.
    async fn exhaust(&self) -> u64 {
        let mut allowed = 0;
        while self.ask().await.decision.allowed {
            allowed += 1;
        }
        allowed
    }
}

fn leased(quota: Quota, tokens: u32, ttl: Duration) -> Arc<Policy> {
    let lease = Lease::new(tokens, ttl).unwrap();
    Arc::new(Policy::of_one(quota).with_lease(lease).unwrap())
}

async fn agents(server: &Server, policy: &Arc<Policy>) -> Vec<Agent> {
    let mut agents = Vec::new();
    for _ in 0..AGENTS {
        agents.push(Agent::start(server, policy).await);
    }
    agents
}

/// Runs the same on all agents at once, and adds up what comes of it.
async fn on_each<F>(agents: &[Agent], run: impl Fn(Agent) -> F) -> u64
where
    F: Future<Output = u64> + Send + 'static,
{
    let tasks: JoinSet<u64> = agents.iter().cloned().map(run).collect();
    tasks.join_all().await.into_iter().sum()
}

/// Tokens spent, and lost.
fn tokens(agents: &[Agent]) -> (u64, u64) {
    let stats = agents.iter().map(|agent| &agent.stats);
    stats.fold((0, 0), |(spent, expired), stats| {
        (spent + stats.spent(), expired + stats.expired())
    })
}

/// Agents that compete for the last of it: nothing is given away twice, and nothing is kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_spent_in_time_is_exactly_the_limit() {
    let server = Server::start().await.unwrap();
    let policy = leased(slow(1000), 10, MINUTE);
    let agents = agents(&server, &policy).await;
    let before = runs(&server).await;
    let since = Instant::now();
    let allowed = on_each(&agents, |agent: Agent| async move { agent.exhaust().await }).await;

    let (spent, lost) = tokens(&agents);
    let runs = runs(&server).await - before;
    println!("{allowed} admitted, {spent} of them from leases; {runs} runs of the script");
    assert_eq!(allowed + lost, 1000);
    assert!(lost == 0 || since.elapsed() >= MINUTE, "{lost}");
    assert!(spent > 800, "{spent}");
    // Each run admitted one, or was the last of its agent.
    assert!(runs <= allowed - spent + AGENTS as u64, "{runs}");
}

/// Leases that are taken and not spent: what the server granted is what was admitted, lost or
/// is still held.
#[tokio::test(flavor = "multi_thread")]
async fn what_expires_is_lost_and_within_the_bound() {
    let server = Server::start().await.unwrap();
    let ttl = Duration::from_millis(500);
    let policy = leased(slow(1000), 5, ttl);
    let agents = agents(&server, &policy).await;
    let since = Instant::now();
    // Two requests in a row, and then none until the rest of the lease is lost.
    let mut allowed = on_each(&agents, |agent: Agent| async move {
        let mut allowed = 0;
        for _ in 0..4 {
            for _ in 0..2 {
                allowed += u64::from(agent.ask().await.decision.allowed);
            }
            sleep(ttl).await;
        }
        allowed
    })
    .await;
    let elapsed = since.elapsed();
    assert_eq!(allowed, 4 * 2 * AGENTS as u64);

    let exact = Agent {
        policy: Arc::new(Policy::of_one(slow(1000))),
        ..agents[0].clone()
    };
    allowed += exact.exhaust().await;
    // The last leases are over, too: whoever finds that out is not allowed anything.
    for agent in &agents {
        assert!(!agent.ask().await.decision.allowed);
    }
    let (_, lost) = tokens(&agents);
    let turns = elapsed.as_nanos().div_ceil(ttl.as_nanos()) as u64;
    let bound = AGENTS as u64 * 4 * (1 + turns);
    println!("{lost} of 1000 lost in {turns} × T; the bound is {bound}");
    assert_eq!(allowed + lost, 1000);
    assert!(lost > 0 && lost <= bound);
}

/// All agents hold tokens while the client's budget fills up again, and then spend both.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_exceeded_by_what_is_held_and_no_more() {
    let server = Server::start().await.unwrap();
    let quota = Quota::new(50_000, 1_000_000).unwrap();
    let policy = leased(quota, 5, MINUTE);
    let agents = agents(&server, &policy).await;
    let whole = Duration::from_micros(quota.burst());
    let mut held = 0;
    for agent in &agents {
        while agent.stats.granted() == agent.stats.spent() {
            agent.ask().await;
        }
        held += agent.stats.granted() - agent.stats.spent();
        sleep(whole).await;
    }
    // One interval more: the server's clock may be a little slower than ours.
    sleep(Duration::from_micros(quota.interval())).await;

    let since = Instant::now();
    let allowed = on_each(&agents, |agent: Agent| async move { agent.exhaust().await }).await;
    // The server's clock may be made to run a little faster than ours.
    let elapsed = since.elapsed() + Duration::from_millis(10);
    let elapsed = u64::try_from(elapsed.as_micros()).unwrap();
    let exact = (quota.burst() + elapsed) / quota.interval();
    let bound = exact + AGENTS as u64 * 4;
    println!("{allowed} at once in {elapsed} µs: {exact} by the limit, {bound} by the bound");
    assert!(allowed <= bound, "{allowed}");
    assert_eq!(held, AGENTS as u64 * 4);
    // Unless the machine stood still for a minute.
    assert!(allowed >= quota.limit() + held || since.elapsed() >= MINUTE);
}

/// What came of a client's load for a while.
#[derive(Debug)]
struct Outcome {
    requests: u64,
    allowed: u64,
    runs: u64,
    spent: u64,
    lost: u64,
    /// Requests admitted beyond burst + w, in the window w with the most of them.
    over: i64,
    elapsed: Duration,
}

impl Outcome {
    fn line(&self, setting: &str) -> String {
        let per_request = self.runs as f64 / self.requests as f64;
        let Self {
            requests,
            allowed,
            runs,
            spent,
            lost,
            over,
            elapsed,
        } = self;
        format!(
            "{setting}: {requests} requests, {allowed} allowed, {runs} runs of the script \
             ({per_request:.3} each), {spent} from leases, {lost} lost in {elapsed:.1?}, \
             {over} beyond the burst"
        )
    }
}

/// A client that sends `rate` requests a second, evenly, to one agent after the other.
async fn load(policy: Arc<Policy>, rate: u32, requests: u32) -> Outcome {
    let server = Server::start().await.unwrap();
    let agents = agents(&server, &policy).await;
    let before = runs(&server).await;
    let since = tokio::time::Instant::now();
    let mut asked = JoinSet::new();
    for (n, agent) in (0..requests).zip(agents.iter().cycle()) {
        sleep_until(since + Duration::from_secs(1) * n / rate).await;
        let agent = agent.clone();
        asked.spawn(async move {
            let sent = Instant::now();
            let verdict = agent.ask().await;
            // It was admitted in between.
            verdict.decision.allowed.then_some((sent, Instant::now()))
        });
    }
    let mut admitted: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
    let elapsed = since.elapsed();
    admitted.sort();
    let quota = policy.limits().first().unwrap().quota();
    let mut over = i64::MIN;
    for (n, (first, _)) in admitted.iter().enumerate() {
        let mut last = *first;
        for (count, (_, answered)) in (1..).zip(admitted.iter().skip(n)) {
            // One that was sent earlier may have been decided later.
            last = last.max(*answered);
            let window = last.duration_since(*first).as_micros() as u64;
            // The server's clock may be made to run a little faster than ours.
            let window = window + window / 500 + 50;
            let exact = (quota.burst() + window) / quota.interval();
            over = over.max(count - exact as i64);
        }
    }
    let (spent, lost) = tokens(&agents);
    Outcome {
        requests: requests.into(),
        allowed: admitted.len() as u64,
        runs: runs(&server).await - before,
        spent,
        lost,
        over,
        elapsed,
    }
}

/// A client of four agents that may send 100 requests a second and sends 90, or twice what it
/// may: with leases that are spent in time, with ones that are not, and without.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_client_costs_a_fraction_of_the_round_trips() {
    let quota = Quota::new(10_000, 200_000).unwrap();
    let exact = || Arc::new(Policy::of_one(quota));
    let leased = |ttl| leased(quota, 5, Duration::from_millis(ttl));
    let (within, requests) = (90, 450);
    let (exact, short, long, beyond_exact, beyond) = tokio::join!(
        load(exact(), within, requests),
        load(leased(100), within, requests),
        load(leased(1000), within, requests),
        load(exact(), 200, 1000),
        load(leased(1000), 200, 1000),
    );
    println!("{}", exact.line("90/s, no leases"));
    println!("{}", short.line("90/s, L = 5, T = 100 ms"));
    println!("{}", long.line("90/s, L = 5, T = 1 s"));
    println!("{}", beyond_exact.line("200/s, no leases"));
    println!("{}", beyond.line("200/s, L = 5, T = 1 s"));
    for outcome in [&exact, &beyond_exact] {
        assert_eq!((outcome.spent, outcome.lost), (0, 0));
        assert!(outcome.over <= 0, "{}", outcome.over);
    }
    for (outcome, ttl) in [(&short, 0.1), (&long, 1.0), (&beyond, 1.0)] {
        // What a run decides is not from a lease.
        assert!(outcome.runs <= outcome.requests - outcome.spent);
        assert!(outcome.over <= AGENTS as i64 * 4, "{}", outcome.over);
        let turns = outcome.elapsed.as_secs_f64() / ttl;
        assert!(outcome.lost as f64 <= AGENTS as f64 * 4.0 * (1.0 + turns));
    }
    assert!(long.spent > 0);
}

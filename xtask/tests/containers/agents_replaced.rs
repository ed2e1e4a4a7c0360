//! A rolling update: the agents of cluster.yaml are replaced one after the other, under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spop_testkit::http::Client;

use crate::compose::{Compose, Program};
use crate::site::Site;
use crate::{cluster, images};

/// Visitors that ask all the time, each on a connection of its own.
const VISITORS: u8 = 8;
/// What each waits between an answer and its next request.
const PAUSE: Duration = Duration::from_millis(10);

#[test]
fn container_agents_are_replaced_without_an_undecided_request() {
    let engine = images::engine();
    let compose = Compose::new(&engine, Program::Docker, "cluster.yaml");
    let work = async || {
        let site = cluster::up(&engine, &compose).await;
        let done = AtomicBool::new(false);
        let replace = async {
            let started = Instant::now();
            for agent in ["agent-1", "agent-2", "agent-3"] {
                // What `up` does when there is a new image: stop, remove, make anew, start.
                let up = format!("up --detach --no-deps --force-recreate {agent}");
                compose.run(&up).await.unwrap();
                site.ready(3).await;
            }
            done.store(true, Ordering::Relaxed);
            started.elapsed()
        };
        let (took, seen) = tokio::join!(replace, load(&site, &done));

        let log = engine.podman(["logs", HAPROXY]).await.unwrap();
        let log = Log::read(&log);
        println!(
            "three agents replaced in {:.1} s under {} requests: {} allowed, {} denied, {} \
             without a decision, {} lost; decided by {:?}",
            took.as_secs_f64(),
            seen.requests,
            seen.allowed,
            seen.denied,
            seen.undecided,
            seen.lost,
            log.decided_by,
        );
        assert!(seen.requests > 1000, "{seen:?}");
        assert_eq!((seen.undecided, seen.lost), (0, 0), "{:#?}", log.undecided);
        assert_eq!(log.undecided, Vec::<String>::new());
    };
    engine.run(work).unwrap();
}

const HAPROXY: &str = "rate-limit-cluster-haproxy-1";

#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    allowed: u64,
    denied: u64,
    undecided: u64,
    lost: u64,
}

/// Asks until `done`. Each request has an address of its own, so that most are allowed; some
/// come from one that is denied.
async fn load(site: &Site, done: &AtomicBool) -> Seen {
    let visitors = (0..VISITORS).map(|visitor| async move {
        let client = Client::new();
        let mut seen = Seen::default();
        let mut number: u16 = 0;
        while !done.load(Ordering::Relaxed) {
            number = number.wrapping_add(1);
            let [high, low] = number.to_be_bytes();
            let address = match number % 10 {
                0 => "192.0.2.1".to_owned(),
                _ => format!("198.{visitor}.{high}.{low}"),
            };
            seen.requests += 1;
            match site.get(&client, &address).await {
                Err(_) => seen.lost += 1,
                // Set whenever there is a decision.
                Ok(answer) if answer.header("RateLimit").is_none() => seen.undecided += 1,
                Ok(answer) if answer.status == 200 => seen.allowed += 1,
                Ok(answer) if answer.status == 429 => seen.denied += 1,
                Ok(_) => seen.lost += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
        seen
    });
    let mut all = Seen::default();
    for seen in futures_util::future::join_all(visitors).await {
        all.requests += seen.requests;
        all.allowed += seen.allowed;
        all.denied += seen.denied;
        all.undecided += seen.undecided;
        all.lost += seen.lost;
    }
    all
}

/// HAProxy's log, in which the decision stands at the end of each line.
struct Log {
    decided_by: BTreeMap<String, u64>,
    undecided: Vec<String>,
}

impl Log {
    fn read(text: &str) -> Self {
        let mut log = Self {
            decided_by: BTreeMap::new(),
            undecided: Vec::new(),
        };
        for line in text.lines() {
            let Some((_, rest)) = line.split_once(" by=") else {
                continue;
            };
            let (by, error) = rest.split_once(" err=").unwrap();
            if by == "-" || error.trim() != "-" {
                log.undecided.push(line.to_owned());
            } else {
                *log.decided_by.entry(by.to_owned()).or_default() += 1;
            }
        }
        log
    }
}

//! The limit itself: the burst, the refusal, and what the headers say about both.

use std::time::{Duration, Instant};

use crate::site::{SLOW, SLOW_LIMIT, Site, client, engines, limited};

#[tokio::test(flavor = "multi_thread")]
async fn the_burst_passes_and_the_next_is_429() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &SLOW).await;
        let client = client(2);
        for left in (0..SLOW_LIMIT).rev() {
            let answer = site.get(&client).await;
            assert_eq!(answer.status, 200);
            let ratelimit = answer.header("RateLimit").unwrap();
            assert!(
                ratelimit.starts_with(&format!("\"default\";r={left};t=")),
                "{ratelimit}"
            );
            assert_eq!(
                answer.header("RateLimit-Policy"),
                Some("\"default\";q=5;w=300")
            );
            assert_eq!(answer.header("Retry-After"), None);
        }
        let denied = site.get(&client).await;
        assert_eq!(denied.status, 429);
        let wait: u64 = denied.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        let ratelimit = format!("\"default\";r=0;t={wait}");
        assert_eq!(denied.header("RateLimit"), Some(ratelimit.as_str()));
        assert!(site.unanswered().is_empty(), "{:?}", site.unanswered());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_wait_it_says_a_request_passes() {
    for haproxy in engines() {
        // A request a second, three at once.
        let settings = [
            ("SPOA_RATE_INTERVAL", "1000000"),
            ("SPOA_RATE_BURST", "3000000"),
        ];
        let site = Site::start(&haproxy, &settings).await;
        let client = client(2);
        for _ in 0..2 {
            let begin = Instant::now();
            let mut passed = 0;
            let denied = loop {
                let answer = site.get(&client).await;
                if answer.status == 429 {
                    break answer;
                }
                assert_eq!(answer.status, 200);
                passed += 1;
                // However slow this goes: never more than the burst and what refilled.
                assert!(passed <= 3 + begin.elapsed().as_secs() + 1, "{passed}");
            };
            let wait: u64 = denied.header("Retry-After").unwrap().parse().unwrap();
            assert_eq!(wait, 1);
            tokio::time::sleep(Duration::from_secs(wait)).await;
            assert_eq!(site.get(&client).await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_do_not_disturb_each_other() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &SLOW).await;
        let (one, other) = (client(2), client(3));
        assert_eq!(
            site.statuses(&one, SLOW_LIMIT + 3).await,
            limited(SLOW_LIMIT + 3)
        );
        assert_eq!(
            site.statuses(&other, SLOW_LIMIT + 1).await,
            limited(SLOW_LIMIT + 1)
        );
        assert_eq!(site.get(&one).await.status, 429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_the_burst_and_no_more() {
    for haproxy in engines() {
        let site = Site::start(&haproxy, &SLOW).await;
        let client = client(2);
        let answers = (0..60).map(|_| {
            let request = client.get(site.haproxy.url());
            async move { request.send().await.unwrap().status }
        });
        let statuses = futures_util::future::join_all(answers).await;
        let passed = statuses.iter().filter(|status| **status == 200).count();
        let denied = statuses.iter().filter(|status| **status == 429).count();
        assert_eq!((passed, denied), (SLOW_LIMIT, 60 - SLOW_LIMIT));
        assert!(site.unanswered().is_empty(), "{:?}", site.unanswered());
    }
}

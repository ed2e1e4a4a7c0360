//! Who is denied most.

use serde_json::{Value, json};
use spop_client::spop_codec::TypedData;

use crate::{LISTED, TRIAL, Watched, ask, policies};

/// A request an hour, one at once.
const SLOW: [(&str, &str); 3] = [
    ("SPOA_RATE_INTERVAL", "3600000000"),
    ("SPOA_RATE_BURST", "3600000000"),
    ("SPOA_RATE_TTL", "3600"),
];

fn document(watched: &Watched) -> Value {
    let answer = watched.get("/top");
    assert_eq!(answer.status, 200);
    let json = "content-type: application/json\r\n";
    assert!(answer.head.contains(json), "{}", answer.head);
    serde_json::from_str(&answer.body).unwrap()
}

/// An agent that has let three requests pass, one of each client, and has denied five.
async fn under_denials(top: Option<&str>) -> Watched {
    let top = top.map(|value| ("SPOA_TOP", value));
    let settings: Vec<_> = SLOW.into_iter().chain(top).collect();
    let watched = Watched::start(&settings).await;
    let mut haproxy = watched.haproxy().await;
    for last in [1, 1, 1, 1, 2, 2] {
        ask(&mut haproxy, last, "default").await;
    }
    for _ in 0..2 {
        let address = TypedData::Ipv6("2001:db8:1:2::3".parse().unwrap());
        let args = [("ip_src", address)];
        haproxy.notify("check-rate", args).await.unwrap();
    }
    let metrics = watched.metrics();
    assert_eq!(metrics.decisions("default", "denied", "memory"), 5.0);
    // Whoever is shown here is in no label there.
    for part in ["192.0.2.", "2001:db8"] {
        assert!(!watched.get("/metrics").body.contains(part));
    }
    watched
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_shown_and_no_client() {
    let watched = under_denials(None).await;
    let document = document(&watched);
    assert_eq!(document["names"], "networks");
    assert!(document["window_seconds"].is_u64());
    assert_eq!(
        document["clients"],
        json!([
            {"client": "192.0.2.0/24", "policy": "default", "denied": 4, "error": 0},
            {"client": "2001:db8:1::/48", "policy": "default", "denied": 1, "error": 0},
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_shown_if_somebody_asked_for_them() {
    let watched = under_denials(Some("clients")).await;
    let document = document(&watched);
    assert_eq!(document["names"], "clients");
    assert_eq!(
        document["clients"],
        json!([
            {"client": "192.0.2.1", "policy": "default", "denied": 3, "error": 0},
            {"client": "192.0.2.2", "policy": "default", "denied": 1, "error": 0},
            {"client": "2001:db8:1:2::/64", "policy": "default", "denied": 1, "error": 0},
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shown_when_it_is_off() {
    let watched = under_denials(Some("off")).await;
    let expected = json!({"names": "off", "window_seconds": 0, "clients": []});
    assert_eq!(document(&watched), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_limit_in_shadow_would_hit_is_shown_as_such() {
    let path = policies(&format!("{TRIAL}{LISTED}"));
    let watched = Watched::start(&[("SPOA_CONFIG", path.to_str().unwrap())]).await;
    let mut haproxy = watched.haproxy().await;
    for (last, policy) in [(1, "trial"), (1, "trial"), (66, "listed")] {
        ask(&mut haproxy, last, policy).await;
    }
    assert_eq!(
        document(&watched)["clients"],
        json!([
            {"client": "192.0.2.0/24", "policy": "trial", "shadow": true, "denied": 1, "error": 0},
        ])
    );
}

//! The numbers: that they are the agent's own.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spop_testkit::browser::Browser;
use spop_testkit::haproxy::{Server, Setup};
use spop_testkit::http::Client;
use spop_testkit::process::Signal;
use spop_testkit::tools::Haproxy;
use spop_testkit::web::Web;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::exposition::Exposition;
use crate::view::{PATIENCE, View, ask};

/// Limits that do not refill while a test runs.
const POLICIES: &str = r#"
[policy.default]
rate = "1/m"
burst = 10

[policy.login]
limits = [
    { name = "few", rate = "1/m", burst = 2 },
    { name = "many", rate = "1/m", burst = 5 },
]

[policy.trial]
rate = "1/m"
burst = 1
shadow = true
"#;

/// Every source of decisions there is.
const SOURCES: [&str; 7] = [
    "valkey",
    "cache",
    "lease",
    "memory",
    "fallback",
    "list",
    "unlimited",
];

pub(crate) async fn are_those_of_the_metrics(browser: &mut Browser) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policies.toml");
    fs::write(&file, POLICIES).unwrap();
    let settings = [("SPOA_CONFIG", file.to_str().unwrap())];
    let mut view = View::open(browser, &settings).await;
    let web = Web::start().await.unwrap();
    let haproxy = tokio::task::spawn_blocking(Haproxy::distribution).await;
    let mut setup = Setup::new(view.agent.addr(), web.addr());
    setup.timeout = Some(PATIENCE);
    let server = Server::start(&haproxy.unwrap().unwrap(), &setup).await;
    let server = server.unwrap();
    let mut direct = view.haproxy().await;

    // Load until a rate was seen, and HAProxy has refused somebody.
    let since = Instant::now();
    let mut sent = 0_u32;
    let mut denied = 0_u32;
    let mut rate = 0.0;
    while rate == 0.0 || denied == 0 {
        for last in [2, 3, 4] {
            let client = Client::from([127, 0, 0, last]);
            let answer = client.get(server.url()).send().await.unwrap();
            denied += u32::from(answer.status == 429);
            ask(&mut direct, last, "login").await;
            ask(&mut direct, last, "trial").await;
            sent += 3;
        }
        let numbers = view.seen().await["numbers"].take();
        rate = number(&numbers, "rate-denied");
        for name in ["rate-allowed", "rate-denied", "rate-shadow"] {
            // Of readings that are 50 ms apart, or more.
            let most = f64::from(sent) * 25.0;
            let shown = number(&numbers, name);
            assert!((0.0..=most).contains(&shown), "{shown} of {sent}");
        }
        let in_time = since.elapsed() < PATIENCE;
        assert!(in_time, "{denied} refused of {sent}: {numbers:#}");
    }

    // It is over: the page must come to say exactly what the agent says.
    let since = Instant::now();
    loop {
        let seen = view.seen().await;
        let expected = expected(&view.metrics().await);
        let is_shown =
            |(name, value): (&String, &Value)| seen["numbers"][name].as_f64() == value.as_f64();
        let policies = expected["policies"].as_object().unwrap();
        let same = |(name, counts): (&String, &Value)| {
            let row = seen["policies"][name].as_array().unwrap();
            [3, 4].map(|cell| row[cell].as_f64()) == [0, 1].map(|count| counts[count].as_f64())
        };
        let totals = expected["numbers"].as_object().unwrap();
        if totals.iter().all(is_shown) && policies.iter().all(same) {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{seen:#}\n{expected:#}");
    }
    let seen = view.seen().await;
    let total = |id: &str| number(&seen["numbers"], id);
    assert_eq!(
        total("total-allowed") + total("total-denied"),
        f64::from(sent)
    );
    assert!(total("total-shadow") > 0.0);
    assert_eq!(seen["policies"].as_object().unwrap().len(), 3);
    assert!(total("connections") >= 1.0, "{seen:#}");

    // What was sent long ago is no rate.
    view.until(
        "no rate",
        "document.getElementById('rate-allowed').value === '0'",
    )
    .await;
    let table = view.text("#policies").await;
    for part in [
        "few: 1 req every 60 s, 2 at once",
        "many: ",
        "shadow: denies nobody",
    ] {
        assert!(table.contains(part), "{part} in {table}");
    }
    let said = view.text("#where-state").await;
    assert!(said.contains("In this process only"), "{said}");
    for network in ["127.0.0.0/24", "192.0.2.0/24"] {
        view.until_it_says("#clients", network).await;
    }
    view.until_it_says("#clients", "trial, in shadow").await;
    let said = view
        .evaluate("document.getElementById('plot-text').textContent")
        .await;
    let said = said.as_str().unwrap();
    assert!(said.starts_with("In the last 3 min"), "{said}");
    assert!(said.contains("denied") && said.contains("now 0"), "{said}");
    assert_eq!(view.text("#ready").await, "ready");
    assert_eq!(view.text("#version").await, env!("CARGO_PKG_VERSION"));
    view.nothing_went_wrong().await;
}

/// What the page should say, from the metrics.
fn expected(metrics: &Exposition) -> Value {
    let policies = ["default", "login", "trial"];
    let count = |policy: &str, outcome: &str| -> f64 {
        let by = SOURCES.map(|source| metrics.decisions(policy, outcome, source));
        by.iter().sum()
    };
    let shadow = |policy: &str| metrics.get(&format!("shadow_denied_total{{policy=\"{policy}\"}}"));
    let rows = policies.map(|policy| {
        let denied = count(policy, "denied");
        let denied = if policy == "trial" {
            shadow(policy)
        } else {
            denied
        };
        (policy.to_owned(), json!([count(policy, "allowed"), denied]))
    });
    let all = |outcome| {
        policies
            .map(|policy| count(policy, outcome))
            .iter()
            .sum::<f64>()
    };
    json!({
        "policies": Value::Object(rows.into_iter().collect()),
        "numbers": {
            "total-allowed": all("allowed"),
            "total-denied": all("denied"),
            "total-fallback": 0.0,
            "total-shadow": policies.map(shadow).iter().sum::<f64>(),
            "total-notifies": metrics.get("spop_notifies_total"),
            "total-connections": metrics.get("spop_connections_total"),
            "connections": metrics.get("spop_connections"),
            "in-flight": metrics.get("spop_notifies_in_flight"),
        },
    })
}

fn number(numbers: &Value, id: &str) -> f64 {
    numbers[id].as_f64().unwrap()
}

pub(crate) async fn an_agent_that_nobody_asked(browser: &mut Browser) {
    let mut view = View::open(browser, &[]).await;
    view.until_it_says("#no-decision", "no HAProxy is connected")
        .await;
    let said = view.text("#no-trouble").await;
    assert!(said.starts_with("Nothing"), "{said}");
    let mut haproxy = view.haproxy().await;
    view.until_it_says("#no-decision", "HAProxy is connected and has not asked")
        .await;
    ask(&mut haproxy, 1, "default").await;
    view.until(
        "no such text",
        "document.getElementById('no-decision').hidden",
    )
    .await;

    // The first of its kind, which is no HAProxy, was seen to happen.
    let mut stranger = TcpStream::connect(view.agent.addr()).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    view.until_it_says("#troubles", "broke the protocol").await;
    let said = view.text("#troubles").await;
    assert!(!said.contains("since the start"), "{said}");
    view.reload().await;
    view.until_it_says("#troubles", "since the start").await;
    view.nothing_went_wrong().await;
}

/// What the others did is still shown.
pub(crate) async fn a_policy_that_leaves(browser: &mut Browser) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policies.toml");
    let stays = "[policy.default]\nrate = '1/s'\nburst = 1000\n";
    let leaves = stays.replace("default", "leaves");
    fs::write(&file, stays.to_owned() + &leaves).unwrap();
    let settings = [("SPOA_CONFIG", file.to_str().unwrap())];
    let mut view = View::open(browser, &settings).await;
    let mut haproxy = view.haproxy().await;
    for _ in 0..500 {
        ask(&mut haproxy, 1, "leaves").await;
    }
    // All that is shown from now on was read after that.
    view.reload().await;
    fs::write(&file, stays).unwrap();
    view.agent.signal(Signal::HUP).unwrap();
    // Seen together: rates of the same seconds.
    let rate = "Number(document.getElementById('rate-allowed').value) > 0";
    let sources =
        "[...document.querySelectorAll('#sources data')].map(rate => rate.innerText).join('; ')";
    let seen = format!(
        "document.querySelectorAll('#policies tr').length === 1 && {rate} ? {sources} : ''"
    );
    // Few, beside those that leave.
    let since = Instant::now();
    let said = loop {
        ask(&mut haproxy, 1, "default").await;
        let said = view.evaluate(&seen).await.as_str().unwrap().to_owned();
        if !said.is_empty() {
            break said;
        }
        assert!(since.elapsed() < PATIENCE, "{}", view.text("body").await);
        sleep(Duration::from_millis(50)).await;
    };
    assert!(said.split("; ").any(|rate| rate != "0/s"), "{said}");

    // What is in force is not what the file says.
    fs::write(&file, "nonsense").unwrap();
    view.agent.signal(Signal::HUP).unwrap();
    let stale = "the file of policies cannot be used";
    view.until_it_says("#troubles", stale).await;
    view.nothing_went_wrong().await;
}

pub(crate) async fn the_most_limited_clients(browser: &mut Browser) {
    let document = |names: &str, clients: Value| json!({ "names": names, "window_seconds": 120, "clients": clients });
    let one = json!([
        { "client": "203.0.113.0/24", "policy": "default", "denied": 1234, "error": 4 },
        { "client": "<b>2001:db8::/48", "policy": "login", "denied": 7, "error": 0 },
    ]);
    let cases = [
        (Some(document("off", json!([]))), "SPOA_TOP", ""),
        (
            Some(document("networks", json!([]))),
            "Nobody was denied within 2 min",
            "",
        ),
        (
            Some(document("networks", one)),
            "by network",
            "1\u{202f}230 to 1\u{202f}234",
        ),
        (None, "has no /top", ""),
    ];
    let mut view = View::open(browser, &[]).await;
    for (document, note, entry) in cases {
        // In place of what the agent answers.
        let answer = match document {
            Some(document) => format!("Response.json({document})"),
            None => "new Response('', { status: 404 })".to_owned(),
        };
        let replaced = format!(
            "{{ const own = window.fetch; window.fetch = (path, options) => \
             path === '/top' ? Promise.resolve({answer}) : own(path, options); }}"
        );
        let source = json!({ "source": replaced });
        let before = view
            .browser
            .call("Page.addScriptToEvaluateOnNewDocument", source);
        let before = before.await.unwrap();
        view.reload().await;
        view.until_it_says("#clients-note", note).await;
        let clients = view.text("#clients").await;
        assert!(clients.contains(entry), "{clients}");
        let again = view
            .browser
            .call("Page.removeScriptToEvaluateOnNewDocument", before);
        again.await.unwrap();
    }
    view.nothing_went_wrong().await;
}

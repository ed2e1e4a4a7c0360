//! From arguments to variables, with a store that is a plain function.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use spop_server::Action;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::gcra::Quota;
use crate::store::{Rooms, Source};

/// Asks about `args` when the store reports `room`, and gives the check that reached the
/// store and the variables that came back.
async fn ask(
    args: &[(&str, TypedData<'_>)],
    room: i64,
) -> (Option<Check>, BTreeMap<String, String>) {
    let asked = Arc::new(Mutex::new(None));
    let store = {
        let asked = Arc::clone(&asked);
        service_fn(move |check: Check| {
            let verdict = Rooms::new([room]).verdict(&check, 0, Source::Memory);
            *asked.lock().unwrap() = Some(check);
            std::future::ready(Ok::<_, Infallible>(verdict))
        })
    };
    let identity = Identity::new("private".parse().unwrap(), 64);
    let quota = Quota::new(500_000, 10_000_000).unwrap();
    let policy = Arc::new(Policy::of_one(quota));
    let layer = CheckRateLayer::new(identity, policy, Duration::from_millis(8));
    let service = ServiceBuilder::new().layer(layer).service(store);
    let request = Request::local(MESSAGE, args.iter().copied()).unwrap();
    let received = request.received();
    let actions = service.oneshot(request).await.unwrap();
    assert_eq!(actions.error(), None);
    let asked = asked.lock().unwrap().take();
    if let Some(check) = &asked {
        assert_eq!(check.deadline, received + Duration::from_millis(8));
    }
    let variables = actions.iter().map(|action| match action {
        Action::SetVar { scope, name, value } => {
            let value = match value.to_text() {
                Some(text) => text.to_str().unwrap().to_owned(),
                None => format!("{value:?}"),
            };
            (format!("{scope}.{name}"), value)
        }
        other => panic!("{other:?}"),
    });
    (asked, variables.collect())
}

fn ip(text: &str) -> TypedData<'static> {
    text.parse::<IpAddr>().unwrap().into()
}

fn expected(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = variables
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    owned.collect()
}

#[tokio::test]
async fn allowed() {
    let (check, variables) = ask(&[("ip_src", ip("192.0.2.7"))], 9_500_000).await;
    assert_eq!(check.unwrap().client.to_string(), "192.0.2.7");
    assert_eq!(
        variables,
        expected(&[
            ("sess.ip_score", "Int32(0)"),
            ("txn.ip_score", "Int32(0)"),
            ("txn.allowed", "Bool(true)"),
            ("txn.limit", "Uint64(20)"),
            ("txn.remaining", "Uint64(19)"),
            ("txn.reset_after", "Uint64(1)"),
            ("txn.retry_after", "Uint64(0)"),
            ("txn.policy", "default"),
            ("txn.source", "memory"),
            ("txn.ratelimit", "\"default\";r=19;t=1"),
            ("txn.ratelimit_policy", "\"default\";q=20;w=10"),
        ])
    );
}

#[tokio::test]
async fn denied() {
    let (_, variables) = ask(&[("ip_src", ip("192.0.2.7"))], -400_001).await;
    assert_eq!(
        variables,
        expected(&[
            ("sess.ip_score", "Int32(100)"),
            ("txn.ip_score", "Int32(100)"),
            ("txn.allowed", "Bool(false)"),
            ("txn.limit", "Uint64(20)"),
            ("txn.remaining", "Uint64(0)"),
            ("txn.reset_after", "Uint64(10)"),
            ("txn.retry_after", "Uint64(1)"),
            ("txn.policy", "default"),
            ("txn.source", "memory"),
            ("txn.ratelimit", "\"default\";r=0;t=1"),
            ("txn.ratelimit_policy", "\"default\";q=20;w=10"),
        ])
    );
}

#[tokio::test]
async fn who_is_asked_about() {
    let text = |text: &'static str| TypedData::from(text);
    let cases: &[(&[(&str, TypedData<'_>)], &str)] = &[
        (&[("ip_src", ip("::ffff:192.0.2.7"))], "192.0.2.7"),
        (&[("ip_src", ip("2001:db8:1:2:3:4:5:6"))], "2001:db8:1:2::"),
        (&[("ip_src", text("192.0.2.7"))], "192.0.2.7"),
        // Headers count behind a trusted proxy only, text or address.
        (
            &[("ip_xff", text("203.0.113.9")), ("ip_src", ip("192.0.2.7"))],
            "192.0.2.7",
        ),
        (
            &[
                ("ip_xff", text("203.0.113.9, 198.51.100.1, 10.0.0.9")),
                ("ip_src", ip("10.0.0.2")),
            ],
            "198.51.100.1",
        ),
        (
            &[("ip_xff", ip("198.51.100.1")), ("ip_src", ip("10.0.0.2"))],
            "198.51.100.1",
        ),
        (
            &[
                ("ip_src", ip("10.0.0.2")),
                ("ip_xff", text("203.0.113.9")),
                ("ip_fwd", text("for=\"[2001:db8::1]:4711\";proto=https")),
            ],
            "2001:db8::",
        ),
        (
            &[
                ("ip_src", ip("10.0.0.2")),
                ("ip_xff", TypedData::Null),
                ("ip_fwd", TypedData::Null),
            ],
            "10.0.0.2",
        ),
    ];
    for (args, client) in cases {
        let (check, _) = ask(args, 0).await;
        assert_eq!(check.unwrap().client.to_string(), *client, "{args:?}");
    }
}

#[tokio::test]
async fn nobody_to_ask_about() {
    let nobody: &[&[(&str, TypedData<'_>)]] = &[
        &[],
        &[("ip_src", TypedData::Null)],
        &[("ip_src", "unknown".into())],
        &[("ip_src", 7.into())],
        &[("ip_xff", "192.0.2.7".into())],
    ];
    for args in nobody {
        let (check, variables) = ask(args, 0).await;
        assert_eq!((check, variables.len()), (None, 0), "{args:?}");
    }
}

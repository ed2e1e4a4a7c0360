//! From arguments to variables, with a store that is a plain function.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use spop_server::{Action, TypedData};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::gcra::Quota;
use crate::policy::{Limit, LimitId, MAX_NAME, Named, Networks};
use crate::store::{Rooms, Source};
use crate::top::Names;

/// The one-policy agent's.
fn one() -> Policies {
    let quota = Quota::new(500_000, 10_000_000).unwrap();
    Policies::of_one(Policy::of_one(quota))
}

/// Asks about `args` when the store reports `room`, and gives the check that reached the
/// store and the variables that came back.
async fn ask(
    args: &[(&str, TypedData<'_>)],
    room: i64,
) -> (Option<Check>, BTreeMap<String, String>) {
    ask_under(one(), MESSAGE, args, room).await
}

/// The same with these policies, in another message.
async fn ask_under(
    policies: Policies,
    message: &str,
    args: &[(&str, TypedData<'_>)],
    room: i64,
) -> (Option<Check>, BTreeMap<String, String>) {
    ask_counting(Top::new(Names::Off, 64), policies, message, args, room).await
}

/// The same, with denials counted.
async fn ask_counting(
    top: Top,
    policies: Policies,
    message: &str,
    args: &[(&str, TypedData<'_>)],
    room: i64,
) -> (Option<Check>, BTreeMap<String, String>) {
    let asked = Arc::new(Mutex::new(None));
    let store = {
        let asked = Arc::clone(&asked);
        service_fn(move |check: Check| {
            let verdict = Rooms::new([room; 4]).verdict(&check, 0, Source::Memory);
            *asked.lock().unwrap() = Some(check);
            std::future::ready(Ok::<_, Infallible>(verdict))
        })
    };
    let identity = Identity::new("private".parse().unwrap(), 64);
    let policies = Arc::new(ArcSwap::from_pointee(policies));
    let layer = CheckRateLayer::new(identity, policies, Duration::from_millis(8), top);
    let service = ServiceBuilder::new().layer(layer).service(store);
    let request = Request::local(message, args.iter().copied()).unwrap();
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

/// A limit called like its policy.
fn policy(name: &str, cost: u64) -> Policy {
    let quota = Quota::new(500_000, 10_000_000).unwrap();
    let id = LimitId::new(NonZeroU32::MIN);
    let policy = Policy::new(name, vec![Limit::named(name, id, quota)]).unwrap();
    policy.with_cost(cost)
}

fn some_policies() -> Policies {
    let named = |policy: Policy, messages: &[&str]| Named {
        policy: Arc::new(policy),
        messages: messages.iter().map(|message| (*message).into()).collect(),
    };
    let networks = [
        ("192.0.2.0/24", Listed::Allow),
        ("192.0.2.66/32", Listed::Deny),
        ("2001:db8:0:1::66/128", Listed::Deny),
    ];
    let networks = networks.map(|(network, listed)| (network.parse().unwrap(), listed));
    let networks = Networks::new(networks).unwrap();
    let all = [
        named(policy("login", 2), &["check-login"]),
        named(policy("try", 1).with_shadow(true), &[]),
        named(policy("lists", 1).with_networks(networks.clone()), &[]),
        named(
            policy("both", 1).with_networks(networks).with_shadow(true),
            &[],
        ),
        named(Policy::new("free", Vec::new()).unwrap(), &["check-free"]),
    ];
    Policies::new(all, || policy("default", 1))
}

/// Asks under [`some_policies`], with an address beside `args`.
async fn ask_some(
    message: &str,
    args: &[(&str, TypedData<'_>)],
    room: i64,
) -> (Option<Check>, BTreeMap<String, String>) {
    let args = [args, &[("ip_src", ip("198.51.100.7"))]].concat();
    ask_under(some_policies(), message, &args, room).await
}

#[tokio::test]
async fn which_policy_applies() {
    type Args = [(&'static str, TypedData<'static>)];
    let cases: &[(&str, &Args, &str)] = &[
        (MESSAGE, &[], "default"),
        (MESSAGE, &[("policy", "login".into())], "login"),
        (MESSAGE, &[("policy", TypedData::Binary(b"login"))], "login"),
        (MESSAGE, &[("policy", "default".into())], "default"),
        (MESSAGE, &[("policy", "logout".into())], "default"),
        (MESSAGE, &[("policy", "".into())], "default"),
        (MESSAGE, &[("policy", TypedData::Null)], "default"),
        (MESSAGE, &[("policy", 7.into())], "default"),
        ("check-login", &[], "login"),
        // The message says it already.
        ("check-login", &[("policy", "try".into())], "login"),
    ];
    for (message, args, expected) in cases {
        let (check, variables) = ask_some(message, args, 0).await;
        assert_eq!(&*check.unwrap().policy.name, *expected, "{args:?}");
        assert_eq!(variables["txn.policy"], *expected, "{args:?}");
    }
}

#[tokio::test]
async fn a_message_of_nobody_has_no_answer() {
    for message in ["check-logout", "", "login"] {
        let (check, variables) = ask_some(message, &[], 0).await;
        assert_eq!((check, variables.len()), (None, 0), "{message}");
    }
}

#[tokio::test]
async fn what_a_request_costs() {
    let cases: &[(TypedData<'_>, u64)] = &[
        (TypedData::Null, 2),
        (TypedData::Int64(0), 0),
        (TypedData::Int32(1), 1),
        (TypedData::Int64(1_000_000), 1_000_000),
        (TypedData::Int64(1_000_001), 1_000_000),
        (TypedData::Uint64(u64::MAX), 1_000_000),
        (TypedData::Int64(-1), 2),
        (TypedData::Int64(i64::MIN), 2),
        (TypedData::Bool(true), 2),
        ("5".into(), 2),
    ];
    for (cost, expected) in cases {
        let (check, _) = ask_some("check-login", &[("cost", *cost)], 0).await;
        assert_eq!(check.unwrap().cost, *expected, "{cost:?}");
    }
    let (check, _) = ask_some("check-login", &[], 0).await;
    assert_eq!(check.unwrap().cost, 2);
}

#[tokio::test]
async fn in_shadow_nobody_is_denied() {
    let args = &[("policy", "try".into())];
    let (_, variables) = ask_some(MESSAGE, args, -400_001).await;
    assert_eq!(
        variables,
        expected(&[
            ("sess.ip_score", "Int32(0)"),
            ("txn.ip_score", "Int32(0)"),
            ("txn.allowed", "Bool(true)"),
            ("txn.shadow", "Bool(true)"),
            ("txn.limit", "Uint64(20)"),
            ("txn.remaining", "Uint64(0)"),
            ("txn.reset_after", "Uint64(10)"),
            ("txn.retry_after", "Uint64(1)"),
            ("txn.policy", "try"),
            ("txn.source", "memory"),
        ])
    );
    let (_, variables) = ask_some(MESSAGE, args, 0).await;
    assert_eq!(variables["txn.shadow"], "Bool(false)");
    assert_eq!(variables["txn.retry_after"], "Uint64(0)");
}

#[tokio::test]
async fn without_a_limit_no_store_is_asked() {
    let (check, variables) = ask_some("check-free", &[], -1).await;
    assert_eq!(check, None);
    assert_eq!(
        variables,
        expected(&[
            ("sess.ip_score", "Int32(0)"),
            ("txn.ip_score", "Int32(0)"),
            ("txn.allowed", "Bool(true)"),
            ("txn.policy", "free"),
            ("txn.source", "unlimited"),
        ])
    );
}

#[tokio::test]
async fn listed_networks_are_not_limited_but_let_through_or_not() {
    let ask = |address: &'static str, policy: &'static str| async move {
        let args = [("policy", policy.into()), ("ip_src", ip(address))];
        ask_under(some_policies(), MESSAGE, &args, -1).await
    };
    // The whole address counts, not the /64 that is limited as one.
    for (address, score) in [
        ("192.0.2.65", 0),
        ("::ffff:192.0.2.65", 0),
        ("192.0.2.66", 100),
        ("2001:db8:0:1::66", 100),
    ] {
        let (check, variables) = ask(address, "lists").await;
        assert_eq!(check, None, "{address}");
        assert_eq!(
            variables,
            expected(&[
                ("sess.ip_score", &format!("Int32({score})")),
                ("txn.ip_score", &format!("Int32({score})")),
                ("txn.allowed", &format!("Bool({})", score == 0)),
                ("txn.policy", "lists"),
                ("txn.source", "list"),
            ])
        );
    }
    for address in ["192.0.3.0", "2001:db8:0:1::67"] {
        let (check, variables) = ask(address, "lists").await;
        assert!(check.is_some(), "{address}");
        assert_eq!(variables["txn.ip_score"], "Int32(100)");
    }
    let (check, variables) = ask("192.0.2.66", "both").await;
    assert_eq!(check, None);
    assert_eq!(variables["txn.ip_score"], "Int32(0)");
    assert_eq!(variables["txn.shadow"], "Bool(true)");
}

#[tokio::test]
async fn whom_a_limit_denies_is_counted() {
    let top = Top::new(Names::Clients, 64);
    let ask = |address: &'static str, policy: &'static str, room: i64| {
        let top = top.clone();
        async move {
            let args = [("policy", policy.into()), ("ip_src", ip(address))];
            ask_counting(top, some_policies(), MESSAGE, &args, room).await
        }
    };
    for (address, policy, room) in [
        ("198.51.100.7", "login", -1),
        ("198.51.100.7", "login", -1),
        ("2001:db8:0:1::67", "try", -1),
        // None of these is denied by a limit.
        ("198.51.100.7", "login", 9_500_000),
        ("192.0.2.66", "lists", -1),
        ("198.51.100.7", "free", -1),
    ] {
        ask(address, policy, room).await;
    }
    let shown = top.json(Instant::now());
    let clients = "\"clients\":[\
         {\"client\":\"198.51.100.7\",\"policy\":\"login\",\"denied\":2,\"error\":0},\
         {\"client\":\"2001:db8:0:1::/64\",\"policy\":\"try\",\"shadow\":true,\"denied\":1,\"error\":0}]}";
    assert!(shown.ends_with(clients), "{shown}");
}

/// HAProxy from 3.1 on stalls when more than 16 KiB wait to be read, so the engine keeps
/// answers to 800 bytes (`spop_server::Config`).
#[tokio::test]
async fn the_longest_answer_is_one_that_is_sent() {
    let name = "p".repeat(MAX_NAME);
    // A year at the slowest, a µs at the fastest.
    let limits = (1..=4).map(|number| {
        let limit = format!("{name}.{}", number.to_string().repeat(MAX_NAME));
        let quota = Quota::new(1, crate::gcra::MAX_MICROS).unwrap();
        let id = LimitId::new(NonZeroU32::new(number).unwrap());
        Limit::named(&limit, id, quota)
    });
    let policy = Policy::new(&name, limits.collect()).unwrap();
    let (_, variables) = ask_under(
        Policies::of_one(policy),
        MESSAGE,
        &[("ip_src", ip("192.0.2.7"))],
        0,
    )
    .await;
    // Each has a type, a scope and three lengths around it, and numbers are shown longer
    // than they are sent.
    let bytes: usize = variables
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    assert!(bytes < 800, "{bytes}: {variables:#?}");
}

//! Names to routes: look-up, fallback, merge, nest, layers, state.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use spop_server::{Actions, Notify, Request, Router, Scope, State};
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
use tower::util::MapResponseLayer;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::{answer, ask, notify, say};

const NOTHING: [&str; 0] = [];

#[tokio::test]
async fn the_last_route_of_a_name_answers() {
    let router: Router = Router::new()
        .message("a", async || say("first"))
        .message_ref("a", |_| say("second"))
        .fallback(async || say("fallback"));
    assert_eq!(ask(&router, "a", &[]).await, ["said=second"]);
    assert_eq!(ask(&router, "A", &[]).await, ["said=fallback"]);
    assert_eq!(ask(&router, "", &[]).await, ["said=fallback"]);

    let merged = router.clone().merge(
        Router::new()
            .message("a", async || say("third"))
            .message("b", async || say("b")),
    );
    assert_eq!(ask(&merged, "a", &[]).await, ["said=third"]);
    assert_eq!(ask(&merged, "b", &[]).await, ["said=b"]);
    assert_eq!(ask(&merged, "c", &[]).await, ["said=fallback"]);
    // A clone is not changed by what is added to another.
    assert_eq!(ask(&router, "b", &[]).await, ["said=fallback"]);

    let merged = merged.merge(Router::new().fallback(async || say("other")));
    assert_eq!(ask(&merged, "c", &[]).await, ["said=other"]);
    assert_eq!(ask(&merged, "a", &[]).await, ["said=third"]);
}

#[tokio::test]
async fn nested_names_have_a_prefix() {
    let refunds = Router::new()
        .message("new", async |request: Request| {
            say(request.name().to_str().unwrap())
        })
        .fallback(async || say("refunds"));
    let billing = Router::new()
        .message("charge", async || say("charge"))
        .nest("refund-", refunds);
    let router: Router = Router::new()
        .message("charge", async || say("not billed"))
        .nest("billing-", billing);
    for (message, said) in [
        ("charge", "said=not billed"),
        ("billing-charge", "said=charge"),
        ("billing-refund-new", "said=billing-refund-new"),
        ("billing-refund-old", "said=refunds"),
        ("billing-refund-", "said=refunds"),
    ] {
        assert_eq!(ask(&router, message, &[]).await, [said], "{message}");
    }
    for message in [
        "new",
        "billing-",
        "billing-new",
        "refund-new",
        "billing-refund",
    ] {
        assert_eq!(ask(&router, message, &[]).await, NOTHING, "{message}");
    }
    // Of several fallbacks the longest prefix answers, in whichever order they came.
    let router = Router::new()
        .fallback(async || say("outer"))
        .merge(router)
        .nest("billing-", Router::new().fallback(async || say("billing")));
    assert_eq!(
        ask(&router, "billing-refund-x", &[]).await,
        ["said=refunds"]
    );
    assert_eq!(ask(&router, "billing-x", &[]).await, ["said=billing"]);
    assert_eq!(ask(&router, "x", &[]).await, ["said=outer"]);
}

#[tokio::test]
async fn layers_stand_around_the_routes_so_far() {
    let mark = |name: &'static str| {
        MapResponseLayer::new(move |actions: Actions| {
            actions.set_var(Scope::Transaction, name, true)
        })
    };
    let router: Router = Router::new()
        .message("async", async || say("async"))
        .message_ref("ref", |_| say("ref"))
        .message("fails", async || Err::<Actions, _>("no such luck"))
        .fallback(async || say("fallback"))
        .layer(mark("inner"))
        .message("late", async || say("late"))
        .layer(mark("outer"));
    for (message, expected) in [
        ("async", "said=async inner=Bool(true) outer=Bool(true)"),
        ("ref", "said=ref inner=Bool(true) outer=Bool(true)"),
        ("fails", "inner=Bool(true) outer=Bool(true)"),
        ("?", "said=fallback inner=Bool(true) outer=Bool(true)"),
        ("late", "said=late outer=Bool(true)"),
    ] {
        assert_eq!(ask(&router, message, &[]).await.join(" "), expected);
    }
}

/// A limit is one for each route, unless the layer's own is shared.
#[tokio::test(start_paused = true)]
async fn tower_s_limits() {
    let slow = async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        say("slow")
    };
    let routes = || Router::new().message("a", slow).message("b", slow);
    let seconds = async |router: Router| {
        let begin = tokio::time::Instant::now();
        let all = notify(&[("a", &[]), ("b", &[]), ("a", &[]), ("b", &[])]);
        assert_eq!(answer(&router, all).await.len(), 4);
        begin.elapsed().as_secs()
    };
    assert_eq!(seconds(routes()).await, 1);
    assert_eq!(
        seconds(routes().layer(ConcurrencyLimitLayer::new(1))).await,
        2
    );
    let global = GlobalConcurrencyLimitLayer::new(1);
    assert_eq!(seconds(routes().layer(global)).await, 4);
}

#[tokio::test]
async fn services_and_state() {
    let service = ServiceBuilder::new()
        .map_request(|request: Request| request.arg("n").to_u64())
        .service(service_fn(|n: Option<u64>| async move {
            Ok::<_, Infallible>(n.map(|n| say(&n.to_string())))
        }));
    let counted = async |State(count): State<Arc<u32>>| say(&count.to_string());
    let seven = Router::new()
        .message("count", counted)
        .with_state(Arc::new(7));
    let router = Router::new()
        .message_service("service", service)
        .message("count", counted)
        .nest("other-", Router::new().message("count", counted))
        .with_state(Arc::new(5))
        .nest("seven-", seven);
    for (message, said) in [
        ("service", "said=3"),
        ("count", "said=5"),
        ("other-count", "said=5"),
        ("seven-count", "said=7"),
    ] {
        let answer = ask(&router, message, &[("n", 3.into())]).await;
        assert_eq!(answer, [said], "{message}");
    }
}

/// The state need not be named where the router is used as a service.
#[tokio::test]
async fn the_type_is_found() {
    async fn call(service: impl Service<Notify, Response = Actions, Error = Infallible>) {
        let Ok(actions) = service.oneshot(notify(&[("a", &[])])).await;
        assert_eq!(super::shown(&actions), ["said=a"]);
    }
    call(Router::new().message("a", async || say("a"))).await;
    let stack = ServiceBuilder::new().concurrency_limit(10);
    call(stack.service(Router::new().message_ref("a", |_| say("a")))).await;
    assert_eq!(
        format!("{:?}", Router::<()>::new().message("a", async || {})),
        "{\"a\"}"
    );
}

proptest! {
    #[test]
    fn names_are_found_exactly(
        names in proptest::collection::vec("[ab]{0,4}|.{0,3}", 0..20),
        asked in "[ab]{0,5}|.{0,3}",
    ) {
        let mut router: Router = Router::new();
        let mut last = BTreeMap::new();
        for (index, name) in names.iter().enumerate() {
            router = router.message_ref(name, move |_| say(&index.to_string()));
            last.insert(name.as_str(), index);
        }
        for name in names.iter().chain([&asked]) {
            let answer = futures_util::FutureExt::now_or_never(ask(&router, name, &[])).unwrap();
            let expected = last.get(name.as_str()).map(|index| format!("said={index}"));
            prop_assert_eq!(answer, Vec::from_iter(expected));
        }
    }
}

//! Our layers, each alone and one in another; `metrics.rs` and `trace.rs` have the two that
//! only look on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spop_client::spop_codec::NotifyBuilder;
use spop_server::layer::{
    CatchPanicLayer, DeadlineLayer, InFlightLimitLayer, MetricsLayer, Outcome, RescueLayer,
};
use spop_server::{Actions, Request, Router};
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder, service_fn};

use crate::support::{answer, connect, notify, only, slow, telling, variables};
use crate::{at_both_levels, check, obey, rescue};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn rescue_by_policy() {
    for mut client in at_both_levels!(.layer(RescueLayer::new(rescue()))) {
        check(
            &mut client,
            &[
                (notify(1, "ready"), "sess.how=ready"),
                (notify(2, "fail"), "sess.rescued=error"),
                (notify(3, "rejected"), "sess.rescued=rejected"),
                (notify(4, "panic-later"), "sess.failure=panic"),
                (notify(5, "never"), "sess.failure=deadline"),
            ],
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn rescue_by_function() {
    let say = |error: BoxError| answer(&error.to_string());
    for mut client in at_both_levels!(.layer(RescueLayer::with(say))) {
        check(&mut client, &[(notify(1, "fail"), "sess.how=no such luck")]).await;
    }
}

#[tokio::test]
async fn rescue_takes_what_a_handler_may_return() {
    let stack = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .service(service_fn(async |request: Request| {
            let port = request.arg("port").to_u64().ok_or("no port");
            Ok::<_, BoxError>(port.map(|_| answer("ready")))
        }));
    let mut client = connect(Router::new().message_service("check", stack), telling()).await;
    let ack = client.notify("check", [("port", 1.into())]).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    let ack = client.notify("check", []).await.unwrap();
    assert_eq!(only(&ack), "sess.rescued=error");
}

#[tokio::test(start_paused = true)]
async fn deadline() {
    for mut client in
        at_both_levels!(.layer(RescueLayer::new(rescue())).layer(DeadlineLayer::new(ms(50))))
    {
        let begin = Instant::now();
        check(
            &mut client,
            &[
                (notify(1, "ready"), "sess.how=ready"),
                (slow(2, 49), "sess.how=slow"),
                (slow(3, 51), "sess.rescued=deadline"),
                (notify(4, "never"), "sess.rescued=deadline"),
                (notify(5, "fail"), "sess.rescued=error"),
            ],
        )
        .await;
        // With the two seconds of silence that `check` waits for.
        assert!(begin.elapsed() <= ms(2055), "{:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn extreme_budgets() {
    for mut client in
        at_both_levels!(.layer(RescueLayer::new(rescue())).layer(DeadlineLayer::new(ms(0))))
    {
        check(
            &mut client,
            &[(notify(1, "ready"), "sess.rescued=deadline")],
        )
        .await;
    }
    for mut client in at_both_levels!(
        .layer(RescueLayer::new(rescue())).layer(DeadlineLayer::new(Duration::MAX))
    ) {
        check(&mut client, &[(slow(1, 900), "sess.how=slow")]).await;
    }
}

/// The budget runs while a request waits for its turn, and nothing is started for one that
/// lost it there.
#[tokio::test(start_paused = true)]
async fn deadline_counts_from_receipt() {
    let started = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&started);
    let handler = service_fn(move |request: Request| {
        let started = Arc::clone(&counted);
        async move {
            started.fetch_add(1, Ordering::Relaxed);
            obey(request).await
        }
    });
    let stack = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .concurrency_limit(1)
        .layer(DeadlineLayer::new(ms(50)))
        .service(handler);
    let mut client = connect(Router::new().message_service("slow", stack), telling()).await;
    check(
        &mut client,
        &[
            (slow(1, 40), "sess.how=slow"),
            // Begins at 40 ms, and has 10 left.
            (slow(2, 20), "sess.rescued=deadline"),
            // Their turns come at 50 ms.
            (slow(3, 0), "sess.rescued=deadline"),
            (slow(4, 0), "sess.rescued=deadline"),
        ],
    )
    .await;
    assert_eq!(started.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_gives_up_by_itself_is_heard_however_late_the_machine() {
    let impatient = service_fn(async |_: Request| {
        let never = std::future::pending::<Actions>();
        let gave_up = tokio::time::timeout(ms(8), never).await.is_err();
        assert!(gave_up);
        Ok::<_, BoxError>(answer("by itself"))
    });
    let stack = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .layer(DeadlineLayer::new(ms(12)))
        .service(impatient);
    let mut client = connect(Router::new().message_service("ask", stack), telling()).await;
    for _ in 0..3 {
        client.send(&notify(1, "ask")).await.unwrap();
        // The agent reads it, and next runs when both times are long past.
        tokio::task::yield_now().await;
        tokio::time::advance(ms(100)).await;
        assert_eq!(
            only(&client.recv_ack().await.unwrap()),
            "sess.how=by itself"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn catch_panic() {
    for mut client in
        at_both_levels!(.layer(RescueLayer::new(rescue())).layer(CatchPanicLayer::new()))
    {
        check(
            &mut client,
            &[
                (notify(1, "panic"), "sess.rescued=panic"),
                (notify(2, "panic-later"), "sess.rescued=panic"),
                (notify(3, "ready"), "sess.how=ready"),
                (notify(4, "fail"), "sess.rescued=error"),
            ],
        )
        .await;
    }
}

/// A panic in the call itself, around all routes of a router, costs only its own message.
#[tokio::test]
async fn a_panic_costs_its_own_message_only() {
    fn at_once(_: Request) -> std::future::Ready<Actions> {
        panic!("before there is a future")
    }
    let router = Router::new()
        .message("ready", async |_: Request| answer("ready"))
        .message("panic-at-once", at_once)
        .layer(
            ServiceBuilder::new()
                .layer(RescueLayer::new(rescue()))
                .layer(CatchPanicLayer::new()),
        );
    let mut client = connect(router, telling()).await;
    let frame = NotifyBuilder::new()
        .message("panic-at-once", [])
        .and_then(|notify| notify.message("ready", []))
        .unwrap()
        .build(1, 1);
    let ack = client.exchange(&frame).await.unwrap();
    let expected = [("sess.how", "ready"), ("sess.rescued", "panic")];
    assert!(
        variables(&ack)
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .eq(expected)
    );
}

#[tokio::test(start_paused = true)]
async fn in_flight_limit() {
    for mut client in
        at_both_levels!(.layer(RescueLayer::new(rescue())).layer(InFlightLimitLayer::new(2)))
    {
        for _ in 0..3 {
            check(
                &mut client,
                &[
                    (slow(1, 10), "sess.how=slow"),
                    (notify(2, "ready"), "sess.how=ready"),
                    (notify(3, "panic"), "sess.failure=panic"),
                    (slow(4, 10), "sess.how=slow"),
                    (slow(5, 10), "sess.rescued=overload"),
                    (notify(6, "ready"), "sess.rescued=overload"),
                ],
            )
            .await;
        }
    }
}

/// The stack of the guide.
#[tokio::test(start_paused = true)]
async fn all_at_once() {
    let count = |_: &str, _: Outcome, _: Duration| {};
    for mut client in at_both_levels!(
        .layer(spop_server::layer::TraceLayer::new())
        .layer(RescueLayer::new(rescue()))
        .layer(MetricsLayer::new("all", count))
        .layer(DeadlineLayer::new(ms(50)))
        .layer(InFlightLimitLayer::new(4))
        .layer(CatchPanicLayer::new())
    ) {
        check(
            &mut client,
            &[
                (notify(1, "ready"), "sess.how=ready"),
                (notify(2, "fail"), "sess.rescued=error"),
                (notify(3, "panic"), "sess.rescued=panic"),
                (slow(4, 10), "sess.how=slow"),
                (notify(5, "never"), "sess.rescued=deadline"),
                (slow(6, 60), "sess.rescued=deadline"),
                (notify(7, "panic-later"), "sess.rescued=panic"),
                (notify(8, "ready"), "sess.rescued=overload"),
            ],
        )
        .await;
    }
}

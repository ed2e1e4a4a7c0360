//! What the metrics layer tells.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use spop_server::Failure;
use spop_server::layer::{CatchPanicLayer, DeadlineLayer, MetricsLayer, Outcome, RescueLayer};
use tower::{ServiceBuilder, service_fn};

use crate::support::{connect, notify, slow, telling};
use crate::{obey, panic_or_obey, rescue, silent};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn how_each_request_ended() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let layer = MetricsLayer::new("notify", move |name, outcome, elapsed| {
        let millis = elapsed.as_millis();
        sink.lock()
            .unwrap()
            .push(format!("{name} {} {millis}", outcome.as_str()));
    });
    let routes = crate::routes(
        ServiceBuilder::new()
            .layer(RescueLayer::new(rescue()))
            .layer(layer.renamed("message"))
            .layer(DeadlineLayer::new(ms(50)))
            .layer(CatchPanicLayer::new())
            .service(service_fn(obey)),
    );
    let service = ServiceBuilder::new().layer(layer).service(routes);
    let mut client = connect(service, telling().with_handler_timeout(ms(200))).await;
    for (frame, expected) in [
        (notify(1, "ready"), "answered 0"),
        (slow(2, 20), "answered 20"),
        (notify(3, "fail"), "error 0"),
        (notify(4, "rejected"), "rejected 0"),
        (notify(5, "panic-later"), "panic 0"),
        (notify(6, "never"), "deadline 50"),
    ] {
        client.exchange(&frame).await.unwrap();
        let told = std::mem::take(&mut *told.lock().unwrap());
        let [message, notify] = &told[..] else {
            panic!("{told:?}")
        };
        // tokio's timers may be a millisecond late.
        let expected = [expected.to_owned(), expected.replace("50", "51")];
        let message = message.strip_prefix("message ").unwrap().to_owned();
        assert!(expected.contains(&message), "{message}");
        assert!(notify.starts_with("notify answered "), "{notify}");
    }
    // What no route has got is told by no name of its own.
    client.notify("no-such-message", []).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["notify answered 0"]);
    silent(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let layer = MetricsLayer::new("notify", move |_: &str, outcome, _| {
        sink.lock().unwrap().push(outcome);
    });
    let service = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .layer(layer)
        .service(service_fn(panic_or_obey));
    let mut client = connect(service, telling().with_handler_timeout(ms(200))).await;
    for name in ["never", "panic", "panic-at-once", "fail"] {
        client.exchange(&notify(1, name)).await.unwrap();
    }
    client.send(&notify(1, "never")).await.unwrap();
    tokio::time::sleep(ms(10)).await;
    drop(client);
    tokio::time::sleep(ms(10)).await;
    assert_eq!(
        *told.lock().unwrap(),
        [
            Outcome::Dropped,
            Outcome::Failed(Failure::Panic),
            Outcome::Failed(Failure::Panic),
            Outcome::Failed(Failure::Error),
            Outcome::Dropped
        ]
    );
}

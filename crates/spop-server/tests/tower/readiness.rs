//! Limits that connections share: who waits is served, and who does not wait holds nothing.

use std::time::Duration;

use spop_client::Client;
use spop_server::layer::{InFlightLimitLayer, RescueLayer};
use spop_server::{Actions, Config, Notify};
use std::convert::Infallible;
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{Service, ServiceBuilder, service_fn};

use crate::support::{connect, notify, only, slow, telling};
use crate::{obey_notify, rescue, silent};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two connections to one service.
async fn two<S>(service: S, config: Config) -> [Client<DuplexStream>; 2]
where
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    [
        connect(service.clone(), config.clone()).await,
        connect(service, config).await,
    ]
}

fn one_at_a_time()
-> impl Service<Notify, Response = Actions, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .layer(GlobalConcurrencyLimitLayer::new(1))
        .service(service_fn(obey_notify))
}

/// The other connection's turn comes, and then it holds no permit while it is idle.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_holds_no_permit() {
    let [mut busy, mut idle] = two(one_at_a_time(), telling()).await;
    busy.send(&slow(1, 50)).await.unwrap();
    tokio::time::sleep(ms(10)).await;
    let begin = Instant::now();
    let ack = idle.exchange(&notify(1, "ready")).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
    assert_eq!(begin.elapsed(), ms(40));
    busy.recv_ack().await.unwrap();
    for _ in 0..10 {
        let ack = busy.exchange(&notify(3, "ready")).await.unwrap();
        assert_eq!(only(&ack), "sess.how=ready");
    }
    assert_eq!(begin.elapsed(), ms(40));
    silent(&mut idle).await;
}

/// Many wait on both connections, in the order they came.
#[tokio::test(start_paused = true)]
async fn all_that_wait_are_served() {
    let clients = two(one_at_a_time(), telling()).await;
    let begin = Instant::now();
    let tasks = clients.map(|mut client| {
        tokio::spawn(async move {
            for stream_id in 0..20 {
                client.queue(&slow(stream_id, 10)).unwrap();
            }
            client.flush().await.unwrap();
            for _ in 0..20 {
                assert_eq!(only(&client.recv_ack().await.unwrap()), "sess.how=slow");
            }
            silent(&mut client).await;
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    // 40 turns of 10 ms, and the two seconds of silence.
    assert_eq!(begin.elapsed(), ms(2400));
}

/// A connection that ends while it waits leaves the queue.
#[tokio::test(start_paused = true)]
async fn who_left_holds_no_permit() {
    let [mut busy, mut leaving] = two(one_at_a_time(), telling()).await;
    busy.send(&slow(1, 50)).await.unwrap();
    tokio::time::sleep(ms(10)).await;
    for stream_id in 0..5 {
        leaving.queue(&notify(stream_id, "never")).unwrap();
    }
    leaving.flush().await.unwrap();
    tokio::time::sleep(ms(10)).await;
    drop(leaving);
    busy.recv_ack().await.unwrap();
    let ack = busy.exchange(&notify(3, "ready")).await.unwrap();
    assert_eq!(only(&ack), "sess.how=ready");
}

/// So does a NOTIFY that was answered by its deadline while it waited.
#[tokio::test(start_paused = true)]
async fn who_was_given_up_holds_no_permit() {
    let config = telling().with_handler_timeout(ms(100));
    let [mut busy, mut late] = two(one_at_a_time(), config).await;
    busy.send(&slow(1, 90)).await.unwrap();
    // Its own time ends before its turn comes: it is the second in the queue.
    late.queue(&notify(1, "never")).unwrap();
    late.queue(&notify(3, "ready")).unwrap();
    late.flush().await.unwrap();
    for _ in 0..2 {
        let ack = late.recv_ack().await.unwrap();
        assert_eq!(only(&ack), "sess.failure=deadline");
    }
    assert_eq!(only(&busy.recv_ack().await.unwrap()), "sess.how=slow");
    for client in [&mut busy, &mut late] {
        let ack = client.exchange(&notify(5, "ready")).await.unwrap();
        assert_eq!(only(&ack), "sess.how=ready");
        silent(client).await;
    }
}

/// Who is refused waits for nothing.
async fn refused_holds_no_permit<S>(service: S)
where
    S: Service<Notify, Response = Actions, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let [mut busy, mut refused] = two(service, telling()).await;
    busy.send(&slow(1, 50)).await.unwrap();
    tokio::time::sleep(ms(10)).await;
    let ack = refused.exchange(&notify(1, "ready")).await.unwrap();
    assert_eq!(only(&ack), "sess.rescued=overload");
    assert_eq!(only(&busy.recv_ack().await.unwrap()), "sess.how=slow");
    for client in [&mut busy, &mut refused] {
        let ack = client.exchange(&notify(3, "ready")).await.unwrap();
        assert_eq!(only(&ack), "sess.how=ready");
        silent(client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn refused_by_the_limit_in_flight() {
    refused_holds_no_permit(
        ServiceBuilder::new()
            .layer(RescueLayer::new(rescue()))
            .layer(InFlightLimitLayer::new(1))
            .service(service_fn(obey_notify)),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn refused_by_load_shed() {
    refused_holds_no_permit(
        ServiceBuilder::new()
            .layer(RescueLayer::new(rescue()))
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::new(1))
            .service(service_fn(obey_notify)),
    )
    .await;
}

/// A refusal gives back what the service below had reserved for the call.
#[tokio::test(start_paused = true)]
async fn a_refusal_gives_back_the_permit_below() {
    let below = GlobalConcurrencyLimitLayer::new(1);
    let refusing = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .layer(InFlightLimitLayer::new(0))
        .layer(below.clone())
        .service(service_fn(obey_notify));
    let serving = ServiceBuilder::new()
        .layer(RescueLayer::new(rescue()))
        .layer(below)
        .service(service_fn(obey_notify));
    let mut refused = connect(refusing, telling()).await;
    let mut served = connect(serving, telling()).await;
    for _ in 0..3 {
        let ack = refused.exchange(&notify(1, "ready")).await.unwrap();
        assert_eq!(only(&ack), "sess.rescued=overload");
        let ack = served.exchange(&notify(1, "ready")).await.unwrap();
        assert_eq!(only(&ack), "sess.how=ready");
    }
}

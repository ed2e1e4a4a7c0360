//! tower's own layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spop_server::layer::RescueLayer;
use spop_server::{Actions, HandlerError, Notify, Request};
use tokio::time::Instant;
use tower::BoxError;

use crate::support::{answer, notify, only, slow};
use crate::{at_both_levels, check, rescue};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn timeout() {
    for mut client in at_both_levels!(.layer(RescueLayer::new(rescue())).timeout(ms(50))) {
        check(
            &mut client,
            &[
                (notify(1, "ready"), "sess.how=ready"),
                (slow(2, 40), "sess.how=slow"),
                (slow(3, 60), "sess.rescued=deadline"),
                (notify(4, "never"), "sess.rescued=deadline"),
                (notify(5, "fail"), "sess.rescued=error"),
                (notify(6, "panic"), "sess.failure=panic"),
            ],
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn load_shed() {
    for mut client in at_both_levels!(
        .layer(RescueLayer::new(rescue())).load_shed().concurrency_limit(2)
    ) {
        for _ in 0..3 {
            check(
                &mut client,
                &[
                    (slow(1, 10), "sess.how=slow"),
                    (slow(2, 10), "sess.how=slow"),
                    (slow(3, 10), "sess.rescued=overload"),
                    (notify(4, "ready"), "sess.rescued=overload"),
                ],
            )
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn concurrency_limit() {
    for mut client in at_both_levels!(.layer(RescueLayer::new(rescue())).concurrency_limit(2)) {
        for stream_id in 0..10 {
            client.queue(&slow(stream_id, 10)).unwrap();
        }
        client.flush().await.unwrap();
        let begin = Instant::now();
        for _ in 0..10 {
            assert_eq!(only(&client.recv_ack().await.unwrap()), "sess.how=slow");
        }
        assert_eq!(begin.elapsed(), ms(50));
        check(&mut client, &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rate_limit() {
    for mut client in at_both_levels!(
        .layer(RescueLayer::new(rescue())).buffer(16).rate_limit(2, ms(100))
    ) {
        for stream_id in 0..6 {
            client.queue(&notify(stream_id, "ready")).unwrap();
        }
        client.flush().await.unwrap();
        let begin = Instant::now();
        for index in 0..6 {
            assert_eq!(only(&client.recv_ack().await.unwrap()), "sess.how=ready");
            // tokio's timers may be a millisecond late.
            let late = begin.elapsed().abs_diff(ms(index / 2 * 100));
            assert!(late <= ms(2), "{index}: {late:?}");
        }
        check(&mut client, &[(notify(7, "fail"), "sess.rescued=error")]).await;
    }
}

/// What a predicate asks of both kinds of requests.
trait Named: Sized {
    fn is(&self, name: &str) -> bool;

    fn refuse(self, name: &str) -> Result<Self, BoxError> {
        if self.is(name) {
            return Err(HandlerError::rejected("refused").into());
        }
        Ok(self)
    }
}

impl Named for Notify {
    fn is(&self, name: &str) -> bool {
        self.messages().any(|message| message.name() == *name)
    }
}

impl Named for Request {
    fn is(&self, name: &str) -> bool {
        self.name() == *name
    }
}

#[tokio::test(start_paused = true)]
async fn filter() {
    for mut client in at_both_levels!(
        .layer(RescueLayer::new(rescue())).filter(|request| Named::refuse(request, "ready"))
    ) {
        check(
            &mut client,
            &[
                (notify(1, "ready"), "sess.rescued=rejected"),
                (slow(2, 10), "sess.how=slow"),
            ],
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn maps() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = || {
        let requests = Arc::clone(&requests);
        move || requests.fetch_add(1, Ordering::Relaxed)
    };
    for mut client in at_both_levels!(
        .map_request({
            let count = count();
            move |request| {
                count();
                request
            }
        })
        .layer(RescueLayer::new(rescue()))
        .map_response(|_: Actions| answer("mapped"))
        .map_err(|_: BoxError| BoxError::from(HandlerError::rejected("mapped")))
        .and_then(async |actions: Actions| Ok::<_, BoxError>(actions))
    ) {
        check(
            &mut client,
            &[
                (notify(1, "ready"), "sess.how=mapped"),
                (notify(2, "fail"), "sess.rescued=rejected"),
            ],
        )
        .await;
    }
    assert_eq!(requests.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn many_at_once() {
    for mut client in at_both_levels!(
        .layer(RescueLayer::new(rescue()))
        .load_shed()
        .concurrency_limit(4)
        .timeout(ms(50))
        .option_layer(None::<tower::util::MapErrLayer<fn(BoxError) -> BoxError>>)
    ) {
        check(
            &mut client,
            &[
                (slow(1, 60), "sess.rescued=deadline"),
                (slow(2, 10), "sess.how=slow"),
                (notify(3, "fail"), "sess.rescued=error"),
                (notify(4, "ready"), "sess.how=ready"),
                (notify(5, "never"), "sess.rescued=deadline"),
                (slow(6, 40), "sess.how=slow"),
                (notify(7, "ready"), "sess.rescued=overload"),
            ],
        )
        .await;
    }
}

//! tower's contract: readiness is the inner service's, and each call is passed on once.

use std::convert::Infallible;
use std::fmt::Debug;
use std::task::Poll;
use std::time::Duration;

use spop_server::layer::{
    CatchPanicLayer, DeadlineLayer, InFlightLimitLayer, MetricsLayer, RescueLayer, TraceLayer,
};
use spop_server::{Actions, Request};
use tower::{Layer, Service};
use tower_test::mock::{self, Mock};

use crate::rescue;
use crate::support::answer;

type Inner = Mock<Request, Actions>;

async fn passes_readiness_and_calls_on<L, E>(layer: L)
where
    L: Layer<Inner>,
    L::Service: Service<Request, Response = Actions, Error = E>,
    E: Debug,
{
    let (mut service, mut handle) = mock::spawn_layer(layer);
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    let asked = Request::local("check", [("port", 443.into())]).unwrap();
    let (answered, ()) = tokio::join!(service.call(asked), async {
        let (request, reply) = handle.next_request().await.unwrap();
        assert_eq!(request.arg("port").to_u64(), Some(443));
        reply.send_response(answer("ready"));
    });
    assert!(answered.unwrap().iter().eq(answer("ready").iter()));
}

#[tokio::test]
async fn every_layer() {
    passes_readiness_and_calls_on(RescueLayer::new(rescue())).await;
    passes_readiness_and_calls_on(DeadlineLayer::new(Duration::from_secs(60))).await;
    passes_readiness_and_calls_on(CatchPanicLayer::new()).await;
    passes_readiness_and_calls_on(TraceLayer::new()).await;
    passes_readiness_and_calls_on(MetricsLayer::new("check", |_, _, _| ())).await;
    passes_readiness_and_calls_on(InFlightLimitLayer::new(1)).await;
}

/// A service that is never ready again is answered for, by this instance and by its clones.
#[tokio::test]
async fn rescue_of_a_service_that_broke() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request, Actions, _>(RescueLayer::new(rescue()));
    for _ in 0..2 {
        handle.send_error("broken");
        assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
        let request = Request::local("check", []).unwrap();
        let Ok::<_, Infallible>(actions) = service.call(request).await;
        assert!(!actions.is_empty());
        service = service.clone();
    }
}

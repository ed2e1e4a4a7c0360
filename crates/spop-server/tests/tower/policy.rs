//! The policy of the example.

use spop_server::{Actions, Config, Request};
use std::convert::Infallible;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::support::{answer, connect, only};

#[path = "../../examples/policy.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own")]
mod example;

use example::{DenyLayer, agent};

#[tokio::test]
async fn the_example_denies_by_country() {
    let mut client = connect(agent(), Config::new()).await;
    for (country, expected) in [
        ("XX", "sess.ip_score=Int32(100)"),
        ("CH", "sess.ip_score=Int32(50)"),
        ("X", "sess.ip_score=Int32(50)"),
    ] {
        let args = [("country", country.into())];
        let ack = client.notify("check-ip", args).await.unwrap();
        assert_eq!(only(&ack), expected, "{country}");
    }
    let ack = client.notify("check-ip", []).await.unwrap();
    assert_eq!(only(&ack), "sess.ip_score=Int32(50)");
}

#[tokio::test]
async fn who_is_denied_never_reaches_the_handler() {
    let stack = ServiceBuilder::new()
        .layer(DenyLayer::countries(["XX"]))
        .service(service_fn(
            async |_: Request| -> Result<Actions, Infallible> { panic!("asked") },
        ));
    let request = Request::local("check-ip", [("country", "XX".into())]).unwrap();
    let Ok(actions) = stack.oneshot(request).await;
    let denied = Actions::new().set_var(spop_server::Scope::Session, "ip_score", 100);
    assert!(actions.iter().eq(denied.iter()));
    assert!(!answer("ready").iter().eq(denied.iter()));
}

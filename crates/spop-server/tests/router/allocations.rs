//! What the router allocates: one box for a future, nothing for a handler without.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use std::convert::Infallible;

use allocation_counter::measure;
use spop_server::{Actions, Args, Connection, Notify, Request, Router, State};
use tower::Service;

use super::{IP, notify};

/// Asks once and drops the answer.
fn call(router: &mut Router, notify: &Notify) {
    let mut answer = pin!(router.call(notify.clone()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut cx).is_ready());
}

fn allocations(router: &mut Router, notify: &Notify, times: usize) -> u64 {
    let measured = measure(|| (0..times).for_each(|_| call(router, notify)));
    assert_eq!(measured.bytes_current, 0);
    measured.count_total
}

#[test]
fn borrowing_handlers() {
    let mut router = Router::new().message_ref("check", |request| {
        let (ip,): (std::net::IpAddr,) = request.args_as().unwrap();
        assert!(ip.is_loopback() && !request.arg("ip").is_null());
    });
    let one = notify(&[("check", &[("ip", IP)])]);
    let several = notify(&[
        ("check", &[("ip", IP)]),
        ("nobody", &[]),
        ("check", &[("ip", IP)]),
    ]);
    let empty = notify(&[]);
    call(&mut router, &several); // makes the services, warns of "nobody"
    for notify in [one, several, empty] {
        assert_eq!(allocations(&mut router, &notify, 100), 0);
    }
}

#[test]
fn async_handlers() {
    let mut router = Router::new()
        .message("large", async |request: Request| {
            let kept = [7_u8; 300];
            let answer = std::future::ready(Actions::new()).await;
            assert!(kept[request.arg("ip").is_null() as usize] == 7);
            answer
        })
        .message("small", async |State(_): State<Arc<u8>>| {})
        .message(
            "typed",
            async |_: Args<(std::net::IpAddr,)>, _: Connection| {},
        )
        .message_service(
            "service",
            tower::service_fn(async |_: Request| Ok::<_, Infallible>(Actions::new())),
        )
        .with_state(Arc::new(7));
    for name in ["large", "small", "typed", "service"] {
        let notify = notify(&[(name, &[("ip", IP)])]);
        call(&mut router, &notify); // makes the services
        assert_eq!(allocations(&mut router, &notify, 100), 100, "{name}");
    }
}

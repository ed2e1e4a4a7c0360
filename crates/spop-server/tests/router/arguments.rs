//! What handlers take, and what becomes of a message that does not have it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::Deserialize;
use spop_server::{
    Actions, Args, ArgsError, Connection, ConnectionInfo, Failure, FromRef, FromRequest, Handler,
    HandlerError, Request, RequestRef, Router, Scope, State, Text, TypedData,
};

use super::{IP, ask, notify, say};

#[derive(Clone)]
struct App {
    name: &'static str,
    limit: Arc<u32>,
}

impl FromRef<App> for Arc<u32> {
    fn from_ref(app: &App) -> Self {
        Self::clone(&app.limit)
    }
}

const APP: fn() -> App = || App {
    name: "edge",
    limit: Arc::new(20),
};

#[derive(Debug, PartialEq, Deserialize)]
struct CheckIp {
    ip: IpAddr,
    path: Option<String>,
}

#[tokio::test]
async fn each_extractor() {
    async fn all(
        Args(args): Args<CheckIp>,
        State(app): State<App>,
        request: Request,
        State(limit): State<Arc<u32>>,
        connection: Connection,
        port: Option<Port>,
        number: Result<Args<(u8,)>, ArgsError>,
    ) -> Actions {
        assert_eq!(args.path.as_deref(), Some("/"));
        assert_eq!(request.arg("ip").to_ip(), Some(args.ip));
        assert_eq!(request.name(), "check");
        assert_eq!(connection.engine_id(), None);
        assert!(port.is_none());
        let reason = number.unwrap_err().to_string();
        assert!(reason.contains("position 0"), "{reason}");
        say(&format!("{} {limit}", app.name))
    }
    let router = Router::new().message("check", all).with_state(APP());
    let answer = ask(&router, "check", &[("ip", IP), ("path", "/".into())]).await;
    assert_eq!(answer, ["said=edge 20"]);
}

/// One of a user's own.
#[derive(Debug)]
struct Port(u16);

impl<S> FromRequest<S> for Port {
    type Rejection = &'static str;

    fn from_request(request: &RequestRef<'_>, _: &S) -> Result<Self, &'static str> {
        let port = request.arg("port").to_u64();
        let port = port.and_then(|port| u16::try_from(port).ok());
        port.map(Self).ok_or("argument \"port\" is no port")
    }
}

#[tokio::test]
async fn own_extractors() {
    let router: Router =
        Router::new().message("check", async |Port(port): Port| say(&port.to_string()));
    assert_eq!(
        ask(&router, "check", &[("port", 443.into())]).await,
        ["said=443"]
    );
    let none: [&str; 0] = [];
    assert_eq!(
        ask(&router, "check", &[("port", 65_536.into())]).await,
        none
    );
}

#[tokio::test]
async fn the_first_rejection_says_why() {
    async fn check(_: Port, _: Args<CheckIp>) {}
    let request = Request::local("check", [("port", 443.into()), ("ip", 7.into())]).unwrap();
    let error = Handler::call(&check, &request.by_ref(), &())
        .await
        .unwrap_err();
    assert_eq!(error.failure(), Failure::Rejected);
    assert_eq!(
        error.to_string(),
        "argument \"ip\" of message \"check\": expected IP address, found INT32"
    );
    let request = Request::local("check", [("ip", 7.into())]).unwrap();
    let error = Handler::call(&check, &request.by_ref(), &())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "argument \"port\" is no port");
}

#[tokio::test]
async fn borrowed() {
    #[derive(Deserialize)]
    struct Borrowing<'a> {
        ip: IpAddr,
        path: &'a str,
        #[serde(borrow, deserialize_with = "spop_server::deserialize_text")]
        agent: Text<'a>,
    }
    fn check(request: &RequestRef<'_>) -> Result<Actions, ArgsError> {
        let args: Borrowing<'_> = request.args_as()?;
        assert!(args.ip.is_loopback());
        assert_eq!(args.agent.as_bytes(), b"\xff");
        assert_eq!(request.name(), "check");
        assert_eq!(request.arg_at(0).to_ip(), Some(args.ip));
        assert_eq!(request.arg("none"), TypedData::Null);
        assert_eq!(request.args().count(), 3);
        assert!(request.received().elapsed().as_secs() < 3600);
        let _: &Arc<ConnectionInfo> = request.connection();
        Ok(Actions::new().set_var(Scope::Request, "path", args.path))
    }
    let args = [
        ("ip", IP),
        ("path", "/".into()),
        ("agent", TypedData::Binary(b"\xff")),
    ];
    let router: Router = Router::new().message_ref("check", check);
    assert_eq!(ask(&router, "check", &args).await, ["path=/"]);

    // The same from a request that is owned, and back.
    let request = Request::local("check", args).unwrap();
    assert!(check(&request.by_ref()).is_ok());
    let again = request.by_ref().to_request();
    assert!(check(&again.by_ref()).is_ok());
    assert!(check(&Request::local("check", []).unwrap().by_ref()).is_err());
}

/// What is taken from a request lives as long as the request, not as its view.
#[test]
fn views_give_out_what_lives_longer() {
    fn path<'a>(request: &RequestRef<'a>) -> &'a [u8] {
        request.arg("path").to_bytes().unwrap_or_default()
    }
    let request = Request::local("check", [("path", "/".into())]).unwrap();
    let path = path(&request.by_ref());
    assert_eq!(path, b"/");
}

#[tokio::test]
async fn a_request_may_outlive_its_notify() {
    let router: Router = Router::new().message("check", async |request: Request| {
        tokio::task::yield_now().await;
        say(request.arg("path").to_text().unwrap().to_str().unwrap())
    });
    let args: &[_] = &[("path", "/".into())];
    let answer = super::answer(&router, notify(&[("check", args)])).await;
    assert_eq!(answer, ["said=/"]);
}

/// Each number of arguments, as function and as closure, with any state.
#[test]
fn arities() {
    fn is_handler<T, S>(_: impl Handler<T, S>) {}
    type A = Args<(Ipv4Addr,)>;
    type C = Connection;
    type St = State<App>;
    type L = State<Arc<u32>>;
    async fn none() {}
    #[expect(clippy::too_many_arguments, reason = "the most there may be")]
    async fn eight(_: Request, _: A, _: St, _: L, _: C, _: Option<A>, _: St, _: Request) {}
    is_handler::<_, ()>(none);
    is_handler::<_, App>(none);
    is_handler::<_, App>(async |_: Request| Some(Actions::new()));
    is_handler::<_, App>(async |_: St, _: A| Ok::<_, Infallible>(()));
    is_handler::<_, App>(async |_: A, _: St, _: L| Ok::<_, String>(Actions::new()));
    is_handler::<_, App>(async |_: A, _: St, _: L, _: C| Ok::<_, HandlerError>(None::<()>));
    is_handler::<_, App>(|_: A, _: St, _: L, _: C, _: C| std::future::ready(()));
    is_handler::<_, App>(async move |_: A, _: A, _: A, _: A, _: A, _: A| {});
    is_handler::<_, App>(|_: A, _: A, _: A, _: A, _: A, _: A, _: L| async {});
    is_handler::<_, App>(eight);
}

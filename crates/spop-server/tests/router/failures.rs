//! Errors and rejections: what the policy is asked for, and what the log says.

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::Duration;

use spop_server::{
    Actions, Args, ArgsError, FailurePolicy, HandlerError, Request, Router, Scope, TypedData,
};
use tower::{BoxError, ServiceBuilder, service_fn};
use tracing::Level;

use super::{ask, say};

fn telling() -> FailurePolicy {
    FailurePolicy::from_fn(|failure| say(failure.as_str()))
}

fn failing() -> Router {
    Router::new()
        .message("error", async || Err::<Actions, _>("no such luck"))
        .message("boxed", async || {
            Err::<(), BoxError>(io::Error::other("no such luck").into())
        })
        .message("args", async |_: Args<(u8,)>| {})
        .message("args-by-hand", async |request: Request| {
            request.args_as::<(u8,)>().map(|_| ())
        })
        .message("boxed-args", async |request: Request| {
            let _: (u8,) = request.args_as()?;
            Ok::<_, BoxError>(())
        })
        .message("says-so", async || {
            Err::<(), _>(HandlerError::rejected("not like this"))
        })
        .message_ref("ref-error", |_| Err::<(), _>("no such luck"))
        .message_ref("ref-args", |request| {
            let (port,): (u8,) = request.args_as()?;
            Ok::<_, ArgsError>(say(&port.to_string()))
        })
        .message("none", async || None::<Actions>)
        .message("fine", async || say("fine"))
}

#[tokio::test]
async fn what_the_policy_is_asked_for() {
    let expected = [
        ("error", "said=error"),
        ("boxed", "said=error"),
        ("args", "said=rejected"),
        ("args-by-hand", "said=rejected"),
        ("boxed-args", "said=rejected"),
        ("says-so", "said=rejected"),
        ("ref-error", "said=error"),
        ("ref-args", "said=rejected"),
        ("none", ""),
        ("fine", "said=fine"),
        ("no-route", ""),
    ];
    let before = Router::new().failure_policy(telling()).merge(failing());
    let after = failing().failure_policy(telling());
    let without = failing();
    for (message, said) in expected {
        let args: &[_] = &[("port", 65_536.into())];
        assert_eq!(
            ask(&after, message, args).await.join(" "),
            said,
            "{message}"
        );
        assert_eq!(
            ask(&before, message, args).await.join(" "),
            said,
            "{message}"
        );
        let said = if message == "fine" { "said=fine" } else { "" };
        assert_eq!(
            ask(&without, message, args).await.join(" "),
            said,
            "{message}"
        );
    }
}

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what each thread logs from now on. One subscriber for all tests: with one for each
/// thread, what is enabled depends on which thread came by first.
fn log() {
    struct Lines;
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LINES.with_borrow_mut(|lines| lines.write(bytes))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_writer(|| Lines)
        .init();
}

/// What this thread has logged since the last call.
fn logged() -> String {
    String::from_utf8(LINES.take()).unwrap()
}

#[tokio::test]
async fn logged_once_and_without_what_came() {
    log();
    let router = failing();
    let args: &[_] = &[("secret", TypedData::String("0xsecret".into()))];
    for message in ["args", "args-by-hand", "ref-args"] {
        ask(&router, message, args).await;
        let first = logged();
        assert!(first.contains("WARN"), "{first}");
        assert!(first.contains(&format!("route={message}")), "{first}");
        assert!(first.contains("failure=rejected"), "{first}");
        assert!(
            first.contains("expected u8, found STRING"),
            "the reason is missing: {first}"
        );
        ask(&router.clone(), message, args).await;
        let second = logged();
        assert!(!second.contains("WARN"), "{second}");
        assert!(second.contains("DEBUG"), "{second}");
        assert!(!format!("{first}{second}").contains("0xsecret"));
    }
    ask(&router, "fine", &[]).await;
    assert_eq!(logged(), "");
    ask(&router, "no-route", args).await;
    assert!(logged().contains("name=no-route"));
    ask(&router, "no-route-either", args).await;
    assert_eq!(logged(), "");
}

#[test]
fn handler_errors_keep_their_cause() {
    let cause = io::Error::other("cause");
    #[derive(Debug)]
    struct Outer(io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let error = HandlerError::new(Outer(cause));
    assert_eq!(error.to_string(), "outer");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "cause");
}

#[tokio::test]
async fn policies_of_parts() {
    let told = |what: &'static str| {
        FailurePolicy::actions(Actions::new().set_var(Scope::Transaction, "said", what))
    };
    let fails = async || Err::<Actions, _>("no such luck");
    let inner = Router::new().message("inner", fails);
    let own = Router::new()
        .message("own", fails)
        .fallback(fails)
        .failure_policy(told("own"));
    let router: Router = Router::new()
        .message("outer", fails)
        .nest("a-", inner.nest("b-", own))
        .failure_policy(told("outer"));
    for (message, said) in [
        ("outer", "said=outer"),
        ("a-inner", "said=outer"),
        ("a-b-own", "said=own"),
        ("a-b-other", "said=own"),
    ] {
        assert_eq!(ask(&router, message, &[]).await, [said], "{message}");
    }
}

/// tower's own layers on a route: the policy is asked for what they refused, by its kind.
#[tokio::test(start_paused = true)]
async fn a_service_may_fail() {
    let slow = ServiceBuilder::new()
        .timeout(Duration::from_millis(8))
        .service(service_fn(async |_: Request| {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok::<_, io::Error>(Actions::new())
        }));
    let broken = service_fn(async |_: Request| Err::<Actions, _>(io::Error::other("broken")));
    let router = Router::new()
        .message_service("slow", slow)
        .message_service("broken", broken)
        .failure_policy(telling());
    assert_eq!(ask(&router, "slow", &[]).await, ["said=deadline"]);
    assert_eq!(ask(&router, "broken", &[]).await, ["said=error"]);
}

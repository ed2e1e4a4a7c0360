//! Routers: which handler a message gets to, with which arguments, and what is answered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod allocations;
mod arguments;
mod compose;
mod failures;
mod joining;

use std::net::Ipv4Addr;

use spop_codec::NotifyBuilder;
use spop_server::{Action, Actions, Notify, Router, Scope, TypedData};
use tower::ServiceExt;

/// Asks `router` about one message.
async fn ask(router: &Router, message: &str, args: &[(&str, TypedData<'_>)]) -> Vec<String> {
    answer(router, notify(&[(message, args)])).await
}

async fn answer(router: &Router, notify: Notify) -> Vec<String> {
    let Ok(actions) = router.clone().oneshot(notify).await;
    shown(&actions)
}

fn notify(messages: &[(&str, &[(&str, TypedData<'_>)])]) -> Notify {
    let mut builder = NotifyBuilder::new();
    for (message, args) in messages {
        builder = builder.message(message, args.iter().copied()).unwrap();
    }
    Notify::local(builder.build(1, 1))
}

/// The variables that are set, as `name=value`, in order.
fn shown(actions: &Actions) -> Vec<String> {
    assert_eq!(actions.error(), None);
    let one = |action| match action {
        Action::SetVar { name, value, .. } => match value.to_text() {
            Some(text) => format!("{name}={text}"),
            None => format!("{name}={value:?}"),
        },
        other => panic!("{other:?}"),
    };
    actions.iter().map(one).collect()
}

fn say(what: &str) -> Actions {
    Actions::new().set_var(Scope::Transaction, "said", what)
}

const IP: TypedData<'_> = TypedData::Ipv4(Ipv4Addr::LOCALHOST);

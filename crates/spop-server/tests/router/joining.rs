//! NOTIFYs of several messages, or none.

use std::time::Duration;

use spop_server::{Request, Router};
use tokio::time::{Instant, sleep};

use super::{answer, notify, say};

/// Ready at once in three ways, or after `ms`.
fn router() -> Router {
    Router::new()
        .message_ref("ref", |request| {
            say(request.arg("who").to_text().unwrap().to_str().unwrap())
        })
        .message("ready", async |request: Request| {
            say(request.arg("who").to_text().unwrap().to_str().unwrap())
        })
        .message("slow", async |request: Request| {
            let ms = request.arg("ms").to_u64().unwrap();
            sleep(Duration::from_millis(ms)).await;
            say(&format!("slow {ms}"))
        })
}

#[tokio::test(start_paused = true)]
async fn answers_come_in_message_order() {
    let who = |name| [("who", spop_server::TypedData::from(name))];
    let (a, b, c) = (who("a"), who("b"), who("c"));
    let (long, short) = ([("ms", 300.into())], [("ms", 200.into())]);
    let begin = Instant::now();
    let notify = notify(&[
        ("ref", &a),
        ("nobody", &[]),
        ("slow", &long),
        ("ready", &b),
        ("slow", &short),
        ("ref", &c),
    ]);
    let said = answer(&router(), notify).await;
    assert_eq!(begin.elapsed(), Duration::from_millis(300));
    assert_eq!(
        said,
        [
            "said=a",
            "said=slow 300",
            "said=b",
            "said=slow 200",
            "said=c"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn very_many_messages() {
    let times: Vec<_> = (0..200_u64)
        .map(|n| [("ms", (n * 7 % 31).into())])
        .collect();
    let messages: Vec<_> = times.iter().map(|args| ("slow", &args[..])).collect();
    let begin = Instant::now();
    let said = answer(&router(), notify(&messages)).await;
    assert_eq!(begin.elapsed(), Duration::from_millis(30));
    let expected: Vec<_> = (0..200)
        .map(|n| format!("said=slow {}", n * 7 % 31))
        .collect();
    assert_eq!(said, expected);
}

#[tokio::test]
async fn no_messages() {
    let nothing: [&str; 0] = [];
    assert_eq!(answer(&router(), notify(&[])).await, nothing);
}

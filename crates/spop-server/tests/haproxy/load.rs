//! Users: each sends a request, waits for the answer, and sends the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use spop_testkit::haproxy::Server;
use spop_testkit::http::Client;
use tokio::task::JoinHandle;

use crate::site::{shown, until};

const USERS: usize = 8;

/// Between two requests of one user.
const PAUSE: Duration = Duration::from_millis(2);

/// Users at work, who expect the id that they send as the `answer`.
pub(crate) struct Load {
    end: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    users: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub(crate) fn start(server: &Server, keep_alive: bool) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let user = |_| {
            let client = match keep_alive {
                true => Client::new(),
                false => Client::new().without_keep_alive(),
            };
            tokio::spawn(work(
                client,
                server.url(),
                Arc::clone(&end),
                Arc::clone(&sent),
            ))
        };
        let users = (0..USERS).map(user).collect();
        Self { end, sent, users }
    }

    /// Waits until so many requests more were answered.
    pub(crate) async fn more(&self, requests: usize) {
        let goal = self.sent.load(Ordering::Relaxed) + requests;
        until("load", async || self.sent.load(Ordering::Relaxed) >= goal).await;
    }

    /// Ends it. Returns how many requests there were, and what was wrong with which.
    pub(crate) async fn finish(self) -> (usize, Vec<String>) {
        self.end.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        for user in self.users {
            wrong.extend(user.await.unwrap());
        }
        (self.sent.load(Ordering::Relaxed), wrong)
    }
}

async fn work(
    client: Client,
    url: String,
    end: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let id = sent.fetch_add(1, Ordering::Relaxed).to_string();
        match client.get(&url).header("id", &id).send().await {
            Ok(answer) if shown(&answer, "answer") == id => {}
            Ok(answer) => wrong.push(format!(
                "{id}: {} answer={} error={}",
                answer.status,
                shown(&answer, "answer"),
                shown(&answer, "error")
            )),
            Err(error) => wrong.push(format!("{id}: {error:#}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    wrong
}

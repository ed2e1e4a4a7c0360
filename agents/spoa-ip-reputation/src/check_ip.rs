//! HAProxy's question: the message `check-ip`, with the client's address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spoa_process::Watched;
use spop_server::{Actions, RequestRef, Router, Scope, TypedData};

use crate::lists::{Lists, MAX_SCORE};

/// What the agent knows, and what it has counted.
#[derive(Debug)]
pub struct Reputation {
    /// The lists in force. Each question is answered from one reading of them.
    pub lists: Arc<Watched<Lists>>,
    /// Answers, by score.
    pub answers: [AtomicU64; MAX_SCORE as usize + 1],
}

impl Reputation {
    /// Of these lists.
    pub fn new(lists: Arc<Watched<Lists>>) -> Self {
        let answers = [const { AtomicU64::new(0) }; MAX_SCORE as usize + 1];
        Self { lists, answers }
    }

    /// The answer: `ip_score` of the address in `ip_src`, or nothing if there is none. It is
    /// set in `sess`, and in `txn` where it cannot be left over from an earlier request.
    pub fn check_ip(&self, request: &RequestRef<'_>) -> Option<Actions> {
        let address = address(request.arg("ip_src"))?;
        let score = self.lists.load().score(address);
        let answers = self.answers.get(usize::from(score))?;
        answers.fetch_add(1, Ordering::Relaxed);
        let actions = Actions::new().set_var(Scope::Session, "ip_score", score);
        Some(actions.set_var(Scope::Transaction, "ip_score", score))
    }
}

/// The agent: one message.
pub fn router(reputation: Arc<Reputation>) -> Router {
    Router::new().message_ref("check-ip", move |request| reputation.check_ip(request))
}

/// HAProxy's `src` is an address, a header is text.
fn address(value: TypedData<'_>) -> Option<IpAddr> {
    let text = || value.to_text()?.to_str().ok()?.trim().parse().ok();
    value.to_ip().or_else(text)
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;
    use spoa_process::log::{self, Directives, Format};
    use spop_server::Request;

    use super::*;
    use crate::lists::Sources;

    #[tokio::test]
    async fn a_lookup_costs_no_allocation_and_an_answer_one() {
        let log = log::start(&Directives::default(), Format::default());
        let read = || Lists::read(&Sources::default());
        let lists = Watched::start("lists", Vec::new(), log, read).unwrap();
        let reputation = Reputation::new(lists);
        // A thread's first look at the lists prepares its next ones.
        drop(reputation.lists.load());
        for address in [TypedData::Ipv4([192, 0, 2, 7].into()), "2001:db8::7".into()] {
            let request = Request::local("check-ip", [("ip_src", address)]).unwrap();
            let lookup = measure(|| {
                let address = super::address(request.by_ref().arg("ip_src")).unwrap();
                assert_eq!(reputation.lists.load().score(address), 0);
            });
            assert_eq!(lookup.count_total, 0);
            // Two variables do not fit where one does.
            let answer = measure(|| assert!(reputation.check_ip(&request.by_ref()).is_some()));
            assert_eq!(answer.count_total, 1);
        }
    }
}

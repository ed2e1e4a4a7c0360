//! HAProxy's question: the message `check-ip`, with the client's address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use spop_server::{Actions, RequestRef, Router, Scope, TypedData};

use crate::lists::{Lists, MAX_SCORE};

/// What the agent knows, and what it has counted.
#[derive(Debug)]
pub struct Reputation {
    /// The lists in force. Each question is answered from one reading of them.
    pub lists: ArcSwap<Lists>,
    /// Answers, by score.
    pub answers: [AtomicU64; MAX_SCORE as usize + 1],
    /// Times that changed lists could not be used.
    pub list_failures: AtomicU64,
}

impl Reputation {
    /// With these lists in force.
    pub fn new(lists: Lists) -> Self {
        Self {
            lists: ArcSwap::from_pointee(lists),
            answers: [const { AtomicU64::new(0) }; MAX_SCORE as usize + 1],
            list_failures: AtomicU64::new(0),
        }
    }

    /// The answer: `ip_score` of the address in `ip_src`, or nothing if there is none. It is
    /// set in `sess`, and in `txn` where it cannot be left over from an earlier request.
    pub fn check_ip(&self, request: &RequestRef<'_>) -> Option<Actions> {
        let score = u32::from(self.score(request)?);
        let actions = Actions::new().set_var(Scope::Session, "ip_score", score);
        Some(actions.set_var(Scope::Transaction, "ip_score", score))
    }

    fn score(&self, request: &RequestRef<'_>) -> Option<u8> {
        let address = address(request.arg("ip_src"))?;
        let score = self.lists.load().table.score(address);
        let answers = self.answers.get(usize::from(score))?;
        answers.fetch_add(1, Ordering::Relaxed);
        Some(score)
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
    use spop_server::Request;

    use super::*;
    use crate::lists::Sources;

    #[test]
    fn a_score_costs_no_allocation_and_an_answer_one() {
        let lists = Lists::read(&Sources(Vec::new())).unwrap();
        let reputation = Reputation::new(lists);
        for address in [TypedData::Ipv4([192, 0, 2, 7].into()), "2001:db8::7".into()] {
            let request = Request::local("check-ip", [("ip_src", address)]).unwrap();
            let score = || reputation.score(&request.by_ref());
            // A thread's first look at the lists prepares its next ones.
            assert_eq!(score(), Some(0));
            let measured = measure(|| assert_eq!(score(), Some(0)));
            assert_eq!(measured.count_total, 0);
            // Two variables do not fit where one does.
            let measured = measure(|| assert!(reputation.check_ip(&request.by_ref()).is_some()));
            assert_eq!(measured.count_total, 1);
        }
    }
}

//! What the agent counts by itself. No client's address is in it.

use std::sync::atomic::Ordering::Relaxed;

use spop_server::admin::Exposition;

use crate::check_ip::Reputation;

/// Networks in each file, answers by score, whether the lists are stale, and how often changed ones
/// could not be used.
pub fn show(reputation: &Reputation, page: &mut Exposition) {
    for (score, networks, path) in &reputation.lists.load().files {
        let (score, path) = (score.to_string(), path.to_string_lossy());
        let networks = [([("file", &*path), ("score", &*score)], *networks as u64)];
        page.gauge("networks", "Networks in the lists in force.", networks);
    }
    for (score, given) in reputation.answers.iter().enumerate() {
        let (score, given) = (score.to_string(), given.load(Relaxed));
        // Of a hundred scores few are in use.
        if given > 0 || score == "0" {
            let answers = [([("score", &*score)], given)];
            page.counter("answers_total", "Scores given.", answers);
        }
    }
    let lists = &reputation.lists;
    lists.show(page, "lists_stale", "list_failures_total");
}

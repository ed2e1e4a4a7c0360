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
    let stale = [([], u64::from(reputation.lists.is_stale()))];
    let help = "1 while the files are not what is in force: changed and not read, or not usable.";
    page.gauge("lists_stale", help, stale);
    let failures = [([], reputation.lists.failures())];
    page.counter("list_failures_total", "Changes not usable.", failures);
}

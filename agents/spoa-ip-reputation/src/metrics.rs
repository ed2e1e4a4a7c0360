//! What the agent counts by itself, as Prometheus reads it. No address is in it.

use std::sync::atomic::Ordering::Relaxed;

use crate::check_ip::Reputation;

/// Networks and answers by score, of scores that are in a list or were given, and how often
/// changed lists could not be used. Each name begins with `prefix`.
pub fn text(prefix: &str, reputation: &Reputation) -> String {
    let lists = reputation.lists.load();
    let (mut networks, mut answers) = (String::new(), String::new());
    for (score, given) in (0_u8..).zip(&reputation.answers) {
        let files = lists.files.iter().filter(|file| file.0 == score);
        let listed: usize = files.map(|file| file.1).sum();
        let given = given.load(Relaxed);
        if score == 0 || listed > 0 || given > 0 {
            networks += &format!("{prefix}_networks{{score=\"{score}\"}} {listed}\n");
            answers += &format!("{prefix}_answers_total{{score=\"{score}\"}} {given}\n");
        }
    }
    format!(
        "# HELP {prefix}_build_info The version, as a label.\n\
         # TYPE {prefix}_build_info gauge\n\
         {prefix}_build_info{{version=\"{version}\"}} 1\n\
         # HELP {prefix}_networks Networks in the lists in force.\n\
         # TYPE {prefix}_networks gauge\n{networks}\
         # HELP {prefix}_answers_total Addresses that were given a score.\n\
         # TYPE {prefix}_answers_total counter\n{answers}\
         # HELP {prefix}_list_failures_total Times that changed lists could not be used.\n\
         # TYPE {prefix}_list_failures_total counter\n\
         {prefix}_list_failures_total {failures}\n",
        version = env!("CARGO_PKG_VERSION"),
        failures = reputation.list_failures.load(Relaxed),
    )
}

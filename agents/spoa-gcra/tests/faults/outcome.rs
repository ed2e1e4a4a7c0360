//! What a fault did to the answers: measured, held against the rules, and reported in one
//! line.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::clients::{BURST, Client, INTERVAL, Kind, SHARDS};
use crate::load::{Answer, Asked, Fate, Source};
use crate::machine::Stalls;
use crate::promise::{Promise, Times};

/// HAProxy's `timeout processing`: later than this is too late.
const LATE: Duration = Duration::from_millis(15);
/// An answer of the failure policy that took so long waited for the decision budget (8 ms)
/// to run out; the others were given at once.
const WAITED: Duration = Duration::from_millis(6);
/// From so many answers of the failure policy on, a fault is an outage and no mere handover.
const OUTAGE: usize = 200;
/// Within this time of an outage nobody waits for the budget any more.
const NOTICED: Duration = Duration::from_millis(250);
/// Valkey counts as back once it decided everything for so long.
const CALM: Duration = Duration::from_millis(300);
/// Within this time Valkey has to be back.
const BACK: Duration = Duration::from_secs(5);
/// Of the answers that the machine did not disturb, so many may be what they should not be.
const TOLERATED: f64 = 0.001;

/// All that is known of what happened.
pub(crate) struct Run<'a> {
    pub(crate) promise: &'a Promise,
    pub(crate) times: Times,
    pub(crate) record: &'a [Asked],
    pub(crate) clients: &'a [Client],
    pub(crate) stalls: &'a Stalls,
}

/// What was measured.
struct Outcome {
    /// NOTIFYs that nothing came for.
    lost: usize,
    /// Those whose connection ended first.
    void: usize,
    /// Answers that the machine did not disturb: of these are the next four.
    judged: usize,
    late: Vec<String>,
    /// The share of late ones before the fault.
    late_before: f64,
    /// To those whom the fault does not concern.
    unconcerned: usize,
    /// Of these, those that were not Valkey's.
    touched: Vec<String>,
    /// The most that a client within its limit was denied.
    denied: u32,
    excess: Excess,
    to_fallback: Option<Duration>,
    to_recover: Option<Duration>,
}

/// By how many requests a client was admitted more than burst + rate x time.
#[derive(Debug, Clone, Copy)]
struct Excess {
    requests: f64,
    /// How many the failure policy admitted while there was no fault, as happens when the
    /// machine is late.
    noise: u32,
}

/// Reports what happened, and fails the test if a rule was broken. `log` is the agents'.
pub(crate) fn judge(run: &Run<'_>, log: &[String]) {
    let outcome = run.measure();
    let line = outcome.line(run);
    println!("fault: {line}");
    if let Some(path) = std::env::var_os("SPOA_FAULTS_REPORT") {
        let mut report = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(report, "{line}").unwrap();
    }
    let broken = outcome.broken(run.promise);
    assert!(
        broken.is_empty(),
        "{}:\n{}\nThe agents' log:\n{}",
        run.promise.fault,
        broken.join("\n"),
        log.join("\n")
    );
}

impl Outcome {
    /// The rules that were broken, and how.
    fn broken(&self, promise: &Promise) -> Vec<String> {
        let mut broken = Vec::new();
        let (lost, void) = (self.lost, self.void);
        if lost > 0 || void > 0 && promise.agent.is_none() {
            broken.push(format!(
                "{lost} NOTIFYs unanswered, {void} on ended connections"
            ));
        }
        let (late, before) = (self.late.len(), self.late_before);
        if too_many(late, self.judged, before + TOLERATED) {
            broken.push(format!(
                "{late} of {} later than {LATE:?}; before the fault a share of {before:.5}:{}",
                self.judged,
                self.late.concat()
            ));
        }
        let touched = self.touched.len();
        if too_many(touched, self.unconcerned, TOLERATED) {
            broken.push(format!(
                "{touched} of {} that nothing happened to were not Valkey's:{}",
                self.unconcerned,
                self.touched.concat()
            ));
        }
        if self.denied > promise.denials {
            let denied = self.denied;
            broken.push(format!(
                "a client within its limit was denied {denied} times"
            ));
        }
        let Excess { requests, noise } = self.excess;
        // One more, for the two clocks' sake.
        if requests > f64::from(promise.excess + noise + 1) {
            let allowed = promise.excess;
            broken.push(format!(
                "{requests:.2} requests too many, allowed {allowed} + {noise}"
            ));
        }
        if let Some(time) = self.to_fallback.filter(|&time| time > NOTICED) {
            broken.push(format!("clients waited for the budget for {time:?}"));
        }
        if self.to_recover.is_none_or(|time| time > BACK) {
            broken.push(format!("back after {:?}", self.to_recover));
        }
        broken
    }

    fn line(&self, run: &Run<'_>) -> serde_json::Value {
        let promise = run.promise;
        let outage = !promise.shards.is_empty();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        json!({
            "fault": promise.fault,
            "guarantee": promise.guarantee,
            "requests": run.record.len(),
            "lost": self.lost,
            "void": self.void,
            "judged": self.judged,
            "late": self.late.len(),
            "unconcerned": self.unconcerned,
            "touched": self.touched.len(),
            "denied": self.denied,
            "denied_allowed": promise.denials,
            "excess": self.excess.requests.max(0.0),
            "excess_allowed": promise.excess,
            "noise": self.excess.noise,
            "to_fallback_ms": self.to_fallback.map(millis),
            "to_recover_ms": self.to_recover.filter(|_| outage).map(millis),
        })
    }
}

/// A single one never is.
fn too_many(count: usize, of: usize, share: f64) -> bool {
    count as f64 > share * of as f64 + 1.0
}

impl Run<'_> {
    fn measure(&self) -> Outcome {
        let judged = self.judged();
        let before: Vec<_> = judged
            .iter()
            .filter(|(asked, _)| asked.sent < self.times.happened)
            .collect();
        let late_before = before.iter().filter(|answer| is_late(answer)).count();
        let late = judged.iter().filter(|answer| is_late(answer));
        let unconcerned: Vec<_> = judged
            .iter()
            .filter(|(asked, _)| !self.promise.concerns(asked, self.clients))
            .collect();
        let touched = unconcerned
            .iter()
            .filter(|(_, answer)| !answer.source.is_shared());
        let back = self.back();
        Outcome {
            lost: self.count(|fate| matches!(fate, Fate::Lost)),
            void: self.count(|fate| matches!(fate, Fate::Void)),
            judged: judged.len(),
            late: late.map(|answer| self.describe(answer)).collect(),
            late_before: late_before as f64 / before.len().max(1) as f64,
            unconcerned: unconcerned.len(),
            touched: touched.map(|answer| self.describe(answer)).collect(),
            denied: self.denied(),
            excess: self.excess(back),
            to_fallback: self.to_fallback(&judged),
            to_recover: back.map(|back| back - self.times.healed),
        }
    }

    fn count(&self, is: impl Fn(&Fate) -> bool) -> usize {
        self.record.iter().filter(|asked| is(&asked.fate)).count()
    }

    /// The answers that the machine did not disturb.
    fn judged(&self) -> Vec<(&Asked, Answer)> {
        answered(self.record)
            .filter(|(asked, answer)| !self.stalls.during(asked.sent, answer.received))
            .collect()
    }

    /// When Valkey decided again. Whom the machine kept from it was back all the same.
    fn back(&self) -> Option<Instant> {
        let judged: Vec<Asked> = self.judged().into_iter().map(|(asked, _)| *asked).collect();
        [self.record, judged.as_slice()]
            .into_iter()
            .filter_map(|record| recovery(record, self.clients, self.promise, self.times.healed))
            .min()
    }

    fn denied(&self) -> u32 {
        let mut denials = vec![0; self.clients.len()];
        for (asked, answer) in answered(self.record) {
            if self.clients[asked.client].kind == Kind::Modest && !answer.allowed {
                denials[asked.client] += 1;
            }
        }
        denials.into_iter().max().unwrap()
    }

    /// Of the client with the most, noise not counted.
    fn excess(&self, back: Option<Instant>) -> Excess {
        let outage = self.times.happened..=back.unwrap_or(self.times.healed);
        let of = |client: usize| {
            let admitted: Vec<(&Asked, Answer)> = answered(self.record)
                .filter(|(asked, answer)| asked.client == client && answer.allowed)
                .collect();
            let noise = admitted
                .iter()
                .filter(|(asked, answer)| {
                    !answer.source.is_shared() && !outage.contains(&asked.sent)
                })
                .count();
            Excess {
                requests: excess(&admitted),
                noise: u32::try_from(noise).unwrap(),
            }
        };
        (0..self.clients.len())
            .map(of)
            .max_by(|one, other| one.without_noise().total_cmp(&other.without_noise()))
            .unwrap()
    }

    /// How long after the fault the clients concerned still waited for the budget to run
    /// out, but for one in a hundred. None: nobody ever did, or it was over with a few
    /// requests.
    fn to_fallback(&self, judged: &[(&Asked, Answer)]) -> Option<Duration> {
        let mut during: Vec<_> = judged
            .iter()
            .filter(|(asked, answer)| {
                self.promise.concerns(asked, self.clients)
                    && asked.sent >= self.times.happened
                    && asked.sent < self.times.healed
                    && answer.source == Source::Fallback
            })
            .collect();
        if during.len() < OUTAGE {
            return None;
        }
        let tolerated = during.len() / 100;
        during.retain(|(asked, answer)| answer.received - asked.sent >= WAITED);
        during.sort_by_key(|(_, answer)| answer.received);
        let (_, last) = during.iter().rev().nth(tolerated)?;
        Some(last.received - self.times.happened)
    }

    /// One answer, in a line of its own.
    fn describe(&self, (asked, answer): &(&Asked, Answer)) -> String {
        let since = asked.sent.saturating_duration_since(self.times.happened);
        format!(
            "\n  agent {}, shard {}, {:?} {since:?} after the fault, within {:?}",
            asked.agent,
            self.clients[asked.client].shard,
            answer.source,
            answer.received - asked.sent
        )
    }
}

impl Excess {
    fn without_noise(self) -> f64 {
        self.requests - f64::from(self.noise)
    }
}

fn answered(record: &[Asked]) -> impl Iterator<Item = (&Asked, Answer)> {
    record.iter().filter_map(|asked| match asked.fate {
        Fate::Answered(answer) => Some((asked, answer)),
        Fate::Void | Fate::Lost => None,
    })
}

fn is_late((asked, answer): &(&Asked, Answer)) -> bool {
    answer.received - asked.sent > LATE
}

/// The most that these admissions of one client, in order, exceed burst + rate x time by, in
/// any span of time.
fn excess(admitted: &[(&Asked, Answer)]) -> f64 {
    let mut most = f64::MIN;
    for (first, (asked, _)) in admitted.iter().enumerate() {
        for (last, (_, answer)) in admitted.iter().enumerate().skip(first) {
            let time = answer.received.saturating_duration_since(asked.sent);
            let limit = f64::from(BURST) + time.as_secs_f64() / INTERVAL.as_secs_f64();
            most = most.max((last - first + 1) as f64 - limit);
        }
    }
    most
}

/// From when on Valkey decided for everybody concerned again, at `since` at the earliest.
/// None: it does not yet.
pub(crate) fn recovery(
    record: &[Asked],
    clients: &[Client],
    promise: &Promise,
    since: Instant,
) -> Option<Instant> {
    if promise.shards.is_empty() {
        return Some(since);
    }
    let mut answers: Vec<(usize, Answer)> = answered(record)
        .filter(|(asked, answer)| promise.concerns(asked, clients) && answer.received >= since)
        .map(|(asked, answer)| (clients[asked.client].shard, answer))
        .collect();
    answers.sort_by_key(|(_, answer)| answer.received);
    let mut back = since;
    let mut decided = [false; SHARDS];
    for (shard, answer) in answers {
        if answer.received > back + CALM && promise.shards.iter().all(|&shard| decided[shard]) {
            return Some(back);
        }
        match answer.source {
            Source::Valkey => decided[shard] = true,
            Source::Cache => {}
            Source::Fallback | Source::None => {
                back = answer.received;
                decided = [false; SHARDS];
            }
        }
    }
    None
}

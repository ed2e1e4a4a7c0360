//! All policies of an agent, and which of them a request is under.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use spop_server::Text;
use tracing::warn;

use super::{DEFAULT, Policy};
use crate::gcra::Quota;

/// Names that were asked for in vain and are told, each once.
const MAX_TOLD: usize = 32;

/// What is shown of such a name, in bytes.
const MAX_SHOWN: usize = 64;

/// A set of policies that is in force together: found by name, or by the SPOE message that
/// it answers. There is always one called [`DEFAULT`].
#[derive(Debug)]
pub struct Policies {
    /// Sorted by name.
    all: Box<[Named]>,
    default: Arc<Policy>,
    /// Sorted by message.
    by_message: Box<[(Box<str>, Arc<Policy>)]>,
    unknown_policies: Told,
    unknown_messages: Told,
}

/// A policy, and the SPOE messages that it answers beside those that ask for it by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Messages of no other policy, and not `check-rate`.
    pub messages: Box<[Box<str>]>,
}

impl Policies {
    /// The set of `all` and, if none of them is called so, of the policy [`DEFAULT`] made of
    /// `default`. Names and messages are each given once: whoever read them saw to that.
    pub fn new(all: impl IntoIterator<Item = Named>, default: impl FnOnce() -> Policy) -> Self {
        let mut all: Vec<Named> = all.into_iter().collect();
        let own = all.iter().find(|named| &*named.policy.name == DEFAULT);
        let default = match own {
            Some(own) => Arc::clone(&own.policy),
            None => {
                let policy = Arc::new(default());
                all.push(Named {
                    policy: Arc::clone(&policy),
                    messages: Box::default(),
                });
                policy
            }
        };
        all.sort_by(|one, other| one.policy.name.cmp(&other.policy.name));
        let mut by_message: Vec<_> = all
            .iter()
            .flat_map(|named| {
                let messages = named.messages.iter();
                messages.map(|message| (message.clone(), Arc::clone(&named.policy)))
            })
            .collect();
        by_message.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self {
            all: all.into(),
            default,
            by_message: by_message.into(),
            unknown_policies: Told::default(),
            unknown_messages: Told::default(),
        }
    }

    /// The set of this one policy.
    pub fn of_one(policy: Policy) -> Self {
        Self::new([], || policy)
    }

    /// The same, each counting on where the one of its name in `before` is.
    #[must_use]
    pub fn counting_on(self, before: &Self) -> Self {
        let counting_on = |named: Named| {
            let Some(old) = before.find(named.policy.name.as_bytes()) else {
                return named;
            };
            let mut policy = Policy::clone(&named.policy);
            policy.decisions = old.policy.decisions.clone();
            Named {
                policy: Arc::new(policy),
                ..named
            }
        };
        let Self { all, default, .. } = self;
        // One is called so already.
        Self::new(all.into_iter().map(counting_on), || Policy::clone(&default))
    }

    /// The policy called `name`, and [`DEFAULT`] without one. A name that is not there counts
    /// as none, with a warning the first time.
    pub fn by_name(&self, name: Option<&[u8]>) -> &Arc<Policy> {
        let Some(name) = name else {
            return &self.default;
        };
        match self.find(name) {
            Some(named) => &named.policy,
            None => {
                if self.unknown_policies.is_new(name) {
                    warn!(
                        name = %cut(name),
                        "no policy is called so; \"default\" decides instead"
                    );
                }
                &self.default
            }
        }
    }

    /// The policy that answers this message. `None`, with a warning the first time, if it is
    /// nobody's.
    pub fn by_message(&self, message: &[u8]) -> Option<&Arc<Policy>> {
        let found = self
            .by_message
            .binary_search_by(|(name, _)| name.as_bytes().cmp(message));
        let found = found.ok().and_then(|index| self.by_message.get(index));
        if found.is_none() && self.unknown_messages.is_new(message) {
            warn!(
                name = %cut(message),
                "no policy answers a message; it is answered without actions"
            );
        }
        found.map(|(_, policy)| policy)
    }

    /// All of them, by name.
    pub fn all(&self) -> &[Named] {
        &self.all
    }

    /// A line for each policy, as they are shown at the start: its limits, and what is not
    /// the default.
    pub fn summary(&self) -> String {
        let names = self.all.iter().map(|named| named.policy.name.len());
        let width = names.max().unwrap_or(0);
        let line = |named: &Named| format!("  {:width$}  {}", named.policy.name, describe(named));
        self.all.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// What is different from `before`, in a few words.
    pub fn changes_since(&self, before: &Self) -> String {
        let mut changes = String::new();
        let mut tell = |what: &str, name: &str| {
            let separator = if changes.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(changes, "{separator}{what} {name}");
        };
        for named in &self.all {
            match before.find(named.policy.name.as_bytes()) {
                None => tell("added", &named.policy.name),
                Some(old) if old != named => tell("changed", &named.policy.name),
                Some(_) => {}
            }
        }
        for named in &before.all {
            if self.find(named.policy.name.as_bytes()).is_none() {
                tell("removed", &named.policy.name);
            }
        }
        if changes.is_empty() {
            return "nothing changed".to_owned();
        }
        changes
    }

    fn find(&self, name: &[u8]) -> Option<&Named> {
        let found = self
            .all
            .binary_search_by(|named| named.policy.name.as_bytes().cmp(name));
        self.all.get(found.ok()?)
    }
}

fn describe(Named { policy, messages }: &Named) -> String {
    let limits = policy.limits().iter().map(|limit| {
        let name = limit.name().filter(|name| **name != *policy.name);
        let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
        let quota = limit.quota();
        format!("{name}{}, {} at once", rate(quota), quota.limit())
    });
    let mut parts = if policy.limits().is_empty() {
        vec!["unlimited".to_owned()]
    } else {
        let limits = limits.collect::<Vec<_>>().join(" and ");
        vec![limits, format!("failure {}", policy.failure)]
    };
    if policy.cost != 1 {
        parts.push(format!("cost {}", policy.cost));
    }
    if let Some(lease) = policy.lease {
        let (requests, ttl) = (lease.tokens(), lease.ttl());
        parts.push(format!("leases of {requests} requests for {ttl:?}"));
    }
    let (allowed, denied) = policy.networks.counts();
    if allowed > 0 {
        parts.push(format!("{allowed} allowed networks"));
    }
    if denied > 0 {
        parts.push(format!("{denied} denied networks"));
    }
    if policy.shadow {
        parts.push("shadow".to_owned());
    }
    if !messages.is_empty() {
        parts.push(format!("messages {}", messages.join(", ")));
    }
    parts.join("; ")
}

/// The sustained rate in the unit that fits: `100 req/s`.
pub(crate) fn rate(quota: Quota) -> String {
    let interval = quota.interval();
    match 1_000_000_u64.checked_div(interval) {
        Some(rate) if rate * interval == 1_000_000 => format!("{rate} req/s"),
        Some(1..) => format!("{:.2} req/s", 1e6 / interval as f64),
        _ => format!("1 req every {} s", interval as f64 / 1e6),
    }
}

/// As much of a name as is told.
fn cut(name: &[u8]) -> Text<'_> {
    Text::new(name.get(..MAX_SHOWN).unwrap_or(name))
}

/// Names that have been told. What comes over the wire cannot make it grow without bound.
#[derive(Debug, Default)]
struct Told {
    full: AtomicBool,
    names: Mutex<Vec<Box<[u8]>>>,
}

impl Told {
    /// Whether to tell of this name: it has not been told, and not too many others have.
    #[cold]
    fn is_new(&self, name: &[u8]) -> bool {
        if self.full.load(Ordering::Relaxed) {
            return false;
        }
        let name = cut(name).as_bytes();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_TOLD {
            self.full.store(true, Ordering::Relaxed);
            return false;
        }
        let new = names.iter().all(|told| **told != *name);
        if new {
            names.push(name.into());
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Limit, Outcome};
    use crate::store::Source;

    fn policy(name: &str, interval: u64) -> Policy {
        let quota = Quota::new(interval, 10 * interval).unwrap();
        Policy::new(name, vec![Limit::only(quota)]).unwrap()
    }

    fn named(name: &str, messages: &[&str]) -> Named {
        Named {
            policy: Arc::new(policy(name, 10_000)),
            messages: messages.iter().map(|message| (*message).into()).collect(),
        }
    }

    fn some() -> Policies {
        let all = [
            named("login", &["check-login", "check-token"]),
            named("api", &["check-api"]),
        ];
        Policies::new(all, || policy(DEFAULT, 1))
    }

    #[test]
    fn found_by_name_and_by_message() {
        let policies = some();
        let by_name = |name: &'static str| &*policies.by_name(Some(name.as_bytes())).name;
        for name in ["login", "api", "default"] {
            assert_eq!(by_name(name), name);
        }
        assert_eq!(&*policies.by_name(None).name, "default");
        let by_message = |message: &'static str| {
            let policy = policies.by_message(message.as_bytes());
            policy.map(|policy| policy.name.to_string())
        };
        assert_eq!(by_message("check-login").as_deref(), Some("login"));
        assert_eq!(by_message("check-token").as_deref(), Some("login"));
        assert_eq!(by_message("check-api").as_deref(), Some("api"));
        assert_eq!(by_message("login"), None);
        assert_eq!(by_message(""), None);
    }

    #[test]
    fn what_is_not_there_is_told_once_and_the_default_decides() {
        let policies = some();
        for _ in 0..2 {
            assert_eq!(&*policies.by_name(Some(b"Login")).name, "default");
        }
        assert_eq!(policies.unknown_policies.names.lock().unwrap().len(), 1);
        let long = "x".repeat(100_000);
        for number in 0..10_000 {
            policies.by_name(Some(format!("{number}{long}").as_bytes()));
        }
        let told = policies.unknown_policies.names.lock().unwrap();
        assert_eq!(told.len(), MAX_TOLD);
        assert!(told.iter().all(|name| name.len() <= MAX_SHOWN));
    }

    #[test]
    fn the_file_own_default_comes_first() {
        let own = Policies::new([named(DEFAULT, &[])], || unreachable!());
        assert_eq!(own.by_name(None).limits()[0].quota().interval(), 10_000);
        assert_eq!(own.all().len(), 1);
    }

    #[test]
    fn counts_go_on_under_the_same_name() {
        let before = some();
        let count = |policies: &Policies, name: &'static str| {
            let policy = policies.by_name(Some(name.as_bytes()));
            policy.decisions.get(Source::Valkey, Outcome::Denied)
        };
        for named in before.all() {
            let decisions = &named.policy.decisions;
            decisions.add(Source::Valkey, Outcome::Denied);
        }
        let changed = Named {
            policy: Arc::new(policy("login", 20_000)),
            messages: Box::new(["check-other".into()]),
        };
        let after = Policies::new([changed, named("web", &[])], || policy(DEFAULT, 1));
        let after = after.counting_on(&before);
        assert_eq!(after.all().len(), 3);
        assert_eq!(count(&after, "login"), 1);
        assert_eq!(count(&after, "default"), 1);
        assert_eq!(count(&after, "web"), 0);
        // Nothing else is as before.
        let login = after.by_message(b"check-other").unwrap();
        assert_eq!(login.limits()[0].quota().interval(), 20_000);
        assert!(after.by_message(b"check-login").is_none());
        login.decisions.add(Source::Valkey, Outcome::Denied);
        assert_eq!(count(&after, "login"), 2);
    }

    #[test]
    fn changes_in_a_few_words() {
        let before = some();
        let after = Policies::new(
            [named("login", &["check-login"]), named("web", &[])],
            || policy(DEFAULT, 1),
        );
        assert_eq!(
            after.changes_since(&before),
            "changed login, added web, removed api"
        );
        assert_eq!(before.changes_since(&some()), "nothing changed");
        assert_eq!(
            Policies::of_one(policy(DEFAULT, 2)).changes_since(&before),
            "changed default, removed api, removed login"
        );
    }
}

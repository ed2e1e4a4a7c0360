//! How often a policy has decided, and who did it for it; for metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::gcra::Decision;
use crate::store::{Source, Verdict};

/// The counts of one policy. Clones share them, and so do the policies of one name, one after
/// the other, when policies are read again.
#[derive(Clone, Default)]
pub struct Decisions {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    by_source: [[AtomicU64; Outcome::ALL.len()]; Source::ALL.len()],
    near_limit: AtomicU64,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It may pass.
    Allowed,
    /// It may not.
    Denied,
    /// It may pass, because its policy is in shadow and denies nobody.
    ShadowDenied,
}

impl Outcome {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Denied, Self::ShadowDenied];

    /// What a verdict comes to under a policy that is, or is not, in shadow.
    pub fn of(verdict: &Verdict, shadow: bool) -> Self {
        match (verdict.decision.allowed, shadow) {
            (true, _) => Self::Allowed,
            (false, false) => Self::Denied,
            (false, true) => Self::ShadowDenied,
        }
    }
}

impl Decisions {
    /// Counts a verdict, and what came of it.
    pub(crate) fn count(&self, verdict: &Verdict, outcome: Outcome) {
        self.add(verdict.source, outcome);
        let unasked = matches!(verdict.source, Source::List | Source::Unlimited);
        if outcome == Outcome::Allowed && !unasked && is_near_limit(&verdict.decision) {
            self.counts.near_limit.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one more.
    pub(crate) fn add(&self, source: Source, outcome: Outcome) {
        if let Some(count) = self.of(source, outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there were of this kind, since the start.
    pub fn get(&self, source: Source, outcome: Outcome) -> u64 {
        let count = self.of(source, outcome);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many were allowed with a tenth of the limit left, or less.
    pub fn near_limit(&self) -> u64 {
        self.counts.near_limit.load(Ordering::Relaxed)
    }

    fn of(&self, source: Source, outcome: Outcome) -> Option<&AtomicU64> {
        self.counts
            .by_source
            .get(source as usize)?
            .get(outcome as usize)
    }
}

/// Whether a client that has spent so much is about to be denied.
fn is_near_limit(decision: &Decision) -> bool {
    decision.remaining <= decision.limit / 10
}

/// Any two are equal: what has happened under a policy is no part of what it says.
impl PartialEq for Decisions {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Decisions {}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_by_itself() {
        let decisions = Decisions::default();
        let kinds = || {
            let sources = Source::ALL.into_iter();
            sources.flat_map(|source| Outcome::ALL.map(|outcome| (source, outcome)))
        };
        let expected = |at: usize| u64::try_from(at + 1).unwrap();
        for (at, (source, outcome)) in kinds().enumerate() {
            for _ in 0..expected(at) {
                decisions.clone().add(source, outcome);
            }
        }
        for (at, (source, outcome)) in kinds().enumerate() {
            assert_eq!(decisions.get(source, outcome), expected(at));
        }
    }
}

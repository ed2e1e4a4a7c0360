//! One case: what it is called, where it comes from, how it is run and how it ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::Agent;

/// One thing that an agent can get right or wrong.
#[derive(Clone, Copy)]
pub struct Case {
    id: &'static str,
    title: &'static str,
    reference: &'static str,
    severity: Severity,
    slow: bool,
    run: Try,
}

/// How much a failure matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The protocol text demands it, or HAProxy loses requests, connections or health checks
    /// over it.
    Must,
    /// It is what a sound agent does about a peer that HAProxy is not, or how it helps
    /// whoever looks for the mistake.
    Should,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise.
    Failed {
        /// What the agent should have done.
        expected: String,
        /// What it did.
        got: String,
    },
    /// It was not tried.
    Skipped {
        /// Why it says nothing about this agent.
        reason: String,
    },
}

impl Case {
    /// A letter for the group and a number, such as `F2`; with one more for the cases that
    /// belong together, such as `F4.1`.
    pub const fn id(&self) -> &'static str {
        self.id
    }

    /// What a sound agent does, in one line.
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// Where it comes from: the section of `doc/SPOE.txt` in HAProxy's sources, or what
    /// HAProxy does that makes it so.
    pub const fn reference(&self) -> &'static str {
        self.reference
    }

    /// How much a failure matters.
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// Whether it waits for the agent's own patience to end ([`Agent::with_patience`]).
    pub const fn is_slow(&self) -> bool {
        self.slow
    }

    /// Whether `pattern` is the id or what the id begins with (`F`, `F4`), or else, in
    /// whatever case, part of the title.
    pub fn matches(&self, pattern: &str) -> bool {
        let pattern = pattern.to_ascii_lowercase();
        let id = self.id.to_ascii_lowercase();
        let (number, _) = id.split_once('.').unwrap_or((&id, ""));
        let (letter, rest) = pattern.split_at_checked(1).unwrap_or((&pattern, ""));
        if rest
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return id == pattern
                || number == pattern
                || (rest.is_empty() && !letter.is_empty() && id.starts_with(letter));
        }
        self.title.to_ascii_lowercase().contains(&pattern)
    }

    /// Tries it on `agent`. Never takes for ever: each wait is bounded by the agent's timeout,
    /// and the case by thirty of them.
    pub async fn run(&self, agent: &Agent) -> Outcome {
        let patience = match (self.slow, agent.patience()) {
            (false, _) => Duration::ZERO,
            (true, Some(patience)) => patience,
            (true, None) => {
                return Outcome::Skipped {
                    reason: "slow: it waits for the agent's own timeouts".to_owned(),
                };
            }
        };
        let bound = agent.timeout() * WAITS + patience;
        match tokio::time::timeout(bound, (self.run)(agent)).await {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(Stop::Failed { expected, got })) => Outcome::Failed { expected, got },
            Ok(Err(Stop::Skipped(reason))) => Outcome::Skipped { reason },
            Err(_) => Outcome::Failed {
                expected: "an end".to_owned(),
                got: format!("none within {} ms", bound.as_millis()),
            },
        }
    }
}

/// A case is the one with its id.
impl PartialEq for Case {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Case {}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("id", &self.id)
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

impl Severity {
    /// `must` or `should`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The longest that a case may take, in timeouts.
const WAITS: u32 = 30;

type Try = for<'a> fn(&'a Agent) -> Trying<'a>;
type Trying<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// What a case comes to.
pub(super) type Verdict<T = ()> = Result<T, Stop>;

/// Why a case does not pass.
#[derive(Debug)]
pub(super) enum Stop {
    Failed { expected: String, got: String },
    Skipped(String),
}

impl Stop {
    pub(super) fn failed(expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self::Failed {
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    pub(super) fn skipped(reason: &str) -> Self {
        Self::Skipped(reason.to_owned())
    }
}

/// Where in a case of several parts it went wrong.
pub(super) trait After: Sized {
    /// Adds what was done last to what was got.
    fn after(self, what: impl fmt::Display) -> Self;
}

impl<T> After for Verdict<T> {
    fn after(self, what: impl fmt::Display) -> Self {
        self.map_err(|stop| match stop {
            Stop::Failed { expected, got } => Stop::Failed {
                expected,
                got: format!("{got}, after {what}"),
            },
            skipped @ Stop::Skipped(_) => skipped,
        })
    }
}

pub(super) const fn must(
    id: &'static str,
    title: &'static str,
    reference: &'static str,
    run: Try,
) -> Case {
    Case {
        id,
        title,
        reference,
        severity: Severity::Must,
        slow: false,
        run,
    }
}

pub(super) const fn should(
    id: &'static str,
    title: &'static str,
    reference: &'static str,
    run: Try,
) -> Case {
    Case {
        severity: Severity::Should,
        ..must(id, title, reference, run)
    }
}

pub(super) const fn slow(case: Case) -> Case {
    Case { slow: true, ..case }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let case = must("H1.2", "the Answer to a HELLO", "", |_| {
            Box::pin(async { Ok(()) })
        });
        for pattern in ["H", "h", "H1", "H1.2", "h1.2", "answer", "a hello"] {
            assert!(case.matches(pattern), "{pattern}");
        }
        for pattern in ["", "F", "H1.", "H1.1", "H12", "H11", "a", "question", "é"] {
            assert!(!case.matches(pattern), "{pattern}");
        }
    }
}

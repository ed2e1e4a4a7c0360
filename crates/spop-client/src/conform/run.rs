//! Cases one after the other, and what came of them.

use super::case::Stop;
use super::{Agent, Case, Outcome, Severity};
use crate::error::ClientError;

/// Cases being run on an agent.
#[derive(Debug)]
pub struct Run<'a, I> {
    agent: &'a Agent,
    cases: I,
    greets: bool,
    summary: Summary,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Cases that passed.
    pub passed: usize,
    /// Cases of severity [`Must`](Severity::Must) that failed.
    pub failed_must: usize,
    /// Cases of severity [`Should`](Severity::Should) that failed.
    pub failed_should: usize,
    /// Cases that were not tried.
    pub skipped: usize,
    /// Whether the agent did not survive the last case: the others did not run then.
    pub gone: bool,
}

impl<'a, I: Iterator<Item = &'static Case>> Run<'a, I> {
    /// Begins to run `cases` on `agent`.
    ///
    /// # Errors
    /// [`ClientError::Connect`] or [`ClientError::Timeout`] if nobody accepts connections.
    pub async fn start(
        agent: &'a Agent,
        cases: impl IntoIterator<IntoIter = I>,
    ) -> Result<Self, ClientError> {
        drop(agent.open().await?);
        Ok(Self {
            agent,
            cases: cases.into_iter(),
            // An agent that never shakes hands gives no sign of life by it.
            greets: agent.greet().await.is_ok(),
            summary: Summary::default(),
        })
    }

    /// Runs the next case. `None` after the last.
    ///
    /// After each case the agent has to shake hands on a new connection. When it does not,
    /// that case is what ended it: it fails, whatever else came of it, and is the last.
    pub async fn next(&mut self) -> Option<(&'static Case, Outcome)> {
        if self.summary.gone {
            return None;
        }
        let case = self.cases.next()?;
        let mut outcome = case.run(self.agent).await;
        if self.greets
            && let Err(Stop::Failed { got, .. }) = self.agent.greet().await
        {
            self.summary.gone = true;
            outcome = Outcome::Failed {
                expected: "the agent to go on serving new connections".to_owned(),
                got,
            };
        }
        self.summary.count(case.severity(), &outcome);
        Some((case, outcome))
    }

    /// What came of the cases so far.
    pub const fn summary(&self) -> Summary {
        self.summary
    }
}

impl Summary {
    /// Whether the agent is fit for HAProxy: it survived, and no case of severity
    /// [`Must`](Severity::Must) failed.
    pub const fn conforms(&self) -> bool {
        self.failed_must == 0 && !self.gone
    }

    const fn count(&mut self, severity: Severity, outcome: &Outcome) {
        let counter = match (outcome, severity) {
            (Outcome::Passed, _) => &mut self.passed,
            (Outcome::Skipped { .. }, _) => &mut self.skipped,
            (Outcome::Failed { .. }, Severity::Must) => &mut self.failed_must,
            (Outcome::Failed { .. }, Severity::Should) => &mut self.failed_should,
        };
        *counter += 1;
    }
}

//! A setting that is not acceptable, said in one line.

use std::fmt;

use super::table::{Accepts, Setting};

/// A variable whose value the agent cannot run with.
///
/// Its text is one line: the variable, the value, what is wrong, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    setting: &'static Setting,
    value: String,
    problem: Problem,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// Not only digits.
    #[error("not a whole number")]
    NotANumber,
    /// A number, but not one that is accepted.
    #[error("out of range")]
    OutOfRange,
    /// The burst is shorter than one interval.
    #[error("below SPOA_RATE_INTERVAL={interval}, so that no request could pass")]
    BurstBelowInterval {
        /// µs.
        interval: u64,
    },
    /// State would be dropped while it still counts.
    #[error("below SPOA_RATE_BURST={burst} µs, so that debts would be forgotten")]
    TtlBelowBurst {
        /// µs.
        burst: u64,
    },
    /// Not of the form that is accepted, and in which way.
    #[error("{0}")]
    Refused(String),
}

impl SettingsError {
    /// `value` is shown to the operator: without passwords.
    pub(super) fn new(setting: &'static Setting, value: String, problem: Problem) -> Self {
        Self {
            setting,
            value,
            problem,
        }
    }

    /// The variable.
    pub fn name(&self) -> &'static str {
        self.setting.name
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What would be accepted, beside the other settings.
    fn accepts(&self) -> Accepts {
        let least = match self.problem {
            Problem::BurstBelowInterval { interval } => interval,
            Problem::TtlBelowBurst { burst } => burst.div_ceil(1_000_000),
            _ => return self.setting.accepts,
        };
        match self.setting.accepts {
            Accepts::Number(_, most) => Accepts::Number(least, most),
            text @ Accepts::Text(_) => text,
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            value,
            problem,
        } = self;
        let Setting { name, unit, .. } = setting;
        let space = if unit.is_empty() { "" } else { " " };
        write!(
            f,
            "{name}={value:?}: {problem}; accepted: {}{space}{unit}",
            self.accepts()
        )
    }
}

impl std::error::Error for SettingsError {}

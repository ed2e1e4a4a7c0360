//! What is wrong with a file of policies, said in one line each.

use std::fmt;
use std::path::PathBuf;

use super::file::{MAX_FILE, MAX_MESSAGES, MAX_NAME, MAX_NETWORKS, MAX_POLICIES};
use super::limit_ids::NoMoreNames;
use super::networks::Contradiction;
use super::rate::BadRate;
use super::{DEFAULT, MAX_LIMITS};
use crate::check_rate::MESSAGE;
use crate::gcra::{MAX_COST, MAX_MICROS};
use crate::store::lease::LeaseError;

/// Everything that is wrong with a file; its text is a line for each problem, in the order
/// of the file: `FILE:LINE: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: PathBuf,
    problems: Vec<Problem>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1 on. `None`: it is about the whole file.
    pub line: Option<usize>,
    /// The policy that it is in.
    pub policy: Option<String>,
    /// What is wrong.
    pub mistake: Mistake,
}

/// What can be wrong with a file of policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A directory, a pipe, a device.
    #[error("not a file")]
    NotAFile,
    /// Longer than [`MAX_FILE`].
    #[error("too long; accepted: up to {MAX_FILE} bytes")]
    TooLong,
    /// The bytes are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// Not TOML, a key that there is not, or a value of the wrong type; in the words of the
    /// parser.
    #[error("{0}")]
    Toml(String),
    /// A key outside of all policies.
    #[error("unknown key {0:?}; accepted: tables called [policy.NAME]")]
    TopLevel(String),
    /// More than [`MAX_POLICIES`].
    #[error("{0} policies; accepted: up to {MAX_POLICIES}")]
    Policies(usize),
    /// A policy or limit that cannot be called so.
    #[error("the name {0:?} is not 1 to {MAX_NAME} letters, digits, - or _")]
    Name(String),
    /// A policy that says nothing about limits.
    #[error("no limit; accepted: rate and burst, limits = [...], or unlimited = true")]
    NoLimit,
    /// Two ways of saying what the limit is.
    #[error("{0} and {1} exclude each other")]
    Both(&'static str, &'static str),
    /// A limit lacks a number.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No limit, or more than [`MAX_LIMITS`].
    #[error("{0} limits; accepted: 1 to {MAX_LIMITS}")]
    Limits(usize),
    /// Two limits of a policy have one name.
    #[error("limit {0:?} is there twice")]
    LimitTwice(String),
    /// Not a rate.
    #[error("rate = {0:?}: {1}")]
    Rate(String, BadRate),
    /// Not an emission interval.
    #[error("interval_us = {0}: out of range; accepted: 1 to {MAX_MICROS}")]
    Interval(i64),
    /// No burst, or one that takes more than a year.
    #[error("burst = {burst}: out of range; accepted: 1 to {most} requests at this rate")]
    Burst {
        /// As given.
        burst: i64,
        /// What [`MAX_MICROS`] leaves room for.
        most: u64,
    },
    /// State would be dropped while it still counts.
    #[error(
        "burst = {burst}: a client needs {seconds} s to earn it, but its state is kept for \
         SPOA_RATE_TTL={ttl} s at most; accepted: up to {most} requests at this rate, or a longer \
         SPOA_RATE_TTL"
    )]
    BurstBeyondTtl {
        /// Requests.
        burst: i64,
        /// The same as time, rounded up.
        seconds: u64,
        /// The setting.
        ttl: u64,
        /// The largest burst that is accepted.
        most: u64,
    },
    /// A cost out of range, or more than a limit has room for.
    #[error(
        "cost = {cost}: out of range; accepted: 0 to {most}, what the smallest burst has room for"
    )]
    Cost {
        /// As given.
        cost: i64,
        /// The smallest burst, and [`MAX_COST`] at most.
        most: u64,
    },
    /// Neither local nor open nor closed.
    #[error("failure = {0:?}; accepted: \"local\", \"open\" or \"closed\"")]
    Failure(String),
    /// More than [`MAX_MESSAGES`] of a policy.
    #[error("{0} messages; accepted: up to {MAX_MESSAGES}")]
    Messages(usize),
    /// What HAProxy cannot call a message.
    #[error("message {0:?}: accepted: 1 to 64 letters, digits, -, _, . or :")]
    Message(String),
    /// The agent's own message.
    #[error(
        "message {MESSAGE:?} cannot be given to a policy: its argument `policy` names one, and \
         \"{DEFAULT}\" answers it without"
    )]
    OwnMessage,
    /// Two policies, or one twice, are to answer one message.
    #[error("message {0:?} is answered by policy {1:?} already")]
    MessageTaken(String, String),
    /// More than [`MAX_NETWORKS`] of a policy.
    #[error("{0} networks in allow and deny; accepted: up to {MAX_NETWORKS}")]
    Networks(usize),
    /// Neither an address nor a CIDR block.
    #[error("{0:?}: accepted: addresses and CIDR blocks, such as 192.0.2.7 or 2001:db8::/32")]
    Network(String),
    /// The same network in both lists.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// A lease that is not possible, by itself or under this policy.
    #[error("lease: {0}")]
    Lease(#[from] LeaseError),
    /// See [`NoMoreNames`].
    #[error(transparent)]
    NoMoreNames(#[from] NoMoreNames),
}

/// The largest cost that a policy may have whose smallest burst is `burst` requests.
pub(super) fn most_cost(burst: Option<u64>) -> u64 {
    burst.map_or(MAX_COST, |burst| burst.min(MAX_COST))
}

impl Problems {
    pub(super) fn new(file: PathBuf, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self { file, problems }
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        let mut newline = "";
        for problem in &self.problems {
            write!(f, "{newline}{file}")?;
            if let Some(line) = problem.line {
                write!(f, ":{line}")?;
            }
            if let Some(policy) = &problem.policy {
                write!(f, ": policy {policy:?}")?;
            }
            write!(f, ": {}", problem.mistake)?;
            newline = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

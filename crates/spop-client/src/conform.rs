//! A conformance suite for SPOE agents in any language: what `spop conform` runs.
//!
//! Each [`Case`] is one thing that an agent can get right or wrong, seen from HAProxy's side of
//! fresh connections. It needs nothing of the agent but an address: a message that the agent
//! does not know is as good as any for most cases, and [`Agent::with_message`] names one that
//! it knows for the few that look at the actions of an answer.
//!
//! [`groups`] lists the cases, a [`Run`] runs some of them, one after the other.
//! `CONFORMANCE.md`, beside the sources of this crate, says which edge cases of the protocol
//! they cover, and what covers the others.
//!
//! ```no_run
//! use spop_client::conform::{Agent, Outcome, Run, groups};
//!
//! # async fn example() -> Result<(), spop_client::ClientError> {
//! let agent = Agent::tcp("127.0.0.1:9000");
//! let cases = groups().iter().flat_map(|group| group.cases());
//! let mut run = Run::start(&agent, cases).await?;
//! while let Some((case, outcome)) = run.next().await {
//!     if let Outcome::Failed { expected, got } = outcome {
//!         println!("{} {}: expected {expected}, got {got}", case.id(), case.title());
//!     }
//! }
//! assert!(run.summary().conforms());
//! # Ok(())
//! # }
//! ```

mod agent;
mod answers;
mod case;
mod disconnect;
mod fragmentation;
mod framing;
mod handshake;
mod headers;
mod health_check;
mod hello;
mod hostile;
mod notify;
mod pipelining;
mod probe;
mod run;
mod sizes;
mod stream;
mod wire;
mod writes;

pub use agent::Agent;
pub use case::{Case, Outcome, Severity};
pub use run::{Run, Summary};

use case::{After, Stop, Verdict, must, should, slow};

/// Cases about one part of the protocol.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    letter: char,
    title: &'static str,
    cases: &'static [&'static [Case]],
}

/// The cases, in the order to run them.
#[must_use]
pub const fn groups() -> &'static [Group] {
    &GROUPS
}

impl Group {
    /// What the ids of its cases begin with.
    pub const fn letter(&self) -> char {
        self.letter
    }

    /// The part of the protocol.
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// Its cases, in order.
    pub fn cases(&self) -> impl Iterator<Item = &'static Case> + use<> {
        self.cases.iter().copied().flatten()
    }
}

static GROUPS: [Group; 8] = [
    Group {
        letter: 'F',
        title: "Framing",
        cases: &[framing::CASES, writes::CASES, headers::CASES, sizes::CASES],
    },
    Group {
        letter: 'H',
        title: "Handshake",
        cases: &[hello::CASES, handshake::CASES],
    },
    Group {
        letter: 'N',
        title: "NOTIFY and ACK",
        cases: &[notify::CASES, answers::CASES],
    },
    Group {
        letter: 'P',
        title: "Pipelining and order",
        cases: &[pipelining::CASES],
    },
    Group {
        letter: 'G',
        title: "Fragmentation",
        cases: &[fragmentation::CASES],
    },
    Group {
        letter: 'C',
        title: "Health checks",
        cases: &[health_check::CASES],
    },
    Group {
        letter: 'D',
        title: "Disconnection",
        cases: &[disconnect::CASES],
    },
    Group {
        letter: 'X',
        title: "Hostile peers",
        cases: &[hostile::CASES],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_of_their_group() {
        let mut seen = HashSet::new();
        for group in groups() {
            for case in group.cases() {
                assert!(case.id().starts_with(group.letter), "{}", case.id());
                assert!(seen.insert(case.id()), "{} twice", case.id());
                assert!(case.title().len() <= 90, "{} is a long line", case.id());
            }
        }
    }
}

//! What is logged, as operators say it.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};

/// What counts for targets that nobody named.
const DEFAULT: &str = "warn";

/// `RUST_LOG`: `off`, `error`, `warn`, `info`, `debug`, `trace`, or `TARGET=LEVEL,…`, as
/// [`EnvFilter`] has it, with two differences:
///
/// * What is not named is at `warn`, unless a level by itself says otherwise:
///   `spop_server=debug` is `warn,spop_server=debug`. So asking for more hides no warning; only
///   `off,spop_server=debug` does. An empty text is `warn`.
/// * A word by itself is a level, or a target if it has `_` or `::`, with all that it logs:
///   `spop_server`. Another one, such as `warning`, is refused: it would be a target that nothing
///   has. A target that is one word has its level: `hyper=trace`.
///
/// White space around a directive does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives(String);

/// Why a text is not [`Directives`]. One line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectivesError {
    /// A word by itself that is no level, and not recognized as a target.
    #[error("{0:?} is neither off, error, warn, info, debug, trace nor TARGET=LEVEL")]
    Word(String),
    /// What [`EnvFilter`] does not take.
    #[error(transparent)]
    Directive(#[from] ParseError),
}

impl Directives {
    pub(super) fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl Default for Directives {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl FromStr for Directives {
    type Err = DirectivesError;

    fn from_str(text: &str) -> Result<Self, DirectivesError> {
        let given = text.split(',').map(str::trim);
        let mut given: Vec<&str> = given.filter(|directive| !directive.is_empty()).collect();
        if let Some(word) = given.iter().find(|directive| is_unknown(directive)) {
            return Err(DirectivesError::Word((*word).to_owned()));
        }
        if !given.iter().any(|directive| is_level(directive)) {
            given.insert(0, DEFAULT);
        }
        let directives = given.join(",");
        EnvFilter::builder().parse(&directives)?;
        Ok(Self(directives))
    }
}

fn is_level(directive: &str) -> bool {
    directive.parse::<LevelFilter>().is_ok()
}

/// Whether it says no level, is none, and does not look like a target.
fn is_unknown(directive: &str) -> bool {
    let is_target = ["_", "::"].iter().any(|part| directive.contains(part));
    !directive.contains(['=', '[']) && !is_target && !is_level(directive)
}

impl fmt::Display for Directives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_at_warn() {
        for (text, in_force) in [
            ("", "warn"),
            (" , ", "warn"),
            ("off", "off"),
            ("INFO", "INFO"),
            ("3", "3"),
            ("info,spoa_process=trace", "info,spoa_process=trace"),
            (" spoa_process=trace , off", "spoa_process=trace,off"),
            (
                "spoa_gcra::decision=debug",
                "warn,spoa_gcra::decision=debug",
            ),
            ("hyper=info", "warn,hyper=info"),
            ("spop_server", "warn,spop_server"),
            ("tower::buffer", "warn,tower::buffer"),
            ("[notify]=info", "warn,[notify]=info"),
        ] {
            let directives: Directives = text.parse().unwrap();
            assert_eq!(directives.to_string(), in_force);
            assert_eq!(in_force.parse::<Directives>().unwrap(), directives);
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for word in [
            "warning",
            "err",
            "verbose",
            "spoa-gcra",
            "hyper",
            "warn info",
            "6",
        ] {
            for text in [word.to_owned(), format!("info, {word}")] {
                let error = text.parse::<Directives>().unwrap_err();
                let line = "is neither off, error, warn, info, debug, trace nor TARGET=LEVEL";
                assert_eq!(error.to_string(), format!("{word:?} {line}"));
            }
        }
    }

    #[test]
    fn what_is_no_directive_is_refused() {
        for text in ["a=b=c", "spoa_process=loud", "=", "warn,[{"] {
            let error = text.parse::<Directives>().unwrap_err();
            assert!(matches!(error, DirectivesError::Directive(_)), "{text}");
        }
    }
}

//! The lines of HAProxy's configuration and SPOE files that other files must agree with.

use std::collections::BTreeSet;
use std::time::Duration;

use regex::Regex;

use super::duration;

/// What `spoe-rate-limit.conf` says.
#[derive(Debug, Default)]
pub(super) struct Spoe {
    /// Each message with the names of its arguments.
    pub(super) messages: Vec<(String, Vec<String>)>,
    pub(super) prefix: String,
    /// The variable for errors, which HAProxy itself sets.
    pub(super) error: Option<String>,
    pub(super) backend: String,
    /// `timeout processing`, unless the environment has another.
    pub(super) processing: Option<Duration>,
    pub(super) idle: Option<Duration>,
}

impl Spoe {
    pub(super) fn parse(text: &str) -> Self {
        let mut spoe = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["spoe-message", name, ..] => {
                    spoe.messages.push(((*name).to_owned(), Vec::new()));
                }
                ["args", args @ ..] => {
                    if let Some((_, names)) = spoe.messages.last_mut() {
                        let names_of = args.iter().filter_map(|arg| arg.split_once('='));
                        names.extend(names_of.map(|(name, _)| name.to_owned()));
                    }
                }
                ["option", "var-prefix", prefix] => spoe.prefix = (*prefix).to_owned(),
                ["option", "set-on-error", name] => spoe.error = Some((*name).to_owned()),
                ["use-backend", name] => spoe.backend = (*name).to_owned(),
                ["timeout", "processing", time] => spoe.processing = time_of(time),
                ["timeout", "idle", time] => spoe.idle = time_of(time),
                _ => {}
            }
        }
        spoe
    }
}

/// What `haproxy.cfg` says.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    text: String,
}

impl Configuration {
    pub(super) fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        Self {
            text: lines.collect::<Vec<_>>().join("\n"),
        }
    }

    /// Variables of an SPOE agent, such as `txn.rl.ip_score`: what is called
    /// `SCOPE.PREFIX.NAME` there.
    pub(super) fn variables(&self) -> BTreeSet<String> {
        variables(&self.text)
    }

    /// Environment variables that it reads.
    pub(super) fn environment(&self) -> BTreeSet<String> {
        let names = regex(r#"\$\{?([A-Z][A-Z0-9_]*)|presetenv\s+([A-Z][A-Z0-9_]*)"#);
        let found = names.captures_iter(&self.text);
        found
            .filter_map(|name| Some(name.get(1).or_else(|| name.get(2))?.as_str().to_owned()))
            .collect()
    }

    /// The value of `keyword` in the section that begins with `section`, such as `timeout
    /// server` in `backend web`: the rest of the last such line.
    pub(super) fn value(&self, section: &str, keyword: &str) -> Option<&str> {
        self.lines(section)
            .filter_map(|line| line.trim_start().strip_prefix(keyword))
            .filter(|rest| rest.starts_with(char::is_whitespace))
            .last()
            .map(str::trim)
    }

    pub(super) fn duration(&self, section: &str, keyword: &str) -> Option<Duration> {
        duration::parse(self.value(section, keyword)?, "ms")
    }

    /// What follows `word` in any line of a section that has it, such as `inter`.
    pub(super) fn word_after(&self, section: &str, word: &str) -> Option<&str> {
        self.lines(section).find_map(|line| {
            let mut words = line.split_whitespace();
            words.find(|found| *found == word)?;
            words.next()
        })
    }

    fn lines(&self, section: &str) -> impl Iterator<Item = &str> {
        let mut lines = self.text.lines();
        // Sections begin at the margin; so do conditions, which begin with a dot.
        let _ = lines.find(|line| line.split_whitespace().eq(section.split_whitespace()));
        lines.take_while(|line| line.is_empty() || line.starts_with([' ', '\t', '.']))
    }
}

/// In a configuration or in what is written about one.
pub(super) fn variables(text: &str) -> BTreeSet<String> {
    let names = regex(r"\b(?:proc|sess|txn|req|res)\.[a-z0-9_]+\.[a-z0-9_]+");
    let found = names.find_iter(text);
    found.map(|name| name.as_str().to_owned()).collect()
}

/// `"${SPOE_TIMEOUT-15ms}"` is 15 ms.
fn time_of(word: &str) -> Option<Duration> {
    let word = word.trim_matches(['"', '$', '{', '}']);
    let word = word.rsplit_once('-').map_or(word, |(_, default)| default);
    duration::parse(word, "ms")
}

/// # Panics
/// Never: every expression of this program is tried by a test.
pub(super) fn regex(expression: &'static str) -> Regex {
    #[expect(clippy::expect_used, reason = "literals of this program")]
    Regex::new(expression).expect("a valid expression")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_must_agree_with_is_found() {
        let spoe = Spoe::parse(
            "[e]\nspoe-agent e\n  option var-prefix rl\n  timeout processing \"${T-15ms}\"\n\
             spoe-message m\n  args a=src b=int(5) src\n",
        );
        assert_eq!(spoe.prefix, "rl");
        assert_eq!(spoe.processing, Some(Duration::from_millis(15)));
        assert_eq!(
            spoe.messages,
            [("m".to_owned(), vec!["a".to_owned(), "b".to_owned()])]
        );

        let configuration = Configuration::parse(
            "global\n  presetenv A 1\n# $NOT\nbackend b\n  timeout server 1m\n.if strneq(\"$B\",\"\")\n  \
             default-server check inter 5s fall 2\n.endif\nlisten x\n  timeout server 9s\n  \
             log-format %[var(txn.rl.left)]\n",
        );
        assert_eq!(
            configuration.value("backend b", "timeout server"),
            Some("1m")
        );
        assert_eq!(configuration.word_after("backend b", "fall"), Some("2"));
        assert_eq!(
            configuration.environment(),
            ["A", "B"].map(String::from).into()
        );
        assert_eq!(configuration.variables(), ["txn.rl.left".to_owned()].into());
    }
}

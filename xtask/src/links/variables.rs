//! Environment variables that pages name.

use std::collections::BTreeSet;

use super::document::Document;
use super::files::Files;
use super::{Mistake, regex};

/// How the names of the project's own settings begin.
const OWN: [&str; 3] = ["SPOA_", "SPOE_", "VALKEY_"];

/// The names that somebody reads.
pub(super) struct Variables {
    /// Settings: those that a program's help or a file of HAProxy's, compose's and the like has.
    settings: BTreeSet<String>,
    /// Whatever else is called so in any file that is no page.
    others: BTreeSet<String>,
}

impl Variables {
    pub(super) fn of(files: &Files, help: String) -> Self {
        let mut variables = Self {
            settings: names(&help).map(|(_, name)| name).collect(),
            others: BTreeSet::new(),
        };
        for file in files.others() {
            // What is no text has no names.
            let text = files.read(file).unwrap_or_default();
            let found = names(&text).map(|(_, name)| name);
            // A comment in a source may be about one that is gone.
            if file.ends_with(".rs") {
                variables.others.extend(found);
            } else {
                variables.settings.extend(found);
            }
        }
        variables
    }

    /// Those of a page that nobody reads. `SPOA_RATE_*` is a name, too.
    pub(super) fn unknown(&self, page: &Document) -> Vec<Mistake> {
        let prose = page.prose.iter().map(|(line, text)| (*line, text.clone()));
        let spans = page.spans.iter().cloned();
        // HAProxy's own words look the same in its files, such as METH_POST.
        let blocks = page.blocks.iter().filter(|block| block.language != "text");
        let blocks = blocks.map(|block| (block.line + 1, block.lines.join("\n")));
        let mut mistakes = Vec::new();
        for (first, text) in prose.chain(spans).chain(blocks) {
            for (line, name) in names(&text) {
                if !self.has(&name) {
                    mistakes.push((first + line, format!("nobody reads {name}")));
                }
            }
        }
        mistakes
    }

    fn has(&self, name: &str) -> bool {
        let is = |known: &String| match name.strip_suffix('_') {
            Some(_) => known.starts_with(name),
            None => known == name,
        };
        let is_own = OWN.iter().any(|own| name.starts_with(own));
        self.settings.iter().any(is) || (!is_own && self.others.iter().any(is))
    }
}

/// Words such as `TOKIO_WORKER_THREADS`, each with the lines before it.
fn names(text: &str) -> impl Iterator<Item = (usize, String)> {
    let name = regex(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*");
    let found: Vec<_> = name
        .find_iter(text)
        .map(|found| {
            let before = text.get(..found.start()).unwrap_or_default();
            (before.matches('\n').count(), found.as_str().to_owned())
        })
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_settings_or_of_the_sources() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("deploy")).unwrap();
        std::fs::write(dir.path().join("deploy/a.cfg"), "$SPOE_TIMEOUT").unwrap();
        std::fs::write(dir.path().join("a.rs"), "// CAP_CHOWN, SPOA_OLD").unwrap();
        let help = "  SPOA_RATE_BURST  budget".to_owned();
        let variables = Variables::of(&Files::below(dir.path()), help);
        let text = "SPOA_RATE_BURST `SPOE_TIMEOUT=1` CAP_CHOWN\nSPOA_RATE_* SPOA_OLD\n\n\
                    ```sh\nexport\nCAP_GONE=1\n```";
        let found = variables.unknown(&Document::parse(text));
        let expected = [
            (2, "nobody reads SPOA_OLD".to_owned()),
            (6, "nobody reads CAP_GONE".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}

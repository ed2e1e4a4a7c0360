//! Files that pages name.

use super::document::Document;
use super::files::{Files, seen_from};
use super::{Mistake, regex};

/// Where paths of the project begin, seen from its root, or from a crate.
const BEGINNINGS: &str = "agents|benches|crates|deploy|examples|fuzz|src|tests|xtask";
/// How the names of its files end.
const ENDINGS: &str = "cfg|conf|env|hex|json|lock|lua|md|rs|service|sh|socket|svg|toml|yaml|yml";

/// The paths in a page's code that are none.
pub(super) fn missing(files: &Files, file: &str, page: &Document) -> Vec<Mistake> {
    let path = regex(&format!(
        r"^((?:\.\./)*(?:(?:{BEGINNINGS})(?:/[\w.-]+)+|(?:[\w-]+/)+[\w-]+\.(?:{ENDINGS})))(?:::.*)?$"
    ));
    let mut mistakes = Vec::new();
    let mut look = |line: usize, code: &str| {
        for word in code.split(|c: char| c.is_whitespace() || "=(),;<>'\"".contains(c)) {
            let Some(named) = path.captures(word).and_then(|found| found.get(1)) else {
                continue;
            };
            let named = named.as_str().trim_end_matches('.');
            let is_there = files.has_ending(named)
                || files.has_ending(&format!("{named}.rs"))
                || seen_from(file, named).is_some_and(|path| files.has(&path));
            if !is_there {
                mistakes.push((line, format!("there is no {named}")));
            }
        }
    };
    for (line, code) in &page.spans {
        look(*line, code);
    }
    for block in &page.blocks {
        if !matches!(&*block.language, "sh" | "console") {
            continue;
        }
        for (line, code) in (block.line + 1..).zip(&block.lines) {
            // What is built there, and what is seen from where a `cd` led.
            if !code.contains("target/") && !code.contains("../") {
                look(line, code);
            }
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn paths_are_looked_for_from_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("agents/one/src/store");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("failure.rs"), "").unwrap();
        let files = Files::below(dir.path());
        let text = "`store/failure.rs`, `src/store`, `agents/one`, `src/store/failure.rs::test`, \
                    `unix@/run/a/b.sock`, `a/b`, `N/s`\n\n`src/failure.rs` and\n`agents/two`\n\n\
                    ```sh\nsh deploy/gone.sh <tests/gone\n```";
        let found = missing(&files, "README.md", &Document::parse(text));
        let expected = [
            (3, "there is no src/failure.rs".to_owned()),
            (4, "there is no agents/two".to_owned()),
            (7, "there is no deploy/gone.sh".to_owned()),
            (7, "there is no tests/gone".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}

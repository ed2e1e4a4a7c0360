//! The README's blocks of code.

use std::fs;

use spop_testkit::tools::workspace_root;

pub(crate) struct Readme(String);

impl Readme {
    pub(crate) fn of_the_project() -> Self {
        Self(fs::read_to_string(workspace_root().join("README.md")).unwrap())
    }

    /// The one block of this language that has this in it.
    pub(crate) fn block(&self, language: &str, content: &str) -> &str {
        let fence = format!("```{language}\n");
        let blocks = self.0.split(&fence).skip(1);
        let mut found = blocks
            .filter_map(|rest| Some(rest.split_once("```")?.0))
            .filter(|block| block.contains(content));
        match (found.next(), found.next()) {
            (Some(block), None) => block,
            _ => panic!("README.md has not one block of {language} with {content:?} in it"),
        }
    }
}

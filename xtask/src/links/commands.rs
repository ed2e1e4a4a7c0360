//! Commands that pages tell to type: the project's own, and Cargo's for the project's packages.

use std::collections::BTreeMap;

use super::Mistake;
use super::document::Document;
use super::files::Files;
use super::programs::Program;
use super::shell;

/// The project's programs, each with what it takes.
pub(super) struct Commands(BTreeMap<String, Program>);

impl Commands {
    pub(super) fn of(programs: BTreeMap<String, Program>) -> Self {
        Self(programs)
    }

    /// All that the programs say of themselves.
    pub(super) fn help(&self) -> String {
        self.0.values().map(|program| &*program.help).collect()
    }

    /// Commands, options, packages and targets that there are not.
    pub(super) fn unknown(&self, page: &Document, files: &Files) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut look = |line: usize, code: &str| {
            for command in shell::commands(code) {
                mistakes.extend(self.wrong_with(&command, files).map(|what| (line, what)));
            }
        };
        for (line, code) in &page.spans {
            look(*line, code);
        }
        for block in &page.blocks {
            for (place, code) in shell::whole_lines(&block.lines) {
                let line = block.line + 1 + place;
                let code = code.trim();
                match (&*block.language, code.strip_prefix("$ ")) {
                    (_, Some(typed)) => look(line, typed),
                    ("sh" | "console", None) => look(line, code),
                    _ => {}
                }
            }
        }
        mistakes
    }

    fn wrong_with(&self, command: &[String], files: &Files) -> Option<String> {
        let is_set = |word: &&String| {
            word.split_once('=').is_some_and(|(name, _)| {
                name.bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            })
        };
        let settings = command.iter().take_while(is_set).count();
        let (name, arguments) = command.get(settings..)?.split_first()?;
        let name = name.rsplit('/').next().unwrap_or(name);
        if name != "cargo" {
            return self.wrong_arguments(name, arguments);
        }
        match arguments.split_first() {
            Some((word, rest)) if word == "xtask" => self.wrong_arguments("cargo xtask", rest),
            _ => self.wrong_for_cargo(arguments, files),
        }
    }

    fn wrong_arguments(&self, name: &str, arguments: &[String]) -> Option<String> {
        let what = self.0.get(name)?.wrong_with(arguments)?;
        Some(format!("{name} has {what}"))
    }

    /// `cargo run -p spop-client --bin spop -- ping`, or a test that somebody should run.
    fn wrong_for_cargo(&self, arguments: &[String], files: &Files) -> Option<String> {
        let value = |option: &str| {
            let place = arguments.iter().position(|word| word == option)?;
            arguments.get(place + 1).map(String::as_str)
        };
        if let Some(path) = value("--path").filter(|path| !path.contains('$'))
            && !files.has(&format!("{}/Cargo.toml", path.trim_start_matches("./")))
        {
            return Some(format!("there is no package at {path}"));
        }
        let package = value("-p").or_else(|| value("--package"))?;
        let dirs = ["crates", "agents"].map(|dir| format!("{dir}/{package}"));
        let own = (package == "xtask").then(|| package.to_owned());
        let dir = own.or_else(|| dirs.into_iter().find(|dir| files.has(dir)));
        let Some(dir) = dir else {
            return Some(format!("there is no package {package}"));
        };
        for (option, below) in [
            ("--test", "tests"),
            ("--bench", "benches"),
            ("--example", "examples"),
        ] {
            let Some(name) = value(option) else { continue };
            let path = format!("{dir}/{below}/{name}");
            if !files.has(&path) && !files.has(&format!("{path}.rs")) {
                return Some(format!("{package} has no {option} {name}"));
            }
        }
        let program = value("--bin").unwrap_or(package);
        let own = arguments.iter().position(|word| word == "--")?;
        let is_run = arguments.first().is_some_and(|word| word == "run");
        let own = arguments.get(own + 1..).filter(|_| is_run)?;
        self.wrong_arguments(program, own)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::CommandFactory as _;

    use super::*;

    fn mistakes(text: &str) -> Vec<Mistake> {
        let root = tempfile::tempdir().unwrap();
        let tests = root.path().join("agents/one/tests");
        fs::create_dir_all(&tests).unwrap();
        fs::write(tests.join("e2e.rs"), "").unwrap();
        fs::write(root.path().join("agents/one/Cargo.toml"), "").unwrap();
        let files = Files::below(root.path());
        let xtask = Program::of_clap(crate::Arguments::command());
        // Any other program would do as well.
        let one = Program::of_clap(crate::Arguments::command());
        let programs = [("cargo xtask".to_owned(), xtask), ("one".to_owned(), one)];
        Commands::of(programs.into()).unknown(&Document::parse(text), &files)
    }

    #[test]
    fn commands_that_exist_may_be_typed() {
        let text = "`cargo xtask demo`, `one`, `one [demo]`, a `RUST_LOG=off one demo --keep`\n\n\
                    ```sh\nA=1 cargo xtask demo \\\n  --keep   # cargo xtask gone\n\
                    cargo test -p one --test e2e -- --nocapture\ncargo run -p one -- demo\n\
                    cargo install --path agents/one\nps | grep 'one gone'\n```\n\n\
                    ```text\none is a word here\n```";
        assert_eq!(mistakes(text), []);
    }

    #[test]
    fn those_that_do_not_are_named_with_their_line() {
        let text = "`cargo xtask gone`\n\n```sh\none demo --gone\ncargo test -p two\n\
                    cargo test -p one --test gone\ncargo run -p one -- gone\n\
                    cd x && cargo install --path crates/one\n```\n\n```text\n$ one gone\n```";
        let said = mistakes(text);
        let said: Vec<_> = said
            .iter()
            .map(|(line, what)| (*line, what.as_str()))
            .collect();
        let expected = [
            (1, "cargo xtask has no command gone"),
            (4, "one has no option --gone"),
            (5, "there is no package two"),
            (6, "one has no --test gone"),
            (7, "one has no command gone"),
            (8, "there is no package at crates/one"),
            (12, "one has no command gone"),
        ];
        assert_eq!(said, expected);
    }
}

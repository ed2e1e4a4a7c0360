//! What the project's programs take, as their own `--help` says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;

use super::regex;
use crate::cargo::build_all;

/// The programs that pages name, beside `cargo xtask`.
const BINARIES: [&str; 3] = ["spoa-gcra", "spoa-ip-reputation", "spop"];

/// A program: its commands, such as `""`, `bench` and `bench limiter`.
#[derive(Debug, Default)]
pub(super) struct Program {
    commands: BTreeMap<String, Options>,
    /// All that it says of itself.
    pub(super) help: String,
}

/// The options of one command, and whether a value follows.
type Options = BTreeMap<String, bool>;

/// Each by its name.
pub(super) async fn all(features: &[&str]) -> Result<BTreeMap<String, Program>> {
    let dir = build_all(features).await?;
    let mut programs = BTreeMap::new();
    for name in BINARIES {
        programs.insert(name.to_owned(), Program::ask(&dir.join(name))?);
    }
    programs.insert(
        "cargo xtask".to_owned(),
        Program::of_clap(crate::Arguments::command()),
    );
    Ok(programs)
}

impl Program {
    fn ask(binary: &Path) -> Result<Self> {
        let mut program = Self::default();
        program.learn("", &|command: &str| {
            let words = command.split_whitespace();
            let output = Command::new(binary).args(words).arg("--help").output();
            let output = output.with_context(|| binary.display().to_string())?;
            if !output.status.success() {
                bail!("{} {command} --help: {}", binary.display(), output.status);
            }
            Ok(String::from_utf8(output.stdout)?)
        })?;
        Ok(program)
    }

    pub(super) fn of_clap(command: clap::Command) -> Self {
        let mut program = Self::default();
        let help = |path: &str| {
            let mut found = command.clone();
            for name in path.split_whitespace() {
                let own = found.find_subcommand(name).cloned();
                found = own.with_context(|| format!("no command {name}"))?;
            }
            Ok(found.render_long_help().to_string())
        };
        // clap's own commands name no others than it has.
        let _ = program.learn("", &help);
        program
    }

    /// Reads the help of a command and of those below it.
    fn learn(&mut self, command: &str, help: &dyn Fn(&str) -> Result<String>) -> Result<()> {
        let text = help(command)?;
        let option = regex(r"(?m)^\s+(?:-\w, )?(--[a-z][a-z0-9-]*)(\[?[ =]<|\[=)?");
        let options = option
            .captures_iter(&text)
            .filter_map(|found| Some((found.get(1)?.as_str().to_owned(), found.get(2).is_some())));
        self.commands.insert(command.to_owned(), options.collect());
        self.help.push_str(&text);
        for name in commands_in(&text) {
            if name != "help" {
                self.learn(format!("{command} {name}").trim_start(), help)?;
            }
        }
        Ok(())
    }

    /// What is wrong with these arguments, if anything. Placeholders stand for anything.
    pub(super) fn wrong_with(&self, arguments: &[String]) -> Option<String> {
        let word = regex("^[a-z][a-z-]*$");
        let mut command = String::new();
        let mut goes_on = true;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let argument = argument.trim_matches(['[', ']', ',', '…']);
            if argument == "--" {
                break;
            }
            if argument.starts_with("--") {
                let (name, value) = match argument.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (argument, None),
                };
                let options = self.commands.get(&command)?;
                match options.get(name) {
                    Some(true) if value.is_none() => drop(arguments.next()),
                    Some(_) => {}
                    None if matches!(name, "--help" | "--version") => {}
                    None => return Some(format!("no option {name}")),
                }
            } else if goes_on && !argument.starts_with('-') {
                let names = argument.split('|');
                let longer = format!("{command} {}", names.clone().next_back()?);
                let longer = longer.trim_start();
                if self.commands.contains_key(longer) {
                    let unknown = names.map(str::to_owned).find(|name| {
                        let parent = longer.rsplit_once(' ').map_or("", |(parent, _)| parent);
                        !self
                            .commands
                            .contains_key(format!("{parent} {name}").trim_start())
                    });
                    if let Some(name) = unknown {
                        return Some(format!("no command {name}"));
                    }
                    command = longer.to_owned();
                } else if word.is_match(argument) && self.has_below(&command) {
                    return Some(format!("no command {argument}"));
                } else {
                    goes_on = false;
                }
            }
        }
        None
    }

    fn has_below(&self, command: &str) -> bool {
        let is_below = |known: &String| match known.strip_prefix(command) {
            Some(rest) if command.is_empty() => !rest.is_empty(),
            Some(rest) => rest.starts_with(' '),
            None => false,
        };
        self.commands.keys().any(is_below)
    }
}

/// The names below `Commands:`.
fn commands_in(help: &str) -> Vec<String> {
    let below = help
        .split_once("Commands:\n")
        .map_or("", |(_, below)| below);
    let name = regex(r"^  ([a-z][a-z-]*)");
    let lines = below.lines().take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| Some(name.captures(line)?.get(1)?.as_str().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> Option<String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Program::of_clap(crate::Arguments::command()).wrong_with(&words)
    }

    #[test]
    fn what_can_be_typed_is_known() {
        for line in [
            "",
            "demo --seconds 2 --keep",
            "demo --seconds=2",
            "bench limiter --only PART --write",
            "test --help",
            "deploy|image|demo",
            "bench PART --anything",
        ] {
            let expected = line
                .contains("--anything")
                .then(|| "no option --anything".to_owned());
            assert_eq!(wrong(line), expected, "{line}");
        }
    }

    #[test]
    fn what_cannot_is_named() {
        assert_eq!(wrong("demos").unwrap(), "no command demos");
        assert_eq!(wrong("demo --second 2").unwrap(), "no option --second");
        assert_eq!(wrong("bench limit").unwrap(), "no command limit");
        assert_eq!(wrong("deploi|demo").unwrap(), "no command deploi");
    }
}

//! Links in Markdown lead somewhere, and the commands that it names exist.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::CommandFactory as _;

use super::problem::Problem;
use super::site::Site;
use super::spoe::regex;

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let link = regex(r"\]\(([^)\s]+)\)|(?m)^\[[^\]]+\]:\s+(\S+)$");
    let command = regex(r"cargo xtask ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?");
    let commands = commands();
    let mut problems = Vec::new();
    // Pages of a crate's own documentation are for rustdoc to judge.
    let is_read_as_it_is = |file: &String| file.ends_with(".md") && !file.contains("/src/");
    let documents = site.files("").into_iter().filter(is_read_as_it_is);
    for file in documents {
        let text = site.read(&file)?;
        let prose = without_code(&text);
        for found in link.captures_iter(&prose) {
            let target = found
                .get(1)
                .or_else(|| found.get(2))
                .map_or("", |target| target.as_str());
            if is_broken(site, &file, target) {
                problems.push(Problem::new(
                    &file,
                    format!("the link to {target} leads nowhere"),
                ));
            }
        }
        for found in command.captures_iter(&text) {
            let first = found.get(1).map_or("", |word| word.as_str());
            let both = found
                .get(2)
                .map(|word| format!("{first} {}", word.as_str()));
            let has_own = commands
                .iter()
                .any(|known| known.starts_with(&format!("{first} ")));
            let is_known = match both {
                Some(both) if has_own => commands.contains(&both),
                _ => commands.contains(first),
            };
            if !is_known {
                let what = format!(
                    "there is no {:?}",
                    found.get(0).map_or("", |all| all.as_str())
                );
                problems.push(Problem::new(&file, what));
            }
        }
    }
    Ok(problems)
}

/// `bench`, `bench codec`, and so on.
fn commands() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for command in crate::Arguments::command().get_subcommands() {
        names.insert(command.get_name().to_owned());
        for own in command.get_subcommands() {
            names.insert(format!("{} {}", command.get_name(), own.get_name()));
        }
    }
    names
}

/// Blocks of code hold no links.
fn without_code(text: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

fn is_broken(site: &Site, file: &str, target: &str) -> bool {
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    if is_elsewhere {
        return false;
    }
    let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
    let linked = if path.is_empty() {
        site.path(file)
    } else {
        site.path(dir).join(path)
    };
    if !linked.exists() {
        return true;
    }
    let text = std::fs::read_to_string(&linked).unwrap_or_default();
    !anchor.is_empty() && path.ends_with(".md") && !anchors(&text).contains(anchor)
}

/// As GitHub makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

//! `CONFORMANCE.md` against what it speaks of: every edge case has a line, and what is to
//! cover it exists.

use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = include_str!("../../CONFORMANCE.md");

/// How many edge cases each group has.
const GROUPS: [(char, usize); 8] = [
    ('F', 15),
    ('H', 16),
    ('N', 17),
    ('P', 9),
    ('G', 7),
    ('C', 7),
    ('D', 7),
    ('X', 8),
];

/// The id of each edge case, and what covers it.
fn rows() -> Vec<(&'static str, &'static str)> {
    let mut rows = Vec::new();
    for line in PAGE.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", id, _, covered, ""] = cells[..] else {
            continue;
        };
        if !matches!(id, "" | "---") {
            rows.push((id, covered));
        }
    }
    rows
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_edge_case_has_its_line() {
    let expected = GROUPS
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")));
    let expected: Vec<String> = expected.collect();
    let rows: Vec<&str> = rows().into_iter().map(|(id, _)| id).collect();
    assert_eq!(rows, expected);
}

#[test]
fn every_case_stands_in_the_line_of_its_edge_case() {
    let mut named = BTreeSet::new();
    for (id, covered) in rows() {
        let known = |name: &&str| crate::all().any(|case| case.id() == *name);
        named.extend(quoted(covered).filter(known));
        for case in crate::all() {
            let (number, _) = case.id().split_once('.').unwrap_or_else(|| (case.id(), ""));
            if number == id {
                let stands = quoted(covered).any(|name| name == case.id());
                assert!(stands, "{} is not in the line of {id}", case.id());
            }
        }
    }
    let cases: BTreeSet<&str> = crate::all().map(|case| case.id()).collect();
    assert_eq!(named, cases);
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut count = 0;
    for (id, covered) in rows() {
        for (path, test) in quoted(covered).filter_map(|name| name.split_once("::")) {
            if path == "spop_codec" {
                continue;
            }
            let read = |below| std::fs::read_to_string(root.join(below).join(path));
            let source = read("crates")
                .or_else(|_| read("agents"))
                .unwrap_or_default();
            let function = format!("fn {test}(");
            assert!(source.contains(&function), "{id}: no {test} in {path}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

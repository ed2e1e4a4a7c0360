//! `deploy/Containerfile` and `cargo xtask image` say the same of how the agent is run.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use spop_testkit::tools::workspace_root;
use tempfile::TempDir;

use crate::agent::image;
use crate::opened::Opened;

#[tokio::test]
async fn both_ways_to_an_image_agree() {
    let dir = TempDir::new().unwrap();
    let built = image(dir.path(), 0o755, Duration::ZERO).await;
    let ours = Opened::read(&built.archive.path).config_json["config"].clone();
    let theirs = last_stage();

    let json = |instruction: &str| -> Value { serde_json::from_str(&theirs[instruction]).unwrap() };
    assert_eq!(json("ENTRYPOINT"), ours["Entrypoint"]);
    assert_eq!(theirs["USER"], ours["User"]);
    assert_eq!(theirs["STOPSIGNAL"], ours["StopSignal"]);
    assert_eq!(
        json!({ (theirs["EXPOSE"].as_str()): {} }),
        ours["ExposedPorts"]
    );
    let check = theirs["HEALTHCHECK"].strip_prefix("CMD ").unwrap();
    let mut check: Vec<String> = serde_json::from_str(check).unwrap();
    check.insert(0, "CMD".into());
    assert_eq!(json!({ "Test": check }), ours["Healthcheck"]);

    // NAME="value", with what JSON means by the quotes.
    let labels: BTreeMap<String, Value> = theirs["LABEL"]
        .split("org.")
        .skip(1)
        .map(|label| {
            let (name, value) = label.trim().split_once('=').unwrap();
            (format!("org.{name}"), serde_json::from_str(value).unwrap())
        })
        .collect();
    assert_eq!(json!(labels), ours["Labels"]);
    let rest = ["FROM", "COPY"];
    let known = [
        "ENTRYPOINT",
        "USER",
        "STOPSIGNAL",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
    ];
    for instruction in theirs.keys() {
        let compared = known.contains(&instruction.as_str());
        assert!(
            compared || rest.contains(&instruction.as_str()),
            "{instruction}"
        );
    }
}

/// The last stage's instructions.
fn last_stage() -> BTreeMap<String, String> {
    let text = fs::read_to_string(workspace_root().join("deploy/Containerfile")).unwrap();
    let text = text.replace("\\\n", " ");
    let (_, stage) = text.rsplit_once("\nFROM ").unwrap();
    stage
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (instruction, rest) = line.split_once(' ').unwrap();
            (instruction.to_owned(), rest.trim().to_owned())
        })
        .collect()
}

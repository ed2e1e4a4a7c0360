//! What is written about the metrics, against those that a running agent has: the README's
//! table, the rules for Prometheus, and the dashboard for Grafana.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spop_testkit::tools::{promtool, workspace_root};
use spop_testkit::valkey::Server;

use crate::exposition::{Exposition, PROCESS_START};
use crate::{Watched, ask};

/// Everything that there can be on the page: with Valkey and a file, and after a check.
async fn everything() -> Exposition {
    let valkey = Server::start().await.unwrap();
    // Nothing in it, which is a policy.
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let watched = Watched::start(&[("VALKEY_NODES", &valkey.url()), ("SPOA_CONFIG", path)]).await;
    let mut haproxy = watched.haproxy().await;
    let sent = format!(
        "valkey_checks_sent_total{{node=\"127.0.0.1:{}\"}}",
        valkey.port()
    );
    watched
        .until_asking(
            "Valkey is asked",
            async || ask(&mut haproxy, 1, "default").await,
            |metrics| metrics.find(&sent).is_some_and(|sent| sent > 0.0),
        )
        .await;
    watched.metrics()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_lists_the_metrics_that_there_are() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, table) = readme
        .split_once("\n| metric, after `spoa_gcra_` |")
        .unwrap();
    let listed: BTreeSet<String> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| {
            let names = line.split('|').nth(1).unwrap().split('`');
            names.skip(1).step_by(2)
        })
        .map(|name| match name {
            PROCESS_START => name.to_owned(),
            name => format!("spoa_gcra_{name}"),
        })
        .collect();
    let metrics = everything().await;
    let there: BTreeSet<String> = metrics.families().map(str::to_owned).collect();
    let of = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
        these.difference(those).cloned().collect::<Vec<_>>()
    };
    let missing = of(&there, &listed);
    let invented = of(&listed, &there);
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not in the README: {missing:?}; only in the README: {invented:?}"
    );
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    promtool_accepts(&observability(), ["check", "rules", "rules.yaml"]);
    promtool_accepts(&observability(), ["test", "rules", "rules.test.yaml"]);
}

#[test]
fn promtool_accepts_the_queries_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    // As if each of them were a rule. Every JSON text is a YAML text.
    let rules: Vec<Value> = panels
        .flat_map(queries)
        .zip(0..)
        .map(|(query, number)| json!({ "record": format!("query_{number}"), "expr": query }))
        .collect();
    assert!(!rules.is_empty());
    let groups = json!({ "groups": [{ "name": "queries", "rules": rules }] });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("queries.yaml"), groups.to_string()).unwrap();
    promtool_accepts(dir.path(), ["check", "rules", "queries.yaml"]);
}

#[test]
fn single_figures_of_the_dashboard_do_not_outlive_the_agents() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let figures = panels.iter().filter(|panel| panel["type"] == "stat");
    let [with, without] = [vec![json!({ "labels": "{}", "value": 0 })], vec![]];
    let [mut alone, mut beside] = [vec![], vec![]];
    for panel in figures {
        let counts_them = panel["title"] == "Agents";
        for (target, query) in panel["targets"]
            .as_array()
            .unwrap()
            .iter()
            .zip(queries(panel))
        {
            // The last value in the chosen time would be that of an agent that has gone.
            assert!(counts_them || target["instant"] == true, "{query}");
            assert!(counts_them || target["range"] == false, "{query}");
            let samples = if counts_them { &with } else { &without };
            alone.push(json!({ "expr": query, "eval_time": "5m", "exp_samples": samples }));
            if panel["title"] == "Primaries lost" {
                beside.push(json!({ "expr": query, "eval_time": "5m", "exp_samples": with }));
            }
        }
    }
    assert!(!beside.is_empty());
    let agent = json!({ "series": "spoa_gcra_build_info{instance=\"a\"}", "values": "1x5" });
    let tests = json!({ "tests": [
        { "promql_expr_test": alone },
        { "input_series": [agent], "promql_expr_test": beside },
    ] });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("figures.yaml"), tests.to_string()).unwrap();
    promtool_accepts(dir.path(), ["test", "rules", "figures.yaml"]);
}

#[test]
fn every_alert_has_a_test() {
    let rules = read("rules.yaml");
    let tests = read("rules.test.yaml");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let tested = format!("alertname: {alert}\n");
        assert!(tests.contains(&tested), "no test of {alert}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let metrics = everything().await;
    let there = metrics.names();
    for (file, least) in [("rules.yaml", 5), ("dashboard.json", 15)] {
        let text = read(file);
        let asked = names(&text);
        assert!(asked.len() >= least, "{file} asks for {asked:?}");
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}");
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    // Given by Grafana when one is saved: another's must not be overwritten by chance.
    assert_eq!(dashboard["id"], Value::Null);
    assert_eq!(dashboard["uid"], "spoa-gcra");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let is_source = |variable: &Value| variable["type"] == "datasource";
    assert!(variables.iter().any(is_source));
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{title}"
        );
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
    }
}

/// What a panel asks Prometheus for, all agents and policies chosen.
fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array();
    let query = |target: &Value| {
        let query = target["expr"].as_str().unwrap();
        query
            .replace("$__rate_interval", "5m")
            .replace("$instance", ".*")
            .replace("$policy", ".*")
    };
    targets.into_iter().flatten().map(query).collect()
}

fn promtool_accepts(dir: &Path, arguments: [&str; 3]) {
    let mut command = promtool().unwrap().command();
    let output = command.args(arguments).current_dir(dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let all = format!("{arguments:?}\n{said}{complained}");
    assert!(output.status.success(), "{all}");
    assert!(said.contains("SUCCESS"), "{all}");
}

/// The metrics of the agent that a text names.
fn names(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_of_name(c))
        .filter(|word| word.starts_with("spoa_gcra_"))
        .collect()
}

fn read(file: &str) -> String {
    fs::read_to_string(observability().join(file)).unwrap()
}

fn observability() -> PathBuf {
    workspace_root().join(Path::new("deploy/observability"))
}

//! `cargo xtask deploy` finds nothing wrong with what ships, and finds each mistake that is
//! planted in a copy of it.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "functions of a test fail it by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use spop_testkit::tools::{kustomize, workspace_root};
use tempfile::TempDir;

/// What is changed in one file, and what is then said about that file.
struct Mistake {
    check: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
    said: &'static str,
}

const HAPROXY: &str = "deploy/haproxy/haproxy.cfg";
const SPOE: &str = "deploy/haproxy/spoe-rate-limit.conf";
const AGENT: &str = "deploy/kubernetes/base/agent.yaml";
const POLICIES: &str = "deploy/kubernetes/base/network-policies.yaml";
const CLUSTER: &str = "deploy/compose/cluster.yaml";
const UNIT: &str = "deploy/systemd/spoa-gcra.service";

#[rustfmt::skip]
const MISTAKES: &[Mistake] = &[
    // A name that kustomize does not find.
    Mistake { check: "render", file: "deploy/kubernetes/overlays/openshift/kustomization.yaml",
        right: "- route.yaml", wrong: "- rout.yaml", said: "does not render" },
    // A field that Kubernetes does not know.
    Mistake { check: "schema", file: AGENT,
        right: "enableServiceLinks:", wrong: "enableServiceLink:", said: "'enableServiceLink' not allowed" },
    // A number where text is wanted.
    Mistake { check: "schema", file: AGENT,
        right: "value: \"12000\"", wrong: "value: 12000", said: "want null or string" },
    Mistake { check: "schema", file: "deploy/kubernetes/overlays/openshift/route.yaml",
        right: "termination: edge", wrong: "termination: edgy", said: "tls/termination" },
    Mistake { check: "schema", file: "deploy/argocd/rate-limit.yaml",
        right: "selfHeal:", wrong: "selfHeel:", said: "selfHeel: no such field" },
    // An unconditional `mode spop`, which HAProxy 2.6 and 3.0 do not know.
    Mistake { check: "haproxy", file: HAPROXY,
        right: ".if version_atleast(3.1)\n    mode    spop", wrong: ".if version_atleast(2.6)\n    mode    spop",
        said: "does not take it" },
    Mistake { check: "haproxy", file: "deploy/compose/web.cfg",
        right: "http-request return", wrong: "http-request retrun", said: "does not take it" },
    Mistake { check: "names", file: HAPROXY,
        right: "var(txn.rl.remaining)", wrong: "var(txn.rl.remains)", said: "txn.rl.remains is set by nobody" },
    Mistake { check: "names", file: "deploy/haproxy/README.md",
        right: "`txn.rl.allowed`", wrong: "`txn.rl.permitted`", said: "txn.rl.permitted is set by nobody" },
    Mistake { check: "names", file: SPOE,
        right: "spoe-message check-rate", wrong: "spoe-message check-rates",
        said: "does not answer the message check-rates" },
    Mistake { check: "names", file: SPOE,
        right: "ip_xff=", wrong: "ip_xfw=", said: "does not read the argument ip_xfw" },
    Mistake { check: "settings", file: AGENT,
        right: "- name: SPOA_RATE_BURST", wrong: "- name: SPOA_RATE_BRUST", said: "SPOA_RATE_BRUST is no setting" },
    // A value that the agent itself refuses.
    Mistake { check: "settings", file: AGENT,
        right: "value: \"12000\"", wrong: "value: 12s", said: "SPOA_LAME_DUCK" },
    Mistake { check: "settings", file: "deploy/systemd/spoa-gcra.env",
        right: "#SPOA_FAILURE=", wrong: "#SPOA_FALIURE=", said: "SPOA_FALIURE is no setting" },
    Mistake { check: "ports", file: AGENT,
        right: "value: 0.0.0.0:9001", wrong: "value: 0.0.0.0:9101", said: "SPOA_ADMIN_ADDR listens on 9101" },
    // A probe of a port that is not there.
    Mistake { check: "ports", file: AGENT,
        right: "path: /readyz\n              port: admin", wrong: "path: /readyz\n              port: metrics",
        said: "readinessProbe asks port \"metrics\"" },
    Mistake { check: "ports", file: "deploy/kubernetes/base/haproxy.yaml",
        right: "svc.cluster.local:9000", wrong: "svc.cluster.local:9999", said: "has no port 9999" },
    Mistake { check: "ports", file: CLUSTER,
        right: "SPOE_AGENT: spoe-agent:9000", wrong: "SPOE_AGENT: spoe-agent:9009", said: "listens on another port" },
    // The agents' own policy no longer names HAProxy.
    Mistake { check: "selectors", file: POLICIES,
        right: "- from:\n        - podSelector:\n            matchLabels:\n              app.kubernetes.io/name: haproxy",
        wrong: "- from:\n        - podSelector:\n            matchLabels:\n              app.kubernetes.io/name: haproxies",
        said: "fits no pod" },
    Mistake { check: "references", file: "deploy/kubernetes/base/haproxy.yaml",
        right: "/usr/local/etc/haproxy/haproxy.cfg\"]", wrong: "/usr/local/etc/haproxy/haproxy.conf\"]",
        said: "has no key haproxy.conf" },
    Mistake { check: "drain", file: AGENT,
        right: "terminationGracePeriodSeconds: 30", wrong: "terminationGracePeriodSeconds: 15",
        said: "terminationGracePeriodSeconds 15s is not above 17s" },
    Mistake { check: "drain", file: AGENT,
        right: "value: \"12000\"", wrong: "value: \"9000\"", said: "SPOA_LAME_DUCK 9s is not above inter x fall" },
    Mistake { check: "drain", file: CLUSTER,
        right: "stop_grace_period: 20s", wrong: "stop_grace_period: 16s", said: "stop_grace_period 16s is not above 17s" },
    Mistake { check: "drain", file: UNIT,
        right: "TimeoutStopSec=30", wrong: "TimeoutStopSec=4", said: "TimeoutStopSec 4s is not above 5s" },
    Mistake { check: "drain", file: SPOE,
        right: "SPOE_TIMEOUT-15ms", wrong: "SPOE_TIMEOUT-7ms", said: "not above the agent's decision budget" },
    Mistake { check: "security", file: AGENT,
        right: "allowPrivilegeEscalation: false", wrong: "privileged: true", said: "no privileged: true is expected" },
    Mistake { check: "security", file: AGENT,
        right: "readOnlyRootFilesystem: true", wrong: "readOnlyRootFilesystem: false", said: "readOnlyRootFilesystem: true is expected" },
    Mistake { check: "compose", file: CLUSTER,
        right: "stop_grace_period: 20s", wrong: "stop_grace_time: 20s", said: "stop_grace_time" },
    Mistake { check: "compose", file: CLUSTER,
        right: "../valkey/create-cluster.sh:", wrong: "../valkey/create.sh:", said: "deploy/valkey/create.sh, which is no file" },
    Mistake { check: "systemd", file: UNIT,
        right: "ProtectSystem=strict", wrong: "ProtectSytem=strict", said: "ProtectSytem" },
    // Nothing of it is wrong, only a good deal less is shut.
    Mistake { check: "systemd", file: UNIT,
        right: "CapabilityBoundingSet=\n", wrong: "", said: "is too exposed" },
    Mistake { check: "argocd", file: "deploy/argocd/rate-limit.yaml",
        right: "path: deploy/kubernetes/overlays/", wrong: "path: deploy/kubernetes/overlay/", said: "holds no kustomization.yaml" },
    Mistake { check: "workflows", file: ".github/workflows/ci.yml",
        right: "runs-on:", wrong: "run-on:", said: "unexpected key \"run-on\"" },
    Mistake { check: "links", file: "deploy/haproxy/README.md",
        right: "(haproxy.cfg)", wrong: "(haproxy.conf)", said: "haproxy.conf leads nowhere" },
];

#[test]
fn what_ships_is_in_order() {
    let (report, is_clean) = deploy(&workspace_root(), &[]);
    assert!(is_clean, "{report}");
}

/// One test, so that the copy and the agent are made once.
#[test]
fn each_mistake_is_found_and_named() {
    let copy = TempDir::with_prefix("deploy-").unwrap();
    copy_tree(&workspace_root(), copy.path());
    let mut missed = Vec::new();
    for mistake in MISTAKES {
        let file = copy.path().join(mistake.file);
        let text = fs::read_to_string(&file).unwrap();
        let place = format!("{}: {:?}", mistake.file, mistake.wrong);
        if !text.contains(mistake.right) {
            missed.push(format!(
                "{place}: the file has no {:?} any more",
                mistake.right
            ));
            continue;
        }
        fs::write(&file, text.replacen(mistake.right, mistake.wrong, 1)).unwrap();
        let (report, is_clean) = deploy(copy.path(), &["--only", mistake.check]);
        let is_named = |line: &str| line.starts_with(mistake.file) && line.contains(mistake.said);
        if is_clean || !report.lines().any(is_named) {
            missed.push(format!(
                "{place}: {:?} was not said, but:\n{report}",
                mistake.said
            ));
        }
        fs::write(&file, text).unwrap();
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(MISTAKES.len() >= 16);
}

/// The changes that deploy/kubernetes/README.md describes: a password, replicas, an image.
#[test]
fn what_the_page_says_to_change_is_right() {
    let copy = TempDir::with_prefix("deploy-").unwrap();
    copy_tree(&workspace_root(), copy.path());
    let overlay = copy.path().join("deploy/kubernetes/overlays/kubernetes");
    let file = overlay.join("kustomization.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let page = fs::read_to_string(copy.path().join("deploy/kubernetes/README.md")).unwrap();

    // Indented, as it stands in a list of the page.
    let (_, password) = page.split_once("```yaml\n").unwrap();
    let (password, _) = password.split_once("  ```").unwrap();
    let password: String = password
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap()))
        .collect();
    let replicas = "- ../../components/valkey-replicas";
    assert!(text.contains(&format!("#{replicas}")));
    let text = text.replace(&format!("#{replicas}"), replicas) + &password;
    fs::write(&file, text).unwrap();
    let edit = "edit set image spoa-gcra=registry.example.com/spoa-gcra:0.1.0";
    let edited = kustomize()
        .unwrap()
        .command()
        .args(edit.split(' '))
        .current_dir(&overlay)
        .status();
    assert!(edited.unwrap().success());

    let checks = "--only render --only schema --only references --only selectors";
    let checks: Vec<&str> = checks.split(' ').collect();
    let (report, is_clean) = deploy(copy.path(), &checks);
    assert!(is_clean, "{report}");
    let build = kustomize()
        .unwrap()
        .command()
        .arg("build")
        .arg(&overlay)
        .output();
    let rendered = String::from_utf8(build.unwrap().stdout).unwrap();
    assert!(rendered.contains("password: YOURS"), "{rendered}");
    assert!(
        !rendered.contains("Y2hhbmdlLW1l"),
        "the placeholder is still there"
    );
    assert!(rendered.contains("replicas: 6"));
}

/// What the command prints, and whether it is content.
fn deploy(root: &Path, arguments: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["deploy", "--root"])
        .arg(root)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => (said, true),
        Some(1) => (said + &String::from_utf8_lossy(&output.stderr), false),
        _ => panic!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// All that is deployed or written about it, and what that links to; not what is built.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name == "target" || name == ".git" || name == "seeds" {
            continue;
        }
        match path.is_dir() {
            true => copy_tree(&path, &to.join(name)),
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

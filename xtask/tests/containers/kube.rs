//! The single-node overlay's pods, as `kustomize` renders them, played by podman.
//!
//! podman knows pods and ConfigMaps, but no Services, NetworkPolicies, probes or namespaces.
//! So HAProxy is told the pods' own names in place of the Services', and the ports of the web
//! service's pod are left out: podman publishes all that it finds on this one host.

use std::fs;
use std::path::{Component, Path};

use spop_testkit::containers::Engine;
use spop_testkit::tools::{kustomize, workspace_root};

use crate::images;
use crate::site::{SLOW, Site, limited};

const OVERLAY: &str = "deploy/kubernetes/overlays/single-node";

/// What podman cannot do, and a limit that does not refill.
const CHANGES: &str = r#"
images:
  - name: registry.example.com/spoa-gcra
    newName: localhost/spoa-gcra
  - name: docker.io/library/haproxy
    newName: localhost/haproxy
    newTag: test
patches:
  - patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: haproxy}
      spec:
        template:
          spec:
            containers:
              - name: haproxy
                env:
                  - {name: NAMESPACE, $patch: delete}
                  - {name: SPOE_AGENT, value: "spoa-gcra-pod-0:9000"}
                  - {name: SPOE_TIMEOUT, value: 2s}
                  - {name: WEB_BACKEND, value: "web-pod-0:8080"}
  - patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: web}
      spec:
        template:
          spec:
            containers:
              - name: web
                ports: [{$patch: replace}]
  - patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: spoa-gcra}
      spec:
        template:
          spec:
            containers:
              - name: spoa-gcra
                env:
"#;

#[test]
fn container_pods_of_the_single_node_overlay_limit_a_site() {
    let engine = images::engine();
    let manifests = rendered(&engine);
    let work = async || {
        podman(&engine, "network create kube").await;
        podman(&engine, &format!("kube play --network kube {manifests}")).await;
        let site = Site::bare();
        site.ready(1).await;
        assert_eq!(site.statuses("192.0.2.1", 15).await, limited(15));

        // Under the rules that the manifests ask for.
        for (container, user) in [
            ("spoa-gcra-pod-0-spoa-gcra", "65532"),
            ("haproxy-pod-0-haproxy", "99"),
            ("web-pod-0-web", "99"),
        ] {
            let top = podman(&engine, &format!("top {container} huser capeff seccomp")).await;
            let words: Vec<&str> = top.split_whitespace().skip(4).collect();
            assert_eq!(words[..3], [user, "none", "filter"], "{container}: {top}");
            let about = format!("inspect --format={{{{.HostConfig.ReadonlyRootfs}}}} {container}");
            assert_eq!(podman(&engine, &about).await, "true", "{container}");
        }

        podman(&engine, &format!("kube down {manifests}")).await;
        assert_eq!(podman(&engine, "ps --all --quiet").await, "");
    };
    engine.run(work).unwrap();
}

/// The overlay with [`CHANGES`], as a file.
fn rendered(engine: &Engine) -> String {
    let dir = engine.dir().join("overlay");
    fs::create_dir(&dir).unwrap();
    // kustomize takes relative paths only.
    let dir = dir.canonicalize().unwrap();
    let up = "../".repeat(depth(&dir));
    let overlay = workspace_root().canonicalize().unwrap().join(OVERLAY);
    let overlay = overlay.strip_prefix("/").unwrap().display();
    let limit: String = SLOW
        .iter()
        .map(|(name, value)| format!("                  - {{name: {name}, value: \"{value}\"}}\n"))
        .collect();
    let text = format!("resources: [{up}{overlay}]\n{CHANGES}{limit}");
    fs::write(dir.join("kustomization.yaml"), text).unwrap();

    let mut build = kustomize().unwrap().command();
    let output = build.arg("build").arg(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let manifests = engine.dir().join("manifests.yaml");
    fs::write(&manifests, output.stdout).unwrap();
    manifests.display().to_string()
}

fn depth(path: &Path) -> usize {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_));
    path.components().filter(named).count()
}

async fn podman(engine: &Engine, command: &str) -> String {
    engine.podman(command.split_whitespace()).await.unwrap()
}

//! Pods keep to the restricted Pod Security Standard, write nowhere but where they say, use no
//! more than they say, and are under a network policy.

use anyhow::Result;
use serde_json::Value;

use super::manifests::Overlay;
use super::pods::{Container, Pod, list, pods, selects};
use super::problem::Problem;
use super::site::Site;

/// What the restricted standard lets a volume be.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for overlay in site.whole_overlays()? {
        for pod in pods(overlay) {
            let mut mistakes = pod_mistakes(overlay, pod);
            for container in pod.all_containers() {
                let own = container_mistakes(pod, container).into_iter();
                mistakes.extend(own.map(|what| format!("container {}: {what}", container.name())));
            }
            problems.extend(mistakes.into_iter().map(|what| pod.object.problem(what)));
        }
    }
    Ok(problems)
}

fn pod_mistakes(overlay: &Overlay, pod: Pod<'_>) -> Vec<String> {
    let mut mistakes = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod.spec[field] == true {
            mistakes.push(format!("{field} is not for restricted pods"));
        }
    }
    if pod.spec["automountServiceAccountToken"] != false {
        mistakes.push("automountServiceAccountToken: false is expected".to_owned());
    }
    for volume in list(&pod.spec["volumes"]) {
        let kinds = volume
            .as_object()
            .into_iter()
            .flatten()
            .map(|(kind, _)| kind.as_str());
        for kind in kinds.filter(|kind| *kind != "name" && !VOLUMES.contains(kind)) {
            mistakes.push(format!(
                "volume {}: {kind} is not for restricted pods",
                volume["name"]
            ));
        }
    }
    for way in ["Ingress", "Egress"] {
        let is_covered = overlay.of_kind("NetworkPolicy").any(|policy| {
            let mut ways = list(&policy.spec()["policyTypes"]);
            ways.any(|own| own == way) && selects(&policy.spec()["podSelector"], pod.labels)
        });
        if !is_covered {
            mistakes.push(format!(
                "no NetworkPolicy with policyType {way} selects its pods"
            ));
        }
    }
    mistakes
}

fn container_mistakes(pod: Pod<'_>, container: Container<'_>) -> Vec<String> {
    let own = &container.value["securityContext"];
    let of_pod = &pod.spec["securityContext"];
    let either = |field: &str| match &own[field] {
        Value::Null => &of_pod[field],
        value => value,
    };
    let mut mistakes = Vec::new();
    let mut expect = |is_so: bool, what: &str| {
        if !is_so {
            mistakes.push(format!("{what} is expected"));
        }
    };
    expect(either("runAsNonRoot") == true, "runAsNonRoot: true");
    expect(*either("runAsUser") != 0, "a runAsUser other than 0");
    expect(
        own["allowPrivilegeEscalation"] == false,
        "allowPrivilegeEscalation: false",
    );
    expect(own["privileged"] != true, "no privileged: true");
    expect(
        own["readOnlyRootFilesystem"] == true,
        "readOnlyRootFilesystem: true",
    );
    expect(
        list(&own["capabilities"]["drop"]).any(|name| name == "ALL"),
        "capabilities: drop: [ALL]",
    );
    expect(
        list(&own["capabilities"]["add"]).all(|name| name == "NET_BIND_SERVICE"),
        "no capability but NET_BIND_SERVICE",
    );
    let seccomp = &either("seccompProfile")["type"];
    expect(
        seccomp == "RuntimeDefault" || seccomp == "Localhost",
        "seccompProfile: type: RuntimeDefault",
    );
    let ports = list(&container.value["ports"]);
    expect(
        ports.into_iter().all(|port| port["hostPort"].is_null()),
        "no hostPort",
    );
    for amount in ["limits", "requests"] {
        for resource in ["cpu", "memory"] {
            let is_set = !container.value["resources"][amount][resource].is_null();
            expect(is_set, &format!("resources.{amount}.{resource}"));
        }
    }
    mistakes
}

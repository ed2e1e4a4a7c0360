//! What selects pods by their labels finds the right ones, network policies above all.

use anyhow::Result;
use serde_json::{Value, json};

use super::manifests::Overlay;
use super::pods::{Pod, Role, list, pods, selects};
use super::problem::Problem;
use super::site::Site;

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let overlays: Vec<&Overlay> = site.whole_overlays()?.collect();
    let everywhere: Vec<Pod<'_>> = overlays.iter().flat_map(|overlay| pods(overlay)).collect();
    for overlay in overlays {
        let pods = pods(overlay);
        own_labels(&pods, &mut problems);
        found(overlay, &pods, &everywhere, &mut problems);
        peers(overlay, &everywhere, &mut problems);
        reachable(overlay, &pods, &mut problems);
    }
    Ok(problems)
}

/// A workload selects the pods that it makes.
fn own_labels(pods: &[Pod<'_>], problems: &mut Vec<Problem>) {
    for pod in pods {
        let selector = &pod.object.spec()["selector"];
        if !selector.is_null() && !selects(selector, pod.labels) {
            problems.push(
                pod.object
                    .problem("its selector does not fit its pods' labels"),
            );
        }
        for spread in list(&pod.spec["topologySpreadConstraints"]) {
            if !selects(&spread["labelSelector"], pod.labels) {
                let what = "a topologySpreadConstraint does not fit its pods' labels";
                problems.push(pod.object.problem(what));
            }
        }
    }
}

/// Services, budgets and policies are about pods that exist, autoscalers about workloads. A
/// policy may be about pods that come from elsewhere; then another overlay has such ones.
fn found(overlay: &Overlay, pods: &[Pod<'_>], everywhere: &[Pod<'_>], problems: &mut Vec<Problem>) {
    for object in &overlay.objects {
        let (selector, pods) = match object.kind() {
            "Service" | "PodDisruptionBudget" => (&object.spec()["selector"], pods),
            "NetworkPolicy" => (&object.spec()["podSelector"], everywhere),
            "HorizontalPodAutoscaler" => {
                let target = &object.spec()["scaleTargetRef"];
                let [kind, name] = ["kind", "name"].map(|key| target[key].as_str().unwrap_or(""));
                if overlay.find(kind, name).is_none() {
                    problems.push(object.problem(format!("there is no {kind} {name}")));
                }
                continue;
            }
            _ => continue,
        };
        if !selector.is_null() && !pods.iter().any(|pod| selects(selector, pod.labels)) {
            problems.push(object.problem(format!("its selector {selector} fits no pod")));
        }
    }
}

/// Whom a policy names is a pod in this overlay or, as overlays share policies, in another.
fn peers(overlay: &Overlay, everywhere: &[Pod<'_>], problems: &mut Vec<Problem>) {
    for policy in overlay.of_kind("NetworkPolicy") {
        let ingress = list(&policy.spec()["ingress"]).flat_map(|rule| list(&rule["from"]));
        let egress = list(&policy.spec()["egress"]).flat_map(|rule| list(&rule["to"]));
        for peer in ingress.chain(egress) {
            let selector = &peer["podSelector"];
            let is_elsewhere = !peer["namespaceSelector"].is_null();
            let is_found = everywhere.iter().any(|pod| selects(selector, pod.labels));
            if !selector.is_null() && !is_elsewhere && !is_found {
                problems.push(policy.problem(format!("its peer {selector} fits no pod")));
            }
        }
    }
}

/// HAProxy reaches the agents, and nobody else does.
fn reachable(overlay: &Overlay, pods: &[Pod<'_>], problems: &mut Vec<Problem>) {
    let has = |pod: &Pod<'_>, role| pod.containers().any(|container| container.role() == role);
    for agent in pods.iter().filter(|pod| has(pod, Role::Agent)) {
        let port = json!("spop");
        for other in pods {
            let asks = other.containers().any(|container| {
                let environment = container.environment(overlay);
                container.role() == Role::Haproxy
                    && environment
                        .iter()
                        .any(|(name, _)| name.starts_with("SPOE_AGENT"))
            });
            let (from, to) = (other.object.name(), agent.object.name());
            let may_ask = may_reach(overlay, other, agent, &port);
            if asks && !may_ask {
                let what = format!("no NetworkPolicy lets {from} reach port {port}");
                problems.push(agent.object.problem(what));
            } else if may_ask && !asks && from != to {
                let what =
                    format!("NetworkPolicies let {from} reach port {port}: only HAProxy may");
                problems.push(agent.object.problem(what));
            }
        }
    }
}

/// As network policies have it: what no policy selects may do anything.
fn may_reach(overlay: &Overlay, from: &Pod<'_>, to: &Pod<'_>, port: &Value) -> bool {
    let way = |kind: &str, own: &Pod<'_>, rules: &str, peers: &str, peer: &Pod<'_>| {
        let mut policies = overlay.of_kind("NetworkPolicy").peekable();
        let mut is_selected = false;
        let is_allowed = policies.any(|policy| {
            let spec = policy.spec();
            let about = list(&spec["policyTypes"]).any(|own| own == kind);
            if !about || !selects(&spec["podSelector"], own.labels) {
                return false;
            }
            is_selected = true;
            list(&spec[rules]).any(|rule| {
                let fits_port = rule["ports"].is_null()
                    || list(&rule["ports"]).any(|own| same_port(&own["port"], port, to));
                let fits_peer = rule[peers].is_null()
                    || list(&rule[peers]).any(|own| {
                        own["namespaceSelector"].is_null()
                            && !own["podSelector"].is_null()
                            && selects(&own["podSelector"], peer.labels)
                    });
                fits_port && fits_peer
            })
        });
        is_allowed || !is_selected
    };
    way("Ingress", to, "ingress", "from", from) && way("Egress", from, "egress", "to", to)
}

/// A port by name or by number.
fn same_port(named: &Value, port: &Value, pod: &Pod<'_>) -> bool {
    named == port
        || pod.containers().any(|container| {
            list(&container.value["ports"])
                .any(|own| own["name"] == *port && own["containerPort"] == *named)
        })
}

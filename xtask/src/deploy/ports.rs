//! Ports agree: of containers and their settings, probes, services, network policies, and the
//! addresses that one container has of another.

use anyhow::Result;
use serde_json::Value;

use super::manifests::Overlay;
use super::pods::{Container, Pod, Role, list, pods, selects};
use super::problem::Problem;
use super::site::Site;

/// Settings that say where a container itself listens.
const LISTENS: [&str; 4] = ["SPOE_ADDR", "SPOA_ADMIN_ADDR", "HTTP_BIND", "STATS_BIND"];
/// Settings that say where somebody else does.
const ASKS: [&str; 5] = [
    "SPOE_AGENT",
    "SPOE_AGENT_2",
    "SPOE_AGENT_3",
    "WEB_BACKEND",
    "VALKEY_NODES",
];

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let overlays: Vec<&Overlay> = site.whole_overlays()?.collect();
    for overlay in &overlays {
        for pod in pods(overlay) {
            for container in pod.all_containers() {
                let name = container.name();
                let mut mistakes = own_ports(site, overlay, container)?;
                mistakes.extend(probes(container));
                mistakes.extend(asked(&overlays, overlay, container));
                let mistakes = mistakes.into_iter();
                let mistakes = mistakes.map(|what| format!("container {name}: {what}"));
                problems.extend(mistakes.map(|what| pod.object.problem(what)));
            }
        }
        services(overlay, &mut problems);
        policies(overlay, &mut problems);
    }
    compose(site, &mut problems)?;
    Ok(problems)
}

/// The port at the end of an address such as `0.0.0.0:9000` or `valkey://valkey:6379/`.
fn port_of(address: &str) -> Option<u16> {
    let (_, port) = address.trim_end_matches('/').rsplit_once(':')?;
    port.parse().ok()
}

/// Host and port of such an address.
fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (_, address) = address.split_once("://").unwrap_or(("", address));
    let (_, address) = address.split_once('@').unwrap_or(("", address));
    let (host, _) = address.split_once(':')?;
    Some((host, port_of(address)?))
}

/// What a container's settings make it listen on: that, or the agent's default.
fn listening(
    site: &Site,
    container: Container<'_>,
    overlay: &Overlay,
) -> Result<Vec<(String, u16)>> {
    let mut listening: Vec<(String, u16)> = container
        .environment(overlay)
        .iter()
        .filter(|(name, _)| LISTENS.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.clone(), port_of(value.as_deref()?)?)))
        .collect();
    if container.role() == Role::Agent {
        for name in ["SPOE_ADDR", "SPOA_ADMIN_ADDR"] {
            let default = site.agent()?.settings().get(name).cloned().flatten();
            let port = default.and_then(|address| port_of(&address));
            if let Some(port) = port
                && !listening.iter().any(|(known, _)| known == name)
            {
                listening.push((name.to_owned(), port));
            }
        }
    }
    Ok(listening)
}

/// Each port that is listened on is declared, and the other way round.
fn own_ports(site: &Site, overlay: &Overlay, container: Container<'_>) -> Result<Vec<String>> {
    let listening = listening(site, container, overlay)?;
    let mut mistakes = Vec::new();
    for (name, port) in &listening {
        if !container.has_port(&Value::from(*port)) {
            mistakes.push(format!(
                "{name} listens on {port}, which is no containerPort"
            ));
        }
    }
    for port in list(&container.value["ports"]) {
        let number = &port["containerPort"];
        if !listening.is_empty() && !listening.iter().any(|(_, port)| *number == *port) {
            mistakes.push(format!("containerPort {number}: nothing listens there"));
        }
    }
    Ok(mistakes)
}

fn probes(container: Container<'_>) -> Vec<String> {
    let mut mistakes = Vec::new();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        for way in ["httpGet", "tcpSocket", "grpc"] {
            let port = &container.value[probe][way]["port"];
            if !port.is_null() && !container.has_port(port) {
                mistakes.push(format!("{probe} asks port {port}, which it does not have"));
            }
        }
    }
    mistakes
}

/// The names and ports of others that a container was told are services'.
fn asked(overlays: &[&Overlay], overlay: &Overlay, container: Container<'_>) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (name, value) in container.environment(overlay) {
        if !ASKS.contains(&name.as_str()) {
            continue;
        }
        let value = value.unwrap_or_default();
        for address in value.split(',').map(str::trim) {
            let Some((host, port)) = host_and_port(address) else {
                mistakes.push(format!("{name}={value}: HOST:PORT is expected"));
                continue;
            };
            // Of `valkey-0.valkey-headless.ns.svc` it is the service that counts.
            let here = std::iter::once(overlay).chain(overlays.iter().copied());
            let service = here
                .flat_map(|overlay| host.split('.').map(move |label| (overlay, label)))
                .find_map(|(overlay, label)| overlay.find("Service", label));
            match service {
                None => mistakes.push(format!("{name}={value}: there is no Service {host}")),
                Some(service) => {
                    let mut ports = list(&service.spec()["ports"]);
                    if !ports.any(|own| own["port"] == port) {
                        let service = service.name();
                        let what = format!("{name}={value}: Service {service} has no port {port}");
                        mistakes.push(what);
                    }
                }
            }
        }
    }
    mistakes
}

/// A service's target ports are ports of the pods that it selects.
fn services(overlay: &Overlay, problems: &mut Vec<Problem>) {
    let pods = pods(overlay);
    for service in overlay.of_kind("Service") {
        let selector = &service.spec()["selector"];
        let selected = pods.iter().filter(|pod| selects(selector, pod.labels));
        for pod in selected {
            for port in list(&service.spec()["ports"]) {
                let target = match &port["targetPort"] {
                    Value::Null => &port["port"],
                    target => target,
                };
                if !pod.has_port(target) {
                    let pod = pod.object.name();
                    let what = format!("targetPort {target} is no containerPort of {pod}");
                    problems.push(service.problem(what));
                }
            }
        }
    }
    for route in overlay.of_kind("Route") {
        let name = route.spec()["to"]["name"].as_str().unwrap_or_default();
        let port = &route.spec()["port"]["targetPort"];
        let has_port = |service: &Value| {
            let mut ports = list(&service["spec"]["ports"]);
            port.is_null() || ports.any(|own| own["name"] == *port || own["targetPort"] == *port)
        };
        match overlay.find("Service", name) {
            None => problems.push(route.problem(format!("there is no Service {name}"))),
            Some(service) if has_port(&service.value) => {}
            Some(_) => {
                let what = format!("Service {name} has no port {port}");
                problems.push(route.problem(what));
            }
        }
    }
}

/// The ports of a policy are ports of the pods that it is about.
fn policies(overlay: &Overlay, problems: &mut Vec<Problem>) {
    let pods = pods(overlay);
    for policy in overlay.of_kind("NetworkPolicy") {
        let mut wrong = |pods: &[Pod<'_>], rule: &Value, way: &str| {
            for port in list(&rule["ports"]) {
                let port = &port["port"];
                if !pods.is_empty() && !pods.iter().any(|pod| pod.has_port(port)) {
                    let names: Vec<&str> = pods.iter().map(|pod| pod.object.name()).collect();
                    let names = names.join(", ");
                    let what = format!("{way} port {port} is no containerPort of {names}");
                    problems.push(policy.problem(what));
                }
            }
        };
        let selected = |selector: &Value| -> Vec<Pod<'_>> {
            let all = pods.iter().filter(|pod| selects(selector, pod.labels));
            all.copied().collect()
        };
        let own = selected(&policy.spec()["podSelector"]);
        for rule in list(&policy.spec()["ingress"]) {
            wrong(&own, rule, "ingress");
        }
        for rule in list(&policy.spec()["egress"]) {
            for peer in list(&rule["to"]).filter(|peer| peer["namespaceSelector"].is_null()) {
                wrong(&selected(&peer["podSelector"]), rule, "egress");
            }
        }
    }
}

/// Services of compose ask each other where they listen.
fn compose(site: &Site, problems: &mut Vec<Problem>) -> Result<()> {
    for project in site.projects()? {
        for service in &project.services {
            for (name, value) in service.environment() {
                if !ASKS.contains(&name.as_str()) {
                    continue;
                }
                let value = value.unwrap_or_default();
                for (host, port) in value.split(',').filter_map(|own| host_and_port(own.trim())) {
                    let mut others = project.called(host).peekable();
                    if others.peek().is_none() {
                        let what = format!("{name}={value}: there is no service {host}");
                        problems.push(service.problem(project, what));
                    }
                    for other in others {
                        let environment = other.environment();
                        let own = environment.iter().find(|(name, _)| name == "SPOE_ADDR");
                        let own = own.and_then(|(_, value)| port_of(value.as_deref()?));
                        if other.role() == Role::Agent && own.is_some_and(|own| own != port) {
                            let other = &other.name;
                            let what = format!("{name}={value}: {other} listens on another port");
                            problems.push(service.problem(project, what));
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

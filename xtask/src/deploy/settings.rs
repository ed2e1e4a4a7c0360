//! Environment variables are ones that somebody reads, and the agent takes their values.

use std::collections::BTreeSet;

use anyhow::Result;

use super::pods::{Role, pods};
use super::problem::Problem;
use super::site::Site;
use super::spoe::{Configuration, regex};

/// What is not there when only settings are checked: servers, mounted files, systemd's sockets.
const OF_THE_PLACE: [&str; 4] = ["VALKEY_NODES", "_FILE", "SPOA_CONFIG", "SPOE_ADDR"];

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let agent: BTreeSet<String> = site.agent()?.settings().keys().cloned().collect();
    let haproxy = haproxy_settings(site)?;
    let mut problems = Vec::new();

    for overlay in site.overlays()? {
        for pod in pods(overlay) {
            for container in pod.all_containers() {
                let environment = container.environment(overlay);
                let whose = format!("container {}", container.name());
                let mistakes = mistakes(site, container.role(), &agent, &haproxy, &environment)?;
                let mistakes = mistakes.iter().map(|what| format!("{whose}: {what}"));
                problems.extend(mistakes.map(|what| pod.object.problem(what)));
            }
        }
    }
    for project in site.projects()? {
        for service in &project.services {
            let environment = service.environment();
            for what in mistakes(site, service.role(), &agent, &haproxy, &environment)? {
                problems.push(service.problem(project, what));
            }
        }
    }
    systemd(site, &agent, &mut problems)?;
    documents(site, &agent, &haproxy, &mut problems)?;
    Ok(problems)
}

fn mistakes(
    site: &Site,
    role: Role,
    agent: &BTreeSet<String>,
    haproxy: &BTreeSet<String>,
    environment: &[(String, Option<String>)],
) -> Result<Vec<String>> {
    let (whose, known) = match role {
        Role::Agent => ("the agent", agent),
        Role::Haproxy => ("haproxy.cfg", haproxy),
        Role::Other => return Ok(Vec::new()),
    };
    let mut mistakes = Vec::new();
    for (name, _) in environment {
        if !known.contains(name) {
            mistakes.push(format!("{name} is no setting of {whose}"));
        }
    }
    if role == Role::Agent && mistakes.is_empty() {
        mistakes.extend(refused(site, environment)?);
    }
    Ok(mistakes)
}

/// What the agent has against the values.
fn refused(site: &Site, environment: &[(String, Option<String>)]) -> Result<Option<String>> {
    let values: Vec<(String, String)> = environment
        .iter()
        .filter(|(name, _)| !OF_THE_PLACE.iter().any(|own| name.ends_with(own)))
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect();
    let complaint = site.agent()?.complaint(&values)?;
    Ok(complaint.map(|what| format!("the agent refuses its settings: {what}")))
}

/// `NAME=value`, also where it is commented out.
fn systemd(site: &Site, agent: &BTreeSet<String>, problems: &mut Vec<Problem>) -> Result<()> {
    let line_of = regex(r"^#?(?:Environment=)?([A-Z][A-Z0-9_]+)=(.*)$");
    for file in site.files("deploy/systemd") {
        if !file.ends_with(".env") && !file.ends_with(".service") {
            continue;
        }
        let mut environment = Vec::new();
        for line in site.read(&file)?.lines() {
            let Some(found) = line_of.captures(line) else {
                continue;
            };
            let (_, [name, value]) = found.extract();
            if !agent.contains(name) {
                let what = format!("{name} is no setting of the agent");
                problems.push(Problem::new(&file, what));
            } else if !value.is_empty() {
                environment.push((name.to_owned(), Some(value.to_owned())));
            }
        }
        let refused = refused(site, &environment)?;
        problems.extend(refused.map(|what| Problem::new(&file, what)));
    }
    Ok(())
}

/// Names in the documentation, `SPOA_RATE_*` among them.
fn documents(
    site: &Site,
    agent: &BTreeSet<String>,
    haproxy: &BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let named = regex(r"\b(?:SPOE|SPOA|VALKEY)_[A-Z0-9_]+");
    let compose: BTreeSet<String> = site
        .projects()?
        .iter()
        .flat_map(|project| project.variables.iter().cloned())
        .collect();
    for file in site.files("deploy") {
        if !file.ends_with(".md") {
            continue;
        }
        let text = site.read(&file)?;
        let names: BTreeSet<&str> = named.find_iter(&text).map(|name| name.as_str()).collect();
        for name in names {
            let is_known = match name.strip_suffix('_') {
                Some(_) => agent.iter().any(|known| known.starts_with(name)),
                None => [agent, haproxy, &compose]
                    .iter()
                    .any(|known| known.contains(name)),
            };
            if !is_known {
                problems.push(Problem::new(&file, format!("nobody reads {name}")));
            }
        }
    }
    Ok(())
}

/// All that the files beside `haproxy.cfg` read.
fn haproxy_settings(site: &Site) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in site.files("deploy/haproxy") {
        if file.ends_with(".cfg") || file.ends_with(".conf") {
            names.extend(Configuration::parse(&site.read(&file)?).environment());
        }
    }
    Ok(names)
}

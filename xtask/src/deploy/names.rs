//! What HAProxy asks is what the agent reads, and what HAProxy reads is what the agent sets.

use std::collections::BTreeSet;

use anyhow::Result;

use super::problem::Problem;
use super::site::Site;
use super::spoe::{Configuration, Spoe, variables};

const CONFIGURATION: &str = "deploy/haproxy/haproxy.cfg";
const SPOE: &str = "deploy/haproxy/spoe-rate-limit.conf";

pub(super) async fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let spoe = Spoe::parse(&site.read(SPOE)?);
    asked(site, &spoe, &mut problems).await?;

    let known = known_variables(site, &spoe)?;
    let configuration = Configuration::parse(&site.read(CONFIGURATION)?);
    for name in configuration.variables().difference(&known) {
        problems.push(Problem::new(
            CONFIGURATION,
            format!("{name} is set by nobody; there are {}", join(&known)),
        ));
    }
    if configuration
        .value(&format!("backend {}", spoe.backend), "balance")
        .is_none()
    {
        let what = format!(
            "use-backend {}: {CONFIGURATION} has no such backend",
            spoe.backend
        );
        problems.push(Problem::new(SPOE, what));
    }
    let documents = site
        .files("deploy")
        .into_iter()
        .filter(|file| file.ends_with(".md"));
    for file in documents {
        for name in variables(&site.read(&file)?).difference(&known) {
            problems.push(Problem::new(&file, format!("{name} is set by nobody")));
        }
    }
    site.used(format!("{} variables that the agent sets", known.len()));
    Ok(problems)
}

async fn asked(site: &Site, spoe: &Spoe, problems: &mut Vec<Problem>) -> Result<()> {
    let agent = site.agent()?;
    for (message, arguments) in &spoe.messages {
        if !agent.knows_message(message).await? {
            let what = format!("the agent does not answer the message {message}");
            problems.push(Problem::new(SPOE, what));
            continue;
        }
        for argument in arguments {
            if !agent.reads_argument(message, argument).await? {
                let what = format!("the agent does not read the argument {argument} of {message}");
                problems.push(Problem::new(SPOE, what));
            }
        }
    }
    if spoe.messages.is_empty() {
        problems.push(Problem::new(SPOE, "has no spoe-message"));
    }
    Ok(())
}

/// As HAProxy's rules call them.
fn known_variables(site: &Site, spoe: &Spoe) -> Result<BTreeSet<String>> {
    let own = site.agent()?.variables().iter();
    let errors = spoe
        .error
        .iter()
        .map(|name| format!("txn.{}.{name}", spoe.prefix));
    Ok(own
        .map(|(scope, name)| format!("{scope}.{}.{name}", spoe.prefix))
        .chain(errors)
        .collect())
}

fn join(names: &BTreeSet<String>) -> String {
    names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

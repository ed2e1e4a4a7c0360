//! docker-compose takes the compose files; what they mount, name and wait for exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use spop_testkit::tools::{Program, compose};

use super::manifests::documents;
use super::pods::{Role, list};
use super::problem::Problem;
use super::site::Site;
use super::spoe::regex;

/// A compose file, as docker-compose understands it.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) file: String,
    pub(super) services: Vec<Service>,
    /// What may be set for it.
    pub(super) variables: BTreeSet<String>,
    /// What docker-compose has against it.
    complaints: Vec<String>,
}

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) value: Value,
}

impl Project {
    pub(super) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem::new(&self.file, what)
    }

    /// Those that answer to a name on some network.
    pub(super) fn called<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Service> {
        self.services
            .iter()
            .filter(move |service| service.answers_to(name))
    }
}

impl Service {
    pub(super) fn role(&self) -> Role {
        Role::of(self.value["image"].as_str().unwrap_or_default())
    }

    pub(super) fn environment(&self) -> Vec<(String, Option<String>)> {
        let environment = self.value["environment"].as_object();
        let all = environment.into_iter().flatten();
        all.map(|(name, value)| (name.clone(), value.as_str().map(String::from)))
            .collect()
    }

    /// Files and directories of the host: where they are, and where in the container.
    pub(super) fn mounts(&self) -> impl Iterator<Item = (&str, &str)> {
        list(&self.value["volumes"])
            .filter(|volume| volume["type"] == "bind")
            .filter_map(|volume| Some((volume["source"].as_str()?, volume["target"].as_str()?)))
    }

    pub(super) fn problem(&self, project: &Project, what: impl AsRef<str>) -> Problem {
        project.problem(format!("service {}: {}", self.name, what.as_ref()))
    }

    fn answers_to(&self, name: &str) -> bool {
        let networks = self.value["networks"].as_object().into_iter().flatten();
        let mut aliases = networks.flat_map(|(_, network)| list(&network["aliases"]));
        self.name == name || aliases.any(|alias| alias == name)
    }
}

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for project in site.projects()? {
        let complaints = project.complaints.iter();
        problems.extend(complaints.map(|what| project.problem(what.as_str())));
        fixed_images(site, project, &mut problems)?;
        for service in &project.services {
            for (source, _) in service.mounts() {
                if !Path::new(source).is_file() {
                    let source = site.name(Path::new(source));
                    let what = format!("mounts {source}, which is no file");
                    problems.push(service.problem(project, what));
                }
            }
        }
    }
    Ok(problems)
}

/// Every compose file below `deploy/`.
pub(super) fn all(site: &Site) -> Result<Vec<Project>> {
    let compose = compose()?;
    let version = compose.command().args(["version", "--short"]).output()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let mut projects = Vec::new();
    for file in site.files("deploy/compose") {
        if !file.ends_with(".yaml") && !file.ends_with(".yml") {
            continue;
        }
        let text = site.read(&file)?;
        // One that cannot be read is docker-compose's to judge.
        let has_services = documents(&text).map_or(true, |all| {
            all.iter().any(|value| value["services"].is_object())
        });
        if has_services {
            projects.push(read(site, &compose, file, &text)?);
        }
    }
    site.used(format!(
        "docker-compose {version}: {} files",
        projects.len()
    ));
    Ok(projects)
}

fn read(site: &Site, compose: &Program, file: String, text: &str) -> Result<Project> {
    let variables = regex(r"\$\{([A-Z][A-Z0-9_]*)");
    let variables: BTreeSet<String> = variables
        .captures_iter(text)
        .map(|found| found.extract::<1>().1[0].to_owned())
        .collect();
    let mut command = compose.command();
    command.arg("--file").arg(site.path(&file));
    command.args(["--profile", "*", "config", "--format", "json"]);
    // The files' own values count, not this machine's.
    for name in &variables {
        command.env_remove(name);
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let complaints: Vec<String> = lines.map(message).collect();
    let read: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let services: BTreeMap<String, Value> =
        serde_json::from_value(read["services"].clone()).unwrap_or_default();
    Ok(Project {
        file,
        services: services
            .into_iter()
            .map(|(name, value)| Service { name, value })
            .collect(),
        variables,
        complaints,
    })
}

/// Of a log line, its message.
fn message(line: &str) -> String {
    let message = line.split_once("msg=").map_or(line, |(_, message)| message);
    format!("docker-compose: {}", message.trim_matches('"'))
}

/// Images are for the operator to choose.
fn fixed_images(site: &Site, project: &Project, problems: &mut Vec<Problem>) -> Result<()> {
    for line in site.read(&project.file)?.lines() {
        if let Some(image) = line.trim_start().strip_prefix("image:")
            && !image.contains("${")
        {
            let what = format!("image{image} cannot be replaced: ${{…_IMAGE:-…}} is expected");
            problems.push(project.problem(what));
        }
    }
    Ok(())
}

//! Every HAProxy of the tests takes its files without a warning: as they lie there, inside
//! ConfigMaps, and as compose mounts them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;
use spop_testkit::tools::Haproxy;
use tempfile::TempDir;

use super::manifests::Overlay;
use super::pods::{Container, Pod, Role, list, pods};
use super::problem::Problem;
use super::site::Site;
use super::spoe::Configuration;

/// Any agents, by address.
const AGENTS: [(&str, &str); 3] = [
    ("SPOE_AGENT", "127.0.0.1:9000"),
    ("SPOE_AGENT_2", "127.0.0.1:9001"),
    ("SPOE_AGENT_3", "127.0.0.1:9002"),
];

/// One configuration with one environment.
struct Case {
    file: PathBuf,
    environment: Vec<(String, String)>,
    /// What is said of it, with what HAProxy says.
    problem: Box<dyn Fn(&str) -> Problem>,
    /// Where files that were put together for it are, until it is done.
    _dir: Option<TempDir>,
}

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut cases = shipped(site)?;
    for overlay in site.whole_overlays()? {
        for pod in pods(overlay) {
            for container in pod.containers().filter(|own| own.role() == Role::Haproxy) {
                cases.extend(mounted(overlay, pod, container)?);
            }
        }
    }
    cases.extend(composed(site)?);

    let mut problems = Vec::new();
    let versions = Haproxy::all()?;
    for haproxy in &versions {
        for case in &cases {
            if let Some(said) = refused(haproxy, case)? {
                let problem = (case.problem)(&said);
                let file = source(site, case, &said).unwrap_or(problem.file);
                problems.push(Problem { file, ..problem });
            }
        }
        site.used(format!(
            "HAProxy {}: {} configurations",
            haproxy.version(),
            cases.len()
        ));
    }
    Ok(problems)
}

/// With one agent, two and three, and with one name for all.
fn shipped(site: &Site) -> Result<Vec<Case>> {
    let file = "deploy/haproxy/haproxy.cfg";
    let mut environments: Vec<Vec<(&str, &str)>> = vec![AGENTS[..1].into(), AGENTS[..2].into()];
    environments.push(AGENTS.into());
    environments.push(vec![
        ("SPOE_AGENT", "agents.invalid:9000"),
        ("SPOE_AGENT_REPLICAS", "8"),
    ]);
    let reads = Configuration::parse(&site.read(file)?).environment();
    let case = |settings: Vec<(&'static str, &'static str)>| {
        let web = [("WEB_BACKEND", "127.0.0.1:8080")];
        let named: Vec<String> = settings
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let settings = settings.into_iter().chain(web);
        Case {
            file: site.path(file),
            environment: settings
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            problem: Box::new(move |said| {
                Problem::new(file, format!("with {}: {said}", named.join(", ")))
            }),
            _dir: None,
        }
    };
    let known = environments.into_iter().filter(|settings| {
        // An older copy may not have all of them.
        settings.iter().all(|(name, _)| reads.contains(*name))
    });
    Ok(known.map(case).collect())
}

/// The files of one container, from the ConfigMaps that it mounts.
fn mounted(overlay: &Overlay, pod: Pod<'_>, container: Container<'_>) -> Result<Option<Case>> {
    let dir = TempDir::with_prefix("deploy-haproxy-")?;
    for mount in list(&container.value["volumeMounts"]) {
        let volume = list(&pod.spec["volumes"]).find(|volume| volume["name"] == mount["name"]);
        let Some(volume) = volume else { continue };
        let target = below(dir.path(), mount["mountPath"].as_str().unwrap_or_default());
        for (key, text) in config_files(overlay, volume) {
            match mount["subPath"].as_str() {
                Some(path) if path == key => write(&target, &text)?,
                Some(_) => {}
                None => write(&target.join(&key), &text)?,
            }
        }
    }
    let environment = container.environment(overlay).into_iter();
    // What Kubernetes fills in are numbers.
    let environment =
        environment.map(|(name, value)| (name, value.unwrap_or_else(|| "1".to_owned())));
    let words = list(&container.value["command"]).chain(list(&container.value["args"]));
    let Some(file) = file_of(words) else {
        return Ok(None);
    };
    let problem = pod.object.problem("");
    let name = container.name().to_owned();
    Ok(Some(Case {
        file: below(dir.path(), &file),
        environment: local(environment),
        problem: Box::new(move |said| Problem {
            what: format!("{}container {name}: {said}", problem.what),
            ..problem.clone()
        }),
        _dir: Some(dir),
    }))
}

/// The keys of a volume's ConfigMaps, by the names that their files get.
fn config_files(overlay: &Overlay, volume: &Value) -> BTreeMap<String, String> {
    let projected = list(&volume["projected"]["sources"]).map(|source| &source["configMap"]);
    let maps = [&volume["configMap"]].into_iter().chain(projected);
    let mut files = BTreeMap::new();
    for reference in maps {
        let name = reference["name"].as_str().unwrap_or_default();
        let Some(map) = overlay.find("ConfigMap", name) else {
            continue;
        };
        for (key, text) in map.value["data"].as_object().into_iter().flatten() {
            let item = list(&reference["items"]).find(|item| item["key"] == *key);
            let name = match item {
                Some(item) => item["path"].as_str().unwrap_or(key),
                None if reference["items"].is_null() => key,
                None => continue,
            };
            files.insert(
                name.to_owned(),
                text.as_str().unwrap_or_default().to_owned(),
            );
        }
    }
    files
}

/// Compose's services, with copies of what they mount.
fn composed(site: &Site) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for project in site.projects()? {
        for service in project
            .services
            .iter()
            .filter(|own| own.role() == Role::Haproxy)
        {
            let dir = TempDir::with_prefix("deploy-haproxy-")?;
            for (source, target) in service.mounts() {
                // One that is missing is found by another check, and by HAProxy.
                if let Ok(text) = fs::read_to_string(source) {
                    write(&below(dir.path(), target), &text)?;
                }
            }
            let Some(file) = file_of(list(&service.value["command"])) else {
                continue;
            };
            let environment = service.environment().into_iter();
            let environment = environment.filter_map(|(name, value)| Some((name, value?)));
            let problem = service.problem(project, "");
            cases.push(Case {
                file: below(dir.path(), &file),
                environment: local(environment),
                problem: Box::new(move |said| Problem {
                    what: format!("{}{said}", problem.what),
                    ..problem.clone()
                }),
                _dir: Some(dir),
            });
        }
    }
    Ok(cases)
}

/// The file that `haproxy -f FILE` names.
fn file_of<'a>(words: impl Iterator<Item = &'a Value>) -> Option<String> {
    let mut words = words
        .filter_map(Value::as_str)
        .skip_while(|word| *word != "-f");
    words.nth(1).map(String::from)
}

/// Names of services are not known here. With SPOE_AGENT_REPLICAS, HAProxy does not mind.
fn local(environment: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let environment: Vec<(String, String)> = environment.collect();
    if environment
        .iter()
        .any(|(name, _)| name == "SPOE_AGENT_REPLICAS")
    {
        return environment;
    }
    let local = |value: String| match value.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) => {
            format!("127.0.0.1:{port}")
        }
        _ => value,
    };
    let environment = environment.into_iter();
    environment
        .map(|(name, value)| (name, local(value)))
        .collect()
}

/// The first thing that HAProxy complains about.
fn refused(haproxy: &Haproxy, case: &Case) -> Result<Option<String>> {
    let mut command = haproxy.program().command();
    command.args(["-c", "-dW", "-f"]).arg(&case.file);
    command.env_clear();
    command.envs(case.environment.iter().map(|(name, value)| (name, value)));
    let output = command.output().context("HAProxy cannot be run")?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let is_a_mistake = |line: &&str| line.contains("[ALERT]") || line.contains("[WARNING]");
    let line = said.lines().find(is_a_mistake).unwrap_or_default();
    // `[ALERT]    (1234) : config : …`
    let line = line
        .split_once(") : ")
        .map_or(line, |(_, rest)| rest)
        .trim();
    let dir = case.file.parent().unwrap_or_else(|| Path::new("/"));
    let line = line.replace(&format!("{}/", dir.display()), "");
    // It may go on to list all that it would have taken.
    let line: String = line.chars().take(160).collect();
    let version = haproxy.version();
    Ok(Some(format!("HAProxy {version} does not take it: {line}")))
}

/// The file of which `[NAME:LINE]` is said: the one of that name with the same text.
fn source(site: &Site, case: &Case, said: &str) -> Option<String> {
    let (_, place) = said.split_once('[')?;
    let (name, _) = place.split_once(':')?;
    let text = fs::read_to_string(case.file.parent()?.join(name)).ok()?;
    let mut files = site.files("deploy").into_iter();
    files.find(|file| {
        let is_called_so = file.rsplit('/').next() == Some(name);
        is_called_so && site.read(file).is_ok_and(|own| own == text)
    })
}

fn below(dir: &Path, path: &str) -> PathBuf {
    dir.join(path.trim_start_matches('/'))
}

fn write(file: &Path, text: &str) -> Result<()> {
    let dir = file.parent().context("a file without a directory")?;
    fs::create_dir_all(dir)?;
    Ok(fs::write(file, text)?)
}

//! Times fit each other: who waits for whom, and who must have turned away before what ends.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use spop_server::Config;

use super::duration::parse;
use super::manifests::Overlay;
use super::pods::{Container, Pod, Role, list, pods};
use super::problem::Problem;
use super::site::Site;
use super::spoe::{Configuration, Spoe, regex};

const CONFIGURATION: &str = "deploy/haproxy/haproxy.cfg";
const SPOE: &str = "deploy/haproxy/spoe-rate-limit.conf";
/// What Kubernetes, compose and systemd wait for by themselves.
const GRACE: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_secs(10),
    Duration::from_secs(90),
];

/// What the files of HAProxy and the agent's defaults say.
struct Times {
    /// How long HAProxy takes to call an agent down.
    detection: Duration,
    /// How long a request waits for the agent.
    processing: Duration,
    /// How long HAProxy itself takes to stop.
    hard_stop: Option<Duration>,
    /// How long the agent takes to stop, after its lame duck.
    drain: Duration,
    lame_duck: Duration,
    budget: Duration,
}

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let times = times(site, &mut problems)?;
    for overlay in site.whole_overlays()? {
        for pod in pods(overlay) {
            for container in pod.containers() {
                let mistakes = container_mistakes(&times, overlay, pod, container);
                problems.extend(mistakes.into_iter().map(|what| pod.object.problem(what)));
            }
        }
    }
    compose(site, &times, &mut problems)?;
    systemd(site, &times, &mut problems)?;
    Ok(problems)
}

/// Reads the times, and compares those of HAProxy's own files.
fn times(site: &Site, problems: &mut Vec<Problem>) -> Result<Times> {
    let agent = site.agent()?;
    let default = |name: &str| {
        let value = agent.settings().get(name).cloned().flatten();
        value
            .and_then(|value| parse(&value, "ms"))
            .with_context(|| format!("spoa-gcra --help gives no default of {name}"))
    };
    let spoe = Spoe::parse(&site.read(SPOE)?);
    let configuration = Configuration::parse(&site.read(CONFIGURATION)?);
    let agents = format!("backend {}", spoe.backend);
    let inter = configuration.word_after(&agents, "inter").unwrap_or("2s");
    let inter = parse(inter, "ms").with_context(|| format!("inter {inter}"))?;
    let fall = configuration
        .word_after(&agents, "fall")
        .unwrap_or("3")
        .parse()?;
    let times = Times {
        detection: inter * fall,
        processing: spoe.processing.context("no timeout processing")?,
        hard_stop: configuration.duration("global", "hard-stop-after"),
        // The agent leaves it as the engine has it.
        drain: Config::new().drain_timeout(),
        lame_duck: default("SPOA_LAME_DUCK")?,
        budget: default("SPOA_DECISION_BUDGET")?,
    };

    let server = configuration.duration(&agents, "timeout server");
    let check = configuration.duration(&agents, "timeout check");
    if let (Some(idle), Some(server)) = (spoe.idle, server)
        && idle >= server
    {
        let what = format!("timeout idle {idle:?} is not below timeout server {server:?}");
        problems.push(Problem::new(SPOE, what));
    }
    if let Some(check) = check
        && check >= inter
    {
        let what = format!("timeout check {check:?} is not below inter {inter:?}");
        problems.push(Problem::new(CONFIGURATION, what));
    }
    if times.budget >= times.processing {
        let (processing, budget) = (times.processing, times.budget);
        let what = format!(
            "timeout processing {processing:?} is not above the agent's decision budget {budget:?}"
        );
        problems.push(Problem::new(SPOE, what));
    }
    Ok(times)
}

fn container_mistakes(
    times: &Times,
    overlay: &Overlay,
    pod: Pod<'_>,
    container: Container<'_>,
) -> Vec<String> {
    let environment = container.environment(overlay);
    let grace = pod.spec["terminationGracePeriodSeconds"].as_u64();
    let grace = grace.map_or(GRACE[0], Duration::from_secs);
    let stop = pre_stop(container);
    match container.role() {
        Role::Agent => {
            // A pod is replaced while others serve, were there only one of it.
            let mut mistakes = agent_mistakes(times, &environment, true);
            let lame_duck = lame_duck(times, &environment);
            let needed = stop + lame_duck + times.drain;
            if grace <= needed {
                mistakes.push(format!(
                    "terminationGracePeriodSeconds {grace:?} is not above {needed:?}: preStop \
                     {stop:?}, SPOA_LAME_DUCK {lame_duck:?}, drain {:?}",
                    times.drain
                ));
            }
            mistakes.extend(probe_mistakes(container, lame_duck, grace));
            mistakes
        }
        Role::Haproxy => {
            let mut mistakes = haproxy_mistakes(times, &environment);
            let needed = stop + times.hard_stop.unwrap_or_default();
            if reads_shipped(container) && grace <= needed {
                mistakes.push(format!(
                    "terminationGracePeriodSeconds {grace:?} is not above {needed:?}: preStop \
                     {stop:?} and hard-stop-after of haproxy.cfg"
                ));
            }
            mistakes
        }
        Role::Other if grace <= stop => {
            vec![format!(
                "terminationGracePeriodSeconds {grace:?} is not above preStop {stop:?}"
            )]
        }
        Role::Other => Vec::new(),
    }
}

/// While readiness fails on purpose, liveness must not.
fn probe_mistakes(container: Container<'_>, lame_duck: Duration, grace: Duration) -> Vec<String> {
    let [live, ready] = ["livenessProbe", "readinessProbe"].map(|name| &container.value[name]);
    let patience = |probe: &Value| {
        let period = probe["periodSeconds"].as_u64().unwrap_or(10);
        Duration::from_secs(period * probe["failureThreshold"].as_u64().unwrap_or(3))
    };
    let path = |probe: &Value| probe["httpGet"]["path"].as_str().map(String::from);
    let mut mistakes = Vec::new();
    for (name, probe, expected) in [
        ("livenessProbe", live, "/livez"),
        ("readinessProbe", ready, "/readyz"),
    ] {
        if path(probe).as_deref() != Some(expected) {
            mistakes.push(format!("{name} does not ask {expected}"));
        }
    }
    if path(live) == path(ready) && patience(live) <= grace {
        mistakes.push(format!(
            "livenessProbe gives up after {:?}, within the grace of {grace:?}, in which \
             readiness fails",
            patience(live)
        ));
    }
    if !lame_duck.is_zero() && patience(ready) >= lame_duck {
        mistakes.push(format!(
            "readinessProbe needs {:?} to fail, not less than SPOA_LAME_DUCK {lame_duck:?}",
            patience(ready)
        ));
    }
    mistakes
}

fn compose(site: &Site, times: &Times, problems: &mut Vec<Problem>) -> Result<()> {
    for project in site.projects()? {
        let agents = project
            .services
            .iter()
            .filter(|own| own.role() == Role::Agent);
        let several = agents.count() > 1;
        for service in &project.services {
            let environment = service.environment();
            let grace = service.value["stop_grace_period"].as_str();
            let grace = grace
                .and_then(|grace| parse(grace, "s"))
                .unwrap_or(GRACE[1]);
            let reads_shipped = service
                .mounts()
                .any(|(source, _)| source.ends_with(CONFIGURATION));
            let (mut mistakes, needed) = match service.role() {
                Role::Agent => (
                    agent_mistakes(times, &environment, several),
                    lame_duck(times, &environment) + times.drain,
                ),
                Role::Haproxy if reads_shipped => (
                    haproxy_mistakes(times, &environment),
                    times.hard_stop.unwrap_or_default(),
                ),
                _ => continue,
            };
            if grace <= needed {
                mistakes.push(format!(
                    "stop_grace_period {grace:?} is not above {needed:?}"
                ));
            }
            let mistakes = mistakes.into_iter();
            problems.extend(mistakes.map(|what| service.problem(project, what)));
        }
    }
    Ok(())
}

fn systemd(site: &Site, times: &Times, problems: &mut Vec<Problem>) -> Result<()> {
    let assignment = regex(r"(?m)^(?:Environment=)?(SPOA_\w+)=(\S+)$");
    let stop = regex(r"(?m)^TimeoutStopSec=(.+)$");
    let mut environment = Vec::new();
    let mut grace = GRACE[2];
    let mut unit = None;
    for file in site.files("deploy/systemd") {
        let text = site.read(&file)?;
        for found in assignment.captures_iter(&text) {
            let (_, [name, value]) = found.extract();
            environment.push((name.to_owned(), Some(value.to_owned())));
        }
        if let Some(found) = stop.captures(&text) {
            let (_, [value]) = found.extract();
            grace = parse(value, "s").with_context(|| format!("{file}: {value}"))?;
        }
        if file.ends_with(".service") {
            unit = Some(file);
        }
    }
    let Some(unit) = unit else {
        return Ok(());
    };
    let needed = lame_duck(times, &environment) + times.drain;
    let mut mistakes = agent_mistakes(times, &environment, false);
    if grace <= needed {
        mistakes.push(format!(
            "TimeoutStopSec {grace:?} is not above {needed:?}: SPOA_LAME_DUCK and drain"
        ));
    }
    problems.extend(mistakes.into_iter().map(|what| Problem::new(&unit, what)));
    Ok(())
}

/// `several`: there are other agents, which HAProxy must have turned to before one goes.
fn agent_mistakes(
    times: &Times,
    environment: &[(String, Option<String>)],
    several: bool,
) -> Vec<String> {
    let mut mistakes = Vec::new();
    let lame_duck = lame_duck(times, environment);
    let detection = times.detection;
    if (several || !lame_duck.is_zero()) && lame_duck <= detection {
        mistakes.push(format!(
            "SPOA_LAME_DUCK {lame_duck:?} is not above inter x fall of haproxy.cfg, {detection:?}"
        ));
    }
    let budget = setting(environment, "SPOA_DECISION_BUDGET").unwrap_or(times.budget);
    let processing = times.processing;
    if budget >= processing {
        mistakes.push(format!(
            "SPOA_DECISION_BUDGET {budget:?} is not below HAProxy's timeout processing \
             {processing:?}"
        ));
    }
    mistakes
}

fn haproxy_mistakes(times: &Times, environment: &[(String, Option<String>)]) -> Vec<String> {
    let budget = times.budget;
    let processing = setting(environment, "SPOE_TIMEOUT").unwrap_or(times.processing);
    let is_short = processing <= budget;
    let what = format!("SPOE_TIMEOUT {processing:?} is not above the decision budget {budget:?}");
    is_short.then_some(what).into_iter().collect()
}

fn lame_duck(times: &Times, environment: &[(String, Option<String>)]) -> Duration {
    setting(environment, "SPOA_LAME_DUCK").unwrap_or(times.lame_duck)
}

fn setting(environment: &[(String, Option<String>)], name: &str) -> Option<Duration> {
    let (_, value) = environment.iter().find(|(own, _)| own == name)?;
    parse(value.as_deref()?, "ms")
}

/// Whether this is the HAProxy of `haproxy.cfg`, and not one that stands for a web service.
fn reads_shipped(container: Container<'_>) -> bool {
    let mut words = list(&container.value["command"]).chain(list(&container.value["args"]));
    words.any(|word| {
        word.as_str()
            .is_some_and(|word| word.ends_with("/haproxy.cfg"))
    })
}

/// How long a `preStop` sleeps, by itself or in a shell.
fn pre_stop(container: Container<'_>) -> Duration {
    let hook = &container.value["lifecycle"]["preStop"];
    if let Some(seconds) = hook["sleep"]["seconds"].as_u64() {
        return Duration::from_secs(seconds);
    }
    let words: Vec<&str> = list(&hook["exec"]["command"])
        .filter_map(Value::as_str)
        .collect();
    let command = words.join(" ");
    let sleep = regex(r"sleep (\d+)").captures(&command);
    let seconds = sleep.and_then(|found| found.extract::<1>().1[0].parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

//! The two files, from the templates beside this module.

use std::fmt::Write as _;
use std::time::Duration;

use spoa_gcra::check_rate::MESSAGE;
use spoa_gcra::settings::Settings;

use super::routes::Routes;
use super::values::{Agent, Version};
use super::{Fail, Options, Refused};
use crate::command::configuration::Configuration;

/// Their texts.
pub(super) struct Files {
    pub(super) haproxy: String,
    pub(super) spoe: String,
}

/// Everything that the agent sets.
const VARIABLES: &str = "ip_score allowed limit remaining reset_after retry_after policy source \
                         shadow ratelimit ratelimit_policy";

/// `inter 5s fall 2` of the template: how long an agent may be DOWN before HAProxy knows.
const UNNOTICED: Duration = Duration::from_secs(10);

pub(super) fn files(
    options: &Options,
    Configuration { settings, .. }: &Configuration,
    routes: &Routes,
) -> Result<Files, Refused> {
    let budget = settings.decision_budget.as_millis();
    let version = options.haproxy;
    let values: &[(&str, String)] = &[
        ("FOR", suits(version)),
        ("BIND", options.bind.to_string()),
        ("WEB", options.web.to_string()),
        ("POLICIES", policies(routes)),
        ("FAIL", fail(options)),
        ("MODE", mode(version)),
        ("LAME_DUCK", lame_duck(settings)),
        ("AGENTS", agents(options, settings)?),
        ("MESSAGES", message_names(routes)),
        ("VARIABLES", VARIABLES.to_owned()),
        ("IDLE", idle(version).to_owned()),
        ("BUDGET", budget.to_string()),
        // The engine's own deadline is 4 ms after the budget's.
        ("PROCESSING", (budget + 7).max(15).to_string()),
        ("SPOE_MESSAGES", messages(routes)),
        // Last: the others hold it.
        ("PREFIX", options.prefix.to_string()),
    ];
    Ok(Files {
        haproxy: fill(include_str!("haproxy.cfg"), values),
        spoe: fill(include_str!("spoe-rate-limit.conf"), values),
    })
}

/// A template with `@NAME@` replaced. A line that is nothing else goes if there is nothing to
/// stand in its place.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        if value.is_empty() {
            text = text.replace(&format!("@{name}@\n"), "");
        }
        text = text.replace(&format!("@{name}@"), value);
    }
    text
}

fn suits(version: Option<Version>) -> String {
    match version {
        Some(version) => version.to_string(),
        None => "2.6 and everything later".to_owned(),
    }
}

/// The rules that say which policy `check-rate` asks for, and what it costs.
fn policies(routes: &Routes) -> String {
    if !routes.file {
        return String::new();
    }
    let mut rules = String::new();
    if !routes.policies().is_empty() {
        rules.push_str(
            "\n    # Which policy a request is under; without one of these lines that is `default`, \
             and\n    # of several that apply the last counts. They are tcp-request rules because those \
             run\n    # before the agent is asked. Take the # away and give the right path.\n",
        );
    }
    for route in routes.policies() {
        let off = if route.guessed { "#" } else { "" };
        let (name, path) = (&route.name, &route.path);
        // Writing to a String cannot fail.
        let _ = writeln!(
            rules,
            "    {off}tcp-request content set-var(txn.policy) str({name}) if {{ path_beg {path} }}"
        );
    }
    rules.push_str(
        "\n    # What a request costs, where that is not its policy's `cost`.\n    \
         #tcp-request content set-var(txn.cost) int(5) if { path_beg /export }",
    );
    rules
}

fn fail(options: &Options) -> String {
    let rule = "http-request deny deny_status 503 unless { var(txn.@PREFIX@.ip_score) -m found }";
    match options.fail {
        Fail::Open => format!(
            "    # Such a request passes. To refuse it instead, take the # away:\n    #{rule}"
        ),
        Fail::Closed => {
            format!("    # Such a request is refused. To let it pass, take this out:\n    {rule}")
        }
    }
}

fn mode(version: Option<Version>) -> String {
    const SPOP: &str = "    mode    spop";
    const TCP: &str = "    mode    tcp\n    \
        # Else these versions go on using connections that they have to an agent that is DOWN.\n    \
        default-server on-marked-down shutdown-sessions";
    match version {
        None => {
            let first = Version::MODE_SPOP;
            format!(".if version_atleast({first})\n{SPOP}\n.else\n{TCP}\n.endif")
        }
        Some(version) if version >= Version::MODE_SPOP => SPOP.to_owned(),
        Some(_) => TCP.to_owned(),
    }
}

fn lame_duck(settings: &Settings) -> String {
    let (set, needed) = (settings.lame_duck.as_millis(), UNNOTICED.as_millis());
    let advice = if settings.lame_duck > UNNOTICED {
        format!("    # Keep `inter` x `fall` below the agents' SPOA_LAME_DUCK, {set} ms: ")
    } else {
        format!(
            "    # Set SPOA_LAME_DUCK=12000 for the agents (it is {set}), above `inter` x `fall`, \
             {needed} ms: "
        )
    };
    advice
        + "then\n    # HAProxy has turned to the others before one that is restarted stops answering."
}

fn agents(options: &Options, settings: &Settings) -> Result<String, Refused> {
    let own: [Agent; 1];
    let agents = if options.agents.is_empty() {
        let addr = settings.listen.to_string();
        let found = addr.parse();
        own = [found.map_err(|missing| Refused::Where { addr, missing })?];
        &own[..]
    } else {
        &options.agents
    };
    let line = |(index, agent)| format!("    server agent{} {agent}", index + 1);
    let lines: Vec<String> = agents.iter().enumerate().map(line).collect();
    Ok(lines.join("\n"))
}

/// In lines of a few: HAProxy takes 64 words in one.
fn message_names(routes: &Routes) -> String {
    let own = routes.messages().iter().map(|route| &*route.name);
    let names: Vec<&str> = std::iter::once(MESSAGE).chain(own).collect();
    let lines: Vec<String> = names.chunks(8).map(|names| names.join(" ")).collect();
    lines.join("\n    messages ")
}

fn idle(version: Option<Version>) -> &'static str {
    match version {
        Some(version) if version >= Version::MODE_SPOP => "",
        Some(_) => "    timeout hello      100ms\n    timeout idle       30s",
        None => {
            "    # Up to HAProxy 3.0; later ones ignore them.\n    \
             timeout hello      100ms\n    timeout idle       30s"
        }
    }
}

/// Each request is asked about in one of them: of two answers the last would stay.
fn messages(routes: &Routes) -> String {
    const CLIENT: &str = "ip_fwd=req.fhdr(forwarded) ip_xff=req.fhdr(x-forwarded-for) ip_src=src";
    const EVENT: &str = "event on-frontend-http-request";
    let policy = match routes.policies().is_empty() {
        true => "",
        false => " policy=var(txn.policy)",
    };
    let cost = if routes.file {
        " cost=var(txn.cost)"
    } else {
        ""
    };
    let mut text = format!("spoe-message {MESSAGE}\n    args {CLIENT}{policy}{cost}\n");
    let claimed = acl(
        "claimed",
        routes.messages().iter().map(|route| &*route.path),
    );
    let rest = if claimed.is_empty() {
        ""
    } else {
        " unless claimed"
    };
    let _ = write!(text, "{claimed}    {EVENT}{rest}");
    for route in routes.messages() {
        let (name, path) = (&route.name, &route.path);
        let guess = if route.guessed {
            format!(
                "    # The path is a guess from the name. Change it by --path {name}=/PATH, or everywhere here.\n"
            )
        } else {
            String::new()
        };
        let longer = acl("longer", routes.longer(route));
        let but = if longer.is_empty() { "" } else { " !longer" };
        let _ = write!(
            text,
            "\n\nspoe-message {name}\n    args {CLIENT}{cost}\n{longer}{guess}    {EVENT} if {{ path_beg {path} }}{but}"
        );
    }
    text
}

/// True for paths that begin with one of these. A line for each: they are or-ed, and the
/// words of one line are limited.
fn acl<'a>(name: &str, paths: impl Iterator<Item = &'a str>) -> String {
    let line = |path| format!("    acl {name} path_beg {path}\n");
    paths.map(line).collect()
}

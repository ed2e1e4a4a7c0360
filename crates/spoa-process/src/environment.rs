//! What the environment holds that no setting reads.

use std::env;
use std::ffi::OsString;

/// What the HAProxy files beside these agents read, in `deploy/haproxy`.
const HAPROXY: [&str; 5] = [
    "SPOE_AGENT",
    "SPOE_AGENT_2",
    "SPOE_AGENT_3",
    "SPOE_AGENT_REPLICAS",
    "SPOE_TIMEOUT",
];

/// The variables of this process whose names begin with one of `prefixes` and are none of
/// `settings`: misspelt, most likely, and worth a warning. Sorted.
///
/// What Kubernetes sets for services is left out: one called `spoe-agent` gives every container
/// of its namespace a `SPOE_AGENT_SERVICE_HOST`, a `SPOE_AGENT_PORT_9000_TCP`… So is what
/// HAProxy's files read, `SPOE_AGENT` and the like: both may be started from one shell, or from
/// one file of variables.
pub fn unknown_settings(prefixes: &[&str], settings: &[&str]) -> Vec<String> {
    unknown(env::vars_os().map(|(name, _)| name), prefixes, settings)
}

fn unknown(
    names: impl Iterator<Item = OsString>,
    prefixes: &[&str],
    settings: &[&str],
) -> Vec<String> {
    let mut unknown: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|name| !settings.contains(&&**name) && !HAPROXY.contains(&&**name))
        .filter(|name| !is_service_link(name))
        .collect();
    unknown.sort();
    unknown
}

fn is_service_link(name: &str) -> bool {
    let numbered = |(_, port): (&str, &str)| port.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_variables_are_told_and_those_of_others_are_not() {
        let names = [
            "SPOA_RATE_INTERVALL",
            "SPOE_ADDRESS",
            "VALKEY_PASSWORT",
            "VALKEY_PASSWORD",
            "VALKEY_PORT_6379_TCP",
            "VALKEY_SERVICE_HOST",
            "SPOE_ADDR",
            "PATH",
            "RUST_LOG",
            "SPOE_AGENT_SERVICE_HOST",
            "SPOE_AGENT_SERVICE_PORT",
            "SPOE_AGENT_SERVICE_PORT_SPOP",
            "SPOE_AGENT_PORT",
            "SPOE_AGENT_PORT_9000_TCP",
            "SPOE_AGENT_PORT_9000_TCP_ADDR",
            "SPOE_AGENT",
            "SPOE_AGENT_2",
            "SPOE_AGENT_3",
            "SPOE_AGENT_4",
            "SPOE_AGENT_REPLICAS",
            "SPOE_TIMEOUT",
        ];
        let names = || names.iter().map(OsString::from);
        let settings = ["SPOE_ADDR", "VALKEY_PASSWORD"];
        assert_eq!(
            unknown(names(), &["SPOE_", "SPOA_", "VALKEY_"], &settings),
            [
                "SPOA_RATE_INTERVALL",
                "SPOE_ADDRESS",
                "SPOE_AGENT_4",
                "VALKEY_PASSWORT"
            ]
        );
        assert_eq!(
            unknown(names(), &["SPOA_"], &settings),
            ["SPOA_RATE_INTERVALL"]
        );
    }
}

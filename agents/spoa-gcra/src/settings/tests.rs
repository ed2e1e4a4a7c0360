//! Defaults, every kind of bad value, and the texts made from the table.

mod access;

use std::os::unix::ffi::OsStringExt as _;

use super::*;

fn load(set: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load(|name| {
        let found = set.iter().find(|(set, _)| *set == name);
        found.map(|(_, value)| value.into())
    })
}

/// The one line that an operator sees.
#[track_caller]
fn refused(name: &str, value: &str) -> String {
    let error = load(&[(name, value)]).expect_err(value);
    assert_eq!(error.name(), name);
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(line.starts_with(&format!("{name}=")), "{line}");
    assert!(line.contains("; accepted: "), "{line}");
    line
}

#[test]
fn nothing_set_gives_the_defaults() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.listen.to_string(), "0.0.0.0:9000");
    assert_eq!(settings.admin, AdminAddr::default());
    assert_eq!(settings.admin.to_string(), table::ADMIN_ADDR.default);
    assert_eq!(settings.top, top::Names::Networks);
    assert!(settings.valkey.is_empty());
    assert_eq!(settings.valkey_access, Access::default());
    assert_eq!(settings.valkey_lanes, 1);
    assert_eq!(settings.quota, Quota::new(10_000, 200_000).unwrap());
    assert_eq!(settings.ttl, Duration::from_secs(1800));
    assert_eq!(settings.config, None);
    assert!(!settings.shadow);
    assert_eq!(settings.trusted_proxies, TrustedProxies::private());
    assert_eq!(settings.ipv6_prefix, 64);
    assert_eq!(settings.failure, FailurePolicy::Local);
    assert_eq!(settings.decision_budget, Duration::from_millis(8));
    assert_eq!(settings.memory_clients, 500_000);
    assert_eq!(settings.denial_cache, 65_536);
    assert!((1..=1024).contains(&settings.worker_threads));
    assert_eq!(settings.log, Directives::default());
    assert_eq!(settings.log_format, Format::Text);
    assert!(settings.unknown.is_empty());
}

#[test]
fn everything_can_be_set() {
    let settings = load(&[
        ("SPOE_ADDR", " [::1]:0 "),
        ("SPOA_ADMIN_ADDR", "metrics:9001"),
        ("SPOA_TOP", "clients"),
        ("VALKEY_NODES", "valkey://:secret@a:7000/0, b:7001"),
        ("SPOA_VALKEY_LANES", "2"),
        ("SPOA_VALKEY_CALL", "fcall"),
        ("SPOA_RATE_INTERVAL", "20000"),
        ("SPOA_RATE_BURST", "1000000"),
        ("SPOA_RATE_TTL", "1"),
        ("SPOA_CONFIG", " policies.toml"),
        ("SPOA_SHADOW", "true"),
        ("SPOA_TRUSTED_PROXIES", "private,203.0.113.0/24"),
        ("SPOA_IPV6_PREFIX", "56"),
        ("SPOA_FAILURE", "closed"),
        ("SPOA_DECISION_BUDGET", "5"),
        ("SPOA_MEMORY_CLIENTS", "100000000"),
        ("SPOA_DENIAL_CACHE", "0"),
        ("TOKIO_WORKER_THREADS", "2"),
        ("RUST_LOG", "warn,spop_server=debug"),
        ("SPOA_LOG_FORMAT", "json"),
    ])
    .unwrap();
    assert_eq!(settings.listen.to_string(), "[::1]:0");
    assert_eq!(settings.admin.addr(), Some("metrics:9001"));
    assert_eq!(settings.top, top::Names::Clients);
    assert_eq!(settings.valkey.len(), 2);
    assert_eq!(settings.valkey_lanes, 2);
    assert_eq!(settings.valkey_call, valkey::Call::Fcall);
    assert_eq!(settings.quota, Quota::new(20_000, 1_000_000).unwrap());
    assert_eq!(settings.ttl, Duration::from_secs(1));
    assert_eq!(settings.config, Some("policies.toml".into()));
    assert!(settings.shadow);
    assert_eq!(
        settings.trusted_proxies.to_string(),
        "private,203.0.113.0/24"
    );
    assert_eq!(settings.ipv6_prefix, 56);
    assert_eq!(settings.failure, FailurePolicy::Closed);
    assert_eq!(settings.decision_budget, Duration::from_millis(5));
    assert_eq!(settings.memory_clients, 100_000_000);
    assert_eq!(settings.denial_cache, 0);
    assert_eq!(settings.worker_threads, 2);
    assert_eq!(settings.log.to_string(), "warn,spop_server=debug");
    assert_eq!(settings.log_format, Format::Json);
}

#[test]
fn what_is_not_a_number_is_refused() {
    for (name, range) in [
        ("SPOA_VALKEY_LANES", "1 to 64 connections"),
        ("SPOA_RATE_INTERVAL", "1 to 31622400000000 µs"),
        ("SPOA_RATE_BURST", "1 to 31622400000000 µs"),
        ("SPOA_RATE_TTL", "1 to 31622400 s"),
        ("SPOA_IPV6_PREFIX", "1 to 128 bits"),
        ("SPOA_DECISION_BUDGET", "1 to 1000 ms"),
        ("SPOA_MEMORY_CLIENTS", "1000 to 100000000 clients"),
        ("SPOA_DENIAL_CACHE", "0 to 16777216 entries"),
        ("SPOA_LAME_DUCK", "0 to 600000 ms"),
        ("TOKIO_WORKER_THREADS", "1 to 1024 threads"),
    ] {
        for value in [
            "", " ", "ten", "10ms", "-1", "+5", "1e4", "1.5", "10_000", "0x10", "٣",
        ] {
            let line = refused(name, value);
            let expected = format!(
                "{name}={:?}: not a whole number; accepted: {range}",
                value.trim()
            );
            assert_eq!(line, expected);
        }
    }
}

#[test]
fn every_number_has_its_range_and_takes_both_ends() {
    for setting in TABLE {
        let Accepts::Number(least, most) = setting.accepts else {
            continue;
        };
        let below = least.checked_sub(1).map(|below| below.to_string());
        for outside in below.into_iter().chain([
            (most + 1).to_string(),
            u64::MAX.to_string(),
            "99999999999999999999999".to_owned(),
        ]) {
            let line = refused(setting.name, &outside);
            assert!(line.contains("out of range"), "{line}");
        }
        for end in [least, most] {
            let end = end.to_string();
            // Beside settings that leave room for both.
            let others = [
                ("SPOA_RATE_INTERVAL", "1"),
                (
                    "SPOA_RATE_BURST",
                    if setting.name == "SPOA_RATE_INTERVAL" {
                        "31622400000000"
                    } else {
                        "1"
                    },
                ),
                ("SPOA_RATE_TTL", "31622400"),
            ];
            let all: Vec<_> = std::iter::once((setting.name, &*end))
                .chain(others)
                .collect();
            load(&all).unwrap();
        }
    }
}

#[test]
fn a_burst_below_the_interval_is_refused() {
    let error = load(&[("SPOA_RATE_INTERVAL", "10000"), ("SPOA_RATE_BURST", "9999")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "SPOA_RATE_BURST=\"9999\": below SPOA_RATE_INTERVAL=10000, so that no request could \
         pass; accepted: 10000 to 31622400000000 µs"
    );
    // The default burst counts as well.
    let error = load(&[("SPOA_RATE_INTERVAL", "1000000")]).unwrap_err();
    assert_eq!(error.name(), "SPOA_RATE_BURST");
    assert!(error.to_string().contains("SPOA_RATE_BURST=\"200000\""));
}

#[test]
fn a_ttl_below_the_burst_is_refused() {
    let error = load(&[("SPOA_RATE_BURST", "2000001"), ("SPOA_RATE_TTL", "2")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "SPOA_RATE_TTL=\"2\": below SPOA_RATE_BURST=2000001 µs, so that debts would be \
         forgotten; accepted: 3 to 31622400 s"
    );
    load(&[("SPOA_RATE_BURST", "2000000"), ("SPOA_RATE_TTL", "2")]).unwrap();
}

#[test]
fn unknown_names_are_refused() {
    assert_eq!(
        refused("SPOA_TOP", "on"),
        "SPOA_TOP=\"on\": not one of off, networks, clients; \
         accepted: off, networks or clients"
    );
    refused("SPOA_TOP", "");
    refused("SPOA_TOP", "Clients");
}

#[test]
fn an_unknown_policy_is_refused() {
    assert_eq!(
        refused("SPOA_FAILURE", "fail-open"),
        "SPOA_FAILURE=\"fail-open\": not one of local, open, closed; \
         accepted: local, open or closed"
    );
    refused("SPOA_FAILURE", "");
    refused("SPOA_FAILURE", "Open");
    for bad in ["", "yes", "1", "True"] {
        refused("SPOA_SHADOW", bad);
    }
}

#[test]
fn an_empty_path_is_none() {
    assert_eq!(load(&[("SPOA_CONFIG", " ")]).unwrap().config, None);
}

#[test]
fn an_address_to_listen_on_needs_a_host_and_a_port() {
    for good in [
        "127.0.0.1:9000",
        "[::]:9000",
        "localhost:0",
        "spoe-agent.svc:65535",
        "h_1:1",
        "unix@/run/agent.sock",
        "abns@agent",
        "fd@spop",
    ] {
        let listen = load(&[("SPOE_ADDR", good)]).unwrap().listen;
        assert_eq!(listen.to_string(), good);
    }
    for bad in [
        "",
        "9000",
        ":9000",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:65536",
        "localhost:-1",
        "::1:9000",
        "[::1]",
        "tcp://0.0.0.0:9000",
        "0.0.0.0:9000/",
        "a b:1",
        "a\nb:1",
        "[::1:9000",
        "unix@",
        "fd@",
        "udp@127.0.0.1:9000",
    ] {
        refused("SPOE_ADDR", bad);
    }
}

#[test]
fn bad_proxies_are_refused() {
    assert_eq!(
        refused("SPOA_TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/33"),
        "SPOA_TRUSTED_PROXIES=\"10.0.0.0/8,10.0.0.0/33\": \"10.0.0.0/33\" is not an address, \
         a CIDR block, private, none or all; accepted: private, none, all, or comma-separated \
         addresses and CIDR blocks"
    );
    refused("SPOA_TRUSTED_PROXIES", "");
    refused("SPOA_TRUSTED_PROXIES", "none,private");
}

#[test]
fn bad_log_directives_are_refused() {
    for good in ["off", "warn", "spoa_gcra=debug,warn", "", " "] {
        load(&[("RUST_LOG", good)]).unwrap();
    }
    let log = load(&[("RUST_LOG", "")]).unwrap().log;
    assert_eq!(log.to_string(), table::LOG.default);
    // As the README has it.
    let log = load(&[("RUST_LOG", "spoa_gcra::decision=debug")]);
    let in_force = log.unwrap().log.to_string();
    assert_eq!(in_force, "warn,spoa_gcra::decision=debug");
    refused("SPOA_LOG_FORMAT", "JSON");
    for bad in ["spoa_gcra=loud", "warn,a=b=c", "=", "warn,[{", "warning"] {
        refused("RUST_LOG", bad);
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    for setting in TABLE {
        let error = Settings::load(|name| {
            (name == setting.name).then(|| OsString::from_vec(b"\xff\n".to_vec()))
        });
        let error = error.unwrap_err();
        assert_eq!(
            (error.name(), error.problem()),
            (setting.name, &Problem::NotUtf8)
        );
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn nodes_are_urls_or_hosts_with_ports() {
    let nodes = |list| {
        let nodes = load(&[("VALKEY_NODES", list)]).unwrap().valkey;
        nodes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(nodes("").is_empty());
    assert!(nodes(" ").is_empty());
    assert_eq!(nodes("redis://127.0.0.1:7000"), ["valkey://127.0.0.1:7000"]);
    assert_eq!(
        nodes("redis://a , valkey://b:7000/2,c:7001,d, [::1]:7002,"),
        [
            "valkey://a:6379",
            "valkey://b:7000",
            "valkey://c:7001",
            "valkey://d:6379",
            "valkey://[::1]:7002",
        ]
    );
    assert_eq!(
        nodes("rediss://a, valkeys://[::1]:7003"),
        ["valkeys://a:6379", "valkeys://[::1]:7003"]
    );
    let node: ValkeyNode = "valkey://me:p%40ss@h:1/3".parse().unwrap();
    assert_eq!(node.info.redis_settings().username(), Some("me"));
    assert_eq!(node.info.redis_settings().password(), Some("p@ss"));
    assert_eq!(node.info.redis_settings().db(), 3);
}

#[test]
fn bad_nodes_are_refused() {
    for bad in [
        "http://a:6379",
        "redis+unix:///run/valkey.sock",
        "redis://",
        "redis://:6379",
        "a:port",
        "a:65536",
        "a:0",
        "redis://a:0",
        "2001:db8::1:6379",
        "a b",
        "redis://a/x",
        "0.0.0.0:6379",
        "a:6379,b:c",
        "valkeys://a/#insecure",
        "valkeys://a,valkey://b",
        "a,rediss://b",
    ] {
        refused("VALKEY_NODES", bad);
    }
    // A template's "$FIRST,$SECOND", both of them empty.
    for nobody in [",", " , ", ",\n,"] {
        let line = refused("VALKEY_NODES", nobody);
        assert!(
            line.contains(": no server is named; leave it empty"),
            "{line}"
        );
    }
    let line = refused("VALKEY_NODES", "a:6379, ftp://b");
    assert!(
        line.starts_with("VALKEY_NODES=\"ftp://b\": unknown scheme \"ftp\";"),
        "{line}"
    );
}

#[test]
fn passwords_are_not_shown() {
    for list in [
        "redis://me:hunter2@a:port",
        "me:hunter2@a:port",
        "redis://:hunter2@[::1",
        "redis://:hun@hunter2@a:port",
        "redis://:hunter2/x@a:port",
        "redis://:hunter2,rest@a",
        "redis://:x,hunter2@a:port",
        "redis://:x,hunter2:9,y@a",
        "me:hunter2://x@a:port",
    ] {
        let line = refused("VALKEY_NODES", list);
        assert!(!line.contains("hunter2"), "{line}");
    }
    let settings = load(&[("VALKEY_NODES", "redis://me:hunter2@a:1")]).unwrap();
    assert!(!settings.summary().contains("hunter2"));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn the_admin_listener_has_an_address_or_is_off() {
    let admin = |value| load(&[("SPOA_ADMIN_ADDR", value)]).unwrap().admin;
    assert_eq!(admin(" off ").addr(), None);
    assert!(admin(table::ADMIN_ADDR.default).is_required());
    let off = load(&[("SPOA_ADMIN_ADDR", "off")]).unwrap();
    let shown = off.summary();
    assert!(shown.contains("SPOA_ADMIN_ADDR       off\n"), "{shown}");
    for bad in [
        "",
        "9001",
        "on",
        "OFF",
        "127.0.0.1",
        "127.0.0.1:x",
        ":9001",
        "unix@/a",
        "fd@3",
    ] {
        let line = refused("SPOA_ADMIN_ADDR", bad);
        assert!(line.ends_with("HOST:PORT, or off"), "{line}");
    }
}

#[test]
fn the_summary_shows_every_setting_in_one_column() {
    let settings = load(&[("TOKIO_WORKER_THREADS", "4")]).unwrap();
    assert_eq!(
        settings.summary(),
        "  SPOA_ADMIN_ADDR       127.0.0.1:9001\n  \
           SPOA_TOP              networks
  \
           VALKEY_NODES          unset: state in memory, in this process\n  \
           VALKEY_USERNAME       unset\n  \
           VALKEY_PASSWORD       unset\n  \
           VALKEY_PASSWORD_FILE  unset\n  \
           VALKEY_CA_FILE        unset: the public authorities\n  \
           VALKEY_CERT_FILE      unset\n  \
           VALKEY_KEY_FILE       unset\n  \
           SPOA_VALKEY_LANES     1\n  \
           SPOA_VALKEY_CALL      evalsha\n  \
           SPOA_RATE_INTERVAL    10000 µs = 100 req/s\n  \
           SPOA_RATE_BURST       200000 µs = 20 req at once\n  \
           SPOA_RATE_TTL         1800 s\n  \
           SPOA_CONFIG           unset: one policy\n  \
           SPOA_SHADOW           false\n  \
           SPOA_TRUSTED_PROXIES  private\n  \
           SPOA_IPV6_PREFIX      /64\n  \
           SPOA_FAILURE          local\n  \
           SPOA_DECISION_BUDGET  8 ms\n  \
           SPOA_MEMORY_CLIENTS   500000\n  \
           SPOA_DENIAL_CACHE     65536\n  \
           SPOA_LAME_DUCK        0 ms\n  \
           TOKIO_WORKER_THREADS  4\n  \
           RUST_LOG              warn\n  \
           SPOA_LOG_FORMAT       text"
    );
    for setting in TABLE.iter().filter(|setting| setting.name != "SPOE_ADDR") {
        assert!(
            settings.summary().contains(setting.name),
            "{}",
            setting.name
        );
    }
    let nodes = load(&[("VALKEY_NODES", "a:1,b:2")]).unwrap().summary();
    assert!(
        nodes.contains("VALKEY_NODES          valkey://a:1,valkey://b:2\n"),
        "{nodes}"
    );
}

#[test]
fn rates_are_told_in_the_unit_that_fits() {
    for (interval, expected) in [
        (1, "1000000 req/s"),
        (3, "333333.33 req/s"),
        (20_000, "50 req/s"),
        (300_000, "3.33 req/s"),
        (1_000_000, "1 req/s"),
        (1_500_000, "1 req every 1.5 s"),
        (3_600_000_000, "1 req every 3600 s"),
    ] {
        let quota = Quota::new(interval, interval).unwrap();
        assert_eq!(rate(quota), format!("{interval} µs = {expected}"));
    }
}

#[test]
fn defaults_are_values_that_are_accepted() {
    let explicit: Vec<_> = TABLE
        .iter()
        .filter(|setting| !setting.default.is_empty())
        .map(|setting| (setting.name, setting.default))
        .collect();
    assert!(explicit.len() >= 10);
    assert_eq!(
        load(&explicit).unwrap().summary(),
        load(&[]).unwrap().summary()
    );
}

#[test]
fn the_markdown_table_has_a_row_for_each_setting() {
    let table = markdown_table();
    assert_eq!(table.lines().count(), TABLE.len() + 2);
    assert!(table.contains(
        "| `SPOA_RATE_TTL` | `1800` | 1 to 31622400 s | \
         the longest that a client's state is kept, at least the burst |\n"
    ));
    assert!(table.contains("| `VALKEY_NODES` | unset | comma-separated "));
    assert!(
        table.lines().all(|line| line.matches('|').count() == 5),
        "{table}"
    );
}

#[test]
fn the_help_has_two_lines_for_each_setting() {
    let help = help_table();
    assert_eq!(help.lines().count(), 2 * TABLE.len());
    let indent = " ".repeat(24);
    assert!(help.contains(&format!(
        "  SPOA_RATE_TTL         the longest that a client's state is kept, at least the burst\n\
         {indent}(1 to 31622400 s; default 1800)\n"
    )));
    assert!(
        help.lines().all(|line| line.chars().count() <= 110),
        "{help}"
    );
}

#[test]
fn where_each_setting_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("password");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let mut settings = load(&[
        ("VALKEY_NODES", "a:1"),
        ("VALKEY_PASSWORD_FILE", secret.to_str().unwrap()),
        ("SPOA_CONFIG", "/overruled"),
        ("SPOA_SHADOW", "true"),
        ("RUST_LOG", " "),
    ])
    .unwrap();
    settings.read_policies_from("/policies.toml".into());
    let shown = settings.in_force();
    let secret = format!("VALKEY_PASSWORD_FILE  environment   {}", secret.display());
    for line in [
        "SPOE_ADDR             default       0.0.0.0:9000",
        "VALKEY_NODES          environment   valkey://a:1",
        "VALKEY_PASSWORD       file          set",
        &secret,
        "SPOA_CONFIG           command line  /policies.toml",
        "SPOA_SHADOW           environment   true",
        "RUST_LOG              default       warn",
    ] {
        assert!(
            shown.lines().any(|own| own == line),
            "no {line} in\n{shown}"
        );
    }
    assert_eq!(shown.lines().count(), TABLE.len());
    assert!(!shown.contains("hunter2"), "{shown}");
    // What is not followed is in no force.
    let shown = load(&[("VALKEY_USERNAME", "ann")]).unwrap().in_force();
    let unused = "VALKEY_USERNAME       default       unset";
    assert!(shown.lines().any(|own| own == unused), "{shown}");
}

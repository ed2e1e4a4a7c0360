//! Files as operators write them, and every mistake with its line.

use super::*;
use crate::policy::Problems;
use crate::store::Client;

fn defaults() -> Defaults {
    Defaults {
        quota: Quota::new(10_000, 200_000).unwrap(),
        failure: FailurePolicy::Open,
        shadow: false,
        ttl: Duration::from_secs(1800),
    }
}

fn load(text: &str) -> Policies {
    match read(text, &defaults(), &mut LimitIds::default()) {
        Ok(policies) => policies,
        Err(problems) => panic!("{}", Problems::new("f.toml".into(), problems)),
    }
}

/// The lines that an operator sees.
#[track_caller]
fn refused(text: &str) -> Vec<String> {
    let problems = read(text, &defaults(), &mut LimitIds::default()).expect_err(text);
    let said = Problems::new("f.toml".into(), problems).to_string();
    said.lines().map(str::to_owned).collect()
}

/// One mistake on the second line of the policy `p`.
#[track_caller]
fn mistake(lines: &str, expected: &str) {
    assert_eq!(
        refused(&format!("[policy.p]\n{lines}")),
        [format!("f.toml:2: policy \"p\": {expected}")],
        "{lines}"
    );
}

fn keys(policy: &Policy) -> Vec<String> {
    let client = Client("192.0.2.7".parse().unwrap());
    let keys = policy.limits().iter().map(|limit| limit.key(client));
    keys.map(|key| key.to_string()).collect()
}

#[test]
fn an_empty_file_is_the_settings_policy() {
    for empty in ["", "# nothing yet\n", "[policy]\n"] {
        let policies = load(empty);
        assert_eq!(policies.all().len(), 1);
        assert_eq!(**policies.by_name(None), defaults().policy());
    }
}

#[test]
fn the_shipped_example_says_what_it_says() {
    let policies = load(include_str!("../../../policies.example.toml"));
    assert_eq!(
        policies.summary(),
        "  api       10 req/s, 200 at once; failure open; 2 allowed networks; 2 denied networks\n  \
           default   100 req/s, 20 at once; failure local\n  \
           internal  unlimited\n  \
           login     login.second: 2 req/s, 5 at once and login.hour: 1 req every 36 s, 50 at once; \
                     failure closed; messages check-login\n  \
           search    4 req/s, 8 at once; failure open; shadow\n  \
           static    1000 req/s, 500 at once; failure open; leases of 16 requests for 500ms"
    );
    let api = policies.by_name(Some(b"api"));
    let listed = |address: &str| api.networks.find(address.parse().unwrap());
    assert_eq!(listed("192.0.2.65"), Some(Listed::Allow));
    assert_eq!(listed("192.0.2.66"), Some(Listed::Deny));
    assert_eq!(listed("203.0.113.1"), None);
}

#[test]
fn everything_can_be_said() {
    let policies = load(
        r#"
        [policy.p]
        interval_us = 7
        burst = 3
        cost = 2
        failure = "closed"
        shadow = true
        allow = ["10.0.0.1/8", "::ffff:192.0.2.1"]
        deny = ["2001:db8::1"]
        messages = ["one", "two"]
        "#,
    );
    let policy = policies.by_name(Some(b"p"));
    assert_eq!(policy.limits()[0].quota(), Quota::new(7, 21).unwrap());
    assert_eq!((policy.cost, policy.shadow), (2, true));
    assert_eq!(policy.failure, FailurePolicy::Closed);
    assert_eq!(policy.networks.counts(), (2, 1));
    let listed = |address: &str| policy.networks.find(address.parse().unwrap());
    assert_eq!(listed("10.255.0.0"), Some(Listed::Allow));
    assert_eq!(listed("192.0.2.1"), Some(Listed::Allow));
    for message in [b"one", b"two"] {
        assert!(Arc::ptr_eq(policies.by_message(message).unwrap(), policy));
    }
}

#[test]
fn what_is_not_said_comes_from_the_settings() {
    let shadow = Defaults {
        shadow: true,
        ..defaults()
    };
    let text = "[policy.p]\nrate = '1/s'\nburst = 1\n[policy.q]\nunlimited = true\nshadow = false";
    let policies = read(text, &shadow, &mut LimitIds::default()).unwrap();
    let policy = policies.by_name(Some(b"p"));
    assert_eq!((policy.cost, policy.shadow), (1, true));
    assert_eq!(policy.failure, FailurePolicy::Open);
    assert!(policies.by_name(None).shadow);
    assert!(!policies.by_name(Some(b"q")).shadow);
}

#[test]
fn state_is_kept_under_names_that_no_other_limit_has() {
    let policies = load(
        "policy.default = { rate = '1/s', burst = 1 }\n\
         policy.a = { rate = '1/s', burst = 1 }\n\
         policy.b = { limits = [{ name = 'a', rate = '1/s', burst = 1 }, \
                                { name = 'b', rate = '1/s', burst = 1 }] }",
    );
    let keys_of = |name: &str| keys(policies.by_name(Some(name.as_bytes())));
    // As without a file.
    assert_eq!(keys_of("default"), ["gcra:192.0.2.7"]);
    assert_eq!(keys_of("a"), ["gcra:{192.0.2.7}:a"]);
    assert_eq!(
        keys_of("b"),
        ["gcra:{192.0.2.7}:b.a", "gcra:{192.0.2.7}:b.b"]
    );
    let mut ids: Vec<_> = policies
        .all()
        .iter()
        .flat_map(|named| named.policy.limits().iter().map(Limit::id))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_limit_keeps_its_number() {
    let mut ids = LimitIds::default();
    let mut id = |text: &str, name: &str| {
        let policies = read(text, &defaults(), &mut ids).unwrap();
        policies.by_name(Some(name.as_bytes())).limits()[0].id()
    };
    let a = id("policy.a = { rate = '1/s', burst = 1 }", "a");
    let b = id("policy.b = { rate = '1/s', burst = 1 }", "b");
    assert_ne!(a, b);
    let both =
        "policy.b = { rate = '9/s', burst = 1 }\npolicy.a = { rate = '9/s', burst = 9, cost = 2 }";
    assert_eq!((id(both, "a"), id(both, "b")), (a, b));
}

#[test]
fn what_is_no_toml_or_no_key() {
    assert_eq!(
        refused("[policy.p\nrate = 1"),
        ["f.toml:1: unclosed table, expected `]`"]
    );
    let one = |text: &str| match &refused(text)[..] {
        [one] => one.clone(),
        more => panic!("{more:?}"),
    };
    assert_eq!(
        one("\npolicies = 5"),
        "f.toml:2: unknown key \"policies\"; accepted: tables called [policy.NAME]"
    );
    assert_eq!(
        one("policy = 5"),
        "f.toml:1: unknown key \"policy\"; accepted: tables called [policy.NAME]"
    );
    let unknown = one("[policy.p]\nrate = '1/s'\nburts = 1");
    assert!(
        unknown
            .starts_with("f.toml:3: policy \"p\": unknown field `burts`, expected one of `rate`"),
        "{unknown}"
    );
    let twice = one("[policy.p]\nburst = 1\nburst = 1");
    assert!(twice.starts_with("f.toml:3: duplicate key"), "{twice}");
    let unknown = one("[policy.p]\nlimits = [\n{ name = 'a', rat = '1/s' }]");
    assert!(
        unknown.starts_with("f.toml:3: policy \"p\": unknown field `rat`"),
        "{unknown}"
    );
    for (line, kind) in [
        ("rate = 5", "string"),
        ("burst = '5'", "i64"),
        ("burst = 5.0", "i64"),
        ("burst = 99999999999999999999", "i64"),
        ("cost = true", "i64"),
        ("shadow = 'yes'", "a boolean"),
        ("allow = '10.0.0.0/8'", "a sequence"),
        ("messages = [1]", "string"),
        ("limits = { a = 1 }", "a sequence"),
    ] {
        let said = one(&format!("[policy.p]\n{line}"));
        assert!(
            said.starts_with("f.toml:2: policy \"p\": ") && said.contains(kind),
            "{said}"
        );
    }
    let said = one("policy.p = 5");
    assert!(
        said.starts_with("f.toml:1: policy \"p\": invalid type"),
        "{said}"
    );
    let deep = format!("[policy.p]\nrate = {}", "[".repeat(100_000));
    assert_eq!(refused(&deep).len(), 1);
}

#[test]
fn rates_and_bursts() {
    mistake(
        "rate = '5 per second'\nburst = 1",
        "rate = \"5 per second\": not a rate; accepted: \"N/s\", \"N/m\", \"N/h\" or \"N/d\", N a \
         whole number from 1 on",
    );
    mistake(
        "rate = '1000001/s'\nburst = 1",
        "rate = \"1000001/s\": too high; accepted: up to 1000000 a second",
    );
    for interval in [0, -1, 31_622_400_000_001_i64] {
        mistake(
            &format!("interval_us = {interval}\nburst = 1"),
            &format!("interval_us = {interval}: out of range; accepted: 1 to 31622400000000"),
        );
    }
    for burst in [0, -5, 366 * 86_400 * 10 + 1, i64::MAX] {
        mistake(
            &format!("burst = {burst}\nrate = '10/s'"),
            &format!(
                "burst = {burst}: out of range; accepted: 1 to 316224000 requests at this rate"
            ),
        );
    }
    mistake(
        "burst = 51\nrate = '100/h'",
        "burst = 51: a client needs 1836 s to earn it, but its state is kept for \
         SPOA_RATE_TTL=1800 s at most; accepted: up to 50 requests at this rate, or a longer \
         SPOA_RATE_TTL",
    );
    load("[policy.p]\nburst = 50\nrate = '100/h'");
    mistake("rate = '1/s'", "burst is missing");
    mistake("burst = 1", "rate is missing");
    mistake(
        "interval_us = 5\nrate = '1/s'\nburst = 1",
        "rate and interval_us exclude each other",
    );
}

#[test]
fn one_way_to_say_what_the_limit_is() {
    assert_eq!(
        refused("[policy.p]\ncost = 1\n"),
        [
            "f.toml:1: policy \"p\": no limit; accepted: rate and burst, limits = [...], or \
             unlimited = true"
        ]
    );
    let limits = "limits = [{ name = 'a', rate = '1/s', burst = 1 }]";
    mistake(
        &format!("{limits}\nburst = 1"),
        "burst and limits exclude each other",
    );
    mistake(
        &format!("unlimited = true\n{limits}"),
        "limits and unlimited = true exclude each other",
    );
    mistake(
        "unlimited = true\nrate = '1/s'",
        "rate and unlimited = true exclude each other",
    );
    load(&format!("[policy.p]\nunlimited = false\n{limits}"));
}

#[test]
fn several_limits() {
    mistake("limits = []", "0 limits; accepted: 1 to 4");
    let limit = |name: &str| format!("{{ name = '{name}', rate = '1/s', burst = 1 }}");
    let list = |names: &[&str]| {
        let limits = names.iter().map(|name| limit(name));
        format!("limits = [{}]", limits.collect::<Vec<_>>().join(","))
    };
    mistake(
        &list(&["a", "b", "c", "d", "e"]),
        "5 limits; accepted: 1 to 4",
    );
    mistake(&list(&["a", "b", "a"]), "limit \"a\" is there twice");
    mistake(
        &list(&["a.b"]),
        "the name \"a.b\" is not 1 to 32 letters, digits, - or _",
    );
    mistake(
        "limits = [{ name = 'a', rate = '1/s' }]",
        "burst is missing",
    );
    let said = refused("[policy.p]\nlimits = [{ rate = '1/s', burst = 1 }]");
    assert_eq!(said, ["f.toml:2: policy \"p\": missing field `name`"]);
}

#[test]
fn names() {
    for bad in ["", "a b", "a.b", "{a}", "ä", "a:b", &"a".repeat(33)] {
        let said = refused(&format!("[policy.'{bad}']\nunlimited = true"));
        assert_eq!(
            said,
            [format!(
                "f.toml:1: policy {bad:?}: the name {bad:?} is not 1 to 32 letters, digits, - or _"
            )]
        );
    }
    load(&format!("[policy.{}]\nunlimited = true", "a".repeat(32)));
}

#[test]
fn costs() {
    for cost in [-1, 6, 1_000_001] {
        mistake(
            &format!("cost = {cost}\nrate = '1/s'\nburst = 5"),
            &format!(
                "cost = {cost}: out of range; accepted: 0 to 5, what the smallest burst has room for"
            ),
        );
    }
    mistake(
        "cost = 1000001\nrate = '1000000/s'\nburst = 2000000",
        "cost = 1000001: out of range; accepted: 0 to 1000000, what the smallest burst has room for",
    );
    load("[policy.p]\ncost = 5\nrate = '1/s'\nburst = 5");
    load("[policy.p]\ncost = 0\nrate = '1/s'\nburst = 5");
}

#[test]
fn leases() {
    let of = |requests: u32, ttl: u32| {
        format!("lease = {{ requests = {requests}, ttl_ms = {ttl} }}\nrate = '10/s'\nburst = 20")
    };
    mistake(&of(1, 100), "lease: a lease must be of 2 requests or more");
    mistake(&of(2, 0), "lease: a lease must be good for 1ms to 60s");
    mistake(
        &of(6, 100),
        "lease: a lease of 6 requests is more than a quarter of the 20 that the policy allows at once",
    );
    let policies = load(&format!("[policy.p]\n{}", of(5, 100)));
    let lease = Lease::new(5, Duration::from_millis(100)).unwrap();
    assert_eq!(policies.by_name(Some(b"p")).lease, Some(lease));
}

#[test]
fn words() {
    mistake(
        "failure = 'ajar'\nunlimited = true",
        "failure = \"ajar\"; accepted: \"local\", \"open\" or \"closed\"",
    );
}

#[test]
fn messages() {
    mistake(
        "messages = ['check-rate']\nunlimited = true",
        "message \"check-rate\" cannot be given to a policy: its argument `policy` names one, and \
         \"default\" answers it without",
    );
    mistake(
        "messages = ['a b']\nunlimited = true",
        "message \"a b\": accepted: 1 to 64 letters, digits, -, _, . or :",
    );
    mistake(
        "messages = ['m', 'm']\nunlimited = true",
        "message \"m\" is answered by policy \"p\" already",
    );
    assert_eq!(
        refused(
            "[policy.a]\nunlimited = true\nmessages = ['m']\n\
             [policy.b]\nunlimited = true\nmessages = ['m']"
        ),
        ["f.toml:6: policy \"b\": message \"m\" is answered by policy \"a\" already"]
    );
    let many: Vec<_> = (0..65).map(|number| format!("'m{number}'")).collect();
    mistake(
        &format!("messages = [{}]\nunlimited = true", many.join(",")),
        "65 messages; accepted: up to 64",
    );
}

#[test]
fn networks() {
    for bad in [
        "10.0.0.0/33",
        "10.0.0",
        "example.org",
        "",
        "10.0.0.1-10.0.0.9",
    ] {
        mistake(
            &format!("deny = ['10.0.0.1', '{bad}']\nunlimited = true"),
            &format!(
                "{bad:?}: accepted: addresses and CIDR blocks, such as 192.0.2.7 or 2001:db8::/32"
            ),
        );
    }
    mistake(
        "deny = ['10.0.0.0/16', '10.9.9.9/8']\nunlimited = true\nallow = ['10.0.0.0/8']",
        "10.0.0.0/8 is both allowed and denied",
    );
    let many = "'10.0.0.1',".repeat(MAX_NETWORKS + 1);
    let said = refused(&format!("[policy.p]\nunlimited = true\nallow = [{many}]"));
    assert_eq!(
        said,
        ["f.toml:1: policy \"p\": 65537 networks in allow and deny; accepted: up to 65536"]
    );
}

#[test]
fn too_many_policies() {
    let policy = |number: usize| format!("[policy.p{number}]\nunlimited = true\n");
    let text: String = (0..MAX_POLICIES).map(policy).collect();
    assert_eq!(load(&text).all().len(), MAX_POLICIES + 1);
    let said = refused(&(text + &policy(MAX_POLICIES)));
    assert_eq!(said, ["f.toml:1: 257 policies; accepted: up to 256"]);
}

#[test]
fn every_problem_is_told_in_the_order_of_the_file() {
    let said = refused(
        "[policy.z]\nrate = '1'\nburst = 1\nfailure = 'x'\nmessages = ['']\ndeny = ['y']\n\
         [policy.a]\nburst = 0\nrate = '1/s'\n[policy.m]\nunknown = 1\n",
    );
    let lines: Vec<_> = said
        .iter()
        .map(|line| line.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(lines, ["2", "4", "5", "6", "8", "11"], "{said:#?}");
}

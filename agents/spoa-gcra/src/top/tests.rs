//! The bounds against an exact count, time, names, and threads.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::DefaultHasher;
use std::thread;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::Limit;

/// A hash that is the same in each run.
fn hash(key: u16) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

fn add(counters: &mut SpaceSaving<u16>, key: u16) {
    counters.add(hash(key), |own| *own == key, || key);
}

fn known(counters: &SpaceSaving<u16>, key: u16) -> Estimate {
    let known = counters.get(hash(key), |own| *own == key);
    known.unwrap_or_else(|| counters.unknown())
}

fn exactly(stream: &[u16]) -> HashMap<u16, u64> {
    let mut counts = HashMap::new();
    for key in stream {
        *counts.entry(*key).or_default() += 1;
    }
    counts
}

/// Keys of which the small ones are frequent, and runs of one key.
fn stream() -> impl Strategy<Value = Vec<u16>> {
    let key = prop_oneof![0..4_u16, 0..40_u16, 0..400_u16];
    let runs = prop::collection::vec((key, 1..6_usize), 0..400);
    runs.prop_map(|runs| {
        let runs = runs.into_iter();
        let keys = runs.flat_map(|(key, times)| std::iter::repeat_n(key, times));
        keys.collect()
    })
}

proptest! {
    #[test]
    fn counts_are_within_their_bounds(
        number in 1..32_u16,
        before in stream(),
        stream in stream(),
    ) {
        let mut counters = SpaceSaving::new(number);
        for key in before {
            add(&mut counters, key);
        }
        counters.clear();
        for key in &stream {
            add(&mut counters, *key);
        }
        let all = stream.len() as u64;
        let most = all / u64::from(number);
        let truth = exactly(&stream);
        for key in 0..400 {
            let came = truth.get(&key).copied().unwrap_or(0);
            let Estimate { count, error } = known(&counters, key);
            prop_assert!(came <= count && count <= came + error, "{key}: {came}, {count}, {error}");
            prop_assert!(error <= most);
            let has_one = counters.get(hash(key), |own| *own == key).is_some();
            prop_assert!(has_one || came <= most);
        }
        let counted: u64 = counters.iter().map(|(_, _, known)| known.count).sum();
        prop_assert_eq!(counted, all);
        prop_assert!(counters.iter().all(|(key, own, _)| own == hash(*key)));
    }
}

#[test]
fn memory_is_taken_once() {
    let denied = Denied::new(Names::Clients);
    let allocated = || {
        let shards = &denied.top.denials.as_ref().unwrap().shards;
        let shard = |shard: &Shard| {
            let minutes = shard.lock();
            minutes.current.allocated() + minutes.previous.allocated()
        };
        shards.iter().map(shard).sum::<usize>()
    };
    let first = allocated();
    assert!((340_000..360_000).contains(&first), "{first}");
    for address in 0..400_000_u32 {
        let client = Client(Ipv4Addr::from(address).into());
        let at = denied.at(u64::from(address / 1000));
        denied.top.denied(client, &denied.policy, at);
    }
    assert_eq!(allocated(), first);
    assert!(Top::new(Names::Off, 64).denials.is_none());
}

/// Denials at times since a start.
struct Denied {
    top: Top,
    policy: Policy,
}

impl Denied {
    fn new(names: Names) -> Self {
        Self {
            top: Top::new(names, 64),
            policy: policy("default"),
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        let denials = self.top.denials.as_ref();
        denials.map_or_else(Instant::now, |denials| denials.started) + Duration::from_secs(seconds)
    }

    fn count(&self, client: &str, times: u64, seconds: u64) {
        for _ in 0..times {
            self.top
                .denied(self::client(client), &self.policy, self.at(seconds));
        }
    }

    fn document(&self, seconds: u64) -> Value {
        serde_json::from_str(&self.top.json(self.at(seconds))).unwrap()
    }

    /// Who is in the list, with the counts.
    fn list(&self, seconds: u64) -> Vec<(String, u64)> {
        let document = self.document(seconds);
        let entries = document["clients"].as_array().unwrap().iter();
        let entry = |entry: &Value| {
            let client = entry["client"].as_str().unwrap().to_owned();
            (client, entry["denied"].as_u64().unwrap())
        };
        entries.map(entry).collect()
    }
}

fn client(address: &str) -> Client {
    Client(address.parse().unwrap())
}

fn policy(name: &str) -> Policy {
    let quota = crate::gcra::Quota::new(1, 1).unwrap();
    Policy::new(name, vec![Limit::only(quota)]).unwrap()
}

fn owned(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    let own = |(client, denied): &(&str, u64)| ((*client).to_owned(), *denied);
    list.iter().map(own).collect()
}

#[test]
fn the_document() {
    let mut denied = Denied::new(Names::Networks);
    denied.count("203.0.113.7", 2, 1);
    denied.count("203.0.113.250", 1, 2);
    denied.policy = policy("trial").with_shadow(true);
    denied.count("2001:db8:7:1::", 1, 3);
    denied.count("203.0.113.7", 1, 3);
    assert_eq!(
        denied.top.json(denied.at(3) + Duration::from_millis(1)),
        "{\"names\":\"networks\",\"window_seconds\":4,\"clients\":[\
         {\"client\":\"203.0.113.0/24\",\"policy\":\"default\",\"denied\":3,\"error\":0},\
         {\"client\":\"203.0.113.0/24\",\"policy\":\"trial\",\"shadow\":true,\"denied\":1,\"error\":0},\
         {\"client\":\"2001:db8:7::/48\",\"policy\":\"trial\",\"shadow\":true,\"denied\":1,\"error\":0}]}"
    );
}

#[test]
fn names() {
    let named = |names, ipv6_prefix, address: &str| {
        let denied = Denied {
            top: Top::new(names, ipv6_prefix),
            policy: policy("default"),
        };
        denied.count(address, 1, 0);
        denied.list(0).pop().map(|(client, _)| client)
    };
    for (names, ipv6_prefix, address, expected) in [
        (Names::Networks, 64, "192.0.2.255", "192.0.2.0/24"),
        (Names::Networks, 64, "2001:db8:1:2::", "2001:db8:1::/48"),
        (Names::Networks, 128, "2001:db8:1:2::3", "2001:db8:1::/48"),
        // Clients that are more than such a network stay what they are.
        (Names::Networks, 32, "2001:db8::", "2001:db8::/32"),
        (Names::Networks, 0, "::", "::/0"),
        (Names::Clients, 64, "192.0.2.255", "192.0.2.255"),
        (Names::Clients, 64, "2001:db8:1:2::", "2001:db8:1:2::/64"),
        (Names::Clients, 128, "2001:db8::1", "2001:db8::1"),
    ] {
        assert_eq!(
            named(names, ipv6_prefix, address).as_deref(),
            Some(expected)
        );
    }
    let off = Denied::new(Names::Off);
    off.count("192.0.2.1", 3, 0);
    let expected = json!({"names": "off", "window_seconds": 0, "clients": []});
    assert_eq!(off.document(200), expected);
    for text in ["off", "networks", "clients"] {
        assert_eq!(text.parse::<Names>().unwrap().to_string(), text);
    }
}

#[test]
fn most_denied_first_and_no_more_than_twenty() {
    let denied = Denied::new(Names::Clients);
    for last in 0..40_u64 {
        denied.count(&format!("192.0.2.{last}"), 1 + last / 2, 0);
    }
    let list = denied.list(0);
    let expected: Vec<_> = (10..20_u64)
        .rev()
        .flat_map(|pair| [2 * pair, 2 * pair + 1].map(|last| (last, pair + 1)))
        .map(|(last, times)| (format!("192.0.2.{last}"), times))
        .collect();
    assert_eq!(list, expected);
}

#[test]
fn a_list_is_about_this_minute_and_the_one_before() {
    let denied = Denied::new(Names::Clients);
    denied.count("192.0.2.1", 5, 0);
    denied.count("192.0.2.1", 2, 59);
    denied.count("192.0.2.2", 3, 60);
    assert_eq!(
        denied.list(119),
        owned(&[("192.0.2.1", 7), ("192.0.2.2", 3)])
    );
    // By a denial, and by reading.
    denied.count("192.0.2.1", 1, 120);
    assert_eq!(
        denied.list(120),
        owned(&[("192.0.2.2", 3), ("192.0.2.1", 1)])
    );
    // Late: of a minute that is over.
    denied.count("192.0.2.3", 1, 119);
    assert_eq!(
        denied.list(239),
        owned(&[("192.0.2.1", 1), ("192.0.2.3", 1)])
    );
    assert_eq!(denied.list(240), []);
    denied.count("192.0.2.4", 1, 10_000);
    assert_eq!(denied.list(10_000), owned(&[("192.0.2.4", 1)]));
    assert_eq!(denied.list(100_000), []);

    let windows = [0, 30, 60, 119, 120, 179, 180, 100_000];
    let windows = windows.map(|at| denied.document(at)["window_seconds"].clone());
    assert_eq!(windows, [0, 30, 60, 119, 60, 119, 60, 100].map(Value::from));
}

/// More clients than counters, in both minutes: whom one of them has lost may have been there
/// as often as its least.
#[test]
fn a_twentieth_of_all_denials_is_never_missed() {
    let denied = Denied::new(Names::Clients);
    let mut random = fastrand::Rng::with_seed(7);
    let mut truth: HashMap<String, u64> = HashMap::new();
    let mut all = 0;
    for minute in [0, 60] {
        for _ in 0..30_000 {
            let client = match random.u8(..100) {
                // 6 % each, one of them in the second minute only.
                0..6 => "192.0.2.1".to_owned(),
                6..12 if minute > 0 => "192.0.2.2".to_owned(),
                12..18 => "192.0.2.3".to_owned(),
                _ => Ipv4Addr::from(0x0A00_0000 + random.u32(..20_000)).to_string(),
            };
            denied.count(&client, 1, minute);
            *truth.entry(client).or_default() += 1;
            all += 1;
        }
    }
    let document = denied.document(60);
    let list = document["clients"].as_array().unwrap();
    assert_eq!(list.len(), ENTRIES);
    for entry in list {
        let number = |key: &str| entry[key].as_u64().unwrap();
        let (denied, error) = (number("denied"), number("error"));
        let came = truth[entry["client"].as_str().unwrap()];
        assert!(came <= denied && denied <= came + error, "{entry}: {came}");
        assert!(error <= all / u64::from(COUNTERS), "{entry}");
    }
    let first = |at: usize| list[at]["client"].as_str().unwrap();
    let mut heavy = [first(0), first(1)];
    heavy.sort_unstable();
    assert_eq!(heavy, ["192.0.2.1", "192.0.2.3"]);
    assert_eq!(first(2), "192.0.2.2");
}

#[test]
fn threads_lose_nothing() {
    const TIMES: u64 = 1_000;
    let denied = Denied::new(Names::Clients);
    let clients: Vec<String> = (0..16).map(|last| format!("192.0.2.{last}")).collect();
    thread::scope(|scope| {
        for thread in 0..8 {
            let (denied, clients) = (&denied, &clients);
            scope.spawn(move || {
                for time in 0..TIMES {
                    // Over the end of the minute, each thread in its own time.
                    let seconds = 55 + (time + thread) % 10;
                    for client in clients {
                        denied.count(client, 1, seconds);
                    }
                }
            });
        }
    });
    let list = denied.list(65);
    assert_eq!(list.len(), clients.len());
    assert!(
        list.iter().all(|(_, count)| *count == 8 * TIMES),
        "{list:?}"
    );
}

#[test]
fn policies_are_told_apart_and_go_on_when_read_again() {
    let mut denied = Denied::new(Names::Networks);
    denied.count("192.0.2.1", 1, 0);
    denied.policy = policy("login");
    denied.count("192.0.2.1", 3, 0);
    // Of the same name, read again.
    denied.policy = policy("login");
    denied.count("192.0.2.1", 1, 0);
    denied.policy = policy("login").with_shadow(true);
    denied.count("192.0.2.1", 2, 0);
    let document = denied.document(0);
    let expected = json!([
        {"client": "192.0.2.0/24", "policy": "login", "denied": 4, "error": 0},
        {"client": "192.0.2.0/24", "policy": "login", "shadow": true, "denied": 2, "error": 0},
        {"client": "192.0.2.0/24", "policy": "default", "denied": 1, "error": 0},
    ]);
    assert_eq!(document["clients"], expected);
}

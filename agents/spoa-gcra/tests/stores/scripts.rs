//! The scripts, on a real server but by a clock of the test's own, against the algorithm in
//! Rust: the same rooms, the same writes, and no others.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, TestRunner};
use redis::Pipeline;
use redis::aio::MultiplexedConnection;
use spoa_gcra::gcra::{Budget, Quota, granted, increment};
use spoa_gcra::store::valkey::{SCRIPT, SCRIPT_ALL};
use spop_testkit::valkey::Server;
use tokio::runtime::Runtime;

/// Takes the clock from the last two of ARGV, and notes what is written and for how long.
/// Nothing expires: the schedule has its own time. The script's text itself is the one that
/// is shipped.
const SIMULATED: &str = r"
local redis = setmetatable({ call = function(command, ...)
  if command == 'TIME' then return { ARGV[#ARGV - 1], ARGV[#ARGV] } end
  if command == 'SET' then
    local key, value, unit, life = ...
    assert(unit == 'PX' and select('#', ...) == 4)
    redis.call('HSET', 'written', key, value)
    redis.call('HSET', 'lives', key, life)
    return redis.call('SET', key, value)
  end
  return redis.call(command, ...)
end }, { __index = redis })
";

/// From the agent's default to the ends of what a quota can be: `(interval, burst)`.
const QUOTAS: [(u64, u64); 6] = [
    (10_000, 200_000),
    (7, 7),
    (1, 50),
    (333_334, 1_000_001),
    (1000, 60_500),
    (31_622_400_000_000, 31_622_400_000_000),
];

/// The most requests that one run of the script is asked for: 64 checks of 2^32 - 1.
const MOST: u64 = 64 * u32::MAX as u64;

#[derive(Debug, Clone)]
struct Step {
    /// µs; the clock may also be set back.
    advance: i64,
    client: u8,
    /// Each of them by number, with the quota that it has now.
    limits: Vec<(usize, Quota)>,
    cost: u64,
    count: u64,
    cap_millis: u64,
    /// What is found under the first of the keys instead of what was stored there.
    poison: Option<Poison>,
}

#[derive(Debug, Clone, Copy)]
enum Poison {
    /// A text that is as good as none.
    Empty(&'static str),
    /// A text that no quota leads to, beyond all of them.
    Far(&'static str),
    /// So many µs ahead of the clock: and a half, which the script never writes.
    Fraction(u64),
    /// So many µs ahead of the clock, in another notation.
    Hexadecimal(u64),
    /// A list.
    AnotherType,
}

fn step() -> impl Strategy<Value = Step> {
    let advance = prop_oneof![
        8 => 0..30_000i64,
        2 => 0..3_000_000i64,
        1 => -3_000_000..0i64,
        1 => Just(0),
    ];
    let cost = prop_oneof![6 => Just(1u64), 3 => 0..25u64, 1 => Just(1_000_000)];
    let count = prop_oneof![4 => Just(1), 4 => 1..30u64, 1 => Just(MOST)];
    let cap_millis = prop_oneof![Just(1), Just(150), Just(1_800_000)];
    let poison = prop_oneof![
        select(&["nan", "-nan", "-inf", "-5", "nonsense", "", "1.5"][..]).prop_map(Poison::Empty),
        select(&["inf", "1e300", "9999999999999999", "0x7fffffffffffffff"][..])
            .prop_map(Poison::Far),
        (0..300_000u64).prop_map(Poison::Fraction),
        (0..300_000u64).prop_map(Poison::Hexadecimal),
        Just(Poison::AnotherType),
    ];
    (
        advance,
        0..2u8,
        limits(),
        cost,
        count,
        cap_millis,
        proptest::option::weighted(0.1, poison),
    )
        .prop_map(
            |(advance, client, limits, cost, count, cap_millis, poison)| Step {
                advance,
                client,
                limits,
                cost,
                count,
                cap_millis,
                poison,
            },
        )
}

/// One to four limits. Each has mostly its own quota, and now and then another one: a change
/// of configuration.
fn limits() -> impl Strategy<Value = Vec<(usize, Quota)>> {
    let numbers = proptest::sample::subsequence((0..4usize).collect::<Vec<_>>(), 1..=4);
    let numbers = prop_oneof![1 => (0..4usize).prop_map(|number| vec![number]), 2 => numbers];
    let quotas = [(); 4].map(|()| proptest::option::weighted(0.2, 0..QUOTAS.len()));
    (numbers.prop_shuffle(), quotas).prop_map(|(numbers, others)| {
        let quota = |number: usize| {
            let (interval, burst) = QUOTAS[others[number].unwrap_or(number)];
            (number, Quota::new(interval, burst).unwrap())
        };
        numbers.into_iter().map(quota).collect()
    })
}

/// What a run of the script comes to.
#[derive(Debug, PartialEq)]
struct Run {
    rooms: Vec<i64>,
    /// Each key with its TAT and how long it is kept, in ms.
    writes: HashMap<String, (u64, u64)>,
}

/// Rust's side: every key's TAT.
#[derive(Default)]
struct Oracle(HashMap<String, u64>);

impl Oracle {
    fn run(&mut self, step: &Step, now: u64, keys: &[String]) -> Run {
        let budgets = step.limits.iter().zip(keys).map(|((_, quota), key)| {
            let budget = Budget::at(now, *quota, self.0.get(key).copied());
            (*quota, budget)
        });
        let budgets: Vec<(Quota, Budget)> = budgets.collect();
        let rooms = budgets
            .iter()
            .map(|(quota, budget)| (*quota, budget.room(step.cost)));
        let granted = granted(rooms.clone(), step.cost, step.count);
        let mut writes = HashMap::new();
        for (key, (_, budget)) in keys.iter().zip(&budgets) {
            if let Some(tat) = budget.store(step.cost, granted) {
                self.0.insert(key.clone(), tat);
                let life = ((tat - now) / 1000 + 1).min(step.cap_millis);
                writes.insert(key.clone(), (tat, life));
            }
        }
        Run {
            rooms: rooms.map(|(_, room)| room).collect(),
            writes,
        }
    }

    fn poison(&mut self, key: &str, poison: Poison, now: u64) {
        let tat = match poison {
            Poison::Empty(_) | Poison::AnotherType => 0,
            Poison::Far(_) | Poison::Fraction(_) => u64::MAX,
            Poison::Hexadecimal(ahead) => now + ahead,
        };
        self.0.insert(key.to_owned(), tat);
    }
}

/// The server's side.
struct Scripts {
    runtime: Runtime,
    connection: MultiplexedConnection,
    _server: Server,
}

impl Scripts {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(Server::start()).unwrap();
        let client = redis::Client::open(server.url()).unwrap();
        let connection = runtime
            .block_on(client.get_multiplexed_async_connection())
            .unwrap();
        Self {
            runtime,
            connection,
            _server: server,
        }
    }

    fn load(&self, script: &str) -> String {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(format!("{SIMULATED}{script}"));
        self.runtime
            .block_on(load.query_async(&mut self.connection.clone()))
            .unwrap()
    }

    /// The runs that a pipeline of [`add`](Self::add) makes.
    fn runs(&self, pipeline: &Pipeline) -> Vec<Run> {
        type Reply = (redis::Value, HashMap<String, u64>, HashMap<String, u64>);
        let mut connection = self.connection.clone();
        let replies: Vec<redis::Value> = self
            .runtime
            .block_on(pipeline.query_async(&mut connection))
            .unwrap();
        let run = |replies: &[redis::Value]| {
            let reply = redis::Value::Array(replies.to_vec());
            let (rooms, mut written, lives): Reply = redis::from_redis_value(reply).unwrap();
            let rooms = match rooms {
                redis::Value::Int(room) => vec![room],
                rooms => redis::from_redis_value(rooms).unwrap(),
            };
            let writes = lives.into_iter().map(|(key, life)| {
                let tat = written.remove(&key).unwrap();
                (key, (tat, life))
            });
            Run {
                rooms,
                writes: writes.collect(),
            }
        };
        replies.chunks(3).map(run).collect()
    }
}

/// Adds to `pipeline` one run of the script known by `hash`.
fn add(pipeline: &mut Pipeline, hash: &str, step: &Step, now: u64, keys: &[String]) {
    if let Some(poison) = step.poison {
        put(pipeline, &keys[0], poison, now);
    }
    pipeline.cmd("DEL").arg("written").arg("lives").ignore();
    pipeline.cmd("EVALSHA").arg(hash).arg(keys.len()).arg(keys);
    pipeline.arg(step.count).arg(step.cap_millis);
    for (_, quota) in &step.limits {
        pipeline
            .arg(increment(*quota, step.cost))
            .arg(quota.burst());
    }
    pipeline.arg(now / 1_000_000).arg(now % 1_000_000);
    pipeline.cmd("HGETALL").arg("written");
    pipeline.cmd("HGETALL").arg("lives");
}

fn put(pipeline: &mut Pipeline, key: &str, poison: Poison, now: u64) {
    let text = match poison {
        Poison::Empty(text) | Poison::Far(text) => text.to_owned(),
        Poison::Fraction(ahead) => format!("{}.5", now + ahead),
        Poison::Hexadecimal(ahead) => format!("{:#x}", now + ahead),
        Poison::AnotherType => {
            pipeline.cmd("DEL").arg(key).ignore();
            pipeline.cmd("LPUSH").arg(key).arg(1).ignore();
            return;
        }
    };
    pipeline.cmd("SET").arg(key).arg(text).ignore();
}

/// In one world as it is shipped, in the other by the script for several limits alone: that
/// one limit is decided by either script makes no difference.
#[test]
fn the_scripts_decide_as_the_oracle_does() {
    let scripts = Scripts::start();
    let [one, all] = [SCRIPT, SCRIPT_ALL].map(|script| scripts.load(script));

    let mut runner = TestRunner::new(Cases {
        cases: 200,
        failure_persistence: None,
        ..Cases::default()
    });
    let outcome = runner.run(&vec(step(), 1..60), |schedule| {
        let mut pipeline = redis::pipe();
        pipeline.cmd("FLUSHALL").ignore();
        let mut oracle = Oracle::default();
        let mut expected = Vec::new();
        let mut now = 1_760_000_000_999_999u64;
        for step in &schedule {
            now = now.saturating_add_signed(step.advance);
            let shipped = if step.limits.len() == 1 { &one } else { &all };
            for (world, script) in [("shipped", shipped), ("all", &all)] {
                let key =
                    |(number, _): &(usize, Quota)| format!("{world}:{}:{number}", step.client);
                let keys: Vec<String> = step.limits.iter().map(key).collect();
                if let Some(poison) = step.poison {
                    oracle.poison(&keys[0], poison, now);
                }
                add(&mut pipeline, script, step, now, &keys);
                expected.push(oracle.run(step, now, &keys));
            }
        }
        let runs = scripts.runs(&pipeline);
        prop_assert_eq!(runs.len(), expected.len());
        for (at, (run, expected)) in runs.into_iter().zip(expected).enumerate() {
            prop_assert_eq!(run, expected, "{:?}", &schedule[at / 2]);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

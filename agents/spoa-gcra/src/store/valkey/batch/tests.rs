//! What comes of a batch: the same as if each of its jobs had been sent by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use redis::{Arg, Cmd, Value, parse_redis_value};

use super::super::layout::Address;
use super::super::script::{Call, Form};
use super::*;
use crate::gcra::{Budget, Quota, granted};
use crate::policy::{Limit, LimitId, Policy};
use crate::store::rooms::oracle::Oracle;
use crate::store::{Check, Client, Source, Verdict};

/// µs since the epoch, in 2026.
const NOW: u64 = 1_767_225_600_000_000;

/// Policies that have limits in common. The last is equal to another one, but not the same.
fn policies() -> Vec<Arc<Policy>> {
    let named = |number: u32, interval, burst| {
        let id = LimitId::new(number.try_into().unwrap());
        Limit::named(
            &number.to_string(),
            id,
            Quota::new(interval, burst).unwrap(),
        )
    };
    let (a, b) = (named(1, 10, 45), named(2, 1, 12));
    let (c, d) = (named(3, 7, 20), named(4, 40, 160));
    let new = |limits| Arc::new(Policy::new("of tests", limits).unwrap());
    vec![
        Arc::new(Policy::of_one(a.quota())),
        new(vec![a.clone()]),
        new(vec![a.clone(), b.clone()]),
        new(vec![d, c, b.clone(), a.clone()]),
        new(vec![a, b]),
    ]
}

/// A check, and whether it is sent on to a node that is only receiving the slot.
type Asked = (Check, bool);

fn asked() -> impl Strategy<Value = Vec<Asked>> {
    let policies = policies();
    let one = (0..4u8, 0..policies.len(), 0..=3u64, 1..=5u32, 0..8u8);
    let one = one.prop_map(move |(client, policy, cost, count, asking)| {
        let check = Check {
            client: Client([192, 0, 2, client].into()),
            policy: Arc::clone(&policies[policy]),
            cost,
            count,
            deadline: Instant::now(),
        };
        (check, asking == 0)
    });
    vec(one, 1..40)
}

fn batch(asked: &[Asked]) -> Batch {
    let jobs = asked.iter().map(|(check, asking)| {
        let (mut job, _answer) = Job::new(check.clone()).unwrap();
        job.asking = *asking;
        job
    });
    Batch::new(jobs.collect())
}

/// What a node says of one command.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Decided,
    Refused(&'static str),
    /// Something that the script does not answer.
    Odd(&'static str),
}

const ODD: [&str; 5] = [
    "+OK\r\n",
    "$-1\r\n",
    "*0\r\n",
    "*3\r\n:1\r\n:2\r\n:3\r\n",
    "*2\r\n:1\r\n$1\r\n1\r\n",
];

fn fate() -> impl Strategy<Value = Fate> {
    let refusals: Vec<&'static str> = vec![
        "-NOSCRIPT No matching script. Please use EVAL.\r\n",
        "-MOVED 3999 10.0.0.2:6381\r\n",
        "-ASK 3999 10.0.0.2:6381\r\n",
        "-CLUSTERDOWN The cluster is down\r\n",
        "-OOM command not allowed\r\n",
    ];
    prop_oneof![
        6 => Just(Fate::Decided),
        2 => proptest::sample::select(refusals).prop_map(Fate::Refused),
        1 => proptest::sample::select(&ODD[..]).prop_map(Fate::Odd),
    ]
}

/// A server as far as the scripts go: the TAT of each key.
#[derive(Default)]
struct Server(HashMap<String, u64>);

impl Server {
    /// `EVALSHA hash keys key… count cap (increment burst)…`
    fn run(&mut self, command: &Cmd) -> Value {
        let words: Vec<String> = command.args_iter().map(word).collect();
        let number = |at: usize| -> u64 { words[at].parse().unwrap() };
        let keys = number(2) as usize;
        let count = number(3 + keys);
        let limits: Vec<(String, u64, Budget)> = (0..keys)
            .map(|i| {
                let key = words[3 + i].clone();
                let (increment, burst) = (number(5 + keys + 2 * i), number(6 + keys + 2 * i));
                // One µs as the interval, so that the increment is the cost.
                let quota = Quota::new(1, burst).unwrap();
                let budget = Budget::at(NOW, quota, self.0.get(&key).copied());
                (key, increment, budget)
            })
            .collect();
        assert_eq!(words.len(), 5 + 3 * keys);
        let room = |(_, increment, budget): &(String, u64, Budget)| budget.room(*increment);
        let any = Quota::new(1, 1).unwrap();
        let granted = limits.iter().fold(count, |count, limit| {
            granted([(any, room(limit))], limit.1, count)
        });
        let rooms: Vec<Value> = limits.iter().map(|limit| Value::Int(room(limit))).collect();
        for (key, increment, budget) in limits {
            if let Some(tat) = budget.store(increment, granted) {
                self.0.insert(key, tat);
            }
        }
        match &rooms[..] {
            [room] => room.clone(),
            _ => Value::Array(rooms),
        }
    }

    /// Answers the pipeline, of which each command has its fate.
    fn answer(&mut self, pipeline: &Pipeline, fates: &[Fate]) -> Vec<Value> {
        let mut fates = fates.iter();
        let answer = |command: &Cmd| {
            if command.args_iter().map(word).eq(["ASKING".to_owned()]) {
                return Value::Okay;
            }
            match fates.next().unwrap() {
                Fate::Decided => self.run(command),
                Fate::Refused(wire) | Fate::Odd(wire) => wire_value(wire),
            }
        };
        pipeline.cmd_iter().map(answer).collect()
    }
}

fn word(arg: Arg<&[u8]>) -> String {
    match arg {
        Arg::Simple(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        _ => unreachable!("neither a cursor nor a stream"),
    }
}

fn wire_value(wire: &str) -> Value {
    parse_redis_value(wire.as_bytes()).unwrap()
}

/// What is to come of each of `asked`, in a world without batches: of those that one command
/// decides, `answered` say how many commands are answered at all.
fn expected(
    asked: &[Asked],
    fates: &[Fate],
    answered: usize,
    oracle: &mut Oracle,
) -> Vec<Result<Verdict, Reply>> {
    let same = |a: &Asked, b: &Asked| {
        (a.0.client, a.0.cost, a.1) == (b.0.client, b.0.cost, b.1)
            && Arc::ptr_eq(&a.0.policy, &b.0.policy)
    };
    let mut firsts: Vec<&Asked> = Vec::new();
    for one in asked {
        if !firsts.iter().any(|first| same(first, one)) {
            firsts.push(one);
        }
    }
    let mut expected = vec![Err(Reply::Malformed); asked.len()];
    for (group, first) in firsts.into_iter().enumerate().take(answered) {
        let mine = asked.iter().enumerate().filter(|(_, one)| same(first, one));
        for (at, (check, _)) in mine {
            expected[at] = match fates[group] {
                Fate::Decided => Ok(oracle.decide(check, NOW, Source::Valkey)),
                Fate::Refused(wire) => Err(refused(wire)),
                Fate::Odd(_) => Err(Reply::Malformed),
            };
        }
    }
    expected
}

fn refused(wire: &str) -> Reply {
    let elsewhere = Address::new("10.0.0.2", 6381);
    match wire.split(' ').next().unwrap() {
        "-NOSCRIPT" => Reply::NoScript,
        "-MOVED" => Reply::Moved(elsewhere),
        "-ASK" => Reply::Ask(elsewhere),
        code => Reply::Refused(code[1..].into()),
    }
}

proptest! {
    /// Batches one after the other, on one server: some commands of them are refused, and
    /// some answers may be missing.
    #[test]
    fn each_job_learns_what_it_would_have_learnt_alone(
        batches in vec((asked(), vec(fate(), 40), prop_oneof![3 => Just(40usize), 1 => 0..10usize]), 1..4),
    ) {
        let (mut server, mut oracle) = (Server::default(), Oracle::default());
        for (asked, mut fates, answered) in batches {
            // Nothing that was decided is lost here: that would be known to nobody.
            for fate in fates.iter_mut().skip(answered) {
                *fate = Fate::Odd(ODD[0]);
            }
            let batch = batch(&asked);
            let pipeline = batch.pipeline(Call::EvalSha, Form::Name, 1_800_000);
            let mut replies = server.answer(&pipeline, &fates);
            let is_asking = |command: &Cmd| command.args_iter().map(word).eq(["ASKING".to_owned()]);
            let kept = pipeline
                .cmd_iter()
                .scan(0, |commands, command| {
                    *commands += usize::from(!is_asking(command));
                    Some(*commands)
                })
                .take_while(|&commands| commands <= answered)
                .count();
            replies.truncate(kept);

            let expected = expected(&asked, &fates, answered, &mut oracle);
            let judged: Vec<_> = batch.judged(replies, "10.0.0.1").collect();
            prop_assert_eq!(judged.len(), asked.len());
            for (((job, before, reply), (check, _)), expected) in
                judged.into_iter().zip(&asked).zip(expected)
            {
                prop_assert_eq!(&job.check, check);
                let learnt = match reply {
                    Reply::Rooms(rooms) => Ok(rooms.verdict(check, before, Source::Valkey)),
                    other => Err(other),
                };
                prop_assert_eq!(learnt, expected);
            }
        }
        let debts = oracle.debts(NOW);
        prop_assert_eq!(server.0.values().filter(|&&tat| tat > NOW).count(), debts.len());
        for (client, id, tat) in debts {
            let policies = policies();
            let mut limits = policies.iter().flat_map(|policy| policy.limits());
            let limit = limits.find(|limit| limit.id() == id).unwrap();
            prop_assert_eq!(server.0[&limit.key(client)], tat);
        }
    }
}

#[test]
fn equal_jobs_are_one_command_for_all_of_their_requests() {
    let policies = policies();
    let check = |client: u8, policy: usize, cost, count| Check {
        client: Client([192, 0, 2, client].into()),
        policy: Arc::clone(&policies[policy]),
        cost,
        count,
        deadline: Instant::now(),
    };
    let asked = [
        (check(1, 2, 1, 3), false),
        (check(1, 2, 1, 1), true),  // ASKING is not the same
        (check(1, 2, 2, 1), false), // another cost
        (check(2, 2, 1, 1), false), // another client
        (check(1, 4, 1, 1), false), // an equal policy, of another time
        (check(1, 2, 1, 4), false),
    ];
    let batch = batch(&asked);
    let commands: Vec<Vec<String>> = batch
        .pipeline(Call::EvalSha, Form::Name, 1000)
        .cmd_iter()
        .map(|command| command.args_iter().map(word).collect())
        .collect();
    let counts: Vec<_> = commands
        .iter()
        .map(|words| words.get(5).map_or(words[0].as_str(), |count| count))
        .collect();
    assert_eq!(counts, ["7", "ASKING", "1", "1", "1", "1"]);
    assert_eq!(
        commands[0][3..5],
        ["gcra:{192.0.2.1}:1", "gcra:{192.0.2.1}:2"]
    );
    assert_eq!(batch.into_jobs().count(), asked.len());
}

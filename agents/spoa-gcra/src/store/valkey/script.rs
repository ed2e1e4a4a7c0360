//! The script as commands and replies: what is written for a job, and what each reply means.

use std::sync::{Arc, LazyLock};

use redis::{Cmd, RedisError, Script, ServerErrorKind, Value};

use super::job::Job;
use super::layout::Address;
use crate::gcra::increment;
use crate::store::Rooms;

/// The script that decides under one limit, as the server runs it: `gcra.lua`.
pub const SCRIPT: &str = include_str!("gcra.lua");

/// The script that decides under several limits at once: `gcra_all.lua`. It does the same for
/// one limit, at a fifth more of the server's time.
pub const SCRIPT_ALL: &str = include_str!("gcra_all.lua");

/// The same with its hash, computed once.
pub(super) static ONE: LazyLock<Script> = LazyLock::new(|| Script::new(SCRIPT));
pub(super) static ALL: LazyLock<Script> = LazyLock::new(|| Script::new(SCRIPT_ALL));

/// How the script is named to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// By its hash: 40 bytes, but the server must have it.
    Hash,
    /// By its text, which the server keeps from then on.
    Source,
}

/// The command that decides `count` requests like this job's.
pub(super) fn command(job: &Job, count: u64, form: Form, cap_millis: u64) -> Cmd {
    let check = &job.check;
    let limits = check.policy.limits();
    let (script, text) = match limits {
        [_] => (&*ONE, SCRIPT),
        _ => (&*ALL, SCRIPT_ALL),
    };
    let (name, script) = match form {
        Form::Hash => ("EVALSHA", script.get_hash()),
        Form::Source => ("EVAL", text),
    };
    let mut command = Cmd::with_capacity(5 + 3 * limits.len(), 128 * limits.len());
    command.arg(name).arg(script).arg(limits.len());
    for limit in limits {
        command.arg(limit.key(check.client).to_string());
    }
    command.arg(count).arg(cap_millis);
    for limit in limits {
        let quota = limit.quota();
        command.arg(increment(quota, check.cost)).arg(quota.burst());
    }
    command
}

/// What one reply to [`command`] means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Decided: this much room is left.
    Rooms(Rooms),
    /// The server does not have the script. Nothing ran.
    NoScript,
    /// The slot lives elsewhere now. Nothing ran.
    Moved(Address),
    /// This key is elsewhere already, its slot not yet. Nothing ran.
    Ask(Address),
    /// Any other error, by its code.
    Refused(Arc<str>),
    /// Not something that the script answers.
    Malformed,
}

impl Reply {
    /// Reads a reply about as many `keys`, of the node at `host`: a redirection may leave the
    /// host out and means the same one then.
    pub(super) fn read(value: Value, keys: usize, host: &str) -> Self {
        let error = match value {
            Value::Int(room) if keys == 1 => return Self::Rooms(Rooms::new([room])),
            Value::Array(rooms) if keys > 1 && keys == rooms.len() => return Self::rooms(&rooms),
            Value::ServerError(error) => error,
            _ => return Self::Malformed,
        };
        let kind = error.kind();
        let code: Arc<str> = error.code().into();
        let error = RedisError::from(error);
        let target = error
            .redirect_node()
            .and_then(|(address, _slot)| Address::parse(address, host));
        match (kind, target) {
            (Some(ServerErrorKind::NoScript), _) => Self::NoScript,
            (Some(ServerErrorKind::Moved), Some(target)) => Self::Moved(target),
            (Some(ServerErrorKind::Ask), Some(target)) => Self::Ask(target),
            _ => Self::Refused(code),
        }
    }

    fn rooms(values: &[Value]) -> Self {
        let number = |value: &Value| match value {
            Value::Int(room) => Some(*room),
            _ => None,
        };
        let rooms: Option<Vec<i64>> = values.iter().map(number).collect();
        rooms.map_or(Self::Malformed, |rooms| Self::Rooms(Rooms::new(rooms)))
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::super::job::job;
    use super::*;

    fn read(wire: &str) -> Reply {
        Reply::read(parse_redis_value(wire.as_bytes()).unwrap(), 1, "10.0.0.1")
    }

    #[test]
    fn a_job_becomes_one_command() {
        let (job, _answer) = job("192.0.2.7");
        let packed = |form| {
            let packed = command(&job, 3, form, 1_800_000).get_packed_command();
            String::from_utf8(packed).unwrap()
        };
        let hash = ONE.get_hash();
        assert_eq!(
            packed(Form::Hash),
            format!(
                "*8\r\n$7\r\nEVALSHA\r\n$40\r\n{hash}\r\n$1\r\n1\r\n$14\r\ngcra:192.0.2.7\r\n\
                 $1\r\n3\r\n$7\r\n1800000\r\n$5\r\n20000\r\n$6\r\n200000\r\n"
            )
        );
        assert!(packed(Form::Source).starts_with("*8\r\n$4\r\nEVAL\r\n"));
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(read(":190000\r\n"), Reply::Rooms(Rooms::new([190_000])));
        assert_eq!(read(":-10000\r\n"), Reply::Rooms(Rooms::new([-10_000])));
        assert_eq!(
            read("-NOSCRIPT No matching script. Please use EVAL.\r\n"),
            Reply::NoScript
        );
        assert_eq!(
            read("-MOVED 3999 10.0.0.2:6381\r\n"),
            Reply::Moved(Address::new("10.0.0.2", 6381))
        );
        assert_eq!(
            read("-ASK 3999 ::1:6381\r\n"),
            Reply::Ask(Address::new("::1", 6381))
        );
        assert_eq!(
            read("-MOVED 3999 :6381\r\n"),
            Reply::Moved(Address::new("10.0.0.1", 6381))
        );
    }

    #[test]
    fn of_other_errors_only_the_code_is_kept() {
        for (wire, code) in [
            ("-CLUSTERDOWN The cluster is down\r\n", "CLUSTERDOWN"),
            ("-READONLY You can't write against\r\n", "READONLY"),
            ("-OOM command not allowed\r\n", "OOM"),
            ("-ERR gcra:192.0.2.7 is bad\r\n", "ERR"),
            ("-MOVED 3999\r\n", "MOVED"),
            ("-MOVED 3999 nowhere\r\n", "MOVED"),
        ] {
            assert_eq!(read(wire), Reply::Refused(code.into()), "{wire}");
        }
    }

    #[test]
    fn anything_but_a_number_is_malformed() {
        for wire in ["$5\r\n12345\r\n", "$-1\r\n", "*1\r\n:1\r\n", "+OK\r\n"] {
            assert_eq!(read(wire), Reply::Malformed, "{wire}");
        }
    }
}

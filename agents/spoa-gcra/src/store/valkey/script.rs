//! The script as commands and replies: what is written for a job, and what each reply means.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use redis::aio::MultiplexedConnection;
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

/// The scripts with their hashes, computed once.
static ONE: LazyLock<Script> = LazyLock::new(|| Script::new(SCRIPT));
static ALL: LazyLock<Script> = LazyLock::new(|| Script::new(SCRIPT_ALL));

/// The scripts as a library of functions.
static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

/// How a server is told which script to run. Its text form is the value of
/// `SPOA_VALKEY_CALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Call {
    /// By the script's hash. Each server keeps the scripts until it restarts, and is given
    /// them again when it says that it has none.
    #[default]
    EvalSha,
    /// As a function, of a library that the servers replicate and persist: a promoted replica
    /// has it. The library's name says which texts it is of, so that agents of different
    /// versions do not replace each other's.
    Fcall,
}

impl FromStr for Call {
    type Err = UnknownCall;

    fn from_str(text: &str) -> Result<Self, UnknownCall> {
        match text {
            "evalsha" => Ok(Self::EvalSha),
            "fcall" => Ok(Self::Fcall),
            _ => Err(UnknownCall),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EvalSha => "evalsha",
            Self::Fcall => "fcall",
        })
    }
}

/// A text that is no [`Call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of evalsha, fcall")]
pub struct UnknownCall;

impl Call {
    /// Gives the server what it is going to be told to run.
    ///
    /// # Errors
    /// If the connection does not work. A server that refuses is taken at its word later: it
    /// may have been given everything by others.
    pub(super) async fn provide(
        self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let mut commands = redis::pipe();
        match self {
            Self::EvalSha => commands.load_script(&ONE).load_script(&ALL),
            Self::Fcall => commands.cmd("FUNCTION").arg("LOAD").arg(&FUNCTIONS.library),
        };
        let said = connection.send_packed_commands(&commands, 0, commands.len());
        said.await.map(|_taken_or_refused| ())
    }
}

/// How a script is named in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Short, but the server must have it.
    Name,
    /// So that the server has it after this: its text, or its name after the library was
    /// [provided](Call::provide).
    Text,
}

/// The command that decides `count` requests like this job's.
pub(super) fn command(job: &Job, count: u64, call: Call, form: Form, cap_millis: u64) -> Cmd {
    let check = &job.check;
    let limits = check.policy.limits();
    let (script, text, function) = match limits {
        [_] => (&ONE, SCRIPT, &FUNCTIONS.one),
        _ => (&ALL, SCRIPT_ALL, &FUNCTIONS.all),
    };
    let (name, script) = match (call, form) {
        (Call::EvalSha, Form::Name) => ("EVALSHA", script.get_hash()),
        (Call::EvalSha, Form::Text) => ("EVAL", text),
        (Call::Fcall, _) => ("FCALL", function.as_str()),
    };
    let mut command = Cmd::with_capacity(5 + 3 * limits.len(), 128 * limits.len());
    command.arg(name).arg(script).arg(limits.len());
    command.arg(&job.key);
    for limit in limits.iter().skip(1) {
        command.arg(limit.key(check.client));
    }
    command.arg(count).arg(cap_millis);
    for limit in limits {
        let quota = limit.quota();
        command.arg(increment(quota, check.cost)).arg(quota.burst());
    }
    command
}

/// The right to load libraries.
pub(super) const LOAD: &str = "+function|load";

/// The commands that decisions are asked for with, each with the right that it takes: about
/// this key, and without spending.
///
/// A server may not have what it is asked for by name, and says so. [`LOAD`] is for loading
/// nothing, which it always refuses: a library would be replicated and persisted.
pub(super) fn rehearsed(call: Call, key: &str) -> [(&'static str, Cmd); 2] {
    let asks = |name, script| {
        let mut command = redis::cmd(name);
        // As in `gcra.lua`: count, cap, increment, burst.
        command.arg(script).arg(1).arg(key).arg(&[1, 1, 0, 1]);
        command
    };
    match call {
        Call::EvalSha => [
            ("+evalsha", asks("EVALSHA", ONE.get_hash())),
            ("+eval", asks("EVAL", SCRIPT)),
        ],
        Call::Fcall => {
            let mut load = redis::cmd("FUNCTION");
            load.arg("LOAD").arg("");
            [("+fcall", asks("FCALL", &FUNCTIONS.one)), (LOAD, load)]
        }
    }
}

/// A library of both scripts, and what its functions are called.
struct Functions {
    library: String,
    one: String,
    all: String,
}

impl Functions {
    fn new() -> Self {
        let texts = Script::new(&format!("{SCRIPT}{SCRIPT_ALL}"));
        let version = texts.get_hash().get(..8).unwrap_or_default().to_owned();
        let (one, all) = (format!("gcra_{version}"), format!("gcra_all_{version}"));
        // As in a script, the arguments are called KEYS and ARGV.
        let function = |name: &str, text| {
            format!("redis.register_function('{name}', function(KEYS, ARGV)\n{text}\nend)\n")
        };
        let library = format!(
            "#!lua name={one}\n{}{}",
            function(&one, SCRIPT),
            function(&all, SCRIPT_ALL)
        );
        Self { library, one, all }
    }
}

/// What one reply to [`command`] means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Decided: this much room is left.
    Rooms(Rooms),
    /// The server does not have the script or function. Nothing ran.
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
        // The only way that it can be told.
        if error.details() == Some("Function not found") {
            return Self::NoScript;
        }
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
        let packed = |call, form| {
            let packed = command(&job, 3, call, form, 1_800_000).get_packed_command();
            String::from_utf8(packed).unwrap()
        };
        let hash = ONE.get_hash();
        assert_eq!(
            packed(Call::EvalSha, Form::Name),
            format!(
                "*8\r\n$7\r\nEVALSHA\r\n$40\r\n{hash}\r\n$1\r\n1\r\n$14\r\ngcra:192.0.2.7\r\n\
                 $1\r\n3\r\n$7\r\n1800000\r\n$5\r\n20000\r\n$6\r\n200000\r\n"
            )
        );
        assert!(packed(Call::EvalSha, Form::Text).starts_with("*8\r\n$4\r\nEVAL\r\n"));
        for form in [Form::Name, Form::Text] {
            assert!(packed(Call::Fcall, form).starts_with("*8\r\n$5\r\nFCALL\r\n$13\r\ngcra_"));
        }
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(read(":190000\r\n"), Reply::Rooms(Rooms::new([190_000])));
        assert_eq!(read(":-10000\r\n"), Reply::Rooms(Rooms::new([-10_000])));
        assert_eq!(
            read("-NOSCRIPT No matching script. Please use EVAL.\r\n"),
            Reply::NoScript
        );
        assert_eq!(read("-ERR Function not found\r\n"), Reply::NoScript);
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

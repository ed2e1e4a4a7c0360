//! The list of all settings, and what can be said about them from it alone.

use std::fmt::{self, Write as _};

use spoa_process::unknown_settings;

use crate::gcra::MAX_MICROS;
use crate::store::denial_cache::MAX_ENTRIES;
use crate::store::memory::MAX_CLIENTS;
use crate::store::valkey::MAX_LANES;

/// An environment variable that the agent reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// What a number counts; empty for a text.
    pub unit: &'static str,
    /// The value that counts if the variable is not set. Empty: see [`meaning`](Self::meaning).
    pub default: &'static str,
    /// What is accepted.
    pub accepts: Accepts,
    /// What it is for, in one line.
    pub meaning: &'static str,
}

impl Setting {
    /// What is accepted, with the unit.
    pub fn accepted(&self) -> String {
        let space = if self.unit.is_empty() { "" } else { " " };
        format!("{}{space}{}", self.accepts, self.unit)
    }
}

/// The values that a setting accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accepts {
    /// A whole number, both ends included.
    Number(u64, u64),
    /// A text of this form.
    Text(&'static str),
}

impl Accepts {
    /// Whether this is a number's setting and the number is in its range.
    pub fn number(&self, number: u64) -> bool {
        matches!(*self, Self::Number(least, most) if (least..=most).contains(&number))
    }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(least, most) => write!(f, "{least} to {most}"),
            Self::Text(form) => f.write_str(form),
        }
    }
}

/// Every setting, in the order in which they are explained.
pub const TABLE: &[Setting] = &[
    ADDR,
    ADMIN_ADDR,
    TOP,
    VALKEY_NODES,
    VALKEY_USERNAME,
    VALKEY_PASSWORD,
    VALKEY_PASSWORD_FILE,
    VALKEY_CA_FILE,
    VALKEY_CERT_FILE,
    VALKEY_KEY_FILE,
    VALKEY_LANES,
    VALKEY_CALL,
    INTERVAL,
    BURST,
    TTL,
    CONFIG,
    SHADOW,
    TRUSTED_PROXIES,
    IPV6_PREFIX,
    FAILURE,
    DECISION_BUDGET,
    MEMORY_CLIENTS,
    DENIAL_CACHE,
    LAME_DUCK,
    WORKER_THREADS,
    LOG,
    LOG_FORMAT,
];

pub(super) static ADDR: Setting = Setting {
    name: "SPOE_ADDR",
    unit: "",
    default: "0.0.0.0:9000",
    accepts: Accepts::Text("ADDRESS:PORT, HOST:PORT, unix@PATH, abns@NAME, or fd@NAME"),
    meaning: "where to listen; fd@NAME: on a socket of systemd's",
};

pub(super) static ADMIN_ADDR: Setting = Setting {
    name: "SPOA_ADMIN_ADDR",
    unit: "",
    default: "127.0.0.1:9001",
    accepts: Accepts::Text("ADDRESS:PORT, HOST:PORT, or off"),
    meaning: "where metrics and health are shown; unset and in use: nowhere, with a warning",
};

pub(super) static TOP: Setting = Setting {
    name: "SPOA_TOP",
    unit: "",
    default: "networks",
    accepts: Accepts::Text("off, networks or clients"),
    meaning: "whom /top shows as denied most: networks (/24, /48), or clients as they are limited",
};

pub(super) static VALKEY_NODES: Setting = Setting {
    name: "VALKEY_NODES",
    unit: "",
    default: "",
    accepts: Accepts::Text("comma-separated valkey:// or valkeys:// (TLS) URLs, or HOST:PORT"),
    meaning: "the server, or nodes of the cluster, that keeps the state; unset: this process",
};

pub(super) static VALKEY_USERNAME: Setting = Setting {
    name: "VALKEY_USERNAME",
    unit: "",
    default: "",
    accepts: Accepts::Text("an ACL user, with a password"),
    meaning: "who asks Valkey; unset: the default user, or whom VALKEY_NODES names",
};

pub(super) static VALKEY_PASSWORD: Setting = Setting {
    name: "VALKEY_PASSWORD",
    unit: "",
    default: "",
    accepts: Accepts::Text("a text, if there is none in VALKEY_NODES"),
    meaning: "that user's password; unset: none, or as VALKEY_NODES says",
};

pub(super) static VALKEY_PASSWORD_FILE: Setting = Setting {
    name: "VALKEY_PASSWORD_FILE",
    unit: "",
    default: "",
    accepts: Accepts::Text("the path of a text file, in place of VALKEY_PASSWORD"),
    meaning: "where the password is, such as a mounted secret; read once",
};

pub(super) static VALKEY_CA_FILE: Setting = Setting {
    name: "VALKEY_CA_FILE",
    unit: "",
    default: "",
    accepts: Accepts::Text("the path of a PEM file, with valkeys:// only"),
    meaning: "who vouches for the servers; unset: the public authorities; read once",
};

pub(super) static VALKEY_CERT_FILE: Setting = Setting {
    name: "VALKEY_CERT_FILE",
    unit: "",
    default: "",
    accepts: Accepts::Text("the path of a PEM file, with VALKEY_KEY_FILE"),
    meaning: "this agent's certificate, for servers that ask for one; read once",
};

pub(super) static VALKEY_KEY_FILE: Setting = Setting {
    name: "VALKEY_KEY_FILE",
    unit: "",
    default: "",
    accepts: Accepts::Text("the path of a PEM file, with VALKEY_CERT_FILE"),
    meaning: "the key of that certificate, not encrypted; read once",
};

pub(super) static VALKEY_LANES: Setting = Setting {
    name: "SPOA_VALKEY_LANES",
    unit: "connections",
    default: "1",
    accepts: Accepts::Number(1, MAX_LANES as u64),
    meaning: "connections to each primary; one carries about 100 000 checks a second",
};

pub(super) static INTERVAL: Setting = Setting {
    name: "SPOA_RATE_INTERVAL",
    unit: "µs",
    default: "10000",
    accepts: Accepts::Number(1, MAX_MICROS),
    meaning: "time between two requests at the sustained rate",
};

pub(super) static BURST: Setting = Setting {
    name: "SPOA_RATE_BURST",
    unit: "µs",
    default: "200000",
    accepts: Accepts::Number(1, MAX_MICROS),
    meaning: "burst budget, at least one interval; burst / interval requests pass at once",
};

pub(super) static TTL: Setting = Setting {
    name: "SPOA_RATE_TTL",
    unit: "s",
    default: "1800",
    accepts: Accepts::Number(1, MAX_MICROS / 1_000_000),
    meaning: "the longest that a client's state is kept, at least the burst",
};

pub(super) static VALKEY_CALL: Setting = Setting {
    name: "SPOA_VALKEY_CALL",
    unit: "",
    default: "evalsha",
    accepts: Accepts::Text("evalsha or fcall"),
    meaning: "what Valkey runs: scripts, or functions, which it replicates and persists",
};

pub(super) static CONFIG: Setting = Setting {
    name: "SPOA_CONFIG",
    unit: "",
    default: "",
    accepts: Accepts::Text("the path of a TOML file"),
    meaning: "a file of policies; unset: the one policy that SPOA_RATE_* describe",
};

pub(super) static SHADOW: Setting = Setting {
    name: "SPOA_SHADOW",
    unit: "",
    default: "false",
    accepts: Accepts::Text("true or false"),
    meaning: "decide and report, but never deny; a policy's own `shadow` comes first",
};

pub(super) static TRUSTED_PROXIES: Setting = Setting {
    name: "SPOA_TRUSTED_PROXIES",
    unit: "",
    default: "private",
    accepts: Accepts::Text("private, none, all, or comma-separated addresses and CIDR blocks"),
    meaning: "whose Forwarded and X-Forwarded-For headers are believed",
};

pub(super) static IPV6_PREFIX: Setting = Setting {
    name: "SPOA_IPV6_PREFIX",
    unit: "bits",
    default: "64",
    accepts: Accepts::Number(1, 128),
    meaning: "IPv6 addresses with this prefix in common are one client",
};

pub(super) static FAILURE: Setting = Setting {
    name: "SPOA_FAILURE",
    unit: "",
    default: "local",
    accepts: Accepts::Text("local, open or closed"),
    meaning: "when Valkey does not answer: limit in this process, allow, or deny",
};

pub(super) static DECISION_BUDGET: Setting = Setting {
    name: "SPOA_DECISION_BUDGET",
    unit: "ms",
    default: "8",
    accepts: Accepts::Number(1, 1000),
    meaning: "the longest wait for Valkey; below HAProxy's `timeout processing`",
};

pub(super) static MEMORY_CLIENTS: Setting = Setting {
    name: "SPOA_MEMORY_CLIENTS",
    unit: "clients",
    default: "500000",
    accepts: Accepts::Number(1000, MAX_CLIENTS as u64),
    meaning: "clients that this process remembers at most, about 75 bytes each",
};

pub(super) static DENIAL_CACHE: Setting = Setting {
    name: "SPOA_DENIAL_CACHE",
    unit: "entries",
    default: "65536",
    accepts: Accepts::Number(0, MAX_ENTRIES as u64),
    meaning: "denied clients that Valkey is not asked about, about 60 bytes each; 0: it always is",
};

pub(super) static LAME_DUCK: Setting = Setting {
    name: "SPOA_LAME_DUCK",
    unit: "ms",
    default: "0",
    accepts: Accepts::Number(0, 600_000),
    meaning: "how long checks fail, at the end, before connections close; more than `inter` x `fall`",
};

pub(super) static WORKER_THREADS: Setting = Setting {
    name: "TOKIO_WORKER_THREADS",
    unit: "threads",
    default: "",
    accepts: Accepts::Number(1, 1024),
    meaning: "threads that serve; set it to the CPU limit; unset: one per CPU",
};

pub(super) static LOG: Setting = Setting {
    name: "RUST_LOG",
    unit: "",
    default: "warn",
    accepts: Accepts::Text("off, error, warn, info, debug, trace, or TARGET=LEVEL,…"),
    meaning: "what is logged; what is not named is at warn",
};

pub(super) static LOG_FORMAT: Setting = Setting {
    name: "SPOA_LOG_FORMAT",
    unit: "",
    default: "text",
    accepts: Accepts::Text("text or json"),
    meaning: "how it is logged; with json what is printed at the start is a line of it, too",
};

/// [`TABLE`] as the README shows it.
pub fn markdown_table() -> String {
    let mut table =
        String::from("| Variable | Default | Accepted | Meaning |\n|---|---|---|---|\n");
    for setting in TABLE {
        let accepted = setting.accepted();
        let Setting {
            name,
            default,
            meaning,
            ..
        } = setting;
        let default = match *default {
            "" => "unset".to_owned(),
            default => format!("`{default}`"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{name}` | {default} | {accepted} | {meaning} |");
    }
    table
}

/// [`TABLE`] as a file of environment variables, such as systemd's `EnvironmentFile=`: what each variable means, what it
/// accepts, and its default, commented out.
pub fn environment_file() -> String {
    let mut file = String::from(
        "# The settings of spoa-gcra: what is commented out is the default. In spoa-gcra.service\n\
         # SPOE_ADDR is 127.0.0.1:9000, and `systemctl restart spoa-gcra` applies them.\n",
    );
    for setting in TABLE {
        let accepted = setting.accepted();
        let Setting {
            name,
            default,
            meaning,
            ..
        } = setting;
        let _ = writeln!(file, "\n# {meaning}\n# ({accepted})\n#{name}={default}");
    }
    file
}

/// [`TABLE`] as `--help` shows it: what each variable means, and in a second line what it
/// accepts and its default.
pub fn help_table() -> String {
    let width = TABLE.iter().map(|setting| setting.name.len()).max();
    let width = width.unwrap_or(0);
    let mut table = String::new();
    for setting in TABLE {
        let accepted = setting.accepted();
        let Setting {
            name,
            default,
            meaning,
            ..
        } = setting;
        let default = match *default {
            "" => String::new(),
            default => format!("; default {default}"),
        };
        let _ = writeln!(table, "  {name:width$}  {meaning}");
        let _ = writeln!(table, "  {:width$}  ({accepted}{default})", "");
    }
    table
}

/// The variables of this process that begin like this agent's settings and are not in [`TABLE`],
/// sorted.
pub(super) fn unknown() -> Vec<String> {
    let names: Vec<&str> = TABLE.iter().map(|setting| setting.name).collect();
    unknown_settings(&["SPOE_", "SPOA_", "VALKEY_"], &names)
}

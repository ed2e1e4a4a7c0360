//! The agent's settings: environment variables, checked before anything listens.
//!
//! [`TABLE`] is the one list of them: loading, error texts, the block printed at start and
//! the README's table are all made from it. What needs the network (resolving names,
//! binding) is not done here.

mod access;
mod error;
mod node;
mod origin;
mod table;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use spoa_process::log::{Directives, Format};
use spoa_process::{AdminAddr, Listen, worker_threads};

pub use access::Access;
pub use error::{Problem, SettingsError};
pub use node::{BadNode, ValkeyNode};
pub use origin::Origin;
pub use table::{Accepts, Setting, TABLE, environment_file, help_table, markdown_table};

use crate::gcra::Quota;
use crate::identity::TrustedProxies;
use crate::policy::{self, Defaults, PolicySource};
use crate::store::failure::FailurePolicy;
use crate::store::valkey;
use crate::top;

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// `SPOE_ADDR`: where to listen.
    pub listen: Listen,
    /// `SPOA_ADMIN_ADDR`: where metrics are shown.
    pub admin: AdminAddr,
    /// `SPOA_TOP`: by which names the most limited clients are shown.
    pub top: top::Names,
    /// `VALKEY_NODES`: the servers that keep the state. Empty: this process does.
    pub valkey: Vec<ValkeyNode>,
    /// `VALKEY_USERNAME` and its kind: as whom those are asked, and whom of them is believed.
    pub valkey_access: Access,
    /// `SPOA_VALKEY_LANES`: connections to each primary.
    pub valkey_lanes: usize,
    /// `SPOA_RATE_INTERVAL` and `SPOA_RATE_BURST`.
    pub quota: Quota,
    /// `SPOA_RATE_TTL`: the longest that state is kept; not below the burst.
    pub ttl: Duration,
    /// `SPOA_VALKEY_CALL`: how those are told what to run.
    pub valkey_call: valkey::Call,
    /// `SPOA_CONFIG`: a file of policies, not yet read. `None`: there is one policy, which the
    /// other settings describe.
    pub config: Option<PathBuf>,
    /// `SPOA_SHADOW`: whether policies that do not say so themselves never deny.
    pub shadow: bool,
    /// `SPOA_TRUSTED_PROXIES`: whose word on clients is taken.
    pub trusted_proxies: TrustedProxies,
    /// `SPOA_IPV6_PREFIX`: 1 to 128 bits.
    pub ipv6_prefix: u8,
    /// `SPOA_FAILURE`: what is answered when Valkey does not.
    pub failure: FailurePolicy,
    /// `SPOA_DECISION_BUDGET`: the longest wait for Valkey.
    pub decision_budget: Duration,
    /// `SPOA_MEMORY_CLIENTS`: the in-memory store's bound.
    pub memory_clients: usize,
    /// `SPOA_DENIAL_CACHE`: how many denied clients Valkey is not asked about; 0: none.
    pub denial_cache: usize,
    /// `SPOA_LAME_DUCK`: how long health checks fail before the end.
    pub lame_duck: Duration,
    /// `TOKIO_WORKER_THREADS`: 1 to 1024.
    pub worker_threads: usize,
    /// `RUST_LOG`: what is logged.
    pub log: Directives,
    /// `SPOA_LOG_FORMAT`: how it is logged.
    pub log_format: Format,
    /// Variables that look like this agent's and are none of [`TABLE`]: misspelt, most
    /// likely, and worth a warning. Sorted. Found by [`from_env`](Self::from_env) only.
    pub unknown: Vec<String>,
    /// Names of the variables that are set.
    given: Vec<&'static str>,
    /// Where `config` comes from, if not from `SPOA_CONFIG`.
    config_origin: Option<Origin>,
}

impl Settings {
    /// The settings in this process's environment.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_env() -> Result<Self, SettingsError> {
        let mut settings = Self::load(|name| std::env::var_os(name))?;
        settings.unknown = table::unknown();
        Ok(settings)
    }

    /// `SPOE_ADDR` in this process's environment, whatever the others are.
    ///
    /// # Errors
    /// If it is not acceptable.
    pub fn listen_from_env() -> Result<Listen, SettingsError> {
        Values(|name: &str| std::env::var_os(name)).parsed(&table::ADDR)
    }

    /// The settings that `lookup` finds by their names. White space around a value does not
    /// count. An empty value is as bad as any other, except of `VALKEY_*`, `SPOA_CONFIG` and
    /// `RUST_LOG`, where it is the same as none.
    ///
    /// # Errors
    /// The first variable that is not acceptable, by itself or beside the others.
    pub fn load(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let values = Values(lookup);
        let quota = values.quota()?;
        let (valkey, valkey_access) = values.access(values.nodes()?)?;
        Ok(Self {
            listen: values.parsed(&table::ADDR)?,
            admin: values.admin()?,
            top: values.parsed(&table::TOP)?,
            valkey,
            valkey_access,
            valkey_lanes: values.number(&table::VALKEY_LANES)?,
            quota,
            ttl: values.ttl(quota)?,
            valkey_call: values.parsed(&table::VALKEY_CALL)?,
            config: values.config()?,
            shadow: values.parsed(&table::SHADOW)?,
            trusted_proxies: values.parsed(&table::TRUSTED_PROXIES)?,
            ipv6_prefix: values.number(&table::IPV6_PREFIX)?,
            failure: values.parsed(&table::FAILURE)?,
            decision_budget: Duration::from_millis(values.number(&table::DECISION_BUDGET)?),
            memory_clients: values.number(&table::MEMORY_CLIENTS)?,
            denial_cache: values.number(&table::DENIAL_CACHE)?,
            lame_duck: Duration::from_millis(values.number(&table::LAME_DUCK)?),
            worker_threads: values.worker_threads()?,
            log: values.parsed(&table::LOG)?,
            log_format: values.parsed(&table::LOG_FORMAT)?,
            unknown: Vec::new(),
            given: values.given(),
            config_origin: None,
        })
    }

    /// What is in force, for the start of the log: a line for each setting but `SPOE_ADDR`,
    /// which the listening line names. Passwords are not shown.
    pub fn summary(&self) -> String {
        let rows = self.rows();
        let width = rows.iter().map(|(setting, _)| setting.name.len()).max();
        let width = width.unwrap_or(0);
        let line =
            |(setting, value): &(&Setting, String)| format!("  {:width$}  {value}", setting.name);
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Each setting but `SPOE_ADDR`, and its value as it may be shown.
    fn rows(&self) -> Vec<(&'static Setting, String)> {
        let mut rows = vec![
            (&table::ADMIN_ADDR, self.admin.to_string()),
            (&table::TOP, self.top.to_string()),
            (&table::VALKEY_NODES, self.store()),
        ];
        rows.extend(self.valkey_access.rows());
        rows.extend([
            (&table::VALKEY_LANES, self.valkey_lanes.to_string()),
            (&table::VALKEY_CALL, self.valkey_call.to_string()),
            (&table::INTERVAL, rate(self.quota)),
            (&table::BURST, burst(self.quota)),
            (&table::TTL, format!("{} s", self.ttl.as_secs())),
            (&table::CONFIG, self.config()),
            (&table::SHADOW, self.shadow.to_string()),
            (&table::TRUSTED_PROXIES, self.trusted_proxies.to_string()),
            (&table::IPV6_PREFIX, format!("/{}", self.ipv6_prefix)),
            (&table::FAILURE, self.failure.to_string()),
            (
                &table::DECISION_BUDGET,
                format!("{} ms", self.decision_budget.as_millis()),
            ),
            (&table::MEMORY_CLIENTS, self.memory_clients.to_string()),
            (&table::DENIAL_CACHE, self.denial_cache.to_string()),
            (
                &table::LAME_DUCK,
                format!("{} ms", self.lame_duck.as_millis()),
            ),
            (&table::WORKER_THREADS, self.worker_threads.to_string()),
            (&table::LOG, self.log.to_string()),
            (&table::LOG_FORMAT, self.log_format.to_string()),
        ]);
        rows
    }

    /// Where policies are read, and what counts for those that do not say it themselves.
    pub fn policies(&self) -> PolicySource {
        let defaults = Defaults {
            quota: self.quota,
            failure: self.failure,
            shadow: self.shadow,
            ttl: self.ttl,
        };
        PolicySource::new(self.config.clone(), defaults)
    }

    fn config(&self) -> String {
        match &self.config {
            Some(path) => path.display().to_string(),
            None => "unset: one policy".to_owned(),
        }
    }

    fn store(&self) -> String {
        if self.valkey.is_empty() {
            return "unset: state in memory, in this process".to_owned();
        }
        self.nodes()
    }

    /// `VALKEY_NODES` as it may be shown: without user names and passwords.
    pub fn nodes(&self) -> String {
        let nodes: Vec<String> = self.valkey.iter().map(ToString::to_string).collect();
        nodes.join(",")
    }
}

fn rate(quota: Quota) -> String {
    format!("{} µs = {}", quota.interval(), policy::rate(quota))
}

fn burst(quota: Quota) -> String {
    format!("{} µs = {} req at once", quota.burst(), quota.limit())
}

/// Values by name, read and checked one at a time.
struct Values<F>(F);

impl<F: Fn(&str) -> Option<OsString>> Values<F> {
    /// The value, trimmed. `None`: not set.
    fn text(&self, setting: &'static Setting) -> Result<Option<String>, SettingsError> {
        match (self.0)(setting.name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.trim().to_owned())),
            Some(Err(_)) if setting.name == table::VALKEY_PASSWORD.name => {
                let shown = "***".to_owned();
                Err(SettingsError::new(setting, shown, Problem::NotUtf8))
            }
            Some(Err(raw)) => {
                let shown = raw.to_string_lossy().into_owned();
                Err(SettingsError::new(setting, shown, Problem::NotUtf8))
            }
        }
    }

    fn parsed<T>(&self, setting: &'static Setting) -> Result<T, SettingsError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text = self.text(setting)?;
        let text = text.unwrap_or_else(|| setting.default.to_owned());
        text.parse().map_err(|error: T::Err| {
            SettingsError::new(setting, text, Problem::Refused(error.to_string()))
        })
    }

    /// A number in the setting's range. `T` has to hold that range.
    fn number<T: TryFrom<u64>>(&self, setting: &'static Setting) -> Result<T, SettingsError> {
        let text = self.text(setting)?;
        let text = text.unwrap_or_else(|| setting.default.to_owned());
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let problem = match text.parse::<u64>() {
            Ok(number) if digits && setting.accepts.number(number) => match number.try_into() {
                Ok(number) => return Ok(number),
                Err(_) => Problem::OutOfRange,
            },
            _ if digits => Problem::OutOfRange,
            _ => Problem::NotANumber,
        };
        Err(SettingsError::new(setting, text, problem))
    }

    fn quota(&self) -> Result<Quota, SettingsError> {
        let interval = self.number(&table::INTERVAL)?;
        let burst: u64 = self.number(&table::BURST)?;
        Quota::new(interval, burst).map_err(|_| {
            SettingsError::new(
                &table::BURST,
                burst.to_string(),
                Problem::BurstBelowInterval { interval },
            )
        })
    }

    fn ttl(&self, quota: Quota) -> Result<Duration, SettingsError> {
        let seconds = self.number(&table::TTL)?;
        let ttl = Duration::from_secs(seconds);
        if ttl < Duration::from_micros(quota.burst()) {
            let burst = quota.burst();
            let problem = Problem::TtlBelowBurst { burst };
            return Err(SettingsError::new(
                &table::TTL,
                seconds.to_string(),
                problem,
            ));
        }
        Ok(ttl)
    }

    fn admin(&self) -> Result<AdminAddr, SettingsError> {
        match self.text(&table::ADMIN_ADDR)? {
            Some(_) => self.parsed(&table::ADMIN_ADDR),
            None => Ok(AdminAddr::default()),
        }
    }

    fn config(&self) -> Result<Option<PathBuf>, SettingsError> {
        let path = self.text(&table::CONFIG)?;
        Ok(path.filter(|path| !path.is_empty()).map(PathBuf::from))
    }

    fn nodes(&self) -> Result<Vec<ValkeyNode>, SettingsError> {
        let list = self.text(&table::VALKEY_NODES)?.unwrap_or_default();
        node::parse_list(&list).map_err(|(shown, error)| {
            SettingsError::new(
                &table::VALKEY_NODES,
                shown,
                Problem::Refused(error.to_string()),
            )
        })
    }

    fn worker_threads(&self) -> Result<usize, SettingsError> {
        if self.text(&table::WORKER_THREADS)?.is_some() {
            return self.number(&table::WORKER_THREADS);
        }
        Ok(worker_threads())
    }
}

#[cfg(test)]
mod tests;

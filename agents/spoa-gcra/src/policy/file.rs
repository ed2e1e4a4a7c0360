//! A file of policies: TOML text to [`Policies`], or to everything that is wrong with it.
//!
//! What the keys mean is explained in `policies.example.toml`, which a test reads.

mod limits;
mod tables;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use network_map::parse_network;
use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use self::tables::{LeaseTable, PolicyTable};
use super::limit_ids::LimitIds;
use super::networks::{Listed, Networks};
use super::policies::{Named, Policies};
use super::problem::{Mistake, Problem, most_cost};
use super::{DEFAULT, Limit, Policy};
use crate::check_rate::MESSAGE;
use crate::gcra::Quota;
use crate::store::failure::FailurePolicy;
use crate::store::lease::Lease;

/// The longest file, in bytes: what a Kubernetes ConfigMap holds.
pub const MAX_FILE: u64 = 1 << 20;

/// Policies of a file.
pub const MAX_POLICIES: usize = 256;

/// Bytes of the name of a policy, or of a limit within it.
pub const MAX_NAME: usize = 32;

/// Messages of a policy.
pub const MAX_MESSAGES: usize = 64;

/// Networks in the two lists of a policy together.
pub const MAX_NETWORKS: usize = 65_536;

/// What counts where a file says nothing, and what it cannot say.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// `SPOA_RATE_INTERVAL` and `SPOA_RATE_BURST`: the limit of a policy `default` that is
    /// not in the file.
    pub quota: Quota,
    /// `SPOA_FAILURE`.
    pub failure: FailurePolicy,
    /// `SPOA_SHADOW`.
    pub shadow: bool,
    /// `SPOA_RATE_TTL`: no burst may need longer.
    pub ttl: Duration,
}

impl Defaults {
    /// The policy of an agent without a file.
    pub fn policy(&self) -> Policy {
        Policy::of_one(self.quota)
            .with_failure(self.failure)
            .with_shadow(self.shadow)
    }
}

/// The policies of this text.
///
/// # Errors
/// All problems that can be told from each other, one in each policy at least.
pub(super) fn read(
    text: &str,
    defaults: &Defaults,
    ids: &mut LimitIds,
) -> Result<Policies, Vec<Problem>> {
    let mut reading = Reading {
        text,
        line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        defaults,
        ids,
        messages: HashMap::new(),
        problems: Vec::new(),
    };
    let all = reading.file();
    if reading.problems.is_empty() {
        Ok(Policies::new(all, || defaults.policy()))
    } else {
        Err(reading.problems)
    }
}

struct Reading<'a> {
    text: &'a str,
    /// Where each line ends, in bytes.
    line_ends: Vec<usize>,
    defaults: &'a Defaults,
    ids: &'a mut LimitIds,
    /// Which policy answers each message.
    messages: HashMap<String, String>,
    problems: Vec<Problem>,
}

/// Where something stands: its policy, and its bytes.
#[derive(Clone)]
struct Place<'a> {
    policy: Option<&'a str>,
    span: Range<usize>,
}

impl Place<'_> {
    fn at(&self, span: Range<usize>) -> Self {
        Self {
            policy: self.policy,
            span,
        }
    }
}

impl Reading<'_> {
    /// `None` where something is wrong, after saying so.
    fn problem<T>(&mut self, place: &Place<'_>, mistake: impl Into<Mistake>) -> Option<T> {
        let before = self
            .line_ends
            .partition_point(|&end| end < place.span.start);
        self.problems.push(Problem {
            line: Some(1 + before),
            policy: place.policy.map(str::to_owned),
            mistake: mistake.into(),
        });
        None
    }

    fn toml<T>(&mut self, place: &Place<'_>, error: &toml::de::Error) -> Option<T> {
        let span = error.span().unwrap_or_else(|| place.span.clone());
        let message = error.message().replace('\n', "; ");
        self.problem(&place.at(span), Mistake::Toml(message))
    }

    fn file(&mut self) -> Vec<Named> {
        let nowhere = Place {
            policy: None,
            span: 0..0,
        };
        let root = match DeTable::parse(self.text) {
            Ok(root) => root.into_inner(),
            Err(error) => {
                self.toml::<()>(&nowhere, &error);
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for (key, value) in root {
            let place = nowhere.at(key.span());
            match value.into_inner() {
                DeValue::Table(policies) if key.get_ref() == "policy" => {
                    if policies.len() > MAX_POLICIES {
                        self.problem::<()>(&place, Mistake::Policies(policies.len()));
                        continue;
                    }
                    for (name, value) in policies {
                        all.extend(self.policy(name.get_ref(), name.span(), value));
                    }
                }
                _ => {
                    let key = key.into_inner().into_owned();
                    self.problem::<()>(&place, Mistake::TopLevel(key));
                }
            }
        }
        all
    }

    fn policy(
        &mut self,
        name: &str,
        span: Range<usize>,
        value: Spanned<DeValue<'_>>,
    ) -> Option<Named> {
        let place = Place {
            policy: Some(name),
            span,
        };
        if !is_name(name) {
            return self.problem(&place, Mistake::Name(name.to_owned()));
        }
        let table = match PolicyTable::deserialize(ValueDeserializer::from(value)) {
            Ok(table) => table,
            Err(error) => return self.toml(&place, &error),
        };
        // All of it is looked at before the first problem counts.
        let limits = self.limits(&place, &table);
        let cost = limits
            .as_ref()
            .and_then(|limits| self.cost(&place, &table, limits));
        let failure = self.failure(&place, &table);
        let messages = self.messages(&place, &table);
        let networks = self.networks(&place, &table);
        let policy = Policy::new(name, limits?)
            .ok()?
            .with_cost(cost?)
            .with_failure(failure?)
            .with_shadow(table.shadow.unwrap_or(self.defaults.shadow))
            .with_networks(networks?);
        Some(Named {
            policy: Arc::new(self.leased(&place, &table, policy)?),
            messages: messages?,
        })
    }

    fn leased(&mut self, place: &Place<'_>, table: &PolicyTable, policy: Policy) -> Option<Policy> {
        let Some(lease) = &table.lease else {
            return Some(policy);
        };
        let LeaseTable { requests, ttl_ms } = *lease.get_ref();
        let terms = Lease::new(requests, Duration::from_millis(ttl_ms.into()));
        match terms.and_then(|terms| policy.with_lease(terms)) {
            Ok(policy) => Some(policy),
            Err(error) => self.problem(&place.at(lease.span()), error),
        }
    }

    fn cost(&mut self, place: &Place<'_>, table: &PolicyTable, limits: &[Limit]) -> Option<u64> {
        let Some(cost) = &table.cost else {
            return Some(1);
        };
        let (place, cost) = (place.at(cost.span()), *cost.get_ref());
        let most = most_cost(limits.iter().map(|limit| limit.quota().limit()).min());
        match u64::try_from(cost) {
            Ok(cost) if cost <= most => Some(cost),
            _ => self.problem(&place, Mistake::Cost { cost, most }),
        }
    }

    fn failure(&mut self, place: &Place<'_>, table: &PolicyTable) -> Option<FailurePolicy> {
        let Some(failure) = &table.failure else {
            return Some(self.defaults.failure);
        };
        match failure.get_ref().parse() {
            Ok(failure) => Some(failure),
            Err(_) => {
                let mistake = Mistake::Failure(failure.get_ref().clone());
                self.problem(&place.at(failure.span()), mistake)
            }
        }
    }

    fn messages(&mut self, place: &Place<'_>, table: &PolicyTable) -> Option<Box<[Box<str>]>> {
        let Some(messages) = &table.messages else {
            return Some(Box::default());
        };
        let (list, messages) = (place.at(messages.span()), messages.get_ref());
        if messages.len() > MAX_MESSAGES {
            return self.problem(&list, Mistake::Messages(messages.len()));
        }
        let policy = place.policy.unwrap_or(DEFAULT);
        for message in messages {
            let (place, message) = (place.at(message.span()), message.get_ref());
            if !is_message(message) {
                self.problem::<()>(&place, Mistake::Message(message.clone()));
            } else if message == MESSAGE {
                self.problem::<()>(&place, Mistake::OwnMessage);
            } else if let Some(taken) = self.messages.get(message) {
                let taken = Mistake::MessageTaken(message.clone(), taken.clone());
                self.problem::<()>(&place, taken);
            } else {
                self.messages.insert(message.clone(), policy.to_owned());
            }
        }
        let messages = messages.iter().map(|message| message.get_ref().as_str());
        Some(messages.map(Into::into).collect())
    }

    fn networks(&mut self, place: &Place<'_>, table: &PolicyTable) -> Option<Networks> {
        let count = table.allow.len() + table.deny.len();
        if count > MAX_NETWORKS {
            return self.problem(place, Mistake::Networks(count));
        }
        let lists = [(&table.allow, Listed::Allow), (&table.deny, Listed::Deny)];
        let mut networks: Vec<(IpNet, Listed)> = Vec::new();
        for (list, listed) in lists {
            for entry in list {
                match parse_network(entry.get_ref()) {
                    Some(network) => networks.push((network, listed)),
                    None => {
                        let mistake = Mistake::Network(entry.get_ref().clone());
                        self.problem::<()>(&place.at(entry.span()), mistake);
                    }
                }
            }
        }
        match Networks::new(networks) {
            Ok(networks) => Some(networks),
            Err(error) => {
                let mut denied = table.deny.iter();
                let entry = denied.find(|entry| parse_network(entry.get_ref()) == Some(error.0));
                let span = entry.map_or_else(|| place.span.clone(), Spanned::span);
                self.problem(&place.at(span), error)
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_message(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests;

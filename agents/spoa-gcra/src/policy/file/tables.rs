//! The tables of a file, as they are written: types and keys are checked, values are not.

use serde::Deserialize;
use toml::Spanned;

/// `[policy.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyTable {
    pub(super) rate: Option<Spanned<String>>,
    pub(super) interval_us: Option<Spanned<i64>>,
    pub(super) burst: Option<Spanned<i64>>,
    pub(super) limits: Option<Spanned<Vec<Spanned<LimitTable>>>>,
    pub(super) unlimited: Option<Spanned<bool>>,
    pub(super) cost: Option<Spanned<i64>>,
    pub(super) failure: Option<Spanned<String>>,
    pub(super) shadow: Option<bool>,
    pub(super) lease: Option<Spanned<LeaseTable>>,
    pub(super) messages: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub(super) allow: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) deny: Vec<Spanned<String>>,
}

/// An entry of `limits`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitTable {
    pub(super) name: Spanned<String>,
    pub(super) rate: Option<Spanned<String>>,
    pub(super) interval_us: Option<Spanned<i64>>,
    pub(super) burst: Option<Spanned<i64>>,
}

/// The value of `lease`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseTable {
    pub(super) requests: u32,
    pub(super) ttl_ms: u32,
}

//! Where each setting in force comes from: for whoever wonders why an agent does what it does.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::table::{self, Setting, TABLE};
use super::{Settings, Values};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The environment variable of its name.
    Environment,
    /// An option of the command.
    CommandLine,
    /// A file that another setting names.
    File,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
            Self::File => "file",
        })
    }
}

impl Settings {
    /// Has policies read from this file, as an option of the command says, whatever
    /// `SPOA_CONFIG` does.
    pub fn read_policies_from(&mut self, path: PathBuf) {
        self.config = Some(path);
        self.config_origin = Some(Origin::CommandLine);
    }

    /// What is in force: a line for each setting, with where it comes from. Passwords are not
    /// shown.
    pub fn in_force(&self) -> String {
        let mut rows = self.rows();
        rows.insert(0, (&table::ADDR, self.listen.to_string()));
        let width = rows.iter().map(|(setting, _)| setting.name.len()).max();
        let width = width.unwrap_or(0);
        let line = |(setting, value): &(&'static Setting, String)| {
            let origin = self.origin(setting);
            let value = match (setting.name, origin) {
                (name, Origin::File) if name == table::VALKEY_PASSWORD.name => "set",
                _ => value,
            };
            format!("{:width$}  {origin:12}  {value}", setting.name)
        };
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn origin(&self, setting: &'static Setting) -> Origin {
        let is = |other: &Setting| setting.name == other.name;
        match self.config_origin {
            Some(origin) if is(&table::CONFIG) => return origin,
            _ => {}
        }
        if is(&table::VALKEY_PASSWORD) && self.valkey_access.password_file.is_some() {
            return Origin::File;
        }
        if self.follows(setting) && self.given.contains(&setting.name) {
            return Origin::Environment;
        }
        Origin::Default
    }

    /// The variables that are set and change nothing: they are about servers, and
    /// `VALKEY_NODES` names none.
    pub fn not_followed(&self) -> impl Iterator<Item = &'static str> {
        let given = TABLE
            .iter()
            .filter(|setting| self.given.contains(&setting.name));
        given
            .filter(|setting| !self.follows(setting))
            .map(|setting| setting.name)
    }

    fn follows(&self, setting: &Setting) -> bool {
        !self.valkey.is_empty() || !self.valkey_access.has(setting)
    }
}

impl<F: Fn(&str) -> Option<OsString>> Values<F> {
    /// The names of those that are set to something.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let names = TABLE.iter().map(|setting| setting.name);
        let is_set = |name: &&str| {
            let value = (self.0)(name);
            value.is_some_and(|value| !value.to_string_lossy().trim().is_empty())
        };
        names.filter(is_set).collect()
    }
}

//! As whom the agent appears to the servers of `VALKEY_NODES`, and how it knows that they are
//! they: one set of credentials and certificates for all of them.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::node::ValkeyNode;
use super::table::{self, Setting};
use super::{Problem, SettingsError, Values};
use crate::store::valkey::{Tls, TlsError};

/// No key and no list of certificates is larger.
const MAX_FILE: u64 = 1024 * 1024;

/// What was set. The secrets themselves are with the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// `VALKEY_USERNAME`.
    pub username: Option<String>,
    /// Whether `VALKEY_PASSWORD` is set.
    pub password: bool,
    /// `VALKEY_PASSWORD_FILE`, which has been read.
    pub password_file: Option<PathBuf>,
    /// `VALKEY_CA_FILE`, which has been read.
    pub ca_file: Option<PathBuf>,
    /// `VALKEY_CERT_FILE`, which has been read.
    pub cert_file: Option<PathBuf>,
    /// `VALKEY_KEY_FILE`, which has been read.
    pub key_file: Option<PathBuf>,
}

impl Access {
    /// Whether this is one of its settings.
    pub(super) fn has(&self, setting: &Setting) -> bool {
        let mut own = self.rows().into_iter();
        own.any(|(own, _)| own.name == setting.name)
    }

    /// A line's worth about each of its settings.
    pub(super) fn rows(&self) -> [(&'static Setting, String); 6] {
        let shown = |path: &Option<PathBuf>, unset: &str| match path {
            Some(path) => path.display().to_string(),
            None => unset.to_owned(),
        };
        let username = self.username.clone();
        let password = if self.password { "set" } else { "unset" };
        [
            (
                &table::VALKEY_USERNAME,
                username.unwrap_or_else(|| "unset".to_owned()),
            ),
            (&table::VALKEY_PASSWORD, password.to_owned()),
            (
                &table::VALKEY_PASSWORD_FILE,
                shown(&self.password_file, "unset"),
            ),
            (
                &table::VALKEY_CA_FILE,
                shown(&self.ca_file, "unset: the public authorities"),
            ),
            (&table::VALKEY_CERT_FILE, shown(&self.cert_file, "unset")),
            (&table::VALKEY_KEY_FILE, shown(&self.key_file, "unset")),
        ]
    }
}

/// Where a word or a file came from, as it may be shown.
type From = (&'static Setting, String);

impl<F: Fn(&str) -> Option<OsString>> Values<F> {
    /// The nodes with what the other variables say about getting at them. Without nodes,
    /// those are not followed.
    pub(super) fn access(
        &self,
        nodes: Vec<ValkeyNode>,
    ) -> Result<(Vec<ValkeyNode>, Access), SettingsError> {
        let mut access = Access::default();
        if nodes.is_empty() {
            for (setting, _) in access.rows() {
                self.text(setting)?;
            }
            return Ok((nodes, access));
        }
        let nodes = self.log_in(nodes, &mut access)?;
        let nodes = self.encrypt(nodes, &mut access)?;
        Ok((nodes, access))
    }

    fn log_in(
        &self,
        nodes: Vec<ValkeyNode>,
        access: &mut Access,
    ) -> Result<Vec<ValkeyNode>, SettingsError> {
        access.username = self.word(&table::VALKEY_USERNAME)?;
        let word = self.word(&table::VALKEY_PASSWORD)?;
        let file = self.file(&table::VALKEY_PASSWORD_FILE)?;
        access.password = word.is_some();
        access.password_file = file.as_ref().map(|(path, _)| path.clone());
        let (password, from): (String, From) = match (word, file) {
            (Some(_), Some((path, _))) => {
                let from = (&table::VALKEY_PASSWORD_FILE, path.display().to_string());
                return Err(refused(&from, "VALKEY_PASSWORD is set as well"));
            }
            (Some(word), None) => (word, (&table::VALKEY_PASSWORD, "***".to_owned())),
            (None, Some((path, text))) => {
                let from = (&table::VALKEY_PASSWORD_FILE, path.display().to_string());
                let password = String::from_utf8(text);
                let password = password.map_err(|_| refused(&from, "it is not UTF-8 text"))?;
                // Editors and `echo` end a file with a new line.
                let password = password.strip_suffix('\n').unwrap_or(&password);
                let password = password.strip_suffix('\r').unwrap_or(password);
                if password.is_empty() {
                    return Err(refused(&from, "it is empty"));
                }
                (password.to_owned(), from)
            }
            (None, None) => match access.username.clone() {
                None => return Ok(nodes),
                Some(username) => {
                    return Err(refused(
                        &(&table::VALKEY_USERNAME, username),
                        "neither VALKEY_PASSWORD nor VALKEY_PASSWORD_FILE is set",
                    ));
                }
            },
        };
        let log_in = |node: ValkeyNode| {
            let settings = node.info.redis_settings().clone();
            if settings.username().is_some() || settings.password().is_some() {
                let both = format!("{node} in VALKEY_NODES has credentials of its own");
                return Err(refused(&from, both));
            }
            let mut settings = settings.set_password(&password);
            if let Some(username) = &access.username {
                settings = settings.set_username(username);
            }
            Ok(ValkeyNode {
                info: node.info.set_redis_settings(settings),
            })
        };
        nodes.into_iter().map(log_in).collect()
    }

    fn encrypt(
        &self,
        nodes: Vec<ValkeyNode>,
        access: &mut Access,
    ) -> Result<Vec<ValkeyNode>, SettingsError> {
        let ca = self.file(&table::VALKEY_CA_FILE)?;
        let cert = self.file(&table::VALKEY_CERT_FILE)?;
        let key = self.file(&table::VALKEY_KEY_FILE)?;
        let path = |file: &Option<(PathBuf, Vec<u8>)>| file.as_ref().map(|(path, _)| path.clone());
        access.ca_file = path(&ca);
        access.cert_file = path(&cert);
        access.key_file = path(&key);
        let named = |setting, path: &Option<PathBuf>| {
            let path = path.as_deref().map(Path::display);
            (
                setting,
                path.map_or_else(String::new, |path| path.to_string()),
            )
        };
        let ca_from = named(&table::VALKEY_CA_FILE, &access.ca_file);
        let cert_from = named(&table::VALKEY_CERT_FILE, &access.cert_file);
        let key_from = named(&table::VALKEY_KEY_FILE, &access.key_file);
        let (any, identity) = match (cert, key) {
            (Some((_, cert)), Some((_, key))) => (&cert_from, Some((cert, key))),
            (Some(_), None) => return Err(refused(&cert_from, "VALKEY_KEY_FILE is not set")),
            (None, Some(_)) => return Err(refused(&key_from, "VALKEY_CERT_FILE is not set")),
            (None, None) if ca.is_some() => (&ca_from, None),
            (None, None) => return Ok(nodes),
        };
        if let Some(plain) = nodes.iter().find(|node| !node.is_tls()) {
            let problem = format!("{plain} in VALKEY_NODES is without TLS; use valkeys://");
            return Err(refused(any, problem));
        }
        let tls = Tls::new(ca.map(|(_, text)| text), identity).map_err(|error| {
            let from = match &error {
                TlsError::Authorities(_) => &ca_from,
                TlsError::Key(_) => &key_from,
                _ => &cert_from,
            };
            refused(from, &error)
        })?;
        let apply = |node: ValkeyNode| match tls.apply(node.info) {
            Ok(info) => Ok(ValkeyNode { info }),
            Err(error) => Err(refused(any, error)),
        };
        nodes.into_iter().map(apply).collect()
    }

    /// A word; empty is the same as none.
    fn word(&self, setting: &'static Setting) -> Result<Option<String>, SettingsError> {
        let word = self.text(setting)?;
        Ok(word.filter(|word| !word.is_empty()))
    }

    /// A file's path and contents.
    fn file(&self, setting: &'static Setting) -> Result<Option<(PathBuf, Vec<u8>)>, SettingsError> {
        let Some(path) = self.word(setting)? else {
            return Ok(None);
        };
        match read(Path::new(&path)) {
            Ok(contents) => Ok(Some((path.into(), contents))),
            Err(error) => Err(refused(
                &(setting, path),
                format!("cannot read it: {error}"),
            )),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut contents)?;
    if contents.len() as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(contents)
}

fn refused((setting, shown): &From, problem: impl fmt::Display) -> SettingsError {
    SettingsError::new(
        setting,
        shown.clone(),
        Problem::Refused(problem.to_string()),
    )
}

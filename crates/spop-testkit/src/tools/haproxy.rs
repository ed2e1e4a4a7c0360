//! Which HAProxys there are to test with.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{Program, unpacked};
use crate::debian::Suite;

/// A HAProxy and what it says of itself.
#[derive(Debug, Clone)]
pub struct Haproxy {
    program: Program,
    version: (u32, u32),
    version_text: String,
}

impl Haproxy {
    /// The distribution's: the one installed, else its package unpacked. On Debian 12 that
    /// is 2.6, with the SPOE engine that HAProxy had until 3.0.
    ///
    /// # Errors
    /// One line: what is missing and what to type.
    pub fn distribution() -> Result<Self> {
        if let Some(program) = Program::on_path("haproxy") {
            return Self::inspect(program);
        }
        let program = unpacked("haproxy", &["haproxy"], "usr/sbin/haproxy", &[Suite::Own])
            .map_err(|error| {
                anyhow!("HAProxy is not here and cannot be fetched ({error:#}); type: apt-get install haproxy")
            })?;
        Self::inspect(program)
    }

    /// One with the SPOE engine that came with 3.1: 3.2, or whatever later version Debian's
    /// development suite has by now ([`Haproxy::version`] says which). The
    /// distribution's own where that is new enough.
    ///
    /// # Errors
    /// One line: why it cannot be had.
    pub fn v3_2() -> Result<Self> {
        if let Some(own) = Program::on_path("haproxy") {
            let own = Self::inspect(own)?;
            if own.has_mux_engine() {
                return Ok(own);
            }
        }
        let mut why = anyhow!("no suite has it");
        for (name, suite) in [("haproxy-sid", "sid"), ("haproxy-testing", "testing")] {
            let program = unpacked(
                name,
                &["haproxy"],
                "usr/sbin/haproxy",
                &[Suite::Debian(suite)],
            );
            match program.and_then(Self::inspect) {
                Ok(haproxy) if haproxy.has_mux_engine() => return Ok(haproxy),
                Ok(haproxy) => why = anyhow!("Debian {suite} has {}", haproxy.version()),
                Err(error) => why = error,
            }
        }
        bail!("no HAProxy from 3.1 on can be had: {why:#}")
    }

    /// One for each of the two SPOE engines: the distribution's and, unless that is 3.1 or
    /// later itself, [`Haproxy::v3_2`].
    ///
    /// # Errors
    /// When either is missing.
    pub fn engines() -> Result<Vec<Self>> {
        let own = Self::distribution()?;
        if own.has_mux_engine() {
            return Ok(vec![own]);
        }
        Ok(vec![own, Self::v3_2()?])
    }

    /// Every version that can be had, oldest first, one for each minor version: those of
    /// [`Haproxy::engines`], and of Debian 13 (3.0) and of its experimental suite (3.4 or
    /// later). One of the latter that is missing is named on standard error, once.
    ///
    /// # Errors
    /// When one of [`Haproxy::engines`] is missing.
    pub fn all() -> Result<Vec<Self>> {
        static ALL: Mutex<Vec<Haproxy>> = Mutex::new(Vec::new());

        // Held all the time: others that ask meanwhile wait for the same answer.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            let mut found = Self::engines()?;
            for (name, suite) in [
                ("haproxy-trixie", Suite::Debian("trixie")),
                ("haproxy-experimental", Suite::Over("experimental", "sid")),
            ] {
                match unpacked(name, &["haproxy"], "usr/sbin/haproxy", &[suite])
                    .and_then(Self::inspect)
                {
                    Ok(haproxy) => found.push(haproxy),
                    Err(error) => eprintln!("{name}: not tested, it cannot be had ({error:#})"),
                }
            }
            found.sort_by_key(|haproxy| haproxy.version);
            found.dedup_by_key(|haproxy| haproxy.version);
            *all = found;
        }
        Ok(all.clone())
    }

    /// What `haproxy -v` calls itself, such as `2.6.12-1+deb12u4`.
    pub fn version(&self) -> &str {
        &self.version_text
    }

    /// Whether its SPOE engine is the one that came with 3.1.
    pub fn has_mux_engine(&self) -> bool {
        self.version >= (3, 1)
    }

    /// The program itself.
    pub fn program(&self) -> &Program {
        &self.program
    }

    fn inspect(program: Program) -> Result<Self> {
        let output = program.command().arg("-v").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (version, version_text) = parse_version(&text)
            .with_context(|| format!("{} -v does not tell its version", program.path.display()))?;
        Ok(Self {
            program,
            version,
            version_text,
        })
    }
}

/// `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - …` (before 2.4: `HA-Proxy version`)
fn parse_version(text: &str) -> Option<((u32, u32), String)> {
    let full = text.split_once("version ")?.1.split_whitespace().next()?;
    let mut numbers = full.split(['.', '-']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some(((major, minor), full.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_haproxy_says() {
        let debian = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus:";
        assert_eq!(
            parse_version(debian),
            Some(((2, 6), "2.6.12-1+deb12u4".to_owned()))
        );
        let development = "HAProxy version 3.5-dev5 2026/08/21";
        assert_eq!(parse_version(development).unwrap().0, (3, 5));
        assert_eq!(parse_version("no such thing"), None);
    }
}

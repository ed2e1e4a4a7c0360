//! Files of addresses and networks, one to a line, each file with a score.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;

use crate::table::{Networks, Table};

/// The highest score; 0 is the lowest, and that of an address in no list.
pub const MAX_SCORE: u8 = 100;

/// `SPOA_IP_LISTS`: the score of the networks in each file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources(pub Vec<(u8, PathBuf)>);

impl FromStr for Sources {
    type Err = String;

    /// Reads `SCORE=FILE,SCORE=FILE,…`
    fn from_str(text: &str) -> Result<Self, String> {
        let source = |part: &str| {
            let (score, path) = part.split_once('=')?;
            let score = score.trim().parse().ok()?;
            (score <= MAX_SCORE).then(|| (score, path.trim().into()))
        };
        let wrong =
            |part: &str| format!("{part:?} is not SCORE=FILE, with a score from 0 to {MAX_SCORE}");
        let parts = text.split(',').map(str::trim);
        let sources = parts
            .filter(|part| !part.is_empty())
            .map(|part| source(part).ok_or_else(|| wrong(part)));
        sources.collect::<Result<_, _>>().map(Self)
    }
}

/// The lists as they were read.
#[derive(Debug)]
pub struct Lists {
    /// The score of each address.
    pub table: Table,
    /// Score, number of networks and path of each file.
    pub files: Vec<(u8, usize, PathBuf)>,
    /// How long it took.
    pub time: Duration,
}

impl Lists {
    /// Reads all files. Blocks: a million networks take a good part of a second.
    ///
    /// # Errors
    /// The first file, or line of one, that cannot be used: one line that names it.
    pub fn read(Sources(sources): &Sources) -> Result<Self> {
        let begin = Instant::now();
        let (mut networks, mut files) = (Networks::default(), Vec::new());
        for (score, path) in sources {
            let mut count = 0;
            read_file(path, |network| {
                networks.add(network, *score);
                count += 1;
            })?;
            files.push((*score, count, path.clone()));
        }
        Ok(Self {
            table: networks.into(),
            files,
            time: begin.elapsed(),
        })
    }
}

impl fmt::Display for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lists read in {:.2} s", self.time.as_secs_f64())?;
        for (score, count, path) in &self.files {
            let path = path.display();
            write!(f, "\n  score {score:3}  {count:8} networks  {path}")?;
        }
        Ok(())
    }
}

fn read_file(path: &Path, mut add: impl FnMut(IpNet)) -> Result<()> {
    let shown = path.display();
    let unreadable = || format!("{shown}: cannot be read");
    let file = File::open(path).with_context(unreadable)?;
    // Others may never end.
    ensure!(file.metadata()?.is_file(), "{shown}: not a file");
    for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
        let line = line.with_context(unreadable)?;
        let entry = line.split(|byte| b"#;".contains(byte)).next();
        let entry = String::from_utf8_lossy(entry.unwrap_or_default().trim_ascii());
        if entry.is_empty() {
            continue;
        }
        let address = |_| entry.parse::<IpAddr>().map(IpNet::from);
        let Ok(network) = entry.parse().or_else(address) else {
            let (line, entry) = (index + 1, entry.chars().take(80).collect::<String>());
            bail!("{shown}:{line}: {entry:?} is neither an address nor a CIDR network");
        };
        add(network);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

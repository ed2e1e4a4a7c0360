//! Files of addresses and networks, one to a line, each file with a score.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use network_map::{ListError, NetworkMap, read_list};

/// The highest score; 0 is the lowest, and that of an address in no list.
pub const MAX_SCORE: u8 = 100;

/// What stands for the score 0 of a list. Of equal networks the highest counts, so an exception is
/// one also for a network that another list has, too.
const EXCEPTION: u8 = MAX_SCORE + 1;

/// `SPOA_IP_LISTS`: the score of the networks in each file. What is given twice counts once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sources(pub BTreeSet<(u8, PathBuf)>);

impl FromStr for Sources {
    type Err = String;

    /// Reads `SCORE=FILE,SCORE=FILE,…`
    fn from_str(text: &str) -> Result<Self, String> {
        let source = |part: &str| {
            let wrong =
                || format!("{part:?} is not SCORE=FILE, with a score from 0 to {MAX_SCORE}");
            let (score, path) = part.split_once('=').ok_or_else(wrong)?;
            match score.trim().parse() {
                Ok(score @ ..=MAX_SCORE) => Ok((score, path.trim().into())),
                _ => Err(wrong()),
            }
        };
        let parts = text.split(',').map(str::trim);
        let sources = parts.filter(|part| !part.is_empty()).map(source);
        sources.collect::<Result<_, _>>().map(Self)
    }
}

/// The lists as they were read.
#[derive(Debug)]
pub struct Lists {
    scores: NetworkMap<u8>,
    /// Score, number of networks and path of each file.
    pub files: Vec<(u8, usize, PathBuf)>,
}

impl Lists {
    /// Reads all files. Blocks: a million networks take a good part of a second.
    ///
    /// # Errors
    /// The first file, or line of one, that cannot be used: one line that names it.
    pub fn read(Sources(sources): &Sources) -> Result<Self, ListError> {
        let (mut networks, mut files) = (Vec::new(), Vec::new());
        for (score, path) in sources {
            let list = read_list(path)?;
            files.push((*score, list.len(), path.clone()));
            let score = if *score == 0 { EXCEPTION } else { *score };
            networks.extend(list.into_iter().map(|network| (network, score)));
        }
        Ok(Self {
            scores: networks.into_iter().collect(),
            files,
        })
    }

    /// The score of the smallest network that the address is in; if that has several, 0 if that is
    /// one of them, or else the highest. 0, if it is in none.
    pub fn score(&self, address: IpAddr) -> u8 {
        self.scores.get(address) % EXCEPTION
    }
}

impl fmt::Display for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = if self.files.is_empty() { " none" } else { "" };
        write!(f, "lists in force:{none}")?;
        for (score, count, path) in &self.files {
            let path = path.display();
            write!(f, "\n  score {score:3}  {count:8} networks  {path}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

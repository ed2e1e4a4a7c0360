//! Files of addresses and networks, one to a line.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::parse_network;

/// Of a line that is no network, so many characters are shown.
const LONGEST: usize = 80;

/// So many bytes of a line are looked at. A file that is no list, such as an image of a disk, may
/// have no end of a line at all.
const LONGEST_LINE: u64 = 4096;

/// What some editors begin a file with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a list cannot be used. One line, which names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It cannot be opened or read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is a directory, a pipe or a device, which may never end.
    #[error("{}: not a file", .0.display())]
    NotAFile(PathBuf),
    /// A line says something else.
    #[error("{}:{line}: {entry:?} is neither an address nor a CIDR network", path.display())]
    NotANetwork {
        /// The file.
        path: PathBuf,
        /// The number of the line; the first is 1.
        line: usize,
        /// The beginning of what stands there.
        entry: String,
    },
}

/// Reads a list: an address or a network to a line, as [`parse_network`] does. What follows `#` or `;`
/// is a comment, in any encoding and as long as it likes; blank lines do not count, nor does a byte
/// order mark. So lists in the usual formats can be used as they are.
///
/// Blocks. A million lines take a tenth of a second, and 17 MiB; what is no list takes no memory.
///
/// # Errors
/// [`ListError`], for the first line that is wrong.
pub fn read_list(path: &Path) -> Result<Vec<IpNet>, ListError> {
    let unreadable = |error| ListError::Unreadable {
        path: path.to_owned(),
        error,
    };
    // A pipe would never end, and be waited for when opened.
    let metadata = path.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ListError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut lines = BufReader::new(file);
    let (mut networks, mut line) = (Vec::new(), Vec::new());
    for number in 1.. {
        line.clear();
        let mut begin = lines.by_ref().take(LONGEST_LINE);
        if begin.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        let goes_on = begin.limit() == 0 && !line.ends_with(b"\n");
        let mark = Some(BYTE_ORDER_MARK).filter(|_| number == 1);
        let text = mark.and_then(|mark| line.strip_prefix(mark));
        let mut parts = text.unwrap_or(&line).split(|byte| b"#;".contains(byte));
        let entry = parts.next().unwrap_or_default().trim_ascii();
        let too_long = goes_on && parts.next().is_none();
        if goes_on && !too_long {
            lines.skip_until(b'\n').map_err(unreadable)?;
        }
        if entry.is_empty() && !too_long {
            continue;
        }
        let entry = String::from_utf8_lossy(entry);
        let network = parse_network(&entry).filter(|_| !too_long);
        networks.push(network.ok_or_else(|| ListError::NotANetwork {
            path: path.to_owned(),
            line: number,
            entry: entry.chars().take(LONGEST).collect(),
        })?);
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use allocation_counter::measure;

    use super::*;

    #[test]
    fn it_has_addresses_networks_comments_and_blank_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let text = b"# caf\xe9\n\n192.0.2.0/24\r\n  198.51.100.7 ; SBL1 \n2001:db8::/32#x\n\
                     10.1.2.3/8\n2001:db9::1";
        fs::write(&path, text).unwrap();
        let networks = read_list(&path).unwrap();
        let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "192.0.2.0/24",
                "198.51.100.7/32",
                "2001:db8::/32",
                "10.0.0.0/8",
                "2001:db9::1/128"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_one_line_with_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let shown = path.display().to_string();
        let said = |path: &Path| read_list(path).unwrap_err().to_string();
        let missing = said(&path);
        let begin = format!("{shown}: cannot be read: No such file");
        assert!(missing.starts_with(&begin), "{missing}");
        assert!(said(dir.path()).ends_with(": not a file"));
        assert!(said("/dev/zero".as_ref()).ends_with(": not a file"));
        let pipe = dir.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(said(&pipe).ends_with(": not a file"));
        for bad in [
            "10.0.0.0/33",
            "10.0.0.0/255.0.0.0",
            "10.0.0",
            "2001:db8::/129",
            "example.org",
            "10.0.0.1 10.0.0.2",
            "10.0.0.1-10.0.0.9",
        ] {
            fs::write(&path, format!("# one\n10.0.0.0/8\n\n{bad}\nworse\n")).unwrap();
            let expected = format!("{shown}:4: {bad:?} is neither an address nor a CIDR network");
            assert_eq!(said(&path), expected);
        }
        fs::write(&path, b"\xff\n").unwrap();
        assert!(said(&path).contains(":1: "));
        fs::write(&path, "x".repeat(1 << 20)).unwrap();
        assert!(said(&path).len() < 300);
    }

    #[test]
    fn a_byte_order_mark_does_not_count_where_a_file_begins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        for text in ["\u{feff}192.0.2.7\r\n", "\u{feff}# one\n192.0.2.7"] {
            fs::write(&path, text).unwrap();
            let networks = read_list(&path).unwrap();
            assert_eq!(networks, ["192.0.2.7/32".parse().unwrap()], "{text:?}");
        }
        fs::write(&path, "192.0.2.7\n\u{feff}192.0.2.8\n").unwrap();
        assert!(read_list(&path).is_err());
    }

    #[test]
    fn a_comment_may_be_long_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let long = "x".repeat(1 << 20);
        fs::write(&path, format!("192.0.2.7 #{long}\n;{long}\n192.0.2.8")).unwrap();
        assert_eq!(read_list(&path).unwrap().len(), 2);
        for gap in 4_000..4_200 {
            let gap = " ".repeat(gap);
            fs::write(&path, format!("192.0.2.7{gap}8\n")).unwrap();
            assert!(read_list(&path).is_err());
            fs::write(&path, format!("{gap}192.0.2.7\n192.0.2.8\n")).unwrap();
            assert!(read_list(&path).map_or(true, |networks| networks.len() == 2));
            fs::write(&path, format!("192.0.2.7\n#{gap}\n192.0.2.8\n")).unwrap();
            assert_eq!(read_list(&path).unwrap().len(), 2);
        }
    }

    #[test]
    fn a_file_without_lines_takes_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let file = File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let read = measure(|| assert!(read_list(&path).is_err()));
        assert!(read.bytes_max < 1 << 16, "{read:?}");
    }
}

//! What a list may hold, and what is said of one that holds something else.

use std::fs;

use super::*;

fn sources(text: &str) -> Result<BTreeSet<(u8, PathBuf)>, String> {
    text.parse().map(|Sources(sources)| sources)
}

#[test]
fn sources_are_scores_and_files() {
    assert_eq!(sources(""), Ok(BTreeSet::new()));
    let both = [(100, "/etc/block.txt".into()), (0, "a=b".into())].into();
    assert_eq!(sources(" 100 = /etc/block.txt , 0=a=b, 0=a=b"), Ok(both));
    for bad in ["101=a", "-1=a", "x=a", "=a", "/etc/block.txt", "1.5=a"] {
        let said = sources(&format!("50=good,{bad}")).unwrap_err();
        let expected = format!("{bad:?} is not SCORE=FILE, with a score from 0 to 100");
        assert_eq!(said, expected);
    }
}

#[test]
fn lists_have_addresses_networks_comments_and_blank_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (block, allow) = (dir.path().join("block"), dir.path().join("allow"));
    let text = b"# caf\xe9\n\n192.0.2.0/24\r\n  198.51.100.7 ; SBL1 \n2001:db8::/32#x\n\
                 10.1.2.3/8\n::ffff:203.0.113.0/120\n2001:db9::1";
    fs::write(&block, text).unwrap();
    fs::write(&allow, "192.0.2.1\n").unwrap();
    let files = [(100, block), (0, allow)].into();
    let lists = Lists::read(&Sources(files)).unwrap();
    let counts: Vec<_> = lists.files.iter().map(|file| (file.0, file.1)).collect();
    assert_eq!(counts, [(0, 1), (100, 6)]);
    for (address, score) in [
        ("192.0.2.2", 100),
        ("192.0.2.1", 0),
        ("198.51.100.7", 100),
        ("198.51.100.8", 0),
        ("2001:db8::1", 100),
        ("2001:db9::1", 100),
        ("2001:db9::2", 0),
        ("10.255.0.0", 100),
        ("203.0.113.1", 100),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(lists.score(address), score, "{address}");
    }
    let shown = lists.to_string();
    assert!(shown.starts_with("lists in force:\n"), "{shown}");
    assert!(
        shown.contains("\n  score 100         6 networks  /"),
        "{shown}"
    );
}

#[test]
fn an_exception_counts_before_the_same_network_of_other_lists() {
    let dir = tempfile::tempdir().unwrap();
    let list = |score, text| {
        let path = dir.path().join(format!("{score}"));
        fs::write(&path, text).unwrap();
        (score, path)
    };
    let sources = [
        list(0, "192.0.2.7\n198.51.100.0/24\n2001:db8::/32\n"),
        list(1, "192.0.2.7\n192.0.2.8\n"),
        list(
            100,
            "192.0.2.7\n192.0.2.8\n198.51.100.0/24\n198.51.100.7\n2001:db8::/32\n",
        ),
    ];
    let lists = Lists::read(&Sources(sources.into())).unwrap();
    for (address, score) in [
        ("192.0.2.7", 0),
        ("192.0.2.8", 100),
        ("198.51.100.6", 0),
        // In a smaller network than the exception.
        ("198.51.100.7", 100),
        ("2001:db8::7", 0),
    ] {
        assert_eq!(lists.score(address.parse().unwrap()), score, "{address}");
    }
}

//! The dependencies that must not exist: what each layer must not reach, proved from
//! Cargo's own resolution.

use anyhow::{Result, bail};

use crate::cargo::{cargo, output};

/// A package and the packages that it must not depend on, however indirectly.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    // No I/O, no clock, no logging in the codec.
    (
        "spop-codec",
        &["tokio", "tower", "tracing", "socket2", "mio"],
    ),
    // The engine knows nothing of rate limits.
    ("spop-server", &["redis", "bb8", "bb8-redis", "clap"]),
    ("spop-client", &["redis", "bb8", "bb8-redis", "spop-server"]),
];

/// Fails with the first forbidden edge found.
pub(crate) async fn check() -> Result<()> {
    for (package, forbidden) in FORBIDDEN {
        let tree = ["tree", "-p", package, "-e", "normal", "--prefix", "none"];
        let tree = output(&mut cargo(tree)).await?;
        let found = tree.lines().filter_map(|line| line.split(' ').next());
        for name in found {
            if forbidden.contains(&name) {
                bail!("{package} reaches {name}; see: cargo tree -p {package} -e normal -i {name}");
            }
        }
        println!("{package} reaches none of {}", forbidden.join(", "));
    }

    let features = [
        "tree",
        "-p",
        "spop-codec",
        "-e",
        "normal,features,no-proc-macro",
    ];
    let features = output(&mut cargo(features)).await?;
    if let Some(line) = features
        .lines()
        .find(|line| line.contains("feature \"std\""))
    {
        bail!("spop-codec must not switch on std: {}", line.trim());
    }
    println!("spop-codec switches on no feature \"std\"");
    Ok(())
}

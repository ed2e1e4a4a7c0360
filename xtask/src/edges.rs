//! The dependencies that must not exist: what each layer must not reach, and what needs a newer
//! Rust than the workspace says; proved from Cargo's own resolution.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cargo::{cargo, output};

/// A package and the packages that it must not depend on, however indirectly.
const FORBIDDEN: [(&str, &[&str]); 7] = [
    // No I/O, no clock, no logging in the codec.
    (
        "spop-codec",
        &["tokio", "tower", "tracing", "socket2", "mio"],
    ),
    // The engine knows nothing of rate limits.
    ("spop-server", &["redis", "bb8", "bb8-redis", "clap"]),
    ("spop-client", &["redis", "bb8", "bb8-redis", "spop-server"]),
    // What is around every agent knows none of them.
    (
        "spoa-process",
        &["redis", "bb8", "bb8-redis", "network-map", "spoa-gcra"],
    ),
    // A data structure and its files: no runtime, no protocol.
    (
        "network-map",
        &["tokio", "tower", "tracing", "spop-codec", "clap"],
    ),
    // Traces are for builds that ask for them.
    ("spoa-gcra", &["opentelemetry"]),
    ("spoa-ip-reputation", &["opentelemetry"]),
];

/// Fails with the first forbidden edge found.
pub(crate) async fn check() -> Result<()> {
    layers().await?;
    oldest_rust().await
}

async fn layers() -> Result<()> {
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

/// No package of what users compile may ask for a newer Rust than ours do. (What our own code
/// takes of the standard library, Clippy compares with the version.)
async fn oldest_rust() -> Result<()> {
    let metadata = [
        "metadata",
        "--format-version",
        "1",
        "--all-features",
        "--locked",
    ];
    let metadata: Value = serde_json::from_str(&output(&mut cargo(metadata)).await?)?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let packages = packages.context("Cargo names no packages")?;
    let text = |package: &Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let asks = |name: &str, version: &str| {
        let package = packages.iter().find(|package| {
            text(package, "name").as_deref() == Some(name)
                && text(package, "version").as_deref() == Some(version)
        })?;
        text(package, "rust_version")
    };

    let tree = [
        "tree",
        "--all-features",
        "-e",
        "normal,build",
        "--target",
        "all",
        "--prefix",
        "none",
    ];
    let tree = output(&mut cargo(tree)).await?;
    // Lines such as `tokio v1.48.0 (proc-macro) (*)`.
    let mut used: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .filter_map(|(name, rest)| Some((name, rest.split(' ').next()?)))
        .collect();
    used.sort_unstable();
    used.dedup();

    let ours = asks("spop-codec", env!("CARGO_PKG_VERSION")).context("no rust-version")?;
    let allowed = parts(&ours);
    for (name, version) in &used {
        if let Some(asked) = asks(name, version)
            && parts(&asked) > allowed
        {
            bail!("{name} {version} needs Rust {asked}, and Cargo.toml says rust-version {ours}");
        }
    }
    println!("{} packages need no newer Rust than {ours}", used.len());
    Ok(())
}

/// `1.88` and `1.88.0` as numbers that compare alike.
fn parts(version: &str) -> [u32; 3] {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

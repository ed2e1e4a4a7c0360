//! The list of what an image is made of, read and checked by another library.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use cyclonedx_bom::prelude::{Bom, Validate as _};
use spop_testkit::tools::workspace_root;
use tempfile::TempDir;

use crate::agent::{AGENT, image};

#[tokio::test]
async fn it_is_valid_and_names_every_crate_and_nothing_that_is_not_there() {
    let dir = TempDir::new().unwrap();
    let built = image(dir.path(), 0o755, Duration::ZERO).await;
    let bom = Bom::parse_from_json(File::open(&built.sbom).unwrap()).unwrap();
    let verdict = bom.validate();
    assert!(verdict.passed(), "{verdict:?}");
    assert_eq!(bom.serial_number, None);

    let metadata = bom.metadata.unwrap();
    assert_eq!(metadata.timestamp, None);
    let program = metadata.component.unwrap();
    assert_eq!(program.name.to_string(), AGENT);

    let mut named = BTreeSet::new();
    for component in bom.components.unwrap().0 {
        let version = component.version.unwrap().to_string();
        let is_crate = component.purl.is_some();
        let text = format!("{} {version}", component.name);
        assert!(component.licenses.is_some(), "{text} has no licence");
        if is_crate {
            named.insert(text);
        }
    }
    let mut compiled_in = crates();
    compiled_in.remove(&format!("{AGENT} {}", env!("CARGO_PKG_VERSION")));
    let authorities: Vec<_> = named.difference(&compiled_in).cloned().collect();
    assert!(
        matches!(&authorities[..], [only] if only.starts_with("webpki-root-certs ")),
        "{authorities:?}"
    );
    assert_eq!(compiled_in.difference(&named).collect::<Vec<_>>().len(), 0);
    assert!(compiled_in.len() > 50);

    let text = fs::read_to_string(&built.sbom).unwrap();
    for other in ["rust-std", "glibc"] {
        assert!(text.contains(&format!(r#""name": "{other}""#)), "{other}");
    }
}

/// What Cargo says is compiled in.
fn crates() -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--edges=normal", "--prefix=none"]);
    tree.args(["--package", AGENT, "--format={p}"]);
    let output = tree.current_dir(workspace_root()).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {}", words[0], words[1].trim_start_matches('v'))
        })
        .collect()
}

//! Into a real podman.

use std::time::Duration;

use spop_testkit::containers::Engine;
use tempfile::TempDir;

use crate::agent::image;

#[tokio::test]
async fn podman_keeps_name_digest_and_id() {
    let dir = TempDir::new().unwrap();
    let archive = image(dir.path(), 0o755, Duration::ZERO).await.archive;
    let engine = Engine::start().unwrap();
    let path = archive.path.to_str().unwrap();
    engine.podman(["load", "--input", path]).await.unwrap();
    let format = "--format={{.Digest}} sha256:{{.Id}} {{.Config.User}}";
    let inspect = ["image", "inspect", format, &archive.reference];
    assert_eq!(
        engine.podman(inspect).await.unwrap(),
        format!("{} {} 65532:65532", archive.digest, archive.id)
    );
}

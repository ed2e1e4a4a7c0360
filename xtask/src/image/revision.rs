//! Which commit an image is made of.

use std::path::Path;

use tokio::process::Command;

use super::program;

/// The commit that the sources are, if they are one.
pub(super) async fn revision(root: &Path) -> Option<String> {
    let git = |words: [&str; 2]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(root).args(words);
        command
    };
    let changes = program::said(&mut git(["status", "--porcelain"])).await;
    if !changes.ok()?.is_empty() {
        return None;
    }
    program::said(&mut git(["rev-parse", "HEAD"])).await.ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn only_what_is_committed_is_known() {
        let dir = tempfile::tempdir().unwrap();
        if program::said(Command::new("git").arg("version"))
            .await
            .is_err()
        {
            // A copy of the sources on a machine without git: nothing is known there.
            assert_eq!(revision(dir.path()).await, None);
            return;
        }
        let git = async |line: &str| {
            let mut command = Command::new("git");
            command.arg("-C").arg(dir.path()).args(line.split(' '));
            program::said(&mut command).await.unwrap()
        };
        assert_eq!(revision(dir.path()).await, None);
        git("init --quiet").await;
        assert_eq!(revision(dir.path()).await, None);
        git("-c user.name=a -c user.email=a@example.com commit --quiet --allow-empty -m first")
            .await;
        let head = git("rev-parse HEAD").await;
        assert_eq!(head.len(), 40, "{head}");
        assert_eq!(revision(dir.path()).await, Some(head));
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(revision(dir.path()).await, None);
    }
}

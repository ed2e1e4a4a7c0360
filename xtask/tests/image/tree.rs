//! Any files as an image: what tests of other programs make of unpacked packages.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tar::EntryType;
use tempfile::TempDir;
use xtask::image::{Config, Image, Tree};

use crate::opened::Opened;

fn opened(tree: Tree) -> Opened {
    let dir = TempDir::new().unwrap();
    let image = Image {
        reference: "localhost/some:thing".into(),
        tree,
        config: Config::default(),
    };
    let archive = image.write(&dir.path().join("a.oci.tar")).unwrap();
    let opened = Opened::read(&archive.path);
    assert_eq!(archive.digest, opened.manifest_digest);
    opened
}

#[test]
fn a_path_through_a_link_lands_where_the_link_leads() {
    let mut tree = Tree::new();
    tree.link("lib", "usr/lib").unwrap();
    tree.link("usr/lib64", "/lib").unwrap();
    tree.file("/usr/lib64/deep/a.so", 0o644, "a").unwrap();
    tree.file("lib/../b", 0o644, "b").unwrap();
    let image = opened(tree);
    assert_eq!(
        image.paths(),
        [
            "lib",
            "usr/",
            "usr/b",
            "usr/lib/",
            "usr/lib/deep/",
            "usr/lib/deep/a.so",
            "usr/lib64"
        ]
    );
    assert_eq!(image.entry("lib").target.as_deref(), Some("usr/lib"));
}

#[test]
fn a_directory_is_copied_with_its_links_and_programs_but_not_its_owner_or_modes() {
    let from = TempDir::new().unwrap();
    let path = |name: &str| from.path().join(name);
    fs::create_dir_all(path("usr/bin")).unwrap();
    fs::create_dir_all(path("lib/deep")).unwrap();
    fs::write(path("usr/bin/run"), "#!").unwrap();
    fs::write(path("lib/deep/data"), "data").unwrap();
    let mode = |name: &str, mode| fs::set_permissions(path(name), PermissionsExt::from_mode(mode));
    mode("usr/bin/run", 0o4711).unwrap();
    mode("lib/deep/data", 0o600).unwrap();
    mode("lib/deep", 0o700).unwrap();
    symlink("run", path("usr/bin/also")).unwrap();

    let mut tree = Tree::new();
    tree.link("lib", "usr/lib").unwrap();
    tree.copy(from.path(), "/").unwrap();
    let image = opened(tree);
    let about = |path: &str| {
        let entry = image.entry(path);
        (entry.kind, entry.mode, entry.owner, entry.time)
    };
    let nobody = (0, 0);
    assert_eq!(
        about("usr/lib/deep/"),
        (EntryType::Directory, 0o755, nobody, 0)
    );
    assert_eq!(
        about("usr/lib/deep/data"),
        (EntryType::Regular, 0o644, nobody, 0)
    );
    assert_eq!(about("usr/bin/run"), (EntryType::Regular, 0o755, nobody, 0));
    assert_eq!(image.entry("usr/bin/run").content, b"#!");
    assert_eq!(image.entry("usr/bin/also").target.as_deref(), Some("run"));
    assert_eq!(image.entry("lib").kind, EntryType::Symlink);
}

#[test]
fn later_files_replace_earlier_ones_and_directories_stay() {
    let mut tree = Tree::new();
    tree.directory("tmp", 0o1777).unwrap();
    tree.file("tmp/a", 0o644, "first").unwrap();
    tree.file("tmp/a", 0o755, "second").unwrap();
    assert!(tree.file("tmp", 0o644, "").is_err());
    assert!(tree.file("tmp/a/b", 0o644, "").is_err());
    let image = opened(tree);
    assert_eq!(image.entry("tmp/").mode, 0o1777);
    assert_eq!(image.entry("tmp/a").content, b"second");
}

#[test]
fn nothing_leads_out_of_the_root_or_round_in_a_circle() {
    let mut tree = Tree::new();
    assert!(tree.file("../etc/passwd", 0o644, "").is_err());
    assert!(tree.file("/", 0o644, "").is_err());
    tree.link("a", "b").unwrap();
    tree.link("b", "a").unwrap();
    assert!(tree.file("a/file", 0o644, "").is_err());
}

#[test]
fn long_paths_are_kept() {
    let mut tree = Tree::new();
    let path = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    tree.file(&path, 0o644, "x").unwrap();
    tree.link("link", format!("/{path}")).unwrap();
    let image = opened(tree);
    assert_eq!(image.entry(&path).content, b"x");
    assert_eq!(
        image.entry("link").target.as_deref(),
        Some(format!("/{path}").as_str())
    );
}

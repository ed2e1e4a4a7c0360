//! Links and paths in the project's pages lead somewhere. `cargo xtask test` looks at more: see
//! [`crate::links`].

use anyhow::Result;

use super::problem::Problem;
use super::site::Site;
use crate::links;

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let broken = links::of_files(&site.path(""))?.into_iter();
    Ok(broken
        .map(|broken| Problem::new(broken.file, broken.what))
        .collect())
}

//! GitHub's workflows pass actionlint.

use anyhow::Result;
use spop_testkit::tools::actionlint;

use super::problem::Problem;
use super::site::Site;

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let files = site.files(".github/workflows");
    let files: Vec<String> = files
        .into_iter()
        .filter(|file| file.ends_with(".yml") || file.ends_with(".yaml"))
        .collect();
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = actionlint()?;
    command.args(files.iter().map(|file| site.path(file)));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let root = format!(
        "{}/",
        site.path("").display().to_string().trim_end_matches('/')
    );
    let mut problems = Vec::new();
    for line in said.lines() {
        let line = line.replace(&root, "");
        match line.split_once(':') {
            Some((file, what)) => problems.push(Problem::new(file, format!("line {what}"))),
            None => problems.push(Problem::new(".github/workflows", line)),
        }
    }
    if problems.is_empty() && !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        problems.push(Problem::new(".github/workflows", said));
    }
    site.used(format!("actionlint: {} workflows", files.len()));
    Ok(problems)
}

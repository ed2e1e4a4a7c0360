//! Renders every kustomization as `kubectl apply -k` would.

use std::path::Path;
use std::thread;

use anyhow::Result;
use spop_testkit::tools::{Program, kustomize};

use super::manifests::{Object, Overlay, Sources, documents};
use super::problem::Problem;
use super::site::Site;

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let overlays = site.overlays()?;
    let objects: usize = overlays.iter().map(|overlay| overlay.objects.len()).sum();
    site.used(format!(
        "{} kustomizations of {objects} objects",
        overlays.len()
    ));
    Ok(overlays
        .iter()
        .filter_map(|overlay| {
            let root = format!("{}/", site.path("").display());
            let failure = overlay.failure.as_ref()?.replace(root.as_str(), "");
            Some(Problem::new(
                format!("{}/kustomization.yaml", overlay.dir),
                failure,
            ))
        })
        .collect())
}

/// All below `deploy/` but components, which are no more than parts of others.
pub(super) fn all(site: &Site) -> Result<Vec<Overlay>> {
    let kustomize = kustomize()?;
    let mut sources = Sources::default();
    let mut dirs = Vec::new();
    for file in site.files("deploy") {
        let Some((dir, name)) = file.rsplit_once('/') else {
            continue;
        };
        if !name.ends_with(".yaml") && !name.ends_with(".yml") {
            continue;
        }
        let text = site.read(&file)?;
        if name.starts_with("kustomization.") {
            if !text.contains("kind: Component") {
                dirs.push(dir.to_owned());
            }
        } else {
            sources.read(&file, &text);
        }
    }
    let mut overlays = Vec::new();
    thread::scope(|scope| {
        let running: Vec<_> = dirs
            .into_iter()
            .map(|dir| scope.spawn(|| render(site, &kustomize, dir, &sources)))
            .collect();
        for render in running {
            overlays.extend(render.join());
        }
    });
    Ok(overlays)
}

fn render(site: &Site, kustomize: &Program, dir: String, sources: &Sources) -> Overlay {
    let rendered = build(kustomize, &site.path(&dir));
    let rendered = rendered.and_then(|yaml| documents(&yaml));
    let (values, failure) = match rendered {
        Ok(values) => (values, None),
        Err(error) => (Vec::new(), Some(format!("does not render: {error}"))),
    };
    let objects = values
        .into_iter()
        .map(|value| Object::new(value, &dir, sources))
        .collect();
    Overlay {
        dir,
        objects,
        failure,
    }
}

/// The load restrictions that kubectl has are kustomize's default.
fn build(kustomize: &Program, dir: &Path) -> Result<String, String> {
    let output = kustomize.command().arg("build").arg(dir).output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    // Deprecated fields, for one.
    if !output.status.success() || !said.trim().is_empty() {
        let said: Vec<&str> = said.lines().map(str::trim).collect();
        return Err(said.join(" "));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

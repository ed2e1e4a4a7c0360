//! What Argo CD's Applications name exists in this tree.

use anyhow::Result;
use serde_json::Value;

use super::manifests::documents;
use super::pods::list;
use super::problem::Problem;
use super::site::Site;

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let mut projects = vec!["default".to_owned()];
    let mut applications = Vec::new();
    for file in site.files("deploy/argocd") {
        if !file.ends_with(".yaml") {
            continue;
        }
        match documents(&site.read(&file)?) {
            Err(error) => problems.push(Problem::new(&file, format!("is no YAML: {error}"))),
            Ok(values) => {
                for value in values {
                    match value["kind"].as_str() {
                        Some("AppProject") => {
                            let name = value["metadata"]["name"].as_str();
                            projects.extend(name.map(String::from));
                        }
                        Some("Application") => applications.push((file.clone(), value)),
                        _ => {}
                    }
                }
            }
        }
    }
    for (file, application) in &applications {
        let name = application["metadata"]["name"].as_str().unwrap_or_default();
        let mistakes = mistakes(site, application, &projects)?.into_iter();
        let mistakes = mistakes.map(|what| format!("Application {name}: {what}"));
        problems.extend(mistakes.map(|what| Problem::new(file, what)));
    }
    site.used(format!("{} Applications", applications.len()));
    Ok(problems)
}

fn mistakes(site: &Site, application: &Value, projects: &[String]) -> Result<Vec<String>> {
    let spec = &application["spec"];
    let mut mistakes = Vec::new();
    let project = spec["project"].as_str().unwrap_or_default();
    if !projects.iter().any(|known| known == project) {
        mistakes.push(format!("there is no AppProject {project}"));
    }
    let sources: Vec<&Value> = list(&spec["sources"])
        .chain(Some(&spec["source"]))
        .collect();
    let references: Vec<String> = sources
        .iter()
        .filter_map(|source| Some(format!("${}/", source["ref"].as_str()?)))
        .collect();
    for source in &sources {
        if let Some(path) = source["path"].as_str() {
            let dir = site.path(path);
            if !dir.join("kustomization.yaml").is_file() {
                mistakes.push(format!("path {path} holds no kustomization.yaml"));
            } else if !path.contains("/overlays/") {
                mistakes.push(format!("path {path} is no overlay"));
            }
        }
        for file in list(&source["helm"]["valueFiles"]).filter_map(Value::as_str) {
            let inside = references
                .iter()
                .find_map(|prefix| file.strip_prefix(prefix.as_str()));
            match inside {
                None if file.starts_with('$') => {
                    mistakes.push(format!("valueFiles {file}: no source has that ref"));
                }
                None => {}
                Some(file) if !site.path(file).is_file() => {
                    mistakes.push(format!("valueFiles: there is no {file}"));
                }
                Some(file) => {
                    if let Err(error) = documents(&site.read(file)?) {
                        mistakes.push(format!("valueFiles: {file} is no YAML: {error}"));
                    }
                }
            }
        }
    }
    Ok(mistakes)
}

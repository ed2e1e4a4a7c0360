//! Kubernetes objects, as kustomize renders them, and the files that they come from.

use std::collections::BTreeMap;

use serde_json::Value;

use super::problem::Problem;

/// What one kustomization renders to.
#[derive(Debug)]
pub(super) struct Overlay {
    /// Relative to the root.
    pub(super) dir: String,
    pub(super) objects: Vec<Object>,
    /// Why there are none.
    pub(super) failure: Option<String>,
}

impl Overlay {
    /// What is applied to a cluster. The others are parts, which need not be whole.
    pub(super) fn is_whole(&self) -> bool {
        self.dir.contains("/overlays/")
    }

    pub(super) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects
            .iter()
            .filter(move |object| object.kind() == kind)
    }

    pub(super) fn find(&self, kind: &str, name: &str) -> Option<&Object> {
        self.objects
            .iter()
            .find(|object| object.kind() == kind && object.name() == name)
    }
}

/// One rendered object.
#[derive(Debug)]
pub(super) struct Object {
    /// Where it is written, as far as that can be told; else where it is rendered.
    file: String,
    overlay: String,
    pub(super) value: Value,
}

impl Object {
    pub(super) fn new(value: Value, overlay: &str, sources: &Sources) -> Self {
        let mut object = Self {
            file: overlay.to_owned(),
            overlay: overlay.to_owned(),
            value,
        };
        if let Some(file) = sources.file_of(object.kind(), object.name()) {
            object.file = file.to_owned();
        }
        object
    }

    pub(super) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    pub(super) fn api_version(&self) -> &str {
        self.value["apiVersion"].as_str().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(super) fn spec(&self) -> &Value {
        &self.value["spec"]
    }

    /// `Deployment spoe-agent: …`
    pub(super) fn problem(&self, what: impl AsRef<str>) -> Problem {
        let what = format!("{} {}: {}", self.kind(), self.name(), what.as_ref());
        Problem::new(&self.file, what).within(&self.overlay)
    }
}

/// Which file each object is written in.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<(String, String), String>);

impl Sources {
    /// Reads one file; what is no YAML is left to kustomize to complain about. Patches, which
    /// name the same object, give way to what they change.
    pub(super) fn read(&mut self, file: &str, text: &str) {
        for value in documents(text).unwrap_or_default() {
            let field = |value: &Value| value.as_str().map(String::from);
            let kind = field(&value["kind"]);
            let name = field(&value["metadata"]["name"]);
            if let (Some(kind), Some(name)) = (kind, name) {
                let known = self
                    .0
                    .entry((kind, name))
                    .or_insert_with(|| file.to_owned());
                if known.contains("/overlays/") {
                    file.clone_into(known);
                }
            }
        }
    }

    fn file_of(&self, kind: &str, name: &str) -> Option<&str> {
        let key = (kind.to_owned(), name.to_owned());
        self.0.get(&key).map(String::as_str)
    }
}

/// The documents of a YAML file that are not empty.
pub(super) fn documents(yaml: &str) -> Result<Vec<Value>, String> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    })?;
    Ok(all.into_iter().filter(|value| !value.is_null()).collect())
}

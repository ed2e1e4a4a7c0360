//! Rendered objects fit the schemas of several versions of Kubernetes; a field that these do
//! not know is a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow};
use boon::{CompileError, Compiler, SchemaIndex, Schemas};
use serde_json::Value;
use spop_testkit::tools::{argo_cd, kubernetes_schemas};

use super::manifests::{Object, documents};
use super::problem::Problem;
use super::site::Site;

/// The oldest that is supported, one that is widespread, and the newest that the schemas have.
const VERSIONS: [&str; 3] = ["1.29", "1.32", "1.37"];

/// OpenShift's Route, which no registry has a schema of.
const ROUTE: &str = include_str!("schema/route.json");

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let objects = site.overlays()?.iter().flat_map(|overlay| &overlay.objects);
    let objects: Vec<&Object> = objects.collect();
    let applications = applications(site)?;
    let (ours, theirs): (Vec<&Object>, Vec<&Object>) = objects
        .into_iter()
        .chain(&applications)
        .partition(|object| !object.api_version().starts_with("argoproj.io/"));

    let mut problems = Vec::new();
    let schemas = kubernetes_schemas()?;
    let mut catalogs = Vec::new();
    for version in VERSIONS {
        let dir = schemas.join(format!("v{version}.0-local-strict"));
        catalogs.push((version, Catalog::new(dir)?));
    }
    for object in &ours {
        let mut mistakes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (version, catalog) in &mut catalogs {
            for mistake in catalog.mistakes(object)? {
                mistakes.entry(mistake).or_default().push(version);
            }
        }
        for (mistake, versions) in mistakes {
            let versions = versions.join(", ");
            problems.push(object.problem(format!("{mistake} (Kubernetes {versions})")));
        }
    }
    site.used(format!("schemas of Kubernetes {}", VERSIONS.join(", ")));
    if !theirs.is_empty() {
        for (object, mistakes) in theirs.iter().zip(argo_cd_mistakes(&theirs)?) {
            problems.extend(mistakes.into_iter().map(|what| object.problem(what)));
        }
        site.used(format!("Argo CD's schemas: {} objects", theirs.len()));
    }
    Ok(problems)
}

/// What is applied to Argo CD's cluster as it lies there.
fn applications(site: &Site) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for file in site.files("deploy/argocd") {
        if !file.ends_with(".yaml") || file.ends_with("kustomization.yaml") {
            continue;
        }
        let values = documents(&site.read(&file)?).unwrap_or_default();
        let values = values.into_iter().filter(|value| value["kind"].is_string());
        objects.extend(values.map(|value| Object::new(value, &file, &Default::default())));
    }
    Ok(objects)
}

/// The schemas of one version, each compiled when it is needed first.
struct Catalog {
    dir: PathBuf,
    schemas: Schemas,
    compiler: Compiler,
    compiled: BTreeMap<String, Option<SchemaIndex>>,
}

impl Catalog {
    fn new(dir: PathBuf) -> Result<Self> {
        let mut compiler = Compiler::new();
        let definitions = read(&dir.join("_definitions.json"))?;
        // The others refer to it by this name.
        let name = definitions["$id"]
            .as_str()
            .context("definitions without a name")?;
        let name = name.to_owned();
        compiler
            .add_resource(&name, definitions)
            .map_err(|error| anyhow!("{name}: {error:#}"))?;
        Ok(Self {
            dir,
            schemas: Schemas::new(),
            compiler,
            compiled: BTreeMap::new(),
        })
    }

    fn mistakes(&mut self, object: &Object) -> Result<Vec<String>> {
        let (api_version, kind) = (object.api_version(), object.kind());
        let Some(schema) = self.schema(api_version, kind)? else {
            return Ok(vec![format!("no schema of {api_version} {kind} is known")]);
        };
        let Err(error) = self.schemas.validate(&object.value, schema) else {
            return Ok(Vec::new());
        };
        // The first line says that there are others.
        let text = error.to_string();
        let lines: BTreeSet<&str> = text
            .lines()
            .skip(1)
            .map(|line| line.trim_start_matches([' ', '-']))
            .collect();
        Ok(lines.into_iter().map(String::from).collect())
    }

    fn schema(&mut self, api_version: &str, kind: &str) -> Result<Option<SchemaIndex>> {
        let id = format!("{api_version} {kind}");
        if let Some(known) = self.compiled.get(&id) {
            return Ok(*known);
        }
        let file = self.dir.join(file_name(api_version, kind));
        let schema = if id == "route.openshift.io/v1 Route" {
            Some(self.compile(&id, serde_json::from_str(ROUTE)?)?)
        } else if file.exists() {
            Some(self.compile(&id, read(&file)?)?)
        } else {
            None
        };
        self.compiled.insert(id, schema);
        Ok(schema)
    }

    fn compile(&mut self, id: &str, schema: Value) -> Result<SchemaIndex> {
        // Any name that nothing refers to.
        let location = format!("https://localhost/{}", id.replace(' ', "/"));
        let refused = |error: CompileError| anyhow!("{id}: {error:#}");
        self.compiler
            .add_resource(&location, schema)
            .map_err(refused)?;
        self.compiler
            .compile(&location, &mut self.schemas)
            .map_err(refused)
    }
}

fn read(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// `deployment-apps-v1.json`, `networkpolicy-networking-v1.json`, `service-v1.json`
fn file_name(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let group = group.split('.').next().unwrap_or_default();
    let words = [
        kind.to_lowercase(),
        group.to_owned(),
        version.to_lowercase(),
    ];
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    format!("{}.json", words.join("-"))
}

/// For each object what is wrong with it.
fn argo_cd_mistakes(objects: &[&Object]) -> Result<Vec<Vec<String>>> {
    let values: Vec<&Value> = objects.iter().map(|object| &object.value).collect();
    let mut child = argo_cd()?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("Node.js cannot be run")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&serde_json::to_vec(&values)?)?;
    }
    let output = child.wait_with_output()?;
    serde_json::from_slice(&output.stdout).context("Argo CD's schemas give no verdict")
}

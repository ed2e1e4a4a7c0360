//! What an image is made of: a CycloneDX document, the same each time.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::process::Command;

use super::agent::AUTHORITIES;
use super::archive::digest;
use super::binary::Compiler;
use super::program::said;
use super::project::{Package, Parts, Project};

/// The document, as text.
///
/// It has neither a time nor a serial number, which would differ each time. Beside the crates
/// it names what else is in the image: the C library, Rust's library, the certificates.
pub(super) async fn document(
    project: &Project,
    parts: &Parts,
    compiler: &Compiler,
    binary: &Path,
) -> Result<String> {
    let authorities = component(project.package(AUTHORITIES)?);
    let mut others = vec![authorities, rust_library(compiler)];
    others.extend(c_library().await);

    let mut program = json!({});
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (place, package) in parts.packages.iter().enumerate() {
        let uses = parts.uses.get(&place).into_iter().flatten();
        let uses = uses.filter_map(|&used| parts.packages.get(used));
        let mut uses: Vec<Value> = uses.map(|package| json!(purl(package))).collect();
        if place == 0 {
            program = component(package);
            set(&mut program, "type", json!("application"));
            let hash = digest(&std::fs::read(binary)?).replace("sha256:", "");
            set(&mut program, "hashes", sha256(&hash));
            uses.extend(
                others
                    .iter()
                    .filter_map(|other| other.get("bom-ref").cloned()),
            );
        } else {
            components.push(component(package));
        }
        dependencies.push(json!({ "ref": purl(package), "dependsOn": uses }));
    }
    components.extend(others);
    components.sort_by_key(|component| component.get("bom-ref").map(Value::to_string));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": program },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn component(package: &Package) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
        "scope": "required",
    });
    if !package.description.is_empty() {
        let description = package.description.split_whitespace();
        let description = description.collect::<Vec<_>>().join(" ");
        set(&mut component, "description", json!(description));
    }
    if !package.license.is_empty() {
        let expression = json!([{ "expression": package.license }]);
        set(&mut component, "licenses", expression);
    }
    if let Some(repository) = &package.repository {
        let reference = json!([{ "type": "vcs", "url": repository }]);
        set(&mut component, "externalReferences", reference);
    }
    if let Some(checksum) = &package.checksum {
        set(&mut component, "hashes", sha256(checksum));
    }
    component
}

/// Rust's own library, compiled in.
fn rust_library(compiler: &Compiler) -> Value {
    json!({
        "type": "library",
        "bom-ref": "rust-std",
        "name": "rust-std",
        "version": compiler.version,
        "description": "The standard library of Rust",
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        "scope": "required",
    })
}

/// The C library of this machine, which is linked into the program.
async fn c_library() -> Option<Value> {
    // Such as `glibc 2.36`.
    let version = said(Command::new("getconf").arg("GNU_LIBC_VERSION")).await;
    let version = version.ok()?.strip_prefix("glibc ")?.to_owned();
    Some(json!({
        "type": "library",
        "bom-ref": "glibc",
        "name": "glibc",
        "version": version,
        "description": "The GNU C library, linked statically",
        "licenses": [{ "expression": "LGPL-2.1-or-later" }],
        "scope": "required",
    }))
}

/// The name of a crate anywhere.
fn purl(package: &Package) -> String {
    let version = package.version.replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", package.name)
}

fn sha256(hash: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": hash }])
}

fn set(component: &mut Value, field: &str, value: Value) {
    if let Some(component) = component.as_object_mut() {
        component.insert(field.to_owned(), value);
    }
}

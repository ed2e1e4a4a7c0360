//! The schemas of Argo CD's own objects.

use std::process::Command;

use anyhow::Result;

use super::node::node;

/// Argo CD 2.14.11's definitions, compiled to JavaScript.
const PACKAGE: &str = "@kubernetes-models/argo-cd@2.7.2";

/// The compiled definitions say nothing of a field that they do not know: they never look at
/// it, which is how it is found.
const SCRIPT: &str = r#"
const fields = (value, path, seen) => typeof value !== "object" || value === null ? value
  : new Proxy(value, {
      get(target, name) {
        if (typeof name === "symbol" || !Object.hasOwn(target, name)) return target[name];
        const field = Array.isArray(target) ? `${path}[${name}]` : `${path}.${name}`;
        seen.add(field);
        return fields(target[name], field, seen);
      },
    });

const unseen = (value, path, seen, found) => {
  if (typeof value !== "object" || value === null) return found;
  for (const name of Object.keys(value)) {
    const field = Array.isArray(value) ? `${path}[${name}]` : `${path}.${name}`;
    // A chart's own values, of any form; and fields that were taken for remarks, and left out,
    // when the definitions were compiled.
    if (name === "valuesObject" || name === "description") continue;
    if (!seen.has(field)) found.push(`${field.slice(1)}: no such field`);
    else unseen(value[name], field, seen, found);
  }
  return found;
};

const models = require("@kubernetes-models/argo-cd/argoproj.io/v1alpha1");
const mistakes = (object) => {
  if (object.apiVersion !== "argoproj.io/v1alpha1" || !(object.kind in models))
    return [`Argo CD has no ${object.apiVersion} ${object.kind}`];
  const seen = new Set();
  try {
    models[object.kind].prototype.validate.call(fields(object, "", seen));
  } catch (error) {
    return [error.message];
  }
  return unseen(object, "", seen, []);
};

const objects = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(objects.map(mistakes)));
"#;

/// A command that reads a JSON array of Argo CD's objects and writes one of the same length:
/// for each object an array of its mistakes, which are lines of text.
///
/// # Errors
/// One line: what is missing and what to type.
pub fn argo_cd() -> Result<Command> {
    node("argo-cd", PACKAGE, SCRIPT)
}

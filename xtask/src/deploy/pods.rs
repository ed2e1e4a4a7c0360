//! Pods and containers within rendered objects.

use serde_json::Value;

use super::manifests::{Object, Overlay};

/// A pod that an object makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod<'a> {
    pub(super) object: &'a Object,
    pub(super) labels: &'a Value,
    pub(super) spec: &'a Value,
}

/// All pods of an overlay.
pub(super) fn pods(overlay: &Overlay) -> Vec<Pod<'_>> {
    overlay
        .objects
        .iter()
        .filter_map(|object| {
            let template = match object.kind() {
                "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &object.spec()["template"],
                "CronJob" => &object.spec()["jobTemplate"]["spec"]["template"],
                "Pod" => &object.value,
                _ => return None,
            };
            Some(Pod {
                object,
                labels: &template["metadata"]["labels"],
                spec: &template["spec"],
            })
        })
        .collect()
}

impl<'a> Pod<'a> {
    /// Those that run side by side.
    pub(super) fn containers(self) -> impl Iterator<Item = Container<'a>> {
        list(&self.spec["containers"]).map(|value| Container { value })
    }

    /// Those and the ones that run before.
    pub(super) fn all_containers(self) -> impl Iterator<Item = Container<'a>> {
        let before = list(&self.spec["initContainers"]).map(|value| Container { value });
        before.chain(self.containers())
    }

    pub(super) fn has_port(self, port: &Value) -> bool {
        self.containers().any(|container| container.has_port(port))
    }
}

/// One container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) value: &'a Value,
}

impl<'a> Container<'a> {
    pub(super) fn name(self) -> &'a str {
        self.value["name"].as_str().unwrap_or_default()
    }

    pub(super) fn role(self) -> Role {
        Role::of(self.value["image"].as_str().unwrap_or_default())
    }

    /// Whether it listens there, by name or number.
    pub(super) fn has_port(self, port: &Value) -> bool {
        list(&self.value["ports"]).any(|own| own["name"] == *port || own["containerPort"] == *port)
    }

    /// Names and values; no value where Kubernetes puts one in only when it starts the pod.
    /// What is there only to be a `$(PART)` of others is left out.
    pub(super) fn environment(self, overlay: &'a Overlay) -> Vec<(String, Option<String>)> {
        let mut all: Vec<(String, Option<String>)> = Vec::new();
        for source in list(&self.value["envFrom"]) {
            let name = source["configMapRef"]["name"].as_str().unwrap_or_default();
            let map = overlay.find("ConfigMap", name);
            let data = map.and_then(|map| map.value["data"].as_object());
            let values = data.into_iter().flatten();
            all.extend(values.map(|(name, value)| (name.clone(), string(value))));
        }
        for entry in list(&self.value["env"]) {
            let name = entry["name"].as_str().unwrap_or_default();
            let value = match &entry["valueFrom"] {
                Value::Null => Some(string(&entry["value"]).unwrap_or_default()),
                source => given(overlay, source),
            };
            let value = value.and_then(|value| expanded(value, &all));
            all.push((name.to_owned(), value));
        }
        let written = self.value["env"].to_string();
        all.retain(|(name, _)| !written.contains(&format!("$({name})")));
        all
    }
}

/// The value that a `valueFrom` stands for, as far as that can be known.
fn given(overlay: &Overlay, source: &Value) -> Option<String> {
    if source["fieldRef"]["fieldPath"] == "metadata.namespace" {
        return Some("namespace".to_owned());
    }
    let reference = &source["configMapKeyRef"];
    let map = overlay.find("ConfigMap", reference["name"].as_str()?)?;
    string(&map.value["data"][reference["key"].as_str()?])
}

/// With each `$(NAME)` replaced by the value that stands before it.
fn expanded(mut value: String, known: &[(String, Option<String>)]) -> Option<String> {
    for (name, part) in known {
        let reference = format!("$({name})");
        if value.contains(&reference) {
            value = value.replace(&reference, part.as_deref()?);
        }
    }
    Some(value).filter(|value| !value.contains("$("))
}

/// What a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Agent,
    Haproxy,
    Other,
}

impl Role {
    /// By the name of its image.
    pub(super) fn of(image: &str) -> Self {
        if image.contains("spoa-gcra") {
            Self::Agent
        } else if image.contains("haproxy") {
            Self::Haproxy
        } else {
            Self::Other
        }
    }
}

/// The entries of a list; none if it is not one.
pub(super) fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
}

/// Whether a label selector, `matchLabels` and the plain form of services alike, fits.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = match &selector["matchLabels"] {
        Value::Null if selector["matchExpressions"].is_null() => selector,
        wanted => wanted,
    };
    let equal = wanted.as_object().is_none_or(|wanted| {
        wanted
            .iter()
            .all(|(name, value)| labels[name.as_str()] == *value)
    });
    let fits = list(&selector["matchExpressions"]).all(|expression| {
        let label = &labels[expression["key"].as_str().unwrap_or_default()];
        let is_one_of = list(&expression["values"]).any(|value| value == label);
        match expression["operator"].as_str() {
            Some("In") => is_one_of,
            Some("NotIn") => !is_one_of,
            Some("Exists") => !label.is_null(),
            Some("DoesNotExist") => label.is_null(),
            _ => false,
        }
    });
    equal && fits
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(String::from)
}

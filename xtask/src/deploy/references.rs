//! What a pod refers to is rendered with it: ConfigMaps and Secrets with their keys, volumes,
//! accounts.

use anyhow::Result;
use serde_json::Value;

use super::manifests::Overlay;
use super::pods::{Container, Pod, list, pods};
use super::problem::Problem;
use super::site::Site;

pub(super) fn check(site: &Site) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for overlay in site.whole_overlays()? {
        for pod in pods(overlay) {
            let mut mistakes = volumes(overlay, pod);
            for container in pod.all_containers() {
                let own = mounts(overlay, pod, container).into_iter();
                let own = own.chain(environment(overlay, container));
                mistakes.extend(own.map(|what| format!("container {}: {what}", container.name())));
            }
            if let Some(account) = pod.spec["serviceAccountName"].as_str()
                && account != "default"
                && overlay.find("ServiceAccount", account).is_none()
            {
                mistakes.push(format!("there is no ServiceAccount {account}"));
            }
            problems.extend(mistakes.into_iter().map(|what| pod.object.problem(what)));
        }
        for set in overlay.of_kind("StatefulSet") {
            let name = set.spec()["serviceName"].as_str().unwrap_or_default();
            if overlay.find("Service", name).is_none() {
                problems.push(set.problem(format!("there is no Service {name}")));
            }
        }
    }
    Ok(problems)
}

/// ConfigMap or Secret, with this key if there is one.
fn missing(overlay: &Overlay, kind: &str, reference: &Value, key: &Value) -> Option<String> {
    if reference.is_null() || reference["optional"] == true {
        return None;
    }
    let name = reference["name"]
        .as_str()
        .or_else(|| reference["secretName"].as_str());
    let name = name.unwrap_or_default();
    let Some(object) = overlay.find(kind, name) else {
        return Some(format!("there is no {kind} {name}"));
    };
    let key = key.as_str()?;
    let has_key = ["data", "stringData", "binaryData"]
        .iter()
        .any(|data| !object.value[data][key].is_null());
    (!has_key).then(|| format!("{kind} {name} has no key {key}"))
}

fn volumes(overlay: &Overlay, pod: Pod<'_>) -> Vec<String> {
    let mut mistakes = Vec::new();
    for volume in list(&pod.spec["volumes"]) {
        let projected = list(&volume["projected"]["sources"]);
        let sources = projected.flat_map(|source| {
            [
                ("ConfigMap", &source["configMap"]),
                ("Secret", &source["secret"]),
            ]
        });
        let direct = [
            ("ConfigMap", &volume["configMap"]),
            ("Secret", &volume["secret"]),
        ];
        for (kind, reference) in direct.into_iter().chain(sources) {
            mistakes.extend(missing(overlay, kind, reference, &Value::Null));
            for item in list(&reference["items"]) {
                mistakes.extend(missing(overlay, kind, reference, &item["key"]));
            }
        }
        if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str()
            && overlay.find("PersistentVolumeClaim", claim).is_none()
        {
            mistakes.push(format!("there is no PersistentVolumeClaim {claim}"));
        }
    }
    mistakes
}

fn mounts(overlay: &Overlay, pod: Pod<'_>, container: Container<'_>) -> Vec<String> {
    let mut mistakes = Vec::new();
    for mount in list(&container.value["volumeMounts"]) {
        let name = &mount["name"];
        let volume = list(&pod.spec["volumes"]).find(|volume| volume["name"] == *name);
        let mut claims = list(&pod.object.spec()["volumeClaimTemplates"]);
        let Some(volume) = volume else {
            if !claims.any(|claim| claim["metadata"]["name"] == *name) {
                mistakes.push(format!("mounts {name}, which is no volume"));
            }
            continue;
        };
        let config_map = &volume["configMap"];
        if config_map["items"].is_null() {
            mistakes.extend(missing(overlay, "ConfigMap", config_map, &mount["subPath"]));
        }
    }
    mistakes.extend(named_files(overlay, pod, container));
    mistakes
}

/// Files that a command or a setting names are in the ConfigMap or Secret that is mounted there.
fn named_files(overlay: &Overlay, pod: Pod<'_>, container: Container<'_>) -> Vec<String> {
    let words = list(&container.value["command"]).chain(list(&container.value["args"]));
    let words = words.filter_map(Value::as_str).map(String::from);
    let settings = container
        .environment(overlay)
        .into_iter()
        .filter_map(|(_, value)| value);
    let mut mistakes = Vec::new();
    for path in words.chain(settings).filter(|word| word.starts_with('/')) {
        for mount in list(&container.value["volumeMounts"]).filter(|own| own["subPath"].is_null()) {
            let dir = format!("{}/", mount["mountPath"].as_str().unwrap_or_default());
            let Some(file) = path.strip_prefix(&dir).filter(|file| !file.is_empty()) else {
                continue;
            };
            let volume = list(&pod.spec["volumes"]).find(|own| own["name"] == mount["name"]);
            let Some(volume) = volume else { continue };
            for (kind, source) in [("ConfigMap", "configMap"), ("Secret", "secret")] {
                let reference = &volume[source];
                let mut items = list(&reference["items"]);
                if reference["items"].is_null() {
                    mistakes.extend(missing(overlay, kind, reference, &Value::from(file)));
                } else if !items.any(|item| item["path"] == file) {
                    mistakes.push(format!("{path}: no item of the {kind} is mounted there"));
                }
            }
        }
    }
    mistakes
}

fn environment(overlay: &Overlay, container: Container<'_>) -> Vec<String> {
    let kinds = [
        ("ConfigMap", "configMapRef", "configMapKeyRef"),
        ("Secret", "secretRef", "secretKeyRef"),
    ];
    let mut mistakes = Vec::new();
    for (kind, whole, one) in kinds {
        for source in list(&container.value["envFrom"]) {
            mistakes.extend(missing(overlay, kind, &source[whole], &Value::Null));
        }
        for entry in list(&container.value["env"]) {
            let reference = &entry["valueFrom"][one];
            mistakes.extend(missing(overlay, kind, reference, &reference["key"]));
        }
    }
    mistakes
}

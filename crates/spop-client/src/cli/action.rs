//! Actions of an ACK for people, one line each, and for programs, one JSON object each.

use serde_json::{Value, json};
use spop_client::spop_codec::{Action, TypedData};

/// `set-var sess.ip_score = 100 (INT32)`.
pub(crate) fn line(action: &Action<'_>) -> String {
    match action {
        Action::SetVar { scope, name, value } => {
            let kind = value.type_name();
            format!("set-var {scope}.{name} = {} ({kind})", readable(value))
        }
        Action::UnsetVar { scope, name } => format!("unset-var {scope}.{name}"),
        other => format!("{other:?}"),
    }
}

/// `{"action":"set-var","scope":"sess","name":"ip_score","type":"INT32","value":100}`; bytes
/// that JSON cannot carry are under `hex` instead of `value`.
pub(crate) fn object(action: &Action<'_>) -> Value {
    match action {
        Action::SetVar { scope, name, value } => {
            let (key, content) = carried(value);
            json!({
                "action": "set-var",
                "scope": scope.as_str(),
                "name": name.to_string(),
                "type": value.type_name(),
                key: content,
            })
        }
        Action::UnsetVar { scope, name } => json!({
            "action": "unset-var",
            "scope": scope.as_str(),
            "name": name.to_string(),
        }),
        other => json!({ "action": format!("{other:?}") }),
    }
}

fn readable(value: &TypedData<'_>) -> String {
    match value {
        TypedData::String(text) => format!("{text:?}"),
        _ => match carried(value) {
            (_, Value::String(text)) => text,
            (_, other) => other.to_string(),
        },
    }
}

/// The value and the key that it goes under.
fn carried(value: &TypedData<'_>) -> (&'static str, Value) {
    let content = match *value {
        TypedData::Null => Value::Null,
        TypedData::Bool(value) => value.into(),
        TypedData::Int32(value) => value.into(),
        TypedData::Uint32(value) => value.into(),
        TypedData::Int64(value) => value.into(),
        TypedData::Uint64(value) => value.into(),
        TypedData::Ipv4(ip) => ip.to_string().into(),
        TypedData::Ipv6(ip) => ip.to_string().into(),
        TypedData::String(text) => match text.to_str() {
            Ok(text) => text.into(),
            Err(_) => return ("hex", hex(text.as_bytes())),
        },
        TypedData::Binary(bytes) => return ("hex", hex(bytes)),
        other => format!("{other:?}").into(),
    };
    ("value", content)
}

fn hex(bytes: &[u8]) -> Value {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.into()
}

#[cfg(test)]
mod tests {
    use spop_client::spop_codec::{Actions, Scope, Text};

    use super::*;

    #[track_caller]
    fn check<'a>(value: impl Into<TypedData<'a>>, printed: &str, json: Value) {
        let actions = Actions::new().set_var(Scope::Transaction, "v", value);
        let action = actions.iter().next().unwrap();
        assert_eq!(line(&action), format!("set-var txn.v = {printed}"));
        let mut expected = json!({"action": "set-var", "scope": "txn", "name": "v"});
        let object = object(&action);
        expected
            .as_object_mut()
            .unwrap()
            .extend(json.as_object().unwrap().clone());
        assert_eq!(object, expected);
    }

    #[test]
    fn every_type() {
        check(
            TypedData::Null,
            "null (NULL)",
            json!({"type": "NULL", "value": null}),
        );
        check(true, "true (BOOL)", json!({"type": "BOOL", "value": true}));
        check(100, "100 (INT32)", json!({"type": "INT32", "value": 100}));
        check(7_u32, "7 (UINT32)", json!({"type": "UINT32", "value": 7}));
        check(
            i64::MIN,
            "-9223372036854775808 (INT64)",
            json!({"type": "INT64", "value": i64::MIN}),
        );
        check(7_u64, "7 (UINT64)", json!({"type": "UINT64", "value": 7}));
        check(
            TypedData::Ipv4([192, 0, 2, 7].into()),
            "192.0.2.7 (IPV4)",
            json!({"type": "IPV4", "value": "192.0.2.7"}),
        );
        check(
            TypedData::Ipv6(1.into()),
            "::1 (IPV6)",
            json!({"type": "IPV6", "value": "::1"}),
        );
        check(
            "a \"b\"\n",
            r#""a \"b\"\n" (STRING)"#,
            json!({"type": "STRING", "value": "a \"b\"\n"}),
        );
        check(
            Text::new(&[0xff]),
            r#""\xff" (STRING)"#,
            json!({"type": "STRING", "hex": "ff"}),
        );
        check(
            TypedData::Binary(&[0, 0xff]),
            "00ff (BINARY)",
            json!({"type": "BINARY", "hex": "00ff"}),
        );
    }

    #[test]
    fn unset() {
        let actions = Actions::new().unset_var(Scope::Session, "v");
        let action = actions.iter().next().unwrap();
        assert_eq!(line(&action), "unset-var sess.v");
        assert_eq!(
            object(&action),
            json!({"action": "unset-var", "scope": "sess", "name": "v"})
        );
    }
}

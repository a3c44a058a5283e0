//! What differs between two declarations of a project: a list of places with what stood there and what stands there now. It may not
//! judge a change.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::declaration::ProjectDeclaration;

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where: `service[api].route[GET /admin/*].scopes`.
    pub path: String,
    /// What stood there; `null` for nothing.
    pub before: Value,
    /// What stands there now; `null` for nothing.
    pub after: Value,
}

/// The differences, in the order of their places. Empty if and only if both mean the same.
pub fn difference(before: Option<&ProjectDeclaration>, after: &ProjectDeclaration) -> Vec<Change> {
    let mut changes = Vec::new();
    let before = before.map_or(Value::Object(Map::new()), ProjectDeclaration::to_json);
    compare(&mut changes, "", "", &before, &after.to_json());
    changes
}

/// `member` is the name under which both stand in the object around them.
fn compare(changes: &mut Vec<Change>, path: &str, member: &str, before: &Value, after: &Value) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let of = |object: &Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                let (one, other) = (of(one), of(other));
                // A list that is not there is an empty one, so that what comes and goes is told by element.
                let or_list = |value: Value, beside: &Value| match value {
                    Value::Null if beside.is_array() => Value::Array(Vec::new()),
                    value => value,
                };
                let (one, other) = (or_list(one.clone(), &other), or_list(other, &one));
                compare(changes, &inner, name, &one, &other);
            }
        }
        (Value::Array(one), Value::Array(other)) if is_named(member) => {
            compare_named(changes, path, member, one, other);
        }
        _ => changes.push(Change { path: path.to_owned(), before: before.clone(), after: after.clone() }),
    }
}

/// Lists whose elements have a name are compared by it.
fn is_named(member: &str) -> bool {
    matches!(member, "service" | "issuer" | "certificate" | "route" | "rewrite")
}

fn name_of(member: &str, element: &Value) -> String {
    let text = |name: &str| element.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match member {
        "service" => text("slug"),
        "issuer" => text("issuer"),
        "rewrite" => text("from"),
        "route" => {
            let methods: Vec<&str> = element
                .get("methods")
                .and_then(Value::as_array)
                .map(|methods| methods.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            if methods.is_empty() { text("path") } else { format!("{} {}", methods.join(","), text("path")) }
        }
        _ => text("id"),
    }
}

fn compare_named(changes: &mut Vec<Change>, path: &str, member: &str, one: &[Value], other: &[Value]) {
    let by_name = |list: &[Value]| -> Vec<(String, Value)> {
        list.iter().map(|element| (name_of(member, element), element.clone())).collect()
    };
    let (one, other) = (by_name(one), by_name(other));
    let find = |list: &[(String, Value)], name: &str| {
        list.iter().find(|(known, _)| known == name).map(|(_, element)| element.clone())
    };
    let mut names: Vec<&String> = one.iter().chain(&other).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (before, after) = (find(&one, name), find(&other, name));
        let inner = format!("{path}[{name}]");
        match (&before, &after) {
            (Some(before), Some(after)) => compare(changes, &inner, "", before, after),
            _ => changes.push(Change {
                path: inner,
                before: before.unwrap_or_default(),
                after: after.unwrap_or_default(),
            }),
        }
    }
    let names =
        |list: &[(String, Value)]| -> Vec<String> { list.iter().map(|(name, _)| name.clone()).collect() };
    let (one, other) = (names(&one), names(&other));
    let is_other_order = one != other && {
        let (mut one, mut other) = (one.clone(), other.clone());
        one.sort();
        other.sort();
        one == other
    };
    if is_other_order {
        changes.push(Change { path: format!("{path} (order)"), before: one.into(), after: other.into() });
    }
}

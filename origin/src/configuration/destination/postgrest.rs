//! What a table behind PostgREST is: its place from its row, URL and key from the environment.

use serde::Deserialize;

use super::{destination_variable, option_fault, options, public_url};
use crate::configuration::{
    Source,
    fault::{Fault, Faults},
    reader::{Problem, Reader},
};
use crate::outbox::destination::postgrest::{ServiceKey, Settings};

/// The options of its row.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The table; `auth_events` unless it says otherwise.
    table: Option<String>,
    /// Its schema, where it is not the first that PostgREST exposes.
    schema: Option<String>,
    /// What stands before the table: `/rest/v1` unless it says otherwise, empty for a PostgREST of one's own.
    base_path: Option<String>,
}

impl Options {
    fn read(name: &str, value: &serde_json::Value, faults: &mut Vec<Fault>) -> Self {
        let own: Self = options(name, value, faults).unwrap_or_default();
        for (what, identifier) in [("table", &own.table), ("schema", &own.schema)] {
            if identifier.as_deref().is_some_and(|identifier| !is_identifier(identifier)) {
                let why = format!("has a {what} that is no plain identifier");
                let fix = format!("Add it again with a {what} of lower-case letters, digits and _.");
                faults.push(option_fault(name, &why, &fix));
            }
        }
        let is_path = |path: &str| {
            let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte));
            path.is_empty()
                || (path.starts_with('/') && !path.ends_with('/') && !path.contains("//") && plain)
        };
        if own.base_path.as_deref().is_some_and(|path| !is_path(path)) {
            let fix = "Add it again with a base_path such as /rest/v1, or an empty one.";
            faults.push(option_fault(name, "has a base_path that is no path", fix));
        }
        own
    }
}

fn is_identifier(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether a row of these options can be delivered to, credentials aside.
pub(super) fn check(name: &str, value: &serde_json::Value, faults: &mut Vec<Fault>) {
    Options::read(name, value, faults);
}

/// Reads all of it, or says everything that is wrong with it.
pub fn postgrest_settings(
    source: &Source,
    name: &str,
    value: &serde_json::Value,
) -> Result<Settings, Faults> {
    let mut faults = Vec::new();
    let Options { table, schema, base_path } = Options::read(name, value, &mut faults);
    let mut reader = Reader::new(source);
    let url = reader.required(
        destination_variable(name, "URL"),
        &format!(
            "Set it to the URL of the project that destination {name} is in: https://PROJECT.supabase.co."
        ),
        |text| public_url(text, false),
    );
    let key = reader.required(
        destination_variable(name, "SERVICE_KEY"),
        &format!("Set it to the service key of the project that destination {name} is in."),
        |text| {
            ServiceKey::parse(text)
                .map_err(|why| Problem::new(why, "Set it to the service key as it is shown."))
        },
    );
    let whole = (|| {
        Some(Settings {
            url: url?,
            key: key?,
            base_path: base_path.unwrap_or_else(|| "/rest/v1".to_owned()),
            table: table.unwrap_or_else(|| "auth_events".to_owned()),
            schema,
        })
    })();
    super::finish(reader, faults, whole)
}

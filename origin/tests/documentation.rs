//! What the documentation says of the configuration, held against the code that reads it.
#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every quoted name of the form of a variable in the files of `folder`.
fn variables_in(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for quoted in code.split('"').skip(1).step_by(2) {
            let is_variable =
                quoted.len() >= 4 && quoted.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            if is_variable {
                found.insert(quoted.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_variable_is_documented_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/reference/configuration.md")).unwrap();
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned()))
        .collect();
    let read = variables_in(&root.join("origin/src/configuration"));
    let undocumented: Vec<_> = read.difference(&documented).collect();
    assert!(undocumented.is_empty(), "docs/reference/configuration.md does not name {undocumented:?}");
    let bindings = fs::read_to_string(root.join("edge/src/configuration.rs")).unwrap();
    let gone: Vec<_> =
        documented.iter().filter(|name| !read.contains(*name) && !bindings.contains(name.as_str())).collect();
    assert!(gone.is_empty(), "docs/reference/configuration.md names {gone:?}, which nothing reads");
}
